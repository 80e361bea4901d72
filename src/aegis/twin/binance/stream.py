"""Market streams: topics, their frames as bytes, and the sessions that subscribe to them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import orjson

from aegis.twin.binance.json import NS_PER_MS, SymbolFormat
from aegis.twin.binance.market import INTERVALS_NS
from aegis.twin.engine.api import Bar, Engine, Quote
from aegis.twin.tape.raw_feed import DEPTH, QUOTE
from aegis.twin.tape.raw_player import RecordedFrames

_NAME: Final = re.compile(r"([a-z0-9_]+)@([A-Za-z0-9]+(?:_[0-9]+[mhdwM])?)(?:@([0-9]+m?s))?")
_DEPTHS: Final = {"depth5": 5, "depth10": 10, "depth20": 20}
_DEPTH_PERIODS_MS: Final = {"": 250, "100ms": 100, "250ms": 250, "500ms": 500}
# A recorded diff stream is played at its own pace under every name (venues.md 2.6).
_DIFF_SPEEDS: Final = frozenset({"", "0ms", *_DEPTH_PERIODS_MS})
_KLINE_PERIOD_MS: Final = 250
_MARK_PERIODS_MS: Final = {"": 3000, "1s": 1000}

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
        self._klines: dict[tuple[str, int], Topic] = {}
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
        """Send what a quote changes: bookTicker, markPrice, aggTrade, partial depth."""
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
        for topic in topics.depths:
            if topic.due(now_ms):
                topic.send(self._depth(topic, quote.symbol, now_ms))

    def play(self, to_ns: int) -> None:
        """Send every recorded frame that is due by *to_ns*, as it was recorded."""
        for symbol, recorded in self._recorded.items():
            _play(recorded, to_ns, self._symbols.get(symbol))

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Send a bar to those who watch its time frame."""
        topic = self._klines.get((symbol, timeframe_ns))
        if topic is None or not (closed or topic.due(self._engine.now_ns // NS_PER_MS)):
            return
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
        symbol, kind, speed = match[1].upper(), match[2], match[3] or ""
        form = self._formats.get(symbol)
        if form is None:
            return None
        head = b'{"stream":"%b","data":' % name.encode()
        if kind == "bookTicker" and not speed:
            return Topic(name, PUBLIC, _book_template(form), head=head)
        if kind == "depth" and speed in _DIFF_SPEEDS and symbol in self._recorded:
            return Topic(name, PUBLIC, b"", head=head)
        if kind in _DEPTHS and speed in _DEPTH_PERIODS_MS:
            period_ms = _DEPTH_PERIODS_MS[speed]
            return Topic(name, PUBLIC, b"", period_ms, _DEPTHS[kind], head=head)
        if kind == "markPrice" and speed in _MARK_PERIODS_MS:
            return Topic(name, MARKET, _mark_template(form), _MARK_PERIODS_MS[speed], head=head)
        if kind == "aggTrade" and not speed:
            return Topic(name, MARKET, _trade_template(form), head=head)
        interval = kind.removeprefix("kline_")
        if kind.startswith("kline_") and interval in INTERVALS_NS and not speed:
            # A recording quotes many times as often as a bar is told (venues.md 2.6).
            period_ms = _KLINE_PERIOD_MS if symbol in self._recorded else 0
            return Topic(name, MARKET, _kline_template(form, interval), period_ms, head=head)
        return None

    def _index(self, name: str) -> None:
        stem, _, kind = name.partition("@")
        symbol = stem.upper()
        if kind.startswith("kline_"):
            self._index_kline(name, symbol, INTERVALS_NS[kind.removeprefix("kline_")])
            return
        mine = [
            (other.partition("@")[2], topic)
            for other, topic in self._topics.items()
            if other.partition("@")[0] == stem
        ]

        def named(start: str) -> tuple[Topic, ...]:
            return tuple(topic for each, topic in mine if each.startswith(start))

        known = self._symbols.get(symbol) or _SymbolTopics()
        known.books = named("bookTicker")
        known.marks = named("markPrice")
        depths = named("depth")
        known.depths = tuple(topic for topic in depths if topic.levels)
        known.diffs = tuple(topic for topic in depths if not topic.levels)
        known.trades = named("aggTrade")
        if known.books or known.marks or depths or known.trades:
            self._symbols[symbol] = known
        else:
            self._symbols.pop(symbol, None)

    def _index_kline(self, name: str, symbol: str, timeframe_ns: int) -> None:
        key = (symbol, timeframe_ns)
        topic = self._topics.get(name)
        if topic is None:
            self._klines.pop(key, None)
            self._engine.unwatch(symbol, timeframe_ns)
        else:
            self._klines[key] = topic
            self._engine.watch(symbol, timeframe_ns)


def _play(recorded: RecordedFrames, now_ns: int, topics: _SymbolTopics | None) -> None:
    hearers = {} if topics is None else {QUOTE: topics.books, DEPTH: topics.diffs}
    for kind, frame in recorded.due(now_ns):
        chosen = hearers.get(kind, ())
        recorded.note(kind, heard=bool(chosen))
        for topic in chosen:
            topic.send(frame)


class MarketSession:
    """
    One connection to market streams.

    *category* public, market, or "" for the private path, where no market stream is heard.
    """

    def __init__(
        self, hub: MarketHub, *, category: str, combined: bool, send: Send, names: list[str]
    ) -> None:
        self._hub = hub
        self._category = category
        self._combined = combined
        self._send = send
        self._names: dict[str, bool] = {}
        for name in names:
            self._subscribe(name)

    def on_message(self, text: str) -> None:
        """Answer SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS; the answer precedes data."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            self._reply({"error": {"code": 3, "msg": "Invalid JSON: expected a request object"}})
            return
        number = request.get("id")
        method = request.get("method")
        names = request.get("params") or []
        if method == "LIST_SUBSCRIPTIONS":
            self._reply({"result": list(self._names), "id": number})
        elif method not in {"SUBSCRIBE", "UNSUBSCRIBE"} or not isinstance(names, list):
            message = f"Invalid request: unknown variant `{method}`"
            self._reply({"error": {"code": 2, "msg": message}, "id": number})
        else:
            self._reply({"result": None, "id": number})
            for name in names:
                if method == "SUBSCRIBE":
                    self._subscribe(str(name))
                else:
                    self._unsubscribe(str(name))

    def on_closed(self) -> None:
        """Leave every stream."""
        for name in list(self._names):
            self._unsubscribe(name)

    def _subscribe(self, name: str) -> None:
        if name not in self._names:
            self._names[name] = self._hub.subscribe(
                name, self._category, self._send, wrapped=self._combined
            )

    def _unsubscribe(self, name: str) -> None:
        if self._names.pop(name, False):
            self._hub.unsubscribe(name, self._send)

    def _reply(self, answer: dict[str, Any]) -> None:
        self._send(orjson.dumps(answer))


# Templates are made once for a symbol, so that a frame costs one formatting.


def _px(form: SymbolFormat) -> str:
    return f"%.{form.px_digits}f"


def _qty(form: SymbolFormat) -> str:
    return f"%.{form.qty_digits}f"


def _book_template(form: SymbolFormat) -> bytes:
    px, qty = _px(form), _qty(form)
    return (
        f'{{"e":"bookTicker","u":%d,"E":%d,"T":%d,"s":"{form.symbol}",'
        f'"b":"{px}","B":"{qty}","a":"{px}","A":"{qty}","st":1,"ps":"{form.symbol}"}}'
    ).encode()


def _mark_template(form: SymbolFormat) -> bytes:
    return (
        f'{{"e":"markPriceUpdate","E":%d,"s":"{form.symbol}","p":"%.8f","ap":"%.8f",'
        f'"i":"%.8f","P":"%.8f","r":"%.8f","T":%d,"st":1}}'
    ).encode()


def _trade_template(form: SymbolFormat) -> bytes:
    return (
        f'{{"e":"aggTrade","E":%d,"a":%d,"s":"{form.symbol}","p":"{_px(form)}",'
        f'"q":"{_qty(form)}","nq":"{_qty(form)}","f":%d,"l":%d,"T":%d,"m":%b,"st":1}}'
    ).encode()


def _kline_template(form: SymbolFormat, interval: str) -> bytes:
    px, qty = _px(form), _qty(form)
    return (
        f'{{"e":"kline","E":%d,"s":"{form.symbol}","k":{{"t":%d,"T":%d,"s":"{form.symbol}",'
        f'"i":"{interval}","f":0,"L":0,"o":"{px}","c":"{px}","h":"{px}","l":"{px}",'
        f'"v":"{qty}","n":%d,"x":%b,"q":"%.8f","V":"{qty}","Q":"%.8f","B":"0"}}}}'
    ).encode()


def _trade(topic: Topic, quote: Quote, now_ms: int, *, taker_sold: bool) -> bytes:
    # The tape has no trades: one is made of each change of the last price, of the touch's size.
    topic.count += 1
    number = topic.count
    qty = quote.bid_qty if taker_sold else quote.ask_qty
    flag = b"true" if taker_sold else b"false"
    return topic.template % (now_ms, number, quote.last, qty, qty, number, number, now_ms, flag)
