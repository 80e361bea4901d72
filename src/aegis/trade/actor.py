"""
Trade's shell on the bus: signals become sized intents, approved intents go to the executor, and
what the venues report goes into the book, whose facts become events.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.errors import Refusal
from aegis.core.ids import IdSource
from aegis.core.latch import HaltView
from aegis.core.supervise import Supervisor
from aegis.model.account import OrderReport, VenueSnapshot
from aegis.model.booked import BookedSince
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    BalanceReported,
    EntriesHalted,
    EntriesResumed,
    FillReported,
    FundingReported,
    IntentApproved,
    IntentDenied,
    MarketTick,
    OrderReported,
    PositionReported,
    ProtectionChanged,
    ProtectionConfirmed,
    RequestsPaused,
    RequestsResumed,
    SignalRaised,
    SnapshotReported,
    SnapshotWanted,
    VenueConnected,
)
from aegis.model.instrument import Venue
from aegis.model.intent import (
    CancelProtection,
    ClosePosition,
    EnterPosition,
    SetPositionProtection,
    TradeIntent,
)
from aegis.model.order import OrderRequest, Purpose
from aegis.model.order_id import PositionIds, client_order_id
from aegis.model.ports import VenueGateway
from aegis.model.restored import OpenBook
from aegis.settings import AegisConfig
from aegis.trade.book import Book
from aegis.trade.catching_up import CatchingUp
from aegis.trade.differences import Differences
from aegis.trade.executor import VenueExecutor
from aegis.trade.facts import (
    Advanced,
    Booked,
    Closed,
    EntryDied,
    EntryDone,
    Fact,
    Mismatch,
    Opened,
)
from aegis.trade.known import Known
from aegis.trade.resume import Resumption
from aegis.trade.signals import SignalDesk
from aegis.trade.voice import TradeVoice

STEADY_LOOK: Final = "steady look"
"""Why the snapshots at a steady pace are taken; people are not told of each."""
IDLE_LOOK_EVERY: Final = 5
"""Of the steady looks where nothing of ours is open one in so many is taken (R88)."""


class TradeActor:
    """Size, execute, and keep the book."""

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        config: AegisConfig,
        *,
        gateways: Mapping[Venue, VenueGateway],
        halt: HaltView,
        supervisor: Supervisor,
        positions: PositionIds,
        intents: IdSource,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self.book: Final = Book(new_position_id=positions.next)
        self._known = Known(self.book)
        self._voice = TradeVoice(bus)
        self._signals = SignalDesk(
            config,
            book=self.book,
            known=self._known,
            voice=self._voice,
            positions=positions,
            intents=intents,
        )
        self._open_intents: dict[str, TradeIntent] = {}
        self._entry_intents: dict[str, str] = {}
        self._differences = Differences(self.book, self.ask_snapshot)
        self._reconcile_s = config.reconcile_interval_s
        self._idle_looks: dict[Venue, int] = {}
        self._catching_up = CatchingUp(bus, clock, self.book, gateways, supervisor)
        late_s = config.recv_window_ms / 1000
        self._resumption = Resumption(
            bus, clock, self.book, self, supervisor, late_s, tell=self._catching_up.tell
        )
        self.executors: Final = {
            venue: VenueExecutor(
                gateway,
                self,
                halt=halt,
                clock=clock,
                supervisor=supervisor,
                late_arrival_s=late_s,
            )
            for venue, gateway in gateways.items()
        }
        self._subscribe()

    def start(self) -> None:
        """Start the executors' workers, and to look at each venue as a whole now and then."""
        for venue, executor in self.executors.items():
            executor.start()
            self._later(self._reconcile_s, partial(self._look_again, venue))

    def leave(self, left: OpenBook, installation: str) -> None:
        """Take what earlier runs left open; each venue's part goes on when it is reached."""
        self._resumption.leave(left, installation)
        for key in left.funding_ids:
            self._catching_up.know_funding(key)

    def heard_ns(self, venue: Venue) -> int | None:
        """Return until when earlier runs heard of *venue*; None when nothing is to be resumed."""
        return self._resumption.heard_ns(venue)

    def resume(self, gateway: VenueGateway, booked: BookedSince) -> None:
        """Go on with what was left there, by what the venue *booked* since, once (R49, R88)."""
        self._publish(self._resumption.resume(gateway, booked))

    def take_booked(self, booked: BookedSince) -> None:
        """Book what happened at a venue before its stream was open."""
        self._catching_up.tell(booked)

    def _look_again(self, venue: Venue) -> None:
        # A message may be lost on a stream that stays open: only asking finds that (R88).
        self._later(self._reconcile_s, partial(self._look_again, venue))
        self._catching_up.look(venue)
        looks = self._idle_looks.get(venue)
        if looks is None:
            # It was not looked at for the start yet.
            return
        is_due = self.book.is_active(venue) or looks + 1 >= IDLE_LOOK_EVERY
        self._idle_looks[venue] = 0 if is_due else looks + 1
        if is_due:
            # What differs then becomes a doubt, which asks for the fills as well.
            self.executors[venue].ask_snapshot(STEADY_LOOK, 0.0, fills=False)

    def _later(self, delay_s: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, callback)

    def _subscribe(self) -> None:
        bus = self._bus
        bus.subscribe(VenueConnected, self.on_venue_connected)
        bus.subscribe(MarketTick, self.on_market_tick)
        bus.subscribe(BalanceReported, self.on_balance_reported)
        bus.subscribe(SnapshotReported, self.on_snapshot_reported, critical=True)
        bus.subscribe(SnapshotWanted, self.on_snapshot_wanted, critical=True)
        bus.subscribe(OrderReported, self.on_order_reported, critical=True)
        bus.subscribe(FillReported, self.on_fill_reported, critical=True)
        bus.subscribe(PositionReported, self.on_position_reported, critical=True)
        bus.subscribe(FundingReported, self.on_funding_reported)
        bus.subscribe(SignalRaised, self.on_signal_raised)
        bus.subscribe(IntentApproved, self.on_intent_approved, critical=True)
        bus.subscribe(IntentDenied, self.on_intent_denied)
        bus.subscribe(RequestsPaused, self.on_requests_paused)
        bus.subscribe(RequestsResumed, self.on_requests_resumed)
        bus.subscribe(EntriesHalted, self.on_entries_halted)
        bus.subscribe(EntriesResumed, self.on_entries_resumed)
        bus.subscribe(ProtectionConfirmed, self.book.stop_causes.on_told)
        bus.subscribe(ProtectionChanged, self.book.stop_causes.on_told)
        bus.subscribe(AccountDoubted, self.on_account_doubted, critical=True)
        bus.subscribe(AccountConfirmed, self.on_account_confirmed, critical=True)

    # --- what is known ---------------------------------------------------------------------------

    def on_venue_connected(self, event: VenueConnected) -> None:
        """Keep instruments and abilities."""
        self._known.on_venue(event)
        heard_ns = self._resumption.heard_ns(event.venue)
        self._catching_up.begin(event.venue, heard_ns or self._clock.now_ns())

    def on_market_tick(self, event: MarketTick) -> None:
        """Keep the newest mark price; what is no price stays unknown."""
        self._known.on_mark(event.instrument_id, event.mark)

    def on_balance_reported(self, event: BalanceReported) -> None:
        """Keep wallet and free margin; a report that does not tell the free margin leaves it."""
        self._known.on_balance(event.report)

    # --- intents ---------------------------------------------------------------------------------

    def on_signal_raised(self, event: SignalRaised) -> None:
        """Size the signal and propose an entry, or say why not."""
        self._signals.on_signal(event.signal, self._clock.now_ns())

    def on_intent_approved(self, event: IntentApproved) -> None:
        """Enter the order into the book and hand the intent to the venue's executor."""
        intent = event.approved.intent
        command, instrument = intent.command, intent.instrument_id
        self._open_intents[intent.intent_id] = intent
        if isinstance(command, EnterPosition):
            if self.book.is_busy(instrument):
                # A position was found there after the signal was sized: nothing may be added.
                reason = f"{instrument} became busy before the entry could leave"
                self._on_entry_failed(intent, reason)
                return
            self.book.register_entry(
                command.request,
                position_id=intent.position_id,
                trace_id=intent.trace_id,
                side=command.side,
                plan=command.plan,
                leverage=command.leverage,
                signal_price=command.signal_price,
            )
            self._entry_intents[command.request.client_order_id] = intent.intent_id
            if command.stop_first is not None:
                self.book.register(command.stop_first, intent.position_id, intent.trace_id)
            self._catching_up.touch(instrument.venue)
        elif not isinstance(command, SetPositionProtection | CancelProtection):
            if command.request.client_order_id in self.book.orders:
                outcome = f"{command.request.client_order_id} was used before"
                self._complete(
                    intent, ok=False, outcome=outcome, refusal=Refusal.DUPLICATE_ID.value
                )
                return
            self.book.register(command.request, intent.position_id, intent.trace_id)
        self.executors[instrument.venue].submit(event.approved)

    def on_entries_halted(self, event: EntriesHalted) -> None:
        """Hold a venue's queued entries when its day is locked; the latch holds all of them."""
        for venue, executor in self.executors.items():
            if event.scope == venue.value:
                executor.hold_entries(event.reason)

    def on_requests_paused(self, event: RequestsPaused) -> None:
        """Let a venue's entries wait for its request limits, or for the clock (R31)."""
        executor = self.executors.get(event.venue)
        if executor is not None:
            executor.pause_entries(event.reason, event.wait_s)

    def on_requests_resumed(self, event: RequestsResumed) -> None:
        """Let a venue's entries leave again."""
        executor = self.executors.get(event.venue)
        if executor is not None:
            executor.resume_entries()

    def on_entries_resumed(self, event: EntriesResumed) -> None:
        """Let a venue's entries leave again."""
        for venue, executor in self.executors.items():
            if event.scope == venue.value:
                executor.hold_entries("")

    def on_account_doubted(self, event: AccountDoubted) -> None:
        """Hold a venue's queued entries until it was asked anew (R12)."""
        self._doubt(event.venue, event.reason)

    def on_account_confirmed(self, event: AccountConfirmed) -> None:
        """Let a venue's entries leave again; what only a list tells is asked for."""
        self._doubt(event.venue, "")
        self._catching_up.after_doubt(event.venue)

    def _doubt(self, venue: Venue, reason: str) -> None:
        # A venue that could not be brought up has no executor, yet its stream may still be heard.
        executor = self.executors.get(venue)
        if executor is not None:
            executor.doubt_account(reason)

    def on_intent_denied(self, event: IntentDenied) -> None:
        """Nothing was reserved here; the denial is the intent's end."""
        self._open_intents.pop(event.intent.intent_id, None)

    # --- what the executor tells -----------------------------------------------------------------

    def on_sending(self, intent: TradeIntent, request: OrderRequest) -> None:
        """Publish that the order leaves."""
        now = self._clock.now_ns()
        self.book.on_submitted(request.client_order_id)
        self._voice.sending(intent, request, now)

    def on_answer(self, report: OrderReport) -> None:
        """Publish the answer: it is evidence like any other report."""
        self._voice.answered(report, self._clock.now_ns())

    def on_unknown(self, request: OrderRequest) -> None:
        """Keep the exposure reserved: the venue may have the order."""
        self._publish(self.book.on_unknown(request.client_order_id))

    def on_refused(self, request: OrderRequest, code: str, message: str) -> None:
        """Move the order to its end."""
        self._publish(self.book.on_refused(request.client_order_id, code=code, message=message))

    def on_completed(self, intent: TradeIntent, *, ok: bool, outcome: str, refusal: str) -> None:
        """Publish an intent's end; entries end when their order is settled (R74)."""
        if refusal == Refusal.NO_POSITION.value and isinstance(intent.command, ClosePosition):
            # "Nothing to reduce" is the venue's word for flat, beside a list that shows nothing.
            self._differences.told_flat.add(intent.instrument_id)
        if intent.intent_id in self._entry_intents.values():
            return
        self._complete(intent, ok=ok, outcome=outcome, refusal=refusal)

    def on_snapshot(self, snapshot: VenueSnapshot, reason: str) -> None:
        """Publish a snapshot."""
        self._voice.snapshot(snapshot, reason, self._clock.now_ns())

    def _complete(self, intent: TradeIntent, *, ok: bool, outcome: str, refusal: str) -> None:
        if self._open_intents.pop(intent.intent_id, None) is None:
            return
        if ok and isinstance(intent.command, SetPositionProtection):
            self.book.stop_causes.on_set(intent.command)
        now = self._clock.now_ns()
        self._voice.completed(intent, ok=ok, outcome=outcome, refusal=refusal, now=now)

    # --- what the venues report ------------------------------------------------------------------

    def on_order_reported(self, event: OrderReported) -> None:
        """Move our order forward; fills the venue counts and nobody told are asked for."""
        report = event.report
        self.book.stop_causes.on_order(report)
        self._publish(self.book.on_report(report))
        self._differences.on_order(report)

    def is_known(self, request: OrderRequest) -> bool:
        """Say whether the venue's word about *request* came by another way meanwhile."""
        order = self.book.orders.get(request.client_order_id)
        return order is None or order.status.is_working or order.status.is_terminal

    def is_ended(self, request: OrderRequest) -> bool:
        """Say whether *request* is of an order that ended, or of a position that did."""
        order = self.book.orders.get(request.client_order_id)
        return order is None or order.status.is_terminal

    def on_fill_reported(self, event: FillReported) -> None:
        """Count the fill."""
        self._publish(self.book.on_fill(event.fill, self._clock.now_ns()))

    def on_funding_reported(self, event: FundingReported) -> None:
        """Book funding into the open position of that instrument, once each."""
        if self._catching_up.is_new_funding(event) and event.instrument_id is not None:
            self.book.on_funding(event.instrument_id, event.amount, event.ts_event)

    def on_position_reported(self, event: PositionReported) -> None:
        """Compare with the book; ask the venue when a difference lasts."""
        self._differences.on_position(event.report)

    def on_snapshot_wanted(self, event: SnapshotWanted) -> None:
        """Ask for somebody who doubts."""
        self.ask_snapshot(event.venue, event.reason)

    def ask_snapshot(self, venue: Venue, reason: str, delay_s: float = 0.0) -> None:
        """Have the venue tell everything once more."""
        self.executors[venue].ask_snapshot(reason, delay_s)

    def on_snapshot_reported(self, event: SnapshotReported) -> None:
        """Take the wallet, move orders forward, then reconcile positions."""
        snapshot = event.snapshot
        _ = self._idle_looks.setdefault(snapshot.venue, 0)
        self._known.on_whole_balance(snapshot.venue, snapshot.balance)
        for order in snapshot.orders:
            self._publish(self.book.on_report(order))
        for position in snapshot.positions:
            self._known.on_position(position)
        now, tick_of = self._clock.now_ns(), self._known.tick_size
        facts = self._differences.on_snapshot(snapshot, now, tick_of)
        self._publish(facts)
        differ = [fact for fact in facts if isinstance(fact, Mismatch)]
        if waits_s := [fact.again_s for fact in differ if fact.again_s is not None]:
            self.ask_snapshot(snapshot.venue, "positions differed", min(waits_s))

    # --- facts become events ---------------------------------------------------------------------

    def _publish(self, facts: list[Fact]) -> None:
        now = self._clock.now_ns()
        for fact in facts:
            match fact:
                case Opened(position=position):
                    self._differences.told_flat.discard(position.instrument_id)
                    self._catching_up.touch(position.instrument_id.venue)
                    self._voice.opened(fact, now)
                case Booked():
                    self._voice.booked(fact, now)
                case Advanced():
                    self._voice.advanced(fact, now)
                case EntryDone(position=position):
                    self._voice.entry_completed(fact, now)
                    self._end_entry(position.position_id, ok=True, outcome="filled")
                case EntryDied():
                    self._on_entry_died(fact, now)
                case Closed(position=position):
                    self._catching_up.touch(position.instrument_id.venue)
                    self._voice.closed(fact, now)
                case Mismatch():
                    self._voice.mismatch(fact, now)
                    if fact.lacks_fills:
                        self._catching_up.want(fact.instrument_id.venue)
                    if fact.again_s is not None:
                        self.ask_snapshot(fact.instrument_id.venue, fact.action, fact.again_s)

    def _on_entry_failed(self, intent: TradeIntent, reason: str) -> None:
        now = self._clock.now_ns()
        self._voice.entry_failed(intent.position_id, intent.instrument_id, reason, now)
        self._complete(intent, ok=False, outcome=reason, refusal="")

    def _on_entry_died(self, died: EntryDied, now: int) -> None:
        self._signals.cool_down(died.instrument_id, now)
        self._voice.entry_failed(died.position_id, died.instrument_id, died.reason, now)
        self._end_entry(died.position_id, ok=False, outcome=died.reason)

    def _end_entry(self, position_id: str, *, ok: bool, outcome: str) -> None:
        intent_id = self._entry_intents.pop(client_order_id(position_id, Purpose.ENTRY, 1), None)
        intent = self._open_intents.get(intent_id) if intent_id is not None else None
        if intent is not None:
            self._complete(intent, ok=ok, outcome=outcome, refusal="")
