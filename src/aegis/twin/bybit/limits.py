"""Bybit's rate limits per account and second: the X-Bapi-Limit headers, and 10006 when enforced."""

from collections.abc import Mapping
from typing import Final

from aegis.twin.bybit.refusal import BybitRefused

SECOND_MS: Final = 1000

LIMITS: Final[Mapping[str, int]] = {
    "/v5/order/create": 10,
    "/v5/order/amend": 10,
    "/v5/order/cancel": 10,
    "/v5/order/cancel-all": 10,
    "/v5/order/create-batch": 10,
    "/v5/order/amend-batch": 10,
    "/v5/order/cancel-batch": 10,
    "/v5/order/realtime": 50,
    "/v5/order/history": 50,
    "/v5/execution/list": 50,
    "/v5/position/list": 50,
    "/v5/position/trading-stop": 10,
    "/v5/position/set-leverage": 10,
    "/v5/position/switch-mode": 10,
    "/v5/account/wallet-balance": 50,
    "/v5/account/fee-rate": 5,
}
"""Requests per second by path (venues.md 3.2); other paths count against 50."""
LIMIT_DEFAULT: Final = 50


ADDRESS_LIMIT: Final = 600
ADDRESS_SPAN_MS: Final = 5 * SECOND_MS
ADDRESS_BAN_MS: Final = 600 * SECOND_MS
"""HTTP requests of one address in five seconds, and how long it is then refused (venues.md 3.2)."""


class RateLimits:
    """Counters per path, one second long, on the wall clock. Counts always, refuses if enforced."""

    def __init__(self, *, enforced: bool) -> None:
        self._enforced = enforced
        self._used: dict[str, tuple[int, int]] = {}
        self._span = self._in_span = self._banned_until_ms = 0

    def too_frequent(self, wall_ms: int) -> bool:
        """Count an HTTP request of the address; say whether it must be answered with 403."""
        span = wall_ms // ADDRESS_SPAN_MS
        self._in_span = self._in_span + 1 if span == self._span else 1
        self._span = span
        if self._in_span > ADDRESS_LIMIT:
            self._banned_until_ms = wall_ms + ADDRESS_BAN_MS
        return self._enforced and wall_ms < self._banned_until_ms

    def headers(self, path: str, wall_ms: int) -> dict[str, str]:
        """Return the three headers as they stand."""
        limit = LIMITS.get(path, LIMIT_DEFAULT)
        second, used = self._used.get(path, (0, 0))
        if second != wall_ms // SECOND_MS:
            used = 0
        return {
            "X-Bapi-Limit": str(limit),
            "X-Bapi-Limit-Status": str(max(0, limit - used)),
            "X-Bapi-Limit-Reset-Timestamp": str((wall_ms // SECOND_MS + 1) * SECOND_MS),
        }

    def count(self, path: str, wall_ms: int) -> None:
        """
        Count one request.

        Raises:
            BybitRefused: 10006 when enforced and over the limit.
        """
        now_second = wall_ms // SECOND_MS
        second, used = self._used.get(path, (now_second, 0))
        used = used + 1 if second == now_second else 1
        self._used[path] = (now_second, used)
        if self._enforced and used > LIMITS.get(path, LIMIT_DEFAULT):
            raise BybitRefused(10006, "Too many visits!")
