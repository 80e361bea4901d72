"""The twin as a process of its own: two faces on loopback ports, driven until the tape ends."""

import asyncio
import random
import signal
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from aegis.app.paper import PaperWorld, new_twin, start_world
from aegis.app.plan import PAPER_API_KEY, PAPER_API_SECRET, RunPlan
from aegis.core.clock import NS_PER_MS, Clock, LiveClock, ScaledClock, format_ns
from aegis.core.errors import ConfigError, Problem
from aegis.core.log import configure_logging, room_logger
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.settings import AegisConfig
from aegis.twin.boot import Market, Twin

PYBIT_ANSWER_DELAY_S: Final = 0.006
"""pybit drops an answer that comes before it has noted its question (venues.md 4.3)."""

log = room_logger("twin")


async def run_twin(
    config: AegisConfig,
    plan: RunPlan,
    market: Market,
    tcp_ports: tuple[int, int],
    *,
    on_wall_clock: bool = False,
) -> int:
    """
    Serve *market* and return the exit code; *on_wall_clock*: it begins now and plays at speed 1.

    Raises:
        ConfigError: for --speed max, which has no sockets, or a port that is taken.
    """
    if plan.speed is None:
        raise _problem(
            "--speed",
            "max",
            "a number: a twin with sockets runs in real time",
            "use --speed 60, or run the bot itself with --speed max",
        )
    loop = asyncio.get_running_loop()
    clock: Clock = LiveClock() if on_wall_clock else ScaledClock(market.start_ns, plan.speed, loop)
    configure_logging(
        config.log_level,
        json_file=Path(config.log_file) if config.log_file else None,
        now_ns=clock.now_ns,
    )
    run = _TwinRun(clock, random.Random(config.paper_seed))  # noqa: S311 - jitter, not secrets
    twin = new_twin(market, config, clock, plan.speed, market.start_ns)
    try:
        world = await start_world(
            twin,
            config,
            clock,
            virtual=False,
            supervisor=run.supervisor,
            rng=run.rng,
            tcp_ports=tcp_ports,
            bybit_stream_delay_s=PYBIT_ANSWER_DELAY_S,
        )
    except OSError as error:
        raise _problem("--binance-port/--bybit-port", tcp_ports, "free ports", str(error)) from None
    _tell_start(market, world, plan.speed)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.ended.set)
    _ = run.supervisor.start("tape end", lambda: run.end_with_tape(world))
    await run.ended.wait()
    await run.supervisor.stop()
    await world.close()
    _print_meters(twin)
    return 1 if run.failed else 0


class _TwinRun:
    """What ends a twin's process: a signal, the tape, or a fault of its own."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self.rng: Final = rng
        self.ended: Final = asyncio.Event()
        self.failed = False
        self.supervisor: Final = Supervisor(clock, self._on_failure, rng=rng)

    def _on_failure(self, failure: TaskFailed) -> None:
        log.error(f"{failure.name} failed: {failure.error}\n{failure.traceback}")
        if failure.retry_in_s is None:
            self.failed = True
            self.ended.set()

    async def end_with_tape(self, world: PaperWorld) -> None:
        """End when the tape does."""
        await world.runner.finished.wait()
        log.info("the tape has ended")
        self.ended.set()


def _tell_start(market: Market, world: PaperWorld, speed: float) -> None:
    for line in market.lines:
        log.info(line)
    for name, server in world.servers.items():
        log.info(f"{name} face at {server.url} (streams at {server.ws_url})")
    log.info(f"key {PAPER_API_KEY} secret {PAPER_API_SECRET}: the twin's own, they guard nothing")
    log.info(f"{market.label}: plays to {format_ns(market.end_ns)} at {speed:g}x; Ctrl-C ends")


def _problem(name: str, value: object, allowed: str, fix: str) -> ConfigError:
    return ConfigError([Problem(name=name, value=value, allowed=allowed, fix=fix)])


def _print_meters(twin: Twin) -> None:
    table = Table(title=f"the twin's meter, venue time ({twin.market.label})")
    for column in ("venue", "positions", "protected", "p50 ms", "p99 ms", "max ms", "naked now"):
        table.add_column(column, justify="left" if column == "venue" else "right")
    for name, meter in twin.meters.items():
        summary = meter.summary(twin.world.now_ns)
        times = (summary.p50_ns, summary.p99_ns, summary.max_ns)
        table.add_row(
            name,
            str(summary.count),
            str(summary.protected_count),
            *(_ms(value if summary.count else None) for value in times),
            str(len(summary.currently_unprotected)),
        )
    Console().print(table)


def _ms(value_ns: int | None) -> str:
    return "no position yet" if value_ns is None else f"{value_ns / NS_PER_MS:.1f}"
