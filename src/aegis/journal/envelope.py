"""
What every row says about its event, so that rows can be found without opening them.

The ids are lifted from the event's own fields, wherever they stand in it; an event that names no
position has an empty column, never an invented one.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import attrs

from aegis.core.event import Event, HandlerFailed
from aegis.journal.codec import JournalFault
from aegis.model.events import (
    AccountDoubted,
    AlertRaised,
    CandleGapFound,
    CloseRequested,
    EntriesHalted,
    EntryFailed,
    FeedStale,
    ForeignOrderFound,
    FrameRejected,
    IntentDenied,
    JournalOverflowed,
    KillSwitchPulled,
    PositionMismatchFound,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionMismatchFound,
    SecondLegFound,
    StreamClosed,
    TaskFailed,
    VenueUnavailable,
)

INFO: Final = "INFO"
WARNING: Final = "WARNING"
CRITICAL: Final = "CRITICAL"

_SEVERITY: Final[dict[type[Event], str]] = {
    KillSwitchPulled: CRITICAL,
    ProtectionFailed: CRITICAL,
    ProtectionLost: CRITICAL,
    JournalFault: CRITICAL,
    AccountDoubted: WARNING,
    SecondLegFound: CRITICAL,
    CandleGapFound: WARNING,
    CloseRequested: WARNING,
    EntriesHalted: WARNING,
    EntryFailed: WARNING,
    FeedStale: WARNING,
    ForeignOrderFound: WARNING,
    FrameRejected: WARNING,
    HandlerFailed: WARNING,
    IntentDenied: WARNING,
    JournalOverflowed: WARNING,
    PositionMismatchFound: WARNING,
    ProtectionDelayed: WARNING,
    ProtectionMismatchFound: WARNING,
    StreamClosed: WARNING,
    TaskFailed: WARNING,
    VenueUnavailable: WARNING,
}
_LIFTED: Final = ("venue", "instrument_id", "position_id", "trace_id", "client_order_id")


@attrs.frozen(slots=True)
class Ids:
    """The ids an event carries; None for those it does not name."""

    venue: str | None
    instrument: str | None
    position_id: str | None
    trace_id: str | None
    client_order_id: str | None


def ids_of(fields: Mapping[str, Any]) -> Ids:
    """Return the ids in the plain *fields* of an event; the outermost of each name counts."""
    found: dict[str, str] = {}
    level = deque([fields])
    while level:
        for name, value in level.popleft().items():
            if isinstance(value, dict):
                level.append(value)
            elif name in _LIFTED and isinstance(value, str) and value and name not in found:
                # A venue's text may hold what no database column takes; the payload keeps it.
                found[name] = value.encode("utf-8", "backslashreplace").decode()
    instrument = found.get("instrument_id")
    venue = found.get("venue")
    if venue is None and instrument is not None:
        venue = instrument.rpartition(".")[2]
    return Ids(
        venue,
        instrument,
        found.get("position_id"),
        found.get("trace_id"),
        found.get("client_order_id"),
    )


def severity_of(event: Event) -> str:
    """Return INFO, WARNING or CRITICAL; alerts and failures say themselves how bad they are."""
    if isinstance(event, AlertRaised):
        return CRITICAL if event.level == CRITICAL else WARNING
    if isinstance(event, HandlerFailed) and event.critical:
        return CRITICAL
    if isinstance(event, TaskFailed) and event.fatal:
        return CRITICAL
    return _SEVERITY.get(type(event), INFO)
