"""
Safety's shell on the bus: keeps what the gate needs from events, asks the gate, publishes its word.

Holds the halt latch (trade has a read-only view), the reservations and the daily baselines.
"""

import math
from decimal import Decimal
from functools import partial
from typing import Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import Clock, format_ns
from aegis.core.latch import HaltLatch
from aegis.model.account import OrderReport, equity_of
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    BalanceReported,
    DayStarted,
    EntriesHalted,
    EntriesResumed,
    EntryCompleted,
    EntryFailed,
    FillBooked,
    GuardChecked,
    IntentApproved,
    IntentDenied,
    IntentProposed,
    KillSwitchPulled,
    MarketTick,
    OrderReported,
    PositionClosed,
    PositionOpened,
    ProtectionFailed,
    SecondLegFound,
    SecondLegGone,
    SnapshotReported,
    VenueProtected,
)
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import Approved, EnterPosition, TradeIntent
from aegis.model.money import ZERO
from aegis.model.position import PositionView
from aegis.safety.decide import (
    Denied,
    Exposure,
    GateState,
    Limits,
    VenueState,
    Verdict,
    drawdown_pct,
    gate,
)
from aegis.safety.strangers import Strangers
from aegis.settings import AegisConfig


@attrs.define(slots=True, kw_only=True)
class _VenueBook:
    wallet: Decimal | None = None
    protected: bool = False
    day: str = ""
    day_start_equity: Decimal | None = None
    day_locked: str = ""
    protection_failures: int = 0
    """Positions of this UTC day that had to be closed because no stop could be confirmed."""
    settles_mono_ns: int | None = None
    """Until then wallet and positions may tell of different moments; None: they agree."""
    account_doubt: str = ""


@attrs.frozen(slots=True, kw_only=True)
class _Reservation:
    instrument_id: InstrumentId
    notional: Decimal


PROTECTION_FAILURES_MAX: Final = 2
"""So many positions without a stop on one day, and the venue gets no more entries that day."""
SETTLE_NS: Final = 1_000_000_000
"""A venue tells the wallet after a close and the fill itself in either order, within this."""
ENDED_KEPT: Final = 10_000


def _guard_checked(intent: TradeIntent, verdict: Verdict, now: int) -> GuardChecked:
    return GuardChecked(
        ts_event=now,
        ts_recv=now,
        intent_id=intent.intent_id,
        instrument_id=intent.instrument_id,
        checks=tuple((c.guard, c.passed, c.seen) for c in verdict.checks),
    )


def limits_of(config: AegisConfig) -> Limits:
    """Return the gate's limits as the settings give them."""
    return Limits(
        positions_max=config.positions_max,
        positions_max_per_venue=config.positions_max_per_venue,
        exposure_max_pct=config.exposure_max_pct,
        daily_drawdown_max_pct=config.daily_drawdown_max_pct,
        stale_after_ns=round(config.stale_after_s * 1e9),
    )


class SafetyActor:
    """Gate every intent; lock a venue's entries for the day when it lost too much (R64)."""

    def __init__(
        self, bus: EventBus, clock: Clock, config: AegisConfig, latch: HaltLatch, *, bar_ns: int
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._limits = limits_of(config)
        self._latch = latch
        self._halt = latch.view()
        self._bar_ns = bar_ns
        self._venues: dict[Venue, _VenueBook] = {}
        self._positions: dict[InstrumentId, PositionView] = {}
        self._reservations: dict[str, _Reservation] = {}
        self._marks: dict[InstrumentId, Decimal] = {}
        self._tick_ns: dict[InstrumentId, int] = {}
        self._stray: dict[InstrumentId, dict[str, str]] = {}
        self._ended: dict[tuple[InstrumentId, str], None] = {}
        self._second_legs: dict[InstrumentId, str] = {}
        self._strangers = Strangers(bus, clock, self._halt_all)
        self._subscribe()

    def _subscribe(self) -> None:
        bus = self._bus
        bus.subscribe(IntentProposed, self.on_intent_proposed, critical=True)
        bus.subscribe(MarketTick, self.on_market_tick)
        bus.subscribe(BalanceReported, self.on_balance_reported)
        bus.subscribe(SnapshotReported, self.on_snapshot_reported)
        bus.subscribe(OrderReported, self.on_order_reported)
        bus.subscribe(PositionOpened, self.on_position_opened)
        bus.subscribe(FillBooked, self.on_fill_booked)
        bus.subscribe(EntryCompleted, self.on_entry_completed)
        bus.subscribe(EntryFailed, self.on_entry_failed)
        bus.subscribe(PositionClosed, self.on_position_closed)
        bus.subscribe(ProtectionFailed, self.on_protection_failed)
        bus.subscribe(VenueProtected, self.on_venue_protected)
        bus.subscribe(AccountDoubted, self.on_account_doubted, critical=True)
        bus.subscribe(AccountConfirmed, self.on_account_confirmed, critical=True)
        bus.subscribe(SecondLegFound, self.on_second_leg_found, critical=True)
        bus.subscribe(SecondLegGone, self.on_second_leg_gone, critical=True)
        bus.subscribe(KillSwitchPulled, self.on_kill_switch_pulled)

    # --- the gate --------------------------------------------------------------------------------

    def on_intent_proposed(self, event: IntentProposed) -> None:
        """Answer approved or denied; an approved entry is reserved at once (R37)."""
        intent, now = event.intent, self._clock.now_ns()
        instrument = intent.instrument_id
        verdict = gate(self._state_for(instrument, now), intent, self._limits, now)
        if verdict.checks:
            self._bus.tell(GuardChecked, partial(_guard_checked, intent, verdict, now))
        match verdict.outcome:
            case Approved() as approved:
                if isinstance(intent.command, EnterPosition):
                    qty = intent.command.request.qty or ZERO
                    self._reservations[intent.position_id] = _Reservation(
                        instrument_id=instrument, notional=qty * intent.command.mark_price
                    )
                self._bus.publish(IntentApproved(ts_event=now, ts_recv=now, approved=approved))
            case Denied() as denied:
                self._bus.publish(
                    IntentDenied(
                        ts_event=now,
                        ts_recv=now,
                        intent=intent,
                        guard=denied.guard,
                        reason=denied.reason,
                    )
                )

    def _state_for(self, instrument: InstrumentId, now: int) -> GateState:
        tick_ns = self._tick_ns.get(instrument)
        return GateState(
            halt_reasons=self._halt.reasons,
            venue=self.venue_state(instrument.venue),
            exposures=self.exposures(),
            tick_age_ns=None if tick_ns is None else now - tick_ns,
            resting=len(self._stray.get(instrument, ())),
            bar_ns=self._bar_ns,
        )

    # --- what ops may read -----------------------------------------------------------------------

    def venue_state(self, venue: Venue) -> VenueState:
        """Return what the gate would see of *venue* now."""
        book = self._venues.get(venue) or _VenueBook()
        second_leg = ""
        for instrument, text in self._second_legs.items():
            if instrument.venue is venue:
                second_leg = text
                break
        return VenueState(
            protected=book.protected,
            equity=self._equity(venue),
            day_start_equity=book.day_start_equity,
            day_locked=book.day_locked,
            account_doubt=book.account_doubt,
            second_leg=second_leg,
        )

    def exposures(self) -> tuple[Exposure, ...]:
        """Return open positions, then reservations of entries that have no position yet."""
        if not self._positions and not self._reservations:
            return ()
        rows = [
            Exposure(
                position_id=view.position_id,
                instrument_id=instrument,
                notional=self._notional(view, self._reservations.get(view.position_id)),
                reserved=False,
            )
            for instrument, view in self._positions.items()
        ]
        open_ids = {view.position_id for view in self._positions.values()}
        rows.extend(
            Exposure(
                position_id=position_id,
                instrument_id=held.instrument_id,
                notional=held.notional,
                reserved=True,
            )
            for position_id, held in self._reservations.items()
            if position_id not in open_ids
        )
        return tuple(rows)

    def _notional(self, view: PositionView, held: _Reservation | None) -> Decimal | None:
        mark = self._marks.get(view.instrument_id)
        if mark is None:
            return None
        now = view.qty * mark
        # While the entry still fills, the whole of what was asked for counts.
        return max(now, held.notional) if held is not None else now

    def _equity(self, venue: Venue) -> Decimal | None:
        book = self._venues.get(venue)
        if not self._positions:
            return book.wallet if book else None
        here = {
            instrument: (view.qty * view.side.sign, view.entry_px_avg)
            for instrument, view in self._positions.items()
            if instrument.venue is venue
        }
        return equity_of(book.wallet if book else None, here, self._marks)

    # --- facts -----------------------------------------------------------------------------------

    def on_market_tick(self, event: MarketTick) -> None:
        """
        Keep mark and age; watch the drawdown while a position is open there.

        What is no price leaves the last one standing, and does not count as fresh.
        """
        instrument = event.instrument_id
        if event.mark is not None:
            if not math.isfinite(event.mark) or event.mark <= 0:
                return
            self._marks[instrument] = Decimal(repr(event.mark))
        self._tick_ns[instrument] = event.ts_recv
        if instrument in self._positions:
            self._watch_day(instrument.venue)

    def on_balance_reported(self, event: BalanceReported) -> None:
        """Keep the wallet; look at the drawdown once the positions had time to follow it."""
        venue = event.report.venue
        book = self._book(venue)
        if book.wallet not in {None, event.report.wallet} and any(
            instrument.venue is venue for instrument in self._positions
        ):
            # Otherwise the loss of a close counts twice, in the wallet and in the position that is
            # still believed open, and locks the day for nothing.
            book.settles_mono_ns = self._clock.mono_ns() + SETTLE_NS
        book.wallet = event.report.wallet
        self._watch_day(venue)

    def on_snapshot_reported(self, event: SnapshotReported) -> None:
        """Take wallet and marks, and count resting orders anew: a snapshot is complete."""
        snapshot = event.snapshot
        self._book(snapshot.venue).wallet = snapshot.balance.wallet
        for report in snapshot.positions:
            if report.mark_price is not None:
                self._marks[report.instrument_id] = report.mark_price
        for instrument in [i for i in self._stray if i.venue is snapshot.venue]:
            del self._stray[instrument]
        for order in snapshot.orders:
            self._note_order(order)

    def on_order_reported(self, event: OrderReported) -> None:
        """Keep count of reduce-only orders that rest where no position is open."""
        self._note_order(event.report)

    def _note_order(self, report: OrderReport) -> None:
        if not (report.reduce_only or report.close_position) or report.position_bound:
            return
        key = report.client_order_id or report.venue_order_id
        held = self._stray.setdefault(report.instrument_id, {})
        if report.status.is_terminal:
            held.pop(key, None)
            self._ended[report.instrument_id, key] = None
            if len(self._ended) > ENDED_KEPT:
                del self._ended[next(iter(self._ended))]
        elif (report.instrument_id, key) not in self._ended:
            # An answer that was overtaken by the order's end must not block the instrument.
            held[key] = report.venue_order_id

    def on_position_opened(self, event: PositionOpened) -> None:
        """Count the position."""
        self._positions[event.position.instrument_id] = event.position
        if event.position.adopted or event.position.restored:
            self._reservations.pop(event.position.position_id, None)

    def on_fill_booked(self, event: FillBooked) -> None:
        """Follow the position's quantity."""
        known = self._positions.get(event.position.instrument_id)
        # A fill found late may be of a position that ended, while the next one is open.
        if known is not None and known.position_id == event.position.position_id:
            self._positions[event.position.instrument_id] = event.position

    def on_entry_completed(self, event: EntryCompleted) -> None:
        """Release the reservation: from here on the position itself counts."""
        self._reservations.pop(event.position.position_id, None)

    def on_entry_failed(self, event: EntryFailed) -> None:
        """Release the reservation (R37: every terminal path releases)."""
        self._reservations.pop(event.position_id, None)

    def on_position_closed(self, event: PositionClosed) -> None:
        """Free the slot."""
        self._positions.pop(event.position.instrument_id, None)
        self._reservations.pop(event.position.position_id, None)

    def on_protection_failed(self, event: ProtectionFailed) -> None:
        """Stop opening what cannot be protected: each try costs fees and a naked moment."""
        venue = event.instrument_id.venue
        book = self._book(venue)
        book.protection_failures += 1
        if book.protection_failures < PROTECTION_FAILURES_MAX or book.day_locked:
            return
        now = self._clock.now_ns()
        book.day = book.day or format_ns(now)[:10]
        book.day_locked = (
            f"{book.protection_failures} positions got no stop on {book.day}: "
            "no entries until the next UTC day"
        )
        self._bus.publish(
            EntriesHalted(ts_event=now, ts_recv=now, scope=venue.value, reason=book.day_locked)
        )

    def on_venue_protected(self, event: VenueProtected) -> None:
        """Allow entries on a venue whose found positions all carry stops (R88)."""
        self._book(event.venue).protected = True
        self._watch_day(event.venue)

    def on_account_doubted(self, event: AccountDoubted) -> None:
        """Refuse entries on a venue whose stream may have lost something (R12)."""
        self._book(event.venue).account_doubt = event.reason

    def on_account_confirmed(self, event: AccountConfirmed) -> None:
        """Allow entries again: fills and snapshot have come."""
        self._book(event.venue).account_doubt = ""

    def on_second_leg_found(self, event: SecondLegFound) -> None:
        """Refuse entries on a venue where a person trades against the bot in hedge mode (R41)."""
        self._second_legs[event.instrument_id] = event.text

    def on_second_leg_gone(self, event: SecondLegGone) -> None:
        """Allow entries again: the bot sees all there is."""
        self._second_legs.pop(event.instrument_id, None)

    def on_kill_switch_pulled(self, event: KillSwitchPulled) -> None:
        """Halt entries everywhere; only an operator lifts it (R73)."""
        self._halt_all(f"kill switch by {event.operator}: {event.reason}")

    def _halt_all(self, reason: str) -> None:
        now = self._clock.now_ns()
        self._latch.set(reason, at_ns=now)
        self._bus.publish(EntriesHalted(ts_event=now, ts_recv=now, scope="all", reason=reason))

    def reset_kill_switch(self, operator: str) -> None:
        """Lift every halt in the name of *operator*."""
        now = self._clock.now_ns()
        for lifted in self._latch.reset(operator):
            text = f"{lifted.reason}: lifted by {operator}"
            self._bus.publish(EntriesResumed(ts_event=now, ts_recv=now, scope="all", reason=text))

    # --- the day ---------------------------------------------------------------------------------

    def restore_day(self, venue: Venue, day: str, equity: Decimal, locked: str) -> None:
        """Take over the baseline and lock an earlier run journaled: no restart re-bases (R65)."""
        book = self._book(venue)
        book.day, book.day_start_equity, book.day_locked = day, equity, locked

    def on_day_timer(self) -> None:
        """Look whether a new UTC day began on any venue."""
        for venue in sorted(self._venues):
            self._watch_day(venue)

    def _watch_day(self, venue: Venue) -> None:
        book = self._book(venue)
        if not book.protected or self._is_settling(book):
            return
        equity = self._equity(venue)
        if equity is None:
            return
        now = self._clock.now_ns()
        today = format_ns(now)[:10]
        if today != book.day:
            unlocked, book.day_locked = book.day_locked, ""
            book.protection_failures = 0
            book.day, book.day_start_equity = today, equity
            self._bus.publish(
                DayStarted(ts_event=now, ts_recv=now, venue=venue, day=today, equity=equity)
            )
            if unlocked:
                self._bus.publish(
                    EntriesResumed(
                        ts_event=now, ts_recv=now, scope=venue.value, reason="new UTC day"
                    )
                )
            return
        loss = drawdown_pct(self.venue_state(venue)) if not book.day_locked else None
        if loss is not None and loss >= self._limits.daily_drawdown_max_pct:
            book.day_locked = (
                f"down {loss:.2f} % on {today}, limit {self._limits.daily_drawdown_max_pct} %: "
                "no entries until the next UTC day"
            )
            self._bus.publish(
                EntriesHalted(ts_event=now, ts_recv=now, scope=venue.value, reason=book.day_locked)
            )

    def _is_settling(self, book: _VenueBook) -> bool:
        if book.settles_mono_ns is None:
            return False
        if self._clock.mono_ns() < book.settles_mono_ns:
            return True
        book.settles_mono_ns = None
        return False

    def _book(self, venue: Venue) -> _VenueBook:
        return self._venues.setdefault(venue, _VenueBook())
