"""The twin's engine in hedge mode: two positions a symbol, each with orders of its own."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.model.order import OrderType, TriggerBy
from aegis.twin.engine.api import Bound, EngineStatus, Leg, Maker, Reason, Refused
from aegis.twin.meter import ProtectionMeter

if TYPE_CHECKING:
    from tests.unit.twin.conftest import EngineRig

MakeRig = Callable[..., "EngineRig"]
FALL = (50_000.0, 50_000.0, 49_000.0, 49_000.0, 49_000.0)
LONG, SHORT = Leg.LONG, Leg.SHORT


def hedged(make: MakeRig, venue: str = "binance", **options: object) -> "EngineRig":
    """Return a rig in hedge mode with 0.2 long and 0.1 short."""
    rig = make(venue, **options)
    rig.engine.set_hedge_mode(hedge=True)
    rig.order("BUY", "0.2", leg=LONG)
    rig.order("SELL", "0.1", leg=SHORT)
    return rig


def refusal(act: Callable[[], object]) -> Reason:
    """Return why *act* was refused."""
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.reason


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_both_sides_are_held_at_once(make_engine_rig: MakeRig, venue: str) -> None:
    """A long and a short of one symbol have quantities, margins and liquidation of their own."""
    rig = hedged(make_engine_rig, venue)
    long, short = rig.engine.legs("BTCUSDT")

    assert (Decimal("0.2"), Decimal("-0.1")) == (long.qty, short.qty)
    assert 0 == rig.position.qty
    assert long.margin > short.margin > 0
    assert long.liquidation_px is not None
    assert short.liquidation_px is not None
    assert long.liquidation_px < 50_000 < short.liquidation_px


def test_an_order_against_its_side_only_closes(make_engine_rig: MakeRig) -> None:
    """SELL LONG closes; more than is held, or with nothing held, is refused (venues.md 1.3)."""
    rig = hedged(make_engine_rig)
    too_much = refusal(lambda: rig.order("SELL", "0.3", leg=LONG))
    rig.order("SELL", "0.2", leg=LONG)

    assert Reason.REDUCE_ONLY_REJECTED is too_much
    assert [Decimal(0), Decimal("-0.1")] == [one.qty for one in rig.engine.legs()]
    assert Reason.REDUCE_ONLY_REJECTED is refusal(lambda: rig.order("SELL", "0.1", leg=LONG))


def test_the_leg_must_be_of_the_mode(make_engine_rig: MakeRig) -> None:
    """BOTH in hedge mode and LONG in one-way mode are refused."""
    rig = hedged(make_engine_rig)
    one_way = make_engine_rig()

    assert Reason.LEG_MISMATCH is refusal(lambda: rig.order("BUY", "0.1"))
    assert Reason.LEG_MISMATCH is refusal(lambda: one_way.order("BUY", "0.1", leg=LONG))


def test_the_mode_changes_only_when_flat_and_without_orders(make_engine_rig: MakeRig) -> None:
    """Positions, then orders, stand in the way; the mode it has is refused too."""
    rig = hedged(make_engine_rig)
    change = rig.engine.set_hedge_mode

    assert Reason.MODE_UNCHANGED is refusal(lambda: change(hedge=True))
    assert Reason.HAS_POSITION is refusal(lambda: change(hedge=False))
    rig.order("SELL", "0.2", leg=LONG)
    rig.order("BUY", "0.1", leg=SHORT)
    resting = rig.order("BUY", "0.1", "LIMIT", limit_price=45_000, leg=LONG)
    assert Reason.HAS_ORDERS is refusal(lambda: change(hedge=False))
    rig.engine.cancel(resting)
    change(hedge=False)
    rig.order("BUY", "0.1")
    assert Decimal("0.1") == rig.position.qty


def test_a_closing_stop_takes_its_own_side_alone(make_engine_rig: MakeRig) -> None:
    """The long's stop fires; the short and its orders stay; the long's target expires."""
    rig = hedged(make_engine_rig, prices=FALL)
    fields = {"close_position": True, "trigger_by": TriggerBy.MARK}
    stop = rig.order("SELL", None, "STOP_MARKET", trigger_price=49_500, leg=LONG, **fields)
    target = rig.order("SELL", None, "TAKE_PROFIT_MARKET", trigger_price=51_000, leg=LONG, **fields)
    short_stop = rig.order("BUY", None, "STOP_MARKET", trigger_price=50_500, leg=SHORT, **fields)
    wrong = refusal(
        lambda: rig.order("BUY", None, "STOP_MARKET", trigger_price=51_000, leg=LONG, **fields)
    )
    rig.at(200)

    assert Reason.NO_POSITION is wrong
    assert EngineStatus.FILLED is stop.status
    assert EngineStatus.EXPIRED is target.status
    assert EngineStatus.UNTRIGGERED is short_stop.status
    assert [Decimal(0), Decimal("-0.1")] == [one.qty for one in rig.engine.legs()]


def test_bound_protection_is_of_one_side(make_engine_rig: MakeRig) -> None:
    """Bybit's position stop of the short leaves the long without one (venues.md 3.4)."""
    rig = hedged(make_engine_rig, "bybit")
    rig.engine.set_position_protection(
        "BTCUSDT",
        stop=Decimal(50_500),
        target=None,
        stop_by=TriggerBy.LAST,
        target_by=TriggerBy.LAST,
        leg=SHORT,
    )
    long, short = rig.engine.legs()

    assert long.stop is None
    assert short.stop is not None
    assert (SHORT, Decimal("0.1")) == (short.stop.spec.leg, short.stop.spec.qty)


def test_funding_is_paid_by_side(make_engine_rig: MakeRig) -> None:
    """The long pays what the short receives for each coin; two bookings at one instant."""
    rig = hedged(make_engine_rig, funding=((60_000_000_000, 0.001),))
    rig.at(61)
    rows = [row for row in rig.engine.income() if row.kind == "FUNDING_FEE"]

    assert [(LONG, Decimal(-10)), (SHORT, Decimal(5))] == [(row.leg, row.amount) for row in rows]


def test_liquidation_takes_one_side(make_engine_rig: MakeRig) -> None:
    """The leveraged long goes with its own orders, the short keeps its stop."""
    rig = make_engine_rig(prices=(50_000.0, 50_000.0, 40_000.0, 40_000.0))
    rig.engine.set_hedge_mode(hedge=True)
    rig.order("BUY", "0.2", leg=LONG)
    rig.order("SELL", "0.1", leg=SHORT)
    stop = rig.order(
        "BUY", None, "STOP_MARKET", trigger_price=55_000, leg=SHORT, close_position=True
    )
    rig.at(180)
    forced = [one for one in rig.engine.all_orders() if one.made_by is Maker.LIQUIDATION]

    assert [LONG] == [one.spec.leg for one in forced]
    assert [Decimal(0), Decimal("-0.1")] == [one.qty for one in rig.engine.legs()]
    assert EngineStatus.UNTRIGGERED is stop.status


def test_the_meter_measures_each_side(make_engine_rig: MakeRig) -> None:
    """A stop of the long does not cover the short: the meter names the naked side (R46)."""
    rig = make_engine_rig()
    meter = ProtectionMeter()
    rig.engine.add_listener(meter)
    rig.engine.set_hedge_mode(hedge=True)
    rig.order("BUY", "0.2", leg=LONG)
    rig.order("SELL", "0.1", leg=SHORT)
    rig.order("SELL", None, "STOP_MARKET", trigger_price=49_500, leg=LONG, close_position=True)
    rig.at(30)
    long, short = meter.episodes(rig.engine.now_ns)

    assert ("BTCUSDT SHORT",) == meter.summary(rig.engine.now_ns).currently_unprotected
    assert (0, 30_000_000_000) == (long.unprotected_ns_total, short.unprotected_ns_total)


def test_a_hedged_account_outlives_a_restart(make_engine_rig: MakeRig) -> None:
    """Mode, both sides and their bound orders come back as they were (R79)."""
    rig = hedged(make_engine_rig, "bybit")
    rig.engine.set_position_protection(
        "BTCUSDT",
        stop=Decimal(50_500),
        target=None,
        stop_by=TriggerBy.LAST,
        target_by=TriggerBy.LAST,
        leg=SHORT,
    )
    again = make_engine_rig("bybit")
    again.engine.restore_state(rig.engine.export_state())

    assert again.engine.hedge_mode
    assert [Decimal("0.2"), Decimal("-0.1")] == [one.qty for one in again.engine.legs()]
    stop = again.engine.leg("BTCUSDT", SHORT).stop
    assert stop is not None
    assert (Bound.STOP, OrderType.STOP_MARKET) == (stop.bound, stop.spec.order_type)
    assert rig.engine.export_state() == again.engine.export_state()
