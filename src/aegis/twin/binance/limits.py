"""Request weight and orders per interval of wall time: the X-MBX headers, and 429 and 418."""

from collections.abc import Callable
from typing import Any, Final

from aegis.twin.binance.errors import ApiError

_MINUTE_MS: Final = 60_000
_TEN_SECONDS_MS: Final = 10_000

WEIGHT_1M_MAX: Final = 2400
ORDERS_10S_MAX: Final = 300
ORDERS_1M_MAX: Final = 1200
"""What the venue allows (venues.md 2.2)."""
IGNORED_MAX: Final = 10
"""Requests answered 429 in a row before the address is banned; the venue does not publish it."""
BAN_S: Final = 120
BAN_S_MAX: Final = 3 * 86_400


class UsageCounter:
    """
    Weights and orders used in the current minute and ten seconds (venues.md 2.2).

    *enforced*: beyond the limits requests are refused with 429, and who goes on is banned with
    418, at first for two minutes, then for twice as long each time, up to three days.
    """

    def __init__(self, wall_ms: Callable[[], int], *, enforced: bool = False) -> None:
        self.wall_ms = wall_ms
        self._enforced = enforced
        self._ignored = 0
        self._ban_s = BAN_S
        self._banned_until_ms = 0
        self._minute = self._ten_seconds = -1
        self.weight_1m = self.orders_1m = self.orders_10s = 0

    def count(self, *, weight: int, orders: int) -> None:
        """Add one request."""
        now_ms = self.wall_ms()
        minute, ten_seconds = now_ms // _MINUTE_MS, now_ms // _TEN_SECONDS_MS
        if minute != self._minute:
            self._minute = minute
            self.weight_1m = self.orders_1m = 0
        if ten_seconds != self._ten_seconds:
            self._ten_seconds = ten_seconds
            self.orders_10s = 0
        self.weight_1m += weight
        self.orders_1m += orders
        self.orders_10s += orders

    def admit(self, *, weight: int, orders: int) -> None:
        """
        Count one request and refuse it where limits are enforced and passed.

        Raises:
            ApiError: -1003 (429, or 418 during a ban) or -1015 (429), with Retry-After.
        """
        now_ms = self.wall_ms()
        if self._enforced and now_ms < self._banned_until_ms:
            raise self._banned(now_ms)
        self.count(weight=weight, orders=orders)
        if not self._enforced:
            return
        refusal = self._refusal(now_ms, orders)
        if refusal is None:
            self._ignored = 0
            return
        self._ignored += 1
        if self._ignored > IGNORED_MAX:
            self._ignored = 0
            self._banned_until_ms = now_ms + self._ban_s * 1000
            self._ban_s = min(2 * self._ban_s, BAN_S_MAX)
            raise self._banned(now_ms)
        raise refusal

    def _banned(self, now_ms: int) -> ApiError:
        return ApiError(
            -1003,
            f"Way too many requests; IP banned until {self._banned_until_ms}. Please use the "
            "websocket for live updates to avoid bans.",
            418,
            retry_after_s=_seconds_up(self._banned_until_ms - now_ms),
        )

    def _refusal(self, now_ms: int, orders: int) -> ApiError | None:
        if self.weight_1m > WEIGHT_1M_MAX:
            return ApiError(
                -1003,
                f"Too many requests; current limit of IP is {WEIGHT_1M_MAX} requests per minute. "
                "Please use the websocket for live updates to avoid polling the API.",
                429,
                retry_after_s=_seconds_up(_MINUTE_MS - now_ms % _MINUTE_MS),
            )
        for used, most, span_ms, words in (
            (self.orders_10s, ORDERS_10S_MAX, _TEN_SECONDS_MS, "10 SECOND"),
            (self.orders_1m, ORDERS_1M_MAX, _MINUTE_MS, "1 MINUTE"),
        ):
            if orders and used > most:
                return ApiError(
                    -1015,
                    f"Too many new orders; current limit is {most} orders per {words}.",
                    429,
                    retry_after_s=_seconds_up(span_ms - now_ms % span_ms),
                )
        return None

    def headers(self, *, with_orders: bool) -> dict[str, str]:
        """Return the headers of an answer; order counts go with order requests only."""
        headers = {
            "Content-Type": "application/json",
            "X-MBX-USED-WEIGHT-1M": str(self.weight_1m),
        }
        if with_orders:
            headers["X-MBX-ORDER-COUNT-10S"] = str(self.orders_10s)
            headers["X-MBX-ORDER-COUNT-1M"] = str(self.orders_1m)
        return headers

    def rows(self, *, with_orders: bool) -> list[dict[str, Any]]:
        """Return the rateLimits of a WebSocket answer; order counts go with order requests only."""
        rows = [_row("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_1M_MAX, self.weight_1m)]
        if with_orders:
            orders = [
                _row("ORDERS", "SECOND", 10, ORDERS_10S_MAX, self.orders_10s),
                _row("ORDERS", "MINUTE", 1, ORDERS_1M_MAX, self.orders_1m),
            ]
            rows = orders + rows
        return rows


def _seconds_up(span_ms: int) -> int:
    return max(1, -(-span_ms // 1000))


def _row(kind: str, interval: str, number: int, limit: int, count: int) -> dict[str, Any]:
    return {
        "rateLimitType": kind,
        "interval": interval,
        "intervalNum": number,
        "limit": limit,
        "count": count,
    }
