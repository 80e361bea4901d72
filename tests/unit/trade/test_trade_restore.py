"""Going on where an earlier run stopped: positions, entries, and fills nobody heard (R49, R51)."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs
import pytest

from aegis.core.errors import VenueUnreachable
from aegis.core.virtual_loop import run_virtual
from aegis.model.account import OrderReport, ProtectionRole, ReportSource
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import EnterPosition
from aegis.model.order import OrderRequest, OrderSide, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause, Position, ProtectionPlan
from aegis.model.restored import OpenBook, OpenEntry, OpenPosition
from aegis.trade.book import Book
from aegis.trade.facts import Closed, EntryDone, Fact, Opened
from aegis.trade.restore import position_of, resolve_entry, restore, restore_cut_entries
from aegis.trade.resume import IDS_KNOWN_NS, heard_all_ns

BTC: Final = InstrumentId("BTCUSDT", Venue.BINANCE)
POSITION: Final = "test-1-1"
ENTRY: Final = "test-1-1-EN1"
PLAN: Final = ProtectionPlan(stop_distance=Decimal(5), target_distance=Decimal(9))


def fill(fill_id: str, qty: str, px: str, *, order_id: str = ENTRY) -> Fill:
    """Return an execution; a sell unless it is of the entry."""
    return Fill(
        instrument_id=BTC,
        fill_id=fill_id,
        client_order_id=order_id,
        venue_order_id="1",
        side=OrderSide.BUY if "-EN" in order_id else OrderSide.SELL,
        last_qty=Decimal(qty),
        last_px=Decimal(px),
        fee=Decimal("0.03"),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=1,
    )


FILLS: Final = (
    fill("a", "1", "100"),
    fill("b", "2", "103"),
    fill("c", "1", "110", order_id="test-1-1-TP1"),
    fill("d", "2", "95", order_id="test-1-1-SF1"),
)


def lived(fills: Sequence[Fill]) -> Position:
    """Return a long that had *fills*."""
    position = Position(
        position_id=POSITION,
        instrument_id=BTC,
        side=PositionSide.LONG,
        plan=PLAN,
        trace_id="t",
        opened_ns=1,
    )
    for each in fills:
        position.apply(each)
    return position


def entry_request() -> OrderRequest:
    """Return the entry's order, of 3."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=ENTRY,
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal(3),
        reduce_only=False,
    )


def left_with(fills: Sequence[Fill], *, entry: bool = False) -> OpenBook:
    """Return what a run left that had booked *fills*; *entry*: its end is not known."""
    positions: tuple[OpenPosition, ...] = ()
    if fills:
        opening = lived(fills[:1]).view()
        positions = (OpenPosition(opening=opening, fills=tuple(fills)),)
    command = EnterPosition(
        request=entry_request(),
        side=PositionSide.LONG,
        plan=PLAN,
        leverage=5,
        mark_price=Decimal(100),
        signal_price=Decimal(100),
        signal_id="s",
        expires_ns=9,
    )
    entries = (OpenEntry(command=command, position_id=POSITION, trace_id="t"),) if entry else ()
    return OpenBook(positions=positions, entries=entries)


def new_book() -> Book:
    """Return the book of the next run."""
    return Book(new_position_id=lambda: "test-2-1")


def kinds(facts: Sequence[Fact]) -> list[type[Fact]]:
    """Return what kinds of facts there are."""
    return [type(fact) for fact in facts]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fills_make_the_same_position_again(count: int) -> None:
    """Quantity, average, profit, fees and plan are those of the first life (R51, R77)."""
    before = lived(FILLS[:count])
    (one,) = left_with(FILLS[:count]).positions
    again = position_of(one)

    assert attrs.evolve(again.view(), restored=False) == before.view()
    assert again.net_pnl == before.net_pnl


def test_closing_fills_that_came_first_do_not_matter() -> None:
    """The journal keeps the order of arrival; a close may have overtaken an opening (R34)."""
    (one,) = left_with(FILLS).positions
    mixed = attrs.evolve(one, fills=(FILLS[0], FILLS[3], FILLS[2], FILLS[1]))

    assert position_of(mixed).qty == 0
    assert position_of(mixed).net_pnl == lived(FILLS).net_pnl


def test_the_stop_that_fired_while_nobody_ran_closes_it_with_its_cause() -> None:
    """The venue tells the fill afterwards: closed as SL, with all of its money (R49, R79)."""
    book = new_book()
    assert len(restore(book, left_with(FILLS[:3]), Venue.BINANCE)) == 1
    facts = book.on_fill(FILLS[3], 5)

    (closed,) = [fact for fact in facts if isinstance(fact, Closed)]
    assert closed.cause is CloseCause.SL
    assert closed.net_pnl == lived(FILLS).net_pnl
    assert not book.is_busy(BTC)


def test_a_known_fill_told_again_changes_nothing() -> None:
    """The overlap with what was journaled is asked on purpose (R49)."""
    book = new_book()
    _ = restore(book, left_with(FILLS[:2]), Venue.BINANCE)

    assert [book.on_fill(each, 5) for each in FILLS[:2]] == [[], []]
    assert book.positions[BTC].qty == 3


def test_an_end_that_was_not_written_is_told_by_the_next_run() -> None:
    """All is closed by fills, the row that says so was cut (R60, R76)."""
    book = new_book()
    _ = restore(book, left_with(FILLS), Venue.BINANCE)

    (closed,) = book.end_if_flat(BTC)
    assert isinstance(closed, Closed)
    assert closed.cause is CloseCause.SL


def test_other_venues_wait_for_their_own_turn() -> None:
    """Each venue's part goes on when that venue has told what happened (R88)."""
    book = new_book()

    assert restore(book, left_with(FILLS[:2]), Venue.BYBIT) == []
    assert not book.is_busy(BTC)


def test_an_entry_killed_before_its_fill_opens_the_position_it_was_for() -> None:
    """Same id, same plan: the fill the venue tells belongs to the order that left (R30, R51)."""
    book = new_book()
    assert restore(book, left_with((), entry=True), Venue.BINANCE) == []
    assert book.is_busy(BTC)
    facts = [fact for each in FILLS[:2] for fact in book.on_fill(each, 5)]

    assert Opened in kinds(facts)
    assert EntryDone in kinds(facts)
    position = book.positions[BTC]
    assert (position.position_id, position.plan, position.restored) == (POSITION, PLAN, True)


def test_an_entry_killed_between_two_fills_counts_both_once() -> None:
    """The first was booked, the second was not (R34)."""
    book = new_book()
    _ = restore(book, left_with(FILLS[:1], entry=True), Venue.BINANCE)
    facts = [fact for each in FILLS[:2] for fact in book.on_fill(each, 5)]

    assert book.positions[BTC].qty == 3
    assert EntryDone in kinds(facts)
    assert Opened not in kinds(facts)


def test_an_entry_of_which_every_row_was_cut_is_known_by_its_id() -> None:
    """Its fills carry our client order id: it is ours, with the id it was given (R30)."""
    book = new_book()
    ours, foreign = FILLS[:2], fill("x", "1", "100", order_id="othr-1-1-EN1")
    (request,) = restore_cut_entries(book, [*ours, foreign], "test")
    facts = [fact for each in ours for fact in book.on_fill(each, 5)]

    assert (request.qty, request.client_order_id) == (Decimal(3), ENTRY)
    assert EntryDone in kinds(facts)
    assert book.positions[BTC].position_id == POSITION
    assert book.positions[BTC].plan is None


def test_fills_already_booked_make_no_entry() -> None:
    """A position closed long ago is not opened again by the overlap (R49)."""
    book = new_book()
    known = attrs.evolve(left_with(()), fill_ids=((BTC, "a"), (BTC, "b")))
    _ = restore(book, known, Venue.BINANCE)

    assert restore_cut_entries(book, FILLS[:2], "test") == []


@attrs.define
class Asked:
    """A venue that answers queries as written down; None: not known, an error: no answer."""

    answers: list[OrderReport | VenueUnreachable | None]
    told: list[OrderReport] = attrs.field(factory=list)
    refused: list[str] = attrs.field(factory=list)
    queries: int = 0

    async def query(
        self, instrument_id: InstrumentId, client_order_id: str, *, conditional: bool
    ) -> OrderReport | None:
        """Answer the next one."""
        assert (instrument_id, client_order_id, conditional) == (BTC, ENTRY, False)
        answer = self.answers[min(self.queries, len(self.answers) - 1)]
        self.queries += 1
        if isinstance(answer, VenueUnreachable):
            raise answer
        return answer

    def on_answer(self, report: OrderReport) -> None:
        """Note it."""
        self.told.append(report)

    def on_refused(self, request: OrderRequest, code: str, message: str) -> None:
        """Note it."""
        self.refused.append(f"{request.client_order_id} {code}")


def report(status: OrderStatus) -> OrderReport:
    """Return what the venue says of the entry."""
    return OrderReport(
        instrument_id=BTC,
        client_order_id=ENTRY,
        venue_order_id="1",
        conditional=False,
        status=status,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal(3),
        filled_qty=Decimal(0),
        reduce_only=False,
        close_position=False,
        role=ProtectionRole.NONE,
        source=ReportSource.QUERY,
        ts_event=1,
    )


def resolve(venue: Asked, *, late_arrival_s: float = 5.0) -> float:
    """Ask until it is known; return how long that took, loop seconds."""

    async def run() -> float:
        await resolve_entry(
            venue,
            entry_request(),
            venue,
            is_settled=lambda: bool(venue.told),
            late_arrival_s=late_arrival_s,
        )
        return asyncio.get_running_loop().time()

    return run_virtual(run())


def test_an_entry_the_venue_knows_is_told() -> None:
    """One answer is enough: the report moves the order to its end (R30)."""
    venue = Asked(
        [VenueUnreachable("down", venue="BINANCE", operation="x"), report(OrderStatus.EXPIRED)]
    )
    _ = resolve(venue)

    assert [each.status for each in venue.told] == [OrderStatus.EXPIRED]
    assert venue.refused == []


def test_an_entry_never_arrived_only_when_it_no_longer_can() -> None:
    """Three answers and the time a request stays valid, not one (R30, R43)."""
    venue = Asked([None])
    lasted_s = resolve(venue)

    assert venue.refused == [f"{ENTRY} absent"]
    assert venue.queries >= 3
    assert lasted_s >= 5.0


def test_no_answer_is_never_taken_for_absence() -> None:
    """While the venue cannot be asked the entry stays unknown, for as long as it takes (R43)."""
    down = VenueUnreachable("down", venue="BINANCE", operation="x")
    venue = Asked([down] * 50 + [report(OrderStatus.FILLED)])
    _ = resolve(venue, late_arrival_s=0.0)

    assert venue.refused == []
    assert venue.queries == 51


@pytest.mark.parametrize(
    ("opened_ns", "heard_ns", "expected"),
    [(1, 500, 1), (900, 500, 500), (1, IDS_KNOWN_NS + 50, 50)],
)
def test_what_an_open_position_had_is_asked_for_from_its_opening_on(
    opened_ns: int, heard_ns: int, expected: int
) -> None:
    """R49, R88: a fill that was lost while the earlier run lived; ids are known for a day."""
    left = left_with(FILLS[:1])
    (one,) = left.positions
    one = attrs.evolve(one, opening=attrs.evolve(one.opening, opened_ns=opened_ns))
    left = attrs.evolve(left, positions=(one,), heard_ns={Venue.BINANCE: heard_ns})

    assert expected == heard_all_ns(left, Venue.BINANCE)
    assert heard_ns == heard_all_ns(attrs.evolve(left, positions=()), Venue.BINANCE)
    assert heard_all_ns(left, Venue.BYBIT) is None
