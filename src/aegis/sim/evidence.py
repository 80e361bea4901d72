"""What a run left behind, for the checkers: the venues' record, the journal, the strikes."""

from decimal import Decimal
from typing import Final, TypeVar

import attrs

from aegis.core.clock import NS_PER_S
from aegis.core.event import Event
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.sim.faults import Log, Strike
from aegis.sim.kinds import Kind
from aegis.sim.witness import FillSeen, IncomeSeen, OrderSeen, SizeSeen
from aegis.twin.boot import VenueName
from aegis.twin.meter import Episode

E = TypeVar("E", bound=Event)
Window = tuple[int, int]
BROKEN: Final = frozenset(
    {Kind.STREAM_CUT, Kind.STREAM_REFUSED, Kind.STREAM_HALF_OPEN, Kind.DAY_CLOSE, Kind.RESET_BEFORE,
     Kind.RESET_AFTER}
)  # fmt: skip
"""After these an order socket is opened anew, or not."""
BROKEN_BEFORE_NS: Final = 30 * NS_PER_S


@attrs.frozen(slots=True, kw_only=True)
class Life:
    """One process: its journal's events in order, and whether it ended cleanly."""

    run: int
    events: tuple[Event, ...]
    is_clean: bool
    unaccounted: tuple[str, ...] = ()
    """Streams whose frames do not add up, in words."""

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]


@attrs.frozen(slots=True, kw_only=True)
class Evidence:
    """
    Everything a checker may look at. Times in ns UTC.

    *positions*, *resting* and *wallets* are the venues' at the end, *resting* with the client ids
    of orders that this installation sent. *chain_broken* in words, "" when the journal is whole.
    """

    config: AegisConfig
    installation: str
    fills: tuple[FillSeen, ...]
    orders: tuple[OrderSeen, ...]
    income: tuple[IncomeSeen, ...]
    sizes: tuple[SizeSeen, ...]
    episodes: dict[VenueName, tuple[Episode, ...]]
    positions: dict[tuple[str, str], Decimal]
    wallets: dict[str, Decimal]
    lives: tuple[Life, ...]
    log: Log
    end_ns: int
    chain_broken: str = ""
    codes: tuple[int, ...] = ()
    """Exit codes of the processes that ended by themselves."""

    def events(self, kind: type[E]) -> list[E]:
        """Return the events of one type of all processes, in order."""
        return [event for life in self.lives for event in life.of(kind)]

    def windows(self, venue: str) -> list[Window]:
        """Return when nobody could act on *venue*: no process, or no way to the venue."""
        down = [(from_ns, to_ns) for at, from_ns, to_ns in self.log.outages if at == venue]
        return [*self.log.dead, *down, *self._unreachable(venue)]

    def _unreachable(self, venue: str) -> list[Window]:
        """
        Return when no order could leave because the venue's name was not resolved.

        By REST none could; by a socket only from when it broke.
        """
        windows = []
        for at, from_ns, to_ns in self.log.unnamed:
            broken = self.struck(venue, BROKEN, (from_ns - BROKEN_BEFORE_NS, to_ns))
            since_ns = from_ns
            if self.config.order_entry != "rest":
                since_ns = max([from_ns, broken[0].ts_ns]) if broken else to_ns
            if at == venue and since_ns < to_ns:
                windows.append((since_ns, to_ns))
        return windows

    def struck(self, venue: str, kinds: frozenset[Kind], window: Window) -> list[Strike]:
        """Return the strikes of *kinds* on *venue* within *window*."""
        return [
            strike
            for strike in self.log.strikes
            if strike.venue == venue
            and strike.kind in kinds
            and window[0] <= strike.ts_ns <= window[1]
        ]


def name_of(venue: Venue) -> str:
    """Return a venue's name as the twin has it."""
    return venue.value.lower()


def overlap_ns(from_ns: int, to_ns: int, windows: list[Window]) -> int:
    """Return how much of a span lies in *windows*, each moment counted once."""
    total, reached = 0, from_ns
    for begin, end in sorted(windows):
        begin, end = max(begin, reached), min(end, to_ns)
        if end > begin:
            total += end - begin
            reached = end
    return total
