"""Scenarios of the way out: it always leaves, once, and never turns a position around."""

import asyncio
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import pytest

import aegis
from aegis.core.clock import NS_PER_S
from aegis.core.errors import InvariantError
from aegis.core.event import HandlerFailed
from aegis.model.events import (
    AlertRaised,
    KillSwitchPulled,
    PositionClosed,
    ProtectionFailed,
)
from aegis.model.order import Purpose
from aegis.model.position import CloseCause
from aegis.twin.boot import VENUE_NAMES, VenueName
from aegis.twin.engine.api import EngineStatus

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World

AFTER_THE_FILL = {"stop_before_entry": False}
"""What protects after the fill is tried here; the stop before it has scenarios of its own."""
both_venues = pytest.mark.parametrize("venue", VENUE_NAMES)
both_ways = pytest.mark.parametrize("way", ["ws", "rest"])
FALL = {"BTCUSDT": (60_000.0, 60_000.0, 58_800.0), "ETHUSDT": (3_000.0,)}
"""Two percent down between the 80th and the 100th second."""


def close_all(world: "World") -> None:
    """Ask for the close of everything, as the end of a run with --flatten-on-exit does."""
    _ = world.bot.exit.close_all(CloseCause.FLATTEN, Purpose.CLOSE_FLATTEN, "a scenario asks")


def never_negative(world: "World", venue: VenueName) -> list[str]:
    """Return each fill at the venue after which a long had become a short."""
    held, turned = Decimal(0), []
    for fill in world.engine(venue).fills("BTCUSDT"):
        held += fill.order.spec.side.sign * fill.qty
        if held < 0:
            turned.append(f"{fill.order.spec.client_id or fill.order.made_by} left {held}")
    return turned


def test_scenario_01_exits_never_leave_a_wrong_field_stops_the_start(
    play: "Play", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario 1 (R8): one producer with a wrong field, and the process does not begin to ask."""
    root = tmp_path / "aegis"
    shutil.copytree(Path(aegis.__file__).parent, root, ignore=shutil.ignore_patterns("*.pyc"))
    voice = root / "exit" / "voice.py"
    text = voice.read_text()
    broken = text.replace("IntentProposed(", "IntentProposed(side=None, ", 1)
    assert text != broken
    voice.write_text(broken)
    found = SimpleNamespace(modules={"aegis": SimpleNamespace(__path__=[str(root)])})
    monkeypatch.setattr("aegis.app.contract.sys", found)

    async def scenario(world: "World") -> None:
        await asyncio.sleep(30)

    with pytest.raises(InvariantError, match="IntentProposed has no field side"):
        _ = play(tmp_path / "state", scenario)


@both_venues
def test_scenario_01_exits_never_leave_a_break_at_run_time(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """Scenario 1 (R45, R71): exit breaks at run time: CRITICAL at once, the native stop closes."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        begun_s = world.loop.time()

        def broken(*_asked: object) -> NoReturn:
            raise TypeError("TradeIntent() got an unexpected keyword argument 'side'")

        # Every way of exit to look at a position or to speak goes through these.
        vars(world.bot.exit)["_evaluate"] = broken
        vars(world.bot.exit._voice)["propose"] = broken

        def is_told() -> bool:
            return any(e.level == "CRITICAL" for e in world.of(AlertRaised))

        await world.until(lambda: world.qty(venue) == 0, within_s=120)
        await world.until(is_told, within_s=60)
        assert world.loop.time() - begun_s < 150

    world = play(tmp_path, scenario, prices=FALL)

    failed = [e for e in world.of(HandlerFailed) if "unexpected keyword" in e.error]
    alerts = [e for e in world.of(AlertRaised) if e.level == "CRITICAL"]
    assert failed
    assert alerts[0].ts_event - failed[0].ts_event < 60 * NS_PER_S
    closes = [fill for fill in world.engine(venue).fills("BTCUSDT") if fill.closed_qty > 0]
    assert closes
    assert all(fill.price < Decimal("59405") for fill in closes)
    assert [] == never_negative(world, venue)


def acks_lost(world: "World", venue: VenueName) -> Callable[[], int]:
    """Let stops be placed and never acknowledged: neither by the answer nor by a message."""
    world.desk[venue].leave_attached_away()
    rules = [world.wire[venue].lose_answer(kind) for kind in ("stop", "protection")]
    _ = world.frames[venue].drop(b'"ALGO_UPDATE"', b'"topic":"position"')
    return lambda: sum(rule.hits for rule in rules)


def never_placed(world: "World", venue: VenueName) -> Callable[[], int]:
    """Lose every stop on its way; Bybit says yes to each and keeps none."""
    if venue == "bybit":
        told = world.desk[venue].forget_stops()
        return lambda: len(told)
    rule = world.wire[venue].lose_request("stop")
    return lambda: rule.hits


@both_ways
@both_venues
@pytest.mark.parametrize("fault", [acks_lost, never_placed])
def test_scenario_02_calculated_is_not_placed(
    play: "Play",
    tmp_path: Path,
    venue: VenueName,
    way: str,
    fault: Callable[["World", VenueName], Callable[[], int]],
) -> None:
    """Scenario 2 (R45, R46): a stop that is not seen at the venue is no stop: 5 s at most."""

    async def scenario(world: "World") -> None:
        await world.ready()
        hits = fault(world, venue)
        _ = world.signal(venue)
        await world.until(lambda: world.engine(venue).fills("BTCUSDT"))
        await asyncio.sleep(20)
        assert hits() > 0

    world = play(tmp_path, scenario, settings=AFTER_THE_FILL | {"order_entry": way})

    assert world.gap_ms(venue) < 5_000
    assert world.qty(venue) == 0 or world.stops(venue)
    if fault is never_placed:
        assert world.qty(venue) == 0
        assert 1 == len(world.of(ProtectionFailed))
    assert [] == never_negative(world, venue)
    assert [] == world.faults_of_code()


@pytest.mark.parametrize("interval_s", [5.0, 60.0])
def test_scenario_02_a_yes_without_a_stop(play: "Play", tmp_path: Path, interval_s: float) -> None:
    """Scenario 2 (R45): an answer that was no truth, and no stream told: looked for after 7 s."""

    async def scenario(world: "World") -> None:
        await world.ready()
        told = world.desk["binance"].forget_stops(times=1)
        _ = world.signal("binance")
        await world.until(lambda: told)
        await asyncio.sleep(1)
        assert [] == world.stops("binance")
        await asyncio.sleep(20)

    world = play(tmp_path, scenario, settings=AFTER_THE_FILL | {"reconcile_interval_s": interval_s})

    assert world.gap_ms("binance") < 8_000
    (floor,) = world.stops("binance")
    assert floor.spec.close_position
    assert [] == world.of(PositionClosed)


@pytest.mark.parametrize(("interval_s", "bound_s"), [(5.0, 25), (60.0, 16)])
def test_scenario_02_a_venue_that_keeps_no_stop(
    play: "Play", tmp_path: Path, interval_s: float, bound_s: float
) -> None:
    """Scenario 2 (R45): yes to every stop and none kept: after the second one it is closed."""

    async def scenario(world: "World") -> None:
        await world.ready()
        told = world.desk["binance"].forget_stops()
        _ = world.signal("binance")
        await world.until(lambda: told)
        await world.until(lambda: world.qty("binance") == 0, within_s=bound_s, every_s=0.1)
        await asyncio.sleep(10)

    world = play(tmp_path, scenario, settings=AFTER_THE_FILL | {"reconcile_interval_s": interval_s})

    (failed,) = world.of(ProtectionFailed)
    assert "2 stops lost within 60 s, 2 of them without a word of the venue" == failed.reason
    assert [CloseCause.UNPROTECTED] == [e.cause for e in world.of(PositionClosed)]
    assert world.gap_ms("binance") < bound_s * 1000
    assert [] == never_negative(world, "binance")
    assert [] == world.faults_of_code()


async def margin_zero(world: "World", venue: VenueName) -> None:
    """Take all that is free out of the venue's wallet."""
    ledger = world.engine(venue).parts.ledger
    ledger.wallet -= world.engine(venue).available()
    assert world.engine(venue).available() <= 0
    await asyncio.sleep(0)


async def kill_switch(world: "World", _venue: VenueName) -> None:
    """Pull the kill switch as a person does."""
    now = world.bot.around.clock.now_ns()
    world.bot.bus.publish(
        KillSwitchPulled(ts_event=now, ts_recv=now, operator="me", reason="a drill")
    )
    await asyncio.sleep(0)


async def rate_limit(world: "World", venue: VenueName) -> None:
    """Let the venue say that it gets too many requests, to whatever only asks."""
    code = {"binance": (-1003, 429), "bybit": (10006, 200)}[venue]
    rules = [
        world.wire[venue].refuse(kind, code[0], "Too many requests", status=code[1])
        for kind in ("positions", "orders", "entry")
    ]
    await world.until(lambda: any(rule.hits for rule in rules), within_s=15)


@both_ways
@both_venues
@pytest.mark.parametrize("trouble", [margin_zero, kill_switch, rate_limit])
def test_scenario_03_close_treated_as_risk(
    play: "Play",
    tmp_path: Path,
    venue: VenueName,
    way: str,
    trouble: Callable[["World", VenueName], object],
) -> None:
    """Scenario 3 (R58): without margin, killed, or throttled: the close leaves, no entry does."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        await trouble(world, venue)  # type: ignore[misc]  # a coroutine function
        _ = world.signal(venue, "ETHUSDT")
        await asyncio.sleep(0.3)
        close_all(world)
        await world.until(lambda: world.qty(venue) == 0, within_s=1)
        await asyncio.sleep(2)

    world = play(tmp_path, scenario, settings={"order_entry": way, "reconcile_interval_s": 5.0})

    closes = [f.order.spec for f in world.engine(venue).fills("BTCUSDT") if f.closed_qty > 0]
    assert closes
    assert all(spec.reduce_only for spec in closes)
    assert [] == world.entries(venue, "ETHUSDT")
    assert 0 == world.qty(venue, "ETHUSDT")
    assert [CloseCause.FLATTEN] == [e.cause for e in world.of(PositionClosed)]
    assert [] == world.faults_of_code()


@both_venues
def test_scenario_26_closed_but_not_told(play: "Play", tmp_path: Path, venue: VenueName) -> None:
    """Scenario 26 (R61): closed by the venue's stop: one closure, and after 1 s nobody watches."""
    heard: list[int] = []

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        await world.until(lambda: world.qty(venue) == 0, within_s=120)
        await asyncio.sleep(1)
        assert [] == list(world.bot.exit.guarded())
        heard.append(len(world.wire[venue].asked))
        await asyncio.sleep(300)
        heard.append(len(world.wire[venue].asked))

    world = play(tmp_path, scenario, prices=FALL)

    later = world.wire[venue].asked[heard[0] : heard[1]]
    assert {"cancel", "other", "balance", "positions", "orders"} >= {each.kind for each in later}
    assert 1 >= sum(each.kind == "cancel" for each in later)
    assert [CloseCause.SL] == [e.cause for e in world.of(PositionClosed)]
    assert [] == world.of(AlertRaised)
    assert [] == world.engine(venue).open_orders("BTCUSDT")
    assert [] == [*world.conservation().violations, *world.faults_of_code()]


@both_ways
@both_venues
@pytest.mark.parametrize("ahead", [6.0, 0.3, 0.0, -0.3])
def test_scenario_27_phantom_short(
    play: "Play", tmp_path: Path, venue: VenueName, way: str, ahead: float
) -> None:
    """Scenario 27 (R59): the native stop fires while a close is under way: size 0, never below."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        (stop,) = world.stops(venue)
        assert stop.spec.trigger_price is not None
        level = float(stop.spec.trigger_price) + ahead
        lost = world.wire[venue].lose_answer("close", times=2)
        await world.until(lambda: world.engine(venue).quote("BTCUSDT").mark <= level, within_s=120)
        close_all(world)
        await asyncio.sleep(60)
        assert ahead <= 0 or lost.hits

    world = play(tmp_path, scenario, prices=FALL, settings={"order_entry": way})

    assert 0 == world.qty(venue)
    assert [] == never_negative(world, venue)
    assert 1 == len(world.of(PositionClosed))
    live = {EngineStatus.NEW, EngineStatus.UNTRIGGERED, EngineStatus.TRIGGERING}
    assert [] == [o for o in world.engine(venue).open_orders("BTCUSDT") if o.status in live]
    assert [] == [*world.conservation().violations, *world.faults_of_code()]
