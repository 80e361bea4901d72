"""
The owner of all tasks: the only place that creates them, and that catches what they raise.

A task that raises is reported, then restarted with jittered back-off where its policy says so;
otherwise its failure ends the run. Nothing dies unseen, not even a task ended by a stray
CancelledError that nobody asked for. Tasks are canceled in the order they were started, since a
TaskGroup cancels in the order of a set, which differs from run to run.
"""

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from aegis.core.clock import NS_PER_S, Clock
from aegis.core.errors import InvariantError, bounded_text

_TRACEBACK_CHARS_MAX: Final = 8_000


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """
    How often and how soon a failed task is started again; times in loop seconds.

    The n-th restart in a row waits delay_s_first * factor**(n-1), at most delay_s_max, less up to
    the jitter share of it. A task that ran healthy_after_s begins counting anew.
    restarts_max: None means always.
    """

    delay_s_first: float = 1.0
    factor: float = 2.0
    delay_s_max: float = 30.0
    jitter: float = attrs.field(
        default=0.2, validator=[attrs.validators.ge(0), attrs.validators.le(1)]
    )
    restarts_max: int | None = None
    healthy_after_s: float = 60.0


@attrs.frozen(kw_only=True)
class TaskFailed:
    """
    A supervised task raised.

    at_ns: market time, nanoseconds UTC. restarts: restarts in a row before this failure.
    retry_in_s: loop seconds till the next start; None: not started again, the failure is fatal
    unless the supervisor was stopping anyway.
    """

    name: str
    at_ns: int
    error_type: str
    error: str
    traceback: str
    restarts: int
    retry_in_s: float | None


def backoff_s(policy: RestartPolicy, restarts: int, rng: random.Random) -> float:
    """Return the wait before the restart that follows *restarts* earlier ones in a row."""
    try:
        grown_s = policy.delay_s_first * policy.factor**restarts
    except OverflowError:
        grown_s = policy.delay_s_max
    return min(policy.delay_s_max, grown_s) * (1 - policy.jitter * rng.random())


class Supervisor:
    """Start tasks, watch them, and stop them in the order they were started."""

    def __init__(
        self,
        clock: Clock,
        on_failure: Callable[[TaskFailed], None],
        *,
        rng: random.Random,
    ) -> None:
        """
        Make an owner without tasks; use it on one running loop.

        on_failure: told of every failure before anything is done about it. rng: the source of
        jitter, seeded by the caller.
        """
        self._clock = clock
        self._on_failure = on_failure
        self._rng = rng
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._stopping = False
        self._fatal: BaseException | None = None
        self._ended = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Return whether stop() has begun: from then on start() refuses."""
        return self._stopping

    def start(
        self,
        name: str,
        coro_factory: Callable[[], Awaitable[None]],
        *,
        restart: RestartPolicy | None = None,
    ) -> asyncio.Task[None]:
        """
        Run what *coro_factory* makes as a task called *name*, and make it anew for each restart.

        A task that returns is done. The returned task may be canceled to end it for good.

        Raises:
            InvariantError: once stop() has begun.

        """
        if self._stopping:
            raise InvariantError(f"task {name} was started while the supervisor was stopping")
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._run(name, coro_factory, restart), name=name)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def request_stop(self) -> None:
        """Let run_until_stopped() return; safe to call from a handler, and more than once."""
        self._ended.set()

    async def run_until_stopped(self) -> None:
        """
        Wait for request_stop() or a fatal failure, then stop all tasks.

        Raises what the failed task raised. When canceled, the tasks are stopped as well.
        """
        try:
            await self._ended.wait()
        finally:
            await self.stop()
        if self._fatal is not None:
            raise self._fatal

    async def stop(self, *, grace_s: float | None = None) -> list[str]:
        """
        Cancel all tasks in start order, then await each in that order.

        Returns the names of the tasks that had not ended after *grace_s* loop seconds in all;
        without it, waits till every one has ended.
        """
        self._stopping = True
        self._ended.set()
        loop = asyncio.get_running_loop()
        deadline_s = None if grace_s is None else loop.time() + grace_s
        mine = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in mine:
            task.cancel()
        for task in mine:
            left_s = None if deadline_s is None else max(0.0, deadline_s - loop.time())
            if not task.done():
                await asyncio.wait([task], timeout=left_s)
        return [task.get_name() for task in mine if not task.done()]

    async def _run(
        self,
        name: str,
        coro_factory: Callable[[], Awaitable[None]],
        policy: RestartPolicy | None,
    ) -> None:
        restarts = 0
        while True:
            began_ns = self._clock.mono_ns()
            failure: BaseException
            try:
                await coro_factory()
                return
            except asyncio.CancelledError as error:
                if self._is_wanted():
                    raise
                failure = error
            except Exception as error:  # noqa: BLE001 - the one place where tasks may fail
                failure = error
            if policy is not None and self._ran_s(began_ns) >= policy.healthy_after_s:
                restarts = 0
            retry_in_s = self._retry_in_s(policy, restarts)
            if not self._report(name, failure, restarts, retry_in_s) or retry_in_s is None:
                self._end(name, failure)
                return
            await asyncio.sleep(retry_in_s)
            restarts += 1

    def _is_wanted(self) -> bool:
        # A CancelledError can also leak out of an awaited future that somebody else canceled; the
        # task would end without a word.
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def _ran_s(self, began_ns: int) -> float:
        return (self._clock.mono_ns() - began_ns) / NS_PER_S

    def _retry_in_s(self, policy: RestartPolicy | None, restarts: int) -> float | None:
        if self._stopping or policy is None:
            return None
        if policy.restarts_max is not None and restarts >= policy.restarts_max:
            return None
        return backoff_s(policy, restarts, self._rng)

    def _report(
        self, name: str, failure: BaseException, restarts: int, retry_in_s: float | None
    ) -> bool:
        told = "".join(traceback.format_exception(failure))
        try:
            self._on_failure(
                TaskFailed(
                    name=name,
                    at_ns=self._clock.now_ns(),
                    error_type=type(failure).__name__,
                    error=bounded_text(str(failure)),
                    traceback=told[-_TRACEBACK_CHARS_MAX:],
                    restarts=restarts,
                    retry_in_s=retry_in_s,
                )
            )
        except Exception as error:  # noqa: BLE001 - a failure that cannot be told ends the run
            error.add_note(f"raised while the failure of task {name} was reported: {failure!r}")
            self._fatal = self._fatal or error
            return False
        return True

    def _end(self, name: str, failure: BaseException) -> None:
        if isinstance(failure, asyncio.CancelledError):
            stray = InvariantError(f"task {name} was ended by a cancellation nobody asked for")
            stray.__cause__ = failure
            failure = stray
        if not self._stopping:
            self._fatal = self._fatal or failure
        self._ended.set()

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task, None)
