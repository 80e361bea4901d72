"""python-binance, as installed, over HTTP: a trade from leverage to income, and every refusal."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

BTC = {"symbol": "BTCUSDT"}
BUY = {**BTC, "side": "BUY"}
SELL = {**BTC, "side": "SELL"}


def test_python_binance_reads_the_market(binance_sdk: dict[str, Any]) -> None:
    """It finds instruments, clock, prices, book and candles where it looks for them."""
    client = binance_sdk["client"]
    symbols = {each["symbol"]: each for each in client.futures_exchange_info()["symbols"]}
    assert {"BTCUSDT", "ETHUSDT"} == set(symbols)
    assert "0.1" == symbols["BTCUSDT"]["filters"][0]["tickSize"]
    assert client.futures_time()["serverTime"] > 1_767_225_600_000
    assert "50000.0" == client.futures_symbol_ticker(**BTC)["price"]
    day = client.futures_ticker(**BTC)
    assert ("50000.0", "50000.0", "1375.000") == (day["lastPrice"], day["openPrice"], day["volume"])
    assert 2 == len(client.futures_ticker())
    book = client.futures_order_book(**BTC, limit=5)
    assert 5 == len(book["bids"]) == len(book["asks"])
    assert book["asks"][0][0] == client.futures_orderbook_ticker(**BTC)["askPrice"]
    bars = client.futures_klines(**BTC, interval="1m", limit=3)
    assert [12, 12, 12] == [len(bar) for bar in bars]
    pair = {"pair": "BTCUSDT", "interval": "1m", "limit": 3}
    assert bars == client.futures_continuous_klines(**pair, contractType="PERPETUAL")
    assert bars == client.futures_mark_price_klines(**BTC, interval="1m", limit=3)
    assert bars == client.futures_index_price_klines(**pair)
    history = {"start_str": "2025-12-31 22:00", "end_str": "2025-12-31 22:10"}
    assert 11 == len(client.futures_historical_klines(symbol="BTCUSDT", interval="1m", **history))
    assert "50000.00000000" == client.futures_mark_price(**BTC)["markPrice"]
    assert [] == client.futures_funding_rate(**BTC)
    assert 2 == len(client.futures_leverage_bracket())


def test_python_binance_sets_the_account(binance_sdk: dict[str, Any]) -> None:
    """Leverage, margin type and position mode answer as the venue does, also when unchanged."""
    client, refusal = binance_sdk["client"], binance_sdk["Refusal"]
    assert 10 == client.futures_change_leverage(**BTC, leverage=10)["leverage"]
    assert 10 == client.futures_symbol_config(**BTC)[0]["leverage"]
    with pytest.raises(refusal, match="code=-4046"):
        client.futures_change_margin_type(**BTC, marginType="ISOLATED")
    assert {"dualSidePosition": False} == client.futures_get_position_mode()
    with pytest.raises(refusal, match="code=-4059"):
        client.futures_change_position_mode(dualSidePosition=False)
    assert "0.0005" == client.futures_commission_rate(**BTC)["takerCommissionRate"]
    assert "1000000.00000000" == client.futures_account_balance()[0]["balance"]
    assert client.futures_account()["canTrade"]


def test_python_binance_trades_from_entry_to_income(twin: Any, binance_sdk: dict[str, Any]) -> None:
    """Entry, stop, target, limit changed and canceled, the stop fires (R46, R77)."""
    client = binance_sdk["client"]
    entry = client.futures_create_order(
        **BUY, type="MARKET", quantity="0.02", newOrderRespType="RESULT"
    )
    assert ("FILLED", "0.020") == (entry["status"], entry["executedQty"])
    assert "0.020" == client.futures_position_information()[0]["positionAmt"]
    stop = client.futures_create_order(
        **SELL, type="STOP_MARKET", stopPrice="49500", closePosition=True, clientAlgoId="stop-1"
    )
    target = client.futures_create_order(
        **SELL, type="TAKE_PROFIT_MARKET", stopPrice="50500", quantity="0.02", reduceOnly=True
    )
    assert ("NEW", "49500.0", True) == (
        stop["algoStatus"],
        stop["triggerPrice"],
        stop["closePosition"],
    )
    waiting = client.futures_get_open_orders(**BTC, conditional=True)
    assert [stop["algoId"], target["algoId"]] == [each["algoId"] for each in waiting]
    assert [] == client.futures_get_open_orders(**BTC)

    limit = client.futures_create_order(
        **BUY, type="LIMIT", timeInForce="GTC", quantity="0.01", price="48000"
    )
    named = {"orderId": limit["orderId"]}
    client.futures_modify_order(**BUY, **named, quantity="0.02", price="48100")
    assert "48100.0" == client.futures_get_order(**BTC, **named)["price"]
    assert [limit["orderId"]] == [o["orderId"] for o in client.futures_get_open_orders(**BTC)]
    assert "CANCELED" == client.futures_cancel_order(**BTC, **named)["status"]

    twin.move(3)
    assert [] == client.futures_position_information()
    fired = client.futures_get_order(**BTC, clientAlgoId="stop-1")
    assert "FINISHED" == fired["algoStatus"]
    orders = {o["clientOrderId"]: o for o in client.futures_get_all_orders(**BTC)}
    assert ("MARKET", "FILLED", int(fired["actualOrderId"])) == (
        orders["stop-1"]["type"],
        orders["stop-1"]["status"],
        orders["stop-1"]["orderId"],
    )
    left = client.futures_get_open_orders(**BTC, conditional=True)
    assert [target["algoId"]] == [each["algoId"] for each in left]
    client.futures_cancel_all_open_orders(**BTC, conditional=True)
    states = [o["algoStatus"] for o in client.futures_get_all_orders(**BTC, conditional=True)]
    assert ["FINISHED", "CANCELED"] == states

    trades = client.futures_account_trades(**BTC)
    assert [("BUY", "0.020"), ("SELL", "0.020")] == [(t["side"], t["qty"]) for t in trades]
    income = client.futures_income_history()
    assert {"COMMISSION", "REALIZED_PNL"} == {row["incomeType"] for row in income}
    booked = sum(Decimal(row["income"]) for row in income)
    assert Decimal(1_000_000) + booked == Decimal(client.futures_account_balance()[0]["balance"])


def test_python_binance_sees_a_market_order_run_out_of_book(binance_sdk: dict[str, Any]) -> None:
    """An order larger than the book fills in many parts and expires with the rest."""
    client = binance_sdk["client"]
    sent = client.futures_create_order(**BUY, type="MARKET", quantity="30")
    order = client.futures_get_order(**BTC, orderId=sent["orderId"])
    trades = client.futures_account_trades(**BTC, orderId=sent["orderId"])
    assert "EXPIRED" == order["status"]
    assert 0 < Decimal(order["executedQty"]) < 30
    assert len(trades) > 10
    assert Decimal(order["executedQty"]) == sum(Decimal(trade["qty"]) for trade in trades)
    position = client.futures_position_information(**BTC)[0]
    assert Decimal(order["executedQty"]) == Decimal(position["positionAmt"])


def test_python_binance_pays_funding(twin: Any, binance_sdk: dict[str, Any]) -> None:
    """A position held over the settlement pays it; the rate shows in the history."""
    client = binance_sdk["client"]
    client.futures_create_order(**BUY, type="MARKET", quantity="0.02")
    twin.move(11)
    paid = client.futures_income_history(incomeType="FUNDING_FEE")
    assert ["-0.20400000"] == [row["income"] for row in paid]
    rates = client.futures_funding_rate(**BTC)
    assert [(1_767_225_600_000, "0.00020000")] == [
        (row["fundingTime"], row["fundingRate"]) for row in rates
    ]


def test_countdown_ends_regular_orders_alone(twin: Any, binance_sdk: dict[str, Any]) -> None:
    """The countdown cancels a symbol's resting orders at its end; algo orders stay."""
    client = binance_sdk["client"]
    client.futures_create_order(**BUY, type="MARKET", quantity="0.02")
    client.futures_create_order(**SELL, type="STOP_MARKET", stopPrice="45000", closePosition=True)
    resting = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "45000"}
    limit = client.futures_create_order(**BUY, **resting)
    other = client.futures_create_order(
        symbol="ETHUSDT", side="BUY", **{**resting, "quantity": "0.1", "price": "2000"}
    )
    client.futures_countdown_cancel_all(**BTC, countdownTime=30_000)
    twin.move(0.4)
    assert 1 == len(client.futures_get_open_orders(**BTC))
    twin.move(1)
    ended = client.futures_get_order(**BTC, orderId=limit["orderId"])
    assert "CANCELED" == ended["status"]
    assert 30_000 == ended["updateTime"] - ended["time"]
    assert 1 == len(client.futures_get_open_orders(**BTC, conditional=True))
    assert [other["orderId"]] == [o["orderId"] for o in client.futures_get_open_orders()]
    again = client.futures_create_order(**BUY, **resting)
    client.futures_countdown_cancel_all(**BTC, countdownTime=30_000)
    client.futures_countdown_cancel_all(**BTC, countdownTime=0)
    twin.move(2)
    assert "NEW" == client.futures_get_order(**BTC, orderId=again["orderId"])["status"]


def test_python_binance_batches(binance_sdk: dict[str, Any]) -> None:
    """
    A batch answers each order by itself; SDK fault: stops in it are not routed (venues.md 1.5).

    So the venue refuses them with -4120, and the orders beside them stand.
    """
    client = binance_sdk["client"]
    limit = {**BUY, "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
    stop = {**SELL, "type": "STOP_MARKET", "stopPrice": "49500", "quantity": "0.01"}
    answers = client.futures_place_batch_order(
        batchOrders=[{**limit, "price": "45000"}, stop, {**limit, "price": "45100"}]
    )
    assert ["NEW", -4120, "NEW"] == [each.get("status", each.get("code")) for each in answers]
    ids = [each["orderId"] for each in answers if "orderId" in each]
    gone = client.futures_cancel_orders(**BTC, orderIdList=quote(f"[{ids[0]},{ids[1]},99]"))
    assert ["CANCELED", "CANCELED", -2011] == [e.get("status", e.get("code")) for e in gone]


def test_python_binance_cancels_no_list_of_ids(binance_sdk: dict[str, Any]) -> None:
    """
    SDK fault: a list of ids is neither written as JSON nor signed as it is sent.

    futures_cancel_orders looks for `orderidlist`, which is no parameter of the venue, and passes a
    list under the venue's own name on to requests (client.py, futures_cancel_orders).
    """
    client, refusal = binance_sdk["client"], binance_sdk["Refusal"]
    with pytest.raises(refusal, match="code=-1022"):
        client.futures_cancel_orders(**BTC, orderIdList=[1, 2])
    with pytest.raises(refusal, match="code=-1102"):
        client.futures_cancel_orders(**BTC, orderidlist=[1, 2])


def test_python_binance_drops_the_client_id_of_a_stop(binance_sdk: dict[str, Any]) -> None:
    """SDK fault: newClientOrderId of a stop is lost, an id of the SDK's own stands (1.5)."""
    client = binance_sdk["client"]
    client.futures_create_order(**BUY, type="MARKET", quantity="0.02")
    stop = client.futures_create_order(
        **SELL, type="STOP_MARKET", stopPrice="49500", quantity="0.02", newClientOrderId="mine"
    )
    assert stop["clientAlgoId"].startswith("x-Cb7ytekJ")


def test_python_binance_sends_a_trailing_stop_in_old_words(binance_sdk: dict[str, Any]) -> None:
    """
    SDK fault: activationPrice is not renamed to activatePrice, as stopPrice is (venues.md 1.5).

    The venue does not know the old name: the order follows the price at once.
    """
    client = binance_sdk["client"]
    trailing = {"quantity": "0.02", "callbackRate": "1", "activationPrice": "50500"}
    order = client.futures_create_order(**SELL, type="TRAILING_STOP_MARKET", **trailing)
    assert ("TRAILING_STOP_MARKET", "0.0") == (order["orderType"], order["activatePrice"])
    request = client.response.request
    assert "activationPrice=50500" in f"{request.url}?{request.body}"


MARKET_BUY = {**BUY, "type": "MARKET"}
LIMIT_BUY = {**BUY, "type": "LIMIT", "timeInForce": "GTC"}
STOP_SELL = {**SELL, "type": "STOP_MARKET"}

REFUSED_ORDERS = {
    "unknown symbol": (-1121, {**MARKET_BUY, "symbol": "NOPEUSDT", "quantity": "1"}),
    "no quantity": (-1102, MARKET_BUY),
    "quantity zero": (-4003, {**MARKET_BUY, "quantity": "0"}),
    "quantity too fine": (-1111, {**MARKET_BUY, "quantity": "0.0015"}),
    "quantity too large": (-4005, {**MARKET_BUY, "quantity": "121"}),
    "price too fine": (-1111, {**LIMIT_BUY, "quantity": "0.01", "price": "48000.05"}),
    "notional too small": (-4164, {**MARKET_BUY, "symbol": "ETHUSDT", "quantity": "0.001"}),
    "margin short": (-2019, {**LIMIT_BUY, "quantity": "900", "price": "49000"}),
    "reduce-only, flat": (-2022, {**MARKET_BUY, "quantity": "0.01", "reduceOnly": True}),
    "closePosition, flat": (-4509, {**STOP_SELL, "stopPrice": "49500", "closePosition": True}),
    "closePosition, quantity": (
        -4137,
        {**STOP_SELL, "stopPrice": "49500", "closePosition": True, "quantity": "1"},
    ),
    "would trigger": (-2021, {**STOP_SELL, "stopPrice": "50500", "quantity": "0.01"}),
    "post-only takes": (
        -5022,
        {**LIMIT_BUY, "timeInForce": "GTX", "quantity": "0.01", "price": "50500"},
    ),
    "fill or kill": (
        -5021,
        {**LIMIT_BUY, "timeInForce": "FOK", "quantity": "5", "price": "50010"},
    ),
    "hedge side": (-4061, {**MARKET_BUY, "quantity": "0.01", "positionSide": "LONG"}),
    "bad client id": (-4015, {**MARKET_BUY, "quantity": "0.01", "newClientOrderId": "x" * 37}),
    "stop-limit without a price": (
        -1102,
        {**SELL, "type": "STOP", "stopPrice": "49500", "quantity": "0.01"},
    ),
    "trailing without a rate": (
        -1102,
        {**SELL, "type": "TRAILING_STOP_MARKET", "quantity": "0.01"},
    ),
}


@pytest.mark.parametrize(("code", "order"), REFUSED_ORDERS.values(), ids=REFUSED_ORDERS)
def test_python_binance_hears_why_an_order_is_refused(
    binance_sdk: dict[str, Any], code: int, order: dict[str, Any]
) -> None:
    """Every bad order is a BinanceAPIException with the venue's code (R42, venues.md 2.7)."""
    with pytest.raises(binance_sdk["Refusal"]) as caught:
        binance_sdk["client"].futures_create_order(**order)
    assert code == caught.value.code
    assert 400 == caught.value.status_code


def test_python_binance_hears_of_conflicts(binance_sdk: dict[str, Any]) -> None:
    """Doubled ids, a second closing stop, unknown and unchanged orders have codes of their own."""
    client, refusal = binance_sdk["client"], binance_sdk["Refusal"]
    client.futures_create_order(**MARKET_BUY, quantity="0.02")
    limit = {**LIMIT_BUY, "quantity": "0.01", "price": "45000", "newClientOrderId": "twice"}
    order = client.futures_create_order(**limit)
    stop = {**STOP_SELL, "closePosition": True}
    client.futures_create_order(**stop, stopPrice="49500")
    same = {"orderId": order["orderId"], "quantity": "0.01", "price": "45000"}
    acts: tuple[tuple[int, Callable[[], Any]], ...] = (
        (-4116, lambda: client.futures_create_order(**limit)),
        (-4130, lambda: client.futures_create_order(**stop, stopPrice="49400")),
        (-5027, lambda: client.futures_modify_order(**BUY, **same)),
        (-2011, lambda: client.futures_cancel_order(**BTC, orderId=99)),
        (-2013, lambda: client.futures_get_order(**BTC, orderId=99)),
        (-2011, lambda: client.futures_cancel_order(**BTC, clientAlgoId="nobody")),
        (-2013, lambda: client.futures_get_order(**BTC, clientAlgoId="nobody")),
        (-4028, lambda: client.futures_change_leverage(**BTC, leverage=126)),
        (-4161, lambda: client.futures_change_leverage(**BTC, leverage=2)),
        (-4067, lambda: client.futures_change_position_mode(dualSidePosition=True)),
    )
    for code, act in acts:
        with pytest.raises(refusal) as caught:
            act()
        assert code == caught.value.code


def test_python_binance_hears_of_bad_credentials_and_clocks(binance_sdk: dict[str, Any]) -> None:
    """A wrong secret, key or clock is refused before anything else is looked at."""
    client, refusal = binance_sdk["client"], binance_sdk["Refusal"]
    for code, attribute, value in (
        (-1022, "API_SECRET", "wrong"),
        (-1021, "timestamp_offset", -60_000),
        (-1021, "timestamp_offset", 60_000),
    ):
        right = getattr(client, attribute)
        setattr(client, attribute, value)
        with pytest.raises(refusal) as caught:
            client.futures_account_balance()
        setattr(client, attribute, right)
        assert code == caught.value.code
    client.session.headers["X-MBX-APIKEY"] = "foreign"
    with pytest.raises(refusal, match="code=-2015"):
        client.futures_account_balance()
