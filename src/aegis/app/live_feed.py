"""
The live market of one venue, read without a key and handed to the twin: a dry run's only way out.

Streams bring quotes, marks and bars; REST brings what they missed. While a stream is broken nothing
is handed on, so that the bot sees a silent market and not an old one.
"""

import random
from collections.abc import Sequence
from typing import Final

import attrs

from aegis.app.live_source import LiveSource, live_bar
from aegis.core.clock import Clock
from aegis.core.errors import VenueError
from aegis.core.log import room_logger
from aegis.core.supervise import RestartPolicy, Supervisor
from aegis.core.transport import StreamConnection, StreamConnector
from aegis.model.events import StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.model.market import (
    TIMEFRAME_NAMES,
    DepthFrame,
    KlineFrame,
    MarkFrame,
    QuoteFrame,
)
from aegis.twin.live_market import LiveMarket
from aegis.venue.binance.parse_market import parse_market
from aegis.venue.bybit.stream import PublicStream, StreamParts, UnknownCounter
from aegis.venue.managed_stream import ManagedStream

_QUOTE_SILENCE_S: Final = 120.0
_MARK_SILENCE_S: Final = 30.0
"""Marks come every second, quotes may pause in a quiet market (venues.md 2.6)."""

log = room_logger("app")


@attrs.frozen(slots=True, kw_only=True)
class FeedParts:
    """What a feed is built from."""

    venue: Venue
    ws_url: str
    connector: StreamConnector
    supervisor: Supervisor
    clock: Clock
    rng: random.Random
    timeframes_ns: Sequence[int]


class LiveFeed:
    """Keeps the public streams of one venue open and hands what they bring to *market*."""

    def __init__(self, parts: FeedParts, market: LiveMarket, source: LiveSource) -> None:
        self._parts = parts
        self._market = market
        self._source = source
        self._ended = False
        self._refilling = False
        self._again = False
        self.unreadable = 0
        """Frames that could not be read."""
        make = _binance_streams if parts.venue is Venue.BINANCE else _bybit_streams
        self._streams = make(parts, market.symbols, self)
        self._open = dict.fromkeys((stream.name for stream in self._streams), False)

    async def begin(self) -> None:
        """Read the history, then open the streams; a history that fails comes with them."""
        try:
            bars = await self.load_history()
            log.info(f"live prices of {self._parts.venue.value}: {bars} bars of history")
        except VenueError as error:
            log.warning(f"live prices of {self._parts.venue.value}: history failed: {error}")
        for stream in self._streams:
            stream.start()

    async def stop(self) -> None:
        """Close the streams; nothing is handed on any more."""
        self.hold()
        for stream in self._streams:
            await stream.stop()

    def hold(self) -> None:
        """Hand nothing on any more."""
        self._ended = True

    @property
    def flowing(self) -> bool:
        """Return whether what comes is handed on: every stream is open."""
        return not self._ended and all(self._open.values())

    def on_state(self, event: StreamOpened | StreamClosed) -> None:
        """Note that a stream opened or broke."""
        venue = self._parts.venue.value
        if isinstance(event, StreamOpened):
            log.info(f"live prices of {venue}: {event.stream} connected")
            self._open[event.stream] = True
            if all(self._open.values()):
                self._refill()
            return
        self._open[event.stream] = False
        if not self._ended:
            log.warning(f"live prices of {venue}: {event.stream} broke, held back: {event.reason}")

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take a best bid and ask; one that cannot be is left out."""
        if self.flowing and 0 < frame.bid < frame.ask:
            self._market.quote(
                frame.instrument_id.symbol, frame.bid, frame.bid_qty, frame.ask, frame.ask_qty
            )

    def on_mark(self, frame: MarkFrame) -> None:
        """Take a mark price; one that cannot be is left out."""
        if self.flowing and 0 < frame.mark < float("inf"):
            self._market.mark(frame.instrument_id.symbol, frame.mark)

    def on_kline(self, frame: KlineFrame) -> None:
        """Take a bar; a hole before a closed one is asked for."""
        if not self.flowing:
            return
        candle = frame.candle
        symbol = candle.instrument_id.symbol
        newest_ns = self._market.path(symbol).newest_closed_ns(candle.timeframe_ns)
        self._market.bar(symbol, live_bar(candle), closed=frame.closed)
        if newest_ns is not None and candle.open_ns - newest_ns > 2 * candle.timeframe_ns:
            self._refill()

    def on_depth(self, frame: DepthFrame) -> bool:
        """Take no books: the twin makes the levels behind the best."""
        del frame
        return False

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Count a frame that could not be read; the first is told."""
        self.unreadable += 1
        if self.unreadable == 1:
            log.warning(f"live prices of {venue.value}: a frame could not be read: {reason}")

    def take_frame(self, frame: bytes) -> None:
        """Take a raw frame of Binance."""
        match parse_market(frame, self._parts.clock.now_ns()):
            case QuoteFrame() as quote:
                self.on_quote(quote)
            case MarkFrame() as mark:
                self.on_mark(mark)
            case KlineFrame() as kline:
                self.on_kline(kline)
            case _:
                pass

    async def load_history(self) -> int:
        """
        Read the newest closed bars of every symbol and timeframe; return how many were new.

        Raises:
            VenueError: the venue could not be asked.

        """
        added = 0
        for symbol in self._market.symbols:
            for timeframe_ns in self._parts.timeframes_ns:
                now_ns = self._parts.clock.now_ns()
                for candle in await self._source.bars(symbol, timeframe_ns, now_ns):
                    added += self._market.path(symbol).add_bar(live_bar(candle), closed=True)
        return added

    def _refill(self) -> None:
        if self._refilling:
            self._again = True
            return
        self._refilling = True
        name = f"live.refill.{self._parts.venue.value.lower()}"
        _ = self._parts.supervisor.start(name, self._fill_holes, restart=RestartPolicy())

    async def _fill_holes(self) -> None:
        self._again = True
        while self._again and not self._ended:
            self._again = False
            try:
                added = await self.load_history()
                if added:
                    log.info(f"live prices of {self._parts.venue.value}: {added} bars filled in")
            except VenueError as error:
                # The bot sees the hole too and asks again; the next gap tries anew.
                log.warning(f"live prices of {self._parts.venue.value}: history failed: {error}")
        self._refilling = False


def _binance_streams(
    parts: FeedParts, symbols: Sequence[str], feed: LiveFeed
) -> tuple[ManagedStream, ...]:
    intervals = [TIMEFRAME_NAMES[timeframe_ns] for timeframe_ns in parts.timeframes_ns]
    bars = [f"kline_{interval}" for interval in intervals]
    base_url = parts.ws_url.rstrip("/")

    def stream(name: str, kinds: Sequence[str], silence_s: float) -> ManagedStream:
        names = [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]
        address = f"{base_url}/{name}/ws/{'/'.join(names)}"

        async def url() -> str:
            return address

        return ManagedStream(
            venue=Venue.BINANCE,
            name=name,
            connector=parts.connector,
            url=url,
            on_frame=feed.take_frame,
            on_open=_nothing,
            on_state=feed.on_state,
            supervisor=parts.supervisor,
            clock=parts.clock,
            rng=parts.rng,
            ping_text=None,
            ping_interval_s=0.0,
            silence_timeout_s=silence_s,
        )

    return (
        stream("public", ["bookTicker"], _QUOTE_SILENCE_S),
        stream("market", ["markPrice@1s", *bars], _MARK_SILENCE_S),
    )


def _bybit_streams(
    parts: FeedParts, symbols: Sequence[str], feed: LiveFeed
) -> tuple[ManagedStream, ...]:
    public = PublicStream(
        StreamParts(
            ws_url=parts.ws_url.rstrip("/"),
            connector=parts.connector,
            supervisor=parts.supervisor,
            clock=parts.clock,
            rng=parts.rng,
        ),
        symbols=symbols,
        timeframes_ns=parts.timeframes_ns,
        sink=feed,
        on_state=feed.on_state,
        unknowns=UnknownCounter(),
    )
    return (public.stream,)


async def _nothing(connection: StreamConnection) -> None:
    """Send nothing: what is subscribed stands in the address."""
