"""
What Bybit's error codes and the HTTP client's exceptions mean: one table, one classify.

Nothing here sends anything. The codes are from venues.md 3.8; what is not in the table is a plain
refusal, which is never retried as it is.
"""

import enum
import socket
from collections.abc import Callable, Mapping
from typing import Final

import requests
import urllib3.exceptions

from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from aegis.model.instrument import Venue

VENUE: Final = Venue.BYBIT.value
IP_BAN_WAIT_S: Final = 600.0
"""HTTP 403 "access too frequent": stay away for at least 10 minutes (venues.md 3.2)."""

TPSL_NOT_MODIFIED: Final = "34040"
LEVERAGE_NOT_MODIFIED: Final = "110043"
MARGIN_MODE_NOT_MODIFIED: Final = "110026"
ORDER_NOT_FOUND: Final = "110001"


class Meaning(enum.Enum):
    """What a retCode says about the request."""

    OUTCOME_UNKNOWN = "may have been executed"
    THROTTLED = "was not executed, too many requests"


CODES: Final[Mapping[str, Meaning]] = {
    "10000": Meaning.OUTCOME_UNKNOWN,  # server time-out
    "10016": Meaning.OUTCOME_UNKNOWN,  # server error, restarting
    "10019": Meaning.OUTCOME_UNKNOWN,  # restarting, finishes what is in flight
    "10014": Meaning.OUTCOME_UNKNOWN,  # duplicate request: the first copy may stand
    "110072": Meaning.OUTCOME_UNKNOWN,  # orderLinkId is a duplicate: the first copy exists
    "10006": Meaning.THROTTLED,  # too many visits, per account
    "10018": Meaning.THROTTLED,  # too many visits, per address
    "10429": Meaning.THROTTLED,  # system-level frequency protection
    "429": Meaning.THROTTLED,
}


REFUSALS: Final[Mapping[str, Refusal]] = {
    "110092": Refusal.WOULD_TRIGGER,  # expect rising, the trigger price was passed already
    "110093": Refusal.WOULD_TRIGGER,  # expect falling
    "110017": Refusal.NO_POSITION,  # current position is zero, nothing to reduce
    "110001": Refusal.NOT_FOUND,  # order does not exist or is too late to change
    "110008": Refusal.NOT_FOUND,  # order is completed
    "110010": Refusal.NOT_FOUND,  # order is canceled
    "110004": Refusal.MARGIN,
    "110006": Refusal.MARGIN,
    "110007": Refusal.MARGIN,
    "110012": Refusal.MARGIN,
    "110044": Refusal.MARGIN,
    "110045": Refusal.MARGIN,
}
"""What a no means to us (venues.md 3.8); codes that are not here are plain refusals."""

# 10001 is a parameter error of any kind: only its text tells which (venues.md 3.4).
PARAMETER_ERROR: Final = "10001"
_TEXTS: Final[tuple[tuple[str, Refusal], ...]] = (
    ("zero position", Refusal.NO_POSITION),
    ("should lower than", Refusal.WOULD_TRIGGER),
    ("should higher than", Refusal.WOULD_TRIGGER),
    ("should greater than", Refusal.WOULD_TRIGGER),
    ("should be between", Refusal.WOULD_TRIGGER),
)


def refusal_of(code: str, message: str) -> Refusal:
    """Return the normalized meaning of a retCode and its text."""
    if code == PARAMETER_ERROR:
        told = message.lower()
        return next((meaning for text, meaning in _TEXTS if text in told), Refusal.OTHER)
    return REFUSALS.get(code, Refusal.OTHER)


class ApiRefusal(Exception):
    """Raised by rest when the venue answered with a retCode other than 0; *reset_ms* UTC."""

    def __init__(self, code: str, message: str, reset_ms: int | None = None) -> None:
        super().__init__(f"{message} (retCode {code})")
        self.code = code
        self.message = message
        self.reset_ms = reset_ms


class HttpFailure(Exception):
    """Raised by rest when the answer's HTTP status was not 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status was {status}")
        self.status = status


class AnswerUnreadable(Exception):
    """Raised by rest when an answer came that is not an envelope of the venue."""


def code_text(code: object) -> str:
    """Return a retCode as text: 0, "0" and " 0 " are the same code (R42)."""
    return str(code).strip()


def classify(
    error: BaseException,
    operation: str,
    client_order_id: str | None,
    *,
    wall_ns: Callable[[], int],
) -> VenueError:
    """
    Return what *error* means; *client_order_id* is that of an order call, None for all others.

    *wall_ns* is asked when the venue told at which time its limit resets.
    """
    if isinstance(error, VenueError):
        return error
    if isinstance(error, ApiRefusal):
        return _refusal(error, operation, client_order_id, wall_ns)
    if isinstance(error, HttpFailure):
        return _http_failure(error, operation, client_order_id)
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, PermissionError):
        return VenueRefused("NO_KEYS", f"{error}: set the keys", venue=VENUE, operation=operation)
    if _never_left(error):
        return VenueUnreachable(detail, venue=VENUE, operation=operation)
    if client_order_id is not None:
        # A reset, a read time-out, an unreadable answer, even a defect of the SDK: the bytes may
        # have left, so nothing but a query tells.
        return OrderOutcomeUnknown(client_order_id, venue=VENUE, operation=operation, detail=detail)
    if isinstance(error, OSError):
        return VenueUnreachable(detail, venue=VENUE, operation=operation)
    return VenueProtocolError(error, venue=VENUE, operation=operation)


def _refusal(
    error: ApiRefusal, operation: str, client_order_id: str | None, wall_ns: Callable[[], int]
) -> VenueError:
    meaning = CODES.get(error.code)
    if meaning is Meaning.THROTTLED:
        wait_s = (
            None if error.reset_ms is None else max(0.0, error.reset_ms / 1e3 - wall_ns() / 1e9)
        )
        return VenueThrottled(wait_s, venue=VENUE, operation=operation, detail=str(error))
    if meaning is Meaning.OUTCOME_UNKNOWN:
        return _unknown(str(error), operation, client_order_id)
    return VenueRefused(
        error.code,
        error.message,
        venue=VENUE,
        operation=operation,
        refusal=refusal_of(error.code, error.message),
    )


def _http_failure(error: HttpFailure, operation: str, client_order_id: str | None) -> VenueError:
    if error.status == requests.codes.forbidden:
        return VenueThrottled(IP_BAN_WAIT_S, venue=VENUE, operation=operation, detail=str(error))
    if error.status == requests.codes.too_many_requests:
        return VenueThrottled(None, venue=VENUE, operation=operation, detail=str(error))
    if error.status >= requests.codes.internal_server_error:
        return _unknown(str(error), operation, client_order_id)
    return VenueRefused(f"HTTP {error.status}", str(error), venue=VENUE, operation=operation)


def _unknown(detail: str, operation: str, client_order_id: str | None) -> VenueError:
    if client_order_id is None:
        # A query or a repeatable setting: asking again is safe.
        return VenueUnreachable(detail, venue=VENUE, operation=operation)
    return OrderOutcomeUnknown(client_order_id, venue=VENUE, operation=operation, detail=detail)


def _never_left(error: BaseException) -> bool:
    """Say whether the connection was never made, so that no byte of the request was sent."""
    if isinstance(error, requests.ConnectTimeout | ConnectionRefusedError | socket.gaierror):
        return True
    if not isinstance(error, requests.ConnectionError) or not error.args:
        return False
    reason = getattr(error.args[0], "reason", error.args[0])
    # Name resolution and refusal are both NewConnectionErrors.
    return isinstance(
        reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
    )
