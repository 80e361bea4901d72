"""When an account is asked for everything again: after each gap of the stream that tells of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aegis.core.errors import VenueError
from aegis.core.supervise import RestartPolicy, Supervisor

GAP_REASON: Final = "user stream gap"
"""Why the snapshot was taken, as told with it."""

_RETRY: Final = RestartPolicy(delay_s_first=0.25, delay_s_max=10.0)


class GapResync:
    """
    Bring what a gap of the user stream may have swallowed, again and again (R12).

    *catch_up* asks the venue; when it raises a VenueError the supervisor lets it try anew. *name*
    is the task's.
    """

    def __init__(
        self, name: str, supervisor: Supervisor, catch_up: Callable[[], Awaitable[None]]
    ) -> None:
        self._name = name
        self._supervisor = supervisor
        self._catch_up = catch_up
        self._opened = asyncio.Event()
        self._gap = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def on_opened(self) -> None:
        """Hear that the stream is open; from the second time on there was a gap before."""
        if self._opened.is_set():
            self._gap.set()
        self._opened.set()

    def doubt(self) -> None:
        """Take a message as lost: the account is asked for all of it."""
        self._gap.set()

    def forget_opened(self) -> None:
        """Take the next opening as the first."""
        self._opened.clear()

    async def wait_opened(self) -> None:
        """Return once the stream has been open."""
        await self._opened.wait()

    def start(self) -> None:
        """Catch up after every gap from now on."""
        self._task = self._supervisor.start(self._name, self._run, restart=_RETRY)

    def stop(self) -> None:
        """Catch up no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._gap.wait()
            self._gap.clear()
            try:
                await self._catch_up()
            except VenueError:
                self._gap.set()
                raise
