"""The knobs of the default strategy, each with its unit and range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import attrs

TIMEFRAME_NS: Final = 300_000_000_000
HIGHER_TIMEFRAME_BARS: Final = 3
ATR_MEAN_PERIOD: Final = 48
BOLLINGER_PERIOD: Final = 20
MACD_PERIODS: Final = (12, 26, 9)
ROC_PERIOD: Final = 10

_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _bars(least: int) -> _Validator:
    def check(_owner: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{attribute.name} was {value} bars, least {least}")

    return check


def _within(least: float, most: float) -> _Validator:
    def check(_owner: object, attribute: attrs.Attribute[Any], value: float) -> None:
        if not (math.isfinite(value) and least <= value <= most):
            raise ValueError(f"{attribute.name} was {value}, must be within {least}..{most}")

    return check


@attrs.frozen(kw_only=True)
class StrategyParams:
    """
    Settings of `TrendFollow`. Bars are 5m candles unless said otherwise; ranges are inclusive.

    Indicators (bars, from 2):
        ema_fast_period, ema_slow_period: means of 5m closes; fast below slow.
        higher_ema_fast_period, higher_ema_slow_period: the same on 15m closes, in 15m candles.
        rsi_period, atr_period, adx_period: Wilder's periods.
        channel_period: candles whose highest high or lowest low a breakout must close beyond.

    Set-up and filters:
        pullback_bars: bars (from 1) a touch of the fast mean stays good for a resumption.
        spread_min_atr: least distance of the 5m means in the trend's direction, in ATR, 0..10.
        adx_min: least ADX, 0..100.
        rsi_min, rsi_max: band of the RSI for a long, 0..100; a short reads 100 - RSI.
        atr_ratio_min, atr_ratio_max: band of the ATR over its own mean of 48 bars, 0.01..100.
        confidence_min: least confidence of an idea, 0..1.
        cooldown_bars: bars (from 0) after an idea before another on the same side.

    Plan:
        stop_atr_mult: stop distance in ATR, 0.1..20.
        min_stop_pct: floor of the stop distance in percent of the close, 0.05..20. The default
            keeps taker fees of 0.1 % for both ways at a quarter of the risk or less.
        max_stop_pct: a set-up whose stop would be farther, in percent, is refused, 0.05..50.
        target_r: target distance in stop distances, 0.1..20.
        expiry_bars: bars (from 1) after its close that an idea stays good.

    Feed:
        gap_bars_max: missing bars (from 0) bridged in place; a longer gap starts the warm-up again.
        warmup_bars: bars before the first opinion, from `required_bars`; the surplus lets the
            seeds of the recursive means fade, so that a restart comes close to a long run.
    """

    ema_fast_period: int = attrs.field(default=21, validator=_bars(2))
    ema_slow_period: int = attrs.field(default=50, validator=_bars(2))
    higher_ema_fast_period: int = attrs.field(default=9, validator=_bars(2))
    higher_ema_slow_period: int = attrs.field(default=26, validator=_bars(2))
    rsi_period: int = attrs.field(default=14, validator=_bars(2))
    atr_period: int = attrs.field(default=14, validator=_bars(2))
    adx_period: int = attrs.field(default=14, validator=_bars(2))
    channel_period: int = attrs.field(default=20, validator=_bars(2))
    pullback_bars: int = attrs.field(default=6, validator=_bars(1))
    spread_min_atr: float = attrs.field(default=0.25, validator=_within(0.0, 10.0))
    adx_min: float = attrs.field(default=25.0, validator=_within(0.0, 100.0))
    rsi_min: float = attrs.field(default=50.0, validator=_within(0.0, 100.0))
    rsi_max: float = attrs.field(default=75.0, validator=_within(0.0, 100.0))
    atr_ratio_min: float = attrs.field(default=0.5, validator=_within(0.01, 100.0))
    atr_ratio_max: float = attrs.field(default=2.5, validator=_within(0.01, 100.0))
    confidence_min: float = attrs.field(default=0.5, validator=_within(0.0, 1.0))
    cooldown_bars: int = attrs.field(default=24, validator=_bars(0))
    stop_atr_mult: float = attrs.field(default=2.5, validator=_within(0.1, 20.0))
    min_stop_pct: float = attrs.field(default=0.4, validator=_within(0.05, 20.0))
    max_stop_pct: float = attrs.field(default=3.0, validator=_within(0.05, 50.0))
    target_r: float = attrs.field(default=1.8, validator=_within(0.1, 20.0))
    expiry_bars: int = attrs.field(default=1, validator=_bars(1))
    gap_bars_max: int = attrs.field(default=2, validator=_bars(0))
    warmup_bars: int = attrs.field(default=120, validator=_bars(1))

    def __attrs_post_init__(self) -> None:
        for low, high in (
            ("ema_fast_period", "ema_slow_period"),
            ("higher_ema_fast_period", "higher_ema_slow_period"),
            ("rsi_min", "rsi_max"),
            ("atr_ratio_min", "atr_ratio_max"),
            ("min_stop_pct", "max_stop_pct"),
        ):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(
                    f"{low} was {getattr(self, low)}, must be below {high} {getattr(self, high)}"
                )
        if self.warmup_bars < self.required_bars:
            raise ValueError(
                f"warmup_bars was {self.warmup_bars}, least {self.required_bars} for these periods"
            )

    @property
    def required_bars(self) -> int:
        """Return the bars after which every indicator has a number, whatever the 15m phase."""
        _, macd_slow, macd_signal = MACD_PERIODS
        return max(
            self.ema_slow_period,
            (self.higher_ema_slow_period + 1) * HIGHER_TIMEFRAME_BARS - 1,
            self.rsi_period + 1,
            self.atr_period + ATR_MEAN_PERIOD,
            2 * self.adx_period,
            self.channel_period + 1,
            BOLLINGER_PERIOD,
            macd_slow + macd_signal - 1,
            ROC_PERIOD + 1,
        )
