"""
Hedge mode, trailing, partial and limit stops, tiers, as the packages ask for them, unmodified.

What a package cannot do by its own fault is said in the test that meets it.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

WithCcxt = Callable[[str, Callable[[Any], Coroutine[Any, Any, None]]], None]
BTC = {"symbol": "BTCUSDT"}
LINEAR = {"category": "linear", **BTC}
PAIR = "BTC/USDT:USDT"


def rows(answer: dict[str, Any]) -> list[Any]:
    """Return the list of a pybit answer."""
    listed: list[Any] = answer["result"]["list"]
    return listed


def test_python_binance_trades_in_hedge_mode(twin: Any, binance_sdk: dict[str, Any]) -> None:
    """Both sides at once, a closing stop for each, one fires, the mode is put back (R46)."""
    client, refusal = binance_sdk["client"], binance_sdk["Refusal"]
    client.futures_change_position_mode(dualSidePosition=True)
    assert {"dualSidePosition": True} == client.futures_get_position_mode()
    market = {**BTC, "type": "MARKET"}
    with pytest.raises(refusal, match="code=-4061"):
        client.futures_create_order(**market, side="BUY", quantity="0.02")
    client.futures_create_order(**market, side="BUY", quantity="0.02", positionSide="LONG")
    client.futures_create_order(**market, side="SELL", quantity="0.01", positionSide="SHORT")
    with pytest.raises(refusal, match="code=-1106"):
        client.futures_create_order(
            **market, side="SELL", quantity="0.01", positionSide="LONG", reduceOnly=True
        )
    stop = {**BTC, "type": "STOP_MARKET", "closePosition": True}
    client.futures_create_order(**stop, side="SELL", stopPrice="49500", positionSide="LONG")
    client.futures_create_order(**stop, side="BUY", stopPrice="52000", positionSide="SHORT")
    held = client.futures_position_information(**BTC)
    assert [("LONG", "0.020"), ("SHORT", "-0.010")] == [
        (row["positionSide"], row["positionAmt"]) for row in held
    ]

    twin.move(3)
    held = client.futures_position_information(**BTC)
    assert [("SHORT", "-0.010")] == [(row["positionSide"], row["positionAmt"]) for row in held]
    client.futures_create_order(**market, side="BUY", quantity="0.01", positionSide="SHORT")
    assert [] == client.futures_get_open_orders(**BTC, conditional=True)
    client.futures_change_position_mode(dualSidePosition=False)
    income = client.futures_income_history(incomeType="REALIZED_PNL")
    assert 2 == len(income)


def test_python_binance_follows_and_limits(twin: Any, binance_sdk: dict[str, Any]) -> None:
    """A trailing stop by its right name waits for activation; a stop-limit rests (1.2, 1.4)."""
    client = binance_sdk["client"]
    client.futures_create_order(**BTC, side="BUY", type="MARKET", quantity="0.04")
    half = {**BTC, "side": "SELL", "quantity": "0.02", "reduceOnly": True}
    trailing = client.futures_create_order(
        **half, type="TRAILING_STOP_MARKET", callbackRate="1", activatePrice="50500"
    )
    assert ("50500.0", "1") == (trailing["activatePrice"], trailing["callbackRate"])
    limit = client.futures_create_order(**half, type="STOP", stopPrice="49500", price="49800")
    twin.move(3)
    shown = client.futures_get_order(**BTC, algoId=limit["algoId"])
    assert "TRIGGERED" == shown["algoStatus"]
    (resting,) = client.futures_get_open_orders(**BTC)
    assert ("LIMIT", int(shown["actualOrderId"])) == (resting["type"], resting["orderId"])
    assert "0.040" == client.futures_position_information()[0]["positionAmt"]
    twin.move(8.5)
    assert "FINISHED" == client.futures_get_order(**BTC, algoId=limit["algoId"])["algoStatus"]
    assert "0.020" == client.futures_position_information()[0]["positionAmt"]


def test_python_binance_reads_tiers(binance_sdk: dict[str, Any]) -> None:
    """Brackets rise; the notional of a leverage is its tier's; beyond it is -2027 (2.7)."""
    client, refusal = binance_sdk["client"], binance_sdk["Refusal"]
    brackets = client.futures_leverage_bracket(**BTC)[0]["brackets"]
    assert [125, 100, 75] == [one["initialLeverage"] for one in brackets[:3]]
    changed = client.futures_change_leverage(**BTC, leverage=125)
    assert str(brackets[0]["notionalCap"]) == changed["maxNotionalValue"]
    with pytest.raises(refusal, match="code=-2027"):
        client.futures_create_order(**BTC, side="BUY", type="MARKET", quantity="1.2")


def test_pybit_trades_in_hedge_mode(twin: Any, pybit_sdk: dict[str, Any]) -> None:
    """Two indices, a stop for one of them, the other stays (venues.md 3.4, 3.6)."""
    client, refusal = pybit_sdk["client"], pybit_sdk["Refusal"]
    client.switch_position_mode(category="linear", coin="USDT", mode=3)
    with pytest.raises(refusal) as again:
        client.switch_position_mode(category="linear", coin="USDT", mode=3)
    assert 110025 == again.value.status_code
    market = {**LINEAR, "orderType": "Market"}
    client.place_order(**market, side="Buy", qty="0.02", positionIdx=1)
    client.place_order(**market, side="Sell", qty="0.01", positionIdx=2)
    client.set_trading_stop(**LINEAR, tpslMode="Full", positionIdx=1, stopLoss="49500")
    assert [(1, "49500"), (2, "")] == [
        (row["positionIdx"], row["stopLoss"]) for row in rows(client.get_positions(**LINEAR))
    ]
    twin.move(3)
    held = rows(client.get_positions(category="linear", settleCoin="USDT"))
    assert [(2, "0.01")] == [(row["positionIdx"], row["size"]) for row in held]
    client.place_order(**market, side="Buy", qty="0.01", positionIdx=2, reduceOnly=True)
    client.switch_position_mode(category="linear", coin="USDT", mode=0)
    assert 2 == len(rows(client.get_closed_pnl(**LINEAR)))


def test_pybit_adds_partials_and_trails(twin: Any, pybit_sdk: dict[str, Any]) -> None:
    """Partial calls add orders; a trailing stop shows on the position (venues.md 3.4)."""
    client = pybit_sdk["client"]
    client.place_order(**LINEAR, side="Buy", orderType="Market", qty="0.03")
    one_way = {**LINEAR, "positionIdx": 0}
    for stop, size in (("49500", "0.01"), ("48500", "0.02")):
        client.set_trading_stop(
            **one_way, tpslMode="Partial", stopLoss=stop, slSize=size, slOrderType="Market"
        )
    client.set_trading_stop(**one_way, tpslMode="Full", trailingStop="1000", activePrice="50100")
    waiting = rows(client.get_open_orders(**LINEAR))
    assert ["TrailingStop", "PartialStopLoss", "PartialStopLoss"] == [
        row["stopOrderType"] for row in waiting
    ]
    assert "1000" == rows(client.get_positions(**LINEAR))[0]["trailingStop"]
    twin.move(3)
    assert "0.02" == rows(client.get_positions(**LINEAR))[0]["size"]
    tiers = rows(client.get_risk_limit(**LINEAR))
    assert [1, 0] == [row["isLowestRisk"] for row in tiers[:2]]
    assert float(tiers[1]["mmDeduction"]) > 0


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit"])
def test_ccxt_trades_in_hedge_mode(twin: Any, with_ccxt: WithCcxt, venue: str) -> None:
    """
    Both sides are opened, read and closed.

    ccxt fault: the side has no name of ccxt's own, it is positionSide of the one venue and
    positionIdx of the other; reduceOnly, which Bybit wants, Binance refuses.
    """

    async def journey(client: Any) -> None:
        await client.set_position_mode(True, PAIR)
        usdm = venue == "binanceusdm"
        long = {"positionSide": "LONG"} if usdm else {"positionIdx": 1}
        short = {"positionSide": "SHORT"} if usdm else {"positionIdx": 2}
        await client.create_order(PAIR, "market", "buy", 0.02, None, long)
        await client.create_order(PAIR, "market", "sell", 0.01, None, short)
        held = [one for one in await client.fetch_positions([PAIR]) if one["contracts"]]
        assert [("long", 0.02), ("short", 0.01)] == sorted(
            (one["side"], one["contracts"]) for one in held
        )
        closing = long if usdm else {**long, "reduceOnly": True}
        await client.create_order(PAIR, "market", "sell", 0.02, None, closing)
        held = [one for one in await client.fetch_positions([PAIR]) if one["contracts"]]
        assert ["short"] == [one["side"] for one in held]
        closing = short if usdm else {**short, "reduceOnly": True}
        await client.create_order(PAIR, "market", "buy", 0.01, None, closing)
        await client.set_position_mode(False, PAIR)

    with_ccxt(venue, journey)


def test_ccxt_reads_the_tiers_of_bybit(with_ccxt: WithCcxt) -> None:
    """fetch_market_leverage_tiers lists them, lowest first."""

    async def journey(client: Any) -> None:
        tiers = await client.fetch_market_leverage_tiers(PAIR)
        assert tiers[0]["maxNotional"] == 2_000_000
        assert tiers[0]["maxLeverage"] > tiers[1]["maxLeverage"]

    with_ccxt("bybit", journey)
