"""Processes that run seeds: what dies, hangs or raises is its seed's failure, and nothing else."""

from typing import Any

from aegis.sim.outcome import Outcome, failed_outcome, law_of, laws_of
from aegis.sim.plan import make_plan
from aegis.sim.pool import RUNS_PER_PROCESS, Crew, Job, job_of, run_job, seed_jobs

TOLD = '__import__("aegis.sim.outcome", fromlist=["x"]).failed_outcome'
BEHAVIOR = f"""lambda job: (
    {{
        1: lambda: __import__("os")._exit(3),
        2: lambda: __import__("os").kill(__import__("os").getpid(), 9),
        3: lambda: any(iter(int, 1)),
        4: lambda: 1 / 0,
    }}.get(job.seed, lambda: {TOLD}(job.seed, job.hours, "fine: " + str(job.seed), wall_s=0))()
)"""


class Behaves:
    """A way to run a job that is made in the process it runs in, by the seed."""

    def __call__(self, job: Job) -> Outcome:
        """Never called here."""
        raise AssertionError(job)

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (BEHAVIOR,)


def job(seed: int) -> Job:
    """Return a job that means nothing but its seed."""
    return Job(seed=seed, hours=1.0, profile="none")


def test_a_lost_process_is_its_seeds_failure_and_the_others_go_on() -> None:
    """Dead by a code, by a signal, by an error, or in a loop without end: each is told (R88)."""
    with Crew(2, hang_s=1.5, run=Behaves()) as crew:
        outcomes = {outcome.seed: outcome for outcome in crew.outcomes(map(job, range(1, 7)))}

    assert list(range(1, 7)) == sorted(outcomes)
    told = {seed: outcome.violations[0] for seed, outcome in outcomes.items()}
    assert told[1].startswith("died: the process of the run ended with code 3")
    assert told[2].startswith("died: the process of the run ended with signal SIGKILL")
    assert told[3].startswith("hang: no end after 2 s of wall time; in <lambda> (<string>:5)")
    assert told[4].startswith("died: the process of the run ended with code 1")
    assert "ZeroDivisionError" in told[4]
    assert ("fine: 5", "fine: 6") == (told[5], told[6])


def test_a_crew_is_used_again_and_its_processes_are_renewed() -> None:
    """One crew does one job after the other, as shrinking wants it."""
    with Crew(1, hang_s=60.0, run=Behaves()) as crew:
        told = [crew.run(job(seed)).violations for seed in range(10, 12 + RUNS_PER_PROCESS)]

    assert [(f"fine: {seed}",) for seed in range(10, 12 + RUNS_PER_PROCESS)] == told


def test_an_abandoned_crew_ends_what_is_under_way() -> None:
    """A person who interrupts does not wait for a run that hangs."""
    with Crew(2, hang_s=3600.0, run=Behaves()) as crew:
        first = next(crew.outcomes(map(job, (3, 5, 3))))

    assert 5 == first.seed


def test_a_run_that_raises_is_a_violation() -> None:
    """With the error's name as its law, so that shrinking keeps to that error."""
    broken = make_plan(1, hours=0.2, profile="none")
    object.__setattr__(broken, "settings", (("leverage", 300),))
    outcome = run_job(job_of(broken))

    assert ["run ConfigError"] == laws_of(outcome)
    assert "leverage was 300" in outcome.violations[0]
    assert (1, 0.2) == (outcome.seed, outcome.hours)


def test_every_tenth_seed_is_run_twice() -> None:
    """And none where that is not asked for."""
    jobs = seed_jobs(range(1, 31), hours=1.0, profile="heavy", twice_every=10)

    assert [10, 20, 30] == [one.seed for one in jobs if one.is_twice]
    assert not any(one.is_twice for one in seed_jobs(range(1, 31), hours=1.0, profile="heavy"))


def test_the_law_is_what_stands_before_the_colon() -> None:
    """Of each violation; laws are named once."""
    outcome = failed_outcome(1, 1.0, "unprotected: bybit at 12:00: 3 s", wall_s=0)

    assert "unprotected" == law_of(outcome.violations[0])
    assert ["unprotected"] == laws_of(outcome)
