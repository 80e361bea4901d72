"""
A conditional order's way from its trigger to its end (venues.md 1.4, 3.5).

Binance: TRIGGERING, a child market order after a latency, its fills, TRIGGERED, FILLED.
Bybit: TRIGGERED, then fills under the order's own id.
"""

import attrs

from aegis.model.order import OrderType, TriggerBy
from aegis.twin.engine.api import Bound, EngineOrder, EngineStatus, OrderSpec
from aegis.twin.engine.execution import REDUCE_ONLY_DETAIL, Execution
from aegis.twin.engine.market import SymbolMarket
from aegis.twin.engine.matching import plan_notional
from aegis.twin.engine.order_checks import margin_is_short
from aegis.twin.engine.order_store import OPEN_STATUSES
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.protection_desk import ProtectionDesk
from aegis.twin.engine.relatives import cancel_sibling, finish
from aegis.twin.engine.trailing import is_better, move_trail, start_trail
from aegis.twin.engine.triggers import is_reached, trigger_direction
from aegis.twin.tape.synthetic_book import hashed_unit

ON_THEIR_WAY = frozenset({EngineStatus.TRIGGERING, EngineStatus.TRIGGERED})


class TriggerDesk:
    """Fires conditional orders and carries them into matching."""

    def __init__(
        self, parts: EngineParts, execution: Execution, protection: ProtectionDesk
    ) -> None:
        self._parts = parts
        self._execution = execution
        self._protection = protection

    def reach(self, order: EngineOrder) -> None:
        """Do what the price reaching *order*'s level means: activate it, hold it back, or fire."""
        if order.status is not EngineStatus.UNTRIGGERED:
            return
        if order.spec.trail is not None and not order.trail_active:
            start_trail(self._parts, order)
            self._parts.move(order, EngineStatus.UNTRIGGERED)
        elif order.spec.price_protect and self._apart(order.spec.symbol):
            self._parts.followed[order.order_id] = order
            self._parts.touch(order.spec.symbol)
        else:
            self.fire(order)

    def follow(self, market: SymbolMarket) -> None:
        """Move the trails of a symbol whose price turned; look again at who is held back."""
        parts = self._parts
        for order in list(parts.followed.values()):
            if order.spec.symbol != market.symbol:
                continue
            price = market.raw_price(parts.now_ns, order.spec.trigger_by)
            if order.spec.trail is None:
                self._look_at_held_back(order, price)
            elif is_better(order.spec, price, order.trail_extreme):
                self._trail(order, price)

    def _look_at_held_back(self, order: EngineOrder, price: float) -> None:
        assert order.spec.trigger_price is not None
        level = float(order.spec.trigger_price)
        if not is_reached(price, level, trigger_direction(order.spec)):
            del self._parts.followed[order.order_id]
            self._parts.touch(order.spec.symbol)
        elif not self._apart(order.spec.symbol):
            del self._parts.followed[order.order_id]
            self.fire(order)

    def _apart(self, symbol: str) -> bool:
        """Say whether mark and last are further apart than a protected trigger allows."""
        market = self._parts.market(symbol)
        mark = market.raw_price(self._parts.now_ns, TriggerBy.MARK)
        last = market.raw_price(self._parts.now_ns, TriggerBy.LAST)
        return abs(mark - last) / mark > market.instrument.trigger_protect

    def _trail(self, order: EngineOrder, price: float) -> None:
        before = order.spec.trigger_price
        move_trail(self._parts, order, price)
        if order.spec.trigger_price != before and self._parts.rules.trail_moves_told:
            self._parts.move(order, EngineStatus.UNTRIGGERED)

    def fire(self, order: EngineOrder) -> None:
        """Trigger *order* now; it reaches matching after the latency, or never when stuck."""
        parts = self._parts
        if order.status is not EngineStatus.UNTRIGGERED:
            return
        order.triggered_ns = parts.now_ns
        in_place = parts.rules.continues_in_place
        parts.followed.pop(order.order_id, None)
        parts.move(order, EngineStatus.TRIGGERED if in_place else EngineStatus.TRIGGERING)
        cancel_sibling(parts, order)
        if parts.faults.trigger_stuck(order):
            return
        late_ns = parts.faults.extra_trigger_latency_ns(order)
        parts.send_later(parts.now_ns + self._latency_ns(order) + late_ns, order)

    def _latency_ns(self, order: EngineOrder) -> int:
        low, high = self._parts.rules.trigger_latency_ns
        return low + int(hashed_unit(self._parts.seed, order.order_id) * (high - low))

    def arrive(self, order: EngineOrder) -> None:
        """Put a triggered order into matching."""
        parts = self._parts
        if order.status not in ON_THEIR_WAY:
            return
        before = parts.position_of(order.spec).qty
        placed = self._placed(order)
        if placed is None:
            self._execution.remove(order, EngineStatus.REJECTED, REDUCE_ONLY_DETAIL)
            return
        if not placed.reduce_only:
            assert placed.qty is not None
            plan = self._execution.plan(placed, placed.qty)
            if margin_is_short(parts, placed, placed.qty, plan_notional(plan)):
                self._execution.remove(order, EngineStatus.REJECTED, "margin not enough")
                return
        if parts.rules.continues_in_place:
            order.spec = attrs.evolve(order.spec, qty=placed.qty, close_position=False)
            if placed.order_type is OrderType.LIMIT:
                order.spec = attrs.evolve(order.spec, order_type=OrderType.LIMIT)
            if order.bound is not Bound.NONE:
                self._protection.release(order)
            if placed.order_type is OrderType.LIMIT:
                parts.move(order, EngineStatus.NEW)
            self._execution.take(order)
        else:
            child = parts.create(placed, EngineStatus.NEW, made_by=order.made_by, parent=order)
            order.child = child
            self._execution.take(child)
            self._conclude(order, child)
        self._execution.settle(order, before)

    def _placed(self, order: EngineOrder) -> OrderSpec | None:
        """Return the order as matching gets it; None when it has nothing to reduce."""
        is_limit = order.spec.limit_price is not None
        spec = attrs.evolve(
            order.spec,
            order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
            reduce_only=order.spec.reduce_only or order.spec.close_position,
            trigger_price=None,
            trigger_direction=None,
            trail=None,
        )
        return self._execution.trimmed(spec) if spec.reduce_only else spec

    def _conclude(self, order: EngineOrder, child: EngineOrder) -> None:
        """Tell TRIGGERED with nothing filled yet, then the end with the child's figures."""
        self._parts.move(order, EngineStatus.TRIGGERED)
        if child.status not in OPEN_STATUSES:
            finish(self._parts, order, child)
