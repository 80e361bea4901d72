"""Orders and algo orders through the Binance face: answers, refusals, what survives what."""

from typing import Any

import pytest

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.binance.errors import from_refusal
from aegis.twin.engine.api import Reason, Refused


def _code(answer: tuple[int, Any]) -> int:
    assert answer[0] == 400, answer
    return int(answer[1]["code"])


@pytest.mark.parametrize("reason", list(Reason))
def test_every_refusal_of_the_engine_has_a_code(reason: Reason) -> None:
    """No reason is left without Binance's code and text."""
    error = from_refusal(Refused(reason))
    assert error.code < 0
    assert "{" not in error.message


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"symbol": "NOPEUSDT"}, -1121),
        ({"side": "HOLD"}, -1117),
        ({"type": "ICEBERG"}, -1116),
        ({"type": "STOP_MARKET", "stopPrice": "49000"}, -4120),
        ({"type": "TRAILING_STOP_MARKET"}, -4120),
        ({"quantity": "0"}, -4003),
        ({"quantity": "-1"}, -4003),
        ({"quantity": "1e-05"}, -1100),
        ({"quantity": "0.0205"}, -1111),
        ({"quantity": "121"}, -4005),
        ({"quantity": "0.001"}, -4164),
        ({"quantity": "119"}, -2019),
        ({"quantity": ""}, -1100),
        ({"positionSide": "LONG"}, -4061),
        ({"reduceOnly": "true"}, -2022),
        ({"reduceOnly": "maybe"}, -1130),
        ({"newClientOrderId": "no blanks"}, -4015),
        ({"newClientOrderId": "x" * 37}, -4015),
        ({"type": "LIMIT", "timeInForce": "GTC"}, -1102),
        ({"type": "LIMIT", "price": "50000"}, -1102),
        ({"type": "LIMIT", "timeInForce": "GTX", "price": "51000"}, -5022),
        ({"type": "LIMIT", "timeInForce": "FOK", "price": "49000"}, -5021),
        ({"type": "LIMIT", "timeInForce": "GTC", "price": "50000.05"}, -1111),
        ({"type": "LIMIT", "timeInForce": "GTC", "price": "0"}, -4001),
    ],
)
def test_order_refusals(rig: Any, params: dict[str, str], code: int) -> None:
    """A wrong order is HTTP 400 with the venue's code, and leaves nothing behind."""
    assert code == _code(rig.client.order(**params))
    assert [] == list(rig.engine.all_orders())


def test_market_order_answer_has_no_average_price(rig: Any) -> None:
    """POST answers carry no avgPrice or cumQuote, ACK is NEW, RESULT is FILLED (venues.md 2.3)."""
    _, acknowledged = rig.client.order(newClientOrderId="a-1")
    assert ("NEW", "0.000") == (acknowledged["status"], acknowledged["executedQty"])
    assert not {"avgPrice", "cumQuote"} & set(acknowledged)
    _, result = rig.client.order(newClientOrderId="a-2", newOrderRespType="RESULT")
    assert ("FILLED", "0.020") == (result["status"], result["executedQty"])
    assert not {"avgPrice", "cumQuote"} & set(result)
    _, queried = rig.client.call("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="a-1")
    assert float(queried["avgPrice"]) > 50_000
    assert "FILLED" == queried["status"]


def test_query_and_cancel_of_an_unknown_order(rig: Any) -> None:
    """Queries say -2013, cancels -2011 (venues.md 2.7)."""
    unknown = {"symbol": "BTCUSDT", "origClientOrderId": "never-sent"}
    assert -2013 == _code(rig.client.call("GET", "/fapi/v1/order", **unknown))
    assert -2011 == _code(rig.client.call("DELETE", "/fapi/v1/order", **unknown))
    assert -2013 == _code(rig.client.call("GET", "/fapi/v1/algoOrder", clientAlgoId="x"))
    assert -2011 == _code(rig.client.call("DELETE", "/fapi/v1/algoOrder", clientAlgoId="x"))


def test_limit_order_rests_is_modified_and_canceled(rig: Any) -> None:
    """A LIMIT rests with its time in force, is amended in place and told as AMENDMENT."""
    client = rig.client
    frames = client.listen()
    _, placed = client.order(
        type="LIMIT", timeInForce="GTX", price="49000.0", newClientOrderId="rest"
    )
    assert ("NEW", "GTX") == (placed["status"], placed["timeInForce"])
    duplicate = client.order(
        type="LIMIT", timeInForce="GTC", price="49000.0", newClientOrderId="rest"
    )
    assert -4116 == _code(duplicate)
    target = {"symbol": "BTCUSDT", "origClientOrderId": "rest"}
    change = {"side": "BUY", "quantity": "0.03", "price": "48000.0"}
    _, changed = client.call("PUT", "/fapi/v1/order", **target, **change)
    assert ("0.030", "48000.0") == (changed["origQty"], changed["price"])
    assert -5027 == _code(client.call("PUT", "/fapi/v1/order", **target, **change))
    _, opened = client.call("GET", "/fapi/v1/openOrders")
    assert ["rest"] == [row["clientOrderId"] for row in opened]
    _, canceled = client.call("DELETE", "/fapi/v1/order", **target)
    assert "CANCELED" == canceled["status"]
    told = [(frame["o"]["x"], frame["o"]["X"]) for frame in frames]
    assert [("NEW", "NEW"), ("AMENDMENT", "NEW"), ("CANCELED", "CANCELED")] == told
    assert "GTX" == frames[0]["o"]["f"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"quantity": "0.02", "closePosition": "true"}, -4137),
        ({"closePosition": "TRUE", "reduceOnly": "True"}, -1106),
        ({"triggerPrice": "50500.0"}, -2021),
        ({"triggerPrice": "49500.05"}, -1111),
        ({"triggerPrice": ""}, -1100),
        ({"type": "TRAILING_STOP_MARKET"}, -4136),
        ({"workingType": "INDEX"}, -1130),
        ({"side": "BUY", "triggerPrice": "50500.0"}, -4509),
        ({"positionSide": "SHORT"}, -4061),
    ],
)
def test_algo_refusals_with_a_long_position(rig: Any, params: dict[str, str], code: int) -> None:
    """Wrong conditional orders are refused with the codes of venues.md 1.2 and 1.3."""
    rig.client.order()
    assert code == _code(rig.client.stop(**params))


def test_close_position_needs_a_position_and_stands_alone(rig: Any) -> None:
    """-4509 without a position, -4130 for a second of the same direction (venues.md 1.3)."""
    client = rig.client
    assert -4509 == _code(client.stop())
    client.order()
    status, stop = client.stop(clientAlgoId="floor")
    assert (200, "NEW", True) == (status, stop["algoStatus"], stop["closePosition"])
    assert -4130 == _code(client.stop(triggerPrice="49400.0"))
    assert 200 == client.stop(quantity="0.02", reduceOnly="True", clientAlgoId="moving")[0]
    assert -4116 == _code(client.stop(quantity="0.02", clientAlgoId="moving"))
    assert 200 == client.stop(type="TAKE_PROFIT_MARKET", triggerPrice="51000.0")[0]


def test_algo_orders_survive_cancel_all_and_countdown(rig: Any) -> None:
    """allOpenOrders and countdownCancelAll leave algo orders alive (venues.md 1.2, R21)."""
    client = rig.client
    client.order()
    client.stop(clientAlgoId="floor")
    client.order(type="LIMIT", timeInForce="GTC", price="48000.0", newClientOrderId="rest")
    _, answer = client.call("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    assert 200 == answer["code"]
    countdown = {"symbol": "BTCUSDT", "countdownTime": "100"}
    _, answer = client.call("POST", "/fapi/v1/countdownCancelAll", **countdown)
    assert countdown == answer
    assert (200, []) == client.call("GET", "/fapi/v1/openOrders")
    _, algos = client.call("GET", "/fapi/v1/openAlgoOrders")
    assert [("floor", "NEW", "", False)] == [
        (row["clientAlgoId"], row["algoStatus"], row["actualOrderId"], "isActivated" in row)
        for row in algos
    ]
    _, answer = client.call("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")
    assert 200 == answer["code"]
    assert (200, []) == client.call("GET", "/fapi/v1/openAlgoOrders")


def test_algo_cancel_answers_with_a_string_code_and_once(rig: Any) -> None:
    """DELETE algoOrder says "200" as text; a second time -2011 (venues.md 1.2)."""
    client = rig.client
    client.order()
    _, stop = client.stop(clientAlgoId="floor")
    expected = {
        "algoId": stop["algoId"],
        "clientAlgoId": "floor",
        "code": "200",
        "msg": "success",
    }
    assert (200, expected) == client.call("DELETE", "/fapi/v1/algoOrder", algoId=stop["algoId"])
    again = client.call("DELETE", "/fapi/v1/algoOrder", clientAlgoId="floor")
    assert -2011 == _code(again)


def test_a_triggering_stop_cannot_be_canceled(rig: Any) -> None:
    """A cancel that lost the race says -4117 (venues.md 2.7)."""
    client = rig.client
    client.order()
    client.stop(clientAlgoId="floor")
    order = rig.engine.find(client_id="floor", conditional=True)
    while order.status.value != "TRIGGERING":
        rig.engine.advance(rig.engine.next_event_ns())
    rig.wall_ms = rig.engine.now_ns // 1_000_000
    assert -4117 == _code(client.call("DELETE", "/fapi/v1/algoOrder", clientAlgoId="floor"))


def test_a_full_size_reduce_only_limit_blocks_the_market_close(rig: Any) -> None:
    """Crowding: a resting reduce-only LIMIT of full size makes -4118 (venues.md 1.3, R23)."""
    client = rig.client
    client.order()
    client.order(side="SELL", type="LIMIT", timeInForce="GTC", price="51000.0", reduceOnly="true")
    assert -4118 == _code(client.order(side="SELL", reduceOnly="true"))


def test_batch_orders_answer_element_by_element(rig: Any) -> None:
    """Each element of batchOrders is an order's answer or a refusal, with HTTP 200."""
    batch = (
        '[{"symbol":"BTCUSDT","side":"BUY","type":"MARKET","quantity":"0.02"},'
        '{"symbol":"BTCUSDT","side":"SELL","type":"STOP_MARKET","quantity":"0.02"}]'
    )
    status, answers = rig.client.call("POST", "/fapi/v1/batchOrders", batchOrders=batch)
    assert (200, "NEW", -4120) == (status, answers[0]["status"], answers[1]["code"])


def test_fills_by_client_id_and_order_history(rig: Any) -> None:
    """A stop's fill is a MARKET order whose clientOrderId is the clientAlgoId (venues.md 1.4)."""
    client = rig.client
    client.order(newClientOrderId="entry")
    client.stop(clientAlgoId="floor")
    rig.pass_minutes(12)
    _, orders = client.call("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")
    assert [("entry", "MARKET"), ("floor", "MARKET")] == [
        (row["clientOrderId"], row["type"]) for row in orders
    ]
    _, trades = client.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    assert [row["orderId"] for row in orders] == [row["orderId"] for row in trades]
    _, algo = client.call("GET", "/fapi/v1/algoOrder", clientAlgoId="floor")
    assert ("FINISHED", str(orders[1]["orderId"]), "0.020") == (
        algo["algoStatus"],
        algo["actualOrderId"],
        algo["actualQty"],
    )
    _, income = client.call("GET", "/fapi/v1/income")
    assert {"COMMISSION", "REALIZED_PNL"} == {row["incomeType"] for row in income}
    assert len(income) == len({row["tranId"] for row in income})


class LostAnswer:
    """A fault seam that loses the answers to orders after they took effect."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Answer pings with a 503 in the venue's place."""
        if request.path.endswith("/ping"):
            return HttpResponse(status=503, body=b'{"code":-1008,"msg":"throttled"}')
        return None

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Lose the answer to POST order."""
        if request.method == "POST" and request.path == "/fapi/v1/order":
            raise TimeoutError("the answer was lost")
        return response


def test_fault_seam_before_and_after(make_rig: Any) -> None:
    """A fault before has no effect on the venue; one after leaves the order placed."""
    rig = make_rig(LostAnswer())
    assert 503 == rig.client.raw("GET", "/fapi/v1/ping", {})[0]
    with pytest.raises(TimeoutError):
        rig.client.order(newClientOrderId="lost")
    status, found = rig.client.call(
        "GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="lost"
    )
    assert (200, "FILLED") == (status, found["status"])
