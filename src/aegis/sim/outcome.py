"""What one seed came to: figures and violations, small enough to cross a process boundary."""

from collections import Counter

import attrs


@attrs.frozen(slots=True, kw_only=True)
class Outcome:
    """
    One run judged. *unprotected_ms*: by venue, of every position. *counted_ms* the same without
    the time nobody could act. *orders*: that reached the venues, children and attached ones left
    out. *digest*: of the journal, equal for equal runs. *wall_s*: seconds the machine took.
    """

    seed: int
    hours: float
    faults: Counter[str]
    opened: int
    closed: Counter[str]
    lives: int
    unprotected_ms: dict[str, tuple[float, ...]]
    counted_ms: dict[str, tuple[float, ...]]
    violations: tuple[str, ...]
    digest: str
    wall_s: float
    orders: int = 0
    lines: tuple[str, ...] = ()
    plan_lines: tuple[str, ...] = ()


def failed_outcome(
    seed: int, hours: float, problem: str, *, wall_s: float, plan_lines: tuple[str, ...] = ()
) -> Outcome:
    """Return the outcome of a run that could not be judged; *problem* as `law: what`."""
    return Outcome(
        seed=seed,
        hours=hours,
        faults=Counter(),
        opened=0,
        closed=Counter(),
        lives=0,
        unprotected_ms={},
        counted_ms={},
        violations=(problem,),
        digest="",
        wall_s=wall_s,
        plan_lines=plan_lines,
    )


def law_of(violation: str) -> str:
    """Return the name of the law in `law: what`."""
    return violation.partition(": ")[0]


def laws_of(outcome: Outcome) -> list[str]:
    """Return the laws that were broken, each once, in the order the checkers told them."""
    return list(dict.fromkeys(map(law_of, outcome.violations)))
