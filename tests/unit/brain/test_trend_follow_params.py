"""Every knob of the default strategy does something, and refuses what makes no sense."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from aegis.brain.params import StrategyParams
from aegis.brain.strategy import Bar, Idea, Verdict
from aegis.brain.trend_follow import TrendFollow

CHANGED: dict[str, float] = {
    "ema_fast_period": 13,
    "ema_slow_period": 60,
    "higher_ema_fast_period": 5,
    "higher_ema_slow_period": 35,
    "rsi_period": 7,
    "atr_period": 10,
    "adx_period": 20,
    "channel_period": 40,
    "pullback_bars": 20,
    "spread_min_atr": 1.0,
    "adx_min": 35.0,
    "rsi_min": 60.0,
    "rsi_max": 65.0,
    "atr_ratio_min": 0.95,
    "atr_ratio_max": 1.05,
    "confidence_min": 0.7,
    "cooldown_bars": 60,
    "stop_atr_mult": 4.0,
    "min_stop_pct": 1.0,
    "max_stop_pct": 0.5,
    "target_r": 3.0,
    "expiry_bars": 3,
    "gap_bars_max": 6,
    "warmup_bars": 200,
}


def verdicts(tape: Sequence[Bar], params: StrategyParams) -> list[Verdict]:
    strategy = TrendFollow(tape[0].instrument_id, params)
    return [strategy.on_bar(bar) for bar in tape]


@pytest.fixture(scope="module")
def gapped(tape: Sequence[Bar]) -> Sequence[Bar]:
    """Return the tape with five bars in a row missing."""
    return (*tape[:600], *tape[605:])


@pytest.fixture(scope="module")
def default_verdicts(gapped: Sequence[Bar]) -> list[Verdict]:
    """Return what the defaults say about the gapped tape."""
    return verdicts(gapped, StrategyParams())


def test_the_table_of_changes_names_every_param() -> None:
    """R16: no param is left out of the test below."""
    assert [field.name for field in attrs.fields(StrategyParams)] == list(CHANGED)


@pytest.mark.parametrize("name", CHANGED)
def test_changing_a_param_changes_ideas_or_rejections(
    gapped: Sequence[Bar], default_verdicts: list[Verdict], name: str
) -> None:
    """R16: each param, changed alone, changes what the strategy does, beyond its wording."""
    changed: dict[str, Any] = {name: CHANGED[name]}
    after = verdicts(gapped, attrs.evolve(StrategyParams(), **changed))

    assert [plan(verdict) for verdict in default_verdicts] != [plan(verdict) for verdict in after]


def plan(verdict: Verdict) -> tuple[object, ...]:
    """Return what a verdict leads to, without its words and features."""
    if not isinstance(verdict, Idea):
        return (type(verdict).__name__,)
    return (
        verdict.side,
        verdict.confidence,
        verdict.stop_distance,
        verdict.target_distance,
        verdict.expires_after_ns,
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rsi_period", 1, "rsi_period was 1 bars, least 2"),
        ("rsi_period", True, "rsi_period was True bars, least 2"),
        ("rsi_period", 14.0, "rsi_period was 14.0 bars, least 2"),
        ("ema_fast_period", 50, "ema_fast_period was 50, must be below ema_slow_period 50"),
        ("adx_min", float("nan"), "adx_min was nan, must be within"),
        ("confidence_min", 1.5, "confidence_min was 1.5, must be within"),
        ("min_stop_pct", 0.0, "min_stop_pct was 0.0, must be within"),
        ("min_stop_pct", 3.0, "min_stop_pct was 3.0, must be below max_stop_pct 3.0"),
        ("rsi_min", 80.0, "rsi_min was 80.0, must be below rsi_max 75.0"),
        ("warmup_bars", 79, "warmup_bars was 79, least 80"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: object, said: str) -> None:
    """R16: a value outside its documented range is refused with the value and the limit."""
    changed: dict[str, Any] = {name: value}

    with pytest.raises(ValueError, match=said):
        StrategyParams(**changed)
