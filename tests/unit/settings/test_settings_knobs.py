"""Settings: every knob ranged, told, read; precedence and origins; secrets never shown."""

import ast
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from aegis.brain.params import StrategyParams
from aegis.core.errors import ConfigError
from aegis.settings import (
    SECRET_NAMES,
    AegisConfig,
    check,
    default_of,
    describe,
    parse_value,
    read_secrets,
    resolve,
    state_path,
)

SOURCE = Path(__file__).resolve().parents[3] / "src" / "aegis"
KNOBS = attrs.fields(AegisConfig)
RANGED = [knob for knob in KNOBS if knob.metadata.get("low") is not None]
NOT_READ_YET: frozenset[str] = frozenset()
"""Knobs whose reader is still to be written."""


def problems_of(**values: Any) -> list[str]:
    """Return the names in the problems these values make."""
    with pytest.raises(ConfigError) as caught:
        AegisConfig(**values)
    return [problem.name for problem in caught.value.problems]


@pytest.mark.parametrize("text", [",", " , ,", ",,"])
def test_a_list_of_commas_alone_is_refused_with_name_value_and_fix(text: str) -> None:
    """R83: a slip that reads as "everything" would trade what nobody named."""
    with pytest.raises(ConfigError) as caught:
        _ = resolve(None, dotenv={}, environ={"AEGIS_SYMBOLS": text}, flags={})
    (problem,) = caught.value.problems
    assert ("AEGIS_SYMBOLS", text) == (problem.name, problem.value)
    assert "name at least one, or leave it out" == problem.fix
    empty = resolve(None, dotenv={}, environ={"AEGIS_SYMBOLS": ""}, flags={})
    assert () == empty.config.symbols


def test_the_defaults_are_allowed() -> None:
    """R83: nothing needs to be set before a run."""
    assert [] == check(AegisConfig())


@pytest.mark.parametrize("knob", KNOBS, ids=lambda k: k.name)
def test_every_knob_has_unit_reason_and_a_default_of_its_type(knob: Any) -> None:
    """R83: typed, explained, and its text reads back as the same value."""
    value = default_of(knob)
    text = ",".join(value) if isinstance(value, tuple) else str(value)

    assert knob.metadata["unit"]
    assert knob.metadata["why"]
    assert describe(knob)
    assert value == parse_value(knob, text)


@pytest.mark.parametrize("knob", RANGED, ids=lambda k: k.name)
@pytest.mark.parametrize("edge", ["low", "high"])
def test_a_value_out_of_range_is_one_problem_that_names_it(knob: Any, edge: str) -> None:
    """R83: just beyond either end."""
    kind: Any = type(default_of(knob))
    step = kind(1) if edge == "high" else -kind(1)

    assert [knob.name] == problems_of(**{knob.name: kind(knob.metadata[edge]) + step})


@pytest.mark.parametrize("knob", KNOBS, ids=lambda k: k.name)
@pytest.mark.parametrize("value", [None, True, object(), b"1", ["1m"]], ids=lambda v: repr(v)[:8])
def test_a_value_of_another_type_is_one_problem_that_names_it(knob: Any, value: object) -> None:
    """R83: no coercion; True is no 1, and 1 is no True."""
    if value is True and knob.type is bool:
        value = 1
    assert [knob.name] == problems_of(**{knob.name: value})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"stale_after_s": float("nan")}, "stale_after_s"),
        ({"stale_after_s": float("inf")}, "stale_after_s"),
        ({"stale_after_s": 10**400}, "stale_after_s"),
        ({"exposure_max_pct": Decimal("NaN")}, "exposure_max_pct"),
        ({"log_level": "LOUD"}, "log_level"),
        ({"venues": ()}, "venues"),
        ({"venues": ("kraken",)}, "venues"),
        ({"venues": ("binance", "binance")}, "venues"),
        ({"symbols": ("btcusdt",)}, "symbols"),
        ({"symbols": ("BTC/USDT",)}, "symbols"),
        ({"symbols": ("BTCUSD",)}, "symbols"),
        ({"symbols": ("\u0661USDT",)}, "symbols"),
        ({"timeframes": ("1m", "15m")}, "timeframes"),
        ({"timeframes": ("5m", "2m")}, "timeframes"),
        ({"ema_fast_period": 50}, "ema_fast_period"),
        ({"protection_soft_ms": 3000}, "protection_soft_ms"),
        ({"positions_max": 2}, "positions_max_per_venue"),
        ({"binance_url": "fapi.binance.com"}, "binance_url"),
        ({"bybit_ws_url": "http://x"}, "bybit_ws_url"),
        ({"bybit_order_ws_url": "ws://"}, "bybit_order_ws_url"),
        ({"testnet": ("kraken",)}, "testnet"),
        ({"venues": ("bybit",), "testnet": ("binance",)}, "testnet"),
        ({"state_dir": ""}, "state_dir"),
        ({"state_dir": "  "}, "state_dir"),
        ({"paper_latency_ms": 1000.0}, "paper_latency_ms"),
        ({"order_timeout_s": 0.2, "paper_latency_ms": 100.0}, "paper_latency_ms"),
    ],
)
def test_values_that_cannot_stand_are_one_problem(values: dict[str, Any], name: str) -> None:
    """R83: alone or together with others, told in one line."""
    assert [name] == problems_of(**values)


def test_all_problems_are_told_together() -> None:
    """R83: not one by one, run after run."""
    assert ["leverage", "stale_after_s"] == problems_of(leverage=0, stale_after_s=-1.0)


def test_a_whole_number_serves_as_a_float() -> None:
    """R83: 300 seconds need no point."""
    assert 300 == AegisConfig(stale_after_s=300).stale_after_s


def test_the_strongest_source_wins_and_is_named() -> None:
    """R83: default < config.py < .env < environment < flag."""
    resolved = resolve(
        AegisConfig(leverage=2, rsi_period=20, atr_period=20, adx_period=20),
        dotenv={"AEGIS_RSI_PERIOD": "21", "AEGIS_ATR_PERIOD": "21", "AEGIS_ADX_PERIOD": "21"},
        environ={"AEGIS_ATR_PERIOD": "22", "AEGIS_ADX_PERIOD": "22", "PATH": "/bin"},
        flags={"adx_period": 23},
    )
    rows = {name: (value, origin) for name, value, origin in resolved.rows()}

    assert ("2", "config.py") == rows["leverage"]
    assert ("21", ".env") == rows["rsi_period"]
    assert ("22", "environment") == rows["atr_period"]
    assert ("23", "flag") == rows["adx_period"]
    assert ("20", "default") == rows["channel_period"]
    assert [knob.name for knob in KNOBS] == list(rows)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("AEGIS_LEVERAG", "did you mean AEGIS_LEVERAGE?"),
        ("AEGIS_QQQQ", "remove it"),
        ("AEGIS_BINANCE_API_SECRET", "did you mean BINANCE_API_SECRET, without AEGIS_?"),
    ],
)
@pytest.mark.parametrize("source", ["dotenv", "environ"])
def test_an_unknown_name_is_refused_with_a_hint_and_without_its_value(
    key: str, hint: str, source: str
) -> None:
    """R83, R84: behind a wrong name there may be a key."""
    sources: dict[str, dict[str, str]] = {"dotenv": {}, "environ": {}}
    sources[source][key] = "hunter2hunter2"
    with pytest.raises(ConfigError) as caught:
        resolve(None, dotenv=sources["dotenv"], environ=sources["environ"], flags={})

    assert [(key, hint)] == [(p.name, p.fix) for p in caught.value.problems]
    assert "hunter2" not in str(caught.value)


def test_unreadable_text_and_a_bad_flag_are_told_together() -> None:
    """R83: problems of every source in one go."""
    with pytest.raises(ConfigError) as caught:
        resolve(
            None,
            dotenv={"AEGIS_LEVERAGE": "many"},
            environ={"AEGIS_RISK_PER_TRADE_PCT": "1,5"},
            flags={"rsi_period": 1},
        )

    assert ["AEGIS_LEVERAGE", "AEGIS_RISK_PER_TRADE_PCT", "rsi_period"] == [
        problem.name for problem in caught.value.problems
    ]


def test_lists_are_read_by_comma() -> None:
    """R83: blanks around names do not matter."""
    resolved = resolve(None, dotenv={}, environ={"AEGIS_VENUES": " bybit , "}, flags={})

    assert ("bybit",) == resolved.config.venues


def test_secrets_have_no_text() -> None:
    """R84: not in repr, str, rows, nor in part; the environment wins over .env."""
    given = {name: f"hunter2-{name}" for name in SECRET_NAMES}
    secrets = read_secrets({**given, "BINANCE_API_KEY": "weaker"}, given)
    rows = resolve(None, dotenv=given, environ=given, flags={}).rows()

    assert "hunter2-BINANCE_API_KEY" == secrets.binance_api_key
    assert len(SECRET_NAMES) == len(secrets.values())
    for text in (repr(secrets), str(secrets), f"{secrets}", repr(rows)):
        assert "hunter2" not in text
    assert not [name for name, _, _ in rows if "key" in name or "secret" in name]


def test_the_words_of_a_live_start_are_no_setting() -> None:
    """AEGIS_LIVE is said by a person at each start; it is no unknown name, and no knob either."""
    resolved = resolve(None, dotenv={}, environ={"AEGIS_LIVE": "yes-real-money"}, flags={})

    assert AegisConfig() == resolved.config


def test_absent_secrets_are_empty() -> None:
    """R84: nothing is set, nothing is redacted."""
    assert () == read_secrets({}, {}).values()


def test_the_state_directory_is_absolute() -> None:
    """R86: never relative to where we happen to be."""
    assert state_path(AegisConfig(state_dir="here")).is_absolute()


def knobs_read() -> set[str]:
    """Return every attribute of a config that src/aegis reads outside aegis.settings."""
    # The brain copies the knobs its parameters are named after.
    found = {field.name for field in attrs.fields(StrategyParams)}
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "settings"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and _is_config(node.value):
                found.add(node.attr)
    return found


def _is_config(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return name.lstrip("_") in {"config", "settings"}


def test_no_knob_is_without_an_effect() -> None:
    """R16, R83: every knob is read from a config somewhere, those still to be wired are named."""
    read = knobs_read()
    if "timeframes_ns" in read:
        read.add("timeframes")
    if any("state_path(config)" in path.read_text() for path in SOURCE.rglob("app/*.py")):
        read.add("state_dir")

    assert {knob.name for knob in KNOBS} - read <= NOT_READ_YET
