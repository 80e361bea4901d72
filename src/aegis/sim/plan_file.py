"""
A plan as a file that a person reads: TOML, with every setting, signal and fault written out.

Drawn again from its seed a plan becomes another one whenever the drawing changes; a file does not.
The seed stays in it as `market_seed`: it makes the prices, and picks what a fault strikes.
"""

import difflib
import math
import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import orjson

from aegis.core.errors import ConfigError, Problem
from aegis.settings import AegisConfig, resolve
from aegis.sim.draw import FIRST_S, HOUR_S, PROFILES, SYMBOLS, VENUES
from aegis.sim.kinds import OF_A_SYMBOL, SIGNED, UNBOUND, Fault, Kind
from aegis.sim.plan import QUIET_S, FaultPlan, SignalWish

R = TypeVar("R", SignalWish, Fault)
SUFFIX: Final = ".toml"
HOURS_MIN: Final = math.ceil((QUIET_S + FIRST_S) / HOUR_S * 1000 + 1) / 1000
HOURS_MAX: Final = 240.0
_ROWS: Final = {"signals": SignalWish, "faults": Fault}
_NAMES: Final = {"seed": "market_seed", "hours": "hours", "profile": "faults_profile"}
"""Fields whose name in a file is another, or that must be there."""
_REFUSAL: Final = re.compile(r"[a-z]+ -?\d+")


def plan_text(plan: FaultPlan, notes: Sequence[str] = ()) -> str:
    """Return *plan* as the text of a file; *notes* stand above it as comments."""
    head = [f"# {line}".rstrip() for note in notes for line in note.splitlines()]
    for field in _plain_fields():
        value = getattr(plan, field.name)
        if field.default is attrs.NOTHING or value != field.default:
            head.append(f"{_file_name(field.name)} = {_toml(value)}")
    rows = []
    for name in _ROWS:
        table = [f"  {{ {', '.join(_pairs(row))} }}," for row in getattr(plan, name)]
        rows += [f"{name} = [", *table, "]"] if table else [f"{name} = []"]
    settings = [f"{name} = {_toml(value)}" for name, value in plan.settings]
    return "\n".join([*head, *rows, "", "[settings]", *settings]) + "\n"


def read_plan(path: Path) -> FaultPlan:
    """
    Read a plan that `plan_text` or a person wrote.

    Raises:
        ConfigError: every problem found: no such file, no TOML, unknown or missing names, values
            that cannot be.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        fix = "name a plan file that --write-test wrote"
        raise _refused(path, "", error.strerror, "a readable file", fix) from None
    except UnicodeDecodeError:
        raise _refused(path, "", "no text", "TOML in UTF-8", "name a plan file") from None
    except tomllib.TOMLDecodeError as error:
        fix = "mend the file where it says"
        raise _refused(path, "", f"no TOML ({error})", "TOML", fix) from None
    reader = _Reader(path)
    plan = reader.plan(raw)
    if reader.problems or plan is None:
        raise ConfigError(reader.problems)
    return plan


def read_plans(folder: Path) -> list[Path]:
    """Return the plan files in *folder*, by name; none where there is no folder."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def _plain_fields() -> "Iterator[attrs.Attribute[Any]]":
    for field in attrs.fields(FaultPlan):
        if field.name not in {*_ROWS, "settings"}:
            yield field


def _file_name(name: str) -> str:
    return _NAMES.get(name, name)


def _pairs(row: SignalWish | Fault) -> Iterator[str]:
    for field in attrs.fields(type(row)):
        value = getattr(row, field.name)
        if field.default is attrs.NOTHING or value != field.default:
            yield f"{field.name} = {_toml(value)}"


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return str(value)
        case float():
            assert math.isfinite(value), value
            return repr(value)
        case str():
            return orjson.dumps(str(value)).decode()
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a plan file")


def _refused(path: Path, name: str, value: object, allowed: str, fix: str) -> ConfigError:
    return ConfigError([_problem(path, name, value, allowed, fix)])


def _problem(path: Path, name: str, value: object, allowed: str, fix: str) -> Problem:
    where = f"{path}: {name}" if name else str(path)
    return Problem(name=where, value=value, allowed=allowed, fix=fix)


class _Reader:
    """Reads one file and keeps every problem it meets."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self.problems: Final[list[Problem]] = []

    def plan(self, raw: Mapping[str, object]) -> FaultPlan | None:
        """Return the plan, None when it cannot be one."""
        fields = list(_plain_fields())
        known = {_file_name(field.name): field for field in fields}
        self._unknown("", raw, [*known, *_ROWS, "settings"])
        values = self._values("", raw, known)
        signals = self._rows("signals", raw, SignalWish)
        faults = self._rows("faults", raw, Fault)
        settings = self._settings(raw.get("settings", {}))
        if self.problems:
            return None
        plan = FaultPlan(
            **values, settings=tuple(settings), signals=tuple(signals), faults=tuple(faults)
        )
        self._check(plan)
        return plan

    def _check(self, plan: FaultPlan) -> None:
        if not HOURS_MIN <= plan.hours <= HOURS_MAX:
            allowed = f"{HOURS_MIN:g} to {HOURS_MAX:g}"
            self._tell("hours", plan.hours, allowed, "the last seven minutes bring nothing new")
        if plan.market_hours and not plan.hours <= plan.market_hours <= HOURS_MAX:
            allowed = f"hours ({plan.hours:g}) to {HOURS_MAX:g}, or 0"
            self._tell("market_hours", plan.market_hours, allowed, "leave it out")
        if plan.profile not in PROFILES:
            self._tell(_NAMES["profile"], plan.profile, ", ".join(PROFILES), "choose one of them")
        if not 0 <= plan.start_hour < 24:
            self._tell("start_hour", plan.start_hour, "0 to 23", "give the hour of the day, UTC")
        if plan.seed < 0:
            self._tell(_NAMES["seed"], plan.seed, "0 or more", "give a whole number")
        for number, wish in enumerate(plan.signals):
            self._check_signal(f"signals[{number}]", wish, plan)
        for number, fault in enumerate(plan.faults):
            self._check_fault(f"faults[{number}]", fault, plan)

    def _check_signal(self, where: str, wish: SignalWish, plan: FaultPlan) -> None:
        self._time(where, wish.at_s, plan)
        self._one_of(f"{where}.venue", wish.venue, VENUES)
        self._one_of(f"{where}.symbol", wish.symbol, SYMBOLS)
        self._one_of(f"{where}.side", wish.side, ("LONG", "SHORT"))
        for name, value in (("stop_pct", wish.stop_pct), ("target_pct", wish.target_pct)):
            if not 0 < value < 100:
                self._tell(f"{where}.{name}", value, "above 0, below 100", "percent of the price")

    def _check_fault(self, where: str, fault: Fault, plan: FaultPlan) -> None:
        self._time(where, fault.at_s, plan)
        if fault.kind not in UNBOUND:
            self._one_of(f"{where}.venue", fault.venue, VENUES)
        if fault.kind in OF_A_SYMBOL:
            self._one_of(f"{where}.target", fault.target, SYMBOLS)
        if fault.kind is Kind.REFUSED and not _REFUSAL.fullmatch(fault.target):
            self._tell(f"{where}.target", fault.target, "a request and a code", "like entry -1021")
        if not 0 < fault.share <= 1:
            self._tell(f"{where}.share", fault.share, "above 0, at most 1", "1 strikes everything")
        for name, value in (("for_s", fault.for_s), ("seconds", fault.seconds)):
            if value < 0 and not (name == "seconds" and fault.kind in SIGNED):
                self._tell(f"{where}.{name}", value, "0 or more seconds", "give a length")

    def _time(self, where: str, at_s: float, plan: FaultPlan) -> None:
        end_s = plan.hours * HOUR_S
        if not 0 <= at_s <= end_s:
            self._tell(f"{where}.at_s", at_s, f"0 to {end_s:g} s, the end", "move it, or add hours")

    def _one_of(self, name: str, value: str, allowed: Iterable[str]) -> None:
        if value not in allowed:
            self._tell(name, value, ", ".join(allowed), "choose one of them")

    def _rows(self, name: str, raw: Mapping[str, object], kind: type[R]) -> list[R]:
        rows = raw.get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._tell(name, rows, "a list of { ... }", "write a list, [] for none")
            return []
        known = {field.name: field for field in attrs.fields(kind)}
        made = []
        for number, row in enumerate(rows):
            where = f"{name}[{number}]."
            before = len(self.problems)
            self._unknown(where, row, known)
            values = self._values(where, row, known)
            if len(self.problems) == before:
                made.append(kind(**values))
        return made

    def _values(
        self, where: str, raw: Mapping[str, object], known: "Mapping[str, attrs.Attribute[Any]]"
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in known.items():
            if name in raw:
                try:
                    values[field.name] = _typed(raw[name], field.type)
                except ValueError as error:
                    self._tell(f"{where}{name}", raw[name], str(error), "mend the value")
            elif field.default is attrs.NOTHING:
                self._tell(f"{where}{name}", "missing", "a value", f"write {name} = ...")
        return values

    def _unknown(self, where: str, raw: Mapping[str, object], known: Iterable[str]) -> None:
        names = list(known)
        for name in raw:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                fix = f"did you mean {near[0]}?" if near else "remove it"
                self._tell(f"{where}{name}", raw[name], ", ".join(names), fix)

    def _settings(self, raw: object) -> list[tuple[str, Any]]:
        if not isinstance(raw, dict):
            self._tell("settings", raw, "a table", "write [settings] and names below it")
            return []
        known = {field.name: field for field in attrs.fields(AegisConfig)}
        before = len(self.problems)
        self._unknown("settings.", raw, known)
        if len(self.problems) > before:
            # Two hundred names help nobody.
            del self.problems[before:]
            for name in (name for name in raw if name not in known):
                near = difflib.get_close_matches(name, known, n=1)
                fix = f"did you mean {near[0]}?" if near else "remove it"
                self._tell(f"settings.{name}", raw[name], "names of docs/settings.md", fix)
            return []
        values = self._values("settings.", raw, {name: known[name] for name in raw})
        if len(self.problems) == before:
            try:
                _ = resolve(None, dotenv={}, environ={}, flags=values)
            except ConfigError as error:
                for each in error.problems:
                    self._tell(f"settings.{each.name}", each.value, each.allowed, each.fix)
        return list(values.items())

    def _tell(self, name: str, value: object, allowed: str, fix: str) -> None:
        shown = float(value) if isinstance(value, Decimal) else value
        self.problems.append(_problem(self._path, name, shown, allowed, fix))


def _typed(value: object, kind: Any) -> object:
    """Return a value of TOML as one of *kind*. Raises ValueError, which says what is allowed."""
    if kind is bool or isinstance(value, bool):
        if kind is bool and isinstance(value, bool):
            return value
        raise ValueError("true or false" if kind is bool else "a number or text")
    if kind is Kind:
        if value not in set(Kind):
            raise ValueError(", ".join(Kind))
        return Kind(str(value))
    if kind is int and isinstance(value, int):
        return value
    if kind is float and isinstance(value, int | Decimal) and math.isfinite(value):
        return float(value)
    if kind is Decimal and isinstance(value, int | Decimal):
        return Decimal(value)
    if kind is tuple or isinstance(kind, types.GenericAlias):
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise ValueError("a list of texts")
    if kind not in {int, float, Decimal} and isinstance(value, str):
        return value
    raise ValueError("a number" if kind in {int, float, Decimal} else "a text")
