"""pybit, as installed, over HTTP: a trade from leverage to closed profit, and every refusal."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

BTC = {"category": "linear", "symbol": "BTCUSDT"}
BUY = {**BTC, "side": "Buy"}
SELL = {**BTC, "side": "Sell"}
LIMIT_BUY = {**BUY, "orderType": "Limit", "qty": "0.01"}
FULL = {"tpslMode": "Full", "positionIdx": 0}


def rows(answer: dict[str, Any]) -> list[Any]:
    """Return the list of an answer."""
    listed: list[Any] = answer["result"]["list"]
    return listed


def test_pybit_reads_the_market(pybit_sdk: dict[str, Any]) -> None:
    """It finds instruments, clock, prices, book and candles where it looks for them."""
    client = pybit_sdk["client"]
    listed = rows(client.get_instruments_info(category="linear"))
    assert ["BTCUSDT", "ETHUSDT"] == [row["symbol"] for row in listed]
    assert int(client.get_server_time()["result"]["timeSecond"]) > 1_767_225_600
    assert "50000.0" == rows(client.get_tickers(**BTC))[0]["lastPrice"]
    book = client.get_orderbook(**BTC, limit=5)["result"]
    assert (5, 5) == (len(book["b"]), len(book["a"]))
    bars = rows(client.get_kline(**BTC, interval=1, limit=3))
    mark = rows(client.get_mark_price_kline(**BTC, interval=1, limit=3))
    assert [bar[:5] for bar in bars] == mark
    assert mark == rows(client.get_index_price_kline(**BTC, interval=1, limit=3))
    assert [] == rows(client.get_funding_rate_history(**BTC))
    assert "0.005" == rows(client.get_risk_limit(**BTC))[0]["maintenanceMargin"]
    assert "0.00055" == rows(client.get_fee_rates(**BTC))[0]["takerFeeRate"]


def test_pybit_trades_from_entry_to_closed_profit(twin: Any, pybit_sdk: dict[str, Any]) -> None:
    """Entry with stop, moved stop, limit changed and canceled, the stop fires (R46, R77)."""
    client = pybit_sdk["client"]
    client.set_leverage(**BTC, buyLeverage="10", sellLeverage="10")
    client.place_order(
        **BUY, orderType="Market", qty="0.02", stopLoss="49400", orderLinkId="entry-1"
    )
    position = rows(client.get_positions(**BTC))[0]
    assert ("Buy", "0.02", "10", "49400") == (
        position["side"],
        position["size"],
        position["leverage"],
        position["stopLoss"],
    )
    client.set_trading_stop(**BTC, **FULL, stopLoss="49500", takeProfit="50500")
    bound = {row["stopOrderType"]: row for row in rows(client.get_open_orders(**BTC))}
    assert {"StopLoss": "49500", "TakeProfit": "50500"} == {
        kind: row["triggerPrice"] for kind, row in bound.items()
    }

    client.place_order(**LIMIT_BUY, price="48000", orderLinkId="limit-1")
    client.amend_order(**BTC, orderLinkId="limit-1", price="48100", qty="0.02")
    limit = rows(client.get_open_orders(**BTC, orderLinkId="limit-1"))[0]
    assert ("48100", "0.02", "New") == (limit["price"], limit["qty"], limit["orderStatus"])
    client.place_order(
        **{**SELL, "orderType": "Market", "qty": "0.01", "reduceOnly": True},
        triggerPrice="48500",
        triggerDirection=2,
        orderLinkId="plain-stop-1",
    )
    client.amend_order(**BTC, orderLinkId="plain-stop-1", triggerPrice="48600")
    client.cancel_order(**BTC, orderLinkId="plain-stop-1")
    client.cancel_order(**BTC, orderLinkId="limit-1")

    twin.move(3)
    assert "0" == rows(client.get_positions(**BTC))[0]["size"]
    assert [] == rows(client.get_open_orders(**BTC))
    history = {row["orderId"]: row for row in rows(client.get_order_history(**BTC))}
    assert "Filled" == history[bound["StopLoss"]["orderId"]]["orderStatus"]
    assert "Cancelled" == history[bound["TakeProfit"]["orderId"]]["orderStatus"]
    fills = rows(client.get_executions(**BTC))
    assert [("Sell", "StopLoss"), ("Buy", "UNKNOWN")] == [
        (row["side"], row["stopOrderType"]) for row in fills
    ]
    closed = rows(client.get_closed_pnl(**BTC))
    assert ["0.02"] == [row["closedSize"] for row in closed]
    log = rows(client.get_transaction_log())
    assert [("TRADE", "0"), ("TRADE", "0.02")] == [(row["type"], row["size"]) for row in log]
    wallet = rows(client.get_wallet_balance(accountType="UNIFIED"))[0]
    assert log[0]["cashBalance"] == wallet["totalWalletBalance"]
    changes = sum(Decimal(row["change"]) for row in log)
    assert Decimal(wallet["totalWalletBalance"]) == 1_000_000 + changes
    assert Decimal(closed[0]["closedPnl"]) < -10


def test_pybit_batches(pybit_sdk: dict[str, Any]) -> None:
    """A batch has retCode 0 and tells each order's fate in retExtInfo alone (venues.md 3.2)."""
    client = pybit_sdk["client"]
    limit = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "price": "45000"}
    placed = client.place_batch_order(
        category="linear",
        request=[
            {**limit, "qty": "0.01", "orderLinkId": "b-1"},
            {**limit, "qty": "0.0001", "orderLinkId": "b-2"},
            {**limit, "qty": "0.03", "orderLinkId": "b-3"},
        ],
    )
    assert [0, 10001, 0] == [one["code"] for one in placed["retExtInfo"]["list"]]
    assert ["b-1", "b-2", "b-3"] == [row["orderLinkId"] for row in rows(placed)]
    amended = client.amend_batch_order(
        category="linear",
        request=[{"symbol": "BTCUSDT", "orderLinkId": "b-1", "price": "45100"}],
    )
    assert [{"code": 0, "msg": "OK"}] == amended["retExtInfo"]["list"]
    canceled = client.cancel_batch_order(
        category="linear",
        request=[
            {"symbol": "BTCUSDT", "orderLinkId": "b-1"},
            {"symbol": "BTCUSDT", "orderLinkId": "b-9"},
        ],
    )
    assert [0, 110001] == [one["code"] for one in canceled["retExtInfo"]["list"]]
    assert ["b-3"] == [row["orderLinkId"] for row in rows(client.get_open_orders(**BTC))]
    assert ["b-3"] == [row["orderLinkId"] for row in rows(client.cancel_all_orders(**BTC))]


def test_pybit_sees_a_market_order_run_out_of_book(pybit_sdk: dict[str, Any]) -> None:
    """An order larger than the book fills in many parts and is canceled with the rest."""
    client = pybit_sdk["client"]
    sent = client.place_order(**BUY, orderType="Market", qty="30")["result"]
    order = rows(client.get_order_history(**BTC, orderId=sent["orderId"]))[0]
    assert ("Cancelled", "EC_NoImmediateQtyToFill") == (order["orderStatus"], order["rejectReason"])
    assert 0 < Decimal(order["cumExecQty"]) < 30
    fills = rows(client.get_executions(**BTC, limit=100))
    assert len(fills) > 10
    assert Decimal(order["cumExecQty"]) == sum(Decimal(row["execQty"]) for row in fills)


def test_pybit_pays_funding(twin: Any, pybit_sdk: dict[str, Any]) -> None:
    """A position held over the settlement pays it: execution, transaction, rate in the history."""
    client = pybit_sdk["client"]
    client.place_order(**BUY, orderType="Market", qty="0.02")
    twin.move(11)
    paid = rows(client.get_executions(**BTC, execType="Funding"))
    assert ["0.204"] == [row["execFee"] for row in paid]
    settled = rows(client.get_transaction_log(type="SETTLEMENT"))
    assert [("-0.204", "-0.204", "0.02")] == [
        (row["funding"], row["change"], row["size"]) for row in settled
    ]
    rates = rows(client.get_funding_rate_history(**BTC))
    assert ["1767225600000"] == [row["fundingRateTimestamp"] for row in rates]


REFUSED: dict[str, tuple[int, str, dict[str, Any]]] = {
    "unknown symbol": (10001, "place_order", {**LIMIT_BUY, "symbol": "NOPEUSDT", "price": "1"}),
    "quantity zero": (10001, "place_order", {**BUY, "orderType": "Market", "qty": "0"}),
    "quantity off step": (10001, "place_order", {**BUY, "orderType": "Market", "qty": "0.0015"}),
    "quantity too large": (10001, "place_order", {**BUY, "orderType": "Market", "qty": "501"}),
    "price off tick": (10001, "place_order", {**LIMIT_BUY, "price": "48000.05"}),
    "notional too small": (110094, "place_order", {**LIMIT_BUY, "qty": "0.001", "price": "4000"}),
    "margin short": (110007, "place_order", {**LIMIT_BUY, "qty": "900", "price": "49000"}),
    "reduce-only, flat": (
        110017,
        "place_order",
        {**SELL, "orderType": "Market", "qty": "0.01", "reduceOnly": True},
    ),
    "falls, but is above": (
        110093,
        "place_order",
        {
            **SELL,
            "orderType": "Market",
            "qty": "0.01",
            "triggerPrice": "50500",
            "triggerDirection": 2,
        },
    ),
    "rises, but is below": (
        110092,
        "place_order",
        {
            **BUY,
            "orderType": "Market",
            "qty": "0.01",
            "triggerPrice": "49500",
            "triggerDirection": 1,
        },
    ),
    "stop on the wrong side": (
        10001,
        "place_order",
        {**BUY, "orderType": "Market", "qty": "0.01", "stopLoss": "50500"},
    ),
    "position index": (
        10001,
        "place_order",
        {**BUY, "orderType": "Market", "qty": "0.01", "positionIdx": 1},
    ),
    "amend unknown": (110001, "amend_order", {**BTC, "orderLinkId": "nobody", "qty": "1"}),
    "cancel unknown": (110001, "cancel_order", {**BTC, "orderLinkId": "nobody"}),
    "stop, flat": (10001, "set_trading_stop", {**BTC, **FULL, "stopLoss": "49500"}),
    "leverage unchanged": (
        110043,
        "set_leverage",
        {**BTC, "buyLeverage": "20", "sellLeverage": "20"},
    ),
    "leverage too high": (
        110013,
        "set_leverage",
        {**BTC, "buyLeverage": "101", "sellLeverage": "101"},
    ),
    "mode unchanged": (
        110025,
        "switch_position_mode",
        {"category": "linear", "symbol": "BTCUSDT", "mode": 0},
    ),
    "margin mode unchanged": (110026, "set_margin_mode", {"setMarginMode": "ISOLATED_MARGIN"}),
    "mode that is none": (10001, "switch_position_mode", {"category": "linear", "mode": 1}),
    "trailing without a position": (
        10001,
        "set_trading_stop",
        {**BTC, **FULL, "trailingStop": "100"},
    ),
    "partial without a position": (
        10001,
        "set_trading_stop",
        {**BTC, "tpslMode": "Partial", "positionIdx": 0, "stopLoss": "49500", "slSize": "1"},
    ),
}


@pytest.mark.parametrize(("code", "name", "request_"), REFUSED.values(), ids=REFUSED)
def test_pybit_hears_why_a_request_is_refused(
    pybit_sdk: dict[str, Any], code: int, name: str, request_: dict[str, Any]
) -> None:
    """Every bad request is an InvalidRequestError with the venue's retCode (R42, venues.md 3.8)."""
    with pytest.raises(pybit_sdk["Refusal"]) as caught:
        getattr(pybit_sdk["client"], name)(**request_)
    assert code == caught.value.status_code


def test_pybit_hears_of_conflicts(pybit_sdk: dict[str, Any]) -> None:
    """A doubled link id, an unchanged stop and a canceled order have codes of their own."""
    client = pybit_sdk["client"]
    client.place_order(**BUY, orderType="Market", qty="0.02", orderLinkId="once")
    client.set_trading_stop(**BTC, **FULL, stopLoss="49500")
    client.place_order(**LIMIT_BUY, price="45000", orderLinkId="gone")
    client.cancel_order(**BTC, orderLinkId="gone")
    acts: tuple[tuple[int, Callable[[], Any]], ...] = (
        (110072, lambda: client.place_order(**LIMIT_BUY, price="45000", orderLinkId="once")),
        (34040, lambda: client.set_trading_stop(**BTC, **FULL, stopLoss="49500")),
        (10001, lambda: client.set_trading_stop(**BTC, **FULL, stopLoss="50500")),
        (110001, lambda: client.cancel_order(**BTC, orderLinkId="gone")),
    )
    for code, act in acts:
        with pytest.raises(pybit_sdk["Refusal"]) as caught:
            act()
        assert code == caught.value.status_code


def test_pybit_hears_of_bad_credentials(pybit_sdk: dict[str, Any]) -> None:
    """A wrong secret or key is refused before anything else is looked at."""
    client = pybit_sdk["client"]
    for code, name in ((10004, "api_secret"), (10003, "api_key")):
        right = getattr(client, name)
        setattr(client, name, "wrong")
        with pytest.raises(pybit_sdk["Refusal"]) as caught:
            client.get_positions(**BTC)
        setattr(client, name, right)
        assert code == caught.value.status_code


def test_pybit_hides_a_wrong_clock(
    pybit_sdk: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    SDK fault: 10002 is retried and then told as "Retries exceeded maximum" (venues.md 4.3).

    With its retries off the venue's answer is still not in the exception.
    """
    helpers = pytest.importorskip("pybit._helpers")
    failed = pytest.importorskip("pybit.exceptions").FailedRequestError
    client = pybit_sdk["client"]
    client.max_retries = 1
    client.retry_delay = 0
    true_ms = helpers.generate_timestamp
    monkeypatch.setattr(helpers, "generate_timestamp", lambda: true_ms() - 60_000)
    with pytest.raises(failed, match="retries exceeded maximum"):
        client.get_positions(**BTC)
    client.retry_codes = {10006}
    with pytest.raises(pybit_sdk["Refusal"]) as caught:
        client.get_positions(**BTC)
    assert 10002 == caught.value.status_code
