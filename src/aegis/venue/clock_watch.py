"""
How far our wall clock is from a venue's: measured, judged, watched.

Requests are signed with the venue's time (our clock plus the measured offset), so that a clock that
is off does not stop the ways out. A machine whose clock is off by more than recvWindow is mended
and not traded all the same: nothing on it can be trusted to be on time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import attrs

from aegis.core.clock import NS_PER_MS, NS_PER_S, Clock
from aegis.core.errors import VenueError, VenueRefused
from aegis.core.event import Event
from aegis.core.supervise import RestartPolicy, Supervisor
from aegis.model.events import ClockMeasured
from aegis.model.instrument import Venue
from aegis.venue.gate import RequestGate

MEASURE_EVERY_S: Final = 600.0
TRIES_MAX: Final = 3
ROUND_TRIP_MAX_NS: Final = 300 * NS_PER_MS
"""The error is at most half the round trip; longer ones are measured anew."""
WARN_FROM_NS: Final = 500 * NS_PER_MS
CLOCK_REFUSED: Final = "CLOCK"


@attrs.frozen(slots=True, kw_only=True)
class Reading:
    """One look at the venue's clock: our wall clock before and after, and what it told; ns UTC."""

    before_ns: int
    after_ns: int
    venue_ns: int

    @property
    def offset_ns(self) -> int:
        """Return the venue's clock minus ours, as if it had looked halfway."""
        return self.venue_ns - (self.before_ns + self.after_ns) // 2

    @property
    def round_trip_ns(self) -> int:
        """Return how long it took; below 0 when our clock was set back meanwhile."""
        return self.after_ns - self.before_ns


async def measure(read: Callable[[], Awaitable[Reading]]) -> Reading:
    """
    Return the best of up to three readings; the first one with a short round trip is enough.

    Raises:
        VenueError: the venue could not be asked, not even once.

    """
    best = await read()
    for _ in range(TRIES_MAX - 1):
        if 0 <= best.round_trip_ns <= ROUND_TRIP_MAX_NS:
            break
        try:
            reading = await read()
        except VenueError:
            break
        # A clock that was set back during the first try spoils that one alone.
        if best.round_trip_ns < 0 or 0 <= reading.round_trip_ns < best.round_trip_ns:
            best = reading
    return best


@attrs.frozen(slots=True)
class Verdict:
    """What an offset means: *warning* for people, *refusal* where entries must not leave."""

    warning: str = ""
    refusal: str = ""


def judge(offset_ns: int, venue: Venue, recv_window_ms: int) -> Verdict:
    """
    Return what an offset (venue minus ours) means: a warning beyond 500 ms, no beyond recvWindow.

    >>> judge(-7_200_000_000, Venue.BINANCE, 5000).refusal
    "clock is 7.2 s ahead of binance, recv_window_ms is 5000: \
synchronize this machine's clock (chrony/ntp)"
    """
    size_ns = abs(offset_ns)
    if size_ns <= WARN_FROM_NS:
        return Verdict()
    side = "ahead of" if offset_ns < 0 else "behind"
    text = (
        f"clock is {size_ns / NS_PER_S:.1f} s {side} {venue.value.lower()}, recv_window_ms is "
        f"{recv_window_ms}: synchronize this machine's clock (chrony/ntp)"
    )
    return Verdict(refusal=text) if size_ns > recv_window_ms * NS_PER_MS else Verdict(warning=text)


class ClockedRest(Protocol):
    """A REST client that measures and applies the offset itself, after a refused time too."""

    on_measured: Callable[[Reading], None] | None

    async def sync_time(self) -> int:
        """Measure and apply the offset; return it in ms."""


class ClockWatch:
    """
    Judge every measurement of *rest*, and have one made every ten minutes.

    While running, a clock beyond recvWindow holds entries; what protects goes on with the measured
    offset.
    """

    def __init__(
        self,
        rest: ClockedRest,
        *,
        venue: Venue,
        gate: RequestGate | None,
        clock: Clock,
        supervisor: Supervisor,
        publish: Callable[[Event], None],
        recv_window_ms: int,
    ) -> None:
        self._rest = rest
        self._venue = venue
        self._gate = gate
        self._clock = clock
        self._supervisor = supervisor
        self._publish = publish
        self._recv_window_ms = recv_window_ms
        self._verdict = Verdict()
        self._task: asyncio.Task[None] | None = None
        rest.on_measured = self._on_measured

    async def check_at_start(self) -> None:
        """
        Measure and apply the offset.

        Raises:
            VenueRefused: beyond recvWindow, with the fix.
            VenueError: the venue could not be asked.

        """
        await self._rest.sync_time()
        if self._verdict.refusal:
            raise VenueRefused(
                CLOCK_REFUSED,
                self._verdict.refusal,
                venue=self._venue.value,
                operation="connect",
            )

    def start(self) -> None:
        """Start to measure now and then; harmless when started."""
        if self._task is None:
            self._task = self._supervisor.start(
                f"clock {self._venue.value.lower()}",
                self._run,
                restart=RestartPolicy(delay_s_first=MEASURE_EVERY_S),
            )

    def stop(self) -> None:
        """Measure no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(MEASURE_EVERY_S)
            try:
                await self._rest.sync_time()
            except VenueError:
                # Told as a failed request; the old offset is the best there is.
                continue

    def _on_measured(self, reading: Reading) -> None:
        verdict = judge(reading.offset_ns, self._venue, self._recv_window_ms)
        self._verdict = verdict
        if self._gate is not None:
            self._gate.hold_entries(verdict.refusal)
        now_ns = self._clock.now_ns()
        self._publish(
            ClockMeasured(
                ts_event=now_ns,
                ts_recv=now_ns,
                venue=self._venue,
                ahead_ms=-reading.offset_ns / NS_PER_MS,
                round_trip_ms=reading.round_trip_ns / NS_PER_MS,
                warning=verdict.warning or verdict.refusal,
            )
        )
