"""Laws of what moves a stop: trailing, break-even, ladder, and how it is carried out (R48-R54)."""

from decimal import Decimal

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.exit_shapes import (
    BOUND,
    ORDERS,
    SIDES,
    TICK,
    NaiveVenue,
    position_of,
    rules_of,
)

from aegis.exit.aim import NOTHING_AIMED, aimed, is_tighter
from aegis.exit.decide import (
    Action,
    Desired,
    covered_qty,
    effective_stop,
    stops_of,
    targets_of,
)
from aegis.exit.ladder import Step, rungs_left
from aegis.exit.plan import plan_actions
from aegis.exit.trail import (
    Measure,
    TrailRules,
    best_behind,
    better_mark,
    is_due,
    is_passed,
    wished_stop,
)
from aegis.model.money import ZERO
from aegis.model.order import PositionSide, Purpose
from aegis.model.position import CloseCause, PositionView

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
RULES = rules_of(taker_fee_rate=Decimal("0.0005"))
TRAILS = st.builds(
    TrailRules,
    start_r=st.decimals("0.1", "3", places=2),
    distance_r=st.decimals("0.05", "3", places=2),
    step_r=st.decimals("0", "1", places=2),
    interval_ns=st.integers(0, 10),
    break_even_r=st.sampled_from([ZERO, Decimal("0.3"), Decimal(1)]),
)
ENTRY, UNIT = Decimal(1000), Decimal(20)
MOVES = st.lists(st.decimals("-40", "80", places=1), min_size=1, max_size=60)
"""Ways from the entry in the direction of profit."""


def measure(side: PositionSide) -> Measure:
    """Return what 1 R is: 20 from an entry of 1000."""
    return Measure(side=side, entry_px=ENTRY, unit=UNIT)


def trail(rules: TrailRules, side: PositionSide, moves: list[Decimal]) -> list[Decimal]:
    """Return where a stop lies after each mark, the venue taking every move at once."""
    stop, best, moved, seen = ENTRY - UNIT * side.sign, None, None, []
    for now, move in enumerate(moves):
        mark = ENTRY + move * side.sign
        if is_passed(side, stop, mark):
            break
        best = better_mark(side, best, mark)
        wish = wished_stop(rules, measure(side), best, RULES)
        if wish is not None and is_due(
            rules, measure(side), wish, present=stop, tick=TICK, moved_ns=moved, now_ns=now
        ):
            stop = wish.price
            moved = now if wish.cause is CloseCause.TRAIL else moved
        seen.append(stop)
    return seen


@given(side=SIDES, rules=TRAILS, moves=MOVES)
def test_trail_only_tightens_and_keeps_its_distance(
    side: PositionSide, rules: TrailRules, moves: list[Decimal]
) -> None:
    """R50: monotonic, at least the distance behind the best mark, at least a step at a time."""
    seen = [ENTRY - UNIT * side.sign, *trail(rules, side, moves)]
    best = None
    for before, after, move in zip(seen, seen[1:], moves, strict=False):
        best = better_mark(side, best, ENTRY + move * side.sign)
        gain = (after - before) * side.sign
        assert gain >= 0
        if gain == 0:
            continue
        assert gain >= TICK
        assert after % TICK == 0
        behind = (best - after) * side.sign
        assert behind > 0
        if after != ENTRY + side.sign:
            assert behind >= rules.distance_r * UNIT
            assert gain >= rules.step_r * UNIT


@given(rules=TRAILS, moves=MOVES)
def test_trail_of_a_short_mirrors_a_long(rules: TrailRules, moves: list[Decimal]) -> None:
    """R50: the same ways in the other direction give the same distances."""
    longs, shorts = trail(rules, LONG, moves), trail(rules, SHORT, moves)
    assert [s - ENTRY for s in longs] == [ENTRY - s for s in shorts]


@given(side=SIDES, rules=TRAILS, moves=MOVES, more=MOVES)
def test_activation_latches(
    side: PositionSide, rules: TrailRules, moves: list[Decimal], more: list[Decimal]
) -> None:
    """R50: what a best mark has earned, no later mark takes away."""
    best = None
    for move in moves:
        best = better_mark(side, best, ENTRY + move * side.sign)
    assert best is not None
    earned = wished_stop(rules, measure(side), best, RULES)
    for move in more:
        best = better_mark(side, best, ENTRY + move * side.sign)
        later = wished_stop(rules, measure(side), best, RULES)
        if earned is not None:
            assert later is not None
            assert not is_tighter(side, earned.price, later.price)
        earned = later


@given(side=SIDES, rules=TRAILS, best_r=st.decimals("-1", "8", places=2))
def test_found_stop_tells_the_best_mark_it_was_made_of(
    side: PositionSide, rules: TrailRules, best_r: Decimal
) -> None:
    """R51: what is derived of a trailed stop wishes that very stop again, none that is tighter."""
    rules = attrs.evolve(rules, break_even_r=ZERO)
    wish = wished_stop(rules, measure(side), measure(side).price_at(best_r), RULES)
    if wish is None:
        return
    best = best_behind(rules, measure(side), wish.price, RULES)
    assert best is not None
    again = wished_stop(rules, measure(side), best, RULES)
    assert again is not None
    assert abs(again.price - wish.price) <= TICK
    assert measure(side).r_of(best) >= rules.start_r


@given(
    side=SIDES,
    entry=st.decimals("1", "1000", places=2),
    unit=st.decimals("0.01", "100", places=2),
    r=st.decimals("-5", "20", places=2),
    scale=st.sampled_from([Decimal("0.01"), Decimal(10), Decimal(1000)]),
)
def test_r_is_invariant_to_scale(
    side: PositionSide, entry: Decimal, unit: Decimal, r: Decimal, scale: Decimal
) -> None:
    """R52: dir * (price - entry) / stop distance; another unit of price changes nothing."""
    one = Measure(side=side, entry_px=entry, unit=unit)
    scaled = Measure(side=side, entry_px=entry * scale, unit=unit * scale)
    assert abs(one.r_of(one.price_at(r)) - r) < Decimal("1e-20")
    assert abs(scaled.r_of(one.price_at(r) * scale) - r) < Decimal("1e-20")


@st.composite
def ladders(draw: st.DrawFn) -> tuple[Step, ...]:
    """Return up to 8 rising steps whose fractions add up to at most 1."""
    count = draw(st.integers(1, 8))
    hundredths, steps, r = 100, [], ZERO
    for _ in range(count):
        r += draw(st.decimals("0.01", "1", places=2))
        part = draw(st.integers(0, hundredths))
        hundredths -= part
        if part:
            steps.append(Step(r=r, fraction=Decimal(part) / 100))
    return tuple(steps)


def view(side: PositionSide, opened: Decimal, qty: Decimal) -> PositionView:
    """Return a position of which *qty* is left."""
    return position_of(side, ENTRY, qty, opened=opened)


@given(side=SIDES, steps=ladders(), thousandths=st.integers(1, 5000), closed=st.integers(0, 5000))
def test_ladder_never_takes_more_than_its_fractions(
    side: PositionSide, steps: tuple[Step, ...], thousandths: int, closed: int
) -> None:
    """R53: of the initial quantity, at most 1, on the step, in profit, nearest first."""
    opened = Decimal(thousandths) / 1000
    left = max(ZERO, opened - Decimal(closed) / 1000)
    whole = rungs_left(steps, view(side, opened, opened), measure(side), RULES)
    rest = rungs_left(steps, view(side, opened, left), measure(side), RULES)
    total = sum((s.fraction for s in steps), ZERO)

    assert sum((r.qty for r in whole), ZERO) <= total * opened
    assert sum((r.qty for r in rest), ZERO) <= left
    assert sum((r.qty for r in rest), ZERO) <= sum((r.qty for r in whole), ZERO)
    for rungs in (whole, rest):
        assert all(r.qty > 0 and r.qty % RULES.qty_step == 0 for r in rungs)
        ways = [(r.price - ENTRY) * side.sign for r in rungs]
        assert ways == sorted(set(ways))
        assert all(way > 0 for way in ways)
    if total == 1 and whole:
        assert opened == sum((r.qty for r in whole), ZERO)
    # One after the other, each is taken once and what is left does not change by that.
    qty = opened
    for rung in whole:
        (nearest, *_) = rungs_left(steps, view(side, opened, qty), measure(side), RULES)
        assert rung == nearest
        qty -= rung.qty
    assert () == rungs_left(steps, view(side, opened, qty), measure(side), RULES)


@given(side=SIDES, prices=st.lists(st.decimals("900", "1100", places=1), max_size=30))
def test_aim_never_loosens(side: PositionSide, prices: list[Decimal]) -> None:
    """R72: whatever asks, the stop is the tightest so far and never looser than the plan's."""
    plan = Desired(stop_price=ENTRY - 20 * side.sign, target_price=ENTRY, basis="plan")
    aim, stop = NOTHING_AIMED, plan.stop_price
    for price in prices:
        aim = aim.tightened(side, price, CloseCause.TRAIL, "asked")
        after = aimed(plan, aim, side).stop_price
        assert (after - stop) * side.sign >= 0
        stop = after


@given(side=SIDES, bound=st.booleans(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_hundred_moves_and_resizes_leave_one_stop(
    side: PositionSide, bound: bool, data: st.DataObject
) -> None:
    """
    R48: 100 moves and resizes, done in any order and refused now and then.

    Never uncovered; at rest one effective stop where it is wanted, at most one floor beneath, one
    target and the rungs that are left, nothing else.
    """
    opened = Decimal(1)
    steps = tuple(Step(r=Decimal(r), fraction=Decimal("0.1")) for r in (1, 2, 3, 4))
    venue, position = NaiveVenue(side), view(side, opened, opened)
    aim, capabilities = NOTHING_AIMED, BOUND if bound else ORDERS
    stop_px = ENTRY - 20 * side.sign
    plan = Desired(stop_price=stop_px, target_price=ENTRY + 100 * side.sign, basis="plan")
    moves = data.draw(st.lists(st.integers(0, 9), min_size=100, max_size=100))
    for move in moves:
        rungs = rungs_left(steps, position, measure(side), RULES)
        if move == 0 and rungs:
            # A rung fires: its order goes and the position shrinks.
            fired = [r for r in venue.resting if r.purpose is Purpose.RUNG]
            nearest = [r for r in fired if r.trigger_price == rungs[0].price]
            if nearest:
                venue.resting.remove(nearest[0])
                position = view(side, opened, position.qty - rungs[0].qty)
                rungs = rungs_left(steps, position, measure(side), RULES)
        stop_px += TICK * move * side.sign / 2
        aim = attrs.evolve(
            aim.tightened(side, stop_px.quantize(TICK), CloseCause.TRAIL, "moved"), rungs=rungs
        )
        desired = aimed(plan, aim, side)
        actions: tuple[Action, ...] = ()
        for attempt in range(6):
            actions = plan_actions(
                position,
                desired,
                venue.resting,
                capabilities=capabilities,
                instrument=RULES,
                entry_done=True,
            )
            for action in data.draw(st.permutations(actions)) if actions else ():
                before = covered_qty(position, venue.resting)
                effective = effective_stop(position, venue.resting)
                if attempt > 1 or data.draw(st.booleans()):
                    venue.do(action)
                assert covered_qty(position, venue.resting) >= before
                now = effective_stop(position, venue.resting)
                if effective is not None and effective.trigger_price is not None:
                    assert now is not None
                    assert not is_tighter(side, effective.trigger_price, now.trigger_price)
        assert () == actions
        stops = stops_of(position, venue.resting)
        nearest_stop = effective_stop(position, venue.resting)
        assert nearest_stop is not None
        assert nearest_stop.trigger_price is not None
        behind = (desired.stop_price - nearest_stop.trigger_price) * side.sign
        assert 0 <= behind <= TICK
        assert 1 == len([s for s in stops if s.qty is None])
        assert len(stops) <= 2
        assert 1 == len(targets_of(venue.resting))
        resting_rungs = {
            (r.trigger_price, r.qty) for r in venue.resting if r.purpose is Purpose.RUNG
        }
        assert {(r.price, r.qty) for r in rungs} == resting_rungs
        assert len(stops) + 1 + len(resting_rungs) == len(venue.resting)
