"""
The book: every order of ours and every position, as the venues acknowledged them. No I/O.

Each call returns the facts that follow from it; the actor publishes them in that order. A fill is
counted once, a report only moves an order forward, a position ends only when the fills say flat and
its entry can fill no more (R32 to R34, R60).
"""

from collections.abc import Callable
from decimal import Decimal

import attrs

from aegis.model.account import OrderReport, PositionReport
from aegis.model.fill import Fill, FillOrigin
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ZERO
from aegis.model.order import Order, OrderRequest, OrderStatus, PositionSide, Purpose
from aegis.model.order_id import parse_client_order_id
from aegis.model.position import CloseCause, Position, PositionView, ProtectionPlan


@attrs.frozen(slots=True, kw_only=True)
class Opened:
    """The first fill, or an adoption."""

    position: PositionView


@attrs.frozen(slots=True, kw_only=True)
class Booked:
    """A fill was counted; *position* after it."""

    fill: Fill
    position: PositionView
    purpose: str


@attrs.frozen(slots=True, kw_only=True)
class EntryDone:
    """The entry is terminal with fills."""

    position: PositionView
    slippage: Decimal | None


@attrs.frozen(slots=True, kw_only=True)
class EntryDied:
    """The entry is terminal without any fill."""

    position_id: str
    instrument_id: InstrumentId
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class Closed:
    """Flat."""

    position: PositionView
    cause: CloseCause
    exit_px_avg: Decimal | None
    net_pnl: Decimal


@attrs.frozen(slots=True, kw_only=True)
class Advanced:
    """An order of ours moved forward."""

    order: Order
    code: str
    message: str


@attrs.frozen(slots=True, kw_only=True)
class Mismatch:
    """The venue and the book disagree."""

    instrument_id: InstrumentId
    ours: Decimal
    theirs: Decimal
    action: str


Fact = Opened | Booked | EntryDone | EntryDied | Closed | Advanced | Mismatch

_CAUSE_OF_PURPOSE = {
    Purpose.STOP_FLOOR: CloseCause.SL,
    Purpose.STOP_MOVING: CloseCause.SL,
    Purpose.TARGET: CloseCause.TP,
    Purpose.CLOSE_UNPROTECTED: CloseCause.UNPROTECTED,
    Purpose.CLOSE_FLATTEN: CloseCause.FLATTEN,
    Purpose.CLOSE_MANUAL: CloseCause.MANUAL,
    Purpose.CLOSE_WATCHDOG: CloseCause.WATCHDOG,
    Purpose.CLOSE_KILL: CloseCause.KILL,
    Purpose.CLOSE_ROTATE: CloseCause.ROTATE,
    Purpose.CLOSE_AGED: CloseCause.AGED,
    Purpose.CLOSE_TIME: CloseCause.TIME,
    Purpose.CLOSE_HARVEST: CloseCause.HARVEST,
}
_CAUSE_OF_ORIGIN = {
    FillOrigin.STOP: CloseCause.SL,
    FillOrigin.TARGET: CloseCause.TP,
    FillOrigin.LIQUIDATION: CloseCause.LIQ,
    FillOrigin.ADL: CloseCause.ADL,
}


def cause_of(fill: Fill) -> CloseCause:
    """
    Return why *fill* reduced a position: by the venue's word, then by our client order id (R79).

    A fill that neither the venue nor an id of ours explains is EXTERNAL: somebody else did it.
    """
    by_origin = _CAUSE_OF_ORIGIN.get(fill.origin)
    if by_origin is not None:
        return by_origin
    tag = parse_client_order_id(fill.client_order_id)
    if tag is None:
        return CloseCause.EXTERNAL
    return _CAUSE_OF_PURPOSE.get(tag.purpose, CloseCause.EXTERNAL)


@attrs.define(slots=True, kw_only=True)
class _Entry:
    """What an entry needs to become a position; kept until the entry is terminal."""

    order: Order
    side: PositionSide
    plan: ProtectionPlan
    leverage: int
    signal_price: Decimal


@attrs.define(slots=True)
class Book:
    """Orders and positions of one process over all venues; one position an instrument (R36)."""

    new_position_id: Callable[[], str]
    orders: dict[str, Order] = attrs.field(factory=dict)
    positions: dict[InstrumentId, Position] = attrs.field(factory=dict)
    _entries: dict[InstrumentId, _Entry] = attrs.field(factory=dict)
    _early: dict[InstrumentId, list[Fill]] = attrs.field(factory=dict)
    _last_cause: dict[InstrumentId, CloseCause] = attrs.field(factory=dict)
    _flat_votes: dict[InstrumentId, int] = attrs.field(factory=dict)
    _recent_fill_ids: dict[InstrumentId, dict[str, None]] = attrs.field(factory=dict)

    # --- our own orders --------------------------------------------------------------------------

    def register(self, request: OrderRequest, position_id: str, trace_id: str) -> Order:
        """Enter an order before it is sent; its id must be new."""
        assert request.client_order_id not in self.orders, request.client_order_id
        order = Order(request=request, position_id=position_id, trace_id=trace_id)
        self.orders[request.client_order_id] = order
        return order

    def register_entry(
        self,
        request: OrderRequest,
        *,
        position_id: str,
        trace_id: str,
        side: PositionSide,
        plan: ProtectionPlan,
        leverage: int,
        signal_price: Decimal,
    ) -> Order:
        """Enter an entry order; one opening per instrument at a time (R36)."""
        instrument = request.instrument_id
        assert instrument not in self._entries, f"{instrument} has an entry under way"
        assert instrument not in self.positions, f"{instrument} has a position"
        order = self.register(request, position_id, trace_id)
        self._entries[instrument] = _Entry(
            order=order, side=side, plan=plan, leverage=leverage, signal_price=signal_price
        )
        return order

    def is_busy(self, instrument: InstrumentId) -> bool:
        """Say whether an entry is under way or a position is open there."""
        return instrument in self._entries or instrument in self.positions

    def on_submitted(self, client_order_id: str) -> None:
        """Note that the request left."""
        self.orders[client_order_id].advance(OrderStatus.SUBMITTED)

    def on_unknown(self, client_order_id: str) -> list[Fact]:
        """Note that the outcome is unknown; exposure stays reserved until it is known."""
        order = self.orders[client_order_id]
        if order.advance(OrderStatus.UNKNOWN):
            return [Advanced(order=order, code="", message="outcome unknown, asking the venue")]
        return []

    def on_refused(self, client_order_id: str, *, code: str, message: str) -> list[Fact]:
        """Note the venue's no, or that the request never left."""
        order = self.orders[client_order_id]
        if not order.advance(OrderStatus.REJECTED):
            return []
        order.reject_code, order.reject_message = code, message
        return [Advanced(order=order, code=code, message=message), *self._settle(order)]

    def on_report(self, report: OrderReport) -> list[Fact]:
        """Move our order forward by the venue's word; foreign orders change nothing here."""
        order = self.orders.get(report.client_order_id)
        if order is None:
            return []
        if report.venue_order_id and not order.venue_order_id:
            order.venue_order_id = report.venue_order_id
        order.venue_filled_qty = max(order.venue_filled_qty, report.filled_qty)
        facts: list[Fact] = []
        if order.advance(report.status):
            facts.append(
                Advanced(order=order, code=report.reject_code, message=report.reject_message)
            )
        return facts + self._settle(order)

    # --- fills -----------------------------------------------------------------------------------

    def on_fill(self, fill: Fill, now_ns: int) -> list[Fact]:
        """Count a fill into its order and position, once; one that comes too early is kept."""
        instrument = fill.instrument_id
        if self._seen(fill):
            return []
        entry = self._entries.get(instrument)
        if entry is not None and fill.client_order_id == entry.order.request.client_order_id:
            return self._entry_fill(entry, fill, now_ns)
        position = self.positions.get(instrument)
        if position is None or fill.side is not position.side.exit_side:
            return self._stranger(fill, position)
        if fill.last_qty > position.qty:
            # The closing fill overtook an opening one: wait for it.
            self._early.setdefault(instrument, []).append(fill)
            return []
        return self._exit_fill(position, fill)

    def _seen(self, fill: Fill) -> bool:
        seen = self._recent_fill_ids.setdefault(fill.instrument_id, {})
        return fill.fill_id in seen or fill in self._early.get(fill.instrument_id, ())

    def _remember(self, fill: Fill) -> None:
        seen = self._recent_fill_ids.setdefault(fill.instrument_id, {})
        seen[fill.fill_id] = None
        while len(seen) > _FILL_IDS_KEPT:
            del seen[next(iter(seen))]

    def _entry_fill(self, entry: _Entry, fill: Fill, now_ns: int) -> list[Fact]:
        instrument = fill.instrument_id
        position = self.positions.get(instrument)
        opened = position is None
        if position is None:
            position = Position(
                position_id=entry.order.position_id,
                instrument_id=instrument,
                side=entry.side,
                plan=entry.plan,
                trace_id=entry.order.trace_id,
                opened_ns=now_ns,
                leverage=entry.leverage,
                signal_price=entry.signal_price,
            )
            self.positions[instrument] = position
        self._remember(fill)
        entry.order.add_fill(fill.fill_id, fill.last_qty, fill.last_px)
        position.apply(fill)
        entry.order.advance(OrderStatus.PARTIALLY_FILLED)
        facts: list[Fact] = []
        view = position.view()
        if opened:
            facts.append(Opened(position=view))
        facts.append(Booked(fill=fill, position=view, purpose=Purpose.ENTRY.name))
        facts += self._retry_early(instrument, now_ns)
        return facts + self._settle(entry.order)

    def _exit_fill(self, position: Position, fill: Fill) -> list[Fact]:
        self._remember(fill)
        position.apply(fill)
        order = self.orders.get(fill.client_order_id)
        if order is not None:
            order.add_fill(fill.fill_id, fill.last_qty, fill.last_px)
        cause = cause_of(fill)
        self._last_cause[fill.instrument_id] = cause
        booked = Booked(fill=fill, position=position.view(), purpose=cause.name)
        return [booked, *self._close_if_flat(position)]

    def _retry_early(self, instrument: InstrumentId, now_ns: int) -> list[Fact]:
        facts: list[Fact] = []
        for fill in self._early.pop(instrument, []):
            facts += self.on_fill(fill, now_ns)
        return facts

    def _stranger(self, fill: Fill, position: Position | None) -> list[Fact]:
        # Somebody else traded on our account: the next snapshot shows what came of it.
        ours = position.qty_signed if position is not None else ZERO
        return [
            Mismatch(
                instrument_id=fill.instrument_id,
                ours=ours,
                theirs=ours + fill.last_qty * fill.side.sign,
                action=f"fill {fill.fill_id} is of no order of ours: asking the venue",
            )
        ]

    # --- ends ------------------------------------------------------------------------------------

    def _settle(self, order: Order) -> list[Fact]:
        if order.request.purpose is not Purpose.ENTRY or not order.is_settled:
            return []
        instrument = order.request.instrument_id
        entry = self._entries.get(instrument)
        if entry is None or entry.order is not order:
            return []
        del self._entries[instrument]
        position = self.positions.get(instrument)
        if position is None or position.position_id != order.position_id:
            reason = order.reject_message or f"entry ended {order.status.value} without a fill"
            return [
                EntryDied(position_id=order.position_id, instrument_id=instrument, reason=reason)
            ]
        entry_px = position.entry_px_avg
        slippage = (
            None if entry_px is None else (entry_px - entry.signal_price) * position.side.sign
        )
        done = EntryDone(position=position.view(), slippage=slippage)
        return [done, *self._close_if_flat(position)]

    def _close_if_flat(self, position: Position) -> list[Fact]:
        instrument = position.instrument_id
        if position.qty != 0 or instrument in self._entries:
            return []
        return [self._end(position, self._last_cause.get(instrument, CloseCause.EXTERNAL))]

    def _end(self, position: Position, cause: CloseCause) -> Closed:
        instrument = position.instrument_id
        del self.positions[instrument]
        self._last_cause.pop(instrument, None)
        self._early.pop(instrument, None)
        self._flat_votes.pop(instrument, None)
        self._forget_orders(position.position_id)
        return Closed(
            position=position.view(),
            cause=cause,
            exit_px_avg=position.exit_px_avg,
            net_pnl=position.net_pnl,
        )

    def _forget_orders(self, position_id: str) -> None:
        ended = [
            key
            for key, order in self.orders.items()
            if order.position_id != position_id and order.status.is_terminal
        ]
        for key in ended:
            del self.orders[key]

    # --- what the venue says about positions -----------------------------------------------------

    def on_funding(self, instrument: InstrumentId, amount: Decimal) -> PositionView | None:
        """Book funding into the open position; None when there is none."""
        position = self.positions.get(instrument)
        if position is None:
            return None
        position.funding += amount
        return position.view()

    def reconcile(
        self, venue: Venue, reports: dict[InstrumentId, PositionReport], now_ns: int
    ) -> list[Fact]:
        """
        Compare with a complete snapshot of *venue*: adopt what we do not know, end what is gone.

        A position of ours that the venue does not show is ended only at the second snapshot that
        says so, since a query may lag behind a fill (R62, R88).
        """
        facts: list[Fact] = []
        for instrument, report in reports.items():
            if report.qty_signed != 0 and not self.is_busy(instrument):
                facts += self._adopt(report, now_ns)
        for instrument in [i for i in self.positions if i.venue is venue]:
            position = self.positions[instrument]
            found = reports.get(instrument)
            theirs = found.qty_signed if found is not None else ZERO
            if theirs == position.qty_signed or instrument in self._entries:
                self._flat_votes.pop(instrument, None)
                continue
            facts += self._differ(position, found, theirs, now_ns)
        return facts

    def _differ(
        self, position: Position, found: PositionReport | None, theirs: Decimal, now_ns: int
    ) -> list[Fact]:
        instrument = position.instrument_id
        votes = self._flat_votes.get(instrument, 0) + 1
        self._flat_votes[instrument] = votes
        ours = position.qty_signed
        if votes < 2:
            return [
                Mismatch(
                    instrument_id=instrument, ours=ours, theirs=theirs, action="asking once more"
                )
            ]
        facts: list[Fact] = [
            Mismatch(
                instrument_id=instrument,
                ours=ours,
                theirs=theirs,
                action="the venue is right: our position ends as EXTERNAL",
            ),
            self._end(position, self._last_cause.get(instrument, CloseCause.EXTERNAL)),
        ]
        if found is not None and theirs != 0:
            facts += self._adopt(found, now_ns)
        return facts

    def _adopt(self, report: PositionReport, now_ns: int) -> list[Fact]:
        assert report.entry_px_avg is not None, report
        position = Position(
            position_id=self.new_position_id(),
            instrument_id=report.instrument_id,
            side=PositionSide.LONG if report.qty_signed > 0 else PositionSide.SHORT,
            plan=None,
            trace_id="adopted",
            opened_ns=now_ns,
            leverage=report.leverage,
        )
        position.adopt(abs(report.qty_signed), report.entry_px_avg)
        self.positions[report.instrument_id] = position
        return [Opened(position=position.view())]


_FILL_IDS_KEPT = 5000
