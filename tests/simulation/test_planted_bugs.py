"""Planted bugs are found and the source as it is passes: two of them, the rest is a command's."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "sim_mutants.py"
FOUND = [
    ("guard_fed_nothing", "limits"),
    ("partial_fill_forgotten", "positions"),
]


@pytest.fixture(scope="module", name="script")
def script_fixture() -> ModuleType:
    """Return scripts/sim_mutants.py as a module."""
    spec = importlib.util.spec_from_file_location("sim_mutants_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "law"), FOUND)
def test_a_planted_bug_breaks_its_law(script: ModuleType, name: str, law: str) -> None:
    """Guards that see no positions (R67), and part fills that nobody counts (R34)."""
    mutant = script.read_mutant(script.MUTANTS / f"{name}.toml")
    verdict = script.judge(mutant, 0, drawn=False)

    assert "" == verdict.problem
    assert law in {broken for broken, _ in verdict.violations}
    assert [] == script.judge_unchanged([verdict.caught_by], 1)
