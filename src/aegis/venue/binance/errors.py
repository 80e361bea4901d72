"""
What a failed Binance call means: one row per code, and what HTTP statuses and connections mean.

Sources: venues.md 1.1 to 1.3, 2.2 and 2.7.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp

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

ALREADY_ISOLATED: Final = "-4046"
LISTEN_KEY_GONE: Final = "-1125"
ORDER_UNKNOWN: Final = "-2013"
UNSUPPORTED: Final = "unsupported"

_STATUS_THROTTLED: Final = frozenset({403, 418, 429})
_STATUS_BANNED: Final = 418
_STATUS_SERVER_FAULT: Final = 500
# Of the three meanings of a 503 only this one says that nothing was done (venues.md 2.2).
_NOT_EXECUTED: Final = "service unavailable"
_MAINTENANCE: Final = "the venue is overloaded or in maintenance, trading goes on by itself after"
_BANNED_UNTIL: Final = re.compile(r"banned until (\d{13})")
_VENUE: Final = Venue.BINANCE.value

_HEDGE_FIX: Final = (
    "the position mode was changed while the bot ran: start the bot again, which reads it"
)

CODES: Final = table(
    (
        # The order may or may not be in the book.
        Meaning("-1000", Fate.UNKNOWN, "unknown error", "2.7"),
        Meaning("-1001", Fate.UNKNOWN, "internal error, disconnected", "2.7"),
        Meaning("-1006", Fate.UNKNOWN, "unexpected response, execution status unknown", "2.2, 2.7"),
        Meaning("-1007", Fate.UNKNOWN, "backend time-out, execution status unknown", "2.2, 2.7"),
        # Too many.
        Meaning("-1003", Fate.THROTTLED, "request weight; with HTTP 418 a ban", "2.2, 2.7"),
        Meaning("-1015", Fate.THROTTLED, "order count", "2.2, 2.7"),
        Meaning("-1008", Fate.THROTTLED, "system protection, ways out are exempt", "2.2, 2.7"),
        # Time, keys, rights.
        Meaning("-1021", Fate.RETIMED, "outside of recvWindow", "2.2", fix=CLOCK_FIX),
        Meaning("-5028", Fate.RETIMED, "the engine's recvWindow", "2.2, 2.7", fix=CLOCK_FIX),
        Meaning("-1022", Fate.REFUSED, "signature", "2.2, 2.7", fix=KEYS_FIX),
        Meaning("-2014", Fate.REFUSED, "format of the key", "2.7", fix=KEYS_FIX),
        Meaning(
            "-2015",
            Fate.REFUSED,
            "key, IP or permission",
            "2.7",
            fix=f"{KEYS_FIX}, enable Futures for it, and {IP_FIX}; testnet keys are other keys",
        ),
        Meaning("-1002", Fate.REFUSED, "not authorized", "2.7: MEM", fix=KEYS_FIX),
        Meaning("-1125", Fate.REFUSED, "listen key does not exist", "2.2, 2.7"),
        Meaning(
            "-4087", Fate.REFUSED, "account may only reduce", "2.7", fix="ask the venue's support"
        ),
        Meaning(
            "-4088",
            Fate.REFUSED,
            "no permission to place orders",
            "2.7",
            fix="enable Futures for the account and for its API key",
        ),
        Meaning(
            "-4192", Fate.REFUSED, "cooling-off period", "2.7", fix="end it on the website, or wait"
        ),
        Meaning(
            "-4400", Fate.REFUSED, "quantitative rules", "2.7", fix="see the notice on the website"
        ),
        # How the request was written: a defect of ours.
        Meaning("-1102", Fate.REFUSED, "parameter missing", "2.7"),
        Meaning("-1106", Fate.REFUSED, "parameter not wanted", "1.3, 2.7"),
        Meaning("-1111", Fate.REFUSED, "precision", "2.7"),
        Meaning(
            "-1121", Fate.REFUSED, "symbol", "2.7", fix="remove it from the configured symbols"
        ),
        Meaning("-4001", Fate.REFUSED, "price below 0", "2.7"),
        Meaning("-4003", Fate.REFUSED, "quantity not above 0", "2.7"),
        Meaning("-4004", Fate.REFUSED, "quantity below the minimum", "2.7"),
        Meaning("-4005", Fate.REFUSED, "quantity above the maximum", "2.7"),
        Meaning("-4013", Fate.REFUSED, "price below the minimum", "2.7"),
        Meaning("-4014", Fate.REFUSED, "price off the tick", "2.7"),
        Meaning("-4015", Fate.REFUSED, "client order id", "2.3, 2.7"),
        Meaning("-4016", Fate.REFUSED, "price above the cap", "2.3, 2.7"),
        Meaning("-4023", Fate.REFUSED, "quantity off the step", "2.7"),
        Meaning("-4024", Fate.REFUSED, "price below the floor", "2.3, 2.7"),
        Meaning("-4028", Fate.REFUSED, "leverage", "2.7"),
        Meaning("-4120", Fate.REFUSED, "conditional order at the wrong endpoint", "1.1"),
        Meaning("-4136", Fate.REFUSED, "closePosition with a trailing stop", "1.3, 2.7"),
        Meaning("-4137", Fate.REFUSED, "closePosition with a quantity", "1.3, 2.7"),
        Meaning("-4138", Fate.REFUSED, "closePosition with reduceOnly", "1.3, 2.7"),
        Meaning("-4164", Fate.REFUSED, "notional too small", "2.3, 2.7"),
        # What the account allows.
        Meaning("-2018", Fate.REFUSED, "balance", "2.7", refusal=Refusal.MARGIN),
        Meaning("-2019", Fate.REFUSED, "margin is insufficient", "2.7", refusal=Refusal.MARGIN),
        Meaning("-2023", Fate.REFUSED, "account in liquidation", "2.7"),
        Meaning("-2025", Fate.REFUSED, "too many open orders", "2.7"),
        Meaning("-2027", Fate.REFUSED, "position above the leverage's limit", "2.7"),
        Meaning("-2028", Fate.REFUSED, "leverage below what the margin allows", "2.7"),
        Meaning("-4045", Fate.REFUSED, "too many conditional orders", "1.1, 2.7"),
        Meaning("-4047", Fate.REFUSED, "margin type with open orders", "2.4, 2.7"),
        Meaning("-4048", Fate.REFUSED, "margin type with a position", "2.4, 2.7"),
        Meaning("-4161", Fate.REFUSED, "less leverage with an isolated position", "2.4"),
        Meaning("-4060", Fate.REFUSED, "position side against the mode", "2.7", fix=_HEDGE_FIX),
        Meaning("-4061", Fate.REFUSED, "position side of hedge mode", "1.3, 2.7", fix=_HEDGE_FIX),
        Meaning("-4062", Fate.REFUSED, "reduceOnly in hedge mode", "2.7", fix=_HEDGE_FIX),
        Meaning("-4067", Fate.REFUSED, "position mode with open orders", "2.4, 2.7"),
        Meaning("-4068", Fate.REFUSED, "position mode with a position", "2.4, 2.7"),
        Meaning("-4046", Fate.DONE, "margin type is that already", "2.4, 2.7"),
        Meaning("-4059", Fate.DONE, "position mode is that already", "2.4, 2.7"),
        Meaning("-5027", Fate.DONE, "the order is that already", "2.3, 2.7"),
        # Where the order met the market or another order.
        Meaning(
            "-2011",
            Fate.REFUSED,
            "cancel: unknown order; filled, canceled or never there",
            "1.2, 2.7",
            refusal=Refusal.NOT_FOUND,
        ),
        Meaning(
            "-2013",
            Fate.REFUSED,
            "query: no such order, or not visible yet",
            "1.2, 2.7",
            refusal=Refusal.NOT_FOUND,
        ),
        Meaning("-2020", Fate.REFUSED, "unable to fill", "2.7"),
        Meaning(
            "-2021",
            Fate.REFUSED,
            "would trigger at once",
            "1.2, 2.7",
            refusal=Refusal.WOULD_TRIGGER,
        ),
        Meaning(
            "-4142",
            Fate.REFUSED,
            "would trigger at once",
            "1.2, 2.7",
            refusal=Refusal.WOULD_TRIGGER,
        ),
        Meaning(
            "-2022", Fate.REFUSED, "reduce-only rejected", "1.3, 2.7", refusal=Refusal.NO_POSITION
        ),
        Meaning("-4118", Fate.REFUSED, "reduce-only blocked by other orders", "1.3, 2.7"),
        Meaning("-4116", Fate.REFUSED, "duplicate id", "2.3, 2.7", refusal=Refusal.DUPLICATE_ID),
        Meaning("-4117", Fate.REFUSED, "the stop is triggering: wait for its fill", "2.7"),
        Meaning(
            "-4130",
            Fate.REFUSED,
            "a closePosition order of that direction rests",
            "1.3",
            refusal=Refusal.EXISTS,
        ),
        Meaning("-4131", Fate.REFUSED, "market order beyond the price band", "2.3, 2.7"),
        Meaning("-4183", Fate.REFUSED, "price above the stop's band", "2.7"),
        Meaning("-4184", Fate.REFUSED, "price below the stop's band", "2.7"),
        Meaning(
            "-4509",
            Fate.REFUSED,
            "no open position; also just after the fill",
            "1.3",
            refusal=Refusal.NO_POSITION,
        ),
        Meaning("-5021", Fate.REFUSED, "fill or kill", "2.7"),
        Meaning("-5022", Fate.REFUSED, "post only", "2.7"),
    )
)
"""Every code the bot knows; the numbers are sections of venues.md. Codes that are not here are
plain refusals: the venue understood and said no."""

TIME_REFUSED: Final = frozenset(
    code for code, meaning in CODES.items() if meaning.fate is Fate.RETIMED
)
"""Codes after which the clock is measured and the request sent once more: -1021 of the gateway,
-5028 of the matching engine behind it (venues.md 2.2)."""


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


def classify(
    error: BaseException,
    operation: str,
    client_order_id: str | None,
    *,
    wall_ns: Callable[[], int] | None = None,
) -> VenueError:
    """
    Return what *error* means for *operation*.

    *client_order_id* is given for a call that sends an order; where its fate is open the result is
    OrderOutcomeUnknown. Without it the same fault is VenueUnreachable: the call may be repeated.
    *wall_ns* is asked when a ban tells its end as a time.
    """
    if isinstance(error, HttpFault):
        return _http_fault(error, operation, client_order_id, wall_ns)
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        # No connection, so no byte of the request left.
        return VenueUnreachable(detail, venue=_VENUE, operation=operation)
    if isinstance(error, aiohttp.ClientError | OSError):
        return _open(detail, operation, client_order_id)
    if client_order_id is not None:
        return _open(detail, operation, client_order_id)
    return VenueProtocolError(str(error), detail, venue=_VENUE, operation=operation)


def _http_fault(
    error: HttpFault,
    operation: str,
    client_order_id: str | None,
    wall_ns: Callable[[], int] | None,
) -> VenueError:
    meaning = None if error.code is None else CODES.get(str(error.code))
    fate = Fate.REFUSED if meaning is None else meaning.fate
    if error.status in _STATUS_THROTTLED or fate is Fate.THROTTLED:
        banned = error.status == _STATUS_BANNED
        return VenueThrottled(
            _wait_s(error, wall_ns if banned else None),
            venue=_VENUE,
            operation=operation,
            detail=str(error),
            scope=ThrottleScope.BAN if banned else ThrottleScope.VENUE,
        )
    if fate is Fate.UNKNOWN:
        return _open(str(error), operation, client_order_id)
    if error.status >= _STATUS_SERVER_FAULT:
        detail = f"{_MAINTENANCE} ({error})"
        if _NOT_EXECUTED in error.message.lower():
            return VenueUnreachable(detail, venue=_VENUE, operation=operation)
        return _open(detail, operation, client_order_id)
    return VenueRefused(
        str(error.status if error.code is None else error.code),
        with_fix(error.message, "" if meaning is None else meaning.fix),
        venue=_VENUE,
        operation=operation,
        refusal=Refusal.OTHER if meaning is None else meaning.refusal,
    )


def _wait_s(error: HttpFault, wall_ns: Callable[[], int] | None) -> float | None:
    """Return the longer one of what header and text of the answer tell, None where neither does."""
    told = _BANNED_UNTIL.search(error.message)
    if told is None or wall_ns is None:
        return error.retry_after_s
    return max(error.retry_after_s or 0.0, int(told[1]) / 1e3 - wall_ns() / 1e9)


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
