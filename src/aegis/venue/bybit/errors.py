"""
What Bybit's error codes and the HTTP client's exceptions mean: one table, one classify.

Nothing here sends anything. Sources: venues.md 3.2 to 3.8.
"""

import socket
from collections.abc import Callable
from typing import Final

import requests
import urllib3.exceptions

from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    ThrottleScope,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from aegis.model.instrument import Venue
from aegis.venue.meanings import CLOCK_FIX, IP_FIX, KEYS_FIX, Fate, Meaning, table, with_fix

VENUE: Final = Venue.BYBIT.value
IP_BAN_WAIT_S: Final = 600.0
"""HTTP 403 "access too frequent": stay away for at least 10 minutes (venues.md 3.2)."""

TPSL_NOT_MODIFIED: Final = "34040"
LEVERAGE_NOT_MODIFIED: Final = "110043"
MARGIN_MODE_NOT_MODIFIED: Final = "110026"
ORDER_NOT_FOUND: Final = "110001"
TIMESTAMP_REFUSED: Final = "10002"


_HEDGE_FIX: Final = (
    "a position mode is changed on the website with nothing open: both modes are traded, then "
    "start the bot again, which reads it"
)
_MAINTENANCE: Final = "the venue is overloaded or in maintenance, trading goes on by itself after"
_ENDPOINT: Final = ThrottleScope.ENDPOINT

CODES: Final = table(
    (
        # The order may or may not be in the book.
        Meaning("10000", Fate.UNKNOWN, "server time-out", "3.8"),
        Meaning("10016", Fate.UNKNOWN, "server error, restarting", "3.7, 3.8"),
        Meaning("10019", Fate.UNKNOWN, "restarting, finishes what is in flight", "3.7"),
        Meaning("10014", Fate.UNKNOWN, "duplicate request: the first copy may stand", "3.8"),
        Meaning(
            "110072",
            Fate.UNKNOWN,
            "orderLinkId is a duplicate: the first copy exists",
            "3.3, 3.8",
            refusal=Refusal.DUPLICATE_ID,
        ),
        # Too many.
        Meaning("10006", Fate.THROTTLED, "too many visits, per account", "3.2", scope=_ENDPOINT),
        Meaning("10018", Fate.THROTTLED, "too many visits, per IP address", "3.2, 3.8"),
        Meaning("10429", Fate.THROTTLED, "system-level frequency protection", "3.7"),
        Meaning("20003", Fate.THROTTLED, "too frequent on the order socket", "3.7"),
        Meaning("10403", Fate.THROTTLED, "order socket, 3000 a second and IP", "3.7"),
        Meaning("429", Fate.THROTTLED, "too many requests", "3.8"),
        # Time, keys, rights.
        Meaning("10002", Fate.RETIMED, "timestamp or recv_window", "3.2, 3.8", fix=CLOCK_FIX),
        Meaning(
            "10003",
            Fate.REFUSED,
            "API key is invalid",
            "3.8",
            fix=f"{KEYS_FIX}; testnet keys are other keys",
        ),
        Meaning("10004", Fate.REFUSED, "signature", "3.2, 3.8", fix=KEYS_FIX),
        Meaning(
            "10005",
            Fate.REFUSED,
            "permission of the key",
            "3.8",
            fix="allow contract orders and positions for the key on the website",
        ),
        Meaning("10010", Fate.REFUSED, "IP address of the key", "3.8", fix=IP_FIX),
        Meaning(
            "10024", Fate.REFUSED, "compliance rules", "3.8", fix="see the notice on the website"
        ),
        Meaning("10027", Fate.REFUSED, "trading is banned", "3.8", fix="ask the venue's support"),
        Meaning(
            "10028",
            Fate.REFUSED,
            "unified accounts only",
            "3.8",
            fix="upgrade it to a unified trading account",
        ),
        Meaning(
            "10029", Fate.REFUSED, "symbol is not whitelisted", "3.8", fix="take the symbol out"
        ),
        Meaning(
            "110123",
            Fate.REFUSED,
            "trading terms are not signed",
            "3.8",
            fix="sign them on the website",
        ),
        Meaning(
            "110124",
            Fate.REFUSED,
            "cooling-off period",
            "3.8",
            fix="end it on the website, or wait",
        ),
        Meaning(
            "110125",
            Fate.REFUSED,
            "trading terms are not signed",
            "3.8",
            fix="sign them on the website",
        ),
        # How the request was written.
        Meaning("10001", Fate.REFUSED, "parameter error of any kind: its text tells", "3.4, 3.8"),
        Meaning("110003", Fate.REFUSED, "price out of range", "3.8"),
        Meaning("110057", Fate.REFUSED, "stop and target parameters", "3.8"),
        Meaning("110058", Fate.REFUSED, "stop and target parameters", "3.8"),
        Meaning("110059", Fate.REFUSED, "stop and target parameters", "3.8"),
        Meaning("110060", Fate.REFUSED, "stop and target parameters", "3.8"),
        Meaning("110094", Fate.REFUSED, "notional below the minimum", "3.8"),
        # What the account allows.
        Meaning("110004", Fate.REFUSED, "wallet balance", "3.8", refusal=Refusal.MARGIN),
        Meaning("110006", Fate.REFUSED, "assets", "3.8", refusal=Refusal.MARGIN),
        Meaning("110007", Fate.REFUSED, "available balance", "3.8", refusal=Refusal.MARGIN),
        Meaning("110012", Fate.REFUSED, "available balance", "3.8", refusal=Refusal.MARGIN),
        Meaning("110044", Fate.REFUSED, "available margin", "3.8", refusal=Refusal.MARGIN),
        Meaning("110045", Fate.REFUSED, "wallet balance", "3.8", refusal=Refusal.MARGIN),
        Meaning("110009", Fate.REFUSED, "too many conditional orders", "3.3, 3.8"),
        Meaning("110020", Fate.REFUSED, "too many open orders", "3.3, 3.8"),
        Meaning("110061", Fate.REFUSED, "too many stops and targets", "3.3, 3.8"),
        Meaning("110011", Fate.REFUSED, "would liquidate", "3.8"),
        Meaning("110040", Fate.REFUSED, "would liquidate", "3.8"),
        Meaning("110021", Fate.REFUSED, "open interest limit", "3.8"),
        Meaning("110023", Fate.REFUSED, "contract may only be reduced", "3.8"),
        Meaning(
            "110024", Fate.REFUSED, "position mode with a position", "3.6, 3.8", fix=_HEDGE_FIX
        ),
        Meaning("110028", Fate.REFUSED, "position mode with orders", "3.6, 3.8", fix=_HEDGE_FIX),
        Meaning("110025", Fate.DONE, "position mode is that already", "3.6, 3.8"),
        Meaning(MARGIN_MODE_NOT_MODIFIED, Fate.DONE, "margin mode is that already", "3.8"),
        Meaning(LEVERAGE_NOT_MODIFIED, Fate.DONE, "leverage is that already", "3.6, 3.8"),
        Meaning(TPSL_NOT_MODIFIED, Fate.DONE, "stop and target are that already", "3.4, 3.8"),
        # Where the order met the market or another order.
        Meaning(
            ORDER_NOT_FOUND,
            Fate.REFUSED,
            "order does not exist or is too late to change",
            "3.6, 3.8",
            refusal=Refusal.NOT_FOUND,
        ),
        Meaning("110008", Fate.REFUSED, "order is done", "3.6, 3.8", refusal=Refusal.NOT_FOUND),
        Meaning("110010", Fate.REFUSED, "order is canceled", "3.6, 3.8", refusal=Refusal.NOT_FOUND),
        Meaning("110017", Fate.REFUSED, "nothing to reduce", "3.8", refusal=Refusal.NO_POSITION),
        Meaning("110079", Fate.REFUSED, "order is being processed", "3.8"),
        Meaning(
            "110092",
            Fate.REFUSED,
            "expect rising, passed",
            "3.3, 3.8",
            refusal=Refusal.WOULD_TRIGGER,
        ),
        Meaning(
            "110093",
            Fate.REFUSED,
            "expect falling, passed",
            "3.3, 3.8",
            refusal=Refusal.WOULD_TRIGGER,
        ),
    )
)
"""Every code the bot knows; the numbers are sections of venues.md. Codes that are not here are
plain refusals, which are never sent again as they are."""

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
    meaning = CODES.get(code)
    return Refusal.OTHER if meaning is None else meaning.refusal


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
    fate = Fate.REFUSED if meaning is None else meaning.fate
    if meaning is not None and fate is Fate.THROTTLED:
        wait_s = (
            None if error.reset_ms is None else max(0.0, error.reset_ms / 1e3 - wall_ns() / 1e9)
        )
        return VenueThrottled(
            wait_s, venue=VENUE, operation=operation, detail=str(error), scope=meaning.scope
        )
    if fate is Fate.UNKNOWN:
        return _unknown(str(error), operation, client_order_id)
    return VenueRefused(
        error.code,
        with_fix(error.message, "" if meaning is None else meaning.fix),
        venue=VENUE,
        operation=operation,
        refusal=refusal_of(error.code, error.message),
    )


def _http_failure(error: HttpFailure, operation: str, client_order_id: str | None) -> VenueError:
    if error.status == requests.codes.forbidden:
        return VenueThrottled(
            IP_BAN_WAIT_S,
            venue=VENUE,
            operation=operation,
            detail=f"{error}, access too frequent",
            scope=ThrottleScope.BAN,
        )
    if error.status == requests.codes.too_many_requests:
        return VenueThrottled(None, venue=VENUE, operation=operation, detail=str(error))
    if error.status >= requests.codes.internal_server_error:
        return _unknown(f"{_MAINTENANCE} ({error})", operation, client_order_id)
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
