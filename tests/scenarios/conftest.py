"""
A world for scenarios: the whole bot against its twin in virtual time, and everything that can go
wrong between them.

A scenario is a coroutine that is given the world before the bot has asked anything. It breaks what
it wants broken (`wire`: requests of either channel; `frames`: streams; the engine itself), raises
signals, waits, and judges by what the twin holds. A run that is crashed goes on with the next one
on the same state directory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import pytest

from aegis.app.bot import Bot
from aegis.app.modes import Mode
from aegis.app.paper import new_twin
from aegis.app.plan import RunPlan
from aegis.app.run import run_paper
from aegis.app.session import RunInputs
from aegis.app.state import save_account
from aegis.app.watch import Watch
from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.event import Event, HandlerFailed
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.journal.conservation import ConservationReport, check_conservation
from aegis.journal.store import FILE_NAME, JournalStore
from aegis.model.events import MarketTick, SignalRaised, StreamOpened, TaskFailed, VenueProtected
from aegis.model.instrument import InstrumentId, Venue, instrument_id
from aegis.model.order import OrderSide, OrderType, PositionSide
from aegis.model.signal import Signal
from aegis.settings import AegisConfig, Secrets, resolve
from aegis.twin.binance.face import BinanceFace
from aegis.twin.boot import GENERATED_START_NS, VENUE_NAMES, Market, Twin, VenueName
from aegis.twin.bybit.face import BybitFace
from aegis.twin.desk_faults import DeskFaults
from aegis.twin.engine.api import EngineOrder, EngineStatus
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.fault_rules import SlowOffload, Wire
from aegis.twin.frame_rules import Frames
from aegis.twin.tape.model import MINUTE_NS
from aegis.twin.tape.scripted import scripted_tape
from aegis.venue.sdk_clock import restore_sdk_clocks

E = TypeVar("E", bound=Event)
Send = Callable[[bytes], None]
START_PRICES: Final = {"BTCUSDT": 60_000.0, "ETHUSDT": 3_000.0, "SOLUSDT": 150.0}
HISTORY_BARS: Final = 30
TAPE_BARS: Final = 240
USER_STREAMS: Final = {Venue.BINANCE: "user", Venue.BYBIT: "private"}


def _market(prices: Mapping[str, Sequence[float]], venues: Sequence[VenueName]) -> Market:
    tapes = tuple(
        scripted_tape(
            symbol,
            path,
            start_ns=GENERATED_START_NS,
            bars=TAPE_BARS,
            history_bars=HISTORY_BARS,
        )
        for symbol, path in prices.items()
    )
    return Market(
        tapes=dict.fromkeys(venues, tapes),
        start_ns=GENERATED_START_NS,
        end_ns=min(tape.end_ns for tape in tapes),
        label="GENERATED for a scenario",
        generated=True,
        market_id="scenario",
        lines=(),
    )


class _Crashed(KeyboardInterrupt):
    """Out of the loop at once, as a kill -9 would: nothing of the run is executed any more."""


_graves: Final[list[object]] = []
"""Abandoned loops and their tasks, kept, so that no finally of theirs ever runs."""


class _Hands:
    """The hands of a clock that outlives a run: the venue goes on when the bot is killed."""

    def __init__(self) -> None:
        self.now: Clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


class World:
    """One run as a scenario sees it: twin, bot, faults, and every event in bus order."""

    def __init__(self, twin: Twin, state_dir: Path, hands: _Hands) -> None:
        self.twin: Final = twin
        self.hands: Final = hands
        self.state_dir: Final = state_dir
        self.loop: Final = asyncio.get_running_loop()
        self.wire: Final = {name: Wire(name) for name in twin.faces}
        self.frames: Final = {
            name: Frames(face, self.loop, self.wire[name]) for name, face in twin.faces.items()
        }
        self.desk: Final = {
            n: DeskFaults(each, self.loop, self.catch_up) for n, each in twin.engines.items()
        }
        self.events: Final[list[Event]] = []
        self.bot: Bot
        self._signals = 0
        for name, face in twin.faces.items():
            _put_into(face, self.wire[name])

    def catch_up(self) -> None:
        """Bring the twin to now, as a request would."""
        self.twin.world.advance(self.bot.around.clock.now_ns())

    # What the twin holds.

    def engine(self, venue: VenueName) -> TwinEngine:
        """Return the engine of one venue."""
        return self.twin.engines[venue]

    def qty(self, venue: VenueName, symbol: str = "BTCUSDT") -> Decimal:
        """Return the signed position the venue holds, in either position mode."""
        return sum((leg.qty for leg in self.engine(venue).legs(symbol)), Decimal(0))

    def _closing(self, venue: VenueName, symbol: str, kind: OrderType) -> list[EngineOrder]:
        side = OrderSide.SELL if self.qty(venue, symbol) > 0 else OrderSide.BUY
        return [
            order
            for order in self.engine(venue).open_orders(symbol)
            if order.status is EngineStatus.UNTRIGGERED
            and order.spec.order_type is kind
            and order.spec.side is side
        ]

    def stops(self, venue: VenueName, symbol: str = "BTCUSDT") -> list[EngineOrder]:
        """Return the stops that rest at the venue on the exit side."""
        return self._closing(venue, symbol, OrderType.STOP_MARKET)

    def targets(self, venue: VenueName, symbol: str = "BTCUSDT") -> list[EngineOrder]:
        """Return the targets that rest at the venue on the exit side."""
        return self._closing(venue, symbol, OrderType.TAKE_PROFIT_MARKET)

    def entries(self, venue: VenueName, symbol: str = "BTCUSDT") -> list[EngineOrder]:
        """Return every order the venue ever took that could open a position."""
        orders = self.engine(venue).all_orders(symbol)
        return [o for o in orders if not o.conditional and not o.spec.reduce_only and not o.parent]

    def gap_ms(self, venue: VenueName) -> float:
        """Return the longest time a position stood uncovered, by the twin's meter."""
        episodes = self.twin.meters[venue].episodes(self.twin.world.now_ns)
        return max((e.longest_gap_ns for e in episodes), default=0) / NS_PER_MS

    def income(self, venue: VenueName) -> Decimal:
        """Return what the venue has booked since the account began, USDT."""
        return sum((row.amount for row in self.engine(venue).income()), Decimal(0))

    # What the bot told, and when.

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def faults_of_code(self) -> list[str]:
        """Tell every handler and task that failed for another reason than the venue's answer."""
        return [
            *(f"{e.handler} on {e.event_type}: {e.error}" for e in self.of(HandlerFailed)),
            *(
                f"task {e.task}: {e.error}"
                for e in self.of(TaskFailed)
                if not e.error_type.startswith("Venue")
            ),
        ]

    async def until(
        self, done: Callable[[], object], within_s: float = 5.0, *, every_s: float = 0.01
    ) -> None:
        """Wait for *done*; raises AssertionError when it is not within *within_s* of loop time."""
        until_s = self.loop.time() + within_s
        while not done():
            assert self.loop.time() < until_s, f"not within {within_s} s; last: {self.events[-8:]}"
            await asyncio.sleep(every_s)

    async def ready(self) -> None:
        """Wait until every venue may be traded and tells its account's stream."""

        def is_ready() -> bool:
            told = {e.venue for e in self.of(VenueProtected)}
            opened = {(e.venue, e.stream) for e in self.of(StreamOpened)}
            marked = {e.instrument_id for e in self.of(MarketTick) if e.mark is not None}
            return all(
                venue in told
                and (venue, USER_STREAMS[venue]) in opened
                and {each.instrument_id for each in self.bot.connected[venue]} <= marked
                for venue in self.bot.gateways
            )

        await self.until(is_ready, within_s=60)

    # What a strategy, the venue or a person would do.

    def signal(
        self,
        venue: VenueName,
        symbol: str = "BTCUSDT",
        side: PositionSide = PositionSide.LONG,
        *,
        stop_pct: str = "1",
        target_pct: str = "2",
    ) -> str:
        """Raise a signal at the venue's mark, good for a minute, and return its id."""
        self._signals += 1
        mark = Decimal(repr(self.engine(venue).quote(symbol).mark))
        now = self.bot.around.clock.now_ns()
        proposed = Signal(
            signal_id=f"scenario-{self._signals}",
            instrument_id=id_of(venue, symbol),
            side=side,
            confidence=1.0,
            strategy="scenario",
            bar_close_ns=now,
            expires_ns=now + MINUTE_NS,
            reference_px=mark,
            stop_distance=mark * Decimal(stop_pct) / 100,
            target_distance=mark * Decimal(target_pct) / 100,
            patterns=(),
            features=(),
            reasons=("a scenario asks for it",),
        )
        self.bot.bus.publish(SignalRaised(ts_event=now, ts_recv=now, signal=proposed))
        return proposed.signal_id

    async def open(self, venue: VenueName, symbol: str = "BTCUSDT", **asked: Any) -> None:
        """Raise a signal and wait until the venue holds a position with stop and target."""
        _ = self.signal(venue, symbol, **asked)
        await self.until(
            lambda: (
                self.qty(venue, symbol) != 0
                and self.stops(venue, symbol)
                and self.targets(venue, symbol)
            )
        )
        await asyncio.sleep(1)

    def crash(self) -> NoReturn:
        """End the process here: what the venue holds stays, what was not written is lost."""
        self.save()
        raise _Crashed

    def save(self) -> None:
        """Keep what the venue holds now for the next run, and end its faults."""
        save_account(self.state_dir, self.twin.export_state())
        for broken in (*self.twin.faces.values(), *self.twin.engines.values()):
            for name in ("open_stream", "place", "set_position_protection", "cancel"):
                vars(broken).pop(name, None)

    def journal(self) -> list[Event]:
        """Return every event of this state directory's journal, all runs."""
        store = JournalStore(self.state_dir / FILE_NAME)
        try:
            return [event for run in store.runs() for _, event in store.iter_events(run.run)]
        finally:
            store.close()

    def conservation(self) -> ConservationReport:
        """Return what the journal's books of the last run add up to."""
        store = JournalStore(self.state_dir / FILE_NAME)
        try:
            return check_conservation(event for _, event in store.iter_events(store.runs()[-1].run))
        finally:
            store.close()


def id_of(venue: VenueName, symbol: str = "BTCUSDT") -> InstrumentId:
    """Return the name of one symbol of one venue."""
    return instrument_id(symbol, Venue(venue.upper()))


def _put_into(face: BinanceFace | BybitFace, seam: Wire) -> None:
    face._faults = seam
    if isinstance(face, BybitFace):
        face._rest._faults = seam


Scenario = Callable[[World], Awaitable[None]]
PLAN: Final = RunPlan(speed=None)


def _inputs(state_dir: Path, settings: Mapping[str, object]) -> RunInputs:
    flags = {"state_dir": str(state_dir), "log_level": "ERROR", **settings}
    resolved = resolve(None, dotenv={}, environ={}, flags=flags)
    return RunInputs(
        resolved=resolved,
        secrets=Secrets(),
        plan=PLAN,
        state_dir=state_dir,
        installation=lambda: "test",
        seed=resolved.config.paper_seed,
        takes_signals=False,
    )


def play(
    state_dir: Path,
    scenario: Scenario,
    *,
    prices: Mapping[str, Sequence[float]] | None = None,
    venues: Sequence[VenueName] = VENUE_NAMES,
    settings: Mapping[str, object] | None = None,
    after: World | None = None,
) -> World:
    """
    Run the bot beside *scenario* until that ends, or crashes the run, and return the world.

    *prices*: minute marks by symbol, the last one lasting four hours. *after*: a run that crashed,
    whose venues go on. What fails in the scenario is raised here, after the run has ended.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    inputs = _inputs(state_dir, {"venues": tuple(venues), **(settings or {})})
    market = _market(prices or {s: (p,) for s, p in START_PRICES.items()}, venues)
    worlds: list[World] = []
    failures: list[BaseException] = []
    played: list[World] = []

    def make_twin(
        market: Market, config: AegisConfig, clock: Clock, speed: float | None, start_ns: int
    ) -> Twin:
        hands = _Hands() if after is None else after.hands
        hands.now = clock
        lasting: Any = hands
        made = after.twin if after else new_twin(market, config, lasting, speed, start_ns)
        worlds.append(World(made, state_dir, hands))
        return made

    def wires() -> Iterable[Wire]:
        return worlds[0].wire.values()

    async def act(world: World) -> None:
        try:
            await scenario(world)
        except Exception as error:  # noqa: BLE001 - raised again when the run is over
            failures.append(error)
        played.append(world)
        world.bot._on_fatal("the scenario is over", 0)

    def watch(bot: Bot, twin: Twin, label: str, mode: Mode) -> Watch:
        (world,) = worlds
        world.bot = bot
        bot.bus.listen_all(lambda _, event: world.events.append(event))
        _graves.append(world.loop.create_task(act(world), name="scenario"))
        return Watch(bot, twin, label, mode)

    with pytest.MonkeyPatch.context() as patch, _process_state():
        patch.setattr("aegis.app.session.Watch", watch)
        patch.setattr("aegis.app.run.new_twin", make_twin)
        if after is not None:
            patch.setattr("aegis.app.run._restore", lambda *_: None)
        patch.setattr("aegis.app.paper.InlineOffload", partial(SlowOffload, wires=wires))
        code = _run(run_paper(inputs, market))
    if failures:
        raise failures[0]
    assert code in {0, None}, f"exit code was {code}"
    assert played or code is None, "the run ended before its scenario did"
    return worlds[0]


def _run(main: Any) -> int | None:
    loop = VirtualTimeLoop()
    try:
        code: int = loop.run_until_complete(main)
    except BaseException as error:
        # Kept as it is: closing it would run what a crash leaves undone.
        _graves.append((loop, *asyncio.all_tasks(loop)))
        if isinstance(error, _Crashed):
            return None
        raise
    finally:
        asyncio.set_event_loop(None)
    loop.close()
    return code


@contextmanager
def _process_state() -> Iterator[None]:
    try:
        yield
    finally:
        restore_sdk_clocks()


Play = Callable[..., World]


@pytest.fixture(name="play", scope="session")
def play_fixture() -> Play:
    """Return the way to run the bot beside a scenario."""
    return play
