"""
The rig of the tests on the wire: a market, a twin of one venue in virtual time or behind sockets,
and what an adapter is given to reach it.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import attrs
import numpy as np

from aegis.core.clock import NS_PER_S, Clock, ScaledClock, VirtualClock
from aegis.core.event import Event
from aegis.core.offload import InlineOffload, Offload, ThreadOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import HttpExchange, StreamConnector
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.instrument import Instrument, Venue
from aegis.model.market import MINUTE_NS, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.twin.binance.face import BinanceFace
from aegis.twin.boot import VenueName
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.api import TwinInstrument
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BINANCE_RULES, BYBIT_RULES
from aegis.twin.inproc import InprocTransport
from aegis.twin.runner import TwinRunner
from aegis.twin.server import TwinServer
from aegis.twin.tape.model import CandleTape, TapeReport
from aegis.twin.tape.path import PricePath
from aegis.twin.world import TwinWorld
from aegis.venue.around import VenueAround
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.bybit.gateway import BybitGateway
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks
from aegis.venue.websocket_connector import WebsocketConnector

E = TypeVar("E", bound=Event)

START_NS: Final = 1_756_684_800 * NS_PER_S
KEY: Final = "key-of-the-twin"
SECRET: Final = "secret-of-the-twin"
ORDER_PATHS: Final = {Venue.BINANCE: "/ws-fapi/v1", Venue.BYBIT: "/v5/trade"}
Gateway = BinanceGateway | BybitGateway


def made_tape(
    opens: np.ndarray[Any, np.dtype[np.float64]],
    closes: np.ndarray[Any, np.dtype[np.float64]],
    *,
    first_ns: int,
    play_from_ns: int,
    wicks: tuple[np.ndarray[Any, np.dtype[np.float64]], ...] = (),
) -> CandleTape:
    """Return minute bars from *opens* to *closes*; *wicks*: highs and lows, else there are none."""
    bars = len(opens)
    high, low = wicks or (np.maximum(opens, closes), np.minimum(opens, closes))
    return CandleTape(
        symbol="BTCUSDT",
        timeframe_ns=MINUTE_NS,
        open_ns=first_ns + np.arange(bars, dtype=np.int64) * MINUTE_NS,
        open=opens,
        high=high,
        low=low,
        close=closes,
        volume=np.full(bars, 50.0),
        mark=None,
        funding=None,
        venue=None,
        label="made",
        generated=True,
        play_from_ns=play_from_ns,
        report=TapeReport(file="made here", rows_read=bars, rows_kept=bars, rows_played=bars),
    )


def quiet_tape() -> CandleTape:
    """Return an hour at 60,000, with half an hour before it."""
    price = np.full(90, 60_000.0)
    return made_tape(price, price, first_ns=START_NS - 30 * MINUTE_NS, play_from_ns=START_NS)


def engine_on(
    venue: Venue, tape: CandleTape, *, instruments: dict[str, TwinInstrument] | None = None
) -> TwinEngine:
    """Return the engine of *venue* on *tape*, which begins where the tape is played from."""
    rules = BINANCE_RULES if venue is Venue.BINANCE else BYBIT_RULES
    return TwinEngine(
        rules=rules,
        instruments=instruments or twin_instruments(_name(venue), ["BTCUSDT"], {}),
        paths={"BTCUSDT": PricePath(tape)},
        start_ns=tape.play_from_ns,
        seed=1,
        options=EngineOptions(quote_interval_ns=NS_PER_S),
    )


def _name(venue: Venue) -> VenueName:
    return "binance" if venue is Venue.BINANCE else "bybit"


class Sink:
    """Keep market frames, and what could not be read."""

    def __init__(self) -> None:
        self.quotes: list[QuoteFrame] = []
        self.marks: list[MarkFrame] = []
        self.klines: list[KlineFrame] = []
        self.unreadable: list[str] = []

    def on_quote(self, frame: QuoteFrame) -> None:
        """Keep it."""
        self.quotes.append(frame)

    def on_mark(self, frame: MarkFrame) -> None:
        """Keep it."""
        self.marks.append(frame)

    def on_kline(self, frame: KlineFrame) -> None:
        """Keep it."""
        self.klines.append(frame)

    def on_depth(self, frame: DepthFrame) -> bool:
        """Ask for nothing."""
        return False

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Keep the reason."""
        self.unreadable.append(f"{venue}: {reason}")


@attrs.define(kw_only=True)
class TwinRig:
    """
    A running twin of one venue and what an adapter needs; what it publishes is in *events*.

    *transport* is in process, None behind sockets.
    """

    venue: Venue
    engine: TwinEngine
    face: BinanceFace | BybitFace
    clock: Clock
    supervisor: Supervisor
    transport: InprocTransport | None
    connector: StreamConnector
    offload: Offload
    base_url: str
    ws_url: str
    events: list[Event] = attrs.field(factory=list)
    sink: Sink = attrs.field(factory=Sink)

    def of(self, kind: type[E]) -> list[E]:
        """Return the published events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def around(self, **changes: Any) -> VenueAround:
        """Return what a gateway is made of, with *changes*."""
        http: HttpExchange | None = self.transport
        given: dict[str, Any] = {
            "base_url": self.base_url,
            "ws_url": self.ws_url,
            "api_key": KEY,
            "api_secret": SECRET,
            "http": http,
            "connector": self.connector,
            "offload": self.offload,
            "publish": self.events.append,
            "clock": self.clock,
            "supervisor": self.supervisor,
            "rng": random.Random(2),
            "timeframes_ns": (MINUTE_NS,),
            "recv_window_ms": 5000,
            "request_timeout_s": 5.0,
        }
        return VenueAround(**{**given, **changes})

    @property
    def order_ws_url(self) -> str:
        """Return where the order socket is."""
        return self.ws_url + ORDER_PATHS[self.venue]

    async def start(self, gateway: Gateway) -> tuple[Instrument, ...]:
        """Connect and open the streams."""
        instruments = await gateway.connect(["BTCUSDT"])
        await gateway.start_streams(instruments, self.sink)
        return instruments


@asynccontextmanager
async def twin_rig(
    venue: Venue, engine: TwinEngine | None = None, *, faults: Any = None, sockets: bool = False
) -> AsyncIterator[TwinRig]:
    """
    Run a twin of *venue* while the context is open; no task may have failed in the end.

    *engine*: another than that on the quiet tape. *faults*: the face's seam. *sockets*: over
    loopback in real time, where else it is in process and in virtual time.
    """
    loop = asyncio.get_running_loop()
    engine = engine_on(venue, quiet_tape()) if engine is None else engine
    start_ns = engine.now_ns
    clock: Clock
    if sockets:
        clock = ScaledClock(start_ns, 1.0, loop)
    else:
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(start_ns, loop)
    set_sdk_clocks(clock.wall_ns)
    face = (BinanceFace if venue is Venue.BINANCE else BybitFace)(
        engine,
        api_key=KEY,
        api_secret=SECRET,
        wall_ms=lambda: clock.wall_ns() // 1_000_000,
        faults=faults,
    )
    twin = TwinWorld({_name(venue): engine})
    runner = TwinRunner(twin, now_ns=clock.now_ns, speed=1.0, loop=loop)
    failures: list[TaskFailed] = []
    supervisor = Supervisor(clock, failures.append, rng=random.Random(1))

    def catch_up() -> None:
        twin.advance(clock.now_ns())

    transport, server = None, None
    base_url, ws_url = "http://twin", "ws://twin"
    connector: StreamConnector
    if sockets:
        server = TwinServer(face, before_request=catch_up, after_request=runner.poke)
        await server.start()
        base_url, ws_url = server.url, server.ws_url
        connector = WebsocketConnector(supervisor=supervisor)
    else:
        connector = transport = InprocTransport(
            face, loop, before_request=catch_up, after_request=runner.poke
        )
    # pybit blocks: over real sockets it must not hold the loop its server runs on.
    threads = ThreadOffload() if sockets and venue is Venue.BYBIT else None
    _ = supervisor.start("twin", runner.run)
    try:
        yield TwinRig(
            venue=venue,
            engine=engine,
            face=face,
            clock=clock,
            supervisor=supervisor,
            transport=transport,
            connector=connector,
            offload=threads or InlineOffload(0.005, 0.005),
            base_url=base_url,
            ws_url=ws_url,
        )
    finally:
        await supervisor.stop()
        if threads is not None:
            threads.close()
        if server is not None:
            await server.stop()
        restore_sdk_clocks()
    assert [] == failures
