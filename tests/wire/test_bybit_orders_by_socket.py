"""Orders of the Bybit adapter over v5/trade against the twin: in virtual time, and sockets."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Final, TypeVar

import attrs
import numpy as np
import orjson
import pytest
from loguru import logger

from aegis.core.clock import NS_PER_S, Clock, ScaledClock, VirtualClock
from aegis.core.errors import OrderOutcomeUnknown, Refusal, VenueError, VenueRefused
from aegis.core.event import Event
from aegis.core.latch import HaltLatch
from aegis.core.offload import InlineOffload, ThreadOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import (
    HttpExchange,
    HttpRequest,
    HttpResponse,
    StreamConnection,
    StreamConnector,
)
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.account import ReportSource
from aegis.model.events import ApiCalled, OrderReported, StreamOpened
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.market import MINUTE_NS, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import (
    AttachedProtection,
    OrderRequest,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BYBIT_RULES
from aegis.twin.inproc import InprocTransport
from aegis.twin.runner import TwinRunner
from aegis.twin.server import TwinServer
from aegis.twin.tape.model import CandleTape, TapeReport
from aegis.twin.tape.path import PricePath
from aegis.twin.world import TwinWorld
from aegis.venue.around import VenueAround
from aegis.venue.bybit.gateway import BybitGateway
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks
from aegis.venue.websocket_connector import WebsocketConnector

# python-binance imports what websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

T = TypeVar("T")

START_NS: Final = 1_756_684_800 * NS_PER_S
BTC: Final = instrument_id("BTCUSDT", Venue.BYBIT)
KEY, SECRET = "key-of-the-twin", "secret-of-the-twin"
CREATE, CANCEL = "/v5/order/create", "/v5/order/cancel"
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
    """What happens to requests for orders: each fault once."""

    def __init__(self) -> None:
        self.lose_answer_by: type[OSError] | None = None
        self.refuse: list[tuple[int, str]] = []
        self.paths: list[tuple[str, str]] = []
        self.latch = HaltLatch()
        self.halts = False
        """Whether a refusal finds entries halted before it is back."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Refuse in the venue's place where told to."""
        if request.path in {CREATE, CANCEL}:
            # A request by REST is signed in its headers, a frame has none.
            self.paths.append(("rest" if request.headers else "ws", request.path))
            if self.refuse:
                code, text = self.refuse.pop(0)
                if self.halts:
                    self.latch.set("a test", at_ns=1)
                return HttpResponse(
                    status=200, body=orjson.dumps({"retCode": code, "retMsg": text, "result": {}})
                )
        return None

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Lose one answer where told to."""
        if request.path == CREATE and self.lose_answer_by:
            kind, self.lose_answer_by = self.lose_answer_by, None
            raise kind("the answer was lost")
        return response


class Line:
    """The in-process transport; the order socket may be down, or its answers slow."""

    def __init__(self, inner: InprocTransport) -> None:
        self._inner = inner
        self.orders_down = False
        self.delay_s = 0.0
        self.log_in_garbled = False

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> StreamConnection:
        """Pass on."""
        is_orders = url.endswith("/v5/trade")
        if is_orders and self.orders_down:
            raise ConnectionRefusedError("the order socket is down")

        def slow(frame: bytes) -> None:
            asyncio.get_running_loop().call_later(self.delay_s, on_frame, frame)

        stream = await self._inner.connect(
            url, on_frame=slow if is_orders else on_frame, on_close=on_close
        )
        return _Garbled(stream) if is_orders and self.log_in_garbled else stream


class _Garbled:
    """A stream on which the log-in's key is wrong."""

    def __init__(self, inner: StreamConnection) -> None:
        self._inner = inner

    def send(self, text: str) -> None:
        """Pass on."""
        self._inner.send(text.replace(KEY, "another-key"))

    async def close(self) -> None:
        """Pass on."""
        await self._inner.close()


@attrs.define(kw_only=True)
class World:
    """A gateway over a twin, and what it told."""

    gateway: BybitGateway
    engine: TwinEngine
    faults: Faults
    events: list[Event]
    line: Line | None = None

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def calls(self) -> list[str]:
        """Return the operations on orders, in order."""
        wanted = ("ws ", "place_", "cancel_", "set_trading")
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
        rules=BYBIT_RULES,
        instruments=twin_instruments("bybit", ["BTCUSDT"], {}),
        paths={"BTCUSDT": PricePath(quiet_tape())},
        start_ns=START_NS,
        seed=1,
        options=EngineOptions(quote_interval_ns=NS_PER_S),
    )


@asynccontextmanager
async def _world(
    *, sockets: bool, orders_down: bool = False, log_in_garbled: bool = False
) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    clock: Clock
    if sockets:
        clock = ScaledClock(START_NS, 1.0, loop)
    else:
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(START_NS, loop)
    set_sdk_clocks(clock.wall_ns)
    engine, faults = _engine(), Faults()
    face = BybitFace(
        engine,
        api_key=KEY,
        api_secret=SECRET,
        wall_ms=lambda: clock.wall_ns() // 1_000_000,
        faults=faults,
    )
    twin = TwinWorld({"bybit": engine})
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
        line.log_in_garbled = log_in_garbled
    # pybit blocks: over real sockets it must not hold the loop its server runs on.
    threads = ThreadOffload() if sockets else None
    events: list[Event] = []
    gateway = BybitGateway(
        VenueAround(
            halt=faults.latch.view(),
            base_url=base,
            ws_url=ws_base,
            order_ws_url=f"{ws_base}/v5/trade",
            api_key=KEY,
            api_secret=SECRET,
            http=http,
            connector=connector,
            offload=threads or InlineOffload(0.005, 0.005),
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
        if threads is not None:
            threads.close()
        if server is not None:
            await server.stop()
    assert [] == failures


def _in_world(
    act: Callable[[World], Awaitable[None]],
    *,
    sockets: bool = False,
    orders_down: bool = False,
    log_in_garbled: bool = False,
) -> list[str]:
    warnings: list[str] = []

    async def main() -> None:
        async with _world(
            sockets=sockets, orders_down=orders_down, log_in_garbled=log_in_garbled
        ) as world:
            if not orders_down and not log_in_garbled:
                await world.ready()
            await act(world)

    sink = logger.add(lambda message: warnings.append(str(message)), level="WARNING")
    try:
        asyncio.run(main()) if sockets else run_virtual(main())
    finally:
        logger.remove(sink)
    return warnings


def entry(client_order_id: str = "test-1-1-EN0") -> OrderRequest:
    """Return a market order that buys 0.1 BTC, its stop and target with it."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal("0.1"),
        reduce_only=False,
        attached=AttachedProtection(stop_price=Decimal(59000), target_price=Decimal(63000)),
    )


def rung(client_order_id: str = "test-1-1-TP0", price: int = 62000) -> OrderRequest:
    """Return a conditional order that sells half above the market."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.TARGET,
        side=OrderSide.SELL,
        order_type=OrderType.TAKE_PROFIT_MARKET,
        qty=Decimal("0.05"),
        reduce_only=True,
        trigger_price=Decimal(price),
    )


GONE: Final = CancelProtection(instrument_id=BTC, client_order_id="test-1-1-TP0")


async def _refusal(call: Awaitable[object]) -> tuple[str, Refusal]:
    with pytest.raises(VenueRefused) as refused:
        await call
    return refused.value.code, refused.value.refusal


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
def test_entry_rung_and_cancel_go_by_the_order_socket(*, sockets: bool) -> None:
    """Stop and target travel with the entry by the socket too; the position's own stay on REST."""

    async def act(world: World) -> None:
        bought = await world.gateway.place(entry())
        assert (ReportSource.ANSWER, OrderStatus.ACCEPTED) == (bought.source, bought.status)
        target = await world.gateway.place(rung())
        assert (True, Decimal(62000)) == (target.conditional, target.trigger_price)
        await world.gateway.cancel(GONE)
        assert ("110001", Refusal.NOT_FOUND) == await _refusal(world.gateway.cancel(GONE))
        await world.gateway.set_position_protection(
            SetPositionProtection(
                instrument_id=BTC,
                side=PositionSide.LONG,
                stop_price=Decimal(59500),
                target_price=Decimal(63000),
            )
        )
        assert [
            "ws order.create",
            "ws order.create",
            "ws order.cancel",
            "ws order.cancel",
            "set_trading_stop",
        ] == world.calls()
        assert {"ws"} == {way for way, _ in world.faults.paths}
        (position,) = (await world.gateway.snapshot()).positions
        assert (Decimal("0.1"), Decimal(59500)) == (position.qty_signed, position.stop_price)

    assert [] == _in_world(act, sockets=sockets)


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
def test_refusals_by_the_socket_mean_what_they_mean_by_rest(*, sockets: bool) -> None:
    """No position, would trigger, margin, duplicate: each with its meaning (R31, R47)."""

    async def act(world: World) -> None:
        place = world.gateway.place
        big = attrs.evolve(entry(), qty=Decimal(100))
        assert ("110007", Refusal.MARGIN) == await _refusal(place(big))
        await place(entry())
        assert ("110092", Refusal.WOULD_TRIGGER) == await _refusal(place(rung(price=59900)))
        await place(rung())
        with pytest.raises(VenueError) as twice:
            await place(rung())
        assert "110072" in str(twice.value)
        assert "place_order" not in world.calls()

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
        assert [("ws", CREATE)] == world.faults.paths
        assert ["ws order.create"] == world.calls()
        # The next order goes out, by whatever way is open.
        await world.gateway.place(rung())
        assert 2 == len(world.faults.paths)

    _in_world(act, sockets=sockets)


def test_orders_go_by_rest_while_the_socket_is_down_and_by_the_socket_once_it_is_up() -> None:
    """The fall-back needs no switch, and ends by itself."""

    async def act(world: World) -> None:
        assert world.line is not None
        await world.gateway.place(entry())
        world.line.orders_down = False
        await world.ready()
        await world.gateway.place(rung())
        assert ["place_order", "ws order.create"] == world.calls()

    _in_world(act, orders_down=True)


def test_a_refused_log_in_leaves_orders_to_rest_with_one_warning() -> None:
    """The socket tries again for ever; the operator is told once, and orders go out."""

    async def act(world: World) -> None:
        await asyncio.sleep(60)
        await world.gateway.place(entry())
        assert ["place_order"] == world.calls()

    warnings = _in_world(act, log_in_garbled=True)
    assert 1 == sum("refused the log-in of the order socket" in line for line in warnings)


def test_a_socket_that_refuses_what_we_may_do_is_left_with_one_warning() -> None:
    """A refused permission did nothing: this order and all later ones go by REST."""

    async def act(world: World) -> None:
        world.faults.refuse = [(10005, "Permission denied")]
        await world.gateway.place(entry())
        await world.gateway.place(rung())
        assert ["ws order.create", "place_order", "place_order"] == world.calls()

    warnings = _in_world(act)
    assert 1 == sum("by REST from now on" in line for line in warnings)


def test_a_refused_time_is_measured_anew_and_the_order_repeated_once() -> None:
    """10002 did nothing; twice in a row it is a refusal (venues.md 3.2)."""

    async def act(world: World) -> None:
        late = (10002, "invalid request, please check your server timestamp")
        world.faults.refuse = [late]
        await world.gateway.place(entry())
        world.faults.refuse = [late, late]
        assert "10002" == (await _refusal(world.gateway.place(rung())))[0]
        assert ["ws order.create"] * 4 == world.calls()

    _in_world(act)


def test_a_late_answer_is_told_as_evidence() -> None:
    """After the time-out the outcome is unknown; an answer that comes is heard by all (R30)."""

    async def act(world: World) -> None:
        assert world.line is not None
        await world.gateway.place(entry())
        await asyncio.sleep(1)
        world.line.delay_s = 1.5 * TIMEOUT_S
        with pytest.raises(OrderOutcomeUnknown):
            await world.gateway.place(rung())
        before = len(world.events)
        await asyncio.sleep(TIMEOUT_S)
        told = [e.report for e in world.events[before:] if isinstance(e, OrderReported)]
        assert [("test-1-1-TP0", OrderStatus.ACCEPTED)] == [
            (each.client_order_id, each.status)
            for each in told
            if each.source is ReportSource.ANSWER
        ]

    warnings = _in_world(act)
    assert 1 == sum("after the request was given up" in line for line in warnings)


@pytest.mark.parametrize(
    ("refusal", "orders_down"),
    [
        ((10002, "invalid request, please check your server timestamp"), False),
        ((10002, "invalid request, please check your server timestamp"), True),
        ((10004, "Error sign"), False),
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
        world.faults.refuse = [(10002, "invalid request, please check your server timestamp")]
        await world.gateway.place(rung())

    _in_world(act, orders_down=orders_down)
