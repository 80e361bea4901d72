"""
What a failed Binance call means: one decision per code, from venues.md 2.2 and 2.7.

Codes that are not in a table here are refusals: the venue understood and said no.
"""

from collections.abc import Mapping
from typing import Final

import aiohttp

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

ALREADY_ISOLATED: Final = "-4046"
LISTEN_KEY_GONE: Final = "-1125"
ORDER_UNKNOWN: Final = "-2013"
TIMESTAMP_REFUSED: Final = "-1021"
UNSUPPORTED: Final = "unsupported"

# The order may or may not be in the book: -1000 unknown error, -1001 disconnected, -1006 unexpected
# response, -1007 backend time-out (venues.md 2.7).
_OUTCOME_UNKNOWN: Final = frozenset({-1000, -1001, -1006, -1007})
# -1003 request weight, -1015 order count, -1008 system protection (venues.md 2.2, 2.7).
_THROTTLED: Final = frozenset({-1003, -1015, -1008})
_STATUS_THROTTLED: Final = frozenset({403, 418, 429})
_STATUS_SERVER_FAULT: Final = 500
# Of the three meanings of a 503 only this one says that nothing was done (venues.md 2.2).
_NOT_EXECUTED: Final = "service unavailable"
_VENUE: Final = Venue.BINANCE.value

REFUSALS: Final[Mapping[str, Refusal]] = {
    "-2021": Refusal.WOULD_TRIGGER,  # order would immediately trigger
    "-4142": Refusal.WOULD_TRIGGER,  # take profit or stop would be triggered immediately
    "-4509": Refusal.NO_POSITION,  # TIF GTE needs an open position; also just after the fill
    "-2022": Refusal.NO_POSITION,  # reduce-only order is rejected
    "-4130": Refusal.EXISTS,  # a closePosition order of that direction rests
    "-2011": Refusal.NOT_FOUND,  # cancel: unknown order
    "-2013": Refusal.NOT_FOUND,  # query: order does not exist, or is not visible yet
    "-4116": Refusal.DUPLICATE_ID,  # client order id is a duplicate
    "-2018": Refusal.MARGIN,  # balance not sufficient
    "-2019": Refusal.MARGIN,  # margin is insufficient
}
"""What a no means to us (venues.md 1.3, 2.7); codes that are not here are plain refusals."""


class HttpFault(Exception):
    """An answer that is no success: HTTP status, headers, and code and text of its body."""

    def __init__(
        self, status: int, code: int | None, message: str, headers: Mapping[str, str]
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = _retry_after_s(headers)
        super().__init__(f"HTTP {status} code {code}: {message}")


class AnswerUnreadable(Exception):
    """A success whose body is no JSON."""


def classify(error: BaseException, operation: str, client_order_id: str | None) -> VenueError:
    """
    Return what *error* means for *operation*.

    *client_order_id* is given for a call that sends an order; where its fate is open the result is
    OrderOutcomeUnknown. Without it the same fault is VenueUnreachable: the call may be repeated.
    """
    if isinstance(error, HttpFault):
        return _http_fault(error, operation, client_order_id)
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        # No connection, so no byte of the request left.
        return VenueUnreachable(detail, venue=_VENUE, operation=operation)
    if isinstance(error, aiohttp.ClientError | OSError):
        return _open(detail, operation, client_order_id)
    if client_order_id is not None:
        return _open(detail, operation, client_order_id)
    return VenueProtocolError(str(error), detail, venue=_VENUE, operation=operation)


def _http_fault(error: HttpFault, operation: str, client_order_id: str | None) -> VenueError:
    detail = str(error)
    if error.status in _STATUS_THROTTLED or error.code in _THROTTLED:
        return VenueThrottled(error.retry_after_s, venue=_VENUE, operation=operation, detail=detail)
    if error.code in _OUTCOME_UNKNOWN:
        return _open(detail, operation, client_order_id)
    if error.status >= _STATUS_SERVER_FAULT:
        if _NOT_EXECUTED in error.message.lower():
            return VenueUnreachable(detail, venue=_VENUE, operation=operation)
        return _open(detail, operation, client_order_id)
    code = str(error.status if error.code is None else error.code)
    return VenueRefused(
        code,
        error.message,
        venue=_VENUE,
        operation=operation,
        refusal=REFUSALS.get(code, Refusal.OTHER),
    )


def _open(detail: str, operation: str, client_order_id: str | None) -> VenueError:
    if client_order_id is None:
        return VenueUnreachable(detail, venue=_VENUE, operation=operation)
    return OrderOutcomeUnknown(client_order_id, venue=_VENUE, operation=operation, detail=detail)


def refused(code: str, message: str, operation: str) -> VenueRefused:
    """Return a refusal of our own, in the venue's shape."""
    return VenueRefused(code, message, venue=_VENUE, operation=operation)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    for name, value in headers.items():
        if name.lower() == "retry-after":
            try:
                return max(0.0, float(value))
            except ValueError:
                return None
    return None
