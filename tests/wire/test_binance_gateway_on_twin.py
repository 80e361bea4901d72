"""The Binance adapter against the twin's Binance face, without sockets, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

import numpy as np
import pytest
from tests.wire.twin_rig import START_NS, TwinRig, engine_on, made_tape, twin_rig

from aegis.core.errors import OrderOutcomeUnknown, VenueRefused
from aegis.core.transport import HttpRequest, HttpResponse, StreamConnection
from aegis.core.virtual_loop import run_virtual
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
from aegis.model.instrument import InstrumentId, Venue, instrument_id
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.market import MINUTE_NS
from aegis.model.order import (
    OrderRequest,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.twin.binance.face import BinanceFace
from aegis.twin.inproc import InprocTransport
from aegis.twin.tape.model import CandleTape
from aegis.venue.binance.gateway import BinanceGateway

T = TypeVar("T")

BARS_BEFORE = 30
PRICE = 60_000.0
BTC: InstrumentId = instrument_id("BTCUSDT", Venue.BINANCE)


def falling_tape() -> CandleTape:
    """Return a market at 60,000 that falls to 58,000 in the fifth minute of play."""
    opens = np.full(BARS_BEFORE + 15, PRICE)
    closes = opens.copy()
    closes[BARS_BEFORE + 4] = 58_000.0
    opens[BARS_BEFORE + 5 :] = closes[BARS_BEFORE + 5 :] = 58_000.0
    first_ns = START_NS - BARS_BEFORE * MINUTE_NS
    return made_tape(opens, closes, first_ns=first_ns, play_from_ns=START_NS)


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

    def __init__(self, rig: TwinRig, faults: Faults) -> None:
        assert rig.transport is not None
        assert isinstance(rig.face, BinanceFace)
        self.face, self.faults = rig.face, faults
        self.events, self.sink = rig.events, rig.sink
        self.muffle = Muffle(rig.transport)
        self.gateway = BinanceGateway(
            rig.around(connector=self.muffle, timeframes_ns=(MINUTE_NS, 5 * MINUTE_NS))
        )

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
        faults = Faults()
        engine = engine_on(Venue.BINANCE, falling_tape())
        async with twin_rig(Venue.BINANCE, engine, faults=faults) as rig:
            bench = Bench(rig, faults)
            try:
                await rig.start(bench.gateway)
                await test(bench)
            finally:
                await bench.gateway.close()

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


@pytest.mark.parametrize("asked", ["missed fills", "booked since"])
def test_a_silent_user_stream_is_found_by_what_the_venue_knows(asked: str) -> None:
    """Socket open, pings fine, no fill told: a look by REST is the proof (R12, pitfall 7)."""

    async def test(bench: Bench) -> None:
        await asyncio.sleep(10)
        bench.muffle.muted = "/private"
        await bench.gateway.place(entry("test-1-1-EN0"))
        await asyncio.sleep(60)
        assert [] == bench.of(FillReported)
        assert [] == bench.of(StreamClosed)
        # What trade does when the answer counts a fill that nobody told.
        if asked == "missed fills":
            await bench.gateway.tell_missed_fills()
        else:
            assert 1 == len((await bench.gateway.booked_since(START_NS)).fills)
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
