"""
Binance's order entry over WebSocket: ws-fapi requests, signed one by one, and their answers.

An HMAC key cannot log a session in (session.logon takes Ed25519 keys alone), so every request
carries key, time and signature over its parameters sorted by name (venues.md 2.2). What an answer
means stands in errors.py, the same as for REST.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.errors import VenueProtocolError
from aegis.model.instrument import Venue
from aegis.model.money import plain
from aegis.model.order import OrderRequest, OrderType, PositionSide
from aegis.venue.binance.encode import encode
from aegis.venue.binance.errors import AnswerUnreadable, HttpFault
from aegis.venue.binance.rest import Value
from aegis.venue.order_socket import Answered

PLACE: Final = "order.place"
CANCEL: Final = "order.cancel"
PLACE_ALGO: Final = "algoOrder.place"
CANCEL_ALGO: Final = "algoOrder.cancel"

RateLimits = Sequence[Mapping[str, Any]]

_STATUS_OK: Final = 200
_SHA256_BLOCK_BYTES: Final = 64


class Signer:
    """
    HMAC-SHA256 with one key, hashed once: a third of what hmac.digest takes, which starts anew.

    >>> Signer("Jefe").sign("what do ya want for nothing?")[:16]
    '5bdcc146bf60754e'
    """

    def __init__(self, secret: str) -> None:
        key = secret.encode()
        if len(key) > _SHA256_BLOCK_BYTES:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_SHA256_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def sign(self, payload: str) -> str:
        """Return the signature of *payload* as hexadecimal digits."""
        inner = self._inner.copy()
        inner.update(payload.encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


class RequestWriter:
    """Write signed requests. *offset_ms* is asked each time: the venue's clock minus ours."""

    def __init__(
        self,
        *,
        api_key: str,
        api_secret: str,
        clock: Clock,
        offset_ms: Callable[[], int],
        recv_window_ms: int,
    ) -> None:
        self._api_key = api_key
        self._sign = Signer(api_secret).sign
        self._clock = clock
        self._offset_ms = offset_ms
        self._recv_window_ms = str(recv_window_ms)

    def order(self, request_id: str, request: OrderRequest, leg: PositionSide | None = None) -> str:
        """
        Return the frame that places *request*, signed now; *leg* as `encode`.

        Raises:
            VenueRefused: the venue has no such order, as `encode`.
            ValueError: as `write`.

        """
        plain_market = request.order_type is OrderType.MARKET and not request.close_position
        if not plain_market or request.attached is not None or request.qty is None:
            method = PLACE_ALGO if request.order_type.is_conditional else PLACE
            return self.write(request_id, method, encode(request, leg).params)
        # The order every entry and every close is, without a table: what encode and write make.
        # Hedge mode: the leg stands for reduceOnly, which may not be sent (venues.md 1.3).
        position = "" if leg is None else f"&positionSide={leg}"
        reduce = "&reduceOnly=true" if request.reduce_only and leg is None else ""
        payload = (
            f"apiKey={self._api_key}&newClientOrderId={request.client_order_id}"
            f"&newOrderRespType=RESULT{position}&quantity={plain(request.qty)}"
            f"&recvWindow={self._recv_window_ms}{reduce}&side={request.side}"
            f"&symbol={request.instrument_id.symbol}&timestamp={self._now_ms()}&type=MARKET"
        )
        return self._sealed(request_id, PLACE, payload, 10 if reduce or position else 9)

    def write(self, request_id: str, method: str, params: Mapping[str, Value]) -> str:
        """
        Return the frame of *method* with *params*, signed now; None values are left out.

        Raises:
            ValueError: a value holds a character that would end it.

        """
        pairs = [f"{name}={_text(value)}" for name, value in params.items() if value is not None]
        pairs.append(f"apiKey={self._api_key}")
        pairs.append(f"recvWindow={self._recv_window_ms}")
        pairs.append(f"timestamp={self._now_ms()}")
        # Sorted pairs are sorted names: "=" comes before every letter.
        pairs.sort()
        return self._sealed(request_id, method, "&".join(pairs), len(pairs))

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // NS_PER_MS + self._offset_ms()

    def _sealed(self, request_id: str, method: str, payload: str, pairs: int) -> str:
        # No value may hold what ends it, so that the signed text reads as JSON too.
        if payload.count("=") != pairs or payload.count("&") != pairs - 1:
            raise ValueError(f"a parameter of {method} held & or =")
        if '"' in payload or "\\" in payload:
            raise ValueError(f"a parameter of {method} held a quote or a backslash")
        fields = payload.replace("=", '":"').replace("&", '","')
        return (
            f'{{"id":"{request_id}","method":"{method}","params":'
            f'{{"{fields}","signature":"{self._sign(payload)}"}}}}'
        )


class AnswerReader:
    """Read answers. *on_rate_limits* gets the usage every answer tells (venues.md 2.2)."""

    def __init__(self, on_rate_limits: Callable[[RateLimits], None] | None = None) -> None:
        self._on_rate_limits = on_rate_limits

    def __call__(self, frame: bytes) -> Answered | None:
        """
        Return request id and result, an HttpFault in its place for an error; None for other frames.

        Raises:
            VenueProtocolError: the frame is no JSON object.

        """
        try:
            message = orjson.loads(frame)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            raise VenueProtocolError(
                frame, "no JSON object", venue=Venue.BINANCE.value, operation="order socket"
            )
        limits = message.get("rateLimits")
        if limits and self._on_rate_limits is not None and isinstance(limits, list):
            self._on_rate_limits(limits)
        request_id = message.get("id")
        if request_id is None:
            return None
        return str(request_id), _outcome(message)


def _outcome(message: dict[str, Any]) -> object:
    status = message.get("status")
    result = message.get("result")
    if status == _STATUS_OK and result is not None:
        return result
    error = message.get("error")
    if isinstance(status, int) and status != _STATUS_OK and isinstance(error, dict):
        code = error.get("code")
        return HttpFault(
            status,
            code if isinstance(code, int) else None,
            str(error.get("msg") or error),
            _retry_headers(error.get("data")),
        )
    return AnswerUnreadable(f"status {status} with {str(message)[:200]}")


def _retry_headers(data: object) -> dict[str, str]:
    # REST tells a wait in a header, the socket two points of time in ms.
    if not isinstance(data, dict):
        return {}
    until_ms, now_ms = data.get("retryAfter"), data.get("serverTime")
    if not isinstance(until_ms, int) or not isinstance(now_ms, int):
        return {}
    return {"retry-after": str(max(0, until_ms - now_ms) / 1000)}


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(value) if isinstance(value, Decimal) else str(value)
