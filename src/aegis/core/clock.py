"""
The clocks: the only file that reads the wall clock.

Three times, never mixed: the bot's market clock (`now_ns`, scaled by `speed` in paper mode), the
wall clock (`wall_ns`, for request signatures), and a monotonic clock (`mono_ns`, for durations).
Deadlines, retries and time-outs run on the loop clock; market durations (candles, age, heartbeat)
are turned into loop seconds by `loop_delay_s`.
"""

# ruff: noqa: TID251 - the ban on the wall clock is lifted here and nowhere else

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from aegis.core.virtual_loop import VirtualTimeLoop

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?(Z|z|[+-]\d{2}:?\d{2})?)?"
)


class Clock(Protocol):
    """What the bot may ask about time."""

    @property
    def speed(self) -> float:
        """Return market seconds per loop second, > 0."""
        ...

    def now_ns(self) -> int:
        """Return the bot's market time, integer nanoseconds UTC."""
        ...

    def wall_ns(self) -> int:
        """Return the time requests are signed with, integer nanoseconds UTC."""
        ...

    def mono_ns(self) -> int:
        """Return nanoseconds since an arbitrary start, never stepping back: for durations only."""
        ...


class LiveClock:
    """The machine's own clocks, for live, testnet and dry-run."""

    speed: Final[float] = 1.0
    # The functions themselves: the time is asked ten times on the way from a price to an order.
    now_ns = staticmethod(time.time_ns)
    wall_ns = staticmethod(time.time_ns)
    mono_ns = staticmethod(time.monotonic_ns)


class ScaledClock:
    """
    A market clock that starts at *origin_ns* and runs *speed* times as fast as the loop.

    Signatures still use the real wall clock. On a VirtualTimeLoop durations are virtual.
    """

    def __init__(self, origin_ns: int, speed: float, loop: asyncio.AbstractEventLoop) -> None:
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed was {speed}, must be above 0 and finite")
        self.speed: Final[float] = float(speed)
        # A ratio of integers keeps 30 days at any speed exact to the nanosecond.
        self._num, self._den = self.speed.as_integer_ratio()
        self._origin_ns = origin_ns
        self._mono_ns = _mono_source(loop)
        self._start_ns = self._mono_ns()

    def now_ns(self) -> int:
        """Return the origin plus the scaled time since construction."""
        return self._origin_ns + (self._mono_ns() - self._start_ns) * self._num // self._den

    def wall_ns(self) -> int:
        """Return the real wall clock."""
        return time.time_ns()

    def mono_ns(self) -> int:
        """Return loop time, unscaled."""
        return self._mono_ns()


class VirtualClock:
    """Simulation time: market and wall clock are both *origin_ns* plus the loop's virtual time."""

    speed: Final[float] = 1.0

    def __init__(self, origin_ns: int, loop: VirtualTimeLoop) -> None:
        self._origin_ns = origin_ns
        self._loop = loop

    def now_ns(self) -> int:
        """Return the origin plus virtual time."""
        return self._origin_ns + self._loop.time_ns()

    def wall_ns(self) -> int:
        """Return the origin plus virtual time."""
        return self._origin_ns + self._loop.time_ns()

    def mono_ns(self) -> int:
        """Return virtual time, starting at 0."""
        return self._loop.time_ns()


class ManualClock:
    """A clock that moves only when told to, for tests of code without a loop."""

    speed: Final[float] = 1.0

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._start_ns = now_ns

    def advance_ns(self, ns: int) -> None:
        """Move forward by *ns* >= 0 nanoseconds."""
        if ns < 0:
            raise ValueError(f"advance was {ns} ns, time does not run backwards")
        self._now_ns += ns

    def now_ns(self) -> int:
        """Return the time it was moved to."""
        return self._now_ns

    def wall_ns(self) -> int:
        """Return the time it was moved to."""
        return self._now_ns

    def mono_ns(self) -> int:
        """Return how far it was moved since construction."""
        return self._now_ns - self._start_ns


def loop_delay_s(clock: Clock, market_ns: int) -> float:
    """Return how many loop seconds *market_ns* nanoseconds of market time take on *clock*."""
    return market_ns / NS_PER_S / clock.speed


def format_ns(ns: int) -> str:
    """Return *ns* (UTC) as ISO text to the millisecond, cut and not rounded."""
    moment = _EPOCH + timedelta(milliseconds=ns // NS_PER_MS)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_utc(text: str) -> int:
    """
    Return the nanoseconds UTC of an ISO date or date and time; without an offset it is UTC.

    Raises:
        ValueError: says what was given and what is understood.

    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise ValueError(_unreadable(text))
    day, clock_time, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock_time or '00:00'}{(offset or 'Z').upper()}")
    except ValueError as error:
        raise ValueError(_unreadable(text)) from error
    whole = (moment - _EPOCH) // timedelta(seconds=1)
    return whole * NS_PER_S + int((fraction or "0").ljust(9, "0"))


def _unreadable(text: str) -> str:
    return f"time was {text[:40]!r}, must be like 2026-09-01 or 2026-09-01T12:30:00Z"


def _mono_source(loop: asyncio.AbstractEventLoop) -> Callable[[], int]:
    # uvloop caches time() to the millisecond; the clock beneath it is the same and finer.
    return loop.time_ns if isinstance(loop, VirtualTimeLoop) else time.monotonic_ns
