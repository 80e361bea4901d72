"""
Which rows of a tape can be believed: every rejected row has a reason and a number.

Pure decisions over columns; opening files is in tape_load, putting the tape together in tape_read.
"""

from bisect import bisect_left
from collections import Counter

import attrs
import numpy as np
from numpy.typing import NDArray

from aegis.core.errors import TapeError
from aegis.twin.tape.model import (
    ROWS_NAMED_MAX,
    SECOND_NS,
    FloatColumn,
    Gap,
    NanosColumn,
    RejectedRows,
    span_text,
)

REJECTED_SHARE_MAX = 0.10
# 2009-01-01 and 2100-01-01: outside of these a time is a wrong unit or garbage.
TIME_FIRST_NS = 1_230_768_000 * SECOND_NS
TIME_LAST_NS = 4_102_444_800 * SECOND_NS

BoolColumn = NDArray[np.bool_]


@attrs.frozen(kw_only=True, eq=False)
class RawColumns:
    """
    Rows as a file holds them, before any judgment, all shape (n,).

    *row*: the number to name a row by. *bad*: rows that could not be read at all, number and
    reason; they are in no column. Times are UTC ns, 0 where the file's value was out of any
    range.
    """

    file: str
    row_word: str
    row: NanosColumn
    time_ns: NanosColumn
    open: FloatColumn
    high: FloatColumn
    low: FloatColumn
    close: FloatColumn
    volume: FloatColumn
    bad: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rows_read(self) -> int:
        """Count every data row of the file, readable or not."""
        return len(self.row) + len(self.bad)


@attrs.frozen(kw_only=True, eq=False)
class CheckedRows:
    """What is left of one file: indices of the *kept* rows, their step, and the rejected ones."""

    kept: NanosColumn
    timeframe_ns: int
    rejected: tuple[RejectedRows, ...]


class _Judge:
    """Marks rows of one file as rejected, first reason wins."""

    def __init__(self, columns: RawColumns) -> None:
        self._columns = columns
        self.ok: BoolColumn = np.ones(len(columns.row), dtype=np.bool_)
        self._reasons: dict[int, str] = dict(columns.bad)

    def reject(self, hit: BoolColumn, reason: str) -> None:
        """Reject the rows that *hit* marks and nothing has rejected yet."""
        fresh = hit & self.ok
        for row in self._columns.row[fresh].tolist():
            self._reasons[row] = reason
        self.ok &= ~fresh

    def verdict(self, fix: str) -> tuple[RejectedRows, ...]:
        """
        Group the rejected rows by reason, in order of their first row.

        Raises: TapeError: more than 10 % of the rows were rejected; names the first of them.
        """
        columns = self._columns
        rejected = sorted(self._reasons.items())
        if len(rejected) > REJECTED_SHARE_MAX * columns.rows_read:
            row, reason = rejected[0]
            raise TapeError(
                columns.file,
                row,
                f"{reason}; {len(rejected)} of {columns.rows_read} rows cannot be believed, "
                f"limit {REJECTED_SHARE_MAX:.0%}",
                fix,
            )
        counts = Counter(reason for _, reason in rejected)
        return tuple(
            RejectedRows(
                file=columns.file,
                reason=reason,
                count=count,
                rows=tuple(row for row, why in rejected if why == reason)[:ROWS_NAMED_MAX],
                row_word=columns.row_word,
            )
            for reason, count in counts.items()
        )


def common_step(times_ns: NanosColumn) -> int | None:
    """Give the most common positive step (the smallest of equals), None without any."""
    steps = np.diff(times_ns)
    values, counts = np.unique(steps[steps > 0], return_counts=True)
    return int(values[np.argmax(counts)]) if len(values) else None


def in_order(times_ns: NanosColumn) -> BoolColumn:
    """
    Mark the longest strictly increasing run of *times_ns*: the fewest rows possible fall out.

    Of equal times the first stays. One wild time in the future so costs itself, not all that
    follow it.
    """
    if np.all(np.diff(times_ns) > 0):
        return np.ones(len(times_ns), dtype=np.bool_)
    tails: list[int] = []
    tail_at: list[int] = []
    before: list[int] = []
    for index, value in enumerate(times_ns.tolist()):
        place = bisect_left(tails, value)
        before.append(tail_at[place - 1] if place else -1)
        if place == len(tails):
            tails.append(value)
            tail_at.append(index)
        elif value < tails[place]:
            tails[place] = value
            tail_at[place] = index
    marked = np.zeros(len(times_ns), dtype=np.bool_)
    index = tail_at[-1] if tail_at else -1
    while index >= 0:
        marked[index] = True
        index = before[index]
    return marked


def _judge_order(judge: _Judge, times_ns: NanosColumn) -> None:
    judged = np.flatnonzero(judge.ok)
    stays = in_order(times_ns[judged])
    fallen = np.zeros(len(times_ns), dtype=np.bool_)
    fallen[judged[~stays]] = True
    repeated = fallen & np.isin(times_ns, times_ns[judged[stays]])
    judge.reject(repeated, "duplicate time")
    judge.reject(fallen, "time out of order (it goes back, or ahead of the rows that follow)")


def _judge_times(judge: _Judge, columns: RawColumns) -> None:
    times = columns.time_ns
    judge.reject(
        (times < TIME_FIRST_NS) | (times >= TIME_LAST_NS), "time missing or outside 2009..2099"
    )


def check_candles(columns: RawColumns) -> CheckedRows:
    """
    Judge every candle row: time, finite, above zero, within low..high, volume, grid, order.

    Raises: TapeError: no step to infer, bars that are not on their timeframe's grid, or more than
    10 % of the rows rejected.
    """
    judge = _Judge(columns)
    _judge_times(judge, columns)
    o, h, low, c, v = columns.open, columns.high, columns.low, columns.close, columns.volume
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(o) & np.isfinite(h) & np.isfinite(low) & np.isfinite(c)
        judge.reject(~finite, "price is not a finite number")
        judge.reject(~np.isfinite(v), "volume is not a finite number")
        judge.reject((o <= 0) | (h <= 0) | (low <= 0) | (c <= 0), "price is not above zero")
        judge.reject(h < low, "high is below low")
        judge.reject((o < low) | (o > h), "open is outside low..high")
        judge.reject((c < low) | (c > h), "close is outside low..high")
        judge.reject(v < 0, "volume is negative")
    step = _timeframe(judge, columns)
    judge.reject(columns.time_ns % step != 0, f"time is off the {span_text(step)} grid")
    _judge_order(judge, columns.time_ns)
    rejected = judge.verdict("mend or leave out the rows, or name another file")
    return CheckedRows(kept=np.flatnonzero(judge.ok), timeframe_ns=step, rejected=rejected)


def _timeframe(judge: _Judge, columns: RawColumns) -> int:
    # Garbage is better explained by its rows than by a step that cannot be found.
    judge.verdict("mend or leave out the rows, or name another file")
    step = common_step(columns.time_ns[judge.ok])
    if step is None:
        going_back = int(np.count_nonzero(judge.ok)) >= 2
        raise TapeError(
            columns.file,
            int(columns.row[0]) if len(columns.row) else None,
            "every time is at or before the one above it"
            if going_back
            else f"{columns.rows_read} rows: no timeframe can be told",
            "sort the rows by time, oldest first" if going_back else "give at least two bars",
        )
    if step < SECOND_NS:
        raise TapeError(
            columns.file,
            int(columns.row[0]),
            f"rows are {step} ns apart, candles are at least 1 s apart",
            "name a file of candles, or write the times as milliseconds",
        )
    off_grid = np.count_nonzero(columns.time_ns[judge.ok] % step)
    if off_grid > REJECTED_SHARE_MAX * columns.rows_read:
        at = int(np.flatnonzero(judge.ok & (columns.time_ns % step != 0))[0])
        raise TapeError(
            columns.file,
            int(columns.row[at]),
            f"{off_grid} of {columns.rows_read} bars do not open on the {span_text(step)} grid",
            "name a file whose bars open at whole multiples of their timeframe, UTC",
        )
    return step


def check_marks(columns: RawColumns) -> CheckedRows:
    """
    Judge the rows of a mark file: time, finite close > 0, order.

    Raises: TapeError: no step to infer, or more than 10 % of the rows rejected.
    """
    judge = _Judge(columns)
    _judge_times(judge, columns)
    with np.errstate(invalid="ignore"):
        judge.reject(~np.isfinite(columns.close), "mark price is not a finite number")
        judge.reject(columns.close <= 0, "mark price is not above zero")
    step = _timeframe(judge, columns)
    judge.reject(columns.time_ns % step != 0, f"time is off the {span_text(step)} grid")
    _judge_order(judge, columns.time_ns)
    rejected = judge.verdict("mend the mark file or move it away (the mark then is the price)")
    return CheckedRows(kept=np.flatnonzero(judge.ok), timeframe_ns=step, rejected=rejected)


def check_funding(columns: RawColumns) -> CheckedRows:
    """
    Judge the rows of a funding file: time, |rate| < 10 %, order; the rate is in `open`.

    Raises: TapeError: more than 10 % of the rows rejected.
    """
    judge = _Judge(columns)
    _judge_times(judge, columns)
    with np.errstate(invalid="ignore"):
        judge.reject(~np.isfinite(columns.open), "funding rate is not a finite number")
        judge.reject(np.abs(columns.open) >= 0.1, "funding rate is beyond 10 %")
    _judge_order(judge, columns.time_ns)
    rejected = judge.verdict("mend the funding file or move it away (no funding is then paid)")
    step = common_step(columns.time_ns[judge.ok])
    return CheckedRows(kept=np.flatnonzero(judge.ok), timeframe_ns=step or 0, rejected=rejected)


def find_gaps(open_ns: NanosColumn, timeframe_ns: int) -> tuple[Gap, ...]:
    """List the bars missing between the first and the last."""
    steps = np.diff(open_ns)
    return tuple(
        Gap(
            from_ns=int(open_ns[at]) + timeframe_ns,
            bars=int(steps[at]) // timeframe_ns - 1,
        )
        for at in np.flatnonzero(steps != timeframe_ns)
    )
