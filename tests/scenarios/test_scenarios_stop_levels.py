"""Scenarios of the stop: on its side, from the fill, one owner, moved only on the venue's word."""

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from aegis.core.clock import NS_PER_S
from aegis.model.events import (
    ApiCalled,
    EntryCompleted,
    IntentDenied,
    PositionClosed,
    PositionOpened,
    ProtectionConfirmed,
    SignalDropped,
    VenueUnavailable,
)
from aegis.model.instrument import Venue
from aegis.model.money import Rounding, round_to_grid
from aegis.model.order import OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause
from aegis.twin.boot import VENUE_NAMES, VenueName
from aegis.twin.engine.api import EngineOrder, EngineStatus, OrderSpec

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World

both_venues = pytest.mark.parametrize("venue", VENUE_NAMES)
both_ways = pytest.mark.parametrize("way", ["ws", "rest"])
SIDES: Final = (PositionSide.LONG, PositionSide.SHORT)
RISE = {
    "BTCUSDT": tuple(60_000.0 * (1 + 0.004 * max(0, n - 1)) for n in range(12)),
    "ETHUSDT": (3_000.0,),
}
"""From the second minute on 0.4 percent a minute."""
TRAIL: Final = {
    "trail_start_r": 0.1,
    "trail_distance_r": 1.0,
    "trail_step_r": 0.0,
    "trail_interval_s": 0.0,
}


def level_of(order: EngineOrder) -> Decimal:
    """Return the trigger price of a conditional."""
    assert order.spec.trigger_price is not None
    return order.spec.trigger_price


def effective(world: "World", venue: VenueName) -> Decimal:
    """Return the stop of a long that would fire first."""
    return max(level_of(stop) for stop in world.stops(venue))


def one_stop_and_one_target(world: "World", venue: VenueName) -> bool:
    """Say whether stop, floor at most, and target are there, once each, for the whole position."""
    stops, qty = world.stops(venue), abs(world.qty(venue))
    moving = [stop for stop in stops if not stop.spec.close_position]
    floors = [stop for stop in stops if stop.spec.close_position]
    whole = all(stop.spec.qty == qty for stop in moving)
    floors_max = 1 if venue == "binance" else 0
    is_one = len(moving) <= 1 and len(floors) <= floors_max and len(stops) >= 1
    return is_one and whole and len(world.targets(venue)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_scenario_07_stop_on_the_wrong_side(play: "Play", tmp_path: Path, seed: int) -> None:
    """Scenario 7 (R26, R29, R40, R47): any side and price: stop and target straddle the mark."""
    rng = random.Random(seed)
    prices = {f"P{n}USDT": (round(10 ** rng.uniform(-3, 5), 6),) for n in range(4)} | {
        "BTCUSDT": (round(rng.uniform(3_000, 200_000), 1),)
    }
    sides = {symbol: rng.choice(SIDES) for symbol in prices}

    async def scenario(world: "World") -> None:
        await world.ready()
        for venue in VENUE_NAMES:
            for symbol, side in sides.items():
                stop_pct = f"{rng.uniform(0.4, 3):.3f}"
                target_pct = f"{rng.uniform(0.4, 6):.3f}"
                _ = world.signal(venue, symbol, side, stop_pct=stop_pct, target_pct=target_pct)
        await asyncio.sleep(10)

    world = play(
        tmp_path,
        scenario,
        prices=prices,
        settings={"positions_max": 10, "positions_max_per_venue": 5, "timeframes": ("5m",)},
    )

    assert 2 * len(prices) == len(world.of(EntryCompleted)) + len(
        [*world.of(SignalDropped), *world.of(IntentDenied)]
    ), world.of(IntentDenied)
    assert len(world.of(EntryCompleted)) >= len(prices)
    for opened in world.of(EntryCompleted):
        position, at = opened.position, opened.position.instrument_id
        venue: VenueName = "binance" if at.venue is Venue.BINANCE else "bybit"
        engine, sign = world.engine(venue), position.side.sign
        mark = Decimal(repr(engine.quote(at.symbol).mark))
        tick = engine.instruments[at.symbol].tick_size
        stops, targets = world.stops(venue, at.symbol), world.targets(venue, at.symbol)
        assert sign == engine.positions[at.symbol].qty_sign
        assert stops
        assert 1 == len(targets)
        for order in stops:
            assert (mark - level_of(order)) * sign > 0, (at, position.side, mark, level_of(order))
            assert 0 == level_of(order) % tick
        assert (level_of(targets[0]) - mark) * sign > 0
        assert 0 == level_of(targets[0]) % tick
        assert position.entry_px_avg is not None
        nearest = min(abs(position.entry_px_avg - level_of(order)) for order in stops)
        assert nearest * position.qty <= Decimal(10_000) * Decimal("0.5") / 100 * Decimal("1.02")
    assert [] == world.faults_of_code()


@both_ways
@both_venues
@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@pytest.mark.parametrize("side", SIDES)
def test_scenario_09_hedge_vs_one_way(
    play: "Play", tmp_path: Path, venue: VenueName, way: str, mode: str, side: PositionSide
) -> None:
    """Scenario 9 (R41): in both modes open, stop, a part closed by hand, and close are accepted."""

    async def scenario(world: "World") -> None:
        engine = world.engine(venue)
        if mode == "hedge":
            engine.set_hedge_mode(hedge=True)
        await world.ready()
        await world.open(venue, side=side)
        assert one_stop_and_one_target(world, venue)
        (leg,) = engine.held()
        by_hand = OrderSpec(
            symbol="BTCUSDT",
            client_id="by-hand",
            side=side.exit_side,
            order_type=OrderType.MARKET,
            qty=engine.instruments["BTCUSDT"].qty_step * 20,
            reduce_only=True,
            leg=leg.leg,
        )
        _ = engine.place(by_hand)
        await asyncio.sleep(5)
        assert one_stop_and_one_target(world, venue)
        _ = world.bot.exit.close_all(CloseCause.FLATTEN, Purpose.CLOSE_FLATTEN, "a scenario")
        await world.until(lambda: world.qty(venue) == 0)
        await asyncio.sleep(10)

    world = play(tmp_path, scenario, settings={"order_entry": way})

    assert [] == world.of(VenueUnavailable)
    assert 1 == len(world.entries(venue))
    assert [] == world.engine(venue).held()
    assert [] == list(world.engine(venue).open_orders("BTCUSDT"))
    refused = [e.error for e in world.of(ApiCalled) if e.error_class == "VenueRefused"]
    assert [] == refused
    assert world.gap_ms(venue) < 100
    assert [CloseCause.FLATTEN] == [e.cause for e in world.of(PositionClosed)]
    assert [] == [*world.conservation().violations, *world.faults_of_code()]


@both_ways
@both_venues
@pytest.mark.parametrize("side", SIDES)
def test_scenario_19_stop_from_the_signal_price(
    play: "Play", tmp_path: Path, venue: VenueName, way: str, side: PositionSide
) -> None:
    """Scenario 19 (R33, R34): filled in parts up to 50 % away: the stop is from the VWAP."""
    # Levels that travel with the entry would close it at once beyond them: Bybit fills less far.
    off, more = (0.5, 0.005) if venue == "binance" else (0.01, 0.003)
    far = 60_000.0 * (1 + off * side.sign)
    farther = far * (1 + more * side.sign)

    async def scenario(world: "World") -> None:
        await world.ready()
        _ = world.desk[venue].match_late([(85.0, "0.4"), (145.0, "1")])
        _ = world.signal(venue, side=side)
        await world.until(lambda: world.of(EntryCompleted), within_s=200, every_s=0.1)
        await asyncio.sleep(5)

    world = play(
        tmp_path,
        scenario,
        prices={"BTCUSDT": (60_000.0, 60_000.0, far, farther), "ETHUSDT": (3_000.0,)},
        settings={"order_entry": way},
    )

    (order,) = world.entries(venue)
    (opened,) = world.of(PositionOpened)
    (completed,) = world.of(EntryCompleted)
    entry, sign = order.average_px, side.sign
    assert abs(entry - 60_000) > 60_000 * Decimal(repr(off))
    assert entry == completed.position.entry_px_avg
    assert opened.position.first_fill_px is not None
    assert abs(opened.position.first_fill_px - entry) > 50
    tick = world.engine(venue).instruments["BTCUSDT"].tick_size
    toward = Rounding.UP if side is PositionSide.LONG else Rounding.DOWN
    away = Rounding.DOWN if side is PositionSide.LONG else Rounding.UP
    stops = [level_of(stop) for stop in world.stops(venue)]
    assert round_to_grid(entry - sign * 600, tick, toward) in stops
    # Where the target is an order of its own it stays where the first fill put it.
    aimed_at = opened.position.first_fill_px if venue == "binance" else entry
    assert [round_to_grid(aimed_at + sign * 1_200, tick, away)] == [
        level_of(target) for target in world.targets(venue)
    ]
    assert [] == world.of(PositionClosed)
    assert world.qty(venue) * sign == order.filled_qty
    assert one_stop_and_one_target(world, venue)
    assert world.gap_ms(venue) < 100
    assert [] == [*world.conservation().violations, *world.faults_of_code()]


def test_scenario_19_a_fill_beyond_the_levels_it_carries(play: "Play", tmp_path: Path) -> None:
    """Scenario 19: on Bybit a fill 50 % away fires what it carries: flat, and the books balance."""

    async def scenario(world: "World") -> None:
        await world.ready()
        _ = world.desk["bybit"].match_late([(110.0, "1")])
        _ = world.signal("bybit")
        await world.until(lambda: world.of(PositionClosed), within_s=130, every_s=0.1)
        await asyncio.sleep(60)

    prices = {"BTCUSDT": (60_000.0, 60_000.0, 90_000.0), "ETHUSDT": (3_000.0,)}
    world = play(tmp_path, scenario, prices=prices)

    assert 0 == world.qty("bybit")
    assert [CloseCause.TP] == [e.cause for e in world.of(PositionClosed)]
    assert [] == [*world.conservation().violations, *world.faults_of_code()]


@both_ways
@both_venues
def test_scenario_21_two_stop_owners(
    play: "Play", tmp_path: Path, venue: VenueName, way: str
) -> None:
    """Scenario 21 (R48, R50): after 100 moves there is one stop and one target, and never a gap."""
    levels: list[Decimal] = []
    crowds: list[int] = []

    async def scenario(world: "World") -> None:
        await world.ready()
        world.engine(venue).set_quote_interval(NS_PER_S)
        await world.open(venue, target_pct="50")
        until_s = world.loop.time() + 600
        while len(levels) < 110 and world.loop.time() < until_s:
            await asyncio.sleep(0.05)
            crowds.append(len(world.stops(venue)))
            level = effective(world, venue)
            if not levels or level != levels[-1]:
                levels.append(level)
        await asyncio.sleep(5)

    world = play(
        tmp_path,
        scenario,
        prices=RISE,
        settings={"order_entry": way, "max_stop_pct": 3.0, **TRAIL},
    )

    assert len(levels) > 100
    assert sorted(levels) == levels
    assert one_stop_and_one_target(world, venue)
    assert max(crowds) <= (3 if venue == "binance" else 1)
    assert world.gap_ms(venue) < 100
    assert [] == world.of(PositionClosed)
    assert [] == world.faults_of_code()


@both_venues
def test_scenario_22_optimistic_trailing(play: "Play", tmp_path: Path, venue: VenueName) -> None:
    """Scenario 22 (R48, R49): ten moves refused, then a kill: the old stop stays."""
    levels: list[Decimal] = []

    async def before(world: "World") -> None:
        await world.ready()
        world.engine(venue).set_quote_interval(NS_PER_S)
        await world.open(venue, target_pct="50")
        await world.until(lambda: effective(world, venue) > 59_500, within_s=120, every_s=0.2)
        refused = world.desk[venue].refuse_stops()
        levels.append(effective(world, venue))
        for _ in range(6_000):
            await asyncio.sleep(0.05)
            levels.append(effective(world, venue))
            if len(refused) >= 10:
                break
        assert len(refused) >= 10
        world.crash()

    async def after(world: "World") -> None:
        levels.append(effective(world, venue))
        world.wire[venue].refuse("protection", 10001, "not now")
        world.wire[venue].refuse("stop", -1111, "not now")
        await world.ready()
        await asyncio.sleep(10)
        levels.append(effective(world, venue))

    first = play(tmp_path, before, prices=RISE, settings=TRAIL)
    second = play(tmp_path, after, prices=RISE, settings=TRAIL, after=first)

    assert 1 == len(set(levels)), levels
    assert first.qty(venue) == second.qty(venue) > 0
    believed = [e.stop_price for e in second.of(ProtectionConfirmed)]
    assert levels[-1:] == believed[:1]
    assert second.gap_ms(venue) < 100
    assert [] == second.of(PositionClosed)
    assert [] == second.faults_of_code()


def sent(world: "World", venue: VenueName) -> bool:
    """The entry has reached the venue and nobody knows."""
    return bool(world.entries(venue))


def naked(world: "World", venue: VenueName) -> bool:
    """The venue holds a position, told or not."""
    return world.qty(venue) != 0


def covered(world: "World", venue: VenueName) -> bool:
    """The first stop rests."""
    return bool(world.stops(venue))


def trailing(world: "World", venue: VenueName) -> bool:
    """The stop has begun to follow."""
    return world.qty(venue) != 0 and bool(world.stops(venue)) and effective(world, venue) > 59_500


def replacing(world: "World", venue: VenueName) -> bool:
    """A move is under way: on Binance the old and the new one rest together."""
    if venue == "bybit":
        return trailing(world, venue) and effective(world, venue) > 59_900
    return len([s for s in world.stops(venue) if not s.spec.close_position]) > 1


@both_venues
@pytest.mark.parametrize("step", [sent, naked, covered, trailing, replacing])
def test_scenario_23_trailing_state_lost_or_stale(
    play: "Play",
    tmp_path: Path,
    venue: VenueName,
    step: Callable[["World", VenueName], bool],
) -> None:
    """Scenario 23 (R51, R53): killed at each step, the trail goes on from what the venue has."""
    kept: list[Decimal] = []

    async def before(world: "World") -> None:
        await world.ready()
        world.engine(venue).set_quote_interval(NS_PER_S)
        _ = world.signal(venue, target_pct="50")
        until_s = world.loop.time() + 300
        while not step(world, venue):
            assert world.loop.time() < until_s
            await asyncio.sleep(0.001)
        world.crash()

    async def after(world: "World") -> None:
        if world.stops(venue):
            kept.append(effective(world, venue))
        world.engine(venue).set_quote_interval(NS_PER_S)
        await world.ready()
        await world.until(lambda: world.stops(venue), within_s=5)
        await world.until(lambda: trailing(world, venue), within_s=150, every_s=0.2)
        for _ in range(120):
            kept.append(effective(world, venue))
            await asyncio.sleep(1)
        kept.append(effective(world, venue))

    first = play(tmp_path, before, prices=RISE, settings=TRAIL)
    world = play(tmp_path, after, prices=RISE, settings=TRAIL, after=first)

    assert 1 == len(world.entries(venue))
    assert sorted(kept) == kept
    assert kept[-1] > kept[0]
    assert one_stop_and_one_target(world, venue)
    assert world.gap_ms(venue) < 3_500
    assert [] == world.of(PositionClosed)
    assert [] == [*world.conservation().violations, *world.faults_of_code()]


@both_venues
def test_scenario_23_the_opposite_side_within_a_second(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """Scenario 23 (R51): nothing of a trailed long is left in the short opened a second later."""

    async def scenario(world: "World") -> None:
        await world.ready()
        world.engine(venue).set_quote_interval(NS_PER_S)
        await world.open(venue, target_pct="50")
        await world.until(lambda: effective(world, venue) > 59_700, within_s=200, every_s=0.2)
        _ = world.bot.exit.close_all(CloseCause.FLATTEN, Purpose.CLOSE_FLATTEN, "a scenario")
        await world.until(lambda: world.of(PositionClosed))
        begun_s = world.loop.time()
        while world.qty(venue) == 0:
            _ = world.signal(venue, side=PositionSide.SHORT)
            await asyncio.sleep(0.1)
            assert world.loop.time() - begun_s < 10.0, world.events[-8:]
        await asyncio.sleep(8)

    world = play(tmp_path, scenario, prices=RISE, settings=TRAIL)

    completed = world.of(EntryCompleted)[-1].position
    assert completed.side is PositionSide.SHORT
    assert completed.entry_px_avg is not None
    assert completed.plan is not None
    assert 0 > world.qty(venue)
    assert one_stop_and_one_target(world, venue)
    above = level_of(world.stops(venue)[-1]) - completed.entry_px_avg
    assert abs(above - completed.plan.stop_distance) <= Decimal("20")
    live = {EngineStatus.UNTRIGGERED, EngineStatus.NEW}
    rest = [o for o in world.engine(venue).open_orders("BTCUSDT") if o.status in live]
    assert {o.order_id for o in rest} == {
        o.order_id for o in (*world.stops(venue), *world.targets(venue))
    }
    assert [] == world.faults_of_code()
