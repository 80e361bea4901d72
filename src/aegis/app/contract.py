"""
The contract check at start (R8): every event is built with its own fields, heard, and fed.

The first system this bot replaces ran for 18 hours while each of its exits raised a TypeError,
because one producer built an event with a field it did not have. So before anything connects, the
source of every producer is read: each construction of an event must name exactly its fields. Then
the wiring is compared: no event that nobody hears, no subscription that nobody feeds.
"""

import ast
import functools
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.errors import InvariantError
from aegis.core.event import Event, event_types

TOLD_ONLY: Final = frozenset(
    {
        "AlertRaised",
        "ApiCalled",
        "CandleGapFound",
        "ClockMeasured",
        "EntriesHalted",
        "EntriesResumed",
        "DayStarted",
        "FeedFresh",
        "FeedStale",
        "ForeignOrderFound",
        "FrameRejected",
        "GuardChecked",
        "HandlerFailed",
        "HeartbeatEmitted",
        "JournalFault",
        "JournalOverflowed",
        "OrderSubmitted",
        "PositionMismatchFound",
        "ProtectionChanged",
        "ProtectionConfirmed",
        "ProtectionDelayed",
        "ProtectionFailed",
        "ProtectionLost",
        "ProtectionMismatchFound",
        "ProtectionWanted",
        "RunStarted",
        "RunStopped",
        "SignalDropped",
        "StreamClosed",
        "StreamOpened",
        "SymbolLeftOut",
        "TaskFailed",
        "WarmupFinished",
    }
)
"""Events for journal and people: heard by the wildcard listeners alone, on purpose."""


@attrs.frozen(slots=True)
class Construction:
    """One place in the source that builds an event; *fields* None where they are not literal."""

    event: str
    fields: frozenset[str] | None
    place: str


def constructions(root: Path, names: Iterable[str]) -> Iterator[Construction]:
    """Read every module under *root* and return where the events *names* are built."""
    wanted = frozenset(names)
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] == "core" and path.name == "supervise.py":
            # Its TaskFailed is the report the event of the same name is made from.
            continue
        text = path.read_text(encoding="utf-8")
        if not any(name in text for name in wanted):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            name = _called(node.func)
            if name not in wanted:
                continue
            keywords = [keyword.arg for keyword in node.keywords]
            literal = frozenset(arg for arg in keywords if arg is not None)
            place = f"{path.relative_to(root)}:{node.lineno}"
            yield Construction(name, None if None in keywords else literal, place)


def _called(func: ast.expr) -> str:
    if isinstance(func, ast.Name):
        return func.id
    return func.attr if isinstance(func, ast.Attribute) else ""


def field_problems(built: Iterable[Construction], types: Mapping[str, type[Event]]) -> list[str]:
    """Return a line for every construction that misses a field or names one that does not exist."""
    problems = []
    for one in built:
        if one.fields is None:
            continue
        fields = attrs.fields(types[one.event])
        known = {field.name for field in fields}
        needed = {field.name for field in fields if field.default is attrs.NOTHING}
        unknown, missing = one.fields - known, needed - one.fields
        if unknown:
            problems.append(f"{one.place}: {one.event} has no field {', '.join(sorted(unknown))}")
        if missing:
            problems.append(f"{one.place}: {one.event} lacks {', '.join(sorted(missing))}")
    return problems


@functools.cache
def _built(root: Path, names: tuple[str, ...]) -> tuple[Construction, ...]:
    """Read the source once a process: it is the same for every bot that starts in it."""
    # A pattern `case FillBooked(...)` is no call, so only real producers are found.
    return tuple(constructions(root, names))


def contract_problems(bus: EventBus, root: Path) -> list[str]:
    """Return everything that breaks the contract of events, one line each; [] is the law."""
    types = {cls.__name__: cls for cls in event_types("aegis")}
    built = _built(root, tuple(types))
    problems = field_problems(built, types)
    produced = [types[name] for name in dict.fromkeys(one.event for one in built)]
    report = bus.contract_report(produced)
    problems += [
        f"{name} is published and nobody hears it"
        for name in report.unheard
        if name not in TOLD_ONLY
    ]
    problems += [f"{name} is subscribed and nobody publishes it" for name in report.unfed]
    unused = sorted(set(types) - {one.event for one in built})
    problems += [f"{name} is declared and never built" for name in unused]
    return problems


def check_contract(bus: EventBus) -> None:
    """
    Refuse to start on a broken contract; takes about 0.2 s, the first time in a process.

    Raises:
        InvariantError: with every problem found.
    """
    # Imported for the event it declares.
    importlib.import_module("aegis.journal.codec")
    problems = contract_problems(bus, Path(sys.modules["aegis"].__path__[0]))
    if problems:
        raise InvariantError("the event contract is broken:\n" + "\n".join(problems))
