"""
Candles of any coarser timeframe out of a tape's bars: closed ones, and the base bars of one bucket.

Pure. The open candle's running values need the path and are made in tape_path.
"""

import attrs
import numpy as np

from aegis.twin.tape.model import DAY_NS, CandleTape, FloatColumn, NanosColumn

WEEK_NS = 7 * DAY_NS
# 1970-01-01 was a Thursday; weekly candles of both venues open on Mondays.
FIRST_MONDAY_NS = 4 * DAY_NS


def bucket_open(t_ns: int, timeframe_ns: int) -> int:
    """Give the open time of the candle of *timeframe_ns* that holds *t_ns* (weeks: Monday)."""
    shift = FIRST_MONDAY_NS if timeframe_ns % WEEK_NS == 0 else 0
    return t_ns - (t_ns - shift) % timeframe_ns


@attrs.frozen(kw_only=True, eq=False)
class CandleColumns:
    """Candles of one timeframe, oldest first: UTC ns opens, prices quote per base, base volume."""

    timeframe_ns: int
    open_ns: NanosColumn
    open: FloatColumn
    high: FloatColumn
    low: FloatColumn
    close: FloatColumn
    volume: FloatColumn

    def __len__(self) -> int:
        return len(self.open_ns)

    def cut(self, first: int, stop: int) -> "CandleColumns":
        """Give candles [first, stop) by index."""
        part = slice(first, stop)
        return CandleColumns(
            timeframe_ns=self.timeframe_ns,
            open_ns=self.open_ns[part],
            open=self.open[part],
            high=self.high[part],
            low=self.low[part],
            close=self.close[part],
            volume=self.volume[part],
        )


@attrs.frozen(kw_only=True)
class PartialCandle:
    """A candle that is still open, as far as it has come."""

    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def aggregate(tape: CandleTape, timeframe_ns: int) -> CandleColumns:
    """
    Make the candles of *timeframe_ns* that the tape's bars add up to.

    Empty when *timeframe_ns* is finer than the tape's or no multiple of it. A first bucket the
    tape enters midway is left out, so is a last one it leaves midway; missing bars inside a
    bucket only leave it thinner, and a bucket without bars is no candle.
    """
    base_ns = tape.timeframe_ns
    if timeframe_ns < base_ns or timeframe_ns % base_ns != 0:
        return _nothing(timeframe_ns)
    shift = FIRST_MONDAY_NS if timeframe_ns % WEEK_NS == 0 else 0
    buckets = tape.open_ns - (tape.open_ns - shift) % timeframe_ns
    heads = np.flatnonzero(np.append(True, buckets[1:] != buckets[:-1]))
    tails = np.append(heads[1:], len(tape.open_ns)) - 1
    columns = CandleColumns(
        timeframe_ns=timeframe_ns,
        open_ns=buckets[heads],
        open=tape.open[heads],
        high=np.maximum.reduceat(tape.high, heads),
        low=np.minimum.reduceat(tape.low, heads),
        close=tape.close[tails],
        volume=np.add.reduceat(tape.volume, heads),
    )
    first = 0 if tape.first_ns == int(buckets[0]) else 1
    leaves_midway = tape.end_ns < int(buckets[-1]) + timeframe_ns
    return columns.cut(first, max(first, len(columns) - int(leaves_midway)))


def _nothing(timeframe_ns: int) -> CandleColumns:
    no_prices = np.empty(0, dtype=np.float64)
    return CandleColumns(
        timeframe_ns=timeframe_ns,
        open_ns=np.empty(0, dtype=np.int64),
        open=no_prices,
        high=no_prices,
        low=no_prices,
        close=no_prices,
        volume=no_prices,
    )


def closed_between(
    columns: CandleColumns, start_ns: int | None, end_ns: int, limit: int
) -> CandleColumns:
    """
    Give at most *limit* candles that open at or after *start_ns* and are over by *end_ns*.

    With a start: the first ones from there. Without: the newest ones.
    """
    assert limit > 0, limit
    stop = int(np.searchsorted(columns.open_ns, end_ns - columns.timeframe_ns, side="right"))
    if start_ns is None:
        return columns.cut(max(0, stop - limit), stop)
    first = int(np.searchsorted(columns.open_ns, start_ns, side="left"))
    return columns.cut(first, max(first, min(stop, first + limit)))
