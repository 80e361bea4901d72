"""What lets entries through or holds them: halts, the day's start, protected venues."""

from decimal import Decimal

import attrs

from aegis.core.event import Event
from aegis.model.instrument import Venue


@attrs.frozen(slots=True, kw_only=True)
class EntriesHalted(Event):
    """No new exposure from now on; exits flow (R73)."""

    scope: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class EntriesResumed(Event):
    """A halt ended, by an operator or by the next day."""

    scope: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class DayStarted(Event):
    """The equity a venue's UTC day began with, against which the drawdown is taken (R64)."""

    venue: Venue
    day: str
    equity: Decimal


@attrs.frozen(slots=True, kw_only=True)
class VenueProtected(Event):
    """Every position found on a venue at start carries its stop: entries may begin (R88)."""

    venue: Venue
    positions: int


@attrs.frozen(slots=True, kw_only=True)
class KillSwitchPulled(Event):
    """An operator stops all entries until an operator resets it."""

    operator: str
    reason: str
