"""The house rules' own check: it finds each thing it names, and nothing in tidy code."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "tidy.py"


@pytest.fixture(scope="module")
def tidy() -> ModuleType:
    """Return scripts/tidy.py as a module."""
    spec = importlib.util.spec_from_file_location("tidy_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function_of(lines: int, *, docstring_lines: int = 0) -> str:
    """Return a function of *lines* code lines, its def included."""
    doc = ['    """', *(["    Word."] * docstring_lines), '    """'] if docstring_lines else []
    body = [f"    x{at} = {at}" for at in range(lines - 1)]
    return "\n".join(["def long():", *doc, "    # a comment", "", *body, ""])


def test_a_function_at_the_limit_passes_and_one_beyond_is_named(tidy: ModuleType) -> None:
    """60 code lines stand; docstring, comments and blank lines do not count."""
    limit = tidy.FUNCTION_LINES_MAX
    assert [] == tidy.problems_of("a.py", function_of(limit, docstring_lines=30))
    (problem,) = tidy.problems_of("a.py", function_of(limit + 1))
    assert f"a.py:1: long was {limit + 1} code lines, limit {limit}: split it" == problem


def test_a_method_of_a_class_counts_alone(tidy: ModuleType) -> None:
    """A class may be longer than a function."""
    methods = "\n".join(f"    def m{at}(self):\n        return {at}\n" for at in range(40))
    assert [] == tidy.problems_of("a.py", f"class Big:\n{methods}")


def test_a_file_beyond_the_limit_is_named(tidy: ModuleType) -> None:
    """Every line of a file counts."""
    limit = tidy.FILE_LINES_MAX
    assert [] == tidy.problems_of("a.py", "x = 1\n" * limit)
    (problem,) = tidy.problems_of("a.py", "x = 1\n" * (limit + 1))
    assert f"file was {limit + 1} lines, limit {limit}" in problem


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("safety/actor.py", "Approved(request)"),
        ("ops/beat.py", "print(1)"),
        ("venue/x.py", "time.time()"),
        ("venue/x.py", "datetime.now(UTC)"),
        ("venue/x.py", "datetime.datetime.now(UTC)"),
        ("data/actor.py", "asyncio.create_task(work())"),
    ],
)
def test_a_call_away_from_home_is_named(tidy: ModuleType, name: str, call: str) -> None:
    """Each of these has one home; the problem says which."""
    (problem,) = tidy.problems_of(name, f"x = {call}\n")
    assert problem.startswith(f"{name}:1: ")
    assert "belongs in" in problem


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("safety/decide.py", "Approved(request)"),
        ("cli.py", "print(1)"),
        ("ops/summary.py", "print(1)"),
        ("core/clock.py", "time.time()"),
        ("core/supervise.py", "asyncio.create_task(work())"),
        ("trade/actor.py", "console.print(1)"),
    ],
)
def test_a_call_at_home_passes(tidy: ModuleType, name: str, call: str) -> None:
    """At home it may be called; a method of the same name is something else."""
    assert [] == tidy.problems_of(name, f"x = {call}\n")


@pytest.mark.parametrize("mark", ["FIXME", "TODO", "XXX"])
def test_notes_to_self_are_named(tidy: ModuleType, mark: str) -> None:
    """A note nobody reads is work nobody does."""
    (problem,) = tidy.marks_of("src/a.py", f"x = 1  # {mark}: later\n")
    assert problem.startswith(f"src/a.py:1: {mark}")
    assert [] == tidy.marks_of("src/a.py", f"{mark}S = 1\n")


def test_a_module_nobody_imports_is_named(tidy: ModuleType) -> None:
    """Imports by name, from a package and in text count; an import of oneself does not."""
    modules = {
        "aegis.core.a": "import aegis.core.a",
        "aegis.core.b": "",
        "aegis.core.c": "",
        "aegis.core.d": "",
        "aegis.__main__": "from aegis.core import b",
    }
    others = ["from aegis.core.c import thing", "patch('aegis.core.d.name')"]
    (problem,) = tidy.unused_modules(modules, others)
    assert problem.startswith("aegis.core.a: imported by no module")
