"""
The executor: one per venue, with a protective lane that never waits behind entries.

It takes nothing but `Approved`. Results come back as events through the callbacks of the actor.
An unknown outcome is resolved by asking for the client order id, never by sending again (R30); an
entry is tried once; protective requests are repeated by exit, which knows their deadline. Asking
never holds a protective worker: with the venue half down, the next close still leaves.

An entry that finds its lane free, with nothing to be asked before it, leaves in the call that
submits it; the lane's worker then waits for the answer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs

from aegis.core.clock import Clock, loop_delay_s
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
from aegis.model.ports import PlacesAtOnce, VenueGateway
from aegis.trade.executor_events import ExecutorEvents
from aegis.trade.outcomes import Outcomes
from aegis.trade.snapshots import SnapshotDesk
from aegis.trade.stop_first import PlaceCall, StopFirst

PROTECT_WORKERS: Final = 4
ENTRY_QUEUE_MAX: Final = 64
PROTECT_QUEUE_MAX: Final = 10_000
LATE_ARRIVAL_S: Final = 5.0
"""So long after it left an entry may still arrive: a venue takes it within its recvWindow."""
PREPARE_TRIES_MAX: Final = 3


@attrs.frozen(slots=True)
class _Departed:
    """
    An entry's *request*, or the stop before it, that was told as leaving.

    *answer* None: it must still be placed.
    """

    intent: TradeIntent
    command: EnterPosition
    request: OrderRequest
    answer: PlaceCall | None
    sent_s: float


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
        late_arrival_s: float = LATE_ARRIVAL_S,
    ) -> None:
        """Make the lanes; *late_arrival_s*: loop seconds in which a sent entry may still arrive."""
        self._gateway = gateway
        self._at_once = gateway if isinstance(gateway, PlacesAtOnce) else None
        self._events = events
        self._halt = halt
        self._clock = clock
        self._supervisor = supervisor
        self._protect: deque[TradeIntent] = deque()
        self._entries: deque[TradeIntent] = deque()
        self._departed: deque[_Departed] = deque()
        self._wake = asyncio.Event()
        self._wake_entries = asyncio.Event()
        self._protect_busy = 0
        self._held = ""
        self._doubted = ""
        self._entry_busy = False
        self._resolving = 0
        self._throttled_until = 0.0
        self._paused = ""
        self._snapshots = SnapshotDesk(gateway, events, supervisor, on_error=self._note_throttle)
        self.ask_snapshot: Final = self._snapshots.ask
        self._outcomes = Outcomes(
            gateway,
            events,
            on_error=self._note_throttle,
            wait_s=lambda: self._throttled_until - asyncio.get_running_loop().time(),
            start=self._in_background,
            late_arrival_s=late_arrival_s,
        )
        self._stop_first = StopFirst(
            gateway, events, on_error=self._note_throttle, resolve=self._resolve_stop
        )

    @property
    def depths(self) -> tuple[int, int]:
        """Return how many protective and entry intents wait or are under way."""
        protect = len(self._protect) + self._protect_busy + self._resolving
        return protect, len(self._entries) + self._entry_busy

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
        if not isinstance(intent.command, EnterPosition):
            assert len(self._protect) < PROTECT_QUEUE_MAX, "protective lane overflowed"
            self._protect.append(intent)
            self._wake.set()
            return
        if len(self._entries) >= ENTRY_QUEUE_MAX:
            self._give_up(intent, "the entry queue is full")
            return
        if self._leaves_at_once(intent):
            return
        self._entries.append(intent)
        self._wake_entries.set()

    def _leaves_at_once(self, intent: TradeIntent) -> bool:
        """Send an entry in this call, if the lane is free and nothing must be asked before."""
        at_once, command = self._at_once, intent.command
        if at_once is None or not isinstance(command, EnterPosition):
            return False
        # Stops, closes and cancels go first, and entries one after the other.
        if self._protect or self._protect_busy or self._entries or self._entry_busy:
            return False
        if not at_once.is_prepared(command.request.instrument_id, command.leverage):
            return False
        now_s = asyncio.get_running_loop().time()
        # Read just before the socket (R73); the lane tells the reason.
        if now_s < self._throttled_until or self._not_now(command):
            return False
        self._entry_busy = True
        request = self._stop_first.of(command) or command.request
        self._events.on_sending(intent, request)
        answer = at_once.place_at_once(request)
        self._departed.append(_Departed(intent, command, request, answer, now_s))
        self._wake_entries.set()
        return True

    def pause_entries(self, reason: str, wait_s: float | None) -> None:
        """Let entries wait *wait_s* loop seconds; None: let none leave until `resume_entries`."""
        if wait_s is None:
            self._paused = reason
        else:
            self._wait_until(wait_s)

    def resume_entries(self) -> None:
        """Let entries leave again after a pause."""
        self._paused = ""

    def hold_entries(self, reason: str) -> None:
        """Let no entry leave for *reason*, queued ones included; "" lifts it."""
        self._held = reason

    def doubt_account(self, reason: str) -> None:
        """Let no entry leave while the account is asked anew for *reason*; "" lifts it (R12)."""
        self._doubted = reason

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
            while not self._departed and (not self._entries or self._protect or self._protect_busy):
                self._wake_entries.clear()
                await self._wake_entries.wait()
            self._entry_busy = True
            try:
                if self._departed:
                    await self._conclude(self._departed.popleft())
                else:
                    await self._execute(self._entries.popleft())
            finally:
                self._entry_busy = False

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
        refusal = self._not_now(command) or await self._prepare(command)
        # Read again just before the socket: a halt must not wait in a queue (R73).
        refusal = refusal or self._not_now(command)
        stop = self._stop_first.of(command)
        if stop is not None and not refusal:
            refusal = await self._stop_first.rest(intent, stop) or self._not_now(command)
        if refusal:
            self._give_up(intent, refusal)
            return
        await self._place(intent, command.request)

    def _not_now(self, command: EnterPosition) -> str:
        if self._halt.halted:
            return f"halted: {'; '.join(self._halt.reasons)}"
        if self._held:
            return f"halted here: {self._held}"
        if self._paused:
            return f"paused: {self._paused}"
        if self._doubted:
            return f"the account is being asked anew: {self._doubted}"
        if self._clock.now_ns() >= command.expires_ns:
            return "the signal expired before the order could leave"
        return ""

    async def _prepare(self, command: EnterPosition) -> str:
        """Set leverage and read it back (R28); return why the entry must not leave, or ""."""
        loop = asyncio.get_running_loop()
        for attempt in range(1, PREPARE_TRIES_MAX + 1):
            wait_s = self._throttled_until - loop.time()
            if wait_s > 0:
                left_s = loop_delay_s(self._clock, command.expires_ns - self._clock.now_ns())
                if wait_s >= left_s:
                    return "the venue asked for fewer requests for longer than the signal is good"
                await asyncio.sleep(wait_s)
                if why := self._not_now(command):
                    return why
            try:
                leverage = await self._gateway.prepare_entry(
                    command.request.instrument_id, command.leverage
                )
            except VenueThrottled as error:
                self._note_throttle(error)
                if attempt == PREPARE_TRIES_MAX:
                    return f"leverage could not be set: {error}"
            except VenueError as error:
                return f"leverage could not be set: {error}"
            else:
                if leverage != command.leverage:
                    return f"leverage reads back as {leverage}, wanted {command.leverage}"
                return ""
        raise AssertionError("unreachable: the last try returns")

    async def _conclude(self, left: _Departed) -> None:
        if left.answer is None and (why := self._not_now(left.command)):
            if left.request is not left.command.request:
                self._events.on_refused(left.request, "not_sent", why)
            self._give_up(left.intent, why)
            return
        answer = left.answer or partial(self._gateway.place, left.request)
        if left.request is left.command.request:
            await self._answered(left.intent, left.request, answer, left.sent_s)
            return
        refusal = await self._stop_first.rests(left.intent, left.request, answer)
        if why := refusal or self._not_now(left.command):
            self._give_up(left.intent, why)
            return
        await self._place(left.intent, left.command.request)

    def _resolve_stop(self, intent: TradeIntent, stop: OrderRequest, why: str) -> None:
        sent_s = asyncio.get_running_loop().time()
        name = f"resolve {stop.client_order_id}"
        self._in_background(name, partial(self._outcomes.resolve, intent, stop, why, sent_s))

    async def _place(self, intent: TradeIntent, request: OrderRequest) -> None:
        self._events.on_sending(intent, request)
        sent_s = asyncio.get_running_loop().time()
        await self._answered(intent, request, partial(self._gateway.place, request), sent_s)

    async def _answered(
        self, intent: TradeIntent, request: OrderRequest, answer: PlaceCall, sent_s: float
    ) -> None:
        try:
            report = await answer()
        except (OrderOutcomeUnknown, VenueProtocolError) as error:
            self._events.on_unknown(request)
            await self._settle(intent, request, str(error), sent_s)
        except VenueRefused as error:
            if error.refusal is Refusal.DUPLICATE_ID:
                # An order with our id exists: whatever it is, the venue can tell.
                self._events.on_unknown(request)
                await self._settle(intent, request, str(error), sent_s)
                return
            self._events.on_refused(request, error.code, error.message)
            self._end_refused(intent, error)
        except VenueError as error:
            self._note_throttle(error)
            self._events.on_refused(request, type(error).__name__, str(error))
            self._events.on_completed(intent, ok=False, outcome=f"not sent: {error}", refusal="")
        else:
            self._outcomes.found(intent, request, report, f"accepted as {report.venue_order_id}")

    def _in_background(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        if not self._supervisor.stopping:
            _ = self._supervisor.start(name, work)

    async def _settle(
        self, intent: TradeIntent, request: OrderRequest, why: str, sent_s: float
    ) -> None:
        """Resolve an unknown outcome: in the lane for an entry, beside it for a way out."""
        if intent.is_entry:
            await self._outcomes.resolve(intent, request, why, sent_s)
            return
        self._resolving += 1

        async def resolve() -> None:
            try:
                await self._outcomes.resolve(intent, request, why, sent_s)
            finally:
                self._resolving -= 1

        self._in_background(f"resolve {request.client_order_id}", resolve)

    async def _amend(self, intent: TradeIntent, command: SetPositionProtection) -> None:
        await self._simple(intent, self._gateway.set_position_protection(command))

    async def _cancel(self, intent: TradeIntent, command: CancelProtection) -> None:
        await self._simple(intent, self._gateway.cancel(command))

    def _end_refused(self, intent: TradeIntent, error: VenueRefused) -> None:
        self._events.on_completed(
            intent,
            ok=False,
            outcome=f"refused {error.code}: {error.message}",
            refusal=error.refusal.value,
        )

    async def _simple(self, intent: TradeIntent, call: Awaitable[None]) -> None:
        try:
            await call
        except VenueRefused as error:
            self._end_refused(intent, error)
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
            self._wait_until(1.0 if error.retry_after_s is None else error.retry_after_s)

    def _wait_until(self, wait_s: float) -> None:
        until_s = asyncio.get_running_loop().time() + wait_s
        self._throttled_until = max(self._throttled_until, until_s)
