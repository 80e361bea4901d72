"""
The rows of a downloaded file: what is missing, what can be believed, and the file itself.

Pure but for `read_rows` and `write_rows`. Asking a venue is in app.history.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import pyarrow as pa
from pyarrow import feather

from aegis.core.errors import TapeError
from aegis.twin.tape.load import FEATHER_COLUMNS, load_columns
from aegis.twin.tape.model import FloatColumn, Gap, NanosColumn, span_text
from aegis.venue.history import HOUR_NS, MINUTE_NS, HistoryRow, Series

FUNDING_STEP_MAX_NS: Final = 8 * HOUR_NS + MINUTE_NS
"""The longest interval of either venue, and how late a settlement may be stamped."""
FUNDING_RATE_LIMIT: Final = 0.1


@attrs.frozen(slots=True, eq=False)
class Rows:
    """Rows of a file, oldest first: UTC ns; open, high, low, close and volume, shape (n, 5)."""

    time_ns: NanosColumn
    values: FloatColumn

    def __len__(self) -> int:
        return len(self.time_ns)


@attrs.frozen(slots=True)
class Span:
    """A piece of time [*from_ns*, *to_ns*), UTC; *newest_first*: asked for from its end."""

    from_ns: int
    to_ns: int
    newest_first: bool = False

    def pages(self, page_ns: int) -> list["Span"]:
        """Cut the span into pieces of at most *page_ns*, in the order to ask for them."""
        starts = range(self.from_ns, self.to_ns, page_ns)
        pages = [Span(at, min(at + page_ns, self.to_ns)) for at in starts]
        return pages[::-1] if self.newest_first else pages


def rows_of(received: Sequence[HistoryRow]) -> Rows:
    """Put what a venue answered into columns."""
    values = [(row.open, row.high, row.low, row.close, row.volume) for row in received]
    return Rows(
        np.array([row.time_ns for row in received], dtype=np.int64),
        np.array(values, dtype=np.float64).reshape(-1, 5),
    )


def merged(have: Rows, *new: Rows) -> Rows:
    """Return the rows of all, in order; of those with one time, the first that has it stays."""
    times = np.concatenate([rows.time_ns for rows in (have, *new)])
    values = np.concatenate([rows.values for rows in (have, *new)])
    unique_times, first = np.unique(times, return_index=True)
    return Rows(unique_times, values[first])


def missing_bars(
    time_ns: NanosColumn, timeframe_ns: int, from_ns: int, to_ns: int
) -> tuple[Gap, ...]:
    """Return the runs of bars that are not had, of those that open in [*from_ns*, *to_ns*)."""
    inside = time_ns[(time_ns >= from_ns) & (time_ns < to_ns)]
    edges = np.concatenate([[from_ns - timeframe_ns], inside, [to_ns]]).astype(np.int64)
    steps = np.diff(edges)
    return tuple(
        Gap(from_ns=int(edges[at]) + timeframe_ns, bars=int(steps[at]) // timeframe_ns - 1)
        for at in np.flatnonzero(steps > timeframe_ns)
    )


def missing_funding(time_ns: NanosColumn, from_ns: int, to_ns: int) -> tuple[Span, ...]:
    """
    Return the times before and after the settlements that are had.

    Settlements keep no grid, so a hole could not be told from a longer interval: the file stays
    one block that only grows at its ends, and the earlier piece is asked for from its end.
    """
    if len(time_ns) == 0:
        return (Span(from_ns, to_ns),)
    first_ns, after_ns = int(time_ns[0]), int(time_ns[-1]) + 1
    spans = (Span(from_ns, first_ns, newest_first=True), Span(after_ns, to_ns))
    return tuple(span for span in spans if span.from_ns < span.to_ns)


def funding_holes(time_ns: NanosColumn, from_ns: int, to_ns: int) -> tuple[Span, ...]:
    """Return the times within [*from_ns*, *to_ns*) without a settlement for more than 8 h."""
    inside = time_ns[(time_ns >= from_ns) & (time_ns < to_ns)]
    edges = np.concatenate([[from_ns], inside, [to_ns]]).astype(np.int64)
    return tuple(
        Span(int(edges[at]), int(edges[at + 1]))
        for at in np.flatnonzero(np.diff(edges) > FUNDING_STEP_MAX_NS)
    )


def believable(series: Series, rows: Rows, timeframe_ns: int) -> Rows:
    """Return the rows a tape's reader would keep: the others would be on disk for good."""
    o, h, low, c, v = rows.values.T
    if series is Series.FUNDING:
        return _where(rows, np.isfinite(o) & (np.abs(o) < FUNDING_RATE_LIMIT))
    with np.errstate(invalid="ignore"):
        good = np.isfinite(rows.values).all(axis=1) & (low > 0) & (v >= 0)
        good &= (low <= np.minimum(o, c)) & (h >= np.maximum(o, c))
    return _where(rows, good & (rows.time_ns % timeframe_ns == 0))


def _where(rows: Rows, good: Any) -> Rows:
    return Rows(rows.time_ns[good], rows.values[good])


def read_rows(path: Path, timeframe_ns: int) -> Rows:
    """
    Return what an earlier download left at *path*; nothing when there is no file.

    *timeframe_ns* is 1 for settlements, which keep no grid.

    Raises:
        TapeError: the file is damaged, or holds rows of another time frame or out of order.
    """
    if not path.exists():
        return rows_of([])
    raw = load_columns(path)
    fix = "move it away, or name another --dir"
    if raw.bad:
        raise TapeError(path, *raw.bad[0], fix)
    if np.any(raw.time_ns % timeframe_ns != 0):
        raise TapeError(path, None, f"rows are not on the {span_text(timeframe_ns)} grid", fix)
    if np.any(np.diff(raw.time_ns) <= 0):
        raise TapeError(path, None, "rows are not in the order of time", fix)
    columns = [raw.open, raw.high, raw.low, raw.close, raw.volume]
    return Rows(raw.time_ns, np.stack(columns, axis=1))


def write_rows(path: Path, rows: Rows) -> None:
    """
    Write *rows* as feather, whole or not at all: to a file beside *path* that then replaces it.

    Raises:
        OSError: the disk is full or the folder may not be written; *path* is as it was.
    """
    dates = pa.array(rows.time_ns).cast(pa.timestamp("ns", tz="UTC"))
    columns = [dates, *(pa.array(column) for column in rows.values.T)]
    table = pa.table(dict(zip(FEATHER_COLUMNS, columns, strict=True)))
    # Not a name that a tape's reader would take for one of the files beside the candles.
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("wb") as file:
        feather.write_feather(table, file, compression="lz4")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def file_name(symbol: str, timeframe: str, series: Series) -> str:
    """Return the name a tape's reader finds; it reads one funding file, whatever the time frame."""
    match series:
        case Series.CANDLES:
            return f"{symbol}-{timeframe}-futures.feather"
        case Series.MARK:
            return f"{symbol}-{timeframe}-mark.feather"
        case Series.FUNDING:
            return f"{symbol}-1h-funding_rate.feather"
