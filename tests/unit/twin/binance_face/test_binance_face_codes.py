"""Every code that a bot must know is provoked once, by a request a bot might send."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import attrs
import pytest

LIMIT: Final = {"type": "LIMIT", "timeInForce": "GTC", "price": "45000"}
CLOSING_LIMIT: Final = {
    "side": "SELL",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "price": "51000",
    "reduceOnly": "true",
}


def held(rig: Any, then: Callable[[Any], Any]) -> Any:
    """Open a long of 0.02, then ask."""
    rig.client.order()
    return then(rig.client)


def late(rig: Any) -> Any:
    """Sign a request ten seconds ago."""
    params = {"timestamp": rig.now_wall_ms() - 10_000, "signature": "0" * 64}
    return rig.client.raw("GET", "/fapi/v3/balance", params)


def misaddressed(rig: Any) -> Any:
    """Send a request with another's signature."""
    params = {"timestamp": rig.now_wall_ms(), "signature": "0" * 64}
    return rig.client.raw("GET", "/fapi/v3/balance", params)


def off_tick(rig: Any) -> Any:
    """Name a price with the tick's digits that is not on it; more digits would be -1111."""
    market = rig.engine.parts.markets["BTCUSDT"]
    market.instrument = attrs.evolve(market.instrument, tick_size=Decimal("0.5"))
    return rig.client.order(**{**LIMIT, "price": "45000.3"})


def crowded(client: Any) -> Any:
    """Rest a reduce-only limit for the whole position, then close at market."""
    client.order(**CLOSING_LIMIT, quantity="0.02")
    return client.order(side="SELL", reduceOnly="true")


def doubled_stop(client: Any) -> Any:
    """Place two closing stops."""
    client.stop()
    return client.stop(triggerPrice="49400.0")


def post(path: str, **params: Any) -> Callable[[Any], Any]:
    """Return a signed POST of BTCUSDT."""
    return lambda rig: rig.client.call("POST", f"/fapi/v1/{path}", symbol="BTCUSDT", **params)


PROVOKED: Final[dict[int, Callable[[Any], Any]]] = {
    -1021: late,
    -1022: misaddressed,
    -1102: lambda rig: rig.client.call("POST", "/fapi/v1/order", symbol="BTCUSDT"),
    -1106: lambda rig: rig.client.stop(reduceOnly="true"),
    -1111: lambda rig: rig.client.order(quantity="0.0205"),
    -1121: lambda rig: rig.client.order(symbol="NOPEUSDT"),
    -2011: lambda rig: rig.client.call("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=99),
    -2013: lambda rig: rig.client.call("GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=99),
    -2019: lambda rig: rig.client.order(quantity="100"),
    -2021: lambda rig: held(rig, lambda client: client.stop(triggerPrice="50500.0")),
    -2022: lambda rig: rig.client.order(side="SELL", reduceOnly="true"),
    -4003: lambda rig: rig.client.order(quantity="0"),
    -4005: lambda rig: rig.client.order(quantity="121"),
    -4014: off_tick,
    -4015: lambda rig: rig.client.order(newClientOrderId="no blanks"),
    -4028: post("leverage", leverage=126),
    -4046: post("marginType", marginType="ISOLATED"),
    -4059: post("positionSide/dual", dualSidePosition="false"),
    -4061: lambda rig: rig.client.order(positionSide="LONG"),
    -4118: lambda rig: held(rig, crowded),
    -4120: lambda rig: rig.client.order(type="STOP_MARKET", stopPrice="49000"),
    -4130: lambda rig: held(rig, doubled_stop),
    -4136: lambda rig: rig.client.stop(type="STOP", price="49000"),
    -4137: lambda rig: rig.client.stop(closePosition="true", quantity="0.02"),
    -4161: lambda rig: held(rig, lambda _: post("leverage", leverage=2)(rig)),
    -4164: lambda rig: rig.client.order(quantity="0.001"),
    -4509: lambda rig: rig.client.stop(),
}


@pytest.mark.parametrize("code", PROVOKED)
def test_the_codes_a_bot_must_know(rig: Any, code: int) -> None:
    """Each has HTTP 400 and a text (R42, venues.md 1.3, 2.7)."""
    status, answer = PROVOKED[code](rig)

    assert (400, code) == (status, answer["code"])
    assert answer["msg"]
