"""What one seed came to: figures and violations, small enough to cross a process boundary."""

from collections import Counter

import attrs

from aegis.model.events import PositionClosed, PositionOpened
from aegis.sim.bounds import Span, spans_of
from aegis.sim.evidence import Evidence
from aegis.sim.plan import FaultPlan


@attrs.frozen(slots=True, kw_only=True)
class Outcome:
    """
    One run judged. *unprotected_ms*: by venue, of every position. *counted_ms* the same without
    the time nobody could act. *digest*: of the journal, equal for equal runs.
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
    lines: tuple[str, ...] = ()
    plan_lines: tuple[str, ...] = ()


def outcome_of(
    plan: FaultPlan,
    evidence: Evidence,
    *,
    violations: tuple[str, ...],
    digest: str,
    wall_s: float,
    lines: tuple[str, ...],
) -> Outcome:
    """Return what *plan* came to."""
    opened = {e.position.position_id for e in evidence.events(PositionOpened)}
    spans = spans_of(evidence)
    return Outcome(
        seed=plan.seed,
        hours=plan.hours,
        faults=evidence.log.counts(),
        opened=len(opened),
        closed=Counter(e.cause.value for e in evidence.events(PositionClosed)),
        lives=len(evidence.lives),
        unprotected_ms={
            venue: tuple(e.unprotected_ns_total / 1e6 for e in episodes)
            for venue, episodes in evidence.episodes.items()
        },
        counted_ms={venue: _counted(spans, venue) for venue in evidence.episodes},
        violations=violations,
        digest=digest,
        wall_s=wall_s,
        lines=lines,
        plan_lines=tuple(plan.lines()),
    )


def _counted(spans: list[Span], venue: str) -> tuple[float, ...]:
    return tuple(span.counted_s * 1000 for span in spans if span.venue == venue)
