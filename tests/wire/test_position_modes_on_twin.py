"""
Scenario 9 (R41): both venues, both position modes, every order the bot sends is accepted.

616 METIS could not be closed because positionSide was missing (-4061) and reduceOnly was sent in
hedge mode (-1106). Here each journey opens, protects, reduces and closes a position of either side.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import product
from typing import Final

import attrs
import numpy as np
import pytest

from aegis.core.clock import NS_PER_S, VirtualClock
from aegis.core.event import Event
from aegis.core.offload import InlineOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.account import PositionMode, PositionReport
from aegis.model.events import (
    FillReported,
    PositionReported,
    SecondLegFound,
    SecondLegGone,
)
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue, instrument_id
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.market import MINUTE_NS, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import (
    AttachedProtection,
    OrderRequest,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.twin.binance.face import BinanceFace
from aegis.twin.boot import VenueName
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.api import Leg, OrderSpec
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BINANCE_RULES, BYBIT_RULES
from aegis.twin.inproc import InprocTransport
from aegis.twin.runner import TwinRunner
from aegis.twin.tape.model import CandleTape, TapeReport
from aegis.twin.tape.path import PricePath
from aegis.twin.world import TwinWorld
from aegis.venue.around import VenueAround
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.bybit.gateway import BybitGateway
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
KEY, SECRET = "journey-key-000001", "journey-secret-000001"
QTY: Final = Decimal("0.1")
START_NS: Final = 1_756_684_800 * NS_PER_S
JOURNEYS: Final = tuple(product(Venue, PositionMode, (LONG, SHORT)))


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
    """Takes market frames and forgets them."""

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take a quote."""

    def on_mark(self, frame: MarkFrame) -> None:
        """Take a mark."""

    def on_kline(self, frame: KlineFrame) -> None:
        """Take a bar."""

    def on_depth(self, frame: DepthFrame) -> bool:
        """Take depth."""
        return False

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Fail: everything the twin sends can be read."""
        raise AssertionError(reason)


@attrs.frozen(kw_only=True)
class World:
    """A started gateway, the engine behind it, and what was told."""

    gateway: BinanceGateway | BybitGateway
    engine: TwinEngine
    events: list[Event]

    @property
    def btc(self) -> InstrumentId:
        """Return the instrument."""
        return instrument_id("BTCUSDT", self.gateway.venue)

    def fills(self) -> list[Fill]:
        """Return the fills told so far."""
        return [event.fill for event in self.events if isinstance(event, FillReported)]

    def last_position(self) -> PositionReport:
        """Return the position as last told."""
        return [event.report for event in self.events if isinstance(event, PositionReported)][-1]

    def order(
        self,
        name: str,
        leg: PositionSide,
        purpose: Purpose,
        qty: str | None = None,
        *,
        trigger: int | None = None,
        attached: AttachedProtection | None = None,
    ) -> OrderRequest:
        """Return an order of the bot's kind; a stop or target where there is a trigger price."""
        enters = purpose is Purpose.ENTRY
        kind = OrderType.MARKET
        if trigger is not None:
            is_target = purpose is Purpose.TARGET
            kind = OrderType.TAKE_PROFIT_MARKET if is_target else OrderType.STOP_MARKET
        return OrderRequest(
            instrument_id=self.btc,
            client_order_id=f"test-1-1-{name}",
            purpose=purpose,
            side=leg.entry_side if enters else leg.exit_side,
            order_type=kind,
            qty=None if qty is None else Decimal(qty),
            reduce_only=not enters,
            close_position=qty is None,
            trigger_price=None if trigger is None else Decimal(trigger),
            attached=attached,
        )

    def person(self, leg: PositionSide, *, opens: bool) -> None:
        """Trade beside the bot, as a person on the venue's site does."""
        _ = self.engine.place(
            OrderSpec(
                symbol="BTCUSDT",
                client_id=f"web_{leg.value}_{opens}",
                side=leg.entry_side if opens else leg.exit_side,
                order_type=OrderType.MARKET,
                qty=Decimal("0.2"),
                leg=Leg(leg.value),
            )
        )


@pytest.fixture(autouse=True)
def _sdk_clocks() -> Iterator[None]:
    yield
    restore_sdk_clocks()


@asynccontextmanager
async def _world(venue: Venue, mode: PositionMode) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    clock = VirtualClock(START_NS, loop)
    set_sdk_clocks(clock.wall_ns)
    is_binance = venue is Venue.BINANCE
    name: VenueName = "binance" if is_binance else "bybit"
    engine = TwinEngine(
        rules=BINANCE_RULES if is_binance else BYBIT_RULES,
        instruments=twin_instruments(name, ["BTCUSDT"], {}),
        paths={"BTCUSDT": PricePath(quiet_tape())},
        start_ns=START_NS,
        seed=1,
        options=EngineOptions(quote_interval_ns=NS_PER_S),
    )
    if mode is PositionMode.HEDGE:
        engine.set_hedge_mode(hedge=True)
    make_face = BinanceFace if is_binance else BybitFace
    face = make_face(
        engine, api_key=KEY, api_secret=SECRET, wall_ms=lambda: clock.wall_ns() // 1_000_000
    )
    twin = TwinWorld({name: engine})
    runner = TwinRunner(twin, now_ns=clock.now_ns, speed=1.0, loop=loop)
    transport = InprocTransport(
        face,
        loop,
        before_request=lambda: twin.advance(clock.now_ns()),
        after_request=runner.poke,
    )
    failures: list[TaskFailed] = []
    supervisor = Supervisor(clock, failures.append, rng=random.Random(1))
    events: list[Event] = []
    around = VenueAround(
        base_url="http://twin",
        ws_url="ws://twin",
        api_key=KEY,
        api_secret=SECRET,
        http=transport,
        connector=transport,
        offload=InlineOffload(0.005, 0.005),
        publish=events.append,
        clock=clock,
        supervisor=supervisor,
        rng=random.Random(2),
        timeframes_ns=(MINUTE_NS,),
        recv_window_ms=5000,
        request_timeout_s=5.0,
        order_ws_url="ws://twin/ws-fapi/v1" if is_binance else "ws://twin/v5/trade",
    )
    gateway = BinanceGateway(around) if is_binance else BybitGateway(around)
    _ = supervisor.start("twin", runner.run)
    try:
        instruments = await gateway.connect(["BTCUSDT"])
        await gateway.start_streams(instruments, Sink())
        yield World(gateway=gateway, engine=engine, events=events)
        await gateway.close()
    finally:
        await supervisor.stop()
    assert [] == failures


def _in_world(venue: Venue, mode: PositionMode, act: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with _world(venue, mode) as world:
            await act(world)

    run_virtual(main())


@pytest.mark.parametrize(("venue", "mode", "leg"), JOURNEYS)
def test_open_stop_partial_and_close_are_accepted_in_both_modes(
    venue: Venue, mode: PositionMode, leg: PositionSide
) -> None:
    """Scenario 9 (R41): nothing is refused, each order is for the right leg, the end is flat."""
    away = -leg.sign * 1000

    async def protect(world: World) -> None:
        if venue is Venue.BYBIT:
            await world.gateway.set_position_protection(
                SetPositionProtection(
                    instrument_id=world.btc,
                    side=leg,
                    stop_price=Decimal(60_000 + away // 2),
                    target_price=Decimal(60_000 - 3 * away),
                )
            )
            return
        floor = world.order("SF1", leg, Purpose.STOP_FLOOR, trigger=60_000 + away)
        moving = world.order("SM1", leg, Purpose.STOP_MOVING, "0.1", trigger=60_000 + away // 2)
        for stop in (floor, moving):
            assert OrderStatus.ACCEPTED is (await world.gateway.place(stop)).status

    async def act(world: World) -> None:
        place = world.gateway.place
        attached = None
        if venue is Venue.BYBIT:
            attached = AttachedProtection(
                stop_price=Decimal(60_000 + away), target_price=Decimal(60_000 - 3 * away)
            )
        assert 5 == await world.gateway.prepare_entry(world.btc, 5)
        await place(world.order("EN0", leg, Purpose.ENTRY, "0.1", attached=attached))
        await asyncio.sleep(1)
        wanted_leg = leg if mode is PositionMode.HEDGE else None
        assert (QTY * leg.sign, wanted_leg) == (
            world.last_position().qty_signed,
            world.last_position().leg,
        )
        await protect(world)
        target = world.order("TP1", leg, Purpose.TARGET, "0.05", trigger=60_000 - 2 * away)
        assert OrderStatus.ACCEPTED is (await place(target)).status
        await asyncio.sleep(1)
        resting = (await world.gateway.snapshot()).orders
        assert {wanted_leg} == {order.leg for order in resting}
        assert all(order.reduce_only for order in resting)
        await world.gateway.cancel(
            CancelProtection(instrument_id=world.btc, client_order_id="test-1-1-TP1")
        )
        await place(world.order("CF1", leg, Purpose.CLOSE_FLATTEN, "0.04"))
        await asyncio.sleep(1)
        assert Decimal("0.06") * leg.sign == world.last_position().qty_signed
        await place(world.order("CF2", leg, Purpose.CLOSE_FLATTEN, "0.06"))
        await asyncio.sleep(1)
        assert 0 == world.last_position().qty_signed
        assert () == tuple(
            each for each in (await world.gateway.snapshot()).positions if each.qty_signed
        )
        assert [QTY, Decimal("0.04"), Decimal("0.06")] == [each.last_qty for each in world.fills()]

    _in_world(venue, mode, act)


@pytest.mark.parametrize("venue", Venue)
def test_a_second_leg_is_told_and_never_reaches_the_book(venue: Venue) -> None:
    """R41, R59: a person opens the other leg; the bot's position, fills and orders stay its own."""

    async def act(world: World) -> None:
        await world.gateway.place(world.order("EN0", LONG, Purpose.ENTRY, "0.1"))
        await asyncio.sleep(1)
        world.person(SHORT, opens=True)
        await asyncio.sleep(1)
        (found,) = [event for event in world.events if isinstance(event, SecondLegFound)]
        assert (QTY, Decimal("-0.2")) == (found.held_qty_signed, found.second_qty_signed)
        assert QTY == world.last_position().qty_signed
        (held,) = (await world.gateway.snapshot()).positions
        assert QTY == held.qty_signed
        await world.gateway.tell_missed_fills()
        assert {"test-1-1-EN0"} == {each.client_order_id for each in world.fills()}
        assert [Decimal("-0.2")] == [each.qty_signed for each in world.gateway.second_legs]

        await world.gateway.place(world.order("CF1", LONG, Purpose.CLOSE_FLATTEN, "0.1"))
        await asyncio.sleep(1)
        assert Decimal("-0.2") == world.last_position().qty_signed
        assert any(isinstance(event, SecondLegGone) for event in world.events)
        assert () == world.gateway.second_legs

    _in_world(venue, PositionMode.HEDGE, act)
