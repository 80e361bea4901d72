"""What a person watching the bot is told, and what the journal could not keep."""

import attrs

from aegis.core.event import Event


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
