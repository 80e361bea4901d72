"""
What every fault stands on: the twin and its seams, the clock, chance, and the log of strikes.

A `Ground` lives as long as one process of the bot; the `Log` outlives them all.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import attrs

from aegis.core.clock import NS_PER_S, Clock
from aegis.core.offload import InlineOffload
from aegis.journal.writer import LANE
from aegis.sim.disk import Disk
from aegis.sim.kinds import Fault, Kind
from aegis.sim.skew import SkewedClock
from aegis.twin.boot import Twin, VenueName
from aegis.twin.bybit.face import BybitFace
from aegis.twin.desk_faults import DeskFaults
from aegis.twin.engine.api import EngineOrder
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.engine.parts import NoFaults
from aegis.twin.fault_rules import Asked, Wire
from aegis.twin.frame_rules import Frames

T = TypeVar("T")


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
    unnamed: list[tuple[str, int, int]] = attrs.field(factory=list)
    """When a venue's name was not resolved: what was open lived on, nothing new was opened."""
    desks: list[tuple[str, int, int]] = attrs.field(factory=list)
    """When a venue took no stops or forgot them."""
    spent: set[int] = attrs.field(factory=set)
    """Faults that happen once and did, by their place in the plan."""
    rivals: dict[int, tuple[str, list[int]]] = attrs.field(factory=dict)
    """Second instances by their place in the plan: venue, from when and till when, ns UTC."""

    def rivals_seen(self, end_ns: int) -> list[tuple[str, int, int]]:
        """Return venue, beginning and end of each second instance."""
        return [(venue, at[0], at[1] if at[1:] else end_ns) for venue, at in self.rivals.values()]

    def counts(self) -> Counter[str]:
        """Return the strikes by kind."""
        return Counter(strike.kind.value for strike in self.strikes)


class SimOffload(InlineOffload):
    """Calls in virtual time whose answers, or the lack of them, a fault delays."""

    def __init__(
        self, delay_s: float, wires: Callable[[], Iterable[Wire]], disk: Disk | None = None
    ) -> None:
        super().__init__(delay_s, delay_s)
        self._wires = wires
        self._disk = disk or Disk()
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

        if lane == LANE:
            await asyncio.sleep(self._disk.slow_s)
        try:
            value = await super().__call__(call, lane=lane)
        except Exception:
            await asyncio.sleep(late_s)
            raise
        if late_s:
            await asyncio.sleep(late_s)
        return value


class EngineTwists(NoFaults):
    """What one engine is made to do wrong inside: triggers that get stuck, a book that is thin."""

    def __init__(self) -> None:
        self.on_stuck: Callable[[EngineOrder], None] | None = None
        self.depth = 1.0

    def trigger_stuck(self, order: EngineOrder) -> bool:
        """Say whether this trigger never reaches matching."""
        if self.on_stuck is None:
            return False
        self.on_stuck(order)
        return True

    def depth_factor(self, symbol: str) -> float:  # noqa: ARG002 - the protocol's shape
        """Return how much of the book is there."""
        return self.depth


class Ground:
    """The seams of one process life, and what faults do on all of them."""

    def __init__(
        self,
        twin: Twin,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        rng: random.Random,
    ) -> None:
        self.twin = twin
        self.clock = clock
        self.loop = loop
        self.log = log
        self.rng = rng
        self.disk = Disk()
        self.skewed = SkewedClock(clock)
        self.offload: SimOffload
        self.resume: Callable[[str], None] = lambda _: None
        """Lifts halts as a person would; while no process listens nothing is lifted."""
        self.wires: Final[dict[str, Wire]] = {n: Wire(n) for n in twin.faces}
        self.frames: Final[dict[str, Frames]] = {}
        self.desks: Final[dict[str, DeskFaults]] = {}
        self.twists: Final[dict[str, EngineTwists]] = {}
        self.desk_ends: dict[str, Callable[[], None]] = {}
        self.origin_ns = 0
        for name, face in twin.faces.items():
            # Both seams are where the faces look for them.
            face._faults = self.wires[name]
            if isinstance(face, BybitFace):
                face._rest._faults = self.wires[name]
            self.frames[name] = Frames(face, loop, self.wires[name])
            self.desks[name] = DeskFaults(twin.engines[name], loop, self.catch_up)
            self.twists[name] = twin.engines[name].parts.faults = EngineTwists()

    def now_s(self) -> float:
        """Return the seconds since the run began."""
        return (self.clock.now_ns() - self.origin_ns) / NS_PER_S

    def strike(self, fault: Fault, what: str) -> None:
        """Log that *fault* struck just now."""
        now_ns = self.clock.now_ns()
        strike = Strike(ts_ns=now_ns, kind=fault.kind, venue=fault.venue, what=what)
        self.log.strikes.append(strike)

    def excuse(self, venue: str, seconds: float) -> None:
        """Log that nobody can reach *venue* for so long."""
        now_ns = self.clock.now_ns()
        self.log.outages.append((venue, now_ns, now_ns + round(seconds * NS_PER_S)))

    def catch_up(self) -> None:
        """Bring the venues to now, before something is done to them by itself."""
        self.twin.world.advance(self.clock.now_ns())

    def engine(self, fault: Fault) -> TwinEngine:
        """Return the engine of the fault's venue."""
        return self.twin.engines[name_of(fault)]

    def takes(self, fault: Fault, kind: str, what: str = "") -> Callable[[Asked], bool]:
        """Return the test that strikes requests of *kind* by the fault's share, and logs it."""

        def takes(asked: Asked) -> bool:
            wanted = kind in {asked.kind, "any"} and (kind != "any" or asked.kind != "other")
            if not wanted or self.rng.random() >= fault.share:
                return False
            self.strike(fault, f"{asked.kind} {what}".strip())
            return True

        return takes

    def leave(self) -> None:
        """Give the twin back as it was: the process is gone, its streams too."""
        for end in list(self.desk_ends.values()):
            end()
        for name, face in self.twin.faces.items():
            self.frames[name].leave()
            open_face: Any = face
            vars(open_face).pop("open_stream", None)
            self.twin.engines[name].parts.faults = NoFaults()


End = Callable[[], None] | None
Begin = Callable[[Ground, int, Fault], End]
"""Begins a fault by its place in the plan; returns what ends it, None when nothing must."""


def name_of(fault: Fault) -> VenueName:
    """Return the fault's venue as the twin has it."""
    return "binance" if fault.venue == "binance" else "bybit"
