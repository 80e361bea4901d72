"""What a trigger means: direction, family, whether a price has reached it. Pure."""

from decimal import Decimal

from aegis.model.order import OrderSide, OrderType
from aegis.twin.engine.api import OrderSpec


def trigger_direction(spec: OrderSpec) -> int:
    """
    Return +1 when the order fires at or above its trigger price, -1 at or below.

    Stops: BUY at or above, SELL at or below; take-profits the reverse (venues.md 1.2).
    """
    assert spec.trigger_price is not None, spec
    if spec.trigger_direction is not None:
        return spec.trigger_direction
    return -spec.side.sign if spec.order_type is OrderType.TAKE_PROFIT_MARKET else spec.side.sign


def is_stop_family(spec: OrderSpec) -> bool:
    """Say whether a closing order of this side fires on the loss side, not the profit side."""
    return trigger_direction(spec) == spec.side.sign


def is_reached(price: float, level: float, direction: int) -> bool:
    """Say whether *price* is at or beyond *level* in *direction*."""
    return price >= level if direction > 0 else price <= level


def is_wrong_side(level: Decimal, base: float, entry_side: OrderSide, *, stop: bool) -> bool:
    """Say whether a stop or target of a position opened by *entry_side* is not beyond *base*."""
    must_be_below = (entry_side is OrderSide.BUY) is stop
    return float(level) >= base if must_be_below else float(level) <= base
