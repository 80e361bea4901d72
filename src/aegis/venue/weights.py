"""
The request-weight ledger: what was spent of a venue's limits, and who may still spend. Pure.

Each limit is a pool: so many units in a window of fixed length. A part of a pool may be kept for
protective requests: ordinary ones (entries, leverage, history, polling) are admitted only while all
that was spent stays within the ordinary share; protective ones up to the venue's own limit. Costs
are known before sending; what the venue's headers tell corrects them upwards.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs


@attrs.frozen(slots=True, kw_only=True)
class PoolLimit:
    """
    A limit of a venue: at most *limit* units in *window_ns*.

    *shared*: protective requests draw from it too, so that a part is kept for them.
    """

    name: str
    limit: int
    window_ns: int
    shared: bool = True


Cost = tuple[str, int]
"""Pool and units."""


@attrs.define(slots=True, kw_only=True)
class _Pool:
    """What was *used* in the window [*start_ns*, *end_ns*), and where ordinary requests end."""

    limit: int
    window_ns: int
    ordinary_max: int
    shared: bool
    used: int = 0
    start_ns: int = 0
    end_ns: int = 0
    closed_until_ns: int = 0

    def roll(self, now_ns: int) -> None:
        """Begin the window of *now_ns*; a clock that was set back begins one as well."""
        self.start_ns = now_ns - now_ns % self.window_ns
        self.end_ns = self.start_ns + self.window_ns
        self.used = 0

    def at(self, now_ns: int) -> "_Pool":
        """Return this pool in the window of *now_ns*."""
        if not self.start_ns <= now_ns < self.end_ns:
            self.roll(now_ns)
        return self


class WeightLedger:
    """
    Admit requests of one venue; times are integer ns on the venue's clock, windows start at 0.

    *costs*: what each operation takes; *cost_default* for those that are not listed.
    *protective_pct* of each shared pool is kept for protective requests.
    """

    def __init__(
        self,
        pools: Sequence[PoolLimit],
        costs: Mapping[str, Sequence[Cost]],
        *,
        cost_default: Sequence[Cost],
        protective_pct: int,
    ) -> None:
        self._protective_pct: Final = protective_pct
        self._pools = {
            pool.name: _Pool(
                limit=pool.limit,
                window_ns=pool.window_ns,
                ordinary_max=self._ordinary_max(pool.limit, shared=pool.shared),
                shared=pool.shared,
            )
            for pool in pools
        }
        # Pool objects and not names: this is on the way of every order.
        self._charges = {name: self._charges_of(cost) for name, cost in costs.items()}
        self._charges_default = self._charges_of(cost_default)
        self._paused_until_ns = 0
        self._banned_until_ns = 0

    @property
    def paused_until_ns(self) -> int:
        """Return until when ordinary requests wait by the venue's word."""
        return self._paused_until_ns

    @property
    def banned_until_ns(self) -> int:
        """Return until when nothing may be sent."""
        return self._banned_until_ns

    def take(self, operation: str, now_ns: int, *, protective: bool) -> int:
        """
        Charge *operation* and return 0, or charge nothing and return how long to wait, in ns.

        The wait is to the next moment at which there may be room, not a promise.
        """
        if now_ns < self._paused_until_ns:
            if now_ns < self._banned_until_ns:
                return self._banned_until_ns - now_ns
            if not protective:
                return self._paused_until_ns - now_ns
        charges = self._charges.get(operation, self._charges_default)
        # Charged in the same pass, and taken back where a later pool has no room: cheaper than two.
        for pool, cost in charges:
            if not pool.start_ns <= now_ns < pool.end_ns:
                pool.roll(now_ns)
            used = pool.used + cost
            if used > (pool.limit if protective else pool.ordinary_max):
                return self._take_back(charges, pool, pool.end_ns - now_ns)
            if pool.closed_until_ns > now_ns and not protective:
                return self._take_back(charges, pool, pool.closed_until_ns - now_ns)
            pool.used = used
        return 0

    @staticmethod
    def _take_back(charges: tuple[tuple[_Pool, int], ...], full: _Pool, wait_ns: int) -> int:
        for pool, cost in charges:
            if pool is full:
                break
            pool.used -= cost
        return wait_ns

    def used(self, pool: str, now_ns: int) -> int:
        """Return the units spent of *pool* in the window of *now_ns*."""
        return self._pools[pool].at(now_ns).used

    def limits(self, pool: str) -> tuple[int, int]:
        """Return where ordinary and where protective requests end."""
        found = self._pools[pool]
        return found.ordinary_max, found.limit

    def correct(self, pool: str, used: int, *, sent_ns: int, now_ns: int) -> None:
        """
        Take the venue's word that *used* units of *pool* are spent, by an answer to *sent_ns*.

        Only upwards, since requests under way are not in its count; and not across windows, where
        nobody knows which of them it counted.
        """
        found = self._pools.get(pool)
        if found is None:
            return
        found.at(now_ns)
        if sent_ns >= found.start_ns and used > found.used:
            found.used = used

    def set_limit(self, pool: str, limit: int) -> None:
        """Take the venue's word about the size of *pool*; what is unknown or not above 0 is not."""
        found = self._pools.get(pool)
        if found is not None and limit > 0 and limit != found.limit:
            found.limit = limit
            found.ordinary_max = self._ordinary_max(limit, shared=found.shared)

    def pause(self, until_ns: int) -> None:
        """Let only protective requests leave until *until_ns*."""
        self._paused_until_ns = max(self._paused_until_ns, until_ns)

    def ban(self, until_ns: int) -> None:
        """Let nothing leave until *until_ns*."""
        self._banned_until_ns = max(self._banned_until_ns, until_ns)
        self.pause(until_ns)

    def close_pools(self, operation: str, until_ns: int, now_ns: int) -> None:
        """
        Hear that the venue refused *operation* for its rate: its first pool is used up.

        Ordinary requests wait until *until_ns*, protective ones for the next window. Of an
        operation without a pool of its own nobody knows which one it was: ordinary ones all wait.
        """
        charges = self._charges.get(operation)
        if not charges:
            self.pause(until_ns)
            return
        pool, _ = charges[0]
        pool.used = max(pool.at(now_ns).used, pool.limit)
        pool.closed_until_ns = max(pool.closed_until_ns, until_ns)

    def _ordinary_max(self, limit: int, *, shared: bool) -> int:
        if not shared:
            return limit
        return max(1, limit * (100 - self._protective_pct) // 100)

    def _charges_of(self, cost: Sequence[Cost]) -> tuple[tuple[_Pool, int], ...]:
        return tuple((self._pools[name], units) for name, units in cost)
