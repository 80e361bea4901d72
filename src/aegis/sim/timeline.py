"""A run as lines in order of time: what was broken, what the venues did, what the bot thought."""

from decimal import Decimal
from typing import Final

from aegis.core.clock import format_ns
from aegis.core.event import Event, HandlerFailed
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    AlertRaised,
    EntriesHalted,
    EntriesResumed,
    EntryFailed,
    IntentCompleted,
    IntentDenied,
    OrderSubmitted,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionWanted,
    RequestsPaused,
    RunStarted,
    RunStopped,
    SnapshotReported,
    SnapshotWanted,
    StreamClosed,
    StreamOpened,
    TaskFailed,
    VenueProtected,
    VenueUnavailable,
)
from aegis.sim.evidence import Evidence

TOLD: Final = (
    *(AccountConfirmed, AccountDoubted, AlertRaised, EntriesHalted, EntriesResumed, EntryFailed),
    *(HandlerFailed, IntentCompleted, IntentDenied, OrderSubmitted, PositionClosed),
    *(PositionMismatchFound, PositionOpened, ProtectionChanged, ProtectionConfirmed),
    *(ProtectionDelayed, ProtectionFailed, ProtectionLost, ProtectionWanted, RequestsPaused),
    *(RunStarted, RunStopped, SnapshotWanted, StreamClosed, StreamOpened, TaskFailed),
    *(VenueProtected, VenueUnavailable),
)
_WIDTH: Final = 200


def timeline(evidence: Evidence) -> tuple[str, ...]:
    """Return everything that matters, oldest first."""
    rows: list[tuple[int, int, str]] = []
    rows += [
        (strike.ts_ns, 0, f"FAULT   {strike.kind.value} {strike.venue} {strike.what}")
        for strike in evidence.log.strikes
    ]
    for order in evidence.orders:
        what = f"{order.venue} {order.symbol} {order.client_id or '(bound)'} id {order.order_id}"
        rows.append((order.created_ns, 1, f"venue   order {what} side {order.side_sign:+d}"))
        if order.ended_ns is not None:
            rows.append((order.ended_ns, 3, f"venue   order {what} {order.status}"))
    for fill in evidence.fills:
        what = f"{fill.venue} {fill.symbol} {fill.side_sign * fill.qty:+} at {fill.price}"
        by = fill.client_id or "(the venue)"
        rows.append((fill.ts_ns, 2, f"venue   FILL {what} by {by}: {fill.qty_after} open"))
    for venue, episodes in evidence.episodes.items():
        for episode in episodes:
            for from_ns, to_ns in episode.gaps:
                ms = (to_ns - from_ns) / 1e6
                rows.append((from_ns, 4, f"METER   {venue} {episode.symbol} naked for {ms:.0f} ms"))
    for life in evidence.lives:
        rows += [
            (e.ts_recv, 5, f"bot {life.run:<3} {_text(e)}") for e in life.events if _is_told(e)
        ]
    rows.sort(key=lambda row: (row[0], row[1]))
    return tuple(f"{format_ns(at_ns)} {text}" for at_ns, _, text in rows)


def _is_told(event: Event) -> bool:
    return isinstance(event, (*TOLD, SnapshotReported))


def _text(event: Event) -> str:
    if isinstance(event, SnapshotReported):
        shot = event.snapshot
        held = [f"{p.instrument_id.symbol} {p.qty_signed}" for p in shot.positions if p.qty_signed]
        return f"SnapshotReported {shot.venue.value} ({event.reason}): {', '.join(held) or 'flat'}"
    if isinstance(event, OrderSubmitted):
        request = event.request
        level = request.trigger_price or request.limit_price or Decimal(0)
        return f"OrderSubmitted {request.instrument_id} {request.client_order_id} {level}"
    if isinstance(event, PositionOpened | PositionClosed):
        view = event.position
        cause = event.cause.value if isinstance(event, PositionClosed) else ""
        return (
            f"{type(event).__name__} {view.instrument_id} {view.position_id} {view.side.value} "
            f"{view.qty} of {view.qty_opened} {cause}"
        )
    skipped = {"ts_event", "ts_recv", "schema_version", "traceback", "config"}
    names = [name for name in event.__class__.__annotations__ if name not in skipped]
    parts = [f"{name}={_short(getattr(event, name))}" for name in names]
    return f"{type(event).__name__} {' '.join(parts)}"[:_WIDTH]


def _short(value: object) -> str:
    return str(value) if not isinstance(value, tuple) else f"{len(value)} items"
