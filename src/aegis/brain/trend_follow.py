"""
The default strategy: join a trend when it resumes after a pull-back or breaks out of its channel.

A plain, well-known rule set, kept simple on purpose and not fitted to any data. It exists to drive
the machinery honestly; no profit is claimed for it.

On each closed 5m candle:
1. Detect. *pullback*: within the last bars the price touched the fast mean from the trend's side,
   and now closes beyond both that mean and the extreme of the candle before. *breakout*: the close
   is beyond the Donchian channel of the candles before.
2. Filter: 5m and 15m means aligned, ADX strong enough with its DIs agreeing, RSI within its band,
   volatility near its usual size, stop not too far, no idea on this side just before, confidence.
3. Plan: stop from ATR with a floor in percent of the price, target as a multiple of the stop.

A short is the mirror image of a long: one piece of code reads both sides (R19).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import attrs

from aegis.brain.features import Features, FeatureStream
from aegis.brain.indicators import NOT_READY
from aegis.brain.params import TIMEFRAME_NS, StrategyParams
from aegis.brain.strategy import Bar, Funnel, Idea, Rejected, Verdict, Warming
from aegis.model.instrument import InstrumentId
from aegis.model.order import PositionSide

ADX_FULL_ABOVE_MIN: Final = 25.0
SPREAD_FULL_ABOVE_MIN_ATR: Final = 2.0
CONFIDENCE_BASE: Final = 0.35

Check = tuple[str, bool, str]


@attrs.frozen(kw_only=True)
class SideView:
    """Features as one side sees them: positive is in its favor, whatever the side."""

    side: PositionSide
    spread_atr: float
    higher_spread_atr: float
    adx: float
    di_balance: float
    rsi: float
    dip_atr: float
    close_from_fast_atr: float
    resumption_atr: float
    breakout_atr: float
    atr_ratio: float

    @staticmethod
    def of(features: Features, side: PositionSide) -> SideView:
        """Return *features* read from *side*; RSI, lows and highs are mirrored for a short."""
        is_long = side is PositionSide.LONG
        sign = 1.0 if is_long else -1.0
        return SideView(
            side=side,
            spread_atr=sign * features.ema_spread_atr,
            higher_spread_atr=sign * features.higher_spread_atr,
            adx=features.adx,
            di_balance=sign * features.di_balance,
            rsi=features.rsi if is_long else 100.0 - features.rsi,
            dip_atr=features.low_from_fast_atr if is_long else -features.high_from_fast_atr,
            close_from_fast_atr=sign * features.close_from_fast_atr,
            resumption_atr=features.over_high_atr if is_long else features.under_low_atr,
            breakout_atr=features.over_channel_atr if is_long else features.under_channel_atr,
            atr_ratio=features.atr_ratio,
        )


@attrs.frozen(kw_only=True)
class Components:
    """What confidence is made of, each 0..1, higher is better."""

    trend: float
    separation: float
    momentum: float
    volatility: float


def components_of(view: SideView, params: StrategyParams) -> Components:
    """
    Grade a set-up.

    trend: ADX from its minimum to 25 above. separation: distance of the 5m means from its minimum
    to 2 ATR above. momentum: RSI across its band. volatility: 1 at the usual ATR, 0 at half or
    double of it.
    """
    return Components(
        trend=_ramp(view.adx - params.adx_min, ADX_FULL_ABOVE_MIN),
        separation=_ramp(view.spread_atr - params.spread_min_atr, SPREAD_FULL_ABOVE_MIN_ATR),
        momentum=_ramp(view.rsi - params.rsi_min, params.rsi_max - params.rsi_min),
        volatility=1.0 - _ramp(abs(math.log(view.atr_ratio)), math.log(2.0)),
    )


def confidence_of(components: Components) -> float:
    """
    Return base + (1 - base) * weighted mean, base 0.35: never falls when a component rises.

    Weights: trend 0.35, separation 0.25, momentum 0.2, volatility 0.2.
    """
    mean = (
        0.35 * components.trend
        + 0.25 * components.separation
        + 0.2 * components.momentum
        + 0.2 * components.volatility
    )
    return min(1.0, CONFIDENCE_BASE + (1.0 - CONFIDENCE_BASE) * mean)


def _ramp(value: float, full: float) -> float:
    return min(1.0, max(0.0, value / full))


class TrendFollow:
    """Pull-back and breakout entries along the trend of one instrument, on 5m candles."""

    name = "trend_follow"
    timeframes_ns = (TIMEFRAME_NS,)

    def __init__(self, instrument_id: InstrumentId, params: StrategyParams) -> None:
        self._instrument_id = instrument_id
        self._params = params
        self._stream = FeatureStream(params)
        self._last_close_ns: int | None = None
        self._bars = 0
        self._bars_since_touch: dict[PositionSide, int] = {}
        self._bars_since_idea: dict[PositionSide, int] = {}
        self.funnel = Funnel()

    @property
    def warmup_bars(self) -> Mapping[int, int]:
        """Return the 5m bars needed before the first opinion."""
        return {TIMEFRAME_NS: self._params.warmup_bars}

    def on_bar(self, bar: Bar) -> Verdict:
        """
        Take the next closed 5m bar and answer.

        Raises ValueError on a bar of another instrument or time frame, or one not after the last.
        """
        self._check(bar)
        self._bridge_or_restart(bar)
        self._last_close_ns = bar.close_ns
        self._bars += 1
        self.funnel.bars += 1
        for ages in (self._bars_since_touch, self._bars_since_idea):
            for side in ages:
                ages[side] += 1
        features = self._stream.update(bar)
        atr = self._stream.atr
        missing = self._stream.missing
        if self._bars < self._params.warmup_bars:
            missing = (f"bars: {self._bars} of {self._params.warmup_bars}", *missing)
        if features is NOT_READY or atr is NOT_READY or self._bars < self._params.warmup_bars:
            self.funnel.warming += 1
            return Warming(missing=missing)
        return self._judge(bar, features, atr)

    def _check(self, bar: Bar) -> None:
        if bar.instrument_id != self._instrument_id:
            raise ValueError(f"bar was of {bar.instrument_id}, expected {self._instrument_id}")
        if bar.timeframe_ns != TIMEFRAME_NS:
            raise ValueError(f"time frame was {bar.timeframe_ns} ns, expected {TIMEFRAME_NS}")
        if self._last_close_ns is not None and bar.open_ns < self._last_close_ns:
            raise ValueError(
                f"bar opened at {bar.open_ns} ns, before the last close {self._last_close_ns}"
            )

    def _bridge_or_restart(self, bar: Bar) -> None:
        if self._last_close_ns is None:
            return
        gap_ns = bar.open_ns - self._last_close_ns
        if gap_ns > self._params.gap_bars_max * TIMEFRAME_NS:
            self._stream = FeatureStream(self._params)
            self._bars = 0
            self._bars_since_touch.clear()
            self._bars_since_idea.clear()

    def _judge(self, bar: Bar, features: Features, atr: float) -> Verdict:
        views = tuple(SideView.of(features, side) for side in PositionSide)
        for view in views:
            if view.dip_atr <= 0.0:
                self._bars_since_touch[view.side] = 0
        for view in views:
            patterns = self._patterns(view)
            if patterns:
                return self._filter(bar, features, view, patterns, atr)
        self.funnel.quiet += 1
        quiet = (
            f"no pattern: close {features.close_from_fast_atr:+.2f} atr from the fast mean, "
            f"{-features.over_channel_atr:.2f} atr below the channel's top and "
            f"{-features.under_channel_atr:.2f} atr above its bottom"
        )
        return Rejected(detected=False, reasons=(quiet,))

    def _patterns(self, view: SideView) -> tuple[str, ...]:
        """Name the patterns; beyond the last high and beyond the last low exclude each other."""
        found = []
        touched = self._bars_since_touch.get(view.side)
        if (
            touched is not None
            and touched <= self._params.pullback_bars
            and view.close_from_fast_atr > 0.0
            and view.resumption_atr > 0.0
        ):
            found.append("pullback")
        if view.breakout_atr > 0.0:
            found.append("breakout")
        return tuple(found)

    def _filter(
        self, bar: Bar, features: Features, view: SideView, patterns: tuple[str, ...], atr: float
    ) -> Idea | Rejected:
        self.funnel.detected += 1
        params = self._params
        stop_distance = max(params.stop_atr_mult * atr, params.min_stop_pct / 100.0 * bar.close)
        stop_pct = 100.0 * stop_distance / bar.close
        confidence = confidence_of(components_of(view, params))
        failed = self._failed_filters(view, stop_pct, confidence)
        if failed:
            first = failed[0][0]
            self.funnel.filtered_by[first] = self.funnel.filtered_by.get(first, 0) + 1
            what = f"{view.side.lower()} {'+'.join(patterns)} detected"
            return Rejected(detected=True, reasons=(what, *(reason for _, reason in failed)))
        self.funnel.ideas += 1
        self._bars_since_idea[view.side] = 0
        return Idea(
            side=view.side,
            confidence=confidence,
            stop_distance=stop_distance,
            target_distance=params.target_r * stop_distance,
            patterns=patterns,
            features=features.pairs(),
            reasons=self._idea_reasons(view, patterns, stop_pct),
            expires_after_ns=params.expiry_bars * TIMEFRAME_NS,
        )

    def _failed_filters(
        self, view: SideView, stop_pct: float, confidence: float
    ) -> tuple[tuple[str, str], ...]:
        """Return name and reason of every filter the set-up fails, in the order of the funnel."""
        checks = (*self._trend_checks(view), *self._entry_checks(view, stop_pct, confidence))
        return tuple((name, reason) for name, fails, reason in checks if fails)

    def _trend_checks(self, view: SideView) -> tuple[Check, ...]:
        params, side = self._params, view.side.lower()
        apart_5m, apart_15m = f"{view.spread_atr:+.2f}", f"{view.higher_spread_atr:+.2f}"
        return (
            (
                "trend_5m",
                view.spread_atr < params.spread_min_atr,
                f"5m means {apart_5m} atr apart for a {side}, least {params.spread_min_atr}",
            ),
            (
                "trend_15m",
                view.higher_spread_atr <= 0.0,
                f"15m means {apart_15m} atr apart for a {side}, must be above 0",
            ),
            ("adx", view.adx < params.adx_min, f"adx {view.adx:.1f}, least {params.adx_min}"),
            (
                "di",
                view.di_balance <= 0.0,
                f"di balance {view.di_balance:+.1f} for a {side}, must be above 0",
            ),
        )

    def _entry_checks(
        self, view: SideView, stop_pct: float, confidence: float
    ) -> tuple[Check, ...]:
        params = self._params
        since = self._bars_since_idea.get(view.side)
        rsi_band = f"{params.rsi_min}..{params.rsi_max}"
        atr_band = f"{params.atr_ratio_min}..{params.atr_ratio_max}"
        return (
            (
                "rsi",
                not params.rsi_min <= view.rsi <= params.rsi_max,
                f"rsi {view.rsi:.1f} (mirrored for a short), band {rsi_band}",
            ),
            (
                "volatility",
                not params.atr_ratio_min <= view.atr_ratio <= params.atr_ratio_max,
                f"atr {view.atr_ratio:.2f} times its mean, band {atr_band}",
            ),
            (
                "stop",
                stop_pct > params.max_stop_pct,
                f"stop {stop_pct:.2f} % away, most {params.max_stop_pct}",
            ),
            (
                "cooldown",
                since is not None and since <= params.cooldown_bars,
                f"{since} bars since the last idea, more than {params.cooldown_bars} needed",
            ),
            (
                "confidence",
                confidence < params.confidence_min,
                f"confidence {confidence:.3f}, least {params.confidence_min}",
            ),
        )

    def _idea_reasons(
        self, view: SideView, patterns: tuple[str, ...], stop_pct: float
    ) -> tuple[str, ...]:
        graded = components_of(view, self._params)
        apart = f"5m means {view.spread_atr:.2f} atr and 15m means {view.higher_spread_atr:.2f} atr"
        strength = f"graded trend {graded.trend:.2f}, separation {graded.separation:.2f}"
        calm = f"momentum {graded.momentum:.2f}, volatility {graded.volatility:.2f}"
        return (
            f"{'+'.join(patterns)} along the trend",
            f"{apart} apart in favor of a {view.side.lower()}",
            f"adx {view.adx:.1f}, di balance {view.di_balance:.1f} in favor",
            f"rsi {view.rsi:.1f} (mirrored for a short), atr {view.atr_ratio:.2f} times its mean",
            f"stop {stop_pct:.2f} % away, target {self._params.target_r} times that",
            f"{strength}, {calm}",
        )
