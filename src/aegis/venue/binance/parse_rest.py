"""REST answers of Binance as model values. Pure; every function raises VenueProtocolError alone."""

from decimal import Decimal
from typing import Final

from aegis.model.account import BalanceReport, OrderReport, PositionReport, ReportSource
from aegis.model.fill import Fill, Liquidity
from aegis.model.instrument import Instrument, Venue, instrument_id
from aegis.venue.binance import wire
from aegis.venue.binance.frames import NS_PER_MS, above_zero, checked, not_understood, row, rows
from aegis.venue.binance.parse import (
    ORDER_STATUS,
    ORDER_TYPE,
    algo_status,
    believed_status,
    fee_usdt,
    fill_origin,
    leg_of,
    leg_qty,
    protection_role,
    reduces,
)

FUNDING_INTERVAL_HOURS_DEFAULT: Final = 8
_NS_PER_HOUR: Final = 3_600 * 1_000_000_000


def parse_order(answer: object, source: ReportSource) -> OrderReport:
    """Turn a row of order, openOrders or allOrders into a report."""
    what = "order"
    order = row(answer, wire.OrderRow, what)
    status = ORDER_STATUS.get(order.status)
    order_type = ORDER_TYPE.get(order.order_type)
    if status is None or order_type is None:
        raise not_understood(answer, f"type {order.order_type} status {order.status}", what)
    filled_qty = checked(order.executed_qty, "executedQty", answer, what)
    average_px = above_zero(order.avg_price, "avgPrice", answer, what)
    leg = leg_of(order.position_side, answer, what)
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
        qty=None if order.close_position else checked(order.orig_qty, "origQty", answer, what),
        filled_qty=filled_qty,
        reduce_only=reduce_only,
        close_position=order.close_position,
        role=protection_role(order.order_type, reduces=reduce_only),
        leg=leg,
        source=source,
        ts_event=order.update_time * NS_PER_MS,
        average_px=average_px,
        trigger_price=above_zero(order.stop_price, "stopPrice", answer, what),
    )


def parse_algo_order(answer: object, source: ReportSource) -> OrderReport:
    """
    Turn a row of algoOrder, openAlgoOrders or allAlgoOrders into a report.

    A FINISHED row without `actualQty` raises: filled or canceled, only the child order tells.
    """
    what = "algo order"
    algo = row(answer, wire.AlgoRow, what)
    filled_qty = None
    if algo.actual_qty is not None:
        filled_qty = checked(algo.actual_qty, "actualQty", answer, what)
    average_px = above_zero(algo.actual_price, "actualPrice", answer, what)
    status = algo_status(algo.algo_status, filled_qty, average_px, answer)
    order_type = ORDER_TYPE.get(algo.order_type)
    if status is None or order_type is None:
        raise not_understood(answer, f"type {algo.order_type} status {algo.algo_status}", what)
    leg = leg_of(algo.position_side, answer, what)
    reduce_only = reduces(
        algo.side, leg, reduce_only=algo.reduce_only, close_position=algo.close_position
    )
    return OrderReport(
        instrument_id=instrument_id(algo.symbol, Venue.BINANCE),
        client_order_id=algo.client_algo_id,
        venue_order_id=str(algo.algo_id),
        conditional=True,
        status=status,
        side=algo.side,
        order_type=order_type,
        qty=None if algo.close_position else checked(algo.quantity, "quantity", answer, what),
        filled_qty=filled_qty or Decimal(0),
        reduce_only=reduce_only,
        close_position=algo.close_position,
        role=protection_role(algo.order_type, reduces=reduce_only),
        leg=leg,
        source=source,
        ts_event=algo.update_time * NS_PER_MS,
        average_px=average_px,
        trigger_price=above_zero(algo.trigger_price, "triggerPrice", answer, what),
    )


def parse_trades(answer: object) -> tuple[wire.TradeRow, ...]:
    """Turn the answer of userTrades into rows, oldest first."""
    return tuple(rows(answer, wire.TradeRow, "userTrades"))


def fill_of(trade: wire.TradeRow, client_order_id: str) -> Fill:
    """
    Turn a row of userTrades into a fill of the order *client_order_id*.

    The id is no field of the row; it is looked up by `trade.order_id`.
    """
    what = "userTrades"
    qty = above_zero(trade.qty, "qty", trade, what)
    price = above_zero(trade.price, "price", trade, what)
    if qty is None or price is None:
        raise not_understood(trade, "a trade without quantity or price", what)
    commission = checked(trade.commission, "commission", trade, what)
    profit = trade.realized_pnl
    return Fill(
        instrument_id=instrument_id(trade.symbol, Venue.BINANCE),
        fill_id=str(trade.id),
        client_order_id=client_order_id,
        venue_order_id=str(trade.order_id),
        side=trade.side,
        last_qty=qty,
        last_px=price,
        fee=fee_usdt(commission, trade.commission_asset, qty * price, maker=trade.maker),
        liquidity=Liquidity.MAKER if trade.maker else Liquidity.TAKER,
        origin=fill_origin(client_order_id),
        ts_event=trade.time * NS_PER_MS,
        realized_pnl=None if profit is None else checked(profit, "realizedPnl", trade, what),
        leg=leg_of(trade.position_side, trade, what),
    )


def parse_positions(
    answer: object, configs: dict[str, wire.SymbolConfigRow]
) -> tuple[tuple[PositionReport, ...], Decimal]:
    """
    Turn the answer of positionRisk v3 into reports and the sum of unrealized profits, USDT.

    In hedge mode there is a row for each leg, and its quantity is signed by the leg.
    *configs* tells leverage and margin type, which v3 does not (venues.md 2.4).
    """
    what = "positionRisk"
    reports = []
    unrealized = Decimal(0)
    for position in rows(answer, wire.PositionRow, what):
        leg = leg_of(position.position_side, position, what)
        qty = leg_qty(checked(position.position_amt, "positionAmt", position, what), leg)
        entry_px = above_zero(position.entry_price, "entryPrice", position, what)
        if qty != 0 and entry_px is None:
            raise not_understood(position, "an open position without entry price", what)
        unrealized += checked(position.un_realized_profit, "unRealizedProfit", position, what)
        config = configs.get(position.symbol)
        reports.append(
            PositionReport(
                instrument_id=instrument_id(position.symbol, Venue.BINANCE),
                qty_signed=qty,
                entry_px_avg=entry_px if qty != 0 else None,
                ts_event=position.update_time * NS_PER_MS,
                mark_price=above_zero(position.mark_price, "markPrice", position, what),
                liquidation_price=above_zero(
                    position.liquidation_price, "liquidationPrice", position, what
                ),
                leverage=None if config is None else config.leverage,
                isolated=None if config is None else config.isolated,
                leg=leg,
            )
        )
    return tuple(reports), unrealized


def parse_balance(answer: object, unrealized: Decimal, ts_event: int) -> BalanceReport:
    """Turn the answer of balance v3 into a report; a missing USDT row raises, never 0 (R43)."""
    for balance in rows(answer, wire.BalanceRow, "balance"):
        if balance.asset == "USDT":
            wallet = checked(balance.balance, "balance", balance, "balance")
            return BalanceReport(
                venue=Venue.BINANCE,
                wallet=wallet,
                available=checked(
                    balance.available_balance, "availableBalance", balance, "balance"
                ),
                equity=wallet + unrealized,
                ts_event=ts_event,
            )
    raise not_understood(answer, "no USDT balance", "balance")


def parse_symbol_configs(answer: object) -> dict[str, wire.SymbolConfigRow]:
    """Turn the answer of symbolConfig into leverage and margin type by symbol."""
    return {config.symbol: config for config in rows(answer, wire.SymbolConfigRow, "symbolConfig")}


def parse_exchange_info(answer: object) -> dict[str, wire.SymbolRow]:
    """Turn the answer of exchangeInfo into rows by symbol."""
    return {
        symbol.symbol: symbol for symbol in row(answer, wire.ExchangeInfo, "exchangeInfo").symbols
    }


def parse_brackets(answer: object) -> dict[str, wire.BracketRow]:
    """Turn the answer of leverageBracket into the lowest tier by symbol."""
    lowest = {}
    for tiers in rows(answer, wire.SymbolBrackets, "leverageBracket"):
        if not tiers.brackets:
            raise not_understood(tiers, "no tier", "leverageBracket")
        lowest[tiers.symbol] = min(tiers.brackets, key=lambda tier: tier.bracket)
    return lowest


def parse_instrument(
    symbol: wire.SymbolRow,
    lowest_tier: wire.BracketRow,
    commission: wire.CommissionRow,
    funding_interval_hours: int,
) -> Instrument:
    """
    Join what the venue tells about one symbol at four places.

    pricePrecision and quantityPrecision are neither tick nor step; the filters are (venues.md 2.3).
    """
    what = f"exchangeInfo {symbol.symbol}"
    filters = {rule.filter_type: rule for rule in symbol.filters}
    for name in ("PRICE_FILTER", "LOT_SIZE"):
        if name not in filters:
            raise not_understood(symbol, f"no filter {name}", what)
    lot = filters["LOT_SIZE"]
    market_lot = filters.get("MARKET_LOT_SIZE", lot)
    notional = filters.get("MIN_NOTIONAL")
    tick_size = above_zero(filters["PRICE_FILTER"].tick_size, "tickSize", symbol, what)
    steps = [
        step
        for step in (
            above_zero(lot.step_size, "stepSize", symbol, what),
            above_zero(market_lot.step_size, "stepSize", symbol, what),
        )
        if step is not None
    ]
    if tick_size is None or not steps:
        raise not_understood(symbol, "tick or step is not above 0", what)
    return Instrument(
        instrument_id=instrument_id(symbol.symbol, Venue.BINANCE),
        tick_size=tick_size,
        # Entries go to market: the coarser of both steps fits every order.
        qty_step=max(steps),
        qty_min=max(
            checked(lot.min_qty, "minQty", symbol, what),
            checked(market_lot.min_qty, "minQty", symbol, what),
        ),
        qty_max=above_zero(lot.max_qty, "maxQty", symbol, what),
        market_qty_max=above_zero(market_lot.max_qty, "maxQty", symbol, what),
        notional_min=None
        if notional is None
        else above_zero(notional.notional, "notional", symbol, what),
        leverage_max=lowest_tier.initial_leverage,
        maint_margin_rate=checked(
            lowest_tier.maint_margin_ratio, "maintMarginRatio", lowest_tier, what
        ),
        taker_fee_rate=checked(
            commission.taker_commission_rate, "takerCommissionRate", commission, what
        ),
        maker_fee_rate=checked(
            commission.maker_commission_rate, "makerCommissionRate", commission, what
        ),
        funding_interval_ns=funding_interval_hours * _NS_PER_HOUR,
        tradable=symbol.status == "TRADING" and symbol.contract_type == "PERPETUAL",
    )
