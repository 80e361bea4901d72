"""Laws of the default strategy: no look-ahead, no memory outside the bars, no favored side."""

import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.brain.params import TIMEFRAME_NS, StrategyParams
from aegis.brain.strategy import Bar, Idea, Rejected, Verdict, Warming
from aegis.brain.trend_follow import Components, TrendFollow, confidence_of
from aegis.model.instrument import InstrumentId, Venue

ETH = InstrumentId("ETHUSDT", Venue.BYBIT)
START_NS = 1_746_403_200_000_000_000
QUICK = StrategyParams(
    ema_fast_period=5,
    ema_slow_period=12,
    higher_ema_fast_period=2,
    higher_ema_slow_period=5,
    rsi_period=7,
    atr_period=7,
    adx_period=7,
    channel_period=10,
    adx_min=15.0,
    rsi_max=90.0,
    confidence_min=0.35,
    cooldown_bars=3,
    max_stop_pct=50.0,
    warmup_bars=60,
)


def walk(seed: int, drift: int, count: int) -> list[Bar]:
    """Return bars on a grid of 0.25 around 1000, whose mirror images are exact floats."""
    dice = random.Random(seed)
    price = 1000.0
    bars = []
    for index in range(count):
        push = drift if (index // 40) % 2 == 0 else -drift
        close = price + 0.25 * (dice.randint(-6, 6) + push)
        high = max(price, close) + 0.25 * dice.randint(0, 4)
        low = min(price, close) - 0.25 * dice.randint(0, 4)
        open_ns = START_NS + index * TIMEFRAME_NS
        bars.append(
            Bar(
                instrument_id=ETH,
                timeframe_ns=TIMEFRAME_NS,
                open_ns=open_ns,
                close_ns=open_ns + TIMEFRAME_NS,
                open=price,
                high=high,
                low=low,
                close=close,
                volume=1.0,
            )
        )
        price = close
    return bars


def mirrored(bars: list[Bar], center: float) -> list[Bar]:
    """Return the bars turned upside down about *center*."""
    return [
        attrs.evolve(
            bar,
            open=2 * center - bar.open,
            high=2 * center - bar.low,
            low=2 * center - bar.high,
            close=2 * center - bar.close,
        )
        for bar in bars
    ]


def run(bars: list[Bar]) -> list[Verdict]:
    strategy = TrendFollow(ETH, QUICK)
    return [strategy.on_bar(bar) for bar in bars]


SEEDS = st.integers(min_value=0, max_value=2**32 - 1)
DRIFTS = st.integers(min_value=-3, max_value=3)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, drift=DRIFTS, cut=st.integers(min_value=1, max_value=220))
def test_later_bars_never_change_an_earlier_verdict(seed: int, drift: int, cut: int) -> None:
    """R17: the verdicts on a prefix are the prefix of the verdicts."""
    bars = walk(seed, drift, 220)

    assert run(bars)[:cut] == run(bars[:cut])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, drift=DRIFTS, picks=st.lists(st.integers(60, 219), min_size=2, max_size=2))
def test_long_and_short_are_mirror_images(seed: int, drift: int, picks: list[int]) -> None:
    """
    R19: turned upside down about the last close, the last verdict keeps all but its side.

    The mirror stands at the close under judgment, so that percent of the price mean the same.
    """
    bars = walk(seed, drift, 220)
    verdicts = run(bars)
    ideas = [index for index, verdict in enumerate(verdicts) if isinstance(verdict, Idea)]
    for index in (*picks, *ideas[:3]):
        seen = verdicts[index]
        image = run(mirrored(bars[: index + 1], bars[index].close))[-1]

        assert type(seen) is type(image)
        if isinstance(seen, Rejected) and isinstance(image, Rejected):
            assert seen.detected == image.detected
            assert len(seen.reasons) == len(image.reasons)
        if isinstance(seen, Idea) and isinstance(image, Idea):
            assert seen.side is image.side.opposite
            assert seen.patterns == image.patterns
            assert seen.confidence == pytest.approx(image.confidence, abs=1e-9)
            assert seen.stop_distance == pytest.approx(image.stop_distance, rel=1e-9)
            assert seen.target_distance == pytest.approx(image.target_distance, rel=1e-9)


def test_the_walks_do_give_ideas_on_both_sides() -> None:
    """R19: the mirror law above is not proven on silence."""
    ideas = [
        verdict
        for seed in range(10)
        for verdict in run(walk(seed, 2, 220))
        if isinstance(verdict, Idea)
    ]

    assert {"LONG", "SHORT"} == {idea.side.value for idea in ideas}
    assert len(ideas) > 20


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, drift=DRIFTS)
def test_nothing_is_said_before_the_warm_up_is_over(seed: int, drift: int) -> None:
    """R15: whatever the prices, the first bars give Warming and the later ones an opinion."""
    verdicts = run(walk(seed, drift, 100))

    assert all(isinstance(verdict, Warming) for verdict in verdicts[: QUICK.warmup_bars - 1])
    assert not any(isinstance(verdict, Warming) for verdict in verdicts[QUICK.warmup_bars - 1 :])


UNIT = st.floats(min_value=0.0, max_value=1.0)


@given(low=st.tuples(UNIT, UNIT, UNIT, UNIT), high=st.tuples(UNIT, UNIT, UNIT, UNIT))
def test_confidence_never_falls_when_the_components_rise(
    low: tuple[float, float, float, float], high: tuple[float, float, float, float]
) -> None:
    """R25: confidence is monotone in every component and stays within 0..1."""
    below = Components(trend=low[0], separation=low[1], momentum=low[2], volatility=low[3])
    above = Components(
        trend=max(low[0], high[0]),
        separation=max(low[1], high[1]),
        momentum=max(low[2], high[2]),
        volatility=max(low[3], high[3]),
    )

    assert 0.0 <= confidence_of(below) <= confidence_of(above) + 1e-12 <= 1.0 + 1e-12
