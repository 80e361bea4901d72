"""A face without sockets: the transport ports answered by calls and timers of the loop."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.face_api import Face, StreamSession


def _nothing() -> None:
    pass


class InprocTransport:
    """
    Fulfils `HttpExchange` and `StreamConnector` over *face*.

    Frames of one instant travel in one callback, *stream_delay_s* (plus up to *jitter_s*, drawn
    from *rng*) of loop time each way, in order. *before_request* runs before every request,
    message and connection, *after_request* after it: the world is brought to now, and asked again
    when it moves next. HTTP latency is the caller's affair.
    """

    def __init__(
        self,
        face: Face,
        loop: asyncio.AbstractEventLoop,
        *,
        stream_delay_s: float = 0.002,
        jitter_s: float = 0.0,
        rng: random.Random | None = None,
        before_request: Callable[[], None] = _nothing,
        after_request: Callable[[], None] = _nothing,
    ) -> None:
        if stream_delay_s < 0 or jitter_s < 0:
            raise ValueError(f"delay was {stream_delay_s} s, jitter {jitter_s} s, must be >= 0")
        if jitter_s and rng is None:
            raise ValueError("jitter needs a random source")
        self.face: Final = face
        self.loop: Final = loop
        self._stream_delay_s = stream_delay_s
        self._jitter_s = jitter_s
        self._rng = rng
        self.before_request: Final = before_request
        self.after_request: Final = after_request

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer *request* at once; the fault seam may raise ConnectionError or TimeoutError."""
        self.before_request()
        try:
            return self.face.http(request)
        finally:
            self.after_request()

    async def connect(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> "InprocStream":
        """
        Open the stream the path of *url* names, after one round trip.

        Raises:
            ConnectionError: when the face has no such stream.

        """
        await asyncio.sleep(2 * self._stream_delay_s)
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        stream = InprocStream(self, on_frame, on_close)
        self.before_request()
        session = self.face.open_stream(target, send=stream.deliver, close=stream.end)
        self.after_request()
        if session is None:
            raise ConnectionRefusedError(f"no stream at {target}")
        stream.session = session
        return stream

    def delay_s(self) -> float:
        """Return the loop time a frame takes one way."""
        if self._rng is None:
            return self._stream_delay_s
        return self._stream_delay_s + self._jitter_s * self._rng.random()


class InprocStream:
    """One open stream: frames and messages on their way, first in, first out."""

    def __init__(
        self,
        transport: InprocTransport,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._loop = transport.loop
        self._on_frame = on_frame
        self._on_close = on_close
        self._batch: deque[bytes] | None = None
        self._batch_at = -1.0
        self._down_at = 0.0
        self._up_at = 0.0
        self._closed = False
        self.session: StreamSession | None = None

    def send(self, text: str) -> None:
        """Queue *text* for the face; raises ConnectionError once the stream is closed."""
        if self._closed:
            raise ConnectionResetError("the stream is closed")
        self._up_at = self._after(self._up_at)
        self._loop.call_at(self._up_at, self._arrive, text)

    async def close(self) -> None:
        """Close the stream; frames under way are lost, *on_close* is not called."""
        self._leave()

    def deliver(self, frame: bytes) -> None:
        """Queue *frame* for the client: the face's *send*."""
        if self._closed:
            return
        now = self._loop.time()
        if self._batch is not None and self._batch_at == now:
            self._batch.append(frame)
            return
        self._batch = deque((frame,))
        self._batch_at = now
        self._down_at = self._after(self._down_at)
        self._loop.call_at(self._down_at, self._hand_over, self._batch)

    def end(self, reason: str) -> None:
        """End the stream from the venue's side, after the frames under way: the face's *close*."""
        if not self._closed:
            self._batch = None
            self._down_at = self._after(self._down_at)
            self._loop.call_at(self._down_at, self._ended, reason)

    def _after(self, previous: float) -> float:
        return max(previous, self._loop.time() + self._transport.delay_s())

    def _hand_over(self, batch: deque[bytes]) -> None:
        if batch is self._batch:
            self._batch = None
        try:
            while batch and not self._closed:
                self._on_frame(batch.popleft())
        finally:
            # A client that raises loses no frame after the one it raised on.
            if batch and not self._closed:
                self._loop.call_soon(self._hand_over, batch)

    def _arrive(self, text: str) -> None:
        if self._closed or self.session is None:
            return
        self._transport.before_request()
        try:
            self.session.on_message(text)
        finally:
            self._transport.after_request()

    def _ended(self, reason: str) -> None:
        if not self._closed:
            self._leave()
            self._on_close(reason)

    def _leave(self) -> None:
        if not self._closed:
            self._closed = True
            if self.session is not None:
                self.session.on_closed()
