"""Driving the twin through time: one timer, from one event of the world to the next."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

_NS_PER_S: Final = 1_000_000_000


class World(Protocol):
    """What moves: the twin's engines over their tapes."""

    def next_event_ns(self) -> int | None:
        """Return when something happens next by itself, None when the tapes have ended."""

    def advance(self, to_ns: int) -> None:
        """Let everything up to *to_ns* happen; no-op when in the past."""


class TwinRunner:
    """
    Advances *world* whenever its next event is due on the market clock *now_ns*.

    *batch_s* is the least loop time between two wake-ups: 0 in virtual time, where every event
    happens at its own instant; about 0.02 in real time, where events that lie closer together are
    taken in one step. No task is made per event.
    """

    def __init__(
        self,
        world: World,
        *,
        now_ns: Callable[[], int],
        speed: float,
        loop: asyncio.AbstractEventLoop,
        batch_s: float = 0.0,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed was {speed}, must be above 0")
        if batch_s < 0:
            raise ValueError(f"batch_s was {batch_s} s, must not be negative")
        self._world = world
        self._now_ns = now_ns
        self._speed = speed
        self._loop = loop
        self._batch_s = batch_s
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._woke_at = float("-inf")
        self._done: asyncio.Future[None] | None = None
        self.finished: Final = asyncio.Event()

    async def run(self) -> None:
        """
        Advance the world until its tapes end, then set `finished`.

        Whatever the world raises comes out of here. Canceling stops the world where it is.
        """
        self._done = self._loop.create_future()
        try:
            self._wake()
            await self._done
        finally:
            self._cancel_timer()
            self._done = None
        self.finished.set()

    def poke(self) -> None:
        """Look again when something happens next: a request may have changed it."""
        if self._done is not None and not self._done.done():
            self._schedule()

    def _wake(self) -> None:
        self._timer = None
        self._woke_at = self._loop.time()
        try:
            self._world.advance(self._now_ns())
            self._schedule()
        except Exception as error:  # noqa: BLE001 - carried to whoever awaits run()
            if self._done is not None and not self._done.done():
                self._done.set_exception(error)

    def _schedule(self) -> None:
        next_ns = self._world.next_event_ns()
        if next_ns is None:
            self._cancel_timer()
            if self._done is not None and not self._done.done():
                self._done.set_result(None)
            return
        if self._timer is not None:
            if next_ns == self._due_ns:
                return
            self._cancel_timer()
        self._due_ns = next_ns
        delay_s = max(0.0, (next_ns - self._now_ns()) / _NS_PER_S / self._speed)
        since_s = self._loop.time() - self._woke_at
        delay_s = max(delay_s, self._batch_s - since_s)
        self._timer = self._loop.call_later(delay_s, self._wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
