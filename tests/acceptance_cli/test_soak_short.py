"""The soak, short: the real processes, real sockets, and a proxy that breaks what it carries."""

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


def test_a_minute_of_broken_connections_costs_no_fill_and_no_protection(tmp_path: Path) -> None:
    """Strikes of every kind: books equal, nothing doubled or naked beyond the bound (R12, R49)."""
    from soak.endure import Soak, SoakPlan

    plan = SoakPlan(minutes=1.0, every_s=5.0, seed=3, speed=60.0, folder=tmp_path)
    verdict = asyncio.run(Soak(plan, Console(quiet=True)).run())

    assert () == verdict.problems
    assert verdict.planned == len(verdict.hits)
    assert len({hit.strike.kind for hit in verdict.hits}) == 5
    assert all(hit.connections > 0 for hit in verdict.hits)
    assert {"BINANCE", "BYBIT"} == {books.venue for books in verdict.books if books.made > 0}
