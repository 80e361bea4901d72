"""The twin's engine: stops and targets from placing to their end, on both venues."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs
import pytest

from aegis.model.order import TriggerBy
from aegis.twin.engine.api import EngineStatus, Reason, Refused
from aegis.twin.meter import ProtectionMeter

if TYPE_CHECKING:
    from tests.unit.twin.conftest import EngineRig

MakeRig = Callable[..., "EngineRig"]
FALL = (50_000.0, 50_000.0, 49_000.0, 49_000.0, 49_000.0)
RISE = (50_000.0, 50_000.0, 51_000.0, 51_000.0, 51_000.0)
ZERO = Decimal(0)


def refusal(place: Callable[[], object]) -> Reason:
    """Return why *place* was refused."""
    with pytest.raises(Refused) as caught:
        place()
    return caught.value.reason


@attrs.define
class Slow:
    """A venue whose triggers come *late_ns* later, or never."""

    stuck: bool = False
    late_ns: int = 0

    def trigger_stuck(self, order: object) -> bool:
        """Say whether it never comes."""
        return self.stuck

    def extra_trigger_latency_ns(self, order: object) -> int:
        """Return how much later."""
        return self.late_ns

    def depth_factor(self, symbol: str) -> float:
        """Return the book as it is."""
        return 1.0


def protect(rig: "EngineRig", stop: str | None, target: str | None) -> None:
    """Set position protection on the mark."""
    rig.engine.set_position_protection(
        "BTCUSDT",
        stop=None if stop is None else Decimal(stop),
        target=None if target is None else Decimal(target),
        stop_by=TriggerBy.MARK,
        target_by=TriggerBy.MARK,
    )


def test_binance_stop_fires_in_the_venues_order(make_engine_rig: MakeRig) -> None:
    """TRIGGERING, child NEW, fill, TRIGGERED, FINISHED, and only then the target expires."""
    rig = make_engine_rig(prices=FALL)
    rig.order("BUY", "0.1")
    stop, target = rig.stop(49_500), rig.target(51_000)
    rig.log.lines.clear()
    rig.at(200)

    assert [
        "order 2 TRIGGERING",
        "order 4 NEW",
        "fill 4 0.1",
        "order 4 FILLED",
        "income REALIZED_PNL",
        "income COMMISSION",
        "position 0.0 ORDER",
        "balance ORDER",
        "order 2 TRIGGERED",
        "order 2 FILLED",
        "order 3 EXPIRED",
    ] == rig.log.lines
    child = stop.child
    assert child is not None
    assert (stop.spec.client_id, stop) == (child.spec.client_id, child.parent)
    assert (child.filled_qty, child.average_px) == (stop.filled_qty, stop.average_px)
    latency_ns = child.created_ns - stop.triggered_ns
    assert 17_000_000 <= latency_ns <= 401_000_000
    # 49 500 is half of the way down, which lasts from 80 s to 100 s.
    assert 90_000_000_000 == stop.triggered_ns - rig.engine.all_orders()[0].created_ns
    assert EngineStatus.EXPIRED is target.status


def test_a_trigger_quotes_the_price_that_fired_it(make_engine_rig: MakeRig) -> None:
    """The crossing is told as a quote at its own instant."""
    rig = make_engine_rig(prices=FALL)
    rig.order("BUY", "0.1")
    stop = rig.stop(49_500)
    rig.at(100)

    assert [49_500.0] == [q.mark for q in rig.log.quotes if q.ts_ns == stop.triggered_ns]


def test_mark_and_last_are_told_apart(make_engine_rig: MakeRig) -> None:
    """With the mark 200 below the price, a stop on the mark fires first."""
    rig = make_engine_rig(prices=FALL, basis=-200.0)
    rig.order("BUY", "0.1")
    on_mark = rig.stop(49_500, "0.05")
    on_last = rig.order("SELL", "0.05", "STOP_MARKET", trigger_price=49_500, reduce_only=True)
    rig.at(200)

    assert 4_000_000_000 == on_last.triggered_ns - on_mark.triggered_ns


def test_close_position_rules_of_binance(make_engine_rig: MakeRig) -> None:
    """-4509 when flat, -2021 when already there, -4130 for a second of its family and side."""
    rig = make_engine_rig()
    assert Reason.NO_POSITION is refusal(lambda: rig.stop(49_000))
    rig.order("BUY", "0.1")
    assert Reason.WOULD_TRIGGER is refusal(lambda: rig.stop(50_000))
    assert Reason.WOULD_TRIGGER is refusal(lambda: rig.target(50_000))
    assert Reason.NO_POSITION is refusal(lambda: rig.stop(51_000, side="BUY"))
    first = rig.stop(49_000)
    assert Reason.CLOSE_POSITION_EXISTS is refusal(lambda: rig.stop(49_100))
    rig.target(51_000)
    rig.stop(49_200, "0.1")
    rig.engine.cancel(first)
    rig.stop(49_100)

    assert 4 == len(rig.engine.open_orders()) + 1


def test_close_position_expires_when_flat_and_a_quantity_stays(make_engine_rig: MakeRig) -> None:
    """After a manual close closePosition orders are EXPIRED, a reduce-only quantity still rests."""
    rig = make_engine_rig(prices=FALL)
    rig.order("BUY", "0.1")
    whole, part = rig.stop(49_400), rig.stop(49_500, "0.1")
    rig.order("SELL", "0.1", reduce_only=True)
    assert ("EXPIRED", "UNTRIGGERED") == (whole.status.value, part.status.value)
    rig.at(200)

    assert ("REJECTED", "Reduce Only reject") == (part.status.value, part.detail)
    assert part.child is None


def test_a_stuck_trigger_stays_and_cannot_be_canceled(make_engine_rig: MakeRig) -> None:
    """TRIGGERING without an order: nothing follows, cancel is refused, the position stays."""
    rig = make_engine_rig(prices=FALL, faults=Slow(stuck=True))
    rig.order("BUY", "0.1")
    stop = rig.stop(49_500)
    meter = ProtectionMeter()
    rig.engine.add_listener(meter)
    rig.at(200)

    assert (EngineStatus.TRIGGERING, None) == (stop.status, stop.child)
    assert Reason.ORDER_TRIGGERING is refusal(lambda: rig.engine.cancel(stop))
    assert Decimal("0.1") == rig.position.qty
    assert rig.stop(48_000).status is EngineStatus.UNTRIGGERED


def test_conditional_orders_have_a_limit(make_engine_rig: MakeRig) -> None:
    """Bybit holds ten a symbol, its position-bound ones not counted (venues.md 3.3)."""
    rig = make_engine_rig("bybit")
    rig.order("BUY", "0.1", attached_stop=49_000, attached_target=51_000)
    for step in range(10):
        rig.target(50_500 + step, "0.01")

    assert Reason.CONDITIONAL_LIMIT is refusal(lambda: rig.target(50_600, "0.01"))


def test_bybit_attached_protection_arms_with_the_fill(make_engine_rig: MakeRig) -> None:
    """Stop and target exist in the instant of the entry's fill: the meter sees 0 ns."""
    rig = make_engine_rig("bybit", prices=FALL)
    meter = ProtectionMeter()
    rig.engine.add_listener(meter)
    rig.at(10)
    entry = rig.order("BUY", "0.1", attached_stop=49_500, attached_target=51_000)
    stop, target = rig.position.stop, rig.position.target
    assert stop is not None
    assert target is not None
    assert (entry, "STOP", "STOP_LOSS") == (stop.parent, stop.bound, stop.made_by)
    assert (Decimal("0.1"), entry.updated_ns) == (stop.spec.qty, stop.created_ns)
    rig.log.lines.clear()
    rig.at(200)

    assert [
        "order 2 TRIGGERED",
        "order 2 FILLED",
        "order 3 DEACTIVATED",
    ] == rig.log.orders()
    assert (None, None, ZERO) == (rig.position.stop, rig.position.target, rig.position.qty)
    (episode,) = meter.episodes(rig.engine.now_ns)
    assert (0, 0, ()) == (
        episode.unprotected_ns_total,
        episode.first_protected_after_ns,
        episode.gaps,
    )


def test_bybit_protection_follows_the_size(make_engine_rig: MakeRig) -> None:
    """An add and a reduction resize the stop, which keeps its id; a close removes it."""
    rig = make_engine_rig("bybit")
    rig.order("BUY", "0.1", attached_stop=49_000)
    stop = rig.position.stop
    assert stop is not None
    rig.order("BUY", "0.2")
    assert Decimal("0.3") == stop.spec.qty
    rig.order("SELL", "0.25", reduce_only=True)
    assert (Decimal("0.05"), stop) == (stop.spec.qty, rig.position.stop)
    rig.order("SELL", None, close_position=True)
    assert (EngineStatus.DEACTIVATED, None) == (stop.status, rig.position.stop)


def test_bybit_trading_stop_sets_moves_and_removes(make_engine_rig: MakeRig) -> None:
    """Moves keep the id; wrong sides, no change and no position are refused (venues.md 3.4)."""
    rig = make_engine_rig("bybit")
    assert Reason.NO_POSITION is refusal(lambda: protect(rig, "49000", None))
    rig.order("SELL", "0.1")
    assert Reason.STOP_WRONG_SIDE is refusal(lambda: protect(rig, "49000", None))
    assert Reason.TARGET_WRONG_SIDE is refusal(lambda: protect(rig, "51000", "50500"))
    assert rig.position.stop is None
    protect(rig, "51000", "48000")
    stop, target = rig.position.stop, rig.position.target
    assert stop is not None
    assert Reason.NOT_MODIFIED is refusal(lambda: protect(rig, "51000", "48000"))
    protect(rig, "50500", "48000")
    assert (stop, Decimal(50_500)) == (rig.position.stop, stop.spec.trigger_price)
    protect(rig, None, "0")
    assert (stop, None) == (rig.position.stop, rig.position.target)
    assert target is not None
    assert EngineStatus.DEACTIVATED is target.status
    rig.engine.amend(stop, qty=None, limit_price=None, trigger_price=Decimal(50_400))
    assert Decimal(50_400) == stop.spec.trigger_price
    rig.engine.cancel(stop)
    assert (EngineStatus.CANCELED, None) == (stop.status, rig.position.stop)


def test_bybit_refuses_attached_protection_on_the_wrong_side(make_engine_rig: MakeRig) -> None:
    """A buy's stop must be below the price, its target above."""
    rig = make_engine_rig("bybit")
    wrong_stop = refusal(lambda: rig.order("BUY", "0.1", attached_stop=50_001))
    wrong_target = refusal(lambda: rig.order("BUY", "0.1", attached_target=49_999))

    assert (Reason.STOP_WRONG_SIDE, Reason.TARGET_WRONG_SIDE) == (wrong_stop, wrong_target)


def test_bybit_conditional_fills_under_its_own_id(make_engine_rig: MakeRig) -> None:
    """A reduce-only rung triggers and fills in place, and leaves the rest protected."""
    rig = make_engine_rig("bybit", prices=RISE)
    rig.order("BUY", "0.1", attached_stop=49_000)
    rung = rig.order(
        "SELL",
        "0.04",
        "TAKE_PROFIT_MARKET",
        trigger_price=50_500,
        trigger_direction=1,
        reduce_only=True,
    )
    rig.at(200)

    assert (EngineStatus.FILLED, Decimal("0.04"), None) == (
        rung.status,
        rung.filled_qty,
        rung.child,
    )
    assert rig.position.stop is not None
    assert Decimal("0.06") == rig.position.stop.spec.qty


def test_entry_by_trigger_without_margin_is_rejected(make_engine_rig: MakeRig) -> None:
    """No margin is asked at placing; short at the trigger it ends REJECTED (venues.md 1.3)."""
    rig = make_engine_rig(prices=RISE)
    order = rig.order("BUY", "100", "STOP_MARKET", trigger_price=50_500)
    rig.at(200)

    assert (EngineStatus.REJECTED, "margin not enough") == (order.status, order.detail)


def test_late_trigger_is_a_gap_of_what_exceeds_two_seconds(make_engine_rig: MakeRig) -> None:
    """TRIGGERING covers for 2 s; a trigger 5 s late leaves the rest unprotected, on both venues."""
    for venue in ("binance", "bybit"):
        rig = make_engine_rig(venue, prices=FALL, faults=Slow(late_ns=5_000_000_000))
        meter = ProtectionMeter()
        rig.engine.add_listener(meter)
        if venue == "bybit":
            rig.order("BUY", "0.1", attached_stop=49_500, attached_stop_by=TriggerBy.MARK)
        else:
            rig.order("BUY", "0.1")
            rig.stop(49_500)
        rig.at(200)
        (episode,) = meter.episodes(rig.engine.now_ns)
        assert episode.closed_ns is not None
        assert episode.closed_ns - (rig.engine.now_ns - 200_000_000_000) - 92_000_000_000 == (
            episode.unprotected_ns_total
        )
        assert episode.unprotected_ns_total >= 3_000_000_000
