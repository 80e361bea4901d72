"""
The stream port on the `websockets` asyncio client, for every stream that runs over a real socket.

One reader and one writer task per connection, both owned by the supervisor. The library's own
pings find a dead peer; compression is off, since it costs more than it saves on a fast link.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from aegis.core.supervise import Supervisor

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
_CLOSE_TIMEOUT_S: Final = 2.0


class WebsocketConnector:
    """Open ws:// and wss:// streams. Times in loop seconds."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        open_timeout_s: float = 10.0,
        ping_interval_s: float = 15.0,
        ping_timeout_s: float = 15.0,
    ) -> None:
        self._supervisor = supervisor
        self._open_timeout_s = open_timeout_s
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = ping_timeout_s
        self._opened = 0

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
            socket = await connect(
                url,
                compression=None,
                max_size=FRAME_BYTES_MAX,
                max_queue=None,
                open_timeout=self._open_timeout_s,
                ping_interval=self._ping_interval_s,
                ping_timeout=self._ping_timeout_s,
                close_timeout=_CLOSE_TIMEOUT_S,
            )
        except (ConnectionError, TimeoutError):
            raise
        except (OSError, WebSocketException) as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        self._opened += 1
        connection = WebsocketConnection(socket, on_frame, on_close)
        for name, task in (("read", connection.read), ("write", connection.write)):
            _ = self._supervisor.start(f"websocket.{self._opened}.{name}", task)
        return connection


class WebsocketConnection:
    """One open socket. Made by WebsocketConnector only."""

    def __init__(
        self,
        socket: ClientConnection,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> None:
        self._socket = socket
        self._on_frame = on_frame
        self._on_close = on_close
        self._outgoing: asyncio.Queue[str | None] = asyncio.Queue()
        self._closed = False

    def send(self, text: str) -> None:
        """
        Queue *text* behind what was queued before.

        Raises:
            ConnectionError: once the stream is closed, by either side.

        """
        if self._closed:
            raise ConnectionError("stream is closed")
        self._outgoing.put_nowait(text)

    async def close(self) -> None:
        """Close the stream; *on_close* is not called. Frames still on their way are dropped."""
        if not self._closed:
            self._closed = True
            self._outgoing.put_nowait(None)
        await self._socket.close()

    async def read(self) -> None:
        """Hand every frame to *on_frame* until the connection ends."""
        while True:
            try:
                frame = await self._socket.recv(decode=False)
            except ConnectionClosed as closed:
                self._peer_closed(str(closed))
                return
            if self._closed:
                continue
            self._on_frame(frame)

    async def write(self) -> None:
        """Send what was queued, in order, until the connection ends."""
        while (text := await self._outgoing.get()) is not None:
            try:
                await self._socket.send(text)
            except ConnectionClosed:
                # The reader sees the same end and tells the reason.
                return

    def _peer_closed(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        self._outgoing.put_nowait(None)
        self._on_close(reason)
