"""What a reconcile finds, each by its kind: made by hand at the venue, seen by the whole bot."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from aegis.model.events import (
    ForeignOrderFound,
    KillSwitchPulled,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    ProtectionMismatchFound,
    ProtectionMismatchKind,
)
from aegis.model.order import OrderSide, OrderType, PositionSide
from aegis.model.position import CloseCause, MismatchKind
from aegis.twin.boot import VENUE_NAMES, VenueName
from aegis.twin.engine.api import EngineStatus, OrderSpec

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World

both_venues = pytest.mark.parametrize("venue", VENUE_NAMES)
QUICK = {"reconcile_interval_s": 5.0}
IDLE_S = 27
"""Five intervals, and the answer's way."""


def by_hand(world: "World", venue: VenueName, qty: Decimal, *, symbol: str = "BTCUSDT") -> None:
    """Trade signed *qty* at the venue as a person does, with no word of it on the streams."""
    mute = world.frames[venue].drop(*world.frames[venue].ACCOUNT)
    world.catch_up()
    _ = world.engine(venue).place(
        OrderSpec(
            symbol=symbol,
            client_id="web_person",
            side=OrderSide.BUY if qty > 0 else OrderSide.SELL,
            order_type=OrderType.MARKET,
            qty=abs(qty),
        )
    )
    world.loop.call_later(1, mute.end)


def kinds(world: "World") -> list[MismatchKind | None]:
    """Return the kinds of differences between positions, repetitions left out."""
    told = [e.kind for e in world.of(PositionMismatchFound)]
    return list(dict.fromkeys(told))


def journaled(world: "World") -> list[MismatchKind | ProtectionMismatchKind | None]:
    """Return the kinds the journal has, in order and without repetitions."""
    both = PositionMismatchFound | ProtectionMismatchFound
    return list(dict.fromkeys(e.kind for e in world.journal() if isinstance(e, both)))


def is_protected(world: "World", venue: VenueName) -> bool:
    """Say whether a stop rests for what the venue holds."""
    return world.qty(venue) != 0 and bool(world.stops(venue))


@both_venues
def test_an_untracked_position_is_found_on_an_idle_venue(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R88 UNTRACKED: nothing is open by the book, nothing is told: adopted, protected, in 27 s."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await asyncio.sleep(10)
        by_hand(world, venue, Decimal("-0.1"))
        await world.until(lambda: is_protected(world, venue), within_s=IDLE_S, every_s=0.1)
        await asyncio.sleep(5)

    world = play(tmp_path, scenario, settings=QUICK)

    assert [MismatchKind.UNTRACKED] == kinds(world) == journaled(world)
    (opened,) = world.of(PositionOpened)
    assert opened.position.adopted
    assert PositionSide.SHORT is opened.position.side
    assert [] == world.faults_of_code()


@both_venues
def test_a_phantom_is_ended(play: "Play", tmp_path: Path, venue: VenueName) -> None:
    """R88 PHANTOM: closed by hand, its messages lost: it ends here as EXTERNAL."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        by_hand(world, venue, -world.qty(venue))
        await world.until(lambda: world.of(PositionClosed), within_s=60, every_s=0.1)
        await asyncio.sleep(5)

    world = play(tmp_path, scenario, settings=QUICK)

    assert MismatchKind.PHANTOM in kinds(world)
    assert [CloseCause.EXTERNAL] == [e.cause for e in world.of(PositionClosed)]
    assert [] == list(world.engine(venue).open_orders("BTCUSDT"))
    assert [] == world.faults_of_code()


@both_venues
def test_lists_that_are_empty_for_long_take_no_living_stop_away(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R62, R88: positions come empty for two minutes; no fill said flat, so the stop stays."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        empty = world.wire[venue].empty("positions")
        for _ in range(120):
            await asyncio.sleep(1)
            assert is_protected(world, venue)
        empty.end()
        await asyncio.sleep(15)
        assert is_protected(world, venue)

    world = play(tmp_path, scenario, settings=QUICK)

    assert 1 == len(world.stops(venue))
    assert world.gap_ms(venue) < 100
    assert [True] == [e.position.adopted for e in world.of(PositionOpened)][1:]
    assert [] == world.faults_of_code()


@both_venues
@pytest.mark.parametrize(
    ("share", "kind"), [("0.5", MismatchKind.QTY), ("-2", MismatchKind.SIDE)], ids=["qty", "side"]
)
def test_a_position_changed_by_hand_is_followed(
    play: "Play", tmp_path: Path, venue: VenueName, share: str, kind: MismatchKind
) -> None:
    """R88 QTY, SIDE: the venue's position is taken as it is and stays protected."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        step = world.engine(venue).instruments["BTCUSDT"].qty_step
        by_hand(world, venue, world.qty(venue) * Decimal(share) // step * step)
        await world.until(lambda: kind in kinds(world), within_s=60, every_s=0.1)
        await asyncio.sleep(40)
        assert is_protected(world, venue)

    world = play(tmp_path, scenario, settings=QUICK)

    assert kind in journaled(world)
    (position,) = world.bot.trade.book.positions.values()
    assert world.qty(venue) == position.qty_signed
    assert [] == world.faults_of_code()


@both_venues
def test_an_entry_price_the_venue_sees_otherwise_is_told_once(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R33, R88 ENTRY_PRICE: both prices are said, ours stays, nothing is closed."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        world.engine(venue).leg("BTCUSDT", world.engine(venue).held()[0].leg).entry_px += 25
        await asyncio.sleep(30)

    world = play(tmp_path, scenario, settings=QUICK)

    (told,) = world.of(PositionMismatchFound)
    assert MismatchKind.ENTRY_PRICE is told.kind
    assert Decimal(25) == told.theirs - told.ours
    (position,) = world.bot.trade.book.positions.values()
    assert told.ours == position.entry_px_avg
    assert [MismatchKind.ENTRY_PRICE] == journaled(world)
    assert [] == [*world.conservation().violations, *world.faults_of_code()]


def second_stop(world: "World", name: str) -> None:
    """Place a stop with a quantity beneath the floor, under the id *name*."""
    floor = world.stops("binance")[0].spec
    assert floor.trigger_price is not None
    spec = attrs.evolve(
        floor,
        client_id=name,
        close_position=False,
        reduce_only=True,
        qty=world.qty("binance"),
        trigger_price=floor.trigger_price - 100,
    )
    world.catch_up()
    _ = world.engine("binance").place(spec)


def test_a_duplicate_stop_is_canceled(play: "Play", tmp_path: Path) -> None:
    """R48, R88 DUPLICATE_STOP: a second stop of ours goes, the one that counts stays."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open("binance")
        (position,) = world.bot.trade.book.positions.values()
        second_stop(world, f"{position.position_id}-SM40")
        await asyncio.sleep(20)

    world = play(tmp_path, scenario, settings=QUICK)

    (told,) = world.of(ProtectionMismatchFound)
    assert ProtectionMismatchKind.DUPLICATE_STOP is told.kind
    assert [told.kind] == journaled(world)
    (floor,) = world.stops("binance")
    assert floor.spec.close_position
    assert world.gap_ms("binance") < 100
    assert [] == world.faults_of_code()


def test_a_persons_stop_is_foreign_and_stays(play: "Play", tmp_path: Path) -> None:
    """R62, R88 foreign order: told, never canceled."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open("binance")
        second_stop(world, "web_person")
        await asyncio.sleep(20)

    world = play(tmp_path, scenario, settings=QUICK)

    assert ["web_person"] == [e.client_order_id for e in world.of(ForeignOrderFound)]
    assert [] == world.of(ProtectionMismatchFound)
    assert 2 == len(world.stops("binance"))


@both_venues
def test_an_orphan_is_canceled(play: "Play", tmp_path: Path, venue: VenueName) -> None:
    """R62, R88 ORPHAN: a stop of ours without a position goes when flat is sure."""
    name = "test-1-9-SM1"

    async def scenario(world: "World") -> None:
        await world.ready()
        world.catch_up()
        _ = world.engine(venue).place(
            OrderSpec(
                symbol="BTCUSDT",
                client_id=name,
                side=OrderSide.SELL,
                order_type=OrderType.STOP_MARKET,
                qty=Decimal("0.1"),
                reduce_only=True,
                trigger_price=Decimal(50_000),
            )
        )
        await asyncio.sleep(60)

    world = play(tmp_path, scenario, settings=QUICK)

    assert [(ProtectionMismatchKind.ORPHAN, name)] == [
        (e.kind, e.client_order_id) for e in world.of(ProtectionMismatchFound)
    ]
    assert [ProtectionMismatchKind.ORPHAN] == journaled(world)
    (left,) = [o for o in world.engine(venue).all_orders() if o.spec.client_id == name]
    assert EngineStatus.CANCELED is left.status
    assert [] == world.faults_of_code()


@both_venues
def test_a_position_gone_without_a_trace_ends_and_halts_nothing(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R60, R88: no fill is ever told of it; "nothing to reduce" is the venue's word for flat."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        paths = {"/v5/execution/list", "/fapi/v1/userTrades"}
        _ = world.wire[venue].empty(lambda each: each.path in paths)
        by_hand(world, venue, -world.qty(venue))
        await world.until(lambda: world.of(PositionClosed), within_s=45, every_s=0.1)
        await asyncio.sleep(10)

    world = play(tmp_path, scenario, settings=QUICK)

    assert [CloseCause.EXTERNAL] == [e.cause for e in world.of(PositionClosed)]
    assert [] == world.of(KillSwitchPulled)
    assert world.qty(venue) == 0
    assert [] == world.faults_of_code()
