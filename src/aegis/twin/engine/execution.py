"""
Executions: taking the book, maker fills, and what every fill entails.

The order in which listeners hear of a fill is written here and nowhere else.
"""

from decimal import Decimal

import attrs

from aegis.model.money import ZERO
from aegis.model.order import OrderSide, OrderType, TimeInForce
from aegis.twin.engine.api import (
    Bound,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    OrderSpec,
)
from aegis.twin.engine.cross import reckon_liquidation
from aegis.twin.engine.ledger import Booking
from aegis.twin.engine.matching import plan_qty, plan_take
from aegis.twin.engine.order_store import OPEN_STATUSES, RESTING_STATUSES
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.protection_desk import ProtectionDesk
from aegis.twin.engine.relatives import finish_parent

REDUCE_ONLY_DETAIL = "Reduce Only reject"
IOC_DETAIL = "immediate or cancel"
BAND_DETAIL = "no more depth within the band"
FLAT_DETAIL = "position is flat"


class Execution:
    """Fills orders and settles what a changed position drops, resizes and arms."""

    def __init__(self, parts: EngineParts, protection: ProtectionDesk) -> None:
        self._parts = parts
        self._protection = protection

    def plan(self, spec: OrderSpec, qty: Decimal) -> list[tuple[Decimal, Decimal]]:
        """Return (qty, price) that an order would take from the book now."""
        parts = self._parts
        market = parts.market(spec.symbol)
        levels = market.opposing(parts.now_ns, spec.side, parts.faults.depth_factor(spec.symbol))
        worst = spec.limit_price
        if worst is None:
            mid = Decimal(repr(market.path.price_at(parts.now_ns)))
            worst = mid * (1 + spec.side.sign * parts.rules.market_band)
        return plan_take(levels, spec.side, qty, worst, market.instrument)

    def trimmed(self, spec: OrderSpec, filled: Decimal = ZERO) -> OrderSpec | None:
        """Return a reduce-only *spec* cut to what it may close, None when that is nothing."""
        position = self._parts.position_of(spec)
        if position.qty * spec.side.sign >= 0:
            return None
        room = abs(position.qty) + filled
        if spec.qty is None or spec.qty > room:
            return attrs.evolve(spec, qty=room, close_position=False, reduce_only=True)
        return spec

    def take(self, order: EngineOrder) -> None:
        """Match *order* with the book; a MARKET or IOC rest is dropped, a LIMIT rest stays."""
        parts = self._parts
        spec = order.spec
        assert spec.qty is not None
        wanted = spec.qty - order.filled_qty
        plan = self.plan(spec, wanted)
        rests = spec.order_type is OrderType.LIMIT and spec.time_in_force is TimeInForce.GTC
        if spec.post_only and plan:
            parts.move(order, parts.dropped(), "post only would take")
            return
        if spec.fill_or_kill and plan_qty(plan) < wanted:
            parts.move(order, parts.dropped(), "fill or kill")
            return
        for qty, price in plan:
            self._fill(order, qty, price, maker=False)
        if order.filled_qty == spec.qty:
            return
        if rests and not spec.fill_or_kill:
            self.rest(order)
            return
        at_limit = spec.order_type is OrderType.LIMIT
        parts.move(order, parts.dropped(), IOC_DETAIL if at_limit else BAND_DETAIL)

    def rest(self, order: EngineOrder) -> None:
        """Remember how far from its limit the mid is when a resting order fills."""
        bid, mid, ask = self._parts.market(order.spec.symbol).best(self._parts.now_ns)
        offset = mid - ask if order.spec.side is OrderSide.BUY else mid - bid
        self._parts.maker_offsets[order.order_id] = offset
        self._parts.touch(order.spec.symbol)

    def fill_resting(self, order: EngineOrder) -> None:
        """Fill a resting LIMIT whole, as maker, at its limit."""
        if order.status not in RESTING_STATUSES:
            return
        parts = self._parts
        before = parts.position_of(order.spec).qty
        spec = order.spec
        if spec.reduce_only:
            room = self.trimmed(spec, order.filled_qty)
            if room is None:
                parts.move(order, parts.dropped(), REDUCE_ONLY_DETAIL)
                return
            spec = order.spec = room
        assert spec.qty is not None
        assert spec.limit_price is not None
        left = spec.qty - order.filled_qty
        if left > 0:
            self._fill(order, left, spec.limit_price, maker=True)
        else:
            parts.move(order, parts.dropped(), "nothing left to reduce")
        self.settle(order, before)

    def _fill(self, order: EngineOrder, qty: Decimal, price: Decimal, *, maker: bool) -> None:
        parts = self._parts
        symbol = order.spec.symbol
        mark = parts.market(symbol).mark_price(parts.now_ns)
        booking = parts.ledger.book_fill(
            order, qty, price, maker=maker, mark=mark, now=parts.now_ns
        )
        done = order.filled_qty == order.spec.qty
        parts.mark(order, EngineStatus.FILLED if done else EngineStatus.PARTIALLY_FILLED)
        self.tell(order, booking, "ORDER")

    def tell(self, order: EngineOrder, booking: Booking, cause: str) -> None:
        """Tell what a booked fill of *order* changed."""
        parts = self._parts
        symbol = order.spec.symbol
        reckon_liquidation(parts, symbol)
        parts.touch(symbol)
        parts.voice.on_fill(booking.fill)
        parts.voice.on_order(order)
        for row in booking.rows:
            parts.voice.on_income(row)
        parts.voice.on_position(parts.position_of(order.spec), cause)
        parts.voice.on_balance(cause)

    def settle(self, order: EngineOrder, before: Decimal) -> None:
        """Drop, resize and arm what the position's change from *before* asks for."""
        position = self._parts.position_of(order.spec)
        after = position.qty
        if before == after:
            return
        if before and before * after <= 0:
            self._drop_for(position, OrderSide.SELL if before > 0 else OrderSide.BUY)
            self._protection.disarm(position, FLAT_DETAIL)
        if after:
            self._protection.follow(order)

    def _drop_for(self, position: EnginePosition, side: OrderSide) -> None:
        """Drop the closing orders of *side* that do not outlive their position."""
        parts = self._parts
        for order in parts.store.open_orders(position.symbol):
            spec = order.spec
            if spec.side is not side or order.bound is not Bound.NONE:
                continue
            if spec.leg is not position.leg:
                continue
            waiting = order.status in {EngineStatus.UNTRIGGERED, EngineStatus.TRIGGERING}
            if waiting and spec.close_position and parts.rules.drop_close_position_when_flat:
                parts.move(order, EngineStatus.EXPIRED, FLAT_DETAIL)
            elif order.status in RESTING_STATUSES and spec.reduce_only:
                parts.move(order, parts.dropped(), FLAT_DETAIL)
                finish_parent(parts, order)

    def remove(self, order: EngineOrder, status: EngineStatus, detail: str) -> None:
        """Take an open order out, a position-bound one from its position too."""
        if order.status not in OPEN_STATUSES:
            return
        if order.bound is not Bound.NONE:
            self._protection.release(order)
        if order.sibling is not None:
            order.sibling.sibling = None
            order.sibling = None
        self._parts.move(order, status, detail)
