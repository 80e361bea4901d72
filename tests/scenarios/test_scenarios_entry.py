"""Scenarios of the way in: one signal, one order, one position, whatever is lost or late."""

import asyncio
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.app.state import StateLock
from aegis.model.events import (
    EntryCompleted,
    EntryFailed,
    FillBooked,
    OrderAdvanced,
    OrderSubmitted,
    PositionClosed,
    PositionOpened,
    SignalDropped,
)
from aegis.model.order import OrderSide, OrderStatus, PositionSide
from aegis.twin.boot import VENUE_NAMES, VenueName

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World

both_venues = pytest.mark.parametrize("venue", VENUE_NAMES)
both_ways = pytest.mark.parametrize("way", ["ws", "rest"])


def sound(world: "World") -> list[str]:
    """Return what the journal's books and the bot's own code complain about; none is a pass."""
    return [*world.conservation().violations, *world.faults_of_code()]


@both_ways
@both_venues
def test_scenario_04_ghost_fill(play: "Play", tmp_path: Path, venue: VenueName, way: str) -> None:
    """Scenario 4 (R32, R33): accepted as NEW and filled 3 s later is one FILLED at a real price."""

    async def scenario(world: "World") -> None:
        await world.ready()
        late = world.desk[venue].match_late([(3.0, "1")])
        _ = world.signal(venue)
        await asyncio.sleep(2.5)
        assert 1 == len(late)
        assert 0 == world.qty(venue)
        assert [] == world.of(PositionOpened)
        assert [] == world.of(FillBooked)
        await world.until(lambda: world.stops(venue) and world.of(EntryCompleted))
        await asyncio.sleep(20)

    world = play(tmp_path, scenario, settings={"order_entry": way})

    (order,) = world.entries(venue)
    filled = [
        e
        for e in world.of(OrderAdvanced)
        if e.client_order_id == order.spec.client_id and e.status is OrderStatus.FILLED
    ]
    (completed,) = world.of(EntryCompleted)
    assert [order.average_px] == [e.average_px for e in filled]
    assert order.average_px > 0
    assert order.average_px == completed.position.entry_px_avg
    assert order.filled_qty == world.qty(venue) == completed.position.qty
    assert all(e.fill.last_px > 0 and e.fill.last_qty > 0 for e in world.of(FillBooked))
    assert world.gap_ms(venue) < 100
    assert [] == sound(world)


@both_ways
@both_venues
@pytest.mark.parametrize("fault", ["lost", "502"])
def test_scenario_11_retry_duplicates_the_order(
    play: "Play", tmp_path: Path, venue: VenueName, way: str, fault: str
) -> None:
    """Scenario 11 (R30): a time-out after the venue accepted leaves exactly one position."""

    async def scenario(world: "World") -> None:
        await world.ready()
        # The stream says nothing either for a while: only a question can resolve it.
        mute = world.frames[venue].drop(*world.frames[venue].ACCOUNT)
        rule = world.wire[venue].spoil_answer("entry", fault)
        _ = world.signal(venue)
        await world.until(lambda: rule.hits)
        await asyncio.sleep(1)
        mute.end()
        await world.until(lambda: world.of(EntryCompleted), within_s=15)
        await asyncio.sleep(30)

    world = play(tmp_path, scenario, settings={"order_entry": way})

    (order,) = world.entries(venue)
    assert order.filled_qty == world.qty(venue)
    sent = [
        e for e in world.of(OrderSubmitted) if e.request.client_order_id == order.spec.client_id
    ]
    assert 1 == len(sent)
    assert 1 == len(world.of(PositionOpened))
    assert [] == world.of(EntryFailed)
    assert world.stops(venue)
    assert world.gap_ms(venue) < 3_500
    assert [] == sound(world)


@both_venues
def test_scenario_13_duplicate_positions(play: "Play", tmp_path: Path, venue: VenueName) -> None:
    """Scenario 13 (R36): fifty signals of one symbol at once make one order."""

    async def scenario(world: "World") -> None:
        await world.ready()
        for each in range(40):
            side = PositionSide.LONG if each % 2 == 0 else PositionSide.SHORT
            _ = world.signal(venue, side=side)
        for _ in range(10):
            await asyncio.sleep(0.034)
            _ = world.signal(venue)
        await asyncio.sleep(10)

    world = play(tmp_path, scenario)

    (order,) = world.entries(venue)
    assert order.filled_qty == abs(world.qty(venue)) > 0
    assert 49 == len(world.of(SignalDropped))
    assert [] == sound(world)


def test_scenario_13_a_second_process_is_refused(tmp_path: Path) -> None:
    """Scenario 13 (R86): a second process on the state directory ends with a code that is not 0."""
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    command = [sys.executable, "-m", "aegis", "--for", "1m", "--speed", "max"]
    command += ["--state-dir", os.path.relpath(state_dir, tmp_path)]
    with StateLock(state_dir):
        second = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    assert 0 != second.returncode
    assert str(os.getpid()) in second.stderr
    assert not (state_dir / "journal.db").exists()


def test_scenario_14_limit_defined_never_enforced(play: "Play", tmp_path: Path) -> None:
    """Scenario 14 (R37): limit plus 33 signals at once make exactly as many orders as allowed."""
    symbols = [f"S{number:02d}USDT" for number in range(38)]

    async def scenario(world: "World") -> None:
        await world.ready()
        for symbol in symbols:
            _ = world.signal("binance", symbol)
        await asyncio.sleep(10)

    world = play(
        tmp_path,
        scenario,
        prices=dict.fromkeys(symbols, (100.0,)),
        venues=("binance",),
        settings={
            "timeframes": ("5m",),
            "positions_max": 5,
            "positions_max_per_venue": 5,
            "risk_per_trade_pct": Decimal("0.1"),
        },
    )

    taken = [order for symbol in symbols for order in world.entries("binance", symbol)]
    assert 5 == len(taken)
    assert 5 == len(world.engine("binance").held())
    assert [] == sound(world)


def test_scenario_15_split_brain_duplicate_check(play: "Play", tmp_path: Path) -> None:
    """Scenario 15 (R36, R88): venues are independent, and a restart changes no verdict."""

    async def before(world: "World") -> None:
        await world.ready()
        await world.open("binance")
        await world.open("bybit", side=PositionSide.SHORT)
        for venue in VENUE_NAMES:
            _ = world.signal(venue)
        await asyncio.sleep(2)
        world.crash()

    async def after(world: "World") -> None:
        await world.ready()
        for venue in VENUE_NAMES:
            _ = world.signal(venue)
        await asyncio.sleep(2)
        await world.open("bybit", "ETHUSDT")

    first = play(tmp_path, before)
    second = play(tmp_path, after, after=first)

    for world in (first, second):
        assert [1, 1] == [len(world.entries(venue)) for venue in VENUE_NAMES]
        assert 2 == len(world.of(SignalDropped))
        assert world.qty("binance") > 0 > world.qty("bybit")
    assert first.qty("binance") == second.qty("binance")
    assert [] == second.of(PositionClosed)
    assert [OrderSide.BUY] == [o.spec.side for o in second.entries("bybit", "ETHUSDT")]
    assert [] == second.entries("binance", "ETHUSDT")
    assert [] == sound(second)


@both_venues
def test_an_entry_that_stalls_and_ends_unheard_is_still_followed_to_its_end(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R34, R35: a fifth filled, the rest given up after 40 s without a word: the entry is done."""

    async def scenario(world: "World") -> None:
        await world.ready()
        late = world.desk[venue].match_late([(0.01, "0.2")])
        _ = world.signal(venue)
        await world.until(lambda: world.stops(venue) and world.of(PositionOpened))
        await asyncio.sleep(40)
        mute = world.frames[venue].drop(*world.frames[venue].ACCOUNT)
        world.desk[venue].drop(late)
        await asyncio.sleep(5)
        mute.end()
        assert [] == world.of(EntryCompleted)
        await world.until(lambda: world.of(EntryCompleted), within_s=70)
        await asyncio.sleep(5)

    world = play(tmp_path, scenario)

    (entry,) = world.entries(venue)
    assert entry.filled_qty == world.qty(venue) > 0
    assert 1 == len(world.stops(venue))
    assert [] == sound(world)


def test_an_entry_told_as_working_whose_fill_is_lost_is_asked_for(
    play: "Play", tmp_path: Path
) -> None:
    """R30, R32: no answer, NEW told by the stream, the fill lost: found within 3 s (seed 170)."""

    async def scenario(world: "World") -> None:
        await world.ready()
        marks = (b'"FILLED"', b'"ACCOUNT_UPDATE"', b'"TRADE_LITE"')
        lost = world.frames["binance"].drop_if(lambda frame: any(m in frame for m in marks))
        rule = world.wire["binance"].spoil_answer("entry", "502")
        _ = world.signal("binance")
        await world.until(lambda: rule.hits)
        await asyncio.sleep(1)
        lost.end()
        await world.until(lambda: world.of(PositionOpened), within_s=5)
        await asyncio.sleep(5)

    settings = {"stop_before_entry": False, "reconcile_interval_s": 300.0}
    world = play(tmp_path, scenario, venues=("binance",), settings=settings)

    assert world.stops("binance")
    assert world.gap_ms("binance") < 3_500
    assert [] == sound(world)
