"""
Bands of seeds: the whole bot under drawn faults, judged from the venue's side (R88).

The fixed band is the same every day. The rotating one begins at a seed of the day, or at the one
in AEGIS_SIM_ROTATING; the tests' ids name its seeds, and a failure the command that repeats it.
"""

import os
import re
from collections.abc import Iterator
from typing import Final

import pytest

from aegis.core.clock import NS_PER_S, LiveClock
from aegis.sim.outcome import Outcome
from aegis.sim.plan import Profile
from aegis.sim.pool import Crew, Job, usual_hang_s

HOURS: Final = 1.0
FIXED: Final[tuple[tuple[int, Profile], ...]] = (
    (2, "none"),
    (3, "light"),
    *((seed, "heavy") for seed in (1, 4, 5, 6, 7, 8)),
)
VARIABLE: Final = "AEGIS_SIM_ROTATING"
ROTATING_COUNT: Final = 4
ROTATING_FROM: Final = 1_000_000
DAY_S: Final = 86_400


def rotating_from(asked: str, now_ns: int) -> int:
    """Return the first rotating seed: the one *asked* for, or else the one of the day, UTC."""
    if asked:
        assert re.fullmatch(r"\d{1,12}", asked), f"{VARIABLE} was {asked!r}, must be a seed"
        return int(asked)
    return ROTATING_FROM + now_ns // NS_PER_S // DAY_S * ROTATING_COUNT


# Drawn once, when tests are collected: nothing in a run knows the day.
FIRST: Final = rotating_from(os.environ.get(VARIABLE, ""), LiveClock.now_ns())
ROTATING: Final = range(FIRST, FIRST + ROTATING_COUNT)


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """A process to run seeds in: one that hangs is told, and the others are run."""
    with Crew(1, hang_s=usual_hang_s(HOURS)) as made:
        yield made


def run(crew: Crew, seed: int, profile: Profile) -> Outcome:
    """Run *seed* and check that no law was broken and that faults struck if they were drawn."""
    outcome = crew.run(Job(seed=seed, hours=HOURS, profile=profile))
    again = f"python -m aegis sim --seed {seed} --hours {HOURS:g} --faults {profile} --trace"
    assert () == outcome.violations, again
    assert bool(outcome.faults) == (profile != "none"), again
    return outcome


@pytest.mark.parametrize(("seed", "profile"), FIXED)
def test_no_law_is_broken(crew: Crew, seed: int, profile: Profile) -> None:
    """One simulated hour on both venues: every checker is silent, and positions were there."""
    assert run(crew, seed, profile).opened > 0


@pytest.mark.parametrize("seed", ROTATING)
def test_no_law_is_broken_by_the_seeds_of_the_day(crew: Crew, seed: int) -> None:
    """Other seeds every day: repeat them with AEGIS_SIM_ROTATING set to the first one."""
    _ = run(crew, seed, "heavy")


def test_one_seed_gives_one_journal(crew: Crew) -> None:
    """The same seed twice: the same rows in the same order at the same times."""
    outcome = crew.run(Job(seed=8, hours=0.5, profile="heavy", is_twice=True))

    assert () == outcome.violations


@pytest.mark.parametrize(
    ("asked", "day", "seed"), [("", 20_000, 1_080_000), ("", 20_001, 1_080_004), ("77", 5, 77)]
)
def test_the_rotating_band_follows_from_the_day_or_is_asked_for(
    asked: str, day: int, seed: int
) -> None:
    """Days do not share seeds; what is asked for is taken."""
    assert seed == rotating_from(asked, day * DAY_S * NS_PER_S)
