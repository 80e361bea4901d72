"""
Public frames and rows to quotes, marks and bars: the state a delta needs, and nothing else. Pure.

A tickers delta holds only what changed and is never read alone; a frame that leaves nothing to
tell (a book side is empty, no mark was told yet) gives None, not a zero.
"""

from decimal import Decimal
from typing import Final

import attrs
import msgspec

from aegis.core.clock import NS_PER_MS
from aegis.model.instrument import InstrumentId, Venue, instrument_id
from aegis.model.market import MINUTE_NS, Candle, KlineFrame, MarkFrame, QuoteFrame
from aegis.venue.bybit import wire
from aegis.venue.bybit.frames import Answer, DataFrame, Unknown, decode, unreadable

INTERVALS: Final = {
    MINUTE_NS: "1",
    3 * MINUTE_NS: "3",
    5 * MINUTE_NS: "5",
    15 * MINUTE_NS: "15",
    30 * MINUTE_NS: "30",
    60 * MINUTE_NS: "60",
    240 * MINUTE_NS: "240",
    1440 * MINUTE_NS: "D",
}
"""Bar lengths by the venue's name for them (venues.md 3.7)."""

_TIMEFRAMES: Final = {name: timeframe_ns for timeframe_ns, name in INTERVALS.items()}
_BOOK: Final = msgspec.json.Decoder(wire.BookData, strict=False)
_TICKER: Final = msgspec.json.Decoder(wire.TickerData)
_KLINES: Final = msgspec.json.Decoder(list[wire.KlineRow], strict=False)
_TRADES: Final = msgspec.json.Decoder(list[wire.TradeRow], strict=False)

MarketValue = QuoteFrame | MarkFrame | KlineFrame | wire.TradeRow


@attrs.define(slots=True)
class TickerState:
    """The merged tickers of one symbol; empty until its snapshot came."""

    mark: float | None = None
    last: float | None = None
    seen_snapshot: bool = False

    def merge(self, data: wire.TickerData, *, is_snapshot: bool) -> None:
        """
        Take in a frame; a delta before the first snapshot is left out.

        Raises:
            ValueError: when a number is not one.

        """
        if is_snapshot:
            self.mark = self.last = None
            self.seen_snapshot = True
        if not self.seen_snapshot:
            return
        if data.mark_price:
            self.mark = float(data.mark_price)
        if data.last_price:
            self.last = float(data.last_price)


@attrs.define(slots=True)
class TopOfBook:
    """The best level of each side; None while empty."""

    bid: tuple[float, float] | None = None
    ask: tuple[float, float] | None = None

    def merge(self, data: wire.BookData, *, is_snapshot: bool) -> None:
        """Take in a frame; a snapshot replaces both sides."""
        if is_snapshot:
            self.bid = self.ask = None
        self.bid = _merged(self.bid, data.b)
        self.ask = _merged(self.ask, data.a)


def _merged(
    level: tuple[float, float] | None, changes: list[tuple[float, float]]
) -> tuple[float, float] | None:
    for price, size in changes:
        if size > 0:
            level = (price, size)
        elif level is not None and level[0] == price:
            level = None
    return level


class MarketReader:
    """Turn the data frames of one public connection into values; `reset` on a new connection."""

    def __init__(self) -> None:
        self._tickers: dict[str, TickerState] = {}
        self._books: dict[str, TopOfBook] = {}

    def reset(self, symbol: str | None = None) -> None:
        """Forget the state of *symbol*, or of all: the next snapshot begins anew."""
        if symbol is None:
            self._tickers.clear()
            self._books.clear()
        else:
            self._tickers.pop(symbol, None)
            self._books.pop(symbol, None)

    def read(self, frame: DataFrame, ts_recv: int) -> tuple[MarketValue, ...] | Unknown:
        """
        Return the values *frame* tells, none where nothing can be told yet.

        Raises:
            VenueProtocolError: when its data are not what its topic says.

        """
        kind, _, rest = frame.topic.partition(".")
        if kind == "orderbook" and rest.startswith("1."):
            return self._quote(frame, ts_recv)
        if kind == "tickers":
            return self._mark(frame, ts_recv)
        if kind == "kline":
            return _bars(frame, ts_recv)
        if kind == "publicTrade":
            trades = decode(_TRADES, frame.data, f"stream {frame.topic}")
            return tuple(trades)
        return Unknown(what=f"topic {frame.topic}")

    def _quote(self, frame: DataFrame, ts_recv: int) -> tuple[QuoteFrame, ...]:
        data = decode(_BOOK, frame.data, f"stream {frame.topic}")
        book = self._books.setdefault(data.s, TopOfBook())
        book.merge(data, is_snapshot=frame.is_snapshot)
        if book.bid is None or book.ask is None:
            return ()
        quote = QuoteFrame(
            instrument_id=instrument_id(data.s, Venue.BYBIT),
            ts_event=frame.ts_event,
            ts_recv=ts_recv,
            bid=book.bid[0],
            bid_qty=book.bid[1],
            ask=book.ask[0],
            ask_qty=book.ask[1],
        )
        return (quote,)

    def _mark(self, frame: DataFrame, ts_recv: int) -> tuple[MarkFrame, ...]:
        data = decode(_TICKER, frame.data, f"stream {frame.topic}")
        state = self._tickers.setdefault(data.symbol, TickerState())
        try:
            state.merge(data, is_snapshot=frame.is_snapshot)
        except ValueError as error:
            raise unreadable(bytes(frame.data), str(error), f"stream {frame.topic}") from error
        if state.mark is None:
            return ()
        mark = MarkFrame(
            instrument_id=instrument_id(data.symbol, Venue.BYBIT),
            ts_event=frame.ts_event,
            ts_recv=ts_recv,
            mark=state.mark,
            last=state.last,
        )
        return (mark,)


def _bars(frame: DataFrame, ts_recv: int) -> tuple[KlineFrame, ...] | Unknown:
    _, _, rest = frame.topic.partition(".")
    interval, _, symbol = rest.partition(".")
    timeframe_ns = _TIMEFRAMES.get(interval)
    if timeframe_ns is None or not symbol:
        return Unknown(what=f"topic {frame.topic}")
    return tuple(
        KlineFrame(
            ts_event=row.timestamp * NS_PER_MS,
            ts_recv=ts_recv,
            candle=Candle(
                instrument_id=instrument_id(symbol, Venue.BYBIT),
                timeframe_ns=timeframe_ns,
                open_ns=row.start * NS_PER_MS,
                open=row.open,
                high=row.high,
                low=row.low,
                close=row.close,
                volume=row.volume,
            ),
            closed=row.confirm,
        )
        for row in decode(_KLINES, frame.data, f"stream {frame.topic}")
    )


def closed_candles(
    answer: Answer, instrument: InstrumentId, timeframe_ns: int, now_ns: int
) -> tuple[Candle, ...]:
    """
    Return the bars of a kline answer that are closed at *now_ns* (venue time), oldest first.

    The venue sends them newest first, the open one included (venues.md 3.6).

    Raises:
        VenueProtocolError: when the rows are not bars.

    """
    rows = answer.read(wire.KlinePage).list
    candles = [
        Candle(
            instrument_id=instrument,
            timeframe_ns=timeframe_ns,
            open_ns=start_ms * NS_PER_MS,
            open=open_px,
            high=high,
            low=low,
            close=close,
            volume=volume,
        )
        for start_ms, open_px, high, low, close, volume, _turnover in reversed(rows)
    ]
    return tuple(candle for candle in candles if candle.close_ns <= now_ns)


def mark_price_of(answer: Answer, symbol: str) -> Decimal:
    """
    Return the mark price of *symbol* in a tickers answer.

    Raises:
        VenueProtocolError: when it is not told or not > 0: an unknown price is not a price.

    """
    for row in answer.read(wire.TickerPage).list:
        if row.symbol == symbol and row.mark_price:
            try:
                mark = Decimal(row.mark_price)
            except ArithmeticError:
                break
            if mark.is_finite() and mark > 0:
                return mark
    raise unreadable(answer.result, f"no mark price of {symbol}", answer.operation)
