"""How one knob is declared and told: its default, unit, range and reason."""

from typing import Any, Final

import attrs

from aegis.model.market import TIMEFRAME_NAMES

TIMEFRAMES: Final = {name: ns for ns, name in TIMEFRAME_NAMES.items()}
VENUES: Final = ("binance", "bybit")


def knob(default: object, *, unit: str, why: str, low: object = None, high: object = None) -> Any:
    """Declare a knob, for the reason *why*; *low* and *high* are allowed."""
    return attrs.field(
        default=default, metadata={"unit": unit, "why": why, "low": low, "high": high}
    )


def choice(default: str, choices: tuple[str, ...], *, why: str) -> Any:
    """Declare a knob that is one of *choices*, for the reason *why*."""
    return attrs.field(default=default, metadata={"unit": "choice", "why": why, "choices": choices})


def describe(attribute: "attrs.Attribute[Any]") -> str:
    """Return what values a knob allows, in words."""
    meta = attribute.metadata
    if "choices" in meta:
        return "one of " + ", ".join(meta["choices"])
    low, high = meta.get("low"), meta.get("high")
    if low is None:
        return str(meta["unit"])
    return f"{low} to {high} {meta['unit']}"


def default_of(attribute: "attrs.Attribute[Any]") -> object:
    """Return the default value of a knob."""
    default: object = attribute.default
    return default
