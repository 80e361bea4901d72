"""A run as lines in order of time: what was broken, what the venues did, what the bot thought."""

import enum
from collections.abc import Iterator
from typing import Final

import attrs

from aegis.core.clock import format_ns
from aegis.core.event import Event, HandlerFailed
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    AlertRaised,
    ApiCalled,
    CloseRequested,
    EntriesHalted,
    EntriesResumed,
    EntryFailed,
    ForeignOrderFound,
    IntentCompleted,
    IntentDenied,
    KillSwitchPulled,
    OrderAdvanced,
    OrderSubmitted,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionMismatchFound,
    ProtectionWanted,
    RequestsPaused,
    RequestsResumed,
    RunStarted,
    RunStopped,
    SecondLegFound,
    SecondLegGone,
    SnapshotReported,
    SnapshotWanted,
    StreamClosed,
    StreamOpened,
    TaskFailed,
    VenueProtected,
    VenueUnavailable,
)
from aegis.model.order import OrderStatus
from aegis.sim.evidence import Evidence

TOLD: Final = (
    *(AccountConfirmed, AccountDoubted, AlertRaised, CloseRequested, EntriesHalted),
    *(EntriesResumed, EntryFailed, ForeignOrderFound, HandlerFailed, IntentCompleted, IntentDenied),
    *(KillSwitchPulled, OrderSubmitted, PositionClosed, PositionMismatchFound, PositionOpened),
    *(ProtectionChanged, ProtectionConfirmed, ProtectionDelayed, ProtectionFailed, ProtectionLost),
    *(ProtectionMismatchFound, ProtectionWanted, RequestsPaused, RequestsResumed, RunStarted),
    *(RunStopped, SecondLegFound, SecondLegGone, SnapshotReported, SnapshotWanted, StreamClosed),
    *(StreamOpened, TaskFailed, VenueProtected, VenueUnavailable),
)
UNHAPPY: Final = frozenset({OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.UNKNOWN})
"""Of an order's life only this: the rest is in the lines of the venue."""
_WIDTH: Final = 240
_WHOM: Final = ("venue", "instrument_id", "position_id", "client_order_id", "command", "stream")
_UNTOLD: Final = frozenset(
    {"ts_event", "ts_recv", "schema_version", "trace_id", "traceback", "config", "intent_id"}
)


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
    if isinstance(event, ApiCalled):
        return not event.ok
    if isinstance(event, OrderAdvanced):
        return event.status in UNHAPPY
    return isinstance(event, TOLD)


def _text(event: Event) -> str:
    name = type(event).__name__
    match event:
        case SnapshotReported(snapshot=shot, reason=reason):
            open_ones = [row for row in shot.positions if row.qty_signed]
            held = [f"{row.instrument_id.symbol} {row.qty_signed}" for row in open_ones]
            return f"{name} {shot.venue.value} ({reason}): {', '.join(held) or 'flat'}"
        case OrderSubmitted(request=request):
            level = request.trigger_price or request.limit_price
            size = request.qty if request.qty is not None else "all"
            return (
                f"{name} {request.instrument_id} {request.client_order_id} {request.side.value} "
                f"{size} {request.order_type.value}{f' {level}' if level else ''}"
            )
        case IntentDenied(intent=intent, guard=guard, reason=reason):
            what = f"{intent.position_id} {type(intent.command).__name__} ({intent.reason})"
            return f"{name} {what} by {guard}: {reason}"
        case PositionOpened(position=view) | PositionClosed(position=view):
            cause = event.cause.value if isinstance(event, PositionClosed) else ""
            return (
                f"{name} {view.instrument_id} {view.position_id} {view.side.value} "
                f"{view.qty} of {view.qty_opened} {cause}"
            ).rstrip()
        case ApiCalled(venue=venue, operation=operation):
            why = " ".join(filter(None, (event.error_class, event.error_code, event.error)))
            return f"{name} {venue.value} {operation} failed: {why}"[:_WIDTH]
        case _:
            return f"{name} {' '.join(_said(event))}"[:_WIDTH]


def _said(event: Event) -> Iterator[str]:
    """Yield what *event* has to say: whom it is about first, nothing that is empty."""
    names = [field.name for field in attrs.fields(type(event)) if field.name not in _UNTOLD]
    for name in _WHOM:
        if name in names and getattr(event, name):
            yield _short(getattr(event, name))
    for name in names:
        value = getattr(event, name)
        if name in _WHOM or value is None or value == "" or value == ():
            continue
        yield f"{name}={_short(value)}"


def _short(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    return str(value) if not isinstance(value, tuple) else f"{len(value)} items"
