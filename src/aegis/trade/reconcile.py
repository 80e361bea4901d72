"""
Our book against a complete snapshot of a venue: adopt what is not known, end what is gone (R88).

The venue is right, but one snapshot is no proof: a query may lag behind a fill.
"""

from collections.abc import Callable, Container
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import attrs

from aegis.model.account import PositionReport
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ZERO
from aegis.model.order import PositionSide
from aegis.model.position import CloseCause, MismatchKind, Position, mismatch_of
from aegis.trade.entry import Entry, slippage_of
from aegis.trade.facts import EntryDied, EntryDone, Fact, Mismatch, Opened

if TYPE_CHECKING:
    from aegis.trade.book import Book

VOTES_APART_NS: Final = 250_000_000
"""Two snapshots closer than this in market time are one opinion: their queries overlapped."""
ABSENT_APART_NS: Final = 30_000_000_000
"""
A position that a list leaves out, flat by nobody's word: queries were seen empty for 10 s and more
after a fill, and what is believed gone loses its stop (R62, scenario 16).
"""

ABSENT_AGAIN_S: Final = 5.0
"""Loop seconds between the questions meanwhile: each costs some of the request limit."""
FILLS_WAIT_NS: Final = 120_000_000_000
"""
So long an end waits for an answer about the missing fills, market time.

What they made is known by them alone. Beyond it the position ends, and they are booked late.
"""


@attrs.frozen(slots=True)
class Vote:
    """One complete snapshot that disagreed: what either side said, and when first."""

    ours: Decimal
    theirs: Decimal
    at_ns: int


def no_tick(_: InstrumentId) -> Decimal | None:
    """Return that a tick size is not known: entry prices are not compared then."""
    return None


def reconcile(
    book: "Book",
    venue: Venue,
    reports: dict[InstrumentId, PositionReport],
    now_ns: int,
    told_flat: Container[InstrumentId] = (),
    tick_of: Callable[[InstrumentId], Decimal | None] = no_tick,
) -> list[Fact]:
    """
    Compare with a complete snapshot of *venue*: adopt what we do not know, end what is gone.

    *told_flat*: where the venue's stream has said flat since the position was opened. *tick_of*:
    the tick size, None while unknown.

    A position of ours that the venue does not show is ended only at the second snapshot that
    says so, since a query may lag behind a fill (R62, R88). Both must say the same of an
    unchanged book, VOTES_APART_NS of market time apart; where nobody said flat and the position
    is only missing, ABSENT_APART_NS. Where fills that nobody told could explain it, the venue must
    also have answered what it booked since (trade/catching_up.py), for FILLS_WAIT_NS at most. An
    entry that can still fill is left alone; one that is over, yet misses fills the venue counted,
    is judged the same way.
    """
    facts: list[Fact] = []
    for instrument, report in reports.items():
        if report.qty_signed == 0 or book.is_busy(instrument):
            continue
        if _is_overtaken(book, report):
            facts.append(_overtaken(report))
        else:
            facts += _found(book, report, now_ns)
    busy = dict.fromkeys((*book.positions, *book.entries))
    for instrument in [i for i in busy if i.venue is venue]:
        position = book.positions.get(instrument)
        ours = position.qty_signed if position is not None else ZERO
        found = reports.get(instrument)
        theirs = found.qty_signed if found is not None else ZERO
        entry = book.entries.get(instrument)
        under_way = entry is not None and not entry.order.status.is_terminal
        if under_way or (theirs == ours and entry is None):
            book.votes.pop(instrument, None)
            if position is not None and found is not None and theirs == ours and entry is None:
                facts += _compare_price(book, position, found, tick_of(instrument))
            continue
        is_missing = found is None and position is not None and instrument not in told_flat
        apart_ns = ABSENT_APART_NS if is_missing else VOTES_APART_NS
        facts += _differ(book, instrument, ours, theirs, found, now_ns, apart_ns)
    return facts


def _differ(
    book: "Book",
    instrument: InstrumentId,
    ours: Decimal,
    theirs: Decimal,
    found: PositionReport | None,
    now_ns: int,
    apart_ns: int,
) -> list[Fact]:
    confirmed = _is_confirmed(book, instrument, ours, theirs, now_ns, apart_ns)
    seen_ns = book.votes[instrument].at_ns
    lacks_fills = book.looked_ns.get(instrument.venue, 0) < seen_ns
    # What turned to the other side is taken at once: the stop that covers ours is none for it.
    may_wait = mismatch_of(ours, theirs) is not MismatchKind.SIDE
    waits = lacks_fills and may_wait and now_ns - seen_ns < apart_ns + FILLS_WAIT_NS
    if not confirmed or waits:
        return [
            Mismatch(
                instrument_id=instrument,
                kind=mismatch_of(ours, theirs),
                ours=ours,
                theirs=theirs,
                action="asking for its fills" if confirmed else "asking once more",
                again_s=ABSENT_AGAIN_S if apart_ns == ABSENT_APART_NS else 1.0,
                lacks_fills=lacks_fills,
            )
        ]
    ending = "our position" if ours != 0 else "our entry"
    facts: list[Fact] = [
        Mismatch(
            instrument_id=instrument,
            kind=mismatch_of(ours, theirs),
            ours=ours,
            theirs=theirs,
            action=f"the venue is right: {ending} ends"
            + (", what it holds is adopted" if theirs != 0 else ""),
            lacks_fills=True,
        )
    ]
    entry, position = book.entries.pop(instrument, None), book.positions.get(instrument)
    book.votes.pop(instrument, None)
    if entry is not None:
        facts.append(_abandoned(book, entry, position))
    if position is not None and (theirs != ours or position.qty == 0):
        if position.qty != 0:
            # What closed the rest is not known; its fills may still be found.
            book.shorts.keep(position, book.began_ns.get(instrument, 0), now_ns)
            facts.append(book.end(position, CloseCause.EXTERNAL))
        else:
            _, cause = book.last_exit.get(instrument, (0, CloseCause.EXTERNAL))
            facts.append(book.end(position, cause))
    if found is not None and theirs != 0 and instrument not in book.positions:
        facts += _adopt(book, found, now_ns)
    return facts


def _abandoned(book: "Book", entry: Entry, position: Position | None) -> Fact:
    if position is not None:
        return EntryDone(position=position.view(), slippage=slippage_of(entry, position))
    order = entry.order
    book.early.pop(order.request.instrument_id, None)
    return EntryDied(
        position_id=order.position_id,
        instrument_id=order.request.instrument_id,
        reason=f"entry ended {order.status.value}, its fills were never told",
    )


def _is_confirmed(
    book: "Book",
    instrument: InstrumentId,
    ours: Decimal,
    theirs: Decimal,
    now_ns: int,
    apart_ns: int,
) -> bool:
    before = book.votes.get(instrument)
    if before is None or (before.ours, before.theirs) != (ours, theirs):
        book.votes[instrument] = Vote(ours, theirs, now_ns)
        return False
    return now_ns - before.at_ns >= apart_ns


def _compare_price(
    book: "Book", position: Position, found: PositionReport, tick: Decimal | None
) -> list[Fact]:
    ours, theirs = position.entry_px_avg, found.entry_px_avg
    if tick is None or ours is None or theirs is None or position.position_id in book.price_told:
        return []
    if abs(ours - theirs) <= tick:
        return []
    book.price_told[position.position_id] = None
    return [
        Mismatch(
            instrument_id=position.instrument_id,
            kind=MismatchKind.ENTRY_PRICE,
            ours=ours,
            theirs=theirs,
            action="ours is kept, it is what the fills say",
            again_s=None,
        )
    ]


def _is_overtaken(book: "Book", report: PositionReport) -> bool:
    # In hedge mode the other leg may be older than the end of the one we held.
    ended_ns, side = book.ended.get(report.instrument_id, (0, None))
    is_same = side is not None and report.qty_signed * side.sign > 0
    return is_same and report.ts_event <= ended_ns


def _overtaken(report: PositionReport) -> Fact:
    """Doubt a position as it was before the fill that ended it: the fill overtook the answer."""
    return Mismatch(
        instrument_id=report.instrument_id,
        kind=MismatchKind.UNTRACKED,
        ours=ZERO,
        theirs=report.qty_signed,
        action="older than the fill that closed it: asking once more",
    )


def _found(book: "Book", report: PositionReport, now_ns: int) -> list[Fact]:
    """Adopt a position that was not ours before, and tell that it was found."""
    facts = _adopt(book, report, now_ns)
    if not any(isinstance(fact, Opened) for fact in facts):
        return facts
    found = Mismatch(
        instrument_id=report.instrument_id,
        kind=MismatchKind.UNTRACKED,
        ours=ZERO,
        theirs=report.qty_signed,
        action="adopted",
        again_s=None,
    )
    return [found, *facts]


def _adopt(book: "Book", report: PositionReport, now_ns: int) -> list[Fact]:
    # A venue that does not tell the entry price must not leave the position unguarded.
    entry_px = report.entry_px_avg or report.mark_price
    if entry_px is None or not entry_px > 0:
        return [
            Mismatch(
                instrument_id=report.instrument_id,
                kind=MismatchKind.UNTRACKED,
                ours=ZERO,
                theirs=report.qty_signed,
                action="found without any price: asking once more",
            )
        ]
    position = Position(
        position_id=book.new_position_id(),
        instrument_id=report.instrument_id,
        side=PositionSide.LONG if report.qty_signed > 0 else PositionSide.SHORT,
        plan=None,
        trace_id="adopted",
        opened_ns=now_ns,
        leverage=report.leverage,
    )
    position.adopt(abs(report.qty_signed), entry_px)
    book.positions[report.instrument_id] = position
    # What happened by then is in what was found.
    book.began_ns[report.instrument_id] = report.ts_event + 1
    return [Opened(position=position.view())]
