"""What lets entries through or holds them: halts, the day's start, protected venues."""

from decimal import Decimal

import attrs

from aegis.core.event import Event
from aegis.model.instrument import InstrumentId, Venue


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
    """
    An operator stops all entries until an operator resets it.

    Exit does so too, in its own name, when a venue takes neither a stop nor a close.
    """

    operator: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class CloseRequested(Event):
    """
    An operator wants the position of *instrument_id* closed at market (R63).

    *force*: ask the venue again although the same was asked a moment ago.
    """

    instrument_id: InstrumentId
    operator: str
    reason: str
    force: bool


@attrs.frozen(slots=True, kw_only=True)
class ForeignOrderFound(Event):
    """An order on our account that this process did not send, told once; *whose* in words (R88)."""

    instrument_id: InstrumentId
    client_order_id: str
    whose: str
    status: str
    reduce_only: bool
