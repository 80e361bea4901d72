"""Bybit's order socket: requests timed by the venue's clock, answers read as by REST."""

import hashlib
import hmac
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from aegis.core.clock import ManualClock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
)
from aegis.core.virtual_loop import run_virtual
from aegis.venue.bybit import wire
from aegis.venue.bybit.errors import AnswerUnreadable, ApiRefusal, classify
from aegis.venue.bybit.frames import Answer
from aegis.venue.bybit.order_socket import (
    AMEND,
    CREATE,
    AnswerReader,
    LimitHeaders,
    LogIn,
    RequestWriter,
)

START_NS = 1_700_006_400 * 1_000_000_000


def writer(ahead_ms: int = 400) -> RequestWriter:
    """Return a writer whose clock stands still, ahead of the venue's."""
    return RequestWriter(
        api_key="key",
        api_secret="secret",
        clock=ManualClock(START_NS),
        ahead_ns=lambda: ahead_ms * 1_000_000,
        recv_window_ms=5000,
    )


@pytest.mark.parametrize("op", [CREATE, AMEND])
def test_a_request_carries_its_id_its_time_and_one_order(op: str) -> None:
    """The time is the venue's, not ours (venues.md 3.2, 3.7)."""
    assert {
        "reqId": "17",
        "header": {
            "X-BAPI-TIMESTAMP": str(START_NS // 1_000_000 - 400),
            "X-BAPI-RECV-WINDOW": "5000",
        },
        "op": op,
        "args": [{"category": "linear", "orderLinkId": "a"}],
    } == orjson.loads(writer().write("17", op, {"category": "linear", "orderLinkId": "a"}))


def test_the_log_in_is_signed_over_its_expiry() -> None:
    """HMAC over GET/realtime and the expiry (venues.md 3.2)."""
    message: dict[str, Any] = orjson.loads(writer().log_in())
    key, expires_ms, signature = message["args"]
    assert ("auth", "key") == (message["op"], key)
    assert expires_ms > START_NS // 1_000_000
    expected = hmac.new(b"secret", f"GET/realtime{expires_ms}".encode(), hashlib.sha256)
    assert expected.hexdigest() == signature


def test_an_answer_is_what_rest_would_have_answered() -> None:
    """The acknowledgement and the limits of the request's kind."""
    seen: list[tuple[str, LimitHeaders]] = []
    header = {"X-Bapi-Limit": "10", "X-Bapi-Limit-Status": "9"}
    frame = {
        "reqId": "1",
        "retCode": 0,
        "retMsg": "OK",
        "op": "order.create",
        "data": {"orderId": "abc", "orderLinkId": "x"},
        "header": header,
    }
    answered = AnswerReader(lambda op, headers: seen.append((op, headers)))(orjson.dumps(frame))
    assert answered is not None
    request_id, answer = answered
    assert isinstance(answer, Answer)
    assert ("1", "abc") == (request_id, answer.read(wire.OrderAck).order_id)
    assert [("order.create", header)] == seen


def failure(code: int, message: str = "no", reset_ms: str = "") -> VenueError:
    """Return what an error answer means for an order."""
    frame = {"reqId": "1", "retCode": code, "retMsg": message, "op": "order.create", "data": {}}
    answered = AnswerReader()(
        orjson.dumps({**frame, "header": {"X-Bapi-Limit-Reset-Timestamp": reset_ms}})
    )
    assert answered is not None
    assert isinstance(answered[1], ApiRefusal)
    return classify(answered[1], "ws order.create", "cid", wall_ns=lambda: START_NS)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10000, OrderOutcomeUnknown),
        (10016, OrderOutcomeUnknown),
        (10019, OrderOutcomeUnknown),
        (110072, OrderOutcomeUnknown),
        (10429, VenueThrottled),
        (110007, VenueRefused),
        (110001, VenueRefused),
    ],
)
def test_a_code_means_what_it_means_by_rest(code: int, kind: type) -> None:
    """One table for both ways; a restart leaves the outcome open (venues.md 3.7, 3.8)."""
    assert kind is type(failure(code))


def test_a_refusal_keeps_its_meaning_and_a_limit_its_reset() -> None:
    """The text of 10001 tells which, the header of 10006 how long."""
    wrong_side = failure(10001, "StopLoss:1 set for Buy position should lower than base_price:1")
    assert isinstance(wrong_side, VenueRefused)
    assert Refusal.WOULD_TRIGGER is wrong_side.refusal
    throttled = failure(10006, "Too many visits!", str(START_NS // 1_000_000 + 700))
    assert isinstance(throttled, VenueThrottled)
    assert pytest.approx(0.7) == throttled.retry_after_s


def test_pongs_answer_nothing_and_the_log_in_needs_no_id() -> None:
    """The venue's log-in answer may carry no reqId."""
    read = AnswerReader()
    assert read(b'{"retCode":0,"retMsg":"OK","op":"pong","data":["1"],"connId":"c"}') is None
    answered = read(b'{"retCode":0,"retMsg":"OK","op":"auth","connId":"c"}')
    assert answered is not None
    assert "auth" == answered[0]


def test_a_frame_without_a_code_is_unreadable_and_so_unknown() -> None:
    """An order may stand (R30)."""
    answered = AnswerReader()(b'{"reqId":"1","op":"order.create"}')
    assert answered is not None
    assert isinstance(answered[1], AnswerUnreadable)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_nothing_or_the_protocol_error(frame: bytes) -> None:
    """No frame of a venue may raise anything else."""
    try:
        AnswerReader()(frame)
    except VenueProtocolError:
        return


def test_a_refused_log_in_is_told_once_until_it_succeeds() -> None:
    """The stream tries again for ever; the operator reads it once."""
    log_in = LogIn(writer())
    answers: list[Exception | None] = [
        ApiRefusal("10003", "API key is invalid."),
        ApiRefusal("10003", "API key is invalid."),
        None,
        ApiRefusal("10004", "error sign!"),
    ]
    refusals: list[str | None] = []

    async def ask(request_id: str, text: str) -> object:
        assert "auth" == request_id
        assert '"auth"' in text
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return Answer(operation="ws auth", result={})

    async def main() -> None:
        while answers:
            try:
                await log_in(ask)
            except VenueRefused as refusal:
                refusals.append(refusal.code)
            else:
                refusals.append(None)

    warnings: list[str] = []
    sink = logger.add(lambda message: warnings.append(str(message)), level="WARNING")
    try:
        run_virtual(main())
    finally:
        logger.remove(sink)
    assert ["10003", "10003", None, "10004"] == refusals
    assert 2 == len(warnings)
