"""The page of settings: generated from the settings, so it must be what the generator writes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import attrs

from aegis.settings import AegisConfig
from aegis.settings.rules import RISING_PAIRS

ROOT = Path(__file__).resolve().parents[2]


def load_generator() -> ModuleType:
    """Import scripts/settings_doc.py, which is no package."""
    path = ROOT / "scripts" / "settings_doc.py"
    spec = importlib.util.spec_from_file_location("aegis_settings_doc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_page_is_current() -> None:
    """docs/settings.md is what its generator writes now (R16, R83)."""
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")

    assert written == load_generator().page(), "run python scripts/settings_doc.py"


def test_the_page_names_the_pairs_that_must_rise() -> None:
    """What the rules compare is told, and no sentence ends in an empty list (R16)."""
    (line,) = [each for each in load_generator().page().splitlines() if "A lower bound" in each]

    assert "`rsi_min` < `rsi_max`" in line
    assert line.count("<") == len(RISING_PAIRS) > 0


def test_every_knob_has_exactly_one_row() -> None:
    """No setting is missing from the page and none is told twice (R83)."""
    lines = load_generator().page().splitlines()
    told = [line.split("`")[1] for line in lines if line.startswith("| `")]

    assert [attribute.name for attribute in attrs.fields(AegisConfig)] == told


def test_every_row_says_why() -> None:
    """Each knob has a unit or choices, and a reason (R16)."""
    silent = [
        attribute.name
        for attribute in attrs.fields(AegisConfig)
        if not attribute.metadata.get("unit") or not attribute.metadata.get("why")
    ]

    assert silent == []
