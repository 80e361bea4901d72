"""
A conditional order's way from its trigger to its end (venues.md 1.4, 3.5).

Binance: TRIGGERING, a child market order after a latency, its fills, TRIGGERED, FILLED.
Bybit: TRIGGERED, then fills under the order's own id.
"""

import attrs

from aegis.model.order import OrderType
from aegis.twin.engine.api import Bound, EngineOrder, EngineStatus, OrderSpec
from aegis.twin.engine.execution import REDUCE_ONLY_DETAIL, Execution
from aegis.twin.engine.matching import plan_notional
from aegis.twin.engine.order_checks import margin_is_short
from aegis.twin.engine.order_store import OPEN_STATUSES
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.protection_desk import ProtectionDesk
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

    def fire(self, order: EngineOrder) -> None:
        """Trigger *order* now; it reaches matching after the latency, or never when stuck."""
        parts = self._parts
        if order.status is not EngineStatus.UNTRIGGERED:
            return
        order.triggered_ns = parts.now_ns
        in_place = parts.rules.continues_in_place
        parts.move(order, EngineStatus.TRIGGERED if in_place else EngineStatus.TRIGGERING)
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
        before = parts.position(order.spec.symbol).qty
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
        is_limit = order.spec.order_type is OrderType.LIMIT
        spec = attrs.evolve(
            order.spec,
            order_type=OrderType.LIMIT if is_limit else OrderType.MARKET,
            reduce_only=order.spec.reduce_only or order.spec.close_position,
            trigger_price=None,
            trigger_direction=None,
        )
        return self._execution.trimmed(spec) if spec.reduce_only else spec

    def _conclude(self, order: EngineOrder, child: EngineOrder) -> None:
        """Tell TRIGGERED with nothing filled yet, then the end with the child's figures."""
        self._parts.move(order, EngineStatus.TRIGGERED)
        if child.status not in OPEN_STATUSES:
            self.finish(order, child)

    def finish(self, order: EngineOrder, child: EngineOrder) -> None:
        """Mirror a terminal child onto its conditional: FILLED stands for the venue's FINISHED."""
        order.filled_qty = child.filled_qty
        order.filled_notional = child.filled_notional
        order.fees = child.fees
        order.realized_pnl = child.realized_pnl
        self._parts.move(order, EngineStatus.FILLED, child.detail)

    def finish_parent(self, child: EngineOrder) -> None:
        """End the conditional of a child that rested and is now terminal."""
        parent = child.parent
        if parent is not None and parent.child is child and child.status not in OPEN_STATUSES:
            self.finish(parent, child)
