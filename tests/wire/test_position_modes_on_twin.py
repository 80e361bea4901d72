"""
Scenario 9 (R41): both venues, both position modes, every order the bot sends is accepted.

616 METIS could not be closed because positionSide was missing (-4061) and reduceOnly was sent in
hedge mode (-1106). Here each journey opens, protects, reduces and closes a position of either side.
"""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import product
from typing import Final

import attrs
import pytest
from tests.wire.twin_rig import twin_rig

from aegis.core.event import Event
from aegis.core.virtual_loop import run_virtual
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
from aegis.model.order import (
    AttachedProtection,
    OrderRequest,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.twin.engine.api import Leg, OrderSpec
from aegis.twin.engine.engine import TwinEngine
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.bybit.gateway import BybitGateway

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
QTY: Final = Decimal("0.1")
JOURNEYS: Final = tuple(product(Venue, PositionMode, (LONG, SHORT)))


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


def _in_world(venue: Venue, mode: PositionMode, act: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with twin_rig(venue) as rig:
            if mode is PositionMode.HEDGE:
                rig.engine.set_hedge_mode(hedge=True)
            around = rig.around(order_ws_url=rig.order_ws_url)
            is_binance = venue is Venue.BINANCE
            gateway = BinanceGateway(around) if is_binance else BybitGateway(around)
            await rig.start(gateway)
            await act(World(gateway=gateway, engine=rig.engine, events=rig.events))
            await gateway.close()
            assert [] == rig.sink.unreadable

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
