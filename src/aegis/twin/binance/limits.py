"""Counting request weight and orders per interval of wall time, for the X-MBX headers."""

from collections.abc import Callable
from typing import Final

_MINUTE_MS: Final = 60_000
_TEN_SECONDS_MS: Final = 10_000


class UsageCounter:
    """Weights and orders used in the current minute and ten seconds (venues.md 2.2)."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._minute = self._ten_seconds = -1
        self.weight_1m = self.orders_1m = self.orders_10s = 0

    def count(self, *, weight: int, orders: int) -> None:
        """Add one request."""
        now_ms = self._wall_ms()
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
