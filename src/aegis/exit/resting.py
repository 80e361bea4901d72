"""
The protective orders the venues report as resting, by instrument; evidence only, no wishes.

Two sources are joined: orders by their own reports, and the stop and target a venue keeps with the
position itself (Bybit), told by position reports and by unnamed child orders. Of two reports about
the same level the later one by the venue's own time counts.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.core.clock import Clock
from aegis.exit.decide import Resting
from aegis.model.account import OrderReport, PositionReport, ProtectionRole, ReportSource
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderSide, OrderStatus
from aegis.model.order_id import parse_client_order_id

SNAPSHOT_GRACE_NS: Final = 5_000_000_000
"""An order seen so recently may be missing from a snapshot whose queries were under way."""
BELIEVED_MAX: Final = 6
"""So often the venue's refusal of a second floor stands for the first one, unseen in its lists."""
_ENDED_KEPT: Final = 10_000


@attrs.frozen(slots=True)
class _Seen:
    resting: Resting
    at_ns: int
    ts_event: int
    is_proven: bool = True
    """Told by the stream or a list, not by the answer to the request alone."""


@attrs.frozen(slots=True)
class _Own:
    """The stop and target a position report told, None for none. *ts_event* is venue time."""

    ts_event: int
    side: OrderSide
    prices: dict[ProtectionRole, Decimal]


class RestingOrders:
    """Keep what rests, newest evidence first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders: dict[InstrumentId, dict[str, _Seen]] = {}
        self._ended: dict[tuple[InstrumentId, str], None] = {}
        self._own: dict[InstrumentId, _Own] = {}
        self._unlisted: dict[InstrumentId, dict[str, _Seen]] = {}
        self._believed: dict[tuple[InstrumentId, str], int] = {}

    def key_of(self, report: OrderReport) -> str:
        """Return the name an order is kept under."""
        return report.client_order_id or report.venue_order_id

    def has_ended(self, report: OrderReport) -> bool:
        """Say whether that order's end was reported already."""
        return (report.instrument_id, self.key_of(report)) in self._ended

    def instruments(self, venue: Venue) -> list[InstrumentId]:
        """Return where orders of *venue* rest."""
        return [i for i, orders in self._orders.items() if orders and i.venue is venue]

    def of(self, instrument: InstrumentId) -> tuple[Resting, ...]:
        """Return what rests there, the position's own stop and target included."""
        own = self._own.get(instrument)
        orders = [_joined(seen, own) for seen in self._orders.get(instrument, {}).values()]
        if own is None:
            return tuple(orders)
        for role, price in own.prices.items():
            if not any(r.role is role and r.position_bound and r.side is own.side for r in orders):
                orders.append(_own_resting(role, price, own.side))
        return tuple(orders)

    def is_unproven(self, instrument: InstrumentId) -> bool:
        """Say whether a stop there rests by its request's answer alone, or a list lacked it."""
        return any(
            not seen.is_proven and seen.resting.role is ProtectionRole.STOP
            for seen in self._orders.get(instrument, {}).values()
        )

    def left_by(self, instrument: InstrumentId, installation: str) -> list[str]:
        """Return the ids of resting orders *installation* placed; never the venue's own."""
        return [
            key
            for key, seen in self._orders.get(instrument, {}).items()
            if seen.resting.installation == installation and not seen.resting.position_bound
        ]

    def note(self, report: OrderReport) -> bool:
        """Take a report; return whether it is of a protective order and told anything new."""
        if report.role is ProtectionRole.NONE:
            return False
        key = self.key_of(report)
        orders = self._orders.setdefault(report.instrument_id, {})
        self._unlisted.get(report.instrument_id, {}).pop(key, None)
        self._believed.pop((report.instrument_id, key), None)
        if report.status.is_terminal:
            return self._note_end(report, key, orders)
        if not report.status.is_working or self.has_ended(report):
            # A report that was overtaken by the order's end says nothing new.
            return False
        seen = orders.get(key)
        resting = _resting_of(report, key)
        if seen is not None and _is_older(report, seen):
            if report.source is not ReportSource.ANSWER:
                orders[key] = attrs.evolve(seen, is_proven=True)
            return False
        own = self._own.get(report.instrument_id)
        if own is not None and _was_taken_away(report, own):
            return False
        proven = report.source is not ReportSource.ANSWER or (seen is not None and seen.is_proven)
        orders[key] = _Seen(resting, self._clock.mono_ns(), report.ts_event, proven)
        return seen is None or seen.resting != resting

    def _note_end(self, report: OrderReport, key: str, orders: dict[str, _Seen]) -> bool:
        self._ended[report.instrument_id, key] = None
        while len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        gone = orders.pop(key, None) is not None
        own = self._own.get(report.instrument_id)
        bound = report.position_bound and own is not None and own.side is report.side
        if bound and own is not None and (gone or report.ts_event >= own.ts_event):
            gone = own.prices.pop(report.role, None) is not None or gone
        return gone

    def note_position(self, report: PositionReport) -> None:
        """
        Take the stop and target a venue tells with the position; what it does not tell is gone.

        An older word than the last is ignored; a child order told of later than it stays.
        """
        instrument = report.instrument_id
        before = self._own.get(instrument)
        if before is not None and report.ts_event < before.ts_event:
            return
        if report.qty_signed == 0:
            self._forget_own(instrument, report.ts_event)
            return
        side = OrderSide.SELL if report.qty_signed > 0 else OrderSide.BUY
        told = {
            ProtectionRole.STOP: report.stop_price,
            ProtectionRole.TARGET: report.target_price,
        }
        prices = {role: price for role, price in told.items() if price is not None}
        self._own[instrument] = _Own(report.ts_event, side, prices)
        orders = self._orders.get(instrument, {})
        for key, seen in list(orders.items()):
            resting = seen.resting
            if (
                resting.position_bound
                and resting.status is OrderStatus.ACCEPTED
                and resting.role not in prices
                and seen.ts_event < report.ts_event
            ):
                del orders[key]

    def believe(self, instrument: InstrumentId, side: OrderSide) -> bool:
        """
        Take back the floor of *side* that a list left out: the venue says that one rests (-4130).

        Return whether there was one whose end nobody told. BELIEVED_MAX times at most, until a list
        or the stream shows it again: the lists of a venue lag after a fill, and not for ever.
        """
        unlisted = self._unlisted.get(instrument, {})
        for key, seen in reversed(list(unlisted.items())):
            floor = seen.resting
            is_floor = floor.role is ProtectionRole.STOP and floor.qty is None
            times = self._believed.get((instrument, key), 0)
            if is_floor and floor.side is side and times < BELIEVED_MAX:
                del unlisted[key]
                self._believed[instrument, key] = times + 1
                orders = self._orders.setdefault(instrument, {})
                orders[key] = _Seen(floor, self._clock.mono_ns(), seen.ts_event)
                return True
        return False

    def assume(
        self, instrument: InstrumentId, key: str, side: OrderSide, price: Decimal | None
    ) -> None:
        """
        Take a floor of *side* as resting, by the venue's word that one exists, *price* if known.

        For a venue whose lists cannot be had: the next complete list decides.
        """
        tag = parse_client_order_id(key)
        floor = Resting(
            key=key,
            role=ProtectionRole.STOP,
            side=side,
            trigger_price=price,
            qty=None,
            status=OrderStatus.ACCEPTED,
            position_bound=False,
            purpose=tag.purpose if tag is not None else None,
            installation=tag.installation if tag is not None else "",
        )
        orders = self._orders.setdefault(instrument, {})
        orders[key] = _Seen(floor, self._clock.mono_ns() - SNAPSHOT_GRACE_NS, 0)

    def on_canceled(self, instrument: InstrumentId, key: str) -> None:
        """The venue has acknowledged a cancel: that order covers nothing any more."""
        self._orders.get(instrument, {}).pop(key, None)

    def forget_position(self, instrument: InstrumentId) -> None:
        """Forget the stop and target that went with a position: it is closed."""
        self._unlisted.pop(instrument, None)
        for named in [named for named in self._believed if named[0] == instrument]:
            del self._believed[named]
        own = self._own.get(instrument)
        if own is not None:
            self._forget_own(instrument, own.ts_event)
        for key, seen in list(self._orders.get(instrument, {}).items()):
            if seen.resting.position_bound:
                self._ended[instrument, key] = None
                del self._orders[instrument][key]

    def _forget_own(self, instrument: InstrumentId, ts_event: int) -> None:
        # The time stays, so that an older word cannot bring the levels back.
        side = self._own[instrument].side if instrument in self._own else OrderSide.SELL
        self._own[instrument] = _Own(ts_event, side, {})

    def replace(
        self, venue: Venue, reports: Sequence[OrderReport], positions: Sequence[PositionReport]
    ) -> dict[InstrumentId, None]:
        """
        Take a complete list: what it lacks is gone, unless it was seen a moment ago.

        Return where a stop was gone of which no end was told.
        """
        listed: dict[InstrumentId, dict[str, None]] = {}
        for report in reports:
            self.note(report)
            listed.setdefault(report.instrument_id, {})[self.key_of(report)] = None
        now_ns = self._clock.mono_ns()
        vanished: dict[InstrumentId, None] = {}
        for instrument, orders in self._orders.items():
            if instrument.venue is not venue:
                continue
            for key in list(orders):
                known = key in listed.get(instrument, {})
                if known:
                    continue
                if now_ns - orders[key].at_ns <= SNAPSHOT_GRACE_NS:
                    # No proof of either: the question may have overtaken the order.
                    orders[key] = attrs.evolve(orders[key], is_proven=False)
                    continue
                seen = orders.pop(key)
                if seen.resting.role is ProtectionRole.STOP:
                    vanished[instrument] = None
                    if not seen.resting.position_bound:
                        self._unlisted.setdefault(instrument, {})[key] = seen
        for position in positions:
            self.note_position(position)
        return vanished


def _is_older(report: OrderReport, seen: _Seen) -> bool:
    if seen.resting.status.rank != report.status.rank:
        return seen.resting.status.rank > report.status.rank
    # Only a position's own levels are amended in place.
    return report.position_bound and report.ts_event < seen.ts_event


def _was_taken_away(report: OrderReport, own: _Own) -> bool:
    """Say whether the position, later than *report*, told that it has no such level any more."""
    waits = report.position_bound and report.status is OrderStatus.ACCEPTED
    return waits and report.role not in own.prices and report.ts_event < own.ts_event


def _joined(seen: _Seen, own: _Own | None) -> Resting:
    """Return the order; a position's own stop covers whatever is open once the position says so."""
    resting = seen.resting
    price = own.prices.get(resting.role) if own is not None else None
    if own is None or price is None or not resting.position_bound or resting.side is not own.side:
        return resting
    if own.ts_event > seen.ts_event and resting.status is OrderStatus.ACCEPTED:
        resting = attrs.evolve(resting, trigger_price=price)
    return attrs.evolve(resting, qty=None)


def _own_resting(role: ProtectionRole, price: Decimal, side: OrderSide) -> Resting:
    return Resting(
        key=f"position {role.value.lower()}",
        role=role,
        side=side,
        trigger_price=price,
        qty=None,
        status=OrderStatus.ACCEPTED,
        position_bound=True,
        purpose=None,
        installation="",
    )


def _resting_of(report: OrderReport, key: str) -> Resting:
    tag = parse_client_order_id(report.client_order_id)
    return Resting(
        key=key,
        role=report.role,
        side=report.side,
        trigger_price=report.trigger_price,
        qty=None if report.close_position else report.qty,
        status=report.status,
        position_bound=report.position_bound,
        purpose=tag.purpose if tag is not None else None,
        installation=tag.installation if tag is not None else "",
    )
