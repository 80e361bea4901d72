"""kill -9 of the real bot at aimed moments, and the start after it, on a twin that lives on."""

import asyncio
import sys
from pathlib import Path

import pytest
from rich.console import Console

REPOSITORY = str(Path(__file__).resolve().parents[2])


@pytest.fixture(autouse=True)
def _soak_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soak is no installed package: let tests import it however pytest was started."""
    if REPOSITORY not in sys.path:
        sys.path.append(REPOSITORY)
    monkeypatch.setenv("PYTHONPATH", str(Path(REPOSITORY) / "src"))


def test_three_kills_lose_no_fill_double_no_order_and_bare_no_position(tmp_path: Path) -> None:
    """Each start finds positions and fills; no order doubled, no stop lost (R49, R53, R88)."""
    from soak.kill import KillPlan, KillRun

    plan = KillPlan(times=3, live_s_max=6.0, dead_s_max=1.5, seed=5, speed=60.0, folder=tmp_path)
    verdict = asyncio.run(KillRun(plan, Console(quiet=True)).run())

    assert () == verdict.problems
    assert 3 == len(verdict.deaths)
    assert all(death.clean_after_s is not None for death in verdict.deaths)
    assert all(books.made > 0 for books in verdict.books)
