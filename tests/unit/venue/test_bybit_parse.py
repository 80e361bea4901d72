"""Rows of the account to model values."""

from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest

from aegis.core.errors import VenueProtocolError
from aegis.model.account import BalanceReport, OrderReport, PositionReport, ProtectionRole
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderSide, OrderStatus, OrderType
from aegis.venue.bybit import wire
from aegis.venue.bybit.frames import Unknown
from aegis.venue.bybit.parse import FundingBooked, Unreadable, instrument, read_row

BTC = instrument_id("BTCUSDT", Venue.BYBIT)
MS = 1_000_000

ORDER: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "category": "linear",
    "orderId": "o-1",
    "orderLinkId": "abcd-1-1-EN0",
    "side": "Buy",
    "orderType": "Market",
    "orderStatus": "New",
    "qty": "0.1",
    "cumExecQty": "0",
    "avgPrice": "",
    "reduceOnly": False,
    "closeOnTrigger": False,
    "stopOrderType": "",
    "triggerPrice": "",
    "triggerDirection": 0,
    "rejectReason": "EC_NoError",
    "cancelType": "UNKNOWN",
    "updatedTime": "1672364262457",
}
STOP = ORDER | {
    "orderLinkId": "",
    "side": "Sell",
    "orderStatus": "Untriggered",
    "reduceOnly": True,
    "closeOnTrigger": True,
    "stopOrderType": "StopLoss",
    "triggerPrice": "59000.5",
    "triggerDirection": 2,
}
EXECUTION: dict[str, Any] = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "execId": "e-1",
    "execType": "Trade",
    "execTime": "1672364174443",
    "side": "Sell",
    "orderId": "o-1",
    "orderLinkId": "",
    "execPrice": "95900.1",
    "execQty": "0.5",
    "execFee": "26.37",
    "isMaker": False,
    "createType": "CreateByUser",
    "stopOrderType": "UNKNOWN",
}
POSITION: dict[str, Any] = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "side": "Sell",
    "size": "0.5",
    "positionIdx": 0,
    "entryPrice": "60000",
    "markPrice": "60010",
    "liqPrice": "",
    "leverage": "10",
    "stopLoss": "0.00",
    "takeProfit": "55000",
    "updatedTime": "1697682317038",
}


def _read(topic: str, row: dict[str, Any]) -> Any:
    return read_row(topic, msgspec.Raw(orjson.dumps(row)), 7 * MS)


def _order(**changes: Any) -> OrderReport:
    report = _read("order", ORDER | changes)
    assert isinstance(report, OrderReport)
    return report


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("New", OrderStatus.ACCEPTED),
        ("Untriggered", OrderStatus.ACCEPTED),
        ("Triggered", OrderStatus.TRIGGERING),
        ("PartiallyFilled", OrderStatus.PARTIALLY_FILLED),
        ("Filled", OrderStatus.FILLED),
        ("Cancelled", OrderStatus.CANCELED),
        ("Deactivated", OrderStatus.CANCELED),
        ("Rejected", OrderStatus.REJECTED),
    ],
)
def test_order_statuses(text: str, expected: OrderStatus) -> None:
    """Every documented status has its place in the life of an order."""
    assert expected is _order(orderStatus=text).status


@pytest.mark.parametrize("text", ["", "Exploded", "filled"])
def test_an_unknown_status_is_not_guessed(text: str) -> None:
    """R42, scenario 17: an empty or new status is a protocol error, neither success nor failure."""
    with pytest.raises(VenueProtocolError, match="order status"):
        _read("order", ORDER | {"orderStatus": text})


def test_a_canceled_order_keeps_what_it_executed() -> None:
    """A remainder canceled on a thin book still has its executed quantity and its price."""
    report = _order(
        orderStatus="Cancelled",
        cumExecQty="0.04",
        avgPrice="60000.5",
        cancelType="CancelByUser",
        rejectReason="EC_NoImmediateQtyToFill",
    )
    assert (Decimal("0.04"), Decimal("60000.5")) == (report.filled_qty, report.average_px)
    assert ("EC_NoImmediateQtyToFill", "CancelByUser") == (
        report.reject_code,
        report.reject_message,
    )


def test_a_quantity_that_is_not_told_is_not_zero() -> None:
    """An empty executed quantity is only 0 for an order that still waits for its trigger."""
    with pytest.raises(VenueProtocolError, match="cumExecQty was not told"):
        _read("order", ORDER | {"cumExecQty": ""})
    assert Decimal(0) == _order(orderStatus="Untriggered", cumExecQty="").filled_qty


@pytest.mark.parametrize(
    ("kind", "role", "order_type"),
    [
        ("StopLoss", ProtectionRole.STOP, OrderType.STOP_MARKET),
        ("PartialStopLoss", ProtectionRole.STOP, OrderType.STOP_MARKET),
        ("TrailingStop", ProtectionRole.STOP, OrderType.STOP_MARKET),
        ("TakeProfit", ProtectionRole.TARGET, OrderType.TAKE_PROFIT_MARKET),
        ("PartialTakeProfit", ProtectionRole.TARGET, OrderType.TAKE_PROFIT_MARKET),
    ],
)
def test_children_of_a_position(kind: str, role: ProtectionRole, order_type: OrderType) -> None:
    """The position's own stop and target are told by their kind, since they carry no id of ours."""
    report = _read("order", STOP | {"stopOrderType": kind})
    assert (role, order_type, True, True, "") == (
        report.role,
        report.order_type,
        report.position_bound,
        report.conditional,
        report.client_order_id,
    )
    assert Decimal("59000.5") == report.trigger_price
    assert report.reduce_only


@pytest.mark.parametrize(
    ("side", "direction", "role"),
    [
        ("Sell", 2, ProtectionRole.STOP),
        ("Sell", 1, ProtectionRole.TARGET),
        ("Buy", 1, ProtectionRole.STOP),
        ("Buy", 2, ProtectionRole.TARGET),
        ("Buy", 0, ProtectionRole.NONE),
    ],
)
def test_conditional_orders_by_direction(side: str, direction: int, role: ProtectionRole) -> None:
    """A conditional order of ours is a stop or a target by side and trigger direction."""
    report = _read(
        "order",
        STOP
        | {"stopOrderType": "Stop", "side": side, "triggerDirection": direction}
        | {"orderLinkId": "abcd-1-1-TP0"},
    )
    assert (role, False, True) == (report.role, report.position_bound, report.conditional)


def test_a_conditional_limit_or_an_opening_order_protects_nothing() -> None:
    """Only reduce-only market orders count as protection."""
    limit = _read("order", STOP | {"orderType": "Limit"})
    opening = _read(
        "order", STOP | {"stopOrderType": "Stop", "reduceOnly": False, "closeOnTrigger": False}
    )
    assert (ProtectionRole.NONE, ProtectionRole.NONE) == (limit.role, opening.role)
    assert OrderType.LIMIT is limit.order_type


def test_quantity_zero_with_close_on_trigger_is_the_whole_position() -> None:
    """Quantity 0 with closeOnTrigger closes whatever is open."""
    report = _read("order", STOP | {"qty": "0"})
    assert (None, True) == (report.qty, report.close_position)


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({}, FillOrigin.ORDER),
        ({"createType": ""}, FillOrigin.ORDER),
        ({"createType": "CreateByStopOrder", "stopOrderType": "Stop"}, FillOrigin.ORDER),
        ({"createType": "CreateByStopLoss", "stopOrderType": "StopLoss"}, FillOrigin.STOP),
        ({"createType": "CreateByPartialStopLoss"}, FillOrigin.STOP),
        ({"createType": "CreateByTrailingStop"}, FillOrigin.STOP),
        ({"createType": None, "stopOrderType": "StopLoss"}, FillOrigin.STOP),
        ({"createType": "CreateByTakeProfit"}, FillOrigin.TARGET),
        ({"createType": "CreateByLiq"}, FillOrigin.LIQUIDATION),
        ({"createType": "CreateByTakeOver_PassThrough"}, FillOrigin.LIQUIDATION),
        ({"execType": "BustTrade"}, FillOrigin.LIQUIDATION),
        ({"createType": "CreateByAdl_PassThrough"}, FillOrigin.ADL),
        ({"execType": "AdlTrade"}, FillOrigin.ADL),
    ],
    ids=str,
)
def test_fill_origins(changes: dict[str, Any], origin: FillOrigin) -> None:
    """R79: who caused a fill is told by createType, execType and stopOrderType."""
    fill = _read("execution", EXECUTION | changes)
    assert isinstance(fill, Fill)
    assert origin is fill.origin


def test_a_fill() -> None:
    """An execution becomes a fill with the fee we paid as a positive number."""
    assert Fill(
        instrument_id=BTC,
        fill_id="e-1",
        client_order_id="",
        venue_order_id="o-1",
        side=OrderSide.SELL,
        last_qty=Decimal("0.5"),
        last_px=Decimal("95900.1"),
        fee=Decimal("26.37"),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=1_672_364_174_443 * MS,
    ) == _read("execution", EXECUTION)


@pytest.mark.parametrize("name", ["execPrice", "execQty"])
@pytest.mark.parametrize("text", ["", "0", "-1", "NaN", "x"])
def test_a_fill_without_price_or_quantity_is_an_error(name: str, text: str) -> None:
    """R32: a fill has a price and a quantity above 0, or it is not understood."""
    with pytest.raises(VenueProtocolError):
        _read("execution", EXECUTION | {name: text})


@pytest.mark.parametrize(("fee", "amount"), [("1.25", "-1.25"), ("-0.5", "0.5")])
def test_funding_paid_is_negative(fee: str, amount: str) -> None:
    """Funding is booked as an execution whose fee is what we paid."""
    assert FundingBooked(
        instrument_id=BTC,
        amount=Decimal(amount),
        funding_id="e-1",
        ts_event=1_672_364_174_443 * MS,
    ) == _read("execution", EXECUTION | {"execType": "Funding", "execFee": fee})


def test_what_is_not_ours_to_read_is_unknown() -> None:
    """Other categories, topics and execution types are typed Unknown, never an error."""
    assert Unknown(what="execution of type Settle") == _read(
        "execution", EXECUTION | {"execType": "Settle"}
    )
    assert Unknown(what="order of category spot") == _read("order", ORDER | {"category": "spot"})
    assert Unknown(what="topic greeks") == _read("greeks", {})
    assert Unknown(what="topic execution.fast") == _read("execution.fast", EXECUTION)
    assert isinstance(_read("order.linear", ORDER), OrderReport)


def test_an_open_position() -> None:
    """A short has a negative quantity; "0.00" and "" are no stop and no price."""
    assert PositionReport(
        instrument_id=BTC,
        qty_signed=Decimal("-0.5"),
        entry_px_avg=Decimal(60000),
        ts_event=1_697_682_317_038 * MS,
        mark_price=Decimal(60010),
        liquidation_price=None,
        leverage=10,
        stop_price=None,
        target_price=Decimal(55000),
    ) == _read("position", POSITION)


@pytest.mark.parametrize("side", ["", "Buy", None])
def test_a_flat_position(side: str | None) -> None:
    """Size 0 is flat, with the frame's time where the row has none."""
    report = _read("position", POSITION | {"side": side, "size": "0", "updatedTime": ""})
    assert (Decimal(0), None, 7 * MS) == (report.qty_signed, report.entry_px_avg, report.ts_event)


@pytest.mark.parametrize(
    "changes",
    [{"side": ""}, {"size": ""}, {"size": "-1"}, {"entryPrice": "0"}, {"positionIdx": 1}],
    ids=str,
)
def test_an_open_position_that_is_not_fully_told_is_an_error(changes: dict[str, Any]) -> None:
    """R43: no side, no size, no entry price or hedge mode: not understood, and never flat."""
    with pytest.raises(VenueProtocolError):
        _read("position", POSITION | changes)


def test_the_wallet() -> None:
    """Available is the balance without what orders and positions took; the rest is not told."""
    coin = {"coin": "USDT", "walletBalance": "100.5", "equity": "101", "locked": ""}
    full = coin | {"totalOrderIM": "1.5", "totalPositionIM": "20"}
    report = _read("wallet", {"coin": [{"coin": "BTC"}, full]})
    assert (
        BalanceReport(
            venue=Venue.BYBIT,
            wallet=Decimal("100.5"),
            available=Decimal(79),
            equity=Decimal(101),
            ts_event=7 * MS,
        )
        == report
    )
    assert _read("wallet", {"coin": [coin]}).available is None


def test_a_balance_that_is_not_told_is_not_zero() -> None:
    """R43: an empty balance is an error, a message about other coins is none of ours."""
    with pytest.raises(VenueProtocolError, match="walletBalance was not told"):
        _read("wallet", {"coin": [{"coin": "USDT", "walletBalance": ""}]})
    assert Unknown(what="wallet without USDT") == _read("wallet", {"coin": []})


def _rules(**lots: str) -> Any:
    row = wire.InstrumentRow(
        symbol="BTCUSDT",
        contract_type="LinearPerpetual",
        status="Trading",
        quote_coin="USDT",
        funding_interval=480,
        leverage_filter=wire.LeverageFilter(max_leverage="100.00"),
        price_filter=wire.PriceFilter(tick_size="0.10"),
        lot_size_filter=wire.LotSizeFilter(
            **({"qty_step": "0.001", "min_order_qty": "0.001"} | lots)
        ),
    )
    risk = wire.RiskRow(
        symbol="BTCUSDT",
        risk_limit_value="2000000",
        maintenance_margin="0.005",
        max_leverage="90.00",
    )
    fee = wire.FeeRow(symbol="BTCUSDT", taker_fee_rate="0.00055", maker_fee_rate="0.0002")
    return instrument(row, risk, fee)


def test_an_instrument() -> None:
    """Rules come from three answers; a limit that is not told is None."""
    rules = _rules(max_mkt_order_qty="500.000")
    assert (Decimal("0.10"), Decimal("500.000"), None, 90, Decimal("0.005")) == (
        rules.tick_size,
        rules.market_qty_max,
        rules.qty_max,
        rules.leverage_max,
        rules.maint_margin_rate,
    )
    assert 8 * 3600 * 1_000_000_000 == rules.funding_interval_ns
    with pytest.raises(Unreadable):
        _rules(qty_step="0")
