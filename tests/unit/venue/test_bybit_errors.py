"""Bybit's error codes and the HTTP client's exceptions."""

import pytest
import requests
import urllib3.exceptions
from urllib3.connection import HTTPConnection

from aegis.core.errors import (
    OrderOutcomeUnknown,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from aegis.venue.bybit.errors import (
    AnswerUnreadable,
    ApiRefusal,
    HttpFailure,
    classify,
    code_text,
)

NEVER_CONNECTED = requests.ConnectionError(
    urllib3.exceptions.NewConnectionError(HTTPConnection("h"), "refused")
)


def _of(error: BaseException, client_order_id: str | None) -> VenueError:
    return classify(error, "op", client_order_id, wall_ns=lambda: 1_000_000_000_000)


@pytest.mark.parametrize(
    ("error", "for_order", "for_other"),
    [
        (ApiRefusal("10000", "Server Timeout"), OrderOutcomeUnknown, VenueUnreachable),
        (ApiRefusal("10016", "Server error"), OrderOutcomeUnknown, VenueUnreachable),
        (ApiRefusal("110072", "OrderLinkedID is duplicate"), OrderOutcomeUnknown, VenueUnreachable),
        (ApiRefusal("10006", "Too many visits!"), VenueThrottled, VenueThrottled),
        (ApiRefusal("10018", "ip"), VenueThrottled, VenueThrottled),
        (ApiRefusal("110007", "ab not enough"), VenueRefused, VenueRefused),
        (ApiRefusal("10003", "API key is invalid."), VenueRefused, VenueRefused),
        (HttpFailure(403), VenueThrottled, VenueThrottled),
        (HttpFailure(429), VenueThrottled, VenueThrottled),
        (HttpFailure(502), OrderOutcomeUnknown, VenueUnreachable),
        (HttpFailure(404), VenueRefused, VenueRefused),
        (AnswerUnreadable("not JSON"), OrderOutcomeUnknown, VenueProtocolError),
        (NEVER_CONNECTED, VenueUnreachable, VenueUnreachable),
        (requests.ConnectTimeout("x"), VenueUnreachable, VenueUnreachable),
        (ConnectionRefusedError("x"), VenueUnreachable, VenueUnreachable),
        (requests.ConnectionError("reset"), OrderOutcomeUnknown, VenueUnreachable),
        (requests.ReadTimeout("x"), OrderOutcomeUnknown, VenueUnreachable),
        (ConnectionResetError("x"), OrderOutcomeUnknown, VenueUnreachable),
        (PermissionError("keys"), VenueRefused, VenueRefused),
        (KeyError("retMsg"), OrderOutcomeUnknown, VenueProtocolError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value)[:30],
)
def test_classify(
    error: BaseException, for_order: type[VenueError], for_other: type[VenueError]
) -> None:
    """R30, R42: what may have been executed is unknown for an order, and only then."""
    assert for_order is type(_of(error, "A-1"))
    assert for_other is type(_of(error, None))


def test_the_code_and_the_text_of_a_refusal_are_kept() -> None:
    """A refusal carries the venue's own code and message."""
    failure = _of(ApiRefusal("10001", "can not set tp/sl/ts for zero position"), None)
    assert isinstance(failure, VenueRefused)
    assert ("10001", "can not set tp/sl/ts for zero position") == (failure.code, failure.message)


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (ApiRefusal("10006", "x", reset_ms=1_002_500), 2.5),
        (ApiRefusal("10006", "x", reset_ms=990_000), 0.0),
        (ApiRefusal("10006", "x"), None),
        (HttpFailure(403), 600.0),
    ],
    ids=["reset ahead", "reset in the past", "not told", "address banned"],
)
def test_how_long_to_wait(error: BaseException, wait_s: float | None) -> None:
    """The wait is what the venue told, never negative, and unknown where it told nothing."""
    failure = _of(error, None)
    assert isinstance(failure, VenueThrottled)
    assert wait_s == failure.retry_after_s


@pytest.mark.parametrize("code", [0, "0", " 0 "])
def test_zero_is_success_as_number_and_as_text(code: object) -> None:
    """R42, scenario 17: retCode "0" is the same success as 0."""
    assert "0" == code_text(code)
