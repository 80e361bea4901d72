"""
Orders over a WebSocket: requests by id, each with a future for its answer. Knows no venue.

A request leaves in the call that asks for it, or not at all: between the decision and the bytes
there is no queue, task or await of ours. What is not sent is said at once (ConnectionError), so
that the caller may go by REST; what was sent is never sent again by another way.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from loguru import logger

from aegis.core.clock import Clock
from aegis.core.errors import OrderOutcomeUnknown, VenueUnreachable
from aegis.core.supervise import Supervisor
from aegis.core.transport import StreamConnection, StreamConnector
from aegis.model.events import StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.venue.calls import CallRunner
from aegis.venue.managed_stream import ManagedStream

ORDER_STREAM: Final = "orders"
"""The stream's name in events."""

_IDS_PER_MS: Final = 1000

Answered: TypeAlias = tuple[str, object]
"""Request id and answer; an answer that is an exception is a failure, for the venue's classify."""

Ask: TypeAlias = Callable[[str, str], Awaitable[Any]]
"""Send (request id, text) and return the answer: what a log-in is done with."""


class OrderSocket:
    """
    Keep one order entry socket open, and match answers to requests.

    *read* turns a frame into what it answers, or None; it raises VenueProtocolError for frames it
    does not understand. *log_in* is done after every opening, before the first order; what it
    raises is ManagedStream's *on_open*. *answer_timeout_s*: loop seconds for one answer. A socket
    that owes an answer for longer takes no orders until it speaks again, and is given up when it
    stays silent for as long once more.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        url: str,
        connector: StreamConnector,
        supervisor: Supervisor,
        clock: Clock,
        rng: random.Random,
        calls: CallRunner,
        read: Callable[[bytes], Answered | None],
        on_state: Callable[[StreamOpened | StreamClosed], None],
        answer_timeout_s: float,
        log_in: Callable[[Ask], Awaitable[None]] | None = None,
        ping_text: Callable[[], str] | None = None,
        ping_interval_s: float = 20.0,
        silence_timeout_s: float | None = None,
    ) -> None:
        self.late_answers = 0
        """Answers that came after their request was given up."""
        self._venue = venue
        self._url = url
        self._connector = connector
        self._calls = calls
        self._read = read
        self._log_in = log_in
        self._timeout_s = answer_timeout_s
        self._pending: dict[str, tuple[asyncio.Future[Any], Callable[[Any], None] | None]] = {}
        self._line: _Line | None = None
        self._doubted = False
        self._started = False
        self._retired = False
        # The venue refuses an id twice: a process that starts anew goes on above its forerunner.
        self._last_id = clock.wall_ns() // 1_000_000 * _IDS_PER_MS
        self._stream = ManagedStream(
            venue=venue,
            name=ORDER_STREAM,
            connector=_Lines(self),
            url=self._where,
            on_frame=self._take,
            on_open=self._opened,
            on_state=on_state,
            supervisor=supervisor,
            clock=clock,
            rng=rng,
            ping_text=ping_text,
            ping_interval_s=ping_interval_s,
            silence_timeout_s=silence_timeout_s,
        )

    @property
    def ready(self) -> bool:
        """Say whether an order sent now would go out, logged in and with no answer overdue."""
        return self._line is not None and not self._doubted

    def start(self) -> None:
        """Start connecting; harmless when it has started."""
        if not self._started:
            self._started = True
            self._stream.start()

    async def stop(self) -> None:
        """Close the socket for good; what is not answered by then is unknown."""
        await self._stream.stop()
        self._lost("stopped")

    def retire(self) -> None:
        """Take no more orders; answers under way still come, and `stop` closes it."""
        self._retired = True
        self._line = None

    def next_id(self) -> str:
        """Return a request id that was not used before."""
        self._last_id += 1
        return str(self._last_id)

    def send(
        self,
        request_id: str,
        text: str,
        on_late: Callable[[Any], None] | None = None,
        *,
        operation: str = "",
        protective: bool = True,
    ) -> asyncio.Future[Any]:
        """
        Send *text* now and return the future of its answer.

        *on_late* gets the answer if it comes after the future was given up. *operation* is charged
        to the request limits, *protective* ones to all of them.

        Raises:
            ConnectionError: not sent: the socket is not open, not logged in, or owes an answer, or
                the request limit has no room: REST waits for some, or says so.

        """
        line = self._line
        if line is None or self._doubted:
            raise ConnectionError("the order socket is not ready")
        if operation and not self._calls.has_room(operation, protective=protective):
            raise ConnectionError("the request limit has no room")
        line.send(text)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = (future, on_late)
        return future

    async def ask(
        self,
        operation: str,
        request_id: str,
        text: str,
        *,
        client_order_id: str | None,
        on_late: Callable[[Any], None] | None = None,
        protective: bool = True,
    ) -> Any:
        """
        Send *text* and return the answer; told as *operation* by the call runner.

        Raises:
            ConnectionError: not sent, as `send`: not told either.
            VenueError: as `CallRunner.run`; OrderOutcomeUnknown with a *client_order_id*.

        """
        future = self.send(request_id, text, on_late, operation=operation, protective=protective)
        return await self.answer(operation, future, client_order_id=client_order_id)

    async def answer(
        self, operation: str, future: asyncio.Future[Any], *, client_order_id: str | None
    ) -> Any:
        """
        Return the answer to what `send` sent just before; told as *operation*.

        Raises:
            VenueError: as `ask`.

        """
        line = self._line
        try:
            return await self._calls.run(
                operation,
                lambda: future,
                timeout_s=self._timeout_s,
                client_order_id=client_order_id,
                passed=True,
            )
        except (OrderOutcomeUnknown, VenueUnreachable):
            if future.cancelled() and line is self._line:
                self._doubt()
            raise

    def _doubt(self) -> None:
        if self._doubted:
            return
        self._doubted = True
        logger.warning(
            "{} owes an answer on its order socket for {} s: orders go by REST until it speaks",
            self._venue.value.lower(),
            self._timeout_s,
        )
        line = self._line

        def give_up() -> None:
            if self._doubted and line is self._line:
                self._stream.reconnect("no answer")

        asyncio.get_running_loop().call_later(self._timeout_s, give_up)

    async def _where(self) -> str:
        return self._url

    async def _opened(self, connection: StreamConnection) -> None:
        assert isinstance(connection, _Line), "every connection comes from _Lines"
        if self._log_in is not None:
            await self._log_in(
                lambda request_id, text: self._ask_first(connection, request_id, text)
            )
        if not connection.ended and not self._retired:
            self._doubted = False
            self._line = connection

    async def _ask_first(self, line: "_Line", request_id: str, text: str) -> Any:
        """Ask before the socket is ready: for the log-in, which is no call of ours to tell."""
        line.send(text)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = (future, None)
        async with asyncio.timeout(self._timeout_s):
            return await future

    def _take(self, frame: bytes) -> None:
        self._doubted = False
        answered = self._read(frame)
        if answered is None:
            return
        request_id, answer = answered
        future, on_late = self._pending.pop(request_id, (None, None))
        if future is not None and not future.done():
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
            return
        self.late_answers += 1
        if self.late_answers == 1:
            logger.warning(
                "{} answered on its order socket after the request was given up; further ones are "
                "only counted",
                self._venue.value.lower(),
            )
        if on_late is not None and not isinstance(answer, Exception):
            on_late(answer)

    def _lost(self, reason: str) -> None:
        self._line = None
        pending, self._pending = self._pending, {}
        for future, _ in pending.values():
            if not future.done():
                # The bytes left: an OSError after them is an unknown outcome to every classify.
                future.set_exception(
                    ConnectionResetError(f"the order socket ended before the answer: {reason}")
                )


class _Line:
    """A connection that tells the order socket of its end, whoever ended it, before all others."""

    def __init__(self, owner: OrderSocket, on_close: Callable[[str], None]) -> None:
        self.ended = False
        self.inner: StreamConnection | None = None
        self._owner = owner
        self._on_close = on_close

    def send(self, text: str) -> None:
        """Send *text*; ConnectionError when the connection has ended."""
        if self.inner is None or self.ended:
            raise ConnectionError("the order socket has ended")
        self.inner.send(text)

    async def close(self) -> None:
        """Close the connection."""
        self._end("closed")
        if self.inner is not None:
            await self.inner.close()

    def peer_closed(self, reason: str) -> None:
        """Hear that the venue closed, or the connection broke."""
        self._end(reason)
        self._on_close(reason)

    def _end(self, reason: str) -> None:
        if not self.ended:
            self.ended = True
            # One connection at a time: what is pending is pending on this one.
            self._owner._lost(reason)


class _Lines:
    """The connector with `_Line` around every connection."""

    def __init__(self, owner: OrderSocket) -> None:
        self._owner = owner

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> _Line:
        """Open *url*, as `StreamConnector.connect`."""
        line = _Line(self._owner, on_close)
        line.inner = await self._owner._connector.connect(
            url, on_frame=on_frame, on_close=line.peer_closed
        )
        return line
