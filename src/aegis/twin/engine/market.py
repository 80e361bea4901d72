"""
One symbol's market as the engine sees it: prices, quote, book, bars and funding at a time.

Stateless apart from the path's cursors; nothing here knows of orders.
"""

import math
from bisect import bisect_right
from decimal import Decimal
from typing import Protocol

import attrs

from aegis.model.money import ZERO, Rounding, price_from_float
from aegis.model.order import OrderSide, TriggerBy
from aegis.twin.engine.api import Bar, Quote, TwinInstrument
from aegis.twin.engine.matching import scaled
from aegis.twin.tape.candles import CandleColumns, PartialCandle
from aegis.twin.tape.model import FundingSeries
from aegis.twin.tape.path import CLOSE_BEFORE_END_NS
from aegis.twin.tape.synthetic_book import BookShape, Level


class MarketPath(Protocol):
    """
    The price and the mark price as piecewise linear functions of time (`tape_path.PricePath`).

    With a mark of its own, the mark's vertices include all of the price's.
    """

    first_ns: int
    last_ns: int
    has_own_mark: bool

    def price_at(self, t_ns: int) -> float:
        """Give the price, quote per base."""

    def mark_at(self, t_ns: int) -> float:
        """Give the mark price."""

    def next_point_after(self, t_ns: int, *, on_mark: bool = False) -> int | None:
        """Give the next vertex strictly after *t_ns*."""

    def segment(self, t_ns: int, *, on_mark: bool = False) -> tuple[int, float, int, float]:
        """Give (t0, p0, t1, p1), linear on [t0, t1)."""

    def next_crossing(
        self, t_ns: int, level: float, direction: int, *, on_mark: bool, segments: int = 1
    ) -> int | None:
        """Give the earliest time > *t_ns* at or beyond *level* within the coming segments."""

    def candles(
        self, timeframe_ns: int, start_ns: int | None, end_ns: int, limit: int
    ) -> CandleColumns:
        """Give closed candles."""

    def partial_candle(self, timeframe_ns: int, t_ns: int) -> PartialCandle | None:
        """Give the open candle."""


@attrs.define(slots=True, kw_only=True, eq=False)
class SymbolMarket:
    """The market of one symbol. Book and spread are synthetic; an order never changes them."""

    instrument: TwinInstrument
    path: MarketPath
    shape: BookShape
    funding: FundingSeries | None = None
    symbol: str = attrs.field(init=False)
    end_ns: int = attrs.field(init=False)
    """The end of the last bar: nothing happens by itself after it."""
    _top: BookShape = attrs.field(init=False)
    _tick: float = attrs.field(init=False)
    _digits: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.symbol = self.instrument.symbol
        self.end_ns = self.path.last_ns + CLOSE_BEFORE_END_NS
        # The first level does not depend on how many follow, and alone it is cheap.
        self._top = attrs.evolve(self.shape, levels=1)
        self._tick = float(self.instrument.tick_size)
        self._digits = max(0, 2 - math.floor(math.log10(self._tick)))

    def on_tick(self, price: float) -> float:
        """Round to the nearest tick."""
        return round(round(price / self._tick) * self._tick, self._digits)

    def raw_price(self, now_ns: int, by: TriggerBy) -> float:
        """Give the unrounded price that triggers of *by* look at."""
        return self.path.mark_at(now_ns) if by is TriggerBy.MARK else self.path.price_at(now_ns)

    def last_price(self, now_ns: int) -> Decimal:
        """Give the last price on the tick grid."""
        price = self.path.price_at(now_ns)
        return price_from_float(price, self.instrument.tick_size, Rounding.NEAREST)

    def mark_price(self, now_ns: int) -> Decimal:
        """Give the mark price on the tick grid."""
        price = self.path.mark_at(now_ns)
        return price_from_float(price, self.instrument.tick_size, Rounding.NEAREST)

    def quote(self, now_ns: int, factor: float) -> Quote:
        """Give top of book and prices; *factor* scales the quantities."""
        price = self.path.price_at(now_ns)
        top = self._top.book_at(self.symbol, now_ns, price)
        last = self.on_tick(price)
        mark = self.on_tick(self.path.mark_at(now_ns)) if self.path.has_own_mark else last
        return Quote(
            symbol=self.symbol,
            ts_ns=now_ns,
            bid=top.bid,
            bid_qty=top.bid_qty * factor,
            ask=top.ask,
            ask_qty=top.ask_qty * factor,
            last=last,
            mark=mark,
            index=last,
        )

    def best(self, now_ns: int) -> tuple[float, float, float]:
        """Give (bid, mid, ask), the mid unrounded."""
        mid = self.path.price_at(now_ns)
        bid, ask = self.shape.best_at(self.symbol, now_ns, mid)
        return bid, mid, ask

    def opposing(self, now_ns: int, side: OrderSide, factor: float) -> list[Level]:
        """Give the levels an order of *side* would take, best first."""
        book = self.shape.book_at(self.symbol, now_ns, self.path.price_at(now_ns))
        levels = book.asks if side is OrderSide.BUY else book.bids
        return scaled(levels, factor, self.instrument.qty_step)

    def funding_after(self, t_ns: int) -> tuple[Decimal, int]:
        """
        Give the next funding rate and its instant, strictly after *t_ns*.

        The tape's own settlements while it has some, else rate 0 on the interval's UTC grid.
        """
        if self.funding is not None:
            index = bisect_right(self.funding.times_ns, t_ns)
            if index < len(self.funding.times_ns):
                rate = Decimal(repr(float(self.funding.rates[index])))
                return rate, int(self.funding.times_ns[index])
        interval_ns = self.instrument.funding_interval_ns
        return ZERO, (t_ns // interval_ns + 1) * interval_ns

    def closed_bar(self, timeframe_ns: int, open_ns: int) -> Bar | None:
        """Give the closed bar that opened at *open_ns*, None where the tape has a gap."""
        found = self.path.candles(timeframe_ns, open_ns, open_ns + timeframe_ns, 1)
        return _bars(found)[0][1] if len(found) else None

    def open_bar(self, timeframe_ns: int, now_ns: int) -> tuple[int, Bar] | None:
        """Give (open_ns, bar) of the bar that is running, None where there is none."""
        part = self.path.partial_candle(timeframe_ns, now_ns)
        if part is None:
            return None
        return part.open_ns, Bar(part.open, part.high, part.low, part.close, part.volume)

    def bars(
        self, timeframe_ns: int, start_ns: int | None, end_ns: int | None, limit: int, now_ns: int
    ) -> list[tuple[int, Bar]]:
        """Give bars up to now, see `Engine.klines`."""
        over_by = now_ns if end_ns is None else min(now_ns, end_ns + timeframe_ns)
        found = _bars(self.path.candles(timeframe_ns, start_ns, over_by, limit))
        running = self.open_bar(timeframe_ns, now_ns)
        if running is not None and _opens_within(running[0], start_ns, end_ns):
            already = found and found[-1][0] >= running[0]
            room = start_ns is None or len(found) < limit
            if room and not already:
                found.append(running)
        return found[-limit:]


def _opens_within(open_ns: int, start_ns: int | None, end_ns: int | None) -> bool:
    return (start_ns is None or open_ns >= start_ns) and (end_ns is None or open_ns <= end_ns)


def _bars(columns: CandleColumns) -> list[tuple[int, Bar]]:
    rows = zip(
        columns.open_ns.tolist(),
        columns.open.tolist(),
        columns.high.tolist(),
        columns.low.tolist(),
        columns.close.tolist(),
        columns.volume.tolist(),
        strict=True,
    )
    return [(opened, Bar(o, h, low, c, v)) for opened, o, h, low, c, v in rows]
