"""
Streaming technical indicators on floats: one small class per indicator, one call per candle.

Every `update` answers a number or `NOT_READY`, never a neutral stand-in (R15). The conventions are
those of TA-Lib: an EMA starts from the mean of its first values, Wilder's averages from a simple
mean, the MACD's fast average starts together with its slow one, deviations are those of the
population. Input that is not finite raises ValueError and leaves the state as it was.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import Final

import attrs


class NotReady(enum.Enum):
    """The type of `NOT_READY`: too few values seen, so there is no number."""

    NOT_READY = "not_ready"


NOT_READY: Final = NotReady.NOT_READY


def _period(name: str, value: int, least: int) -> int:
    if value < least:
        raise ValueError(f"{name} was {value}, least {least}")
    return value


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} was {value}, must be finite")
    return value


def _checked_range(high: float, low: float, close: float) -> None:
    _finite("high", high)
    _finite("low", low)
    _finite("close", close)
    if high < low:
        raise ValueError(f"high was {high}, below low {low}")


def true_range(high: float, low: float, close_before: float) -> float:
    """Return Wilder's true range of a candle, in price units."""
    return max(high - low, abs(high - close_before), abs(low - close_before))


class Sma:
    """Mean of the last `period` values."""

    def __init__(self, period: int) -> None:
        self._window: deque[float] = deque(maxlen=_period("sma period", period, 1))

    def update(self, value: float) -> float | NotReady:
        """Take one value; the first answer comes with value number `period`."""
        self._window.append(_finite("value", value))
        if len(self._window) < (self._window.maxlen or 0):
            return NOT_READY
        return math.fsum(self._window) / len(self._window)


class Ema:
    """Exponential mean with weight 2 / (period + 1), started from the mean of the first values."""

    def __init__(self, period: int) -> None:
        self._period = _period("ema period", period, 1)
        self._weight = 2.0 / (period + 1)
        self._seed_sum = 0.0
        self._count = 0
        self._mean = 0.0

    def update(self, value: float) -> float | NotReady:
        """Take one value; the first answer comes with value number `period`."""
        _finite("value", value)
        if self._count >= self._period:
            self._mean += (value - self._mean) * self._weight
            return self._mean
        self._count += 1
        self._seed_sum += value
        if self._count < self._period:
            return NOT_READY
        self._mean = self._seed_sum / self._period
        return self._mean


class _WilderMean:
    """Wilder's running mean: a simple mean first, then (mean * (period - 1) + value) / period."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._count = 0
        self._mean = 0.0

    def update(self, value: float) -> float | NotReady:
        if self._count >= self._period:
            self._mean = (self._mean * (self._period - 1) + value) / self._period
            return self._mean
        self._count += 1
        self._mean += value
        if self._count < self._period:
            return NOT_READY
        self._mean /= self._period
        return self._mean


class Rsi:
    """
    Wilder's relative strength index of closes, 0..100.

    Without any change in the window there is no ratio; the answer is then 0.0 as in TA-Lib, and
    `is_flat` tells it from an honest 0.0 (only falls). A reader that treats long and short alike
    must look at `is_flat` first.
    """

    def __init__(self, period: int = 14) -> None:
        _period("rsi period", period, 2)
        self._gain = _WilderMean(period)
        self._loss = _WilderMean(period)
        self._close_before: float | None = None
        self.is_flat = False

    def update(self, close: float) -> float | NotReady:
        """Take one close; the first answer comes with close number `period` + 1."""
        _finite("close", close)
        close_before, self._close_before = self._close_before, close
        if close_before is None:
            return NOT_READY
        change = close - close_before
        gain = self._gain.update(max(change, 0.0))
        loss = self._loss.update(max(-change, 0.0))
        if gain is NOT_READY or loss is NOT_READY:
            return NOT_READY
        self.is_flat = gain + loss == 0.0
        return 0.0 if self.is_flat else 100.0 * (gain / (gain + loss))


class Atr:
    """Wilder's average true range, in price units."""

    def __init__(self, period: int = 14) -> None:
        self._mean = _WilderMean(_period("atr period", period, 1))
        self._close_before: float | None = None

    def update(self, high: float, low: float, close: float) -> float | NotReady:
        """Take one candle; the first answer comes with candle number `period` + 1."""
        _checked_range(high, low, close)
        close_before, self._close_before = self._close_before, close
        if close_before is None:
            return NOT_READY
        return self._mean.update(true_range(high, low, close_before))


@attrs.frozen(kw_only=True)
class Directional:
    """Wilder's directional movement, each 0..100; `adx` needs twice the candles of the two DIs."""

    plus_di: float
    minus_di: float
    adx: float | NotReady


class Adx:
    """
    Wilder's ADX with +DI and -DI.

    With no range at all +DI and -DI are 0.0 (nothing moved) and a candle without directional
    movement leaves the ADX where it was, as in TA-Lib.
    """

    def __init__(self, period: int = 14) -> None:
        self._period = _period("adx period", period, 2)
        self._before: tuple[float, float, float] | None = None
        self._moves = 0
        self._plus_sum = 0.0
        self._minus_sum = 0.0
        self._range_sum = 0.0
        self._dx_sum = 0.0
        self._adx = 0.0

    def update(self, high: float, low: float, close: float) -> Directional | NotReady:
        """Take one candle; the DIs come with candle `period` + 1, the ADX with 2 * `period`."""
        _checked_range(high, low, close)
        before, self._before = self._before, (high, low, close)
        if before is None:
            return NOT_READY
        high_before, low_before, close_before = before
        self._moves += 1
        if self._moves >= self._period:
            self._plus_sum -= self._plus_sum / self._period
            self._minus_sum -= self._minus_sum / self._period
            self._range_sum -= self._range_sum / self._period
        up, down = high - high_before, low_before - low
        if down > 0 and down > up:
            self._minus_sum += down
        elif up > 0 and up > down:
            self._plus_sum += up
        self._range_sum += true_range(high, low, close_before)
        if self._moves < self._period:
            return NOT_READY
        return self._directional()

    def _directional(self) -> Directional:
        plus_di = minus_di = 0.0
        if self._range_sum > 0.0:
            plus_di = 100.0 * (self._plus_sum / self._range_sum)
            minus_di = 100.0 * (self._minus_sum / self._range_sum)
        total = plus_di + minus_di
        dx = None if total == 0.0 else 100.0 * (abs(minus_di - plus_di) / total)
        adx: float | NotReady = NOT_READY
        if self._moves < 2 * self._period:
            self._dx_sum += 0.0 if dx is None else dx
            if self._moves == 2 * self._period - 1:
                self._adx = self._dx_sum / self._period
                adx = self._adx
        else:
            if dx is not None:
                self._adx = (self._adx * (self._period - 1) + dx) / self._period
            adx = self._adx
        return Directional(plus_di=plus_di, minus_di=minus_di, adx=adx)


class StdDev:
    """
    Population standard deviation of the last `period` values.

    Two passes over the window: running sums of squares lose their digits on calm, high prices.
    """

    def __init__(self, period: int) -> None:
        self._window: deque[float] = deque(maxlen=_period("stddev period", period, 2))

    def update(self, value: float) -> float | NotReady:
        """Take one value; the first answer comes with value number `period`."""
        self._window.append(_finite("value", value))
        count = len(self._window)
        if count < (self._window.maxlen or 0):
            return NOT_READY
        mean = math.fsum(self._window) / count
        return math.sqrt(math.fsum((seen - mean) ** 2 for seen in self._window) / count)


@attrs.frozen(kw_only=True)
class Bands:
    """Bollinger bands in price units; `deviation` is one standard deviation."""

    upper: float
    middle: float
    lower: float
    deviation: float


class Bollinger:
    """Bollinger bands: mean of `period` closes, plus and minus `width` standard deviations."""

    def __init__(self, period: int = 20, width: float = 2.0) -> None:
        if not (math.isfinite(width) and width > 0):
            raise ValueError(f"bollinger width was {width}, must be above 0")
        self._mean = Sma(period)
        self._deviation = StdDev(period)
        self._width = width

    def update(self, close: float) -> Bands | NotReady:
        """Take one close; the first answer comes with close number `period`."""
        middle = self._mean.update(close)
        deviation = self._deviation.update(close)
        if middle is NOT_READY or deviation is NOT_READY:
            return NOT_READY
        reach = self._width * deviation
        return Bands(upper=middle + reach, middle=middle, lower=middle - reach, deviation=deviation)


@attrs.frozen(kw_only=True)
class MacdLines:
    """The MACD line, its signal line and their difference, in price units."""

    macd: float
    signal: float
    histogram: float


class Macd:
    """
    Moving average convergence divergence.

    The fast mean is seeded from the last `fast` of the first `slow` closes, so that both means
    start on the same candle; all three lines appear together.
    """

    def __init__(self, fast: int = 12, slow: int = 26, signal: int = 9) -> None:
        if fast >= slow:
            raise ValueError(f"macd fast period was {fast}, must be below slow {slow}")
        self._skip = slow - fast
        self._fast = Ema(fast)
        self._slow = Ema(slow)
        self._signal = Ema(signal)

    def update(self, close: float) -> MacdLines | NotReady:
        """Take one close; the first answer comes with close number `slow` + `signal` - 1."""
        slow = self._slow.update(close)
        if self._skip > 0:
            self._skip -= 1
            return NOT_READY
        fast = self._fast.update(close)
        if slow is NOT_READY or fast is NOT_READY:
            return NOT_READY
        signal = self._signal.update(fast - slow)
        if signal is NOT_READY:
            return NOT_READY
        macd = fast - slow
        return MacdLines(macd=macd, signal=signal, histogram=macd - signal)


class Roc:
    """Rate of change over `period` values, in percent."""

    def __init__(self, period: int = 10) -> None:
        self._window: deque[float] = deque(maxlen=_period("roc period", period, 1) + 1)

    def update(self, value: float) -> float | NotReady:
        """Take one value above 0; the first answer comes with value number `period` + 1."""
        if _finite("value", value) <= 0:
            raise ValueError(f"value was {value}, must be above 0")
        self._window.append(value)
        if len(self._window) < (self._window.maxlen or 0):
            return NOT_READY
        return (value / self._window[0] - 1.0) * 100.0


@attrs.frozen(kw_only=True)
class Channel:
    """Highest high and lowest low, in price units."""

    upper: float
    lower: float


class Donchian:
    """Donchian channel of the last `period` candles, the one just taken included."""

    def __init__(self, period: int = 20) -> None:
        self._highs: deque[float] = deque(maxlen=_period("donchian period", period, 1))
        self._lows: deque[float] = deque(maxlen=period)

    def update(self, high: float, low: float) -> Channel | NotReady:
        """Take one candle; the first answer comes with candle number `period`."""
        _checked_range(high, low, low)
        self._highs.append(high)
        self._lows.append(low)
        if len(self._highs) < (self._highs.maxlen or 0):
            return NOT_READY
        return Channel(upper=max(self._highs), lower=min(self._lows))
