"""Scenarios of what is believed: answers that are empty, late or odd, and streams that lie."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from aegis.core.clock import NS_PER_S
from aegis.model.events import (
    AccountDoubted,
    EntryCompleted,
    EntryFailed,
    FeedFresh,
    FeedStale,
    IntentDenied,
    PositionClosed,
    PositionOpened,
    ProtectionConfirmed,
    ProtectionLost,
    SnapshotReported,
)
from aegis.model.order import OrderType, PositionSide
from aegis.model.position import CloseCause
from aegis.twin.boot import VENUE_NAMES, VenueName
from aegis.twin.engine.api import EngineStatus, OrderSpec

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World

AFTER_THE_FILL = {"stop_before_entry": False}
"""What protects after the fill is tried here; the stop before it has scenarios of its own."""
both_venues = pytest.mark.parametrize("venue", VENUE_NAMES)
both_ways = pytest.mark.parametrize("way", ["ws", "rest"])
USER_PATH: Final[dict[VenueName, str]] = {"binance": "/private", "bybit": "/v5/private"}
FALL = {"BTCUSDT": (60_000.0, 60_000.0, 58_800.0), "ETHUSDT": (3_000.0,)}
TRAIL: Final = {"trail_start_r": 0.1, "trail_distance_r": 1.0, "trail_interval_s": 0.0}


def canceled_by_request(world: "World", venue: VenueName) -> list[str]:
    """Return the ids of the orders that were canceled on request."""
    orders = world.engine(venue).all_orders()
    return [o.spec.client_id for o in orders if o.status is EngineStatus.CANCELED]


def is_kept(world: "World", venue: VenueName) -> list[str]:
    """Return what is wrong with a position that must still be there, whole and covered."""
    (order,) = world.entries(venue)
    wrong = [
        f"{type(event).__name__}: {event}"
        for kind in (PositionClosed, EntryFailed, ProtectionLost)
        for event in world.of(kind)
    ]
    if world.qty(venue) != order.filled_qty:
        wrong.append(f"{world.qty(venue)} held, {order.filled_qty} opened")
    if not world.stops(venue) or not world.targets(venue):
        wrong.append("stop or target is missing")
    return [*wrong, *world.conservation().violations, *world.faults_of_code()]


@both_ways
@both_venues
def test_scenario_16_rollback_doubles_the_position(
    play: "Play", tmp_path: Path, venue: VenueName, way: str
) -> None:
    """Scenario 16 (R35, R62): [] for 10 s after a fill: no rollback, the stop stays."""

    async def scenario(world: "World") -> None:
        await world.ready()
        _ = world.signal(venue)
        await world.until(lambda: world.qty(venue) != 0, every_s=0.001)
        rules = [world.wire[venue].empty(kind) for kind in ("positions", "orders")]
        await asyncio.sleep(3)
        # The stream breaks too: whatever was believed is asked for anew.
        world.frames[venue].cut(USER_PATH[venue])
        await asyncio.sleep(7)
        assert all(rule.hits for rule in rules)
        assert world.of(AccountDoubted)
        for rule in rules:
            rule.end()
        await asyncio.sleep(30)

    world = play(
        tmp_path,
        scenario,
        settings=AFTER_THE_FILL | {"order_entry": way, "reconcile_interval_s": 5.0},
    )

    assert [] == is_kept(world, venue)
    assert [] == canceled_by_request(world, venue)
    assert world.gap_ms(venue) < 100
    assert 0 == sum(each.kind == "close" for each in world.wire[venue].asked)


@both_venues
def test_fills_that_nobody_tells_are_not_asked_for_without_end(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R31, R88: what a minute of asking did not bring is left; the position is adopted, covered."""
    asked: list[int] = []

    async def scenario(world: "World") -> None:
        await world.ready()
        paths = {"/v5/execution/list", "/fapi/v1/userTrades"}
        _ = world.wire[venue].empty(lambda each: each.path in paths)
        _ = world.frames[venue].drop(*world.frames[venue].FILLS)
        _ = world.signal(venue)
        for _ in range(2):
            await asyncio.sleep(70)
            asked.append(sum(each.path in paths for each in world.wire[venue].asked))

    world = play(tmp_path, scenario)

    assert asked[1] - asked[0] <= 10, asked
    assert [True] == [e.position.adopted for e in world.of(PositionOpened)]
    assert world.qty(venue) > 0
    assert world.stops(venue)
    assert world.gap_ms(venue) < 3_500
    assert [] == world.faults_of_code()


def ok_as_text(told: Any) -> Any:
    """Answer with retCode "0" instead of 0."""
    return {**told, "retCode": "0", "retMsg": ""}


def not_modified(_told: Any) -> Any:
    """Say that nothing was to be modified, though it was."""
    return {"retCode": 34040, "retMsg": "not modified", "result": {}, "retExtInfo": {}}


def without_status(told: Any) -> Any:
    """Leave the status of every order empty."""
    rows = [{**row, "orderStatus": ""} for row in told["result"]["list"]]
    return {**told, "result": {**told["result"], "list": rows}}


def bare_ack(told: Any) -> Any:
    """Answer as if it were an ACK: NEW, nothing filled, price 0."""
    nothing = {"executedQty": "0", "cumQty": "0", "cumQuote": "0", "avgPrice": "0.00"}
    return {**told, **nothing, "status": "NEW"}


def empty_status(told: Any) -> Any:
    """Answer with an empty status."""
    return {**told, "status": "", "avgPrice": "", "unheardOf": {"deeply": [1]}}


def empty_algo_status(told: Any) -> Any:
    """Answer a stop with an empty status."""
    return {**told, "algoStatus": ""}


@pytest.mark.parametrize(
    ("venue", "kind", "change"),
    [
        ("bybit", "entry", ok_as_text),
        ("bybit", "protection", ok_as_text),
        ("bybit", "protection", not_modified),
        ("bybit", "orders", without_status),
        ("binance", "entry", bare_ack),
        ("binance", "entry", empty_status),
        ("binance", "stop", empty_algo_status),
    ],
)
@both_ways
def test_scenario_17_success_judged_failure(
    play: "Play",
    tmp_path: Path,
    venue: VenueName,
    kind: str,
    change: Callable[[Any], Any],
    way: str,
) -> None:
    """Scenario 17 (R42): answers as the venues were seen to give them leave the position alone."""

    async def scenario(world: "World") -> None:
        await world.ready()
        rule = world.wire[venue].change(kind, change)
        await world.open(venue)
        await asyncio.sleep(20)
        assert rule.hits

    world = play(
        tmp_path,
        scenario,
        settings=AFTER_THE_FILL | {"order_entry": way, "reconcile_interval_s": 5.0},
    )

    assert [] == is_kept(world, venue)
    assert 1 == len(world.of(EntryCompleted))
    assert world.of(ProtectionConfirmed)


@both_ways
@both_venues
@pytest.mark.parametrize("late_s", [1.5, 4.0])
def test_scenario_18_event_before_registration(
    play: "Play", tmp_path: Path, venue: VenueName, way: str, late_s: float
) -> None:
    """Scenario 18 (R32, R35): the account's events overtake the answer: active before it comes."""

    async def scenario(world: "World") -> None:
        await world.ready()
        rule = world.wire[venue].slow("entry", late_s)
        _ = world.signal(venue)
        await world.until(lambda: rule.hits)
        await asyncio.sleep(1)
        assert 1 == len(world.of(PositionOpened))
        assert world.of(ProtectionConfirmed)
        await asyncio.sleep(30)

    world = play(tmp_path, scenario, settings={"order_entry": way})

    assert [] == is_kept(world, venue)
    assert 1 == len(world.of(EntryCompleted))
    assert world.gap_ms(venue) < 100


@both_venues
def test_scenario_25_cleaner_kills_protection(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """Scenario 25 (R62): while positions cannot be read nothing is canceled."""

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        rule = world.wire[venue].fail("positions", 502)
        world.frames[venue].cut(USER_PATH[venue])
        await asyncio.sleep(60)
        assert rule.hits > 3
        rule.end()
        await asyncio.sleep(60)
        rule = world.wire[venue].empty("positions", times=1)
        await asyncio.sleep(30)
        assert rule.hits

    world = play(tmp_path, scenario, settings=AFTER_THE_FILL | {"reconcile_interval_s": 5.0})

    assert [] == is_kept(world, venue)
    assert [] == canceled_by_request(world, venue)
    assert 0 == sum(each.kind == "cancel" for each in world.wire[venue].asked)


@both_venues
def test_scenario_25_true_orphans_go(play: "Play", tmp_path: Path, venue: VenueName) -> None:
    """Scenario 25 (R62): closed by hand, its messages lost: what is left is canceled in 120 s."""
    left: list[int] = []
    swept: list[str] = []

    async def scenario(world: "World") -> None:
        await world.ready()
        engine = world.engine(venue)
        engine.set_quote_interval(2 * NS_PER_S)
        await world.open(venue, target_pct="50")
        await world.until(
            lambda: any(o.spec.reduce_only and o.spec.qty for o in world.stops(venue)),
            within_s=120,
            every_s=0.1,
        )
        mute = world.frames[venue].drop(*world.frames[venue].ACCOUNT)
        engine.place(
            OrderSpec(
                symbol="BTCUSDT",
                client_id="by-hand",
                side=PositionSide.LONG.exit_side,
                order_type=OrderType.MARKET,
                qty=world.qty(venue),
                reduce_only=True,
            )
        )
        left.append(len(engine.open_orders("BTCUSDT")))
        before = canceled_by_request(world, venue)
        await world.until(lambda: not engine.open_orders("BTCUSDT"), within_s=120, every_s=0.1)
        await world.until(lambda: world.of(PositionClosed), within_s=60, every_s=0.1)
        swept.extend(id_ for id_ in canceled_by_request(world, venue) if id_ not in before)
        assert venue == "bybit" or mute.hits
        mute.end()
        await asyncio.sleep(5)

    prices = {"BTCUSDT": (60_000.0, 60_000.0, 60_300.0), "ETHUSDT": (3_000.0,)}
    world = play(tmp_path, scenario, prices=prices, settings=TRAIL)

    assert [1 if venue == "binance" else 0] == left
    assert left[0] <= len(swept)
    assert [CloseCause.EXTERNAL] == [e.cause for e in world.of(PositionClosed)]
    assert 0 == world.qty(venue)
    assert [] == world.faults_of_code()


def is_btc_market(frame: bytes) -> bool:
    """Say whether *frame* tells of the BTC market, on either venue."""
    kinds = (b'"bookTicker"', b'"markPriceUpdate"', b'"kline"')
    of_binance = b'"BTCUSDT"' in frame and any(kind in frame for kind in kinds)
    return of_binance or b".BTCUSDT" in frame


@both_venues
def test_scenario_28_stale_but_connected(play: "Play", tmp_path: Path, venue: VenueName) -> None:
    """Scenario 28 (R1, R69): one silent symbol is subscribed anew, and only that one waits."""
    times: dict[str, float] = {}

    async def scenario(world: "World") -> None:
        await world.ready()
        begun = len(world.frames[venue].sent)
        silent = world.frames[venue].drop_if(is_btc_market)

        def again() -> list[str]:
            told = [text for path, text in world.frames[venue].sent[begun:] if "rade" not in path]
            mine = [t for t in told if "btcusdt" in t.lower() and "subscribe" in t.lower()]
            return [t for t in mine if "unsubscribe" not in t.lower()]

        since_s = world.loop.time()
        await world.until(lambda: world.of(FeedStale), within_s=500, every_s=1)
        times["stale"] = world.loop.time() - since_s
        _ = world.signal(venue)
        await world.until(lambda: world.of(IntentDenied), within_s=2)
        await world.until(again, within_s=60, every_s=0.5)
        times["asked"] = world.loop.time() - since_s
        await world.open(venue, "ETHUSDT")
        silent.end()
        await world.until(lambda: world.of(FeedFresh), within_s=60, every_s=0.5)
        await world.open(venue)

    world = play(tmp_path, scenario, settings={"stale_after_s": 30.0})

    stale = {
        (e.instrument_id.venue.value.lower(), e.instrument_id.symbol) for e in world.of(FeedStale)
    }
    assert {(venue, "BTCUSDT")} == stale
    assert ["freshness"] == [e.guard for e in world.of(IntentDenied)]
    assert times["stale"] < 400
    assert times["asked"] < times["stale"] + 30
    assert [] == world.faults_of_code()


def nothing(_world: "World", _venue: VenueName) -> None:
    """Leave the stream alone."""


def twice(world: "World", venue: VenueName) -> None:
    """Deliver everything twice."""
    _ = world.frames[venue].double(*world.frames[venue].ACCOUNT)


def fills_late(world: "World", venue: VenueName) -> None:
    """Let wallet and position overtake the executions by 1.5 s."""
    _ = world.frames[venue].delay(1.5, *world.frames[venue].FILLS)


def orders_late(world: "World", venue: VenueName) -> None:
    """Let the orders' own states come last."""
    _ = world.frames[venue].delay(0.7, *world.frames[venue].ORDERS)


def positions_late(world: "World", venue: VenueName) -> None:
    """Let wallet and position come last."""
    _ = world.frames[venue].delay(1.5, b'"ACCOUNT_UPDATE"', b'"topic":"position"')


def fills_lost(world: "World", venue: VenueName) -> None:
    """Lose every execution."""
    _ = world.frames[venue].drop(*world.frames[venue].FILLS)


def all_lost(world: "World", venue: VenueName) -> None:
    """Lose everything the account's stream tells."""
    _ = world.frames[venue].drop(*world.frames[venue].ACCOUNT)


@both_venues
@pytest.mark.parametrize(
    "fault", [nothing, twice, fills_late, orders_late, positions_late, fills_lost, all_lost]
)
def test_scenario_30_wrong_money(
    play: "Play",
    tmp_path: Path,
    venue: VenueName,
    fault: Callable[["World", VenueName], None],
) -> None:
    """Scenario 30 (R77): however its events are told, a trade's net PnL is the venue's income."""

    async def scenario(world: "World") -> None:
        await world.ready()
        fault(world, venue)
        await world.open(venue)
        await world.until(lambda: world.qty(venue) == 0, within_s=120, every_s=0.05)
        await world.until(lambda: world.of(PositionClosed), within_s=75, every_s=0.1)
        await asyncio.sleep(10)

    world = play(tmp_path, scenario, prices=FALL)

    (closed,) = [e for e in world.journal() if isinstance(e, PositionClosed)]
    assert world.income(venue) == closed.net_pnl
    assert closed.net_pnl < -Decimal(40)
    assert CloseCause.SL is closed.cause
    assert [] == [*world.conservation().violations, *world.faults_of_code()]
    assert world.of(SnapshotReported)
