"""
The stream port on the `websockets` asyncio client, the one in pure Python.

One reader and one writer task per connection, both owned by the supervisor. The library's own
pings find a dead peer; compression is off, since it costs more than it saves on a fast link.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from aegis.venue.stream_limits import (
    BURST_FRAMES,
    CLOSE_TIMEOUT_S,
    BoundedConnector,
    connect_error,
)


class WebsocketConnector(BoundedConnector):
    """Open ws:// and wss:// streams."""

    async def connect(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> "WebsocketConnection":
        """
        Open *url*.

        Raises:
            TimeoutError: no handshake within the open timeout.
            ConnectionError: name not found, refused, or the handshake was turned down.

        """
        try:
            socket = await self._open(url)
        except TimeoutError:
            raise TimeoutError(f"no handshake within {self._open_timeout_s} s") from None
        except (OSError, WebSocketException, ValueError, EOFError) as error:
            raise connect_error(url, error) from None
        self._opened += 1
        connection = WebsocketConnection(socket, on_frame, on_close, self._unsent_bytes_max)
        for name, task in (("read", connection.read), ("write", connection.write)):
            _ = self._supervisor.start(f"websocket.{self._opened}.{name}", task)
        return connection

    async def _open(self, url: str) -> ClientConnection:
        tls: dict[str, Any] = {} if self._ssl_context is None else {"ssl": self._ssl_context}
        opening = connect(
            url,
            compression=None,
            max_size=self._message_bytes_max,
            max_queue=None,
            open_timeout=self._open_timeout_s,
            ping_interval=self._ping_interval_s,
            ping_timeout=self._ping_timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            **tls,
        )
        # A redirect would carry the listen key elsewhere.
        opening.process_redirect = lambda exc: exc  # type: ignore[method-assign]
        return await opening


class WebsocketConnection:
    """One open socket. Made by WebsocketConnector only."""

    def __init__(
        self,
        socket: ClientConnection,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
        unsent_bytes_max: int,
    ) -> None:
        self._socket = socket
        self._on_frame = on_frame
        self._on_close = on_close
        self._unsent_bytes_max = unsent_bytes_max
        self._outgoing: deque[str] = deque()
        self._outgoing_chars = 0
        self._wake = asyncio.Event()
        self._closed = False

    def send(self, text: str) -> None:
        """
        Queue *text* behind what was queued before.

        Raises:
            ConnectionError: once the stream is closed, by either side, or when the peer has left
                more than the limit unread.

        """
        if self._closed:
            raise ConnectionError("stream is closed")
        unsent = self._outgoing_chars + self._socket.transport.get_write_buffer_size()
        if unsent > self._unsent_bytes_max:
            reason = f"{unsent} bytes were unsent, limit {self._unsent_bytes_max}"
            self._peer_closed(reason)
            self._socket.transport.abort()
            raise ConnectionError(reason)
        self._outgoing.append(text)
        self._outgoing_chars += len(text)
        self._wake.set()

    async def close(self) -> None:
        """Close the stream; *on_close* is not called. Frames still on their way are dropped."""
        self._closed = True
        self._wake.set()
        await self._socket.close()

    async def read(self) -> None:
        """Hand every frame to *on_frame* until the connection ends."""
        in_a_row = 0
        while True:
            try:
                frame = await self._socket.recv(decode=False)
            except ConnectionClosed as closed:
                self._peer_closed(str(closed))
                return
            if self._closed:
                continue
            self._on_frame(frame)
            in_a_row += 1
            if in_a_row >= BURST_FRAMES:
                # recv() does not wait while frames are there, and others need the loop as well.
                in_a_row = 0
                await asyncio.sleep(0)

    async def write(self) -> None:
        """Send what was queued, in order, until the connection ends."""
        while True:
            while self._outgoing:
                text = self._outgoing.popleft()
                self._outgoing_chars -= len(text)
                try:
                    await self._socket.send(text)
                except ConnectionClosed:
                    # The reader sees the same end and tells the reason.
                    return
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()

    def _peer_closed(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._on_close(reason)
