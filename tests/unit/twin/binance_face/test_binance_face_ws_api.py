"""/ws-fapi/v1 refuses in the venue's words, tells its limits, and stands behind the fault seam."""

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

from aegis.core.transport import HttpRequest, HttpResponse

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.02"}
FLOOR = {
    "algoType": "CONDITIONAL",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "STOP_MARKET",
    "triggerPrice": "49000.0",
    "closePosition": "true",
}


class Api:
    """One connection of a client that signs."""

    def __init__(self, rig: Any) -> None:
        self._rig = rig
        self.closed: list[str] = []
        self.frames: list[dict[str, Any]] = []
        self.session = rig.face.open_stream(
            "/ws-fapi/v1",
            send=lambda raw: self.frames.append(json.loads(raw)),
            close=self.closed.append,
        )

    def ask(
        self, method: str, params: dict[str, Any], *, secret: str = "twinsecret"
    ) -> dict[str, Any]:
        """Send a signed request and return the answer, {} when there was none."""
        full = {"apiKey": "twinkey", "timestamp": self._rig.now_wall_ms(), **params}
        text = "&".join(f"{name}={full[name]}" for name in sorted(full))
        full["signature"] = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        before = len(self.frames)
        self.session.on_message(json.dumps({"id": "7", "method": method, "params": full}))
        return self.frames[before] if len(self.frames) > before else {}

    def code(self, method: str, params: dict[str, Any], **how: str) -> tuple[int, int]:
        """Return status and code of a refusal."""
        answer = self.ask(method, params, **how)
        return answer["status"], answer["error"]["code"]


class Seam:
    """A fault seam with one answer for the next request, or one fault after it."""

    def __init__(self) -> None:
        self.early: HttpResponse | None = None
        self.late: OSError | None = None
        self.seen: list[tuple[str, str]] = []

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Note the request and answer in the venue's place."""
        self.seen.append((request.method, request.path))
        early, self.early = self.early, None
        return early

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Fail where told to."""
        if self.late is not None:
            raise self.late
        return response


def test_requests_are_refused_in_the_venue_s_words(rig: Any) -> None:
    """Signature, time, key, method: each its code (venues.md 2.2, 2.7)."""
    api = Api(rig)
    now_ms = rig.now_wall_ms()
    assert (400, -1022) == api.code("order.place", MARKET, secret="another")
    assert (400, -1021) == api.code("order.place", MARKET | {"timestamp": now_ms - 6000})
    assert (400, -1021) == api.code("order.place", MARKET | {"timestamp": now_ms + 1000})
    assert (401, -2015) == api.code("order.place", MARKET | {"apiKey": "foreign"})
    assert (400, -1101) == api.code("order.dance", MARKET)
    assert (400, -1102) == api.code("order.place", {"symbol": "BTCUSDT"})


def test_orders_are_refused_as_by_rest(rig: Any) -> None:
    """Stops do not go by order.place; -4509, -2021, -4130, -2011 as ever (venues.md 1.1 to 1.3)."""
    api = Api(rig)
    stop = {"type": "STOP_MARKET", "stopPrice": "49000.0"}
    assert (400, -4120) == api.code("order.place", MARKET | stop)
    assert (400, -4509) == api.code("algoOrder.place", FLOOR)
    assert 200 == api.ask("order.place", MARKET)["status"]
    assert (400, -2021) == api.code("algoOrder.place", FLOOR | {"triggerPrice": "51000.0"})
    assert 200 == api.ask("algoOrder.place", FLOOR | {"clientAlgoId": "one"})["status"]
    assert (400, -4130) == api.code("algoOrder.place", FLOOR)
    gone = {"clientAlgoId": "one"}
    assert "success" == api.ask("algoOrder.cancel", gone)["result"]["msg"]
    assert (400, -2011) == api.code("algoOrder.cancel", gone)
    assert (400, -2011) == api.code(
        "order.cancel", {"symbol": "BTCUSDT", "origClientOrderId": "none"}
    )


def test_a_resting_order_is_canceled_by_the_socket(rig: Any) -> None:
    """order.cancel by the client's id."""
    api = Api(rig)
    resting = MARKET | {"type": "LIMIT", "price": "48000.0", "timeInForce": "GTC"}
    assert 200 == api.ask("order.place", resting | {"newClientOrderId": "rests"})["status"]
    gone = api.ask("order.cancel", {"symbol": "BTCUSDT", "origClientOrderId": "rests"})
    assert "CANCELED" == gone["result"]["status"]


def test_the_usage_is_told_with_every_answer_unless_unwanted(rig: Any) -> None:
    """The handshake costs 5; orders count in 10 s and in a minute (venues.md 2.2)."""
    api = Api(rig)
    limits = api.ask("order.place", MARKET)["rateLimits"]
    assert [
        ("ORDERS", "SECOND", 10, 300, 1),
        ("ORDERS", "MINUTE", 1, 1200, 1),
        ("REQUEST_WEIGHT", "MINUTE", 1, 2400, 5),
    ] == [tuple(row.values()) for row in limits]
    assert "rateLimits" not in api.ask("order.place", MARKET | {"returnRateLimits": "false"})


def test_the_fault_seam_answers_in_the_venue_s_place(make_rig: Callable[..., Any]) -> None:
    """A ban is told with its end; an answer without a code keeps its words."""
    seam = Seam()
    rig = make_rig(seam)
    api = Api(rig)
    seam.early = HttpResponse(
        status=418, body=b'{"code":-1003,"msg":"banned"}', headers={"Retry-After": "120"}
    )
    banned = api.ask("order.place", MARKET)
    assert (418, -1003) == (banned["status"], banned["error"]["code"])
    told = banned["error"]["data"]
    assert 120_000 == told["retryAfter"] - told["serverTime"]
    seam.early = HttpResponse(status=503, body=b"Service Unavailable.")
    assert {"msg": "Service Unavailable."} == api.ask("order.place", MARKET)["error"]
    assert [("POST", "/fapi/v1/order")] * 2 == seam.seen


@pytest.mark.parametrize(
    ("fault", "closed"), [(TimeoutError("slow"), []), (ConnectionResetError("cut"), ["cut"])]
)
def test_a_lost_answer_leaves_its_order(
    make_rig: Callable[..., Any], fault: OSError, closed: list[str]
) -> None:
    """The order stands, the answer does not come; a cut ends the connection."""
    seam = Seam()
    rig = make_rig(seam)
    api = Api(rig)
    events = rig.client.listen()
    seam.late = fault
    assert {} == api.ask("order.place", MARKET)
    assert closed == api.closed
    assert "ORDER_TRADE_UPDATE" in {event["e"] for event in events}
