"""Each failure of a Binance call means one thing, as venues.md 2.2 and 2.7 say."""

import pytest

from aegis.core.errors import (
    OrderOutcomeUnknown,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from aegis.venue.binance.errors import AnswerUnreadable, HttpFault, classify
from aegis.venue.binance.rest import read_answer

UNKNOWN_ERROR = "Unknown error, please check your request or try again later."


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (400, -1000, "unknown", OrderOutcomeUnknown),
        (400, -1001, "disconnected", OrderOutcomeUnknown),
        (400, -1006, "unexpected response", OrderOutcomeUnknown),
        (408, -1007, "Timeout waiting for response from backend server.", OrderOutcomeUnknown),
        (500, None, "oops", OrderOutcomeUnknown),
        (502, None, "<html>", OrderOutcomeUnknown),
        (503, None, UNKNOWN_ERROR, OrderOutcomeUnknown),
        (503, None, "Service Unavailable.", VenueUnreachable),
        (503, -1008, "Request throttled by system-level protection.", VenueThrottled),
        (429, -1003, "Too many requests", VenueThrottled),
        (418, -1003, "Way too many requests; IP banned", VenueThrottled),
        (403, None, "<html>WAF", VenueThrottled),
        (400, -1015, "Too many new orders", VenueThrottled),
        (400, -2019, "Margin is insufficient.", VenueRefused),
        (400, -2021, "Order would immediately trigger.", VenueRefused),
        (400, -4509, "TIF GTE can only be used with open positions.", VenueRefused),
        (404, None, "nothing here", VenueRefused),
    ],
)
def test_answers_of_an_order_call(
    status: int, code: int | None, message: str, expected: type[VenueError]
) -> None:
    """What may have been executed is unknown, what was not is refused or repeatable (R30)."""
    fault = HttpFault(status, code, message, {})
    assert expected is type(classify(fault, "place_order", "id-1"))


def test_an_open_outcome_of_a_question_may_be_asked_again() -> None:
    """Without an order at stake the same faults mean: repeat."""
    for fault in (HttpFault(503, None, UNKNOWN_ERROR, {}), HttpFault(400, -1007, "timeout", {})):
        assert isinstance(classify(fault, "snapshot", None), VenueUnreachable)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError("refused"), VenueUnreachable),
        (ConnectionResetError("reset"), OrderOutcomeUnknown),
        (OSError("broken"), OrderOutcomeUnknown),
        (AnswerUnreadable("HTTP 200 with b'<html>'"), OrderOutcomeUnknown),
        (KeyError("orderId"), OrderOutcomeUnknown),
    ],
)
def test_broken_connections_of_an_order_call(error: Exception, expected: type[VenueError]) -> None:
    """Only a connection that never stood proves that nothing was sent (R30)."""
    found = classify(error, "place_order", "id-1")
    assert expected is type(found)
    if isinstance(found, OrderOutcomeUnknown):
        assert "id-1" == found.client_order_id


def test_an_unreadable_answer_to_a_question_is_a_protocol_error() -> None:
    """A question whose answer is no JSON is not understood, and not empty."""
    assert isinstance(classify(AnswerUnreadable("x"), "balance", None), VenueProtocolError)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({"Retry-After": "7"}, 7.0), ({"retry-after": "0.5"}, 0.5), ({"Retry-After": "x"}, None)],
)
def test_retry_after_is_honoured(headers: dict[str, str], expected: float | None) -> None:
    """The venue's own waiting time is carried, an unreadable one is unknown and not 0."""
    found = classify(HttpFault(429, -1003, "slow down", headers), "place_order", "id-1")
    assert isinstance(found, VenueThrottled)
    assert expected == found.retry_after_s


def test_bodies_are_read() -> None:
    """A success is its JSON; negative codes, other statuses and no JSON are faults."""
    assert [{"a": "1"}] == read_answer(200, {}, b'[{"a":"1"}]')
    assert {} == read_answer(200, {}, b"")
    # The algo service answers a cancel with its code as a string (venues.md 1.2).
    assert {"code": "200", "msg": "success"} == read_answer(
        200, {}, b'{"code":"200","msg":"success"}'
    )
    with pytest.raises(HttpFault, match=r"HTTP 400 code -4130: An open stop"):
        read_answer(400, {}, b'{"code":-4130,"msg":"An open stop"}')
    with pytest.raises(HttpFault, match="code -2011"):
        read_answer(200, {}, b'{"code":-2011,"msg":"Unknown order sent."}')
    with pytest.raises(HttpFault, match="HTTP 502 code None: <html>"):
        read_answer(502, {}, b"<html>")
    with pytest.raises(AnswerUnreadable):
        read_answer(200, {}, b"<html>")
