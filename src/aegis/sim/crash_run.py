"""
One scenario killed at one place, and the run that nobody kills, from which the places follow.

Marks between which neither the journal nor the venues changed, and with the same requests under
way, are one point: nothing that outlives the process differs, and the next one starts at the same
time, so that everything after is the same. Each point is killed once with what was under way lost
and, where that would have changed something, once with it arriving after the death.
"""

import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from aegis.app.bot import Bot, VenuePorts
from aegis.core.clock import NS_PER_S, format_ns
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.events import CloseRequested, PositionClosed
from aegis.model.instrument import Venue, instrument_id
from aegis.sim.bounds import RECONNECT_MAX_S, spans_of
from aegis.sim.checkers import check
from aegis.sim.crash_probe import Kill, Mark, Probe, crash_offload, listen_to_commits
from aegis.sim.crash_scenarios import SYMBOL, CrashScenario, Deed
from aegis.sim.crash_venue import VenueHands, market_of
from aegis.sim.evidence import Evidence
from aegis.sim.faults import Carrier, SimOffload
from aegis.sim.plan import FaultPlan
from aegis.sim.run import Rig, Stage, play_plan
from aegis.sim.timeline import timeline
from aegis.twin.boot import GENERATED_START_NS, Market

DEAD_S: Final = 2.0
"""From the first mark of a point until the next process starts."""
SPAN_NS: Final = NS_PER_S
"""A point is no longer than this: every kill within it lies before the next start."""


@attrs.frozen(slots=True, kw_only=True)
class CrashOutcome:
    """One run judged. *kill*: its name, "" for the run that nobody kills."""

    scenario: str
    kill: str
    at_s: float
    violations: tuple[str, ...]
    causes: tuple[str, ...]
    worst_ms: float
    wall_s: float
    digest: str = ""
    lines: tuple[str, ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class Reference:
    """The run that nobody kills: how it was judged, how many marks it passed, and the kills."""

    outcome: CrashOutcome
    marks: int
    points: int
    kills: tuple[Kill, ...]


class CrashRig(Rig):
    """Puts a scenario and a probe under a run."""

    def __init__(self, scenario: CrashScenario, probe: Probe) -> None:
        self._scenario = scenario
        self._probe = probe
        self.stage: Stage

    def market(self, plan: FaultPlan) -> Market:  # noqa: ARG002 - by hand, not from the plan
        """Return the scenario's market."""
        return market_of(self._scenario)

    def begin(self, stage: Stage) -> None:
        """Set the venues' own deeds up."""
        self.stage = stage
        VenueHands(stage.twin).plan(self._scenario.acts, stage.market.start_ns)
        self._probe.begin(stage)

    def loop(self) -> VirtualTimeLoop:
        """Return the probe's loop."""
        return self._probe.new_loop()

    def offload(self, delay_s: float, carrier: Carrier) -> SimOffload:
        """Return the probe's offload."""
        return crash_offload(delay_s, carrier)

    def ports(self, ports: tuple[VenuePorts, ...]) -> tuple[VenuePorts, ...]:
        """Return the ports as the probe watches them."""
        return self._probe.ports(ports)

    def on_bot(self, bot: Bot) -> None:
        """Have the operator ask what the scenario says, if its time is still to come."""
        for act in self._scenario.acts:
            now_s = (self.stage.hands.now_ns() - self.stage.market.start_ns) / NS_PER_S
            if act.deed is Deed.ASK_CLOSE and act.at_s > now_s:
                _ = bot.around.loop.call_later(act.at_s - now_s, self._ask_close, bot)

    def _ask_close(self, bot: Bot) -> None:
        now_ns = bot.around.clock.now_ns()
        for venue in self._scenario.venues:
            asked = CloseRequested(
                ts_event=now_ns,
                ts_recv=now_ns,
                instrument_id=instrument_id(SYMBOL, Venue(venue.upper())),
                operator="scenario",
                reason="a scenario asks for it",
                force=False,
            )
            bot.bus.publish(asked)


def refer(
    scenario: CrashScenario,
    *,
    trace: bool = False,
    watch: Callable[[Stage, Mark], None] | None = None,
) -> Reference:
    """Play *scenario* without a kill; *watch* sees every mark."""
    probe = Probe(scenario.window, span_ns=SPAN_NS)
    rig = CrashRig(scenario, probe)
    if watch is not None:
        probe.look = lambda mark: watch(rig.stage, mark)
    evidence, outcome = _played(scenario, rig, probe, None, trace=trace)
    if evidence is not None:
        outcome = attrs.evolve(
            outcome, violations=(*outcome.violations, *_missed(scenario, evidence))
        )
    return Reference(
        outcome=outcome,
        marks=probe.count,
        points=len(probe.marks),
        kills=tuple(kills_of(probe.marks)),
    )


def kills_of(marks: Sequence[Mark]) -> Iterator[Kill]:
    """Yield every kill that differs from all others."""
    lost: Kill | None = None
    for mark in marks:
        back_ns = mark.at_ns + round(DEAD_S * NS_PER_S)
        made = Kill(
            number=mark.number,
            last=mark.last,
            sent=False,
            at_ns=mark.at_ns,
            back_ns=back_ns,
            state=mark.state,
        )
        # What was under way is lost: it makes no difference what it was.
        if lost is not None and lost.state == made.state and mark.at_ns - lost.at_ns <= SPAN_NS:
            lost = attrs.evolve(lost, last=mark.last)
        else:
            if lost is not None:
                yield lost
            lost = made
        if any(flight.changes for flight in mark.flying):
            yield attrs.evolve(made, sent=True)
    if lost is not None:
        yield lost


def kill_at(scenario: CrashScenario, kill: Kill, *, trace: bool = False) -> CrashOutcome:
    """Play *scenario*, kill it there, let it go on, and judge."""
    probe = Probe(scenario.window, kill)
    _, outcome = _played(scenario, CrashRig(scenario, probe), probe, kill, trace=trace)
    if probe.died_in != kill.state:
        problem = f"determinism: state was {probe.died_in}, without a kill {kill.state}"
        outcome = attrs.evolve(outcome, violations=(*outcome.violations, problem))
    return outcome


def failed_kill(scenario: CrashScenario, kill: Kill | None, *problems: str) -> CrashOutcome:
    """Return the outcome of a run of which nothing is known but *problems*."""
    return CrashOutcome(
        scenario=scenario.key,
        kill="" if kill is None else kill.name,
        at_s=0.0 if kill is None else (kill.at_ns - GENERATED_START_NS) / NS_PER_S,
        violations=problems,
        causes=(),
        worst_ms=0.0,
        wall_s=0.0,
    )


def _played(
    scenario: CrashScenario, rig: CrashRig, probe: Probe, kill: Kill | None, *, trace: bool
) -> tuple[Evidence | None, CrashOutcome]:
    folder = Path(tempfile.mkdtemp(prefix="aegis-crash-"))
    began_s = time.perf_counter()
    end = listen_to_commits(probe)
    try:
        evidence, digest = play_plan(scenario.plan(), folder, rig)
    except Exception as error:  # noqa: BLE001 - a run that cannot be judged is a violation itself
        problem = f"run {type(error).__name__}: {''.join(traceback.format_exception(error))}"
        return None, failed_kill(scenario, kill, problem)
    finally:
        end()
        shutil.rmtree(folder, ignore_errors=True)
    counted = [span.counted_s * 1000 for span in spans_of(evidence)]
    return evidence, attrs.evolve(
        failed_kill(scenario, kill),
        violations=(*_checked(evidence), *_late(evidence)),
        causes=tuple(event.cause.value for event in evidence.events(PositionClosed)),
        worst_ms=max(counted, default=0.0),
        wall_s=time.perf_counter() - began_s,
        digest=digest,
        lines=timeline(evidence) if trace else (),
    )


def _checked(evidence: Evidence) -> Iterator[str]:
    """Yield what the checkers of the seeds find, but for one that takes a journal for whole."""
    for violation in check(evidence):
        # An order whose row was not durable at the kill is at the venue and not in the journal.
        if not violation.startswith("not submitted:"):
            yield violation


def _late(evidence: Evidence) -> Iterator[str]:
    """
    Yield spans beyond the bound without its term for a broken stream: none was broken here.

    A process that has looked has its streams before it can be told anything. It knows nothing of
    deadlines that ran before its start, so that each death within a span begins `hard` anew.
    """
    for span in spans_of(evidence):
        bound = span.bound
        deaths = sum(span.from_ns <= died_ns < span.to_ns for died_ns, _ in evidence.log.dead)
        bound_s = bound.seconds + deaths * bound.hard
        if bound.detect > RECONNECT_MAX_S:
            bound_s -= RECONNECT_MAX_S
        if bound_s < span.counted_s <= bound.seconds:
            yield (
                f"late after a kill: {span.venue} {span.symbol} at {format_ns(span.from_ns)}: "
                f"{span.counted_s:.2f} s counted of {span.length_s:.2f} s, bound {bound_s:.2f} s"
            )


def _missed(scenario: CrashScenario, evidence: Evidence) -> Iterator[str]:
    """Yield what a scenario does not show by itself: kills around nothing would prove nothing."""
    from_ns, to_ns = (GENERATED_START_NS + round(at_s * NS_PER_S) for at_s in scenario.window)
    for kind in scenario.passes:
        if not any(from_ns <= event.ts_recv < to_ns for event in evidence.events(kind)):
            yield f"scenario: no {kind.__name__} within its window"
    causes = [event.cause for event in evidence.events(PositionClosed)]
    wanted = [] if scenario.ends_as is None else [scenario.ends_as] * len(scenario.venues)
    if causes != wanted:
        told = (", ".join(cause.value for cause in each) or "none" for each in (causes, wanted))
        yield "scenario: closes were {}, must be {}".format(*told)
