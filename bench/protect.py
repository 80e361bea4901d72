"""
From a fill to its stop, per venue, as a multiple of one round trip measured beside it.

The whole bot trades on both venues against the twin, which is a process of its own, over loopback
sockets. Entries are on command: the only stand-in is the strategy, which raises a signal when the
bench says so. Positions come one at a time, the venues taking turns. Before each one a request that
does nothing is timed on a second order socket, opened by the bot's own client, and the venue's time
is asked by the bot's own REST client. Then the position is opened, its stop is waited for, and it
is closed.

Two watches stop the fill's time: the bot's (ProtectionConfirmed.naked_ns: from its receipt of the
fill to its receipt of the stop's evidence) and the twin's meter, which knows nothing of the bot.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs
import uvloop
from aiohttp import ClientSession, ClientTimeout

from aegis.app.bot import Bot, VenuePorts
from aegis.app.modes import Mode
from aegis.app.paper import ask_remote_twin, remote_ports
from aegis.app.watch import Watch
from aegis.core.clock import LiveClock
from aegis.core.heap import settle_heap
from aegis.core.offload import ThreadOffload
from aegis.core.supervise import Supervisor
from aegis.core.transport import StreamConnection, StreamConnector
from aegis.journal.store import open_journal
from aegis.model.events import StreamOpened, VenueProtected, VenueUnavailable
from aegis.model.instrument import InstrumentId, Venue
from aegis.settings import AegisConfig
from aegis.twin.report import REPORT_PATH
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.bybit.gateway import BybitGateway
from aegis.venue.order_socket import ORDER_STREAM
from aegis.venue.websocket_client import connector_class
from bench.ground import logging_to, surroundings
from bench.measure import Spread, now_ns, ratio, spread_of, take_turns
from bench.on_command import PACE_S, STEP_TIMEOUT_S, Notes, OnCommand
from bench.twin_process import running_twin

START_TIMEOUT_S: Final = 60.0
PAUSE_S: Final = 0.2
"""After a position, so that the request limits are not reached."""
WARM_UP: Final = 2
"""Positions of each venue that are traded first and not counted."""
_NOTHING: Final = {
    Venue.BINANCE: '{"id":"bench","method":"ping"}',
    Venue.BYBIT: '{"op":"ping"}',
}
"""A request that does nothing; the twin's Binance face knows no such method and answers that."""


@attrs.frozen(kw_only=True)
class VenueFigures:
    """
    One venue, times in microseconds. *protected*: positions the twin's meter saw wholly covered.

    *socket*, *rest*: one round trip of the order socket and of REST. *bot*, *meter*: the two
    watches. *bot_of_socket* and the like: p50 over p50 and p99 over p99. *stages*: what the bot's
    watch consists of, where the stop is an order; empty where it travels with the entry.
    """

    positions: int
    protected: int
    late: int
    socket: Spread
    rest: Spread
    bot: Spread
    meter: Spread
    bot_of_socket: tuple[float | None, float | None]
    bot_of_rest: tuple[float | None, float | None]
    meter_of_socket: tuple[float | None, float | None]
    meter_of_rest: tuple[float | None, float | None]
    stages: dict[str, Spread]

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON-able data."""
        return attrs.asdict(self)


class _NotingConnector:
    """The real connector; notes when a stop is written to the order socket."""

    def __init__(self, inner: StreamConnector, notes: Notes) -> None:
        self._inner = inner
        self._notes = notes

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> StreamConnection:
        """Open *url* with the real connector."""
        connection = await self._inner.connect(url, on_frame=on_frame, on_close=on_close)
        return _Noting(connection, self._notes)


class _Noting:
    """A connection; notes the first stop that is written since it was last forgotten."""

    def __init__(self, inner: StreamConnection, notes: Notes) -> None:
        self._inner = inner
        self._notes = notes

    def send(self, text: str) -> None:
        """Send."""
        if self._notes.stop_left_ns is None and '"STOP_MARKET"' in text:
            self._notes.stop_left_ns = now_ns()
        self._inner.send(text)

    async def close(self) -> None:
        """Close."""
        await self._inner.close()


class _NoOp:
    """A second order socket of the bot's own client, for requests that do nothing."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._answered: asyncio.Future[int] | None = None
        self._connection: StreamConnection | None = None

    async def open(self, connector: StreamConnector, url: str) -> None:
        """Open it."""
        self._connection = await connector.connect(
            url, on_frame=self._on_frame, on_close=lambda _reason: None
        )

    async def round_trip_ns(self) -> int:
        """Ask, and return the time from the write to the answer's frame."""
        assert self._connection is not None
        self._answered = asyncio.get_running_loop().create_future()
        began_ns = now_ns()
        self._connection.send(self._text)
        return await self._answered - began_ns

    async def close(self) -> None:
        """Close it."""
        if self._connection is not None:
            await self._connection.close()

    def _on_frame(self, _frame: bytes) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(now_ns())


def run(*, quick: bool) -> dict[Venue, VenueFigures]:
    """Measure both venues; *quick* is a short run whose figures mean little."""
    positions = 3 if quick else 100
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aegis-bench-")))
        urls = stack.enter_context(running_twin())
        stack.enter_context(logging_to(folder / "log"))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        notes = {venue: Notes() for venue in urls}
        report = runner.run(_measured(folder, urls, notes, positions))
    return {venue: _figures(notes[venue], report["venues"][venue.value.lower()]) for venue in urls}


async def _measured(
    folder: Path, urls: dict[Venue, str], notes: dict[Venue, Notes], positions: int
) -> dict[str, Any]:
    config = AegisConfig(
        timeframes=("5m",),
        risk_per_trade_pct=Decimal("0.1"),
        daily_drawdown_max_pct=Decimal(50),
        failed_entry_cooldown_s=0.0,
        # The strategy itself has no say here.
        adx_min=100.0,
        # Timed is the way from a fill to its stop; before an entry one would rest already.
        stop_before_entry=False,
    )
    async with _running_bot(folder, config, urls, notes) as (bot, ports):
        desk = OnCommand(bot, notes)
        instruments = {
            each.venue: [InstrumentId(venue=each.venue, symbol=s) for s in each.symbols]
            for each in ports
        }
        async with asyncio.timeout(START_TIMEOUT_S):
            await desk.quotes_of([i for each in instruments.values() for i in each])
        connector = connector_class(config.websocket_client)(supervisor=bot.supervisor)
        lines = {each.venue: _NoOp(_NOTHING[each.venue]) for each in ports}
        for each in ports:
            await lines[each.venue].open(connector, each.order_ws_url)
        for number, name in enumerate(take_turns(WARM_UP + positions, list(urls))):
            venue = Venue(name)
            symbols = instruments[venue]
            await _one(bot, desk, lines[venue], symbols[number // 2 % len(symbols)], notes[venue])
        for line in lines.values():
            await line.close()
        return await _report_of(urls[Venue.BINANCE])


async def _one(
    bot: Bot, desk: OnCommand, line: _NoOp, instrument: InstrumentId, notes: Notes
) -> None:
    """Take the round trips, then open, protect and close one position."""
    await asyncio.sleep(PACE_S)
    async with asyncio.timeout(STEP_TIMEOUT_S):
        notes.socket.append(await line.round_trip_ns())
    await asyncio.sleep(PACE_S)
    notes.rest.append(await _rest_round_trip_ns(bot, instrument.venue))
    await asyncio.sleep(PACE_S)
    await desk.open(instrument)
    # What follows the first stop (the entry price's levels) is under way: let it end.
    await asyncio.sleep(PACE_S)
    await desk.close(instrument)
    await asyncio.sleep(PAUSE_S)


async def _rest_round_trip_ns(bot: Bot, venue: Venue) -> int:
    gateway = bot.gateways[venue]
    began_ns = now_ns()
    if isinstance(gateway, BinanceGateway):
        await gateway.rest.call("time", "futures_time")
    elif isinstance(gateway, BybitGateway):
        await gateway.rest.call("get_server_time")
    return now_ns() - began_ns


async def _report_of(url: str) -> dict[str, Any]:
    async with (
        ClientSession(timeout=ClientTimeout(total=STEP_TIMEOUT_S)) as session,
        session.get(url + REPORT_PATH) as response,
    ):
        response.raise_for_status()
        return dict(await response.json())


@asynccontextmanager
async def _running_bot(
    folder: Path, config: AegisConfig, urls: dict[Venue, str], notes: dict[Venue, Notes]
) -> AsyncIterator[tuple[Bot, tuple[VenuePorts, ...]]]:
    """Run a bot on both venues until it may enter, give it, and end it."""
    clock, offload, store = LiveClock(), ThreadOffload(), open_journal(folder)
    try:
        around = surroundings(clock, store, offload)
        failed: list[str] = []
        tasks = Supervisor(clock, lambda each: failed.append(each.error), rng=around.rng)
        ports = []
        for venue, url in urls.items():
            told = await ask_remote_twin(venue.value, url)
            symbols = tuple(told.symbols[venue.value.lower()])
            made = remote_ports(url, venue, symbols, tasks, config.websocket_client)
            noting = _NotingConnector(made.connector, notes[venue])
            ports.append(attrs.evolve(made, connector=noting))
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        bot = Bot(
            config, around, tuple(ports), on_fatal=lambda reason, _code: _fail(started, reason)
        )
        _watch_start(bot, started)
        Watch(bot, None, "bench", Mode.PAPER)
        settle_heap()
        bot.start()
        async with asyncio.timeout(START_TIMEOUT_S):
            await started
        yield bot, tuple(ports)
        if failed:
            raise RuntimeError(f"a connection's task failed: {failed[0]}")
        await bot.close()
        await bot.supervisor.stop()
        await tasks.stop()
        await bot.journal.flush()
    finally:
        offload.close()
        store.close()


def _fail(started: "asyncio.Future[None]", reason: str) -> None:
    if not started.done():
        started.set_exception(RuntimeError(reason))


def _watch_start(bot: Bot, started: "asyncio.Future[None]") -> None:
    """Resolve *started* once every venue's entries are allowed and its order socket is open."""
    waiting = {(venue, what) for venue in bot.gateways for what in (ORDER_STREAM, "protected")}

    def done(venue: Venue, what: str) -> None:
        waiting.discard((venue, what))
        if not waiting and not started.done():
            started.set_result(None)

    bot.bus.subscribe(StreamOpened, lambda event: done(event.venue, event.stream))
    bot.bus.subscribe(VenueProtected, lambda event: done(event.venue, "protected"))
    bot.bus.subscribe(VenueUnavailable, lambda event: _fail(started, event.error))


def _figures(notes: Notes, on_record: dict[str, Any]) -> VenueFigures:
    episodes = sorted(on_record["episodes"], key=_opened)[WARM_UP:]
    naked = notes.naked[WARM_UP:]
    if len(episodes) != len(naked):
        raise RuntimeError(f"the twin knew {len(episodes)} positions, the bot {len(naked)}")
    socket, rest, bot = _us(notes.socket[WARM_UP:]), _us(notes.rest[WARM_UP:]), _us(naked)
    meter = _us([episode["unprotected_ns"] for episode in episodes])
    return VenueFigures(
        positions=len(naked),
        protected=sum(e["first_protected_after_ns"] is not None for e in episodes),
        late=notes.late,
        socket=socket,
        rest=rest,
        bot=bot,
        meter=meter,
        bot_of_socket=_of(bot, socket),
        bot_of_rest=_of(bot, rest),
        meter_of_socket=_of(meter, socket),
        meter_of_rest=_of(meter, rest),
        stages=_stages(naked, notes.to_answer[WARM_UP:]),
    )


def _opened(episode: dict[str, Any]) -> int:
    return int(episode["opened_ns"])


def _stages(naked: Sequence[int], to_answer: Sequence[int]) -> dict[str, Spread]:
    if not to_answer:
        return {}
    before = [max(0, whole - part) for whole, part in zip(naked, to_answer, strict=True)]
    return {
        "to stop leaving": _us(before),
        "to its evidence": _us(to_answer),
    }


def _of(this: Spread, that: Spread) -> tuple[float | None, float | None]:
    return ratio(this.p50, that.p50), ratio(this.p99, that.p99)


def _us(samples_ns: Sequence[int]) -> Spread:
    return spread_of([sample / 1000 for sample in samples_ns])
