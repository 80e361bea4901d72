"""Orders of the Binance adapter over ws-fapi against the twin: virtual time, and sockets."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final, TypeVar

import attrs
import numpy as np
import orjson
import pytest
from loguru import logger

from aegis.core.clock import NS_PER_S, Clock, ScaledClock, VirtualClock
from aegis.core.errors import OrderOutcomeUnknown, Refusal, VenueRefused
from aegis.core.event import Event
from aegis.core.latch import HaltLatch
from aegis.core.offload import InlineOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import HttpExchange, HttpRequest, HttpResponse, StreamConnector
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.account import ReportSource
from aegis.model.events import ApiCalled, OrderReported, StreamOpened
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import CancelProtection
from aegis.model.market import MINUTE_NS, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import OrderRequest, OrderSide, OrderStatus, OrderType, Purpose
from aegis.twin.binance.face import BinanceFace
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BINANCE_RULES
from aegis.twin.inproc import InprocStream, InprocTransport
from aegis.twin.runner import TwinRunner
from aegis.twin.server import TwinServer
from aegis.twin.tape.model import CandleTape, TapeReport
from aegis.twin.tape.path import PricePath
from aegis.twin.world import TwinWorld
from aegis.venue.around import VenueAround
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks
from aegis.venue.websocket_connector import WebsocketConnector

# python-binance imports what websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

T = TypeVar("T")

START_NS: Final = 1_756_684_800 * NS_PER_S
BTC: Final = instrument_id("BTCUSDT", Venue.BINANCE)
KEY, SECRET = "key-of-the-twin", "secret-of-the-twin"
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
TIMEOUT_S: Final = 2.0


def quiet_tape() -> CandleTape:
    """Return an hour at 60,000."""
    bars = 90
    price = np.full(bars, 60_000.0)
    return CandleTape(
        symbol="BTCUSDT",
        timeframe_ns=MINUTE_NS,
        open_ns=START_NS + (np.arange(bars, dtype=np.int64) - 30) * MINUTE_NS,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=np.full(bars, 50.0),
        mark=None,
        funding=None,
        venue=None,
        label="quiet",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="made here", rows_read=bars, rows_kept=bars, rows_played=bars),
    )


class Sink:
    """Take market frames and keep none."""

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take it."""

    def on_mark(self, frame: MarkFrame) -> None:
        """Take it."""

    def on_kline(self, frame: KlineFrame) -> None:
        """Take it."""

    def on_depth(self, frame: DepthFrame) -> bool:
        """Ask for nothing."""
        return False

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Fail: the twin sends nothing unreadable."""
        raise AssertionError(f"{venue}: {reason}")


class Faults:
    """What happens to requests for orders: each fault once, or for ever."""

    def __init__(self) -> None:
        self.lose_answer_by: type[OSError] | None = None
        self.refuse: list[tuple[int, str]] = []
        self.paths: list[tuple[str, str]] = []
        self.latch = HaltLatch()
        self.halts = False
        """Whether a refusal finds entries halted before it is back."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Refuse in the venue's place where told to."""
        if request.path in {ORDER, ALGO} and request.method in {"POST", "DELETE"}:
            # A signature in the body is a frame's: REST carries it in the query or the form.
            way = "ws" if request.body.startswith(b"{") else "rest"
            self.paths.append((way, f"{request.method} {request.path}"))
            if self.refuse:
                code, text = self.refuse.pop(0)
                if self.halts:
                    self.latch.set("a test", at_ns=1)
                return HttpResponse(status=400, body=orjson.dumps({"code": code, "msg": text}))
        return None

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Lose one answer where told to."""
        if request.path in {ORDER, ALGO} and request.method == "POST" and self.lose_answer_by:
            kind, self.lose_answer_by = self.lose_answer_by, None
            raise kind("the answer was lost")
        return response


class Line:
    """The in-process transport; the order socket may be down, or its answers slow."""

    def __init__(self, inner: InprocTransport) -> None:
        self._inner = inner
        self.orders_down = False
        self.delay_s = 0.0
        self.limits: list[list[dict[str, Any]]] = []

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> InprocStream:
        """Pass on."""
        is_orders = url.endswith("/ws-fapi/v1")
        if is_orders and self.orders_down:
            raise ConnectionRefusedError("the order socket is down")

        def slow(frame: bytes) -> None:
            self.limits.append(orjson.loads(frame)["rateLimits"])
            asyncio.get_running_loop().call_later(self.delay_s, on_frame, frame)

        return await self._inner.connect(
            url, on_frame=slow if is_orders else on_frame, on_close=on_close
        )


@attrs.define(kw_only=True)
class World:
    """A gateway over a twin, and what it told."""

    gateway: BinanceGateway
    engine: TwinEngine
    faults: Faults
    events: list[Event]
    line: Line | None = None

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def calls(self) -> list[str]:
        """Return the operations on orders, in order."""
        wanted = ("ws ", "place_", "cancel_")
        return [each.operation for each in self.of(ApiCalled) if each.operation.startswith(wanted)]

    async def ready(self) -> None:
        """Wait until the order socket is open."""
        while not any(event.stream == "orders" for event in self.of(StreamOpened)):
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _sdk_clocks() -> Iterator[None]:
    yield
    restore_sdk_clocks()


def _engine() -> TwinEngine:
    return TwinEngine(
        rules=BINANCE_RULES,
        instruments=twin_instruments("binance", ["BTCUSDT"], {}),
        paths={"BTCUSDT": PricePath(quiet_tape())},
        start_ns=START_NS,
        seed=1,
        options=EngineOptions(quote_interval_ns=NS_PER_S),
    )


@asynccontextmanager
async def _world(*, sockets: bool, orders_down: bool = False) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    clock: Clock
    if sockets:
        clock = ScaledClock(START_NS, 1.0, loop)
    else:
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(START_NS, loop)
    set_sdk_clocks(clock.wall_ns)
    engine, faults = _engine(), Faults()
    face = BinanceFace(
        engine,
        api_key=KEY,
        api_secret=SECRET,
        wall_ms=lambda: clock.wall_ns() // 1_000_000,
        faults=faults,
    )
    twin = TwinWorld({"binance": engine})
    runner = TwinRunner(twin, now_ns=clock.now_ns, speed=1.0, loop=loop)
    failures: list[TaskFailed] = []
    supervisor = Supervisor(clock, failures.append, rng=random.Random(1))
    http: HttpExchange | None = None
    connector: StreamConnector
    server, line = None, None
    base, ws_base = "http://twin", "ws://twin"

    def catch_up() -> None:
        twin.advance(clock.now_ns())

    if sockets:
        server = TwinServer(face, before_request=catch_up, after_request=runner.poke)
        await server.start()
        base, ws_base = server.url, server.ws_url
        connector = WebsocketConnector(supervisor=supervisor)
    else:
        http = inproc = InprocTransport(
            face, loop, before_request=catch_up, after_request=runner.poke
        )
        connector = line = Line(inproc)
        line.orders_down = orders_down
    events: list[Event] = []
    gateway = BinanceGateway(
        VenueAround(
            halt=faults.latch.view(),
            base_url=base,
            ws_url=ws_base,
            order_ws_url=f"{ws_base}/ws-fapi/v1",
            api_key=KEY,
            api_secret=SECRET,
            http=http,
            connector=connector,
            offload=InlineOffload(0.005, 0.005),
            publish=events.append,
            clock=clock,
            supervisor=supervisor,
            rng=random.Random(2),
            timeframes_ns=(MINUTE_NS,),
            recv_window_ms=5000,
            request_timeout_s=5.0,
            order_timeout_s=TIMEOUT_S,
        )
    )
    _ = supervisor.start("twin", runner.run)
    try:
        instruments = await gateway.connect(["BTCUSDT"])
        await gateway.start_streams(instruments, Sink())
        yield World(gateway=gateway, engine=engine, faults=faults, events=events, line=line)
        await gateway.close()
    finally:
        await supervisor.stop()
        if server is not None:
            await server.stop()
    assert [] == failures


def _in_world(
    act: Callable[[World], Awaitable[None]], *, sockets: bool = False, orders_down: bool = False
) -> list[str]:
    warnings: list[str] = []

    async def main() -> None:
        async with _world(sockets=sockets, orders_down=orders_down) as world:
            if not orders_down:
                await world.ready()
            await act(world)

    sink = logger.add(lambda message: warnings.append(str(message)), level="WARNING")
    try:
        asyncio.run(main()) if sockets else run_virtual(main())
    finally:
        logger.remove(sink)
    return warnings


def entry(client_order_id: str = "test-1-1-EN0") -> OrderRequest:
    """Return a market order that buys 0.1 BTC."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal("0.1"),
        reduce_only=False,
    )


def floor(client_order_id: str = "test-1-1-SF0", price: str = "59000.0") -> OrderRequest:
    """Return a stop that closes whatever is open."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.STOP_FLOOR,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=None,
        reduce_only=True,
        close_position=True,
        trigger_price=Decimal(price),
    )


async def _refusal(call: Awaitable[object]) -> tuple[str, Refusal]:
    with pytest.raises(VenueRefused) as refused:
        await call
    return refused.value.code, refused.value.refusal


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
def test_entry_stop_and_cancel_go_by_the_order_socket(*, sockets: bool) -> None:
    """Three requests, three answers, none of them by REST; each told as a call of its own."""

    async def act(world: World) -> None:
        bought = await world.gateway.place(entry())
        assert (ReportSource.ANSWER, "test-1-1-EN0") == (bought.source, bought.client_order_id)
        assert bought.filled_qty > 0
        stop = await world.gateway.place(floor())
        assert (OrderStatus.ACCEPTED, Decimal(59000)) == (stop.status, stop.trigger_price)
        gone = CancelProtection(instrument_id=BTC, client_order_id="test-1-1-SF0")
        await world.gateway.cancel(gone)
        assert ("-2011", Refusal.NOT_FOUND) == await _refusal(world.gateway.cancel(gone))
        assert [
            "ws order.place",
            "ws algoOrder.place",
            "ws algoOrder.cancel",
            "ws algoOrder.cancel",
        ] == world.calls()
        assert {"ws"} == {way for way, _ in world.faults.paths}

    assert [] == _in_world(act, sockets=sockets)


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
def test_refusals_by_the_socket_mean_what_they_mean_by_rest(*, sockets: bool) -> None:
    """No position, already there, would trigger, margin: each with its meaning (R31, R47)."""

    async def act(world: World) -> None:
        place = world.gateway.place
        assert ("-4509", Refusal.NO_POSITION) == await _refusal(place(floor()))
        await place(entry())
        assert ("-2021", Refusal.WOULD_TRIGGER) == await _refusal(place(floor(price="61000.0")))
        await place(floor())
        assert ("-4130", Refusal.EXISTS) == await _refusal(place(floor("test-1-1-SF1")))
        big = attrs.evolve(entry("test-1-2-EN0"), qty=Decimal(100))
        assert ("-2019", Refusal.MARGIN) == await _refusal(place(big))
        assert not any(call.startswith("place_") for call in world.calls())

    _in_world(act, sockets=sockets)


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
@pytest.mark.parametrize("fault", [ConnectionResetError, TimeoutError])
def test_an_order_whose_answer_is_lost_is_unknown_resolved_by_its_id_and_never_resent(
    fault: type[OSError], *, sockets: bool
) -> None:
    """Cut or silent: the order stands once, and its id finds it (R30, R42, R43)."""

    async def act(world: World) -> None:
        world.faults.lose_answer_by = fault
        with pytest.raises(OrderOutcomeUnknown) as unknown:
            await world.gateway.place(entry())
        assert "test-1-1-EN0" == unknown.value.client_order_id
        found = await world.gateway.query(BTC, "test-1-1-EN0", conditional=False)
        assert found is not None
        assert (OrderStatus.FILLED, Decimal("0.1")) == (found.status, found.filled_qty)
        assert [("ws", f"POST {ORDER}")] == world.faults.paths
        assert ["ws order.place"] == world.calls()
        # The next order goes out, by whatever way is open.
        await world.gateway.place(entry("test-1-2-EN0"))
        assert 2 == len(world.faults.paths)

    _in_world(act, sockets=sockets)


def test_orders_go_by_rest_while_the_socket_is_down_and_by_the_socket_once_it_is_up() -> None:
    """The fall-back needs no switch, and ends by itself."""

    async def act(world: World) -> None:
        assert world.line is not None
        await world.gateway.place(entry())
        world.line.orders_down = False
        await world.ready()
        await world.gateway.place(floor())
        assert ["place_order", "ws algoOrder.place"] == world.calls()

    _in_world(act, orders_down=True)


def test_a_socket_that_refuses_who_we_are_is_left_with_one_warning() -> None:
    """A refused signature did nothing: this order and all later ones go by REST."""

    async def act(world: World) -> None:
        world.faults.refuse = [(-1022, "Signature for this request is not valid.")]
        bought = await world.gateway.place(entry())
        assert bought.filled_qty > 0
        await world.gateway.place(floor())
        assert ["ws order.place", "place_order", "place_algo_order"] == world.calls()

    warnings = _in_world(act)
    assert 1 == sum("by REST from now on" in line for line in warnings)


@pytest.mark.parametrize("code", [-1021, -5028])
def test_a_refused_time_is_measured_anew_and_the_order_repeated_once(code: int) -> None:
    """-1021 and -5028 did nothing; twice in a row they are a refusal (venues.md 2.2)."""

    async def act(world: World) -> None:
        late = (code, "Timestamp for this request is outside of the recvWindow.")
        world.faults.refuse = [late]
        bought = await world.gateway.place(entry())
        assert bought.filled_qty > 0
        assert 2 == sum(call.operation == "time" for call in world.of(ApiCalled))
        world.faults.refuse = [late, late]
        assert str(code) == (await _refusal(world.gateway.place(floor())))[0]
        assert 4 == world.calls().count("ws algoOrder.place") + world.calls().count(
            "ws order.place"
        )

    _in_world(act)


def test_a_late_answer_is_told_as_evidence() -> None:
    """After the time-out the outcome is unknown; an answer that comes is heard by all (R30)."""

    async def act(world: World) -> None:
        assert world.line is not None
        await world.gateway.place(entry())
        world.line.delay_s = 1.5 * TIMEOUT_S
        with pytest.raises(OrderOutcomeUnknown):
            await world.gateway.place(floor())
        before = len(world.events)
        await asyncio.sleep(TIMEOUT_S)
        told = [e.report for e in world.events[before:] if isinstance(e, OrderReported)]
        assert [(ReportSource.ANSWER, "test-1-1-SF0", OrderStatus.ACCEPTED)] == [
            (each.source, each.client_order_id, each.status) for each in told
        ]

    warnings = _in_world(act)
    assert 1 == sum("after the request was given up" in line for line in warnings)


def test_every_answer_tells_the_usage() -> None:
    """Weight with every answer, order counts with those about orders (venues.md 2.2)."""

    async def act(world: World) -> None:
        await world.gateway.place(entry())
        await world.gateway.place(floor())
        gone = CancelProtection(instrument_id=BTC, client_order_id="test-1-1-SF0")
        await world.gateway.cancel(gone)
        assert world.line is not None
        limits = world.line.limits
        kinds = [[row["rateLimitType"] for row in rows] for rows in limits]
        orders = ["ORDERS", "ORDERS", "REQUEST_WEIGHT"]
        assert [orders, orders, ["REQUEST_WEIGHT"]] == kinds
        assert [1, 2] == [rows[0]["count"] for rows in limits[:2]]

    _in_world(act)


@pytest.mark.parametrize(
    ("refusal", "orders_down"),
    [
        ((-1021, "Timestamp for this request is outside of the recvWindow."), False),
        ((-1021, "Timestamp for this request is outside of the recvWindow."), True),
        ((-1022, "Signature for this request is not valid."), False),
    ],
    ids=["time by the socket", "time by REST", "way"],
)
def test_an_entry_that_would_leave_again_reads_the_halt_anew(
    refusal: tuple[int, str], *, orders_down: bool
) -> None:
    """R73: a halt that came meanwhile stops the repeat and the other way, never an exit."""

    async def act(world: World) -> None:
        await world.gateway.place(entry())
        fills = len(world.engine.fills())
        world.faults.halts, world.faults.refuse = True, [refusal]
        with pytest.raises(VenueRefused, match="halted before it could be sent again"):
            await world.gateway.place(entry("test-1-2-EN0"))
        assert fills == len(world.engine.fills())
        world.faults.refuse = [(-1021, "Timestamp for this request is outside of the recvWindow.")]
        await world.gateway.place(floor())

    _in_world(act, orders_down=orders_down)
