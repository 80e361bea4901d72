"""The process itself: its start and end, and tasks that failed under supervision."""

import attrs

from aegis.core.event import Event


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
