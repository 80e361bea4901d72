"""Many seeds over several processes; outcomes come back as they end."""

import multiprocessing
import os
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.util import Finalize
from typing import Final

import attrs

from aegis.sim.outcome import Outcome
from aegis.sim.plan import Profile, make_plan
from aegis.sim.run import run_plan

RUNS_PER_PROCESS: Final = 10
"""Crashed runs are kept in memory, so that nothing of them is executed; a new process forgets."""


def run_seed(
    seed: int, *, hours: float, profile: Profile, twice_every: int = 0, trace: bool = False
) -> Outcome:
    """Run *seed*; every *twice_every*-th twice, and compare the journals."""
    plan = make_plan(seed, hours=hours, profile=profile)
    try:
        outcome = run_plan(plan, trace=trace)
        if twice_every and seed % twice_every == 0:
            outcome = _compared(outcome, run_plan(plan).digest)
    except Exception as error:  # noqa: BLE001 - a run that cannot be judged is a violation itself
        text = "".join(traceback.format_exception(error))
        return _failed(seed, hours, f"run: {text}")
    return outcome


def run_seeds(
    seeds: Sequence[int], *, hours: float, profile: Profile, jobs: int, twice_every: int = 0
) -> Iterator[Outcome]:
    """Run *seeds* in *jobs* processes; outcomes in the order they end."""
    one = partial(run_seed, hours=hours, profile=profile, twice_every=twice_every)
    if jobs == 1:
        yield from map(one, seeds)
        return
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(jobs, _end_at_once, maxtasksperchild=RUNS_PER_PROCESS) as pool:
        yield from pool.imap_unordered(one, seeds)


def _end_at_once() -> None:
    """Let this process end without tidying up: that would execute what crashes left undone."""
    _ = Finalize(None, os._exit, args=(0,), exitpriority=-100)


def _compared(outcome: Outcome, digest: str) -> Outcome:
    if digest == outcome.digest:
        return outcome
    problem = f"determinism: digests were {outcome.digest[:12]} and {digest[:12]}"
    return attrs.evolve(outcome, violations=(*outcome.violations, problem))


def _failed(seed: int, hours: float, problem: str) -> Outcome:
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
        wall_s=0.0,
    )
