"""
The books of one run, from its events alone: nothing opened is lost, no intent ends twice or never,
and what a closed position made is what its fills say (R74, R76, R77). Pure.

A check knows only this run: a position of an earlier run takes part once it was adopted.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import attrs

from aegis.core.event import Event
from aegis.journal.codec import JournalFault
from aegis.model.events import (
    PRIORITY_EVENTS,
    EntryCompleted,
    EntryFailed,
    FillBooked,
    IntentCompleted,
    IntentDenied,
    IntentProposed,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
)
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ONE, ZERO
from aegis.model.position import MismatchKind, PositionView

_PNL_TOLERANCE: Final = Decimal("1e-18")
"""Of the money turned over: division to 28 digits is all that may lie between two sums."""

_PRIORITY_NAMES: Final = frozenset(cls.__name__ for cls in PRIORITY_EVENTS)
_NO_LOSS: Final = frozenset({MismatchKind.UNTRACKED, MismatchKind.ENTRY_PRICE})
"""Differences that explain no position of ours that ended with something left."""


@attrs.frozen(slots=True, kw_only=True)
class VenueCount:
    """
    Positions of one venue: opened = closed + active + unconfirmed, or the run is not sound.

    active: quantity left by the last fill. unconfirmed: flat by its fills, not yet by the venue's
    word. rolled_back: entries that ended without a fill; they never opened.
    """

    venue: Venue
    opened: int
    closed: int
    active: int
    unconfirmed: int
    rolled_back: int

    @property
    def balances(self) -> bool:
        """Say whether every opened position is accounted for."""
        return self.opened == self.closed + self.active + self.unconfirmed


@attrs.frozen(slots=True, kw_only=True)
class ConservationReport:
    """
    *lines* tell everything, *violations* what must not be.

    open_intents: had no end yet. unexplained: positions the venue ended by other orders than ours,
    so that no fills say what their rest made.
    """

    venues: tuple[VenueCount, ...]
    unexplained: tuple[str, ...]
    open_intents: tuple[str, ...]
    violations: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is violated."""
        return not self.violations


@attrs.define(slots=True)
class _Books:
    opened: dict[str, PositionView] = attrs.field(factory=dict)
    latest: dict[str, PositionView] = attrs.field(factory=dict)
    closed: dict[str, PositionClosed] = attrs.field(factory=dict)
    fills: dict[str, dict[str, Fill]] = attrs.field(factory=dict)
    rolled_back: dict[str, Venue] = attrs.field(factory=dict)
    intents: dict[str, str] = attrs.field(factory=dict)
    taken_over: dict[str, PositionView] = attrs.field(factory=dict)
    mismatched: dict[InstrumentId, None] = attrs.field(factory=dict)
    violations: list[str] = attrs.field(factory=list)

    def take(self, event: Event) -> None:
        match event:
            case PositionOpened(position=view, taken_over=taken_over):
                self._once(self.opened, view.position_id, "was opened")
                if taken_over:
                    self.taken_over[view.position_id] = view
                self.opened[view.position_id] = self.latest[view.position_id] = view
            case FillBooked(fill=fill, position=view):
                fills = self.fills.setdefault(view.position_id, {})
                self._once(fills, fill.fill_id, f"of {view.position_id} was booked", "fill")
                fills[fill.fill_id] = fill
                self.latest[view.position_id] = view
                self._amend(view)
            case EntryCompleted(position=view):
                self.latest[view.position_id] = view
            case EntryFailed(position_id=position_id, instrument_id=instrument):
                self._once(self.rolled_back, position_id, "was rolled back")
                self.rolled_back[position_id] = instrument.venue
            case PositionClosed(position=view):
                self._once(self.closed, view.position_id, "was closed")
                self.closed[view.position_id] = event
            case PositionMismatchFound(instrument_id=instrument, kind=kind) if kind not in _NO_LOSS:
                self.mismatched[instrument] = None
            case IntentProposed(intent=intent):
                self._once(self.intents, intent.intent_id, "was proposed", "intent")
                self.intents[intent.intent_id] = ""
            case IntentDenied(intent=intent):
                self._end(intent.intent_id, "denied")
            case IntentCompleted(intent_id=intent_id):
                self._end(intent_id, "completed")
            case JournalFault(event_type=name, error=error) if name in _PRIORITY_NAMES:
                self.violations.append(f"a {name} is not recorded: {error}")
            case _:
                pass

    def _amend(self, view: PositionView) -> None:
        """Take a fill that was found after its position had ended without it."""
        closed = self.closed.get(view.position_id)
        if closed is not None and closed.position.qty != 0:
            net = view.realized_pnl - view.fees + view.funding
            self.closed[view.position_id] = attrs.evolve(closed, position=view, net_pnl=net)

    def _once(
        self, known: Mapping[str, object], key: str, what: str, kind: str = "position"
    ) -> None:
        if key in known:
            self.violations.append(f"{kind} {key} {what} twice")

    def _end(self, intent_id: str, how: str) -> None:
        before = self.intents.get(intent_id)
        if before is None:
            self.violations.append(f"intent {intent_id} was {how} and never proposed")
        elif before:
            self.violations.append(f"intent {intent_id} was {how} after it was {before}")
        self.intents[intent_id] = how


def check_conservation(events: Iterable[Event]) -> ConservationReport:
    """Check *events* of one run, oldest first."""
    books = _Books()
    for event in events:
        books.take(event)
    violations = books.violations
    unexplained: list[str] = []
    for position_id in books.latest:
        if position_id not in books.opened:
            violations.append(f"position {position_id} has fills and was never opened")
    for position_id, closed in books.closed.items():
        if position_id not in books.opened:
            violations.append(f"position {position_id} was closed and never opened")
        fills = books.fills.get(position_id, {})
        violations.extend(_money(closed, fills, books.taken_over.get(position_id)))
        if closed.position.qty != 0:
            left = f"position {position_id} was closed with {closed.position.qty} left"
            found = closed.position.instrument_id in books.mismatched
            (unexplained if found else violations).append(left)
    for position_id in books.rolled_back:
        if position_id in books.opened:
            violations.append(f"position {position_id} was opened and rolled back")
    venues = tuple(_count(books, venue) for venue in sorted(_venues(books)))
    violations.extend(
        f"{count.venue}: opened {count.opened} is not closed {count.closed} + active "
        f"{count.active} + unconfirmed {count.unconfirmed}"
        for count in venues
        if not count.balances
    )
    open_intents = tuple(key for key, end in books.intents.items() if not end)
    return ConservationReport(
        venues=venues,
        unexplained=tuple(unexplained),
        open_intents=open_intents,
        violations=tuple(violations),
        lines=_lines(venues, len(books.intents), open_intents, unexplained, violations),
    )


def _venues(books: _Books) -> set[Venue]:
    views = (*books.latest.values(), *(event.position for event in books.closed.values()))
    return {*(view.instrument_id.venue for view in views), *books.rolled_back.values()}


def _count(books: _Books, venue: Venue) -> VenueCount:
    def here(view: PositionView) -> bool:
        return view.instrument_id.venue is venue

    left = [
        view
        for position_id, view in books.latest.items()
        if here(view) and position_id not in books.closed
    ]
    return VenueCount(
        venue=venue,
        opened=sum(map(here, books.opened.values())),
        closed=sum(here(event.position) for event in books.closed.values()),
        active=sum(view.qty > 0 for view in left),
        unconfirmed=sum(view.qty == 0 for view in left),
        rolled_back=sum(found is venue for found in books.rolled_back.values()),
    )


def _money(
    closed: PositionClosed, fills: dict[str, Fill], before: PositionView | None
) -> list[str]:
    """Compare a position's end with its fills; one taken over begins with what it had *before*."""
    view = closed.position
    name = f"position {view.position_id}"
    problems = []
    net = view.realized_pnl - view.fees + view.funding
    if closed.net_pnl != net:
        problems.append(f"{name}: net was {closed.net_pnl} USDT, its parts make {net} USDT")
    fees = sum((fill.fee for fill in fills.values()), ZERO) + (before.fees if before else ZERO)
    if view.fees != fees:
        problems.append(f"{name}: fees were {view.fees} USDT, its fills paid {fees} USDT")
    exits = [fill for fill in fills.values() if fill.side is view.side.exit_side]
    entries = [fill for fill in fills.values() if fill.side is view.side.entry_side]
    exit_qty = sum((fill.last_qty for fill in exits), ZERO)
    entry_qty = sum((fill.last_qty for fill in entries), ZERO)
    closed_before = before.qty_opened - before.qty if before else ZERO
    if exit_qty + closed_before != view.qty_opened - view.qty:
        problems.append(f"{name}: closed {view.qty_opened - view.qty}, its fills {exit_qty}")
    opened_before = before.qty_opened if before else ZERO
    if not view.adopted and entry_qty + opened_before != view.qty_opened:
        problems.append(f"{name}: opened {view.qty_opened}, its fills {entry_qty}")
    realized = _realized(view, before, entries, exits)
    received = sum((fill.last_qty * fill.last_px for fill in exits), ZERO)
    if abs(realized - view.realized_pnl) > _PNL_TOLERANCE * max(ONE, received):
        problems.append(f"{name}: realized {view.realized_pnl} USDT, its fills {realized} USDT")
    return problems


def _realized(
    view: PositionView, before: PositionView | None, entries: list[Fill], exits: list[Fill]
) -> Decimal:
    """Return the profit the fills make, USDT, before fees and funding."""
    received = sum((fill.last_qty * fill.last_px for fill in exits), ZERO)
    exit_qty = sum((fill.last_qty for fill in exits), ZERO)
    spent = sum((fill.last_qty * fill.last_px for fill in entries), ZERO)
    entry_qty = sum((fill.last_qty for fill in entries), ZERO)
    if before is not None:
        was_px = before.entry_px_avg or ZERO
        was_closed = before.qty_opened - before.qty
        received += before.realized_pnl * view.side.sign + was_closed * was_px
        exit_qty += was_closed
        spent += before.qty_opened * was_px
        entry_qty += before.qty_opened
    # What an adopted position cost is the venue's average, since its fills were not ours.
    cost = exit_qty * (view.entry_px_avg or ZERO)
    if not view.adopted and entry_qty > 0:
        cost = spent * exit_qty / entry_qty
    return (received - cost) * view.side.sign


def _lines(
    venues: tuple[VenueCount, ...],
    intents: int,
    open_intents: tuple[str, ...],
    unexplained: list[str],
    violations: list[str],
) -> tuple[str, ...]:
    return (
        *(
            f"{count.venue}: opened {count.opened} = closed {count.closed} + active "
            f"{count.active} + unconfirmed {count.unconfirmed}; rolled back {count.rolled_back}"
            for count in venues
            if count.balances
        ),
        f"intents: {intents} proposed, {len(open_intents)} without an end"
        + (f": {', '.join(open_intents)}" if open_intents else ""),
        *(f"{left}: the venue ended it" for left in unexplained),
        *(f"VIOLATED: {problem}" for problem in violations),
    )
