"""
Exit's shell on the bus: watches every position from its first fill, compares what the venue reports
with what it should carry, and asks for the difference.

Two deadlines on every naked moment: soft alerts, hard closes reduce-only at market. Protective
requests repeat at a steady pace until the venue shows the stop. Everything here runs on the loop's
clock, so that a scaled market does not stretch a deadline.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.errors import Refusal
from aegis.core.ids import IdSource
from aegis.exit.decide import (
    Action,
    Cancel,
    Desired,
    PlaceStop,
    PlaceTarget,
    Resting,
    SetBoth,
    covered_qty,
    default_plan,
    desired_protection,
    effective_stop,
    plan_actions,
    working,
)
from aegis.exit.guarded import Closing, Guarded
from aegis.exit.resting import RestingOrders
from aegis.model.account import Capabilities, OrderReport, ProtectionRole
from aegis.model.events import (
    AlertRaised,
    EntryCompleted,
    FillBooked,
    IntentCompleted,
    IntentProposed,
    OrderAdvanced,
    OrderReported,
    PositionClosed,
    PositionOpened,
    PositionReported,
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionWanted,
    SnapshotReported,
    SnapshotWanted,
    VenueConnected,
    VenueProtected,
)
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.intent import (
    CancelProtection,
    ClosePosition,
    Command,
    PlaceProtection,
    SetPositionProtection,
    TradeIntent,
)
from aegis.model.order import OrderRequest, OrderStatus, OrderType, Purpose
from aegis.model.order_id import client_order_id
from aegis.model.position import CloseCause
from aegis.settings import AegisConfig

TRIGGERING_MAX_S: Final = 2.0
"""A trigger that makes no order within this is stuck (venues.md 5.1, pitfall 3)."""
FILLED_PATIENCE_S: Final = 2.0
"""A filled stop's executions may come after its status; so long it still counts as covering."""
ORPHAN_PATIENCE_S: Final = 1.0
CLOSE_RETRY_MAX_S: Final = 5.0
START_REASON: Final = "start"


class ExitActor:
    """Protect, verify, and close what cannot be protected."""

    def __init__(
        self, bus: EventBus, clock: Clock, config: AegisConfig, *, intents: IdSource
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._config = config
        self._intents = intents
        self._instruments: dict[InstrumentId, Instrument] = {}
        self._capabilities: dict[Venue, Capabilities] = {}
        self._guarded: dict[InstrumentId, Guarded] = {}
        self._resting = RestingOrders(clock)
        self._flat: dict[InstrumentId, bool] = {}
        self._starting: dict[Venue, dict[InstrumentId, None]] = {}
        self.last_close_ns: int | None = None
        self._subscribe()

    def _subscribe(self) -> None:
        bus = self._bus
        bus.subscribe(VenueConnected, self.on_venue_connected)
        bus.subscribe(PositionOpened, self.on_position_opened, critical=True)
        bus.subscribe(FillBooked, self.on_fill_booked, critical=True)
        bus.subscribe(EntryCompleted, self.on_entry_completed, critical=True)
        bus.subscribe(PositionClosed, self.on_position_closed, critical=True)
        bus.subscribe(OrderReported, self.on_order_reported, critical=True)
        bus.subscribe(OrderAdvanced, self.on_order_advanced, critical=True)
        bus.subscribe(PositionReported, self.on_position_reported, critical=True)
        bus.subscribe(SnapshotReported, self.on_snapshot_reported, critical=True)
        bus.subscribe(IntentCompleted, self.on_intent_completed, critical=True)

    # --- for the heartbeat -----------------------------------------------------------------------

    def guarded(self) -> tuple[tuple[Guarded, tuple[Resting, ...]], ...]:
        """Return every open position with its working protective orders."""
        return tuple((g, self._resting.of(i)) for i, g in self._guarded.items())

    def is_covered(self, instrument: InstrumentId) -> bool:
        """Say whether the venue reports stops for the whole of the position there."""
        guarded = self._guarded.get(instrument)
        if guarded is None:
            return True
        return covered_qty(guarded.position, self._resting.of(instrument)) >= guarded.position.qty

    # --- positions -------------------------------------------------------------------------------

    def on_venue_connected(self, event: VenueConnected) -> None:
        """Keep instruments and abilities."""
        self._capabilities[event.venue] = event.capabilities
        for instrument in event.instruments:
            self._instruments[instrument.instrument_id] = instrument

    def on_position_opened(self, event: PositionOpened) -> None:
        """Guard from the first fill on, adopted positions included."""
        position = event.position
        instrument = self._instruments[position.instrument_id]
        entry_px = position.entry_px_avg
        assert entry_px is not None, position
        plan = position.plan or default_plan(
            entry_px, self._config.max_stop_pct, self._config.target_r
        )
        self._flat[position.instrument_id] = False
        self._guarded[position.instrument_id] = Guarded(
            position=position,
            instrument=instrument,
            plan=plan,
            entry_done=position.adopted,
            naked_since_ns=self._clock.mono_ns(),
        )
        self._start_deadlines(self._guarded[position.instrument_id])
        self._evaluate(position.instrument_id)

    def on_fill_booked(self, event: FillBooked) -> None:
        """Follow the quantity (R34)."""
        guarded = self._guarded.get(event.position.instrument_id)
        if guarded is not None and guarded.position.position_id == event.position.position_id:
            guarded.position = event.position
            self._evaluate(event.position.instrument_id)

    def on_entry_completed(self, event: EntryCompleted) -> None:
        """The entry price is final: aim at its distances."""
        guarded = self._guarded.get(event.position.instrument_id)
        if guarded is not None:
            guarded.position = event.position
            guarded.entry_done = True
            self._evaluate(event.position.instrument_id)

    def on_position_closed(self, event: PositionClosed) -> None:
        """Stop all watching at once (R61); cancel what may be left when flat is confirmed twice."""
        instrument = event.position.instrument_id
        guarded = self._guarded.pop(instrument, None)
        if guarded is not None:
            guarded.stop_timers()
        self.last_close_ns = self._clock.now_ns()
        self._check_started(instrument.venue)
        self._later(ORPHAN_PATIENCE_S, lambda: self._sweep(instrument, event.position.position_id))

    # --- what the venue reports ------------------------------------------------------------------

    def on_order_reported(self, event: OrderReported) -> None:
        """Take evidence about protective orders, ours or not."""
        self._take(event.report)

    def _take(self, report: OrderReport) -> None:
        before = self._resting.get(report.instrument_id, report)
        if not self._resting.note(report):
            return
        instrument = report.instrument_id
        guarded = self._guarded.get(instrument)
        if guarded is None:
            return
        if report.status is OrderStatus.TRIGGERING:
            key = self._resting.key_of(report)
            self._later(TRIGGERING_MAX_S, lambda: self._watch_trigger(instrument, key))
        if report.status is OrderStatus.FILLED:
            # Its executions close the position; look again once they had time to arrive.
            position_id = guarded.position.position_id
            self._later(FILLED_PATIENCE_S, lambda: self._after_filled(instrument, position_id))
            return
        if report.status.is_terminal and before is not None and before.role is ProtectionRole.STOP:
            self._note_lost(guarded, report)
        self._evaluate(instrument)

    def _note_lost(self, guarded: Guarded, report: OrderReport) -> None:
        resting = self._resting.of(report.instrument_id)
        covered = covered_qty(guarded.position, resting) >= guarded.position.qty
        if covered or guarded.closing is not None or not guarded.announced:
            return
        now = self._clock.now_ns()
        self._bus.publish(
            ProtectionLost(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=report.instrument_id,
                reason=f"stop {report.client_order_id or report.venue_order_id} is "
                f"{report.status.value} {report.reject_message}".strip(),
            )
        )

    def on_position_reported(self, event: PositionReported) -> None:
        """Take the venue's word about flat and about the position's own stop and target."""
        report = event.report
        instrument = report.instrument_id
        self._flat[instrument] = report.qty_signed == 0
        if self._has_position_protection(instrument.venue):
            self._resting.note_position(report)
            self._evaluate(instrument)

    def on_snapshot_reported(self, event: SnapshotReported) -> None:
        """Replace what was believed to rest by what the venue lists."""
        snapshot = event.snapshot
        self._resting.replace(snapshot.venue, snapshot.orders)
        shown: dict[InstrumentId, None] = {}
        for report in snapshot.positions:
            self._flat[report.instrument_id] = report.qty_signed == 0
            if report.qty_signed != 0:
                shown[report.instrument_id] = None
            if self._has_position_protection(snapshot.venue):
                self._resting.note_position(report)
        for instrument in [i for i in self._flat if i.venue is snapshot.venue]:
            # A complete snapshot without a row says flat as well.
            self._flat[instrument] = instrument not in shown
        if event.reason == START_REASON:
            self._starting[snapshot.venue] = shown
        for instrument in [i for i in self._guarded if i.venue is snapshot.venue]:
            self._evaluate(instrument)
        self._check_started(snapshot.venue)

    def _check_started(self, venue: Venue) -> None:
        waiting = self._starting.get(venue)
        if waiting is None:
            return
        for instrument in list(waiting):
            guarded = self._guarded.get(instrument)
            if guarded is None:
                # Not adopted yet, or closed already: closed ones are flat by the venue's word.
                if self._flat.get(instrument, False):
                    del waiting[instrument]
            elif guarded.announced and self.is_covered(instrument):
                del waiting[instrument]
        if not waiting:
            del self._starting[venue]
            now = self._clock.now_ns()
            here = sum(1 for i in self._guarded if i.venue is venue)
            self._bus.publish(
                VenueProtected(ts_event=now, ts_recv=now, venue=venue, positions=here)
            )

    def _has_position_protection(self, venue: Venue) -> bool:
        capabilities = self._capabilities.get(venue)
        return capabilities is not None and capabilities.position_protection

    # --- desired against actual ------------------------------------------------------------------

    def _evaluate(self, instrument: InstrumentId) -> None:
        guarded = self._guarded.get(instrument)
        if guarded is None or guarded.position.qty <= 0:
            return
        resting = self._resting.of(instrument)
        self._note_cover(guarded, resting)
        if guarded.closing is not None:
            return
        desired = desired_protection(
            guarded.position, guarded.plan, guarded.instrument, entry_done=guarded.entry_done
        )
        if desired is None:
            return
        if guarded.position.adopted:
            desired = _keep_found(guarded, resting, desired)
        if desired != guarded.desired:
            guarded.desired = desired
            self._publish_wanted(guarded)
        actions = plan_actions(
            guarded.position,
            desired,
            resting,
            capabilities=self._capabilities[instrument.venue],
            instrument=guarded.instrument,
            entry_done=guarded.entry_done,
        )
        for action in actions:
            if self._may_start(guarded, action):
                self._ask(guarded, action)

    def _may_start(self, guarded: Guarded, action: Action) -> bool:
        if guarded.is_pending(action) or "retry" in guarded.timers:
            return False
        # Attached protection travels with the entry: give its first report the retry pace.
        attached = self._capabilities[guarded.position.instrument_id.venue].attached_protection
        waited_ns = self._clock.mono_ns() - (guarded.naked_since_ns or 0)
        early = waited_ns < self._config.protection_retry_ms * 1_000_000
        if attached and early and guarded.naked_since_ns is not None and not guarded.announced:
            self._retry_later(guarded)
            return False
        return True

    def _note_cover(self, guarded: Guarded, resting: tuple[Resting, ...]) -> None:
        now_ns = self._clock.mono_ns()
        covered = covered_qty(guarded.position, resting) >= guarded.position.qty
        if not covered:
            if guarded.naked_since_ns is None:
                guarded.naked_since_ns = now_ns
                self._start_deadlines(guarded)
            return
        if guarded.naked_since_ns is not None:
            if guarded.first_naked_ns is None:
                guarded.first_naked_ns = now_ns - guarded.naked_since_ns
            guarded.naked_since_ns = None
            guarded.stop_timer("soft")
            guarded.stop_timer("hard")
        self._announce(guarded, resting)
        self._check_started(guarded.position.instrument_id.venue)

    def _announce(self, guarded: Guarded, resting: tuple[Resting, ...]) -> None:
        stop = effective_stop(guarded.position, resting)
        if stop is None or stop.trigger_price is None:
            return
        targets = working(resting, ProtectionRole.TARGET)
        target_price = targets[0].trigger_price if targets else None
        if not guarded.announced and target_price is None and "target" not in guarded.timers:
            # The stop works; the target gets a moment so that both are told in one line.
            self._start_timer(
                guarded, "target", self._config.protection_soft_ms / 1000, self._announce_without
            )
        if target_price is None and not guarded.announced:
            return
        self._publish_cover(guarded, stop, targets[0] if targets else None)

    def _announce_without(self, guarded: Guarded) -> None:
        resting = self._resting.of(guarded.position.instrument_id)
        stop = effective_stop(guarded.position, resting)
        if stop is not None and not guarded.announced:
            targets = working(resting, ProtectionRole.TARGET)
            self._publish_cover(guarded, stop, targets[0] if targets else None)

    def _publish_cover(self, guarded: Guarded, stop: Resting, target: Resting | None) -> None:
        stop_price = stop.trigger_price
        target_price = target.trigger_price if target is not None else None
        assert stop_price is not None
        now = self._clock.now_ns()
        position = guarded.position
        if not guarded.announced:
            guarded.announced = True
            guarded.stop_timer("target")
            self._bus.publish(
                ProtectionConfirmed(
                    ts_event=now,
                    ts_recv=now,
                    position_id=position.position_id,
                    instrument_id=position.instrument_id,
                    stop_price=stop_price,
                    target_price=target_price,
                    stop_order=stop.key,
                    target_order=target.key if target is not None else "",
                    naked_ns=guarded.first_naked_ns or 0,
                    source="position" if stop.position_bound else "order",
                )
            )
            self._check_started(position.instrument_id.venue)
        elif (stop_price, target_price) != (guarded.shown_stop, guarded.shown_target):
            self._bus.publish(
                ProtectionChanged(
                    ts_event=now,
                    ts_recv=now,
                    position_id=position.position_id,
                    instrument_id=position.instrument_id,
                    stop_price=stop_price,
                    target_price=target_price,
                    reason=guarded.desired.basis if guarded.desired is not None else "",
                )
            )
        guarded.shown_stop, guarded.shown_target = stop_price, target_price

    def _publish_wanted(self, guarded: Guarded) -> None:
        assert guarded.desired is not None
        now = self._clock.now_ns()
        self._bus.publish(
            ProtectionWanted(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=guarded.position.instrument_id,
                stop_price=guarded.desired.stop_price,
                target_price=guarded.desired.target_price,
                basis=guarded.desired.basis,
            )
        )

    # --- asking ----------------------------------------------------------------------------------

    def _ask(self, guarded: Guarded, action: Action) -> None:
        command = self._command(guarded, action)
        intent_id = self._propose(guarded, command, reason=_reason_of(action))
        guarded.pending[intent_id] = action

    def _command(self, guarded: Guarded, action: Action) -> Command:
        instrument = guarded.position.instrument_id
        match action:
            case PlaceStop(price=price, qty=qty):
                purpose = Purpose.STOP_FLOOR if qty is None else Purpose.STOP_MOVING
                return PlaceProtection(
                    request=self._conditional(guarded, purpose, OrderType.STOP_MARKET, price, qty)
                )
            case PlaceTarget(price=price):
                return PlaceProtection(
                    request=self._conditional(
                        guarded, Purpose.TARGET, OrderType.TAKE_PROFIT_MARKET, price, None
                    )
                )
            case SetBoth(stop_price=stop, target_price=target):
                return SetPositionProtection(
                    instrument_id=instrument,
                    side=guarded.position.side,
                    stop_price=stop,
                    target_price=target,
                )
            case Cancel(key=key):
                return CancelProtection(instrument_id=instrument, client_order_id=key)

    def _conditional(
        self,
        guarded: Guarded,
        purpose: Purpose,
        order_type: OrderType,
        trigger_price: Decimal,
        qty: Decimal | None,
    ) -> OrderRequest:
        position = guarded.position
        return OrderRequest(
            instrument_id=position.instrument_id,
            client_order_id=client_order_id(
                position.position_id, purpose, guarded.next_attempt(purpose)
            ),
            purpose=purpose,
            side=position.side.exit_side,
            order_type=order_type,
            qty=qty,
            reduce_only=True,
            close_position=qty is None,
            trigger_price=trigger_price,
        )

    def _propose(self, guarded: Guarded, command: Command, *, reason: str) -> str:
        now = self._clock.now_ns()
        intent = TradeIntent(
            intent_id=self._intents.next(),
            position_id=guarded.position.position_id,
            source="exit",
            reason=reason,
            trace_id=guarded.position.trace_id,
            command=command,
        )
        self._bus.publish(IntentProposed(ts_event=now, ts_recv=now, intent=intent))
        return intent.intent_id

    def on_intent_completed(self, event: IntentCompleted) -> None:
        """Forget the request; on failure ask again at the steady pace, or close when told to."""
        guarded = self._guarded.get(event.instrument_id)
        if guarded is None or guarded.position.position_id != event.position_id:
            return
        closing = guarded.closing
        if closing is not None and closing.pending == event.client_order_id and not event.ok:
            closing.pending = ""
            self._close_again(guarded, event.outcome)
            return
        action = guarded.pending.pop(event.intent_id, None)
        if action is None:
            return
        if event.ok:
            self._evaluate(event.instrument_id)
            if isinstance(action, SetBoth) and not self.is_covered(event.instrument_id):
                # Acknowledged and not seen: without the stream (at start) the venue must be asked.
                self._want_snapshot(event.instrument_id.venue, "stop set, not seen yet")
            return
        self._on_failed(guarded, action, event)

    def _on_failed(self, guarded: Guarded, action: Action, event: IntentCompleted) -> None:
        passed = event.refusal == Refusal.WOULD_TRIGGER.value
        if passed and not self.is_covered(event.instrument_id):
            self._fail(guarded, f"the stop price was passed already: {event.outcome}")
            return
        if passed and isinstance(action, PlaceTarget):
            self.close(
                event.instrument_id,
                CloseCause.TP,
                Purpose.TARGET,
                f"the target price was passed already: {event.outcome}",
            )
            return
        if event.refusal in {Refusal.EXISTS.value, Refusal.NOT_FOUND.value}:
            self._want_snapshot(event.instrument_id.venue, event.outcome)
        self._retry_later(guarded)

    def _retry_later(self, guarded: Guarded) -> None:
        if "retry" in guarded.timers:
            return
        delay_s = self._config.protection_retry_ms / 1000
        self._start_timer(guarded, "retry", delay_s, self._retry)

    def _retry(self, guarded: Guarded) -> None:
        self._evaluate(guarded.position.instrument_id)

    def _want_snapshot(self, venue: Venue, reason: str) -> None:
        now = self._clock.now_ns()
        self._bus.publish(SnapshotWanted(ts_event=now, ts_recv=now, venue=venue, reason=reason))

    # --- deadlines -------------------------------------------------------------------------------

    def _start_deadlines(self, guarded: Guarded) -> None:
        self._start_timer(guarded, "soft", self._config.protection_soft_ms / 1000, self._on_soft)
        self._start_timer(guarded, "hard", self._config.protection_hard_ms / 1000, self._on_hard)

    def _on_soft(self, guarded: Guarded) -> None:
        now = self._clock.now_ns()
        naked_ns = self._clock.mono_ns() - (guarded.naked_since_ns or self._clock.mono_ns())
        self._bus.publish(
            ProtectionDelayed(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=guarded.position.instrument_id,
                naked_ns=naked_ns,
            )
        )

    def _on_hard(self, guarded: Guarded) -> None:
        self._fail(guarded, f"no stop within {self._config.protection_hard_ms} ms")

    def _fail(self, guarded: Guarded, reason: str) -> None:
        now = self._clock.now_ns()
        instrument = guarded.position.instrument_id
        self._bus.publish(
            ProtectionFailed(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=instrument,
                reason=reason,
            )
        )
        self.close(instrument, CloseCause.UNPROTECTED, Purpose.CLOSE_UNPROTECTED, reason)

    def _watch_trigger(self, instrument: InstrumentId, key: str) -> None:
        found = next((r for r in self._resting.of(instrument) if r.key == key), None)
        if found is None or found.status is not OrderStatus.TRIGGERING:
            return
        reason = f"{key} is triggering for {TRIGGERING_MAX_S} s without an order"
        self.close(instrument, CloseCause.WATCHDOG, Purpose.CLOSE_WATCHDOG, reason)

    def _after_filled(self, instrument: InstrumentId, position_id: str) -> None:
        guarded = self._guarded.get(instrument)
        if guarded is None or guarded.position.position_id != position_id:
            return
        self._want_snapshot(instrument.venue, f"a stop of {instrument} filled, position still open")
        self._evaluate(instrument)

    # --- closing ---------------------------------------------------------------------------------

    def close(
        self, instrument: InstrumentId, cause: CloseCause, purpose: Purpose, reason: str
    ) -> None:
        """Close the position there reduce-only at market until the venue says flat (R59, R60)."""
        guarded = self._guarded.get(instrument)
        if guarded is None or guarded.closing is not None:
            return
        guarded.closing = Closing(cause=cause, purpose=purpose, reason=reason)
        self._send_close(guarded)

    def _send_close(self, guarded: Guarded) -> None:
        closing, position = guarded.closing, guarded.position
        assert closing is not None
        if position.qty <= 0 or closing.pending:
            return
        closing.attempts += 1
        cap = guarded.instrument.market_qty_max
        request = OrderRequest(
            instrument_id=position.instrument_id,
            client_order_id=client_order_id(
                position.position_id, closing.purpose, guarded.next_attempt(closing.purpose)
            ),
            purpose=closing.purpose,
            side=position.side.exit_side,
            order_type=OrderType.MARKET,
            qty=min(position.qty, cap) if cap else position.qty,
            reduce_only=True,
        )
        closing.pending = request.client_order_id
        self._propose(
            guarded,
            ClosePosition(request=request, cause=closing.cause),
            reason=f"{closing.cause.value}: {closing.reason}",
        )

    def on_order_advanced(self, event: OrderAdvanced) -> None:
        """When a close order ended and something is still open, close the rest."""
        guarded = self._guarded.get(event.instrument_id)
        closing = guarded.closing if guarded is not None else None
        if guarded is None or closing is None or closing.pending != event.client_order_id:
            return
        if event.status.is_terminal and event.status is not OrderStatus.REJECTED:
            closing.pending = ""
            self._close_again(guarded, f"close order ended {event.status.value}")

    def _close_again(self, guarded: Guarded, why: str) -> None:
        closing = guarded.closing
        assert closing is not None
        delay_s = self._config.protection_retry_ms / 1000 * 2.0 ** min(closing.attempts - 1, 6)
        instrument = guarded.position.instrument_id
        if closing.attempts > 1:
            now = self._clock.now_ns()
            self._bus.publish(
                AlertRaised(
                    ts_event=now,
                    ts_recv=now,
                    rule="close_failed",
                    level="CRITICAL",
                    message=f"{instrument} attempt {closing.attempts} to close failed: {why}",
                )
            )
            self._want_snapshot(instrument.venue, f"closing {instrument}: {why}")
        self._start_timer(guarded, "close", min(delay_s, CLOSE_RETRY_MAX_S), self._send_close)

    def close_all(self, cause: CloseCause, purpose: Purpose, reason: str) -> int:
        """Close every position; return how many closes were begun."""
        before = [i for i, g in self._guarded.items() if g.closing is None]
        for instrument in before:
            self.close(instrument, cause, purpose, reason)
        return len(before)

    # --- orphans ---------------------------------------------------------------------------------

    def _sweep(self, instrument: InstrumentId, position_id: str) -> None:
        """Cancel our leftovers of a closed position, only when the venue says flat too (R62)."""
        if instrument in self._guarded:
            return
        left = self._resting.left_by(instrument, position_id)
        if not left:
            return
        if not self._flat.get(instrument, False):
            self._want_snapshot(instrument.venue, f"is {instrument} flat? orders are left there")
        else:
            for key in left:
                self._cancel_orphan(instrument, position_id, key)
        self._later(2 * ORPHAN_PATIENCE_S, lambda: self._sweep(instrument, position_id))

    def _cancel_orphan(self, instrument: InstrumentId, position_id: str, key: str) -> None:
        now = self._clock.now_ns()
        intent = TradeIntent(
            intent_id=self._intents.next(),
            position_id=position_id,
            source="exit",
            reason="orphan of a closed position",
            trace_id=position_id,
            command=CancelProtection(instrument_id=instrument, client_order_id=key),
        )
        self._bus.publish(IntentProposed(ts_event=now, ts_recv=now, intent=intent))

    # --- timers ----------------------------------------------------------------------------------

    def _later(self, delay_s: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, callback)

    def _start_timer(
        self, guarded: Guarded, name: str, delay_s: float, callback: Callable[[Guarded], None]
    ) -> None:
        def fire() -> None:
            guarded.timers.pop(name, None)
            if self._guarded.get(guarded.position.instrument_id) is guarded:
                callback(guarded)

        guarded.stop_timer(name)
        guarded.timers[name] = asyncio.get_running_loop().call_later(delay_s, fire)


def _reason_of(action: Action) -> str:
    match action:
        case PlaceStop(qty=None):
            return "floor stop for whatever is open"
        case PlaceStop():
            return "tighter stop at the entry price's distance"
        case PlaceTarget():
            return "target for whatever is open"
        case SetBoth():
            return "stop and target of the position"
        case Cancel():
            return "a better one works"


def _keep_found(guarded: Guarded, resting: tuple[Resting, ...], desired: Desired) -> Desired:
    # A position found with levels of its own keeps them: somebody chose them.
    stop = effective_stop(guarded.position, resting)
    targets = working(resting, ProtectionRole.TARGET)
    stop_price = stop.trigger_price if stop is not None else None
    target_price = targets[0].trigger_price if targets else None
    return Desired(
        stop_price=stop_price or desired.stop_price,
        target_price=target_price or desired.target_price,
        basis="as found" if stop_price is not None else desired.basis,
    )
