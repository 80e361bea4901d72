"""
What the state machines of this folder share: how one is run, and how its history becomes the
evidence that the checkers of sim judge.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from aegis.core.event import Event
from aegis.settings import AegisConfig
from aegis.sim.checkers import Checker
from aegis.sim.evidence import Evidence, Life
from aegis.sim.faults import Log
from aegis.sim.witness import FillSeen, OrderSeen, SizeSeen
from aegis.twin.boot import VenueName

INSTALLATION: Final = "ab12"
VENUE: Final[VenueName] = "binance"
CONFIG: Final = AegisConfig()


def run_machine(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """Run *machine* on the same examples each time, and do not look for the smallest that fails."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def evidence_of(
    events: Iterable[Event],
    *,
    end_ns: int,
    fills: Sequence[FillSeen] = (),
    orders: Sequence[OrderSeen] = (),
    sizes: Sequence[SizeSeen] = (),
    positions: Mapping[str, Decimal] | None = None,
    unaccounted: Sequence[str] = (),
) -> Evidence:
    """Return the evidence of one process that ended cleanly; *positions*: symbol to signed size."""
    life = Life(run=1, events=tuple(events), is_clean=True, unaccounted=tuple(unaccounted))
    return Evidence(
        config=CONFIG,
        installation=INSTALLATION,
        fills=tuple(fills),
        orders=tuple(orders),
        income=(),
        sizes=tuple(sizes),
        episodes={VENUE: ()},
        positions={(VENUE, symbol): qty for symbol, qty in (positions or {}).items() if qty},
        wallets={},
        lives=(life,),
        log=Log(),
        end_ns=end_ns,
    )


def assert_lawful(evidence: Evidence, *checkers: Checker) -> None:
    """Fail with the first thing that one of *checkers* calls broken."""
    for checker in checkers:
        broken = [f"{checker.__name__}: {problem}" for problem in checker(evidence)]
        assert not broken, "\n".join(broken)
