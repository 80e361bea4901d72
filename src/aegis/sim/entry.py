"""The simulation as a command: seeds in, figures and an exit code out."""

from typing import Final

from rich.console import Console

from aegis.core.errors import ConfigError, Problem
from aegis.sim.plan import PROFILES, Profile
from aegis.sim.pool import run_seed, run_seeds
from aegis.sim.report import watch

EXIT_CLEAN: Final = 0
EXIT_VIOLATED: Final = 1
TWICE_EVERY: Final = 10
"""Every so many seeds one is run twice: its journals must be equal."""


def profile_named(name: str) -> Profile:
    """
    Return the fault profile of that name.

    Raises:
        ConfigError: there is none.
    """
    for profile in PROFILES:
        if profile == name:
            return profile
    raise ConfigError([_problem("--faults", name, ", ".join(PROFILES), "choose one of them")])


def parse_seeds(text: str) -> range:
    """
    Return the seeds of `A..B`, both included, or of a count from 1.

    Raises:
        ConfigError: it is neither.
    """
    first, dots, last = text.partition("..")
    numbers = (first, last) if dots else ("1", first)
    if not all(number.isdigit() for number in numbers) or int(numbers[0]) > int(numbers[1]):
        raise ConfigError([_problem("--seeds", text, "A..B or a count", "give --seeds 1..200")])
    return range(int(numbers[0]), int(numbers[1]) + 1)


def simulate(seeds: range, *, hours: float, faults: str, jobs: int) -> int:
    """Run many seeds and print what came of them; return the exit code."""
    profile = profile_named(faults)
    console = Console(highlight=False)
    outcomes = run_seeds(seeds, hours=hours, profile=profile, jobs=jobs, twice_every=TWICE_EVERY)
    totals = watch(outcomes, len(seeds), console)
    if totals.violations:
        console.print(
            f"replay one: python -m aegis sim --seed {totals.failed_seeds[0]} --hours {hours:g} "
            f"--faults {faults} --trace",
            markup=False,
        )
    return EXIT_VIOLATED if totals.violations else EXIT_CLEAN


def replay(seed: int, *, hours: float, faults: str, trace: bool) -> int:
    """Run one seed and print its plan, its timeline when asked, and its violations."""
    console = Console(highlight=False, soft_wrap=True)
    outcome = run_seed(seed, hours=hours, profile=profile_named(faults), twice_every=1, trace=trace)
    for line in (*outcome.plan_lines, *outcome.lines):
        console.print(line, markup=False)
    struck = ", ".join(f"{kind} {n}" for kind, n in sorted(outcome.faults.items()))
    console.print(f"{outcome.opened} positions, {outcome.lives} processes; {struck}", markup=False)
    console.print(f"digest of the journal: {outcome.digest}", markup=False)
    for violation in outcome.violations:
        console.print(f"VIOLATED {violation}", markup=False)
    return EXIT_VIOLATED if outcome.violations else EXIT_CLEAN


def _problem(name: str, value: str, allowed: str, fix: str) -> Problem:
    return Problem(name=name, value=value, allowed=allowed, fix=fix)
