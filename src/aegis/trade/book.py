"""
The book: every order of ours and every position, as the venues acknowledged them. No I/O.

Each call returns the facts that follow from it; the actor publishes them in that order. A fill is
counted once, a report only moves an order forward, a position ends only when the fills say flat and
its entry can fill no more (R32 to R34, R60).
"""

from collections.abc import Callable, Container, Iterable
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.account import OrderReport, PositionReport
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ZERO
from aegis.model.order import (
    Order,
    OrderRequest,
    OrderSide,
    OrderStatus,
    PositionSide,
    Purpose,
)
from aegis.model.position import CloseCause, Position, PositionView, ProtectionPlan, mismatch_of
from aegis.trade.entry import Entry, slippage_of
from aegis.trade.facts import (
    Advanced,
    Booked,
    Closed,
    EntryDied,
    EntryDone,
    Fact,
    Mismatch,
    Opened,
    cause_of,
)
from aegis.trade.reconcile import Vote, no_tick, reconcile
from aegis.trade.short import Shorts
from aegis.trade.stop_causes import StopCauses


@attrs.define(slots=True)
class Book:
    """Orders and positions of one process over all venues; one position an instrument (R36)."""

    new_position_id: Callable[[], str]
    orders: dict[str, Order] = attrs.field(factory=dict)
    positions: dict[InstrumentId, Position] = attrs.field(factory=dict)
    entries: dict[InstrumentId, Entry] = attrs.field(factory=dict)
    early: dict[InstrumentId, list[Fill]] = attrs.field(factory=dict)
    last_exit: dict[InstrumentId, tuple[int, CloseCause]] = attrs.field(factory=dict)
    ended: dict[InstrumentId, tuple[int, PositionSide]] = attrs.field(factory=dict)
    """When (ns UTC, venue time) a fill ended the last position there, and its side."""
    """Time (ns UTC, the venue's) and cause of the newest closing fill: one found late is not it."""
    votes: dict[InstrumentId, Vote] = attrs.field(factory=dict)
    price_told: dict[str, None] = attrs.field(factory=dict)
    """Positions whose entry price at the venue was told to differ."""
    recent_fill_ids: dict[InstrumentId, dict[str, None]] = attrs.field(factory=dict)
    began_ns: dict[InstrumentId, int] = attrs.field(factory=dict)
    """When the open position's first fill happened, or it was found: ns UTC, venue time."""
    looked_ns: dict[Venue, int] = attrs.field(factory=dict)
    """When (ns UTC) the newest question for missing fills was asked that was answered."""
    shorts: Shorts = attrs.field(factory=Shorts)
    stop_causes: StopCauses = attrs.field(
        init=False, default=attrs.Factory(lambda self: StopCauses(self.has_position), True)
    )

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
        assert instrument not in self.entries, f"{instrument} has an entry under way"
        assert instrument not in self.positions, f"{instrument} has a position"
        order = self.register(request, position_id, trace_id)
        self.entries[instrument] = Entry(
            order=order, side=side, plan=plan, leverage=leverage, signal_price=signal_price
        )
        return order

    def restore_entry(
        self,
        request: OrderRequest,
        *,
        position_id: str,
        trace_id: str,
        plan: ProtectionPlan | None = None,
        leverage: int | None = None,
        signal_price: Decimal | None = None,
        fills: Iterable[Fill] = (),
    ) -> Order:
        """Enter an entry of an earlier run whose end is not known; *fills* were counted already."""
        order = self.register(request, position_id, trace_id)
        order.advance(OrderStatus.UNKNOWN)
        for fill in fills:
            order.add_fill(fill.fill_id, fill.last_qty, fill.last_px)
        self.entries[request.instrument_id] = Entry(
            order=order,
            side=PositionSide.LONG if request.side is OrderSide.BUY else PositionSide.SHORT,
            plan=plan,
            leverage=leverage,
            signal_price=signal_price,
            restored=True,
        )
        return order

    def restore_position(
        self,
        position: Position,
        last_exit: tuple[int, CloseCause] | None,
        began_ns: int | None = None,
    ) -> None:
        """
        Take over an open position of an earlier run.

        *last_exit*: time and cause of its newest closing fill. *began_ns*: when its first fill
        happened, where that is known. Both ns UTC, the venue's.
        """
        instrument = position.instrument_id
        assert instrument not in self.positions, f"{instrument} has a position"
        self.positions[instrument] = position
        self.began_ns[instrument] = position.opened_ns if began_ns is None else began_ns
        if last_exit is not None:
            self.last_exit[instrument] = last_exit

    def restore_fill_ids(self, known: Iterable[tuple[InstrumentId, str]]) -> None:
        """Count no fill again that an earlier run has booked."""
        for instrument, fill_id in known:
            self.recent_fill_ids.setdefault(instrument, {})[fill_id] = None

    def knows_fill(self, fill: Fill) -> bool:
        """Say whether *fill* was counted, or waits to be."""
        return self._seen(fill)

    def end_if_flat(self, instrument: InstrumentId) -> list[Fact]:
        """End a restored position whose last fill was booked and whose end was not."""
        position = self.positions.get(instrument)
        return [] if position is None else self._close_if_flat(position)

    def entries_of(self, venue: Venue) -> list[OrderRequest]:
        """Return the entry orders under way on *venue*."""
        return [e.order.request for i, e in self.entries.items() if i.venue is venue]

    def is_entry_settled(self, request: OrderRequest) -> bool:
        """Say whether *request* is an entry under way no longer."""
        entry = self.entries.get(request.instrument_id)
        return entry is None or entry.order.request is not request

    def has_entry(self, instrument: InstrumentId) -> bool:
        """Say whether an entry is under way there."""
        return instrument in self.entries

    def has_position(self, instrument: InstrumentId) -> bool:
        """Say whether a position is open there."""
        return instrument in self.positions

    def is_busy(self, instrument: InstrumentId) -> bool:
        """Say whether an entry is under way or a position is open there."""
        return instrument in self.entries or instrument in self.positions

    def on_submitted(self, client_order_id: str) -> None:
        """Note that the request left."""
        order = self.orders.get(client_order_id)
        if order is not None:
            order.advance(OrderStatus.SUBMITTED)

    def on_unknown(self, client_order_id: str) -> list[Fact]:
        """Note that the outcome is unknown; exposure stays reserved until it is known."""
        order = self.orders.get(client_order_id)
        if order is not None and order.advance(OrderStatus.UNKNOWN):
            return [Advanced(order=order, code="", message="outcome unknown, asking the venue")]
        return []

    def on_refused(self, client_order_id: str, *, code: str, message: str) -> list[Fact]:
        """
        Note the venue's no, or that the request never left.

        An order the venue has shown as working was not refused: a query that does not find it lags
        behind, and its end will be told.
        """
        order = self.orders.get(client_order_id)
        if order is None or order.status.is_working or not order.advance(OrderStatus.REJECTED):
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

    def is_active(self, venue: Venue) -> bool:
        """Say whether a position is open or an entry under way on *venue*."""
        return any(i.venue is venue for i in (*self.positions, *self.entries))

    def lacks_fills(self, client_order_id: str) -> bool:
        """Say whether the venue counts more filled of this order than fills have come."""
        order = self.orders.get(client_order_id)
        return order is not None and order.venue_filled_qty > order.filled_qty

    # --- fills -----------------------------------------------------------------------------------

    def on_fill(self, fill: Fill, now_ns: int) -> list[Fact]:
        """Count a fill into its order and position, once; one that comes too early is kept."""
        instrument = fill.instrument_id
        if self._seen(fill):
            return []
        entry = self.entries.get(instrument)
        if entry is not None and fill.client_order_id == entry.order.request.client_order_id:
            return self._entry_fill(entry, fill, now_ns)
        position = self.positions.get(instrument)
        # While its entry fills, the first of its fills may still be on the way.
        began_ns = self.began_ns.get(instrument, 0) if entry is None else 0
        if position is None or fill.ts_event < began_ns:
            if (owner := self.shorts.owner_of(fill)) is not None:
                return self._late_fill(owner, fill)
            if position is not None:
                # It happened before this position began: found late, it is of another one.
                return self._stranger(fill, position)
        side = position.side if position is not None else entry.side if entry is not None else None
        if side is None or fill.side is not side.exit_side:
            return self._stranger(fill, position)
        if position is None or fill.last_qty > position.qty:
            # The closing fill overtook an opening one: wait for it.
            self.early.setdefault(instrument, []).append(fill)
            return [] if entry is not None else self._stranger(fill, position)
        return [*self._exit_fill(position, fill), *self._retry_early(instrument, now_ns)]

    def _seen(self, fill: Fill) -> bool:
        seen = self.recent_fill_ids.setdefault(fill.instrument_id, {})
        early = self.early.get(fill.instrument_id, ())
        return fill.fill_id in seen or any(fill.fill_id == other.fill_id for other in early)

    def _remember(self, fill: Fill) -> None:
        seen = self.recent_fill_ids.setdefault(fill.instrument_id, {})
        seen[fill.fill_id] = None
        while len(seen) > _FILL_IDS_KEPT:
            del seen[next(iter(seen))]

    def _entry_fill(self, entry: Entry, fill: Fill, now_ns: int) -> list[Fact]:
        instrument = fill.instrument_id
        position = self.positions.get(instrument)
        if fill.side is not entry.side.entry_side:
            return self._stranger(fill, position)
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
                restored=entry.restored,
            )
            self.positions[instrument] = position
        began_ns = self.began_ns.get(instrument, fill.ts_event)
        self.began_ns[instrument] = min(began_ns, fill.ts_event)
        self._remember(fill)
        entry.order.add_fill(fill.fill_id, fill.last_qty, fill.last_px)
        position.apply(fill)
        progress = self._advance_by_fills(entry.order)
        facts: list[Fact] = []
        view = position.view()
        if opened:
            facts.append(Opened(position=view))
        facts.append(Booked(fill=fill, position=view, purpose=Purpose.ENTRY.name))
        facts += progress
        facts += self._retry_early(instrument, now_ns)
        return facts + self._settle(entry.order)

    def _exit_fill(self, position: Position, fill: Fill) -> list[Fact]:
        self._remember(fill)
        position.apply(fill)
        order = self.orders.get(fill.client_order_id)
        progress: list[Fact] = []
        if order is not None:
            order.add_fill(fill.fill_id, fill.last_qty, fill.last_px)
            progress = self._advance_by_fills(order)
        cause = self.stop_causes.cause_of(fill) or cause_of(fill, position.position_id)
        newest_ns, _ = self.last_exit.get(fill.instrument_id, (fill.ts_event, cause))
        if fill.ts_event >= newest_ns:
            self.last_exit[fill.instrument_id] = (fill.ts_event, cause)
        booked = Booked(fill=fill, position=position.view(), purpose=cause.name)
        return [booked, *progress, *self._close_if_flat(position)]

    def _late_fill(self, position: Position, fill: Fill) -> list[Fact]:
        """Count a fill of a position that ended without it."""
        self._remember(fill)
        self.shorts.book(position, fill)
        is_entry = fill.side is position.side.entry_side
        cause = self.stop_causes.cause_of(fill) or cause_of(fill, position.position_id)
        purpose = Purpose.ENTRY.name if is_entry else cause.name
        return [Booked(fill=fill, position=position.view(), purpose=purpose)]

    def _advance_by_fills(self, order: Order) -> list[Fact]:
        # Executions are the venue's word as well: all of the quantity filled is the order's end,
        # even if the report that says so was lost.
        qty = order.request.qty
        filled = qty is not None and order.filled_qty >= qty
        if not order.advance(OrderStatus.FILLED if filled else OrderStatus.PARTIALLY_FILLED):
            return []
        return [Advanced(order=order, code="", message="")] if filled else []

    def _retry_early(self, instrument: InstrumentId, now_ns: int) -> list[Fact]:
        position = self.positions.get(instrument)
        waiting = self.early.get(instrument)
        if position is None or not waiting:
            return []
        for index, fill in enumerate(waiting):
            if fill.last_qty <= position.qty:
                del waiting[index]
                return self.on_fill(fill, now_ns)
        return []

    def _stranger(self, fill: Fill, position: Position | None) -> list[Fact]:
        # Somebody else traded on our account: the next snapshot shows what came of it. Told once,
        # since a replay brings the same fill again with every look.
        self._remember(fill)
        ours = position.qty_signed if position is not None else ZERO
        theirs = ours + fill.last_qty * fill.side.sign
        return [
            Mismatch(
                instrument_id=fill.instrument_id,
                kind=mismatch_of(ours, theirs),
                ours=ours,
                theirs=theirs,
                action=f"fill {fill.fill_id} is of no order of ours: asking the venue",
            )
        ]

    # --- ends ------------------------------------------------------------------------------------

    def _settle(self, order: Order) -> list[Fact]:
        if order.request.purpose is not Purpose.ENTRY or not order.is_settled:
            return []
        instrument = order.request.instrument_id
        entry = self.entries.get(instrument)
        if entry is None or entry.order is not order:
            return []
        del self.entries[instrument]
        position = self.positions.get(instrument)
        if position is None:
            reason = order.reject_message or f"entry ended {order.status.value} without a fill"
            died = EntryDied(position_id=order.position_id, instrument_id=instrument, reason=reason)
            early = self.early.pop(instrument, [])
            return [died, *(fact for fill in early for fact in self._stranger(fill, None))]
        done = EntryDone(position=position.view(), slippage=slippage_of(entry, position))
        return [done, *self._close_if_flat(position)]

    def _close_if_flat(self, position: Position) -> list[Fact]:
        instrument = position.instrument_id
        if position.qty != 0 or instrument in self.entries:
            return []
        unbooked = self.early.pop(instrument, [])
        _, cause = self.last_exit.get(instrument, (0, CloseCause.EXTERNAL))
        closed = self.end(position, cause)
        return [closed, *(fact for fill in unbooked for fact in self._stranger(fill, None))]

    def end(self, position: Position, cause: CloseCause) -> Closed:
        instrument = position.instrument_id
        del self.positions[instrument]
        self.began_ns.pop(instrument, None)
        ended_ns, _ = self.last_exit.pop(instrument, (0, cause))
        self.ended[instrument] = (ended_ns, position.side)
        self.stop_causes.forget(instrument)
        self.early.pop(instrument, None)
        self.votes.pop(instrument, None)
        self.price_told.pop(position.position_id, None)
        self._forget_orders(position.position_id)
        return Closed(
            position=position.view(),
            cause=cause,
            exit_px_avg=position.exit_px_avg,
            net_pnl=position.net_pnl,
        )

    def _forget_orders(self, position_id: str) -> None:
        # The orders of the position that ended stay until the next end: late reports name them.
        kept = {position_id, *(position.position_id for position in self.positions.values())}
        kept.update(entry.order.position_id for entry in self.entries.values())
        ended = [
            key
            for key, order in self.orders.items()
            if order.position_id not in kept and order.status.is_terminal
        ]
        for key in ended:
            del self.orders[key]

    # --- what the venue says about positions -----------------------------------------------------

    def on_funding(
        self, instrument: InstrumentId, amount: Decimal, ts_event: int
    ) -> PositionView | None:
        """Book funding of *ts_event* (ns UTC) into the open position; None when it has none."""
        position = self.positions.get(instrument)
        if position is None:
            return None
        began_ns = self.began_ns.get(instrument, 0)
        if ts_event < (position.opened_ns if position.adopted else began_ns):
            # It was paid by what was open there before.
            return None
        position.funding += amount
        return position.view()

    def reconcile(
        self,
        venue: Venue,
        reports: dict[InstrumentId, PositionReport],
        now_ns: int,
        told_flat: Container[InstrumentId] = (),
        tick_of: Callable[[InstrumentId], Decimal | None] = no_tick,
    ) -> list[Fact]:
        """Compare with a complete snapshot of *venue* (trade/reconcile.py)."""
        return reconcile(self, venue, reports, now_ns, told_flat, tick_of)


_FILL_IDS_KEPT: Final = 5000
