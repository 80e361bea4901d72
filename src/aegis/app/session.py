"""
The bot's life inside one run: journal opened, earlier runs read, started, ended, summed up.

A clean end leaves positions and their native protection on the venues.
"""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from aegis.app.books import close_books
from aegis.app.bot import EXIT_FAULT, Bot, Surroundings, VenuePorts
from aegis.app.contract import check_contract
from aegis.app.control import OperatorDesk
from aegis.app.load import code_hash, config_hash
from aegis.app.operator import OperatorRequests
from aegis.app.plan import RunPlan
from aegis.app.pulse import Pulse
from aegis.app.state import installation_name
from aegis.app.watch import Watch
from aegis.core.clock import NS_PER_S, Clock
from aegis.core.heap import settle_heap
from aegis.core.log import room_logger
from aegis.core.offload import Offload
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.journal.open_book import read_open_book
from aegis.journal.replay import EarlierRuns, read_earlier_runs
from aegis.journal.store import JournalStore, Run, open_journal
from aegis.model.events import RunStarted, RunStopped
from aegis.model.order import Purpose
from aegis.model.position import CloseCause
from aegis.model.restored import OpenBook
from aegis.ops.systemd import ServiceManager, watchdog_interval_s
from aegis.settings import Resolved, Secrets
from aegis.twin.boot import Twin

EXIT_CLEAN: Final = 0
SETTLE_PATIENCE_S: Final = 5.0
FLATTEN_PATIENCE_S: Final = 30.0
"""Loop seconds: how long an end waits for what is under way."""
LAST_FRAMES_S: Final = 0.5
"""Loop seconds in which what the last moment brought arrives."""

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
    open_store: Callable[[Path], JournalStore] = open_journal
    """Opens the journal of a state directory."""
    takes_signals: bool = True
    """SIGINT and SIGTERM end the run; False: they stay whose they are, as a played run must."""


class Session:
    """The bot's life inside one run."""

    def __init__(
        self,
        inputs: RunInputs,
        clock: Clock,
        ending: Ending,
        label: str,
        generated: bool,
        twin: Twin | None,
        *,
        freeze: Callable[[], None],
        same_account: bool,
        on_bot: Callable[[Bot], None] = lambda _: None,
    ) -> None:
        """
        *freeze* stops a twin of this process, so that what it booked is all told. *same_account*:
        earlier runs traded on this account, so that its day goes on. *on_bot* gets the bot before
        it starts.
        """
        self._on_bot = on_bot
        self._freeze = freeze
        self._same_account = same_account
        self._inputs = inputs
        self._clock = clock
        self._ending = ending
        self._label = label if not generated or "GENERATED" in label else f"GENERATED {label}"
        self._twin = twin

    async def run(self, ports: tuple[VenuePorts, ...], offload: Offload, rng: random.Random) -> int:
        """Open the journal, run the bot until something ends it, print the summary."""
        inputs, clock = self._inputs, self._clock
        store = inputs.open_store(inputs.state_dir)
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
            self._restore(bot, earlier)
            if self._same_account:
                self._leave(bot, read_open_book(store))
            return await self._live(bot, store)
        finally:
            store.close()

    def _restore(self, bot: Bot, earlier: EarlierRuns) -> None:
        """Take over what no restart may clear (R65, R73), and say so."""
        for day in earlier.days if self._same_account else ():
            bot.safety.restore_day(day.venue, day.day, day.equity, day.locked)
            if day.locked:
                log.warning(f"{day.venue.value}: an earlier run locked entries: {day.locked}")
        for reason in earlier.halts:
            bot.latch.set(reason, at_ns=self._clock.now_ns())
            log.warning(f"ENTRIES HALTED by an earlier run: {reason}; lift with aegis resume")

    def _leave(self, bot: Bot, left: OpenBook) -> None:
        bot.leave(left)
        for one in left.positions:
            view = one.opening
            log.info(
                f"{view.instrument_id}: an earlier run left {view.position_id} {view.side.value} "
                "open; it goes on once the venue has told what happened since"
            )

    def _begin_run(self, store: JournalStore, run: int, run_id: str) -> None:
        store.begin_run(
            Run(
                run=run,
                run_id=run_id,
                started_ns=self._clock.now_ns(),
                stopped_ns=None,
                mode=self._inputs.plan.mode.value,
                label=self._label,
                code_hash=code_hash(),
                config_hash=config_hash(self._inputs.resolved),
            )
        )

    async def _live(self, bot: Bot, store: JournalStore) -> int:
        watch = Watch(bot, self._twin, self._label, self._inputs.plan.mode)
        self._on_bot(bot)
        now = self._clock.now_ns()
        bot.bus.publish(
            RunStarted(
                ts_event=now,
                ts_recv=now,
                run_id=bot.around.run_id,
                run=bot.around.run,
                installation=bot.around.installation,
                mode=self._inputs.plan.mode.value,
                label=self._label,
                config=self._inputs.resolved.rows(),
            )
        )
        requests = OperatorRequests(bot, self._inputs.state_dir)
        requests.start()
        pulse = Pulse(bot, ServiceManager(), watchdog_interval_s(os.environ, os.getpid()))
        token = self._inputs.secrets.aegis_control_token
        desk = OperatorDesk(bot, self._inputs.state_dir, pulse, token=token, links=watch.links)
        await desk.start()
        if not isinstance(asyncio.get_running_loop(), VirtualTimeLoop):
            pulse.start()
            settle_heap()
        bot.start()
        watch.start()
        self._arm()
        await self._ending.event.wait()
        log.info(f"ending: {self._ending.reason}")
        requests.stop()
        pulse.stop()
        await desk.stop()
        await self._end(bot, watch)
        books = await close_books(bot.journal, store, bot.around.run, self._clock)
        watch.print_summary(self._ending.reason, books)
        return self._ending.code or (EXIT_CLEAN if books.whole else EXIT_FAULT)

    def _arm(self) -> None:
        loop, plan = asyncio.get_running_loop(), self._inputs.plan
        if plan.run_for_ns is not None:
            delay_s = plan.run_for_ns / NS_PER_S / self._clock.speed
            loop.call_later(delay_s, self._ending.end, "the asked time is over")
        if not self._inputs.takes_signals:
            return
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
        self._freeze()
        await asyncio.sleep(LAST_FRAMES_S)
        watch.stop()
        await watch.ask_income()
        now = self._clock.now_ns()
        bot.bus.publish(
            RunStopped(
                ts_event=now, ts_recv=now, run_id=bot.around.run_id, reason=self._ending.reason
            )
        )
        await bot.close()
        await bot.supervisor.stop()

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
