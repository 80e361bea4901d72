"""
The protective orders the venues report as resting, by instrument; evidence only, no wishes.

Two sources are joined: orders by their own reports, and the stop and target a venue keeps with the
position itself (Bybit), told by position reports and by unnamed child orders.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.core.clock import Clock
from aegis.exit.decide import Resting
from aegis.model.account import OrderReport, PositionReport, ProtectionRole
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderStatus, Purpose
from aegis.model.order_id import parse_client_order_id

SNAPSHOT_GRACE_NS: Final = 5_000_000_000
"""An order seen so recently may be missing from a snapshot whose queries were under way."""


@attrs.frozen(slots=True)
class _Seen:
    resting: Resting
    at_ns: int
    position_id: str


class RestingOrders:
    """Keep what rests, newest evidence first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders: dict[InstrumentId, dict[str, _Seen]] = {}
        self._ended: dict[str, None] = {}
        self._own: dict[InstrumentId, dict[ProtectionRole, Decimal]] = {}

    def key_of(self, report: OrderReport) -> str:
        """Return the name an order is kept under."""
        return report.client_order_id or report.venue_order_id

    def get(self, instrument: InstrumentId, report: OrderReport) -> Resting | None:
        """Return what was known of that order."""
        seen = self._orders.get(instrument, {}).get(self.key_of(report))
        return seen.resting if seen is not None else None

    def of(self, instrument: InstrumentId) -> tuple[Resting, ...]:
        """Return what rests there, the position's own stop and target included."""
        orders = [seen.resting for seen in self._orders.get(instrument, {}).values()]
        for role, price in self._own.get(instrument, {}).items():
            if not any(r.role is role and r.position_bound for r in orders):
                orders.append(
                    Resting(
                        key=f"position {role.value.lower()}",
                        role=role,
                        trigger_price=price,
                        qty=None,
                        status=OrderStatus.ACCEPTED,
                        position_bound=True,
                        purpose=None,
                    )
                )
        return tuple(orders)

    def left_by(self, instrument: InstrumentId, position_id: str) -> list[str]:
        """Return the ids of resting orders that *position_id* placed; never the venue's own."""
        return [
            key
            for key, seen in self._orders.get(instrument, {}).items()
            if seen.position_id == position_id and not seen.resting.position_bound
        ]

    def note(self, report: OrderReport) -> bool:
        """Take a report; return whether it is of a protective order and told anything new."""
        if report.role is ProtectionRole.NONE:
            return False
        key = self.key_of(report)
        orders = self._orders.setdefault(report.instrument_id, {})
        if report.status.is_terminal:
            self._ended[key] = None
            while len(self._ended) > _ENDED_KEPT:
                del self._ended[next(iter(self._ended))]
            if report.position_bound:
                self._own.get(report.instrument_id, {}).pop(report.role, None)
            return orders.pop(key, None) is not None
        if not report.status.is_working or key in self._ended:
            # A report that was overtaken by the order's end says nothing new.
            return False
        seen = orders.get(key)
        resting = _resting_of(report, key)
        if seen is not None and seen.resting.status.rank > resting.status.rank:
            return False
        tag = parse_client_order_id(report.client_order_id)
        orders[key] = _Seen(resting, self._clock.mono_ns(), tag.position_id if tag else "")
        return seen is None or seen.resting != resting

    def note_position(self, report: PositionReport) -> None:
        """Take the stop and target a venue tells with the position; absent ones are gone."""
        own: dict[ProtectionRole, Decimal] = {}
        if report.qty_signed != 0:
            if report.stop_price is not None:
                own[ProtectionRole.STOP] = report.stop_price
            if report.target_price is not None:
                own[ProtectionRole.TARGET] = report.target_price
        self._own[report.instrument_id] = own

    def replace(self, venue: Venue, reports: Sequence[OrderReport]) -> None:
        """Take a complete list: what it lacks is gone, unless it was seen a moment ago."""
        listed: dict[InstrumentId, dict[str, None]] = {}
        for report in reports:
            self.note(report)
            listed.setdefault(report.instrument_id, {})[self.key_of(report)] = None
        now_ns = self._clock.mono_ns()
        for instrument, orders in self._orders.items():
            if instrument.venue is not venue:
                continue
            for key in list(orders):
                known = key in listed.get(instrument, {})
                if not known and now_ns - orders[key].at_ns > SNAPSHOT_GRACE_NS:
                    del orders[key]


def _resting_of(report: OrderReport, key: str) -> Resting:
    tag = parse_client_order_id(report.client_order_id)
    purpose: Purpose | None = tag.purpose if tag is not None else None
    return Resting(
        key=key,
        role=report.role,
        trigger_price=report.trigger_price,
        qty=None if report.close_position else report.qty,
        status=report.status,
        position_bound=report.position_bound,
        purpose=purpose,
    )


_ENDED_KEPT: Final = 10_000
