"""The book, case by case: causes, slippage, early and foreign fills, reconciliation."""

from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.model.account import OrderReport, PositionReport, ProtectionRole, ReportSource
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderRequest, OrderSide, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.order_id import PositionIds
from aegis.model.position import CloseCause, MismatchKind, ProtectionPlan
from aegis.trade.book import Book
from aegis.trade.facts import (
    Advanced,
    Booked,
    Closed,
    EntryDied,
    EntryDone,
    Fact,
    Mismatch,
    Opened,
    cause_of,
)
from aegis.trade.reconcile import ABSENT_APART_NS, FILLS_WAIT_NS, VOTES_APART_NS

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
ENTRY_ID = "test-1-1-EN1"


def fill(fill_id: str, qty: str, px: str = "100", **changes: Any) -> Fill:
    """Return an execution of the entry order, a buy unless changed."""
    base = Fill(
        instrument_id=BTC,
        fill_id=fill_id,
        client_order_id=ENTRY_ID,
        venue_order_id="1",
        side=OrderSide.BUY,
        last_qty=Decimal(qty),
        last_px=Decimal(px),
        fee=Decimal(0),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=1,
    )
    return attrs.evolve(base, **changes)


def out(fill_id: str, qty: str, client_order_id: str = "test-1-1-SF1", **changes: Any) -> Fill:
    """Return an execution that closes a long."""
    return fill(fill_id, qty, client_order_id=client_order_id, side=OrderSide.SELL, **changes)


def book_with_entry(side: PositionSide = PositionSide.LONG) -> Book:
    """Return a book with an entry of 2 at a signal price of 100 under way."""
    ids = PositionIds("test", 1)
    book = Book(new_position_id=ids.next)
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id=ENTRY_ID,
        purpose=Purpose.ENTRY,
        side=side.entry_side,
        order_type=OrderType.MARKET,
        qty=Decimal(2),
        reduce_only=False,
    )
    book.register_entry(
        request,
        position_id=ids.next(),
        trace_id="t",
        side=side,
        plan=ProtectionPlan(stop_distance=Decimal(1), target_distance=Decimal(1)),
        leverage=2,
        signal_price=Decimal(100),
    )
    book.on_submitted(ENTRY_ID)
    return book


def report(status: OrderStatus, filled: str = "0") -> OrderReport:
    """Return the venue's word about the entry order."""
    return OrderReport(
        instrument_id=BTC,
        client_order_id=ENTRY_ID,
        venue_order_id="1",
        conditional=False,
        status=status,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal(2),
        filled_qty=Decimal(filled),
        reduce_only=False,
        close_position=False,
        role=ProtectionRole.NONE,
        source=ReportSource.STREAM,
        ts_event=1,
    )


def held(
    qty: str, px: str | None = "100", mark: str | None = None, at_ns: int = 1
) -> dict[InstrumentId, Any]:
    """Return a snapshot's row."""
    row = PositionReport(
        instrument_id=BTC,
        qty_signed=Decimal(qty),
        entry_px_avg=None if px is None else Decimal(px),
        ts_event=at_ns,
        mark_price=None if mark is None else Decimal(mark),
    )
    return {BTC: row}


def told(facts: list[Fact]) -> list[tuple[MismatchKind, float | None]]:
    """Return kind and pause before the next question of each difference."""
    return [(fact.kind, fact.again_s) for fact in facts if isinstance(fact, Mismatch)]


def kinds(facts: list[Fact]) -> list[type]:
    """Return the kinds of *facts*, without the progress of orders."""
    return [type(fact) for fact in facts if not isinstance(fact, Advanced)]


@pytest.mark.parametrize(("side", "slippage"), [("LONG", 2), ("SHORT", -2)])
def test_an_entry_is_done_at_its_vwap_with_signed_slippage(side: str, slippage: int) -> None:
    """R33: bought at 102 for a signal of 100 hurts a long; sold there it helps a short."""
    book = book_with_entry(PositionSide(side))
    order_side = PositionSide(side).entry_side
    facts = book.on_fill(fill("a", "1", "101", side=order_side), 5)
    assert [Opened, Booked] == kinds(facts)
    facts = book.on_fill(fill("b", "1", "103", side=order_side), 6)

    assert [Booked, EntryDone] == kinds(facts)
    done = facts[-1]
    assert isinstance(done, EntryDone)
    assert (Decimal(102), Decimal(slippage)) == (done.position.entry_px_avg, done.slippage)


def test_filled_without_a_fill_waits_for_its_executions() -> None:
    """R32, scenario 4: FILLED, quantity 0, price 0 kills no entry that has a position."""
    book = book_with_entry()

    assert [] == kinds(book.on_report(report(OrderStatus.FILLED)))
    assert book.is_busy(BTC)
    assert [Opened, Booked, EntryDone] == kinds(book.on_fill(fill("a", "2"), 5))


def test_a_canceled_entry_waits_for_the_fills_the_venue_counted() -> None:
    """R34: 1.5 of 2 were filled, 1 was seen."""
    book = book_with_entry()
    book.on_fill(fill("a", "1"), 5)

    assert [] == kinds(book.on_report(report(OrderStatus.EXPIRED, "1.5")))
    assert [Booked, EntryDone] == kinds(book.on_fill(fill("b", "0.5"), 6))


def test_all_of_the_quantity_filled_ends_an_entry_whose_report_was_lost() -> None:
    """R12, R74: a lost FILLED leaves no entry hanging."""
    book = book_with_entry()
    facts = book.on_fill(fill("a", "2"), 5)

    assert EntryDone in kinds(facts)
    assert OrderStatus.FILLED is book.orders[ENTRY_ID].status


@pytest.mark.parametrize(
    "status", [OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED]
)
def test_an_entry_that_ends_without_a_fill_dies_once(status: OrderStatus) -> None:
    """R37, R74: one end, the instrument is free."""
    book = book_with_entry()

    assert [EntryDied] == kinds(book.on_report(report(status)))
    assert [] == book.on_report(report(status))
    assert [] == book.on_refused(ENTRY_ID, code="x", message="y")
    assert not book.is_busy(BTC)


def test_an_absent_answer_does_not_overrule_an_order_seen_working() -> None:
    """R30: the stream said NEW, a lagging query says it does not exist."""
    book = book_with_entry()
    book.on_unknown(ENTRY_ID)
    book.on_report(report(OrderStatus.ACCEPTED))

    assert [] == book.on_refused(ENTRY_ID, code="absent", message="the venue does not know it")
    assert [Opened, Booked, EntryDone] == kinds(book.on_fill(fill("a", "2"), 5))


def test_news_about_orders_nobody_knows_change_nothing() -> None:
    """R62: foreign and forgotten orders alike."""
    book = Book(new_position_id=PositionIds("test", 1).next)

    assert [] == book.on_report(report(OrderStatus.FILLED, "2"))
    assert [] == book.on_unknown(ENTRY_ID)
    assert [] == book.on_refused(ENTRY_ID, code="", message="")
    book.on_submitted(ENTRY_ID)
    assert {} == book.orders


def test_a_second_entry_on_an_instrument_is_refused() -> None:
    """R36: one opening per venue and symbol."""
    book = book_with_entry()
    with pytest.raises(AssertionError, match="entry under way"):
        book.register_entry(
            book.orders[ENTRY_ID].request,
            position_id="p",
            trace_id="t",
            side=PositionSide.LONG,
            plan=ProtectionPlan(stop_distance=Decimal(1), target_distance=Decimal(1)),
            leverage=1,
            signal_price=Decimal(1),
        )


def test_a_stop_that_overtakes_the_entry_fill_is_kept_for_it() -> None:
    """R12, scenario 18: stopped out before the entry's execution was told."""
    book = book_with_entry()
    assert [] == book.on_fill(out("s", "2"), 5)
    assert [] == book.on_fill(out("s", "2", ts_event=9), 5)
    facts = book.on_fill(fill("a", "2"), 6)

    assert [Opened, Booked, Booked, EntryDone, Closed] == kinds(facts)
    closed = facts[-1]
    assert isinstance(closed, Closed)
    assert CloseCause.SL is closed.cause


def test_a_kept_fill_of_an_entry_that_died_is_asked_about() -> None:
    """R62: somebody sold; it was not our position."""
    book = book_with_entry()
    book.on_fill(out("s", "2"), 5)

    assert [EntryDied, Mismatch] == kinds(book.on_report(report(OrderStatus.EXPIRED)))


@pytest.mark.parametrize(
    "foreign",
    [
        fill("x", "1", client_order_id="web_1"),
        out("x", "3"),
        fill("x", "1", side=OrderSide.SELL, client_order_id="test-1-1-EN1"),
    ],
)
def test_a_fill_that_is_not_ours_asks_the_venue(foreign: Fill) -> None:
    """R62: an addition by hand, and a close larger than what is open."""
    book = book_with_entry()
    book.on_fill(fill("a", "2"), 5)
    if foreign.side is OrderSide.SELL and foreign.last_qty == 1:
        assert [Booked] == kinds(book.on_fill(foreign, 6))
        return

    assert [Mismatch] == kinds(book.on_fill(foreign, 6))
    assert Decimal(2) == book.positions[BTC].qty


CAUSES = {
    "SE": CloseCause.SL, "SF": CloseCause.SL, "SM": CloseCause.SL, "TP": CloseCause.TP,
    "CU": CloseCause.UNPROTECTED,
    "CF": CloseCause.FLATTEN, "CM": CloseCause.MANUAL, "CW": CloseCause.WATCHDOG,
    "CK": CloseCause.KILL, "CR": CloseCause.ROTATE, "CA": CloseCause.AGED, "CT": CloseCause.TIME,
    "CH": CloseCause.HARVEST, "ST": CloseCause.TRAIL, "RG": CloseCause.HARVEST,
    "EN": CloseCause.EXTERNAL,
}  # fmt: skip


@pytest.mark.parametrize("purpose", Purpose)
def test_the_purpose_in_the_id_is_the_cause(purpose: Purpose) -> None:
    """R79: readable after a restart too."""
    assert CAUSES[purpose.value] is cause_of(out("x", "1", f"test-1-1-{purpose.value}1"))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"origin": FillOrigin.STOP}, CloseCause.SL),
        ({"origin": FillOrigin.TARGET}, CloseCause.TP),
        ({"origin": FillOrigin.LIQUIDATION}, CloseCause.LIQ),
        ({"origin": FillOrigin.ADL}, CloseCause.ADL),
        ({"client_order_id": "web_abc"}, CloseCause.EXTERNAL),
        ({"client_order_id": "othr-1-1-CK1"}, CloseCause.EXTERNAL),
    ],
)
def test_the_venues_word_comes_before_the_id_and_others_are_external(
    changes: dict[str, Any], cause: CloseCause
) -> None:
    """R79: another installation's order is somebody else's."""
    assert cause is cause_of(attrs.evolve(out("x", "1"), **changes), "test-1-1")


# --- reconciliation ------------------------------------------------------------------------------


def open_book() -> Book:
    """Return a book with a settled long of 2."""
    book = book_with_entry()
    book.on_fill(fill("a", "2"), 5)
    return book


def looked_up(book: Book, at_ns: int = 10) -> None:
    """Have the venue answer a question for missing fills that was asked at *at_ns*."""
    book.looked_ns[Venue.BINANCE] = at_ns


@pytest.mark.parametrize(
    ("told_flat", "apart_ns"), [([], ABSENT_APART_NS), ([BTC], VOTES_APART_NS)]
)
def test_a_missing_row_deletes_nothing_and_a_later_one_ends_as_external(
    told_flat: list[InstrumentId], apart_ns: int
) -> None:
    """R62, R88: empty answers are proof when they last, or when the stream said flat as well."""
    book = open_book()

    assert [Mismatch] == kinds(book.reconcile(Venue.BINANCE, {}, 10, told_flat))
    assert [Mismatch] == kinds(book.reconcile(Venue.BINANCE, {}, 9 + apart_ns, told_flat))
    assert Decimal(2) == book.positions[BTC].qty
    looked_up(book)
    facts = book.reconcile(Venue.BINANCE, {}, 10 + apart_ns, told_flat)

    assert [Mismatch, Closed] == kinds(facts)
    closed = facts[-1]
    assert isinstance(closed, Closed)
    assert CloseCause.EXTERNAL is closed.cause
    assert not book.is_busy(BTC)


def test_two_snapshots_of_one_moment_are_one_opinion() -> None:
    """R62: their queries overlapped."""
    book = open_book()
    book.reconcile(Venue.BINANCE, {}, 10, [BTC])

    assert [Mismatch] == kinds(book.reconcile(Venue.BINANCE, {}, 11, [BTC]))
    assert book.is_busy(BTC)


@pytest.mark.parametrize("between", [held("2"), held("1")], ids=["agreed", "another number"])
def test_an_opinion_must_be_repeated_in_a_row(between: dict[InstrumentId, Any]) -> None:
    """R62: agreement, or another disagreement, begins anew."""
    book = open_book()
    book.reconcile(Venue.BINANCE, {}, 10, [BTC])
    book.reconcile(Venue.BINANCE, between, 10 + VOTES_APART_NS, [BTC])

    assert [Mismatch] == kinds(book.reconcile(Venue.BINANCE, {}, 10 + 2 * VOTES_APART_NS, [BTC]))
    assert book.is_busy(BTC)


def test_the_other_venues_snapshot_says_nothing_here() -> None:
    """Scenario 15: books are per venue."""
    assert [] == open_book().reconcile(Venue.BYBIT, {}, 10)


@pytest.mark.parametrize(("qty", "side"), [("3", "LONG"), ("-3", "SHORT")])
def test_an_unknown_position_is_adopted_at_once(qty: str, side: str) -> None:
    """R88: found, guarded, without a plan of its own."""
    book = Book(new_position_id=PositionIds("test", 1).next)
    facts = book.reconcile(Venue.BINANCE, held(qty, "50"), 10)

    assert [Mismatch, Opened] == kinds(facts)
    assert [(MismatchKind.UNTRACKED, None)] == told(facts)
    position = book.positions[BTC]
    assert (side, Decimal(qty), Decimal(50)) == (
        position.side.value, position.qty_signed, position.entry_px_avg,
    )  # fmt: skip
    assert position.adopted
    assert [] == book.reconcile(Venue.BINANCE, held(qty, "50"), 20)


def test_a_position_without_an_entry_price_is_adopted_at_the_mark_or_asked_about() -> None:
    """R43: an unknown price leaves no position unguarded, and stops no other work."""
    book = Book(new_position_id=PositionIds("test", 1).next)

    assert [Mismatch] == kinds(book.reconcile(Venue.BINANCE, held("3", None), 10))
    facts = book.reconcile(Venue.BINANCE, held("3", None, "70"), 11)
    assert [Mismatch, Opened] == kinds(facts)
    assert Decimal(70) == book.positions[BTC].entry_px_avg


def test_a_lasting_difference_ends_ours_and_adopts_theirs() -> None:
    """R34, R88: the venue's quantity and side, after two looks."""
    book = open_book()
    book.reconcile(Venue.BINANCE, held("-1"), 10)
    facts = book.reconcile(Venue.BINANCE, held("-1"), 10 + VOTES_APART_NS)

    assert [Mismatch, Closed, Opened] == kinds(facts)
    assert [(MismatchKind.SIDE, 1.0)] == told(facts)
    assert Decimal(-1) == book.positions[BTC].qty_signed


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({}, MismatchKind.PHANTOM),
        (held("1"), MismatchKind.QTY),
        (held("3"), MismatchKind.QTY),
        (held("-2"), MismatchKind.SIDE),
    ],
)
def test_each_difference_has_its_kind(row: dict[InstrumentId, Any], kind: MismatchKind) -> None:
    """R88: phantom, quantity and side are told apart; an unknown one is UNTRACKED (above)."""
    (fact,) = open_book().reconcile(Venue.BINANCE, row, 10, [BTC])

    assert [kind] == [k for k, _ in told([fact])]


def test_an_entry_price_that_differs_by_more_than_a_tick_is_told_once_and_ours_kept() -> None:
    """R33, R88: both prices are said, nothing is changed, nobody is asked."""
    book = open_book()
    tick = Decimal("0.5")

    def look(row: dict[InstrumentId, Any], known: Decimal | None = tick) -> list[Fact]:
        return book.reconcile(Venue.BINANCE, row, 10, (), lambda _: known)

    assert [] == look(held("2", "100.5"))
    assert [] == look(held("2", None))
    assert [] == look(held("2", "103"), None)
    (fact,) = look(held("2", "103"))
    assert [(MismatchKind.ENTRY_PRICE, None)] == told([fact])
    assert isinstance(fact, Mismatch)
    assert (Decimal(100), Decimal(103)) == (fact.ours, fact.theirs)
    assert [] == look(held("2", "104"))
    assert Decimal(100) == book.positions[BTC].entry_px_avg


def test_an_entry_price_is_not_compared_while_the_entry_fills() -> None:
    """R34: half an entry has half its price."""
    book = book_with_entry()
    book.on_fill(fill("a", "1"), 5)

    assert [] == book.reconcile(Venue.BINANCE, held("1", "90"), 10, (), lambda _: Decimal(1))


def test_an_entry_that_can_still_fill_is_left_alone() -> None:
    """R30, scenario 16: a snapshot that lags behind a fill proves nothing."""
    book = book_with_entry()
    book.on_unknown(ENTRY_ID)
    for number in range(1, 5):
        assert [] == book.reconcile(Venue.BINANCE, held("2"), number * VOTES_APART_NS)
    assert [Opened, Booked, EntryDone] == kinds(book.on_fill(fill("a", "2"), 5))


def test_an_entry_whose_fills_are_never_told_ends_and_its_position_is_adopted() -> None:
    """R12, R74: filled by the venue's word, the executions lost: not naked for ever."""
    book = book_with_entry()
    book.on_report(report(OrderStatus.FILLED, "2"))

    assert [Mismatch] == kinds(book.reconcile(Venue.BINANCE, held("2"), 10))
    looked_up(book)
    facts = book.reconcile(Venue.BINANCE, held("2"), 10 + VOTES_APART_NS)
    assert [Mismatch, EntryDied, Opened] == kinds(facts)
    assert Decimal(2) == book.positions[BTC].qty


def test_funding_is_booked_into_what_is_open() -> None:
    """R77: nothing open, nothing booked."""
    book = open_book()
    view = book.on_funding(BTC, Decimal("-0.5"), 5)

    assert view is not None
    assert Decimal("-0.5") == view.funding
    assert book.on_funding(InstrumentId("ETHUSDT", Venue.BINANCE), Decimal(1), 5) is None
    assert book.on_funding(BTC, Decimal(1), 0) is None


def test_orders_of_closed_positions_are_forgotten_at_the_next_end() -> None:
    """The book does not grow for ever; orders of open positions stay."""
    book = open_book()
    book.on_fill(out("s", "2"), 9)
    assert ENTRY_ID in book.orders
    book.reconcile(Venue.BINANCE, held("1", at_ns=10), 10)
    book.on_fill(out("t", "1", ts_event=11), 11)

    assert {} == book.orders


def test_a_row_older_than_the_fill_that_closed_it_is_no_position() -> None:
    """R88: the fill overtook the list; nothing is adopted, and the venue is asked once more."""
    book = open_book()
    book.on_fill(out("s", "2", ts_event=9), 9)

    (doubt,) = book.reconcile(Venue.BINANCE, held("2", at_ns=9), 10)
    assert isinstance(doubt, Mismatch)
    assert doubt.again_s is not None
    assert [] == list(book.positions)
    other_leg = book.reconcile(Venue.BINANCE, held("-2", at_ns=1), 11)
    assert [Mismatch, Opened] == kinds(other_leg)


@pytest.mark.parametrize("row", [{}, held("1"), held("3")], ids=["flat", "less", "more"])
def test_an_end_waits_for_the_answer_about_its_fills_but_not_for_ever(
    row: dict[InstrumentId, Any],
) -> None:
    """R77, R88: what the missing fills made only they tell; an older answer is none."""
    book = open_book()
    looked_up(book, 9)
    late_ns = 10 + VOTES_APART_NS
    for now_ns in (10, late_ns, late_ns + FILLS_WAIT_NS - 1):
        (fact,) = book.reconcile(Venue.BINANCE, row, now_ns, [BTC])
        assert isinstance(fact, Mismatch)
        assert fact.lacks_fills
    facts = book.reconcile(Venue.BINANCE, row, late_ns + FILLS_WAIT_NS, [BTC])

    assert Closed in kinds(facts)


def ended_short() -> Book:
    """Return a book whose long of 2 was taken for ended at 500, though no fill closed it."""
    book = open_book()
    book.reconcile(Venue.BINANCE, {}, 10, [BTC])
    looked_up(book)
    book.reconcile(Venue.BINANCE, {}, 10 + VOTES_APART_NS, [BTC])
    assert {} == book.positions
    return book


def test_fills_found_after_the_end_are_booked_where_they_belong_once() -> None:
    """R77, R79: by their cause, into the position that ended; a repetition changes nothing."""
    book = ended_short()
    for fill_id, left in (("s", "1"), ("t", "0")):
        (fact,) = book.on_fill(out(fill_id, "1", ts_event=9), 10**12)
        assert isinstance(fact, Booked)
        assert ("SL", Decimal(left)) == (fact.purpose, fact.position.qty)
        assert "test-1-1" == fact.position.position_id
        assert [] == book.on_fill(out(fill_id, "1", ts_event=9), 10**12)
    assert not book.shorts.is_waiting(Venue.BINANCE)


def test_a_late_fill_is_not_booked_into_the_position_that_followed() -> None:
    """R62: the stop of the ended one may close the next; the time tells which it closed."""
    book = ended_short()
    began_ns = 10 + VOTES_APART_NS + 1
    row = attrs.evolve(held("2")[BTC], ts_event=began_ns)
    book.reconcile(Venue.BINANCE, {BTC: row}, began_ns)
    followed = book.positions[BTC]
    (late,) = book.on_fill(out("s", "2", ts_event=9), 10**12)
    assert isinstance(late, Booked)
    assert "test-1-1" == late.position.position_id
    assert Decimal(2) == followed.qty

    (foreign,) = book.on_fill(out("by hand", "1", "web_1", ts_event=began_ns), 10**12)
    assert isinstance(foreign, Mismatch)
    assert Decimal(2) == followed.qty

    booked, closed = book.on_fill(out("u", "2", ts_event=began_ns + 1), 10**12)
    assert isinstance(booked, Booked)
    assert followed.position_id == booked.position.position_id
    assert isinstance(closed, Closed)


def test_the_cause_is_that_of_the_newest_fill_and_not_of_the_last_one_found() -> None:
    """R79: a rung's fill was lost, the target's came; the rung's is found when it is over."""
    book = open_book()
    book.on_fill(out("tp", "1", "test-1-1-TP1", ts_event=8), 8)
    facts = book.on_fill(out("rung", "1", "test-1-1-RG1", ts_event=7), 9)

    assert [CloseCause.TP] == [fact.cause for fact in facts if isinstance(fact, Closed)]
