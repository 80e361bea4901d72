"""Plans that broke a law once, shrunk and kept by `sim --write-test`: none does any more (R88)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aegis.sim.plan_file import read_plan, read_plans
from aegis.sim.pool import Crew, job_of, usual_hang_s

KEPT = Path(__file__).parent / "seeds"


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    """A process to run plans in: one that hangs is told."""
    with Crew(1, hang_s=usual_hang_s(1.0)) as made:
        yield made


@pytest.mark.parametrize("path", read_plans(KEPT), ids=lambda path: path.stem)
def test_a_kept_plan_breaks_no_law(crew: Crew, path: Path) -> None:
    """What it broke stands in the file's first lines."""
    outcome = crew.run(job_of(read_plan(path)))

    assert () == outcome.violations, f"python -m aegis sim --plan {path} --trace"
