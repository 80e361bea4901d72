"""pybit behind rest: envelopes, codes, pages, and what it must not do."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from aegis.core.event import Event
from aegis.core.offload import InlineOffload
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import ApiCalled
from aegis.model.instrument import Venue
from aegis.venue.bybit.errors import classify
from aegis.venue.bybit.frames import Answer
from aegis.venue.bybit.rest import BybitRest
from aegis.venue.calls import CallRunner

KEY, SECRET = "the-api-key-of-the-test", "the-api-secret-of-the-test"


class Canned:
    """An exchange that answers every request with the same thing, and remembers them."""

    def __init__(self, *answers: HttpResponse | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[HttpRequest] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(status=status, body=orjson.dumps(body), headers=headers or {})


def _ok(result: Any) -> HttpResponse:
    return _json({"retCode": 0, "retMsg": "OK", "result": result, "time": 1_700_000_000_000})


def _run(
    exchange: Canned,
    act: Callable[[BybitRest], Any],
    told: list[Event] | None = None,
) -> Any:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(1_700_000_000_000_000_000, loop)
        rest = BybitRest(
            base_url="http://twin.invalid/",
            api_key=KEY,
            api_secret=SECRET,
            http=exchange,
            offload=InlineOffload(),
            runner=CallRunner(
                venue=Venue.BYBIT,
                publish=(told if told is not None else []).append,
                clock=clock,
                classify=lambda error, operation, client_order_id: classify(
                    error, operation, client_order_id, wall_ns=clock.wall_ns
                ),
                secrets=(KEY, SECRET),
            ),
            recv_window_ms=4321,
            request_timeout_s=3.0,
        )
        try:
            return await act(rest)
        finally:
            rest.close()

    return run_virtual(main())


def _order(rest: BybitRest) -> Any:
    params = {"category": "linear", "symbol": "BTCUSDT", "qty": "1"}
    return rest.call("place_order", params, client_order_id="A-1")


@pytest.mark.parametrize("code", [0, "0"])
def test_success_as_number_and_as_text(code: int | str) -> None:
    """R42, scenario 17: "0" is a success, though pybit itself would raise on it."""
    body = {"retCode": code, "retMsg": "OK", "result": {"orderId": "o"}, "time": 5}
    exchange = Canned(_json(body))
    answer = _run(exchange, _order)
    assert Answer(operation="place_order", result={"orderId": "o"}) == answer
    (request,) = exchange.requests
    assert ("POST", "/v5/order/create", KEY, "4321") == (
        request.method,
        request.target,
        request.headers["x-bapi-api-key"],
        request.headers["x-bapi-recv-window"],
    )
    assert {"category": "linear", "symbol": "BTCUSDT", "qty": "1"} == orjson.loads(request.body)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_json({"retCode": 10000, "retMsg": "Server Timeout"}), OrderOutcomeUnknown),
        (_json({"retCode": 10002, "retMsg": "timestamp"}), VenueRefused),
        (_json({"retCode": 110007, "retMsg": "not enough"}), VenueRefused),
        (_json({"retCode": "10006", "retMsg": "Too many visits!"}), VenueThrottled),
        (_json({"retCode": 10016}), OrderOutcomeUnknown),
        (_json({}, status=403), VenueThrottled),
        (_json({}, status=502), OrderOutcomeUnknown),
        (_json({}), OrderOutcomeUnknown),
        (_json([]), OrderOutcomeUnknown),
        (HttpResponse(status=200, body=b"<html>"), OrderOutcomeUnknown),
        (ConnectionRefusedError("no"), VenueUnreachable),
        (ConnectionResetError("reset"), OrderOutcomeUnknown),
        (TimeoutError(), OrderOutcomeUnknown),
    ],
    ids=str,
)
def test_an_order_is_sent_once_whatever_happens(
    answer: HttpResponse | Exception, expected: type[VenueError]
) -> None:
    """R30: pybit's own retries are off: one request goes out, and the error says what is known."""
    exchange = Canned(answer)
    with pytest.raises(expected) as caught:
        _run(exchange, _order)
    assert expected is type(caught.value)
    # A refused time is measured anew, which is no order.
    orders = [request for request in exchange.requests if request.target == "/v5/order/create"]
    assert 1 == len(orders)


def test_not_modified_is_a_success() -> None:
    """R42: an accepted code is told as a call that went well."""
    told: list[Event] = []
    exchange = Canned(_json({"retCode": 34040, "retMsg": "not modified"}))
    answer = _run(exchange, lambda rest: rest.call("set_trading_stop", {}, accept={"34040"}), told)
    assert {} == answer.result
    (event,) = told
    assert isinstance(event, ApiCalled)
    assert event.ok


def test_the_reset_header_says_how_long_to_wait() -> None:
    """The wait ends when the venue says its limit resets."""
    headers = {"X-Bapi-Limit-Reset-Timestamp": "1700000001500"}
    exchange = Canned(_json({"retCode": 10006, "retMsg": "Too many visits!"}, headers=headers))
    with pytest.raises(VenueThrottled) as caught:
        _run(exchange, _order)
    assert 1.5 == caught.value.retry_after_s


def test_pages_are_followed_to_the_end() -> None:
    """All pages are read, with the cursor as the venue gave it."""
    exchange = Canned(
        _ok({"list": [{"n": 1}], "nextPageCursor": "a%3A2%2Cb"}),
        _ok({"list": [{"n": 2}], "nextPageCursor": ""}),
    )
    rows = _run(exchange, lambda rest: rest.rows("get_open_orders", {}, limit=50))
    assert [{"n": 1}, {"n": 2}] == rows
    assert ["limit=50", "cursor=a%3A2%2Cb&limit=50"] == [r.query for r in exchange.requests]


def test_a_page_that_fails_fails_the_list() -> None:
    """R88: part of a list is not a list."""
    exchange = Canned(
        _ok({"list": [{"n": 1}], "nextPageCursor": "a"}),
        _json({"retCode": 10016, "retMsg": "Server error"}),
    )
    with pytest.raises(VenueUnreachable):
        _run(exchange, lambda rest: rest.rows("get_open_orders", {}, limit=50))


def test_pages_without_end_are_given_up() -> None:
    """A cursor that never ends is a protocol error, not a loop."""
    exchange = Canned(_ok({"list": [{"n": 1}], "nextPageCursor": "a"}))
    with pytest.raises(VenueProtocolError, match="pages"):
        _run(exchange, lambda rest: rest.rows("get_open_orders", {}, limit=50))


def test_secrets_stay_out_of_errors_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    """R84: neither pybit's exceptions nor its logging show key, secret or signature."""
    exchange = Canned(_json({"retCode": 10004, "retMsg": f"error sign! {KEY}"}))
    told: list[Event] = []
    with caplog.at_level(logging.DEBUG), pytest.raises(VenueRefused) as caught:
        _run(exchange, _order, told)
    signature = exchange.requests[0].headers["x-bapi-sign"]
    everything = f"{caught.value} {caught.value.__context__} {told} {caplog.text}"
    for secret in (KEY, SECRET, signature):
        assert secret not in everything
    handlers = logging.getLogger("pybit._http_manager").handlers
    assert [] == [handler for handler in handlers if not isinstance(handler, logging.NullHandler)]
