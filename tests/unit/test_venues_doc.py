"""The page of the venues: its tables are generated from the adapters and must be current."""

import importlib.util
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from aegis.model.account import Capabilities
from aegis.venue.binance import errors as binance_errors
from aegis.venue.bybit import errors as bybit_errors
from aegis.venue.meanings import Meaning

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "venues.md"
DOCTOR = ROOT / "src" / "aegis" / "app" / "doctor"


def load_generator() -> ModuleType:
    """Import scripts/venues_doc.py, which is no package."""
    path = ROOT / "scripts" / "venues_doc.py"
    spec = importlib.util.spec_from_file_location("aegis_venues_doc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_venues_page_are_current() -> None:
    """docs/venues.md holds what its generator writes now (R83)."""
    written = PAGE.read_text(encoding="utf-8")

    assert written == load_generator().page(written), "run python scripts/venues_doc.py"


@pytest.mark.parametrize(
    ("name", "table"),
    [("codes-binance", binance_errors.CODES), ("codes-bybit", bybit_errors.CODES)],
)
def test_every_error_code_has_exactly_one_row(name: str, table: dict[str, Meaning]) -> None:
    """No code the adapter knows is missing from the page and none is told twice (R42)."""
    lines = load_generator().TABLES[name]().splitlines()
    told = [line.split("`")[1] for line in lines if line.startswith("| `")]

    assert list(table) == told


def test_every_ability_is_told_with_its_meaning() -> None:
    """Each capability has a row and says what it means (R83)."""
    found = load_generator().abilities()

    assert list(attrs.fields_dict(Capabilities)) == list(found)
    assert all(found.values())


def test_what_the_doctor_measures_is_what_it_has_a_line_for() -> None:
    """An ability is said to be measured only where a line of the doctor tries it."""
    generator = load_generator()
    told = generator.abilities()

    assert {name for name in told if generator.MEASURED in told[name]} <= set(generator.TRIED)
    unsure = {name for name in told if generator.UNSURE in told[name]}
    assert {"position_protection", "full_beside_rungs", "conditional_orders_max"} == unsure
    assert set() == unsure & set(generator.TRIED)


def test_the_doctor_has_the_lines_the_page_sends_people_to() -> None:
    """A line named beside an ability exists in the doctor's code."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCTOR.glob("*.py")))
    generator = load_generator()

    assert [] == [line for line in generator.TRIED.values() if f'"{line}"' not in code]
    assert set(generator.TRIED) <= set(attrs.fields_dict(Capabilities))


def test_a_page_without_its_tables_is_an_error() -> None:
    """A table that was lost while editing is told, not left out."""
    with pytest.raises(ValueError, match=r"tables of venues\.md were \[\]"):
        load_generator().page("# Venues\n")
