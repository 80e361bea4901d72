"""
Bars in order, each exactly once: duplicates, reordering and gaps end here.

Pure. One series per instrument and timeframe takes bars of the stream and of history, and releases
them one after the other without a hole. Bars behind a hole are held back until history has filled
it or the hole is given up, which is counted and never silent.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from aegis.model.market import Candle

HELD_MAX: Final = 512
_SKIPPED_RANGES_MAX: Final = 128


@attrs.frozen(kw_only=True)
class GapFound:
    """*missing* bars from *from_ns* (the first one's open) on stand before the next bar held."""

    from_ns: int
    missing: int


@attrs.frozen(kw_only=True)
class ReleasedBar:
    """The next bar in order, and whether history brought it."""

    candle: Candle
    from_history: bool


@attrs.define(kw_only=True)
class BarCounts:
    """Where bars went: taken == released + duplicates + late + held (of this origin)."""

    taken: int = 0
    released: int = 0
    duplicates: int = 0
    late: int = 0
    """Before the first bar of the series, or of a hole already given up."""


class CandleSeries:
    """Release the bars of one instrument and timeframe in order, exactly once each."""

    def __init__(self, timeframe_ns: int, *, held_max: int = HELD_MAX) -> None:
        """
        Make a series that starts at the first bar it is given.

        held_max: bars held behind a hole; one more and the hole is given up.
        """
        if timeframe_ns <= 0 or held_max < 1:
            raise ValueError(f"timeframe was {timeframe_ns} ns, held_max {held_max}")
        self.timeframe_ns = timeframe_ns
        self.stream = BarCounts()
        self.history = BarCounts()
        self.given_up = 0
        self._held_max = held_max
        self._first_ns: int | None = None
        self._next_ns: int | None = None
        self._held: dict[int, ReleasedBar] = {}
        self._skipped: list[tuple[int, int]] = []

    @property
    def next_open_ns(self) -> int | None:
        """Return the open of the bar to be released next; None before the first."""
        return self._next_ns

    @property
    def gap(self) -> GapFound | None:
        """Return the hole that bars are held behind, None when there is none."""
        if not self._held or self._next_ns is None:
            return None
        missing = (min(self._held) - self._next_ns) // self.timeframe_ns
        return GapFound(from_ns=self._next_ns, missing=missing)

    @property
    def newest_held_ns(self) -> int | None:
        """Return the open of the newest bar held back."""
        return max(self._held, default=None)

    def held(self, *, from_history: bool) -> int:
        """Return how many bars of that origin are held back."""
        return sum(bar.from_history is from_history for bar in self._held.values())

    def begin_at(self, open_ns: int) -> None:
        """Expect the bar that opens at *open_ns* first; no effect once begun."""
        if self._next_ns is None:
            self._check_grid(open_ns)
            self._first_ns = self._next_ns = open_ns

    def on_stream(self, candle: Candle) -> tuple[list[ReleasedBar], GapFound | None]:
        """
        Take a closed bar; return what is released, and the hole when this bar opened one.

        Raises:
            ValueError: the bar is not of this series' grid.
        """
        had_gap = bool(self._held)
        self._take(ReleasedBar(candle=candle, from_history=False), self.stream)
        released = self._release()
        if len(self._held) > self._held_max:
            more, _ = self.give_up(before_ns=max(self._held))
            released += more
        return released, None if had_gap else self.gap

    def on_history(self, candles: Iterable[Candle]) -> list[ReleasedBar]:
        """
        Take bars of history in any order; return what is released.

        Raises:
            ValueError: a bar is not of this series' grid.
        """
        for candle in sorted(candles, key=lambda one: one.open_ns):
            self._take(ReleasedBar(candle=candle, from_history=True), self.history)
        return self._release()

    def give_up(self, *, before_ns: int) -> tuple[list[ReleasedBar], GapFound | None]:
        """
        Skip every hole that begins before *before_ns*; return what is released, and the hole left.

        Only holes with a bar behind them are skipped: nobody knows yet whether the end is one.
        """
        released: list[ReleasedBar] = []
        while (gap := self.gap) is not None and gap.from_ns < before_ns:
            end_ns = gap.from_ns + gap.missing * self.timeframe_ns
            self.given_up += gap.missing
            self._skipped.append((gap.from_ns, end_ns))
            del self._skipped[:-_SKIPPED_RANGES_MAX]
            self._next_ns = end_ns
            released += self._release()
        return released, self.gap

    def _take(self, bar: ReleasedBar, counts: BarCounts) -> None:
        open_ns = bar.candle.open_ns
        self._check_grid(open_ns)
        if bar.candle.timeframe_ns != self.timeframe_ns:
            raise ValueError(
                f"time frame was {bar.candle.timeframe_ns} ns, expected {self.timeframe_ns}"
            )
        counts.taken += 1
        self.begin_at(open_ns)
        assert self._next_ns is not None
        if open_ns < self._next_ns:
            if self._was_skipped(open_ns):
                counts.late += 1
            else:
                counts.duplicates += 1
        elif open_ns in self._held:
            counts.duplicates += 1
        else:
            self._held[open_ns] = bar

    def _was_skipped(self, open_ns: int) -> bool:
        if self._first_ns is not None and open_ns < self._first_ns:
            return True
        return any(from_ns <= open_ns < end_ns for from_ns, end_ns in self._skipped)

    def _release(self) -> list[ReleasedBar]:
        released: list[ReleasedBar] = []
        while self._next_ns is not None and (bar := self._held.pop(self._next_ns, None)):
            counts = self.history if bar.from_history else self.stream
            counts.released += 1
            released.append(bar)
            self._next_ns += self.timeframe_ns
        return released

    def _check_grid(self, open_ns: int) -> None:
        if open_ns % self.timeframe_ns:
            raise ValueError(f"bar opened at {open_ns} ns, off the {self.timeframe_ns} ns grid")
