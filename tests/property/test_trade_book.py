"""
The book as a state machine: a venue fills orders; its reports reach the book late, repeated and in
any order. Statuses only move forward, every entry ends once, and the quantities come out the same.
"""

import random
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aegis.model.account import OrderReport, PositionReport, ProtectionRole, ReportSource
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderRequest, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.order_id import PositionIds, client_order_id
from aegis.model.position import ProtectionPlan
from aegis.trade.book import Book
from aegis.trade.facts import Advanced, Booked, Closed, EntryDied, EntryDone, Fact, Mismatch, Opened
from aegis.trade.reconcile import VOTES_APART_NS

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
PLAN = ProtectionPlan(stop_distance=Decimal(1), target_distance=Decimal(1))
Message = Fill | OrderReport


class BookAndVenue(RuleBasedStateMachine):
    """A venue that knows the truth, a wire that scrambles it, and the book."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = PositionIds("test", 1)
        self.book = Book(new_position_id=self.ids.next)
        self.now = 0
        self.fills = 0
        self.wire: list[Message] = []
        self.told: list[Message] = []
        self.request: OrderRequest | None = None
        self.side = PositionSide.LONG
        self.venue_order_open = False
        self.venue_filled = Decimal(0)
        self.venue_qty = Decimal(0)
        self.ranks: dict[str, int] = {}
        self.ended: list[str] = []
        self.started: list[str] = []
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.booked: set[str] = set()

    @initialize(side=st.sampled_from(PositionSide))
    def choose_side(self, side: PositionSide) -> None:
        """Long and short are alike."""
        self.side = side

    def take(self, facts: list[Fact]) -> None:
        """Check each fact against all that came before."""
        for fact in facts:
            match fact:
                case Opened(position=view):
                    assert view.position_id not in self.opened
                    self.opened.append(view.position_id)
                case Booked(fill=fill):
                    assert fill.fill_id not in self.booked, "a fill was booked twice"
                    self.booked.add(fill.fill_id)
                case EntryDone(position=view):
                    self.ended.append(view.position_id)
                case EntryDied(position_id=position_id):
                    assert position_id not in self.opened
                    self.ended.append(position_id)
                case Closed(position=view):
                    assert view.qty == 0
                    self.closed.append(view.position_id)
                case Advanced(order=order):
                    key = order.request.client_order_id
                    assert order.status.rank >= self.ranks.get(key, 0)
                    self.ranks[key] = order.status.rank
                case Mismatch():
                    raise AssertionError(f"nothing foreign happened: {fact}")

    def tell(self, message: Message) -> None:
        """Deliver one message to the book."""
        self.now += 1
        if isinstance(message, Fill):
            self.take(self.book.on_fill(message, self.now))
        else:
            self.take(self.book.on_report(message))
        self.told.append(message)

    def execute(self, qty: Decimal, px: int, *, closing: bool, client_id: str) -> None:
        """Have the venue fill something and put the news on the wire."""
        self.fills += 1
        fill = Fill(
            instrument_id=BTC,
            fill_id=f"f{self.fills}",
            client_order_id=client_id,
            venue_order_id="1",
            side=self.side.exit_side if closing else self.side.entry_side,
            last_qty=qty,
            last_px=Decimal(px),
            fee=Decimal("0.01"),
            liquidity=Liquidity.TAKER,
            origin=FillOrigin.STOP if closing else FillOrigin.ORDER,
            ts_event=self.now,
        )
        self.wire.append(fill)
        self.venue_qty += -qty if closing else qty

    def report(self, status: OrderStatus) -> None:
        """Put the state of the entry order on the wire."""
        assert self.request is not None
        self.wire.append(
            OrderReport(
                instrument_id=BTC,
                client_order_id=self.request.client_order_id,
                venue_order_id="1",
                conditional=False,
                status=status,
                side=self.request.side,
                order_type=OrderType.MARKET,
                qty=self.request.qty,
                filled_qty=self.venue_filled,
                reduce_only=False,
                close_position=False,
                role=ProtectionRole.NONE,
                source=ReportSource.STREAM,
                ts_event=self.now,
            )
        )

    @precondition(lambda self: not self.book.is_busy(BTC) and not self.wire)
    @rule(qty=st.integers(1, 5), refused=st.booleans(), unknown=st.booleans())
    def enter(self, qty: int, *, refused: bool, unknown: bool) -> None:
        """Send an entry; the venue takes or refuses it, the answer may be lost."""
        position_id = self.ids.next()
        self.request = OrderRequest(
            instrument_id=BTC,
            client_order_id=client_order_id(position_id, Purpose.ENTRY, 1),
            purpose=Purpose.ENTRY,
            side=self.side.entry_side,
            order_type=OrderType.MARKET,
            qty=Decimal(qty),
            reduce_only=False,
        )
        self.started.append(position_id)
        self.book.register_entry(
            self.request,
            position_id=position_id,
            trace_id="t",
            side=self.side,
            plan=PLAN,
            leverage=2,
            signal_price=Decimal(100),
        )
        self.book.on_submitted(self.request.client_order_id)
        self.venue_filled = Decimal(0)
        self.venue_order_open = not refused
        if unknown:
            self.take(self.book.on_unknown(self.request.client_order_id))
        if refused:
            key = self.request.client_order_id
            self.take(self.book.on_refused(key, code="1", message="no"))
        else:
            self.report(OrderStatus.ACCEPTED)

    @precondition(lambda self: self.venue_order_open)
    @rule(px=st.integers(90, 110), share=st.integers(1, 3))
    def fill_some(self, px: int, share: int) -> None:
        """Fill a part, or the rest, of the entry."""
        assert self.request is not None
        assert self.request.qty is not None
        left = self.request.qty - self.venue_filled
        qty = min(left, Decimal(share))
        self.execute(qty, px, closing=False, client_id=self.request.client_order_id)
        self.venue_filled += qty
        self.venue_order_open = self.venue_filled < self.request.qty
        done = OrderStatus.PARTIALLY_FILLED if self.venue_order_open else OrderStatus.FILLED
        self.report(done)

    @precondition(lambda self: self.venue_order_open)
    @rule()
    def expire(self) -> None:
        """End the entry with what it has."""
        self.venue_order_open = False
        self.report(OrderStatus.EXPIRED)

    @precondition(lambda self: self.venue_qty > 0)
    @rule(px=st.integers(80, 120), part=st.integers(1, 5))
    def stop_out(self, px: int, part: int) -> None:
        """Close some of the position by its stop, before the book may even know of it."""
        self.execute(min(self.venue_qty, Decimal(part)), px, closing=True, client_id="")

    @precondition(lambda self: bool(self.wire))
    @rule(dice=st.randoms(use_true_random=False))
    def deliver_one(self, dice: random.Random) -> None:
        """Deliver any message under way, old or new."""
        self.tell(self.wire.pop(dice.randrange(len(self.wire))))

    @precondition(lambda self: bool(self.told))
    @rule(dice=st.randoms(use_true_random=False))
    def repeat_one(self, dice: random.Random) -> None:
        """Deliver something once more."""
        self.tell(dice.choice(self.told))

    @precondition(lambda self: bool(self.wire))
    @rule()
    def settle(self) -> None:
        """Deliver everything; then the book agrees with the venue, snapshots included."""
        while self.wire:
            self.tell(self.wire.pop())
        position = self.book.positions.get(BTC)
        ours = position.qty_signed if position is not None else Decimal(0)
        assert ours == self.venue_qty * self.side.sign
        if not self.venue_order_open:
            assert self.started == self.ended
            assert self.book.is_busy(BTC) == (self.venue_qty > 0)
            self.snapshot()

    def snapshot(self) -> None:
        """Reconcile with the truth, twice: nothing to say."""
        report = PositionReport(
            instrument_id=BTC,
            qty_signed=self.venue_qty * self.side.sign,
            entry_px_avg=Decimal(100) if self.venue_qty else None,
            ts_event=self.now,
        )
        for _ in range(2):
            self.now += VOTES_APART_NS
            assert [] == self.book.reconcile(Venue.BINANCE, {BTC: report}, self.now)

    @invariant()
    def conserved(self) -> None:
        """Opened = closed + active; the sign never flips; each entry ended at most once."""
        active = [position.position_id for position in self.book.positions.values()]
        assert sorted(self.opened) == sorted(self.closed + active)
        assert len(set(self.ended)) == len(self.ended)
        assert set(self.ended) <= set(self.started)
        for position in self.book.positions.values():
            assert position.qty >= 0
            assert position.side is self.side


BookAndVenue.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBookAndVenue = BookAndVenue.TestCase
