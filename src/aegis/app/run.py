"""
One run of the bot, from its lock to its summary.

Ends on a signal, after the asked market time, with the tape, or on a fault of its own. A clean end
leaves positions and their native protection on the venues.
"""

import asyncio
import random
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from aegis.app.bot import EXIT_FAULT, Bot, Surroundings, VenuePorts
from aegis.app.contract import check_contract
from aegis.app.load import code_hash, config_hash
from aegis.app.operator import OperatorRequests
from aegis.app.paper import (
    PaperWorld,
    RemoteTwin,
    ask_remote_twin,
    chosen_symbols,
    new_twin,
    remote_ports,
    start_world,
)
from aegis.app.plan import PAPER_API_KEY, PAPER_API_SECRET, RunPlan
from aegis.app.state import drop_account, installation_name, load_account, save_account
from aegis.app.watch import Watch
from aegis.core.clock import NS_PER_S, Clock, ScaledClock, VirtualClock, format_ns
from aegis.core.errors import ConfigError, Problem
from aegis.core.log import configure_logging, room_logger
from aegis.core.offload import Offload, ThreadOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.journal.conservation import ConservationReport, check_conservation
from aegis.journal.replay import read_earlier_runs
from aegis.journal.store import JournalStore, Run, open_journal
from aegis.model.events import RunStarted, RunStopped
from aegis.model.instrument import Venue
from aegis.model.order import Purpose
from aegis.model.position import CloseCause
from aegis.settings import Resolved, Secrets
from aegis.twin.boot import Market, Twin

EXIT_CLEAN: Final = 0
SETTLE_PATIENCE_S: Final = 5.0
FLATTEN_PATIENCE_S: Final = 30.0
"""Loop seconds: how long an end waits for what is under way."""

LAST_FRAMES_S: Final = 0.5

log = room_logger("app")


@attrs.define(slots=True)
class Ending:
    """Why the run ends; the first reason stands."""

    event: asyncio.Event
    reason: str = ""
    code: int = EXIT_CLEAN

    def end(self, reason: str, code: int = EXIT_CLEAN) -> None:
        """End the run."""
        if not self.reason:
            self.reason, self.code = reason, code
        self.event.set()


@attrs.frozen(slots=True, kw_only=True)
class RunInputs:
    """What the command line handed over."""

    resolved: Resolved
    secrets: Secrets
    plan: RunPlan
    state_dir: Path
    installation: Callable[[], str]
    """Draws the installation's four letters when there are none yet."""
    seed: int
    """Of jitter only."""


async def run_paper(inputs: RunInputs, market: Market) -> int:
    """Play *market* on a twin in this process and trade on it."""
    config, plan = inputs.resolved.config, inputs.plan
    loop = asyncio.get_running_loop()
    saved = None if plan.fresh or plan.from_ns is not None else _usable(inputs, market)
    start_ns = int(saved["now_ns"]) if saved is not None else market.start_ns
    virtual = isinstance(loop, VirtualTimeLoop)
    clock: Clock = (
        VirtualClock(start_ns, loop)
        if isinstance(loop, VirtualTimeLoop)
        else ScaledClock(start_ns, plan.speed or 1.0, loop)
    )
    _set_up_logging(inputs, clock)
    for line in market.lines:
        log.info(line)
    twin = new_twin(market, config, clock, plan.speed, start_ns)
    if saved is not None:
        twin.restore_state(saved)
        log.info(f"paper account of {format_ns(start_ns)} goes on; --fresh begins a new one")
    drop_account(inputs.state_dir)
    ending = Ending(asyncio.Event())
    rng = random.Random(inputs.seed)  # noqa: S311 - jitter, not secrets
    twin_tasks = Supervisor(clock, lambda failed: _twin_failed(ending, failed), rng=rng)
    world = await start_world(twin, config, clock, virtual=virtual, supervisor=twin_tasks, rng=rng)
    _ = twin_tasks.start("tape end", lambda: _end_with_tape(world, ending))
    session = _Session(inputs, clock, ending, market.label, market.generated, twin)
    code = await session.run(world.ports, world.offload, rng)
    await twin_tasks.stop()
    await world.close()
    for line in twin.recorded_lines():
        log.info(line)
    if code == EXIT_CLEAN and twin.world.now_ns < market.end_ns:
        save_account(inputs.state_dir, twin.export_state())
    return code


async def run_remote(inputs: RunInputs) -> int:
    """Trade on a twin that runs as another process, on its clock."""
    config = inputs.resolved.config
    urls = {
        Venue.BINANCE: ("binance_url", config.binance_url, config.binance_ws_url),
        Venue.BYBIT: ("bybit_url", config.bybit_url, config.bybit_ws_url),
    }
    chosen = [v for v in urls if v.value.lower() in config.venues and urls[v][1]]
    if not chosen:
        raise ConfigError(
            [
                Problem(
                    name="venues",
                    value=",".join(config.venues),
                    allowed="a venue whose URL is given",
                    fix="give its URL, or name the venue whose URL you gave",
                )
            ]
        )
    told = {v: await ask_remote_twin(urls[v][0], urls[v][1]) for v in chosen}
    first = told[chosen[0]]
    clock = ScaledClock(first.now_ns, first.speed, asyncio.get_running_loop())
    _set_up_logging(inputs, clock)
    for venue in config.venues:
        if Venue(venue.upper()) not in chosen:
            log.warning(f"{venue} is left out: {venue}_url is empty")
    ending = Ending(asyncio.Event())
    rng = random.Random(inputs.seed)  # noqa: S311 - jitter, not secrets
    tasks = Supervisor(clock, lambda failed: _twin_failed(ending, failed), rng=rng)
    ports = [
        remote_ports(urls[v][1], urls[v][2], v, _remote_symbols(inputs, told, v), tasks)
        for v in chosen
    ]
    offload = ThreadOffload()
    session = _Session(inputs, clock, ending, first.label, "GENERATED" in first.label, None)
    code = await session.run(tuple(ports), offload, rng)
    await tasks.stop()
    offload.close(wait=False)
    return code


def _remote_symbols(
    inputs: RunInputs, told: Mapping[Venue, RemoteTwin], venue: Venue
) -> tuple[str, ...]:
    anywhere = [
        symbol for twin in told.values() for each in twin.symbols.values() for symbol in each
    ]
    here = told[venue].symbols.get(venue.value.lower(), [])
    return chosen_symbols(inputs.resolved.config, here, list(dict.fromkeys(anywhere)))


def _usable(inputs: RunInputs, market: Market) -> dict[str, Any] | None:
    saved = load_account(inputs.state_dir, market.market_id)
    if saved is None or not market.start_ns <= int(saved["now_ns"]) < market.end_ns:
        return None
    return saved


def _set_up_logging(inputs: RunInputs, clock: Clock) -> None:
    config = inputs.resolved.config
    configure_logging(
        config.log_level,
        json_file=Path(config.log_file) if config.log_file else None,
        now_ns=clock.now_ns,
        secrets=(*inputs.secrets.values(), PAPER_API_KEY, PAPER_API_SECRET),
    )


def _twin_failed(ending: Ending, failed: TaskFailed) -> None:
    log.error(f"{failed.name} failed: {failed.error}\n{failed.traceback}")
    if failed.retry_in_s is None:
        ending.end(f"the twin failed: {failed.error}", EXIT_FAULT)


async def _end_with_tape(world: PaperWorld, ending: Ending) -> None:
    await world.runner.finished.wait()
    # What the last moment brought is still on its way.
    await asyncio.sleep(LAST_FRAMES_S)
    ending.end("the tape has ended")


class _Session:
    """The bot's life inside one run."""

    def __init__(
        self,
        inputs: RunInputs,
        clock: Clock,
        ending: Ending,
        label: str,
        generated: bool,
        twin: Twin | None,
    ) -> None:
        self._inputs = inputs
        self._clock = clock
        self._ending = ending
        self._label = label if not generated or "GENERATED" in label else f"GENERATED {label}"
        self._twin = twin

    async def run(self, ports: tuple[VenuePorts, ...], offload: Offload, rng: random.Random) -> int:
        """Open the journal, run the bot until something ends it, print the summary."""
        inputs, clock = self._inputs, self._clock
        store = open_journal(inputs.state_dir)
        try:
            earlier = read_earlier_runs(store)
            installation = installation_name(inputs.state_dir, inputs.installation)
            run_id = f"{installation}-{earlier.next_run}"
            around = Surroundings(
                clock=clock,
                loop=asyncio.get_running_loop(),
                offload=offload,
                rng=rng,
                store=store,
                installation=installation,
                run=earlier.next_run,
                run_id=run_id,
            )
            self._begin_run(store, earlier.next_run, run_id)
            bot = Bot(inputs.resolved.config, around, ports, on_fatal=self._ending.end)
            check_contract(bot.bus)
            for day in earlier.days:
                bot.safety.restore_day(day.venue, day.day, day.equity, day.locked)
            for reason in earlier.halts:
                bot.latch.set(reason, at_ns=clock.now_ns())
            return await self._live(bot, store)
        finally:
            store.close()

    def _begin_run(self, store: JournalStore, run: int, run_id: str) -> None:
        store.begin_run(
            Run(
                run=run,
                run_id=run_id,
                started_ns=self._clock.now_ns(),
                stopped_ns=None,
                mode="paper",
                label=self._label,
                code_hash=code_hash(),
                config_hash=config_hash(self._inputs.resolved),
            )
        )

    async def _live(self, bot: Bot, store: JournalStore) -> int:
        watch = Watch(bot, self._twin, self._label)
        now = self._clock.now_ns()
        bot.bus.publish(
            RunStarted(
                ts_event=now,
                ts_recv=now,
                run_id=bot.around.run_id,
                run=bot.around.run,
                installation=bot.around.installation,
                mode="paper",
                label=self._label,
                config=self._inputs.resolved.rows(),
            )
        )
        requests = OperatorRequests(bot, self._inputs.state_dir)
        requests.start()
        bot.start()
        watch.start()
        self._arm()
        await self._ending.event.wait()
        log.info(f"ending: {self._ending.reason}")
        requests.stop()
        await self._end(bot, watch)
        store.end_run(bot.around.run, self._clock.now_ns())
        conservation = self._conservation(store, bot.around.run)
        watch.print_summary(self._ending.reason, conservation)
        return self._ending.code

    def _arm(self) -> None:
        loop, plan = asyncio.get_running_loop(), self._inputs.plan
        if plan.run_for_ns is not None:
            delay_s = plan.run_for_ns / NS_PER_S / self._clock.speed
            loop.call_later(delay_s, self._ending.end, "the asked time is over")
        for number in (signal.SIGINT, signal.SIGTERM):
            name = signal.Signals(number).name
            if isinstance(loop, VirtualTimeLoop):
                # No selector to wake: the handler runs between two bytecodes of the loop itself.
                signal.signal(number, lambda *_, name=name: self._ending.end(f"{name} received"))
            else:
                loop.add_signal_handler(number, self._ending.end, f"{name} received")

    async def _end(self, bot: Bot, watch: Watch) -> None:
        # Entries stop first; what is under way is settled; native protection stays.
        bot.latch.set("the run is ending", at_ns=self._clock.now_ns())
        if self._inputs.plan.flatten_on_exit:
            await self._flatten(bot)
        if not await bot.settle(SETTLE_PATIENCE_S):
            log.warning(f"requests were still under way after {SETTLE_PATIENCE_S} s")
        watch.stop()
        now = self._clock.now_ns()
        bot.bus.publish(
            RunStopped(
                ts_event=now, ts_recv=now, run_id=bot.around.run_id, reason=self._ending.reason
            )
        )
        await bot.close()
        await bot.supervisor.stop()
        await bot.journal.flush()

    async def _flatten(self, bot: Bot) -> None:
        begun = bot.exit.close_all(
            CloseCause.FLATTEN, Purpose.CLOSE_FLATTEN, "asked for at the end of the run"
        )
        loop = asyncio.get_running_loop()
        until = loop.time() + FLATTEN_PATIENCE_S
        while bot.trade.book.positions and loop.time() < until:
            await asyncio.sleep(0.05)
        left = len(bot.trade.book.positions)
        log.info(f"flatten: {begun} closes begun, {left} positions left")

    def _conservation(self, store: JournalStore, run: int) -> ConservationReport:
        return check_conservation(event for _, event in store.iter_events(run))
