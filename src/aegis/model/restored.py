"""
What earlier runs of ours left open, as the journal tells it: positions, entries, money booked.

The venue has the last word about all of it (R88): this is what the next run begins to compare.
"""

from collections.abc import Mapping
from decimal import Decimal

import attrs

from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import EnterPosition
from aegis.model.money import ZERO
from aegis.model.order import Purpose
from aegis.model.position import CloseCause, PositionView


@attrs.frozen(slots=True, kw_only=True)
class AcknowledgedStop:
    """
    The stop the venue was last known to have for a position.

    *order*: the client order id it rests under, "" where that is not known or the venue's own.
    """

    price: Decimal
    order: str = ""
    cause: CloseCause = CloseCause.SL


@attrs.frozen(slots=True, kw_only=True)
class OpenPosition:
    """
    A position that was open when the journal ends.

    *opening* is the picture its life began with, and where *adopted* also its quantity; *fills* are
    all it had since, *funding* > 0 was received. *attempts*: the highest number used in a client
    order id of each purpose. *entry_done*: its entry order had ended. *stop*: None when
    none was acknowledged, or its loss was told.
    """

    opening: PositionView
    fills: tuple[Fill, ...]
    funding: Decimal = ZERO
    attempts: Mapping[Purpose, int] = attrs.field(factory=dict)
    entry_done: bool = False
    stop: AcknowledgedStop | None = None


@attrs.frozen(slots=True, kw_only=True)
class OpenEntry:
    """An entry that left, or was about to, and whose end the journal does not tell."""

    command: EnterPosition
    position_id: str
    trace_id: str


@attrs.frozen(slots=True, kw_only=True)
class OpenBook:
    """
    Everything open. *heard_ns*: by venue, until when (ns UTC) the journal has heard of it.

    *fill_ids* and *funding_ids* of the last day: what the venue may tell again is not booked again.
    """

    positions: tuple[OpenPosition, ...] = ()
    entries: tuple[OpenEntry, ...] = ()
    heard_ns: Mapping[Venue, int] = attrs.field(factory=dict)
    fill_ids: tuple[tuple[InstrumentId, str], ...] = ()
    funding_ids: frozenset[tuple[Venue, str]] = frozenset()
