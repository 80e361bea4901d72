"""Reports of a venue about our account, normalized: balance, positions, orders, capabilities."""

import enum
from collections.abc import Mapping
from decimal import Decimal

import attrs

from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderSide, OrderStatus, OrderType, PositionSide


class ProtectionRole(enum.StrEnum):
    """What a resting reduce-only order is to a position."""

    NONE = "NONE"
    STOP = "STOP"
    TARGET = "TARGET"


class ReportSource(enum.StrEnum):
    """Where a report came from; all three are evidence (design.md, Decisions)."""

    ANSWER = "ANSWER"
    STREAM = "STREAM"
    QUERY = "QUERY"


class PositionMode(enum.StrEnum):
    """How a venue keeps long and short positions of one instrument apart."""

    ONE_WAY = "one_way"
    HEDGE = "hedge"


class OrderChannel(enum.StrEnum):
    """By which way orders may go."""

    REST = "rest"
    WEBSOCKET = "websocket"


@attrs.frozen(slots=True, kw_only=True)
class Capabilities:
    """
    What a venue can do, so that logic asks for abilities and not for names.

    Where venues.md is not sure, the value is the careful one. "Measured by doctor" says that the
    doctor tries it on the venue itself, "not sure" that it cannot: only trading tells.
    """

    attached_protection: bool
    """Stop and target travel with the entry order (venues.md 3.3)."""
    position_protection: bool
    """The venue keeps one stop and one target per position, sized by itself and amended in place
    without a gap (venues.md 3.4: in place is an inference, not sure)."""
    close_position_orders: bool
    """Conditional orders that close whatever is open and end with it (venues.md 1.2, 1.3)."""
    child_orders_unnamed: bool
    """Fills of the position's own stop and target carry no client order id (venues.md 5.2)."""
    conditional_amendable: bool = False
    """A resting conditional order can be changed in place; else place a new one, then cancel the
    old one (venues.md 1.1, 3.6)."""
    stop_rests_before_entry: bool = False
    """A reduce-only stop with a quantity may rest while there is no position; what it does at its
    trigger is checked then (venues.md 1.3, 3.3: both accept it; measured by doctor). Where no stop
    travels with the entry, one rests before it (`stop_before_entry`)."""
    full_beside_rungs: bool = False
    """The position's stop and last target stay while conditional reduce-only rungs rest beside them
    (venues.md 3.3, 3.5: they are orders of another kind; not sure)."""
    cancel_all_spares_stops: bool = False
    """Canceling all orders of a symbol leaves conditional ones alive (venues.md 1.2, 3.6)."""
    stops_end_with_position: bool = False
    """Every native stop we place ends by itself when its position closes (venues.md 1.3, 3.4)."""
    position_modes: tuple[PositionMode, ...] = (PositionMode.ONE_WAY,)
    """The modes the adapter trades in; others are refused at connect with the fix (R41)."""
    margin_mode_per_symbol: bool = True
    """Isolated margin is set per symbol; else for the whole account (venues.md 2.4, 3.6)."""
    order_channels: tuple[OrderChannel, ...] = (OrderChannel.REST,)
    """The ways orders may go, the one that is preferred first (venues.md 2.2, 3.7)."""
    conditional_orders_max: int | None = None
    """So many conditional orders may rest: per account on Binance (venues.md 1.1), per symbol on
    Bybit (venues.md 3.3: whether stop and target count among them is not sure)."""


@attrs.frozen(slots=True, kw_only=True)
class BalanceReport:
    """Wallet in USDT. *equity* = wallet + unrealized; None where the report does not tell it."""

    venue: Venue
    wallet: Decimal
    available: Decimal | None
    equity: Decimal | None
    ts_event: int


@attrs.frozen(slots=True, kw_only=True)
class PositionReport:
    """
    A position as the venue states it. *qty_signed* 0 is flat.

    *stop_price* and *target_price* are the position's own (Bybit); None where the venue has none
    set or does not tell. *entry_px_avg* is None when flat. *leg* is which of the symbol's two
    positions it is in hedge mode, None in one-way mode.
    """

    instrument_id: InstrumentId
    qty_signed: Decimal
    entry_px_avg: Decimal | None
    ts_event: int
    mark_price: Decimal | None = None
    liquidation_price: Decimal | None = None
    leverage: int | None = None
    isolated: bool | None = None
    stop_price: Decimal | None = None
    target_price: Decimal | None = None
    leg: PositionSide | None = None


@attrs.frozen(slots=True, kw_only=True)
class OrderReport:
    """
    An order as the venue states it.

    *client_order_id* is "" for the venue's own children. *conditional* tells the channel it lives
    in (Binance: algo service). *qty* None for closePosition orders. *filled_qty* is the venue's
    cumulative count; *average_px* None unless told. *role* is set for reduce-only conditionals.
    """

    instrument_id: InstrumentId
    client_order_id: str
    venue_order_id: str
    conditional: bool
    status: OrderStatus
    side: OrderSide
    order_type: OrderType
    qty: Decimal | None
    filled_qty: Decimal
    reduce_only: bool
    close_position: bool
    role: ProtectionRole
    source: ReportSource
    ts_event: int
    average_px: Decimal | None = None
    trigger_price: Decimal | None = None
    position_bound: bool = False
    """True for the position's own stop or target, which the venue sizes and removes itself."""
    reject_code: str = ""
    reject_message: str = ""
    leg: PositionSide | None = None
    """The position it is for in hedge mode, None in one-way mode or where it is not told."""


@attrs.frozen(slots=True, kw_only=True)
class VenueSnapshot:
    """
    Everything resting on the venue at one moment, from successful queries only.

    A query that failed raises instead: an empty tuple means the venue said "none" (R43, R88).
    """

    venue: Venue
    ts_event: int
    balance: BalanceReport
    positions: tuple[PositionReport, ...]
    orders: tuple[OrderReport, ...]


def equity_of(
    wallet: Decimal | None,
    open_positions: Mapping[InstrumentId, tuple[Decimal, Decimal | None]],
    marks: Mapping[InstrumentId, Decimal],
) -> Decimal | None:
    """
    Return wallet plus unrealized profit in USDT, None when any part is unknown (R43, R64).

    *open_positions*: instrument to (signed quantity, entry price or None).
    """
    if wallet is None:
        return None
    total = wallet
    for instrument, (qty_signed, entry_px) in open_positions.items():
        mark = marks.get(instrument)
        if mark is None or entry_px is None:
            return None
        total += (mark - entry_px) * qty_signed
    return total
