"""From what a run left behind to what it came to."""

from collections import Counter

from aegis.model.events import PositionClosed, PositionOpened
from aegis.sim.bounds import Span, spans_of
from aegis.sim.evidence import Evidence
from aegis.sim.outcome import Outcome
from aegis.sim.plan import FaultPlan


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
        orders=sum(o.by_user and not o.is_child and not o.bound for o in evidence.orders),
        lines=lines,
        plan_lines=tuple(plan.lines()),
    )


def _counted(spans: list[Span], venue: str) -> tuple[float, ...]:
    return tuple(span.counted_s * 1000 for span in spans if span.venue == venue)
