"""
The signed REST client: python-binance's AsyncClient, pointed, clocked and read by us.

Numbers leave as plain text, booleans as "true", and every order carries an id of ours: the SDK
would make up its own and drop ours where it routes to the algo endpoints (venues.md 1.5).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import aiohttp
import orjson

from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.errors import VenueRefused, VenueUnreachable
from aegis.core.offload import Offload
from aegis.core.transport import HttpExchange
from aegis.model.instrument import Venue
from aegis.model.money import plain
from aegis.venue.binance import limits
from aegis.venue.binance.errors import TIME_REFUSED, AnswerUnreadable, HttpFault
from aegis.venue.binance.frames import row
from aegis.venue.binance.sdk import sdk_module
from aegis.venue.binance.session import ExchangeSession
from aegis.venue.binance.wire import ServerTimeRow
from aegis.venue.calls import CallRunner
from aegis.venue.clock_watch import Reading, measure

_STATUS_OK: Final = range(200, 300)
_CONNECT_TIMEOUT_S_MAX: Final = 3.0
_CONNECTIONS_MAX: Final = 64

_WALLET_HOSTS: Final = {"https://fapi.binance.com": "https://api.binance.com"}
"""Where the rights of a key are told; anywhere else on the same host as all the rest."""

Value = str | int | bool | Decimal | None


ORDER_OPERATIONS: Final = frozenset({"cancel_algo_order"})
"""Calls that act on an order without naming it to the runner: repeating them is safe."""


class BinanceRest:
    """
    Call the venue's REST API; all calls end as `CallRunner.run` says.

    *base_url* is scheme and host. *http* is the twin in this process, reached through *offload*;
    None opens real connections. Nothing is opened before the first call.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        api_secret: str,
        http: HttpExchange | None,
        offload: Offload,
        calls: CallRunner,
        clock: Clock,
        recv_window_ms: int,
        request_timeout_s: float,
        order_timeout_s: float | None = None,
    ) -> None:
        """*order_timeout_s* is for calls that name an order; None: as for all others."""
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._api_secret = api_secret
        self._http = http
        self._offload = offload
        self._calls = calls
        self._clock = clock
        self._recv_window_ms = recv_window_ms
        self._timeout_s = request_timeout_s
        self._order_timeout_s = order_timeout_s or request_timeout_s
        self._client: Any = None
        self.offset_ms = 0
        """The venue's clock minus ours; added to every signature's timestamp."""
        self.on_measured: Callable[[Reading], None] | None = None

    async def sync_time(self) -> int:
        """Measure and use the offset of the venue's clock, in ms; return it."""
        reading = await measure(self._read_time)
        self.offset_ms = round(reading.offset_ns / NS_PER_MS)
        self._opened().timestamp_offset = self.offset_ms
        if self._calls.gate is not None:
            self._calls.gate.offset_ns = reading.offset_ns
        if self.on_measured is not None:
            self.on_measured(reading)
        return self.offset_ms

    async def _read_time(self) -> Reading:
        client = self._opened()

        async def ask() -> tuple[int, object, int]:
            # Read in here: the call may have waited for room before.
            before_ns = self._clock.wall_ns()
            answer = await client.futures_time()
            return before_ns, answer, self._clock.wall_ns()

        before_ns, answer, after_ns = await self._calls.run(
            "time", ask, timeout_s=self._timeout_s, protective=True
        )
        venue_ns = row(answer, ServerTimeRow, "time").server_time * NS_PER_MS
        return Reading(before_ns=before_ns, after_ns=after_ns, venue_ns=venue_ns)

    async def call(
        self,
        operation: str,
        method: str,
        params: Mapping[str, Value] | None = None,
        *,
        client_order_id: str | None = None,
        protective: bool = False,
        before_again: Callable[[], None] | None = None,
    ) -> object:
        """
        Call the SDK's *method* with *params*; None values are left out.

        *protective* calls may use the venue's whole request limit (see `CallRunner.run`).

        A timestamp the venue refuses is measured anew and the call repeated once: refused means
        that nothing was done. *before_again* is called before that and may raise instead.

        Raises:
            VenueError: see `CallRunner.run`; OrderOutcomeUnknown only with *client_order_id*.

        """
        try:
            return await self._once(operation, method, params, client_order_id, protective)
        except VenueRefused as refusal:
            if refusal.code not in TIME_REFUSED:
                raise
        await self.sync_time()
        if before_again is not None:
            before_again()
        return await self._once(operation, method, params, client_order_id, protective)

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.session.close()

    async def _once(
        self,
        operation: str,
        method: str,
        params: Mapping[str, Value] | None,
        client_order_id: str | None,
        protective: bool,
    ) -> object:
        client = self._opened()

        async def send() -> object:
            # The SDK writes timestamp and signature into the mapping it is given.
            arguments = {name: _text(value) for name, value in (params or {}).items()}
            known = {name: text for name, text in arguments.items() if text is not None}
            try:
                answer: object = await getattr(client, method)(**known)
            except aiohttp.ConnectionTimeoutError as error:
                # A TimeoutError by type, yet nothing was sent.
                raise VenueUnreachable(
                    f"no connection: {error}", venue=Venue.BINANCE.value, operation=operation
                ) from None
            return answer

        names_order = client_order_id is not None or operation in ORDER_OPERATIONS
        return await self._calls.run(
            operation,
            send,
            timeout_s=self._order_timeout_s if names_order else self._timeout_s,
            client_order_id=client_order_id,
            protective=protective or operation in limits.PROTECTIVE,
            cost_key=limits.cost_key(operation, params),
        )

    def learn_limits(self, exchange_info: object) -> None:
        """Take the venue's own limits from the answer of exchangeInfo."""
        gate = self._calls.gate
        rows = exchange_info.get("rateLimits") if isinstance(exchange_info, dict) else None
        if gate is not None and isinstance(rows, list):
            limits.read_rate_limits(gate.ledger, rows, gate.now_ns())

    def learn_usage(self, rate_limits: Iterable[object]) -> None:
        """Take the rateLimits rows of an answer of the order socket."""
        gate = self._calls.gate
        if gate is not None:
            limits.read_rate_limits(gate.ledger, rate_limits, gate.now_ns())

    def _read_headers(self, headers: Mapping[str, str]) -> None:
        gate = self._calls.gate
        if gate is not None:
            limits.read_headers(gate.ledger, headers, gate.now_ns())

    def _opened(self) -> Any:
        if self._client is None:
            self._client = self._make_client()
            self._client.timestamp_offset = self.offset_ms
        return self._client

    def _make_client(self) -> Any:
        http, offload, base_url = self._http, self._offload, self._base_url
        timeout_s, read_headers = self._timeout_s, self._read_headers

        class Client(sdk_module("async_client").AsyncClient):  # type: ignore[misc]  # no types there
            FUTURES_URL = f"{base_url}/fapi"
            FUTURES_DATA_URL = f"{base_url}/futures/data"
            MARGIN_API_URL = f"{_WALLET_HOSTS.get(base_url, base_url)}/sapi"
            REQUEST_RECVWINDOW = self._recv_window_ms
            # The whole call is timed by CallRunner.
            REQUEST_TIMEOUT = aiohttp.ClientTimeout(
                total=None, sock_connect=min(_CONNECT_TIMEOUT_S_MAX, timeout_s / 2)
            )

            def _init_session(self) -> Any:
                if http is not None:
                    return ExchangeSession(http, offload, self._get_headers())
                return aiohttp.ClientSession(
                    headers=self._get_headers(),
                    connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, ttl_dns_cache=300),
                )

            async def _handle_response(self, response: Any) -> Any:
                read_headers(response.headers)
                return read_answer(response.status, response.headers, await response.read())

        return Client(
            api_key=self._api_key, api_secret=self._api_secret, loop=asyncio.get_running_loop()
        )


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> object:
    """
    Return the JSON of a successful answer; numbers in it stay text or float as the venue sent them.

    Raises:
        HttpFault: the status is no success, or a success carries a negative code.
        AnswerUnreadable: a success without readable JSON.

    """
    try:
        answer = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        if status in _STATUS_OK:
            raise AnswerUnreadable(f"HTTP {status} with {body[:200]!r}") from error
        raise HttpFault(status, None, body[:500].decode(errors="replace"), headers) from error
    code = answer.get("code") if isinstance(answer, dict) else None
    code = int(code) if isinstance(code, int | str) and str(code).lstrip("-").isdigit() else None
    if status not in _STATUS_OK or (code is not None and code < 0):
        message = answer.get("msg") if isinstance(answer, dict) else None
        raise HttpFault(status, code, str(message or answer), headers)
    return answer


def _text(value: Value) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(value) if isinstance(value, Decimal) else str(value)
