"""Asking one venue for everything: one question at a time, until it is answered."""

import asyncio
from collections.abc import Callable
from typing import Final

from aegis.core.errors import VenueError
from aegis.core.supervise import Supervisor
from aegis.model.account import VenueSnapshot
from aegis.model.ports import VenueGateway
from aegis.trade.executor_events import ExecutorEvents

RETRY_S_FIRST: Final = 1.0
RETRY_S_MAX: Final = 10.0


class SnapshotDesk:
    """Ask for snapshots; *on_error* hears why one failed, to let entries wait."""

    def __init__(
        self,
        gateway: VenueGateway,
        events: ExecutorEvents,
        supervisor: Supervisor,
        *,
        on_error: Callable[[VenueError], None],
    ) -> None:
        self._gateway = gateway
        self._events = events
        self._supervisor = supervisor
        self._on_error = on_error
        self._is_asked = False
        self._is_running = False
        self._again = ""

    def ask(self, reason: str, delay_s: float, *, fills: bool = True) -> None:
        """
        Ask the venue for everything after *delay_s* loop seconds; at most one ask at a time.

        *fills*: have the venue tell recent fills before; a look without a doubt does not need them.
        A doubt that comes up while an answer is under way asks once more: that answer may be older
        than the doubt.
        """
        if self._supervisor.stopping:
            return
        if self._is_asked:
            if self._is_running:
                self._again = reason
            return
        self._is_asked = True

        async def ask() -> None:
            await asyncio.sleep(delay_s)
            snapshot = await self._snapshot(fills=fills)
            again, self._again = self._again, ""
            self._is_asked = False
            self._events.on_snapshot(snapshot, reason)
            if again:
                self.ask(again, 0.0)

        _ = self._supervisor.start(f"snapshot {self._gateway.venue.value.lower()}", ask)

    async def _snapshot(self, *, fills: bool) -> VenueSnapshot:
        wait_s = RETRY_S_FIRST
        while True:
            self._is_running = True
            try:
                if fills:
                    await self._tell_missed_fills()
                return await self._gateway.snapshot(steady=not fills)
            except VenueError as error:
                self._on_error(error)
            finally:
                self._is_running = False
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_S_MAX, 2.0 * wait_s)

    async def _tell_missed_fills(self) -> None:
        try:
            await self._gateway.tell_missed_fills()
        except VenueError as error:
            # What protects must be seen all the same; no position ends before its fills were
            # answered for (trade/reconcile.py), and who misses them asks again.
            self._on_error(error)
