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
