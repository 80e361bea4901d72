"""A start that cannot look: what the journal says is open gets its stop all the same (R88)."""

import asyncio
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.core.errors import Problem, VenueUnreachable
from aegis.model.events import (
    AlertRaised,
    OrderSubmitted,
    PositionClosed,
    PositionOpened,
    SnapshotReported,
    VenueProtected,
    VenueUnavailable,
)
from aegis.model.instrument import Venue
from aegis.model.order import PositionSide
from aegis.model.position import CloseCause
from aegis.twin.boot import VENUE_NAMES, VenueName
from aegis.twin.engine.api import Leg

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World

both_venues = pytest.mark.parametrize("venue", VENUE_NAMES)
OUTAGE_S = 90
RISE = {"BTCUSDT": (60_000.0, 60_000.0, 61_500.0), "ETHUSDT": (3_000.0,)}


def blind(world: "World", venue: VenueName, *kinds: str) -> None:
    """Let those questions fail until OUTAGE_S have passed."""
    for kind in kinds:
        world.loop.call_later(OUTAGE_S, world.wire[venue].fail(kind, 502).end)


def take_stops_away(world: "World", venue: VenueName) -> None:
    """Cancel every stop at the venue, as a person could while no process lives."""
    engine = world.engine(venue)
    for order in [*world.stops(venue), *world.targets(venue)]:
        engine.cancel(order)
    assert [] == world.stops(venue)


def until_seen(world: "World", venue: VenueName) -> list[SnapshotReported]:
    """Return the looks at the venue so far."""
    here = Venue(venue.upper())
    return [e for e in world.of(SnapshotReported) if e.snapshot.venue is here]


async def come_back(world: "World", venue: VenueName) -> None:
    """Wait for the end of the outage and for entries to be allowed again."""
    here = Venue(venue.upper())

    def is_up() -> bool:
        return any(e.venue is here for e in world.of(VenueProtected))

    await world.until(is_up, within_s=OUTAGE_S + 20, every_s=0.1)


@both_venues
@pytest.mark.parametrize("lists", ["orders told", "orders unknown"])
def test_a_naked_position_gets_its_stop_before_the_venue_can_be_looked_at(
    play: "Play", tmp_path: Path, venue: VenueName, lists: str
) -> None:
    """R88: positions cannot be asked for; the journal knows one whose stop is gone: 2 s."""

    async def before(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        take_stops_away(world, venue)
        world.crash()

    async def after(world: "World") -> None:
        blind(world, venue, "positions", *(["orders"] if lists == "orders unknown" else []))
        await world.until(lambda: world.stops(venue), within_s=2)
        assert [] == until_seen(world, venue)
        assert [] == [e for e in world.of(VenueProtected) if e.venue is Venue(venue.upper())]
        await come_back(world, venue)
        await asyncio.sleep(5)

    first = play(tmp_path, before)
    world = play(tmp_path, after, after=first)

    assert world.qty(venue) == first.qty(venue) > 0
    assert 1 == len(world.stops(venue)) == len(world.targets(venue))
    assert [] == world.of(PositionClosed)
    (opened,) = world.of(PositionOpened)
    assert opened.taken_over
    assert [] == world.faults_of_code()


@both_venues
def test_in_hedge_mode_the_stop_is_for_the_leg_that_is_open(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R41, R88: the mode cannot be asked for either: fills, or orders, of the leg tell it."""

    async def before(world: "World") -> None:
        world.engine(venue).set_hedge_mode(hedge=True)
        await world.ready()
        await world.open(venue, side=PositionSide.SHORT)
        take_stops_away(world, venue)
        world.crash()

    async def after(world: "World") -> None:
        blind(world, venue, "positions")
        await world.until(lambda: world.stops(venue), within_s=2)
        (stop,) = world.stops(venue)
        assert Leg.SHORT is stop.spec.leg
        await come_back(world, venue)

    first = play(tmp_path, before)
    world = play(tmp_path, after, after=first)

    assert world.qty(venue) < 0
    assert [] == [*world.of(PositionClosed), *world.faults_of_code()]


@both_venues
def test_a_fill_the_journal_never_saw_is_protected_unseen(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R88: killed as the entry left, then positions fail for minutes (sim seed 105): a stop."""

    async def before(world: "World") -> None:
        await world.ready()
        _ = world.frames[venue].drop(*world.frames[venue].ACCOUNT)
        _ = world.wire[venue].lose_answer("entry")
        if venue == "bybit":
            world.desk[venue].leave_attached_away()
        _ = world.signal(venue)
        await world.until(lambda: world.qty(venue) != 0)
        await world.until(lambda: world.of(OrderSubmitted))
        world.crash()

    async def after(world: "World") -> None:
        blind(world, venue, "positions")
        await world.until(lambda: world.stops(venue), within_s=2)
        await come_back(world, venue)
        await asyncio.sleep(5)

    first = play(tmp_path, before)
    world = play(tmp_path, after, after=first)

    assert world.qty(venue) > 0
    assert world.stops(venue)
    assert [] == [*world.of(PositionClosed), *world.faults_of_code()]


@both_venues
def test_a_stop_that_rests_is_neither_doubled_nor_loosened_unseen(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R48, R51: a trailed stop that nobody can see stays: no cancel, no second floor, no close."""
    trail = {"trail_start_r": 0.5, "trail_distance_r": 1.0, "trail_step_r": 0.1}
    levels: list[object] = []

    def tightest(world: "World") -> object:
        return max(s.spec.trigger_price for s in world.stops(venue) if s.spec.trigger_price)

    async def before(world: "World") -> None:
        await world.ready()
        await world.open(venue, target_pct="9")
        begun = tightest(world)
        await world.until(lambda: world.engine(venue).quote("BTCUSDT").mark >= 61_450, within_s=200)
        await asyncio.sleep(30)
        assert tightest(world) != begun
        levels.append(tightest(world))
        world.crash()

    async def after(world: "World") -> None:
        blind(world, venue, "positions", "orders")
        for _ in range(OUTAGE_S):
            await asyncio.sleep(1)
            assert tightest(world) == levels[0]
        await come_back(world, venue)
        await asyncio.sleep(5)
        assert tightest(world) == levels[0]

    first = play(tmp_path, before, prices=RISE, settings=trail)
    world = play(tmp_path, after, prices=RISE, settings=trail, after=first)

    floors = [s for s in world.stops(venue) if s.spec.close_position]
    assert len(floors) <= 1
    assert [] == [*world.of(PositionClosed), *world.faults_of_code()]
    canceled = [a for a in world.wire[venue].asked if a.kind == "cancel"]
    assert [] == canceled[: len(canceled) - 2]


@both_venues
def test_a_position_that_is_gone_is_not_chased(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R61: closed while no process lived: "no position" is heard, asked ever more rarely, ended."""
    asked: list[str] = []

    async def before(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        world.crash()

    async def after(world: "World") -> None:
        # Gone without a fill that could be told, as after a transfer of the position.
        blind(world, venue, "positions", "orders")
        take_stops_away(world, venue)
        blind(world, venue, "executions")
        engine = world.engine(venue)
        (leg,) = [leg for leg in engine.legs("BTCUSDT") if leg.qty]
        leg.qty *= 0
        await asyncio.sleep(OUTAGE_S - 10)
        asked.extend(each.kind for each in world.wire[venue].asked)
        await come_back(world, venue)
        await world.until(lambda: world.of(PositionClosed), within_s=60, every_s=0.1)

    first = play(tmp_path, before)
    world = play(tmp_path, after, after=first)

    assert 0 == world.qty(venue)
    assert 0 == asked.count("close")
    assert 0 < asked.count("stop") + asked.count("protection") <= 8
    assert [CloseCause.EXTERNAL] == [e.cause for e in world.of(PositionClosed)]
    assert [] == world.faults_of_code()


@both_venues
def test_entries_go_on_after_a_start_that_could_not_look(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R88: unseen no entry is allowed; seen again the account is sure and entries leave."""

    async def before(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        world.crash()

    async def after(world: "World") -> None:
        blind(world, venue, "positions", "orders")
        await asyncio.sleep(30)
        _ = world.signal(venue, "ETHUSDT")
        await asyncio.sleep(5)
        assert [] == world.entries(venue, "ETHUSDT")
        await come_back(world, venue)
        await world.ready()
        await asyncio.sleep(2)
        await world.open(venue, "ETHUSDT")

    first = play(tmp_path, before)
    world = play(tmp_path, after, after=first)

    assert world.qty(venue, "ETHUSDT") > 0
    assert "venue_unseen" in {e.rule for e in world.of(AlertRaised)}
    assert [] == [*world.of(PositionClosed), *world.faults_of_code()]


@both_venues
def test_a_venue_behind_a_gate_is_tried_again_until_the_gate_opens(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R84: down in a live start's check: asked ever more rarely, told each time, entered after."""
    here = Venue(venue.upper())
    asked_s: list[float] = []

    async def gate_of(world: "World") -> tuple[Problem, ...]:
        asked_s.append(world.loop.time())
        if len(asked_s) <= 3:
            raise VenueUnreachable("down", venue=here.value, operation="start check")
        stale = Problem(name="doctor", value="never", allowed="clean", fix="run the doctor")
        return (stale,) if len(asked_s) <= 5 else ()

    async def scenario(world: "World") -> None:
        world.bot.gates[here] = partial(gate_of, world)
        await asyncio.sleep(25)
        _ = world.signal(venue)
        await asyncio.sleep(2)
        assert [] == world.entries(venue)
        await world.ready()
        await world.open(venue)

    world = play(tmp_path, scenario)

    pauses = [later - before for before, later in pairwise(asked_s)]
    assert 6 == len(asked_s)
    assert pauses == sorted(pauses)
    told = [e for e in world.of(VenueUnavailable) if e.venue is here]
    assert 5 == len(told)
    assert "run the doctor" in told[-1].error
    assert world.qty(venue) > 0
    assert [] == world.faults_of_code()


@both_venues
def test_a_venue_that_answers_nothing_is_asked_every_five_seconds_where_something_is_open(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R88: what is open there may have lost its stop: the first word is not a minute away."""

    async def before(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        take_stops_away(world, venue)
        world.crash()

    async def after(world: "World") -> None:
        everything = world.wire[venue].lose_request(lambda _asked: True)
        await asyncio.sleep(170)
        everything.end()
        # Its own time-out is what the question under way may still take.
        await world.until(lambda: world.stops(venue), within_s=20)

    first = play(tmp_path, before)
    world = play(tmp_path, after, after=first)

    told = [e.ts_event for e in world.of(VenueUnavailable) if e.venue is Venue(venue.upper())]
    assert len(told) > 5
    assert 1 == len(world.stops(venue))


@both_venues
def test_a_venue_that_refuses_a_start_is_not_given_up_where_something_is_open(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R88: a key, or a clock, that is put right a minute later: what is open there is taken up."""
    code, text = (-2015, "Invalid API-key.") if venue == "binance" else (10003, "API key invalid.")

    async def before(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        world.crash()

    async def after(world: "World") -> None:
        refused = world.wire[venue].refuse(lambda _asked: True, code, text)
        await asyncio.sleep(100)
        assert [] == [e for e in world.of(VenueProtected) if e.venue is Venue(venue.upper())]
        refused.end()
        await come_back(world, venue)

    first = play(tmp_path, before)
    world = play(tmp_path, after, after=first)

    assert world.qty(venue) == first.qty(venue) > 0
    (opened,) = {e.position.position_id for e in world.of(PositionOpened)}
    assert opened.startswith("test-1-")
    assert [] == world.faults_of_code()
