"""
From candles to the numbers a decision reads: the only place where features are computed.

Live trading and any training or backtest must both go through `FeatureStream`, so that they cannot
differ (R18); `features_digest` is the golden hash that proves it. Distances are in ATR, which makes
instruments comparable and leaves long and short mirror images of each other.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

import attrs

from aegis.brain.indicators import (
    NOT_READY,
    Adx,
    Atr,
    Bollinger,
    Channel,
    Donchian,
    Ema,
    Macd,
    NotReady,
    Roc,
    Rsi,
    Sma,
)
from aegis.brain.params import (
    ATR_MEAN_PERIOD,
    BOLLINGER_PERIOD,
    HIGHER_TIMEFRAME_BARS,
    MACD_PERIODS,
    ROC_PERIOD,
    StrategyParams,
)
from aegis.brain.strategy import Bar, Pairs


@attrs.frozen(kw_only=True)
class Features:
    """
    The features of one 5m candle, all finite. `_atr` means a distance in units of the ATR.

    `ema_spread_atr`, `higher_spread_atr`: fast less slow mean on 5m and on the last whole 15m
    candle. `adx`, `rsi` 0..100; `di_balance` is +DI less -DI. `low_`, `high_` and
    `close_from_fast_atr` are measured from the fast 5m mean, `bollinger_atr` from the mean of 20.
    `over_high_atr`, `under_low_atr`: how far the close is above the high or below the low of the
    candle before; `over_channel_atr`, `under_channel_atr`: the same against the Donchian channel
    of the candles before. `atr_ratio` is the ATR over its own mean, `atr_pct` and `roc_pct` are
    percent.
    """

    ema_spread_atr: float
    higher_spread_atr: float
    adx: float
    di_balance: float
    rsi: float
    low_from_fast_atr: float
    high_from_fast_atr: float
    close_from_fast_atr: float
    over_high_atr: float
    under_low_atr: float
    over_channel_atr: float
    under_channel_atr: float
    bollinger_atr: float
    macd_histogram_atr: float
    atr_ratio: float
    atr_pct: float
    roc_pct: float

    def pairs(self) -> Pairs:
        """Return name and value of every feature, in the order of the fields."""
        return tuple((name, getattr(self, name)) for name in FEATURE_NAMES)


FEATURE_NAMES: tuple[str, ...] = tuple(field.name for field in attrs.fields(Features))


def features_digest(rows: Iterable[Features]) -> str:
    """Return the SHA-256, as hex, of the names and the exact bits of every value in *rows*."""
    digest = hashlib.sha256(",".join(FEATURE_NAMES).encode())
    for row in rows:
        digest.update(struct.pack(f"<{len(FEATURE_NAMES)}d", *(value for _, value in row.pairs())))
    return digest.hexdigest()


@attrs.frozen(kw_only=True)
class _Readings:
    """What the indicators say on one bar, in price units unless named otherwise."""

    fast: float
    spread: float
    higher_spread: float
    rsi: float
    atr: float
    atr_mean: float
    adx: float
    di_balance: float
    channel: Channel
    middle: float
    macd_histogram: float
    roc_pct: float

    def features(self, bar: Bar, bar_before: Bar) -> Features:
        atr = self.atr
        return Features(
            ema_spread_atr=self.spread / atr,
            higher_spread_atr=self.higher_spread / atr,
            adx=self.adx,
            di_balance=self.di_balance,
            rsi=self.rsi,
            low_from_fast_atr=(bar.low - self.fast) / atr,
            high_from_fast_atr=(bar.high - self.fast) / atr,
            close_from_fast_atr=(bar.close - self.fast) / atr,
            over_high_atr=(bar.close - bar_before.high) / atr,
            under_low_atr=(bar_before.low - bar.close) / atr,
            over_channel_atr=(bar.close - self.channel.upper) / atr,
            under_channel_atr=(self.channel.lower - bar.close) / atr,
            bollinger_atr=(bar.close - self.middle) / atr,
            macd_histogram_atr=self.macd_histogram / atr,
            atr_ratio=atr / self.atr_mean,
            atr_pct=100.0 * atr / bar.close,
            roc_pct=self.roc_pct,
        )


class HigherTrend:
    """Two means of 15m closes, made from 5m bars; a 15m candle with a missing bar is left out."""

    def __init__(self, fast_period: int, slow_period: int) -> None:
        self._fast = Ema(fast_period)
        self._slow = Ema(slow_period)
        self._parts = 0
        self._next_open_ns = 0
        self.spread: float | NotReady = NOT_READY

    def update(self, bar: Bar) -> None:
        """Take the next 5m bar; `spread` (fast less slow, price units) moves at 15m closes only."""
        if bar.open_ns % (HIGHER_TIMEFRAME_BARS * bar.timeframe_ns) == 0:
            self._parts = 1
        elif self._parts > 0 and bar.open_ns == self._next_open_ns:
            self._parts += 1
        else:
            self._parts = 0
        self._next_open_ns = bar.close_ns
        if self._parts < HIGHER_TIMEFRAME_BARS:
            return
        self._parts = 0
        fast, slow = self._fast.update(bar.close), self._slow.update(bar.close)
        if fast is not NOT_READY and slow is not NOT_READY:
            self.spread = fast - slow


class FeatureStream:
    """
    The features of a run of 5m bars, one bar at a time.

    `missing` names what had no number on the last bar. A market that does not move has no ATR to
    measure in and no RSI ratio, hence no features: that too is NOT_READY, not zeros (R15).
    """

    def __init__(self, params: StrategyParams) -> None:
        self._fast = Ema(params.ema_fast_period)
        self._slow = Ema(params.ema_slow_period)
        self._higher = HigherTrend(params.higher_ema_fast_period, params.higher_ema_slow_period)
        self._rsi = Rsi(params.rsi_period)
        self._atr = Atr(params.atr_period)
        self._atr_mean = Sma(ATR_MEAN_PERIOD)
        self._adx = Adx(params.adx_period)
        self._donchian = Donchian(params.channel_period)
        self._bollinger = Bollinger(BOLLINGER_PERIOD)
        self._macd = Macd(*MACD_PERIODS)
        self._roc = Roc(ROC_PERIOD)
        self._channel_before: Channel | NotReady = NOT_READY
        self._bar_before: Bar | None = None
        self.missing: tuple[str, ...] = ("first bar",)
        self.atr: float | NotReady = NOT_READY

    def update(self, bar: Bar) -> Features | NotReady:
        """Take the next bar and return its features, or NOT_READY with the gaps in `missing`."""
        bar_before, self._bar_before = self._bar_before, bar
        readings = self._read(bar)
        if bar_before is None or readings is NOT_READY:
            return NOT_READY
        return readings.features(bar, bar_before)

    def _read(self, bar: Bar) -> _Readings | NotReady:
        channel = self._channel_before
        self._channel_before = self._donchian.update(bar.high, bar.low)
        fast, slow = self._fast.update(bar.close), self._slow.update(bar.close)
        self._higher.update(bar)
        higher = self._higher.spread
        rsi = self._rsi.update(bar.close)
        atr = self.atr = self._atr.update(bar.high, bar.low, bar.close)
        atr_mean = NOT_READY if atr is NOT_READY else self._atr_mean.update(atr)
        moves = self._adx.update(bar.high, bar.low, bar.close)
        adx = NOT_READY if moves is NOT_READY else moves.adx
        bands = self._bollinger.update(bar.close)
        macd = self._macd.update(bar.close)
        roc = self._roc.update(bar.close)
        self.missing = _named_gaps(
            ("5m fast mean", fast), ("5m slow mean", slow), ("15m means", higher), ("rsi", rsi),
            ("atr", atr), ("atr mean", atr_mean), ("adx", adx), ("channel", channel),
            ("bollinger mean", bands), ("macd", macd), ("roc", roc),
        )  # fmt: skip
        if (
            fast is NOT_READY
            or slow is NOT_READY
            or higher is NOT_READY
            or rsi is NOT_READY
            or atr is NOT_READY
            or atr_mean is NOT_READY
            or moves is NOT_READY
            or adx is NOT_READY
            or channel is NOT_READY
            or bands is NOT_READY
            or macd is NOT_READY
            or roc is NOT_READY
        ):
            return NOT_READY
        if atr == 0.0 or self._rsi.is_flat:
            self.missing = ("movement: the price has not changed",)
            return NOT_READY
        return _Readings(
            fast=fast,
            spread=fast - slow,
            higher_spread=higher,
            rsi=rsi,
            atr=atr,
            atr_mean=atr_mean,
            adx=adx,
            di_balance=moves.plus_di - moves.minus_di,
            channel=channel,
            middle=bands.middle,
            macd_histogram=macd.histogram,
            roc_pct=roc,
        )


def _named_gaps(*readings: tuple[str, object]) -> tuple[str, ...]:
    return tuple(name for name, reading in readings if reading is NOT_READY)
