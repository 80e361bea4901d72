"""Brain's shell: settings reach the strategy, history never signals, every bar is counted."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.brain.actor import BrainActor, params_of
from aegis.brain.decide import HeldBack, bar_of, held_back, signal_from
from aegis.brain.params import TIMEFRAME_NS, StrategyParams
from aegis.brain.strategy import Bar, Idea
from aegis.brain.trend_follow import TrendFollow
from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock
from aegis.core.errors import ConfigError
from aegis.core.event import HandlerFailed
from aegis.core.ids import IdSource
from aegis.model.account import Capabilities
from aegis.model.events import CandleClosed, SignalRaised, VenueConnected
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.market import Candle
from aegis.settings import AegisConfig

KNOBS = [field.name for field in attrs.fields(StrategyParams)]
SETTINGS = [field.name for field in attrs.fields(AegisConfig)]
# A step that keeps the pairs (fast below slow, low below high) in order; others take + 1.
STEP: dict[str, float] = {
    "spread_min_atr": 0.1,
    "atr_ratio_min": 0.1,
    "confidence_min": 0.1,
    "min_stop_pct": 0.1,
}


def connected(*ids: InstrumentId) -> VenueConnected:
    return VenueConnected(
        ts_event=0,
        ts_recv=0,
        venue=Venue.BINANCE,
        capabilities=Capabilities(
            attached_protection=False,
            position_protection=False,
            close_position_orders=True,
            child_orders_unnamed=False,
        ),
        instruments=tuple(
            Instrument(
                instrument_id=one,
                tick_size=Decimal("0.1"),
                qty_step=Decimal("0.001"),
                qty_min=Decimal("0.001"),
                qty_max=None,
                market_qty_max=None,
                notional_min=None,
                leverage_max=50,
                maint_margin_rate=Decimal("0.004"),
                taker_fee_rate=Decimal("0.0005"),
                maker_fee_rate=Decimal("0.0002"),
                funding_interval_ns=1,
            )
            for one in ids
        ),
    )


def closed(bar: Bar, *, from_history: bool = False) -> CandleClosed:
    candle = Candle(
        instrument_id=bar.instrument_id,
        timeframe_ns=bar.timeframe_ns,
        open_ns=bar.open_ns,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
    )
    return CandleClosed(
        ts_event=bar.close_ns, ts_recv=bar.close_ns, candle=candle, from_history=from_history
    )


@attrs.define
class Stage:
    """A brain on a bus whose clock follows the bars."""

    bus: EventBus
    clock: ManualClock
    brain: BrainActor
    signals: list[SignalRaised]
    failures: list[HandlerFailed]

    def play(self, events: Iterable[CandleClosed], late_ns: int = 0) -> None:
        """Publish each bar *late_ns* after its close, where time has not passed that yet."""
        for event in events:
            ahead_ns = event.candle.close_ns + late_ns - self.clock.now_ns()
            self.clock.advance_ns(max(0, ahead_ns))
            self.bus.publish(event)


def stage_of(*ids: InstrumentId, **settings: Any) -> Stage:
    clock = ManualClock(0)
    bus = EventBus(clock)
    signals: list[SignalRaised] = []
    failures: list[HandlerFailed] = []
    brain = BrainActor(bus, clock, AegisConfig(**settings), IdSource("sig"))
    bus.subscribe(SignalRaised, signals.append)
    bus.subscribe(HandlerFailed, failures.append)
    bus.publish(connected(*ids))
    return Stage(bus, clock, brain, signals, failures)


def ideas_of(tape: Sequence[Bar], params: StrategyParams) -> list[tuple[Bar, Idea]]:
    strategy = TrendFollow(tape[0].instrument_id, params)
    told = [(bar, strategy.on_bar(bar)) for bar in tape]
    return [(bar, verdict) for bar, verdict in told if isinstance(verdict, Idea)]


@pytest.mark.parametrize("name", KNOBS)
def test_every_strategy_setting_reaches_the_strategy(name: str) -> None:
    """R16: changing one setting changes exactly the param of that name."""
    config = AegisConfig()
    changed = getattr(config, name) + type(getattr(config, name))(STEP.get(name, 1))
    params = params_of(attrs.evolve(config, **{name: changed}))

    assert attrs.evolve(params_of(config), **{name: changed}) == params
    assert params != params_of(config)


def test_settings_and_params_have_the_same_knobs_and_defaults() -> None:
    """R16: none of the strategy's settings is a ghost, none of its params is out of reach."""
    first, last = SETTINGS.index("ema_fast_period"), SETTINGS.index("warmup_bars")

    assert set(KNOBS) == set(SETTINGS[first : last + 1])
    assert StrategyParams() == params_of(AegisConfig())


def test_settings_that_do_not_fit_are_told_as_settings() -> None:
    """R83: a warm-up too short for the periods is a problem of the settings."""
    with pytest.raises(ConfigError, match="warmup_bars was 60"):
        params_of(AegisConfig(warmup_bars=60))


def test_live_bars_raise_the_strategys_ideas_as_signals(tape: Sequence[Bar]) -> None:
    """R17, R24: each idea is one signal with id, bar time, price and expiry; the funnel adds up."""
    of = tape[0].instrument_id
    stage = stage_of(of)
    stage.play(closed(bar) for bar in tape)
    ideas = ideas_of(tape, StrategyParams())

    assert len(ideas) > 3
    assert [one.signal for one in stage.signals] == [
        signal_from(idea, bar, signal_id=f"sig-{n:06d}", strategy="trend_follow")
        for n, (bar, idea) in enumerate(ideas, start=1)
    ]
    funnel = stage.brain.funnels()[of]
    assert (len(tape), len(ideas)) == (funnel.strategy.bars, funnel.strategy.ideas)
    assert (len(ideas), 0, 0, 0) == (
        funnel.raised,
        funnel.from_history,
        funnel.late,
        funnel.repeated,
    )


def test_an_idea_keeps_its_numbers_as_a_signal(tape: Sequence[Bar]) -> None:
    """R24: decimals of the floats as printed; void its own time after the close."""
    bar, idea = ideas_of(tape, StrategyParams())[0]
    signal = signal_from(idea, bar, signal_id="sig-1", strategy="s")

    assert (str(signal.reference_px), str(signal.stop_distance)) == (
        repr(bar.close),
        repr(idea.stop_distance),
    )
    assert signal.expires_ns == bar.close_ns + TIMEFRAME_NS
    assert float(signal.target_distance) == idea.target_distance
    assert (idea.side, idea.confidence, idea.features) == (
        signal.side,
        signal.confidence,
        signal.features,
    )


def test_history_warms_up_and_never_signals(tape: Sequence[Bar]) -> None:
    """R24: the same bars from history raise nothing, and are counted as what they were."""
    of = tape[0].instrument_id
    stage = stage_of(of)
    stage.play(closed(bar, from_history=True) for bar in tape[:-500])
    assert [] == stage.signals
    warm = stage.brain.funnels()[of]
    assert warm.from_history == warm.strategy.ideas > 0

    stage.play(closed(bar) for bar in tape[-500:])
    late_ideas = [bar.close_ns for bar, _ in ideas_of(tape, StrategyParams()) if bar in tape[-500:]]
    assert late_ideas == [one.signal.bar_close_ns for one in stage.signals]


def test_a_bar_that_closed_long_ago_raises_nothing(tape: Sequence[Bar]) -> None:
    """R24: up to its own length late a bar may speak, not after."""
    of = tape[0].instrument_id
    stage = stage_of(of)
    stage.play((closed(bar) for bar in tape), late_ns=TIMEFRAME_NS + 1)

    funnel = stage.brain.funnels()[of]
    assert [] == stage.signals
    assert funnel.late == funnel.strategy.ideas > 0
    bar = tape[0]
    limit_ns = bar.close_ns + TIMEFRAME_NS
    assert held_back(bar, from_history=False, now_ns=limit_ns) is None
    assert HeldBack.LATE == held_back(bar, from_history=False, now_ns=limit_ns + 1)


def test_repeated_and_older_bars_never_reach_the_strategy(tape: Sequence[Bar]) -> None:
    """R24: a replayed bar is counted, raises no error and no second signal."""
    of = tape[0].instrument_id
    once, twice = stage_of(of), stage_of(of)
    once.play(closed(bar) for bar in tape)
    for older, bar in itertools.pairwise(tape):
        twice.play([closed(older), closed(bar), closed(older), closed(bar)])

    assert [one.signal for one in once.signals] == [one.signal for one in twice.signals]
    assert [] == twice.failures
    assert twice.brain.funnels()[of].strategy.bars == len(tape)
    assert twice.brain.funnels()[of].repeated == 3 * len(tape) - 4


def test_bars_go_to_their_own_instrument_and_time_frame(tape: Sequence[Bar]) -> None:
    """Other instruments, lengths and strangers do not mix; a reconnect forgets nothing."""
    of, other = tape[0].instrument_id, instrument_id("ETHUSDT", Venue.BINANCE)
    stage = stage_of(of, other)
    stage.play([closed(tape[0])])
    stage.bus.publish(connected(of))
    stage.play([closed(attrs.evolve(tape[0], instrument_id=other)), closed(tape[1])])
    minute = attrs.evolve(
        tape[2], timeframe_ns=TIMEFRAME_NS // 5, close_ns=tape[2].open_ns + TIMEFRAME_NS // 5
    )
    stage.play([closed(minute)])
    stage.play([closed(attrs.evolve(tape[0], instrument_id=instrument_id("X", Venue.BYBIT)))])

    funnels = stage.brain.funnels()
    assert (2, 1) == (funnels[of].strategy.bars, funnels[other].strategy.bars)
    assert stage.brain.unknown_bars == 1
    assert [] == stage.failures


def test_a_bar_no_strategy_can_take_is_a_handler_failure(tape: Sequence[Bar]) -> None:
    """R7: an impossible candle is told by the bus, and the next one is served as usual."""
    stage = stage_of(tape[0].instrument_id)
    event = closed(tape[0])
    broken = attrs.evolve(event, candle=attrs.evolve(event.candle, high=0.0))
    stage.play([broken, closed(tape[1])])

    assert ["ValueError"] == [one.error_type for one in stage.failures]
    assert stage.brain.funnels()[tape[0].instrument_id].strategy.bars == 1


def test_a_candle_becomes_the_same_bar(bars_of: Callable[..., list[Bar]]) -> None:
    """Nothing is lost between the model's candle and the strategy's bar."""
    (bar,) = bars_of([(1.0, 3.0, 0.5, 2.0)])

    assert bar == bar_of(closed(bar).candle)
