"""Laws of exit's decisions: where levels lie, and that no step from one cover to the next gaps."""

from decimal import Decimal

import attrs
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.property.exit_shapes import BOUND, ORDERS, SIDES, NaiveVenue, position_of, rules_of

from aegis.exit.decide import (
    Action,
    Desired,
    Resting,
    covered_qty,
    default_plan,
    desired_protection,
    effective_stop,
    keep_found,
    kind_of,
    pace_s,
    working,
)
from aegis.exit.plan import plan_actions
from aegis.model.account import ProtectionRole
from aegis.model.order import OrderStatus, PositionSide
from aegis.model.position import ProtectionPlan

TICKS = st.sampled_from([Decimal(t) for t in ("0.0001", "0.01", "0.05", "0.1", "1", "5")])


@given(
    side=SIDES,
    tick=TICKS,
    entry_ticks=st.decimals("100", "1000000", places=3),
    stop_ticks=st.decimals("0.001", "90", places=3),
    target_ticks=st.decimals("0.001", "90", places=3),
    entry_done=st.booleans(),
)
@example(PositionSide.LONG, Decimal("0.1"), Decimal("1000.5"), Decimal(1), Decimal(1), True)
def test_levels_straddle_the_entry_on_the_grid_and_never_risk_more(
    side: PositionSide,
    tick: Decimal,
    entry_ticks: Decimal,
    stop_ticks: Decimal,
    target_ticks: Decimal,
    entry_done: bool,
) -> None:
    """Stop and target lie on their sides, on the grid, and rounding never adds risk (R47)."""
    entry = entry_ticks * tick
    plan = ProtectionPlan(stop_distance=stop_ticks * tick, target_distance=target_ticks * tick)
    desired = desired_protection(
        position_of(side, entry), plan, rules_of(tick), entry_done=entry_done
    )
    assert desired is not None
    loss = (entry - desired.stop_price) * side.sign
    gain = (desired.target_price - entry) * side.sign

    assert loss > 0
    assert gain > 0
    assert desired.stop_price % tick == 0
    assert desired.target_price % tick == 0
    # A plan below one tick cannot be kept; it becomes the nearest level there is.
    assert loss <= max(plan.stop_distance, tick)
    assert gain <= max(plan.target_distance, tick)
    assert loss > plan.stop_distance - tick


@given(
    side=SIDES,
    tick=TICKS,
    entry_ticks=st.decimals("100", "100000", places=3),
    distance_ticks=st.decimals("1", "90", places=3),
    factor=st.sampled_from([Decimal(f) for f in ("0.001", "10", "1000")]),
)
def test_levels_scale_with_the_price(
    side: PositionSide,
    tick: Decimal,
    entry_ticks: Decimal,
    distance_ticks: Decimal,
    factor: Decimal,
) -> None:
    """Another unit of price gives the same levels in that unit (R47, scenario 6)."""

    def levels(unit: Decimal) -> tuple[Decimal, Decimal]:
        entry, distance = entry_ticks * tick * unit, distance_ticks * tick * unit
        plan = ProtectionPlan(stop_distance=distance, target_distance=2 * distance)
        desired = desired_protection(
            position_of(side, entry), plan, rules_of(tick * unit), entry_done=True
        )
        assert desired is not None
        return desired.stop_price, desired.target_price

    stop, target = levels(Decimal(1))
    assert (stop * factor, target * factor) == levels(factor)


@given(
    side=SIDES,
    entry=st.decimals("1", "100000", places=2),
    pct=st.floats(0.05, 50),
    way_pct=st.decimals("0.5", "99", places=1),
)
def test_default_plan_stays_before_liquidation(
    side: PositionSide, entry: Decimal, pct: float, way_pct: Decimal
) -> None:
    """A position found without a plan gets a stop that fires before liquidation (R29)."""
    liquidation = entry - side.sign * entry * way_pct / 100
    plan = default_plan(entry, pct, 1.8, liquidation_px=liquidation, liquidation_use_max=0.6)
    stop = entry - side.sign * plan.stop_distance

    assert (stop - liquidation) * side.sign > 0
    assert plan.stop_distance <= entry * Decimal(repr(pct)) / 100


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[Decimal, Decimal, bool]]:
    """Return states of one position: quantity, VWAP, whether the entry is done; done stays done."""
    count = draw(st.integers(1, 6))
    done_from = draw(st.integers(0, count))
    qty = st.sampled_from([Decimal(q) for q in ("0.0004", "0.2", "0.5", "1", "2")])
    px = st.sampled_from([Decimal(p) for p in ("97", "99.9", "100", "100.1", "100.2", "103")])
    return [(draw(qty), draw(px), number >= done_from) for number in range(count)]


@given(side=SIDES, life=lives(), bound=st.booleans(), data=st.data())
def test_cover_never_drops_and_the_plan_comes_to_rest(
    side: PositionSide, life: list[tuple[Decimal, Decimal, bool]], bound: bool, data: st.DataObject
) -> None:
    """
    Whatever order a venue does the actions in, and whichever it refuses, no step uncovers (R48).

    At rest a second call asks for nothing, one stop is effective and at most one floor is beneath.
    """
    plan = ProtectionPlan(stop_distance=Decimal(2), target_distance=Decimal(4))
    venue, instrument = NaiveVenue(side), rules_of()
    resting = venue.resting
    capabilities = BOUND if bound else ORDERS
    for qty, entry_px, done in life:
        position = position_of(side, entry_px, qty, first_px=Decimal(100))
        desired = desired_protection(position, plan, instrument, entry_done=done)
        assert desired is not None
        actions: tuple[Action, ...] = ()
        for attempt in range(8):
            actions = plan_actions(
                position,
                desired,
                resting,
                capabilities=capabilities,
                instrument=instrument,
                entry_done=done,
            )
            assert len(actions) == len({kind_of(a) for a in actions})
            for action in data.draw(st.permutations(actions)):
                before = covered_qty(position, resting)
                if attempt > 3 or data.draw(st.booleans()):
                    venue.do(action)
                assert covered_qty(position, resting) >= before
        assert () == actions
        assert qty == covered_qty(position, resting)
        stops = working(resting, ProtectionRole.STOP)
        assert len([s for s in stops if s.qty is None]) == 1
        assert len(stops) <= 2 or qty < instrument.qty_min
        assert len(working(resting, ProtectionRole.TARGET)) == 1
        nearest = effective_stop(position, resting)
        assert nearest is not None
        assert nearest.trigger_price is not None
        if done and qty >= instrument.qty_min:
            behind = (desired.stop_price - nearest.trigger_price) * side.sign
            assert behind <= instrument.tick_size


@given(
    side=SIDES,
    stop_at=st.decimals("80", "120", places=1),
    liquidation_at=st.decimals("50", "150", places=1),
    qty=st.sampled_from([None, Decimal("0.5"), Decimal(1)]),
)
def test_found_stop_is_kept_only_if_it_can_save_the_whole(
    side: PositionSide, stop_at: Decimal, liquidation_at: Decimal, qty: Decimal | None
) -> None:
    """What is kept covers everything and fires before liquidation; else ours is wanted (R88)."""
    position = attrs.evolve(position_of(side, Decimal(100)), adopted=True)
    found = Resting(
        key="web_1",
        role=ProtectionRole.STOP,
        side=side.exit_side,
        trigger_price=stop_at,
        qty=qty,
        status=OrderStatus.ACCEPTED,
        position_bound=False,
        purpose=None,
        installation="",
    )
    assume(liquidation_at > 0)
    ours = Desired(stop_price=Decimal(1), target_price=Decimal(2), basis="ours")
    kept = keep_found(
        position, [found], ours, before=None, mark_px=None, liquidation_px=liquidation_at
    )
    saves = (stop_at - liquidation_at) * side.sign > 0 and qty != Decimal("0.5")

    assert (stop_at if saves else Decimal(1)) == kept.stop_price
    assert Decimal(2) == kept.target_price
    other_side = attrs.evolve(found, side=side.entry_side)
    assert ours == keep_found(
        position, [other_side], ours, before=None, mark_px=None, liquidation_px=None
    )


@given(failures=st.integers(0, 50), retry_ms=st.integers(20, 10_000))
def test_naked_positions_are_asked_for_at_a_steady_pace(failures: int, retry_ms: int) -> None:
    """No back-off while naked; covered ones wait 1, 2, 4 ... 60 s, never less than the pace."""
    steady = retry_ms / 1000
    assert steady == pace_s(naked=True, failures=failures, retry_ms=retry_ms)
    assert steady <= pace_s(naked=False, failures=failures, retry_ms=retry_ms) <= max(60.0, steady)
