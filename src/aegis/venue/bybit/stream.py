"""
Bybit's two streams: what is subscribed, how the private one logs in, where its rows go.

Reconnecting, pinging and silence are managed_stream.py's. Values are handed on synchronously; rows
that are not understood are told and skipped, each by itself.
"""

import asyncio
import hashlib
import hmac
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
import orjson
from loguru import logger

from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.errors import (
    VenueProtocolError,
    VenueRefused,
    VenueUnreachable,
)
from aegis.core.supervise import Supervisor
from aegis.core.transport import StreamConnection, StreamConnector
from aegis.model.events import StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.model.market import KlineFrame, MarkFrame, QuoteFrame
from aegis.model.ports import MarketSink
from aegis.venue.bybit.errors import VENUE
from aegis.venue.bybit.frames import DataFrame, Reply, Unknown, read_frame, rows_of
from aegis.venue.bybit.parse import AccountFact, read_row
from aegis.venue.bybit.parse_market import INTERVALS, MarketReader
from aegis.venue.managed_stream import ManagedStream

PING_INTERVAL_S: Final = 20.0
SILENCE_TIMEOUT_S: Final = 30.0
"""Pongs alone come every 20 s, and an idle order book is sent again every 3 s (venues.md 3.7)."""
PRIVATE_PING_INTERVAL_S: Final = 8.0
PRIVATE_SILENCE_TIMEOUT_S: Final = 12.0
"""A lost peer of the account's stream is worth more pings: found within 12 s by a missing pong."""

REPLY_TIMEOUT_S: Final = 10.0
AUTH_LIFETIME_MS: Final = 10_000
"""How far ahead the login expires: a clock a few seconds late must not refuse it."""

TOPICS_PER_REQUEST_MAX: Final = 10
PRIVATE_TOPICS: Final = ("order", "execution", "position", "wallet")


@attrs.frozen(slots=True, kw_only=True)
class StreamParts:
    """What both streams are built from."""

    ws_url: str
    connector: StreamConnector
    supervisor: Supervisor
    clock: Clock
    rng: random.Random


class UnknownCounter:
    """Count what the bot has no use for; the first of each kind is logged."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, unknown: Unknown) -> None:
        """Count *unknown* by its kind."""
        seen = self.counts.get(unknown.what, 0)
        self.counts[unknown.what] = seen + 1
        if seen == 0:
            logger.warning("bybit sent something unknown: {}", unknown.what)


class Requests:
    """Requests on a stream and the replies to them, matched by req_id."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._sent = 0
        self._waiting: dict[str, asyncio.Future[Reply]] = {}

    async def ask(self, send: Callable[[str], None], op: str, args: Sequence[object]) -> Reply:
        """
        Send *op* and return its reply.

        Raises:
            VenueUnreachable: when none came within REPLY_TIMEOUT_S, or the stream is closed.

        """
        self._sent += 1
        req_id = f"{op}-{self._sent}"
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[req_id] = reply
        try:
            send(orjson.dumps({"req_id": req_id, "op": op, "args": args}).decode())
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await reply
        except (TimeoutError, ConnectionError) as error:
            detail = str(error) or f"no reply to {op} within {REPLY_TIMEOUT_S} s"
            raise VenueUnreachable(
                detail, venue=VENUE, operation=f"stream {self._stream}"
            ) from None
        finally:
            del self._waiting[req_id]

    def answer(self, reply: Reply) -> None:
        """Hand *reply* to who waits for it; the login's reply carries no req_id (venues.md 3.2)."""
        waiting = self._waiting.get(reply.req_id)
        if waiting is None and not reply.req_id:
            waiting = next(
                (
                    future
                    for req_id, future in self._waiting.items()
                    if req_id.startswith(f"{reply.op}-") and not future.done()
                ),
                None,
            )
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    async def subscribe(self, send: Callable[[str], None], topics: Sequence[str]) -> None:
        """
        Subscribe *topics*, a few per request.

        Raises:
            VenueRefused: when the venue refuses one of them.
            VenueUnreachable: as `ask`.

        """
        for start in range(0, len(topics), TOPICS_PER_REQUEST_MAX):
            some = topics[start : start + TOPICS_PER_REQUEST_MAX]
            reply = await self.ask(send, "subscribe", some)
            if not reply.ok:
                message = f"topics {', '.join(some)}: {reply.message}"
                logger.error("bybit refused a subscription: {}", message)
                raise VenueRefused(
                    "SUBSCRIBE", message, venue=VENUE, operation=f"stream {self._stream}"
                )


def ping_text() -> str:
    """Return the venue's application-level ping."""
    return '{"op":"ping"}'


class PublicStream:
    """Market data of some symbols: top of book, tickers, bars."""

    def __init__(
        self,
        parts: StreamParts,
        *,
        symbols: Sequence[str],
        timeframes_ns: Sequence[int],
        sink: MarketSink,
        on_state: Callable[[StreamOpened | StreamClosed], None],
        unknowns: UnknownCounter,
    ) -> None:
        self._symbols = tuple(symbols)
        self._timeframes_ns = tuple(timeframes_ns)
        self._sink = sink
        self._clock = parts.clock
        self._unknowns = unknowns
        self._reader = MarketReader()
        self._requests = Requests("public")
        self._url = f"{parts.ws_url}/v5/public/linear"
        self.stream = _managed(
            parts,
            "public",
            self._where,
            self._take,
            self._opened,
            on_state,
            pace_s=(PING_INTERVAL_S, SILENCE_TIMEOUT_S),
        )

    async def resubscribe(self, symbol: str) -> None:
        """
        Unsubscribe and subscribe *symbol* on the open connection; the others go on.

        Raises:
            VenueUnreachable, VenueRefused: when it could not be done.

        """
        topics = self._topics(symbol)
        reply = await self._requests.ask(self.stream.send, "unsubscribe", topics)
        if not reply.ok:
            logger.warning("bybit refused to unsubscribe {}: {}", symbol, reply.message)
        self._reader.reset(symbol)
        await self._requests.subscribe(self.stream.send, topics)

    def _topics(self, symbol: str) -> list[str]:
        bars = [f"kline.{INTERVALS[ns]}.{symbol}" for ns in self._timeframes_ns]
        return [f"orderbook.1.{symbol}", f"tickers.{symbol}", *bars]

    async def _where(self) -> str:
        return self._url

    async def _opened(self, connection: StreamConnection) -> None:
        self._reader.reset()
        topics = [topic for symbol in self._symbols for topic in self._topics(symbol)]
        try:
            await self._requests.subscribe(connection.send, topics)
        except VenueRefused as refused:
            await self._subscribe_each(connection, refused)

    async def _subscribe_each(self, connection: StreamConnection, refused: VenueRefused) -> None:
        # One topic that is no more (a delisted symbol) must not take the others along; its symbol
        # goes stale, which is told, and is subscribed again from there.
        accepted = 0
        for symbol in self._symbols:
            try:
                await self._requests.subscribe(connection.send, self._topics(symbol))
            except VenueRefused:
                continue
            accepted += 1
        if not accepted:
            raise refused

    def _take(self, raw: bytes) -> None:
        try:
            message = read_frame(raw)
            if isinstance(message, DataFrame):
                values = self._reader.read(message, self._clock.now_ns())
                if isinstance(values, Unknown):
                    self._unknowns.count(values)
                    return
            elif isinstance(message, Reply):
                self._requests.answer(message)
                return
            else:
                self._unknowns.count(message)
                return
        except VenueProtocolError as error:
            self._sink.on_unreadable(Venue.BYBIT, error.detail)
            raise
        for value in values:
            if isinstance(value, QuoteFrame):
                self._sink.on_quote(value)
            elif isinstance(value, MarkFrame):
                self._sink.on_mark(value)
            elif isinstance(value, KlineFrame):
                self._sink.on_kline(value)


class PrivateStream:
    """Orders, executions, positions and wallet of our account."""

    def __init__(
        self,
        parts: StreamParts,
        *,
        api_key: str,
        api_secret: str,
        on_fact: Callable[[AccountFact], None],
        on_unreadable: Callable[[VenueProtocolError], None],
        on_state: Callable[[StreamOpened | StreamClosed], None],
        unknowns: UnknownCounter,
    ) -> None:
        self._key = api_key
        self._secret = api_secret
        self._clock = parts.clock
        self._on_fact = on_fact
        self._on_unreadable = on_unreadable
        self._unknowns = unknowns
        self._requests = Requests("private")
        self._url = f"{parts.ws_url}/v5/private"
        self.refusal: VenueRefused | None = None
        """Why the last login or subscription was refused; None after a success."""
        self.stream = _managed(
            parts,
            "private",
            self._where,
            self._take,
            self._opened,
            on_state,
            pace_s=(PRIVATE_PING_INTERVAL_S, PRIVATE_SILENCE_TIMEOUT_S),
        )

    async def _where(self) -> str:
        return self._url

    async def _opened(self, connection: StreamConnection) -> None:
        try:
            await self._log_in(connection)
            await self._requests.subscribe(connection.send, PRIVATE_TOPICS)
        except VenueRefused as error:
            self.refusal = error
            raise
        self.refusal = None

    async def _log_in(self, connection: StreamConnection) -> None:
        expires_ms = self._clock.wall_ns() // NS_PER_MS + AUTH_LIFETIME_MS
        signature = hmac.new(
            self._secret.encode(), f"GET/realtime{expires_ms}".encode(), hashlib.sha256
        ).hexdigest()
        reply = await self._requests.ask(
            connection.send, "auth", [self._key, expires_ms, signature]
        )
        if not reply.ok:
            logger.error("bybit refused the login of the private stream: {}", reply.message)
            raise VenueRefused("AUTH", reply.message, venue=VENUE, operation="stream private")

    def _take(self, raw: bytes) -> None:
        try:
            message = read_frame(raw)
        except VenueProtocolError as error:
            self._on_unreadable(error)
            raise
        if isinstance(message, Reply):
            self._requests.answer(message)
        elif isinstance(message, Unknown):
            self._unknowns.count(message)
        else:
            self._take_rows(message)

    def _take_rows(self, frame: DataFrame) -> None:
        failure: VenueProtocolError | None = None
        try:
            rows = rows_of(frame)
        except VenueProtocolError as error:
            self._on_unreadable(error)
            raise
        for row in rows:
            try:
                fact = read_row(frame.topic, row, frame.ts_event)
            except VenueProtocolError as error:
                failure = error
                self._on_unreadable(error)
                continue
            if isinstance(fact, Unknown):
                self._unknowns.count(fact)
            else:
                self._on_fact(fact)
        if failure is not None:
            raise failure


def _managed(
    parts: StreamParts,
    name: str,
    url: Callable[[], Awaitable[str]],
    on_frame: Callable[[bytes], None],
    on_open: Callable[[StreamConnection], Awaitable[None]],
    on_state: Callable[[StreamOpened | StreamClosed], None],
    *,
    pace_s: tuple[float, float],
) -> ManagedStream:
    ping_interval_s, silence_timeout_s = pace_s
    return ManagedStream(
        venue=Venue.BYBIT,
        name=name,
        connector=parts.connector,
        url=url,
        on_frame=on_frame,
        on_open=on_open,
        on_state=on_state,
        supervisor=parts.supervisor,
        clock=parts.clock,
        rng=parts.rng,
        ping_text=ping_text,
        ping_interval_s=ping_interval_s,
        silence_timeout_s=silence_timeout_s,
    )
