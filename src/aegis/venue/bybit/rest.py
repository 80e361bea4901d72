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
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP

from aegis.core.errors import VenueProtocolError
from aegis.core.offload import Offload
from aegis.core.transport import HttpExchange, HttpRequest
from aegis.venue.bybit import wire
from aegis.venue.bybit.errors import VENUE, AnswerUnreadable, ApiRefusal, HttpFailure, code_text
from aegis.venue.bybit.frames import Answer
from aegis.venue.calls import CallRunner

LANE_DEFAULT: Final = "default"
LANE_PROTECT: Final = "protect"
_PAGES_MAX: Final = 100
_NO_RETRY_CODE: Final = -1
_JSON_UNREADABLE_STATUS: Final = 409
_RESET_HEADER: Final = "X-Bapi-Limit-Reset-Timestamp"


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

    async def call(
        self,
        operation: str,
        params: Mapping[str, object] | None = None,
        *,
        lane: str = LANE_DEFAULT,
        client_order_id: str | None = None,
        accept: Collection[str] = (),
    ) -> Answer:
        """
        Call the pybit method named *operation* and return its answer.

        *client_order_id* marks a call that creates or cancels an order. *accept* names retCodes
        that count as success with an empty result ("not modified").

        Raises:
            VenueError: as `CallRunner.run`.

        """
        session = self._sessions[lane]

        def send() -> Answer:
            return _send(session, operation, dict(params or {}), accept)

        acts = client_order_id is not None or lane == LANE_PROTECT
        # A call that times out while it waits for its lane is never sent; one that has begun runs
        # on, so that its outcome is unknown and it must not be sent again (core.offload).
        return await self._runner.run(
            operation,
            lambda: self._offload(send, lane=lane),
            timeout_s=self._order_timeout_s if acts else self._timeout_s,
            client_order_id=client_order_id,
        )

    async def rows(
        self, operation: str, params: Mapping[str, object], *, limit: int
    ) -> list[dict[str, object]]:
        """
        Return the rows of all pages.

        Raises:
            VenueError: when any page failed: part of a list is not a list (R88).

        """
        rows: list[dict[str, object]] = []
        cursor = ""
        for _ in range(_PAGES_MAX):
            more = {"cursor": cursor} if cursor else {}
            answer = await self.call(operation, {**params, "limit": limit, **more})
            page = answer.read(wire.Page)
            rows += page.list
            if not page.list or not page.next_page_cursor:
                return rows
            cursor = page.next_page_cursor
        raise VenueProtocolError(
            cursor, f"more than {_PAGES_MAX} pages", venue=VENUE, operation=operation
        )

    def close(self) -> None:
        """Close the connections; a call on its way ends with an error."""
        for session in self._sessions.values():
            session.client.close()


def _session(
    *,
    base_url: str,
    api_key: str,
    api_secret: str,
    http: HttpExchange | None,
    recv_window_ms: int,
    request_timeout_s: float,
) -> Any:
    session = HTTP(
        api_key=api_key or None,
        api_secret=api_secret or None,
        recv_window=recv_window_ms,
        timeout=request_timeout_s,
        max_retries=1,
        retry_codes={_NO_RETRY_CODE},
        # pybit raises on the text "0", which is a success (R42).
        ignore_codes={"0"},
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
) -> Answer:
    """
    Call pybit and return the envelope's content.

    Raises:
        ApiRefusal, HttpFailure, AnswerUnreadable: of errors.py; and what requests raises.

    """
    method: Callable[..., Any] = getattr(session, operation)
    try:
        envelope = method(**params)
    except InvalidRequestError as error:
        code = code_text(error.status_code)
        if code in accept:
            return Answer(operation=operation, result={})
        raise ApiRefusal(code, str(error.message), _reset_ms(error.resp_headers)) from None
    except FailedRequestError as error:
        if error.status_code == _JSON_UNREADABLE_STATUS and error.resp_headers is None:
            raise AnswerUnreadable("the answer was not JSON") from None
        raise HttpFailure(int(error.status_code)) from None
    return _opened(operation, envelope)


def _opened(operation: str, envelope: object) -> Answer:
    if not isinstance(envelope, dict) or code_text(envelope.get("retCode")) != "0":
        raise AnswerUnreadable(f"the answer had no retCode: {str(envelope)[:200]}")
    result = envelope.get("result")
    return Answer(operation=operation, result=result if isinstance(result, dict) else {})


def _reset_ms(headers: Mapping[str, str] | None) -> int | None:
    text = (headers or {}).get(_RESET_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() else None


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
