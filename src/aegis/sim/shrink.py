"""
A plan that breaks a law, made smaller while the same law stays broken. Pure: a judge is asked.

Time is cut first, since shorter runs are cheaper ones. Then faults, signals and settings are left
out by delta debugging: halves, quarters, and so on down to single ones, until none can be left out
alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import attrs

from aegis.sim.draw import FIRST_S, HOUR_S
from aegis.sim.plan import QUIET_S, FaultPlan

T = TypeVar("T")
Judge = Callable[[FaultPlan], bool]
SHORTEST_S: Final = QUIET_S + 3 * FIRST_S
SHARES: Final = (0.125, 0.25, 0.5)
"""How much of the time above the shortest is tried first, the cheapest before the others."""
CLOSE_ENOUGH: Final = 0.1


class Enough(Exception):
    """Raised by a judge that will not be asked any more: what was reached is kept."""


@attrs.frozen(slots=True, kw_only=True)
class Shrunk:
    """
    What is left. *runs*: how often the judge was asked. *is_minimal*: no fault, signal or setting
    can be left out alone; False when the budget ended before that was shown.
    """

    plan: FaultPlan
    runs: int
    is_minimal: bool


def shrink(
    plan: FaultPlan,
    breaks: Judge,
    *,
    budget: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Shrunk:
    """
    Return the smallest plan found that *breaks*, which *plan* does, in at most *budget* questions.

    Each question and its answer is told in one line.
    """
    trial = _Trial(breaks, budget, tell)
    trial.known[plan] = True
    while True:
        before = plan
        plan = _shorter(plan, trial)
        for name in ("faults", "signals", "settings"):
            plan = _fewer(plan, name, trial)
        if plan.hedge and trial.still_breaks(attrs.evolve(plan, hedge=False)):
            plan = attrs.evolve(plan, hedge=False)
        if plan == before or trial.is_spent:
            break
    return Shrunk(plan=plan, runs=trial.runs, is_minimal=not trial.is_spent)


def cut_short(plan: FaultPlan, hours: float) -> FaultPlan:
    """
    Return *plan* ended after *hours*, on the same market.

    What would begin in the quiet time before the end is left out, what would last into it ends
    there.
    """
    end_s = hours * HOUR_S - QUIET_S
    return attrs.evolve(
        plan,
        hours=hours,
        market_hours=plan.market_hours or plan.hours,
        signals=tuple(wish for wish in plan.signals if wish.at_s < end_s),
        faults=tuple(
            attrs.evolve(fault, for_s=round(min(fault.for_s, end_s - fault.at_s), 3))
            for fault in plan.faults
            if fault.at_s < end_s
        ),
    )


class _Trial:
    """Asks the judge, never twice the same, and never more often than the budget allows."""

    def __init__(self, breaks: Judge, budget: int, tell: Callable[[str], None]) -> None:
        self._breaks: Final = breaks
        self._budget: Final = budget
        self._tell: Final = tell
        self.known: Final[dict[FaultPlan, bool]] = {}
        self.runs = 0
        self.is_spent = False

    def still_breaks(self, plan: FaultPlan) -> bool:
        """Return whether *plan* breaks the law; False without asking when the budget is spent."""
        known = self.known.get(plan)
        if known is not None:
            return known
        if self.is_spent or self.runs >= self._budget:
            self.is_spent = True
            return False
        self.runs += 1
        try:
            answer = self.known[plan] = self._breaks(plan)
        except Enough:
            self.is_spent = True
            return False
        self._tell(
            f"run {self.runs} of at most {self._budget}: {size_of(plan)}: "
            f"{'still broken, kept' if answer else 'not broken'}"
        )
        return answer


def size_of(plan: FaultPlan) -> str:
    """Return how large *plan* is, in words."""
    return (
        f"{plan.hours:.2f} h, {len(plan.faults)} faults, {len(plan.signals)} signals, "
        f"{len(plan.settings)} settings"
    )


def _shorter(plan: FaultPlan, trial: _Trial) -> FaultPlan:
    """Look for the end of the time that is needed: a few cheap tries, then halves of the rest."""
    whole_s = plan.hours * HOUR_S
    spare_s = whole_s - SHORTEST_S
    enough_s, too_little_s = whole_s, SHORTEST_S
    tries = [SHORTEST_S + share * spare_s for share in SHARES]
    while enough_s - too_little_s > max(FIRST_S, CLOSE_ENOUGH * enough_s):
        at_s = tries.pop(0) if tries else (enough_s + too_little_s) / 2
        shorter = cut_short(plan, round(at_s / HOUR_S, 4))
        if trial.still_breaks(shorter):
            enough_s, tries, plan = at_s, [], shorter
        else:
            too_little_s = at_s
    return plan


def _fewer(plan: FaultPlan, name: str, trial: _Trial) -> FaultPlan:
    def kept(rest: Sequence[object]) -> FaultPlan:
        changes: dict[str, Any] = {name: tuple(rest)}
        return attrs.evolve(plan, **changes)

    left = _minimized(getattr(plan, name), lambda rest: trial.still_breaks(kept(rest)))
    return kept(left)


def _minimized(items: Sequence[T], breaks: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return a part of *items*, in order, that *breaks* and does not without any one of them."""
    left = list(items)
    if left and breaks([]):
        return []
    size = max(1, len(left) // 2)
    while left:
        is_smaller = False
        at = 0
        while at < len(left):
            rest = left[:at] + left[at + size :]
            if breaks(rest):
                left, is_smaller = rest, True
            else:
                at += size
        if size == 1 and not is_smaller:
            break
        size = max(1, size // 2)
    return left
