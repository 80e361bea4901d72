"""
Virtual time: an asyncio loop that never waits.

When nothing is ready it jumps to the next timer; when there is no timer either, it says who waits
for what instead of hanging. Time is kept in integer nanoseconds, so a run of any length neither
drifts nor spins, and timers due at the same nanosecond fire in the order they were set. It has no
sockets, threads or child processes: what would need one is refused where it is asked for.
"""

import asyncio
import contextvars
import heapq
import selectors
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple

from aegis.core.errors import AegisError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NS_PER_S: Final = 1_000_000_000
_TASKS_TOLD_MAX: Final = 20
_CANCELED_TIMERS_MIN: Final = 128

_REFUSED: Final = (
    "add_reader",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "run_in_executor",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
)


class Deadlock(AegisError, RuntimeError):
    """Raised when every task waits and no timer is set: nothing could ever happen again."""


class NotSimulated(AegisError, RuntimeError):
    """Raised when code asks the virtual loop for a socket, a thread or a child process."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """
    Run callbacks in virtual time, which starts at 0.0 s and moves only from timer to timer.

    Two runs of the same program call everything in the same order.

    Raises:
        Deadlock: out of run_forever and run_until_complete, naming the tasks that wait.

    """

    # Of asyncio.BaseEventLoop; typeshed does not name them.
    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self) -> None:
        # SelectSelector opens no file descriptor, and nothing is ever registered with it.
        super().__init__(selectors.SelectSelector())
        self._now_ns = 0
        self._now_s = 0.0
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._timer_seq = 0
        self._canceled_count = 0
        self._owner_thread = threading.get_ident()

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._now_s

    def time_ns(self) -> int:
        """Return virtual nanoseconds since the loop was made, exact."""
        return self._now_ns

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call *callback* in *delay* seconds, rounded to the nanosecond, at least one if > 0."""
        delay_ns = round(delay * _NS_PER_S)
        if delay_ns == 0 and delay > 0:
            delay_ns = 1
        return self._set_timer(self._now_ns + delay_ns, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call *callback* once time() >= *when*: never early, which would make deadlines spin."""
        when_ns = round(when * _NS_PER_S)
        while when_ns / _NS_PER_S < when:
            when_ns += 1
        return self._set_timer(when_ns, callback, args, context)

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Call *callback* soon; from another thread it is refused, since order would be chance."""
        if threading.get_ident() != self._owner_thread:
            raise NotSimulated("call_soon_threadsafe from another thread: there are none in here")
        return self.call_soon(callback, *args, context=context)

    def add_signal_handler(
        self, sig: int, callback: Callable[[*Ts], object], *args: *Ts
    ) -> NoReturn:
        """Refuse, with the error asyncio gives on platforms without them."""
        raise NotImplementedError(
            f"signals do not exist in virtual time: {sig} asked for {callback} with {args}"
        )

    def close(self) -> None:
        """Close the loop and forget its timers."""
        super().close()
        self._timers.clear()

    def _set_timer(
        self,
        when_ns: int,
        callback: Callable[[*Ts], object],
        args: tuple[*Ts],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        timer = asyncio.TimerHandle(when_ns / _NS_PER_S, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        self._timer_seq += 1
        heapq.heappush(self._timers, (when_ns, self._timer_seq, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        # Called by TimerHandle.cancel(). Most time-outs are canceled long before they are due;
        # without the sweep they would fill the heap for their full length.
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._canceled_count += 1
        if self._canceled_count > _CANCELED_TIMERS_MIN and (
            2 * self._canceled_count > len(self._timers)
        ):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._canceled_count = 0

    def _run_once(self) -> None:
        ready = self._ready
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._canceled_count -= 1
        if not ready and not self._stopping:
            if not timers:
                raise Deadlock(self._deadlock_message())
            if timers[0][0] > self._now_ns:
                self._now_ns = timers[0][0]
                self._now_s = self._now_ns / _NS_PER_S
        now_ns = self._now_ns
        while timers and timers[0][0] <= now_ns:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # type: ignore[attr-defined]
            if timer.cancelled():
                self._canceled_count -= 1
            else:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _deadlock_message(self) -> str:
        waiting = sorted(_describe(task) for task in asyncio.all_tasks(self))
        told = ", ".join(waiting[:_TASKS_TOLD_MAX]) or "none"
        return (
            f"at {self._now_s:.9f} s nothing was ready and no timer was set;"
            f" {len(waiting)} waiting tasks: {told}"
        )

    # Internals of the selector loop that would open sockets.

    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _add_reader(self, fd: object, *_args: object) -> NoReturn:
        raise NotSimulated(f"sockets do not exist in virtual time: {fd!r} was to be watched")

    _add_writer = _add_reader


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """
    Run *main* on a new VirtualTimeLoop and return its result.

    Raises:
        Deadlock: if everything waits and no timer is set.

    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def _describe(task: "asyncio.Task[Any]") -> str:
    coroutine = task.get_coro()
    return f"{task.get_name()} ({getattr(coroutine, '__qualname__', coroutine)})"


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(_loop: VirtualTimeLoop, *_args: object, **_kwargs: object) -> NoReturn:
        raise NotSimulated(f"{name} does not exist in virtual time: go through a port")

    refuse.__name__ = name
    return refuse


for _name in _REFUSED:
    setattr(VirtualTimeLoop, _name, _refusal(_name))
