"""The stop that rests before its entry: no gap, not even for a process that dies in between."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.model.events import (
    EntryFailed,
    OrderAdvanced,
    OrderSubmitted,
    PositionOpened,
    ProtectionConfirmed,
)
from aegis.model.order import OrderType, Purpose
from aegis.twin.engine.api import EngineStatus

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World

ONLY_BINANCE = ("binance",)
ways = pytest.mark.parametrize("way", ["ws", "rest"])


def first_stops(world: "World") -> list[str]:
    """Return the client ids of the stops that were sent before an entry."""
    told = [e.request for e in world.of(OrderSubmitted)]
    return [r.client_order_id for r in told if r.purpose is Purpose.STOP_ENTRY]


def resting(world: "World") -> list[str]:
    """Return the client ids of the conditional orders that rest on Binance, the oldest first."""
    return [
        order.spec.client_id
        for order in world.engine("binance").open_orders("BTCUSDT")
        if order.status is EngineStatus.UNTRIGGERED
    ]


@ways
def test_a_stop_rests_before_the_entry_leaves(play: "Play", tmp_path: Path, way: str) -> None:
    """R45, R46, Decisions: on Binance a position is born with its stop; one of the two remains."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open("binance")
        await asyncio.sleep(5)

    world = play(tmp_path, scenario, venues=ONLY_BINANCE, settings={"order_entry": way})

    (stop,) = first_stops(world)
    (entry,) = world.entries("binance")
    orders = world.engine("binance").all_orders("BTCUSDT")
    (placed,) = [order for order in orders if order.spec.client_id == stop]
    assert placed.spec.order_type is OrderType.STOP_MARKET
    assert placed.spec.reduce_only
    assert placed.spec.qty == entry.filled_qty
    assert placed.created_ns < entry.created_ns
    assert 0 == world.gap_ms("binance")
    (told,) = world.of(ProtectionConfirmed)
    assert 0 == told.naked_ns
    # The stop at the entry price's distance took its place.
    assert stop not in resting(world)
    assert 1 == len(world.stops("binance"))
    assert [] == [*world.conservation().violations, *world.faults_of_code()]


def test_without_the_setting_the_entry_leaves_at_once(play: "Play", tmp_path: Path) -> None:
    """`stop_before_entry` off: no request before the entry, and the gap of a round trip."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open("binance")

    world = play(tmp_path, scenario, venues=ONLY_BINANCE, settings={"stop_before_entry": False})

    assert [] == first_stops(world)
    assert world.gap_ms("binance") > 0


@ways
def test_a_kill_between_entry_and_fill_leaves_the_position_with_its_stop(
    play: "Play", tmp_path: Path, way: str
) -> None:
    """R49: dead for five minutes right after the entry left, and never a moment without a stop."""

    async def die(world: "World") -> None:
        await world.ready()
        _ = world.signal("binance")
        await world.until(lambda: world.entries("binance"), every_s=0.001)
        world.crash()

    settings = {"order_entry": way}
    dead = play(tmp_path, die, venues=ONLY_BINANCE, settings=settings)
    (stop,) = resting(dead)
    assert stop.endswith("-SE1")

    async def back(world: "World") -> None:
        await world.ready()
        await asyncio.sleep(90)

    again = play(tmp_path, back, venues=ONLY_BINANCE, settings=settings, after=dead)

    assert again.qty("binance") > 0
    assert 0 == again.gap_ms("binance")
    assert 1 == len(again.stops("binance"))
    assert 1 == len(again.targets("binance"))
    opened = {e.position.position_id for e in again.of(PositionOpened) if not e.position.adopted}
    assert {stop.removesuffix("-SE1")} == opened


@ways
@pytest.mark.parametrize("fault", ["refused", "request lost", "answer lost"])
def test_an_entry_whose_stop_does_not_rest_does_not_leave(
    play: "Play", tmp_path: Path, way: str, fault: str
) -> None:
    """Decisions: no stop, no entry; a stop that rests all the same is taken away again (R62)."""

    async def scenario(world: "World") -> None:
        await world.ready()
        wire = world.wire["binance"]
        if fault == "refused":
            _ = wire.refuse("stop", -2021, "Order would immediately trigger.", times=1)
        elif fault == "request lost":
            _ = wire.lose_request("stop", times=1)
        else:
            _ = wire.lose_answer("stop", times=1)
        _ = world.signal("binance")
        await world.until(lambda: world.of(EntryFailed), within_s=30)
        await asyncio.sleep(60)

    world = play(tmp_path, scenario, venues=ONLY_BINANCE, settings={"order_entry": way})

    assert [] == world.entries("binance")
    assert Decimal(0) == world.qty("binance")
    assert [] == resting(world)
    assert [] == [*world.conservation().violations, *world.faults_of_code()]


def test_a_venue_that_takes_no_such_stop_gets_its_entries_without(
    play: "Play", tmp_path: Path
) -> None:
    """Only "no position" lets an entry leave without its stop, and then it is asked never again."""

    async def scenario(world: "World") -> None:
        await world.ready()
        wire = world.wire["binance"]
        text = "Time in Force (TIF) GTE can only be used with open positions."
        _ = wire.refuse("stop", -4509, text, times=1)
        await world.open("binance")
        await world.open("binance", "ETHUSDT")

    world = play(tmp_path, scenario, venues=ONLY_BINANCE)

    (stop,) = first_stops(world)
    refused = [e for e in world.of(OrderAdvanced) if e.client_order_id == stop]
    assert "-4509" == refused[-1].code
    assert world.qty("binance") > 0
    assert world.qty("binance", "ETHUSDT") > 0


def test_an_entry_that_is_refused_leaves_no_stop_behind(play: "Play", tmp_path: Path) -> None:
    """R62: the stop of an entry that the venue refused is canceled once flat is sure."""

    async def scenario(world: "World") -> None:
        await world.ready()
        _ = world.wire["binance"].refuse("entry", -2019, "Margin is insufficient.")
        _ = world.signal("binance")
        await world.until(lambda: world.of(EntryFailed), within_s=30)
        assert 1 == len(resting(world))
        await asyncio.sleep(30)

    world = play(tmp_path, scenario, venues=ONLY_BINANCE)

    assert [] == resting(world)
    assert Decimal(0) == world.qty("binance")


def test_an_entry_that_fills_late_keeps_its_stop(play: "Play", tmp_path: Path) -> None:
    """R32: while the entry may still fill, its stop is no leftover, however long that takes."""

    async def scenario(world: "World") -> None:
        await world.ready()
        _ = world.desk["binance"].match_late([(60.0, "1")])
        _ = world.signal("binance")
        await asyncio.sleep(55)
        assert 1 == len(resting(world))
        await world.until(lambda: world.qty("binance") != 0, within_s=15)
        await asyncio.sleep(5)

    world = play(tmp_path, scenario, venues=ONLY_BINANCE)

    assert 0 == world.gap_ms("binance")
    assert world.stops("binance")


def test_a_stop_that_ended_before_its_answer_came_lets_no_entry_leave(
    play: "Play", tmp_path: Path
) -> None:
    """Decisions: what the stream told meanwhile counts, not the late answer that it rests."""

    async def scenario(world: "World") -> None:
        await world.ready()
        _ = world.wire["binance"].slow("stop", 1.8, times=1)
        _ = world.signal("binance")
        await world.until(lambda: resting(world))
        world.engine("binance").cancel(world.engine("binance").open_orders("BTCUSDT")[0])
        await world.until(lambda: world.of(EntryFailed), within_s=10)
        await asyncio.sleep(5)

    world = play(tmp_path, scenario, venues=ONLY_BINANCE, settings={"order_entry": "rest"})

    assert [] == world.entries("binance")
    assert "its stop has ended" in world.of(EntryFailed)[0].reason


def test_a_restart_leaves_the_stop_of_an_entry_that_may_still_fill(
    play: "Play", tmp_path: Path
) -> None:
    """R49, R62: the entry of the run before is accepted and fills 15 s later: never a gap."""

    async def die(world: "World") -> None:
        await world.ready()
        _ = world.desk["binance"].match_late([(15.0, "1")])
        _ = world.signal("binance")
        await world.until(lambda: world.entries("binance"), every_s=0.001)
        world.crash()

    async def back(world: "World") -> None:
        await world.ready()
        (entry,) = world.entries("binance")
        await asyncio.sleep(8)
        assert 1 == len(resting(world))
        world.desk["binance"]._match(entry, Decimal(1))
        await world.until(lambda: world.stops("binance") and world.targets("binance"))
        await asyncio.sleep(5)

    dead = play(tmp_path, die, venues=ONLY_BINANCE)
    again = play(tmp_path, back, venues=ONLY_BINANCE, after=dead)

    assert again.qty("binance") > 0
    assert 0 == again.gap_ms("binance")
    assert 1 == len(again.stops("binance"))
