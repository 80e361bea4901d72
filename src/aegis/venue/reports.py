"""What a venue told of our account, as events of the bus."""

from aegis.core.event import Event
from aegis.model.account import BalanceReport, OrderReport, PositionReport, VenueSnapshot
from aegis.model.events import (
    BalanceReported,
    FillReported,
    OrderReported,
    PositionReported,
    SnapshotReported,
)
from aegis.model.fill import Fill


def reported(fact: OrderReport | Fill | PositionReport | BalanceReport, ts_recv: int) -> Event:
    """Return *fact*, received at *ts_recv* (ns), as an event."""
    ts_event = fact.ts_event
    match fact:
        case OrderReport():
            return OrderReported(ts_event=ts_event, ts_recv=ts_recv, report=fact)
        case Fill():
            return FillReported(ts_event=ts_event, ts_recv=ts_recv, fill=fact)
        case PositionReport():
            return PositionReported(ts_event=ts_event, ts_recv=ts_recv, report=fact)
        case BalanceReport():
            return BalanceReported(ts_event=ts_event, ts_recv=ts_recv, report=fact)


def snapshot_reported(snapshot: VenueSnapshot, reason: str, ts_recv: int) -> SnapshotReported:
    """Return *snapshot*, received at *ts_recv* (ns), as an event."""
    return SnapshotReported(
        ts_event=snapshot.ts_event, ts_recv=ts_recv, snapshot=snapshot, reason=reason
    )
