"""What exit says on the bus: its wishes, and the facts about protection it has learned."""

from decimal import Decimal

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.ids import IdSource
from aegis.exit.decide import Resting
from aegis.exit.guarded import Guarded
from aegis.model.events import (
    AlertRaised,
    IntentProposed,
    KillSwitchPulled,
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionMismatchFound,
    ProtectionMismatchKind,
    ProtectionWanted,
    SnapshotWanted,
    VenueProtected,
)
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import Command, TradeIntent


class ExitVoice:
    """Publish in exit's name."""

    def __init__(self, bus: EventBus, clock: Clock, intents: IdSource) -> None:
        self._bus = bus
        self._clock = clock
        self._intents = intents
        self._hushed: dict[Venue, None] = {}

    # --- wishes ----------------------------------------------------------------------------------

    def intent(
        self, position_id: str, trace_id: str, command: Command, *, reason: str
    ) -> TradeIntent:
        """Return a new intent; its id can be noted before it is proposed."""
        return TradeIntent(
            intent_id=self._intents.next(),
            position_id=position_id,
            source="exit",
            reason=reason,
            trace_id=trace_id,
            command=command,
        )

    def propose(self, intent: TradeIntent) -> None:
        """Ask safety, and through it trade, to carry *intent* out."""
        now = self._clock.now_ns()
        self._bus.publish(IntentProposed(ts_event=now, ts_recv=now, intent=intent))

    def want_snapshot(self, venue: Venue, reason: str) -> None:
        """Ask for the venue's whole state, unless its start is asking."""
        if venue in self._hushed:
            return
        now = self._clock.now_ns()
        self._bus.publish(SnapshotWanted(ts_event=now, ts_recv=now, venue=venue, reason=reason))

    def hush(self, venue: Venue) -> None:
        """Ask for no snapshot of *venue* until `unhush`."""
        self._hushed[venue] = None

    def unhush(self, venue: Venue) -> None:
        """Ask for snapshots of *venue* again."""
        _ = self._hushed.pop(venue, None)

    # --- facts -----------------------------------------------------------------------------------

    def wanted(self, guarded: Guarded) -> None:
        """Tell the levels a position should have."""
        desired, now = guarded.desired, self._clock.now_ns()
        assert desired is not None, guarded.position
        self._bus.publish(
            ProtectionWanted(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=guarded.position.instrument_id,
                stop_price=desired.stop_price,
                target_price=desired.target_price,
                basis=desired.basis,
                rungs=tuple((rung.price, rung.qty) for rung in desired.rungs),
            )
        )

    def covered(self, guarded: Guarded, stop: Resting, target: Resting | None) -> None:
        """Tell the first cover of a position, and later every change of its working levels."""
        stop_price = stop.trigger_price
        assert stop_price is not None, stop
        target_price = target.trigger_price if target is not None else None
        cause = guarded.stop_cause(stop.purpose, stop_price)
        if not guarded.announced:
            guarded.announced = True
            self._confirmed(guarded, stop, stop_price, target)
        elif (stop_price, target_price) != (guarded.shown_stop, guarded.shown_target):
            now = self._clock.now_ns()
            self._bus.publish(
                ProtectionChanged(
                    ts_event=now,
                    ts_recv=now,
                    position_id=guarded.position.position_id,
                    instrument_id=guarded.position.instrument_id,
                    stop_price=stop_price,
                    target_price=target_price,
                    reason=guarded.desired.basis if guarded.desired is not None else "",
                    stop_cause=cause,
                )
            )
        guarded.shown_stop, guarded.shown_target = stop_price, target_price

    def _confirmed(
        self, guarded: Guarded, stop: Resting, stop_price: Decimal, target: Resting | None
    ) -> None:
        now = self._clock.now_ns()
        self._bus.publish(
            ProtectionConfirmed(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=guarded.position.instrument_id,
                stop_price=stop_price,
                target_price=target.trigger_price if target is not None else None,
                stop_order=stop.key,
                target_order=target.key if target is not None else "",
                naked_ns=guarded.first_naked_ns or 0,
                source="position" if stop.position_bound else "order",
                stop_cause=guarded.stop_cause(stop.purpose, stop_price),
            )
        )

    def delayed(self, guarded: Guarded) -> None:
        """Tell that the soft deadline passed."""
        now, mono = self._clock.now_ns(), self._clock.mono_ns()
        since = guarded.naked_since_ns
        self._bus.publish(
            ProtectionDelayed(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=guarded.position.instrument_id,
                naked_ns=0 if since is None else mono - since,
            )
        )

    def failed(self, guarded: Guarded, reason: str) -> None:
        """Tell that a position cannot be protected."""
        now = self._clock.now_ns()
        self._bus.publish(
            ProtectionFailed(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=guarded.position.instrument_id,
                reason=reason,
            )
        )

    def lost(self, guarded: Guarded, reason: str) -> None:
        """Tell that the stop of an open position vanished."""
        now = self._clock.now_ns()
        self._bus.publish(
            ProtectionLost(
                ts_event=now,
                ts_recv=now,
                position_id=guarded.position.position_id,
                instrument_id=guarded.position.instrument_id,
                reason=reason,
            )
        )

    def stray(
        self,
        kind: ProtectionMismatchKind,
        position_id: str,
        instrument: InstrumentId,
        key: str,
        action: str,
    ) -> None:
        """Tell an order of ours that nothing needs, and what is done about it."""
        now = self._clock.now_ns()
        self._bus.publish(
            ProtectionMismatchFound(
                ts_event=now,
                ts_recv=now,
                kind=kind,
                position_id=position_id,
                instrument_id=instrument,
                client_order_id=key,
                action=action,
            )
        )

    def venue_protected(self, venue: Venue, positions: int) -> None:
        """Tell that whatever was found on *venue* at start carries its stop (R88)."""
        now = self._clock.now_ns()
        self._bus.publish(
            VenueProtected(ts_event=now, ts_recv=now, venue=venue, positions=positions)
        )

    def halt_entries(self, reason: str) -> None:
        """Stop every entry, on every venue, until an operator lifts it."""
        now = self._clock.now_ns()
        self._bus.publish(
            KillSwitchPulled(ts_event=now, ts_recv=now, operator="exit", reason=reason)
        )

    def alert(self, rule: str, level: str, message: str) -> None:
        """Tell a person; *level* WARNING or CRITICAL."""
        now = self._clock.now_ns()
        self._bus.publish(
            AlertRaised(ts_event=now, ts_recv=now, rule=rule, level=level, message=message)
        )
