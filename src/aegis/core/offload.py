"""
The one port through which anything that blocks is called: worker threads live, none in simulation.

A lane is a queue of its own: calls on one lane run one after the other in the order they were made,
calls on different lanes do not wait for each other. Protective requests get a lane to themselves.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """
    Call something that blocks without holding up the loop.

    A caller that is canceled stops waiting; a call that has begun runs on, in life and in
    simulation. So a canceled request may still have reached the venue.
    """

    async def __call__(self, fn: Callable[[], T], *, lane: str = "default") -> T:
        """Return what *fn* returns, or raise what it raises."""
        ...


class ThreadOffload:
    """Run each lane on one worker thread of its own."""

    def __init__(self) -> None:
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._closed = False

    async def __call__(self, fn: Callable[[], T], *, lane: str = "default") -> T:
        """
        Run *fn* on the thread of *lane*.

        Raises:
            RuntimeError: after close().

        """
        if self._closed:
            raise RuntimeError(f"offload is closed: lane {lane} was asked for")
        executor = self._lanes.get(lane)
        if executor is None:
            executor = self._lanes[lane] = ThreadPoolExecutor(1, f"offload-{lane}")
        return await asyncio.get_running_loop().run_in_executor(executor, fn)

    def close(self, *, wait: bool = True) -> None:
        """Refuse new calls and drop those not begun; *wait*: block till the running ones end."""
        self._closed = True
        for executor in self._lanes.values():
            executor.shutdown(wait=wait, cancel_futures=True)


class _Lane:
    """One call at a time, first come first served; who gives up while waiting takes no turn."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the lane, waiting for the turn."""
        if not self._taken:
            self._taken = True
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._waiting:
                    self._waiting.remove(turn)
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """Give the lane to the next in line, or free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


class InlineOffload:
    """
    Run calls inline on the loop, between two delays: the way out and the way back.

    A lane stays taken from the start of the first delay to the end of the second, as a worker
    thread would be.
    """

    def __init__(
        self,
        before_s: float = 0.0,
        after_s: float = 0.0,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """
        Make an offload with fixed delays in loop seconds, >= 0.

        jitter: called once per delay; returns seconds to add, and the sum is never below 0.
        """
        if before_s < 0 or after_s < 0:
            raise ValueError(f"delays were {before_s} s and {after_s} s, must not be negative")
        self._before_s = before_s
        self._after_s = after_s
        self._jitter = jitter
        self._lanes: dict[str, _Lane] = {}

    async def __call__(self, fn: Callable[[], T], *, lane: str = "default") -> T:
        """Call *fn* on the loop once the lane is free and the way out is over."""
        loop = asyncio.get_running_loop()
        mine = self._lanes.setdefault(lane, _Lane())
        await mine.enter(loop)
        call_at_s = loop.time() + self._delay_s(self._before_s)
        done_at_s = call_at_s + self._delay_s(self._after_s)
        result: asyncio.Future[T] = loop.create_future()
        # Timers and not sleeps: a canceled caller must not keep a call that left from happening.
        loop.call_at(call_at_s, _call, loop, fn, result, done_at_s)
        loop.call_at(done_at_s, mine.leave)
        return await result

    def _delay_s(self, fixed_s: float) -> float:
        return max(0.0, fixed_s + (self._jitter() if self._jitter else 0.0))


def _call(
    loop: asyncio.AbstractEventLoop,
    fn: Callable[[], T],
    result: "asyncio.Future[T]",
    done_at_s: float,
) -> None:
    try:
        value = fn()
    except Exception as error:  # noqa: BLE001 - handed to the caller, as a thread pool does
        loop.call_at(done_at_s, _fail, result, error)
    else:
        loop.call_at(done_at_s, _resolve, result, value)


def _resolve(result: "asyncio.Future[T]", value: T) -> None:
    if not result.done():
        result.set_result(value)


def _fail(result: "asyncio.Future[T]", error: Exception) -> None:
    if not result.done():
        result.set_exception(error)
