"""
Plant known bugs, one at a time in a copy of the source, and show that the simulation finds each.

    python scripts/sim_mutants.py                    all of scripts/mutants
    python scripts/sim_mutants.py retry_buys_twice   these alone
    python scripts/sim_mutants.py --drawn            by drawn seeds, without the plans
    python scripts/sim_mutants.py --check            only whether each still applies

A mutant is a file of scripts/mutants: what it plants, the requirements it breaks, and replacements
of text that must stand in its file exactly once. It names a plan of scripts/mutants/plans, in which
what it broke matters, or seeds; both stay the same bug's proof when code around it changes. When
they find nothing, seeds 1, 2, 3 ... are drawn until a law is broken or the budget is spent. What
found something is then run on the source as it is, which must keep every law there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import attrs
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parent.parent
MUTANTS: Final = ROOT / "scripts" / "mutants"
PLANS: Final = MUTANTS / "plans"
SOURCE: Final = ROOT / "src"
PACKAGE: Final = Path("aegis")
SEEDS_MAX: Final = 12
HOURS: Final = 1.0
WALL_S_MAX: Final = 300.0
FAULT_OF_CODE: Final = "code"
"""A mutant that only raises is told by the bus: it plants a crash, not what it says it does."""
SAID_CHARS: Final = 120
WIDTH: Final = 150
_KEYS: Final = frozenset({"plants", "requirements", "plan", "seeds", "hours", "change"})
_RUN: Final = """
import json, os, sys
from pathlib import Path
from aegis.sim.plan import make_plan
from aegis.sim.plan_file import read_plan
from aegis.sim.run import run_plan

name, hours = sys.argv[1], float(sys.argv[2])
if name.isdigit():
    plan = make_plan(int(name), hours=hours, profile="heavy")
else:
    plan = read_plan(Path(name))
print(json.dumps(run_plan(plan).violations), flush=True)
# At once: tidying up would execute what crashes left undone.
os._exit(0)
"""
"""Runs the seed or plan it is named, with whatever source PYTHONPATH says."""

Violations = tuple[tuple[str, str], ...]


class StaleMutant(Exception):
    """A mutant that does not fit the source any more: it must be written anew."""


@attrs.frozen(slots=True, kw_only=True)
class Change:
    """In *file* of the package, *old* becomes *new*; *old* stands there exactly once."""

    file: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """
        Make the change below *package*.

        Raises:
            StaleMutant: the file is not there, or does not hold *old* exactly once.
        """
        path = package / self.file
        if not path.is_file():
            raise StaleMutant(f"{self.file} is not there any more")
        text = path.read_text(encoding="utf-8")
        times = text.count(self.old)
        if times != 1:
            raise StaleMutant(f"{self.file} has this {times} times, wanted once: {self.old!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@attrs.frozen(slots=True, kw_only=True)
class Mutant:
    """
    A planted bug. *plan*: the file it is tried on first, None for none; then *seeds*, each for
    *hours* simulated hours.
    """

    name: str
    plants: str
    requirements: tuple[str, ...]
    plan: Path | None
    seeds: tuple[int, ...]
    hours: float
    changes: tuple[Change, ...]

    def plant(self, package: Path) -> None:
        """
        Make every change in the copy of the source at *package*.

        Raises:
            StaleMutant: it does not fit the source.
        """
        for change in self.changes:
            change.apply(package)

    def trials(self, seeds_max: int, *, drawn: bool) -> "Iterator[Trial]":
        """Yield what to run, each once: the plan unless only *drawn* seeds count, then seeds."""
        if self.plan is not None and not drawn:
            yield Trial(what=str(self.plan), hours=0.0)
        tried = dict.fromkeys((*self.seeds, *range(1, seeds_max + 1)))
        for seed in list(tried)[:seeds_max]:
            yield Trial(what=str(seed), hours=self.hours)


@attrs.frozen(slots=True, order=True)
class Trial:
    """One run: *what* is the path of a plan, or a seed to be drawn for *hours*."""

    what: str
    hours: float

    def __str__(self) -> str:
        if self.what.isdigit():
            return f"seed {self.what}, {self.hours:g} h"
        return f"plan {Path(self.what).stem}"


@attrs.frozen(slots=True, kw_only=True)
class Verdict:
    """What became of a mutant: the trial that broke laws, None for none, and what they said."""

    name: str
    caught_by: Trial | None
    tried: int
    violations: Violations = ()
    problem: str = ""
    wall_s: float = 0.0


def read_mutant(path: Path) -> Mutant:
    """
    Return the mutant written down at *path*.

    Raises:
        ValueError: something is missing there, or is not known.
    """
    told: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    unknown, missing = set(told) - _KEYS, {"plants", "requirements", "change"} - set(told)
    if unknown or missing:
        raise ValueError(f"{path.name}: unknown {sorted(unknown)}, missing {sorted(missing)}")
    return Mutant(
        name=path.stem,
        plants=told["plants"],
        requirements=tuple(told["requirements"]),
        plan=path.parent / "plans" / f"{told['plan']}.toml" if "plan" in told else None,
        seeds=tuple(told.get("seeds", ())),
        hours=float(told.get("hours", HOURS)),
        changes=tuple(Change(**change) for change in told["change"]),
    )


def read_mutants(folder: Path = MUTANTS) -> list[Mutant]:
    """Return every mutant of *folder*, by name."""
    return [read_mutant(path) for path in sorted(folder.glob("*.toml"))]


def copy_source(into: Path) -> Path:
    """Copy the source below *into*; return where the copy is."""
    copy = into / "src"
    _ = shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def simulate(source: Path, trial: Trial) -> tuple[Violations, str]:
    """
    Run one trial on *source*.

    Return the laws broken as (law, words), and what went wrong with the run itself, "" for nothing.
    """
    command = (sys.executable, "-c", _RUN, trial.what, f"{trial.hours:g}")
    env = {**os.environ, "PYTHONPATH": str(source)}
    try:
        run = subprocess.run(
            command,
            cwd=source.parent,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=WALL_S_MAX,
        )
    except subprocess.TimeoutExpired:
        return (), f"no end after {WALL_S_MAX:g} s"
    if run.returncode != 0 or not run.stdout:
        said = [line for line in run.stderr.splitlines() if "Error" in line]
        return (), said[-1].strip() if said else f"ended with code {run.returncode}"
    told = [one.partition(": ") for one in json.loads(run.stdout)]
    if told and all(law == FAULT_OF_CODE for law, _, _ in told):
        return (), told[0][2]
    return tuple((law, words) for law, _, words in told), ""


def judge(mutant: Mutant, seeds_max: int, *, drawn: bool) -> Verdict:
    """Plant *mutant* in a copy of the source and run it until a law is broken."""
    began_s = time.perf_counter()
    tried, problem = 0, ""
    with tempfile.TemporaryDirectory(prefix=f"aegis-{mutant.name}-") as folder:
        source = copy_source(Path(folder))
        mutant.plant(source / PACKAGE)
        for trial in mutant.trials(seeds_max, drawn=drawn):
            tried += 1
            violations, wrong = simulate(source, trial)
            problem = wrong or problem
            if violations:
                return Verdict(
                    name=mutant.name,
                    caught_by=trial,
                    tried=tried,
                    violations=violations,
                    wall_s=time.perf_counter() - began_s,
                )
    wall_s = time.perf_counter() - began_s
    return Verdict(name=mutant.name, caught_by=None, tried=tried, problem=problem, wall_s=wall_s)


def judge_unchanged(trials: Sequence[Trial], jobs: int) -> list[str]:
    """Run *trials* on the source as it is; return what it broke, in words."""
    with tempfile.TemporaryDirectory(prefix="aegis-unchanged-") as folder:
        source = copy_source(Path(folder))

        def one(trial: Trial) -> list[str]:
            violations, wrong = simulate(source, trial)
            told = [f"{law}: {words}" for law, words in violations]
            return [f"{trial}: {each}" for each in (*told, *([wrong] if wrong else []))]

        with ThreadPoolExecutor(jobs) as pool:
            return [problem for problems in pool.map(one, trials) for problem in problems]


def stale(mutants: Iterable[Mutant]) -> list[str]:
    """Return which mutants do not fit the source any more, and why."""
    problems = []
    with tempfile.TemporaryDirectory(prefix="aegis-check-") as folder:
        for number, mutant in enumerate(mutants):
            into = Path(folder) / str(number) / PACKAGE
            for file in dict.fromkeys(change.file for change in mutant.changes):
                if (SOURCE / PACKAGE / file).is_file():
                    (into / file).parent.mkdir(parents=True, exist_ok=True)
                    _ = shutil.copy(SOURCE / PACKAGE / file, into / file)
            try:
                mutant.plant(into)
                for file in dict.fromkeys(change.file for change in mutant.changes):
                    _ = compile((into / file).read_text(encoding="utf-8"), file, "exec")
            except (StaleMutant, SyntaxError) as error:
                problems.append(f"{mutant.name}: {error}")
            if mutant.plan is not None and not mutant.plan.is_file():
                problems.append(f"{mutant.name}: {mutant.plan.name} is not in {PLANS.name}")
    return problems


def show(mutants: Sequence[Mutant], verdicts: Sequence[Verdict], console: Console) -> None:
    """Print who was caught, by which plan or seed and law, and what it said."""
    table = Table(title="PLANTED BUGS", show_lines=True)
    for column in ("mutant", "plants", "breaks", "caught by", "laws broken", "the first says"):
        table.add_column(column, overflow="fold")
    for mutant, verdict in zip(mutants, verdicts, strict=True):
        laws = ", ".join(dict.fromkeys(law for law, _ in verdict.violations))
        said = verdict.violations[0][1] if verdict.violations else verdict.problem
        caught = verdict.caught_by
        by = str(caught) if caught is not None else f"SURVIVED {verdict.tried} runs"
        breaks = " ".join(mutant.requirements)
        table.add_row(mutant.name, mutant.plants, breaks, by, laws, said[:SAID_CHARS])
    console.print(table, markup=False)


def run(
    mutants: Sequence[Mutant], seeds_max: int, jobs: int, console: Console, *, drawn: bool
) -> int:
    """Judge every mutant, then the source as it is; return the exit code."""
    began_s = time.perf_counter()

    def one(mutant: Mutant) -> Verdict:
        verdict = judge(mutant, seeds_max, drawn=drawn)
        by = verdict.caught_by or f"nothing in {verdict.tried} runs"
        console.print(f"{mutant.name}: {by}, {verdict.wall_s:.0f} s", markup=False)
        return verdict

    with ThreadPoolExecutor(jobs) as pool:
        verdicts = list(pool.map(one, mutants))
    trials = sorted({v.caught_by for v in verdicts if v.caught_by is not None})
    broken = judge_unchanged(trials, jobs)
    show(mutants, verdicts, console)
    caught = sum(verdict.caught_by is not None for verdict in verdicts)
    console.print(f"caught {caught} of {len(mutants)} in {time.perf_counter() - began_s:.0f} s")
    if broken:
        console.print("the source as it is broke a law there as well:")
        for problem in broken:
            console.print(f"  {problem}", markup=False)
    else:
        console.print(f"the source as it is keeps every law in these {len(trials)} runs")
    return 0 if caught == len(mutants) and not broken else 1


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description="show that the simulation finds planted bugs")
    _ = parser.add_argument("names", nargs="*", help="mutants of scripts/mutants; none: all")
    _ = parser.add_argument("--jobs", type=int, default=2, help="how many runs beside each other")
    _ = parser.add_argument("--seeds-max", type=int, default=SEEDS_MAX, help="seeds a mutant gets")
    _ = parser.add_argument("--check", action="store_true", help="only whether each still applies")
    _ = parser.add_argument("--drawn", action="store_true", help="drawn seeds alone, no plans")
    asked = parser.parse_args(arguments)
    every = read_mutants()
    console = Console(highlight=False, width=WIDTH if not sys.stdout.isatty() else None)
    if wrong := set(asked.names) - {mutant.name for mutant in every}:
        console.print(f"no such mutant: {', '.join(sorted(wrong))}", markup=False)
        return 2
    mutants = [mutant for mutant in every if not asked.names or mutant.name in asked.names]
    if problems := stale(mutants):
        for problem in problems:
            console.print(f"stale: {problem}", markup=False)
        return 1
    if asked.check:
        console.print(f"{len(mutants)} mutants apply")
        return 0
    return run(mutants, asked.seeds_max, asked.jobs, console, drawn=asked.drawn)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
