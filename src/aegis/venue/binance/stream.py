"""
The three streams of Binance and the listen key that feeds the private one.

/public carries bookTicker and depth, /market mark price and klines, /private the account; on the
bare legacy path user data and mark price go silent without an error (venues.md 2.1).
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from loguru import logger

from aegis.core.clock import Clock
from aegis.core.errors import VenueError, VenueRefused, VenueUnreachable
from aegis.core.supervise import RestartPolicy, Supervisor
from aegis.core.transport import StreamConnection, StreamConnector
from aegis.model.events import StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.model.market import TIMEFRAME_NAMES
from aegis.venue.binance.errors import LISTEN_KEY_GONE
from aegis.venue.binance.frames import Ack
from aegis.venue.managed_stream import ManagedStream

USER_STREAM: Final = "user"
PUBLIC_STREAM: Final = "public"
MARKET_STREAM: Final = "market"

# 10 incoming messages a second and 1024 streams per connection are the venue's limits (2.1).
PARAMS_PER_MESSAGE_MAX: Final = 100
_MESSAGE_GAP_S: Final = 0.12
_STREAMS_MAX: Final = 1024
# Mark prices come every second for every symbol; quotes may pause in a quiet market.
_MARKET_SILENCE_S: Final = 30.0
_PUBLIC_SILENCE_S: Final = 120.0
# A key lives 60 minutes (venues.md 2.2).
_KEY_RENEWAL_S: Final = 30 * 60.0
_KEY_RETRY_S: Final = 60.0
# The venue ends a connection after 24 hours (2.1): with the patience of a renewal that is in time.
RENEW_AFTER_S: Final = 23 * 3600.0
ACK_TIMEOUT_S: Final = 10.0


class ListenKeys:
    """What the streams ask of REST: a key, and to keep it alive."""

    def __init__(
        self, create: Callable[[], Awaitable[str]], renew: Callable[[str], Awaitable[None]]
    ) -> None:
        self.create = create
        self.renew = renew


class BinanceStreams:
    """Keep the streams of one account open; *base_url* is scheme and host."""

    def __init__(
        self,
        *,
        base_url: str,
        connector: StreamConnector,
        supervisor: Supervisor,
        clock: Clock,
        rng: random.Random,
        keys: ListenKeys,
        timeframes_ns: Sequence[int],
        on_user_frame: Callable[[bytes], None],
        on_market_frame: Callable[[bytes], None],
        on_state: Callable[[StreamOpened | StreamClosed], None],
        depth: bool = False,
    ) -> None:
        self._public_names = ("bookTicker", "depth@100ms") if depth else ("bookTicker",)
        self._base_url = base_url.rstrip("/")
        self._connector = connector
        self._supervisor = supervisor
        self._clock = clock
        self._rng = rng
        self._keys = keys
        self._key = ""
        self._intervals = [TIMEFRAME_NAMES[timeframe_ns] for timeframe_ns in timeframes_ns]
        self._on_state = on_state
        self._symbols: tuple[str, ...] = ()
        self._requests = 0
        self._acks: dict[str, asyncio.Future[Ack]] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._on_user_frame = on_user_frame
        self._user = self._user_stream()
        self._public = self._stream(
            PUBLIC_STREAM,
            self._public_url,
            on_market_frame,
            self._subscribe_public,
            _PUBLIC_SILENCE_S,
        )
        self._market = self._stream(
            MARKET_STREAM,
            self._market_url,
            on_market_frame,
            self._subscribe_market,
            _MARKET_SILENCE_S,
        )

    @property
    def user(self) -> ManagedStream:
        """Return the account's stream."""
        return self._user

    def _user_stream(self) -> ManagedStream:
        return self._stream(USER_STREAM, self._user_url, self._on_user_frame, _nothing, None)

    async def renew_user(self) -> bool:
        """Close an account's stream that was started, to start another; say whether it was."""
        if self._renewing is None:
            return False
        self._renewing.cancel()
        self._renewing = None
        await self._user.stop()
        self._user = self._user_stream()
        return True

    def start_user(self) -> None:
        """Start the account's stream and the renewal of its key."""
        self._user.start()
        self._renewing = self._supervisor.start(
            "binance.listen_key", self._renew_key, restart=RestartPolicy()
        )

    def start_market(self, symbols: Sequence[str]) -> None:
        """Start the market streams of *symbols*."""
        self._symbols = tuple(symbols)
        per_symbol = max(len(self._public_names), 1 + len(self._intervals))
        if len(self._symbols) * per_symbol > _STREAMS_MAX:
            raise ValueError(
                f"streams were {len(self._symbols) * per_symbol}, limit {_STREAMS_MAX} a connection"
            )
        self._public.start()
        self._market.start()

    async def resubscribe(self, symbol: str) -> None:
        """
        Unsubscribe and subscribe the market streams of *symbol* alone (R10).

        Raises:
            VenueRefused, VenueUnreachable: when the venue said no, or nothing.

        """
        for stream, params in (
            (self._public, self._public_params([symbol])),
            (self._market, self._market_params([symbol])),
        ):
            # A stream that is down subscribes everything anew when it comes back.
            if stream.connected:
                await self._ask(stream.name, stream.send, "UNSUBSCRIBE", params)
                await asyncio.sleep(_MESSAGE_GAP_S)
            if stream.connected:
                await self._ask(stream.name, stream.send, "SUBSCRIBE", params)

    def restart_market(self, *, quotes: bool, marks: bool, reason: str) -> None:
        """Open the connections that carry *quotes* or *marks* anew, a few times an hour (R11)."""
        for stream, is_meant in ((self._public, quotes), (self._market, marks)):
            if is_meant:
                stream.reconnect_if_allowed(reason)

    def on_ack(self, ack: Ack) -> None:
        """Take the answer to a request on a market stream."""
        waiting = self._acks.get(ack.request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(ack)
        elif ack.error:
            logger.error("binance refused request {}: {}", ack.request_id, ack.error)

    async def stop(self) -> None:
        """Close all streams; the listen key runs out by itself."""
        if self._renewing is not None:
            self._renewing.cancel()
        for stream in (self._market, self._public, self._user):
            await stream.stop()

    async def _user_url(self) -> str:
        # POST returns the active key and extends it, or makes a new one (venues.md 2.2).
        self._key = await self._keys.create()
        return f"{self._base_url}/private/ws?listenKey={self._key}"

    async def _public_url(self) -> str:
        return f"{self._base_url}/public/ws"

    async def _market_url(self) -> str:
        return f"{self._base_url}/market/ws"

    async def _subscribe_public(self, connection: StreamConnection) -> None:
        await self._subscribe(PUBLIC_STREAM, connection, self._public_params(self._symbols))

    async def _subscribe_market(self, connection: StreamConnection) -> None:
        await self._subscribe(MARKET_STREAM, connection, self._market_params(self._symbols))

    async def _subscribe(
        self, stream: str, connection: StreamConnection, params: Sequence[str]
    ) -> None:
        # A subscription that was turned down, or never answered, must not pass for an open stream.
        for start in range(0, len(params), PARAMS_PER_MESSAGE_MAX):
            if start:
                await asyncio.sleep(_MESSAGE_GAP_S)
            chunk = params[start : start + PARAMS_PER_MESSAGE_MAX]
            await self._ask(stream, connection.send, "SUBSCRIBE", chunk)

    async def _ask(
        self, stream: str, send: Callable[[str], None], method: str, params: Sequence[str]
    ) -> None:
        self._requests += 1
        request_id = str(self._requests)
        waiting: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._acks[request_id] = waiting
        try:
            message = {"method": method, "params": list(params), "id": self._requests}
            send(json.dumps(message))
            async with asyncio.timeout(ACK_TIMEOUT_S):
                ack = await waiting
        except (TimeoutError, ConnectionError) as error:
            detail = str(error) or f"no answer to {method} within {ACK_TIMEOUT_S} s"
            raise VenueUnreachable(
                detail, venue=Venue.BINANCE.value, operation=f"stream {stream}"
            ) from None
        finally:
            del self._acks[request_id]
        if ack.error:
            told = f"{method} of {', '.join(params)}: {ack.error}"
            logger.error("binance refused {}", told)
            raise VenueRefused(
                method, told, venue=Venue.BINANCE.value, operation=f"stream {stream}"
            )

    def _public_params(self, symbols: Sequence[str]) -> list[str]:
        return [f"{symbol.lower()}@{name}" for symbol in symbols for name in self._public_names]

    def _market_params(self, symbols: Sequence[str]) -> list[str]:
        return [
            f"{symbol.lower()}@{name}"
            for symbol in symbols
            for name in ("markPrice@1s", *(f"kline_{interval}" for interval in self._intervals))
        ]

    async def _renew_key(self) -> None:
        wait_s = _KEY_RENEWAL_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = _KEY_RENEWAL_S
            if not self._user.connected:
                continue
            try:
                await self._keys.renew(self._key)
            except VenueRefused as refusal:
                if refusal.code == LISTEN_KEY_GONE:
                    self._user.reconnect("listen key is gone")
                else:
                    wait_s = _KEY_RETRY_S
            except VenueError:
                # Told as ApiCalled already; the key still lives for half an hour.
                wait_s = _KEY_RETRY_S

    def _stream(
        self,
        name: str,
        url: Callable[[], Awaitable[str]],
        on_frame: Callable[[bytes], None],
        on_open: Callable[[StreamConnection], Awaitable[None]],
        silence_timeout_s: float | None,
    ) -> ManagedStream:
        return ManagedStream(
            venue=Venue.BINANCE,
            name=name,
            connector=self._connector,
            url=url,
            on_frame=on_frame,
            on_open=on_open,
            on_state=self._on_state,
            supervisor=self._supervisor,
            clock=self._clock,
            rng=self._rng,
            # Binance pings by itself; the connector's own pings find a dead peer.
            ping_text=None,
            ping_interval_s=0.0,
            silence_timeout_s=silence_timeout_s,
            renew_after_s=RENEW_AFTER_S,
        )


async def _nothing(connection: StreamConnection) -> None:
    """Send nothing: the private stream is chosen by its address."""
