"""Where settings come from: texts read as values, sources laid over each other, their origins."""

import difflib
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import attrs

from aegis.core.errors import ConfigError, Problem
from aegis.settings.config import AegisConfig
from aegis.settings.knob import default_of, describe
from aegis.settings.secrets import SECRET_NAMES

ENV_PREFIX: Final = "AEGIS_"
LIVE_SWITCH: Final = "AEGIS_LIVE"
"""No setting: what a person says to a --live start, and never in config.py or a flag."""
NOT_SHOWN: Final = "(not shown)"


def parse_value(attribute: "attrs.Attribute[Any]", text: str) -> object:
    """
    Read *text* as a value of the knob's type.

    Raises:
        ValueError: when the text cannot be read as that type.
    """
    text = text.strip()
    readers: dict[object, Callable[[str], object]] = {
        int: int,
        float: float,
        str: str,
        bool: _read_switch,
    }
    if attribute.type is Decimal:
        try:
            return Decimal(text)
        except InvalidOperation:
            raise ValueError(f"not a number: {text!r}") from None
    reader = readers.get(attribute.type)
    if reader is not None:
        return reader(text)
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if text and not parts:
        # Commas alone are a slip, and must not read as "no choice made".
        raise ValueError(f"no name in it: {text!r}")
    return parts


def _read_switch(text: str) -> bool:
    switches = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in switches:
        raise ValueError(f"neither true nor false: {text!r}")
    return switches[text.lower()]


Origin = str


@attrs.frozen(kw_only=True)
class Resolved:
    """Effective settings, each value with its origin: default, config.py, .env, ... or flag."""

    config: AegisConfig
    origins: Mapping[str, Origin]

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """Return (name, value, origin) of every knob, for the log and the journal (R83)."""
        return tuple(
            (a.name, _show(getattr(self.config, a.name)), self.origins.get(a.name, "default"))
            for a in attrs.fields(AegisConfig)
        )


def _show(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def resolve(
    base: AegisConfig | None,
    *,
    dotenv: Mapping[str, str],
    environ: Mapping[str, str],
    flags: Mapping[str, object],
) -> Resolved:
    """
    Lay .env, environment and flags over *base*; unknown AEGIS_* names are refused (R83).

    Raises:
        ConfigError: every problem found.
    """
    origins: dict[str, Origin] = {}
    values: dict[str, object] = {}
    problems: list[Problem] = []
    fields = {a.name: a for a in attrs.fields(AegisConfig)}
    if base is not None:
        for name, attribute in fields.items():
            values[name] = getattr(base, name)
            if values[name] != default_of(attribute):
                origins[name] = "config.py"
    for origin, source in ((".env", dotenv), ("environment", environ)):
        for key in sorted(source):
            if not key.startswith(ENV_PREFIX) or key == LIVE_SWITCH or key in SECRET_NAMES:
                continue
            name = key[len(ENV_PREFIX) :].lower()
            if name not in fields:
                problems.append(_unknown_name(key, fields))
                continue
            attribute = fields[name]
            try:
                values[name] = parse_value(attribute, source[key])
            except ValueError:
                problems.append(
                    Problem(
                        name=key,
                        value=source[key],
                        allowed=describe(attribute),
                        fix=_fix_for(attribute),
                    )
                )
            origins[name] = origin
    for name, value in flags.items():
        values[name] = value
        origins[name] = "flag"
    try:
        config = AegisConfig(**values)  # type: ignore[arg-type]  # checked value by value inside
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from None
    if problems:
        raise ConfigError(problems)
    return Resolved(config=config, origins=origins)


def _fix_for(attribute: "attrs.Attribute[Any]") -> str:
    default = _show(default_of(attribute))
    return f"default is {default}" if default else "name at least one, or leave it out"


def _unknown_name(key: str, fields: Mapping[str, object]) -> Problem:
    name = key[len(ENV_PREFIX) :]
    near = difflib.get_close_matches(name.lower(), fields, n=1)
    hint = f"did you mean {ENV_PREFIX}{near[0].upper()}?" if near else "remove it"
    if name.upper() in SECRET_NAMES:
        hint = f"did you mean {name.upper()}, without {ENV_PREFIX}?"
    # The value stays untold: behind a wrong name it may well be a key (R84).
    return Problem(name=key, value=NOT_SHOWN, allowed="the settings of docs/settings.md", fix=hint)


def state_path(config: AegisConfig) -> Path:
    """Return the absolute state directory (R86: never relative to where we happen to be)."""
    return Path(config.state_dir).expanduser().resolve()
