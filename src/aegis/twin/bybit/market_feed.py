"""
The public topics of the Bybit face: orderbook.1, orderbook.50, tickers, publicTrade, kline.

A frame is written once per event and shared by every listener; a topic nobody listens to costs a
dictionary look-up. Numbers are text, times the twin's market clock in ms (venues.md 3.7).
"""

from collections.abc import Callable, Mapping
from typing import Final

import attrs
import orjson

from aegis.twin.bybit.json import Row, decimals_of, ms_of, price_text
from aegis.twin.engine.api import Bar, Engine, EngineFill, Quote, TwinInstrument

Send = Callable[[bytes], None]

MINUTE_NS: Final = 60_000_000_000
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS

INTERVALS: Final[Mapping[str, int]] = {
    "1": MINUTE_NS,
    "3": 3 * MINUTE_NS,
    "5": 5 * MINUTE_NS,
    "15": 15 * MINUTE_NS,
    "30": 30 * MINUTE_NS,
    "60": HOUR_NS,
    "120": 2 * HOUR_NS,
    "240": 4 * HOUR_NS,
    "360": 6 * HOUR_NS,
    "720": 12 * HOUR_NS,
    "D": DAY_NS,
}
_INTERVAL_OF: Final[Mapping[int, str]] = {span: word for word, span in INTERVALS.items()}


@attrs.define(slots=True, kw_only=True, eq=False)
class SymbolFeed:
    """What one symbol's listeners were told last."""

    symbol: str
    price_digits: int
    qty_digits: int
    top: tuple[Send, ...] = ()
    deep: tuple[Send, ...] = ()
    ticker: tuple[Send, ...] = ()
    trades: tuple[Send, ...] = ()
    klines: dict[int, tuple[Send, ...]] = attrs.field(factory=dict)
    update_id: int = 1
    seq: int = 1_000_000
    told: Quote | None = None
    told_funding: tuple[str, int] = ("", 0)
    told_bids: dict[str, str] = attrs.field(factory=dict)
    told_asks: dict[str, str] = attrs.field(factory=dict)


class MarketFeed:
    """Listeners of the public topics, and the frames they get."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._feeds: dict[str, SymbolFeed] = {}

    def knows(self, topic: str) -> bool:
        """Say whether there is such a topic."""
        name, _, rest = topic.partition(".")
        middle, _, symbol = rest.rpartition(".")
        known = {"orderbook": middle in {"1", "50"}, "kline": middle in INTERVALS}
        return symbol in self._engine.instruments and known.get(
            name, middle == "" and name in {"tickers", "publicTrade"}
        )

    def subscribe(self, topic: str, send: Send) -> None:
        """
        Send *topic* to *send* from now on; a topic it does not know is left alone.

        The snapshot is not sent here: `send_snapshot` does, after the acknowledgement.
        """
        if self.knows(topic):
            self._change(topic, send, add=True)

    def unsubscribe(self, topic: str, send: Send) -> None:
        """Stop sending *topic* to *send*."""
        if self.knows(topic):
            self._change(topic, send, add=False)

    def _change(self, topic: str, send: Send, *, add: bool) -> None:
        name, _, rest = topic.partition(".")
        middle, _, symbol = rest.rpartition(".")
        feed = self._feeds.get(symbol) or self._new_feed(symbol)
        if name == "orderbook" and middle == "1":
            feed.top = _changed(feed.top, send, add=add)
        elif name == "orderbook":
            feed.deep = _changed(feed.deep, send, add=add)
        elif name == "tickers":
            feed.ticker = _changed(feed.ticker, send, add=add)
        elif name == "publicTrade":
            feed.trades = _changed(feed.trades, send, add=add)
        else:
            self._change_kline(feed, INTERVALS[middle], send, add=add)

    def _change_kline(self, feed: SymbolFeed, span_ns: int, send: Send, *, add: bool) -> None:
        senders = _changed(feed.klines.get(span_ns, ()), send, add=add)
        if senders:
            feed.klines[span_ns] = senders
            self._engine.watch(feed.symbol, span_ns)
        elif feed.klines.pop(span_ns, None):
            self._engine.unwatch(feed.symbol, span_ns)

    def _new_feed(self, symbol: str) -> SymbolFeed:
        instrument = self._engine.instruments[symbol]
        feed = self._feeds[symbol] = SymbolFeed(
            symbol=symbol,
            price_digits=decimals_of(instrument.tick_size),
            qty_digits=decimals_of(instrument.qty_step),
        )
        return feed

    def send_snapshot(self, topic: str, send: Send) -> None:
        """Send the first message of a topic that begins with the state as it is."""
        name, _, rest = topic.partition(".")
        symbol = rest.rpartition(".")[2]
        feed = self._feeds[symbol]
        if name == "tickers":
            send(self._ticker_snapshot(feed))
        elif topic.startswith("orderbook.1."):
            send(_top_frame(feed, self._engine.quote(symbol)))
        elif name == "orderbook":
            self._read_depth(feed)
            send(_deep_frame(feed, feed.told_bids, feed.told_asks, self._engine.now_ns, "snapshot"))

    def on_quote(self, quote: Quote) -> None:
        """Tell the listeners of a market change."""
        feed = self._feeds.get(quote.symbol)
        if feed is None:
            return
        if feed.top:
            feed.update_id += 1
            feed.seq += 1
            frame = _top_frame(feed, quote)
            for send in feed.top:
                send(frame)
        if feed.ticker:
            frame = self._ticker_delta(feed, quote)
            for send in feed.ticker:
                send(frame)
        if feed.deep:
            self._send_deep_delta(feed, quote.ts_ns)

    def on_kline(self, symbol: str, span_ns: int, open_ns: int, bar: Bar, *, closed: bool) -> None:
        """Tell the listeners of one timeframe of a bar."""
        feed = self._feeds.get(symbol)
        senders = feed.klines.get(span_ns) if feed is not None else None
        if feed is None or not senders:
            return
        word = _INTERVAL_OF[span_ns]
        digits = feed.price_digits
        now = ms_of(self._engine.now_ns)
        turnover = bar.volume * (bar.open + bar.close) / 2
        frame = (
            f'{{"topic":"kline.{word}.{symbol}","data":[{{"start":{ms_of(open_ns)},'
            f'"end":{ms_of(open_ns + span_ns) - 1},"interval":"{word}",'
            f'"open":"{bar.open:.{digits}f}","close":"{bar.close:.{digits}f}",'
            f'"high":"{bar.high:.{digits}f}","low":"{bar.low:.{digits}f}",'
            f'"volume":"{bar.volume:.{feed.qty_digits}f}","turnover":"{turnover:.4f}",'
            f'"confirm":{"true" if closed else "false"},"timestamp":{now}}}],'
            f'"ts":{now},"type":"snapshot"}}'
        ).encode()
        for send in senders:
            send(frame)

    def on_fill(self, fill: EngineFill, side_word: str, exec_id: str) -> None:
        """Tell of a public trade: the twin has no prints but the account's own fills."""
        feed = self._feeds.get(fill.order.spec.symbol)
        if feed is None or not feed.trades:
            return
        feed.seq += 1
        now = ms_of(fill.ts_ns)
        frame = (
            f'{{"topic":"publicTrade.{feed.symbol}","type":"snapshot","ts":{now},"data":[{{'
            f'"T":{now},"s":"{feed.symbol}","S":"{side_word}","v":"{fill.qty}",'
            f'"p":"{fill.price}","L":"ZeroPlusTick","i":"{exec_id}","BT":false,'
            f'"RPI":false,"seq":{feed.seq}}}]}}'
        ).encode()
        for send in feed.trades:
            send(frame)

    def _ticker_snapshot(self, feed: SymbolFeed) -> bytes:
        quote = self._engine.quote(feed.symbol)
        if feed.told is None or len(feed.ticker) <= 1:
            feed.told = quote
            feed.told_funding = self._funding(feed.symbol)
        row = ticker_row(self._engine, feed.symbol)
        now = ms_of(quote.ts_ns)
        head = f'{{"topic":"tickers.{feed.symbol}","type":"snapshot","data":'
        return head.encode() + orjson.dumps(row) + f',"cs":{feed.seq},"ts":{now}}}'.encode()

    def _funding(self, symbol: str) -> tuple[str, int]:
        rate, next_ns = self._engine.funding_rate(symbol)
        return f"{rate:f}", next_ns

    def _ticker_delta(self, feed: SymbolFeed, quote: Quote) -> bytes:
        told = feed.told
        digits, qty_digits = feed.price_digits, feed.qty_digits
        text = f'{{"topic":"tickers.{feed.symbol}","type":"delta","data":{{"symbol":"{feed.symbol}"'
        if told is None or quote.last != told.last:
            tick = "PlusTick" if told is None or quote.last > told.last else "MinusTick"
            text += f',"tickDirection":"{tick}","lastPrice":"{quote.last:.{digits}f}"'
        if told is None or quote.mark != told.mark:
            text += f',"markPrice":"{quote.mark:.{digits}f}"'
        if told is None or quote.index != told.index:
            text += f',"indexPrice":"{quote.index:.{digits}f}"'
        if told is None or quote.bid != told.bid or quote.bid_qty != told.bid_qty:
            text += (
                f',"bid1Price":"{quote.bid:.{digits}f}","bid1Size":"{quote.bid_qty:.{qty_digits}f}"'
            )
        if told is None or quote.ask != told.ask or quote.ask_qty != told.ask_qty:
            text += (
                f',"ask1Price":"{quote.ask:.{digits}f}","ask1Size":"{quote.ask_qty:.{qty_digits}f}"'
            )
        if quote.ts_ns >= feed.told_funding[1]:
            rate, next_ns = feed.told_funding = self._funding(feed.symbol)
            text += f',"fundingRate":"{rate}","nextFundingTime":"{ms_of(next_ns)}"'
        feed.told = quote
        return f'{text}}},"cs":{feed.seq},"ts":{ms_of(quote.ts_ns)}}}'.encode()

    def _read_depth(self, feed: SymbolFeed) -> None:
        bids, asks = self._engine.depth(feed.symbol, 50)
        digits, qty_digits = feed.price_digits, feed.qty_digits
        feed.told_bids = {f"{px:.{digits}f}": f"{qty:.{qty_digits}f}" for px, qty in bids}
        feed.told_asks = {f"{px:.{digits}f}": f"{qty:.{qty_digits}f}" for px, qty in asks}

    def _send_deep_delta(self, feed: SymbolFeed, ts_ns: int) -> None:
        bids, asks = feed.told_bids, feed.told_asks
        self._read_depth(feed)
        feed.update_id += 1
        feed.seq += 1
        frame = _deep_frame(
            feed,
            _difference(bids, feed.told_bids),
            _difference(asks, feed.told_asks),
            ts_ns,
            "delta",
        )
        for send in feed.deep:
            send(frame)


def _changed(senders: tuple[Send, ...], send: Send, *, add: bool) -> tuple[Send, ...]:
    others = tuple(one for one in senders if one != send)
    return (*others, send) if add else others


def _top_frame(feed: SymbolFeed, quote: Quote) -> bytes:
    digits, qty_digits = feed.price_digits, feed.qty_digits
    now = quote.ts_ns // 1_000_000
    return (
        f'{{"topic":"orderbook.1.{feed.symbol}","type":"snapshot","ts":{now},"data":{{'
        f'"s":"{feed.symbol}","b":[["{quote.bid:.{digits}f}","{quote.bid_qty:.{qty_digits}f}"]],'
        f'"a":[["{quote.ask:.{digits}f}","{quote.ask_qty:.{qty_digits}f}"]],'
        f'"u":{feed.update_id},"seq":{feed.seq}}},"cts":{now}}}'
    ).encode()


def _difference(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    changes = {price: qty for price, qty in after.items() if before.get(price) != qty}
    changes.update({price: "0" for price in before if price not in after})
    return changes


def _deep_frame(
    feed: SymbolFeed, bids: dict[str, str], asks: dict[str, str], ts_ns: int, kind: str
) -> bytes:
    now = ms_of(ts_ns)
    data = {
        "s": feed.symbol,
        "b": list(bids.items()),
        "a": list(asks.items()),
        "u": feed.update_id,
        "seq": feed.seq,
    }
    head = f'{{"topic":"orderbook.50.{feed.symbol}","type":"{kind}","ts":{now},"data":'
    return head.encode() + orjson.dumps(data) + f',"cts":{now}}}'.encode()


def ticker_row(engine: Engine, symbol: str) -> Row:
    """Return the whole ticker of *symbol*; the day's figures come from its hourly bars."""
    instrument: TwinInstrument = engine.instruments[symbol]
    quote = engine.quote(symbol)
    bars = [bar for _, bar in engine.klines(symbol, HOUR_NS, engine.now_ns - DAY_NS, None, 25)]
    rate, next_ns = engine.funding_rate(symbol)
    opened = bars[0].open if bars else quote.last
    volume = sum(bar.volume for bar in bars)
    turnover = sum(bar.volume * (bar.open + bar.close) / 2 for bar in bars)

    def px(price: float) -> str:
        return price_text(price, instrument)

    qty_digits = decimals_of(instrument.qty_step)
    return {
        "symbol": symbol,
        "tickDirection": "ZeroPlusTick",
        "price24hPcnt": f"{quote.last / opened - 1:.6f}",
        "lastPrice": px(quote.last),
        "prevPrice24h": px(opened),
        "highPrice24h": px(max([bar.high for bar in bars], default=quote.last)),
        "lowPrice24h": px(min([bar.low for bar in bars], default=quote.last)),
        "prevPrice1h": px(bars[-1].open if bars else quote.last),
        "markPrice": px(quote.mark),
        "indexPrice": px(quote.index),
        "openInterest": "0",
        "openInterestValue": "0",
        "turnover24h": f"{turnover:.4f}",
        "volume24h": f"{volume:.{qty_digits}f}",
        "fundingIntervalHour": str(instrument.funding_interval_ns // HOUR_NS),
        "fundingCap": "0.005",
        "nextFundingTime": str(ms_of(next_ns)),
        "fundingRate": f"{rate:f}",
        "bid1Price": px(quote.bid),
        "bid1Size": f"{quote.bid_qty:.{qty_digits}f}",
        "ask1Price": px(quote.ask),
        "ask1Size": f"{quote.ask_qty:.{qty_digits}f}",
        "preOpenPrice": "",
        "preQty": "",
        "curPreListingPhase": "",
        "predictedDeliveryPrice": "",
        "basisRate": "",
        "basis": "",
        "deliveryFeeRate": "",
        "deliveryTime": "0",
    }
