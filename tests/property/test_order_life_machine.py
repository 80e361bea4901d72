"""
The life of orders as a state machine: a venue with its own books, a wire that shuffles and repeats
what it tells, and the book of trade.

An order is entered, sent, answered or not, accepted, refused, filled in parts, canceled, expired;
its reports and fills reach the book late, twice, in any order, and old words come after the end;
the position's own stop may close before the book knows what was opened.
What must hold is worked out here from the venue's side, without the code under test: which
transitions are legal, what was filled, what each position came to.

Of the checkers of sim those about the books judge every history: `doubled_orders`,
`flipped_signs`, `opened_by_exits`, `broken_books`, `unequal_ends`, `unequal_money`,
`false_causes`, `code_faults`. Not `unprotected` and `leftovers` (no time passes here), `limits`
(no wallet), `intents` and `unguarded_entries` (no gate), `streams` (no market).
"""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
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
from aegis.core.clock import ManualClock
from aegis.core.event import Event
from aegis.model.account import BalanceReport, OrderReport, ProtectionRole, ReportSource
from aegis.model.events import FundingReported, OrderSubmitted
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import Order, OrderRequest, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.order_id import PositionIds, client_order_id
from aegis.model.position import PositionView, ProtectionPlan
from aegis.sim.books import broken_books, false_causes, unequal_ends, unequal_money
from aegis.sim.checkers import code_faults, doubled_orders, flipped_signs, opened_by_exits
from aegis.sim.evidence import Evidence
from aegis.sim.witness import FillSeen, IncomeSeen, OrderSeen
from aegis.trade.book import Book
from aegis.trade.facts import Advanced, Booked, Closed, EntryDied, EntryDone, Fact, Mismatch, Opened
from aegis.trade.known import Known
from aegis.trade.once import Once
from aegis.trade.voice import TradeVoice
from aegis.twin.engine.api import Maker

BTC: Final = InstrumentId("BTCUSDT", Venue.BINANCE)
PLAN: Final = ProtectionPlan(stop_distance=Decimal(1), target_distance=Decimal(1))
FEE: Final = Decimal("0.01")
WALLET: Final = Decimal(1000)
EXITS: Final = (Purpose.STOP_FLOOR, Purpose.STOP_MOVING, Purpose.RUNG, Purpose.CLOSE_MANUAL)
S: Final = OrderStatus
WORKING: Final = (S.ACCEPTED, S.TRIGGERING, S.PARTIALLY_FILLED)
ENDS: Final = (S.FILLED, S.CANCELED, S.REJECTED, S.EXPIRED)
LEGAL: Final[dict[OrderStatus, frozenset[OrderStatus]]] = {
    S.CREATED: frozenset(S) - {S.CREATED},
    S.SUBMITTED: frozenset(S) - {S.CREATED, S.SUBMITTED},
    S.UNKNOWN: frozenset({*WORKING, *ENDS}),
    S.ACCEPTED: frozenset({S.TRIGGERING, S.PARTIALLY_FILLED, *ENDS}),
    S.TRIGGERING: frozenset({S.PARTIALLY_FILLED, *ENDS}),
    S.PARTIALLY_FILLED: frozenset(ENDS),
    **{end: frozenset[OrderStatus]() for end in ENDS},
}
SHARES: Final = st.lists(st.integers(1, 4), max_size=3)
Message = Fill | OrderReport
ANSWERED: Final = st.sampled_from([True, True, True, False])


@attrs.define
class VenueOrder:
    """An order as the venue has it."""

    request: OrderRequest
    status: OrderStatus = S.SUBMITTED
    filled: Decimal = Decimal(0)

    @property
    def is_open(self) -> bool:
        """Say whether it can still fill."""
        return self.status in WORKING


@attrs.define
class Life:
    """One position in plain arithmetic: what its fills make of it."""

    sign: int
    opened: Fraction = Fraction(0)
    closed: Fraction = Fraction(0)
    paid: Fraction = Fraction(0)
    taken: Fraction = Fraction(0)
    fills: int = 0

    def add(self, fill: Fill, *, closing: bool) -> None:
        """Count a fill."""
        qty, px = Fraction(fill.last_qty), Fraction(fill.last_px)
        self.fills += 1
        if closing:
            self.closed += qty
            self.taken += qty * px
        else:
            self.opened += qty
            self.paid += qty * px

    @property
    def realized(self) -> Fraction:
        """Return what was earned before fees."""
        if not self.closed:
            return Fraction(0)
        return (self.taken - self.closed * self.paid / self.opened) * self.sign


def near(ours: Decimal, true: Fraction) -> bool:
    """Say whether a quotient of Decimals is what it should be, to its last digits."""
    return abs(Fraction(ours) - true) < Fraction(1, 10**18)


class OrderLife(RuleBasedStateMachine):
    """The venue's truth, the wire, and the book."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1)
        self.bus = EventBus(self.clock)
        self.events: list[Event] = []
        self.bus.listen_all(lambda _, event: self.events.append(event))
        self.voice = TradeVoice(self.bus)
        self.ids = PositionIds(INSTALLATION, 1)
        self.book = Book(new_position_id=self.ids.next)
        self.known = Known(self.book)
        self.known.on_balance(
            BalanceReport(
                venue=Venue.BINANCE, wallet=WALLET, available=None, equity=None, ts_event=0
            )
        )
        self.once: Once[str] = Once()
        self.side = PositionSide.LONG
        self.now = 1
        # The venue's own books.
        self.orders: dict[str, VenueOrder] = {}
        self.qty = Decimal(0)
        self.made: list[tuple[Fill, bool, str]] = []
        self.seen_fills: list[FillSeen] = []
        self.venue_position = ""
        self.funded: dict[str, Decimal] = {}
        self.funding_of: dict[str, Decimal] = {}
        # The wire and what came through it.
        self.wire: list[Message] = []
        self.told: list[Message] = []
        self.delivered: dict[str, Fill] = {}
        self.booked: dict[str, str] = {}
        self.lives: dict[str, Life] = {}
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.ended: list[str] = []
        self.entered: list[str] = []
        self.before: dict[str, tuple[Order, OrderStatus, Decimal]] = {}
        self.attempts = 0

    @initialize(side=st.sampled_from(PositionSide), shares=SHARES)
    def begin(self, side: PositionSide, shares: list[int]) -> None:
        """Long and short are alike; an entry of 4 is under way and may have filled."""
        self.side = side
        self.enter(4, answered=True)
        if shares:
            self.fill(0, 100, shares)

    # --- what follows from each call -------------------------------------------------------------

    def take(self, facts: list[Fact]) -> None:
        """Check each fact against all that came before, and tell it."""
        for fact in facts:
            match fact:
                case Opened(position=view):
                    assert view.position_id not in self.opened
                    self.opened.append(view.position_id)
                    self.lives[view.position_id] = Life(self.side.sign)
                    self.voice.opened(fact, self.now)
                case Booked(fill=fill, position=view):
                    self.book_one(fill, view)
                    self.voice.booked(fact, self.now)
                case EntryDone(position=view):
                    self.ended.append(view.position_id)
                    self.voice.entry_completed(fact, self.now)
                case EntryDied(position_id=position_id):
                    assert position_id not in self.opened
                    self.ended.append(position_id)
                    self.voice.entry_failed(position_id, BTC, fact.reason, self.now)
                case Closed(position=view):
                    self.check_end(fact)
                    self.closed.append(view.position_id)
                    self.voice.closed(fact, self.now)
                case Advanced():
                    self.voice.advanced(fact, self.now)
                case Mismatch():
                    raise AssertionError(f"nobody else traded: {fact}")

    def book_one(self, fill: Fill, view: PositionView) -> None:
        """Count a booked fill by ourselves: once, and into the position it belongs to."""
        assert fill.fill_id not in self.booked, f"fill {fill.fill_id} was booked twice"
        closing, position_id = next(
            (closing, made_in) for made, closing, made_in in self.made if made == fill
        )
        assert view.position_id == position_id
        self.booked[fill.fill_id] = position_id
        self.lives[position_id].add(fill, closing=closing)

    def check_end(self, fact: Closed) -> None:
        """A position ends flat, with the money its fills made and the funding that came."""
        view, life = fact.position, self.lives[fact.position.position_id]
        assert Decimal(0) == view.qty
        assert life.opened == life.closed
        funding = self.funding_of.get(view.position_id, Decimal(0))
        assert near(fact.net_pnl, life.realized - life.fills * Fraction(FEE) + Fraction(funding))

    # --- the venue -------------------------------------------------------------------------------

    def report(self, order: VenueOrder, status: OrderStatus | None = None) -> OrderReport:
        """Return the order as the venue states it now."""
        request = order.request
        return OrderReport(
            instrument_id=BTC,
            client_order_id=request.client_order_id,
            venue_order_id=f"v{request.client_order_id}",
            conditional=request.order_type.is_conditional,
            status=status or order.status,
            side=request.side,
            order_type=request.order_type,
            qty=request.qty,
            filled_qty=order.filled,
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            role=ProtectionRole.NONE,
            source=ReportSource.STREAM,
            ts_event=self.now,
        )

    def some(self, orders: list[VenueOrder], number: int) -> VenueOrder:
        """Return one of *orders*."""
        return orders[number % len(orders)]

    def open_orders(self) -> list[VenueOrder]:
        """Return what works at the venue."""
        return [order for order in self.orders.values() if order.is_open]

    def fresh_orders(self) -> list[VenueOrder]:
        """Return what the venue has not answered yet."""
        return [order for order in self.orders.values() if order.status is S.SUBMITTED]

    def over(self) -> list[VenueOrder]:
        """Return the orders whose end the book has heard of."""
        ours = self.book.orders
        return [o for key, o in self.orders.items() if key in ours and ours[key].status in ENDS]

    def execute(self, order: VenueOrder, qty: Decimal, px: int) -> None:
        """Fill *qty* of *order* and put the news on the wire."""
        request = order.request
        if not request.reduce_only:
            self.venue_position = request.client_order_id.rpartition("-")[0]
        self.make(request.client_order_id, qty, px, closing=request.reduce_only)
        order.filled += qty
        whole = order.filled == request.qty or (request.close_position and self.qty == 0)
        order.status = S.FILLED if whole else S.PARTIALLY_FILLED
        self.wire.append(self.report(order))

    def make(self, client_id: str, qty: Decimal, px: int, *, closing: bool) -> None:
        """Make a fill; one without a client id is of the position's own stop."""
        self.now += 1
        fill = Fill(
            instrument_id=BTC,
            fill_id=str(len(self.made) + 1),
            client_order_id=client_id,
            venue_order_id=f"v{client_id}",
            side=self.side.exit_side if closing else self.side.entry_side,
            last_qty=qty,
            last_px=Decimal(px),
            fee=FEE,
            liquidity=Liquidity.TAKER,
            origin=FillOrigin.ORDER if client_id else FillOrigin.STOP,
            ts_event=self.now,
        )
        self.made.append((fill, closing, self.venue_position))
        self.qty += -qty if closing else qty
        assert self.qty >= 0, "the venue never turns a position by a reduce-only order"
        self.seen_fills.append(self.seen(fill, closing=closing))
        self.wire.append(fill)

    def seen(self, fill: Fill, *, closing: bool) -> FillSeen:
        """Return a fill as a witness at the venue writes it down."""
        return FillSeen(
            venue=VENUE,
            fill_id=int(fill.fill_id),
            order_id=1,
            client_id=fill.client_order_id,
            symbol=BTC.symbol,
            made_by=Maker.USER,
            side_sign=fill.side.sign,
            qty=fill.last_qty,
            price=fill.last_px,
            fee=fill.fee,
            realized=Decimal(0),
            closed_qty=fill.last_qty if closing else Decimal(0),
            ts_ns=fill.ts_event,
            qty_after=self.qty * self.side.sign,
            exposure_after=Decimal(0),
            equity_after=WALLET,
            open_after=1,
            closing_kind="" if fill.client_order_id else "STOP",
        )

    # --- rules: orders leave ---------------------------------------------------------------------

    def send(self, request: OrderRequest, position_id: str, *, answered: bool) -> None:
        """Have an entered order leave, and maybe be accepted at once."""
        order = self.orders[request.client_order_id] = VenueOrder(request)
        self.book.on_submitted(request.client_order_id)
        self.bus.publish(
            OrderSubmitted(
                ts_event=self.now,
                ts_recv=self.now,
                request=request,
                position_id=position_id,
                trace_id="t",
                attempt=1,
            )
        )
        if answered:
            order.status = S.ACCEPTED
            self.wire.append(self.report(order))

    @precondition(lambda self: not self.book.is_busy(BTC))
    @rule(qty=st.integers(1, 5), answered=ANSWERED)
    def enter(self, qty: int, *, answered: bool) -> None:
        """Send an entry; reports of earlier orders may still be on their way."""
        position_id = self.ids.next()
        request = OrderRequest(
            instrument_id=BTC,
            client_order_id=client_order_id(position_id, Purpose.ENTRY, 1),
            purpose=Purpose.ENTRY,
            side=self.side.entry_side,
            order_type=OrderType.MARKET,
            qty=Decimal(qty),
            reduce_only=False,
        )
        self.entered.append(position_id)
        self.book.register_entry(
            request,
            position_id=position_id,
            trace_id="t",
            side=self.side,
            plan=PLAN,
            leverage=2,
            signal_price=Decimal(100),
        )
        self.send(request, position_id, answered=answered)

    @precondition(lambda self: self.book.has_position(BTC))
    @rule(qty=st.integers(1, 6), purpose=st.sampled_from(EXITS), answered=ANSWERED)
    def reduce(self, qty: int, purpose: Purpose, *, answered: bool) -> None:
        """Send something that may only reduce, of more than is open as well."""
        position_id = self.book.positions[BTC].position_id
        whole = purpose is Purpose.STOP_FLOOR
        kind = OrderType.STOP_MARKET if "STOP" in purpose.name else OrderType.MARKET
        self.attempts += 1
        request = OrderRequest(
            instrument_id=BTC,
            client_order_id=client_order_id(position_id, purpose, self.attempts),
            purpose=purpose,
            side=self.side.exit_side,
            order_type=kind,
            qty=None if whole else Decimal(qty),
            reduce_only=True,
            close_position=whole,
            trigger_price=Decimal(90) if kind.is_conditional else None,
        )
        self.book.register(request, position_id, "t")
        self.send(request, position_id, answered=answered)

    @precondition(lambda self: self.fresh_orders())
    @rule(number=st.integers(0, 20))
    def lose_the_answer(self, number: int) -> None:
        """The request timed out: nobody knows what became of it."""
        order = self.some(self.fresh_orders(), number)
        self.take(self.book.on_unknown(order.request.client_order_id))

    # --- rules: the venue acts -------------------------------------------------------------------

    @precondition(lambda self: self.fresh_orders())
    @rule(number=st.integers(0, 20))
    def accept(self, number: int) -> None:
        """Take an order in."""
        order = self.some(self.fresh_orders(), number)
        order.status = S.ACCEPTED
        self.wire.append(self.report(order))

    @precondition(lambda self: self.fresh_orders())
    @rule(number=st.integers(0, 20), by_report=st.booleans())
    def refuse(self, number: int, *, by_report: bool) -> None:
        """Say no, in the answer or by the stream."""
        order = self.some(self.fresh_orders(), number)
        order.status = S.REJECTED
        if by_report:
            self.wire.append(self.report(order))
        else:
            key = order.request.client_order_id
            self.take(self.book.on_refused(key, code="-2019", message="no margin"))

    def left(self, order: VenueOrder) -> Decimal:
        """Return how much can fill: what reduces at most by what is open."""
        asked = order.request.qty
        left = self.qty if asked is None else asked - order.filled
        return min(left, self.qty) if order.request.reduce_only else left

    def fillable(self) -> list[VenueOrder]:
        """Return what can fill now."""
        return [order for order in self.open_orders() if self.left(order) > 0]

    @precondition(lambda self: self.fillable())
    @rule(number=st.integers(0, 20), px=st.integers(90, 110), shares=SHARES.filter(bool))
    def fill(self, number: int, px: int, shares: list[int]) -> None:
        """Fill an order in parts, now or over time."""
        order = self.some(self.fillable(), number)
        for share in shares:
            if order.is_open and self.left(order) > 0:
                self.execute(order, min(self.left(order), Decimal(share)), px)

    @precondition(lambda self: self.qty > 0)
    @rule(px=st.integers(80, 120), part=st.integers(1, 5))
    def stop_out(self, px: int, part: int) -> None:
        """Close some by the position's own stop, maybe before the book knows of a position."""
        self.make("", min(self.qty, Decimal(part)), px, closing=True)

    def waiting(self) -> list[VenueOrder]:
        """Return the conditional orders whose price was not reached yet."""
        return [
            order
            for order in self.open_orders()
            if order.status is S.ACCEPTED and order.request.order_type.is_conditional
        ]

    @precondition(lambda self: self.waiting())
    @rule(number=st.integers(0, 20))
    def trigger(self, number: int) -> None:
        """Have a conditional order reach its price."""
        order = self.some(self.waiting(), number)
        order.status = S.TRIGGERING
        self.wire.append(self.report(order))

    @precondition(lambda self: self.open_orders())
    @rule(number=st.integers(0, 20), end=st.sampled_from([S.CANCELED, S.EXPIRED, S.REJECTED]))
    def end(self, number: int, end: OrderStatus) -> None:
        """End an order with what it has."""
        order = self.some(self.open_orders(), number)
        order.status = end
        self.wire.append(self.report(order))

    @precondition(lambda self: self.book.has_position(BTC))
    @rule(amount=st.integers(-3, 3), again=st.booleans())
    def fund(self, amount: int, *, again: bool) -> None:
        """Book funding, which a replay brings once more."""
        key = f"p{len(self.funded)}"
        self.funded[key] = Decimal(amount)
        position_id = self.book.positions[BTC].position_id
        before = self.funding_of.get(position_id, Decimal(0))
        self.funding_of[position_id] = before + amount
        self.now += 1
        for _ in range(1 + again):
            self.bus.publish(
                FundingReported(
                    ts_event=self.now,
                    ts_recv=self.now,
                    venue=Venue.BINANCE,
                    instrument_id=BTC,
                    amount=Decimal(amount),
                    funding_id=key,
                )
            )
            if self.once.is_new(key):
                view = self.book.on_funding(BTC, Decimal(amount), self.now)
                assert view is not None

    # --- rules: the wire -------------------------------------------------------------------------

    def tell(self, message: Message) -> None:
        """Deliver one message."""
        self.now += 1
        self.told.append(message)
        if isinstance(message, Fill):
            self.delivered[message.fill_id] = message
            self.take(self.book.on_fill(message, self.now))
        else:
            self.take(self.book.on_report(message))

    @precondition(lambda self: self.wire)
    @rule(numbers=st.lists(st.integers(0, 50), min_size=1, max_size=5))
    def deliver(self, numbers: list[int]) -> None:
        """Deliver some of the messages under way, in any order."""
        for number in numbers[: len(self.wire)]:
            self.tell(self.wire.pop(number % len(self.wire)))

    @precondition(lambda self: self.told)
    @rule(number=st.integers(0, 50))
    def repeat(self, number: int) -> None:
        """Deliver something once more."""
        self.tell(self.told[number % len(self.told)])

    @precondition(lambda self: self.over())
    @rule(number=st.integers(0, 20), status=st.sampled_from(OrderStatus))
    def contradict(self, number: int, status: OrderStatus) -> None:
        """Tell anything at all about an order whose end is known: nothing comes of it."""
        order = self.some(self.over(), number)
        key = order.request.client_order_id
        known = self.book.orders[key].status
        late = attrs.evolve(self.report(order, status), filled_qty=Decimal(0))
        facts = self.book.on_report(late)
        facts += self.book.on_refused(key, code="-2013", message="not found")
        facts += self.book.on_unknown(key)
        assert [] == facts
        assert key not in self.book.orders or known is self.book.orders[key].status

    def working(self) -> list[str]:
        """Return the ids of orders that the book has seen to work."""
        return [key for key, order in self.book.orders.items() if order.status in WORKING]

    @precondition(lambda self: self.working())
    @rule(number=st.integers(0, 20))
    def lag(self, number: int) -> None:
        """A query does not find an order that was seen to work: it is not gone by that."""
        key = self.working()[number % len(self.working())]
        assert [] == self.book.on_refused(key, code="-2013", message="not found")

    @precondition(lambda self: self.wire)
    @rule()
    def settle(self) -> None:
        """Deliver everything: then the book is the venue's."""
        while self.wire:
            self.tell(self.wire.pop())
        assert {fill.fill_id for fill, _, _ in self.made} == set(self.booked)
        ours = self.book.positions.get(BTC)
        assert self.qty == (Decimal(0) if ours is None else ours.qty)
        for key, order in self.orders.items():
            kept = self.book.orders.get(key)
            if kept is not None and order.status is not S.SUBMITTED:
                assert (order.status, order.filled) == (kept.status, kept.filled_qty)
        entries = [o for o in self.orders.values() if o.request.purpose is Purpose.ENTRY]
        if all(order.status in ENDS for order in entries):
            assert self.entered == self.ended
            assert (self.qty > 0) == self.book.is_busy(BTC)

    # --- laws ------------------------------------------------------------------------------------

    @invariant()
    def orders_only_move_forward(self) -> None:
        """Each change is legal, an end final; what is filled grows and stays within the order."""
        for key, order in self.book.orders.items():
            if key in self.before:
                kept, status, filled = self.before[key]
                assert kept is order
                assert order.status is status or order.status in LEGAL[status]
                assert order.filled_qty >= filled
            assert order.request.qty is None or order.filled_qty <= order.request.qty
            counted = [f for f in self.delivered.values() if f.client_order_id == key]
            booked = [f.last_qty for f in counted if f.fill_id in self.booked]
            assert sum(booked, Decimal(0)) == order.filled_qty
        self.before = {k: (o, o.status, o.filled_qty) for k, o in self.book.orders.items()}

    @invariant()
    def positions_are_their_fills(self) -> None:
        """Every position is what plain arithmetic makes of its fills; none changes its side."""
        assert sorted(self.opened) == sorted(
            self.closed + [p.position_id for p in self.book.positions.values()]
        )
        assert len(set(self.ended)) == len(self.ended)
        position = self.book.positions.get(BTC)
        if position is not None:
            life = self.lives[position.position_id]
            assert self.side is position.side
            assert position.qty >= 0
            assert life.opened == Fraction(position.qty_opened)
            assert life.closed == Fraction(position.qty_closed)
            assert life.fills * FEE == position.fees
            assert near(position.realized_pnl, life.realized)
        held = [fill for key, fill in self.delivered.items() if key not in self.booked]
        for fill in held:
            # A close that overtook its opening waits, and nothing else does.
            assert fill.side is self.side.exit_side
            assert self.book.has_entry(BTC)
            assert fill.last_qty > (Decimal(0) if position is None else position.qty)

    @invariant()
    def equity_is_wallet_and_what_is_open(self) -> None:
        """Equity is the wallet and what the open quantity has made at the mark (R43)."""
        position = self.book.positions.get(BTC)
        self.known.on_mark(BTC, 101.5)
        equity = self.known.equity(Venue.BINANCE)
        assert equity is not None
        open_pnl = Fraction(0)
        if position is not None and position.qty_opened:
            life = self.lives[position.position_id]
            qty = (life.opened - life.closed) * life.sign
            open_pnl = (Fraction("101.5") - life.paid / life.opened) * qty
        assert near(equity, Fraction(WALLET) + open_pnl)

    def teardown(self) -> None:
        """End all orders at the venue, deliver everything, and let the checkers of sim judge."""
        for order in self.orders.values():
            if order.status not in ENDS:
                order.status = S.CANCELED if order.status is not S.SUBMITTED else S.REJECTED
                self.wire.append(self.report(order))
        self.settle()
        assert_lawful(
            self.evidence(),
            *(doubled_orders, flipped_signs, opened_by_exits, broken_books),
            *(unequal_ends, unequal_money, false_causes, code_faults),
        )

    def evidence(self) -> Evidence:
        """Return the history as sim sees one."""
        realized = sum((life.realized for life in self.lives.values()), Fraction(0))
        income = [
            IncomeSeen(venue=VENUE, kind="COMMISSION", amount=-FEE * len(self.made), ts_ns=1),
            IncomeSeen(
                venue=VENUE,
                kind="REALIZED_PNL",
                amount=Decimal(realized.numerator) / realized.denominator,
                ts_ns=1,
            ),
        ]
        income += [
            IncomeSeen(venue=VENUE, kind="FUNDING_FEE", amount=amount, ts_ns=1)
            for amount in self.funded.values()
        ]
        orders = [
            OrderSeen(
                venue=VENUE,
                order_id=number,
                client_id=key,
                symbol=BTC.symbol,
                side_sign=order.request.side.sign,
                qty=order.request.qty,
                reduces=order.request.reduce_only,
                conditional=order.request.order_type.is_conditional,
                bound=False,
                by_user=True,
                is_child=False,
                created_ns=1,
                status=order.status.value,
                ended_ns=self.now,
            )
            for number, (key, order) in enumerate(self.orders.items())
        ]
        evidence = evidence_of(
            self.events,
            end_ns=self.now,
            fills=self.seen_fills,
            orders=orders,
            positions={BTC.symbol: self.qty * self.side.sign},
        )
        return attrs.evolve(evidence, income=tuple(income))


TestOrderLife = OrderLife.TestCase
TestOrderLife.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def _count_repeats(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Book, "_seen", lambda _self, _fill: False)


def _let_the_ended_live(patch: pytest.MonkeyPatch) -> None:
    def advance(self: Order, status: OrderStatus) -> bool:
        changed = status is not self.status
        self.status = status
        return changed

    patch.setattr(Order, "advance", advance)


def _forget_late_fills(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Order, "is_settled", property(lambda self: self.status.is_terminal))


def _believe_a_query_that_lags(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OrderStatus, "is_working", property(lambda _self: False))


@pytest.mark.parametrize(
    "plant",
    [_count_repeats, _let_the_ended_live, _forget_late_fills, _believe_a_query_that_lags],
)
def test_a_broken_book_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine fails when fills count twice, ends are not final, or late fills are dropped."""
    plant(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        run_machine(OrderLife, examples=200, steps=40)
