"""
The sweep: cancel what our closed positions left resting, and nothing else (R62).

Only orders of our own installation, only where no position is open by our book, and only when the
venue has said flat twice: the book's PositionClosed and a report, or two complete snapshots. A
failed or missing answer says nothing and cancels nothing.
"""

import asyncio
from typing import Final

import attrs

from aegis.exit.resting import RestingOrders
from aegis.exit.voice import ExitVoice
from aegis.model.events import IntentCompleted, ProtectionMismatchKind
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import CancelProtection
from aegis.model.order import Purpose
from aegis.model.order_id import parse_client_order_id

ORPHAN_PATIENCE_S: Final = 1.0
ORPHAN_RETRY_MAX_S: Final = 30.0
LOOK_AFTER_END_S: Final = 60.0
ENTRY_MAY_LIVE_S: Final = 30.0
"""So long a stop that rests before an entry of an earlier run waits for it: it may still fill."""
OVER_KEPT: Final = 1_000
LISTS_ALONE_S: Final = 600.0
"""So long lists alone must have said flat of a position of which no fill and no stream told an end:
lists that lag or are empty by a fault would have its living stop canceled (R62)."""


@attrs.define(slots=True)
class _Flat:
    """Who said flat since the last word of an open position."""

    closed: bool = False
    reported: bool = False
    snapshots: int = 0
    doubted_until_s: float = 0.0
    """Till then (loop time) more than lists must say flat."""

    @property
    def is_confirmed(self) -> bool:
        return (self.closed and (self.reported or self.snapshots > 0)) or self.snapshots >= 2


class Orphans:
    """Find leftovers and cancel them once flat is sure."""

    def __init__(self, voice: ExitVoice, resting: RestingOrders) -> None:
        self._voice = voice
        self._resting = resting
        self.installation = ""
        self._open: dict[InstrumentId, None] = {}
        self._entering: dict[InstrumentId, str] = {}
        self._over: dict[str, None] = {}
        self._found_s: dict[str, float] = {}
        """Stops from before an entry of which nobody told, and since when: loop s."""
        self._flat: dict[InstrumentId, _Flat] = {}
        self._timers: dict[InstrumentId, asyncio.TimerHandle] = {}
        self._delay_s: dict[InstrumentId, float] = {}
        self._told: dict[InstrumentId, dict[str, None]] = {}

    # --- what is known about flat ----------------------------------------------------------------

    def is_flat(self, instrument: InstrumentId) -> bool:
        """Say whether the venue's newest word about *instrument* is flat; False when unknown."""
        said = self._flat.get(instrument)
        return said is not None and (said.reported or said.snapshots > 0)

    def on_entering(self, instrument: InstrumentId, position_id: str) -> None:
        """An entry leaves: the stop that rests before it waits for its position."""
        self._entering[instrument] = position_id
        # Who said flat before it left has said nothing of what comes of it.
        self._flat.pop(instrument, None)

    def on_entry_failed(self, instrument: InstrumentId, position_id: str) -> None:
        """No position came of the entry: its stop is left over."""
        self._end(position_id)
        if self._entering.get(instrument) == position_id:
            del self._entering[instrument]
            self._flat.setdefault(instrument, _Flat()).closed = True
            self.look(instrument)

    def _end(self, position_id: str) -> None:
        self._over[position_id] = None
        if len(self._over) > OVER_KEPT:
            del self._over[next(iter(self._over))]

    def on_opened(self, instrument: InstrumentId) -> None:
        """A position is open: what rests there protects it."""
        self._entering.pop(instrument, None)
        self._open[instrument] = None
        self._flat.pop(instrument, None)
        self._delay_s.pop(instrument, None)
        timer = self._timers.pop(instrument, None)
        if timer is not None:
            timer.cancel()

    def on_closed(self, instrument: InstrumentId, position_id: str, *, filled: bool) -> None:
        """Our book says flat: because fills do (*filled*), or because lists show nothing."""
        self._open.pop(instrument, None)
        self._end(position_id)
        flat = self._flat.setdefault(instrument, _Flat())
        flat.closed = True
        if not filled:
            flat.doubted_until_s = asyncio.get_running_loop().time() + LISTS_ALONE_S
        self.look(instrument)
        # A list that was empty by a fault may have hidden what is left: one more look is cheap.
        _ = asyncio.get_running_loop().call_later(LOOK_AFTER_END_S, self._look_after, instrument)

    def _look_after(self, instrument: InstrumentId) -> None:
        if instrument not in self._open:
            self._voice.want_snapshot(instrument.venue, f"is anything left of {instrument}?")

    def on_accounted(self, instrument: InstrumentId) -> None:
        """The fills that ended the last position there are known."""
        said = self._flat.get(instrument)
        if said is not None and instrument not in self._open:
            said.doubted_until_s = 0.0

    def on_reported(self, instrument: InstrumentId, *, flat: bool) -> None:
        """Take one word of the venue about one instrument."""
        if flat:
            self._flat.setdefault(instrument, _Flat()).reported = True
        else:
            self._flat.pop(instrument, None)

    def on_snapshot(self, venue: Venue, shown: dict[InstrumentId, None]) -> None:
        """Take a complete snapshot: an instrument without an open row in it is flat."""
        known = {i: None for i in (*self._flat, *self._open) if i.venue is venue}
        known |= dict.fromkeys(self._resting.instruments(venue))
        for instrument in shown:
            # Not flat, and from here on known: a later snapshot without it tells that it is.
            self._flat[instrument] = _Flat()
        for instrument in known:
            if instrument not in shown:
                self._flat.setdefault(instrument, _Flat()).snapshots += 1
                self.look(instrument)

    # --- the sweep -------------------------------------------------------------------------------

    def look(self, instrument: InstrumentId) -> None:
        """Sweep *instrument* soon if something of ours is left there without a position."""
        if instrument in self._open or instrument in self._timers:
            return
        # Right after a close an answer may still bring a stop that was under way.
        delay_s = self._delay_s.get(instrument, ORPHAN_PATIENCE_S)
        self._timers[instrument] = asyncio.get_running_loop().call_later(
            delay_s, self._sweep, instrument
        )

    def _sweep(self, instrument: InstrumentId) -> None:
        self._timers.pop(instrument, None)
        assert instrument not in self._open, instrument
        left = self._left(instrument)
        if not left:
            self._delay_s.pop(instrument, None)
            self._told.pop(instrument, None)
            return
        said = self._flat.get(instrument)
        if said is None or not said.is_confirmed:
            self._voice.want_snapshot(
                instrument.venue, f"is {instrument} flat? {len(left)} orders are left there"
            )
        elif said.reported or asyncio.get_running_loop().time() >= said.doubted_until_s:
            for key in left:
                if not self._may_have_entry(key):
                    self._cancel(instrument, key)
        before = self._delay_s.get(instrument, ORPHAN_PATIENCE_S)
        self._delay_s[instrument] = min(2 * before, ORPHAN_RETRY_MAX_S)
        self.look(instrument)

    def _left(self, instrument: InstrumentId) -> list[str]:
        if not self.installation:
            return []
        left = self._resting.left_by(instrument, self.installation)
        waiting = self._entering.get(instrument)
        return [key for key in left if _position_of(key) != waiting]

    def _may_have_entry(self, key: str) -> bool:
        """Say whether *key* is a stop of an entry that an earlier run may have sent."""
        tag = parse_client_order_id(key)
        if tag is None or tag.purpose is not Purpose.STOP_ENTRY or tag.position_id in self._over:
            return False
        now_s = asyncio.get_running_loop().time()
        return now_s - self._found_s.setdefault(key, now_s) < ENTRY_MAY_LIVE_S

    def _cancel(self, instrument: InstrumentId, key: str) -> None:
        tag = parse_client_order_id(key)
        assert tag is not None, key
        told = self._told.setdefault(instrument, {})
        if key not in told:
            told[key] = None
            orphan = ProtectionMismatchKind.ORPHAN
            self._voice.stray(orphan, tag.position_id, instrument, key, "canceled: flat twice")
        command = CancelProtection(instrument_id=instrument, client_order_id=key)
        reason = "orphan of a closed position"
        self._voice.propose(
            self._voice.intent(tag.position_id, tag.position_id, command, reason=reason)
        )

    def on_intent_completed(self, event: IntentCompleted) -> None:
        """A cancel that failed means that the venue knows better what rests."""
        if not event.ok and event.command == CancelProtection.__name__:
            self._voice.want_snapshot(event.instrument_id.venue, f"orphan: {event.outcome}")


def _position_of(client_order_id: str) -> str:
    tag = parse_client_order_id(client_order_id)
    return tag.position_id if tag is not None else ""
