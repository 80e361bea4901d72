"""Crash at every step as a command: scenarios in, figures and an exit code out."""

from typing import Final

from rich.console import Console

from aegis.core.errors import ConfigError, Problem
from aegis.sim.crash_crew import CrashJob, run_jobs
from aegis.sim.crash_probe import Kill
from aegis.sim.crash_report import CrashTable, cut
from aegis.sim.crash_run import Reference
from aegis.sim.crash_scenarios import SCENARIOS, CrashScenario

EXIT_CLEAN: Final = 0
EXIT_VIOLATED: Final = 1
NO_POINT: Final = "none"


def chosen(names: str) -> list[CrashScenario]:
    """
    Return the scenarios of *names*, separated by commas: `entry`, `entry@bybit`, `@bybit`, `all`.

    Raises:
        ConfigError: one of them is of no scenario.
    """
    found: dict[str, CrashScenario] = {}
    for name in (each.strip() for each in names.split(",")):
        some = {key: one for key, one in SCENARIOS.items() if _is_named(one, name)}
        if not some:
            known = ", ".join(dict.fromkeys(one.name for one in SCENARIOS.values()))
            raise ConfigError([_problem("--scenarios", name, known, "name one, or all")])
        found |= some
    return list(found.values())


def _is_named(scenario: CrashScenario, name: str) -> bool:
    story, at, venues = name.partition("@")
    return name == "all" or (
        story in {"", scenario.name} and (not at or venues == "+".join(scenario.venues))
    )


def crash(names: str, *, jobs: int, every: int = 1) -> int:
    """
    Kill the scenarios of *names* at every point, or at every *every*-th; return the exit code.

    Raises:
        ConfigError: there is no such scenario.
    """
    scenarios = chosen(names)
    console = Console(highlight=False, soft_wrap=True)
    table = CrashTable(console)
    played = [CrashJob(scenario=one, kill=None) for one in scenarios]
    kills: list[CrashJob] = []
    for told in run_jobs(played, count=jobs):
        table.add(told)
        if isinstance(told, Reference):
            one = SCENARIOS[told.outcome.scenario]
            kills += [CrashJob(scenario=one, kill=kill) for kill in told.kills[::every]]
    console.print(f"{len(kills)} kills in {len(scenarios)} scenarios", markup=False)
    for told in run_jobs(kills, count=jobs):
        table.add(told)
    table.show()
    if table.sum.violations:
        console.print(
            "replay one: python -m aegis sim-crash --scenarios NAME --point POINT --trace",
            markup=False,
        )
    return EXIT_VIOLATED if table.sum.violations else EXIT_CLEAN


def replay(names: str, point: str, *, trace: bool) -> int:
    """
    Kill one scenario at one point, a mark's number with or without `+sent`, and print what came;
    `none`: without a kill.

    Raises:
        ConfigError: *names* are not one scenario, or it has no such point.
    """
    scenarios = chosen(names)
    if len(scenarios) != 1:
        keys = ", ".join(one.key for one in scenarios)
        raise ConfigError([_problem("--scenarios", keys, "one with --point", "name one alone")])
    (scenario,) = scenarios
    console = Console(highlight=False, soft_wrap=True)
    # In processes of their own: what a kill leaves undone must not be executed at the end of this.
    is_whole = point == NO_POINT
    (played,) = run_jobs([CrashJob(scenario=scenario, kill=None, trace=is_whole)], count=1)
    told = played
    if isinstance(played, Reference) and not is_whole:
        job = CrashJob(scenario=scenario, kill=_kill_named(played, point), trace=trace)
        (told,) = run_jobs([job], count=1)
    outcome = told.outcome if isinstance(told, Reference) else told
    for line in outcome.lines:
        console.print(line, markup=False)
    console.print(f"digest of the journal: {outcome.digest}", markup=False)
    for violation in cut(outcome.violations):
        console.print(f"VIOLATED {violation}", markup=False)
    return EXIT_VIOLATED if outcome.violations else EXIT_CLEAN


def _kill_named(reference: Reference, point: str) -> Kill:
    number, _, how = point.partition("+")
    if number.isdigit() and how in {"", "sent"}:
        for kill in reference.kills:
            if kill.sent == (how == "sent") and kill.number <= int(number) <= kill.last:
                return kill
    known = ", ".join(kill.name for kill in reference.kills)
    raise ConfigError([_problem("--point", point, f"of {known}", "choose one of them")])


def _problem(name: str, value: str, allowed: str, fix: str) -> Problem:
    return Problem(name=name, value=value, allowed=allowed, fix=fix)
