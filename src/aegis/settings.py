"""
Every knob of Aegis: type, unit, range, reason. No knob without an effect.

Settings come from, weakest first: the defaults here, config.py, AEGIS_* variables of .env and of
the environment, command-line flags. All problems are found together and told one line each, before
anything connects (R83). Secrets are not settings: they live in `Secrets` and have no repr.
"""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import attrs

from aegis.core.errors import ConfigError, Problem
from aegis.model.market import TIMEFRAME_NAMES

ENV_PREFIX: Final = "AEGIS_"
_TIMEFRAMES: Final = {name: ns for ns, name in TIMEFRAME_NAMES.items()}
_VENUES: Final = ("binance", "bybit")
_INT_AS_FLOAT_MAX: Final = 2**53
_SYMBOL: Final = re.compile(r"[A-Z0-9]+USDT")


def _knob(default: object, *, unit: str, why: str, low: object = None, high: object = None) -> Any:
    return attrs.field(
        default=default, metadata={"unit": unit, "why": why, "low": low, "high": high}
    )


def _choice(default: str, choices: tuple[str, ...], *, why: str) -> Any:
    return attrs.field(default=default, metadata={"unit": "choice", "why": why, "choices": choices})


@attrs.frozen(kw_only=True)
class AegisConfig:
    """
    The operator's settings, validated at construction.

    Raises:
        ConfigError: with every problem found, when a value has the wrong type or is out of range.
    """

    # What to trade, and where
    venues: tuple[str, ...] = _knob(
        _VENUES, unit="names", why="exchanges to trade; each has its own account and guards"
    )
    symbols: tuple[str, ...] = _knob(
        (),
        unit="symbols",
        why="USDT perpetuals to trade on every venue; empty: every one of the market played",
    )
    timeframes: tuple[str, ...] = _knob(
        ("1m", "5m", "15m"), unit="names", why="candles to subscribe; the strategy needs 5m"
    )

    # Strategy (docs/strategy.md); bars are 5m candles
    ema_fast_period: int = _knob(21, unit="bars", low=2, high=500, why="fast trend mean")
    ema_slow_period: int = _knob(50, unit="bars", low=3, high=1000, why="slow trend mean")
    higher_ema_fast_period: int = _knob(
        9, unit="15m bars", low=2, high=500, why="fast mean of the 15m trend filter"
    )
    higher_ema_slow_period: int = _knob(
        26, unit="15m bars", low=3, high=1000, why="slow mean of the 15m trend filter"
    )
    rsi_period: int = _knob(14, unit="bars", low=2, high=200, why="momentum filter")
    atr_period: int = _knob(14, unit="bars", low=2, high=200, why="volatility, scales the stop")
    adx_period: int = _knob(14, unit="bars", low=2, high=200, why="trend strength filter")
    channel_period: int = _knob(20, unit="bars", low=2, high=500, why="breakout channel")
    pullback_bars: int = _knob(
        6, unit="bars", low=1, high=100, why="how long a touch of the fast mean stays good"
    )
    spread_min_atr: float = _knob(
        0.25, unit="ATR", low=0.0, high=10.0, why="least distance of the two trend means"
    )
    adx_min: float = _knob(25.0, unit="ADX", low=0.0, high=100.0, why="least trend strength")
    rsi_min: float = _knob(50.0, unit="RSI", low=0.0, high=100.0, why="least momentum for a long")
    rsi_max: float = _knob(75.0, unit="RSI", low=0.0, high=100.0, why="not into exhaustion")
    atr_ratio_min: float = _knob(
        0.5, unit="ratio", low=0.01, high=100.0, why="dead markets are left alone"
    )
    atr_ratio_max: float = _knob(
        2.5, unit="ratio", low=0.01, high=100.0, why="panics are left alone"
    )
    confidence_min: float = _knob(
        0.5, unit="0..1", low=0.0, high=1.0, why="least confidence of an idea"
    )
    cooldown_bars: int = _knob(
        24, unit="bars", low=0, high=2000, why="pause after an idea before another on that side"
    )
    stop_atr_mult: float = _knob(2.5, unit="ATR", low=0.1, high=20.0, why="stop distance")
    min_stop_pct: float = _knob(
        0.4, unit="% of price", low=0.05, high=20.0, why="stops nearer than costs make no sense"
    )
    max_stop_pct: float = _knob(
        3.0, unit="% of price", low=0.05, high=50.0, why="farther stops are refused"
    )
    target_r: float = _knob(1.8, unit="stop distances", low=0.1, high=20.0, why="target distance")
    expiry_bars: int = _knob(1, unit="bars", low=1, high=100, why="how long an idea stays good")
    gap_bars_max: int = _knob(
        2, unit="bars", low=0, high=100, why="longer holes in the candles restart the warm-up"
    )
    warmup_bars: int = _knob(
        120, unit="bars", low=50, high=5000, why="bars before the first opinion"
    )

    # Size
    risk_per_trade_pct: Decimal = _knob(
        Decimal("0.5"),
        unit="% of equity",
        low=Decimal("0.01"),
        high=Decimal(5),
        why="loss at the stop of one position (R26)",
    )
    leverage: int = _knob(
        5, unit="x", low=1, high=50, why="set and read back before every entry (R28)"
    )
    position_notional_max: Decimal = _knob(
        Decimal(20000),
        unit="USDT",
        low=Decimal(5),
        high=Decimal(10_000_000),
        why="caps one position",
    )
    liquidation_use_max: float = _knob(
        0.6,
        unit="fraction",
        low=0.05,
        high=0.9,
        why="the stop may use this part of the way to liquidation; else leverage is reduced (R29)",
    )

    # Guards
    positions_max: int = _knob(
        8, unit="positions", low=1, high=500, why="open positions over all venues (R37)"
    )
    positions_max_per_venue: int = _knob(
        4, unit="positions", low=1, high=500, why="open positions on one venue (R37)"
    )
    exposure_max_pct: Decimal = _knob(
        Decimal(300),
        unit="% of equity",
        low=Decimal(1),
        high=Decimal(5000),
        why="sum of notionals on one venue, the proposed one included (R67)",
    )
    daily_drawdown_max_pct: Decimal = _knob(
        Decimal(3),
        unit="% of equity",
        low=Decimal("0.1"),
        high=Decimal(50),
        why="from the equity at the start of the UTC day; latched to the next day (R64)",
    )
    stale_after_s: float = _knob(
        300.0,
        unit="market seconds",
        low=1.0,
        high=86_400.0,
        why="no fresh quote or mark for so long blocks entries on that instrument (R69)",
    )
    signal_drift_max_pct: float = _knob(
        0.5,
        unit="% of price",
        low=0.01,
        high=20.0,
        why="mark against signal price; a market that ran away is not chased (R44)",
    )
    failed_entry_cooldown_s: float = _knob(
        60.0,
        unit="market seconds",
        low=0.0,
        high=86_400.0,
        why="pause on an instrument after a failed entry (R39)",
    )

    # Protection
    protection_soft_ms: int = _knob(
        500, unit="ms", low=50, high=60_000, why="a fill without a stop for so long raises an alert"
    )
    protection_hard_ms: int = _knob(
        3000, unit="ms", low=200, high=120_000, why="a fill without a stop for so long is closed"
    )
    protection_retry_ms: int = _knob(
        250, unit="ms", low=20, high=10_000, why="protective requests repeat at this pace"
    )

    # Venue connections
    binance_url: str = _knob("", unit="URL", why="REST base; empty: the twin of this process")
    binance_ws_url: str = _knob("", unit="URL", why="stream base; empty: from binance_url")
    bybit_url: str = _knob("", unit="URL", why="REST base; empty: the twin of this process")
    bybit_ws_url: str = _knob("", unit="URL", why="stream base; empty: from bybit_url")
    request_timeout_s: float = _knob(
        10.0, unit="s", low=0.5, high=60.0, why="REST calls that only read"
    )
    order_timeout_s: float = _knob(
        2.0, unit="s", low=0.2, high=30.0, why="REST calls that place, cancel or amend"
    )
    recv_window_ms: int = _knob(
        5000, unit="ms", low=500, high=60_000, why="how old a signed request may be"
    )

    # Data
    conflation_interval_ms: int = _knob(
        0, unit="ms", low=0, high=5000, why="0 drains as soon as the loop is free (R4)"
    )
    depth_streams: bool = _knob(
        False,
        unit="true or false",
        why="also keep order books from Binance's diff stream, and check them against the quotes",
    )
    future_tolerance_s: float = _knob(
        5.0,
        unit="market seconds",
        low=0.0,
        high=3600.0,
        why="frames from the future are refused (R5)",
    )
    late_tolerance_s: float = _knob(
        60.0,
        unit="market seconds",
        low=1.0,
        high=86_400.0,
        why="frames older than this are refused (R5)",
    )

    # Journal, heartbeat, logs
    state_dir: str = _knob("state", unit="path", why="lock, journal and paper accounts live here")
    journal_queue_max: int = _knob(
        50_000,
        unit="rows",
        low=100,
        high=10_000_000,
        why="beyond it low-priority rows are counted away",
    )
    heartbeat_minutes: float = _knob(
        15.0, unit="market minutes", low=0.1, high=1440.0, why="how often the heartbeat is written"
    )
    log_level: str = _choice(
        "INFO", ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR"), why="least level shown"
    )
    log_file: str = _knob("", unit="path", why="also write the log there; empty: only stderr")

    # Paper mode
    paper_balance: Decimal = _knob(
        Decimal(10000),
        unit="USDT",
        low=Decimal(10),
        high=Decimal(1_000_000_000),
        why="a new paper account starts with it",
    )
    paper_seed: int = _knob(7, unit="seed", low=0, high=2**31, why="seed of the generated market")
    paper_days: int = _knob(
        7, unit="days", low=1, high=60, why="length of the generated market after its start"
    )
    paper_spread_bps: float = _knob(
        1.0, unit="bps", low=0.0, high=100.0, why="synthetic spread of the twin's book"
    )
    paper_depth_usdt: float = _knob(
        250_000.0,
        unit="USDT a level",
        low=100.0,
        high=1e9,
        why="synthetic depth of the twin's book",
    )
    paper_latency_ms: float = _knob(
        5.0, unit="ms", low=0.0, high=5000.0, why="one way to the twin, at --speed max"
    )

    def __attrs_post_init__(self) -> None:
        problems = check(self)
        if problems:
            raise ConfigError(problems)

    @property
    def timeframes_ns(self) -> tuple[int, ...]:
        """Return the candle lengths in ns."""
        return tuple(_TIMEFRAMES[name] for name in self.timeframes)


@attrs.frozen(kw_only=True, repr=False)
class Secrets:
    """API keys; never shown, not even in part (R84)."""

    binance_api_key: str = ""
    binance_api_secret: str = ""
    bybit_api_key: str = ""
    bybit_api_secret: str = ""

    def __repr__(self) -> str:
        return "Secrets(...)"

    def values(self) -> tuple[str, ...]:
        """Return the secrets that are set, for the log's redaction."""
        return tuple(v for v in attrs.astuple(self) if v)


NOT_SHOWN: Final = "(not shown)"
SECRET_NAMES: Final = ("BINANCE_API_KEY", "BINANCE_API_SECRET", "BYBIT_API_KEY", "BYBIT_API_SECRET")


def describe(attribute: "attrs.Attribute[Any]") -> str:
    """Return what values a knob allows, in words."""
    meta = attribute.metadata
    if "choices" in meta:
        return "one of " + ", ".join(meta["choices"])
    low, high = meta.get("low"), meta.get("high")
    if low is None:
        return str(meta["unit"])
    return f"{low} to {high} {meta['unit']}"


def check(config: AegisConfig) -> list[Problem]:
    """Return every problem of *config*: types, ranges, then what must fit together."""
    problems: list[Problem] = []
    for attribute in attrs.fields(AegisConfig):
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


def _check_together(config: AegisConfig) -> list[Problem]:
    problems: list[Problem] = []

    def require(ok: bool, name: str, allowed: str, fix: str) -> None:
        if not ok:
            problems.append(
                Problem(name=name, value=getattr(config, name), allowed=allowed, fix=fix)
            )

    known = ", ".join(_TIMEFRAMES)
    require(
        set(config.venues) <= set(_VENUES), "venues", "binance, bybit", "remove the unknown name"
    )
    require(
        set(config.timeframes) <= set(_TIMEFRAMES), "timeframes", known, "remove the unknown name"
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


def default_of(attribute: "attrs.Attribute[Any]") -> object:
    """Return the default value of a knob."""
    default: object = attribute.default
    return default


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
    return tuple(part.strip() for part in text.split(",") if part.strip())


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
            if not key.startswith(ENV_PREFIX):
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
                        fix=f"default is {_show(default_of(attribute))}",
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


def _unknown_name(key: str, fields: Mapping[str, object]) -> Problem:
    import difflib

    name = key[len(ENV_PREFIX) :]
    near = difflib.get_close_matches(name.lower(), fields, n=1)
    hint = f"did you mean {ENV_PREFIX}{near[0].upper()}?" if near else "remove it"
    if name.upper() in SECRET_NAMES:
        hint = f"did you mean {name.upper()}, without {ENV_PREFIX}?"
    # The value stays untold: behind a wrong name it may well be a key (R84).
    return Problem(name=key, value=NOT_SHOWN, allowed="the settings of docs/settings.md", fix=hint)


def read_secrets(dotenv: Mapping[str, str], environ: Mapping[str, str]) -> Secrets:
    """Return the API keys; the environment wins over .env."""
    merged = {**dotenv, **environ}
    return Secrets(**{name.lower(): merged.get(name, "").strip() for name in SECRET_NAMES})


def state_path(config: AegisConfig) -> Path:
    """Return the absolute state directory (R86: never relative to where we happen to be)."""
    return Path(config.state_dir).expanduser().resolve()
