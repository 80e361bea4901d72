"""What trade counted from the venues' word: our orders, fills, entries and positions."""

from decimal import Decimal

import attrs

from aegis.core.event import Event
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId
from aegis.model.order import OrderRequest, OrderStatus
from aegis.model.position import CloseCause, MismatchKind, PositionView


@attrs.frozen(slots=True, kw_only=True)
class OrderSubmitted(Event):
    """An order left for the venue."""

    request: OrderRequest
    position_id: str
    trace_id: str
    attempt: int


@attrs.frozen(slots=True, kw_only=True)
class OrderAdvanced(Event):
    """One of our orders moved forward in its life, by the venue's word."""

    client_order_id: str
    venue_order_id: str
    instrument_id: InstrumentId
    position_id: str
    purpose: str
    status: OrderStatus
    filled_qty: Decimal
    average_px: Decimal | None
    code: str
    message: str


@attrs.frozen(slots=True, kw_only=True)
class FillBooked(Event):
    """A fill was counted into its position, exactly once; *position* is after it."""

    fill: Fill
    position: PositionView
    purpose: str

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.fill.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class PositionOpened(Event):
    """
    The first fill of an entry arrived, or a position found on the venue was adopted, or one of an
    earlier run goes on (*position.restored*).

    *taken_over*: of an earlier run, as that run's fills made it, told before any fill of this run.
    Of such a one: *attempts* by purpose, so that no client order id is used twice, and
    *entry_under_way* while its entry may still fill.
    """

    position: PositionView
    taken_over: bool = False
    attempts: tuple[tuple[str, int], ...] = ()
    entry_under_way: bool = False


@attrs.frozen(slots=True, kw_only=True)
class EntryCompleted(Event):
    """The entry order is terminal: entry price and quantity are final (R33, R34)."""

    position: PositionView
    slippage: Decimal | None
    """Entry VWAP minus signal price, in the direction that hurts; quote per base."""


@attrs.frozen(slots=True, kw_only=True)
class EntryFailed(Event):
    """An entry ended without a fill: rejected, expired, or never accepted."""

    position_id: str
    instrument_id: InstrumentId
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class PositionClosed(Event):
    """The venue says flat and the fills agree."""

    position: PositionView
    cause: CloseCause
    exit_px_avg: Decimal | None
    net_pnl: Decimal
    hold_ns: int


@attrs.frozen(slots=True, kw_only=True)
class PositionMismatchFound(Event):
    """
    Our book and the venue differ; what was done about it.

    *ours* and *theirs*: signed quantities; of ENTRY_PRICE average entry prices, quote per base.
    *kind* None: written before there were kinds.
    """

    instrument_id: InstrumentId
    ours: Decimal
    theirs: Decimal
    action: str
    kind: MismatchKind | None = None
