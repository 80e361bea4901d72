"""
A burst of quotes over many symbols: how old is the newest price when it is delivered.

Through a loopback WebSocket as fast as a peer process can push it, with either client, and in
process without sockets, fed in chunks as a socket would hand them over. All end in data's actor and
on the bus. A tick's age runs from the moment its frame was read (its ts_recv) to its delivery. Some
frames are crossed and must be refused: produced == delivered + merged + rejected + pending.
"""

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import attrs
import uvloop

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_MS, Clock, LiveClock
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import StreamConnector
from aegis.data.actor import DataActor
from aegis.data.firewall import QUOTE
from aegis.model.events import MarketTick
from aegis.model.instrument import Instrument, Venue, instrument_id
from aegis.model.market import MINUTE_NS, QuoteFrame
from aegis.settings import AegisConfig
from aegis.venue.binance.parse_market import parse_market
from aegis.venue.picows_connector import PicowsConnector
from aegis.venue.websocket_connector import WebsocketConnector
from bench.measure import Spread, now_ns, spread_of
from bench.peer import BURST, burst_payloads, crossed_among
from bench.peer_process import running_peer

CHUNK_FRAMES: Final = 1_000
TIMEOUT_S: Final = 120.0


@attrs.frozen(kw_only=True)
class BurstFigures:
    """
    One burst. Ages and drains in milliseconds; a drain is building and publishing its ticks.

    *turn_ms*: from the first frame taken after a drain to the end of the next drain, which is what
    an age can be at most. *balanced*: produced == delivered + merged + rejected + pending.
    """

    frames: int
    symbols: int
    produced: int
    delivered: int
    merged: int
    rejected: int
    pending: int
    balanced: bool
    ticks: int
    age_ms: Spread
    drain_ms: Spread
    turn_ms: Spread
    drains: int
    frames_per_s: float

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON-able data."""
        return attrs.asdict(self)


class _TimedData(DataActor):
    """The real actor; notes how long each delivery of pending ticks takes."""

    def __init__(self, bus: EventBus, clock: Clock, supervisor: Supervisor) -> None:
        config = AegisConfig(venues=("binance",), timeframes=("5m",))
        super().__init__(bus, clock, config, asyncio.get_running_loop(), supervisor)
        self.drains_ns: list[int] = []
        self.turns_ns: list[int] = []
        self.first_taken_ns = 0

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take a quote, and note the first one since the last delivery."""
        if not self.first_taken_ns:
            self.first_taken_ns = now_ns()
        super().on_quote(frame)

    def _deliver(self) -> None:
        started_ns = now_ns()
        super()._deliver()
        ended_ns = now_ns()
        if self.first_taken_ns:
            self.drains_ns.append(ended_ns - started_ns)
            self.turns_ns.append(ended_ns - self.first_taken_ns)
        self.first_taken_ns = 0


@attrs.define
class _Receiver:
    """Data's actor with everything a burst needs around it."""

    data: _TimedData
    clock: LiveClock
    supervisor: Supervisor
    ages_ns: list[int]
    faults: list[TaskFailed]

    def on_frame(self, frame: bytes) -> None:
        """Decode and hand on, as Binance's gateway does with a quote."""
        fact = parse_market(frame, self.clock.now_ns())
        if isinstance(fact, QuoteFrame):
            self.data.on_quote(fact)


def symbols_of(count: int) -> list[str]:
    """Return *count* symbols."""
    return [f"S{number:03d}USDT" for number in range(count)]


def run(*, quick: bool) -> dict[str, BurstFigures]:
    """Measure both ways; *quick* is a short run whose figures mean little."""
    frames, symbols = (5_000, 30) if quick else (100_000, 300)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return {
            "picows": runner.run(_through_socket(PicowsConnector, frames, symbols_of(symbols))),
            "websockets": runner.run(
                _through_socket(WebsocketConnector, frames, symbols_of(symbols))
            ),
            "in process": runner.run(_in_process(frames, symbols_of(symbols))),
        }


def _receiver(symbols: list[str]) -> _Receiver:
    clock = LiveClock()
    bus = EventBus(clock)
    faults: list[TaskFailed] = []
    supervisor = Supervisor(clock, faults.append, rng=random.Random(1))
    data = _TimedData(bus, clock, supervisor)
    data.watch({}, [_instrument(symbol) for symbol in symbols])
    ages_ns: list[int] = []

    def on_tick(event: MarketTick) -> None:
        ages_ns.append(clock.now_ns() - event.ts_recv)

    bus.subscribe(MarketTick, on_tick)
    return _Receiver(data, clock, supervisor, ages_ns, faults)


def _instrument(symbol: str) -> Instrument:
    return Instrument(
        instrument_id=instrument_id(symbol, Venue.BINANCE),
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.001"),
        qty_min=Decimal("0.001"),
        qty_max=None,
        market_qty_max=None,
        notional_min=None,
        leverage_max=50,
        maint_margin_rate=Decimal("0.004"),
        taker_fee_rate=Decimal("0.0005"),
        maker_fee_rate=Decimal("0.0002"),
        funding_interval_ns=8 * 60 * MINUTE_NS,
    )


async def _through_socket(
    make: Callable[..., StreamConnector], frames: int, symbols: list[str]
) -> BurstFigures:
    receiver = _receiver(symbols)
    done = asyncio.Event()
    left = frames

    def on_frame(frame: bytes) -> None:
        nonlocal left
        receiver.on_frame(frame)
        left -= 1
        if not left:
            done.set()

    async with running_peer(symbols) as peer, asyncio.timeout(TIMEOUT_S):
        connector = make(supervisor=receiver.supervisor)
        connection = await connector.connect(
            f"{peer.ws_url}/{BURST}/public/ws", on_frame=on_frame, on_close=_closed
        )
        started_ns = now_ns()
        peer.tell({"do": "burst", "frames": frames})
        await done.wait()
        took_ns = now_ns() - started_ns
        await peer.heard()
        await connection.close()
    await receiver.supervisor.stop()
    return _figures(receiver, frames, len(symbols), took_ns)


async def _in_process(frames: int, symbols: list[str]) -> BurstFigures:
    receiver = _receiver(symbols)
    payloads = burst_payloads(frames, symbols, receiver.clock.wall_ns() // NS_PER_MS)
    take: Callable[[bytes], None] = receiver.on_frame
    started_ns = now_ns()
    for start in range(0, frames, CHUNK_FRAMES):
        for payload in payloads[start : start + CHUNK_FRAMES]:
            take(payload)
        await asyncio.sleep(0)
    took_ns = now_ns() - started_ns
    await receiver.supervisor.stop()
    return _figures(receiver, frames, len(symbols), took_ns)


def _closed(reason: str) -> None:
    raise ConnectionError(f"the peer closed the stream: {reason}")


def _figures(receiver: _Receiver, frames: int, symbols: int, took_ns: int) -> BurstFigures:
    if receiver.faults:
        raise RuntimeError(f"the burst was not taken whole: {receiver.faults[0].error}")
    receiver.data.drain()
    accounts = receiver.data.accounts()
    account = accounts.streams[QUOTE]
    whereabouts = account.delivered + account.merged + account.rejected + account.pending
    assert account.rejected == crossed_among(frames), account
    return BurstFigures(
        frames=frames,
        symbols=symbols,
        produced=account.produced,
        delivered=account.delivered,
        merged=account.merged,
        rejected=account.rejected,
        pending=account.pending,
        balanced=account.produced == whereabouts == frames,
        ticks=accounts.ticks,
        age_ms=_ms(receiver.ages_ns),
        drain_ms=_ms(receiver.data.drains_ns),
        turn_ms=_ms(receiver.data.turns_ns),
        drains=len(receiver.data.drains_ns),
        frames_per_s=frames / took_ns * 1e9,
    )


def _ms(samples_ns: list[int]) -> Spread:
    return spread_of([sample / 1e6 for sample in samples_ns])
