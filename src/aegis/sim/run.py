"""
One seed: plan, market and twin are made, the bot lives and dies on it, the checkers judge.

The twin outlives the processes of the bot, each of which has a virtual loop of its own. A crashed
loop is kept as it is and never run again, so that nothing of the process is executed after it.
"""

import asyncio
import io
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
from loguru import logger

from aegis.app.bot import EXIT_NO_VENUE, Bot, VenuePorts
from aegis.app.paper import new_twin, start_world
from aegis.app.plan import RunPlan
from aegis.app.session import Ending, RunInputs, Session
from aegis.core.clock import NS_PER_S, Clock, ManualClock, VirtualClock
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.journal.store import JournalStore, open_journal
from aegis.model.events import RunStopped, SignalRaised, VenueProtected
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import PositionSide
from aegis.model.signal import Signal
from aegis.settings import AegisConfig, Secrets, resolve
from aegis.sim.checkers import check
from aegis.sim.disk import struck_store
from aegis.sim.evidence import Evidence, Life
from aegis.sim.faults import Carrier, Crashed, Log, SimOffload
from aegis.sim.judged import outcome_of
from aegis.sim.market import make_market, on_market
from aegis.sim.outcome import Outcome
from aegis.sim.plan import HOUR_S, FaultPlan, SignalWish
from aegis.sim.skew import SkewedClock
from aegis.sim.timeline import timeline
from aegis.sim.witness import Witness
from aegis.twin.boot import Market, Twin, VenueName
from aegis.twin.tape.model import MINUTE_NS
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks

INSTALLATION: Final = "simu"
LIVES_MAX: Final = 60
RESTARTED_NS: Final = 60 * NS_PER_S
"""After a start that was refused for the clock."""
_graves: Final[list[object]] = []
"""Abandoned loops and their tasks, kept for good, so that no finally of theirs ever runs."""


class _Hands:
    """The hands of a clock that outlives a process: the venue goes on when the bot is dead."""

    now: Clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


class Rig:
    """What a run stands on; one that kills at chosen points puts its own in its place."""

    def market(self, plan: FaultPlan) -> Market:
        """Return the market the run plays."""
        return make_market(plan)

    def begin(self, stage: "Stage") -> None:
        """Take the stage over before the first process lives on it."""

    def loop(self) -> VirtualTimeLoop:
        """Return the loop of one more process."""
        return VirtualTimeLoop()

    def offload(self, delay_s: float, carrier: Carrier) -> SimOffload:
        """Return how one process calls what blocks, *delay_s* each way."""
        return SimOffload(delay_s, carrier.wires.values, carrier.disk)

    def ports(self, ports: tuple[VenuePorts, ...]) -> tuple[VenuePorts, ...]:
        """Return how one process reaches the venues."""
        return ports

    def on_bot(self, bot: Bot) -> None:
        """Take a bot that is about to start."""


@attrs.define(slots=True, kw_only=True)
class Stage:
    """What outlives the processes of one run."""

    plan: FaultPlan
    rig: Rig
    market: Market
    inputs: RunInputs
    hands: _Hands
    twin: Twin
    witnesses: dict[VenueName, Witness]
    log: Log = attrs.field(factory=Log)
    codes: list[int] = attrs.field(factory=list)
    unaccounted: dict[int, tuple[str, ...]] = attrs.field(factory=dict)
    clocks: dict[int, tuple[int, SkewedClock]] = attrs.field(factory=dict)
    """Of each run: when its process started, ns UTC, and the clock its machine had."""

    @property
    def config(self) -> AegisConfig:
        return self.inputs.resolved.config

    @property
    def end_ns(self) -> int:
        return self.market.start_ns + round(self.plan.hours * HOUR_S) * NS_PER_S


def run_plan(plan: FaultPlan, *, keep: Path | None = None, trace: bool = False) -> Outcome:
    """
    Run *plan* once and judge it. *keep*: a state directory that stays; *trace*: with a timeline.
    """
    state_dir = keep or Path(tempfile.mkdtemp(prefix="aegis-sim-"))
    state_dir.mkdir(parents=True, exist_ok=True)
    began_s = time.perf_counter()
    try:
        evidence, digest = play_plan(plan, state_dir)
        return outcome_of(
            plan,
            evidence,
            violations=check(evidence),
            digest=digest,
            wall_s=time.perf_counter() - began_s,
            lines=timeline(evidence) if trace else (),
        )
    finally:
        if keep is None:
            shutil.rmtree(state_dir, ignore_errors=True)


def play_plan(plan: FaultPlan, state_dir: Path, rig: Rig | None = None) -> tuple[Evidence, str]:
    """Run *plan* once and return what it left behind, and the digest of its journal."""
    with _process_state():
        stage = _set(plan, state_dir, rig or Rig())
        _play(stage)
    return _evidence(stage, state_dir)


def _set(plan: FaultPlan, state_dir: Path, rig: Rig) -> Stage:
    flags = {
        # Told in the journal: the same everywhere, so that equal runs have equal journals.
        "state_dir": "state",
        "log_level": "ERROR",
        "paper_seed": plan.seed,
        **dict(plan.settings),
    }
    resolved = resolve(None, dotenv={}, environ={}, flags=flags)
    inputs = RunInputs(
        resolved=resolved,
        secrets=Secrets(),
        plan=RunPlan(speed=None),
        state_dir=state_dir,
        installation=lambda: INSTALLATION,
        seed=plan.seed,
        # A run cut short by a signal would be judged as if it were whole.
        takes_signals=False,
    )
    market = rig.market(plan)
    plan = on_market(plan, market.symbols) if plan.tapes else plan
    hands = _Hands()
    lasting: Any = hands
    hands.now = ManualClock(market.start_ns)
    twin = new_twin(market, resolved.config, lasting, None, market.start_ns)
    for engine in twin.engines.values() if plan.hedge else ():
        engine.set_hedge_mode(hedge=True)
    witnesses = {name: Witness(name, engine) for name, engine in twin.engines.items()}
    stage = Stage(
        plan=plan,
        rig=rig,
        market=market,
        inputs=inputs,
        hands=hands,
        twin=twin,
        witnesses=witnesses,
    )
    rig.begin(stage)
    return stage


def _play(stage: Stage) -> None:
    start_ns = stage.market.start_ns
    for life in range(LIVES_MAX):
        if start_ns >= stage.end_ns:
            return
        if not _live(stage, start_ns, life):
            return
        start_ns = stage.log.dead[-1][1]
        stage.twin.world.advance(start_ns)
    raise AssertionError(f"seed {stage.plan.seed} crashed {LIVES_MAX} times")


def _live(stage: Stage, start_ns: int, life: int) -> bool:
    """Run one process; return whether another one follows."""
    loop = stage.rig.loop()
    clock = VirtualClock(start_ns, loop)
    stage.hands.now = clock
    rng = random.Random(f"faults {stage.plan.seed} {life}")  # noqa: S311 - drawn faults
    carrier = Carrier(stage.twin, clock, loop, stage.log, rng)
    try:
        code = loop.run_until_complete(_process(stage, carrier, clock, loop, life))
    except Crashed:
        _graves.append((loop, carrier, *asyncio.all_tasks(loop)))
        return True
    finally:
        carrier.leave()
        asyncio.set_event_loop(None)
    loop.close()
    if code == EXIT_NO_VENUE and carrier.skewed.is_off:
        # No venue is traded with a clock beyond recvWindow: the service manager tries again.
        ended_ns = clock.now_ns()
        stage.log.dead.append((ended_ns, ended_ns + RESTARTED_NS))
        return True
    stage.codes.append(code)
    return False


async def _process(
    stage: Stage, carrier: Carrier, clock: Clock, loop: VirtualTimeLoop, life: int
) -> int:
    config, inputs, start_ns = stage.config, stage.inputs, clock.now_ns()
    ending = Ending(asyncio.Event())
    rng = random.Random(f"bot {stage.plan.seed} {life}")  # noqa: S311 - jitter

    def twin_failed(failed: TaskFailed) -> None:
        ending.end(f"the twin failed: {failed.error}\n{failed.traceback}", 1)

    tasks = Supervisor(clock, twin_failed, rng=rng)
    world = await start_world(stage.twin, config, clock, virtual=True, supervisor=tasks, rng=rng)
    # The bot's machine has a clock of its own, which a fault may put out; the venues' is the true.
    set_sdk_clocks(carrier.skewed.wall_ns)
    offload = stage.rig.offload(config.paper_latency_ms / 1000, carrier)
    carrier.offload = offload
    carrier.arm(stage.plan.faults, stage.market.start_ns)
    left_s = (stage.end_ns - clock.now_ns()) / NS_PER_S
    loop.call_later(left_s, ending.end, "the simulated time is over")
    bots: list[Bot] = []

    def on_bot(bot: Bot) -> None:
        bots.append(bot)
        carrier.resume = bot.safety.reset_kill_switch
        stage.clocks[bot.around.run] = (start_ns, carrier.skewed)
        _raise_signals(stage, bot, loop)
        stage.rig.on_bot(bot)

    session = Session(
        attrs.evolve(inputs, open_store=lambda folder: struck_store(folder, carrier.disk)),
        carrier.skewed,
        ending,
        stage.market.label,
        generated=True,
        twin=stage.twin,
        freeze=world.freeze,
        same_account=life > 0,
        on_bot=on_bot,
    )
    code = await session.run(stage.rig.ports(world.ports), offload, rng)
    await tasks.stop()
    await world.close()
    for bot in bots:
        stage.unaccounted[bot.around.run] = tuple(_unaccounted(bot))
    return code


def _unaccounted(bot: Bot) -> Iterator[str]:
    accounts = bot.data.accounts()
    for kind, one in accounts.streams.items():
        whole = one.delivered + one.merged + one.rejected + one.pending
        if one.produced != whole:
            yield f"frames {kind}: {one.produced} produced, {whole} accounted for"
    bars = accounts.candles
    whole = (
        bars.delivered + bars.unfinished + bars.duplicates + bars.late + bars.rejected
    ) + bars.pending
    if bars.produced != whole:
        yield f"bars: {bars.produced} produced, {whole} accounted for"


def _raise_signals(stage: Stage, bot: Bot, loop: VirtualTimeLoop) -> None:
    ready: set[Venue] = set()
    bot.bus.listen_all(
        lambda _, event: ready.add(event.venue) if isinstance(event, VenueProtected) else None
    )
    now_s = (stage.hands.now_ns() - stage.market.start_ns) / NS_PER_S

    def propose(number: int, wish: SignalWish) -> None:
        if Venue(wish.venue.upper()) in ready:
            at_ns = bot.around.clock.now_ns()
            told = _signal(stage, number, wish, at_ns)
            bot.bus.publish(SignalRaised(ts_event=at_ns, ts_recv=at_ns, signal=told))

    for number, wish in enumerate(stage.plan.signals):
        if wish.at_s > now_s:
            loop.call_later(wish.at_s - now_s, partial(propose, number, wish))


def _signal(stage: Stage, number: int, wish: SignalWish, now_ns: int) -> Signal:
    engine = stage.twin.engines["binance" if wish.venue == "binance" else "bybit"]
    mark = Decimal(repr(engine.quote(wish.symbol).mark))
    return Signal(
        signal_id=f"drawn-{number}",
        instrument_id=instrument_id(wish.symbol, Venue(wish.venue.upper())),
        side=PositionSide(wish.side),
        confidence=1.0,
        strategy="drawn",
        bar_close_ns=now_ns,
        expires_ns=now_ns + MINUTE_NS,
        reference_px=mark,
        stop_distance=mark * Decimal(str(wish.stop_pct)) / 100,
        target_distance=mark * Decimal(str(wish.target_pct)) / 100,
        patterns=(),
        features=(),
        reasons=("drawn from the seed",),
    )


def _evidence(stage: Stage, state_dir: Path) -> tuple[Evidence, str]:
    twin, now_ns = stage.twin, stage.twin.world.now_ns
    store = open_journal(state_dir)
    try:
        lives = tuple(_lives(store, stage))
        chain = store.check_chain()
    finally:
        store.close()
    broken = "" if chain.broken_at is None else f"the chain breaks at {chain.broken_at}"
    seen = stage.witnesses.values()
    evidence = Evidence(
        config=stage.config,
        installation=INSTALLATION,
        fills=tuple(fill for one in seen for fill in one.fills),
        orders=tuple(order for one in seen for order in one.orders.values()),
        income=tuple(row for one in seen for row in one.income),
        sizes=tuple(size for one in seen for size in one.sizes),
        episodes={name: tuple(meter.episodes(now_ns)) for name, meter in twin.meters.items()},
        positions={
            (name, held.symbol): held.qty
            for name, engine in twin.engines.items()
            for held in engine.held()
        },
        wallets={name: engine.wallet for name, engine in twin.engines.items()},
        lives=lives,
        log=stage.log,
        end_ns=now_ns,
        chain_broken=broken,
        codes=tuple(stage.codes),
    )
    return evidence, chain.head


def _lives(store: JournalStore, stage: Stage) -> Iterator[Life]:
    for run in store.runs():
        rows = store.iter_events(run.run)
        start_ns, clock = stage.clocks.get(run.run, (0, None))
        # A clock that was off dated what the bot received; durations were not touched.
        events = tuple(
            attrs.evolve(event, ts_recv=event.ts_recv - off_ns) if off_ns else event
            for row, event in rows
            for off_ns in (clock.was_ahead_ns(start_ns + row.mono_ns) if clock else 0,)
        )
        yield Life(
            run=run.run,
            events=events,
            is_clean=any(isinstance(event, RunStopped) for event in events),
            unaccounted=stage.unaccounted.get(run.run, ()),
        )


@contextmanager
def _process_state() -> Iterator[None]:
    """Give clocks and the log back, which a run takes for its process."""
    logger.disable("aegis")
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        restore_sdk_clocks()
        logger.enable("aegis")
