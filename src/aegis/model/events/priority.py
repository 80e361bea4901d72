"""Which events the journal never drops."""

from aegis.core.event import Event
from aegis.model.events.intents import IntentApproved, IntentCompleted, IntentDenied, IntentProposed
from aegis.model.events.protection import (
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionMismatchFound,
    ProtectionWanted,
)
from aegis.model.events.run import RunStarted, RunStopped
from aegis.model.events.safety import (
    CloseRequested,
    DayStarted,
    EntriesHalted,
    EntriesResumed,
    KillSwitchPulled,
)
from aegis.model.events.trade import (
    EntryCompleted,
    EntryFailed,
    FillBooked,
    OrderAdvanced,
    OrderSubmitted,
    PositionClosed,
    PositionOpened,
)
from aegis.model.events.venue import FillReported, FundingReported

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
    ProtectionMismatchFound,
    FundingReported,
    EntriesHalted,
    EntriesResumed,
    KillSwitchPulled,
    CloseRequested,
    DayStarted,
    RunStarted,
    RunStopped,
)
"""Events the journal never drops (R75): orders, exits, money and safety."""
