"""
The executor: one per venue, with a protective lane that never waits behind entries.

It takes nothing but `Approved`. Results come back as events through the callbacks of the actor.
An unknown outcome is resolved by asking for the client order id, never by sending again (R30); an
entry is tried once; protective requests are repeated by exit, which knows their deadline.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Final, Protocol

from aegis.core.clock import Clock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
)
from aegis.core.latch import HaltView
from aegis.core.supervise import RestartPolicy, Supervisor
from aegis.model.account import OrderReport, VenueSnapshot
from aegis.model.intent import (
    Approved,
    CancelProtection,
    ClosePosition,
    EnterPosition,
    PlaceProtection,
    SetPositionProtection,
    TradeIntent,
)
from aegis.model.order import OrderRequest
from aegis.model.ports import VenueGateway

PROTECT_WORKERS: Final = 4
ENTRY_QUEUE_MAX: Final = 64
PROTECT_QUEUE_MAX: Final = 10_000
RESOLVE_DELAYS_S: Final = (0.25, 0.25, 0.5, 1.0, 2.0)
ABSENT_ANSWERS_MIN: Final = 3
"""So many times must the venue say it does not know an entry before it counts as never arrived."""
ABSENT_ANSWERS_MIN_PROTECT: Final = 2


class ExecutorEvents(Protocol):
    """What the executor tells the actor; called on the loop, in order."""

    def on_sending(self, intent: TradeIntent, request: OrderRequest) -> None:
        """Hear that *request* leaves now."""

    def on_answer(self, report: OrderReport) -> None:
        """Hear the venue's answer, or what a query found."""

    def on_unknown(self, request: OrderRequest) -> None:
        """Hear that the outcome of *request* is unknown."""

    def on_refused(self, request: OrderRequest, code: str, message: str) -> None:
        """Hear that the venue said no, or that the request never left."""

    def on_completed(self, intent: TradeIntent, *, ok: bool, outcome: str, refusal: str) -> None:
        """Hear that the intent's request ended."""

    def on_snapshot(self, snapshot: VenueSnapshot, reason: str) -> None:
        """Hear a snapshot that was asked for."""


class VenueExecutor:
    """Carry out approved intents on one venue."""

    def __init__(
        self,
        gateway: VenueGateway,
        events: ExecutorEvents,
        *,
        halt: HaltView,
        clock: Clock,
        supervisor: Supervisor,
    ) -> None:
        self._gateway = gateway
        self._events = events
        self._halt = halt
        self._clock = clock
        self._supervisor = supervisor
        self._protect: deque[TradeIntent] = deque()
        self._entries: deque[TradeIntent] = deque()
        self._wake = asyncio.Event()
        self._wake_entries = asyncio.Event()
        self._protect_busy = 0
        self._snapshot_asked = False
        self._throttled_until = 0.0

    @property
    def depths(self) -> tuple[int, int]:
        """Return how many protective and entry intents wait or are under way."""
        return len(self._protect) + self._protect_busy, len(self._entries)

    def start(self) -> None:
        """Start the workers."""
        venue = self._gateway.venue.value.lower()
        restart = RestartPolicy(delay_s_first=0.1)
        for number in range(PROTECT_WORKERS):
            _ = self._supervisor.start(
                f"execute {venue} protect {number}", self._run_protect, restart=restart
            )
        _ = self._supervisor.start(f"execute {venue} entries", self._run_entries, restart=restart)

    def submit(self, approved: Approved) -> None:
        """Queue an approved intent; entries beyond the bound are refused at once."""
        intent = approved.intent
        if not intent.is_entry:
            assert len(self._protect) < PROTECT_QUEUE_MAX, "protective lane overflowed"
            self._protect.append(intent)
            self._wake.set()
            return
        if len(self._entries) >= ENTRY_QUEUE_MAX:
            self._give_up(intent, "the entry queue is full")
            return
        self._entries.append(intent)
        self._wake_entries.set()

    # --- lanes -----------------------------------------------------------------------------------

    async def _run_protect(self) -> None:
        while True:
            while not self._protect:
                self._wake.clear()
                await self._wake.wait()
            intent = self._protect.popleft()
            self._protect_busy += 1
            try:
                await self._execute(intent)
            finally:
                self._protect_busy -= 1
                self._wake_entries.set()

    async def _run_entries(self) -> None:
        while True:
            # Stops, closes and cancels go first.
            while not self._entries or self._protect or self._protect_busy:
                self._wake_entries.clear()
                await self._wake_entries.wait()
            await self._execute(self._entries.popleft())

    async def _execute(self, intent: TradeIntent) -> None:
        match intent.command:
            case EnterPosition() as command:
                await self._enter(intent, command)
            case PlaceProtection(request=request) | ClosePosition(request=request):
                await self._place(intent, request)
            case SetPositionProtection() as command:
                await self._amend(intent, command)
            case CancelProtection() as command:
                await self._cancel(intent, command)

    # --- commands --------------------------------------------------------------------------------

    async def _enter(self, intent: TradeIntent, command: EnterPosition) -> None:
        instrument = command.request.instrument_id
        loop = asyncio.get_running_loop()
        if loop.time() < self._throttled_until:
            self._give_up(intent, "the venue asked for fewer requests")
            return
        try:
            leverage = await self._gateway.prepare_entry(instrument, command.leverage)
        except VenueError as error:
            self._note_throttle(error)
            self._give_up(intent, f"leverage could not be set: {error}")
            return
        if leverage != command.leverage:
            self._give_up(intent, f"leverage reads back as {leverage}, wanted {command.leverage}")
            return
        if self._clock.now_ns() >= command.expires_ns:
            self._give_up(intent, "the signal expired before the order could leave")
            return
        # Read again just before the socket: a halt must not wait in a queue (R73).
        if self._halt.halted:
            self._give_up(intent, f"halted: {'; '.join(self._halt.reasons)}")
            return
        await self._place(intent, command.request)

    async def _place(self, intent: TradeIntent, request: OrderRequest) -> None:
        self._events.on_sending(intent, request)
        try:
            report = await self._gateway.place(request)
        except (OrderOutcomeUnknown, VenueProtocolError) as error:
            self._events.on_unknown(request)
            await self._resolve(intent, request, str(error))
        except VenueRefused as error:
            self._events.on_refused(request, error.code, error.message)
            if error.refusal is Refusal.DUPLICATE_ID:
                # An order with our id exists: whatever it is, the venue can tell.
                await self._resolve(intent, request, str(error))
                return
            self._events.on_completed(
                intent,
                ok=False,
                outcome=f"refused {error.code}: {error.message}",
                refusal=error.refusal.value,
            )
        except VenueError as error:
            self._note_throttle(error)
            self._events.on_refused(request, type(error).__name__, str(error))
            self._events.on_completed(intent, ok=False, outcome=f"not sent: {error}", refusal="")
        else:
            self._events.on_answer(report)
            self._events.on_completed(
                intent, ok=True, outcome=f"accepted as {report.venue_order_id}", refusal=""
            )

    async def _resolve(self, intent: TradeIntent, request: OrderRequest, why: str) -> None:
        """Ask for the id until the venue knows it, or has said often enough that it does not."""
        absent, attempt = 0, 0
        needed = ABSENT_ANSWERS_MIN if intent.is_entry else ABSENT_ANSWERS_MIN_PROTECT
        while True:
            await asyncio.sleep(RESOLVE_DELAYS_S[min(attempt, len(RESOLVE_DELAYS_S) - 1)])
            attempt += 1
            try:
                report = await self._gateway.query(
                    request.instrument_id,
                    request.client_order_id,
                    conditional=request.order_type.is_conditional,
                )
            except VenueError:
                continue
            if report is not None:
                self._events.on_answer(report)
                ok = report.status.is_working or report.filled_qty > 0
                self._events.on_completed(
                    intent, ok=ok, outcome=f"{why}; found {report.status.value}", refusal=""
                )
                return
            absent += 1
            if absent >= needed:
                self._events.on_refused(request, "absent", f"{why}; the venue does not know it")
                self._events.on_completed(
                    intent, ok=False, outcome=f"{why}; never arrived", refusal=""
                )
                return

    async def _amend(self, intent: TradeIntent, command: SetPositionProtection) -> None:
        await self._simple(intent, self._gateway.set_position_protection(command))

    async def _cancel(self, intent: TradeIntent, command: CancelProtection) -> None:
        await self._simple(intent, self._gateway.cancel(command))

    async def _simple(self, intent: TradeIntent, call: Awaitable[None]) -> None:
        try:
            await call
        except VenueRefused as error:
            self._events.on_completed(
                intent,
                ok=False,
                outcome=f"refused {error.code}: {error.message}",
                refusal=error.refusal.value,
            )
        except VenueError as error:
            self._note_throttle(error)
            self._events.on_completed(intent, ok=False, outcome=str(error), refusal="")
        else:
            self._events.on_completed(intent, ok=True, outcome="acknowledged", refusal="")

    def _give_up(self, intent: TradeIntent, reason: str) -> None:
        command = intent.command
        if isinstance(command, EnterPosition):
            self._events.on_refused(command.request, "not_sent", reason)
        self._events.on_completed(intent, ok=False, outcome=reason, refusal="")

    def _note_throttle(self, error: VenueError) -> None:
        if isinstance(error, VenueThrottled):
            wait_s = 1.0 if error.retry_after_s is None else error.retry_after_s
            self._throttled_until = asyncio.get_running_loop().time() + wait_s

    # --- snapshots -------------------------------------------------------------------------------

    def ask_snapshot(self, reason: str, delay_s: float) -> None:
        """Ask the venue for everything after *delay_s* loop seconds; at most one ask at a time."""
        if self._snapshot_asked or self._supervisor.stopping:
            return
        self._snapshot_asked = True

        async def ask() -> None:
            attempt = 0
            await asyncio.sleep(delay_s)
            while True:
                try:
                    snapshot = await self._gateway.snapshot()
                except VenueError:
                    attempt += 1
                    await asyncio.sleep(min(10.0, 0.5 * 2.0**attempt))
                    continue
                self._snapshot_asked = False
                self._events.on_snapshot(snapshot, reason)
                return

        _ = self._supervisor.start(f"snapshot {self._gateway.venue.value.lower()}", ask)
