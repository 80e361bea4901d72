"""The Bybit adapter, SDK included, against the twin's Bybit face in virtual time, no sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeVar

import attrs
import numpy as np
import pytest
from tests.wire.twin_rig import KEY, SECRET, Sink, engine_on, made_tape, twin_rig

from aegis.core.clock import NS_PER_S
from aegis.core.errors import OrderOutcomeUnknown, VenueRefused, VenueUnreachable
from aegis.core.event import Event
from aegis.core.offload import InlineOffload
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.core.virtual_loop import run_virtual
from aegis.model.account import OrderReport, ProtectionRole, ReportSource
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    ApiCalled,
    BalanceReported,
    FillReported,
    OrderReported,
    PositionReported,
    SnapshotReported,
    StreamClosed,
    StreamOpened,
)
from aegis.model.fill import Fill, FillOrigin
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.market import MINUTE_NS
from aegis.model.order import (
    AttachedProtection,
    OrderRequest,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.model.ports import VenueGateway
from aegis.twin.engine.api import TwinInstrument
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.inproc import InprocStream, InprocTransport
from aegis.twin.tape.model import CandleTape
from aegis.venue.bybit.gateway import BybitGateway

# sdk_clock imports python-binance, which imports what websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

T = TypeVar("T")
E = TypeVar("E", bound=Event)

BTC = instrument_id("BTCUSDT", Venue.BYBIT)
FIRST_NS = 1_700_006_400 * NS_PER_S
HISTORY_BARS = 10
START_NS = FIRST_NS + HISTORY_BARS * MINUTE_NS
ENTRY_ID = "abcd-1-1-EN0"


def _tape() -> CandleTape:
    """Return 10 quiet minutes, 5 more, and then one that falls by 5 percent."""
    quiet = (60000.0, 60010.0, 59990.0, 60000.0)
    bars = np.array([quiet] * 15 + [(60000.0, 60010.0, 57000.0, 57500.0)] * 1 + [quiet] * 10)
    opens, highs, lows, closes = bars.T
    return made_tape(opens, closes, first_ns=FIRST_NS, play_from_ns=START_NS, wicks=(highs, lows))


RULES = TwinInstrument(
    symbol="BTCUSDT",
    base="BTC",
    tick_size=Decimal("0.10"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1190),
    market_qty_max=Decimal(500),
    notional_min=Decimal(5),
    leverage_max=100,
    maint_margin_rate=Decimal("0.005"),
    taker_fee_rate=Decimal("0.00055"),
    maker_fee_rate=Decimal("0.0002"),
    funding_interval_ns=8 * 3600 * NS_PER_S,
    liquidation_fee_rate=Decimal("0.0125"),
)


class Lanes:
    """An offload with delays that remembers which lanes were used."""

    def __init__(self) -> None:
        self._inner = InlineOffload(before_s=0.005, after_s=0.005)
        self.used: list[str] = []

    async def __call__(self, fn: Callable[[], T], *, lane: str = "default") -> T:
        """Pass on and remember."""
        self.used.append(lane)
        return await self._inner(fn, lane=lane)


class Wire:
    """The in-process transport, with a switch for lost answers and a hand on open streams."""

    def __init__(self, inner: InprocTransport) -> None:
        self._inner = inner
        self.answer_lost = False
        self.answer_garbled = False
        self.down = False
        self.muted = ""
        self.streams: dict[str, InprocStream] = {}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass on, and lose the answer where told to."""
        response = self._inner(request)
        if self.answer_lost and request.path == "/v5/order/create":
            raise TimeoutError("the answer was lost")
        if self.answer_garbled and request.path == "/v5/order/create":
            return HttpResponse(status=200, body=b'{"retCode":0,"retMsg":"OK","result":null}')
        return response

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> InprocStream:
        """Pass on and remember, unless the line is down."""
        if self.down:
            raise ConnectionRefusedError("the line is down")

        def pass_on(frame: bytes) -> None:
            # Pongs pass: a silent stream is one that still looks alive.
            if b'"pong"' in frame or not self.muted or self.muted not in url:
                on_frame(frame)

        stream = await self._inner.connect(url, on_frame=pass_on, on_close=on_close)
        self.streams[url.rpartition("/")[2]] = stream
        return stream


@attrs.define(kw_only=True)
class World:
    """A gateway over a twin."""

    gateway: BybitGateway
    engine: TwinEngine
    wire: Wire
    sink: Sink
    events: list[Event]
    lanes: list[str]

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def fills(self) -> list[Fill]:
        """Return the fills told, repeated ones once."""
        return list({event.fill.fill_id: event.fill for event in self.of(FillReported)}.values())

    def newest(self, role: ProtectionRole) -> OrderReport:
        """Return the newest streamed report of the position's stop or target."""
        return [event.report for event in self.of(OrderReported) if event.report.role is role][-1]


@asynccontextmanager
async def _world(*, api_secret: str = SECRET) -> AsyncIterator[World]:
    engine = engine_on(Venue.BYBIT, _tape(), instruments={"BTCUSDT": RULES})
    async with twin_rig(Venue.BYBIT, engine) as rig:
        assert rig.transport is not None
        wire, offload = Wire(rig.transport), Lanes()
        around = rig.around(
            http=wire,
            connector=wire,
            offload=offload,
            api_secret=api_secret,
            request_timeout_s=3.0,
        )
        gateway = BybitGateway(around)
        yield World(
            gateway=gateway,
            engine=engine,
            wire=wire,
            sink=rig.sink,
            events=rig.events,
            lanes=offload.used,
        )
        await gateway.close()


def _in_world(act: Callable[[World], Awaitable[T]], *, started: bool = True) -> T:
    async def main() -> T:
        async with _world() as world:
            if started:
                instruments = await world.gateway.connect(["BTCUSDT"])
                await world.gateway.start_streams(instruments, world.sink)
                await asyncio.sleep(1.0)
            return await act(world)

    return run_virtual(main())


def _entry(client_order_id: str = ENTRY_ID) -> OrderRequest:
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal("0.1"),
        reduce_only=False,
        attached=AttachedProtection(stop_price=Decimal("59000.0"), target_price=Decimal(63000)),
    )


def _target(client_order_id: str = "abcd-1-1-TP0") -> OrderRequest:
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.TARGET,
        side=OrderSide.SELL,
        order_type=OrderType.TAKE_PROFIT_MARKET,
        qty=Decimal("0.05"),
        reduce_only=True,
        trigger_price=Decimal(62000),
    )


def test_connect_tells_the_rules_of_the_instrument() -> None:
    """Clock, account and mode are checked, and the rules come from the venue."""

    async def act(world: World) -> None:
        gateway: VenueGateway = world.gateway
        assert Venue.BYBIT is gateway.venue
        (rules,) = await gateway.connect(["BTCUSDT"])
        assert (Decimal("0.10"), Decimal("0.001"), Decimal(500), Decimal(5)) == (
            rules.tick_size,
            rules.qty_step,
            rules.market_qty_max,
            rules.notional_min,
        )
        assert (Decimal("0.005"), Decimal("0.00055"), 8 * 3600 * NS_PER_S) == (
            rules.maint_margin_rate,
            rules.taker_fee_rate,
            rules.funding_interval_ns,
        )
        with pytest.raises(VenueRefused, match=r"no symbol is left: NOPEUSDT \(not listed\)"):
            await world.gateway.connect(["NOPEUSDT"])

    _in_world(act, started=False)


def test_an_entry_is_never_without_its_stop() -> None:
    """Entry, its attached stop and target, amended in place, and the stop that fires: zero gap."""

    async def act(world: World) -> None:
        gateway = world.gateway
        assert 7 == await gateway.prepare_entry(BTC, 7)
        assert 7 == await gateway.prepare_entry(BTC, 7)
        answer = await gateway.place(_entry())
        assert (OrderStatus.ACCEPTED, ReportSource.ANSWER, Decimal(0)) == (
            answer.status,
            answer.source,
            answer.filled_qty,
        )
        await asyncio.sleep(1.0)
        (entry,) = world.fills()
        assert (ENTRY_ID, FillOrigin.ORDER, Decimal("0.1"), OrderSide.BUY) == (
            entry.client_order_id,
            entry.origin,
            entry.last_qty,
            entry.side,
        )
        stop, target = world.newest(ProtectionRole.STOP), world.newest(ProtectionRole.TARGET)
        for child, price in ((stop, 59000), (target, 63000)):
            assert (Decimal(price), "", True, True, OrderStatus.ACCEPTED) == (
                child.trigger_price,
                child.client_order_id,
                child.position_bound,
                child.reduce_only,
                child.status,
            )
        command = SetPositionProtection(
            instrument_id=BTC,
            side=PositionSide.LONG,
            stop_price=Decimal("59500.0"),
            target_price=Decimal(63500),
        )
        await gateway.set_position_protection(command)
        await gateway.set_position_protection(command)
        await asyncio.sleep(1.0)
        moved = world.newest(ProtectionRole.STOP)
        assert (Decimal(59500), stop.venue_order_id) == (moved.trigger_price, moved.venue_order_id)
        position = world.of(PositionReported)[-1].report
        assert (Decimal("0.1"), Decimal(59500), Decimal(63500)) == (
            position.qty_signed,
            position.stop_price,
            position.target_price,
        )

        await asyncio.sleep(360.0)

        exit_fill = world.fills()[-1]
        assert (FillOrigin.STOP, "", OrderSide.SELL, Decimal("0.1"), stop.venue_order_id) == (
            exit_fill.origin,
            exit_fill.client_order_id,
            exit_fill.side,
            exit_fill.last_qty,
            exit_fill.venue_order_id,
        )
        assert Decimal(0) == world.of(PositionReported)[-1].report.qty_signed
        assert OrderStatus.FILLED is world.newest(ProtectionRole.STOP).status
        assert OrderStatus.CANCELED is world.newest(ProtectionRole.TARGET).status
        assert world.engine.wallet == world.of(BalanceReported)[-1].report.wallet
        assert {} == world.gateway.unknowns.counts

    _in_world(act)


def test_the_snapshot_has_everything_that_rests() -> None:
    """Position, its own stop and target, and our conditional order are all told (R43, R88)."""

    async def act(world: World) -> None:
        empty = await world.gateway.snapshot()
        assert ((), (), Decimal(10_000)) == (
            empty.positions,
            empty.orders,
            empty.balance.wallet,
        )
        await world.gateway.place(_entry())
        await world.gateway.place(_target())
        await asyncio.sleep(0.5)
        snapshot = await world.gateway.snapshot()
        (position,) = snapshot.positions
        assert (Decimal("0.1"), Decimal(59000), True) == (
            position.qty_signed,
            position.stop_price,
            position.isolated,
        )
        assert [
            (ProtectionRole.STOP, "", True),
            (ProtectionRole.TARGET, "", True),
            (ProtectionRole.TARGET, "abcd-1-1-TP0", False),
        ] == sorted(
            (order.role, order.client_order_id, order.position_bound) for order in snapshot.orders
        )

    _in_world(act)


def test_orders_are_found_by_our_id_or_by_nobody() -> None:
    """R30: query finds resting and closed orders, and says None only for what was never there."""

    async def act(world: World) -> None:
        gateway = world.gateway
        assert await gateway.query(BTC, ENTRY_ID, conditional=False) is None
        await gateway.place(_entry())
        filled = await gateway.query(BTC, ENTRY_ID, conditional=False)
        assert filled is not None
        assert (OrderStatus.FILLED, Decimal("0.1")) == (filled.status, filled.filled_qty)
        await gateway.place(_target())
        command = CancelProtection(instrument_id=BTC, client_order_id="abcd-1-1-TP0")
        await gateway.cancel(command)
        canceled = await gateway.query(BTC, "abcd-1-1-TP0", conditional=True)
        assert canceled is not None
        assert OrderStatus.CANCELED is canceled.status
        with pytest.raises(VenueRefused) as caught:
            await gateway.cancel(command)
        assert "110001" == caught.value.code

    _in_world(act)


def test_a_lost_answer_is_unknown_and_resolved_by_asking() -> None:
    """R30: the order stands though its answer was lost; the second copy is never a rejection."""

    async def act(world: World) -> None:
        world.wire.answer_lost = True
        with pytest.raises(OrderOutcomeUnknown):
            await world.gateway.place(_entry())
        world.wire.answer_lost = False
        found = await world.gateway.query(BTC, ENTRY_ID, conditional=False)
        assert found is not None
        assert OrderStatus.FILLED is found.status
        with pytest.raises(OrderOutcomeUnknown):
            await world.gateway.place(_entry())
        assert Decimal("0.1") == world.engine.positions["BTCUSDT"].qty

    _in_world(act)


def test_a_yes_that_cannot_be_read_is_unknown() -> None:
    """R30: an order accepted in an unreadable answer is asked for, never taken for failed."""

    async def act(world: World) -> None:
        world.wire.answer_garbled = True
        with pytest.raises(OrderOutcomeUnknown):
            await world.gateway.place(_entry())
        assert Decimal("0.1") == world.engine.positions["BTCUSDT"].qty

    _in_world(act)


def test_what_reduces_risk_has_a_lane_of_its_own() -> None:
    """Stops, targets, closes and cancels never wait behind entries or history (promise 2)."""

    async def act(world: World) -> None:
        gateway = world.gateway
        world.lanes.clear()
        await gateway.prepare_entry(BTC, 7)
        await gateway.place(_entry())
        await gateway.mark_price(BTC)
        assert {"default"} == set(world.lanes)
        world.lanes.clear()
        await gateway.place(_target())
        await gateway.cancel(CancelProtection(instrument_id=BTC, client_order_id="abcd-1-1-TP0"))
        await gateway.set_position_protection(
            SetPositionProtection(
                instrument_id=BTC,
                side=PositionSide.LONG,
                stop_price=Decimal(59500),
                target_price=Decimal(63000),
            )
        )
        assert ["protect"] * 3 == world.lanes

    _in_world(act)


def test_protection_without_a_position_is_refused_in_words() -> None:
    """10001 "zero position" reaches the caller, who retries: nothing is taken for done."""

    async def act(world: World) -> None:
        with pytest.raises(VenueRefused) as caught:
            await world.gateway.set_position_protection(
                SetPositionProtection(
                    instrument_id=BTC,
                    side=PositionSide.LONG,
                    stop_price=Decimal(59000),
                    target_price=Decimal(63000),
                )
            )
        assert "10001" == caught.value.code
        assert "zero position" in caught.value.message

    _in_world(act)


def test_a_gap_of_the_private_stream_is_filled_in() -> None:
    """R12: what was executed while the stream was down is told, then the whole state."""

    async def act(world: World) -> None:
        await world.gateway.place(_entry())
        await asyncio.sleep(1.0)
        assert ["user stream opened"] == [event.reason for event in world.of(SnapshotReported)]
        world.wire.down = True
        world.wire.streams["private"].end("reset by peer")
        await asyncio.sleep(360.0)
        assert 1 == len(world.fills())
        before = len(world.events)
        world.wire.down = False
        await asyncio.sleep(60.0)

        assert FillOrigin.STOP is world.fills()[-1].origin
        told = [
            type(event)
            for event in world.events[before:]
            if isinstance(event, StreamOpened | SnapshotReported)
            or (isinstance(event, FillReported) and event.fill.origin is FillOrigin.STOP)
        ]
        assert [StreamOpened, FillReported, SnapshotReported] == told
        snapshot = world.of(SnapshotReported)[-1]
        assert ("user stream gap", (), ()) == (
            snapshot.reason,
            snapshot.snapshot.positions,
            snapshot.snapshot.orders,
        )
        assert ["private"] == [event.stream for event in world.of(StreamClosed)]

    _in_world(act)


@pytest.mark.parametrize("asked", ["missed fills", "booked since"])
def test_a_silent_private_stream_is_found_by_what_the_venue_knows(asked: str) -> None:
    """Pongs come and no execution does: a look by REST is the proof (R12)."""

    async def act(world: World) -> None:
        await asyncio.sleep(10.0)
        world.wire.muted = "private"
        await world.gateway.place(_entry())
        await asyncio.sleep(60.0)
        assert [] == world.fills()
        assert [] == world.of(StreamClosed)
        if asked == "missed fills":
            await world.gateway.tell_missed_fills()
        else:
            assert 1 == len((await world.gateway.booked_since(START_NS)).fills)
        world.wire.muted = ""
        await asyncio.sleep(10.0)
        (closed,) = world.of(StreamClosed)
        assert closed.reason.startswith("silent: the venue knows fill ")
        assert 1 == len(world.of(AccountDoubted))
        assert 1 == len(world.of(AccountConfirmed))
        assert "user stream gap" == world.of(SnapshotReported)[-1].reason

    _in_world(act)


def test_market_data_reach_the_sink() -> None:
    """Quotes, marks and bars of the public stream, and one symbol subscribed anew (R10)."""

    async def act(world: World) -> None:
        await asyncio.sleep(70.0)
        sink = world.sink
        assert 59990.0 <= sink.quotes[-1].bid < sink.quotes[-1].ask <= 60010.0
        assert 59990.0 <= sink.marks[-1].mark <= 60010.0
        closed = [bar.candle.open_ns for bar in sink.klines if bar.closed]
        assert [START_NS] == closed
        quotes, marks = len(sink.quotes), len(sink.marks)
        await world.gateway.resubscribe(BTC)
        await asyncio.sleep(5.0)
        assert len(sink.quotes) > quotes
        assert len(sink.marks) > marks
        assert [] == sink.unreadable
        assert Decimal(59990) <= await world.gateway.mark_price(BTC) <= Decimal(60010)

    _in_world(act)


def test_history_is_closed_bars_oldest_first() -> None:
    """Bars within the bounds, without the one that is still open."""

    async def act(world: World) -> None:
        bars = await world.gateway.candles(BTC, MINUTE_NS, FIRST_NS, START_NS + MINUTE_NS)
        assert [FIRST_NS + n * MINUTE_NS for n in range(HISTORY_BARS)] == [
            bar.open_ns for bar in bars
        ]
        some = await world.gateway.candles(
            BTC, MINUTE_NS, FIRST_NS + MINUTE_NS, FIRST_NS + 3 * MINUTE_NS
        )
        assert bars[1:3] == some

    _in_world(act)


def test_a_wrong_secret_is_refused_and_never_shown() -> None:
    """R84: neither keys nor signatures stand in what is told about a refused call."""

    async def main() -> Any:
        async with _world(api_secret="wrong-secret-0002") as world:
            with pytest.raises(VenueRefused) as caught:
                await world.gateway.connect(["BTCUSDT"])
            return caught.value, world.of(ApiCalled)

    error, calls = run_virtual(main())
    assert "10004" == error.code
    assert [True, False] == [call.ok for call in calls]
    assert "wrong-secret" not in f"{error} {calls}"
    assert KEY not in f"{error} {calls}"


def test_resubscribe_before_the_streams_run_is_unreachable() -> None:
    """A call too early is a typed error, not a defect."""

    async def act(world: World) -> None:
        with pytest.raises(VenueUnreachable):
            await world.gateway.resubscribe(BTC)

    _in_world(act, started=False)
