"""
Bybit's order entry over WebSocket (v5/trade): log in once, then requests with a time of their own.

Creating, amending and canceling orders go here; trading-stop exists by REST alone (venues.md 3.7).
What a retCode means stands in errors.py, the same as for REST.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from loguru import logger

from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.errors import VenueProtocolError, VenueRefused, VenueUnreachable
from aegis.venue.bybit.errors import VENUE, AnswerUnreadable, ApiRefusal, HttpFailure, code_text
from aegis.venue.bybit.frames import Answer
from aegis.venue.bybit.stream import AUTH_LIFETIME_MS
from aegis.venue.order_socket import Answered, Ask

CREATE: Final = "order.create"
AMEND: Final = "order.amend"
CANCEL: Final = "order.cancel"

LimitHeaders = Mapping[str, Any]

_AUTH: Final = "auth"
_PONG: Final = frozenset({"ping", "pong"})
_RESET_HEADER: Final = "X-Bapi-Limit-Reset-Timestamp"


class RequestWriter:
    """Write the frames of requests and of the log-in. *ahead_ns*: our clock minus the venue's."""

    def __init__(
        self,
        *,
        api_key: str,
        api_secret: str,
        clock: Clock,
        ahead_ns: Callable[[], int],
        recv_window_ms: int,
    ) -> None:
        self._api_key = api_key
        self._secret = api_secret.encode()
        self._clock = clock
        self._ahead_ns = ahead_ns
        self._recv_window_ms = str(recv_window_ms)

    def write(self, request_id: str, op: str, params: Mapping[str, object]) -> str:
        """Return the frame that asks for *op*, timed now."""
        return orjson.dumps(
            {
                "reqId": request_id,
                "header": {
                    "X-BAPI-TIMESTAMP": str(self._now_ms()),
                    "X-BAPI-RECV-WINDOW": self._recv_window_ms,
                },
                "op": op,
                "args": [params],
            }
        ).decode()

    def log_in(self) -> str:
        """Return the frame that logs in (venues.md 3.2)."""
        expires_ms = self._now_ms() + AUTH_LIFETIME_MS
        signature = hmac.new(
            self._secret, f"GET/realtime{expires_ms}".encode(), hashlib.sha256
        ).hexdigest()
        return orjson.dumps({"op": _AUTH, "args": [self._api_key, expires_ms, signature]}).decode()

    def _now_ms(self) -> int:
        return (self._clock.wall_ns() - self._ahead_ns()) // NS_PER_MS


class LogIn:
    """Log in after every opening; a refusal is told once, until it succeeds again."""

    def __init__(self, writer: RequestWriter) -> None:
        self._writer = writer
        self.refusal: VenueRefused | None = None
        """Why the last log-in was refused; None after a success."""

    async def __call__(self, ask: Ask) -> None:
        """
        Log in.

        Raises:
            VenueRefused: the venue said no.
            TimeoutError, ConnectionError: no answer.

        """
        try:
            await ask(_AUTH, self._writer.log_in())
        except ApiRefusal as error:
            if self.refusal is None:
                logger.warning(
                    "bybit refused the log-in of the order socket, orders go by REST: {}", error
                )
            self.refusal = VenueRefused(
                error.code, error.message, venue=VENUE, operation="order socket"
            )
            raise self.refusal from None
        except (AnswerUnreadable, HttpFailure) as error:
            raise VenueUnreachable(str(error), venue=VENUE, operation="order socket") from None
        self.refusal = None


class AnswerReader:
    """Read answers. *on_limits* gets operation and rate-limit headers of each (venues.md 3.7)."""

    def __init__(self, on_limits: Callable[[str, LimitHeaders], None] | None = None) -> None:
        self._on_limits = on_limits

    def __call__(self, frame: bytes) -> Answered | None:
        """
        Return request id and `Answer`, or an ApiRefusal in its place; None for a pong.

        Raises:
            VenueProtocolError: the frame is no JSON object.

        """
        try:
            message = orjson.loads(frame)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            raise VenueProtocolError(frame, "no JSON object", venue=VENUE, operation="order socket")
        op = str(message.get("op", ""))
        if op in _PONG:
            return None
        header = message.get("header")
        if not isinstance(header, dict):
            header = {}
        elif self._on_limits is not None:
            self._on_limits(op, header)
        # The log-in's answer may carry no id.
        request_id = _AUTH if op == _AUTH else str(message.get("reqId", ""))
        return (request_id, _outcome(op, message, header)) if request_id else None


def _outcome(op: str, message: dict[str, Any], header: Mapping[str, Any]) -> object:
    if "retCode" not in message:
        return AnswerUnreadable(f"the answer had no retCode: {str(message)[:200]}")
    code = code_text(message["retCode"])
    if code != "0":
        reset = str(header.get(_RESET_HEADER, ""))
        reset_ms = int(reset) if reset.isascii() and reset.isdigit() else None
        return ApiRefusal(code, str(message.get("retMsg", "")), reset_ms)
    data = message.get("data")
    return Answer(operation=f"ws {op}", result=data if isinstance(data, dict) else {})
