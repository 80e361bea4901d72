"""Recorded days as the market of the simulation: the bot under drawn faults meets real falls."""

from pathlib import Path

import pytest

from aegis.sim.market import DATA_VARIABLE, RECORDED
from aegis.sim.plan import make_plan
from aegis.sim.run import run_plan


@pytest.mark.parametrize("tapes", sorted(RECORDED))
def test_no_law_is_broken_on_a_recorded_day(
    tapes: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIL's minute of -8.7 % and 10 October 2025, under heavy faults on both venues (R88)."""
    monkeypatch.setenv(DATA_VARIABLE, str(shared_data))
    outcome = run_plan(make_plan(11, hours=1.5, profile="heavy", tapes=tapes))

    assert () == outcome.violations
    assert outcome.opened > 0
    assert outcome.faults
