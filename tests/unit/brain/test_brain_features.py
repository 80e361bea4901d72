"""Features: one stream for live and training, honest about what it cannot know."""

import math
from collections.abc import Callable, Iterable, Sequence

import attrs
import pytest

from aegis.brain.features import (
    FEATURE_NAMES,
    Features,
    FeatureStream,
    HigherTrend,
    features_digest,
)
from aegis.brain.indicators import NOT_READY, Ema
from aegis.brain.params import StrategyParams
from aegis.brain.strategy import Bar

BarsOf = Callable[[Iterable[tuple[float, float, float, float]]], list[Bar]]


def features_of(bars: Sequence[Bar]) -> list[Features]:
    stream = FeatureStream(StrategyParams())
    return [row for row in (stream.update(bar) for bar in bars) if row is not NOT_READY]


def test_features_come_after_the_required_bars_and_name_what_is_missing(
    tape: Sequence[Bar],
) -> None:
    """R15: NOT_READY with the names of the gaps until every indicator has a number."""
    stream = FeatureStream(StrategyParams())
    for count, bar in enumerate(tape[:120], start=1):
        row = stream.update(bar)
        assert (row is NOT_READY) == bool(stream.missing), f"bar {count}"
        assert row is NOT_READY or count >= 62
        if count == 1:
            assert "rsi" in stream.missing
        if count == 61:
            assert stream.missing == ("15m means", "atr mean")
        if count >= StrategyParams().required_bars:
            assert row is not NOT_READY


def test_every_feature_is_finite_and_listed_in_order(tape: Sequence[Bar]) -> None:
    """R18: the pairs carry all features in the order of the fields, all finite."""
    rows = features_of(tape[:400])

    assert all(tuple(name for name, _ in row.pairs()) == FEATURE_NAMES for row in rows)
    assert all(math.isfinite(value) for row in rows for _, value in row.pairs())


def test_the_digest_is_equal_for_equal_runs_and_differs_for_one_bit(tape: Sequence[Bar]) -> None:
    """R18: two passes over the same bars have one digest; the smallest change shows."""
    first, second = features_of(tape[:300]), features_of(tape[:300])
    bent = [*second[:-1], attrs.evolve(second[-1], rsi=math.nextafter(second[-1].rsi, 100.0))]

    assert features_digest(first) == features_digest(second)
    assert features_digest(first) != features_digest(bent)


def test_a_market_that_does_not_move_has_no_features(bars_of: BarsOf) -> None:
    """R15: with an ATR of 0 nothing can be measured, so the answer is NOT_READY, not zeros."""
    stream = FeatureStream(StrategyParams())
    answers = [stream.update(bar) for bar in bars_of([(100.0,) * 4] * 150)]

    assert answers == [NOT_READY] * 150
    assert stream.missing == ("movement: the price has not changed",)


def test_fifteen_minute_means_move_on_whole_aligned_candles_only(bars_of: BarsOf) -> None:
    """R20: the 15m trend is made of closes at quarter hours; a candle with a hole is left out."""
    closes = [100.0 + step * step for step in range(12)]
    bars = bars_of((close, close, close, close) for close in closes)
    higher = HigherTrend(1, 2)
    for index in (1, 2, 3, 5, 7, 8, 9, 10, 11):
        higher.update(bars[index])
    whole_candles = higher.spread
    for bar in bars_of((close,) * 4 for close in (*closes, 400.0, 500.0, 600.0))[12:]:
        higher.update(bar)
    fast, slow = Ema(1), Ema(2)
    slow.update(closes[11])
    last_fast, last_slow = fast.update(600.0), slow.update(600.0)

    assert whole_candles is NOT_READY
    assert last_fast is not NOT_READY
    assert last_slow is not NOT_READY
    assert last_fast - last_slow == higher.spread


@pytest.mark.parametrize("count", [1, 2])
def test_an_unfinished_fifteen_minute_candle_does_not_count(bars_of: BarsOf, count: int) -> None:
    """R17: the means do not see a 15m candle before it has closed."""
    bars = bars_of((100.0 + step,) * 4 for step in range(6 + count))
    finished, running = HigherTrend(1, 2), HigherTrend(1, 2)
    for bar in bars[:6]:
        finished.update(bar)
    for bar in bars:
        running.update(bar)

    assert finished.spread is not NOT_READY
    assert finished.spread == running.spread
