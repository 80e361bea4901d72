"""
Carrying a plan out: each fault through the twin's own seams, each strike counted and written down.

One `Carrier` lives as long as one process of the bot; the `Log` outlives them all.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import attrs

from aegis.core.clock import NS_PER_S, Clock
from aegis.core.offload import InlineOffload
from aegis.core.transport import HttpResponse
from aegis.sim.answers import by_hand, foreign_order, limit_answer, server_error
from aegis.sim.plan import CRASHES, MARKET, TEXTS, Fault, Kind
from aegis.twin.boot import Twin, VenueName
from aegis.twin.bybit.face import BybitFace
from aegis.twin.desk_faults import DeskFaults
from aegis.twin.engine.api import EngineOrder, Refused
from aegis.twin.engine.parts import NoFaults
from aegis.twin.fault_rules import Asked, Frames, Rule, Send, Wire

T = TypeVar("T")
HUNG_S: Final = 10.0
"""How long a request without an answer keeps its caller, who gives up before."""
BYBIT_BAN_S: Final = 600.0
FOREIGN_PRICE: Final = Decimal("0.8")
WAITING: Final = MARKET | {Kind.CRASH_AT_REQUEST}
"""Faults that have no end by time."""


class Crashed(KeyboardInterrupt):
    """Out of the loop at once, as a kill -9: nothing of the process is executed any more."""


@attrs.frozen(slots=True, kw_only=True)
class Strike:
    """One thing that went wrong: when (ns UTC), of what kind, on which venue, and to what."""

    ts_ns: int
    kind: Kind
    venue: str
    what: str


@attrs.define(slots=True)
class Log:
    """Every strike, and the windows that excuse: dead processes and venues that were down."""

    strikes: list[Strike] = attrs.field(factory=list)
    dead: list[tuple[int, int]] = attrs.field(factory=list)
    outages: list[tuple[str, int, int]] = attrs.field(factory=list)
    desks: list[tuple[str, int, int]] = attrs.field(factory=list)
    """When a venue took no stops or forgot them."""
    spent: set[int] = attrs.field(factory=set)
    """Faults that happen once and did, by their place in the plan."""

    def counts(self) -> Counter[str]:
        """Return the strikes by kind."""
        return Counter(strike.kind.value for strike in self.strikes)


class SimOffload(InlineOffload):
    """Calls in virtual time whose answers, or the lack of them, a fault delays."""

    def __init__(self, delay_s: float, wires: Callable[[], Iterable[Wire]]) -> None:
        super().__init__(delay_s, delay_s)
        self._wires = wires
        self.in_call = False

    async def __call__(self, fn: Callable[[], T], *, lane: str = "default") -> T:
        """Return what *fn* returns, or raise what it raises, as late as the fault says."""
        late_s = 0.0

        def call() -> T:
            nonlocal late_s
            self.in_call = True
            try:
                return fn()
            finally:
                self.in_call = False
                late_s = sum(wire.take_late_s() for wire in self._wires())

        try:
            value = await super().__call__(call, lane=lane)
        except Exception:
            await asyncio.sleep(late_s)
            raise
        if late_s:
            await asyncio.sleep(late_s)
        return value


class Carrier:
    """The faults of one process life, armed on its loop."""

    def __init__(
        self,
        twin: Twin,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        rng: random.Random,
    ) -> None:
        self._twin = twin
        self._clock = clock
        self._loop = loop
        self._log = log
        self._rng = rng
        self.offload: SimOffload
        self.wires: Final[dict[str, Wire]] = {n: Wire(n) for n in twin.faces}
        self._frames: Final[dict[str, Frames]] = {}
        self._desks: Final[dict[str, DeskFaults]] = {}
        self._desk_ends: dict[str, Callable[[], None]] = {}
        self._origin_ns = 0
        for name, face in twin.faces.items():
            # Both seams are where the faces look for them.
            face._faults = self.wires[name]
            if isinstance(face, BybitFace):
                face._rest._faults = self.wires[name]
            self._frames[name] = Frames(face, loop, self.wires[name])
            self._desks[name] = DeskFaults(twin.engines[name], loop, self._catch_up)

    def arm(self, faults: Iterable[Fault], origin_ns: int) -> None:
        """Begin what is under way, and set the timers for what is to come."""
        self._origin_ns = origin_ns
        now_s = self._now_s()
        for number, fault in enumerate(faults):
            is_over = fault.at_s + fault.for_s < now_s and fault.kind not in WAITING
            if not is_over and number not in self._log.spent:
                delay_s = max(0.0, fault.at_s - now_s)
                _ = self._loop.call_later(delay_s, self._begin, number, fault)

    def _now_s(self) -> float:
        return (self._clock.now_ns() - self._origin_ns) / NS_PER_S

    def leave(self) -> None:
        """Give the twin back as it was: the process is gone, its streams too."""
        for end in list(self._desk_ends.values()):
            end()
        for name, face in self._twin.faces.items():
            self._frames[name].leave()
            vars(face).pop("open_stream", None)
            self._twin.engines[name].parts.faults = NoFaults()

    def _strike(self, kind: Kind, venue: str, what: str) -> None:
        now_ns = self._clock.now_ns()
        self._log.strikes.append(Strike(ts_ns=now_ns, kind=kind, venue=venue, what=what))

    def _catch_up(self) -> None:
        self._twin.world.advance(self._clock.now_ns())

    def _begin(self, number: int, fault: Fault) -> None:
        if fault.for_s == 0 and fault.kind is not Kind.CRASH_AT_REQUEST:
            self._log.spent.add(number)
        end = _BEGIN[fault.kind](self, number, fault)
        if end is not None:
            left_s = fault.at_s + fault.for_s - self._now_s()
            _ = self._loop.call_later(max(0.0, left_s), end)

    # --- requests --------------------------------------------------------------------------------

    def _takes(self, fault: Fault, kind: str, what: str = "") -> Callable[[Asked], bool]:
        def takes(asked: Asked) -> bool:
            wanted = kind in {asked.kind, "any"} and (kind != "any" or asked.kind != "other")
            if not wanted or self._rng.random() >= fault.share:
                return False
            self._strike(fault.kind, fault.venue, f"{asked.kind} {what}".strip())
            return True

        return takes

    def _lose(self, wire: Wire) -> NoReturn:
        if self.offload.in_call:
            wire.hold(HUNG_S)
        raise TimeoutError("no answer, by a fault")

    def _request(self, _number: int, fault: Fault) -> Callable[[], None]:
        wire = self.wires[fault.venue]
        kind, takes = fault.kind, self._takes(fault, fault.target)
        if kind is Kind.REQUEST_LOST:
            rule = Rule(match=takes, times=None, before=lambda: self._lose(wire))
        elif kind is Kind.ANSWER_LOST:
            rule = Rule(match=takes, times=None, after=lambda _: self._lose(wire))
        elif kind is Kind.ANSWER_LATE:
            rule = Rule(match=takes, times=None, after=partial(_later, wire, fault.seconds))
        else:
            answer = server_error(fault)
            rule = Rule(match=takes, times=None, after=lambda _: answer)
        return wire.add(rule).end

    def _refuse(self, _number: int, fault: Fault) -> Callable[[], None]:
        kind, _, code = fault.target.partition(" ")
        takes = self._takes(fault, kind, code)
        return self.wires[fault.venue].refuse(takes, int(code), TEXTS[int(code)]).end

    def _limit(self, _number: int, fault: Fault) -> Callable[[], None]:
        banned = fault.kind is Kind.BANNED
        wait_s = 2 if not banned else round(fault.for_s) + 1
        answer = limit_answer(fault.venue, banned, wait_s)
        # Bybit lifts its ban after ten minutes (venues.md, limits): nothing is sent so long.
        told_s = BYBIT_BAN_S if fault.venue == "bybit" else wait_s

        def takes(asked: Asked) -> bool:
            if self._rng.random() >= fault.share:
                return False
            self._strike(fault.kind, fault.venue, asked.kind)
            if banned:
                self._excuse(fault.venue, told_s)
            return True

        return self.wires[fault.venue].add(Rule(match=takes, times=None, before=lambda: answer)).end

    def _query(self, _number: int, fault: Fault) -> Callable[[], None]:
        wire, takes = self.wires[fault.venue], self._takes(fault, fault.target)
        rule = wire.empty(takes) if fault.kind is Kind.QUERY_EMPTY else wire.fail(takes, 500)
        return rule.end

    # --- streams ---------------------------------------------------------------------------------

    def _cut(self, _number: int, fault: Fault) -> None:
        if self._frames[fault.venue].cut_all(fault.target):
            self._strike(fault.kind, fault.venue, fault.target)

    def _silence(self, _number: int, fault: Fault) -> Callable[[], None]:
        # Which frames are of one stream is not told here: every one falls silent.
        return self._frames_rule(fault, lambda _frame: True, lambda _frame, _send: None)

    def _frame_fault(self, _number: int, fault: Fault) -> Callable[[], None]:
        def test(frame: bytes) -> bool:
            return any(mark in frame for mark in Frames.ACCOUNT)

        if fault.kind is Kind.FRAMES_LOST:
            return self._frames_rule(fault, test, lambda _frame, _send: None)
        if fault.kind is Kind.FRAMES_TWICE:
            return self._frames_rule(fault, test, _twice)

        def late(frame: bytes, send: Send) -> None:
            _ = self._loop.call_later(fault.seconds, send, frame)

        return self._frames_rule(fault, test, late)

    def _frames_rule(
        self, fault: Fault, test: Callable[[bytes], bool], act: Callable[[bytes, Send], None]
    ) -> Callable[[], None]:
        def struck(frame: bytes) -> bool:
            if not test(frame) or self._rng.random() >= fault.share:
                return False
            self._strike(fault.kind, fault.venue, frame[:60].decode(errors="replace"))
            return True

        return self._frames[fault.venue].act_on(struck, act).end

    def _expire_key(self, _number: int, fault: Fault) -> None:
        face: Any = self._twin.faces["binance"]
        face.expire_listen_key()
        self._strike(fault.kind, fault.venue, "the listen key")

    # --- the venue itself ------------------------------------------------------------------------

    def _stops(self, _number: int, fault: Fault) -> Callable[[], None] | None:
        name = _name(fault.venue)
        if name in self._desk_ends:
            return None
        desk, times = self._desks[name], int(fault.size)
        is_forgotten = fault.kind is Kind.STOPS_FORGOTTEN
        hits = desk.forget_stops(times=times) if is_forgotten else desk.refuse_stops(times=times)
        begun_ns, kind = self._clock.now_ns(), fault.kind

        def end() -> None:
            if self._desk_ends.pop(name, None) is None:
                return
            log = self._log
            log.strikes += [
                Strike(ts_ns=begun_ns, kind=kind, venue=name, what=what) for what in hits
            ]
            log.desks.append((name, begun_ns, self._clock.now_ns()))
            for method in ("place", "set_position_protection"):
                vars(self._twin.engines[name]).pop(method, None)

        self._desk_ends[name] = end
        return end

    def _stuck(self, _number: int, fault: Fault) -> Callable[[], None]:
        engine = self._twin.engines[_name(fault.venue)]
        faults = _Stuck(lambda order: self._strike(fault.kind, fault.venue, order.spec.client_id))
        engine.parts.faults = faults

        def end() -> None:
            engine.parts.faults = NoFaults()

        return end

    def _outage(self, _number: int, fault: Fault) -> Callable[[], None]:
        frames, wire = self._frames[fault.venue], self.wires[fault.venue]
        self._strike(fault.kind, fault.venue, f"{fault.for_s:.0f} s")
        self._excuse(fault.venue, fault.for_s)
        frames.is_down = True
        frames.cut_all()

        def refuse() -> NoReturn:
            raise ConnectionRefusedError("the venue is down, by a fault")

        rule = wire.add(Rule(match=lambda _: True, times=None, before=refuse))

        def end() -> None:
            rule.end()
            frames.is_down = False

        return end

    def _excuse(self, venue: str, seconds: float) -> None:
        now_ns = self._clock.now_ns()
        self._log.outages.append((venue, now_ns, now_ns + round(seconds * NS_PER_S)))

    # --- a person --------------------------------------------------------------------------------

    def _person(self, number: int, fault: Fault) -> None:
        self._catch_up()
        engine = self._twin.engines[_name(fault.venue)]
        symbol = fault.target
        held = next((p for p in engine.held() if p.symbol == symbol), None)
        try:
            if fault.kind is Kind.FOREIGN_ORDER:
                price = Decimal(repr(engine.quote(symbol).mark)) * FOREIGN_PRICE
                _ = engine.place(foreign_order(engine.instruments[symbol], price, number))
            elif held is None:
                return
            elif fault.kind is Kind.STOP_REMOVED:
                stops = [o for o in engine.open_orders(symbol) if o.conditional]
                if not stops:
                    return
                engine.cancel(stops[0])
            else:
                _ = engine.place(by_hand(symbol, held.qty, number))
        except Refused as refused:
            # A person's order may be refused as anybody's: nothing happened then.
            self._strike(fault.kind, fault.venue, f"{symbol} not done: {refused}")
        else:
            self._strike(fault.kind, fault.venue, symbol)

    # --- the process -----------------------------------------------------------------------------

    def _crash(self, _number: int, fault: Fault) -> None:
        self._strike(fault.kind, "", f"dead for {fault.seconds} s")
        now_ns = self._clock.now_ns()
        self._log.dead.append((now_ns, now_ns + round(fault.seconds * NS_PER_S)))
        raise Crashed

    def _crash_at_request(self, number: int, fault: Fault) -> None:
        def takes(asked: Asked) -> bool:
            if asked.kind != fault.target or number in self._log.spent:
                return False
            self._log.spent.add(number)
            _ = self._loop.call_soon(self._crash, number, fault)
            return True

        wire = self.wires[fault.venue]
        if fault.size:
            _ = wire.add(Rule(match=takes, times=1, after=lambda answer: answer))
        else:
            # Cut before it reached the venue.
            _ = wire.add(Rule(match=takes, times=1, before=lambda: self._lose(wire)))

    def _market(self, _number: int, fault: Fault) -> None:
        self._strike(fault.kind, "", f"{fault.target} {fault.size:+.2%}")


_BEGIN: Final[dict[Kind, Callable[[Carrier, int, Fault], Callable[[], None] | None]]] = {
    Kind.ANSWER_LOST: Carrier._request,
    Kind.REQUEST_LOST: Carrier._request,
    Kind.ANSWER_LATE: Carrier._request,
    Kind.ERROR_AFTER: Carrier._request,
    Kind.UNKNOWN_AFTER: Carrier._request,
    Kind.REFUSED: Carrier._refuse,
    Kind.TOO_MANY: Carrier._limit,
    Kind.BANNED: Carrier._limit,
    Kind.QUERY_EMPTY: Carrier._query,
    Kind.QUERY_FAILED: Carrier._query,
    Kind.STREAM_CUT: Carrier._cut,
    Kind.STREAM_SILENT: Carrier._silence,
    Kind.FRAMES_LOST: Carrier._frame_fault,
    Kind.FRAMES_TWICE: Carrier._frame_fault,
    Kind.FRAMES_LATE: Carrier._frame_fault,
    Kind.KEY_EXPIRED: Carrier._expire_key,
    Kind.STOPS_FORGOTTEN: Carrier._stops,
    Kind.STOPS_REFUSED: Carrier._stops,
    Kind.TRIGGER_STUCK: Carrier._stuck,
    Kind.OUTAGE: Carrier._outage,
    Kind.CLOSED_BY_HAND: Carrier._person,
    Kind.STOP_REMOVED: Carrier._person,
    Kind.FOREIGN_ORDER: Carrier._person,
    Kind.CRASH: Carrier._crash,
    Kind.CRASH_AT_REQUEST: Carrier._crash_at_request,
    Kind.PRICE_GAP: Carrier._market,
    Kind.FAST_MINUTE: Carrier._market,
}
assert set(_BEGIN) == set(Kind), "every kind of fault is carried out"
assert set(Kind) > CRASHES


class _Stuck(NoFaults):
    """Triggers that never reach matching."""

    def __init__(self, tell: Callable[[EngineOrder], None]) -> None:
        self._tell = tell

    def trigger_stuck(self, order: EngineOrder) -> bool:
        """Always."""
        self._tell(order)
        return True


def _name(venue: str) -> VenueName:
    return "binance" if venue == "binance" else "bybit"


def _later(wire: Wire, seconds: float, answer: HttpResponse) -> HttpResponse:
    wire.hold(seconds)
    return answer


def _twice(frame: bytes, send: Send) -> None:
    send(frame)
    send(frame)
