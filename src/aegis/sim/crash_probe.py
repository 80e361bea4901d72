"""
Where a process can be killed, and the killing.

A mark is a place where control leaves or something lasting is about to change: every step of the
loop, every request as it leaves and as it arrives, every commit of the journal. Marks are numbered
within the window of a scenario. The same program makes the same marks, so that a number names a
place. What outlives a kill, the `state`, is what the journal has committed and what reached or
happened at the venues; requests under way may still arrive.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import attrs
import sqlalchemy as sa

from aegis.app.bot import VenuePorts
from aegis.core.clock import NS_PER_S, ManualClock
from aegis.core.offload import _call
from aegis.core.transport import (
    HttpExchange,
    HttpRequest,
    HttpResponse,
    StreamConnection,
    StreamConnector,
)
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.journal.writer import LANE
from aegis.sim.faults import Carrier, Crashed, SimOffload, Strike
from aegis.sim.plan import Kind
from aegis.sim.run import Stage
from aegis.twin.engine.api import Bar, EngineFill, EngineOrder, EnginePosition, IncomeRow, Quote
from aegis.twin.inproc import InprocStream

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
State = tuple[int, int, int]
"""Commits of the journal, requests that arrived, changes at the venues: counts that only grow."""
_lane: contextvars.ContextVar[str] = contextvars.ContextVar("lane", default="")


@attrs.define(slots=True, kw_only=True, eq=False)
class Flight:
    """
    One request between leaving and arriving. *changes*: it changed something at the venue.
    """

    number: int
    due_ns: int
    act: Callable[[], object]
    changes: bool = False


@attrs.frozen(slots=True, kw_only=True)
class Mark:
    """The marks from *number* to *last* with one state and the same requests under way."""

    number: int
    last: int
    at_ns: int
    state: State
    flying: tuple[Flight, ...]


@attrs.frozen(slots=True, kw_only=True)
class Kill:
    """
    A kill at mark *number*, the next process starts at *back_ns*.

    *sent*: what was under way still arrives. *last*: the last mark at which a kill is the same.
    """

    number: int
    last: int
    sent: bool
    at_ns: int
    back_ns: int
    state: State

    @property
    def name(self) -> str:
        """Return how the command names it."""
        return f"{self.number}{'+sent' if self.sent else ''}"


class Probe:
    """Counts the marks of one run's window, writes them down, and kills at one when asked to."""

    def __init__(
        self,
        window_s: tuple[float, float],
        kill: Kill | None = None,
        *,
        span_ns: int = NS_PER_S,
    ) -> None:
        """*span_ns*: marks farther apart are kept apart."""
        self._window_s: Final = window_s
        self._kill: Final = kill
        self._span_ns: Final = span_ns
        self.look: Callable[[Mark], None] | None = None
        """Sees each mark as it is made."""
        self.marks: Final[list[Mark]] = []
        self.count = 0
        self.died_in: State | None = None
        self._is_cut = self._is_late = False
        self._commits = self._arrivals = self._changes = self._flights = 0
        self._flying: dict[int, Flight] = {}
        self._stage: Stage

    def begin(self, stage: Stage) -> None:
        """Watch the venues of *stage*."""
        self._stage = stage
        for engine in stage.twin.engines.values():
            engine.add_listener(_Ticker(self._changed))

    def _changed(self) -> None:
        self._changes += 1

    @property
    def state(self) -> State:
        """Return what would outlive a kill now, as counts."""
        return self._commits, self._arrivals, self._changes

    # --- the process's seams ---------------------------------------------------------------------

    def new_loop(self) -> VirtualTimeLoop:
        """Return the loop of one more process; what the last one had under way is gone."""
        self._flying.clear()
        self._is_cut = False
        return _SteppedLoop(self)

    def ports(self, ports: tuple[VenuePorts, ...]) -> tuple[VenuePorts, ...]:
        """Return *ports* with this probe between bot and venues."""
        return tuple(
            attrs.evolve(
                one,
                http=None if one.http is None else _WatchedHttp(self, one.http),
                connector=_WatchedConnector(self, one.connector),
            )
            for one in ports
        )

    def on_commit(self, _connection: sa.Connection) -> None:
        """Take a commit of the journal that is about to be made."""
        self.arrives()
        self._commits += 1

    def arrives(self) -> None:
        """Take anything lasting that is about to happen; nothing lasts once the process is cut."""
        if self._is_cut:
            if self._is_late:
                return
            raise Crashed
        self.mark()

    def request_arrived(self) -> None:
        """Count a request that reached the venue."""
        self._arrivals += 1

    def leaves(self, due_ns: int, act: Callable[[], object]) -> Flight:
        """Take a request that leaves now."""
        if self._is_cut:
            raise Crashed
        self.mark()
        self._flights += 1
        due_ns += self._stage.hands.now_ns()
        flight = Flight(number=self._flights, due_ns=due_ns, act=act)
        self._flying[flight.number] = flight
        return flight

    def lands(self, flight: Flight) -> None:
        """Let a request arrive."""
        self._flying.pop(flight.number, None)
        before = self._changes
        flight.act()
        flight.changes = self._changes > before

    # --- marks -----------------------------------------------------------------------------------

    def mark(self) -> None:
        """Pass one mark; does not return when it is the one to be killed at."""
        now_ns = self._stage.hands.now_ns()
        begin_ns = self._stage.market.start_ns
        passed_s = (now_ns - begin_ns) / NS_PER_S
        if not self._window_s[0] <= passed_s < self._window_s[1]:
            return
        number, self.count = self.count, self.count + 1
        if self._kill is None:
            self._note(number, now_ns)
        elif number == self._kill.number:
            self._die(self._kill, now_ns)

    def _note(self, number: int, now_ns: int) -> None:
        flying = tuple(self._flying.values())
        last = self.marks[-1] if self.marks else None
        made = Mark(number=number, last=number, at_ns=now_ns, state=self.state, flying=flying)
        if (
            last is not None
            and (last.state, last.flying) == (made.state, made.flying)
            and now_ns - last.at_ns <= self._span_ns
        ):
            made = attrs.evolve(last, last=number)
            self.marks[-1] = made
        else:
            self.marks.append(made)
        if self.look is not None:
            self.look(made)

    def _die(self, kill: Kill, now_ns: int) -> None:
        """Cut everything, let what is under way arrive or not, and leave the loop for good."""
        stage = self._stage
        self._is_cut = True
        self.died_in = self.state
        back_s = (kill.back_ns - now_ns) / NS_PER_S
        what = f"at mark {kill.name}, dead for {back_s:.3f} s"
        stage.log.strikes.append(Strike(ts_ns=now_ns, kind=Kind.CRASH, venue="", what=what))
        stage.log.dead.append((now_ns, kill.back_ns))
        if kill.sent:
            self._is_late = True
            for flight in sorted(self._flying.values(), key=lambda each: each.due_ns):
                stage.hands.now = ManualClock(flight.due_ns)
                stage.twin.world.advance(flight.due_ns)
                flight.act()
            self._is_late = False
        raise Crashed


class CrashOffload(SimOffload):
    """Calls whose lane is known while they leave: the journal's are no requests."""

    async def __call__(self, fn: Callable[[], T], *, lane: str = "default") -> T:
        """Return what *fn* returns, or raise what it raises."""
        token = _lane.set(lane)
        try:
            return await super().__call__(fn, lane=lane)
        finally:
            _lane.reset(token)


def crash_offload(delay_s: float, carrier: Carrier) -> SimOffload:
    """Return the offload of one process."""
    return CrashOffload(delay_s, carrier.wires.values)


class _Steps(deque[asyncio.Handle]):
    """The ready queue of a loop; each step that is taken from it passes a mark first."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self._probe = probe

    def popleft(self) -> asyncio.Handle:
        self._probe.mark()
        return super().popleft()


class _SteppedLoop(VirtualTimeLoop):
    """A loop that passes a mark before each step, and knows its requests under way."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self._probe = probe
        self._ready = _Steps(probe)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at *when*; what is a request counts as under way until then."""
        called: object = callback
        is_call = called is _call and _lane.get() != LANE
        if not is_call and getattr(callback, "__func__", None) is not InprocStream._arrive:
            return super().call_at(when, callback, *args, context=context)
        due_ns = round(when * NS_PER_S) - self.time_ns()
        flight = self._probe.leaves(due_ns, lambda: callback(*args))
        return super().call_at(when, self._probe.lands, flight, context=context)


class _WatchedHttp:
    """An `HttpExchange` that passes a mark before a request arrives."""

    def __init__(self, probe: Probe, inner: HttpExchange) -> None:
        self._probe = probe
        self._inner = inner

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self._probe.arrives()
        try:
            return self._inner(request)
        finally:
            self._probe.request_arrived()


class _WatchedConnector:
    """A `StreamConnector` whose opened streams count as arrivals."""

    def __init__(self, probe: Probe, inner: StreamConnector) -> None:
        self._probe = probe
        self._inner = inner

    async def connect(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> StreamConnection:
        stream = await self._inner.connect(url, on_frame=on_frame, on_close=on_close)
        self._probe.request_arrived()
        return stream


class _Ticker:
    """An `EngineListener` that hears every change of an account."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def on_order(self, order: EngineOrder) -> None:  # noqa: ARG002 - the protocol's shape
        self._changed()

    def on_fill(self, fill: EngineFill) -> None:  # noqa: ARG002 - as above
        self._changed()

    def on_position(self, position: EnginePosition, cause: str) -> None:  # noqa: ARG002 - as above
        self._changed()

    def on_balance(self, cause: str) -> None:  # noqa: ARG002 - as above
        self._changed()

    def on_income(self, row: IncomeRow) -> None:  # noqa: ARG002 - as above
        self._changed()

    def on_quote(self, quote: Quote) -> None:
        """Say nothing: the market moves whoever lives."""

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Say nothing."""


def listen_to_commits(probe: Probe) -> Callable[[], None]:
    """Have *probe* hear every commit of any journal of this process; return the end of it."""
    sa.event.listen(sa.Engine, "commit", probe.on_commit)

    def end() -> None:
        sa.event.remove(sa.Engine, "commit", probe.on_commit)

    return end
