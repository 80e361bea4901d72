"""
Exit's shell on the bus: watches every position from its first fill, compares what the venue reports
with what it should carry, and asks for the difference.

Evidence comes in here and is weighed here. Asking is in asking.py, deadlines are in watchdogs.py,
closing is in closer.py, leftovers of closed positions are in orphans.py. Everything runs on the
loop's clock, so that a scaled market does not stretch a deadline.
"""

from decimal import Decimal
from typing import Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.ids import IdSource
from aegis.exit.asking import Asker
from aegis.exit.closer import Closer
from aegis.exit.decide import (
    Action,
    Desired,
    PlaceStop,
    Resting,
    SetBoth,
    covered_qty,
    default_plan,
    desired_protection,
    effective_stop,
    firing,
    installation_of,
    keep_found,
    plan_actions,
    working,
)
from aegis.exit.guarded import Guarded, stand_in
from aegis.exit.orphans import Orphans
from aegis.exit.resting import RestingOrders
from aegis.exit.start_gate import StartGate
from aegis.exit.voice import ExitVoice
from aegis.exit.watchdogs import Watchdogs
from aegis.model.account import Capabilities, OrderReport, PositionReport, ProtectionRole
from aegis.model.events import (
    EntryCompleted,
    FillBooked,
    IntentCompleted,
    OrderAdvanced,
    OrderReported,
    PositionClosed,
    PositionOpened,
    PositionReported,
    RunStarted,
    SnapshotReported,
    VenueConnected,
)
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.order import OrderStatus, Purpose
from aegis.model.position import CloseCause, PositionView
from aegis.settings import AegisConfig

START_REASON: Final = "start"


@attrs.frozen(slots=True)
class _Told:
    """Mark and liquidation price of the newest position report; None while not told."""

    mark_px: Decimal | None
    liquidation_px: Decimal | None


class ExitActor:
    """Protect, verify, and close what cannot be protected."""

    def __init__(
        self, bus: EventBus, clock: Clock, config: AegisConfig, *, intents: IdSource
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._config = config
        self._voice = ExitVoice(bus, clock, intents)
        self._instruments: dict[InstrumentId, Instrument] = {}
        self._capabilities: dict[Venue, Capabilities] = {}
        self._guarded: dict[InstrumentId, Guarded] = {}
        self._told: dict[InstrumentId, _Told] = {}
        self._resting = RestingOrders(clock)
        self._orphans = Orphans(self._voice, self._resting)
        self._closer = Closer(
            self._voice, retry_ms=config.protection_retry_ms, look_again=self._evaluate
        )
        self._start = StartGate(self._voice)
        self._watchdogs = Watchdogs(
            clock,
            config,
            self._voice,
            close=self._closer.begin,
            resting_of=lambda g: self._resting.of(g.position.instrument_id),
            look_again=self._evaluate,
        )
        self._asker = Asker(
            clock,
            self._voice,
            self._closer,
            self._watchdogs,
            retry_ms=config.protection_retry_ms,
            capabilities=self._capabilities,
            look_again=self._evaluate,
        )
        self.last_close_ns: int | None = None
        self._subscribe()

    def _subscribe(self) -> None:
        bus = self._bus
        bus.subscribe(RunStarted, self.on_run_started)
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
        """Return every open position with the working protective orders that can close it."""
        return tuple((g, self._resting_of(g)) for g in self._guarded.values())

    def is_covered(self, instrument: InstrumentId) -> bool:
        """Say whether the venue reports stops for the whole of the position there."""
        guarded = self._guarded.get(instrument)
        return guarded is None or self._is_covered(guarded)

    def _is_covered(self, guarded: Guarded) -> bool:
        covered = covered_qty(guarded.position, self._resting_of(guarded))
        return covered >= guarded.position.qty or self._watchdogs.is_settling(guarded)

    def _resting_of(self, guarded: Guarded) -> tuple[Resting, ...]:
        side = guarded.position.side.exit_side
        return tuple(r for r in self._resting.of(guarded.position.instrument_id) if r.side is side)

    # --- positions -------------------------------------------------------------------------------

    def on_run_started(self, event: RunStarted) -> None:
        """Keep whose orders are ours."""
        self._orphans.installation = event.installation

    def on_venue_connected(self, event: VenueConnected) -> None:
        """Keep instruments and abilities."""
        self._capabilities[event.venue] = event.capabilities
        for instrument in event.instruments:
            self._instruments[instrument.instrument_id] = instrument
        for guarded in [g for i, g in self._guarded.items() if i.venue is event.venue]:
            found = self._instruments.get(guarded.position.instrument_id)
            if found is not None:
                guarded.instrument, guarded.known = found, True
                self._evaluate(guarded)

    def on_position_opened(self, event: PositionOpened) -> None:
        """Guard from the first fill on, adopted positions included."""
        position = event.position
        key = position.instrument_id
        before = self._guarded.get(key)
        if before is not None and before.position.position_id == position.position_id:
            before.position = position
            self._evaluate(before)
            return
        if before is not None:
            before.end()
        guarded = self._guarded[key] = self._new_guarded(position)
        self._orphans.installation = installation_of(position.position_id)
        self._orphans.on_opened(key)
        self._watchdogs.on_naked(guarded)
        self._evaluate(guarded)

    def _new_guarded(self, position: PositionView) -> Guarded:
        entry_px = position.entry_px_avg
        assert entry_px is not None, position
        told = self._told.get(position.instrument_id) if position.adopted else None
        plan = position.plan or default_plan(
            entry_px,
            self._config.max_stop_pct,
            self._config.target_r,
            liquidation_px=told.liquidation_px if told is not None else None,
            liquidation_use_max=self._config.liquidation_use_max,
        )
        instrument = self._instruments.get(position.instrument_id)
        if instrument is None:
            self._voice.alert(
                "instrument_unknown",
                "CRITICAL",
                f"{position.instrument_id} is open and its rules are not known: unless a stop "
                f"is found there it is closed in {self._config.protection_hard_ms} ms",
            )
        return Guarded(
            position=position,
            instrument=instrument or stand_in(position),
            known=instrument is not None,
            plan=plan,
            entry_done=position.adopted,
            opened_mono_ns=self._clock.mono_ns(),
            naked_since_ns=None,
        )

    def _guarded_as(self, position: PositionView) -> Guarded | None:
        guarded = self._guarded.get(position.instrument_id)
        if guarded is None or guarded.position.position_id != position.position_id:
            return None
        return guarded

    def on_fill_booked(self, event: FillBooked) -> None:
        """Follow the quantity (R34)."""
        guarded = self._guarded_as(event.position)
        if guarded is not None:
            guarded.position = event.position
            self._evaluate(guarded)

    def on_entry_completed(self, event: EntryCompleted) -> None:
        """The entry price is final: aim at its distances."""
        guarded = self._guarded_as(event.position)
        if guarded is not None:
            guarded.position = event.position
            guarded.entry_done = True
            self._evaluate(guarded)

    def on_position_closed(self, event: PositionClosed) -> None:
        """Stop all watching at once (R61); cancel what may be left when flat is confirmed twice."""
        instrument = event.position.instrument_id
        self.last_close_ns = self._clock.now_ns()
        guarded = self._guarded_as(event.position)
        if guarded is None and instrument in self._guarded:
            return
        if guarded is not None:
            guarded.end()
            del self._guarded[instrument]
        self._told.pop(instrument, None)
        self._resting.forget_position(instrument)
        self._orphans.on_closed(instrument)
        self._start.on_ended(instrument)
        self._check_started(instrument.venue)

    # --- what the venue reports ------------------------------------------------------------------

    def on_order_reported(self, event: OrderReported) -> None:
        """Take evidence about protective orders, ours or not."""
        report = event.report
        ended = self._resting.has_ended(report)
        known = self._resting.note(report)
        guarded = self._guarded.get(report.instrument_id)
        if guarded is None:
            if known and report.status.is_working:
                self._orphans.look(report.instrument_id)
            return
        closes = (
            report.role is not ProtectionRole.NONE
            and report.side is guarded.position.side.exit_side
        )
        if closes and report.status is OrderStatus.FILLED and not ended:
            self._watchdogs.on_filled(guarded)
        elif closes and known and report.status.is_terminal and _is_stop(report):
            guarded.end_told = (
                f"stop {self._resting.key_of(report)} is {report.status.value} "
                f"{report.reject_message}".strip()
            )
        if known:
            self._evaluate(guarded)

    def on_position_reported(self, event: PositionReported) -> None:
        """Take the venue's word about flat and about the position's own stop and target."""
        report = event.report
        self._note_told(report)
        self._orphans.on_reported(report.instrument_id, flat=report.qty_signed == 0)
        if self._has_position_protection(report.instrument_id.venue):
            self._resting.note_position(report)
            guarded = self._guarded.get(report.instrument_id)
            if guarded is not None:
                self._evaluate(guarded)
        self._check_started(report.instrument_id.venue)

    def _note_told(self, report: PositionReport) -> None:
        if report.qty_signed == 0:
            self._told.pop(report.instrument_id, None)
            return
        before = self._told.get(report.instrument_id)
        liquidation = report.liquidation_price
        if liquidation is None and before is not None:
            liquidation = before.liquidation_px
        self._told[report.instrument_id] = _Told(report.mark_price, liquidation)

    def on_snapshot_reported(self, event: SnapshotReported) -> None:
        """Replace what was believed to rest by what the venue lists."""
        snapshot = event.snapshot
        venue = snapshot.venue
        told = snapshot.positions if self._has_position_protection(venue) else ()
        self._resting.replace(venue, snapshot.orders, told)
        for report in snapshot.positions:
            self._note_told(report)
        shown = {r.instrument_id: None for r in snapshot.positions if r.qty_signed != 0}
        self._orphans.on_snapshot(venue, shown)
        if event.reason == START_REASON:
            self._start.on_found(venue, shown)
        for guarded in [g for i, g in self._guarded.items() if i.venue is venue]:
            self._evaluate(guarded)
        self._check_started(venue)

    def _check_started(self, venue: Venue) -> None:
        if not self._start.is_waiting(venue):
            return
        here = [i for i in self._guarded if i.venue is venue]
        safe = [i for i in here if self._guarded[i].announced and self.is_covered(i)]
        self._start.check(venue, guarded=here, safe=safe, is_flat=self._orphans.is_flat)

    def _has_position_protection(self, venue: Venue) -> bool:
        capabilities = self._capabilities.get(venue)
        return capabilities is not None and capabilities.position_protection

    # --- desired against actual ------------------------------------------------------------------

    def _evaluate(self, guarded: Guarded) -> None:
        if guarded.ended:
            return
        if guarded.position.qty <= 0:
            # Closed by fills while its entry may still fill: nothing is naked now.
            self._watchdogs.on_nothing_open(guarded)
            return
        self._note_cover(guarded)
        self._watchdogs.watch_firing(guarded, firing(guarded.position, self._resting_of(guarded)))
        closing = guarded.closing
        if closing is not None:
            self._closer.push(guarded)
            if closing.failures == 0:
                return
        for action in self._wanted_actions(guarded):
            # While a close fails a stop is still worth having; a target is not.
            if closing is None or isinstance(action, PlaceStop | SetBoth):
                self._asker.start(guarded, action, self._resting_of(guarded))

    def _wanted_actions(self, guarded: Guarded) -> tuple[Action, ...]:
        position = guarded.position
        if not guarded.known or self._watchdogs.is_settling(guarded):
            return ()
        desired = self._desired(guarded)
        if desired is None:
            return ()
        if desired != guarded.desired:
            guarded.desired = desired
            self._voice.wanted(guarded)
        return plan_actions(
            position,
            desired,
            self._resting_of(guarded),
            capabilities=self._capabilities[position.instrument_id.venue],
            instrument=guarded.instrument,
            entry_done=guarded.entry_done,
        )

    def _desired(self, guarded: Guarded) -> Desired | None:
        position = guarded.position
        desired = desired_protection(
            position, guarded.plan, guarded.instrument, entry_done=guarded.entry_done
        )
        if desired is None or not position.adopted:
            return desired
        told = self._told.get(position.instrument_id)
        return keep_found(
            position,
            self._resting_of(guarded),
            desired,
            before=guarded.desired,
            mark_px=told.mark_px if told is not None else None,
            liquidation_px=told.liquidation_px if told is not None else None,
        )

    # --- cover -----------------------------------------------------------------------------------

    def _note_cover(self, guarded: Guarded) -> None:
        if not self._is_covered(guarded):
            if guarded.naked_since_ns is None:
                self._watchdogs.on_naked(guarded)
                if guarded.announced and guarded.closing is None:
                    self._watchdogs.on_lost(guarded)
            return
        self._watchdogs.on_covered(guarded)
        guarded.end_told = ""
        self._announce(guarded)
        self._check_started(guarded.position.instrument_id.venue)

    def _announce(self, guarded: Guarded) -> None:
        resting = self._resting_of(guarded)
        stop = effective_stop(guarded.position, resting)
        if stop is None or stop.trigger_price is None:
            return
        targets = working(resting, ProtectionRole.TARGET)
        if targets or guarded.announced:
            guarded.stop_timer("target")
            self._voice.covered(guarded, stop, targets[0] if targets else None)
        elif "target" not in guarded.timers:
            # The stop works; the target gets a moment so that both are told in one line.
            soft_s = self._config.protection_soft_ms / 1000
            guarded.start_timer("target", soft_s, self._announce_without)

    def _announce_without(self, guarded: Guarded) -> None:
        stop = effective_stop(guarded.position, self._resting_of(guarded))
        if stop is not None and self._is_covered(guarded):
            self._voice.covered(guarded, stop, None)
            self._check_started(guarded.position.instrument_id.venue)

    def on_intent_completed(self, event: IntentCompleted) -> None:
        """Forget the request; on failure ask again at its pace, or close when told to."""
        guarded = self._guarded.get(event.instrument_id)
        if guarded is None or guarded.position.position_id != event.position_id:
            self._orphans.on_intent_completed(event)
            return
        self._closer.on_intent_completed(guarded, event)
        if self._asker.on_intent_completed(guarded, event, covered=self._is_covered(guarded)):
            self._evaluate(guarded)

    # --- closing ---------------------------------------------------------------------------------

    def close(
        self, instrument: InstrumentId, cause: CloseCause, purpose: Purpose, reason: str
    ) -> None:
        """Close the position there reduce-only at market until the venue says flat (R59, R60)."""
        guarded = self._guarded.get(instrument)
        if guarded is not None:
            self._closer.begin(guarded, cause, purpose, reason)

    def close_all(self, cause: CloseCause, purpose: Purpose, reason: str) -> int:
        """Close every position; return how many closes were begun."""
        everything = list(self._guarded.values())
        return sum(self._closer.begin(g, cause, purpose, reason) for g in everything)

    def on_order_advanced(self, event: OrderAdvanced) -> None:
        """When a close order ended and something is still open, close the rest."""
        guarded = self._guarded.get(event.instrument_id)
        if guarded is not None:
            self._closer.on_order_advanced(guarded, event)


def _is_stop(report: OrderReport) -> bool:
    return report.role is ProtectionRole.STOP
