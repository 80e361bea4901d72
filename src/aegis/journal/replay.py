"""
What a start must know of the runs before it: the number of this run, the day's baseline and locks,
and a halt that only an operator lifts. Positions and orders are not in here: the venue tells those.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import attrs

from aegis.core.event import Event
from aegis.journal.store import JournalStore
from aegis.model.events import DayStarted, EntriesHalted, EntriesResumed, KillSwitchPulled
from aegis.model.instrument import Venue

REPLAYED: Final[tuple[type[Event], ...]] = (
    DayStarted,
    EntriesHalted,
    EntriesResumed,
    KillSwitchPulled,
)


@attrs.frozen(slots=True, kw_only=True)
class DayBaseline:
    """
    The newest UTC day a venue began, and the equity (USDT) it began with.

    *locked*: why its entries were halted on that day, "" when they are not. A day that is not
    today's is no baseline any more; SafetyActor sees that by *day*.
    """

    venue: Venue
    day: str
    equity: Decimal
    locked: str


@attrs.frozen(slots=True, kw_only=True)
class EarlierRuns:
    """
    What the journal says about the time before this start.

    *halts*: reasons of halts of everything that no operator lifted, oldest first (R73): a restart
    does not clear a kill switch.
    """

    next_run: int
    days: tuple[DayBaseline, ...]
    halts: tuple[str, ...]


def earlier_runs(events: Iterable[Event], last_run: int) -> EarlierRuns:
    """
    Return what *events* of earlier runs, oldest first, mean for the next one.

    last_run: highest run number so far, 0 when there was none.
    """
    days: dict[Venue, DayBaseline] = {}
    halts: dict[str, None] = {}
    for event in events:
        match event:
            case DayStarted(venue=venue, day=day, equity=equity):
                days[venue] = DayBaseline(venue=venue, day=day, equity=equity, locked="")
            case KillSwitchPulled(operator=operator, reason=reason):
                halts[f"kill switch by {operator}: {reason}"] = None
            case EntriesHalted(scope="all", reason=reason):
                halts[reason] = None
            case EntriesResumed(scope="all"):
                halts.clear()
            case EntriesHalted(scope=scope, reason=reason):
                _lock(days, scope, reason)
            case EntriesResumed(scope=scope):
                _lock(days, scope, "")
            case _:
                pass
    return EarlierRuns(
        next_run=last_run + 1,
        days=tuple(days[venue] for venue in sorted(days)),
        halts=tuple(halts),
    )


def read_earlier_runs(store: JournalStore) -> EarlierRuns:
    """Read what earlier_runs() needs from *store*; blocks."""
    runs = store.runs()
    events = (event for _, event in store.iter_events(types=REPLAYED))
    return earlier_runs(events, runs[-1].run if runs else 0)


def _lock(days: dict[Venue, DayBaseline], scope: str, reason: str) -> None:
    for venue, baseline in days.items():
        if venue.value == scope:
            days[venue] = attrs.evolve(baseline, locked=reason)
