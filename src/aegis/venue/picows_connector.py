"""
The stream port on picows, which hands a frame over in the call stack of the socket's own read.

No task and no queue stand between socket and handler, and `send` writes at once. In a burst the
loop still gets its turns: beyond BURST_FRAMES of one read the rest is kept, reading is paused, and
the frames follow turn by turn. Pings of our own find a peer that is gone without a word.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from picows.picows import WSCloseHandshake

from aegis.venue.stream_limits import (
    BURST_FRAMES,
    CLOSE_TIMEOUT_S,
    BoundedConnector,
    connect_error,
)

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_PONG: Final = WSMsgType.PONG
_CLOSE: Final = WSMsgType.CLOSE
_CONTINUATION: Final = WSMsgType.CONTINUATION


class PicowsConnector(BoundedConnector):
    """Open ws:// and wss:// streams."""

    async def connect(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> "PicowsConnection":
        """
        Open *url*.

        Raises:
            TimeoutError: no handshake within the open timeout.
            ConnectionError: name not found, refused, or the handshake was turned down.

        """
        connection = PicowsConnection(
            on_frame,
            on_close,
            self._on_defect,
            message_bytes_max=self._message_bytes_max,
            unsent_bytes_max=self._unsent_bytes_max,
        )
        try:
            async with asyncio.timeout(self._open_timeout_s):
                transport, _ = await ws_connect(
                    lambda: connection,
                    url,
                    ssl_context=self._ssl_context,
                    websocket_handshake_timeout=None,
                    enable_auto_pong=True,
                    max_frame_size=self._message_bytes_max,
                    max_redirects=0,
                    # uvloop's TLS writes when the callback has returned, and an order must leave in
                    # the call; without TLS its own transport does (docs/speed.md).
                    use_aiofastnet=url.startswith("wss:"),
                )
        except TimeoutError:
            raise TimeoutError(f"no handshake within {self._open_timeout_s} s") from None
        except (OSError, WSError, ValueError) as error:
            raise connect_error(url, error) from None
        if connection.transport is None:
            transport.disconnect(graceful=False)
            ended = ConnectionError("the peer closed before the handshake was done")
            raise connect_error(url, ended)
        self._opened += 1
        connection.begin(self._ping_interval_s, self._ping_timeout_s)
        return connection

    def _on_defect(self, error: Exception) -> None:
        """Raise what a frame handler raised where the supervisor tells it."""

        async def fail() -> None:
            raise error

        if not self._supervisor.stopping:
            _ = self._supervisor.start(f"websocket.{self._opened}.read", fail)


class PicowsConnection(WSListener):
    """One open socket. Made by PicowsConnector only."""

    def __init__(
        self,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
        on_defect: Callable[[Exception], None],
        *,
        message_bytes_max: int,
        unsent_bytes_max: int,
    ) -> None:
        self.transport: WSTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._on_frame = on_frame
        self._on_close = on_close
        self._on_defect = on_defect
        self._message_bytes_max = message_bytes_max
        self._unsent_bytes_max = unsent_bytes_max
        self._closed = False
        # Frames wait here until connect() has returned, and in a burst.
        self._backlog: deque[bytes] = deque()
        self._is_waiting = True
        self._reason: str | None = None
        self._in_a_row = 0
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._is_write_paused = False
        self._is_reading_paused = False
        self._ping_interval_s = self._ping_timeout_s = 0.0
        self._ping_handle: asyncio.TimerHandle | None = None
        self._pong_handle: asyncio.TimerHandle | None = None

    # --- our side --------------------------------------------------------------------------------

    def begin(self, ping_interval_s: float, ping_timeout_s: float) -> None:
        """Hand on what came with the handshake, once connect() has returned, and start to ping."""
        self._ping_interval_s, self._ping_timeout_s = ping_interval_s, ping_timeout_s
        self._ping_handle = self._loop.call_later(ping_interval_s, self._ping)
        self._loop.call_soon(self._go_on)

    def send(self, text: str) -> None:
        """
        Write *text* now; what the socket does not take at once follows in order.

        Raises:
            ConnectionError: once the stream is closed, by either side, or when the peer has left
                more than the limit unread.

        """
        transport = self.transport
        if self._closed or self._reason is not None or transport is None:
            raise ConnectionError("stream is closed")
        if self._is_write_paused:
            unsent = transport.underlying_transport.get_write_buffer_size()
            if unsent > self._unsent_bytes_max:
                reason = f"{unsent} bytes were unsent, limit {self._unsent_bytes_max}"
                self._break(reason)
                raise ConnectionError(reason)
        transport.send(_TEXT, text.encode())

    async def close(self) -> None:
        """Close the stream; *on_close* is not called. Frames still on their way are dropped."""
        self._closed = True
        self._stop_timers()
        self._backlog.clear()
        transport = self.transport
        if transport is None:
            return
        if not transport.is_disconnected:
            if self._is_reading_paused:
                self._is_reading_paused = False
                transport.underlying_transport.resume_reading()
            if not transport.is_close_frame_sent:
                transport.send_close(WSCloseCode.OK)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await transport.wait_disconnected()
        except TimeoutError:
            transport.disconnect(graceful=False)
        except WSError:
            # What the peer did wrong was told to on_close, if anybody still listened.
            return

    # --- what picows calls -----------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Hand on a whole message; everything else is housekeeping."""
        if frame.msg_type is _TEXT and frame.fin and not self._parts:
            message = frame.get_payload_as_bytes()
        else:
            whole = self._housekeep(transport, frame)
            if whole is None:
                return
            message = whole
        if self._is_waiting:
            self._backlog.append(message)
            return
        if frame.tail_size:
            # More lies in the buffer: this is a burst, and others need the loop as well.
            self._in_a_row += 1
            if self._in_a_row > BURST_FRAMES:
                self._wait_a_turn(transport)
                self._backlog.append(message)
                return
        else:
            self._in_a_row = 0
        self._hand_on(message)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell the end, unless it was told or is ours."""
        told: WSCloseHandshake | None = transport.close_handshake
        sent = told.sent if told else None
        if sent is not None and sent.reason:
            self._end(f"closed by us, {_code(sent.code)}: {sent.reason}")
        else:
            self._end("the connection was lost without a close frame")

    def pause_writing(self) -> None:
        """Count from here on what the peer leaves unread."""
        self._is_write_paused = True

    def resume_writing(self) -> None:
        """Everything was taken."""
        self._is_write_paused = False

    # --- behind them -----------------------------------------------------------------------------

    def _housekeep(self, transport: WSTransport, frame: WSFrame) -> bytes | None:
        """Take what is no whole text message; return the message it completes, if any."""
        kind = frame.msg_type
        if kind is _PONG:
            if self._pong_handle is not None:
                self._pong_handle.cancel()
                self._pong_handle = None
            return None
        if kind is _CLOSE:
            code, reason = frame.get_close_code(), frame.get_close_reason() or ""
            if not transport.is_close_frame_sent:
                transport.send_close(code if code is not WSCloseCode.NO_INFO else WSCloseCode.OK)
            transport.disconnect()
            self._end(f"closed by the peer, {_code(code)}: {reason}".rstrip(": "))
            return None
        if (kind is _CONTINUATION) != bool(self._parts) or kind not in {
            _TEXT,
            _BINARY,
            _CONTINUATION,
        }:
            self._break("a fragment of a message was out of place")
            return None
        payload = frame.get_payload_as_bytes()
        if frame.fin and not self._parts:
            return payload
        self._parts.append(payload)
        self._parts_bytes += len(payload)
        if self._parts_bytes > self._message_bytes_max:
            limit = self._message_bytes_max
            self._break(f"a message had more than {limit} bytes", WSCloseCode.MESSAGE_TOO_BIG)
            return None
        if not frame.fin:
            return None
        message = b"".join(self._parts)
        self._parts.clear()
        self._parts_bytes = 0
        return message

    def _hand_on(self, message: bytes) -> None:
        if self._closed:
            return
        try:
            self._on_frame(message)
        except Exception as error:  # noqa: BLE001 - raised again in a task the supervisor tells of
            self._on_defect(error)
            self._break(f"frame handler raised {type(error).__name__}")

    def _wait_a_turn(self, transport: WSTransport) -> None:
        self._is_waiting = True
        self._is_reading_paused = True
        transport.underlying_transport.pause_reading()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Hand on a share of what was kept, then let the loop have its turn."""
        backlog = self._backlog
        for _ in range(BURST_FRAMES):
            if not backlog:
                break
            self._hand_on(backlog.popleft())
        if backlog:
            self._loop.call_soon(self._go_on)
            return
        self._is_waiting = False
        self._in_a_row = 0
        if self._reason is not None:
            self._tell_end(self._reason)
        elif self._is_reading_paused and self.transport is not None:
            self._is_reading_paused = False
            if not self.transport.is_disconnected:
                self.transport.underlying_transport.resume_reading()

    def _ping(self) -> None:
        transport = self.transport
        if transport is None or self._closed or self._reason is not None:
            return
        self._ping_handle = self._loop.call_later(self._ping_interval_s, self._ping)
        if self._pong_handle is None:
            self._pong_handle = self._loop.call_later(self._ping_timeout_s, self._no_pong)
            transport.send_ping(b"aegis")

    def _no_pong(self) -> None:
        self._break(f"no pong within {self._ping_timeout_s} s")

    def _break(self, reason: str, code: WSCloseCode = WSCloseCode.PROTOCOL_ERROR) -> None:
        """Give the connection up at once: a peer that is gone would not answer a close."""
        transport = self.transport
        self._backlog.clear()
        self._end(reason)
        if transport is not None and not transport.is_disconnected:
            if not transport.is_close_frame_sent:
                transport.send_close(code)
            transport.disconnect(graceful=False)

    def _end(self, reason: str) -> None:
        self._stop_timers()
        if self._closed or self._reason is not None:
            return
        self._reason = reason
        if not self._backlog and not self._is_waiting:
            self._tell_end(reason)

    def _tell_end(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._on_close(reason)
        except Exception as error:  # noqa: BLE001 - raised again in a task the supervisor tells of
            self._on_defect(error)

    def _stop_timers(self) -> None:
        for handle in (self._ping_handle, self._pong_handle):
            if handle is not None:
                handle.cancel()
        self._ping_handle = self._pong_handle = None


def _code(code: WSCloseCode | int) -> int:
    return code.value if isinstance(code, WSCloseCode) else int(code)
