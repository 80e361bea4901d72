"""
Every event on the bus, frozen and versioned. Past tense: events are facts.

Who produces what is written in docs/design.md; the contract check at start compares it with the
wiring (R8). ``ts_event`` is when it happened (venue's time for venue facts, bot clock otherwise),
``ts_recv`` when we saw it; ns UTC.
"""

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
from aegis.model.intent import Approved, TradeIntent
from aegis.model.market import Candle
from aegis.model.order import OrderRequest, OrderStatus
from aegis.model.position import CloseCause, PositionView
from aegis.model.signal import Signal

# --- the run -------------------------------------------------------------------------------------


@attrs.frozen(slots=True, kw_only=True)
class RunStarted(Event):
    """The process took its lock and read its settings."""

    run_id: str
    run: int
    installation: str
    mode: str
    label: str
    config: tuple[tuple[str, str, str], ...]
    """Effective settings: name, value (secrets only as set or unset), origin (R83)."""


@attrs.frozen(slots=True, kw_only=True)
class RunStopped(Event):
    """The process ends cleanly; native protection stays on the venues."""

    run_id: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class TaskFailed(Event):
    """A supervised task raised."""

    task: str
    error_type: str
    error: str
    traceback: str
    restarts: int
    fatal: bool


# --- venues: what the exchanges told us ----------------------------------------------------------


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


# --- data ----------------------------------------------------------------------------------------


@attrs.frozen(slots=True, kw_only=True)
class MarketTick(Event):
    """
    Newest quote, mark and last of one instrument; older values of this drain were merged.

    Prices are floats, quote per base; None while never told. *merged* counts merged frames.
    """

    instrument_id: InstrumentId
    bid: float | None
    ask: float | None
    mark: float | None
    last: float | None
    merged: int

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class CandleClosed(Event):
    """A bar is final. *from_history*: it came by REST, to warm up or to fill a gap."""

    candle: Candle
    from_history: bool

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.candle.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class CandleGapFound(Event):
    """Bars are missing between two stream bars; *missing* were asked from history."""

    instrument_id: InstrumentId
    timeframe_ns: int
    from_ns: int
    missing: int


@attrs.frozen(slots=True, kw_only=True)
class WarmupFinished(Event):
    """History of one instrument was read; *bars* by timeframe name."""

    instrument_id: InstrumentId
    bars: tuple[tuple[str, int], ...]


@attrs.frozen(slots=True, kw_only=True)
class FeedStale(Event):
    """Nothing fresh arrived for an instrument for *age_ns*: no entries there (R69)."""

    instrument_id: InstrumentId
    age_ns: int


@attrs.frozen(slots=True, kw_only=True)
class FeedFresh(Event):
    """An instrument's data flow again."""

    instrument_id: InstrumentId
    stale_for_ns: int


@attrs.frozen(slots=True, kw_only=True)
class FrameRejected(Event):
    """
    The firewall refused a frame (R5).

    Published for the first of each reason and instrument, and then with doubling counts.
    """

    instrument_id: InstrumentId | None
    frame: str
    reason: str
    count: int


# --- brain ---------------------------------------------------------------------------------------


@attrs.frozen(slots=True, kw_only=True)
class SignalRaised(Event):
    """A strategy proposes a trade."""

    signal: Signal

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.signal.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class SignalDropped(Event):
    """A signal ended before it became an intent: too old, no size, busy instrument, ..."""

    signal_id: str
    instrument_id: InstrumentId
    reason: str


# --- intents -------------------------------------------------------------------------------------


@attrs.frozen(slots=True, kw_only=True)
class IntentProposed(Event):
    """Trade or exit wishes something; safety answers."""

    intent: TradeIntent


@attrs.frozen(slots=True, kw_only=True)
class IntentApproved(Event):
    """Safety let the intent through."""

    approved: Approved


@attrs.frozen(slots=True, kw_only=True)
class IntentDenied(Event):
    """Safety refused an entry; terminal for the intent."""

    intent: TradeIntent
    guard: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class GuardChecked(Event):
    """What each guard saw when it decided about an entry: name, verdict, inputs in words."""

    intent_id: str
    instrument_id: InstrumentId
    checks: tuple[tuple[str, bool, str], ...]


@attrs.frozen(slots=True, kw_only=True)
class IntentCompleted(Event):
    """
    An approved intent ended (R74).

    *outcome* in words. *refusal* is the normalized kind (core.errors) when the venue said no.
    """

    intent_id: str
    position_id: str
    instrument_id: InstrumentId
    command: str
    client_order_id: str
    ok: bool
    outcome: str
    refusal: str


# --- orders and positions (trade) ----------------------------------------------------------------


@attrs.frozen(slots=True, kw_only=True)
class OrderSubmitted(Event):
    """An order left for the venue."""

    request: OrderRequest
    position_id: str
    trace_id: str
    attempt: int


@attrs.frozen(slots=True, kw_only=True)
class OrderAdvanced(Event):
    """One of our orders moved forward in its life, by the venue's word."""

    client_order_id: str
    venue_order_id: str
    instrument_id: InstrumentId
    position_id: str
    purpose: str
    status: OrderStatus
    filled_qty: Decimal
    average_px: Decimal | None
    code: str
    message: str


@attrs.frozen(slots=True, kw_only=True)
class FillBooked(Event):
    """A fill was counted into its position, exactly once; *position* is after it."""

    fill: Fill
    position: PositionView
    purpose: str

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.fill.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class PositionOpened(Event):
    """The first fill of an entry arrived, or a position found on the venue was adopted."""

    position: PositionView


@attrs.frozen(slots=True, kw_only=True)
class EntryCompleted(Event):
    """The entry order is terminal: entry price and quantity are final (R33, R34)."""

    position: PositionView
    slippage: Decimal | None
    """Entry VWAP minus signal price, in the direction that hurts; quote per base."""


@attrs.frozen(slots=True, kw_only=True)
class EntryFailed(Event):
    """An entry ended without a fill: rejected, expired, or never accepted."""

    position_id: str
    instrument_id: InstrumentId
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class PositionClosed(Event):
    """The venue says flat and the fills agree."""

    position: PositionView
    cause: CloseCause
    exit_px_avg: Decimal | None
    net_pnl: Decimal
    hold_ns: int


@attrs.frozen(slots=True, kw_only=True)
class PositionMismatchFound(Event):
    """Our book and the venue differ; what was done about it."""

    instrument_id: InstrumentId
    ours: Decimal
    theirs: Decimal
    action: str


# --- protection (exit) ---------------------------------------------------------------------------


@attrs.frozen(slots=True, kw_only=True)
class ProtectionWanted(Event):
    """Exit computed the protection a position must have; trigger prices on the tick grid."""

    position_id: str
    instrument_id: InstrumentId
    stop_price: Decimal
    target_price: Decimal
    basis: str


@attrs.frozen(slots=True, kw_only=True)
class ProtectionConfirmed(Event):
    """
    The venue reports stop and target working for the whole position.

    *naked_ns*: from our receipt of the first fill to our receipt of the stop's evidence, loop time.
    """

    position_id: str
    instrument_id: InstrumentId
    stop_price: Decimal
    target_price: Decimal | None
    stop_order: str
    target_order: str
    naked_ns: int
    source: str


@attrs.frozen(slots=True, kw_only=True)
class ProtectionChanged(Event):
    """The venue reports the working stop or target at another price than before."""

    position_id: str
    instrument_id: InstrumentId
    stop_price: Decimal
    target_price: Decimal | None
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class ProtectionDelayed(Event):
    """The soft deadline passed without evidence of a stop."""

    position_id: str
    instrument_id: InstrumentId
    naked_ns: int


@attrs.frozen(slots=True, kw_only=True)
class ProtectionFailed(Event):
    """No stop could be confirmed: the position is closed reduce-only at market."""

    position_id: str
    instrument_id: InstrumentId
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class ProtectionLost(Event):
    """A working stop vanished or was altered while the position is open."""

    position_id: str
    instrument_id: InstrumentId
    reason: str


# --- safety --------------------------------------------------------------------------------------


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


# --- ops and journal -----------------------------------------------------------------------------


@attrs.frozen(slots=True, kw_only=True)
class HeartbeatEmitted(Event):
    """The heartbeat as text lines, each with real, timestamped values (R81)."""

    lines: tuple[str, ...]
    positions_open: int
    positions_protected: int


@attrs.frozen(slots=True, kw_only=True)
class AlertRaised(Event):
    """Something a person should know; *level* WARNING or CRITICAL."""

    rule: str
    level: str
    message: str


@attrs.frozen(slots=True, kw_only=True)
class JournalOverflowed(Event):
    """Low-priority journal rows were dropped, counted (R75)."""

    dropped: int


PRIORITY_EVENTS: tuple[type[Event], ...] = (
    IntentProposed,
    IntentApproved,
    IntentDenied,
    IntentCompleted,
    OrderSubmitted,
    OrderAdvanced,
    FillBooked,
    FillReported,
    PositionOpened,
    EntryCompleted,
    EntryFailed,
    PositionClosed,
    ProtectionWanted,
    ProtectionConfirmed,
    ProtectionChanged,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    FundingReported,
    EntriesHalted,
    EntriesResumed,
    KillSwitchPulled,
    DayStarted,
    RunStarted,
    RunStopped,
)
"""Events the journal never drops (R75): orders, exits, money and safety."""
