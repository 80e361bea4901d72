"""
The gate before every request of one venue: the weight ledger with a clock, a voice and patience.

What stops whom: a used-up ordinary share stops ordinary requests; the venue's 429 stops ordinary
ones for as long as it says; a ban (418, Bybit's 403) stops everything, since sending makes a ban
longer; a clock that is too far off stops entries alone.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from loguru import logger

from aegis.core.clock import NS_PER_S, Clock, format_ns
from aegis.core.errors import ThrottleScope, VenueThrottled
from aegis.core.event import Event
from aegis.model.events import RequestsPaused, RequestsResumed
from aegis.model.instrument import Venue
from aegis.venue.weights import WeightLedger

TOLD_FROM_NS: Final = 1_500_000_000
"""Shorter waits are the daily business of limits per second, and nobody is told."""
WAIT_UNTOLD_NS: Final = {
    ThrottleScope.ENDPOINT: NS_PER_S,
    ThrottleScope.VENUE: 10 * NS_PER_S,
    ThrottleScope.BAN: 120 * NS_PER_S,  # the shortest ban (venues.md 2.2)
}
"""How long to wait where the venue did not say."""
_DAY_TOLD_FROM_NS: Final = 12 * 3600 * NS_PER_S


class RequestGate:
    """
    Let requests pass, or say how long they must wait.

    *offset_ns*: the venue's clock minus our wall clock, so that windows are the venue's.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        ledger: WeightLedger,
        clock: Clock,
        publish: Callable[[Event], None],
    ) -> None:
        self.ledger: Final = ledger
        self.offset_ns = 0
        self._venue = venue
        self._clock = clock
        self._wall_ns = clock.wall_ns
        self._publish = publish
        self._hold = ""
        self._told_until_ns = 0
        self._told_banned = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def entries_held(self) -> str:
        """Return why no entry may leave, "" when they may."""
        return self._hold

    def now_ns(self) -> int:
        """Return the time on the venue's clock."""
        return self._clock.wall_ns() + self.offset_ns

    def room(self, operation: str, *, protective: bool) -> bool:
        """Charge an order call if it may leave now, and say whether it may; tells nobody."""
        if self._hold and not protective:
            return False
        now_ns = self._wall_ns() + self.offset_ns
        return not self.ledger.take(operation, now_ns, protective=protective)

    def check(self, operation: str, *, protective: bool, entry: bool) -> None:
        """
        Charge *operation* and return, without waiting: for what must leave now or not at all.

        Raises:
            VenueThrottled: it must not leave now.

        """
        if entry and self._hold:
            raise self._refusal(operation, None, self._hold)
        now_ns = self._wall_ns() + self.offset_ns
        wait_ns = self.ledger.take(operation, now_ns, protective=protective)
        if wait_ns:
            raise self._no_room(operation, wait_ns)

    async def wait(self, operation: str, *, protective: bool, patience_s: float) -> None:
        """
        Charge *operation* once there is room for it, within *patience_s* loop seconds.

        Raises:
            VenueThrottled: there is none within that time.

        """
        patience_ns = round(patience_s * NS_PER_S)
        while wait_ns := self.ledger.take(operation, self.now_ns(), protective=protective):
            if wait_ns > patience_ns:
                if protective and self.now_ns() < self.ledger.banned_until_ns:
                    # What protects is asked for again at once: a ban must not become a busy loop.
                    await asyncio.sleep(patience_ns / NS_PER_S)
                raise self._no_room(operation, wait_ns)
            patience_ns -= wait_ns
            await asyncio.sleep(wait_ns / NS_PER_S)

    def on_throttled(self, operation: str, error: VenueThrottled) -> None:
        """Hear that the venue asked for fewer requests when *operation* was sent."""
        now_ns = self.now_ns()
        wait_ns = WAIT_UNTOLD_NS[error.scope]
        if error.retry_after_s is not None:
            wait_ns = round(error.retry_after_s * NS_PER_S)
        until_ns = now_ns + wait_ns
        match error.scope:
            case ThrottleScope.ENDPOINT:
                self.ledger.close_pools(operation, until_ns, now_ns)
            case ThrottleScope.VENUE:
                self.ledger.pause(until_ns)
            case ThrottleScope.BAN:
                self.ledger.ban(until_ns)
        self._tell(until_ns, now_ns, error.detail, banned=error.scope is ThrottleScope.BAN)

    def hold_entries(self, reason: str) -> None:
        """Let no entry leave for *reason*; "" lifts it."""
        if reason == self._hold:
            return
        was, self._hold = self._hold, reason
        if not reason:
            self._resume()
        elif not was:
            self._publish_pause(None, None, reason, banned=False)

    def stop(self) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _no_room(self, operation: str, wait_ns: int) -> VenueThrottled:
        now_ns = self.now_ns()
        if now_ns < self.ledger.banned_until_ns:
            return self._refusal(operation, wait_ns, "banned by the venue", ThrottleScope.BAN)
        if now_ns < self.ledger.paused_until_ns:
            return self._refusal(operation, wait_ns, "the venue asked for fewer requests")
        reason = f"the share of the request limit that {operation} may use is used up"
        self._tell(now_ns + wait_ns, now_ns, reason, banned=False)
        return self._refusal(operation, wait_ns, reason, ThrottleScope.ENDPOINT)

    def _refusal(
        self,
        operation: str,
        wait_ns: int | None,
        reason: str,
        scope: ThrottleScope = ThrottleScope.VENUE,
    ) -> VenueThrottled:
        return VenueThrottled(
            None if wait_ns is None else wait_ns / NS_PER_S,
            venue=self._venue.value,
            operation=operation,
            detail=f"{reason}; not sent",
            scope=scope,
        )

    def _tell(self, until_ns: int, now_ns: int, reason: str, *, banned: bool) -> None:
        wait_ns = until_ns - now_ns
        if wait_ns < TOLD_FROM_NS or (
            until_ns <= self._told_until_ns and banned <= self._told_banned
        ):
            return
        self._told_until_ns = max(until_ns, self._told_until_ns)
        self._told_banned = self._told_banned or banned
        self._publish_pause(until_ns, wait_ns, reason, banned=banned)
        self._arm(self._told_until_ns - now_ns)

    def _publish_pause(
        self, until_ns: int | None, wait_ns: int | None, reason: str, *, banned: bool
    ) -> None:
        if banned and until_ns is not None:
            reason = (
                f"banned, nothing is sent: protection depends on resting native stops until "
                f"{clock_text(until_ns, self.now_ns())} ({reason})"
            )
        now_ns = self._clock.now_ns()
        self._publish(
            RequestsPaused(
                ts_event=now_ns,
                ts_recv=now_ns,
                venue=self._venue,
                banned=banned,
                until_ns=None if until_ns is None else until_ns - self.offset_ns,
                wait_s=None if wait_ns is None else wait_ns / NS_PER_S,
                reason=reason,
            )
        )

    def _arm(self, wait_ns: int) -> None:
        self.stop()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait_ns / NS_PER_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        left_ns = self._told_until_ns - self.now_ns()
        if left_ns > 0:
            # Timers of a loop may be early by a rounding, and the wall clock may have stepped.
            self._arm(left_ns)
            return
        self._resume()

    def _resume(self) -> None:
        if self._hold or self.now_ns() < self._told_until_ns:
            return
        self._told_until_ns = 0
        self._told_banned = False
        now_ns = self._clock.now_ns()
        logger.debug("{} may be asked again", self._venue.value.lower())
        self._publish(RequestsResumed(ts_event=now_ns, ts_recv=now_ns, venue=self._venue))


def clock_text(until_ns: int, now_ns: int) -> str:
    """
    Return a time of day in UTC, with its day where it is far off.

    >>> clock_text(1_700_000_000_000_000_000, 1_699_999_900_000_000_000)
    '22:13:20 UTC'
    """
    text = format_ns(until_ns)
    day = f"{text[:10]} " if until_ns - now_ns >= _DAY_TOLD_FROM_NS else ""
    return f"{day}{text[11:19]} UTC"
