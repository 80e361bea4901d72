"""What a config must fulfil: types and ranges of each knob, then what must fit together."""

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from aegis.core.errors import Problem
from aegis.settings.knob import TIMEFRAMES, VENUES, default_of, describe

if TYPE_CHECKING:
    # A config checks itself when it is made, so at run time the import goes the other way.
    from aegis.settings.config import AegisConfig

_INT_AS_FLOAT_MAX: Final = 2**53


def check(config: "AegisConfig") -> list[Problem]:
    """Return every problem of *config*: types, ranges, then what must fit together."""
    problems: list[Problem] = []
    for attribute in attrs.fields(type(config)):
        problem = _check_one(attribute, getattr(config, attribute.name))
        if problem is not None:
            problems.append(problem)
    return problems or _check_together(config)


def _check_one(attribute: "attrs.Attribute[Any]", value: object) -> Problem | None:
    kind, meta = attribute.type, attribute.metadata
    allowed = describe(attribute)

    def problem(fix: str) -> Problem:
        return Problem(name=attribute.name, value=value, allowed=allowed, fix=fix)

    if kind is float and type(value) is int and abs(value) <= _INT_AS_FLOAT_MAX:
        value = float(value)
    expected: type = kind if kind in {bool, int, float, str, Decimal} else tuple
    if type(value) is not expected:
        return problem(f"give a {expected.__name__}")
    if isinstance(value, tuple):
        needed = attribute.default != ()
        if (needed and not value) or not all(isinstance(item, str) and item for item in value):
            return problem("give at least one name")
        if len(set(value)) != len(value):
            return problem("name each only once")
    if isinstance(value, float) and not math.isfinite(value):
        return problem("give a finite number")
    if isinstance(value, Decimal) and not value.is_finite():
        return problem("give a finite number")
    if "choices" in meta and value not in meta["choices"]:
        return problem("choose one of them")
    low, high = meta.get("low"), meta.get("high")
    if low is None or high is None or not isinstance(value, int | float | Decimal):
        return None
    if not low <= value <= high:
        return problem(f"default is {default_of(attribute)}")
    return None


def _check_together(config: "AegisConfig") -> list[Problem]:
    problems: list[Problem] = []

    def require(ok: bool, name: str, allowed: str, fix: str) -> None:
        if not ok:
            problems.append(
                Problem(name=name, value=getattr(config, name), allowed=allowed, fix=fix)
            )

    known = ", ".join(TIMEFRAMES)
    require(
        set(config.venues) <= set(VENUES), "venues", "binance, bybit", "remove the unknown name"
    )
    require(
        set(config.timeframes) <= set(TIMEFRAMES), "timeframes", known, "remove the unknown name"
    )
    require(
        "5m" in config.timeframes, "timeframes", "5m among them", "add 5m: the strategy needs it"
    )
    for symbol in config.symbols:
        require(
            symbol.isascii()
            and symbol.isalnum()
            and symbol == symbol.upper()
            and symbol.endswith("USDT"),
            "symbols",
            "venue symbols of USDT perpetuals like BTCUSDT",
            f"mend {symbol!r}",
        )
    for low, high in (
        ("ema_fast_period", "ema_slow_period"),
        ("higher_ema_fast_period", "higher_ema_slow_period"),
        ("rsi_min", "rsi_max"),
        ("atr_ratio_min", "atr_ratio_max"),
        ("min_stop_pct", "max_stop_pct"),
        ("protection_soft_ms", "protection_hard_ms"),
    ):
        require(
            getattr(config, low) < getattr(config, high),
            low,
            f"below {high} ({getattr(config, high)})",
            f"lower {low} or raise {high}",
        )
    require(
        config.positions_max_per_venue <= config.positions_max,
        "positions_max_per_venue",
        f"at most positions_max ({config.positions_max})",
        "lower it or raise positions_max",
    )
    for name in ("binance_url", "bybit_url"):
        url = getattr(config, name)
        require(
            url == "" or url.startswith(("http://", "https://")),
            name,
            "http(s)://host",
            "add http://",
        )
    for name in ("binance_ws_url", "bybit_ws_url"):
        url = getattr(config, name)
        require(url == "" or url.startswith(("ws://", "wss://")), name, "ws(s)://host", "add ws://")
    return problems
