"""The Binance adapter against the twin's Binance face, without sockets, in virtual time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

import numpy as np
import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import OrderOutcomeUnknown, VenueRefused
from aegis.core.event import Event
from aegis.core.offload import InlineOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import HttpRequest, HttpResponse, StreamConnection
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.account import OrderReport, ProtectionRole, ReportSource
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    ApiCalled,
    FillReported,
    OrderReported,
    PositionReported,
    SnapshotReported,
    StreamClosed,
    StreamOpened,
    SymbolLeftOut,
)
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.market import DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import (
    OrderRequest,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.twin.binance.face import BinanceFace
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BINANCE_RULES
from aegis.twin.inproc import InprocTransport
from aegis.twin.runner import TwinRunner
from aegis.twin.tape.model import CandleTape, TapeReport
from aegis.twin.tape.path import PricePath
from aegis.twin.world import TwinWorld
from aegis.venue.around import VenueAround
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks

T = TypeVar("T")

MINUTE_NS = 60_000_000_000
START_NS = 1_756_684_800 * 1_000_000_000
BARS_BEFORE = 30
PRICE = 60_000.0
BTC: InstrumentId = instrument_id("BTCUSDT", Venue.BINANCE)
KEY, SECRET = "key-of-the-twin", "secret-of-the-twin"


def falling_tape() -> CandleTape:
    """Return a market at 60,000 that falls to 58,000 in the fifth minute of play."""
    bars = BARS_BEFORE + 15
    open_ns = START_NS + (np.arange(bars, dtype=np.int64) - BARS_BEFORE) * MINUTE_NS
    price = np.full(bars, PRICE)
    opens, closes = price.copy(), price.copy()
    closes[BARS_BEFORE + 4] = 58_000.0
    opens[BARS_BEFORE + 5 :] = closes[BARS_BEFORE + 5 :] = 58_000.0
    return CandleTape(
        symbol="BTCUSDT",
        timeframe_ns=MINUTE_NS,
        open_ns=open_ns,
        open=opens,
        high=np.maximum(opens, closes),
        low=np.minimum(opens, closes),
        close=closes,
        volume=np.full(bars, 50.0),
        mark=None,
        funding=None,
        venue=None,
        label="a fall in the fifth minute",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="made here", rows_read=bars, rows_kept=bars, rows_played=bars),
    )


class Sink:
    """Remember market frames."""

    def __init__(self) -> None:
        self.quotes: list[QuoteFrame] = []
        self.marks: list[MarkFrame] = []
        self.klines: list[KlineFrame] = []
        self.unreadable: list[str] = []

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take a quote."""
        self.quotes.append(frame)

    def on_mark(self, frame: MarkFrame) -> None:
        """Take a mark."""
        self.marks.append(frame)

    def on_kline(self, frame: KlineFrame) -> None:
        """Take a bar."""
        self.klines.append(frame)

    def on_depth(self, frame: DepthFrame) -> bool:
        """Ask for nothing."""
        return False

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Take a complaint."""
        self.unreadable.append(f"{venue}: {reason}")


class Faults:
    """Lose answers, or refuse to know orders, when told to."""

    def __init__(self) -> None:
        self.lose_next_answer_to = ""
        self.unknown_paths: set[str] = set()

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Say that the order does not exist on a path that lags."""
        if request.method == "GET" and request.path in self.unknown_paths:
            return HttpResponse(status=400, body=b'{"code":-2013,"msg":"Order does not exist."}')
        return None

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Lose one answer."""
        if request.method == "POST" and request.path == self.lose_next_answer_to:
            self.lose_next_answer_to = ""
            raise ConnectionResetError("reset by peer")
        return response


class Muffle:
    """The transport, with a hand over the mouth of the streams whose address holds *muted*."""

    def __init__(self, inner: InprocTransport) -> None:
        self._inner = inner
        self.muted = ""

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> StreamConnection:
        """Open; frames are lost while the stream is muted."""

        def pass_on(frame: bytes) -> None:
            if not self.muted or self.muted not in url:
                on_frame(frame)

        return await self._inner.connect(url, on_frame=pass_on, on_close=on_close)


class Bench:
    """A gateway connected to a twin, and everything it published."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.clock = VirtualClock(START_NS, loop)
        self.faults = Faults()
        self.engine = TwinEngine(
            rules=BINANCE_RULES,
            instruments=twin_instruments("binance", ["BTCUSDT"], {}),
            paths={"BTCUSDT": PricePath(falling_tape())},
            start_ns=START_NS,
            seed=1,
            options=EngineOptions(quote_interval_ns=1_000_000_000),
        )
        self.face = BinanceFace(
            self.engine,
            api_key=KEY,
            api_secret=SECRET,
            wall_ms=lambda: self.clock.wall_ns() // 1_000_000,
            faults=self.faults,
        )
        self.world = TwinWorld({"binance": self.engine})
        self.runner = TwinRunner(self.world, now_ns=self.clock.now_ns, speed=1.0, loop=loop)
        self.failures: list[TaskFailed] = []
        self.supervisor = Supervisor(self.clock, self.failures.append, rng=random.Random(1))
        self.transport = InprocTransport(
            self.face,
            loop,
            before_request=lambda: self.world.advance(self.clock.now_ns()),
            after_request=self.runner.poke,
        )
        self.muffle = Muffle(self.transport)
        self.events: list[Event] = []
        self.sink = Sink()
        self.gateway = BinanceGateway(
            VenueAround(
                base_url="http://twin",
                ws_url="ws://twin",
                api_key=KEY,
                api_secret=SECRET,
                http=self.transport,
                connector=self.muffle,
                offload=InlineOffload(0.005, 0.005),
                publish=self.events.append,
                clock=self.clock,
                supervisor=self.supervisor,
                rng=random.Random(2),
                timeframes_ns=(MINUTE_NS, 5 * MINUTE_NS),
                recv_window_ms=5000,
                request_timeout_s=5.0,
            )
        )

    async def start(self) -> tuple[Instrument, ...]:
        """Connect and open the streams."""
        _ = self.supervisor.start("twin", self.runner.run)
        instruments = await self.gateway.connect(["BTCUSDT"])
        await self.gateway.start_streams(instruments, self.sink)
        return instruments

    def of(self, kind: type[T]) -> list[T]:
        """Return the published events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def reports(self, client_order_id: str) -> list[OrderReport]:
        """Return what was told of one order, in order."""
        told = [event.report for event in self.of(OrderReported)]
        return [report for report in told if report.client_order_id == client_order_id]


DOUBTS = (StreamOpened, StreamClosed, AccountDoubted, AccountConfirmed, SnapshotReported)


def on_bench(test: Callable[[Bench], Awaitable[None]]) -> None:
    """Run *test* on a started bench in virtual time; no task may have failed."""

    async def main() -> None:
        bench = Bench()
        set_sdk_clocks(bench.clock.wall_ns)
        try:
            await bench.start()
            await test(bench)
            assert [] == bench.failures
        finally:
            await bench.gateway.close()
            await bench.supervisor.stop()
            restore_sdk_clocks()

    run_virtual(main())


def entry(client_order_id: str = "test-1-1-EN0") -> OrderRequest:
    """Return a market entry of 0.1 BTC."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal("0.100"),
        reduce_only=False,
    )


def close_all(client_order_id: str, order_type: OrderType, trigger: int) -> OrderRequest:
    """Return a closePosition stop or target."""
    is_stop = order_type is OrderType.STOP_MARKET
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.STOP_FLOOR if is_stop else Purpose.TARGET,
        side=OrderSide.SELL,
        order_type=order_type,
        qty=None,
        close_position=True,
        reduce_only=True,
        trigger_price=Decimal(trigger),
    )


def floor(client_order_id: str = "test-1-1-SF0") -> OrderRequest:
    """Return a stop under everything at 59,000."""
    return close_all(client_order_id, OrderType.STOP_MARKET, 59_000)


TARGET = close_all("test-1-1-TP0", OrderType.TAKE_PROFIT_MARKET, 63_000)


def test_connect_reads_the_rules_and_streams_flow() -> None:
    """Instruments carry the venue's filters, tiers and fees; all three streams deliver."""

    async def test(bench: Bench) -> None:
        (bitcoin,) = await bench.gateway.connect(["BTCUSDT"])
        assert (Decimal("0.10"), Decimal("0.001"), 125, Decimal("0.004"), Decimal("0.0005")) == (
            bitcoin.tick_size,
            bitcoin.qty_step,
            bitcoin.leverage_max,
            bitcoin.maint_margin_rate,
            bitcoin.taker_fee_rate,
        )
        await asyncio.sleep(65)
        assert ["user", "public", "market"] == [event.stream for event in bench.of(StreamOpened)]
        assert ["user stream opened"] == [event.reason for event in bench.of(SnapshotReported)]
        assert bench.sink.quotes
        assert bench.sink.marks
        assert {True, False} >= {frame.closed for frame in bench.sink.klines}
        assert [START_NS] == sorted(
            {
                frame.candle.open_ns
                for frame in bench.sink.klines
                if frame.closed and frame.candle.timeframe_ns == MINUTE_NS
            }
        )
        assert [] == bench.sink.unreadable
        assert {} == dict(bench.gateway.unknowns)

    on_bench(test)


def test_a_symbol_that_is_not_listed_is_left_out_and_told_once() -> None:
    """One bad symbol does not stop the others; with none left the venue is not traded (S2)."""

    async def test(bench: Bench) -> None:
        for _ in range(2):
            (rules,) = await bench.gateway.connect(["NOPEUSDT", "BTCUSDT"])
            assert BTC == rules.instrument_id
        (told,) = [event for event in bench.events if isinstance(event, SymbolLeftOut)]
        assert ("NOPEUSDT", "not listed") == (told.symbol, told.status)
        with pytest.raises(VenueRefused, match=r"no symbol is left: NOPEUSDT \(not listed\)"):
            await bench.gateway.connect(["NOPEUSDT"])
        with pytest.raises(VenueRefused, match=r"cannot be protected: NOPEUSDT"):
            await bench.gateway.connect(["BTCUSDT"], held=["NOPEUSDT"])

    on_bench(test)


def test_a_stop_protects_and_closes_a_position() -> None:
    """An entry fills, stop and target rest, the fall triggers the stop, its fill bears its id."""

    async def test(bench: Bench) -> None:
        gateway = bench.gateway
        assert 7 == await gateway.prepare_entry(BTC, 7)
        answer = await gateway.place(entry())
        assert ("test-1-1-EN0", False) == (answer.client_order_id, answer.conditional)
        stop = await gateway.place(floor())
        assert (OrderStatus.ACCEPTED, ProtectionRole.STOP, ReportSource.ANSWER, None) == (
            stop.status,
            stop.role,
            stop.source,
            stop.qty,
        )
        assert ProtectionRole.TARGET is (await gateway.place(TARGET)).role
        await asyncio.sleep(1)
        snapshot = await gateway.snapshot()
        (position,) = [each for each in snapshot.positions if each.qty_signed != 0]
        assert (Decimal("0.1"), 7, True) == (
            position.qty_signed,
            position.leverage,
            position.isolated,
        )
        assert {"test-1-1-SF0", "test-1-1-TP0"} == {
            order.client_order_id for order in snapshot.orders
        }
        assert Decimal(10_000) > snapshot.balance.wallet > Decimal(9_990)
        bought = [event.fill for event in bench.of(FillReported)]
        assert {"test-1-1-EN0"} == {fill.client_order_id for fill in bought}
        assert Decimal("0.1") == sum(fill.last_qty for fill in bought)
        assert OrderStatus.FILLED is bench.reports("test-1-1-EN0")[-1].status

        await asyncio.sleep(6 * 60)
        sold = [
            event.fill
            for event in bench.of(FillReported)
            if event.fill.client_order_id == "test-1-1-SF0"
        ]
        assert Decimal("0.1") == sum(fill.last_qty for fill in sold)
        assert {OrderSide.SELL} == {fill.side for fill in sold}
        told = bench.reports("test-1-1-SF0")
        assert all(report.conditional for report in told)
        assert [OrderStatus.ACCEPTED, OrderStatus.TRIGGERING] == [r.status for r in told[:2]]
        assert (OrderStatus.FILLED, Decimal("0.1")) == (told[-1].status, told[-1].filled_qty)
        assert OrderStatus.EXPIRED is bench.reports("test-1-1-TP0")[-1].status
        assert Decimal(0) == bench.of(PositionReported)[-1].report.qty_signed
        assert {fill.fill_id for fill in sold}.isdisjoint(fill.fill_id for fill in bought)
        # Afterwards the venue is asked about the stop and answers the same.
        asked = await gateway.query(BTC, "test-1-1-SF0", conditional=True)
        assert asked is not None
        assert (OrderStatus.FILLED, Decimal("0.1")) == (asked.status, asked.filled_qty)

    on_bench(test)


def test_refusals_carry_the_venues_code() -> None:
    """A stop without a position, a second floor, a stop already passed: each by its own code."""

    async def test(bench: Bench) -> None:
        gateway = bench.gateway
        with pytest.raises(VenueRefused) as without_position:
            await gateway.place(floor())
        assert "-4509" == without_position.value.code
        await gateway.place(entry())
        await gateway.place(floor())
        with pytest.raises(VenueRefused) as second:
            await gateway.place(floor("test-1-1-SF1"))
        assert "-4130" == second.value.code
        moving = OrderRequest(
            instrument_id=BTC,
            client_order_id="test-1-1-SM0",
            purpose=Purpose.STOP_MOVING,
            side=OrderSide.SELL,
            order_type=OrderType.STOP_MARKET,
            qty=Decimal("0.100"),
            reduce_only=True,
            trigger_price=Decimal(59_500),
        )
        assert (Decimal("0.1"), True, False) == (
            (answer := await gateway.place(moving)).qty,
            answer.reduce_only,
            answer.close_position,
        )
        await gateway.cancel(CancelProtection(instrument_id=BTC, client_order_id="test-1-1-SM0"))
        with pytest.raises(VenueRefused) as gone:
            await gateway.cancel(
                CancelProtection(instrument_id=BTC, client_order_id="test-1-1-SM0")
            )
        assert "-2011" == gone.value.code
        with pytest.raises(VenueRefused) as unsupported:
            await gateway.set_position_protection(
                SetPositionProtection(
                    instrument_id=BTC,
                    side=PositionSide.LONG,
                    stop_price=Decimal(1),
                    target_price=Decimal(2),
                )
            )
        assert "unsupported" == unsupported.value.code

    on_bench(test)


def test_a_lost_answer_is_an_unknown_outcome_and_the_query_resolves_it() -> None:
    """An order whose answer is lost is never called rejected; its id tells what became of it."""

    async def test(bench: Bench) -> None:
        bench.faults.lose_next_answer_to = "/fapi/v1/order"
        with pytest.raises(OrderOutcomeUnknown) as unknown:
            await bench.gateway.place(entry())
        assert "test-1-1-EN0" == unknown.value.client_order_id
        found = await bench.gateway.query(BTC, "test-1-1-EN0", conditional=False)
        assert found is not None
        assert (OrderStatus.FILLED, Decimal("0.1")) == (found.status, found.filled_qty)
        assert "OrderOutcomeUnknown" in {event.error_class for event in bench.of(ApiCalled)}

    on_bench(test)


def test_does_not_exist_alone_is_no_proof_of_absence() -> None:
    """A query store that lags is overruled by the list of open orders; three noes are a no."""

    async def test(bench: Bench) -> None:
        gateway = bench.gateway
        await gateway.place(entry())
        await gateway.place(floor())
        bench.faults.unknown_paths = {"/fapi/v1/algoOrder", "/fapi/v1/order"}
        found = await gateway.query(BTC, "test-1-1-SF0", conditional=True)
        assert found is not None
        assert OrderStatus.ACCEPTED is found.status
        filled = await gateway.query(BTC, "test-1-1-EN0", conditional=False)
        assert filled is not None
        assert OrderStatus.FILLED is filled.status
        assert await gateway.query(BTC, "test-9-9-SF0", conditional=True) is None
        assert await gateway.query(BTC, "test-9-9-EN0", conditional=False) is None

    on_bench(test)


def test_fills_of_a_gap_are_replayed_before_the_snapshot() -> None:
    """After the listen key expired the missed fills and the whole state are told (R12)."""

    async def test(bench: Bench) -> None:
        gateway = bench.gateway
        await gateway.place(entry("test-1-1-EN0"))
        await asyncio.sleep(1)
        before = len(bench.events)
        # The socket stays open and silent; nothing is told of the second order.
        bench.face.expire_listen_key()
        await gateway.place(entry("test-1-2-EN0"))
        await asyncio.sleep(5)
        after = bench.events[before:]
        missed = [
            event.fill.last_qty
            for event in after
            if isinstance(event, FillReported) and event.fill.client_order_id == "test-1-2-EN0"
        ]
        assert Decimal("0.1") == sum(missed)
        (snapshot,) = [event for event in after if isinstance(event, SnapshotReported)]
        assert "user stream gap" == snapshot.reason
        assert Decimal("0.2") == sum(each.qty_signed for each in snapshot.snapshot.positions)
        last_fill = max(i for i, event in enumerate(after) if isinstance(event, FillReported))
        assert last_fill < after.index(snapshot)

    on_bench(test)


def test_a_silent_user_stream_is_found_by_what_the_venue_knows() -> None:
    """Socket open, pings fine, no fill told: a look by REST is the proof (R12, pitfall 7)."""

    async def test(bench: Bench) -> None:
        await asyncio.sleep(10)
        bench.muffle.muted = "/private"
        await bench.gateway.place(entry("test-1-1-EN0"))
        await asyncio.sleep(60)
        assert [] == bench.of(FillReported)
        assert [] == bench.of(StreamClosed)
        # What trade does when the answer counts a fill that nobody told.
        await bench.gateway.tell_missed_fills()
        bench.muffle.muted = ""
        await asyncio.sleep(10)
        (closed,) = bench.of(StreamClosed)
        assert "user" == closed.stream
        assert closed.reason.startswith("silent: the venue knows fill ")
        order = [type(event) for event in bench.events if isinstance(event, DOUBTS)]
        assert [StreamClosed, AccountDoubted, StreamOpened, SnapshotReported, AccountConfirmed] == (
            order[-5:]
        )
        await bench.gateway.place(entry("test-1-2-EN0"))
        await asyncio.sleep(1)
        assert bench.reports("test-1-2-EN0")

    on_bench(test)


def test_a_market_subscription_without_an_answer_is_no_open_stream() -> None:
    """The venue's answers come back through the parser to who asked (venues.md 2.1)."""

    async def test(bench: Bench) -> None:
        await asyncio.sleep(1)
        bench.muffle.muted = "/public"
        bench.gateway.restart_market(quotes=True, marks=False, reason="stale")
        await asyncio.sleep(15)
        opened = [event.stream for event in bench.of(StreamOpened)]
        assert ["market", "public", "user"] == sorted(opened)
        bench.muffle.muted = ""
        await asyncio.sleep(15)
        assert ["market", "public", "public", "user"] == sorted(
            event.stream for event in bench.of(StreamOpened)
        )

    on_bench(test)


def test_candles_are_paged_and_closed_only() -> None:
    """History ends before the open bar, oldest first, and marks are told as Decimal."""

    async def test(bench: Bench) -> None:
        await asyncio.sleep(90)
        bars = await bench.gateway.candles(
            BTC, MINUTE_NS, START_NS - 10 * MINUTE_NS, START_NS + 10 * MINUTE_NS
        )
        assert [START_NS + n * MINUTE_NS for n in range(-10, 1)] == [bar.open_ns for bar in bars]
        assert Decimal(60_000) == await bench.gateway.mark_price(BTC)

    on_bench(test)


def test_one_instrument_is_resubscribed_for_real() -> None:
    """Unsubscribing and subscribing goes on delivering and leaves the connection alone (R10)."""

    async def test(bench: Bench) -> None:
        await asyncio.sleep(3)
        await bench.gateway.resubscribe(BTC)
        seen = len(bench.sink.marks)
        await asyncio.sleep(5)
        assert len(bench.sink.marks) >= seen + 4
        assert 3 == len(bench.of(StreamOpened))

    on_bench(test)
