"""Stops that move, close a part, or wait: trailing, partial, stop-limit, price-protected."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.model.order import TriggerBy
from aegis.twin.engine.api import (
    Bound,
    EngineOrder,
    EngineStatus,
    Leg,
    PartialWish,
    Reason,
    Refused,
    Trail,
)
from aegis.twin.meter import ProtectionMeter

if TYPE_CHECKING:
    from tests.unit.twin.conftest import EngineRig

MakeRig = Callable[..., "EngineRig"]
# Each price is reached at 40 s of its minute, from 20 s on.
UP_AND_DOWN = (50_000.0, 51_000.0, 52_000.0, 51_000.0, 50_000.0, 50_000.0)
FALL = (50_000.0, 50_000.0, 49_000.0, 49_000.0, 49_000.0)


def refusal(act: Callable[[], object]) -> Reason:
    """Return why *act* was refused."""
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.reason


def trailing(rig: "EngineRig", **trail: str) -> EngineOrder:
    """Place a reduce-only trailing sell of 0.1 on the last price."""
    made = Trail(**{name: Decimal(value) for name, value in trail.items()})
    return rig.order("SELL", "0.1", "STOP_MARKET", trigger_price=0.1, reduce_only=True, trail=made)


def test_a_trailing_stop_follows_the_high_and_fires_behind_it(make_engine_rig: MakeRig) -> None:
    """The level is 1 % under the highest price, and never comes down (venues.md 1.2)."""
    rig = make_engine_rig(prices=UP_AND_DOWN)
    entry = rig.order("BUY", "0.1")
    order = trailing(rig, rate="1")
    levels = []
    for second in (0, 50, 110):
        rig.at(second)
        levels.append(order.spec.trigger_price)
    rig.at(150)
    before = order.status
    rig.at(165)

    assert [Decimal(49_500), Decimal(50_490), Decimal(51_480)] == levels
    assert EngineStatus.UNTRIGGERED is before
    assert EngineStatus.FILLED is order.status
    assert 0 == rig.position.qty
    # 51 480 is reached 10.4 s after the fall from 52 000 begins, at 140 s.
    fired_ns = order.triggered_ns - entry.created_ns
    assert 150_400_000_000 == pytest.approx(fired_ns, abs=2)


def test_a_trailing_stop_waits_for_its_activation(make_engine_rig: MakeRig) -> None:
    """Below its activation price it does not follow, and the meter counts it as nothing."""
    rig = make_engine_rig(prices=UP_AND_DOWN)
    meter = ProtectionMeter()
    rig.engine.add_listener(meter)
    rig.order("BUY", "0.1")
    order = trailing(rig, rate="1", activate="51500")
    rig.at(50)
    naked = meter.summary(rig.engine.now_ns).currently_unprotected
    waiting = order.trail_active
    rig.at(95)

    assert ("BTCUSDT",) == naked
    assert not waiting
    assert order.trail_active
    assert () == meter.summary(rig.engine.now_ns).currently_unprotected
    assert Reason.WOULD_TRIGGER is refusal(lambda: trailing(rig, rate="1", activate="51000"))


def test_bybits_trailing_stop_is_bound_and_told_at_every_move(make_engine_rig: MakeRig) -> None:
    """It follows the position, is told anew when its level moves, and goes with the position."""
    rig = make_engine_rig("bybit", prices=UP_AND_DOWN)
    rig.order("BUY", "0.1")
    rig.engine.set_position_protection(
        "BTCUSDT",
        stop=None,
        target=None,
        stop_by=TriggerBy.LAST,
        target_by=TriggerBy.LAST,
        trail=Trail(distance=Decimal(500)),
    )
    order = rig.position.trailing
    assert order is not None
    rig.order("BUY", "0.1")
    rig.log.lines.clear()
    rig.at(115)

    assert (Bound.TRAILING, Decimal("0.2")) == (order.bound, order.spec.qty)
    assert Decimal(51_500) == order.spec.trigger_price
    assert ["order 2 UNTRIGGERED", "order 2 UNTRIGGERED"] == rig.log.orders()
    rig.order("SELL", "0.2", reduce_only=True)
    assert EngineStatus.DEACTIVATED is order.status
    assert rig.position.trailing is None


def partial(rig: "EngineRig", qty: str, *, stop: str, target: str | None = None) -> None:
    """Add a partial stop, target or both."""
    rig.engine.add_partial_protection(
        PartialWish(
            symbol="BTCUSDT",
            leg=Leg.BOTH,
            qty=Decimal(qty),
            stop=Decimal(stop),
            target=None if target is None else Decimal(target),
        )
    )


def test_partials_are_added_and_cancel_each_other(make_engine_rig: MakeRig) -> None:
    """Each pair closes its own part; the target of the fired stop goes with it (venues.md 3.5)."""
    rig = make_engine_rig("bybit", prices=FALL)
    rig.order("BUY", "0.3")
    partial(rig, "0.1", stop="49600", target="52000")
    partial(rig, "0.2", stop="48000", target="53000")
    first, first_target, second, second_target = rig.engine.open_orders()
    rig.at(130)

    assert EngineStatus.FILLED is first.status
    assert EngineStatus.CANCELED is first_target.status
    assert EngineStatus.UNTRIGGERED is second.status
    assert Decimal("0.2") == rig.position.qty
    rig.order("SELL", "0.2", reduce_only=True)
    assert {EngineStatus.DEACTIVATED} == {second.status, second_target.status}


def test_at_most_twenty_partials_wait(make_engine_rig: MakeRig) -> None:
    """The eleventh pair of a symbol is refused (venues.md 3.3)."""
    rig = make_engine_rig("bybit")
    assert Reason.NO_POSITION is refusal(lambda: partial(rig, "0.1", stop="49000"))
    rig.order("BUY", "0.3")
    for _ in range(10):
        partial(rig, "0.01", stop="49000", target="51000")

    assert Reason.PARTIAL_LIMIT is refusal(lambda: partial(rig, "0.01", stop="49000"))
    assert Reason.STOP_WRONG_SIDE is refusal(lambda: partial(rig, "0.01", stop="51000"))


def test_an_entry_arms_its_partials(make_engine_rig: MakeRig) -> None:
    """Attached in Partial mode they close what the entry filled, with a limit where asked for."""
    rig = make_engine_rig("bybit", prices=FALL)
    rig.order("BUY", "0.1")
    rig.order(
        "BUY",
        "0.2",
        attached_stop=49_500,
        attached_partial=True,
        attached_stop_limit=Decimal(49_900),
    )
    (stop,) = rig.engine.open_orders()
    rig.at(130)

    assert (Bound.PARTIAL_STOP, Decimal("0.2")) == (stop.bound, stop.spec.qty)
    # Its limit is above the market once it fired: it rests, and protects nothing.
    assert EngineStatus.NEW is stop.status
    assert Decimal("0.3") == rig.position.qty


def test_a_stop_limit_rests_after_its_trigger(make_engine_rig: MakeRig) -> None:
    """Binance: TRIGGERED while its LIMIT rests, FINISHED when that fills (venues.md 1.4)."""
    rig = make_engine_rig(prices=(50_000.0, 50_000.0, 49_000.0, 50_000.0, 50_000.0))
    rig.order("BUY", "0.1")
    stop = rig.order(
        "SELL", "0.1", "STOP_MARKET", trigger_price=49_500, limit_price=49_800, reduce_only=True
    )
    rig.at(125)
    assert stop.child is not None
    resting = (stop.status, stop.child.spec.order_type.value, stop.child.status)
    rig.at(200)

    assert (EngineStatus.TRIGGERED, "LIMIT", EngineStatus.NEW) == resting
    assert (EngineStatus.FILLED, Decimal("0.1")) == (stop.status, stop.filled_qty)
    assert 0 == rig.position.qty


def test_a_protected_trigger_waits_while_prices_are_apart(make_engine_rig: MakeRig) -> None:
    """With 6 % between mark and last it is held back; without protection it fires (1.2)."""
    rig = make_engine_rig(prices=FALL, basis=3_000.0)
    rig.order("BUY", "0.2")
    common = {"trigger_price": 49_500, "reduce_only": True}
    held = rig.order("SELL", "0.1", "STOP_MARKET", price_protect=True, **common)
    fired = rig.order("SELL", "0.1", "STOP_MARKET", **common)
    rig.at(200)

    assert EngineStatus.UNTRIGGERED is held.status
    assert EngineStatus.FILLED is fired.status
