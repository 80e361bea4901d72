"""
A TCP proxy that breaks connections on request. It knows no protocol beyond the first request line,
which tells the streams of the two venues and plain HTTP apart; then it passes bytes.

Times are loop seconds.
"""

import asyncio
import enum
import random
import socket
import struct
from collections.abc import Callable
from typing import Final

import attrs

HEAD_BYTES_MAX: Final = 64 * 1024
CHUNK_BYTES: Final = 256 * 1024
OPEN_TIMEOUT_S: Final = 10.0
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


class Stream(enum.StrEnum):
    """What a connection carries."""

    USER = "user"
    MARKET = "market"
    ORDER = "order"
    REST = "rest"


class Kind(enum.StrEnum):
    """How a connection is broken."""

    CLOSE = "close"
    """Both sides get an orderly end of file."""
    RESET = "reset"
    """Both sides get a RST."""
    SILENT = "silent"
    """Half-open: nothing passes any more and nobody is told; a RST comes after the duration."""
    STALL = "stall"
    """Nothing passes for the duration, then all of it does."""
    REFUSE = "refuse"
    """A RST now, and for every new connection of that stream within the duration."""


Tap = Callable[[Stream, bool, bytes], None]
"""Hears every chunk before it is passed on: stream, from the client or not, bytes."""


def stream_of(head: bytes) -> Stream:
    """
    Return what the connection that begins with *head* carries.

    >>> stream_of(b"GET /private/ws?listenKey=k HTTP/1.1\\r\\nUpgrade: websocket\\r\\n\\r\\n")
    <Stream.USER: 'user'>
    """
    line, _, rest = head.partition(b"\r\n")
    if b"upgrade: websocket" not in rest.lower():
        return Stream.REST
    target = line.split(b" ")[1] if line.count(b" ") >= 2 else b""
    if b"ws-fapi" in target or target.startswith(b"/v5/trade"):
        return Stream.ORDER
    if target.startswith((b"/private", b"/v5/private")):
        return Stream.USER
    return Stream.MARKET


@attrs.define(eq=False)
class _Link:
    """One client's connection and the one to the server behind it."""

    stream: Stream
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    flowing: asyncio.Event
    swallowing: bool = False

    def end(self, *, reset: bool) -> None:
        """Drop both sides."""
        for writer in (self.client, self.server):
            _end(writer, reset=reset)
        self.flowing.set()


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if not reset:
        writer.close()
        return
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    writer.transport.abort()


class ChaosProxy:
    """Listens on a free port of loopback and passes to *port*; `strike` breaks what it carries."""

    def __init__(self, port: int, rng: random.Random, tap: Tap) -> None:
        self._port = port
        self._rng = rng
        self._tap = tap
        self._links: list[_Link] = []
        self._refused_until: dict[Stream, float] = {}
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.opened: dict[Stream, list[float]] = {stream: [] for stream in Stream}
        """When connections were opened, by stream."""
        self.refused = 0

    @property
    def url(self) -> str:
        """Return the address for HTTP; known once started."""
        assert self._server is not None, "start it first"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)

    async def stop(self) -> None:
        """Stop listening, drop every connection and wait for them to end."""
        assert self._server is not None, "start it first"
        self._server.close()
        for link in list(self._links):
            link.end(reset=True)
        while self._serving:
            await asyncio.wait(self._serving)

    def carried(self) -> list[Stream]:
        """Return the streams with a connection now, each once, in the order of `Stream`."""
        there = {link.stream for link in self._links}
        return [stream for stream in Stream if stream in there]

    def strike(self, stream: Stream, kind: Kind, duration_s: float) -> int:
        """Break *stream*; return how many connections were hit."""
        loop = asyncio.get_running_loop()
        links = [link for link in self._links if link.stream is stream]
        # HTTP clients hold idle connections: hitting one of several would mostly hit none.
        if links and stream is not Stream.REST and kind is not Kind.REFUSE:
            links = [self._rng.choice(links)]
        if kind is Kind.REFUSE:
            self._refused_until[stream] = loop.time() + duration_s
        for link in links:
            match kind:
                case Kind.CLOSE:
                    link.end(reset=False)
                case Kind.RESET | Kind.REFUSE:
                    link.end(reset=True)
                case Kind.SILENT:
                    link.swallowing = True
                    loop.call_later(duration_s, self._end_silence, link)
                case Kind.STALL:
                    link.flowing.clear()
                    loop.call_later(duration_s, link.flowing.set)
        return len(links)

    def _end_silence(self, link: _Link) -> None:
        link.end(reset=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "called by the server"
        self._serving.add(task)
        try:
            await self._carry(reader, writer)
        finally:
            self._serving.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                stream = stream_of(head)
                if loop.time() < self._refused_until.get(stream, 0.0):
                    self.refused += 1
                    _end(writer, reset=True)
                    return
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            _end(writer, reset=True)
            return
        link = _Link(stream, writer, to_server, asyncio.Event())
        link.flowing.set()
        self._links.append(link)
        self.opened[stream].append(loop.time())
        try:
            self._tap(stream, True, head)
            to_server.write(head)
            async with asyncio.TaskGroup() as group:
                pumps = (
                    group.create_task(self._pump(link, reader, to_server, from_client=True)),
                    group.create_task(self._pump(link, from_server, writer, from_client=False)),
                )
                for pump in pumps:
                    pump.add_done_callback(lambda _: self._one_side_ended(link))
        finally:
            self._links.remove(link)
            link.end(reset=False)

    def _one_side_ended(self, link: _Link) -> None:
        # A half-open connection keeps the other side in the dark until its time is over.
        if not link.swallowing:
            link.end(reset=False)

    async def _pump(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        from_client: bool,
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await link.flowing.wait()
                if link.swallowing:
                    continue
                self._tap(link.stream, from_client, chunk)
                if not writer.is_closing():
                    writer.write(chunk)
                    await writer.drain()
        except OSError:
            # A reset of either side ends the link, as an end of file does.
            return
