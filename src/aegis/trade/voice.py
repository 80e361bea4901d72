"""What trade says on the bus: its proposals, what was sent and answered, and the book's facts."""

from aegis.core.bus import EventBus
from aegis.model.account import OrderReport, VenueSnapshot
from aegis.model.events import (
    EntryCompleted,
    EntryFailed,
    FillBooked,
    IntentCompleted,
    IntentProposed,
    OrderAdvanced,
    OrderReported,
    OrderSubmitted,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    SignalDropped,
    SnapshotReported,
)
from aegis.model.instrument import InstrumentId
from aegis.model.intent import CancelProtection, Command, SetPositionProtection, TradeIntent
from aegis.model.order import OrderRequest
from aegis.model.signal import Signal
from aegis.trade.facts import Advanced, Booked, Closed, EntryDone, Mismatch, Opened


class TradeVoice:
    """Publish in trade's name; every *now* is the bot clock's time in ns."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    # --- signals and intents ---------------------------------------------------------------------

    def dropped(self, signal: Signal, reason: str, now: int) -> None:
        """Tell that *signal* ended before it became an intent."""
        self._bus.publish(
            SignalDropped(
                ts_event=now,
                ts_recv=now,
                signal_id=signal.signal_id,
                instrument_id=signal.instrument_id,
                reason=reason,
            )
        )

    def proposed(self, intent: TradeIntent, now: int) -> None:
        """Ask safety about *intent*."""
        self._bus.publish(IntentProposed(ts_event=now, ts_recv=now, intent=intent))

    def completed(
        self, intent: TradeIntent, *, ok: bool, outcome: str, refusal: str, now: int
    ) -> None:
        """Tell the end of *intent*."""
        self._bus.publish(
            IntentCompleted(
                ts_event=now,
                ts_recv=now,
                intent_id=intent.intent_id,
                position_id=intent.position_id,
                instrument_id=intent.instrument_id,
                command=type(intent.command).__name__,
                client_order_id=_order_id_of(intent.command),
                ok=ok,
                outcome=outcome,
                refusal=refusal,
            )
        )

    # --- the executor ----------------------------------------------------------------------------

    def sending(self, intent: TradeIntent, request: OrderRequest, now: int) -> None:
        """Tell that *request* leaves."""
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

    def answered(self, report: OrderReport, now: int) -> None:
        """Tell a venue's answer: it is evidence like any other report."""
        self._bus.publish(OrderReported(ts_event=report.ts_event, ts_recv=now, report=report))

    def snapshot(self, snapshot: VenueSnapshot, reason: str, now: int) -> None:
        """Tell a venue's whole state."""
        self._bus.publish(
            SnapshotReported(
                ts_event=snapshot.ts_event, ts_recv=now, snapshot=snapshot, reason=reason
            )
        )

    # --- the book's facts ------------------------------------------------------------------------

    def opened(self, fact: Opened, now: int) -> None:
        """Tell a new position."""
        self._bus.publish(PositionOpened(ts_event=now, ts_recv=now, position=fact.position))

    def booked(self, fact: Booked, now: int) -> None:
        """Tell a fill that was counted."""
        self._bus.publish(
            FillBooked(
                ts_event=fact.fill.ts_event,
                ts_recv=now,
                fill=fact.fill,
                position=fact.position,
                purpose=fact.purpose,
            )
        )

    def advanced(self, fact: Advanced, now: int) -> None:
        """Tell an order's new state."""
        order = fact.order
        self._bus.publish(
            OrderAdvanced(
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
        )

    def entry_completed(self, fact: EntryDone, now: int) -> None:
        """Tell that an entry's price and quantity are final."""
        self._bus.publish(
            EntryCompleted(
                ts_event=now, ts_recv=now, position=fact.position, slippage=fact.slippage
            )
        )

    def entry_failed(
        self, position_id: str, instrument: InstrumentId, reason: str, now: int
    ) -> None:
        """Tell an entry that ended without a fill."""
        self._bus.publish(
            EntryFailed(
                ts_event=now,
                ts_recv=now,
                position_id=position_id,
                instrument_id=instrument,
                reason=reason,
            )
        )

    def closed(self, fact: Closed, now: int) -> None:
        """Tell the end of a position."""
        self._bus.publish(
            PositionClosed(
                ts_event=now,
                ts_recv=now,
                position=fact.position,
                cause=fact.cause,
                exit_px_avg=fact.exit_px_avg,
                net_pnl=fact.net_pnl,
                hold_ns=now - fact.position.opened_ns,
            )
        )

    def mismatch(self, fact: Mismatch, now: int) -> None:
        """Tell that the venue's position is not ours."""
        self._bus.publish(
            PositionMismatchFound(
                ts_event=now,
                ts_recv=now,
                instrument_id=fact.instrument_id,
                kind=fact.kind,
                ours=fact.ours,
                theirs=fact.theirs,
                action=fact.action,
            )
        )


def _order_id_of(command: Command) -> str:
    if isinstance(command, SetPositionProtection):
        return ""
    if isinstance(command, CancelProtection):
        return command.client_order_id
    return command.request.client_order_id
