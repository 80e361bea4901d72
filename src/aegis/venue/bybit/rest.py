"""
Bybit's signed REST through pybit: the only file that knows pybit.

Calls block, so each runs on a lane of the offload port, with one HTTP object per lane: "protect"
is kept for what reduces risk. pybit's own retries are off (they sleep and send again), and so is
its logging. In simulation the same HTTP objects send through an adapter that asks the twin inline.
"""

import io
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import requests
import requests.adapters
from pybit import _helpers
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP

from aegis.core.clock import NS_PER_MS
from aegis.core.errors import VenueProtocolError, VenueRefused
from aegis.core.offload import Offload
from aegis.core.transport import HttpExchange, HttpRequest
from aegis.venue.bybit import limits, wire
from aegis.venue.bybit.errors import (
    TIMESTAMP_REFUSED,
    VENUE,
    AnswerUnreadable,
    ApiRefusal,
    HttpFailure,
    code_text,
)
from aegis.venue.bybit.frames import Answer
from aegis.venue.calls import CallRunner
from aegis.venue.clock_watch import Reading, measure

LANE_DEFAULT: Final = "default"
LANE_PROTECT: Final = "protect"
_PAGES_MAX: Final = 100
_NO_RETRY_CODE: Final = -1
_JSON_UNREADABLE_STATUS: Final = 409
_TIME: Final = "get_server_time"


class BybitRest:
    """Call pybit methods by name and return their `Answer`, or raise the VenueError tree."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        api_secret: str,
        http: HttpExchange | None,
        offload: Offload,
        runner: CallRunner,
        recv_window_ms: int,
        request_timeout_s: float,
        order_timeout_s: float | None = None,
    ) -> None:
        """*order_timeout_s* is for calls that name an order or protect; None: as for others."""
        self._offload = offload
        self._runner = runner
        self._timeout_s = request_timeout_s
        self._order_timeout_s = order_timeout_s or request_timeout_s
        self._sessions = {
            lane: _session(
                base_url=base_url,
                api_key=api_key,
                api_secret=api_secret,
                http=http,
                recv_window_ms=recv_window_ms,
                # A protective call that hangs must not hold the next one longer than its own time.
                request_timeout_s=(
                    self._order_timeout_s if lane == LANE_PROTECT else request_timeout_s
                ),
            )
            for lane in (LANE_DEFAULT, LANE_PROTECT)
        }
        self.offset_ns = 0
        """The venue's clock minus ours; added to every signature's timestamp."""
        self.on_measured: Callable[[Reading], None] | None = None

    async def sync_time(self) -> int:
        """Measure and use the offset of the venue's clock; return it in ms."""
        reading = await measure(self._read_time)
        self.offset_ns = reading.offset_ns
        for session in self._sessions.values():
            session.clock_offset_ms = round(reading.offset_ns / NS_PER_MS)
        if self._runner.gate is not None:
            self._runner.gate.offset_ns = reading.offset_ns
        if self.on_measured is not None:
            self.on_measured(reading)
        return round(reading.offset_ns / NS_PER_MS)

    async def _read_time(self) -> Reading:
        session, clock = self._sessions[LANE_DEFAULT], self._runner.clock

        def ask() -> tuple[int, Answer, int]:
            # Read in the lane's own thread: waiting for the lane is not on the way.
            before_ns = clock.wall_ns()
            answer, _ = _send(session, _TIME, {}, ())
            return before_ns, answer, clock.wall_ns()

        before_ns, answer, after_ns = await self._runner.run(
            _TIME,
            lambda: self._offload(ask, lane=LANE_DEFAULT),
            timeout_s=self._timeout_s,
            protective=True,
        )
        venue_ns = answer.read(wire.ServerTime).time_nano
        return Reading(before_ns=before_ns, after_ns=after_ns, venue_ns=venue_ns)

    async def call(
        self,
        operation: str,
        params: Mapping[str, object] | None = None,
        *,
        lane: str = LANE_DEFAULT,
        client_order_id: str | None = None,
        accept: Collection[str] = (),
        protective: bool = False,
        before_again: Callable[[], None] | None = None,
    ) -> Answer:
        """
        Call the pybit method named *operation* and return its answer.

        *client_order_id* marks a call that creates or cancels an order. *accept* names retCodes
        that count as success with an empty result ("not modified"). *protective* calls may use the
        venue's whole request limit, as all of the protective lane may.

        A timestamp the venue refuses is measured anew and the call repeated once: refused means
        that nothing was done. *before_again* is called before that and may raise instead.

        Raises:
            VenueError: as `CallRunner.run`.

        """
        params = dict(params or {})
        protective = protective or lane == LANE_PROTECT or operation in limits.PROTECTIVE
        try:
            return await self._once(operation, params, lane, client_order_id, accept, protective)
        except VenueRefused as refusal:
            if refusal.code != TIMESTAMP_REFUSED:
                raise
        await self.sync_time()
        if before_again is not None:
            before_again()
        return await self._once(operation, params, lane, client_order_id, accept, protective)

    async def _once(
        self,
        operation: str,
        params: Mapping[str, object],
        lane: str,
        client_order_id: str | None,
        accept: Collection[str],
        protective: bool,
    ) -> Answer:
        session, gate, sent_ns = self._sessions[lane], self._runner.gate, 0

        def send() -> tuple[Answer, Mapping[str, str]]:
            nonlocal sent_ns
            sent_ns = 0 if gate is None else gate.now_ns()
            return _send(session, operation, dict(params), accept)

        acts = client_order_id is not None or lane == LANE_PROTECT
        # A call that times out while it waits for its lane is never sent; one that has begun runs
        # on, so that its outcome is unknown and it must not be sent again (core.offload).
        answer, headers = await self._runner.run(
            operation,
            lambda: self._offload(send, lane=lane),
            timeout_s=self._order_timeout_s if acts else self._timeout_s,
            client_order_id=client_order_id,
            protective=protective,
        )
        if gate is not None and headers:
            limits.read_headers(
                gate.ledger, operation, headers, sent_ns=sent_ns, now_ns=gate.now_ns()
            )
        return answer

    async def rows(
        self,
        operation: str,
        params: Mapping[str, object],
        *,
        limit: int,
        protective: bool = False,
    ) -> list[dict[str, object]]:
        """
        Return the rows of all pages; *protective* as in `call`.

        Raises:
            VenueError: when any page failed: part of a list is not a list (R88).

        """
        rows: list[dict[str, object]] = []
        cursor = ""
        for _ in range(_PAGES_MAX):
            more = {"cursor": cursor} if cursor else {}
            answer = await self.call(
                operation, {**params, "limit": limit, **more}, protective=protective
            )
            page = answer.read(wire.Page)
            rows += page.list
            if not page.list or not page.next_page_cursor:
                return rows
            cursor = page.next_page_cursor
        raise VenueProtocolError(
            cursor, f"more than {_PAGES_MAX} pages", venue=VENUE, operation=operation
        )

    def learn_usage(self, operation: str, headers: Mapping[str, object]) -> None:
        """Take the rate-limit headers of an answer of the order socket to *operation*."""
        gate = self._runner.gate
        if gate is not None:
            told = {name: str(value) for name, value in headers.items()}
            now_ns = gate.now_ns()
            limits.read_headers(gate.ledger, f"ws {operation}", told, sent_ns=now_ns, now_ns=now_ns)

    def close(self) -> None:
        """Close the connections; a call on its way ends with an error."""
        for session in self._sessions.values():
            session.client.close()


class _Session(HTTP):  # type: ignore[misc]  # no types there
    """pybit's client, signing with the venue's time."""

    clock_offset_ms = 0

    def _prepare_headers(
        self, payload: str, recv_window: int, content_type: str = "application/json"
    ) -> dict[str, str]:
        # As pybit's own, which adds no offset.
        timestamp = str(_helpers.generate_timestamp() + self.clock_offset_ms)
        return {
            "Content-Type": content_type,
            "X-BAPI-API-KEY": self.api_key,
            "X-BAPI-SIGN": self._auth(payload, recv_window, timestamp),
            "X-BAPI-SIGN-TYPE": "2",
            "X-BAPI-TIMESTAMP": timestamp,
            "X-BAPI-RECV-WINDOW": str(recv_window),
        }


def _session(
    *,
    base_url: str,
    api_key: str,
    api_secret: str,
    http: HttpExchange | None,
    recv_window_ms: int,
    request_timeout_s: float,
) -> Any:
    session = _Session(
        api_key=api_key or None,
        api_secret=api_secret or None,
        recv_window=recv_window_ms,
        timeout=request_timeout_s,
        max_retries=1,
        retry_codes={_NO_RETRY_CODE},
        # pybit raises on the text "0", which is a success (R42).
        ignore_codes={"0"},
        return_response_headers=True,
    )
    session.endpoint = base_url.rstrip("/")
    # pybit adds a handler of its own where the root logger has none, and logs headers.
    session.logger.handlers.clear()
    session.logger.addHandler(logging.NullHandler())
    session.logger.disabled = True
    if http is not None:
        session.client.trust_env = False
        adapter = InlineAdapter(http)
        session.client.mount("http://", adapter)
        session.client.mount("https://", adapter)
    return session


def _send(
    session: Any, operation: str, params: dict[str, object], accept: Collection[str]
) -> tuple[Answer, Mapping[str, str]]:
    """
    Call pybit and return the envelope's content, and the headers of the answer.

    Raises:
        ApiRefusal, HttpFailure, AnswerUnreadable: of errors.py; and what requests raises.

    """
    method: Callable[..., Any] = getattr(session, operation)
    try:
        envelope, _, headers = method(**params)
    except InvalidRequestError as error:
        code = code_text(error.status_code)
        if code in accept:
            return Answer(operation=operation, result={}), error.resp_headers or {}
        reset_ms = limits.reset_ms(error.resp_headers)
        raise ApiRefusal(code, str(error.message), reset_ms) from None
    except FailedRequestError as error:
        if error.status_code == _JSON_UNREADABLE_STATUS and error.resp_headers is None:
            raise AnswerUnreadable("the answer was not JSON") from None
        raise HttpFailure(int(error.status_code)) from None
    return _opened(operation, envelope), headers


def _opened(operation: str, envelope: object) -> Answer:
    if not isinstance(envelope, dict) or code_text(envelope.get("retCode")) != "0":
        raise AnswerUnreadable(f"the answer had no retCode: {str(envelope)[:200]}")
    result = envelope.get("result")
    return Answer(operation=operation, result=result if isinstance(result, dict) else {})


class InlineAdapter(requests.adapters.BaseAdapter):
    """A requests adapter that asks an `HttpExchange`, not a socket, in the caller's thread."""

    def __init__(self, http: HttpExchange) -> None:
        super().__init__()
        self._http = http

    def send(
        self,
        request: requests.PreparedRequest,
        *_args: object,
        **_kwargs: object,
    ) -> requests.Response:
        """Ask the exchange; its ConnectionError and TimeoutError pass as they are."""
        body = request.body or b""
        answer = self._http(
            HttpRequest(
                method=request.method or "GET",
                target=request.path_url,
                headers={name.lower(): _text(value) for name, value in request.headers.items()},
                body=body.encode() if isinstance(body, str) else bytes(body),
            )
        )
        response = requests.Response()
        response.status_code = answer.status
        response.headers.update(answer.headers)
        response.raw = io.BytesIO(answer.body)
        response.url = request.url or ""
        response.request = request
        return response

    def close(self) -> None:
        """Do nothing: there is no connection."""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
