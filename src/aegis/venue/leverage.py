"""
What the venue last said about each symbol's leverage, for as long as it can be trusted (R28).

An entry needs the leverage read back. A read-back stays good until something speaks against it: the
venue tells another leverage, a stream had a gap in which it may have told one, or it is too old.
The book is pure: values in, answers out. The keeper asks anew in the background, well before what
was read grows old, so that an entry finds it fresh.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from aegis.core.errors import VenueError
from aegis.core.supervise import Supervisor

FRESH_S: Final = 300.0
KEEP_SHARE: Final = 0.4
"""So much of their life is over when read-backs are renewed: one failure costs nothing."""


@attrs.frozen(slots=True)
class _ReadBack:
    leverage: int
    at_ns: int


class LeverageBook:
    """
    Keep what was read back, by symbol.

    *mono_ns* is the monotonic clock. *fresh_s*: loop seconds a read-back is good for; 0 is never,
    so that every entry reads back anew. Only symbols on isolated margin may be entered here.
    """

    def __init__(self, mono_ns: Callable[[], int], fresh_s: float = FRESH_S) -> None:
        self._mono_ns = mono_ns
        self._fresh_ns = round(fresh_s * 1_000_000_000)
        self._read: dict[str, _ReadBack] = {}
        self._doubts = 0

    def asking(self) -> int:
        """Return a mark for `read_back`: what speaks against the answer since then counts."""
        return self._doubts

    def read_back(self, symbol: str, leverage: int, asked: int) -> None:
        """Keep an answer to a question asked at the mark *asked*, unless a doubt came up since."""
        if asked == self._doubts and self._fresh_ns > 0:
            self._read[symbol] = _ReadBack(leverage, self._mono_ns())

    def known(self, symbol: str) -> int | None:
        """Return the leverage as read back, None when it must be asked for."""
        read = self._read.get(symbol)
        if read is None or self._mono_ns() - read.at_ns >= self._fresh_ns:
            return None
        return read.leverage

    def told(self, symbol: str, leverage: int | None) -> None:
        """Hear the venue tell *symbol*'s leverage, None when it says only that it changed."""
        read = self._read.get(symbol)
        if read is None or read.leverage != leverage:
            self._doubts += 1
            self._read.pop(symbol, None)

    def forget(self, symbol: str) -> None:
        """Doubt one symbol: its leverage is being changed, or its margin mode is not isolated."""
        self._doubts += 1
        self._read.pop(symbol, None)

    def forget_all(self) -> None:
        """Doubt every symbol: a stream was interrupted and may have told a change meanwhile."""
        self._doubts += 1
        self._read.clear()


class LeverageKeeper:
    """Read the leverage of all symbols back again and again. *fresh_s* as the book's; 0: never."""

    def __init__(self, name: str, supervisor: Supervisor, fresh_s: float) -> None:
        self._name = name
        self._supervisor = supervisor
        self._every_s = fresh_s * KEEP_SHARE
        self._task: asyncio.Task[None] | None = None

    def start(self, read: Callable[[], Awaitable[None]]) -> None:
        """Begin to *read*, instead of what was begun before."""
        self.stop()
        if self._every_s > 0 and not self._supervisor.stopping:
            self._task = self._supervisor.start(self._name, lambda: self._keep(read))

    def stop(self) -> None:
        """Read no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _keep(self, read: Callable[[], Awaitable[None]]) -> None:
        while True:
            # A failure is told as ApiCalled; what grows old meanwhile, the entry asks for itself.
            with contextlib.suppress(VenueError):
                await read()
            await asyncio.sleep(self._every_s)
