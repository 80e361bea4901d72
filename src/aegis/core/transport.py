"""
The two transport ports: one HTTP exchange, one message stream.

Live, aiohttp, requests and websockets stand behind them; in simulation the twin's faces do, without
sockets. Adapters know only these ports, so the same adapter runs on both.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import attrs


@attrs.frozen(slots=True, kw_only=True)
class HttpRequest:
    """
    One HTTP request as bytes on the wire.

    *target* is path and query as sent, not decoded (signatures are over the raw bytes); header
    names are lower case.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """Return the target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """Return the raw query string, "" when there is none."""
        return self.target.partition("?")[2]


@attrs.frozen(slots=True, kw_only=True)
class HttpResponse:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict)


class HttpExchange(Protocol):
    """Answers a request at once; the in-process twin. May raise ConnectionError or TimeoutError."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer *request*."""


class StreamConnection(Protocol):
    """An open message stream. Incoming frames go to the callback given at `connect`."""

    def send(self, text: str) -> None:
        """Queue *text* for sending; raises ConnectionError once the stream is closed."""

    async def close(self) -> None:
        """Close the stream; *on_close* is not called for a close of our own."""


class StreamConnector(Protocol):
    """Opens message streams."""

    async def connect(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> StreamConnection:
        """
        Open *url* and return the connection.

        *on_frame* is called synchronously for every incoming text frame (UTF-8 bytes), in order.
        *on_close* is called once, with a reason, when the peer closes or the stream breaks.

        Raises:
            ConnectionError, TimeoutError: when the stream cannot be opened.
        """
