"""
A market that is pushed: the twin's engine on prices that come in while it runs, as in a dry run.

Best bid and ask, mark price and bars are those pushed, held until the next ones; the levels behind
the best are synthetic. Nothing is repeated by itself: a market that falls silent looks silent. No
funding is charged. No I/O here: whoever reads the live market calls `LiveMarket`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
import numpy as np

from aegis.twin.engine.api import Bar
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.tape.candles import CandleColumns, PartialCandle, bucket_open, closed_between
from aegis.twin.tape.path import CLOSE_BEFORE_END_NS, FOREVER_NS
from aegis.twin.tape.synthetic_book import BookShape, Level

BARS_KEPT_MAX: Final = 3000
"""Closed bars remembered per symbol and timeframe: twice what one page of history asks for."""


@attrs.frozen(slots=True, kw_only=True)
class LivePrices:
    """What holds from *at_ns* on: best quote and mark; quote per base, quantities in base units."""

    at_ns: int
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float
    mark: float

    @property
    def mid(self) -> float:
        """Return the middle of the best quote."""
        return (self.bid + self.ask) / 2


@attrs.frozen(slots=True)
class LiveBar:
    """One bar of *timeframe_ns* that opened at *open_ns*, ns UTC."""

    timeframe_ns: int
    open_ns: int
    bar: Bar


class LivePath:
    """
    Mid price and mark of one symbol as the engine's `MarketPath`: a staircase that grows.

    Only what holds now and what held just before is known; the engine asks for nothing else.
    """

    def __init__(self, first: LivePrices) -> None:
        self.first_ns = first.at_ns
        self.last_ns = FOREVER_NS - 2 * CLOSE_BEFORE_END_NS
        self.has_own_mark = True
        self._before = self._now = first
        self._closed: dict[int, dict[int, Bar]] = {}
        self._columns: dict[int, CandleColumns] = {}
        self._running: dict[int, LiveBar] = {}

    def push(self, prices: LivePrices) -> None:
        """Let *prices* hold from their moment on, which is later than the last one's."""
        assert prices.at_ns > self._now.at_ns, (prices.at_ns, self._now.at_ns)
        self._before, self._now = self._now, prices

    def prices_at(self, t_ns: int) -> LivePrices:
        """Return what holds at *t_ns*."""
        return self._now if t_ns >= self._now.at_ns else self._before

    def add_bar(self, bar: LiveBar, *, closed: bool) -> bool:
        """Take in a bar; return whether it is a closed one not known before."""
        if not closed:
            self._running[bar.timeframe_ns] = bar
            return False
        known = self._closed.setdefault(bar.timeframe_ns, {})
        is_new = bar.open_ns not in known
        known[bar.open_ns] = bar.bar
        if len(known) > BARS_KEPT_MAX:
            for open_ns in sorted(known)[: -BARS_KEPT_MAX // 2]:
                del known[open_ns]
        self._columns.pop(bar.timeframe_ns, None)
        return is_new

    def newest_closed_ns(self, timeframe_ns: int) -> int | None:
        """Return when the newest closed bar opened, None without one."""
        return max(self._closed.get(timeframe_ns, ()), default=None)

    def price_at(self, t_ns: int) -> float:
        """Give the mid at *t_ns*."""
        return self.prices_at(t_ns).mid

    def mark_at(self, t_ns: int) -> float:
        """Give the mark price at *t_ns*."""
        return self.prices_at(t_ns).mark

    def next_point_after(self, t_ns: int, *, on_mark: bool = False) -> int | None:  # noqa: ARG002 - both change together
        """Give the moment of the newest prices when that is after *t_ns*."""
        return self._now.at_ns if self._now.at_ns > t_ns else None

    def segment(self, t_ns: int, *, on_mark: bool = False) -> tuple[int, float, int, float]:
        """Give (t0, p0, t1, p1) with p0 == p1; the newest segment lasts until further notice."""
        held = self.prices_at(t_ns)
        value = held.mark if on_mark else held.mid
        return held.at_ns, value, FOREVER_NS if held is self._now else self._now.at_ns, value

    def next_crossing(
        self, t_ns: int, level: float, direction: int, *, on_mark: bool, segments: int = 1
    ) -> int | None:
        """Give the earliest known time > *t_ns* at or beyond *level*; the future is not known."""
        after = t_ns + 1
        starts = [after]
        if segments > 0 and self._now.at_ns > after:
            starts.append(self._now.at_ns)
        for start in starts:
            _, value, _, _ = self.segment(start, on_mark=on_mark)
            if (value - level) * direction >= 0:
                return start
        return None

    def candles(
        self, timeframe_ns: int, start_ns: int | None, end_ns: int, limit: int
    ) -> CandleColumns:
        """Give closed candles, as told by the live market; see `PricePath.candles`."""
        columns = self._columns.get(timeframe_ns)
        if columns is None:
            known = self._closed.get(timeframe_ns, {})
            opens = sorted(known)
            bars = [known[open_ns] for open_ns in opens]
            columns = CandleColumns(
                timeframe_ns=timeframe_ns,
                open_ns=np.array(opens, dtype=np.int64),
                open=np.array([bar.open for bar in bars], dtype=np.float64),
                high=np.array([bar.high for bar in bars], dtype=np.float64),
                low=np.array([bar.low for bar in bars], dtype=np.float64),
                close=np.array([bar.close for bar in bars], dtype=np.float64),
                volume=np.array([bar.volume for bar in bars], dtype=np.float64),
            )
            self._columns[timeframe_ns] = columns
        return closed_between(columns, start_ns, end_ns, limit)

    def partial_candle(self, timeframe_ns: int, t_ns: int) -> PartialCandle | None:
        """Give the running candle as last told, None when that was of an earlier one."""
        running = self._running.get(timeframe_ns)
        if running is None or running.open_ns != bucket_open(t_ns, timeframe_ns):
            return None
        bar = running.bar
        return PartialCandle(
            open_ns=running.open_ns,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
        )


@attrs.frozen(kw_only=True)
class LiveBook(BookShape):
    """A book whose best levels are the live ones; the given mid is not looked at."""

    path: LivePath = attrs.field(eq=False, repr=False)

    def _best_ticks(self, name: int, t_ns: int, mid: float) -> tuple[int, int]:
        del name, mid
        prices = self.path.prices_at(t_ns)
        bid_ticks = max(1, round(prices.bid / self.tick_size))
        return bid_ticks, max(bid_ticks + 1, round(prices.ask / self.tick_size))

    def _side(self, name: int, t_ns: int, best_ticks: int, step: int) -> tuple[Level, ...]:
        prices = self.path.prices_at(t_ns)
        best = Level(self._price(best_ticks), prices.bid_qty if step < 0 else prices.ask_qty)
        if self.levels == 1:
            return (best,)
        return (best, *BookShape._side(self, name, t_ns, best_ticks, step)[1:])


class LiveMarket:
    """
    Hands one venue's live market to its engine.

    *advance* brings the whole twin to a time, ns UTC, on *now_ns*'s clock; *poke* says that its
    next event may have changed. While `hold` stands, nothing is handed on.
    """

    def __init__(
        self,
        engine: TwinEngine,
        paths: Mapping[str, LivePath],
        *,
        now_ns: Callable[[], int],
        advance: Callable[[int], None],
        poke: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._paths = dict(paths)
        self._now_ns = now_ns
        self._advance = advance
        self._poke = poke
        self.pushes = 0
        """How often prices were handed on."""

    @property
    def symbols(self) -> Sequence[str]:
        """Return the symbols played."""
        return tuple(self._paths)

    def path(self, symbol: str) -> LivePath:
        """Return the path of *symbol*."""
        return self._paths[symbol]

    def quote(self, symbol: str, bid: float, bid_qty: float, ask: float, ask_qty: float) -> None:
        """Let the best quote of *symbol* be this from now on."""
        self._push(symbol, bid=bid, bid_qty=bid_qty, ask=ask, ask_qty=ask_qty)

    def mark(self, symbol: str, mark: float) -> None:
        """Let the mark price of *symbol* be this from now on."""
        self._push(symbol, mark=mark)

    def bar(self, symbol: str, bar: LiveBar, *, closed: bool) -> None:
        """Take in a bar; a closed one is told to those who follow its timeframe, once."""
        self._advance(self._now_ns())
        is_new = self._paths[symbol].add_bar(bar, closed=closed)
        if is_new and (symbol, bar.timeframe_ns) in self._engine.watched_timeframes:
            self._engine.parts.voice.on_kline(
                symbol, bar.timeframe_ns, bar.open_ns, bar.bar, closed=True
            )

    def _push(self, symbol: str, **changed: float) -> None:
        path = self._paths[symbol]
        self._advance(self._now_ns())
        # Strictly after the present: what is pushed is the next thing that happens.
        at_ns = self._engine.now_ns + 1
        path.push(attrs.evolve(path.prices_at(at_ns), at_ns=at_ns, **changed))
        self._engine.time.market_moved(symbol)
        self._advance(at_ns)
        self.pushes += 1
        self._poke()
