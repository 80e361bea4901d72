"""The default strategy on constructed and seeded candles."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import attrs
import pytest

from aegis.brain.params import TIMEFRAME_NS, StrategyParams
from aegis.brain.strategy import Bar, Idea, Rejected, Strategy, Verdict, Warming
from aegis.brain.trend_follow import Components, TrendFollow, confidence_of
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import PositionSide

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
Ohlc = tuple[float, float, float, float]
BarsOf = Callable[[Iterable[Ohlc]], list[Bar]]


def run(bars: Sequence[Bar], params: StrategyParams | None = None) -> list[Verdict]:
    strategy = TrendFollow(BTC, params or StrategyParams())
    return [strategy.on_bar(bar) for bar in bars]


def staircase(sign: int, count: int) -> list[Ohlc]:
    """Return a trend in steps: four candles with it, two against it, around 1000."""
    candles: list[Ohlc] = []
    price = 1000.0
    for index in range(count):
        close = price + sign * (1.0 if index % 6 < 4 else -1.2)
        candles.append((price, max(price, close) + 0.25, min(price, close) - 0.25, close))
        price = close
    return candles


def test_it_is_a_strategy() -> None:
    """R20: the class has the shape the brain asks for, which the type checker confirms."""
    strategy: Strategy = TrendFollow(BTC, StrategyParams())

    assert strategy.name == "trend_follow"
    assert strategy.timeframes_ns == (TIMEFRAME_NS,)
    assert strategy.warmup_bars == {TIMEFRAME_NS: 120}


@pytest.mark.parametrize(("sign", "side"), [(1, PositionSide.LONG), (-1, PositionSide.SHORT)])
def test_a_steady_trend_gives_ideas_with_it_and_none_against_it(
    bars_of: BarsOf, sign: int, side: PositionSide
) -> None:
    """R19: a rising staircase gives longs only, a falling one shorts only."""
    ideas = [verdict for verdict in run(bars_of(staircase(sign, 400))) if isinstance(verdict, Idea)]

    assert len(ideas) > 2
    assert {side} == {idea.side for idea in ideas}


def test_an_idea_carries_plan_patterns_features_and_reasons(tape: Sequence[Bar]) -> None:
    """R24: every idea has a stop at its floor or above, a target, patterns, features, reasons."""
    params = StrategyParams()
    checked = 0
    for bar, verdict in zip(tape, run(tape), strict=True):
        if not isinstance(verdict, Idea):
            continue
        checked += 1
        features = dict(verdict.features)
        atr = features["atr_pct"] / 100.0 * bar.close
        floor = params.min_stop_pct / 100.0 * bar.close
        assert max(params.stop_atr_mult * atr, floor) == pytest.approx(verdict.stop_distance)
        assert verdict.target_distance == params.target_r * verdict.stop_distance
        assert params.confidence_min <= verdict.confidence <= 1.0
        assert verdict.expires_after_ns == TIMEFRAME_NS
        assert set(verdict.patterns) <= {"pullback", "breakout"}
        assert verdict.patterns
        assert any("adx" in reason for reason in verdict.reasons)
        assert features["higher_spread_atr"] * verdict.side.sign > 0

    assert checked > 10


def test_the_funnel_adds_up(tape: Sequence[Bar]) -> None:
    """R20: bars = warming + quiet + detected, detected = ideas + filtered, as the verdicts say."""
    strategy = TrendFollow(BTC, StrategyParams())
    verdicts = [strategy.on_bar(bar) for bar in tape]
    funnel = strategy.funnel
    rejected = [verdict for verdict in verdicts if isinstance(verdict, Rejected)]

    assert funnel.bars == len(tape) == funnel.warming + funnel.quiet + funnel.detected
    assert funnel.detected == funnel.ideas + sum(funnel.filtered_by.values())
    assert funnel.ideas == sum(isinstance(verdict, Idea) for verdict in verdicts)
    assert funnel.warming == sum(isinstance(verdict, Warming) for verdict in verdicts) == 119
    assert funnel.quiet == sum(not verdict.detected for verdict in rejected)
    assert sum(funnel.filtered_by.values()) == sum(verdict.detected for verdict in rejected)


def test_every_verdict_without_an_idea_says_why_with_numbers(tape: Sequence[Bar]) -> None:
    """R20: no rejection without reasons; a filtered set-up names what was seen and what failed."""
    for verdict in run(tape[:800]):
        if isinstance(verdict, Warming):
            assert verdict.missing
        if isinstance(verdict, Rejected):
            assert any(sign.isdigit() for sign in verdict.reasons[-1])
            assert len(verdict.reasons) >= (2 if verdict.detected else 1)


def test_warming_counts_down_and_names_the_gaps(tape: Sequence[Bar]) -> None:
    """R15: before the warm-up is over the verdict is Warming, with the count and the names."""
    verdicts = run(tape[:120])

    assert all(isinstance(verdict, Warming) for verdict in verdicts[:119])
    assert isinstance(verdicts[0], Warming)
    assert verdicts[0].missing[0] == "bars: 1 of 120"
    assert "adx" in verdicts[0].missing
    assert isinstance(verdicts[118], Warming)
    assert verdicts[118].missing == ("bars: 119 of 120",)
    assert not isinstance(verdicts[119], Warming)


def test_a_market_that_does_not_move_gives_no_opinion(bars_of: BarsOf) -> None:
    """R15: constant prices raise nothing and give Warming for ever, with the reason."""
    verdicts = run(bars_of([(100.0,) * 4] * 200))

    assert verdicts[-1] == Warming(missing=("movement: the price has not changed",))


def test_a_short_gap_is_bridged_and_a_long_one_warms_up_again(tape: Sequence[Bar]) -> None:
    """R15: numbers from across a long gap are not trusted; two lost bars are bridged."""
    short_gap = run([*tape[:300], *tape[302:310]])
    long_gap = run([*tape[:300], *tape[303:310]])

    assert not isinstance(short_gap[300], Warming)
    restarted = long_gap[300]
    assert isinstance(restarted, Warming)
    assert restarted.missing[0] == "bars: 1 of 120"


def test_ideas_on_one_side_keep_their_distance(tape: Sequence[Bar]) -> None:
    """R20: two ideas on one side are more than the cool-down apart."""
    params = StrategyParams()
    last: dict[PositionSide, int] = {}
    for index, verdict in enumerate(run(tape, params)):
        if isinstance(verdict, Idea):
            gap = index - last.get(verdict.side, -1000)
            assert gap > params.cooldown_bars
            last[verdict.side] = index

    assert set(PositionSide) == set(last)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instrument_id": InstrumentId("ETHUSDT", Venue.BINANCE)}, "bar was of ETHUSDT-PERP"),
        ({"timeframe_ns": 60_000_000_000}, "time frame was 60000000000 ns"),
        ({}, "before the last close"),
    ],
)
def test_a_bar_that_does_not_belong_is_refused(
    tape: Sequence[Bar], change: dict[str, object], said: str
) -> None:
    """R24: another instrument, another time frame, or a bar seen before raises ValueError."""
    strategy = TrendFollow(BTC, StrategyParams())
    strategy.on_bar(tape[0])
    fields = {**attrs.asdict(tape[0], recurse=False), **change}
    fields["close_ns"] = fields["open_ns"] + fields["timeframe_ns"]

    with pytest.raises(ValueError, match=said):
        strategy.on_bar(Bar(**fields))


@pytest.mark.parametrize("name", ["trend", "separation", "momentum", "volatility"])
def test_confidence_rises_with_each_component(name: str) -> None:
    """R16: each component moves confidence up, from the base of 0.35 to 1."""
    none = Components(trend=0.0, separation=0.0, momentum=0.0, volatility=0.0)
    readings = [confidence_of(attrs.evolve(none, **{name: step / 10})) for step in range(11)]
    full = Components(trend=1.0, separation=1.0, momentum=1.0, volatility=1.0)

    assert readings[0] == 0.35
    assert all(low < high for low, high in pairwise(readings))
    assert confidence_of(full) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"close_ns": 5}, "bar ran from"),
        ({"low": float("nan")}, "low was nan"),
        ({"close": -1.0}, "close was -1.0"),
        ({"high": 1.0}, "did not enclose"),
        ({"volume": -1.0}, "volume was -1.0"),
    ],
)
def test_a_bar_that_contradicts_itself_cannot_be_built(
    tape: Sequence[Bar], change: dict[str, object], said: str
) -> None:
    """R15: impossible candles are refused at construction."""
    fields = {**attrs.asdict(tape[0], recurse=False), **change}

    with pytest.raises(ValueError, match=said):
        Bar(**fields)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"confidence": 1.01}, "confidence was 1.01"),
        ({"confidence": float("nan")}, "confidence was nan"),
        ({"stop_distance": 0.0}, "stop_distance was 0.0"),
        ({"target_distance": float("inf")}, "target_distance was inf"),
        ({"expires_after_ns": 0}, "expires_after_ns was 0"),
    ],
)
def test_an_idea_without_a_plan_cannot_be_built(change: dict[str, object], said: str) -> None:
    """R24: an idea needs a confidence within 0..1, distances above 0 and a life."""
    fields: dict[str, object] = {
        "side": PositionSide.LONG,
        "confidence": 0.6,
        "stop_distance": 1.0,
        "target_distance": 2.0,
        "expires_after_ns": 1,
        **change,
    }
    build: Callable[..., Idea] = Idea

    with pytest.raises(ValueError, match=said):
        build(patterns=(), features=(), reasons=(), **fields)
