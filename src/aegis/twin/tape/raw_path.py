"""
The price of a recorded raw feed: the mid of the best quote, as the engine's `MarketPath`.

A quote holds until the next one, so the path is a staircase; nothing is interpolated. Best bid and
ask, with their quantities, are those recorded; the levels behind them are synthetic.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import attrs
import numpy as np

from aegis.twin.tape.candles import CandleColumns, PartialCandle, bucket_open, closed_between
from aegis.twin.tape.model import SECOND_NS, FloatColumn, NanosColumn
from aegis.twin.tape.path import Polyline
from aegis.twin.tape.synthetic_book import BookShape, Level

WAKE_NS = SECOND_NS // 4
TAIL_NS = 5 * SECOND_NS
"""The last price is held for so long, in which what is still under way arrives."""


@attrs.frozen(kw_only=True, eq=False)
class QuoteColumns:
    """
    Best quotes in order of receipt, at least one.

    *times_ns*: UTC, never falling; prices quote per base, quantities base units.
    """

    times_ns: NanosColumn
    bid: FloatColumn
    bid_qty: FloatColumn
    ask: FloatColumn
    ask_qty: FloatColumn


class RecordedQuotes:
    """The best quote at any time; before the first the first one. Not for several threads."""

    __slots__ = ("_index", "_quotes", "_times")

    def __init__(self, columns: QuoteColumns) -> None:
        assert len(columns.times_ns) > 0
        self._times = array("q", columns.times_ns.astype(np.int64).tobytes())
        self._quotes = list(
            zip(
                columns.bid.tolist(),
                columns.bid_qty.tolist(),
                columns.ask.tolist(),
                columns.ask_qty.tolist(),
                strict=True,
            )
        )
        self._index = 0

    def at(self, t_ns: int) -> tuple[float, float, float, float]:
        """Give (bid, bid quantity, ask, ask quantity); of several at one time the last."""
        times, index = self._times, self._index
        if not times[index] <= t_ns or (index + 1 < len(times) and times[index + 1] <= t_ns):
            self._index = index = max(0, bisect_right(times, t_ns) - 1)
        return self._quotes[index]


@attrs.frozen(kw_only=True)
class RecordedBook(BookShape):
    """A book whose best levels are the recorded ones; the given mid is not looked at."""

    quotes: RecordedQuotes = attrs.field(eq=False, repr=False)

    def _best_ticks(self, name: int, t_ns: int, mid: float) -> tuple[int, int]:
        del name, mid
        bid, _, ask, _ = self.quotes.at(t_ns)
        bid_ticks = max(1, round(bid / self.tick_size))
        return bid_ticks, max(bid_ticks + 1, round(ask / self.tick_size))

    def _side(self, name: int, t_ns: int, best_ticks: int, step: int) -> tuple[Level, ...]:
        _, bid_qty, _, ask_qty = self.quotes.at(t_ns)
        best = Level(self._price(best_ticks), bid_qty if step < 0 else ask_qty)
        if self.levels == 1:
            return (best,)
        return (best, *BookShape._side(self, name, t_ns, best_ticks, step)[1:])


class Volumes:
    """Traded base units over time."""

    __slots__ = ("_times", "_totals")

    def __init__(self, trades: Iterable[tuple[int, float]]) -> None:
        """Take (UTC ns, never falling; base units) of every trade."""
        self._times = array("q")
        self._totals = [0.0]
        for at_ns, qty in trades:
            self._times.append(at_ns)
            self._totals.append(self._totals[-1] + qty)

    def between(self, from_ns: int, to_ns: int) -> float:
        """Give what traded from *from_ns* to *to_ns*, exclusive."""
        times, totals = self._times, self._totals
        return totals[bisect_left(times, to_ns)] - totals[bisect_left(times, from_ns)]


@attrs.define
class _Running:
    """A bar as far as it was followed: up to vertex *stop*, exclusive."""

    open_ns: int
    stop: int
    open: float
    high: float
    low: float


class RawFeedPath:
    """
    Mid price and mark (which is the mid) of one recorded feed.

    From the first message to the last, *span_ns*. Vertices wherever the mid changes and every
    `WAKE_NS`, so that marks and bars are told in quiet times too; the last one `TAIL_NS` after
    everything. Candles of any length, volume from the trades.
    """

    def __init__(self, quotes: QuoteColumns, span_ns: tuple[int, int], volumes: Volumes) -> None:
        mids = (quotes.bid + quotes.ask) / 2
        times = np.unique(quotes.times_ns)
        # Of several quotes at one time the last; before the first quote its price.
        lasts = mids[np.searchsorted(quotes.times_ns, times, side="right") - 1]
        changed = times[np.append(True, lasts[1:] != lasts[:-1])]
        first_ns, self._ended_ns = span_ns
        starts = np.union1d(np.arange(first_ns, self._ended_ns + 1, WAKE_NS), changed)
        at = np.searchsorted(quotes.times_ns, starts, side="right") - 1
        prices = mids[np.maximum(at, 0)]
        starts = np.append(starts, self._ended_ns + TAIL_NS)
        prices = np.append(prices, prices[-1])
        self.first_ns = int(starts[0])
        self.last_ns = int(starts[-1])
        self.has_own_mark = False
        self._starts, self._prices = starts, prices
        self._times = array("q", starts.astype(np.int64).tobytes())
        self._values: list[float] = prices.tolist()
        self._volumes = volumes
        self._line = Polyline(starts, prices, prices)
        self._closed: dict[int, CandleColumns] = {}
        self._running: dict[int, _Running] = {}

    def price_at(self, t_ns: int) -> float:
        """Give the mid at *t_ns*; held before the first quote and after the last."""
        return self._line.value_at(t_ns)

    def mark_at(self, t_ns: int) -> float:
        """Give the mark price, which is the mid."""
        return self._line.value_at(t_ns)

    def next_point_after(self, t_ns: int, *, on_mark: bool = False) -> int | None:  # noqa: ARG002 - mark = price
        """Give the next vertex strictly after *t_ns*, None when the recording is over."""
        return self._line.next_start_after(t_ns)

    def segment(self, t_ns: int, *, on_mark: bool = False) -> tuple[int, float, int, float]:  # noqa: ARG002 - mark = price
        """Give (t0, p0, t1, p1) with p0 == p1."""
        return self._line.segment(t_ns)

    def next_crossing(
        self,
        t_ns: int,
        level: float,
        direction: int,
        *,
        on_mark: bool,  # noqa: ARG002 - mark = price
        segments: int = 1,
    ) -> int | None:
        """Give the earliest time > *t_ns* at or beyond *level*; see `PricePath.next_crossing`."""
        return self._line.next_crossing(t_ns, level, direction, segments)

    def candles(
        self, timeframe_ns: int, start_ns: int | None, end_ns: int, limit: int
    ) -> CandleColumns:
        """Give closed candles that lie inside the recording whole; see `PricePath.candles`."""
        if timeframe_ns not in self._closed:
            self._closed[timeframe_ns] = self._all_candles(timeframe_ns)
        return closed_between(self._closed[timeframe_ns], start_ns, end_ns, limit)

    def _all_candles(self, timeframe_ns: int) -> CandleColumns:
        first = bucket_open(self.first_ns - 1, timeframe_ns) + timeframe_ns
        opens = np.arange(first, self._ended_ns - timeframe_ns + 1, timeframe_ns, dtype=np.int64)
        rows = []
        for open_ns in opens.tolist():
            begin = bisect_right(self._times, open_ns) - 1
            stop = bisect_left(self._times, open_ns + timeframe_ns)
            prices = self._prices[begin:stop]
            volume = self._volumes.between(open_ns, open_ns + timeframe_ns)
            rows.append((prices[0], prices.max(), prices.min(), prices[-1], volume))
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 5)
        return CandleColumns(
            timeframe_ns=timeframe_ns,
            open_ns=opens,
            open=table[:, 0],
            high=table[:, 1],
            low=table[:, 2],
            close=table[:, 3],
            volume=table[:, 4],
        )

    def partial_candle(self, timeframe_ns: int, t_ns: int) -> PartialCandle | None:
        """
        Give the candle of *timeframe_ns* that holds *t_ns*, as it stands at *t_ns* (included).

        None before the recording. The first one may begin in the middle of its time.
        """
        if t_ns < self.first_ns:
            return None
        opened_ns = bucket_open(t_ns, timeframe_ns)
        stop = bisect_right(self._times, t_ns)
        bar = self._running.get(timeframe_ns)
        if bar is None or bar.open_ns != opened_ns or bar.stop > stop:
            begin = max(0, bisect_right(self._times, opened_ns) - 1)
            open_ = self._values[begin]
            bar = _Running(opened_ns, begin, open_, open_, open_)
            self._running[timeframe_ns] = bar
        if bar.stop < stop:
            news = self._values[bar.stop : stop]
            bar.high, bar.low = max(bar.high, *news), min(bar.low, *news)
            bar.stop = stop
        return PartialCandle(
            open_ns=opened_ns,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=self._values[stop - 1],
            volume=self._volumes.between(opened_ns, t_ns + 1),
        )
