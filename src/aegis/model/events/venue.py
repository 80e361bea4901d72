"""What the exchanges told us: connections, accounts, orders, fills, and how our calls went."""

from decimal import Decimal

import attrs

from aegis.core.event import Event
from aegis.model.account import (
    BalanceReport,
    Capabilities,
    OrderReport,
    PositionReport,
    VenueSnapshot,
)
from aegis.model.fill import Fill
from aegis.model.instrument import Instrument, InstrumentId, Venue


@attrs.frozen(slots=True, kw_only=True)
class VenueConnected(Event):
    """A venue answered, its mode was checked (R41) and its instruments are known."""

    venue: Venue
    capabilities: Capabilities
    instruments: tuple[Instrument, ...]


@attrs.frozen(slots=True, kw_only=True)
class VenueUnavailable(Event):
    """A venue could not be brought up; it is not traded, the other one is."""

    venue: Venue
    stage: str
    error: str


@attrs.frozen(slots=True, kw_only=True)
class SymbolLeftOut(Event):
    """A configured symbol is not traded on a venue; the others are. *fix* is for a person."""

    venue: Venue
    symbol: str
    status: str
    fix: str


@attrs.frozen(slots=True, kw_only=True)
class RequestsPaused(Event):
    """
    A venue wants fewer requests, or must not get new orders: entries wait, ways out do not.

    *banned*: nothing at all is sent. *until_ns* is wall-clock ns UTC, None: until it is resolved.
    """

    venue: Venue
    banned: bool
    until_ns: int | None
    wait_s: float | None
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class RequestsResumed(Event):
    """A pause of requests is over."""

    venue: Venue


@attrs.frozen(slots=True, kw_only=True)
class ClockMeasured(Event):
    """The wall clock was compared with a venue's; *ahead_ms* > 0: ours is ahead."""

    venue: Venue
    ahead_ms: float
    round_trip_ms: float
    warning: str


@attrs.frozen(slots=True, kw_only=True)
class StreamOpened(Event):
    """A stream is connected and subscribed."""

    venue: Venue
    stream: str
    attempt: int
    downtime_ns: int


@attrs.frozen(slots=True, kw_only=True)
class StreamClosed(Event):
    """A stream broke; it reconnects by itself."""

    venue: Venue
    stream: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class AccountDoubted(Event):
    """The user stream broke or lost a message: no entries until the venue was asked anew (R12)."""

    venue: Venue
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class AccountConfirmed(Event):
    """
    Fills and snapshot after a doubt have come, and what the stream told meanwhile after them.

    *doubted_ns* is loop time; *held* messages were kept back, *repeated* of them said nothing new.
    """

    venue: Venue
    doubted_ns: int
    held: int
    repeated: int


@attrs.frozen(slots=True, kw_only=True)
class SecondLegFound(Event):
    """
    Hedge mode: both legs of a symbol are open, and the bot can hold only one. No entries there.

    Signed quantities in base units; *held_qty_signed* 0 where it was not told yet.
    """

    instrument_id: InstrumentId
    held_qty_signed: Decimal
    second_qty_signed: Decimal

    @property
    def text(self) -> str:
        """Return both legs and the fix in words."""
        held, second = self.held_qty_signed, self.second_qty_signed
        name = "LONG" if second > 0 else "SHORT"
        return (
            f"both legs of {self.instrument_id} are open, {held} which the bot holds and {second} "
            f"which it does not protect: give the {name} leg a stop, or close it"
        )


@attrs.frozen(slots=True, kw_only=True)
class SecondLegGone(Event):
    """Hedge mode: one of the two open legs of a symbol ended."""

    instrument_id: InstrumentId


@attrs.frozen(slots=True, kw_only=True)
class BalanceReported(Event):
    """A venue told our wallet."""

    report: BalanceReport


@attrs.frozen(slots=True, kw_only=True)
class PositionReported(Event):
    """A venue told a position, flat ones included."""

    report: PositionReport

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.report.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class OrderReported(Event):
    """A venue told the state of an order, ours or not."""

    report: OrderReport

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.report.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class FillReported(Event):
    """A venue told an execution, ours or not; may be repeated."""

    fill: Fill

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.fill.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class FundingReported(Event):
    """A venue booked funding; *amount* in USDT, > 0 received. Instrument None when not told."""

    venue: Venue
    instrument_id: InstrumentId | None
    amount: Decimal
    funding_id: str


@attrs.frozen(slots=True, kw_only=True)
class SnapshotReported(Event):
    """The venue's whole state by successful queries, at start and after every user-stream gap."""

    snapshot: VenueSnapshot
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class SnapshotWanted(Event):
    """Somebody doubts what is known of a venue: trade asks it for everything."""

    venue: Venue
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class ApiCalled(Event):
    """One REST call ended."""

    venue: Venue
    operation: str
    ok: bool
    duration_ms: float
    error_class: str
    error_code: str
    error: str
