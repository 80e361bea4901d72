"""
Frame in to order out on loopback, through the whole path, against programs that only echo.

The path is the bot's own: stream client, Binance's decoder, firewall and slots, bus, a strategy,
sizing, the gate, the executor, the signed order request, with the journal and all of ops listening.
Two bots take turns: one sends its orders over the order socket, one by REST. The only stand-in is
the strategy: it raises a signal on every tick with a quote (the tick path, no candle in between).
The peer, in its own process, sends one quote, waits for the order's last byte, lets it expire (the
instrument is free at once) and waits until the bot is done with it.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs
import uvloop

from aegis.app.bot import Bot, VenuePorts
from aegis.app.modes import Mode
from aegis.app.watch import Watch
from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, Clock, LiveClock
from aegis.core.event import HandlerFailed
from aegis.core.heap import settle_heap
from aegis.core.ids import IdSource
from aegis.core.offload import ThreadOffload
from aegis.core.transport import StreamConnection, StreamConnector
from aegis.journal.store import JournalStore, open_journal
from aegis.model.events import (
    IntentCompleted,
    MarketTick,
    OrderSubmitted,
    SignalDropped,
    SignalRaised,
    StreamOpened,
    TaskFailed,
    VenueProtected,
    VenueUnavailable,
)
from aegis.model.instrument import Venue
from aegis.model.order import PositionSide
from aegis.model.signal import Signal
from aegis.settings import AegisConfig
from aegis.venue.websocket_client import connector_class
from bench.echoes import running_echoes
from bench.ground import logging_to, surroundings
from bench.measure import Spread, now_ns, percentile, ratio, spread_of, unrest
from bench.peer import ORDERS
from bench.peer_process import PeerProcess, running_peer

SYMBOLS: Final = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT")
RUN_TIMEOUT_S: Final = 300.0
PACE_S: Final = 0.001
BOTS: Final = {"order_ws": "ws", "order_rest": "rest"}
"""The sides that are bots, and the setting order_entry of each."""
_SIGNAL_LIFE_NS: Final = 60 * NS_PER_S


@attrs.frozen(kw_only=True)
class Side:
    """One program between frame and answer, in microseconds; ratios against the C echo's."""

    round_trip_us: Spread
    p50_ratio_c: float | None
    p99_ratio_c: float | None
    p50_ratio_uvloop: float | None
    p99_ratio_uvloop: float | None


@attrs.frozen(kw_only=True)
class OrderFigures:
    """
    What was measured. *stages*: of each bot, where the time goes, microseconds, in the order of
    the path. *client*: which WebSocket client the bots used.

    *orders*: order requests the peer read while measuring; *dropped*: signals that became none.
    """

    rounds: int
    frames_per_round: int
    has_c: bool
    sides: dict[str, Side]
    stages: dict[str, dict[str, Spread]]
    client: str
    orders: int
    dropped: int
    unrest: float

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON-able data."""
        return attrs.asdict(self)


@attrs.define(kw_only=True)
class _Stamps:
    """When each frame passed the bot's stations, on the machine's common clock."""

    read: list[int] = attrs.field(factory=list)
    signaled: list[int] = attrs.field(factory=list)
    submitted: list[int] = attrs.field(factory=list)
    sent: list[int] = attrs.field(factory=list)
    dropped: int = 0
    fault: str = ""


class _StampingConnector:
    """The real connector; notes when a quote was read, and when an order was written."""

    def __init__(self, inner: StreamConnector, stamps: _Stamps) -> None:
        self._inner = inner
        self._stamps = stamps

    async def connect(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> StreamConnection:
        """Open *url* with the real connector."""
        read = self._stamps.read

        def stamped(frame: bytes) -> None:
            if b'"bookTicker"' in frame:
                read.append(now_ns())
            on_frame(frame)

        taking = stamped if "/public/" in url else on_frame
        connection = await self._inner.connect(url, on_frame=taking, on_close=on_close)
        return _Writing(connection, self._stamps.sent) if f"/{ORDERS}" in url else connection


class _Writing:
    """The order socket; notes when the write of an order begins."""

    def __init__(self, inner: StreamConnection, sent: list[int]) -> None:
        self._inner = inner
        self._sent = sent

    def send(self, text: str) -> None:
        """Send."""
        self._sent.append(now_ns())
        self._inner.send(text)

    async def close(self) -> None:
        """Close."""
        await self._inner.close()


class EveryTick:
    """A strategy of one rule: whenever a quote moved, go long."""

    def __init__(self, bus: EventBus, clock: Clock, stamps: _Stamps) -> None:
        self._bus = bus
        self._clock = clock
        self._signaled = stamps.signaled
        self._ids = IdSource("sig")
        bus.subscribe(MarketTick, self.on_market_tick)

    def on_market_tick(self, event: MarketTick) -> None:
        """Raise a signal; ticks that only bring a mark have no quote yet."""
        if event.bid is None or event.ask is None:
            return
        now = self._clock.now_ns()
        signal = Signal(
            signal_id=self._ids.next(),
            instrument_id=event.instrument_id,
            side=PositionSide.LONG,
            confidence=1.0,
            strategy="every tick",
            bar_close_ns=now,
            expires_ns=now + _SIGNAL_LIFE_NS,
            reference_px=Decimal(repr(event.bid)),
            stop_distance=Decimal(500),
            target_distance=Decimal(900),
            patterns=(),
            features=(),
            reasons=("the quote moved",),
        )
        self._signaled.append(now_ns())
        self._bus.publish(SignalRaised(ts_event=now, ts_recv=now, signal=signal))


def run(*, quick: bool) -> OrderFigures:
    """Measure; *quick* is a short run whose figures mean little."""
    rounds, frames = (2, 10) if quick else (20, 100)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aegis-bench-")))
        echoes = stack.enter_context(running_echoes(folder))
        stack.enter_context(logging_to(folder / "log"))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        stamps = {name: _Stamps() for name in BOTS}
        for name in BOTS:
            (folder / name).mkdir()
        answer = runner.run(_measured(folder, echoes, stamps, rounds, frames))
    return _figures(stamps, answer, rounds, frames)


async def _measured(
    folder: Path, echoes: dict[str, int], stamps: dict[str, _Stamps], rounds: int, frames: int
) -> dict[str, Any]:
    async with (
        running_peer(SYMBOLS) as peer,
        asyncio.timeout(RUN_TIMEOUT_S),
        AsyncExitStack() as stack,
    ):
        for name in BOTS:
            await stack.enter_async_context(_running_bot(folder / name, name, peer, stamps[name]))
        peer.tell({"do": "marks"})
        await peer.heard()
        peer.tell(
            {
                "do": "orders",
                "rounds": rounds,
                "frames_per_round": frames,
                "pace_s": PACE_S,
                "echoes": echoes,
                "bots": list(BOTS),
            }
        )
        try:
            answer = await peer.heard()
        except ConnectionError as error:
            raise RuntimeError(_fault_of(stamps) or str(error)) from error
    if fault := _fault_of(stamps):
        raise RuntimeError(f"a bot failed while it was measured: {fault}")
    return answer


def _fault_of(stamps: dict[str, _Stamps]) -> str:
    return next((each.fault for each in stamps.values() if each.fault), "")


@asynccontextmanager
async def _running_bot(
    folder: Path, name: str, peer: PeerProcess, stamps: _Stamps
) -> AsyncIterator[None]:
    """Run a bot until it may enter, give control, and end it."""
    config = AegisConfig(
        venues=("binance",),
        symbols=SYMBOLS,
        timeframes=("5m",),
        failed_entry_cooldown_s=0.0,
        order_entry=BOTS[name],
        # Timed is the way of one order; with a stop before it that would be the first of two.
        stop_before_entry=False,
    )
    offload = ThreadOffload()
    store = open_journal(folder)
    try:
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        bot = _bot(config, name, peer, stamps, store, offload, started)
        _watch_start(bot.bus, started, {"orders"} if config.order_entry == "ws" else set())
        _note_stations(bot.bus, stamps, peer)
        bot.start()
        await started
        yield
        await bot.close()
        await bot.supervisor.stop()
        await bot.journal.flush()
    finally:
        offload.close()
        store.close()


def _bot(
    config: AegisConfig,
    name: str,
    peer: PeerProcess,
    stamps: _Stamps,
    store: JournalStore,
    offload: ThreadOffload,
    started: asyncio.Future[None],
) -> Bot:
    clock = LiveClock()
    around = surroundings(clock, store, offload)
    # The connector's tasks belong to the bot's supervisor, which the bot makes for itself.
    connector = _LateConnector()
    ports = VenuePorts(
        venue=Venue.BINANCE,
        base_url=peer.base_url,
        ws_url=f"{peer.ws_url}/{name}",
        order_ws_url=f"{peer.ws_url}/{name}/{ORDERS}",
        api_key="bench-key",
        api_secret="bench-secret",
        http=None,
        connector=connector,
        symbols=SYMBOLS,
    )

    def on_fatal(reason: str, _code: int) -> None:
        _fail(started, reason)

    bot = Bot(config, around, (ports,), on_fatal=on_fatal)
    connect = connector_class(config.websocket_client)
    connector.inner = _StampingConnector(connect(supervisor=bot.supervisor), stamps)
    settle_heap()
    EveryTick(bot.bus, clock, stamps)
    Watch(bot, None, "bench", Mode.PAPER)
    return bot


class _LateConnector:
    """Stands in until the bot's supervisor exists."""

    inner: StreamConnector

    async def connect(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> StreamConnection:
        """Open *url* with the connector that was set since."""
        return await self.inner.connect(url, on_frame=on_frame, on_close=on_close)


def _fail(started: asyncio.Future[None], reason: str) -> None:
    if not started.done():
        started.set_exception(RuntimeError(reason))


def _watch_start(bus: EventBus, started: asyncio.Future[None], also: set[str]) -> None:
    """Resolve *started* once entries are allowed and the market streams and *also* are open."""
    waiting = {"public", "market", "protected", *also}

    def done(name: str) -> None:
        waiting.discard(name)
        if not waiting and not started.done():
            started.set_result(None)

    bus.subscribe(StreamOpened, lambda event: done(event.stream))
    bus.subscribe(VenueProtected, lambda _event: done("protected"))
    bus.subscribe(VenueUnavailable, lambda event: _fail(started, event.error))
    bus.subscribe(HandlerFailed, lambda event: _fail(started, f"{event.handler}: {event.error}"))


def _note_stations(bus: EventBus, stamps: _Stamps, peer: PeerProcess) -> None:
    def on_handler_failed(event: HandlerFailed) -> None:
        stamps.fault = f"{event.handler}: {event.error}"

    def on_signal_dropped(_event: SignalDropped) -> None:
        stamps.dropped += 1

    bus.subscribe(OrderSubmitted, lambda _event: stamps.submitted.append(now_ns()))

    def on_task_failed(event: TaskFailed) -> None:
        stamps.fault = f"task {event.task}: {event.error}"
        # The peer would wait for an order that never comes.
        peer.close()

    bus.subscribe(HandlerFailed, on_handler_failed)
    bus.subscribe(TaskFailed, on_task_failed)
    bus.subscribe(SignalDropped, on_signal_dropped)
    # By then the order is at its end and the executor waits for the next one.
    bus.subscribe(IntentCompleted, lambda _event: peer.say_ready())


def _figures(
    stamps: dict[str, _Stamps], answer: dict[str, Any], rounds: int, frames: int
) -> OrderFigures:
    taken: dict[str, list[int]] = answer["taken"]
    spreads = {name: _us(values) for name, values in taken.items()}
    bare = taken["uvloop"]
    by_round = [
        percentile(bare[start : start + frames], 50) for start in range(0, len(bare), frames)
    ]
    return OrderFigures(
        rounds=rounds,
        frames_per_round=frames,
        has_c="c" in taken,
        sides={name: _side(spread, spreads) for name, spread in spreads.items()},
        stages={name: _stages(stamps[name], answer["sent"][name], taken[name]) for name in BOTS},
        client=AegisConfig().websocket_client,
        orders=sum(len(taken[name]) for name in BOTS),
        dropped=sum(each.dropped for each in stamps.values()),
        unrest=unrest(by_round),
    )


def _stages(stamps: _Stamps, sent: list[int], taken: list[int]) -> dict[str, Spread]:
    # The first round warmed up; from its end on every frame has one stamp per station.
    count = len(sent)
    read, signaled = stamps.read[-count:], stamps.signaled[-count:]
    submitted = stamps.submitted[-count:]
    arrived = [start + took for start, took in zip(sent, taken, strict=True)]
    stages = {
        "peer's write to frame handed over": _apart(sent, read),
        "frame handed over to signal": _apart(read, signaled),
    }
    if stamps.sent:
        written = stamps.sent[-count:]
        stages["signal to order leaving"] = _apart(signaled, written)
        stages["order leaving to last byte at the peer"] = _apart(written, arrived)
        stages["  (order submitted heard by the bus)"] = _apart(signaled, submitted)
        return stages
    stages["signal to order leaving"] = _apart(signaled, submitted)
    stages["order leaving to last byte at the peer"] = _apart(submitted, arrived)
    return stages


def _side(spread: Spread, spreads: dict[str, Spread]) -> Side:
    c_echo, bare = spreads.get("c"), spreads["uvloop"]
    return Side(
        round_trip_us=spread,
        p50_ratio_c=ratio(spread.p50, c_echo.p50) if c_echo else None,
        p99_ratio_c=ratio(spread.p99, c_echo.p99) if c_echo else None,
        p50_ratio_uvloop=ratio(spread.p50, bare.p50),
        p99_ratio_uvloop=ratio(spread.p99, bare.p99),
    )


def _us(samples_ns: Sequence[float]) -> Spread:
    return spread_of([sample / 1000 for sample in samples_ns])


def _apart(earlier_ns: Sequence[int], later_ns: Sequence[int]) -> Spread:
    return _us([b - a for a, b in zip(earlier_ns, later_ns, strict=True)])
