"""Shrinking on made-up judges: what is left still breaks the law, and none of it can go (R88)."""

from collections.abc import Callable
from decimal import Decimal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.sim.kinds import Fault, Kind
from aegis.sim.market import make_market
from aegis.sim.plan import QUIET_S, FaultPlan, SignalWish, make_plan
from aegis.sim.shrink import SHORTEST_S, Enough, cut_short, shrink

FAULTS = tuple(
    Fault(kind=Kind.ANSWER_LOST, at_s=60.0 * number, venue="bybit", for_s=30.0)
    for number in range(1, 15)
)
SIGNALS = tuple(
    SignalWish(
        at_s=70.0 * number,
        venue="binance",
        symbol="BTCUSDT",
        side="LONG",
        stop_pct=0.5,
        target_pct=1.0,
    )
    for number in range(1, 8)
)
SETTINGS = (("daily_drawdown_max_pct", Decimal(30)), ("break_even_r", 0.6), ("order_entry", "rest"))
PLAN = FaultPlan(
    seed=1,
    hours=1.0,
    profile="heavy",
    start_hour=3,
    settings=SETTINGS,
    signals=SIGNALS,
    faults=FAULTS,
)
AMPLE = 100_000


def singles(plan: FaultPlan) -> list[FaultPlan]:
    """Return *plan* without each one of its faults, signals and settings."""
    return [
        attrs.evolve(plan, **{name: items[:at] + items[at + 1 :]})
        for name in ("faults", "signals", "settings")
        for items in [getattr(plan, name)]
        for at in range(len(items))
    ]


def assert_smallest(plan: FaultPlan, breaks: Callable[[FaultPlan], bool]) -> FaultPlan:
    """Shrink *plan* and check the two promises."""
    left = shrink(plan, breaks, budget=AMPLE)
    assert left.is_minimal
    assert breaks(left.plan)
    assert not [smaller for smaller in singles(left.plan) if breaks(smaller)]
    return left.plan


@settings(max_examples=40)
@given(
    faults=st.sets(st.sampled_from(range(len(FAULTS)))),
    signals=st.sets(st.sampled_from(range(len(SIGNALS)))),
    names=st.sets(st.sampled_from([name for name, _ in SETTINGS])),
)
def test_what_the_law_needs_is_what_is_left(
    faults: set[int], signals: set[int], names: set[str]
) -> None:
    """A law broken by certain items together: exactly these are left."""
    begin_s = {FAULTS[at].at_s for at in faults}
    wishes = {SIGNALS[at] for at in signals}

    def breaks(plan: FaultPlan) -> bool:
        return (
            begin_s <= {fault.at_s for fault in plan.faults}
            and wishes <= set(plan.signals)
            and names <= {name for name, _ in plan.settings}
        )

    left = assert_smallest(PLAN, breaks)

    assert begin_s == {fault.at_s for fault in left.faults}
    assert wishes == set(left.signals)
    assert names == {name for name, _ in left.settings}


@settings(max_examples=60)
@given(salt=st.integers(0, 10_000), of=st.integers(2, 4), least=st.integers(0, 6))
def test_a_capricious_law_is_shrunk_until_nothing_can_go_alone(
    salt: int, of: int, least: int
) -> None:
    """Also where a smaller plan may break the law and a larger one not."""

    def breaks(plan: FaultPlan) -> bool:
        weight = sum(round(fault.at_s) * salt for fault in plan.faults) + len(plan.signals)
        return plan == PLAN or (weight % of == 0 and len(plan.faults) >= least)

    _ = assert_smallest(PLAN, breaks)


def test_an_interplay_of_faults_and_signals_is_found() -> None:
    """What became superfluous by a later step is left out in the next round."""

    def breaks(plan: FaultPlan) -> bool:
        return len(plan.faults) >= (3 if len(plan.signals) > 2 else 1)

    left = assert_smallest(PLAN, breaks)

    assert 1 == len(left.faults)
    assert () == left.signals


@given(budget=st.integers(0, 40))
def test_the_budget_is_kept_and_what_is_left_still_breaks(budget: int) -> None:
    """However early it ends."""
    asked: list[FaultPlan] = []

    def breaks(plan: FaultPlan) -> bool:
        asked.append(plan)
        return len(plan.faults) + len(plan.signals) >= 9

    left = shrink(PLAN, breaks, budget=budget)

    assert len(asked) == left.runs <= budget
    assert len(asked) == len(set(asked)), "no plan is run twice"
    assert len(left.plan.faults) + len(left.plan.signals) >= 9


def test_a_judge_that_has_enough_ends_it() -> None:
    """What was reached until then is kept, and told to be not the smallest."""
    answers = iter([True, True])

    def breaks(_: FaultPlan) -> bool:
        for answer in answers:
            return answer
        raise Enough

    left = shrink(PLAN, breaks, budget=AMPLE)

    assert not left.is_minimal
    assert 3 == left.runs
    assert left.plan.hours < PLAN.hours


def test_each_run_is_told() -> None:
    """A line for each question, with the size of what was tried."""
    told: list[str] = []

    left = shrink(PLAN, lambda plan: len(plan.faults) > 2, budget=50, tell=told.append)

    assert left.runs == len(told)
    assert all("faults" in line and "broken" in line for line in told)


@pytest.mark.parametrize("hours", [0.2, 0.5, 0.9])
def test_a_shorter_plan_stays_on_its_market_and_keeps_its_quiet_end(hours: float) -> None:
    """The market is as long as it was drawn for; nothing lasts into the last seven minutes."""
    plan = make_plan(5, hours=2.0, profile="heavy")
    shorter = cut_short(cut_short(plan, 1.5), hours)
    end_s = hours * 3600 - QUIET_S

    assert 2.0 == shorter.market_hours
    assert hours == shorter.hours
    assert all(fault.at_s + fault.for_s <= end_s + 0.01 for fault in shorter.faults)
    assert all(wish.at_s < end_s for wish in shorter.signals)
    assert all(fault.for_s >= 0 for fault in shorter.faults)


def test_a_shorter_plan_sees_the_same_prices() -> None:
    """A made market of another length would be another one."""
    plan = make_plan(5, hours=2.0, profile="none")
    whole, short = (make_market(one) for one in (plan, cut_short(plan, 0.5)))

    for name, tapes in whole.tapes.items():
        for one, other in zip(tapes, short.tapes[name], strict=True):
            assert one.close.tolist() == other.close.tolist()


def test_time_is_cut_down_to_what_the_law_needs() -> None:
    """A fault at the tenth minute needs no hour."""
    needed = FAULTS[9].at_s

    left = assert_smallest(PLAN, lambda plan: needed in {fault.at_s for fault in plan.faults})

    assert (needed, 1) == (left.faults[0].at_s, len(left.faults))
    assert left.hours * 3600 < needed + QUIET_S + 60
    assert left.hours * 3600 >= SHORTEST_S
