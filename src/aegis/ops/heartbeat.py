"""
The heartbeat's shell: its timers, the loop's lag, and what happens when a probe fails.

A beat is written every `heartbeat_minutes` of market time, once more at the end, and goes to the
log and onto the bus (R81).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, Clock, loop_delay_s
from aegis.core.errors import bounded_text
from aegis.core.log import room_logger
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.events import AlertRaised, HeartbeatEmitted
from aegis.ops import beat as words
from aegis.ops.beat import Beat, LoopLag
from aegis.ops.probes import PositionRow, Probes
from aegis.ops.tally import Tally
from aegis.settings import AegisConfig

T = TypeVar("T")

LAG_PROBE_S: Final = 1.0
_MINUTE_NS: Final = 60 * NS_PER_S


class LagMeter:
    """Measure how much later than asked the loop runs a timer; a virtual loop is never late."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = clock
        self._loop = loop
        self._is_virtual = isinstance(loop, VirtualTimeLoop)
        self._handle: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._count = 0
        self._sum_ns = 0
        self._max_ns = 0

    def start(self) -> None:
        """Measure from now on, once a second; on a virtual loop nothing is done."""
        if not self._is_virtual:
            self._arm()

    def stop(self) -> None:
        """Measure no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def take(self) -> LoopLag:
        """Return what was measured since the last call, and begin anew."""
        count, total_ns, max_ns = self._count, self._sum_ns, self._max_ns
        self._count = self._sum_ns = self._max_ns = 0
        return LoopLag(
            count=count,
            mean_ns=total_ns // count if count else None,
            max_ns=max_ns if count else None,
            is_virtual=self._is_virtual,
        )

    def note(self, late_ns: int) -> None:
        """Count one measurement; a timer that fires within its resolution is not early."""
        late_ns = max(0, late_ns)
        self._count += 1
        self._sum_ns += late_ns
        self._max_ns = max(self._max_ns, late_ns)

    def _arm(self) -> None:
        self._due_ns = self._clock.mono_ns() + round(LAG_PROBE_S * NS_PER_S)
        self._handle = self._loop.call_later(LAG_PROBE_S, self._fire)

    def _fire(self) -> None:
        self.note(self._clock.mono_ns() - self._due_ns)
        self._arm()


class Heartbeat:
    """Write down how the bot is, regularly and at the end."""

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        config: AegisConfig,
        probes: Probes,
        tally: Tally,
        loop: asyncio.AbstractEventLoop,
        *,
        mode: str,
        label: str = "",
    ) -> None:
        """
        Make a heart that does not beat yet.

        mode: paper, dry-run, testnet or live. label: what market is played, "" for a real one.
        """
        self._bus = bus
        self._clock = clock
        self._interval_s = loop_delay_s(clock, round(config.heartbeat_minutes * _MINUTE_NS))
        self._probes = probes
        self._tally = tally
        self._loop = loop
        self._mode = mode
        self._label = label
        self._log = room_logger("ops")
        self._lag = LagMeter(clock, loop)
        self._started_ns = clock.now_ns()
        self._handle: asyncio.TimerHandle | None = None
        self._is_running = False

    def start(self) -> None:
        """Begin; uptime counts from here. The first beat comes after one interval."""
        self._started_ns = self._clock.now_ns()
        self._is_running = True
        self._lag.start()
        self._arm()

    def stop(self) -> None:
        """End the timers and write the last beat; a second call does nothing."""
        if not self._is_running:
            return
        self._is_running = False
        self._lag.stop()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.emit(is_final=True)

    def emit(self, *, is_final: bool = False) -> tuple[str, ...]:
        """Write one beat now and return its lines."""
        now_ns = self._clock.now_ns()
        positions = self._ask("positions", self._probes.positions, None)
        lines = tuple(self._lines(positions, is_final=is_final))
        for line in lines:
            self._log.info("{}", line)
        if positions is not None:
            # Without an answer the counts are unknown, and the event has no word for that.
            self._bus.publish(
                HeartbeatEmitted(
                    ts_event=now_ns,
                    ts_recv=now_ns,
                    lines=lines,
                    positions_open=len(positions),
                    positions_protected=sum(1 for row in positions if row.is_covered),
                )
            )
        return lines

    def _arm(self) -> None:
        self._handle = self._loop.call_later(self._interval_s, self._on_timer)

    def _on_timer(self) -> None:
        # Armed first: whatever happens below, the heart goes on.
        self._arm()
        self.emit()

    def _lines(self, positions: Sequence[PositionRow] | None, *, is_final: bool) -> list[str]:
        probes, tally = self._probes, self._tally
        beat = Beat(
            mode=self._mode,
            label=self._label,
            now_ns=self._clock.now_ns(),
            started_ns=self._started_ns,
            speed=self._clock.speed,
            is_final=is_final,
            lag=self._lag.take(),
        )
        sections: list[tuple[str, Callable[[], list[str]]]] = [
            ("feeds", lambda: words.feed_lines(probes.feeds(), probes.streams())),
            ("account", lambda: words.guard_lines(probes.guards())),
            ("limits", lambda: words.pause_lines(tally)),
            ("naked", lambda: [words.protection_line(tally)]),
            ("twin", self._twin_lines),
            ("closed", lambda: [words.close_line(probes.last_close_ns(), beat.now_ns)]),
            ("funnel", lambda: words.funnel_lines(probes.funnels())),
            ("frames", lambda: words.data_lines(probes.data_accounts())),
            ("queues", lambda: [words.queue_line(probes)]),
            ("journal", lambda: [words.journal_line(probes.journal())]),
        ]
        lines = [words.head_line(beat)]
        lines += ["open     not recorded"] if positions is None else words.position_lines(positions)
        for name, section in sections:
            lines += self._ask(name, section, [f"{name:<8} not recorded"])
        return [*lines, words.lag_line(beat.lag), words.fault_line(tally, beat.now_ns)]

    def _twin_lines(self) -> list[str]:
        meter = self._probes.twin_meter()
        return [] if meter is None else [words.twin_line(meter)]

    def _ask(self, name: str, probe: Callable[[], T], unknown: T) -> T:
        try:
            return probe()
        except Exception as error:  # noqa: BLE001 - told at once; one blind spot must not hide the rest
            now_ns = self._clock.now_ns()
            self._bus.publish(
                AlertRaised(
                    ts_event=now_ns,
                    ts_recv=now_ns,
                    rule="probe_failed",
                    level="WARNING",
                    message=f"{name}: {type(error).__name__}: {bounded_text(str(error))}",
                )
            )
            return unknown
