"""Which levels a symbol's orders and position wait for."""

from aegis.model.order import OrderSide, OrderType, TriggerBy
from aegis.twin.engine.api import EngineStatus
from aegis.twin.engine.clock import Watch
from aegis.twin.engine.liquidation import liquidation_direction_of
from aegis.twin.engine.order_store import RESTING_STATUSES
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.triggers import trigger_direction


def watches_of(parts: EngineParts, symbol: str) -> list[Watch]:
    """
    Return the levels of *symbol*: triggers, resting LIMITs, the liquidation price.

    A resting LIMIT fills when the other side of the book would come to it: half a spread, as it
    was when it was placed, beyond its price.
    """
    watches = []
    for order in parts.store.open_orders(symbol):
        spec = order.spec
        if order.status is EngineStatus.UNTRIGGERED:
            if order.order_id in parts.followed and spec.trail is None:
                continue
            assert spec.trigger_price is not None
            on_mark = spec.trigger_by is TriggerBy.MARK
            level = float(spec.trigger_price)
            direction = trigger_direction(spec)
            if spec.trail is not None and not order.trail_active:
                direction = -direction
            watches.append(Watch(level, direction, on_mark, order))
        elif order.status in RESTING_STATUSES and spec.order_type is OrderType.LIMIT:
            assert spec.limit_price is not None
            level = float(spec.limit_price) + parts.maker_offsets.get(order.order_id, 0.0)
            watches.append(Watch(level, -1 if spec.side is OrderSide.BUY else 1, False, order))
    for position in parts.ledger.legs[symbol].values():
        price = position.liquidation_px
        if price is not None:
            direction = liquidation_direction_of(parts, position, price)
            watches.append(Watch(float(price), direction, True, None))
    return watches
