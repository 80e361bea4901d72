"""
The price between a bar's four numbers: piecewise linear in time, with its mark and crossings.

Pure and random-access; cursors only make sequential asking cheap. Closed candles of coarser
timeframes are made in tape_candles.
"""

from array import array
from bisect import bisect_left, bisect_right

import attrs
import numpy as np

from aegis.twin.tape.candles import (
    CandleColumns,
    PartialCandle,
    aggregate,
    bucket_open,
    closed_between,
)
from aegis.twin.tape.model import CandleTape, FloatColumn, NanosColumn

CLOSE_BEFORE_END_NS = 1_000_000
FOREVER_NS = 2**63 - 1


def bar_path(
    open_: float, high: float, low: float, close: float
) -> tuple[float, float, float, float]:
    """
    Give the bar's path: open, the extreme nearer to the open, the other extreme, close.

    Equally near: low first in a bar that did not fall, high first in one that did.
    """
    up, down = high - open_, open_ - low
    low_first = down < up or (down == up and close >= open_)
    return (open_, low, high, close) if low_first else (open_, high, low, close)


def bar_times(open_ns: int, timeframe_ns: int) -> tuple[int, int, int, int]:
    """Give the times of the four points of `bar_path`; the close comes 1 ms before the end."""
    third = timeframe_ns // 3
    return (
        open_ns,
        open_ns + third,
        open_ns + 2 * third,
        open_ns + timeframe_ns - CLOSE_BEFORE_END_NS,
    )


class Polyline:
    """
    A right-continuous, piecewise linear function of time with a cursor.

    Segment k covers [starts[k], starts[k + 1]) and runs from begins[k] towards ends[k]; a jump is
    an end that differs from the next begin. The last segment is flat and lasts forever; before
    the first the first value holds.
    """

    __slots__ = ("_begin", "_begins", "_ends", "_index", "_slope", "_start", "_starts", "_stop")

    def __init__(self, starts: NanosColumn, begins: FloatColumn, ends: FloatColumn) -> None:
        assert len(starts) == len(begins) == len(ends) > 0
        assert begins[-1] == ends[-1], "the last segment must be flat"
        self._starts = array("q", starts.astype(np.int64).tobytes())
        self._begins = array("d", begins.astype(np.float64).tobytes())
        self._ends = array("d", ends.astype(np.float64).tobytes())
        self._index = 0
        self._load(0)

    def _load(self, index: int) -> None:
        self._index = index
        self._start = self._starts[index]
        self._begin = self._begins[index]
        if index + 1 < len(self._starts):
            self._stop = self._starts[index + 1]
            self._slope = (self._ends[index] - self._begin) / (self._stop - self._start)
        else:
            self._stop = FOREVER_NS
            self._slope = 0.0

    def _seek(self, t_ns: int) -> None:
        following = self._index + 1
        if following < len(self._starts) and self._stop <= t_ns:
            is_last = following + 1 == len(self._starts)
            if is_last or t_ns < self._starts[following + 1]:
                self._load(following)
                return
        self._load(max(0, bisect_right(self._starts, t_ns) - 1))

    def value_at(self, t_ns: int) -> float:
        """Give the value at *t_ns* (UTC ns)."""
        if not self._start <= t_ns < self._stop:
            self._seek(t_ns)
            if t_ns < self._start:
                return self._begin
        return self._begin + (t_ns - self._start) * self._slope

    def next_start_after(self, t_ns: int) -> int | None:
        """Give the next vertex strictly after *t_ns*, or None past the last."""
        if not self._start <= t_ns < self._stop:
            self._seek(t_ns)
            if t_ns < self._start:
                return self._start
        return None if self._stop == FOREVER_NS else self._stop

    def segment(self, t_ns: int) -> tuple[int, float, int, float]:
        """
        Give (start, value there, stop, value just before stop) of the segment that holds *t_ns*.

        Before the first vertex: the first segment. After the last vertex stop is 2**63 - 1.
        """
        if not self._start <= t_ns < self._stop:
            self._seek(t_ns)
        return self._start, self._begin, self._stop, self._ends[self._index]

    def next_crossing(self, t_ns: int, level: float, direction: int, segments: int) -> int | None:
        """
        Give the earliest time after *t_ns* with value >= *level* (+1) or <= *level* (-1).

        Looks at the segment that holds *t_ns* + 1 and the *segments* that follow; None when it is
        not in there. The answer is exact to the nanosecond with respect to `value_at`.
        """
        assert direction in {1, -1}, direction
        self.value_at(t_ns + 1)
        first = self._index
        found: int | None = None
        for index in range(first, min(first + segments + 1, len(self._starts))):
            begin, end = self._begins[index], self._ends[index]
            reach = max(begin, end) if direction > 0 else min(begin, end)
            if (reach - level) * direction >= 0:
                self._load(index)
                found = self._crossing_here(t_ns, level, direction)
                if found is not None:
                    break
        if self._index != first:
            self._load(first)
        return found

    def _crossing_here(self, t_ns: int, level: float, direction: int) -> int | None:
        """Look for the crossing inside the loaded segment."""
        if t_ns + 1 < self._start and self._index == 0:
            # Before the first vertex its value already holds.
            return (
                t_ns + 1
                if (self._begin - level) * direction >= 0
                else self._crossing_here(self._start - 1, level, direction)
            )
        earliest = max(t_ns + 1, self._start)
        if (self._value(earliest) - level) * direction >= 0:
            return earliest
        if self._stop == FOREVER_NS or (self._value(self._stop - 1) - level) * direction < 0:
            return None
        return self._bisect(earliest, self._stop - 1, level, direction)

    def _value(self, t_ns: int) -> float:
        return self._begin + (t_ns - self._start) * self._slope

    def _bisect(self, short_of: int, crossed: int, level: float, direction: int) -> int:
        # Halving, not division: the answer must agree with value_at to the last bit.
        while crossed - short_of > 1:
            middle = (short_of + crossed) // 2
            if (self._value(middle) - level) * direction >= 0:
                crossed = middle
            else:
                short_of = middle
        return crossed


def _price_columns(tape: CandleTape) -> tuple[NanosColumn, FloatColumn, FloatColumn]:
    """Lay out four segments per bar: three legs and the hold after the close."""
    up, down = tape.high - tape.open, tape.open - tape.low
    low_first = (down < up) | ((down == up) & (tape.close >= tape.open))
    second = np.where(low_first, tape.low, tape.high)
    third = np.where(low_first, tape.high, tape.low)
    leg = tape.timeframe_ns // 3
    offsets = np.array([0, leg, 2 * leg, tape.timeframe_ns - CLOSE_BEFORE_END_NS], dtype=np.int64)
    starts = (tape.open_ns[:, None] + offsets[None, :]).ravel()
    begins = np.stack([tape.open, second, third, tape.close], axis=1).ravel()
    ends = np.stack([second, third, tape.close, tape.close], axis=1).ravel()
    return starts, begins, ends


def _mark_columns(
    tape: CandleTape, starts: NanosColumn, begins: FloatColumn, ends: FloatColumn
) -> tuple[NanosColumn, FloatColumn, FloatColumn]:
    """Add the interpolated basis: cut the price's segments at the basis points, then add."""
    assert tape.mark is not None
    points, basis = tape.mark.times_ns, tape.mark.basis
    inside = points[(points > starts[0]) & (points < starts[-1])]
    cuts = np.union1d(starts, inside)
    owner = np.searchsorted(starts, cuts, side="right") - 1
    stops = np.append(starts[1:], starts[-1] + 1)
    slopes = (ends - begins) / (stops - starts)
    cut_begins = begins[owner] + (cuts - starts[owner]) * slopes[owner]
    cut_stops = np.append(cuts[1:], cuts[-1] + 1)
    whole = cut_stops == stops[owner]
    cut_ends = np.where(
        whole, ends[owner], begins[owner] + (cut_stops - starts[owner]) * slopes[owner]
    )
    # Relative times keep float64 exact to the nanosecond over a century's worth of tape.
    base = int(starts[0])
    at = (points - base).astype(np.float64)
    basis_begins = np.interp((cuts - base).astype(np.float64), at, basis)
    basis_ends = np.append(basis_begins[1:], basis_begins[-1])
    return cuts, cut_begins + basis_begins, cut_ends + basis_ends


class PricePath:
    """
    The market of one tape as two functions of time: the price and the mark price.

    A bar runs through its four points, its close being reached 1 ms before the bar's end and held
    until the next bar opens, however far away that is. Not for several threads (cursors).
    """

    __slots__ = (
        "_aggregates",
        "_bucket_heads",
        "_mark",
        "_opens",
        "_price",
        "first_ns",
        "has_own_mark",
        "last_ns",
        "tape",
    )

    def __init__(self, tape: CandleTape) -> None:
        starts, begins, ends = _price_columns(tape)
        self.tape = tape
        self.first_ns = int(starts[0])
        self.last_ns = int(starts[-1])
        self.has_own_mark = tape.mark is not None
        self._opens = array("q", tape.open_ns.astype(np.int64).tobytes())
        self._aggregates: dict[int, CandleColumns] = {}
        self._bucket_heads: dict[int, tuple[int, int, PartialCandle | None]] = {}
        self._price = Polyline(starts, begins, ends)
        self._mark = self._price
        if tape.mark is not None:
            self._mark = Polyline(*_mark_columns(tape, starts, begins, ends))

    def price_at(self, t_ns: int) -> float:
        """Give the price at *t_ns*, quote per base; held before the first and after the last."""
        return self._price.value_at(t_ns)

    def mark_at(self, t_ns: int) -> float:
        """Give the mark price at *t_ns*: the price plus the interpolated basis, if there is one."""
        return self._mark.value_at(t_ns)

    def next_point_after(self, t_ns: int, *, on_mark: bool = False) -> int | None:
        """Give the time of the next vertex strictly after *t_ns*, None when the tape is over."""
        return (self._mark if on_mark else self._price).next_start_after(t_ns)

    def segment(self, t_ns: int, *, on_mark: bool = False) -> tuple[int, float, int, float]:
        """Give (t0, p0, t1, p1): linear on [t0, t1), p1 being the limit at t1 before any jump."""
        return (self._mark if on_mark else self._price).segment(t_ns)

    def next_crossing(
        self, t_ns: int, level: float, direction: int, *, on_mark: bool, segments: int = 1
    ) -> int | None:
        """
        Give the earliest time > *t_ns* with price >= *level* (+1) or <= *level* (-1).

        Looks at the current segment and the *segments* that follow, and no further: None means
        "not up to there". A level already passed is crossed at *t_ns* + 1. A jump at a bar's open
        crosses at that open.
        """
        line = self._mark if on_mark else self._price
        return line.next_crossing(t_ns, level, direction, segments)

    def candles(
        self, timeframe_ns: int, start_ns: int | None, end_ns: int, limit: int
    ) -> CandleColumns:
        """
        Give at most *limit* closed candles that open at or after *start_ns* and end by *end_ns*.

        With a start the first ones from there, without one the newest. Empty for a timeframe
        finer than the tape's.
        """
        if timeframe_ns not in self._aggregates:
            self._aggregates[timeframe_ns] = aggregate(self.tape, timeframe_ns)
        return closed_between(self._aggregates[timeframe_ns], start_ns, end_ns, limit)

    def partial_candle(self, timeframe_ns: int, t_ns: int) -> PartialCandle | None:
        """
        Give the candle of *timeframe_ns* that holds *t_ns*, as it stands at *t_ns* (included).

        The running bar follows the path; its volume grows evenly with time. None for a timeframe
        finer than the tape's, before the tape, and while a gap has given the candle no bar yet.
        """
        base_ns = self.tape.timeframe_ns
        if timeframe_ns < base_ns or timeframe_ns % base_ns != 0:
            return None
        bar = bisect_right(self._opens, t_ns) - 1
        opened_ns = bucket_open(t_ns, timeframe_ns)
        if bar < 0 or self._opens[bar] < opened_ns:
            return None
        done = self._bars_before(timeframe_ns, opened_ns, bar)
        running = self._running_bar(bar, t_ns)
        if done is None:
            return attrs.evolve(running, open_ns=opened_ns)
        return PartialCandle(
            open_ns=opened_ns,
            open=done.open,
            high=max(done.high, running.high),
            low=min(done.low, running.low),
            close=running.close,
            volume=done.volume + running.volume,
        )

    def _bars_before(self, timeframe_ns: int, opened_ns: int, bar: int) -> PartialCandle | None:
        """Add up the bars from *opened_ns* to the one before *bar*; kept until *bar* moves on."""
        kept = self._bucket_heads.get(timeframe_ns)
        if kept is not None and kept[:2] == (opened_ns, bar):
            return kept[2]
        first = bisect_left(self._opens, opened_ns)
        done: PartialCandle | None = None
        if first < bar:
            part = slice(first, bar)
            done = PartialCandle(
                open_ns=opened_ns,
                open=float(self.tape.open[first]),
                high=float(self.tape.high[part].max()),
                low=float(self.tape.low[part].min()),
                close=float(self.tape.close[bar - 1]),
                volume=float(self.tape.volume[part].sum()),
            )
        self._bucket_heads[timeframe_ns] = (opened_ns, bar, done)
        return done

    def _running_bar(self, bar: int, t_ns: int) -> PartialCandle:
        """Follow the path of *bar* up to *t_ns*."""
        tape = self.tape
        opened_ns = self._opens[bar]
        now = self.price_at(t_ns)
        points = bar_path(
            float(tape.open[bar]),
            float(tape.high[bar]),
            float(tape.low[bar]),
            float(tape.close[bar]),
        )
        times = bar_times(opened_ns, tape.timeframe_ns)
        seen = [now, *(p for p, at in zip(points, times, strict=True) if at <= t_ns)]
        share = 1.0 if t_ns >= times[-1] else (t_ns - opened_ns) / tape.timeframe_ns
        return PartialCandle(
            open_ns=opened_ns,
            open=points[0],
            high=max(seen),
            low=min(seen),
            close=now,
            volume=float(tape.volume[bar]) * share,
        )
