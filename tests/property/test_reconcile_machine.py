"""
Reconciling as a state machine: a venue whose positions change behind our back, its lists (whole,
stale, empty, partial, failed), and the book of trade.

Entries and stops fill, and some fills are never told; strangers trade on the account. The lists are
given to the real `reconcile`, and what it asks for is done as trade does it: another list after the
time it names, the fills that were booked since. What a difference is called and when a position may
go is worked out here from the venue's side.

A lying list is one that shows less than there is, for at most LIE_NS on end; beyond ABSENT_APART_NS
a list that keeps leaving a position out is believed, which is the rule and not a fault.

Of the checkers of sim `broken_books` (of the fills that were booked), `unequal_ends` and
`code_faults` judge the end. Not those of orders, limits, gates and cover, which have no part here;
not `unequal_money` and `false_causes`: what was adopted was never earned by our fills.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.property.machine_evidence import (
    INSTALLATION,
    VENUE,
    assert_lawful,
    evidence_of,
    run_machine,
)

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_MS, NS_PER_S, ManualClock
from aegis.core.event import Event
from aegis.model.account import OrderReport, PositionReport, ProtectionRole, ReportSource
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderRequest, OrderSide, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.order_id import PositionIds, client_order_id
from aegis.model.position import MismatchKind, ProtectionPlan
from aegis.sim.books import broken_books, unequal_ends
from aegis.sim.checkers import code_faults
from aegis.sim.witness import FillSeen
from aegis.trade import reconcile as reconciling
from aegis.trade.book import Book
from aegis.trade.facts import Advanced, Booked, Closed, EntryDied, EntryDone, Fact, Mismatch, Opened
from aegis.trade.voice import TradeVoice
from aegis.twin.engine.api import Maker

PLAN: Final = ProtectionPlan(stop_distance=Decimal(1), target_distance=Decimal(1))
NAMES: Final = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
HERE: Final = tuple(InstrumentId(name, Venue.BINANCE) for name in NAMES)
ELSEWHERE: Final = InstrumentId("BTCUSDT", Venue.BYBIT)
"""A position on another venue, which no list of this one may touch."""
PICK: Final = st.sampled_from(HERE)
LIE_NS: Final = 20 * NS_PER_S
LOOKS_MAX: Final = 16
ZERO: Final = Decimal(0)
Lists = dict[InstrumentId, PositionReport]


@attrs.define
class Held:
    """What the venue holds in one instrument."""

    qty: Decimal = ZERO
    px: Decimal = Decimal(100)


def name_difference(ours: Decimal, theirs: Decimal) -> str:
    """Return what a difference of two signed quantities is called, by its table alone."""
    table = {
        (0, 1): "UNTRACKED",
        (0, -1): "UNTRACKED",
        (1, 0): "PHANTOM",
        (-1, 0): "PHANTOM",
        (1, -1): "SIDE",
        (-1, 1): "SIDE",
    }
    signs = ((ours > 0) - (ours < 0), (theirs > 0) - (theirs < 0))
    return table.get(signs, "QTY")


class Reconcile(RuleBasedStateMachine):
    """The venue's truth, what it lists of it, and the book."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = EventBus(ManualClock(1))
        self.events: list[Event] = []
        self.bus.listen_all(lambda _, event: self.events.append(event))
        self.voice = TradeVoice(self.bus)
        self.ids = PositionIds(INSTALLATION, 1)
        self.book = Book(new_position_id=self.ids.next)
        self.told_flat: set[InstrumentId] = set()
        self.now = 1_000 * NS_PER_S
        self.held = {instrument: Held() for instrument in HERE}
        self.before: Lists = {}
        self.stale_left = 0
        self.true_ns = self.now
        self.lost: list[Fill] = []
        self.made: list[Fill] = []
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.ended: list[str] = []
        self.entered: list[str] = []
        self.booked: set[str] = set()
        self.price_told: list[str] = []

    @initialize(elsewhere=st.booleans())
    def begin(self, *, elsewhere: bool) -> None:
        """Another venue may hold a position of ours."""
        if elsewhere:
            report = PositionReport(
                instrument_id=ELSEWHERE,
                qty_signed=Decimal(1),
                entry_px_avg=Decimal(100),
                ts_event=self.now,
            )
            self.take(self.book.reconcile(Venue.BYBIT, {ELSEWHERE: report}, self.now))

    # --- facts -----------------------------------------------------------------------------------

    def take(self, facts: list[Fact]) -> None:
        """Count what follows, and tell it."""
        for fact in facts:
            match fact:
                case Opened(position=view):
                    assert view.position_id not in self.opened
                    self.opened.append(view.position_id)
                    self.told_flat.discard(view.instrument_id)
                    self.voice.opened(fact, self.now)
                case Booked(fill=fill):
                    assert fill.fill_id not in self.booked
                    self.booked.add(fill.fill_id)
                    self.voice.booked(fact, self.now)
                case EntryDone(position=view):
                    self.ended.append(view.position_id)
                    self.voice.entry_completed(fact, self.now)
                case EntryDied(position_id=position_id):
                    self.ended.append(position_id)
                    self.voice.entry_failed(position_id, fact.instrument_id, fact.reason, self.now)
                case Closed(position=view):
                    self.closed.append(view.position_id)
                    self.voice.closed(fact, self.now)
                case Advanced():
                    self.voice.advanced(fact, self.now)
                case Mismatch():
                    self.voice.mismatch(fact, self.now)

    # --- the venue -------------------------------------------------------------------------------

    def report(self, instrument: InstrumentId) -> PositionReport:
        """Return one position as the venue states it."""
        held = self.held[instrument]
        return PositionReport(
            instrument_id=instrument,
            qty_signed=held.qty,
            entry_px_avg=held.px if held.qty else None,
            ts_event=self.now,
        )

    def all_open(self) -> Lists:
        """Return the venue's list: what is flat is not in it."""
        return {each: self.report(each) for each in HERE if self.held[each].qty}

    def change(self, instrument: InstrumentId, delta: Decimal, px: Decimal) -> None:
        """Change what the venue holds."""
        self.now += 1
        self.before, self.stale_left = self.all_open(), 1
        held = self.held[instrument]
        held.qty += delta
        held.px = px
        if held.qty:
            # Of what is open the stream tells, of its end it may not.
            self.told_flat.discard(instrument)

    def fill(
        self, instrument: InstrumentId, delta: Decimal, px: int, client_id: str, *, told: bool
    ) -> None:
        """Execute something, and tell of it or not."""
        self.change(instrument, delta, Decimal(px))
        fill = Fill(
            instrument_id=instrument,
            fill_id=str(len(self.made) + 1),
            client_order_id=client_id,
            venue_order_id="1",
            side=OrderSide.BUY if delta > 0 else OrderSide.SELL,
            last_qty=abs(delta),
            last_px=Decimal(px),
            fee=Decimal("0.01"),
            liquidity=Liquidity.TAKER,
            origin=FillOrigin.ORDER if client_id else FillOrigin.STOP,
            ts_event=self.now,
        )
        self.made.append(fill)
        if told:
            self.take(self.book.on_fill(fill, self.now))
        else:
            self.lost.append(fill)

    # --- rules: what happens at the venue --------------------------------------------------------

    @rule(
        instrument=PICK,
        side=st.sampled_from(PositionSide),
        parts=st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=3),
        reported=st.booleans(),
    )
    def enter(
        self,
        instrument: InstrumentId,
        side: PositionSide,
        parts: list[tuple[int, bool]],
        *,
        reported: bool,
    ) -> None:
        """Send an entry; it fills in parts and ends, and not all of that is told."""
        if self.book.is_busy(instrument) or self.held[instrument].qty:
            return
        position_id = self.ids.next()
        request = OrderRequest(
            instrument_id=instrument,
            client_order_id=client_order_id(position_id, Purpose.ENTRY, 1),
            purpose=Purpose.ENTRY,
            side=side.entry_side,
            order_type=OrderType.MARKET,
            qty=Decimal(9),
            reduce_only=False,
        )
        self.entered.append(position_id)
        self.book.register_entry(
            request,
            position_id=position_id,
            trace_id="t",
            side=side,
            plan=PLAN,
            leverage=2,
            signal_price=Decimal(100),
        )
        self.book.on_submitted(request.client_order_id)
        for qty, told in parts:
            self.fill(instrument, Decimal(qty) * side.sign, 100, request.client_order_id, told=told)
        if reported:
            self.end_entry(instrument)

    @precondition(lambda self: any(i.venue is Venue.BINANCE for i in self.book.entries))
    @rule()
    def report_entries(self) -> None:
        """The end of every entry is told."""
        for instrument in [i for i in self.book.entries if i.venue is Venue.BINANCE]:
            self.end_entry(instrument)

    def end_entry(self, instrument: InstrumentId) -> None:
        """Tell an entry's end and what it filled."""
        request = self.book.entries[instrument].order.request
        mine = [f.last_qty for f in self.made if f.client_order_id == request.client_order_id]
        report = OrderReport(
            instrument_id=instrument,
            client_order_id=request.client_order_id,
            venue_order_id="1",
            conditional=False,
            status=OrderStatus.EXPIRED,
            side=request.side,
            order_type=OrderType.MARKET,
            qty=request.qty,
            filled_qty=sum(mine, ZERO),
            reduce_only=False,
            close_position=False,
            role=ProtectionRole.NONE,
            source=ReportSource.STREAM,
            ts_event=self.now,
        )
        self.take(self.book.on_report(report))

    @rule(instrument=PICK, part=st.integers(1, 9), told=st.booleans())
    def stop_out(self, instrument: InstrumentId, part: int, *, told: bool) -> None:
        """The position's own stop closes some of it."""
        qty = self.held[instrument].qty
        if qty:
            closing = min(abs(qty), Decimal(part))
            self.fill(instrument, -closing if qty > 0 else closing, 99, "", told=told)

    @rule(instrument=PICK, delta=st.integers(-4, 4), px=st.integers(95, 105))
    def meddle(self, instrument: InstrumentId, delta: int, px: int) -> None:
        """Somebody else trades there, and nothing is told."""
        self.change(instrument, Decimal(delta), Decimal(px))

    @rule(instrument=PICK)
    def say_flat(self, instrument: InstrumentId) -> None:
        """The stream says that nothing is open."""
        if not self.held[instrument].qty:
            self.told_flat.add(instrument)

    # --- rules: what is listed -------------------------------------------------------------------

    def give(self, lists: Lists) -> list[Mismatch]:
        """Give a list to the book, and judge what follows; return the differences."""
        book = self.book
        ours = {i: p.qty_signed for i, p in book.positions.items()}
        ids = {i: p.position_id for i, p in book.positions.items()}
        filling = {i for i, e in book.entries.items() if not e.order.status.is_terminal}
        lacking = set(book.entries) - filling
        facts = book.reconcile(
            Venue.BINANCE, lists, self.now, self.told_flat, lambda _: Decimal("0.5")
        )
        self.take(facts)
        differ = [fact for fact in facts if isinstance(fact, Mismatch)]
        for instrument in HERE:
            theirs = lists[instrument].qty_signed if instrument in lists else ZERO
            mine = ours.get(instrument, ZERO)
            told = [fact for fact in differ if fact.instrument_id == instrument]
            self.check_named(instrument, mine, theirs, told, filling=filling, lacking=lacking)
            if instrument in ours and mine == self.held[instrument].qty:
                # What the venue really holds is never given up, whatever a list shows.
                assert instrument in book.positions
                assert ids[instrument] == book.positions[instrument].position_id
                assert mine == book.positions[instrument].qty_signed
        assert all(fact.instrument_id in HERE for fact in differ)
        assert [] == [f for f in book.reconcile(Venue.BINANCE, lists, self.now) if ends(f)]
        return differ

    def check_named(
        self,
        instrument: InstrumentId,
        ours: Decimal,
        theirs: Decimal,
        told: list[Mismatch],
        *,
        filling: set[InstrumentId],
        lacking: set[InstrumentId],
    ) -> None:
        """Each difference is told once, by its name and with both quantities; nothing else is."""
        prices = [fact for fact in told if fact.kind is MismatchKind.ENTRY_PRICE]
        for fact in prices:
            told.remove(fact)
            position_id = self.book.positions[instrument].position_id
            assert position_id not in self.price_told, "an entry price was told twice"
            self.price_told.append(position_id)
        differs = ours != theirs or instrument in lacking
        if instrument in filling or not differs:
            assert [] == told
            return
        (fact,) = told
        assert name_difference(ours, theirs) == fact.kind.value
        assert (ours, theirs) == (fact.ours, fact.theirs)

    @rule(wait_ms=st.sampled_from([0, 100, 300, 1_000, 6_000]))
    def list_truly(self, wait_ms: int) -> None:
        """List everything as it is."""
        self.now += wait_ms * NS_PER_MS
        self.true_ns = self.now
        _ = self.give(self.all_open())

    @precondition(lambda self: self.now - self.true_ns < LIE_NS)
    @rule(wait_ms=st.sampled_from([100, 300, 1_000]), leave_out=st.none() | PICK)
    def list_less(self, wait_ms: int, leave_out: InstrumentId | None) -> None:
        """List nothing although something is open, or all but one."""
        self.now += wait_ms * NS_PER_MS
        lists = {} if leave_out is None else self.all_open()
        lists.pop(leave_out or HERE[0], None)
        _ = self.give(lists)

    @precondition(lambda self: self.stale_left and self.now - self.true_ns < LIE_NS)
    @rule()
    def list_stale(self) -> None:
        """List what was there before the last change, once."""
        self.stale_left -= 1
        _ = self.give(self.before)

    @rule()
    def fail(self) -> None:
        """A list fails: there is no snapshot, and nothing is believed."""
        self.now += NS_PER_S

    @rule()
    def look_up(self) -> None:
        """Have the venue answer which fills it booked, and take what nobody told."""
        self.book.looked_ns[Venue.BINANCE] = self.now
        lost, self.lost = self.lost, []
        for fill in lost:
            if not self.book.knows_fill(fill):
                self.take(self.book.on_fill(fill, self.now))

    @rule()
    def converge(self) -> None:
        """The venue answers truly, trade does what is asked: the book becomes the venue's."""
        self.report_all()
        for _ in range(LOOKS_MAX):
            self.true_ns = self.now
            differ = self.give(self.all_open())
            waits_s = [fact.again_s for fact in differ if fact.again_s is not None]
            if not waits_s:
                break
            if any(fact.lacks_fills for fact in differ):
                self.look_up()
            self.now += round(min(waits_s) * NS_PER_S)
        ours = {i: p.qty_signed for i, p in self.book.positions.items() if i in self.held}
        assert {i: held.qty for i, held in self.held.items() if held.qty} == ours
        assert not [i for i in self.book.entries if i in self.held]
        self.now += NS_PER_S
        assert [] == self.give(self.all_open())

    def report_all(self) -> None:
        """Tell every entry's end."""
        for instrument in [i for i in self.book.entries if i in self.held]:
            self.end_entry(instrument)

    # --- laws ------------------------------------------------------------------------------------

    @invariant()
    def conserved(self) -> None:
        """Opened = closed + active, each once; an entry ends at most once; no sign is wrong."""
        active = [position.position_id for position in self.book.positions.values()]
        assert sorted(self.opened) == sorted(self.closed + active)
        assert len(set(self.ended)) == len(self.ended)
        assert set(self.ended) <= set(self.entered)
        for position in self.book.positions.values():
            assert position.qty >= 0
        there = {i.venue for i in self.book.positions}
        assert (Venue.BYBIT in there) == any(i == ELSEWHERE for i in self.book.positions)

    def teardown(self) -> None:
        """In the end the book is the venue's, and the checkers of sim agree."""
        self.converge()
        assert sorted(self.entered) == sorted(self.ended)
        positions = {i.symbol: held.qty for i, held in self.held.items()}
        here = [e for e in self.events if not is_elsewhere(e)]
        evidence = evidence_of(
            here,
            end_ns=self.now,
            positions=positions,
            fills=[self.seen(fill) for fill in self.made if fill.fill_id in self.booked],
        )
        assert_lawful(evidence, broken_books, unequal_ends, code_faults)

    def seen(self, fill: Fill) -> FillSeen:
        """Return a fill as a witness at the venue writes it down."""
        return FillSeen(
            venue=VENUE,
            fill_id=int(fill.fill_id),
            order_id=1,
            client_id=fill.client_order_id,
            symbol=fill.instrument_id.symbol,
            made_by=Maker.USER,
            side_sign=fill.side.sign,
            qty=fill.last_qty,
            price=fill.last_px,
            fee=fill.fee,
            realized=ZERO,
            closed_qty=ZERO,
            ts_ns=fill.ts_event,
            qty_after=ZERO,
            exposure_after=ZERO,
            equity_after=ZERO,
            open_after=1,
        )


def ends(fact: Fact) -> bool:
    """Say whether a fact changes what is open."""
    return isinstance(fact, Opened | Closed | EntryDone | EntryDied)


def is_elsewhere(event: Event) -> bool:
    """Say whether an event is of the other venue."""
    position = getattr(event, "position", None)
    instrument = getattr(event, "instrument_id", None) or getattr(position, "instrument_id", None)
    return instrument == ELSEWHERE


TestReconcile = Reconcile.TestCase
TestReconcile.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def _believe_one_look(patch: pytest.MonkeyPatch) -> None:
    confirmed = reconciling._is_confirmed

    def at_once(*args: object) -> bool:
        _ = confirmed(*args)  # type: ignore[arg-type]  # all of its arguments are passed on
        return True

    patch.setattr(reconciling, "_is_confirmed", at_once)
    patch.setattr(reconciling, "FILLS_WAIT_NS", -reconciling.ABSENT_APART_NS)


def _believe_absence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconciling, "ABSENT_APART_NS", reconciling.VOTES_APART_NS)


def _misname(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconciling, "mismatch_of", lambda _ours, _theirs: MismatchKind.QTY)


def _never_agree(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconciling, "VOTES_APART_NS", 10**18)


def _adopt_as_long(patch: pytest.MonkeyPatch) -> None:
    adopt = reconciling._adopt

    def long_only(book: Book, report: PositionReport, now_ns: int) -> list[Fact]:
        return adopt(book, attrs.evolve(report, qty_signed=abs(report.qty_signed)), now_ns)

    patch.setattr(reconciling, "_adopt", long_only)


@pytest.mark.parametrize(
    "plant", [_believe_one_look, _believe_absence, _misname, _never_agree, _adopt_as_long]
)
def test_a_wrong_belief_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine fails when a lie ends positions, names are wrong, or differences stay (R88)."""
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        run_machine(Reconcile, examples=1_000, steps=60)
