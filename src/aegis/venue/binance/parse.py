"""
User-stream frames of Binance as model values. Pure.

Two facts shape this file (venues.md 1.4):

- A triggered stop becomes a MARKET order of the matching engine whose client order id is the
  stop's clientAlgoId, and it fills before the algo service says TRIGGERED. Such a child gives fills
  under that id but no OrderReport: the order is the algo order, its ALGO_UPDATEs tell its state,
  and a second report would look like a second order, or like a conditional one already terminal.
- FINISHED means filled or canceled in the engine; only the filled quantity tells which.

TRADE_LITE is known and left out: it comes ahead of ORDER_TRADE_UPDATE, but without the fee, and a
fill is counted once.
"""

from decimal import Decimal
from typing import Final

from aegis.model.account import (
    BalanceReport,
    OrderReport,
    PositionReport,
    ProtectionRole,
    ReportSource,
)
from aegis.model.events import FundingReported
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderSide, OrderStatus, OrderType, PositionSide
from aegis.venue.binance import wire
from aegis.venue.binance.frames import (
    NS_PER_MS,
    Ack,
    ListenKeyLost,
    Notice,
    Unknown,
    above_zero,
    checked,
    not_understood,
    user_frame,
)

UserFact = (
    OrderReport
    | Fill
    | PositionReport
    | BalanceReport
    | FundingReported
    | ListenKeyLost
    | Notice
    | Ack
    | Unknown
)

ORDER_STATUS: Final = {
    "NEW": OrderStatus.ACCEPTED,
    "NEW_INSURANCE": OrderStatus.ACCEPTED,
    "NEW_ADL": OrderStatus.ACCEPTED,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
# STOP and TAKE_PROFIT end as resting limit orders and may be skipped by the market; a trailing stop
# has no fixed price. Neither ever counts as protection, hence `protection_role`.
ORDER_TYPE: Final = {
    "MARKET": OrderType.MARKET,
    "LIQUIDATION": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "STOP": OrderType.LIMIT,
    "TAKE_PROFIT": OrderType.LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TRAILING_STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
}
_ROLE: Final = {
    "STOP_MARKET": ProtectionRole.STOP,
    "TAKE_PROFIT_MARKET": ProtectionRole.TARGET,
}
# Expire reasons of ORDER_TRADE_UPDATE (venues.md 2.3).
_EXPIRE_REASON: Final = {
    "1": "self-trade prevention",
    "2": "rest of an IOC order",
    "3": "rest of an IOC order and self-trade prevention",
    "4": "knocked out by a reduce-only order of higher priority, or would have flipped",
    "5": "liquidation",
    "6": "good-till-expiry condition not met",
    "7": "symbol delisted",
    "8": "the original order expired after its stop was triggered",
    "9": "market order could not be filled completely",
}
_SETTLEMENT_ASSET: Final = "USDT"
# Fees in another asset (BNB) cannot be counted without a price; the full rate of the lowest tier is
# never less than what was paid (venues.md 6).
_FEE_RATE_TAKER: Final = Decimal("0.0005")
_FEE_RATE_MAKER: Final = Decimal("0.0002")

_HOUR_MS: Final = 3_600_000


def parse_user(frame: bytes, ts_recv: int) -> tuple[UserFact, ...]:
    """
    Turn a frame of the user stream into what it says, in the order it must be believed.

    Raises:
        VenueProtocolError: the bytes are no message of the venue, or one that cannot be true.

    """
    event = user_frame(frame)
    match event:
        case wire.OrderTradeUpdate():
            return _order_facts(event.order)
        case wire.AlgoUpdate():
            return _algo_facts(event)
        case wire.AccountUpdate():
            return _account_facts(event, ts_recv)
        case wire.TradeLite():
            return ()
        case wire.ListenKeyExpired():
            return (ListenKeyLost(),)
        case wire.AccountConfigUpdate() | wire.MarginCall() | wire.TriggerReject():
            return (_notice(event),)
        case _:
            return (event,)


def protection_role(wire_type: str, *, reduces: bool) -> ProtectionRole:
    """Return what an order of the venue's type *wire_type*, which only closes or not, is."""
    return _ROLE.get(wire_type, ProtectionRole.NONE) if reduces else ProtectionRole.NONE


def believed_status(
    status: OrderStatus, filled_qty: Decimal, average_px: Decimal | None
) -> OrderStatus:
    """
    Return *status* unless it is a FILLED without quantity or price, which proves nothing (R32).

    Such an order has what it filled so far; the stream or a query completes it.
    """
    if status is not OrderStatus.FILLED or (filled_qty > 0 and average_px is not None):
        return status
    return OrderStatus.PARTIALLY_FILLED if filled_qty > 0 else OrderStatus.ACCEPTED


def algo_status(
    status: str, filled_qty: Decimal | None, average_px: Decimal | None, payload: object
) -> OrderStatus | None:
    """
    Return the status of a conditional order (venues.md 1.4), None for one we do not know.

    Raises:
        VenueProtocolError: FINISHED without a filled quantity: filled or canceled, nobody knows.

    """
    filled = filled_qty or Decimal(0)
    match status:
        case "NEW":
            return OrderStatus.ACCEPTED
        case "TRIGGERING":
            return OrderStatus.TRIGGERING
        case "TRIGGERED":
            return OrderStatus.PARTIALLY_FILLED if filled > 0 else OrderStatus.TRIGGERING
        case "FINISHED":
            if filled_qty is None:
                raise not_understood(payload, "finished without a filled quantity", "algo order")
            if filled == 0:
                return OrderStatus.CANCELED
            return believed_status(OrderStatus.FILLED, filled, average_px)
        case "CANCELED" | "CANCELLED":
            return OrderStatus.CANCELED
        case "REJECTED":
            return OrderStatus.REJECTED
        case "EXPIRED":
            return OrderStatus.EXPIRED
        case _:
            return None


def leg_of(position_side: str, payload: object, what: str) -> PositionSide | None:
    """
    Return the leg *position_side* names, None for BOTH, which is one-way mode.

    Raises:
        VenueProtocolError: it names none we know.

    """
    if position_side == "BOTH":
        return None
    try:
        return PositionSide(position_side)
    except ValueError:
        raise not_understood(payload, f"position side {position_side[:20]}", what) from None


def reduces(
    side: OrderSide, leg: PositionSide | None, *, reduce_only: bool, close_position: bool
) -> bool:
    """Say whether an order only closes; in hedge mode every order against its leg does."""
    return reduce_only or close_position or (leg is not None and side is leg.exit_side)


def fill_origin(client_order_id: str) -> FillOrigin:
    """Return who caused a fill, by the ids the venue gives its own orders (venues.md 2.5)."""
    if client_order_id.startswith("autoclose-"):
        return FillOrigin.LIQUIDATION
    if client_order_id.startswith("adl_autoclose"):
        return FillOrigin.ADL
    return FillOrigin.ORDER


def fee_usdt(amount: Decimal, asset: str | None, notional: Decimal, *, maker: bool) -> Decimal:
    """Return the fee in USDT, > 0 paid; estimated from above when charged in another asset."""
    if asset == _SETTLEMENT_ASSET or amount == 0:
        return amount
    return notional * (_FEE_RATE_MAKER if maker else _FEE_RATE_TAKER)


def _order_facts(order: wire.OrderFields) -> tuple[UserFact, ...]:
    facts: list[UserFact] = []
    fill = _fill(order)
    if fill is not None:
        facts.append(fill)
    if fill is not None and order.fee_asset not in {_SETTLEMENT_ASSET, None}:
        facts.append(Unknown(f"fee in {order.fee_asset}, counted at the full rate"))
    if not order.algo_id and order.strategy_type is None:
        facts.append(_order_report(order))
    return tuple(facts)


def _fill(order: wire.OrderFields) -> Fill | None:
    what = "ORDER_TRADE_UPDATE"
    last_qty = above_zero(order.last_qty, "last quantity", order, what)
    last_px = above_zero(order.last_px, "last price", order, what)
    if order.execution not in {"TRADE", "CALCULATED"}:
        return None
    if last_qty is None or last_px is None:
        if order.execution == "CALCULATED":
            return None
        raise not_understood(order, "a trade without quantity or price", what)
    fee = Decimal(0) if order.fee is None else checked(order.fee, "fee", order, what)
    profit = order.realized_pnl
    return Fill(
        leg=leg_of(order.position_side, order, what),
        instrument_id=instrument_id(order.symbol, Venue.BINANCE),
        # A liquidation may carry no trade id; order and cumulative quantity name it as well.
        fill_id=str(order.trade_id)
        if order.trade_id > 0
        else f"{order.order_id}-{order.filled_qty}",
        client_order_id=order.client_order_id,
        venue_order_id=str(order.order_id),
        side=order.side,
        last_qty=last_qty,
        last_px=last_px,
        fee=fee_usdt(fee, order.fee_asset, last_qty * last_px, maker=order.maker),
        liquidity=Liquidity.MAKER if order.maker else Liquidity.TAKER,
        origin=fill_origin(order.client_order_id),
        ts_event=order.traded_ms * NS_PER_MS,
        realized_pnl=None if profit is None else checked(profit, "realized profit", order, what),
    )


def _order_report(order: wire.OrderFields) -> OrderReport | Unknown:
    what = "ORDER_TRADE_UPDATE"
    status = ORDER_STATUS.get(order.status)
    order_type = ORDER_TYPE.get(order.order_type)
    if status is None or order_type is None:
        return Unknown(f"{what} {order.order_type} {order.status}")
    filled_qty = checked(order.filled_qty, "filled quantity", order, what)
    average_px = above_zero(order.average_px, "average price", order, what)
    reason = _EXPIRE_REASON.get(order.expire_reason or "", "")
    leg = leg_of(order.position_side, order, what)
    reduce_only = reduces(
        order.side, leg, reduce_only=order.reduce_only, close_position=order.close_position
    )
    return OrderReport(
        instrument_id=instrument_id(order.symbol, Venue.BINANCE),
        client_order_id=order.client_order_id,
        venue_order_id=str(order.order_id),
        conditional=False,
        status=believed_status(status, filled_qty, average_px),
        side=order.side,
        order_type=order_type,
        qty=None if order.close_position else checked(order.qty, "quantity", order, what),
        filled_qty=filled_qty,
        reduce_only=reduce_only,
        close_position=order.close_position,
        role=protection_role(order.order_type, reduces=reduce_only),
        leg=leg,
        source=ReportSource.STREAM,
        ts_event=order.traded_ms * NS_PER_MS,
        average_px=average_px,
        trigger_price=above_zero(order.stop_px, "stop price", order, what),
        reject_code=f"er {order.expire_reason}" if reason else "",
        reject_message=reason,
    )


def _algo_facts(event: wire.AlgoUpdate) -> tuple[UserFact, ...]:
    what = "ALGO_UPDATE"
    algo = event.algo
    filled_qty = None
    if algo.actual_qty is not None:
        filled_qty = checked(algo.actual_qty, "actual quantity", algo, what)
    average_px = above_zero(algo.actual_px, "actual price", algo, what)
    status = algo_status(algo.status, filled_qty, average_px, algo)
    order_type = ORDER_TYPE.get(algo.order_type)
    if status is None or order_type is None:
        return (Unknown(f"{what} {algo.order_type} {algo.status}"),)
    leg = leg_of(algo.position_side, algo, what)
    reduce_only = reduces(
        algo.side, leg, reduce_only=algo.reduce_only, close_position=algo.close_position
    )
    report = OrderReport(
        instrument_id=instrument_id(algo.symbol, Venue.BINANCE),
        client_order_id=algo.client_algo_id,
        venue_order_id=str(algo.algo_id),
        conditional=True,
        status=status,
        side=algo.side,
        order_type=order_type,
        qty=None if algo.close_position else checked(algo.qty, "quantity", algo, what),
        filled_qty=filled_qty or Decimal(0),
        reduce_only=reduce_only,
        close_position=algo.close_position,
        role=protection_role(algo.order_type, reduces=reduce_only),
        leg=leg,
        source=ReportSource.STREAM,
        ts_event=event.transaction_ms * NS_PER_MS,
        average_px=average_px,
        trigger_price=above_zero(algo.trigger_px, "trigger price", algo, what),
        reject_message=(algo.reject_message or "") if status is OrderStatus.REJECTED else "",
    )
    return (report,)


def _account_facts(event: wire.AccountUpdate, ts_recv: int) -> tuple[UserFact, ...]:
    account = event.account
    ts_event = event.transaction_ms * NS_PER_MS
    facts: list[UserFact] = [_position(row, ts_event) for row in account.positions]
    for balance in account.balances:
        if balance.asset != _SETTLEMENT_ASSET:
            continue
        facts.append(
            BalanceReport(
                venue=Venue.BINANCE,
                wallet=checked(balance.wallet, "wallet", balance, "ACCOUNT_UPDATE"),
                available=None,
                equity=None,
                ts_event=ts_event,
            )
        )
        if account.reason == "FUNDING_FEE":
            facts.append(_funding(account, balance, ts_event, ts_recv))
    return tuple(facts)


def leg_qty(qty: Decimal, leg: PositionSide | None) -> Decimal:
    """Return the signed quantity of a row: by its sign, in hedge mode by its leg alone."""
    return qty if leg is None else abs(qty) * leg.sign


def _position(position: wire.AccountPosition, ts_event: int) -> PositionReport:
    what = "ACCOUNT_UPDATE"
    leg = leg_of(position.position_side, position, what)
    qty = leg_qty(checked(position.qty_signed, "position amount", position, what), leg)
    entry_px = above_zero(position.entry_px, "entry price", position, what)
    if qty != 0 and entry_px is None:
        raise not_understood(position, "an open position without entry price", what)
    return PositionReport(
        instrument_id=instrument_id(position.symbol, Venue.BINANCE),
        qty_signed=qty,
        entry_px_avg=entry_px if qty != 0 else None,
        ts_event=ts_event,
        isolated=None if position.margin_type is None else position.margin_type == "isolated",
        leg=leg,
    )


def _funding(
    account: wire.AccountFields, balance: wire.AccountBalance, ts_event: int, ts_recv: int
) -> FundingReported:
    symbol = account.symbol
    if symbol is None and len(account.positions) == 1:
        symbol = account.positions[0].symbol
    return FundingReported(
        ts_event=ts_event,
        ts_recv=ts_recv,
        venue=Venue.BINANCE,
        instrument_id=None if symbol is None else instrument_id(symbol, Venue.BINANCE),
        amount=checked(balance.change, "balance change", balance, "ACCOUNT_UPDATE FUNDING_FEE"),
        funding_id=funding_id(symbol or "", ts_event // NS_PER_MS),
    )


def funding_id(symbol: str, at_ms: int) -> str:
    """
    Return the name of a funding payment, the same from stream and income list.

    A symbol is paid at most once an hour, on the hour (venues.md 6: +-15 s), and the two give
    times some ms apart: the nearest hour names it.
    """
    return f"{(at_ms + _HOUR_MS // 2) // _HOUR_MS}-{symbol}"


def _notice(event: wire.AccountConfigUpdate | wire.MarginCall | wire.TriggerReject) -> Notice:
    if isinstance(event, wire.TriggerReject):
        refused = event.refused
        return Notice(
            "trigger rejected", f"{refused.symbol} order {refused.order_id}: {refused.reason}"
        )
    if isinstance(event, wire.MarginCall):
        return Notice(
            "margin call",
            ", ".join(f"{row.symbol} {row.qty_signed} mark {row.mark}" for row in event.positions),
        )
    if event.leverage is not None:
        told = event.leverage
        return Notice(
            "leverage changed",
            f"{told.symbol} to {told.leverage}",
            leverage=(told.symbol, told.leverage),
        )
    return Notice("asset mode changed", f"multi-assets mode is {event.mode}")
