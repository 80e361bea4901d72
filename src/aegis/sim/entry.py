"""The simulation as a command: seeds or a plan in, figures and an exit code out."""

import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from rich.console import Console

from aegis.core.errors import ConfigError
from aegis.sim.asked import (
    FAULTS,
    HOURS,
    SEEDS,
    Asked,
    check,
    parse_seeds,
    problem,
    profile_named,
)
from aegis.sim.campaign import Campaign, Results, ResultsFile, drawing_of, read_results
from aegis.sim.outcome import Outcome
from aegis.sim.plan import FaultPlan, make_plan
from aegis.sim.plan_file import read_plan
from aegis.sim.pool import Crew, job_of, seed_jobs, usual_hang_s
from aegis.sim.reading import chosen, marked
from aegis.sim.report import Totals, progress_of, show, totals_of
from aegis.sim.shrinking import shrink_plan

EXIT_CLEAN: Final = 0
EXIT_VIOLATED: Final = 1
EXIT_INTERRUPTED: Final = 130
TWICE_EVERY: Final = 10
"""Every so many seeds one is run twice: its journals must be equal."""
JOBS: Final = 2


def run_simulation(asked: Asked) -> int:
    """
    Do what *asked* says and return the exit code.

    Raises:
        ConfigError: something of it cannot be done; nothing was run.
    """
    check(asked)
    if asked.report:
        return _report(asked.report)
    # Whoever ends it, a person or a service, gets the figures so far.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run_asked(asked)
    finally:
        _ = signal.signal(signal.SIGTERM, before)


def _run_asked(asked: Asked) -> int:
    if not asked.is_single:
        return _simulate(asked)
    plan = _plan(asked)
    hang_s = asked.hang_s or usual_hang_s(plan.hours)
    if asked.is_shrinking:
        return shrink_plan(plan, asked, hang_s)
    return _replay(plan, asked, hang_s)


def _plan(asked: Asked) -> FaultPlan:
    if asked.plan is not None:
        plan = read_plan(asked.plan)
        _check_market(plan)
        return plan
    assert asked.seed is not None
    hours = HOURS if asked.hours is None else asked.hours
    profile = profile_named(asked.faults or FAULTS)
    plan = make_plan(asked.seed, hours=hours, profile=profile, tapes=asked.tapes or "")
    _check_market(plan)
    return plan


def _check_market(plan: FaultPlan) -> None:
    """Refuse tapes that cannot be played, before anything runs. Raises ConfigError, TapeError."""
    if not plan.tapes:
        return
    from aegis.sim.market import make_market

    try:
        _ = make_market(plan)
    except ValueError as error:
        allowed = "a recorded day by name, or FILE[,FILE]@TIME"
        raise ConfigError([problem("--tapes", plan.tapes, allowed, str(error))]) from None


def _replay(plan: FaultPlan, asked: Asked, hang_s: float) -> int:
    """Run one plan twice; print it, its timeline when asked, and its violations."""
    console = Console(highlight=False, soft_wrap=True)
    for line in plan.lines():
        console.print(line, markup=False)
    try:
        with Crew(1, hang_s=hang_s) as crew:
            outcome = crew.run(job_of(plan, is_twice=True, trace=asked.trace))
    except KeyboardInterrupt:
        console.print("interrupted before the run ended")
        return EXIT_INTERRUPTED
    lines = marked(outcome.lines, outcome.violations)
    for line in chosen(lines, around=asked.around, symbol=asked.symbol):
        console.print(line, markup=False)
    _tell_replayed(outcome, console)
    return EXIT_VIOLATED if outcome.violations else EXIT_CLEAN


def _tell_replayed(outcome: Outcome, console: Console) -> None:
    struck = ", ".join(f"{kind} {n}" for kind, n in sorted(outcome.faults.items()))
    console.print(
        f"{outcome.opened} positions, {outcome.orders} orders, {outcome.lives} processes; "
        f"{struck or 'no faults'}",
        markup=False,
    )
    console.print(f"digest of the journal: {outcome.digest or 'none'}", markup=False)
    for violation in outcome.violations:
        console.print(f"VIOLATED {violation}", markup=False)
    if not outcome.violations:
        console.print("no law was broken")


def _report(paths: tuple[Path, ...]) -> int:
    read = [read_results(path) for path in paths]
    totals = totals_of(outcome for results in read for outcome in results.outcomes)
    show(totals, sum(results.wall_s for results in read), Console(highlight=False))
    return EXIT_VIOLATED if totals.violations else EXIT_CLEAN


def _simulate(asked: Asked) -> int:
    earlier = None if asked.resume is None else read_results(asked.resume)
    campaign = _campaign(asked, earlier)
    file = None
    if asked.json is not None:
        file = ResultsFile.begun(asked.json, campaign)
    elif asked.resume is not None and earlier is not None:
        file = ResultsFile.continued(asked.resume, earlier)
    console = Console(highlight=False, soft_wrap=True)
    if file is None:
        return _run(asked, campaign, earlier, None, console)
    with closing(file):
        return _run(asked, campaign, earlier, file, console)


def _campaign(asked: Asked, earlier: Results | None) -> Campaign:
    """Return what is to be run: as asked, and where nothing is asked as *earlier* had it."""
    if earlier is None:
        hours = HOURS if asked.hours is None else asked.hours
        profile = profile_named(asked.faults or FAULTS)
        seeds = parse_seeds(asked.seeds or SEEDS)
        tapes = asked.tapes or ""
    else:
        was = earlier.campaign
        hours, profile, seeds, tapes = was.hours, was.faults, was.seeds, was.tapes
        seeds = parse_seeds(asked.seeds) if asked.seeds is not None else seeds
        for name, value, then in (
            ("--hours", asked.hours, was.hours),
            ("--faults", asked.faults, was.faults),
            ("--tapes", asked.tapes, was.tapes),
        ):
            if value is not None and value != then:
                fix = f"leave {name} out, or begin a new file with --json"
                raise ConfigError([problem(name, value, f"{then}, as in {asked.resume}", fix)])
    _check_market(make_plan(seeds[0], hours=hours, profile=profile, tapes=tapes))
    drawing = drawing_of(hours, profile)
    if earlier is not None and drawing != earlier.campaign.drawing:
        fix = "begin a new file with --json: its seeds meant other plans"
        value = f"drawn as {earlier.campaign.drawing}"
        raise ConfigError([problem(str(asked.resume), value, f"drawn as {drawing}", fix)])
    return Campaign(
        hours=hours, faults=profile, first=seeds[0], last=seeds[-1], drawing=drawing, tapes=tapes
    )


def _run(
    asked: Asked,
    campaign: Campaign,
    earlier: Results | None,
    file: ResultsFile | None,
    console: Console,
) -> int:
    """Run the seeds that have no outcome yet, and print the table of all."""
    totals = totals_of(earlier.outcomes if earlier is not None else ())
    done = {outcome.seed for outcome in earlier.outcomes} if earlier is not None else set()
    seeds = [seed for seed in campaign.seeds if seed not in done]
    if earlier is not None:
        console.print(f"{totals.seeds} seeds are done, {len(seeds)} are left", markup=False)
    jobs = seed_jobs(
        seeds,
        hours=campaign.hours,
        profile=campaign.faults,
        tapes=campaign.tapes,
        twice_every=TWICE_EVERY,
    )
    hang_s = asked.hang_s or usual_hang_s(campaign.hours)
    began_s, is_interrupted = time.perf_counter(), False
    count = 0
    try:
        with (
            Crew(asked.jobs or JOBS, hang_s=hang_s) as crew,
            progress_of(len(seeds), console) as shown,
        ):
            for outcome in crew.outcomes(jobs):
                count += 1
                totals.add(outcome)
                file = _kept(file, outcome, time.perf_counter() - began_s, console)
                shown.told(outcome, totals)
    except KeyboardInterrupt:
        is_interrupted = True
    wall_s = time.perf_counter() - began_s + (earlier.wall_s if earlier is not None else 0.0)
    show(totals, wall_s, console)
    _tell_next(totals, campaign, console)
    if is_interrupted:
        console.print(f"interrupted: {count} of {len(seeds)} seeds were run", markup=False)
        path = asked.json or asked.resume
        if path is not None:
            console.print(f"go on: python -m aegis sim --resume {path}", markup=False)
        return EXIT_INTERRUPTED
    return EXIT_VIOLATED if totals.violations else EXIT_CLEAN


def _kept(
    file: ResultsFile | None, outcome: Outcome, at_s: float, console: Console
) -> ResultsFile | None:
    """Append *outcome*; a disk that takes no more ends the writing, not the seeds."""
    if file is not None:
        try:
            file.add(outcome, at_s)
        except OSError as error:
            console.print(f"results are written no more from here on: {error}", markup=False)
            return None
    return file


def _tell_next(totals: Totals, campaign: Campaign, console: Console) -> None:
    if not totals.violations:
        return
    one = (
        f"python -m aegis sim --seed {totals.failed_seeds[0]} --hours {campaign.hours:g} "
        f"--faults {campaign.faults}{f' --tapes {campaign.tapes}' if campaign.tapes else ''}"
    )
    console.print(f"replay one: {one} --trace", markup=False)
    console.print(f"shrink one and keep it: {one} --write-test", markup=False)
