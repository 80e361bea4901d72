"""
What the runs before this one left open, folded from their events (R49, R88). Pure.

A kill may have cut the newest rows, which were not on disk yet: the venue tells the rest, from a
little before the journal's last word on.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from aegis.core.clock import NS_PER_S
from aegis.core.event import Event
from aegis.journal.store import JournalStore
from aegis.model.events import (
    EntryCompleted,
    EntryFailed,
    FillBooked,
    FillReported,
    FundingReported,
    OrderSubmitted,
    PositionClosed,
    PositionOpened,
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionLost,
)
from aegis.model.events.intents import IntentApproved
from aegis.model.events.run import RunStarted
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import EnterPosition
from aegis.model.money import ZERO
from aegis.model.order import Purpose
from aegis.model.order_id import parse_client_order_id
from aegis.model.position import PositionView
from aegis.model.restored import AcknowledgedStop, OpenBook, OpenEntry, OpenPosition

FOLDED: Final[tuple[type[Event], ...]] = (
    RunStarted,
    IntentApproved,
    OrderSubmitted,
    PositionOpened,
    FillReported,
    FillBooked,
    FundingReported,
    EntryCompleted,
    EntryFailed,
    PositionClosed,
    ProtectionConfirmed,
    ProtectionChanged,
    ProtectionLost,
)
RECENT_NS: Final = 24 * 3600 * NS_PER_S
"""Fills and payments of so long before the end are kept by id: the venue may tell them again."""


@attrs.define(slots=True)
class _Open:
    opening: PositionView
    fills: dict[str, Fill] = attrs.field(factory=dict)
    entry_done: bool = False
    closed: bool = False
    stop: AcknowledgedStop | None = None


@attrs.define(slots=True)
class _Fold:
    positions: dict[str, _Open] = attrs.field(factory=dict)
    entries: dict[str, OpenEntry] = attrs.field(factory=dict)
    submitted: set[str] = attrs.field(factory=set)
    attempts: dict[str, dict[Purpose, int]] = attrs.field(factory=dict)
    heard_ns: dict[Venue, int] = attrs.field(factory=dict)
    began_ns: int = 0
    fills: dict[tuple[InstrumentId, str], int] = attrs.field(factory=dict)
    payments: dict[tuple[Venue, str], FundingReported] = attrs.field(factory=dict)

    def take(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.began_ns = max(self.began_ns, event.ts_recv)
            case IntentApproved(approved=approved):
                intent = approved.intent
                if isinstance(intent.command, EnterPosition):
                    self.entries[intent.position_id] = OpenEntry(
                        command=intent.command,
                        position_id=intent.position_id,
                        trace_id=intent.trace_id,
                    )
            case OrderSubmitted():
                self._submitted(event)
            case FillReported(fill=fill):
                self._hear(fill.instrument_id.venue, event)
            case FundingReported(venue=venue, funding_id=funding_id):
                self.payments[venue, funding_id] = event
                self._hear(venue, event)
            case _:
                self._take_position(event)

    def _take_position(self, event: Event) -> None:
        match event:
            case PositionOpened(position=view):
                self.positions.setdefault(view.position_id, _Open(view))
                self._hear(view.instrument_id.venue, event)
            case FillBooked(fill=fill, position=view):
                self.fills[fill.instrument_id, fill.fill_id] = event.ts_recv
                found = self.positions.setdefault(view.position_id, _Open(view))
                found.fills[fill.fill_id] = fill
                self._hear(fill.instrument_id.venue, event)
            case EntryCompleted(position=view):
                self.entries.pop(view.position_id, None)
                if view.position_id in self.positions:
                    self.positions[view.position_id].entry_done = True
            case EntryFailed(position_id=position_id):
                self.entries.pop(position_id, None)
            case PositionClosed(position=view):
                self.entries.pop(view.position_id, None)
                if view.position_id in self.positions:
                    self.positions[view.position_id].closed = True
                self._hear(view.instrument_id.venue, event)
            case _:
                self._take_stop(event)

    def _take_stop(self, event: Event) -> None:
        match event:
            case ProtectionConfirmed(position_id=position_id):
                # The position's own stop has no id that a later run could find it by.
                order = "" if event.source == "position" else event.stop_order
                stop = AcknowledgedStop(price=event.stop_price, order=order, cause=event.stop_cause)
                self._keep_stop(position_id, stop)
            case ProtectionChanged(position_id=position_id):
                stop = AcknowledgedStop(price=event.stop_price, cause=event.stop_cause)
                self._keep_stop(position_id, stop)
            case ProtectionLost(position_id=position_id):
                self._keep_stop(position_id, None)
            case _:
                pass

    def _keep_stop(self, position_id: str, stop: AcknowledgedStop | None) -> None:
        if position_id in self.positions:
            self.positions[position_id].stop = stop

    def _submitted(self, event: OrderSubmitted) -> None:
        request = event.request
        self._hear(request.instrument_id.venue, event)
        tag = parse_client_order_id(request.client_order_id)
        if tag is not None:
            used = self.attempts.setdefault(event.position_id, {})
            used[tag.purpose] = max(used.get(tag.purpose, 0), tag.attempt)
        if request.purpose is Purpose.ENTRY:
            self.submitted.add(event.position_id)

    def _hear(self, venue: Venue, event: Event) -> None:
        self.heard_ns[venue] = max(self.heard_ns.get(venue, 0), event.ts_recv)


def open_book(events: Iterable[Event]) -> OpenBook:
    """
    Return what *events* of all earlier runs, oldest first, leave open.

    An approved entry counts as open even if the journal does not say that it left: that row may be
    one of those the kill has cut.
    """
    fold = _Fold()
    for event in events:
        fold.take(event)
    newest_ns = max(fold.began_ns, *fold.heard_ns.values(), 0)
    if fold.began_ns:
        # Every row about a venue may have been cut: then its word is wanted from the run's start.
        for venue in Venue:
            fold.heard_ns[venue] = max(fold.heard_ns.get(venue, 0), fold.began_ns)
    positions = tuple(
        _open_position(fold, position_id, found)
        for position_id, found in fold.positions.items()
        if not found.closed
    )
    return OpenBook(
        positions=positions,
        entries=tuple(
            entry
            for position_id, entry in fold.entries.items()
            if _may_live(fold, position_id, newest_ns, entry)
        ),
        heard_ns=dict(fold.heard_ns),
        fill_ids=tuple(key for key, at_ns in fold.fills.items() if newest_ns - at_ns <= RECENT_NS),
        funding_ids=frozenset(
            key for key, told in fold.payments.items() if newest_ns - told.ts_recv <= RECENT_NS
        ),
    )


def _may_live(fold: _Fold, position_id: str, newest_ns: int, entry: OpenEntry) -> bool:
    # Approved and not sent long before the end: it was given up and can arrive no more.
    return position_id in fold.submitted or entry.command.expires_ns >= newest_ns


def _open_position(fold: _Fold, position_id: str, found: _Open) -> OpenPosition:
    opening = found.opening
    funding = sum(
        (
            told.amount
            for told in fold.payments.values()
            # By when it was paid: one that was lost is told long after.
            if told.instrument_id == opening.instrument_id and told.ts_event >= opening.opened_ns
        ),
        ZERO,
    )
    return OpenPosition(
        opening=opening,
        fills=tuple(found.fills.values()),
        funding=funding,
        attempts=dict(fold.attempts.get(position_id, {})),
        entry_done=found.entry_done or opening.adopted or position_id not in fold.entries,
        stop=found.stop,
    )


def read_open_book(store: JournalStore) -> OpenBook:
    """Read what open_book() needs from *store*; blocks."""
    return open_book(event for _, event in store.iter_events(types=FOLDED))
