"""
What the command line asked of the simulation, checked whole before anything runs. Nothing is run
and nothing is written in here.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from aegis.core.clock import parse_utc
from aegis.core.errors import ConfigError, Problem
from aegis.sim.draw import PROFILES, Profile
from aegis.sim.plan_file import HOURS_MAX, HOURS_MIN

SEEDS: Final = "1..20"
HOURS: Final = 2.0
FAULTS: Final = "heavy"
BUDGET: Final = 120
KEPT_PLANS: Final = Path("tests/simulation/seeds")
"""Where the test of kept plans looks, from the root of the project."""
JOBS_MAX: Final = 64
SYMBOL: Final = re.compile(r"\b[A-Z0-9]{2,20}USDT")
CLOCK_TIME: Final = re.compile(r"\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?")


@attrs.frozen(slots=True, kw_only=True)
class Asked:
    """The flags as they were given; None, False or nothing where they were not."""

    seeds: str | None = None
    seed: int | None = None
    plan: Path | None = None
    hours: float | None = None
    faults: str | None = None
    tapes: str | None = None
    jobs: int | None = None
    hang_s: float | None = None
    json: Path | None = None
    resume: Path | None = None
    report: tuple[Path, ...] = ()
    trace: bool = False
    around: str | None = None
    symbol: str | None = None
    shrink: bool = False
    law: str | None = None
    budget: int | None = None
    write_test: bool = False
    test_dir: Path | None = None

    @property
    def is_single(self) -> bool:
        """Return whether one run is asked for, not many."""
        return self.seed is not None or self.plan is not None

    @property
    def is_shrinking(self) -> bool:
        """Return whether that run is to be made smaller."""
        return self.shrink or self.write_test


_FLAGS: Final[Mapping[str, str]] = {
    "seeds": "--seeds",
    "seed": "--seed",
    "plan": "--plan",
    "hours": "--hours",
    "faults": "--faults",
    "tapes": "--tapes",
    "jobs": "--jobs",
    "hang_s": "--hang-seconds",
    "json": "--json",
    "resume": "--resume",
    "report": "--report",
    "trace": "--trace",
    "around": "--around",
    "symbol": "--symbol",
    "shrink": "--shrink",
    "law": "--law",
    "budget": "--budget",
    "write_test": "--write-test",
    "test_dir": "--test-dir",
}
_ONE_RUN: Final = frozenset(
    {"trace", "around", "symbol", "shrink", "law", "budget", "write_test", "test_dir"}
)
_MANY: Final = frozenset({"seeds", "json", "resume", "jobs"})


def check(asked: Asked) -> None:
    """
    Refuse what cannot be done.

    Raises:
        ConfigError: every problem found.
    """
    problems = [*_misplaced(asked), *_values(asked), *_paths(asked)]
    if problems:
        raise ConfigError(problems)


def parse_seeds(text: str) -> range:
    """
    Return the seeds of `A..B`, both included, or of a count from 1.

    Raises:
        ConfigError: it is neither.
    """
    first, dots, last = text.partition("..")
    numbers = (first, last) if dots else ("1", first)
    is_range = all(re.fullmatch(r"\d{1,12}", number) for number in numbers)
    if not is_range or int(numbers[0]) > int(numbers[1]):
        raise ConfigError([problem("--seeds", text, "A..B or a count", "give --seeds 1..200")])
    return range(int(numbers[0]), int(numbers[1]) + 1)


def profile_named(name: str) -> Profile:
    """
    Return the fault profile of that name.

    Raises:
        ConfigError: there is none.
    """
    for profile in PROFILES:
        if profile == name:
            return profile
    raise ConfigError([problem("--faults", name, ", ".join(PROFILES), "choose one of them")])


def problem(name: str, value: object, allowed: str, fix: str) -> Problem:
    """Return one problem of the command line."""
    shown = str(value) if isinstance(value, Path) else value
    return Problem(name=name, value=shown, allowed=allowed, fix=fix)


def _given(asked: Asked) -> dict[str, object]:
    values = {name: getattr(asked, name) for name in _FLAGS}
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and value != ()
    }


def _misplaced(asked: Asked) -> Iterator[Problem]:
    """Yield flags that mean nothing beside the others, which must not be passed over."""
    given = _given(asked)
    if asked.report:
        beside, kind = "--report", set(given) - {"report"}
    elif asked.plan is not None:
        beside, kind = "--plan", set(given) & (_MANY | {"seed", "hours", "faults", "tapes"})
    elif asked.seed is not None:
        beside, kind = "--seed", set(given) & _MANY
    else:
        beside, kind = "many seeds", set(given) & _ONE_RUN
    fix = "leave it out" if beside != "many seeds" else "add --seed N or --plan FILE"
    for name in _FLAGS:
        if name in kind:
            yield problem(_FLAGS[name], given[name], f"not beside {beside}", fix)
    if asked.json is not None and asked.resume is not None:
        yield problem("--json", asked.json, "not beside --resume", "--resume goes on with its file")
    if asked.is_single and not asked.trace and not asked.report:
        for name in sorted({"around", "symbol"} & set(given)):
            yield problem(_FLAGS[name], given[name], "beside --trace", "add --trace")
    if asked.is_single and not asked.is_shrinking and not asked.report:
        for name in sorted({"law", "budget"} & set(given)):
            yield problem(_FLAGS[name], given[name], "beside --shrink", "add --shrink")
    if asked.is_single and asked.test_dir is not None and not asked.write_test:
        yield problem("--test-dir", asked.test_dir, "beside --write-test", "add --write-test")


def _values(asked: Asked) -> Iterator[Problem]:
    for parse, text in ((parse_seeds, asked.seeds), (profile_named, asked.faults)):
        try:
            _ = None if text is None else parse(text)
        except ConfigError as error:
            yield from error.problems
    if asked.seed is not None and asked.seed < 0:
        yield problem("--seed", asked.seed, "0 or more", "give a whole number")
    if asked.hours is not None and not HOURS_MIN <= asked.hours <= HOURS_MAX:
        fix = "the last seven minutes of a run bring nothing new, so it must be longer"
        if asked.hours > HOURS_MAX or math.isnan(asked.hours):
            fix = "simulate more seeds instead"
        yield problem("--hours", asked.hours, f"{HOURS_MIN:g} to {HOURS_MAX:g}", fix)
    if asked.jobs is not None and not 1 <= asked.jobs <= JOBS_MAX:
        fix = f"give the number of cores, {os.cpu_count() or 1} here"
        yield problem("--jobs", asked.jobs, f"1 to {JOBS_MAX}", fix)
    if asked.hang_s is not None and not 1 <= asked.hang_s <= 86_400:
        fix = "give the wall seconds a run may take"
        yield problem("--hang-seconds", asked.hang_s, "1 to 86400", fix)
    if asked.budget is not None and asked.budget < 1:
        yield problem("--budget", asked.budget, "1 or more runs", "give --budget 120")
    if asked.symbol is not None and not SYMBOL.fullmatch(asked.symbol):
        yield problem("--symbol", asked.symbol, "a venue's symbol", "write it like BTCUSDT")
    if asked.around is not None and not _is_time(asked.around):
        fix = "copy the time from a violation or a line of the timeline"
        yield problem("--around", asked.around, "03:12:05 or 2026-01-01T03:12:05Z", fix)


def _is_time(text: str) -> bool:
    day = "2026-01-01T" if CLOCK_TIME.fullmatch(text) else ""
    try:
        _ = parse_utc(day + text)
    except ValueError:
        return False
    return True


def _paths(asked: Asked) -> Iterator[Problem]:
    folder = asked.test_dir or KEPT_PLANS
    if asked.write_test and not _could_write_in(folder):
        fix = "name a folder of yours; it is made when it is not there"
        yield problem("--test-dir", folder, "a folder that can be written", fix)
    if asked.json is not None and not _could_write_in(asked.json.parent):
        fix = "name a file in a folder of yours"
        yield problem("--json", asked.json, "a file in a folder that can be written", fix)


def _could_write_in(folder: Path) -> bool:
    """Return whether *folder* is there, or could be made, and takes files."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
