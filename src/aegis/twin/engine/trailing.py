"""How a trailing stop begins and moves behind the best price so far (venues.md 1.2, 3.4)."""

from decimal import Decimal
from typing import Final

import attrs

from aegis.model.money import Rounding, price_from_float
from aegis.twin.engine.api import EngineOrder, OrderSpec
from aegis.twin.engine.parts import EngineParts

PERCENT: Final = 100


def trail_level(spec: OrderSpec, extreme: float, tick: Decimal) -> Decimal:
    """Return the trigger price, on the tick, at least one tick, of a trail behind *extreme*."""
    trail = spec.trail
    assert trail is not None
    if trail.distance is not None:
        away = float(trail.distance)
    else:
        assert trail.rate is not None
        away = extreme * float(trail.rate) / PERCENT
    return max(tick, price_from_float(extreme + away * spec.side.sign, tick, Rounding.NEAREST))


def is_better(spec: OrderSpec, price: float, extreme: float) -> bool:
    """Say whether *price* is a new high of a SELL trail, a new low of a BUY trail."""
    return (price - extreme) * spec.side.sign < 0


def start_trail(parts: EngineParts, order: EngineOrder) -> None:
    """Let *order* follow the price from now on."""
    price = parts.market(order.spec.symbol).raw_price(parts.now_ns, order.spec.trigger_by)
    order.trail_active = True
    parts.followed[order.order_id] = order
    move_trail(parts, order, price)


def move_trail(parts: EngineParts, order: EngineOrder, extreme: float) -> None:
    """Make *extreme* the best price so far of *order*, and move its level."""
    order.trail_extreme = extreme
    tick = parts.market(order.spec.symbol).instrument.tick_size
    level = trail_level(order.spec, extreme, tick)
    order.spec = attrs.evolve(order.spec, trigger_price=level)
    parts.touch(order.spec.symbol)
