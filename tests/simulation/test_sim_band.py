"""A fixed band of seeds: the whole bot under drawn faults, judged from the venue's side (R88)."""

import pytest

from aegis.sim.plan import Profile
from aegis.sim.pool import run_seed

BAND: list[tuple[int, Profile]] = [
    (2, "none"),
    (3, "light"),
    (1, "heavy"),
    (4, "heavy"),
    (5, "heavy"),
]


@pytest.mark.parametrize(("seed", "profile"), BAND)
def test_no_law_is_broken(seed: int, profile: Profile) -> None:
    """One simulated hour on both venues: every checker is silent, and positions were there."""
    outcome = run_seed(seed, hours=1.0, profile=profile)

    assert () == outcome.violations
    assert outcome.opened > 0
    assert bool(outcome.faults) == (profile != "none")


def test_one_seed_gives_one_journal() -> None:
    """The same seed twice: the same rows in the same order at the same times."""
    first, second = (run_seed(8, hours=0.5, profile="heavy") for _ in range(2))

    assert first.digest == second.digest
    assert first.faults == second.faults
