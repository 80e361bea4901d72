"""
What a tape is: a recorded or generated market for one instrument, and the account of its reading.

Values only; reading is in tape_read, generating in tape_generate, the price between the bars'
four numbers in tape_path, the recorded raw feed in tape_raw_feed.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

FloatColumn = NDArray[np.float64]
NanosColumn = NDArray[np.int64]

ROWS_NAMED_MAX = 20
GAPS_NAMED_MAX = 20

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS


def utc_text(t_ns: int) -> str:
    """Write *t_ns* (UTC ns) as `2025-05-04 15:33:00`, cut to the second."""
    return datetime.fromtimestamp(t_ns // SECOND_NS, UTC).strftime("%Y-%m-%d %H:%M:%S")


def span_text(span_ns: int) -> str:
    """Write a duration in its largest whole unit: `5m`, `8h`, `90s`."""
    for unit_ns, letter in ((DAY_NS, "d"), (HOUR_NS, "h"), (MINUTE_NS, "m"), (SECOND_NS, "s")):
        if span_ns >= unit_ns and span_ns % unit_ns == 0:
            return f"{span_ns // unit_ns}{letter}"
    return f"{span_ns / SECOND_NS:g}s"


@attrs.frozen(kw_only=True)
class RejectedRows:
    """Rows of one file that were left out for one reason; *rows* holds the first 20 numbers."""

    file: str
    reason: str
    count: int
    rows: tuple[int, ...]
    row_word: str = "row"

    def line(self) -> str:
        """Say it in one sentence."""
        word = self.row_word if self.count == 1 else f"{self.row_word}s"
        more = ", ..." if self.count > len(self.rows) else ""
        numbers = ", ".join(str(row) for row in self.rows)
        return f"{self.file}: rejected {self.count} {word}: {self.reason} ({word} {numbers}{more})"


@attrs.frozen(kw_only=True)
class Gap:
    """Bars that are not in the file: *bars* of them, the first opening at *from_ns* (UTC)."""

    from_ns: int
    bars: int


@attrs.frozen(kw_only=True)
class TapeReport:
    """
    The account of one reading: nothing of the file is left out without a line here.

    *rows_read* = *rows_kept* + rejected candle rows, over the whole file; *rows_played* are
    those inside the asked-for range. Rows are 0-based data rows (feather, json) or 1-based
    lines (csv).
    """

    file: str
    rows_read: int
    rows_kept: int
    rows_played: int
    rejected: tuple[RejectedRows, ...] = ()
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rows_rejected(self) -> int:
        """Count the candle rows left out (those of mark and funding files are listed apart)."""
        return self.rows_read - self.rows_kept

    def lines(self) -> list[str]:
        """Say what was read, left out and missing, one plain sentence a line."""
        counts = f"read {self.rows_read} rows, kept {self.rows_kept}"
        said = [
            f"{self.file}: {counts}, rejected {self.rows_rejected}, {self.rows_played} to be played"
        ]
        said.extend(one.line() for one in self.rejected)
        if self.gaps:
            missing = sum(gap.bars for gap in self.gaps)
            said.append(
                f"{self.file}: {len(self.gaps)} gaps, {missing} bars missing; "
                "the price holds through a gap and jumps at its end"
            )
        said.extend(
            f"{self.file}: gap from {utc_text(gap.from_ns)} UTC, bars missing: {gap.bars}"
            for gap in self.gaps[:GAPS_NAMED_MAX]
        )
        if len(self.gaps) > GAPS_NAMED_MAX:
            said.append(f"{self.file}: {len(self.gaps) - GAPS_NAMED_MAX} more gaps not listed")
        said.extend(self.notes)
        return said


@attrs.frozen(kw_only=True, eq=False)
class MarkSeries:
    """
    How far the mark price stands from the candles' price, over time.

    *times_ns*: UTC, strictly increasing, shape (n,), n > 0. *basis*: mark minus candle close,
    quote per base, either sign; linear between the points, held before the first and after the
    last.
    """

    times_ns: NanosColumn
    basis: FloatColumn


@attrs.frozen(kw_only=True, eq=False)
class FundingSeries:
    """Settlements: *times_ns* UTC, strictly increasing; *rates* are fractions, > 0: longs pay."""

    times_ns: NanosColumn
    rates: FloatColumn


@attrs.frozen(kw_only=True, eq=False)
class CandleTape:
    """
    The market of one instrument as candles of one timeframe.

    Columns have shape (n,), oldest first; *open_ns* (bar open, UTC) is strictly increasing on
    the grid of *timeframe_ns*, gaps left as gaps. Prices are quote per base, *volume* is in base
    units. *mark* None: the mark price is the path itself. *venue* None: both faces play it.
    Play begins at *play_from_ns*; the bars before are history.
    """

    symbol: str
    timeframe_ns: int
    open_ns: NanosColumn
    open: FloatColumn
    high: FloatColumn
    low: FloatColumn
    close: FloatColumn
    volume: FloatColumn
    mark: MarkSeries | None
    funding: FundingSeries | None
    venue: str | None
    label: str
    generated: bool
    play_from_ns: int
    report: TapeReport

    def __attrs_post_init__(self) -> None:
        columns = (self.open, self.high, self.low, self.close, self.volume)
        assert len(self.open_ns) > 0, self.label
        assert all(len(column) == len(self.open_ns) for column in columns), self.label

    @property
    def first_ns(self) -> int:
        """Give the first bar's open."""
        return int(self.open_ns[0])

    @property
    def end_ns(self) -> int:
        """Give the last bar's end, which is no longer part of the tape."""
        return int(self.open_ns[-1]) + self.timeframe_ns

    def content_hash(self) -> str:
        """Hash everything that shapes the market: columns, symbol, faces; not the file's name."""
        digest = hashlib.sha256()
        digest.update(f"candles|{self.symbol}|{self.venue}|{self.timeframe_ns}".encode())
        for column in (self.open, self.high, self.low, self.close, self.volume):
            digest.update(column.astype("<f8").tobytes())
        digest.update(self.open_ns.astype("<i8").tobytes())
        if self.mark is not None:
            digest.update(b"|mark|" + self.mark.times_ns.astype("<i8").tobytes())
            digest.update(self.mark.basis.astype("<f8").tobytes())
        if self.funding is not None:
            digest.update(b"|funding|" + self.funding.times_ns.astype("<i8").tobytes())
            digest.update(self.funding.rates.astype("<f8").tobytes())
        return digest.hexdigest()


class Tape(Protocol):
    """What the identity of a market needs from any kind of tape."""

    @property
    def symbol(self) -> str:
        """Give the venue's raw symbol."""

    def content_hash(self) -> str:
        """Hash what the tape holds."""


def tape_id(tapes: Sequence[Tape], seed: int, *extra: str) -> str:
    """
    Name the market that *tapes*, *seed* and *extra* make, as 16 hex digits.

    The order of the tapes does not matter; a saved paper account belongs to one such name.
    """
    parts = sorted(f"{tape.symbol}:{tape.content_hash()}" for tape in tapes)
    text = "\n".join([f"seed={seed}", *parts, *extra])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
