"""
A message stream that stays open: reconnects, pings, notices silence, tells its state.

It knows no venue: what is sent after opening and what a frame means is given by the adapter.
Frames pass through synchronously, with no queue and no task between socket and handler. All
durations run on the loop's clock.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from loguru import logger

from aegis.core.clock import NS_PER_S, Clock
from aegis.core.errors import VenueError, VenueProtocolError
from aegis.core.supervise import RestartPolicy, Supervisor
from aegis.core.transport import StreamConnection, StreamConnector
from aegis.model.events import StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.venue.calls import redact

BACKOFF_MIN_S: Final = 0.25
BACKOFF_MAX_S: Final = 30.0
STABLE_AFTER_S: Final = 60.0
"""A connection that lived this long starts the back-off anew."""
QUIET_S: Final = 2.0
"""A connection that must be renewed is renewed when no frame came for so long, if it can wait."""
RENEWAL_PATIENCE_S: Final = 1800.0
"""How long a renewal waits for a quiet moment; a busy stream has none."""
RESTARTS_PER_HOUR_MAX: Final = 6
"""So often within an hour a doubt may cost a connection that is open (R11)."""
_HOUR_NS: Final = 3600 * NS_PER_S

# The stream backs off by itself when it is entered again, so the supervisor adds nothing.
_RESTART: Final = RestartPolicy(delay_s_first=0.0)


class ManagedStream:
    """
    Keep one stream of *venue* open until `stop`.

    *url* is asked before every attempt (a listen key may have changed). *on_open* authenticates and
    subscribes; when it raises a VenueError, ConnectionError or TimeoutError the stream reconnects.
    *on_frame* gets every text frame as it arrives: a VenueProtocolError out of it is counted in
    `frames_unreadable` and the stream goes on; any other exception ends the connection and is
    raised in the stream's task, where the supervisor tells it and starts the stream again.
    *ping_text* is sent every *ping_interval_s*; without any frame for *silence_timeout_s* the
    connection is given up. A connection older than *renew_after_s* is renewed at the next quiet
    moment, before the venue ends it at a moment of its own. All in loop seconds, None is never.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        name: str,
        connector: StreamConnector,
        url: Callable[[], Awaitable[str]],
        on_frame: Callable[[bytes], None],
        on_open: Callable[[StreamConnection], Awaitable[None]],
        on_state: Callable[[StreamOpened | StreamClosed], None],
        supervisor: Supervisor,
        clock: Clock,
        rng: random.Random,
        ping_text: Callable[[], str] | None,
        ping_interval_s: float,
        silence_timeout_s: float | None,
        renew_after_s: float | None = None,
        backoff_min_s: float = BACKOFF_MIN_S,
        backoff_max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self.name: Final = name
        self.frames_unreadable = 0
        self._venue = venue
        self._connector = connector
        self._url = url
        self._handle = on_frame
        self._on_open = on_open
        self._on_state = on_state
        self._supervisor = supervisor
        self._clock = clock
        self._rng = rng
        self._ping_text = ping_text
        self._ping_interval_ns = round(ping_interval_s * NS_PER_S) if ping_text else None
        self._silence_ns = (
            None if silence_timeout_s is None else round(silence_timeout_s * NS_PER_S)
        )
        self._renew_after_ns = None if renew_after_s is None else round(renew_after_s * NS_PER_S)
        self._backoff_min_s = backoff_min_s
        self._backoff_max_s = backoff_max_s

        self._connection: StreamConnection | None = None
        self._connected = False
        self._attempts = 0
        self._failures = 0
        self._down_since_ns = 0
        self._last_frame_ns = 0
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._ended = asyncio.Event()
        self._end_reason = ""
        self._defect: Exception | None = None
        self._opening: asyncio.Timeout | None = None
        self._breaks_ns: deque[int] = deque()
        self._restarts_ns: deque[int] = deque()

    @property
    def connected(self) -> bool:
        """Say whether the stream is open and *on_open* has finished."""
        return self._connected

    @property
    def last_frame_mono_ns(self) -> int:
        """Return when the last frame (or the connection) came, by the monotonic clock."""
        return self._last_frame_ns

    @property
    def breaks_last_hour(self) -> int:
        """Return how often the open stream ended within the last hour, for whatever reason."""
        return _within_hour(self._breaks_ns, self._clock.mono_ns())

    def start(self) -> None:
        """Start connecting; returns at once."""
        if self._task is not None:
            raise RuntimeError(f"stream {self.name} was started twice")
        self._down_since_ns = self._clock.mono_ns()
        self._task = self._supervisor.start(
            f"{self._venue.value.lower()}.{self.name}", self._run, restart=_RESTART
        )

    async def stop(self) -> None:
        """Close the stream for good; tells no StreamClosed, since nothing broke."""
        self._stopping = True
        self._end("stopped")
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._disconnect()

    def reconnect(self, reason: str) -> None:
        """Give up the present connection, if any, and open a new one with back-off."""
        self._end(reason)

    def reconnect_if_allowed(self, reason: str) -> bool:
        """
        Reconnect for a mere doubt, RESTARTS_PER_HOUR_MAX times an hour at most (R11).

        Returns False, and leaves the connection alone, beyond that. A stream that is down is on its
        way already, which costs nothing and counts as done.
        """
        if not self._connected:
            return True
        now_ns = self._clock.mono_ns()
        if _within_hour(self._restarts_ns, now_ns) >= RESTARTS_PER_HOUR_MAX:
            logger.error(
                "{} stream {} was restarted {} times within an hour, limit {}, left alone: {}",
                self._venue.value.lower(),
                self.name,
                len(self._restarts_ns),
                RESTARTS_PER_HOUR_MAX,
                reason,
            )
            return False
        self._restarts_ns.append(now_ns)
        self._end(reason)
        return True

    def send(self, text: str) -> None:
        """
        Queue *text*.

        Raises:
            ConnectionError: when the stream is not open.

        """
        if self._connection is None:
            raise ConnectionError(f"stream {self.name} is not open")
        self._connection.send(text)

    async def _run(self) -> None:
        # Also entered anew by the supervisor after a defect: the back-off goes on where it was.
        while not self._stopping:
            if self._failures:
                await self._back_off()
            if self._stopping:
                return
            opened_ns = self._clock.mono_ns()
            try:
                reason = await self._live_once()
            except Exception as error:  # noqa: BLE001 - raised below, once the connection is closed
                self._defect = self._defect or error
                reason = f"failed with {type(error).__name__}"
            if self._clock.mono_ns() - opened_ns >= STABLE_AFTER_S * NS_PER_S:
                self._failures = 0
            self._failures += 1
            was_connected = self._connected
            if was_connected:
                self._down_since_ns = self._clock.mono_ns()
            await self._disconnect()
            if was_connected and not self._stopping:
                self._tell_closed(reason)
            defect, self._defect = self._defect, None
            if defect is not None:
                raise defect

    async def _live_once(self) -> str:
        """Open, serve until the connection ends, and return why it ended."""
        self._attempts += 1
        self._ended.clear()
        self._end_reason = ""
        generation = self._attempts
        try:
            url = await self._url()
            self._connection = await self._connector.connect(
                url,
                on_frame=self._take_frame,
                on_close=lambda reason: self._peer_closed(generation, reason),
            )
            self._last_frame_ns = self._clock.mono_ns()
            await self._open(self._connection)
            if self._ended.is_set():
                return self._end_reason
            self._tell_opened()
            await self._serve(self._connection)
        except (VenueError, OSError) as error:
            # TimeoutError and ConnectionError are OSErrors.
            return self._end_reason or redact(f"{type(error).__name__}: {error}")
        return self._end_reason

    async def _open(self, connection: StreamConnection) -> None:
        try:
            async with asyncio.timeout(None) as self._opening:
                await self._on_open(connection)
        finally:
            self._opening = None

    async def _serve(self, connection: StreamConnection) -> None:
        opened_ns = self._clock.mono_ns()
        next_ping_ns = opened_ns + (self._ping_interval_ns or 0)
        while not self._ended.is_set():
            now_ns = self._clock.mono_ns()
            if self._is_renewal_due(now_ns - opened_ns, now_ns - self._last_frame_ns):
                self._end(f"renewed after {(now_ns - opened_ns) / NS_PER_S / 3600:.1f} h")
                return
            if self._silence_ns is not None and now_ns - self._last_frame_ns >= self._silence_ns:
                self._end(f"silent for {(now_ns - self._last_frame_ns) / NS_PER_S:.1f} s")
                return
            if self._ping_text and self._ping_interval_ns and now_ns >= next_ping_ns:
                connection.send(self._ping_text())
                next_ping_ns = now_ns + self._ping_interval_ns
            await self._wait_ended(self._next_check_s(now_ns, next_ping_ns, opened_ns))

    def _is_renewal_due(self, age_ns: int, quiet_ns: int) -> bool:
        if self._renew_after_ns is None or age_ns < self._renew_after_ns:
            return False
        late_ns = age_ns - self._renew_after_ns
        return quiet_ns >= QUIET_S * NS_PER_S or late_ns >= RENEWAL_PATIENCE_S * NS_PER_S

    def _next_check_s(self, now_ns: int, next_ping_ns: int, opened_ns: int) -> float | None:
        due = []
        if self._renew_after_ns is not None:
            # Once it is due, the stream is looked at again each time it may have been quiet.
            quiet_ns = self._last_frame_ns + round(QUIET_S * NS_PER_S) - now_ns
            due.append(max(opened_ns + self._renew_after_ns - now_ns, quiet_ns))
        if self._ping_interval_ns:
            due.append(next_ping_ns - now_ns)
        if self._silence_ns is not None:
            due.append(self._last_frame_ns + self._silence_ns - now_ns)
        return max(min(due), 1) / NS_PER_S if due else None

    async def _wait_ended(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return

    async def _back_off(self) -> None:
        # Full jitter: both venues' clients come back spread out after an outage.
        ceiling_s = min(self._backoff_max_s, self._backoff_min_s * 2 ** min(self._failures - 1, 32))
        self._ended.clear()
        await self._wait_ended(self._rng.uniform(0.0, ceiling_s))

    def _take_frame(self, frame: bytes) -> None:
        self._last_frame_ns = self._clock.mono_ns()
        try:
            self._handle(frame)
        except VenueProtocolError:
            self.frames_unreadable += 1
        except Exception as error:  # noqa: BLE001 - raised again in the stream's own task
            self._defect = self._defect or error
            self._end(f"frame handler raised {type(error).__name__}")

    def _peer_closed(self, generation: int, reason: str) -> None:
        if generation == self._attempts:
            self._end(reason)

    def _end(self, reason: str) -> None:
        if not self._ended.is_set():
            self._end_reason = reason
            self._ended.set()
            if self._opening is not None:
                # What the opening waits for can no more come, since its own reader has ended (R11).
                self._opening.reschedule(asyncio.get_running_loop().time())

    async def _disconnect(self) -> None:
        self._connected = False
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _tell_opened(self) -> None:
        self._connected = True
        now_ns = self._clock.now_ns()
        self._on_state(
            StreamOpened(
                ts_event=now_ns,
                ts_recv=now_ns,
                venue=self._venue,
                stream=self.name,
                attempt=self._attempts,
                downtime_ns=self._clock.mono_ns() - self._down_since_ns,
            )
        )

    def _tell_closed(self, reason: str) -> None:
        self._breaks_ns.append(self._clock.mono_ns())
        logger.info(
            "{} stream {} broke {} times within the hour, {} frames could not be read so far",
            self._venue.value.lower(),
            self.name,
            self.breaks_last_hour,
            self.frames_unreadable,
        )
        now_ns = self._clock.now_ns()
        self._on_state(
            StreamClosed(
                ts_event=now_ns, ts_recv=now_ns, venue=self._venue, stream=self.name, reason=reason
            )
        )


def _within_hour(moments_ns: deque[int], now_ns: int) -> int:
    while moments_ns and now_ns - moments_ns[0] >= _HOUR_NS:
        moments_ns.popleft()
    return len(moments_ns)
