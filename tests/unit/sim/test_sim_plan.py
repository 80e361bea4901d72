"""Plans are drawn from the seed alone."""

import pytest

from aegis.core.errors import ConfigError
from aegis.sim.asked import parse_seeds
from aegis.sim.plan import QUIET_S, VENUES, Kind, make_plan


def test_a_plan_follows_from_its_seed() -> None:
    """Equal seeds give equal plans, others do not."""
    assert make_plan(7, hours=2, profile="heavy") == make_plan(7, hours=2, profile="heavy")
    assert make_plan(7, hours=2, profile="heavy") != make_plan(8, hours=2, profile="heavy")


def test_every_fault_ends_before_the_quiet_time() -> None:
    """What is compared at the end had time to be resolved."""
    for seed in range(30):
        plan = make_plan(seed, hours=2, profile="heavy")
        assert all(f.at_s + f.for_s <= 2 * 3600 - QUIET_S + 0.01 for f in plan.faults)
        assert all(f.venue in {"", *VENUES} for f in plan.faults)


def test_heavy_plans_draw_every_kind() -> None:
    """No kind of fault is only declared."""
    drawn = {f.kind for s in range(60) for f in make_plan(s, hours=4, profile="heavy").faults}
    assert set(Kind) == drawn


def test_a_light_plan_has_fewer_faults_and_an_empty_one_none() -> None:
    """The profile scales the rates."""
    sizes = [
        sum(len(make_plan(s, hours=4, profile=name).faults) for s in range(20))
        for name in ("none", "light", "heavy")
    ]
    assert sizes[0] == 0
    assert 0 < sizes[1] < sizes[2] / 2


@pytest.mark.parametrize(("text", "seeds"), [("3..5", range(3, 6)), ("4", range(1, 5))])
def test_seeds_are_a_range_or_a_count(text: str, seeds: range) -> None:
    """Both ends are included."""
    assert seeds == parse_seeds(text)


@pytest.mark.parametrize("text", ["", "a..b", "5..3", "-1"])
def test_other_seeds_are_refused(text: str) -> None:
    """With the way to write them."""
    with pytest.raises(ConfigError, match="--seeds"):
        parse_seeds(text)
