"""The planted bugs: each still fits the source, and one that does not is told."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from aegis.sim.plan_file import read_plan

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "sim_mutants.py"


@pytest.fixture(scope="module", name="script")
def script_fixture() -> ModuleType:
    """Return scripts/sim_mutants.py as a module."""
    spec = importlib.util.spec_from_file_location("sim_mutants_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_planted_bug_fits_the_source(script: ModuleType) -> None:
    """What it replaces stands in its file exactly once, and what comes of it is Python."""
    mutants = script.read_mutants()

    assert [] == script.stale(mutants)
    assert len(mutants) >= 10


def test_every_planted_bug_says_what_it_breaks_and_where_that_shows(script: ModuleType) -> None:
    """Requirements by number, and a plan that can be read; no plan without a bug."""
    mutants = script.read_mutants()
    named = {mutant.plan for mutant in mutants if mutant.plan is not None}

    assert [] == [m.name for m in mutants if not m.plants or not m.requirements]
    assert all(re.fullmatch(r"R\d+", each) for m in mutants for each in m.requirements)
    assert set(script.PLANS.glob("*.toml")) == named
    assert all(read_plan(path).hours <= 2 for path in sorted(named))


@pytest.mark.parametrize(("text", "times"), [("a = 2\n", 0), ("a = 1\na = 1\n", 2)])
def test_a_bug_that_does_not_fit_is_stale(
    script: ModuleType, tmp_path: Path, text: str, times: int
) -> None:
    """Neither gone nor ambiguous text is replaced: the file stays as it was."""
    path = tmp_path / "a.py"
    _ = path.write_text(text, encoding="utf-8")

    with pytest.raises(script.StaleMutant, match=f"{times} times, wanted once"):
        script.Change(file="a.py", old="a = 1", new="a = 3").apply(tmp_path)
    assert text == path.read_text(encoding="utf-8")


def test_a_bug_in_a_file_that_is_gone_is_stale(script: ModuleType, tmp_path: Path) -> None:
    """A file that was renamed is named."""
    with pytest.raises(script.StaleMutant, match=r"gone\.py is not there"):
        script.Change(file="gone.py", old="a", new="b").apply(tmp_path)


def test_a_misspelled_key_is_told(script: ModuleType, tmp_path: Path) -> None:
    """A mutant that would plant nothing does not pass for one."""
    path = tmp_path / "odd.toml"
    _ = path.write_text('plants = "x"\nrequirements = ["R1"]\nchanges = []\n', encoding="utf-8")

    with pytest.raises(ValueError, match=r"unknown \['changes'\], missing \['change'\]"):
        script.read_mutant(path)
