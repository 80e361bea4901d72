"""
Trade's shell on the bus: signals become sized intents, approved intents go to the executor, and
what the venues report goes into the book, whose facts become events.
"""

import asyncio
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, TypeVar

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.errors import Refusal
from aegis.core.ids import IdSource
from aegis.core.latch import HaltView
from aegis.core.supervise import Supervisor
from aegis.model.account import Capabilities, OrderReport, VenueSnapshot, equity_of
from aegis.model.events import (
    BalanceReported,
    EntriesHalted,
    EntriesResumed,
    EntryCompleted,
    EntryFailed,
    FillBooked,
    FillReported,
    FundingReported,
    IntentApproved,
    IntentCompleted,
    IntentDenied,
    IntentProposed,
    MarketTick,
    OrderAdvanced,
    OrderReported,
    OrderSubmitted,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    PositionReported,
    SignalDropped,
    SignalRaised,
    SnapshotReported,
    SnapshotWanted,
    VenueConnected,
)
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.intent import CancelProtection, EnterPosition, SetPositionProtection, TradeIntent
from aegis.model.order import OrderRequest, Purpose
from aegis.model.order_id import PositionIds, client_order_id
from aegis.model.ports import VenueGateway
from aegis.model.signal import Signal
from aegis.settings import AegisConfig
from aegis.trade.book import Book
from aegis.trade.decide import NotSized, Sized, SizeLimits, entry_request, size_entry
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

K = TypeVar("K")

MISMATCH_PATIENCE_S: Final = 2.0
"""A position report may overtake its fills; only a lasting difference is asked about."""
IDS_KEPT: Final = 10_000
"""So many signal and funding ids are remembered, so that a repeated one changes nothing."""


def size_limits(config: AegisConfig) -> SizeLimits:
    """Return the sizing limits as the settings give them."""
    return SizeLimits(
        risk_pct=config.risk_per_trade_pct,
        leverage=config.leverage,
        notional_max=config.position_notional_max,
        liquidation_use_max=Decimal(repr(config.liquidation_use_max)),
        drift_max_pct=Decimal(repr(config.signal_drift_max_pct)),
    )


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
        self._limits = size_limits(config)
        self._cooldown_ns = round(config.failed_entry_cooldown_s * 1e9)
        self._positions = positions
        self._intents = intents
        self.book: Final = Book(new_position_id=positions.next)
        self._instruments: dict[InstrumentId, Instrument] = {}
        self._capabilities: dict[Venue, Capabilities] = {}
        self._marks: dict[InstrumentId, float] = {}
        self._wallets: dict[Venue, tuple[Decimal, Decimal | None]] = {}
        self._cooldown_until: dict[InstrumentId, int] = {}
        self._open_intents: dict[str, TradeIntent] = {}
        self._entry_intents: dict[str, str] = {}
        self._reported_qty: dict[InstrumentId, Decimal] = {}
        self._doubts: set[InstrumentId] = set()
        self._signals_seen: dict[str, None] = {}
        self._funding_seen: dict[tuple[Venue, str], None] = {}
        self.executors: Final = {
            venue: VenueExecutor(
                gateway,
                self,
                halt=halt,
                clock=clock,
                supervisor=supervisor,
                late_arrival_s=config.recv_window_ms / 1000,
            )
            for venue, gateway in gateways.items()
        }
        self._subscribe()

    def start(self) -> None:
        """Start the executors' workers."""
        for executor in self.executors.values():
            executor.start()

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
        bus.subscribe(EntriesHalted, self.on_entries_halted)
        bus.subscribe(EntriesResumed, self.on_entries_resumed)

    # --- what is known ---------------------------------------------------------------------------

    def on_venue_connected(self, event: VenueConnected) -> None:
        """Keep instruments and abilities."""
        self._capabilities[event.venue] = event.capabilities
        for instrument in event.instruments:
            self._instruments[instrument.instrument_id] = instrument

    def on_market_tick(self, event: MarketTick) -> None:
        """Keep the newest mark price; what is no price stays unknown."""
        if event.mark is not None and math.isfinite(event.mark) and event.mark > 0:
            self._marks[event.instrument_id] = event.mark

    def on_balance_reported(self, event: BalanceReported) -> None:
        """Keep wallet and free margin; a report that does not tell the free margin leaves it."""
        report = event.report
        before = self._wallets.get(report.venue)
        free = report.available if report.available is not None else (before[1] if before else None)
        self._wallets[report.venue] = (report.wallet, free)

    def _mark(self, instrument: InstrumentId) -> Decimal | None:
        mark = self._marks.get(instrument)
        return None if mark is None else Decimal(repr(mark))

    def _equity(self, venue: Venue) -> Decimal | None:
        wallet = self._wallets.get(venue)
        here = {
            instrument: (position.qty_signed, position.entry_px_avg)
            for instrument, position in self.book.positions.items()
            if instrument.venue is venue
        }
        marks = {i: m for i in here if (m := self._mark(i)) is not None}
        return equity_of(wallet[0] if wallet else None, here, marks)

    # --- from signal to intent -------------------------------------------------------------------

    def on_signal_raised(self, event: SignalRaised) -> None:
        """Size the signal and propose an entry, or say why not."""
        signal, now = event.signal, self._clock.now_ns()
        reason = self._not_now(signal, now)
        if reason:
            self._drop(signal, reason, now)
            return
        instrument = self._instruments[signal.instrument_id]
        venue = signal.instrument_id.venue
        mark = self._mark(signal.instrument_id)
        sized = size_entry(
            signal,
            instrument,
            equity=self._equity(venue),
            available=self._wallets[venue][1] if venue in self._wallets else None,
            mark_price=mark,
            limits=self._limits,
        )
        if isinstance(sized, NotSized):
            self._drop(signal, sized.reason, now)
            return
        assert mark is not None
        self._propose(signal, instrument, sized, mark, now)

    def _not_now(self, signal: Signal, now: int) -> str:
        instrument = signal.instrument_id
        known = self._instruments.get(instrument)
        if known is None or not known.tradable:
            return f"{instrument} is not traded"
        if not _is_new(self._signals_seen, signal.signal_id):
            return "the signal was seen before"
        if now >= signal.expires_ns:
            return f"expired {(now - signal.expires_ns) / 1e9:.1f} s ago"
        if self.book.is_busy(instrument):
            return f"{instrument} has a position or an entry under way"
        until = self._cooldown_until.get(instrument, 0)
        if now < until:
            return f"cooling down {(until - now) / 1e9:.0f} s more after a failed entry"
        return ""

    def _drop(self, signal: Signal, reason: str, now: int) -> None:
        self._bus.publish(
            SignalDropped(
                ts_event=now,
                ts_recv=now,
                signal_id=signal.signal_id,
                instrument_id=signal.instrument_id,
                reason=reason,
            )
        )

    def _propose(
        self, signal: Signal, instrument: Instrument, sized: Sized, mark: Decimal, now: int
    ) -> None:
        position_id = self._positions.next()
        request = entry_request(
            sized,
            signal.side,
            instrument,
            mark_price=mark,
            client_order_id=client_order_id(position_id, Purpose.ENTRY, 1),
            capabilities=self._capabilities[instrument.instrument_id.venue],
        )
        intent = TradeIntent(
            intent_id=self._intents.next(),
            position_id=position_id,
            source="trade",
            reason=f"{signal.strategy}: {signal.reasons[0] if signal.reasons else signal.side}",
            trace_id=signal.signal_id,
            command=EnterPosition(
                request=request,
                side=signal.side,
                plan=sized.plan,
                leverage=sized.leverage,
                mark_price=mark,
                signal_price=signal.reference_px,
                signal_id=signal.signal_id,
                expires_ns=signal.expires_ns,
            ),
        )
        self._bus.publish(IntentProposed(ts_event=now, ts_recv=now, intent=intent))

    # --- approved intents ------------------------------------------------------------------------

    def on_intent_approved(self, event: IntentApproved) -> None:
        """Enter the order into the book and hand the intent to the venue's executor."""
        intent = event.approved.intent
        command = intent.command
        self._open_intents[intent.intent_id] = intent
        if isinstance(command, EnterPosition):
            if self.book.is_busy(intent.instrument_id):
                # A position was found there after the signal was sized: nothing may be added.
                reason = f"{intent.instrument_id} became busy before the entry could leave"
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
        elif not isinstance(command, SetPositionProtection | CancelProtection):
            if command.request.client_order_id in self.book.orders:
                outcome = f"{command.request.client_order_id} was used before"
                self._complete(
                    intent, ok=False, outcome=outcome, refusal=Refusal.DUPLICATE_ID.value
                )
                return
            self.book.register(command.request, intent.position_id, intent.trace_id)
        self.executors[intent.instrument_id.venue].submit(event.approved)

    def on_entries_halted(self, event: EntriesHalted) -> None:
        """Hold a venue's queued entries when its day is locked; the latch holds all of them."""
        for venue, executor in self.executors.items():
            if event.scope == venue.value:
                executor.hold_entries(event.reason)

    def on_entries_resumed(self, event: EntriesResumed) -> None:
        """Let a venue's entries leave again."""
        for venue, executor in self.executors.items():
            if event.scope == venue.value:
                executor.hold_entries("")

    def on_intent_denied(self, event: IntentDenied) -> None:
        """Nothing was reserved here; the denial is the intent's end."""
        self._open_intents.pop(event.intent.intent_id, None)

    # --- what the executor tells -----------------------------------------------------------------

    def on_sending(self, intent: TradeIntent, request: OrderRequest) -> None:
        """Publish that the order leaves."""
        now = self._clock.now_ns()
        self.book.on_submitted(request.client_order_id)
        self._bus.publish(
            OrderSubmitted(
                ts_event=now,
                ts_recv=now,
                request=request,
                position_id=intent.position_id,
                trace_id=intent.trace_id,
                attempt=1,
            )
        )

    def on_answer(self, report: OrderReport) -> None:
        """Publish the answer: it is evidence like any other report."""
        now = self._clock.now_ns()
        self._bus.publish(OrderReported(ts_event=report.ts_event, ts_recv=now, report=report))

    def on_unknown(self, request: OrderRequest) -> None:
        """Keep the exposure reserved: the venue may have the order."""
        self._publish(self.book.on_unknown(request.client_order_id))

    def on_refused(self, request: OrderRequest, code: str, message: str) -> None:
        """Move the order to its end."""
        self._publish(self.book.on_refused(request.client_order_id, code=code, message=message))

    def on_completed(self, intent: TradeIntent, *, ok: bool, outcome: str, refusal: str) -> None:
        """Publish an intent's end; entries end when their order is settled (R74)."""
        if intent.intent_id in self._entry_intents.values():
            return
        self._complete(intent, ok=ok, outcome=outcome, refusal=refusal)

    def on_snapshot(self, snapshot: VenueSnapshot, reason: str) -> None:
        """Publish a snapshot."""
        now = self._clock.now_ns()
        self._bus.publish(
            SnapshotReported(
                ts_event=snapshot.ts_event, ts_recv=now, snapshot=snapshot, reason=reason
            )
        )

    def _complete(self, intent: TradeIntent, *, ok: bool, outcome: str, refusal: str) -> None:
        if self._open_intents.pop(intent.intent_id, None) is None:
            return
        now = self._clock.now_ns()
        command = intent.command
        order_id = (
            command.client_order_id
            if isinstance(command, CancelProtection)
            else ""
            if isinstance(command, SetPositionProtection)
            else command.request.client_order_id
        )
        self._bus.publish(
            IntentCompleted(
                ts_event=now,
                ts_recv=now,
                intent_id=intent.intent_id,
                position_id=intent.position_id,
                instrument_id=intent.instrument_id,
                command=type(command).__name__,
                client_order_id=order_id,
                ok=ok,
                outcome=outcome,
                refusal=refusal,
            )
        )

    # --- what the venues report ------------------------------------------------------------------

    def on_order_reported(self, event: OrderReported) -> None:
        """Move our order forward."""
        self._publish(self.book.on_report(event.report))

    def on_fill_reported(self, event: FillReported) -> None:
        """Count the fill."""
        self._publish(self.book.on_fill(event.fill, self._clock.now_ns()))

    def on_funding_reported(self, event: FundingReported) -> None:
        """Book funding into the open position of that instrument, once each."""
        key = (event.venue, event.funding_id)
        if event.funding_id and not _is_new(self._funding_seen, key):
            return
        if event.instrument_id is not None:
            self.book.on_funding(event.instrument_id, event.amount)

    def on_position_reported(self, event: PositionReported) -> None:
        """Compare with the book; ask the venue when a difference lasts."""
        report = event.report
        instrument = report.instrument_id
        self._reported_qty[instrument] = report.qty_signed
        if report.qty_signed == self._own_qty(instrument) or instrument in self._doubts:
            return
        self._doubts.add(instrument)
        asyncio.get_running_loop().call_later(MISMATCH_PATIENCE_S, self._settle_doubt, instrument)

    def _settle_doubt(self, instrument: InstrumentId) -> None:
        self._doubts.discard(instrument)
        reported = self._reported_qty.get(instrument)
        if reported is not None and reported != self._own_qty(instrument):
            reason = f"{instrument} is {reported} there and {self._own_qty(instrument)} here"
            self.ask_snapshot(instrument.venue, reason)

    def _own_qty(self, instrument: InstrumentId) -> Decimal:
        position = self.book.positions.get(instrument)
        return position.qty_signed if position is not None else Decimal(0)

    def on_snapshot_wanted(self, event: SnapshotWanted) -> None:
        """Ask for somebody who doubts."""
        self.ask_snapshot(event.venue, event.reason)

    def ask_snapshot(self, venue: Venue, reason: str, delay_s: float = 0.0) -> None:
        """Have the venue tell everything once more."""
        self.executors[venue].ask_snapshot(reason, delay_s)

    def on_snapshot_reported(self, event: SnapshotReported) -> None:
        """Take the wallet, move orders forward, then reconcile positions."""
        snapshot = event.snapshot
        self._wallets[snapshot.venue] = (snapshot.balance.wallet, snapshot.balance.available)
        for order in snapshot.orders:
            self._publish(self.book.on_report(order))
        reports = {report.instrument_id: report for report in snapshot.positions}
        for instrument, report in reports.items():
            self._reported_qty[instrument] = report.qty_signed
            if report.mark_price is not None:
                self._marks.setdefault(instrument, float(report.mark_price))
        facts = self.book.reconcile(snapshot.venue, reports, self._clock.now_ns())
        self._publish(facts)
        if any(isinstance(fact, Mismatch) for fact in facts):
            self.ask_snapshot(snapshot.venue, "positions differed", 1.0)

    # --- facts become events ---------------------------------------------------------------------

    def _publish(self, facts: list[Fact]) -> None:
        now = self._clock.now_ns()
        for fact in facts:
            match fact:
                case Opened(position=position):
                    self._bus.publish(PositionOpened(ts_event=now, ts_recv=now, position=position))
                case Booked(fill=fill, position=position, purpose=purpose):
                    self._bus.publish(
                        FillBooked(
                            ts_event=fill.ts_event,
                            ts_recv=now,
                            fill=fill,
                            position=position,
                            purpose=purpose,
                        )
                    )
                case Advanced() as advanced:
                    self._bus.publish(_advanced_event(advanced, now))
                case EntryDone(position=position, slippage=slippage):
                    self._bus.publish(
                        EntryCompleted(
                            ts_event=now, ts_recv=now, position=position, slippage=slippage
                        )
                    )
                    self._end_entry(position.position_id, ok=True, outcome="filled")
                case EntryDied() as died:
                    self._on_entry_died(died, now)
                case Closed() as closed:
                    self._bus.publish(_closed_event(closed, now))
                case Mismatch() as mismatch:
                    self._on_mismatch(mismatch, now)

    def _on_entry_failed(self, intent: TradeIntent, reason: str) -> None:
        now = self._clock.now_ns()
        self._bus.publish(
            EntryFailed(
                ts_event=now,
                ts_recv=now,
                position_id=intent.position_id,
                instrument_id=intent.instrument_id,
                reason=reason,
            )
        )
        self._complete(intent, ok=False, outcome=reason, refusal="")

    def _on_entry_died(self, died: EntryDied, now: int) -> None:
        self._cooldown_until[died.instrument_id] = now + self._cooldown_ns
        self._bus.publish(
            EntryFailed(
                ts_event=now,
                ts_recv=now,
                position_id=died.position_id,
                instrument_id=died.instrument_id,
                reason=died.reason,
            )
        )
        self._end_entry(died.position_id, ok=False, outcome=died.reason)

    def _on_mismatch(self, mismatch: Mismatch, now: int) -> None:
        self._bus.publish(
            PositionMismatchFound(
                ts_event=now,
                ts_recv=now,
                instrument_id=mismatch.instrument_id,
                ours=mismatch.ours,
                theirs=mismatch.theirs,
                action=mismatch.action,
            )
        )
        self.ask_snapshot(mismatch.instrument_id.venue, mismatch.action, 1.0)

    def _end_entry(self, position_id: str, *, ok: bool, outcome: str) -> None:
        intent_id = self._entry_intents.pop(client_order_id(position_id, Purpose.ENTRY, 1), None)
        intent = self._open_intents.get(intent_id) if intent_id is not None else None
        if intent is not None:
            self._complete(intent, ok=ok, outcome=outcome, refusal="")


def _is_new(seen: dict[K, None], key: K) -> bool:
    if key in seen:
        return False
    seen[key] = None
    if len(seen) > IDS_KEPT:
        del seen[next(iter(seen))]
    return True


def _advanced_event(fact: Advanced, now: int) -> OrderAdvanced:
    order = fact.order
    return OrderAdvanced(
        ts_event=now,
        ts_recv=now,
        client_order_id=order.request.client_order_id,
        venue_order_id=order.venue_order_id,
        instrument_id=order.request.instrument_id,
        position_id=order.position_id,
        purpose=order.request.purpose.name,
        status=order.status,
        filled_qty=order.filled_qty,
        average_px=order.average_px,
        code=fact.code,
        message=fact.message,
    )


def _closed_event(fact: Closed, now: int) -> PositionClosed:
    return PositionClosed(
        ts_event=now,
        ts_recv=now,
        position=fact.position,
        cause=fact.cause,
        exit_px_avg=fact.exit_px_avg,
        net_pnl=fact.net_pnl,
        hold_ns=now - fact.position.opened_ns,
    )
