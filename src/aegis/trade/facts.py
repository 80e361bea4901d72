"""What follows from a report: the facts the book returns and the actor publishes, and causes."""

from decimal import Decimal

import attrs

from aegis.model.fill import Fill, FillOrigin
from aegis.model.instrument import InstrumentId
from aegis.model.order import Order, Purpose
from aegis.model.order_id import parse_client_order_id
from aegis.model.position import CloseCause, MismatchKind, PositionView


@attrs.frozen(slots=True, kw_only=True)
class Opened:
    """The first fill, or an adoption."""

    position: PositionView


@attrs.frozen(slots=True, kw_only=True)
class Booked:
    """A fill was counted; *position* after it."""

    fill: Fill
    position: PositionView
    purpose: str


@attrs.frozen(slots=True, kw_only=True)
class EntryDone:
    """The entry is terminal with fills."""

    position: PositionView
    slippage: Decimal | None


@attrs.frozen(slots=True, kw_only=True)
class EntryDied:
    """The entry is terminal without any fill."""

    position_id: str
    instrument_id: InstrumentId
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class Closed:
    """Flat."""

    position: PositionView
    cause: CloseCause
    exit_px_avg: Decimal | None
    net_pnl: Decimal


@attrs.frozen(slots=True, kw_only=True)
class Advanced:
    """An order of ours moved forward."""

    order: Order
    code: str
    message: str


@attrs.frozen(slots=True, kw_only=True)
class Mismatch:
    """
    The venue and the book disagree; *again_s*: loop seconds until it is asked again, None never.

    *lacks_fills*: fills that nobody told may explain it.
    """

    instrument_id: InstrumentId
    kind: MismatchKind
    ours: Decimal
    theirs: Decimal
    action: str
    again_s: float | None = 1.0
    lacks_fills: bool = False


Fact = Opened | Booked | EntryDone | EntryDied | Closed | Advanced | Mismatch

_CAUSE_OF_PURPOSE = {
    Purpose.STOP_ENTRY: CloseCause.SL,
    Purpose.STOP_FLOOR: CloseCause.SL,
    Purpose.STOP_MOVING: CloseCause.SL,
    Purpose.STOP_TRAIL: CloseCause.TRAIL,
    Purpose.TARGET: CloseCause.TP,
    Purpose.RUNG: CloseCause.HARVEST,
    Purpose.CLOSE_UNPROTECTED: CloseCause.UNPROTECTED,
    Purpose.CLOSE_FLATTEN: CloseCause.FLATTEN,
    Purpose.CLOSE_MANUAL: CloseCause.MANUAL,
    Purpose.CLOSE_WATCHDOG: CloseCause.WATCHDOG,
    Purpose.CLOSE_KILL: CloseCause.KILL,
    Purpose.CLOSE_ROTATE: CloseCause.ROTATE,
    Purpose.CLOSE_AGED: CloseCause.AGED,
    Purpose.CLOSE_TIME: CloseCause.TIME,
    Purpose.CLOSE_HARVEST: CloseCause.HARVEST,
}
_CAUSE_OF_ORIGIN = {
    FillOrigin.STOP: CloseCause.SL,
    FillOrigin.TARGET: CloseCause.TP,
    FillOrigin.LIQUIDATION: CloseCause.LIQ,
    FillOrigin.ADL: CloseCause.ADL,
}


def cause_of(fill: Fill, position_id: str | None = None) -> CloseCause:
    """
    Return why *fill* reduced a position: by the venue's word, then by our client order id (R79).

    A fill that neither the venue nor an id of ours explains is EXTERNAL: somebody else did it. With
    *position_id*, an id of another installation than that position's is not ours.
    """
    by_origin = _CAUSE_OF_ORIGIN.get(fill.origin)
    if by_origin is not None:
        return by_origin
    tag = parse_client_order_id(fill.client_order_id)
    if tag is None or (
        position_id is not None and not position_id.startswith(f"{tag.installation}-")
    ):
        return CloseCause.EXTERNAL
    return _CAUSE_OF_PURPOSE.get(tag.purpose, CloseCause.EXTERNAL)
