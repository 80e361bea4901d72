"""
Rows of the account to model values: orders, executions, positions, wallet, instruments. Pure.

Numbers that are "" are not told (None) and never 0; a text we do not know (a status, a side) is a
VenueProtocolError and never a guess. Sources: venues.md 3.3 to 3.7.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final, TypeVar

import attrs
import msgspec

from aegis.core.clock import NS_PER_MS, NS_PER_S
from aegis.model.account import (
    BalanceReport,
    OrderReport,
    PositionReport,
    ProtectionRole,
    ReportSource,
)
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.money import ZERO
from aegis.model.order import OrderSide, OrderStatus, OrderType, PositionSide
from aegis.venue.bybit import wire
from aegis.venue.bybit.frames import Unknown, convert, decode, unreadable
from aegis.venue.position_modes import leg_by

T = TypeVar("T")
V = TypeVar("V")

SETTLE_COIN: Final = "USDT"
_CATEGORY: Final = "linear"
_MINUTE_NS: Final = 60 * NS_PER_S

STATUSES: Final = {
    "New": OrderStatus.ACCEPTED,
    "Untriggered": OrderStatus.ACCEPTED,
    "PartiallyFilled": OrderStatus.PARTIALLY_FILLED,
    "Triggered": OrderStatus.TRIGGERING,
    "Filled": OrderStatus.FILLED,
    "Cancelled": OrderStatus.CANCELED,
    "PartiallyFilledCanceled": OrderStatus.CANCELED,
    "Deactivated": OrderStatus.CANCELED,
    "Rejected": OrderStatus.REJECTED,
}
"""Order states (venues.md 3.5); Cancelled may have executed in part."""

_SIDES: Final = {"Buy": OrderSide.BUY, "Sell": OrderSide.SELL}
_BOUND_ROLES: Final = {
    "StopLoss": ProtectionRole.STOP,
    "PartialStopLoss": ProtectionRole.STOP,
    "TrailingStop": ProtectionRole.STOP,
    "TakeProfit": ProtectionRole.TARGET,
    "PartialTakeProfit": ProtectionRole.TARGET,
}
_RISE: Final = 1
_FALL: Final = 2
_FILL_TYPES: Final = frozenset({"Trade", "BustTrade", "AdlTrade"})
_NOT_TOLD: Final = frozenset({"", "UNKNOWN", "EC_NoError"})


_LEGS: Final = {0: None, 1: PositionSide.LONG, 2: PositionSide.SHORT}


class Unreadable(ValueError):
    """Raised in here for a row that cannot be understood; the boundary adds venue and payload."""


@attrs.frozen(slots=True, kw_only=True)
class FundingBooked:
    """Funding of a position: *amount* in USDT, > 0 received."""

    instrument_id: InstrumentId
    amount: Decimal
    funding_id: str
    ts_event: int


def decimal_of(text: str | None, name: str) -> Decimal | None:
    """
    Return the number *text* holds, None when it holds none.

    Raises:
        Unreadable: when it is neither empty nor a finite number.

    """
    if not text:
        return None
    try:
        number = Decimal(text)
    except ArithmeticError as error:
        raise Unreadable(f"{name} was {text[:40]!r}, not a number") from error
    if not number.is_finite():
        raise Unreadable(f"{name} was {text[:40]!r}, not finite")
    return number


def told(text: str | None, name: str) -> Decimal:
    """Return the number *text* holds; raises Unreadable when it is not told."""
    number = decimal_of(text, name)
    if number is None:
        raise Unreadable(f"{name} was not told")
    return number


def price_of(text: str | None, name: str) -> Decimal | None:
    """Return a price, None for "", "0" and "0.00": no price is set (venues.md 3.6)."""
    number = decimal_of(text, name)
    if number is None or number == 0:
        return None
    if number < 0:
        raise Unreadable(f"{name} was {number}, must be > 0")
    return number


def _time_of(text: str | None, otherwise_ns: int) -> int:
    if not text or text == "0":
        return otherwise_ns
    if not (text.isascii() and text.isdigit()):
        raise Unreadable(f"time was {text[:40]!r}, not milliseconds")
    return int(text) * NS_PER_MS


def _side_of(text: str) -> OrderSide:
    side = _SIDES.get(text)
    if side is None:
        raise Unreadable(f"side was {text[:40]!r}")
    return side


def _plain_text(text: str | None) -> str:
    return "" if text is None or text in _NOT_TOLD else text


def order_report(row: wire.OrderRow, source: ReportSource, ts_ns: int) -> OrderReport | Unknown:
    """
    Return the order of *row*; *ts_ns* stands in where the row has no time.

    Raises:
        Unreadable: unknown status or side, or a number that is none.

    """
    if row.category != _CATEGORY:
        return Unknown(what=f"order of category {row.category}")
    status = STATUSES.get(row.order_status)
    if status is None:
        raise Unreadable(f"order status was {row.order_status[:40]!r}")
    side = _side_of(row.side)
    stop_kind = _plain_text(row.stop_order_type)
    leg = _leg_of(row.position_idx)
    # In hedge mode every order against its leg only closes.
    against = leg is not None and side is leg.exit_side
    reduce_only = row.reduce_only or row.close_on_trigger or against
    order_type, role = _kind_of(row, side, stop_kind, reduce_only=reduce_only)
    qty = told(row.qty, "qty")
    # qty 0 with closeOnTrigger closes whatever is open (venues.md 3.3).
    closes_all = qty == 0 and row.close_on_trigger
    return OrderReport(
        instrument_id=instrument_id(row.symbol, Venue.BYBIT),
        client_order_id=row.order_link_id or "",
        venue_order_id=row.order_id,
        conditional=bool(stop_kind),
        status=status,
        side=side,
        order_type=order_type,
        qty=None if closes_all else qty,
        filled_qty=_filled_qty(row),
        reduce_only=reduce_only,
        close_position=closes_all,
        role=role,
        source=source,
        ts_event=_time_of(row.updated_time, ts_ns),
        average_px=price_of(row.avg_price, "avgPrice"),
        trigger_price=price_of(row.trigger_price, "triggerPrice"),
        position_bound=stop_kind in _BOUND_ROLES,
        reject_code=_plain_text(row.reject_reason),
        reject_message=_plain_text(row.cancel_type),
        leg=leg,
    )


def _filled_qty(row: wire.OrderRow) -> Decimal:
    filled = decimal_of(row.cum_exec_qty, "cumExecQty")
    if filled is None:
        # Only an order that waits for its trigger cannot have executed.
        if row.order_status == "Untriggered":
            return ZERO
        raise Unreadable(f"cumExecQty was not told for status {row.order_status}")
    if filled < 0:
        raise Unreadable(f"cumExecQty was {filled}, must be >= 0")
    return filled


def _kind_of(
    row: wire.OrderRow, side: OrderSide, stop_kind: str, *, reduce_only: bool
) -> tuple[OrderType, ProtectionRole]:
    if row.order_type not in {"Market", "Limit"}:
        raise Unreadable(f"order type was {row.order_type[:40]!r}")
    if row.order_type == "Limit":
        # A conditional limit order may never fill: it protects nothing.
        return OrderType.LIMIT, ProtectionRole.NONE
    if not stop_kind:
        return OrderType.MARKET, ProtectionRole.NONE
    role = _BOUND_ROLES.get(stop_kind)
    if role is None:
        role = _role_by_direction(side, row.trigger_direction)
    order_type = (
        OrderType.TAKE_PROFIT_MARKET if role is ProtectionRole.TARGET else OrderType.STOP_MARKET
    )
    return order_type, role if reduce_only else ProtectionRole.NONE


def _role_by_direction(side: OrderSide, direction: int | None) -> ProtectionRole:
    """Return what a conditional order is: a sell on a fall is a stop, on a rise a target."""
    if direction not in {_RISE, _FALL}:
        return ProtectionRole.NONE
    adverse = _FALL if side is OrderSide.SELL else _RISE
    return ProtectionRole.STOP if direction == adverse else ProtectionRole.TARGET


def execution(row: wire.ExecutionRow) -> Fill | FundingBooked | Unknown:
    """
    Return what *row* booked.

    Trades, liquidations (BustTrade) and deleveraging (AdlTrade) change the position and are fills;
    funding is not; other types are Unknown. A fee we pay is > 0, funding we pay is < 0.

    Raises:
        Unreadable: unknown side, a number that is none, a fill without quantity or price.

    """
    if row.category != _CATEGORY:
        return Unknown(what=f"execution of category {row.category}")
    instrument = instrument_id(row.symbol, Venue.BYBIT)
    ts_event = _time_of(row.exec_time, 0)
    if not row.exec_id or ts_event == 0:
        raise Unreadable("execution without id or time")
    if row.exec_type == "Funding":
        return FundingBooked(
            instrument_id=instrument,
            amount=-told(row.exec_fee, "execFee"),
            funding_id=row.exec_id,
            ts_event=ts_event,
        )
    if row.exec_type not in _FILL_TYPES:
        return Unknown(what=f"execution of type {row.exec_type}")
    qty, price = told(row.exec_qty, "execQty"), told(row.exec_price, "execPrice")
    if not qty > 0 or not price > 0:
        raise Unreadable(f"fill had qty {qty} at price {price}, both must be > 0")
    side = _side_of(row.side)
    # The row has no positionIdx; what it closed tells its position in hedge mode (venues.md 3.7).
    closed = decimal_of(row.closed_size, "closedSize")
    return Fill(
        instrument_id=instrument,
        fill_id=row.exec_id,
        client_order_id=row.order_link_id or "",
        venue_order_id=row.order_id,
        side=side,
        last_qty=qty,
        last_px=price,
        fee=told(row.exec_fee, "execFee"),
        liquidity=Liquidity.MAKER if row.is_maker else Liquidity.TAKER,
        origin=_origin_of(row),
        ts_event=ts_event,
        realized_pnl=decimal_of(row.exec_pnl, "execPnl"),
        leg=None if closed is None else leg_by(side, closes=closed > 0),
    )


def _origin_of(row: wire.ExecutionRow) -> FillOrigin:
    created, stop_kind = row.create_type or "", row.stop_order_type or ""
    if row.exec_type == "AdlTrade" or created.startswith("CreateByAdl"):
        return FillOrigin.ADL
    if row.exec_type == "BustTrade" or created.startswith(("CreateByLiq", "CreateByTakeOver")):
        return FillOrigin.LIQUIDATION
    role = _BOUND_ROLES.get(created.removeprefix("CreateBy"), _BOUND_ROLES.get(stop_kind))
    if role is ProtectionRole.STOP:
        return FillOrigin.STOP
    return FillOrigin.TARGET if role is ProtectionRole.TARGET else FillOrigin.ORDER


def position_report(row: wire.PositionRow, ts_ns: int) -> PositionReport | Unknown:
    """
    Return the position of *row*; *ts_ns* stands in where the row has no time.

    *isolated* is not told: margin mode is a setting of the whole account (venues.md 3.6).

    Raises:
        Unreadable: an open position without side or entry price, an index that is none.

    """
    if row.category != _CATEGORY:
        return Unknown(what=f"position of category {row.category}")
    size = told(row.size, "size")
    leg = _leg_of(row.position_idx)
    if size < 0:
        raise Unreadable(f"size was {size}, must be >= 0")
    entry = price_of(row.avg_price or row.entry_price, "entry price")
    if size > 0 and entry is None:
        raise Unreadable(f"position of {size} had no entry price")
    return PositionReport(
        instrument_id=instrument_id(row.symbol, Venue.BYBIT),
        qty_signed=size * _sign_of(row, leg) if size > 0 else ZERO,
        entry_px_avg=entry if size > 0 else None,
        ts_event=_time_of(row.updated_time, ts_ns),
        mark_price=price_of(row.mark_price, "markPrice"),
        liquidation_price=price_of(row.liq_price, "liqPrice"),
        leverage=_leverage_of(row.leverage),
        stop_price=price_of(row.stop_loss, "stopLoss"),
        target_price=price_of(row.take_profit, "takeProfit"),
        leg=leg,
    )


def _leg_of(position_idx: int) -> PositionSide | None:
    """Return the leg, None for 0, which is one-way mode."""
    if position_idx not in _LEGS:
        raise Unreadable(f"positionIdx was {position_idx}")
    return _LEGS[position_idx]


def _sign_of(row: wire.PositionRow, leg: PositionSide | None) -> int:
    sign = _side_of(row.side or "").sign
    if leg is not None and sign != leg.sign:
        raise Unreadable(f"side was {row.side} with positionIdx {row.position_idx}")
    return sign


def _leverage_of(text: str | None) -> int | None:
    leverage = price_of(text, "leverage")
    if leverage is None or leverage != leverage.to_integral_value():
        return None
    return int(leverage)


def balance_report(row: wire.WalletRow, ts_ns: int) -> BalanceReport | Unknown:
    """
    Return the USDT wallet.

    Available is what no order and no position has taken; None where a part of that is not told.
    The account's own total is in USD over all coins, and "" in isolated margin.

    Raises:
        Unreadable: when the wallet balance is not told: an unknown balance is never 0 (R43).

    """
    coin = next((coin for coin in row.coin if coin.coin == SETTLE_COIN), None)
    if coin is None:
        return Unknown(what=f"wallet without {SETTLE_COIN}")
    wallet = told(coin.wallet_balance, "walletBalance")
    order_margin = decimal_of(coin.total_order_im, "totalOrderIM")
    position_margin = decimal_of(coin.total_position_im, "totalPositionIM")
    available = None
    if order_margin is not None and position_margin is not None:
        locked = decimal_of(coin.locked, "locked")
        available = wallet - order_margin - position_margin - (ZERO if locked is None else locked)
    return BalanceReport(
        venue=Venue.BYBIT,
        wallet=wallet,
        available=available,
        equity=decimal_of(coin.equity, "equity"),
        ts_event=ts_ns,
    )


def instrument(row: wire.InstrumentRow, risk: wire.RiskRow, fee: wire.FeeRow) -> Instrument:
    """
    Return the rules of an instrument from its three answers; *risk* is the lowest tier.

    Raises:
        Unreadable: when a rule is not told.

    """
    lots = row.lot_size_filter
    leverage_max = min(
        told(row.leverage_filter.max_leverage, "maxLeverage"),
        told(risk.max_leverage, "maxLeverage"),
    )
    tick_size, qty_step = (
        told(row.price_filter.tick_size, "tickSize"),
        told(lots.qty_step, "qtyStep"),
    )
    if not tick_size > 0 or not qty_step > 0:
        raise Unreadable(f"tickSize was {tick_size}, qtyStep {qty_step}, both must be > 0")
    return Instrument(
        instrument_id=instrument_id(row.symbol, Venue.BYBIT),
        tick_size=tick_size,
        qty_step=qty_step,
        qty_min=told(lots.min_order_qty, "minOrderQty"),
        qty_max=price_of(lots.max_order_qty, "maxOrderQty"),
        market_qty_max=price_of(lots.max_mkt_order_qty, "maxMktOrderQty"),
        notional_min=price_of(lots.min_notional_value, "minNotionalValue"),
        leverage_max=int(leverage_max),
        maint_margin_rate=told(risk.maintenance_margin, "maintenanceMargin"),
        taker_fee_rate=told(fee.taker_fee_rate, "takerFeeRate"),
        maker_fee_rate=told(fee.maker_fee_rate, "makerFeeRate"),
        funding_interval_ns=row.funding_interval * _MINUTE_NS,
        tradable=row.status == "Trading" and row.contract_type == "LinearPerpetual",
    )


AccountFact = OrderReport | Fill | FundingBooked | PositionReport | BalanceReport

_ORDER: Final = msgspec.json.Decoder(wire.OrderRow)
_EXECUTION: Final = msgspec.json.Decoder(wire.ExecutionRow)
_POSITION: Final = msgspec.json.Decoder(wire.PositionRow)
_WALLET: Final = msgspec.json.Decoder(wire.WalletRow)


def read_row(topic: str, raw: msgspec.Raw, ts_ns: int) -> AccountFact | Unknown:
    """
    Return what one row of a private stream tells; *ts_ns* is the frame's time.

    Topics may carry a category (order.linear). execution.fast has no fees and is not read.

    Raises:
        VenueProtocolError: when the row cannot be understood.

    """
    operation = f"stream {topic}"
    try:
        match topic.removesuffix(f".{_CATEGORY}"):
            case "order":
                return order_report(decode(_ORDER, raw, operation), ReportSource.STREAM, ts_ns)
            case "execution":
                return execution(decode(_EXECUTION, raw, operation))
            case "position":
                return position_report(decode(_POSITION, raw, operation), ts_ns)
            case "wallet":
                return balance_report(decode(_WALLET, raw, operation), ts_ns)
            case _:
                return Unknown(what=f"topic {topic}")
    except Unreadable as error:
        raise unreadable(bytes(raw), str(error), operation) from error


def read_rest(row: object, shape: type[T], read: Callable[[T], V], operation: str) -> V:
    """
    Return what *read* makes of a REST row of *shape*.

    Raises:
        VenueProtocolError: when the row is not of that shape or cannot be understood.

    """
    try:
        return read(convert(row, shape, operation))
    except Unreadable as error:
        raise unreadable(row, str(error), operation) from error
