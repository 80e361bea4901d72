"""
One seed: plan, market and twin are made, the bot lives and dies on it, the checkers judge.

The twin outlives the processes of the bot, each of which has a virtual loop of its own. A crashed
loop is kept as it is and never run again, so that nothing of the process is executed after it.
"""

import asyncio
import io
import random
import shutil
import signal
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

from aegis.app.bot import Bot
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
from aegis.sim.evidence import Evidence, Life
from aegis.sim.faults import Carrier, Crashed, Log, SimOffload
from aegis.sim.market import make_market
from aegis.sim.outcome import Outcome, outcome_of
from aegis.sim.plan import HOUR_S, FaultPlan, SignalWish
from aegis.sim.timeline import timeline
from aegis.sim.witness import Witness
from aegis.twin.boot import Market, Twin, VenueName
from aegis.twin.tape.model import MINUTE_NS
from aegis.venue.sdk_clock import restore_sdk_clocks

INSTALLATION: Final = "simu"
LIVES_MAX: Final = 40
_graves: Final[list[object]] = []
"""Abandoned loops and their tasks, kept for good, so that no finally of theirs ever runs."""


class _Hands:
    """The hands of a clock that outlives a process: the venue goes on when the bot is dead."""

    now: Clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


@attrs.define(slots=True, kw_only=True)
class _Stage:
    """What outlives the processes of one run."""

    plan: FaultPlan
    market: Market
    inputs: RunInputs
    hands: _Hands
    twin: Twin
    witnesses: dict[VenueName, Witness]
    log: Log = attrs.field(factory=Log)
    codes: list[int] = attrs.field(factory=list)
    unaccounted: dict[int, tuple[str, ...]] = attrs.field(factory=dict)

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


def play_plan(plan: FaultPlan, state_dir: Path) -> tuple[Evidence, str]:
    """Run *plan* once and return what it left behind, and the digest of its journal."""
    with _process_state():
        stage = _set(plan, state_dir)
        _play(stage)
    return _evidence(stage, state_dir)


def _set(plan: FaultPlan, state_dir: Path) -> _Stage:
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
    )
    market = make_market(plan)
    hands = _Hands()
    lasting: Any = hands
    hands.now = ManualClock(market.start_ns)
    twin = new_twin(market, resolved.config, lasting, None, market.start_ns)
    witnesses = {name: Witness(name, engine) for name, engine in twin.engines.items()}
    return _Stage(
        plan=plan, market=market, inputs=inputs, hands=hands, twin=twin, witnesses=witnesses
    )


def _play(stage: _Stage) -> None:
    start_ns = stage.market.start_ns
    for life in range(LIVES_MAX):
        if start_ns >= stage.end_ns:
            return
        if not _live(stage, start_ns, life):
            return
        start_ns = stage.log.dead[-1][1]
        stage.twin.world.advance(start_ns)
    raise AssertionError(f"seed {stage.plan.seed} crashed {LIVES_MAX} times")


def _live(stage: _Stage, start_ns: int, life: int) -> bool:
    """Run one process; return whether it crashed."""
    loop = VirtualTimeLoop()
    clock = VirtualClock(start_ns, loop)
    stage.hands.now = clock
    rng = random.Random(f"faults {stage.plan.seed} {life}")  # noqa: S311 - drawn faults
    carrier = Carrier(stage.twin, clock, loop, stage.log, rng)
    try:
        stage.codes.append(loop.run_until_complete(_process(stage, carrier, clock, loop, life)))
    except Crashed:
        _graves.append((loop, carrier))
        return True
    finally:
        carrier.leave()
        asyncio.set_event_loop(None)
    loop.close()
    return False


async def _process(
    stage: _Stage, carrier: Carrier, clock: Clock, loop: VirtualTimeLoop, life: int
) -> int:
    config, inputs = stage.config, stage.inputs
    ending = Ending(asyncio.Event())
    rng = random.Random(f"bot {stage.plan.seed} {life}")  # noqa: S311 - jitter

    def twin_failed(failed: TaskFailed) -> None:
        ending.end(f"the twin failed: {failed.error}\n{failed.traceback}", 1)

    tasks = Supervisor(clock, twin_failed, rng=rng)
    world = await start_world(stage.twin, config, clock, virtual=True, supervisor=tasks, rng=rng)
    offload = SimOffload(config.paper_latency_ms / 1000, carrier.wires.values)
    carrier.offload = offload
    carrier.arm(stage.plan.faults, stage.market.start_ns)
    left_s = (stage.end_ns - clock.now_ns()) / NS_PER_S
    loop.call_later(left_s, ending.end, "the simulated time is over")
    bots: list[Bot] = []

    def on_bot(bot: Bot) -> None:
        bots.append(bot)
        _raise_signals(stage, bot, loop)

    session = Session(
        inputs,
        clock,
        ending,
        stage.market.label,
        generated=True,
        twin=stage.twin,
        freeze=world.freeze,
        same_account=life > 0,
        on_bot=on_bot,
    )
    code = await session.run(world.ports, offload, rng)
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


def _raise_signals(stage: _Stage, bot: Bot, loop: VirtualTimeLoop) -> None:
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


def _signal(stage: _Stage, number: int, wish: SignalWish, now_ns: int) -> Signal:
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


def _evidence(stage: _Stage, state_dir: Path) -> tuple[Evidence, str]:
    twin, now_ns = stage.twin, stage.twin.world.now_ns
    store = open_journal(state_dir)
    try:
        lives = tuple(_lives(store, stage.unaccounted))
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


def _lives(store: JournalStore, unaccounted: dict[int, tuple[str, ...]]) -> Iterator[Life]:
    for run in store.runs():
        events = tuple(event for _, event in store.iter_events(run.run))
        yield Life(
            run=run.run,
            events=events,
            is_clean=any(isinstance(event, RunStopped) for event in events),
            unaccounted=unaccounted.get(run.run, ()),
        )


@contextmanager
def _process_state() -> Iterator[None]:
    """Give clocks, signal handlers and the log back, which a run takes for its process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    logger.disable("aegis")
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        restore_sdk_clocks()
        logger.enable("aegis")
        for number, handler in handlers.items():
            signal.signal(number, handler)
