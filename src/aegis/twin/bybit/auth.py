"""Signatures of Bybit V5 as the venue checks them: over raw bytes, with its time window."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import attrs

from aegis.core.transport import HttpRequest
from aegis.twin.bybit.refusal import BybitRefused

RECV_WINDOW_DEFAULT_MS: Final = 5000
AHEAD_MAX_MS: Final = 1000


@attrs.frozen(kw_only=True)
class BybitAuth:
    """One API key and its secret (venues.md 3.2)."""

    api_key: str
    api_secret: str = attrs.field(repr=False)

    def _hex(self, payload: bytes) -> str:
        return hmac.new(self.api_secret.encode(), payload, hashlib.sha256).hexdigest()

    def check_request(self, request: HttpRequest, wall_ms: int) -> None:
        """
        Check the headers of a private request.

        Raises:
            BybitRefused: 10003 unknown key, 10002 outside the window, 10004 wrong signature.
        """
        headers = request.headers
        key = headers.get("x-bapi-api-key", "")
        if key != self.api_key:
            raise BybitRefused(10003, "API key is invalid.")
        stamp = headers.get("x-bapi-timestamp", "")
        window = headers.get("x-bapi-recv-window", "") or str(RECV_WINDOW_DEFAULT_MS)
        check_window(stamp, window, wall_ms)
        raw = request.query.encode() if request.method == "GET" else request.body
        origin = f"{stamp}{key}{headers.get('x-bapi-recv-window', '')}".encode() + raw
        if not hmac.compare_digest(self._hex(origin), headers.get("x-bapi-sign", "").lower()):
            raise BybitRefused(
                10004, f"error sign! origin_string[{origin.decode(errors='replace')}]"
            )

    def check_stream(self, args: Sequence[object], wall_ms: int) -> None:
        """
        Check the arguments of a stream's `auth`: key, expiry (ms, number or text), signature.

        Raises:
            BybitRefused: 10001, 10003, 10002 (expired) or 10004.
        """
        if len(args) != 3:
            raise BybitRefused(10001, "Params Error")
        key, expires, signature = (str(arg) for arg in args)
        if key != self.api_key:
            raise BybitRefused(10003, "API key is invalid.")
        if not expires.isdigit() or int(expires) <= wall_ms:
            raise BybitRefused(10002, "The request time exceeds the time window range.")
        expected = self._hex(b"GET/realtime" + expires.encode())
        if not hmac.compare_digest(expected, signature.lower()):
            raise BybitRefused(
                10004, "Error sign, please check your signature generation algorithm."
            )


def check_window(stamp: str, window: str, wall_ms: int) -> None:
    """
    Check server - recv_window <= timestamp < server + 1000 (venues.md 3.2).

    Raises:
        BybitRefused: 10002.
    """
    inside = (
        stamp.isdigit()
        and window.isdigit()
        and wall_ms - int(window) <= int(stamp) < wall_ms + AHEAD_MAX_MS
    )
    if not inside:
        raise BybitRefused(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp}],server_timestamp[{wall_ms}],recv_window[{window}]",
        )
