"""A loopback server for any face: HTTP requests and WebSocket streams over aiohttp."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from aiohttp import ClientConnectionResetError, WSMsgType, web

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.face_api import Face, StreamSession

_FRAMES_BEHIND_MAX: Final = 100_000
_CLOSE_TIMEOUT_S: Final = 2.0


def _nothing() -> None:
    pass


class TwinServer:
    """
    Serves *face* on *host* and *port* (0: any free one).

    *before_request* runs before every request, message and connection, *after_request* after it.
    *stream_delay_s* is the least time a stream's frame waits before it is written: pybit drops an
    answer that comes within about 5 ms, before it has noted its question (venues.md 4.3). A fault
    seam that raises ConnectionError or TimeoutError has the connection cut.
    """

    def __init__(
        self,
        face: Face,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        stream_delay_s: float = 0.0,
        before_request: Callable[[], None] = _nothing,
        after_request: Callable[[], None] = _nothing,
    ) -> None:
        if stream_delay_s < 0:
            raise ValueError(f"stream delay was {stream_delay_s} s, must not be negative")
        self._face = face
        self._host = host
        self._port = port
        self._stream_delay_s = stream_delay_s
        self._before_request = before_request
        self._after_request = after_request
        self._runner: web.ServerRunner | None = None
        self._streams: list[_Stream] = []

    @property
    def url(self) -> str:
        """Return the address for HTTP, without a trailing slash; known once started."""
        return f"http://{self._host}:{self._port}"

    @property
    def ws_url(self) -> str:
        """Return the address for WebSockets, without a trailing slash; known once started."""
        return f"ws://{self._host}:{self._port}"

    async def start(self) -> None:
        """
        Listen.

        Raises:
            OSError: when the port is taken.

        """
        # The low-level server has no router: every path goes to one handler, as bytes came in.
        runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        await runner.setup()
        self._runner = runner
        site = web.TCPSite(runner, self._host, self._port, shutdown_timeout=_CLOSE_TIMEOUT_S)
        await site.start()
        self._port = int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Cut every stream and stop listening."""
        for stream in list(self._streams):
            stream.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._serve_stream(request)
        body = await request.read()
        try:
            answer = self._answer(request, body)
        except (ConnectionError, TimeoutError):
            _cut(request)
            return web.Response(status=502)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _answer(self, request: web.BaseRequest, body: bytes) -> HttpResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._before_request()
        try:
            return self._face.http(
                HttpRequest(
                    method=request.method,
                    target=request.raw_path,
                    headers=headers,
                    body=body,
                )
            )
        finally:
            self._after_request()

    async def _serve_stream(self, request: web.BaseRequest) -> web.StreamResponse:
        stream = _Stream(request, self._stream_delay_s)
        self._before_request()
        session = self._face.open_stream(request.raw_path, send=stream.deliver, close=stream.end)
        self._after_request()
        if session is None:
            return web.Response(status=404)
        self._streams.append(stream)
        try:
            return await stream.serve(lambda text: self._hear(session, text))
        finally:
            self._streams.remove(stream)
            session.on_closed()

    def _hear(self, session: StreamSession, text: str) -> None:
        self._before_request()
        try:
            session.on_message(text)
        finally:
            self._after_request()


class _Stream:
    """One WebSocket connection: its outgoing frames and the one task that writes them."""

    def __init__(self, request: web.BaseRequest, delay_s: float) -> None:
        self._request = request
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._socket = web.WebSocketResponse(compress=False, timeout=_CLOSE_TIMEOUT_S)
        self._frames: deque[tuple[float, bytes]] = deque()
        self._ready = asyncio.Event()
        self._end_reason: str | None = None

    def deliver(self, frame: bytes) -> None:
        """Queue *frame*; a client that is too far behind is cut off, as the venues do."""
        due = self._loop.time() + self._delay_s if self._delay_s else 0.0
        self._frames.append((due, frame))
        if len(self._frames) > _FRAMES_BEHIND_MAX:
            self.cut()
        self._ready.set()

    def end(self, reason: str) -> None:
        """Close the connection once the frames queued so far are written."""
        self._end_reason = reason
        self._ready.set()

    def cut(self) -> None:
        """Drop the connection without a close handshake."""
        self._frames.clear()
        _cut(self._request)

    async def serve(self, hear: Callable[[str], None]) -> web.StreamResponse:
        """Run the connection to its end; pings are answered by the socket."""
        await self._socket.prepare(self._request)
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(), name="twin stream writer")
            try:
                async for message in self._socket:
                    if message.type is WSMsgType.TEXT:
                        hear(message.data)
            finally:
                writer.cancel()
        return self._socket

    async def _write(self) -> None:
        frames = self._frames
        try:
            while True:
                await self._ready.wait()
                self._ready.clear()
                while frames:
                    due, frame = frames.popleft()
                    if due:
                        await asyncio.sleep(due - self._loop.time())
                    await self._socket.send_frame(frame, WSMsgType.TEXT)
                if self._end_reason is not None:
                    await self._socket.close(message=self._end_reason.encode()[:120])
                    return
        except ClientConnectionResetError:
            # The client is gone; the reading side ends the connection.
            frames.clear()


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
