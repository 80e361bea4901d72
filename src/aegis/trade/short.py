"""
Positions that ended by the venue's word while fills of theirs were missing: found later, those are
booked where they belong.

Only the time tells a late fill of such a position from one of its follower, since the stop of an
ended position may close the next one (R62).
"""

import attrs

from aegis.model.fill import Fill
from aegis.model.instrument import Venue
from aegis.model.order_id import parse_client_order_id
from aegis.model.position import Position


@attrs.define(slots=True)
class _Short:
    """From *began_ns* to *ended_ns* (ns UTC) its fills happened."""

    position: Position
    began_ns: int
    ended_ns: int


@attrs.define(slots=True)
class Shorts:
    """Positions of which less was closed, by the fills, than was opened; the venue said flat."""

    _kept: dict[str, _Short] = attrs.field(factory=dict)

    def keep(self, position: Position, began_ns: int, ended_ns: int) -> None:
        """Wait for the rest of *position*, open from *began_ns* to *ended_ns* (ns UTC)."""
        self._kept[position.position_id] = _Short(position, began_ns, ended_ns)

    def owner_of(self, fill: Fill) -> Position | None:
        """Return whose *fill* is, when it is a late one; None where nothing ended short."""
        tag = parse_client_order_id(fill.client_order_id)
        for one in self._kept.values():
            position = one.position
            if position.instrument_id != fill.instrument_id:
                continue
            if not one.began_ns <= fill.ts_event <= one.ended_ns:
                continue
            if tag is not None and tag.position_id != position.position_id:
                continue
            if fill.side is position.side.exit_side and fill.last_qty > position.qty:
                continue
            # A fill without an id of ours may be of the position's own stop; it opens nothing.
            if tag is not None or fill.side is position.side.exit_side:
                return position
        return None

    def book(self, position: Position, fill: Fill) -> None:
        """Count a late *fill* into *position*, which is kept until all of it is accounted for."""
        _ = position.apply(fill)
        if position.qty == 0:
            del self._kept[position.position_id]

    def is_waiting(self, venue: Venue) -> bool:
        """Say whether fills of an ended position on *venue* are missing."""
        return any(one.position.instrument_id.venue is venue for one in self._kept.values())

    def give_up(self, venue: Venue, before_ns: int) -> None:
        """Wait no more for those on *venue* that ended before *before_ns* (ns UTC)."""
        for key, one in list(self._kept.items()):
            if one.position.instrument_id.venue is venue and one.ended_ns < before_ns:
                del self._kept[key]
