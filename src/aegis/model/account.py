"""Reports of a venue about our account, normalized: balance, positions, orders, capabilities."""

import enum
from collections.abc import Mapping
from decimal import Decimal

import attrs

from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderSide, OrderStatus, OrderType


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


@attrs.frozen(slots=True, kw_only=True)
class Capabilities:
    """
    What a venue can do, so that logic asks for abilities and not for names.

    attached_protection: stop and target travel with the entry order.
    position_protection: the venue keeps one stop and target per position, amended in place.
    close_position_orders: conditional orders that close whatever is open (Binance closePosition).
    child_orders_unnamed: fills of position stops carry no client order id (Bybit).
    """

    attached_protection: bool
    position_protection: bool
    close_position_orders: bool
    child_orders_unnamed: bool


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
    set or does not tell. *entry_px_avg* is None when flat.
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
