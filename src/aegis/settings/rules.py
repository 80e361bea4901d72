"""What a config must fulfil: types and ranges of each knob, then what must fit together."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from aegis.core.errors import Problem
from aegis.settings.knob import TIMEFRAMES, VENUES, default_of, describe
from aegis.settings.ladder import parse_ladder

if TYPE_CHECKING:
    # A config checks itself when it is made, so at run time the import goes the other way.
    from aegis.settings.config import AegisConfig

_INT_AS_FLOAT_MAX: Final = 2**53

RISING_PAIRS: Final = (
    ("ema_fast_period", "ema_slow_period"),
    ("higher_ema_fast_period", "higher_ema_slow_period"),
    ("rsi_min", "rsi_max"),
    ("atr_ratio_min", "atr_ratio_max"),
    ("min_stop_pct", "max_stop_pct"),
    ("protection_soft_ms", "protection_hard_ms"),
)
"""Of each pair the first must be below the second."""

Require = Callable[[bool, str, str, str], None]
"""What must hold, the knob it is about, what is allowed, and the fix."""


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


class _Checking:
    """Collects what *config* does not fulfil."""

    def __init__(self, config: "AegisConfig") -> None:
        self._config = config
        self.problems: list[Problem] = []

    def require(self, ok: bool, name: str, allowed: str, fix: str) -> None:
        """Note a problem of the knob *name* unless it is *ok*."""
        if not ok:
            value = getattr(self._config, name)
            self.problems.append(Problem(name=name, value=value, allowed=allowed, fix=fix))


def _check_together(config: "AegisConfig") -> list[Problem]:
    checking = _Checking(config)
    _check_names(config, checking.require)
    _check_limits(config, checking.require)
    return [*checking.problems, *_ladder_problems(config), *_url_problems(config)]


def _check_names(config: "AegisConfig", require: Require) -> None:
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


def _check_limits(config: "AegisConfig", require: Require) -> None:
    for low, high in RISING_PAIRS:
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
    require(
        set(config.testnet) <= set(config.venues),
        "testnet",
        f"among venues ({', '.join(config.venues)})",
        "add it to venues, or remove it",
    )
    require(
        config.state_dir.strip() != "",
        "state_dir",
        "a path",
        "name a folder, or leave it out for the default",
    )
    require(
        2 * config.paper_latency_ms / 1000 < config.order_timeout_s,
        "paper_latency_ms",
        f"below half of order_timeout_s ({config.order_timeout_s} s): it is one way",
        "lower paper_latency_ms or raise order_timeout_s",
    )


def _ladder_problems(config: "AegisConfig") -> list[Problem]:
    allowed = "rungs r:fraction, r rising and below target_r, fractions adding up to at most 1"
    try:
        rungs = parse_ladder(config.ladder)
    except ValueError as problem:
        return [Problem(name="ladder", value=config.ladder, allowed=allowed, fix=str(problem))]
    beyond = [r for r, _ in rungs if r >= Decimal(repr(config.target_r))]
    if not beyond:
        return []
    fix = f"the rung at {beyond[0]} R is not below target_r ({config.target_r})"
    return [Problem(name="ladder", value=config.ladder, allowed=allowed, fix=fix)]


def _url_problems(config: "AegisConfig") -> list[Problem]:
    problems: list[Problem] = []
    for venue in VENUES:
        for name in (f"{venue}_url", f"{venue}_ws_url", f"{venue}_order_ws_url"):
            scheme = "http" if name == f"{venue}_url" else "ws"
            problem = url_problem(name, getattr(config, name), scheme)
            if problem is not None:
                problems.append(problem)
    return problems


def url_problem(name: str, url: str, scheme: str) -> Problem | None:
    """Return what is wrong with *url*, the value of *name*; "" and ``scheme(s)://host`` stand."""
    host = url.removeprefix(f"{scheme}s://").removeprefix(f"{scheme}://")
    if url == "" or (host != url and host.strip("/")):
        return None
    return Problem(
        name=name, value=url, allowed=f"{scheme}(s)://host", fix=f"add {scheme}:// and the host"
    )
