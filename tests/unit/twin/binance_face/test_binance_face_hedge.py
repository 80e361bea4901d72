"""The Binance face in hedge mode, and its trailing, limit and protected algo orders."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.twin.engine.tiers import product_tiers


def code_of(answer: tuple[int, Any]) -> int:
    """Return the code of a refusal."""
    assert 200 != answer[0], answer
    code: int = answer[1]["code"]
    return code


@pytest.fixture
def hedged(rig: Any) -> Any:
    """Return a rig in hedge mode with 0.04 long and 0.02 short."""
    assert 200 == dual(rig, "true")[0]
    rig.client.order(positionSide="LONG", quantity="0.04")
    rig.client.order(positionSide="SHORT", side="SELL")
    return rig


def dual(rig: Any, wanted: str) -> tuple[int, Any]:
    """POST positionSide/dual."""
    answer: tuple[int, Any] = rig.client.call(
        "POST", "/fapi/v1/positionSide/dual", dualSidePosition=wanted
    )
    return answer


def test_the_mode_is_changed_only_when_nothing_is_open(rig: Any) -> None:
    """-4059 unchanged, -4067 with orders, -4068 with a position (venues.md 2.4)."""
    assert -4059 == code_of(dual(rig, "false"))
    rig.client.order()
    assert -4068 == code_of(dual(rig, "true"))
    rig.client.stop()
    assert -4067 == code_of(dual(rig, "true"))
    rig.client.order(side="SELL", reduceOnly="true")
    assert 200 == dual(rig, "true")[0]
    assert {"dualSidePosition": True} == rig.client.call("GET", "/fapi/v1/positionSide/dual")[1]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, -4061),
        ({"positionSide": "BOTH"}, -4061),
        ({"positionSide": "LONG", "reduceOnly": "true", "side": "SELL"}, -1106),
        ({"positionSide": "LONG", "side": "SELL", "quantity": "0.05"}, -2022),
        ({"positionSide": "UP"}, -1116),
    ],
)
def test_orders_must_name_their_side(hedged: Any, params: dict[str, str], code: int) -> None:
    """Wrong sides, reduceOnly and closing too much have codes of their own (venues.md 1.3)."""
    assert code == code_of(hedged.client.order(**params))


def test_rows_are_by_side(hedged: Any) -> None:
    """positionRisk v2 and v3, account and orders name the side; flat symbols have two rows."""
    client = hedged.client
    v2 = client.call("GET", "/fapi/v2/positionRisk")[1]
    v3 = client.call("GET", "/fapi/v3/positionRisk")[1]
    account = client.call("GET", "/fapi/v2/account")[1]["positions"]
    expected = [("LONG", "0.040"), ("SHORT", "-0.020")]

    for rows in (v2, v3, account):
        assert expected == [(row["positionSide"], row["positionAmt"]) for row in rows]
    orders = client.call("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")[1]
    assert ["LONG", "SHORT"] == [row["positionSide"] for row in orders]
    trades = client.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")[1]
    assert ["LONG", "SHORT"] == [row["positionSide"] for row in trades]


def test_the_stream_tells_each_side(rig: Any) -> None:
    """ORDER_TRADE_UPDATE, ALGO_UPDATE and the rows of ACCOUNT_UPDATE carry the side (2.5)."""
    dual(rig, "true")
    frames = rig.client.listen()
    rig.client.order(positionSide="SHORT", side="SELL")
    rig.client.stop(positionSide="SHORT", side="BUY", triggerPrice="50500.0")
    rows = [f["a"]["P"] for f in frames if f["e"] == "ACCOUNT_UPDATE"]

    assert [[("SHORT", "-0.02")]] == [[(row["ps"], row["pa"]) for row in each] for each in rows]
    sides = {f["o"]["ps"] for f in frames if f["e"] in {"ORDER_TRADE_UPDATE", "ALGO_UPDATE"}}
    assert {"SHORT"} == sides


def test_closing_stops_are_one_for_each_side(hedged: Any) -> None:
    """closePosition of the long does not hinder the short's; the long's second is -4130 (1.3)."""
    stop = hedged.client.stop
    assert 200 == stop(positionSide="LONG")[0]
    assert 200 == stop(positionSide="SHORT", side="BUY", triggerPrice="50500.0")[0]
    assert -4130 == code_of(stop(positionSide="LONG", triggerPrice="49400.0"))
    assert -4509 == code_of(stop(positionSide="SHORT", triggerPrice="49400.0"))
    hedged.pass_minutes(12)
    rows = hedged.client.call("GET", "/fapi/v3/positionRisk")[1]
    assert ["SHORT"] == [row["positionSide"] for row in rows]


def algo_states(frames: list[dict[str, Any]], *keys: str) -> list[tuple[Any, ...]]:
    """Return event and state, with *keys*, of algo and order frames in their order."""
    return [
        (frame["e"], frame["o"]["X"], *(frame["o"].get(key) for key in keys))
        for frame in frames
        if frame["e"] in {"ALGO_UPDATE", "ORDER_TRADE_UPDATE"}
    ]


def test_a_trailing_stop_is_told_new_twice(rig: Any) -> None:
    """NEW with ia false, NEW with ia true when its activation is reached (venues.md 1.1)."""
    rig.client.order()
    frames = rig.client.listen()
    answer = rig.client.stop(
        type="TRAILING_STOP_MARKET",
        quantity="0.02",
        reduceOnly="true",
        activatePrice="51000",
        callbackRate="1",
        workingType="CONTRACT_PRICE",
    )[1]
    rig.pass_minutes(22)

    assert ("TRAILING_STOP_MARKET", "51000.0", "1") == (
        answer["orderType"],
        answer["activatePrice"],
        answer["callbackRate"],
    )
    assert [("ALGO_UPDATE", "NEW", False), ("ALGO_UPDATE", "NEW", True)] == algo_states(
        frames, "ia"
    )


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"callbackRate": "0.05"}, -1130),
        ({"callbackRate": "21"}, -1130),
        ({}, -1102),
        ({"callbackRate": "1", "activatePrice": "49000"}, -2021),
        ({"callbackRate": "1", "activatePrice": "51000.05"}, -1111),
    ],
)
def test_trailing_refusals(rig: Any, params: dict[str, str], code: int) -> None:
    """Rates out of range, and activations already passed, are refused (venues.md 1.2)."""
    rig.client.order()
    answer = rig.client.stop(type="TRAILING_STOP_MARKET", quantity="0.02", **params)

    assert code == code_of(answer)


def test_a_stop_limit_is_told_as_the_venue_does(rig: Any) -> None:
    """TRIGGERING, NEW of a LIMIT, TRIGGERED, its fill, FINISHED (venues.md 1.4)."""
    rig.client.order()
    frames = rig.client.listen()
    rig.client.stop(type="STOP", price="49600", quantity="0.02", reduceOnly="true")
    rig.pass_minutes(14)
    open_orders = rig.client.call("GET", "/fapi/v1/openOrders", symbol="BTCUSDT")[1]
    rig.pass_minutes(10)

    assert [("LIMIT", "49600.0")] == [(one["type"], one["price"]) for one in open_orders]
    assert [
        ("ALGO_UPDATE", "NEW", "STOP"),
        ("ALGO_UPDATE", "TRIGGERING", "STOP"),
        ("ORDER_TRADE_UPDATE", "NEW", "LIMIT"),
        ("ALGO_UPDATE", "TRIGGERED", "STOP"),
        ("ORDER_TRADE_UPDATE", "FILLED", "LIMIT"),
        ("ALGO_UPDATE", "FINISHED", "STOP"),
    ] == algo_states(frames, "o")


def test_a_batch_of_changes_tells_each_fate(rig: Any) -> None:
    """PUT batchOrders answers with an order or a refusal for each (venues.md 2.3)."""
    limit = {"type": "LIMIT", "timeInForce": "GTC", "price": "45000", "quantity": "0.02"}
    placed = rig.client.order(**limit)[1]
    change = (
        f'[{{"symbol":"BTCUSDT","side":"BUY","orderId":{placed["orderId"]},'
        '"quantity":"0.03","price":"45100"},'
        '{"symbol":"BTCUSDT","side":"BUY","orderId":99,"quantity":"0.03","price":"45100"}]'
    )
    first, second = rig.client.call("PUT", "/fapi/v1/batchOrders", batchOrders=change)[1]

    assert ("45100.0", "0.030") == (first["price"], first["origQty"])
    assert -2011 == second["code"]


def test_brackets_and_position_limits(make_rig: Callable[..., Any], rig: Any) -> None:
    """Tiers show in leverageBracket; beyond one orders are -2027, its leverage too (2.7)."""
    tiers = product_tiers("binance", "BTC", 125, Decimal("0.004"))
    instruments = rig.engine.instruments
    instruments["BTCUSDT"] = attrs.evolve(instruments["BTCUSDT"], tiers=tiers)
    rig.engine.parts.ledger.wallet = Decimal(10_000_000)
    client = rig.client
    rows = client.call("GET", "/fapi/v1/leverageBracket", symbol="BTCUSDT")[1][0]["brackets"]
    answer = client.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=125)[1]

    assert [1, 2, 3] == [row["bracket"] for row in rows[:3]]
    assert rows[0]["notionalCap"] == rows[1]["notionalFloor"]
    assert "50000" == answer["maxNotionalValue"]
    assert -2027 == code_of(client.order(quantity="1.1"))
    client.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=100)
    client.order(quantity="1.1")
    raised = client.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=125)
    assert -2027 == code_of(raised)


def test_a_liquidation_has_the_venues_ids(rig: Any) -> None:
    """The closing order is autoclose-*, CALCULATED before TRADE; stops expire (venues.md 6)."""
    client = rig.client
    client.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=125)
    client.order(quantity="0.5")
    resting = {"type": "LIMIT", "timeInForce": "GTC", "price": "40000", "quantity": "0.01"}
    client.order(**resting)
    client.stop(triggerPrice="48000.0")
    frames = client.listen()
    rig.pass_minutes(12)
    told = [f["o"] for f in frames if f["e"] == "ORDER_TRADE_UPDATE"]

    assert ("EXPIRED", "EXPIRED", "5") == (told[0]["x"], told[0]["X"], told[0]["er"])
    assert ["CALCULATED", "TRADE"] == [one["x"] for one in told[1:]]
    assert all(one["c"].startswith("autoclose-") for one in told[1:])
    assert ["EXPIRED"] == [f["o"]["X"] for f in frames if f["e"] == "ALGO_UPDATE"]


def test_deleveraging_has_the_venues_id(rig: Any) -> None:
    """ADL closes under adl_autoclose (venues.md 2.5)."""
    rig.client.order()
    frames = rig.client.listen()
    rig.engine.deleverage("BTCUSDT", Decimal("0.02"))
    told = [f["o"] for f in frames if f["e"] == "ORDER_TRADE_UPDATE"]

    assert {"adl_autoclose"} == {one["c"] for one in told}
