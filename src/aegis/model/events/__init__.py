"""
Every event on the bus, frozen and versioned. Past tense: events are facts.

The files divide them by what they tell of; everybody else imports them from here.

Who produces what is written in docs/design.md; the contract check at start compares it with the
wiring (R8). ``ts_event`` is when it happened (venue's time for venue facts, bot clock otherwise),
``ts_recv`` when we saw it; ns UTC.
"""

from aegis.model.events.intents import (
    GuardChecked,
    IntentApproved,
    IntentCompleted,
    IntentDenied,
    IntentProposed,
    SignalDropped,
    SignalRaised,
)
from aegis.model.events.market import (
    CandleClosed,
    CandleGapFound,
    FeedFresh,
    FeedStale,
    FrameRejected,
    MarketTick,
    WarmupFinished,
)
from aegis.model.events.ops import AlertRaised, HeartbeatEmitted, JournalOverflowed
from aegis.model.events.priority import PRIORITY_EVENTS
from aegis.model.events.protection import (
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionMismatchFound,
    ProtectionMismatchKind,
    ProtectionWanted,
)
from aegis.model.events.run import RunStarted, RunStopped, TaskFailed
from aegis.model.events.safety import (
    CloseRequested,
    DayStarted,
    EntriesHalted,
    EntriesResumed,
    ForeignOrderFound,
    KillSwitchPulled,
    VenueProtected,
)
from aegis.model.events.trade import (
    EntryCompleted,
    EntryFailed,
    FillBooked,
    OrderAdvanced,
    OrderSubmitted,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
)
from aegis.model.events.venue import (
    AccountConfirmed,
    AccountDoubted,
    ApiCalled,
    BalanceReported,
    ClockMeasured,
    FillReported,
    FundingReported,
    OrderReported,
    PositionReported,
    RequestsPaused,
    RequestsResumed,
    SecondLegFound,
    SecondLegGone,
    SnapshotReported,
    SnapshotWanted,
    StreamClosed,
    StreamOpened,
    SymbolLeftOut,
    VenueConnected,
    VenueUnavailable,
)

__all__ = [
    # run
    "RunStarted",
    "RunStopped",
    "TaskFailed",
    # venue
    "VenueConnected",
    "VenueUnavailable",
    "SymbolLeftOut",
    "RequestsPaused",
    "RequestsResumed",
    "ClockMeasured",
    "StreamOpened",
    "StreamClosed",
    "AccountDoubted",
    "AccountConfirmed",
    "SecondLegFound",
    "SecondLegGone",
    "BalanceReported",
    "PositionReported",
    "OrderReported",
    "FillReported",
    "FundingReported",
    "SnapshotReported",
    "SnapshotWanted",
    "ApiCalled",
    # market
    "MarketTick",
    "CandleClosed",
    "CandleGapFound",
    "WarmupFinished",
    "FeedStale",
    "FeedFresh",
    "FrameRejected",
    # intents
    "SignalRaised",
    "SignalDropped",
    "IntentProposed",
    "IntentApproved",
    "IntentDenied",
    "GuardChecked",
    "IntentCompleted",
    # trade
    "OrderSubmitted",
    "OrderAdvanced",
    "FillBooked",
    "PositionOpened",
    "EntryCompleted",
    "EntryFailed",
    "PositionClosed",
    "PositionMismatchFound",
    # protection
    "ProtectionWanted",
    "ProtectionConfirmed",
    "ProtectionChanged",
    "ProtectionDelayed",
    "ProtectionFailed",
    "ProtectionLost",
    "ProtectionMismatchFound",
    "ProtectionMismatchKind",
    # safety
    "EntriesHalted",
    "EntriesResumed",
    "DayStarted",
    "VenueProtected",
    "KillSwitchPulled",
    "CloseRequested",
    "ForeignOrderFound",
    # ops
    "HeartbeatEmitted",
    "AlertRaised",
    "JournalOverflowed",
    "PRIORITY_EVENTS",
]
