"""Exit where protection is made of orders (Binance): floor, target, tighter stop, refusals."""

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.core.errors import Refusal
from aegis.model.account import ProtectionRole, ReportSource
from aegis.model.events import (
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    SnapshotWanted,
)
from aegis.model.intent import CancelProtection, ClosePosition
from aegis.model.order import OrderSide, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]


def protected(make: MakeRig, qty: str = "1") -> "ExitRig":
    """Return a rig with one covered position."""
    rig = make()
    rig.open(qty=qty)
    rig.accept_all()
    return rig


def test_first_partial_fill_gets_floor_and_target_at_its_distance(make_exit_rig: MakeRig) -> None:
    """One partial fill is enough for a closePosition stop and target, at its price (R45, R34)."""
    rig = make_exit_rig()
    rig.open("100", "0.3")
    requests = [rig.request(intent) for intent in rig.intents]

    assert [Purpose.STOP_FLOOR, Purpose.TARGET] == [r.purpose for r in requests]
    assert [Decimal("98.0"), Decimal("104.0")] == [r.trigger_price for r in requests]
    assert [OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET] == [r.order_type for r in requests]
    assert all(r.close_position and r.reduce_only and r.side is OrderSide.SELL for r in requests)


def test_second_fill_sends_nothing_twice(make_exit_rig: MakeRig) -> None:
    """While requests are under way, and after they worked, more fills ask for nothing (R34)."""
    rig = make_exit_rig()
    rig.open("100", "0.3")
    rig.resize("0.6")
    rig.accept_all()
    rig.resize("0.9")
    rig.wait(5000)

    assert 2 == len(rig.intents)
    assert rig.actor.is_covered(rig.instrument)


@pytest.mark.parametrize("how", ["answer", "stream", "snapshot"])
def test_every_source_is_evidence_and_ends_the_naked_time(make_exit_rig: MakeRig, how: str) -> None:
    """Naked time runs from the fill's receipt to the stop's evidence, wherever it is from (R45)."""
    rig = make_exit_rig()
    rig.open()
    rig.wait(120)
    assert not rig.actor.is_covered(rig.instrument)
    reports = [rig.order(rig.request(i), source=ReportSource.STREAM) for i in rig.intents]
    if how == "answer":
        rig.accept_all()
    elif how == "stream":
        rig.publish(*reports)
    else:
        rig.snapshot((rig.row("1"),), tuple(r.report for r in reports))
    (confirmed,) = rig.told(ProtectionConfirmed)

    assert 120_000_000 == confirmed.naked_ns
    assert (Decimal(98), Decimal(104)) == (confirmed.stop_price, confirmed.target_price)
    assert "ab12-1-5-SF1" == confirmed.stop_order
    rig.wait(4000)
    assert [] == rig.told(ProtectionDelayed)


def test_an_acknowledgement_alone_is_no_evidence(make_exit_rig: MakeRig) -> None:
    """An intent that ended well without a report of the stop covers nothing (R45, R49)."""
    rig = make_exit_rig()
    rig.open()
    rig.complete(rig.orders(Purpose.STOP_FLOOR)[0])

    assert not rig.actor.is_covered(rig.instrument)
    rig.wait(240)
    assert 1 == len(rig.orders(Purpose.STOP_FLOOR))
    rig.wait(20)
    assert 2 == len(rig.orders(Purpose.STOP_FLOOR))


def test_tighter_stop_joins_at_the_vwap_and_follows_the_quantity(make_exit_rig: MakeRig) -> None:
    """The quantity stop is placed, seen, and only then is the one before it canceled (R48)."""
    rig = protected(make_exit_rig, qty="0.5")
    rig.resize("1", vwap="101")
    rig.entry_done()
    (first,) = rig.orders(Purpose.STOP_MOVING)
    request = rig.request(first)
    assert (Decimal("99.0"), Decimal(1)) == (request.trigger_price, request.qty)
    assert request.reduce_only
    assert not request.close_position
    rig.accept(first)
    rig.wait(1000)

    rig.resize("0.4")
    second = rig.orders(Purpose.STOP_MOVING)[-1]
    assert Decimal("0.4") == rig.request(second).qty
    rig.wait(3000)
    assert [] == rig.of(CancelProtection)
    rig.accept(second)
    assert ["ab12-1-5-SM1"] == [c.client_order_id for _, c in rig.of(CancelProtection)]
    assert Decimal("99.0") == rig.told(ProtectionChanged)[-1].stop_price


@pytest.mark.parametrize(("vwap", "joins"), [("100.1", 0), ("100.2", 1), ("99", 0)])
def test_tighter_stop_needs_more_than_a_tick(make_exit_rig: MakeRig, vwap: str, joins: int) -> None:
    """A tick closer, or farther, the floor is stop enough (design.md, Decisions)."""
    rig = protected(make_exit_rig)
    rig.resize("1", vwap=vwap)
    rig.entry_done()

    assert joins == len(rig.orders(Purpose.STOP_MOVING))


@pytest.mark.parametrize("qty", ["0.0005", "7"])
def test_no_quantity_stop_the_venue_would_refuse(make_exit_rig: MakeRig, qty: str) -> None:
    """Below the minimum or above the market maximum the floor stays alone (R27)."""
    rig = make_exit_rig(market_qty_max="5")
    rig.open("100", qty)
    rig.accept_all()
    rig.resize(qty, vwap="101")
    rig.entry_done()

    assert [] == rig.orders(Purpose.STOP_MOVING)


def test_no_position_is_asked_again_until_the_hard_deadline(make_exit_rig: MakeRig) -> None:
    """-4509 right after a fill: again every 250 ms, closed at 3 s (venues.md 1.3)."""
    rig = make_exit_rig()
    rig.open()
    asked = 0
    while not rig.of(ClosePosition):
        floors = rig.orders(Purpose.STOP_FLOOR)
        for intent in floors[asked:]:
            rig.complete(intent, Refusal.NO_POSITION)
        asked = len(floors)
        rig.wait(10)

    assert 12 == asked
    assert pytest.approx(3000, abs=15) == rig.loop.time() * 1000
    assert CloseCause.UNPROTECTED is rig.of(ClosePosition)[0][1].cause
    ids = [rig.request(i).client_order_id for i in rig.orders(Purpose.STOP_FLOOR)]
    assert len(ids) == len(set(ids))


def test_existing_stop_is_looked_up(make_exit_rig: MakeRig) -> None:
    """-4130: the venue is asked for what it has, and what it shows is cover (R46)."""
    rig = make_exit_rig()
    rig.open()
    floor, target = rig.intents
    rig.accept(target)
    rig.complete(floor, Refusal.EXISTS, "an open stop is existing")
    assert ["an open stop is existing"] == [e.reason for e in rig.told(SnapshotWanted)]
    rig.snapshot((rig.row("1"),), (rig.resting("web_1", "97"),))
    rig.wait(5000)

    assert rig.actor.is_covered(rig.instrument)
    assert 1 == len(rig.orders(Purpose.STOP_FLOOR))
    assert [] == rig.of(ClosePosition)


def test_passed_stop_without_cover_closes_at_once(make_exit_rig: MakeRig) -> None:
    """A stop that would trigger at once is not retried: the position is closed now (R47)."""
    rig = make_exit_rig()
    rig.open()
    rig.complete(rig.orders(Purpose.STOP_FLOOR)[0], Refusal.WOULD_TRIGGER)
    (close,) = rig.of(ClosePosition)

    assert CloseCause.UNPROTECTED is close[1].cause
    assert (OrderSide.SELL, Decimal(1)) == (close[1].request.side, close[1].request.qty)
    assert close[1].request.reduce_only
    assert 1 == len(rig.told(ProtectionFailed))


@pytest.mark.parametrize("stop_first", [True, False])
def test_passed_target_takes_the_profit(make_exit_rig: MakeRig, stop_first: bool) -> None:
    """A target that would trigger at once is taken at market with cause TP, stop or not (R47)."""
    rig = make_exit_rig()
    rig.open()
    floor, target = rig.intents
    if stop_first:
        rig.accept(floor)
    rig.complete(target, Refusal.WOULD_TRIGGER)
    (close,) = rig.of(ClosePosition)

    assert CloseCause.TP is close[1].cause
    assert "ab12-1-5-TP2" == close[1].request.client_order_id
    assert [] == rig.told(ProtectionFailed)


def test_passed_tighter_stop_does_what_it_would_have_done(make_exit_rig: MakeRig) -> None:
    """The floor covers, yet the level the plan risks is behind the market: close as SL (R47)."""
    rig = protected(make_exit_rig)
    rig.resize("1", vwap="101")
    rig.entry_done()
    rig.complete(rig.orders(Purpose.STOP_MOVING)[0], Refusal.WOULD_TRIGGER)

    assert [CloseCause.SL] == [c.cause for _, c in rig.of(ClosePosition)]
    assert [] == rig.told(ProtectionFailed)


def test_a_failing_target_never_holds_back_a_stop(make_exit_rig: MakeRig) -> None:
    """Each kind has its own pace: a lost stop is asked for although a target waits (R45)."""
    rig = protected(make_exit_rig)
    floor, target = rig.intents
    rig.publish(rig.order(rig.request(target), OrderStatus.CANCELED))
    rig.wait(300)
    rig.fail(rig.orders(Purpose.TARGET)[-1])
    rig.publish(rig.order(rig.request(floor), OrderStatus.CANCELED))

    assert 2 == len(rig.orders(Purpose.STOP_FLOOR))


def test_covered_improvements_use_the_slow_ladder(make_exit_rig: MakeRig) -> None:
    """A refused target of a covered position is asked for ever more rarely, up to 60 s (R48)."""
    rig = make_exit_rig()
    rig.open()
    rig.accept(rig.intents[0])
    times = []
    for number in range(9):
        times.append(rig.loop.time())
        rig.fail(rig.orders(Purpose.TARGET)[number])
        while len(rig.orders(Purpose.TARGET)) == number + 1:
            rig.wait(10)

    gaps = [round(b - a) for a, b in itertools.pairwise(times)]
    assert [1, 2, 4, 8, 16, 32, 60, 60] == gaps


@pytest.mark.parametrize("status", [OrderStatus.CANCELED, OrderStatus.EXPIRED])
def test_stop_taken_away_is_told_and_restored(make_exit_rig: MakeRig, status: OrderStatus) -> None:
    """A stop ended by venue or person is asked for at once, and the loss is told (R45, R48)."""
    rig = protected(make_exit_rig)
    rig.wait(60_000)
    floor = rig.request(rig.orders(Purpose.STOP_FLOOR)[0])
    rig.publish(rig.order(floor, status))
    again = rig.orders(Purpose.STOP_FLOOR)[-1]
    assert "ab12-1-5-SF2" == rig.request(again).client_order_id
    assert Decimal(98) == rig.request(again).trigger_price
    rig.wait(20)
    rig.accept(again)
    rig.wait(5000)

    (lost,) = rig.told(ProtectionLost)
    assert f"stop ab12-1-5-SF1 is {status.value}" == lost.reason
    assert [] == rig.told(ProtectionDelayed)
    assert [] == rig.of(ClosePosition)
    assert 1 == len(rig.told(ProtectionConfirmed))


def test_stop_missing_from_a_snapshot_is_restored(make_exit_rig: MakeRig) -> None:
    """What a complete snapshot lacks is gone, once it cannot just have been placed (R45)."""
    rig = protected(make_exit_rig)
    rig.snapshot((rig.row("1"),))
    assert rig.actor.is_covered(rig.instrument)
    rig.wait(6000)
    rig.snapshot((rig.row("1"),))

    assert not rig.actor.is_covered(rig.instrument)
    assert 2 == len(rig.orders(Purpose.STOP_FLOOR))
    rig.wait(300)
    assert 1 == len(rig.told(ProtectionLost))


def test_left_stop_of_the_other_side_is_no_cover(make_exit_rig: MakeRig) -> None:
    """A reduce-only BUY stop of an earlier short does not close a long (venues.md 5.1)."""
    rig = make_exit_rig()
    rig.report(rig.resting("ab12-1-4-SM1", "103", qty="1", side=OrderSide.BUY))
    rig.open()

    assert not rig.actor.is_covered(rig.instrument)
    assert [Purpose.STOP_FLOOR, Purpose.TARGET] == [rig.request(i).purpose for i in rig.intents]


def test_short_position_is_mirrored(make_exit_rig: MakeRig) -> None:
    """A short's stop is above and its target below, both BUY (R47, scenario 7)."""
    rig = make_exit_rig()
    rig.open(side=PositionSide.SHORT)
    requests = [rig.request(i) for i in rig.intents]

    assert [Decimal(102), Decimal(96)] == [r.trigger_price for r in requests]
    assert {OrderSide.BUY} == {r.side for r in requests}


def test_repeated_and_late_reports_change_nothing(make_exit_rig: MakeRig) -> None:
    """A NEW after the order's end, or a repeated end, is no evidence of anything (R3)."""
    rig = make_exit_rig()
    rig.open()
    floor = rig.request(rig.intents[0])
    rig.publish(rig.order(floor, OrderStatus.CANCELED))
    rig.publish(rig.order(floor, OrderStatus.ACCEPTED), rig.order(floor, OrderStatus.CANCELED))

    assert not rig.actor.is_covered(rig.instrument)


def test_position_event_that_is_repeated_keeps_ids_unique(make_exit_rig: MakeRig) -> None:
    """PositionOpened twice for one position does not begin its order numbers anew (R30)."""
    rig = make_exit_rig()
    rig.open()
    rig.open()
    rig.wait(1000)
    ids = [rig.request(i).client_order_id for i in rig.intents]

    assert len(ids) == len(set(ids))
    assert 2 == len(ids)


def test_role_none_is_never_cover(make_exit_rig: MakeRig) -> None:
    """A resting order that is no protective one covers nothing (venues.md 1.4, stop-limit)."""
    rig = make_exit_rig()
    rig.open()
    rig.report(rig.resting("web_1", "98", role=ProtectionRole.NONE))

    assert not rig.actor.is_covered(rig.instrument)


def test_quantity_stop_that_fires_is_not_resized(make_exit_rig: MakeRig) -> None:
    """While the tighter stop fills in parts no other is placed at the passed price (R34, R48)."""
    rig = protected(make_exit_rig)
    rig.resize("1", vwap="101")
    rig.entry_done()
    moving = rig.orders(Purpose.STOP_MOVING)[0]
    rig.accept(moving)
    rig.wait(60_000)
    rig.publish(rig.order(rig.request(moving), OrderStatus.PARTIALLY_FILLED))
    for qty in ("0.6", "0.2"):
        rig.resize(qty)
        rig.wait(1000)

    assert [moving] == rig.orders(Purpose.STOP_MOVING)
    assert [] == rig.of(CancelProtection)


def test_an_acknowledged_cancel_ends_the_stop_also_without_its_message(
    make_exit_rig: MakeRig,
) -> None:
    """R51: at a start no stream tells of it yet: it is canceled once and covers no more."""
    rig = protected(make_exit_rig, qty="0.5")
    rig.resize("1", vwap="101")
    rig.entry_done()
    rig.accept(rig.orders(Purpose.STOP_MOVING)[0])
    rig.wait(1000)
    rig.resize("0.4")
    rig.accept(rig.orders(Purpose.STOP_MOVING)[-1])
    ((cancel, _),) = rig.of(CancelProtection)

    rig.complete(cancel)
    rig.wait(5000)

    assert 1 == len(rig.of(CancelProtection))
