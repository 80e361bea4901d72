"""Market streams: topics, their frames as bytes, and the sessions that subscribe to them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
import orjson

from aegis.twin.binance.day import day_frame
from aegis.twin.binance.diff_depth import DiffBook
from aegis.twin.binance.frames import (
    agg_trade_template,
    book_template,
    continuous_kline_template,
    kline_template,
    mark_template,
    trade_template,
)
from aegis.twin.binance.json import NS_PER_MS, SymbolFormat
from aegis.twin.binance.market import INTERVALS_NS
from aegis.twin.engine.api import Bar, Engine, Quote
from aegis.twin.tape.raw_feed import DEPTH, QUOTE
from aegis.twin.tape.raw_player import RecordedFrames

_NAME: Final = re.compile(
    r"([a-z0-9]+)(?:_(perpetual))?@([A-Za-z0-9]+(?:_[0-9]+[mhdwM])?)(?:@([0-9]+m?s))?"
)
_DEPTHS: Final = {"depth5": 5, "depth10": 10, "depth20": 20}
_DEPTH_PERIODS_MS: Final = {"": 250, "100ms": 100, "250ms": 250, "500ms": 500}
# A recorded diff stream is played at its own pace under every name (venues.md 2.6).
_DIFF_SPEEDS: Final = frozenset({"", "0ms", *_DEPTH_PERIODS_MS})
_KLINE_PERIOD_MS: Final = 250
_MARK_PERIODS_MS: Final = {"": 3000, "1s": 1000}
_KLINE_WORDS: Final = {False: "kline", True: "continuousKline"}
_DIFF_LEVELS: Final = 1000
_DAY_PERIODS_MS: Final = {"ticker": 2000, "miniTicker": 500}

PUBLIC: Final = "public"
MARKET: Final = "market"

Send = Callable[[bytes], None]


@attrs.define(slots=True, eq=False)
class Topic:
    """
    One stream name and who gets it, raw or wrapped in {"stream","data"}.

    *period_ms* 0 sends every event, else at most one in each period of market time.
    """

    name: str
    category: str
    template: bytes
    period_ms: int = 0
    levels: int = 0
    raw: tuple[Send, ...] = ()
    wrapped: tuple[Send, ...] = ()
    head: bytes = b""
    last_period: int = -1
    count: int = 0
    diff: DiffBook | None = None

    def due(self, now_ms: int) -> bool:
        """Say whether the topic sends at *now_ms*, once in each period."""
        if not self.period_ms:
            return True
        period = now_ms // self.period_ms
        if period == self.last_period:
            return False
        self.last_period = period
        return True

    def send(self, frame: bytes) -> None:
        """Send *frame*, built once, to everybody."""
        for send in self.raw:
            send(frame)
        if self.wrapped:
            whole = self.head + frame + b"}"
            for send in self.wrapped:
                send(whole)


@attrs.define(slots=True, eq=False)
class _SymbolTopics:
    """The topics of one symbol that somebody subscribes to."""

    books: tuple[Topic, ...] = ()
    marks: tuple[Topic, ...] = ()
    depths: tuple[Topic, ...] = ()
    diffs: tuple[Topic, ...] = ()
    trades: tuple[Topic, ...] = ()
    days: tuple[Topic, ...] = ()
    last_px: float = 0.0


class MarketHub:
    """
    Builds each market frame once, and only when somebody listens.

    Quotes and depth of *recorded* symbols are the recording's frames, sent out by `play`.
    """

    def __init__(
        self,
        engine: Engine,
        formats: dict[str, SymbolFormat],
        recorded: Mapping[str, RecordedFrames],
    ) -> None:
        self._engine = engine
        self._formats = formats
        self._recorded = recorded
        self._topics: dict[str, Topic] = {}
        self._symbols: dict[str, _SymbolTopics] = {}
        self._klines: dict[tuple[str, int], tuple[Topic, ...]] = {}
        self._update_id = 0

    def subscribe(self, name: str, category: str, send: Send, *, wrapped: bool) -> bool:
        """
        Add *send* to a stream; False when it does not exist in *category*.

        Production accepts such a subscription and stays silent (venues.md 2.1).
        """
        topic = self._topics.get(name) or self._make(name)
        if topic is None or topic.category != category:
            return False
        if wrapped:
            topic.wrapped = (*topic.wrapped, send)
        else:
            topic.raw = (*topic.raw, send)
        if name not in self._topics:
            self._topics[name] = topic
            self._index(name)
        return True

    def unsubscribe(self, name: str, send: Send) -> None:
        """Remove *send* from a stream."""
        topic = self._topics.get(name)
        if topic is None:
            return
        topic.raw = tuple(each for each in topic.raw if each != send)
        topic.wrapped = tuple(each for each in topic.wrapped if each != send)
        if not topic.raw and not topic.wrapped:
            del self._topics[name]
            self._index(name)

    def on_quote(self, quote: Quote) -> None:
        """Send what a quote changes: bookTicker, markPrice, trades, depth, the day's figures."""
        topics = self._symbols.get(quote.symbol)
        if topics is None:
            return
        now_ms = quote.ts_ns // NS_PER_MS
        for topic in () if quote.symbol in self._recorded else topics.books:
            self._update_id += 1
            topic.send(
                topic.template
                % (
                    self._update_id,
                    now_ms,
                    now_ms,
                    quote.bid,
                    quote.bid_qty,
                    quote.ask,
                    quote.ask_qty,
                )
            )
        for topic in topics.marks:
            if topic.due(now_ms):
                topic.send(self._mark(topic, quote, now_ms))
        if topics.trades and quote.last != topics.last_px:
            taker_sold = quote.last < topics.last_px
            topics.last_px = quote.last
            for topic in topics.trades:
                topic.send(_trade(topic, quote, now_ms, taker_sold=taker_sold))
        if topics.depths or topics.diffs or topics.days:
            self._send_sampled(topics, quote, now_ms)

    def _send_sampled(self, topics: _SymbolTopics, quote: Quote, now_ms: int) -> None:
        for topic in topics.depths:
            if topic.due(now_ms):
                topic.send(self._depth(topic, quote.symbol, now_ms))
        for topic in topics.diffs:
            if topic.diff is not None and topic.due(now_ms):
                self._send_diff(topic, topic.diff, quote.symbol, now_ms)
        for topic in topics.days:
            if topic.due(now_ms):
                mini = topic.name.endswith("@miniTicker")
                topic.send(day_frame(self._engine, self._formats[quote.symbol], mini=mini))

    def note_snapshot(
        self, symbol: str, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]
    ) -> None:
        """Hear of a book given out over REST: the diffs that follow speak of all its levels."""
        topics = self._symbols.get(symbol)
        for topic in () if topics is None else topics.diffs:
            if topic.diff is not None:
                topic.diff.note_snapshot(bids, asks)

    def _send_diff(self, topic: Topic, diff: DiffBook, symbol: str, now_ms: int) -> None:
        form = self._formats[symbol]
        bids, asks = self._engine.depth(symbol, _DIFF_LEVELS)
        frame = diff.frame(
            form.symbol,
            now_ms,
            {form.px(price): form.qty(qty) for price, qty in bids},
            {form.px(price): form.qty(qty) for price, qty in asks},
        )
        if frame is not None:
            topic.send(frame)

    def play(self, to_ns: int) -> None:
        """Send every recorded frame that is due by *to_ns*, as it was recorded."""
        for symbol, recorded in self._recorded.items():
            _play(recorded, to_ns, self._symbols.get(symbol))

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Send a bar to those who watch its time frame."""
        for topic in self._klines.get((symbol, timeframe_ns), ()):
            if closed or topic.due(self._engine.now_ns // NS_PER_MS):
                self._send_kline(topic, timeframe_ns, open_ns, bar, closed=closed)

    def _send_kline(
        self, topic: Topic, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        # The tape knows no quote volume and no taker side: volume at the close, and half of it.
        turnover = bar.volume * bar.close
        topic.send(
            topic.template
            % (
                self._engine.now_ns // NS_PER_MS,
                open_ns // NS_PER_MS,
                (open_ns + timeframe_ns) // NS_PER_MS - 1,
                bar.open,
                bar.close,
                bar.high,
                bar.low,
                bar.volume,
                1 if bar.volume else 0,
                b"true" if closed else b"false",
                turnover,
                bar.volume / 2,
                turnover / 2,
            )
        )

    def _mark(self, topic: Topic, quote: Quote, now_ms: int) -> bytes:
        rate, next_ns = self._engine.funding_rate(quote.symbol)
        index = quote.index
        return topic.template % (
            now_ms,
            quote.mark,
            quote.mark,
            index,
            index,
            rate,
            next_ns // NS_PER_MS,
        )

    def _depth(self, topic: Topic, symbol: str, now_ms: int) -> bytes:
        form = self._formats[symbol]
        recorded = self._recorded.get(symbol)
        book = None if recorded is None else recorded.depth(topic.levels)
        if book is None:
            bids, asks = self._engine.depth(symbol, topic.levels)
        else:
            bids = [(float(price), float(qty)) for price, qty in book.bids]
            asks = [(float(price), float(qty)) for price, qty in book.asks]
        previous = self._update_id
        self._update_id += 1
        return orjson.dumps(
            {
                "e": "depthUpdate",
                "E": now_ms,
                "T": now_ms,
                "s": symbol,
                "ps": symbol,
                "st": 1,
                "U": self._update_id,
                "u": self._update_id,
                "pu": previous,
                "b": [[form.px(price), form.qty(qty)] for price, qty in bids],
                "a": [[form.px(price), form.qty(qty)] for price, qty in asks],
            }
        )

    # Topics.

    def _make(self, name: str) -> Topic | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        symbol, kind, speed = match[1].upper(), match[3], match[4] or ""
        form = self._formats.get(symbol)
        if form is None:
            return None
        topic = _kline_topic(name, form, kind, speed, continuous=match[2] is not None)
        if topic is None and match[2] is None:
            topic = _book_topic(name, form, kind, speed) or _price_topic(name, form, kind, speed)
        if topic is None:
            return None
        topic.head = b'{"stream":"%b","data":' % name.encode()
        if kind == "depth" and symbol not in self._recorded:
            topic.period_ms = _DEPTH_PERIODS_MS.get(speed, _DEPTH_PERIODS_MS["100ms"])
            topic.diff = DiffBook(self._engine.now_ns // NS_PER_MS)
        elif "line_" in kind and symbol in self._recorded:
            # A recording quotes many times as often as a bar is told (venues.md 2.6).
            topic.period_ms = _KLINE_PERIOD_MS
        return topic

    def _index(self, name: str) -> None:
        match = _NAME.fullmatch(name)
        assert match is not None, name
        symbol, kind = match[1].upper(), match[3]
        if "line_" in kind:
            self._index_klines(symbol, INTERVALS_NS[kind.rpartition("_")[2]])
            return
        mine = [
            (other.partition("@")[2], topic)
            for other, topic in self._topics.items()
            if other.partition("@")[0] == match[1]
        ]

        def named(*starts: str) -> tuple[Topic, ...]:
            return tuple(topic for each, topic in mine if each.startswith(starts))

        known = self._symbols.get(symbol) or _SymbolTopics()
        known.books = named("bookTicker")
        known.marks = named("markPrice")
        depths = named("depth")
        known.depths = tuple(topic for topic in depths if topic.levels)
        known.diffs = tuple(topic for topic in depths if not topic.levels)
        known.trades = named("aggTrade", "trade")
        known.days = named("ticker", "miniTicker")
        if known.books or known.marks or depths or known.trades or known.days:
            self._symbols[symbol] = known
        else:
            self._symbols.pop(symbol, None)

    def _index_klines(self, symbol: str, timeframe_ns: int) -> None:
        key = (symbol, timeframe_ns)
        topics = tuple(
            topic
            for name, topic in self._topics.items()
            if (match := _NAME.fullmatch(name)) is not None
            and match[1].upper() == symbol
            and "line_" in match[3]
            and INTERVALS_NS[match[3].rpartition("_")[2]] == timeframe_ns
        )
        if topics and key not in self._klines:
            self._engine.watch(symbol, timeframe_ns)
        elif not topics and key in self._klines:
            self._engine.unwatch(symbol, timeframe_ns)
        if topics:
            self._klines[key] = topics
        else:
            self._klines.pop(key, None)


def _kline_topic(
    name: str, form: SymbolFormat, kind: str, speed: str, *, continuous: bool
) -> Topic | None:
    word, _, interval = kind.rpartition("_")
    if speed or interval not in INTERVALS_NS or word != _KLINE_WORDS[continuous]:
        return None
    make = continuous_kline_template if continuous else kline_template
    return Topic(name, MARKET, make(form, interval))


def _book_topic(name: str, form: SymbolFormat, kind: str, speed: str) -> Topic | None:
    if kind == "bookTicker" and not speed:
        return Topic(name, PUBLIC, book_template(form))
    if kind == "depth" and speed in _DIFF_SPEEDS:
        return Topic(name, PUBLIC, b"")
    if kind in _DEPTHS and speed in _DEPTH_PERIODS_MS:
        return Topic(name, PUBLIC, b"", _DEPTH_PERIODS_MS[speed], _DEPTHS[kind])
    if kind == "trade" and not speed:
        return Topic(name, PUBLIC, trade_template(form))
    return None


def _price_topic(name: str, form: SymbolFormat, kind: str, speed: str) -> Topic | None:
    if kind == "markPrice" and speed in _MARK_PERIODS_MS:
        return Topic(name, MARKET, mark_template(form), _MARK_PERIODS_MS[speed])
    if kind == "aggTrade" and not speed:
        return Topic(name, MARKET, agg_trade_template(form))
    if kind in _DAY_PERIODS_MS and not speed:
        return Topic(name, MARKET, b"", _DAY_PERIODS_MS[kind])
    return None


def _trade(topic: Topic, quote: Quote, now_ms: int, *, taker_sold: bool) -> bytes:
    # The tape has no trades: one is made of each change of the last price, of the touch's size.
    topic.count += 1
    number = topic.count
    qty = quote.bid_qty if taker_sold else quote.ask_qty
    flag = b"true" if taker_sold else b"false"
    return topic.template % (now_ms, number, quote.last, qty, qty, number, number, now_ms, flag)


def _play(recorded: RecordedFrames, now_ns: int, topics: _SymbolTopics | None) -> None:
    hearers = {} if topics is None else {QUOTE: topics.books, DEPTH: topics.diffs}
    for kind, frame in recorded.due(now_ns):
        chosen = hearers.get(kind, ())
        recorded.note(kind, heard=bool(chosen))
        for topic in chosen:
            topic.send(frame)
