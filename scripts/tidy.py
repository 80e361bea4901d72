"""
The house rules that neither ruff nor mypy knows, as a check: `make check` runs it.

Code lines of a function leave out its docstring, blank lines and lines of comment alone.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX: Final = 60
FILE_LINES_MAX: Final = 500
MARKS: Final = re.compile(r"\b(FIXME|TODO|XXX)\b")
MARKED_FOLDERS: Final = ("src", "tests", "scripts", "bench", "soak")

WHERE_MARKS_ARE_NAMED: Final = frozenset({"scripts/tidy.py", "tests/unit/test_tidy.py"})

HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "print": ("cli.py", "ops/summary.py"),
    "Approved": ("safety/decide.py",),
    "time.time": ("core/clock.py",),
    "time.time_ns": ("core/clock.py",),
    "time.monotonic": ("core/clock.py",),
    "time.monotonic_ns": ("core/clock.py",),
    "datetime.now": ("core/clock.py",),
    "datetime.datetime.now": ("core/clock.py",),
    "datetime.utcnow": ("core/clock.py",),
    "asyncio.create_task": ("core/supervise.py",),
    "asyncio.ensure_future": ("core/supervise.py",),
}
"""Calls that have one home below src/aegis; everywhere else they are a problem."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def problems_of(name: str, source: str) -> list[str]:
    """Return what breaks a rule in *source*, the file *name* relative to src/aegis, by line."""
    tree = ast.parse(source, filename=name)
    found = [*_long_file(source), *_long_functions(tree, source), *_homeless_calls(name, tree)]
    return [f"{name}:{line}: {problem}" for line, problem in sorted(found)]


def marks_of(name: str, source: str) -> list[str]:
    """Return the notes to self left in comments and strings of *source*."""
    return [
        f"{name}:{number}: {found.group(1)}: do it, or write it down where work is planned"
        for number, line in enumerate(source.splitlines(), start=1)
        if (found := MARKS.search(line)) is not None
    ]


def unused_modules(modules: Mapping[str, str], others: Iterable[str]) -> list[str]:
    """
    Return the modules nobody imports.

    modules: dotted name -> source. others: sources of tests, scripts and benches, which count.
    """
    imported: set[str] = set()
    for name, source in modules.items():
        imported |= _imports(source) - {name}
    for source in others:
        imported |= _imports(source)
    return [
        f"{name}: imported by no module and no test: wire it, test it or remove it"
        for name in sorted(modules)
        if name not in imported and not name.endswith("__main__") and "." in name
    ]


def _long_file(source: str) -> Iterator[tuple[int, str]]:
    lines = len(source.splitlines())
    if lines > FILE_LINES_MAX:
        yield 1, f"file was {lines} lines, limit {FILE_LINES_MAX}: split it by meaning"


def _long_functions(tree: ast.Module, source: str) -> Iterator[tuple[int, str]]:
    code = _code_lines(source)
    for node in ast.walk(tree):
        if not isinstance(node, FunctionNode):
            continue
        body = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        lines = len(code.intersection(body) - _docstring_lines(node))
        if lines > FUNCTION_LINES_MAX:
            yield (
                node.lineno,
                f"{node.name} was {lines} code lines, limit {FUNCTION_LINES_MAX}: split it",
            )


def _code_lines(source: str) -> set[int]:
    idle = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in idle:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines


def _docstring_lines(node: FunctionNode) -> set[int]:
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is None:
        return set()
    return set(range(first.lineno, (first.end_lineno or first.lineno) + 1))


def _homeless_calls(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _dotted(node.func)
        homes = HOMES.get(called)
        if homes is not None and name not in homes:
            yield node.lineno, f"{called}() belongs in {' or '.join(homes)}"


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _imports(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        else:
            names |= _named_in_text(node)
    return names


def _named_in_text(node: ast.AST) -> set[str]:
    """Return the modules a string names, as monkeypatches and importlib do."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return set()
    if re.fullmatch(r"aegis(\.\w+)+", node.value) is None:
        return set()
    parts = node.value.split(".")
    return {".".join(parts[:end]) for end in range(2, len(parts) + 1)}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _sources(*folders: str) -> dict[Path, str]:
    return {
        path: path.read_text()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def main() -> int:
    """Print every problem of the tree and return how the check ended: 0 tidy, 1 not."""
    product = _sources("src")
    found: list[str] = []
    for path, source in product.items():
        found += problems_of(path.relative_to(ROOT / "src" / "aegis").as_posix(), source)
    for path, source in _sources(*MARKED_FOLDERS).items():
        name = path.relative_to(ROOT).as_posix()
        found += [] if name in WHERE_MARKS_ARE_NAMED else marks_of(name, source)
    modules = {
        _module_name(path): source
        for path, source in product.items()
        # A package's own file counts when it re-exports: then it must be imported in its turn.
        if path.name != "__init__.py" or _imports(source)
    }
    found += unused_modules(modules, _sources("tests", "scripts", "bench", "soak").values())
    for problem in found:
        print(problem)
    print(f"tidy: {len(product)} files, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
