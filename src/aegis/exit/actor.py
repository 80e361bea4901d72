"""
Exit's shell on the bus: watches every position from its first fill, compares what the venue reports
with what it should carry, and asks for the difference.

Evidence comes in here and is weighed here. What is wanted is in wishes.py, moved by mover.py;
asking is in asking.py, cover in cover.py, ends of orders in ends.py, deadlines are in watchdogs.py,
closing is in closer.py, leftovers of closed positions are in orphans.py, a venue that cannot be
looked at is in unseen.py. Everything runs on the loop's clock, so that a scaled market does not
stretch a deadline.
"""

from typing import Final

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.ids import IdSource
from aegis.exit.asking import Asker
from aegis.exit.closer import Closer
from aegis.exit.cover import Cover
from aegis.exit.decide import (
    Action,
    PlaceStop,
    Resting,
    SetBoth,
    firing,
    installation_of,
)
from aegis.exit.ends import Ends
from aegis.exit.guarded import Guarded, stand_in
from aegis.exit.manual import ManualClose
from aegis.exit.mover import Mover
from aegis.exit.orphans import Orphans
from aegis.exit.plan import plan_actions
from aegis.exit.resting import RestingOrders
from aegis.exit.start_gate import StartGate
from aegis.exit.unseen import Unseen
from aegis.exit.voice import ExitVoice
from aegis.exit.watchdogs import Watchdogs
from aegis.exit.wishes import Wishes, rungs_firing
from aegis.model.account import Capabilities, ProtectionRole
from aegis.model.events import (
    EntryCompleted,
    EntryFailed,
    FillBooked,
    IntentCompleted,
    MarketTick,
    OrderAdvanced,
    OrderReported,
    OrderSubmitted,
    PositionClosed,
    PositionOpened,
    PositionReported,
    RunStarted,
    SnapshotReported,
    VenueConnected,
    VenueUnavailable,
)
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.order import Purpose
from aegis.model.position import CloseCause, PositionView
from aegis.model.restored import OpenBook
from aegis.settings import AegisConfig

START_REASON: Final = "start"


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
        self._wishes = Wishes(config)
        self._seen: set[Venue] = set()
        self._resting = RestingOrders(clock)
        self._orphans = Orphans(self._voice, self._resting)
        self._closer = Closer(
            self._voice,
            retry_ms=config.protection_retry_ms,
            look_again=self._evaluate,
            is_covered=self._is_covered,
        )
        self._manual = ManualClose(bus, self._closer, self._guarded.get)
        self._start = StartGate(self._voice)
        self._watchdogs = Watchdogs(
            clock,
            config,
            self._voice,
            close=self._closer.begin,
            resting_of=lambda g: self._resting.of(g.position.instrument_id),
            is_unproven=self._resting.is_unproven,
            look_again=self._evaluate,
        )
        self._ends = Ends(self._resting, self._watchdogs, self._closer)
        self._unseen = Unseen(self._voice, self._resting, self._watchdogs)
        self._cover = Cover(
            config,
            self._voice,
            self._watchdogs,
            resting_of=self._resting_of,
            on_covered=lambda g: self._check_started(g.position.instrument_id.venue),
        )
        self._mover = Mover(
            clock,
            config,
            self._watchdogs,
            close=self._closer.begin,
            resting_of=self._resting_of,
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
            orders=self._resting,
        )
        self.last_close_ns: int | None = None
        self._subscribe()

    def _subscribe(self) -> None:
        bus = self._bus
        bus.subscribe(RunStarted, self.on_run_started)
        bus.subscribe(VenueConnected, self.on_venue_connected)
        bus.subscribe(VenueUnavailable, self.on_venue_unavailable, critical=True)
        bus.subscribe(MarketTick, self.on_market_tick, critical=True)
        bus.subscribe(PositionOpened, self.on_position_opened, critical=True)
        bus.subscribe(FillBooked, self.on_fill_booked, critical=True)
        bus.subscribe(OrderSubmitted, self.on_order_submitted, critical=True)
        bus.subscribe(EntryFailed, self.on_entry_failed, critical=True)
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
        return self._cover.is_covered(guarded)

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

    def leave(self, left: OpenBook) -> None:
        """Take what earlier runs left open, for a venue that cannot be looked at."""
        self._unseen.leave(left)

    def on_venue_unavailable(self, event: VenueUnavailable) -> None:
        """Protect by the journal's word what is open on a venue that its start cannot look at."""
        venue = event.venue
        if venue in self._seen:
            return
        here = [g for i, g in self._guarded.items() if i.venue is venue]
        self._unseen.begin(venue, len(here))
        for guarded in here:
            self._evaluate(guarded)

    def on_orders_listed(self, venue: Venue) -> None:
        """Take the orders told so far as all that rest on *venue*."""
        self._unseen.on_orders_listed(venue)

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
        guarded.entry_done |= position.restored and not event.entry_under_way
        if position.restored:
            guarded.reserve_attempts(event.attempts)
        if not self._is_unseen(guarded) and not self._unseen.holds(guarded):
            self._watchdogs.on_naked(guarded)
        self._evaluate(guarded)

    def _new_guarded(self, position: PositionView) -> Guarded:
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
            plan=self._wishes.plan_of(position),
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
        elif event.position.qty == 0:
            # Found late: fills say flat by now, and not lists alone.
            self._orphans.on_accounted(event.position.instrument_id)

    def on_order_submitted(self, event: OrderSubmitted) -> None:
        """The stop that rests before an entry waits for it."""
        if event.request.purpose is Purpose.STOP_ENTRY:
            self._orphans.on_entering(event.request.instrument_id, event.position_id)

    def on_entry_failed(self, event: EntryFailed) -> None:
        """No position came: what rested before the entry is left over."""
        self._orphans.on_entry_failed(event.instrument_id, event.position_id)

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
        self._wishes.forget(instrument)
        self._resting.forget_position(instrument)
        self._orphans.on_closed(
            instrument, event.position.position_id, filled=event.position.qty == 0
        )
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
        if closes and not ended:
            self._ends.note(guarded, report, known=known)
        if known:
            self._evaluate(guarded)

    def on_market_tick(self, event: MarketTick) -> None:
        """Take the newest mark price of an open position."""
        guarded = self._guarded.get(event.instrument_id)
        if guarded is None or guarded.ended:
            return
        if event.mark is None:
            self._mover.on_mark_unknown(guarded)
        else:
            self._mover.on_mark(guarded, event.mark)

    def on_position_reported(self, event: PositionReported) -> None:
        """Take the venue's word about flat and about the position's own stop and target."""
        report = event.report
        self._wishes.note_told(report)
        self._unseen.hear(report.instrument_id)
        self._orphans.on_reported(report.instrument_id, flat=report.qty_signed == 0)
        if self._has_position_protection(report.instrument_id.venue):
            self._resting.note_position(report)
            guarded = self._guarded.get(report.instrument_id)
            if guarded is not None:
                self._evaluate(guarded)
        self._check_started(report.instrument_id.venue)

    def on_snapshot_reported(self, event: SnapshotReported) -> None:
        """Replace what was believed to rest by what the venue lists."""
        snapshot = event.snapshot
        venue = snapshot.venue
        self._seen.add(venue)
        self._unseen.end(venue)
        told = snapshot.positions if self._has_position_protection(venue) else ()
        vanished = self._resting.replace(venue, snapshot.orders, told)
        for report in snapshot.positions:
            self._wishes.note_told(report)
        shown = {r.instrument_id: None for r in snapshot.positions if r.qty_signed != 0}
        self._orphans.on_snapshot(venue, shown)
        if event.reason == START_REASON:
            self._start.on_found(venue, shown)
        for instrument, guarded in [e for e in self._guarded.items() if e[0].venue is venue]:
            guarded.unlisted = instrument in vanished and instrument in shown
            self._evaluate(guarded)
            guarded.unlisted = False
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

    def _is_unseen(self, guarded: Guarded) -> bool:
        # Of an earlier run, before the first snapshot: what rests there is unknown, not nothing.
        venue = guarded.position.instrument_id.venue
        is_asked = venue not in self._seen and not self._unseen.is_unseen(venue)
        return guarded.position.restored and is_asked

    def _evaluate(self, guarded: Guarded) -> None:
        if guarded.ended or self._is_unseen(guarded):
            return
        if guarded.position.qty <= 0:
            # Closed by fills while its entry may still fill: nothing is naked now.
            self._watchdogs.on_nothing_open(guarded)
            return
        resting = self._resting_of(guarded)
        if self._resting.is_unproven(guarded.position.instrument_id):
            self._watchdogs.watch_proof(guarded)
        unseen, covered = self._unseen.holds(guarded), self._is_covered(guarded)
        if unseen:
            self._unseen.take_acknowledged(guarded)
        else:
            self._wishes.take_found(guarded, resting)
        if covered or not (unseen and self._unseen.is_trusted(guarded)):
            self._cover.note(guarded)
        self._watchdogs.watch_firing(guarded, firing(guarded.position, resting))
        self._watchdogs.watch_rungs(guarded, rungs_firing(guarded.position, resting))
        closing = guarded.closing
        if closing is not None:
            self._closer.push(guarded)
            if closing.failures == 0:
                return
        for action in self._wanted_actions(guarded):
            if unseen and not self._unseen.wants(guarded, action, covered=covered):
                continue
            # While a close fails a stop is still worth having; a target is not.
            if closing is None or isinstance(action, PlaceStop | SetBoth):
                self._asker.start(guarded, action, self._resting_of(guarded))

    def _wanted_actions(self, guarded: Guarded) -> tuple[Action, ...]:
        position = guarded.position
        if not guarded.known or self._watchdogs.is_settling(guarded):
            return ()
        resting = self._resting_of(guarded)
        desired = self._wishes.desired(guarded, resting)
        if desired is None:
            return ()
        if desired != guarded.desired:
            guarded.desired = desired
            self._voice.wanted(guarded)
        return plan_actions(
            position,
            desired,
            resting,
            capabilities=self._capabilities[position.instrument_id.venue],
            instrument=guarded.instrument,
            entry_done=guarded.entry_done,
            due=self._wishes.due(guarded),
        )

    def on_intent_completed(self, event: IntentCompleted) -> None:
        """Forget the request; on failure ask again at its pace, or close when told to."""
        guarded = self._guarded.get(event.instrument_id)
        if guarded is None or guarded.position.position_id != event.position_id:
            self._orphans.on_intent_completed(event)
            return
        self._closer.on_intent_completed(guarded, event)
        if self._unseen.holds(guarded):
            self._unseen.on_answer(guarded, guarded.pending.get(event.intent_id), event)
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
