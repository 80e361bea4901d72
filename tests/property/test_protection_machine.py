"""
Protection as a state machine: what exit wants and asks for, and a venue that accepts, refuses,
delays and forgets.

The bot's half is the real one: `Wishes` (plan, aim, ladder), `wished_stop` and `is_due` (what moves
a stop), `RestingOrders` (evidence), `plan_actions` (the way from one to the other). Requests leave
one of a kind at a time, as `Asker` sends them. The venue is naive and stands in exit_shapes.py; its
answers, messages and lists come late, twice, in any order or never. Cover is measured on the
venue's side, by arithmetic of this file.

The mark stays between the stops and the target: what happens beyond is the closer's, and time,
pace and deadlines are the watchdogs'. Of the checkers of sim only `doubled_orders` fits: there are
no fills of orders here that the others judge, no clock for `unprotected`, and the position does not
end, which `leftovers` needs.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.property.exit_shapes import (
    BOUND,
    BTC,
    ORDERS,
    STOP,
    TARGET,
    TICK,
    NaiveVenue,
    position_of,
    rules_of,
)
from tests.property.machine_evidence import VENUE, assert_lawful, evidence_of, run_machine

from aegis.core.clock import NS_PER_S, ManualClock
from aegis.core.errors import Refusal
from aegis.exit import decide, wishes
from aegis.exit.decide import (
    Action,
    Cancel,
    Desired,
    PlaceRung,
    PlaceStop,
    PlaceTarget,
    Resting,
    Rung,
    SetBoth,
    TakeRung,
    effective_stop,
    firing,
    kind_of,
)
from aegis.exit.guarded import Guarded
from aegis.exit.ladder import rungs_left
from aegis.exit.plan import plan_actions
from aegis.exit.resting import SNAPSHOT_GRACE_NS, RestingOrders
from aegis.exit.trail import better_mark, is_due, trail_rules, wished_stop
from aegis.exit.wishes import Wishes, measure_of
from aegis.model.account import OrderReport, PositionReport, ReportSource
from aegis.model.instrument import Venue
from aegis.model.money import Rounding, round_to_grid
from aegis.model.order import OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.position import PositionView, ProtectionPlan
from aegis.settings import AegisConfig
from aegis.sim.checkers import doubled_orders
from aegis.sim.witness import OrderSeen

CONFIG: Final = AegisConfig(
    break_even_r=0.5,
    trail_start_r=1.0,
    trail_distance_r=0.5,
    trail_step_r=0.1,
    trail_interval_s=1.0,
    ladder=("1:0.25", "2:0.25"),
    target_r=6.0,
)
TRAIL: Final = trail_rules(CONFIG)
RULES: Final = rules_of(taker_fee_rate=Decimal("0.0005"))
PLAN: Final = ProtectionPlan(stop_distance=Decimal(2), target_distance=Decimal(12))
WHOLE: Final = Decimal(4)
"""What the entry comes to; a rung takes a quarter."""
START: Final = Decimal(100)
QUIET_ROUNDS: Final = 12
WORKING: Final = frozenset({OrderStatus.ACCEPTED, OrderStatus.TRIGGERING})
Message = Callable[[], None]


@attrs.define
class Asked:
    """A request on its way to the venue."""

    action: Action
    kind: str


class Protection(RuleBasedStateMachine):
    """One position, its venue, the wire between, and exit's view of it."""

    plan_of: ClassVar[Callable[..., tuple[Action, ...]]] = staticmethod(plan_actions)

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(0)
        self.bound = False
        self.side = PositionSide.LONG
        # The venue.
        self.venue = NaiveVenue(self.side)
        self.qty = Decimal(0)
        self.opened = Decimal(0)
        self.paid = Decimal(0)
        self.mark = START
        self.best = START
        self.entry_over = False
        self.ts = 0
        self.rung_sold: dict[Decimal, Decimal] = {}
        self.was_covered = False
        self.venue_took = False
        self.placed: list[OrderSeen] = []
        self.going: set[str] = set()
        """Orders that the bot has asked to cancel."""
        self.is_blind = False
        """A list has lied since the bot last knew everything: it may ask for more than it needs."""
        self.lies = 0
        """Rungs the venue forgot, or lists that left them out: those are never placed again."""
        # The wire.
        self.asked: list[Asked] = []
        self.wire: list[Message] = []
        self.told: list[Message] = []
        self.views = 0
        self.asked_list: tuple[int, tuple[list[OrderReport], list[PositionReport]]] | None = None
        # The bot.
        self.resting = RestingOrders(self.clock)
        self.wishes = Wishes(CONFIG)
        self.guarded: Guarded | None = None
        self.seen_view = -1
        self.pending: dict[str, Action] = {}

    @initialize(
        side=st.sampled_from(PositionSide),
        bound=st.booleans(),
        attached=st.booleans(),
        settled=st.booleans(),
    )
    def begin(self, side: PositionSide, *, bound: bool, attached: bool, settled: bool) -> None:
        """
        A position opens, and maybe comes to rest.

        Where stops belong to positions it may have been born with one.
        """
        self.side, self.bound = side, bound
        self.venue = NaiveVenue(side)
        self.fill_entry(2, 0)
        if bound and attached:
            stop, target = START - 3 * side.sign, START + 12 * side.sign
            self.venue.do(SetBoth(stop_price=stop, target_price=target))
            self.tell_position()
        if settled:
            self.fill_entry(2, 0)
            self.complete_entry()
            self.quiet()

    # --- the venue's side ------------------------------------------------------------------------

    @property
    def entry_px(self) -> Decimal:
        """Return the average price of what was opened."""
        return self.paid / self.opened

    def stops(self) -> list[Resting]:
        """Return the stops that work at the venue."""
        return [r for r in self.venue.resting if r.role is STOP and r.status in WORKING]

    def covered(self) -> Decimal:
        """Return how much of the position stops would close, by the venue's own books."""
        stops = self.stops()
        if any(r.qty is None for r in stops):
            return self.qty
        return sum((r.qty for r in stops if r.qty is not None), Decimal(0))

    def tightest(self) -> Decimal | None:
        """Return the price of the stop that would fire first."""
        prices = [r.trigger_price for r in self.stops() if r.trigger_price is not None]
        return max(prices, key=lambda price: price * self.side.sign, default=None)

    def report(self, order: Resting, status: OrderStatus, filled: Decimal) -> OrderReport:
        """Return what the venue states of an order."""
        self.ts += 1
        is_stop = order.role is STOP
        return OrderReport(
            instrument_id=BTC,
            client_order_id="" if order.position_bound else order.key,
            venue_order_id=order.key,
            conditional=True,
            status=status,
            side=order.side,
            order_type=OrderType.STOP_MARKET if is_stop else OrderType.TAKE_PROFIT_MARKET,
            qty=order.qty,
            filled_qty=filled,
            reduce_only=True,
            close_position=order.qty is None,
            role=order.role,
            source=ReportSource.STREAM,
            ts_event=self.ts,
            trigger_price=order.trigger_price,
            position_bound=order.position_bound,
        )

    def own_levels(self) -> PositionReport:
        """Return the position with its own stop and target, as the venue states it."""
        self.ts += 1
        own = {r.role: r.trigger_price for r in self.venue.resting if r.position_bound}
        return PositionReport(
            instrument_id=BTC,
            qty_signed=self.qty * self.side.sign,
            entry_px_avg=self.entry_px,
            ts_event=self.ts,
            stop_price=own.get(STOP),
            target_price=own.get(TARGET),
        )

    def tell_position(self) -> None:
        """Put the position and its own levels on the wire."""
        report = self.own_levels()
        self.wire.append(lambda: self.resting.note_position(report))

    def tell(self, order: Resting, status: OrderStatus, filled: Decimal = Decimal(0)) -> None:
        """Put an order's state on the wire."""
        if self.bound and order.position_bound:
            self.tell_position()
            return
        report = self.report(order, status, filled)
        self.wire.append(lambda: self.hear(report))

    def tell_view(self) -> None:
        """Put what trade will make of the fills on the wire; trade never goes back."""
        self.views += 1
        number, done = self.views, self.entry_over
        view = attrs.evolve(
            position_of(self.side, self.entry_px, self.qty, opened=self.opened, first_px=START),
            plan=PLAN,
        )
        self.wire.append(lambda: self.see(number, view, done=done))

    def take_away(self, order: Resting) -> None:
        """Have the venue end an order by itself."""
        self.venue.resting.remove(order)
        self.venue_took |= order.role is STOP

    # --- the bot's side --------------------------------------------------------------------------

    def hear(self, report: OrderReport) -> None:
        """Take evidence; a rung that is told to have ended unfilled may come again."""
        ended = self.resting.has_ended(report)
        self.resting.note(report)
        is_rung = f"-{Purpose.RUNG.value}" in report.client_order_id
        unfilled = report.status.is_terminal and report.filled_qty == 0
        if self.guarded is not None and is_rung and unfilled and not ended:
            assert report.trigger_price is not None
            self.guarded.rungs_spent.pop(report.trigger_price, None)

    def see(self, number: int, view: PositionView, *, done: bool) -> None:
        """Take the position as trade has booked it."""
        if number <= self.seen_view:
            return
        self.seen_view = number
        if self.guarded is None:
            self.guarded = Guarded(
                position=view,
                instrument=RULES,
                plan=PLAN,
                entry_done=done,
                opened_mono_ns=0,
                naked_since_ns=None,
            )
        self.guarded.position, self.guarded.entry_done = view, done

    def believed(self) -> tuple[Resting, ...]:
        """Return what the bot believes to rest."""
        return tuple(r for r in self.resting.of(BTC) if r.side is self.side.exit_side)

    def move(self, guarded: Guarded, mark: Decimal) -> None:
        """Move the aim as the mover does."""
        guarded.mark_px = mark
        measure, resting = measure_of(guarded), self.believed()
        if not guarded.entry_done or measure is None or firing(guarded.position, resting):
            return
        guarded.best_px = better_mark(self.side, guarded.best_px, mark)
        stop = effective_stop(guarded.position, resting)
        wish = wished_stop(TRAIL, measure, guarded.best_px, RULES)
        if stop is None or stop.trigger_price is None or wish is None:
            return
        aim_px, present = guarded.aim.stop_price, stop.trigger_price
        if aim_px is not None and (aim_px - present) * self.side.sign > 0:
            present = aim_px
        now = self.clock.mono_ns()
        moved = guarded.moved_ns
        if is_due(TRAIL, measure, wish, present=present, tick=TICK, moved_ns=moved, now_ns=now):
            guarded.aim = guarded.aim.tightened(self.side, wish.price, wish.cause, wish.basis)
            guarded.moved_ns = now

    def wanted(self, guarded: Guarded) -> tuple[Desired, tuple[Action, ...]]:
        """Return what the position should have, and what must be asked for."""
        resting = self.believed()
        desired = self.wishes.desired(guarded, resting)
        assert desired is not None
        guarded.desired = desired
        actions = type(self).plan_of(
            guarded.position,
            desired,
            resting,
            capabilities=BOUND if self.bound else ORDERS,
            instrument=RULES,
            entry_done=guarded.entry_done,
            due=self.wishes.due(guarded),
        )
        return desired, actions

    @precondition(lambda self: self.guarded is not None)
    @rule()
    def look(self) -> None:
        """Something happened, or a timer: the position is looked at."""
        self.compare()

    def compare(self) -> tuple[Action, ...]:
        """Ask for what is missing, one request of a kind at a time; return all that is."""
        guarded = self.guarded
        assert guarded is not None
        desired, actions = self.wanted(guarded)
        assert len(actions) == len({kind_of(action) for action in actions})
        for action in actions:
            if kind_of(action) not in self.pending:
                self.check(guarded, desired, action)
                self.pending[kind_of(action)] = action
                self.asked.append(Asked(action, kind_of(action)))
                if isinstance(action, TakeRung):
                    guarded.rungs_spent[action.price] = None
                elif isinstance(action, Cancel):
                    self.going.add(action.key)
        return actions

    def check(self, guarded: Guarded, desired: Desired, action: Action) -> None:
        """Judge one request by what the bot believes when it leaves."""
        sign, position = self.side.sign, guarded.position
        believed = [r for r in self.believed() if r.status in WORKING]
        stops = [r for r in believed if r.role is STOP]
        match action:
            case PlaceStop(price=price, qty=None):
                assert not [r for r in stops if r.qty is None], "a second floor"
                self.check_levels(guarded, price, desired.target_price)
            case PlaceStop(price=price, qty=qty):
                twins = [r for r in stops if (r.trigger_price, r.qty) == (price, qty)]
                assert [] == twins, "a stop that rests is asked for again"
                self.check_levels(guarded, price, desired.target_price)
            case SetBoth(stop_price=stop, target_price=target):
                self.check_levels(guarded, stop, target)
            case PlaceTarget(price=price):
                self.check_levels(guarded, desired.stop_price, price)
            case PlaceRung(price=price, qty=qty) | TakeRung(price=price, qty=qty):
                assert qty <= position.qty
                entry_px = position.entry_px_avg
                assert entry_px is not None
                assert (price - entry_px) * sign > 0
            case Cancel(key=key):
                old = next(r for r in believed if r.key == key)
                rest = [r for r in stops if r.key != key]
                if old.role is STOP and old.trigger_price is not None:
                    level = old.trigger_price * sign
                    better = [r for r in rest if (r.trigger_price or 0) * sign >= level - TICK]
                    assert [r for r in better if r.qty is None or r.qty >= position.qty]

    def check_levels(self, guarded: Guarded, stop: Decimal, target: Decimal) -> None:
        """A stop is never looser than its plan, the target beyond the entry, both on the grid."""
        sign, position = self.side.sign, guarded.position
        basis = position.entry_px_avg if guarded.entry_done else position.first_fill_px
        assert basis is not None
        assert (basis - stop) * sign <= PLAN.stop_distance
        assert 0 < (target - basis) * sign <= PLAN.target_distance
        assert (target - stop) * sign > 0
        assert Decimal(0) == stop % TICK == target % TICK

    # --- rules: requests and answers -------------------------------------------------------------

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 20), refuse=st.sampled_from([False, False, False, True]))
    def execute(self, number: int, *, refuse: bool) -> None:
        """Have a request arrive: it is done, refused by the rules, or just refused."""
        asked = self.asked.pop(number % len(self.asked))
        refusal = Refusal.OTHER.value if refuse else self.refusal(asked.action)
        if not refusal:
            self.do(asked.action)
        self.wire.append(lambda: self.answer(asked, refusal))

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 20))
    def lose_request(self, number: int) -> None:
        """A request never arrives; asking for its id tells so in the end."""
        asked = self.asked.pop(number % len(self.asked))
        self.wire.append(lambda: self.answer(asked, Refusal.NOT_FOUND.value))

    def refusal(self, action: Action) -> str:
        """Return why the venue must say no, "" for nothing."""
        if isinstance(action, PlaceRung) and (self.mark - action.price) * self.side.sign >= 0:
            return Refusal.WOULD_TRIGGER.value
        if isinstance(action, PlaceStop | SetBoth):
            price = action.price if isinstance(action, PlaceStop) else action.stop_price
            assert (self.mark - price) * self.side.sign > 0, "the mark is kept off the stops"
        code = self.venue.refusal(action)
        return {"": "", "-4130": Refusal.EXISTS.value, "-2011": Refusal.NOT_FOUND.value}[code]

    def do(self, action: Action) -> None:
        """Carry *action* out at the venue and tell what came of it."""
        if isinstance(action, TakeRung):
            self.sell(action.price, min(action.qty, self.qty))
            return
        gone = [r for r in self.venue.resting if isinstance(action, Cancel) and r.key == action.key]
        for order in self.venue.do(action):
            self.tell(order, OrderStatus.ACCEPTED)
            if not order.position_bound:
                self.placed.append(self.seen(order))
        for order in gone:
            self.tell(order, OrderStatus.CANCELED)

    def answer(self, asked: Asked, refusal: str) -> None:
        """Hear the end of a request, as the asker does."""
        if self.pending.pop(asked.kind, None) is None:
            return
        guarded, action = self.guarded, asked.action
        assert guarded is not None
        is_floor = isinstance(action, PlaceStop) and action.qty is None
        if refusal == Refusal.EXISTS.value and is_floor:
            self.resting.believe(BTC, self.side.exit_side)
        if refusal == Refusal.WOULD_TRIGGER.value and isinstance(action, PlaceRung):
            guarded.rungs_due[action.price] = None
        if refusal and isinstance(action, TakeRung):
            guarded.rungs_spent.pop(action.price, None)

    # --- rules: what happens to the position -----------------------------------------------------

    @precondition(lambda self: not self.entry_over and self.opened < WHOLE)
    @rule(part=st.integers(1, 3), off=st.integers(-5, 5))
    def fill_entry(self, part: int, off: int) -> None:
        """Fill some more of the entry, near where it began."""
        qty = min(Decimal(part), WHOLE - self.opened)
        price = START + TICK * off if self.opened else START
        self.qty += qty
        self.opened += qty
        self.paid += qty * price
        if self.covered() < self.qty:
            # It grew beyond what a stop of the old quantity covers.
            self.was_covered = False
        self.tell_view()

    @precondition(lambda self: not self.entry_over)
    @rule()
    def complete_entry(self) -> None:
        """The entry ends with what it has."""
        self.entry_over = True
        self.tell_view()

    @precondition(lambda self: self.entry_over and self.guarded is not None)
    @rule(ticks=st.integers(-15, 30))
    def move_mark(self, ticks: int) -> None:
        """Move the market, off the stops and the target; rungs on the way fire."""
        guarded = self.guarded
        assert guarded is not None
        mark, sign = self.mark + ticks * TICK * self.side.sign, self.side.sign
        desired = self.wanted(guarded)[0]
        stops = [r.trigger_price for r in self.stops()] + [desired.stop_price]
        # What is on its way to the venue may rest there when it arrives.
        stops += [a.price for a in self.pending.values() if isinstance(a, PlaceStop)]
        measure = measure_of(guarded)
        assert measure is not None
        wish = wished_stop(TRAIL, measure, better_mark(self.side, guarded.best_px, mark), RULES)
        stops += [] if wish is None else [wish.price]
        if any((mark - price) * sign <= 0 for price in stops if price is not None):
            return
        if (START + 11 * sign - mark) * sign <= 0:
            return
        self.mark = mark
        self.best = better_mark(self.side, self.best, mark)
        for order in [r for r in self.venue.resting if r.purpose is Purpose.RUNG]:
            assert order.trigger_price is not None
            assert order.qty is not None
            if (mark - order.trigger_price) * sign >= 0:
                self.venue.resting.remove(order)
                qty = min(order.qty, self.qty)
                self.sell(order.trigger_price, qty)
                self.tell(order, OrderStatus.FILLED, qty)
        self.move(guarded, mark)

    def sell(self, price: Decimal, qty: Decimal) -> None:
        """Take a part of the position for the rung at *price*."""
        self.qty -= qty
        self.rung_sold[price] = self.rung_sold.get(price, Decimal(0)) + qty
        self.tell_view()

    # --- rules: what the venue does by itself ----------------------------------------------------

    @precondition(lambda self: self.venue.resting)
    @rule(number=st.integers(0, 20), silent=st.booleans())
    def forget(self, number: int, *, silent: bool) -> None:
        """End an order by the venue's own hand, with a word or without."""
        order = self.venue.resting[number % len(self.venue.resting)]
        self.take_away(order)
        if not silent:
            self.tell(order, OrderStatus.EXPIRED)
        elif order.purpose is Purpose.RUNG:
            self.lies += 1

    @precondition(lambda self: self.stops())
    @rule(number=st.integers(0, 20))
    def trigger(self, number: int) -> None:
        """A stop's trigger is hit, and matching takes its time."""
        order = self.stops()[number % len(self.stops())]
        if order.position_bound or order.status is not OrderStatus.ACCEPTED:
            return
        at = self.venue.resting.index(order)
        self.venue.resting[at] = attrs.evolve(order, status=OrderStatus.TRIGGERING)
        self.tell(order, OrderStatus.TRIGGERING)

    # --- rules: the wire -------------------------------------------------------------------------

    @precondition(lambda self: self.wire)
    @rule(numbers=st.lists(st.integers(0, 50), min_size=1, max_size=4))
    def deliver(self, numbers: list[int]) -> None:
        """Deliver some of what is under way, in any order."""
        for number in numbers[: len(self.wire)]:
            message = self.wire.pop(number % len(self.wire))
            self.told.append(message)
            message()

    @precondition(lambda self: self.told)
    @rule(number=st.integers(0, 50))
    def repeat(self, number: int) -> None:
        """Deliver something once more."""
        self.told[number % len(self.told)]()

    @rule(seconds=st.integers(1, 8), lying=st.booleans())
    def list_orders(self, seconds: int, *, lying: bool) -> None:
        """Time passes, and the venue lists what rests, or lists nothing although something does."""
        self.clock.advance_ns(seconds * NS_PER_S)
        self.take_list(() if lying else self.venue.resting, has_levels=not lying)
        self.is_blind |= lying
        self.lies += lying and any(r.purpose is Purpose.RUNG for r in self.venue.resting)

    @precondition(lambda self: self.asked_list is None)
    @rule()
    def begin_list(self) -> None:
        """The venue makes a list, which takes its time to arrive."""
        self.asked_list = (self.clock.mono_ns(), self.listed(self.venue.resting, has_levels=True))

    @precondition(lambda self: self.asked_list is not None)
    @rule()
    def end_list(self) -> None:
        """A list arrives and tells what was; one that took too long has timed out."""
        assert self.asked_list is not None
        (began_ns, (orders, levels)), self.asked_list = self.asked_list, None
        if self.clock.mono_ns() - began_ns < SNAPSHOT_GRACE_NS:
            self.resting.replace(Venue.BINANCE, orders, levels)

    def listed(
        self, resting: Sequence[Resting], *, has_levels: bool
    ) -> tuple[list[OrderReport], list[PositionReport]]:
        """Return the venue's list of *resting* as it is now."""
        orders = [
            self.report(order, order.status, Decimal(0))
            for order in resting
            if not (self.bound and order.position_bound)
        ]
        return orders, [self.own_levels()] if self.bound and has_levels else []

    def take_list(self, resting: Sequence[Resting], *, has_levels: bool) -> None:
        """Take a complete list."""
        self.resting.replace(Venue.BINANCE, *self.listed(resting, has_levels=has_levels))

    @rule()
    def quiet(self) -> None:
        """The venue behaves: what is wanted comes to rest, and a second look asks for nothing."""
        for order in [r for r in self.venue.resting if r.status is OrderStatus.TRIGGERING]:
            self.take_away(order)
            self.tell(order, OrderStatus.EXPIRED)
        actions: tuple[Action, ...] = ()
        for _ in range(QUIET_ROUNDS):
            while self.wire:
                self.deliver([0])
            self.clock.advance_ns(10 * NS_PER_S)
            self.take_list(self.venue.resting, has_levels=True)
            actions = self.compare()
            while self.asked:
                self.execute(0, refuse=False)
            if not actions and not self.wire:
                break
        assert () == actions
        self.is_blind = False
        self.check_rest()

    def check_rest(self) -> None:
        """One effective stop where it is wanted, one floor at most beneath, one target, no more."""
        guarded = self.guarded
        assert guarded is not None
        desired, _ = self.wanted(guarded)
        stops, tightest = self.stops(), self.tightest()
        assert tightest is not None
        assert self.qty == guarded.position.qty
        assert self.covered() >= self.qty
        assert 1 == len([r for r in stops if r.qty is None])
        assert len(stops) <= (1 if self.bound else 2)
        if guarded.entry_done:
            behind = (desired.stop_price - tightest) * self.side.sign
            assert behind <= (0 if self.bound else TICK)
        targets = [r for r in self.venue.resting if r.role is TARGET]
        rungs = [r for r in targets if r.purpose is Purpose.RUNG]
        assert 1 == len(targets) - len(rungs)
        wanted = {(rung.price, rung.qty) for rung in desired.rungs}
        at_rest = [(r.trigger_price, r.qty) for r in rungs]
        assert len(set(at_rest)) == len(at_rest)
        assert set(at_rest) <= wanted
        assert self.lies or wanted == set(at_rest)

    # --- laws ------------------------------------------------------------------------------------

    @invariant()
    def cover_stays(self) -> None:
        """What was covered once stays covered, unless the venue took a stop away."""
        known = {r.key for r in self.believed() if r.role is STOP}
        there = {"position stop" if r.position_bound else r.key for r in self.stops()}
        covered = self.qty > 0 and self.covered() >= self.qty
        if covered and self.venue_took:
            cancels = any(isinstance(action, Cancel) for action in self.pending.values())
            # Until the bot knows, what it does still rests on what the venue took.
            self.venue_took = cancels or not known <= there
        assert covered or not self.was_covered or self.venue_took, "a stop was given up"
        self.was_covered = covered or self.was_covered

    @invariant()
    def rungs_take_their_part(self) -> None:
        """Each rung takes at most its fraction of what was opened, whatever is told how often."""
        sold = sum(self.rung_sold.values(), Decimal(0))
        assert sold <= self.opened / 2
        for qty in self.rung_sold.values():
            assert qty <= self.opened / 4

    @invariant()
    def stops_are_few(self) -> None:
        """Beside the floor: one stop and its successor, and what was asked to go (R48)."""
        moving = [r.key for r in self.stops() if r.qty is not None and r.key not in self.going]
        assert self.is_blind or len(moving) <= 2

    def seen(self, order: Resting) -> OrderSeen:
        """Return a new order as a witness at the venue writes it down."""
        return OrderSeen(
            venue=VENUE,
            order_id=len(self.placed),
            client_id=order.key,
            symbol=BTC.symbol,
            side_sign=order.side.sign,
            qty=order.qty,
            reduces=True,
            conditional=True,
            bound=False,
            by_user=True,
            is_child=False,
            created_ns=self.ts,
            status=order.status.value,
        )

    def teardown(self) -> None:
        """In the end the venue always behaves; then everything is in place."""
        if self.qty > 0:
            self.complete_entry()
            self.quiet()
            assert_lawful(evidence_of((), end_ns=self.ts, orders=self.placed), doubled_orders)


TestProtection = Protection.TestCase
TestProtection.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


class _CancelsFirst(Protection):
    """Replaces a stop by canceling it first."""

    @staticmethod
    def _plan(position: PositionView, desired: Desired, resting: Any, **more: Any) -> Any:
        actions = plan_actions(position, desired, resting, **more)
        moving = [r for r in resting if r.role is STOP and r.purpose is not None]
        moves = any(isinstance(a, PlaceStop) and a.qty is not None for a in actions)
        if moves and moving:
            return tuple(Cancel(key=r.key) for r in moving)
        return actions

    plan_of = _plan


class _TrustsOneFloor(Protection):
    """Asks for a floor only as long as nothing rests at all."""

    @staticmethod
    def _plan(position: PositionView, desired: Desired, resting: Any, **more: Any) -> Any:
        actions = plan_actions(position, desired, resting, **more)
        floors = [a for a in actions if isinstance(a, PlaceStop) and a.qty is None]
        return tuple(a for a in actions if not (resting and a in floors))

    plan_of = _plan


class _KeepsTheOld(Protection):
    """Never cancels a stop that a better one has replaced."""

    @staticmethod
    def _plan(position: PositionView, desired: Desired, resting: Any, **more: Any) -> Any:
        actions = plan_actions(position, desired, resting, **more)
        return tuple(a for a in actions if not isinstance(a, Cancel))

    plan_of = _plan


class _LooksAtNothing(Protection):
    """Asks again for what rests already."""

    @staticmethod
    def _plan(position: PositionView, desired: Desired, resting: Any, **more: Any) -> Any:
        return plan_actions(position, desired, (), **more)

    plan_of = _plan


@pytest.mark.parametrize("machine", [_CancelsFirst, _TrustsOneFloor, _KeepsTheOld, _LooksAtNothing])
def test_a_wrong_way_is_caught(machine: type[Protection]) -> None:
    """The machine fails when cover is canceled first, not restored, or asked for twice (R48)."""
    with pytest.raises(AssertionError):
        run_machine(machine, examples=200, steps=40)


def test_levels_on_the_wrong_side_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine fails when levels round away from the entry, which adds risk (R47)."""

    def away(basis: Decimal, price: Decimal, tick: Decimal) -> Decimal:
        return round_to_grid(price, tick, Rounding.DOWN) - tick

    monkeypatch.setattr(decide, "beside", away)
    with pytest.raises(AssertionError):
        run_machine(Protection, examples=50, steps=20)


def test_rungs_that_come_again_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine fails when a rung that fired is wanted again (R53)."""
    wanted = Wishes.desired

    def forgetful(self: Wishes, guarded: Guarded, resting: Sequence[Resting]) -> Desired | None:
        guarded.rungs_spent.clear()
        return wanted(self, guarded, resting)

    def of_the_whole(steps: Any, position: PositionView, *more: Any) -> tuple[Rung, ...]:
        return rungs_left(steps, attrs.evolve(position, qty=position.qty_opened), *more)

    monkeypatch.setattr(Wishes, "desired", forgetful)
    monkeypatch.setattr(wishes, "rungs_left", of_the_whole)
    with pytest.raises(AssertionError):
        run_machine(Protection, examples=200, steps=40)
