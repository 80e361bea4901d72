"""
Brain's shell on the bus: one strategy per instrument, candles in, signals out.

History warms a strategy up and never raises a signal. What each bar came to is counted (R20).
"""

from collections.abc import Mapping

import attrs

from aegis.brain.decide import HeldBack, bar_of, held_back, signal_from
from aegis.brain.params import StrategyParams
from aegis.brain.strategy import Funnel, Idea, Strategy
from aegis.brain.trend_follow import TrendFollow
from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.errors import ConfigError, Problem
from aegis.core.ids import IdSource
from aegis.model.events import CandleClosed, SignalRaised, VenueConnected
from aegis.model.instrument import InstrumentId
from aegis.settings import AegisConfig


def params_of(config: AegisConfig) -> StrategyParams:
    """
    Return the strategy's params as the settings of the same names give them (R16).

    Raises:
        ConfigError: they do not fit together, for example a warm-up too short for the periods.
    """
    values = {field.name: getattr(config, field.name) for field in attrs.fields(StrategyParams)}
    try:
        return StrategyParams(**values)
    except ValueError as error:
        problem = Problem(
            name="warmup_bars" if "warmup_bars" in str(error) else "strategy",
            value=config.warmup_bars if "warmup_bars" in str(error) else "as set",
            allowed=str(error),
            fix="raise warmup_bars or shorten the periods",
        )
        raise ConfigError([problem]) from error


@attrs.frozen(kw_only=True)
class InstrumentFunnel:
    """
    How far bars came on one instrument: strategy.ideas == raised + from_history + late.

    repeated: bars not after the last one, left out before the strategy saw them.
    """

    strategy: Funnel
    raised: int
    from_history: int
    late: int
    repeated: int


@attrs.define(kw_only=True)
class _Seat:
    strategy: Strategy
    last_close_ns: dict[int, int] = attrs.field(factory=dict)
    raised: int = 0
    repeated: int = 0
    held: dict[HeldBack, int] = attrs.field(factory=lambda: dict.fromkeys(HeldBack, 0))


class BrainActor:
    """Feed every instrument's strategy and raise its ideas as signals."""

    def __init__(self, bus: EventBus, clock: Clock, config: AegisConfig, ids: IdSource) -> None:
        """
        Make a brain without instruments: VenueConnected brings them.

        Raises:
            ConfigError: the strategy's settings do not fit together.
        """
        self._bus = bus
        self._clock = clock
        self._params = params_of(config)
        self._ids = ids
        self._seats: dict[InstrumentId, _Seat] = {}
        self.unknown_bars = 0
        """Bars of instruments no venue has announced."""
        bus.subscribe(VenueConnected, self.on_venue_connected)
        bus.subscribe(CandleClosed, self.on_candle_closed)

    def on_venue_connected(self, event: VenueConnected) -> None:
        """Give every new instrument a strategy; one that is known keeps its own."""
        for instrument in event.instruments:
            instrument_id = instrument.instrument_id
            if instrument_id not in self._seats:
                self._seats[instrument_id] = _Seat(
                    strategy=TrendFollow(instrument_id, self._params)
                )

    def on_candle_closed(self, event: CandleClosed) -> None:
        """Let the instrument's strategy look at the bar; raise its idea when it is fresh (R24)."""
        candle = event.candle
        seat = self._seats.get(candle.instrument_id)
        if seat is None:
            self.unknown_bars += 1
            return
        if candle.timeframe_ns not in seat.strategy.timeframes_ns:
            return
        last_close_ns = seat.last_close_ns.get(candle.timeframe_ns)
        if last_close_ns is not None and candle.close_ns <= last_close_ns:
            seat.repeated += 1
            return
        bar = bar_of(candle)
        verdict = seat.strategy.on_bar(bar)
        seat.last_close_ns[candle.timeframe_ns] = candle.close_ns
        if not isinstance(verdict, Idea):
            return
        now_ns = self._clock.now_ns()
        reason = held_back(bar, from_history=event.from_history, now_ns=now_ns)
        if reason is not None:
            seat.held[reason] += 1
            return
        seat.raised += 1
        signal = signal_from(verdict, bar, signal_id=self._ids.next(), strategy=seat.strategy.name)
        self._bus.publish(SignalRaised(ts_event=bar.close_ns, ts_recv=now_ns, signal=signal))

    def funnels(self) -> Mapping[InstrumentId, InstrumentFunnel]:
        """Return the counters of every instrument, in the order they were announced."""
        return {
            instrument_id: InstrumentFunnel(
                strategy=attrs.evolve(
                    seat.strategy.funnel, filtered_by=dict(seat.strategy.funnel.filtered_by)
                ),
                raised=seat.raised,
                from_history=seat.held[HeldBack.FROM_HISTORY],
                late=seat.held[HeldBack.LATE],
                repeated=seat.repeated,
            )
            for instrument_id, seat in self._seats.items()
        }
