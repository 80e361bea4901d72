"""Which levels of the book an order takes, and at what prices. Pure."""

from collections.abc import Sequence
from decimal import Decimal

from aegis.model.money import ZERO, Rounding, floor_to_step, price_from_float
from aegis.model.order import OrderSide
from aegis.twin.engine.api import TwinInstrument
from aegis.twin.tape.synthetic_book import Level


def scaled(levels: Sequence[Level], factor: float, qty_step: Decimal) -> list[Level]:
    """Multiply every quantity by *factor*, down to the step; emptied levels vanish."""
    if factor == 1.0:
        return list(levels)
    thinned = (
        Level(level.price, float(floor_to_step(Decimal(repr(level.qty * factor)), qty_step)))
        for level in levels
    )
    return [level for level in thinned if level.qty > 0]


def plan_take(
    levels: Sequence[Level],
    side: OrderSide,
    qty: Decimal,
    worst: Decimal,
    instrument: TwinInstrument,
) -> list[tuple[Decimal, Decimal]]:
    """
    Return (qty, price) of every level taken, best first.

    *levels* are of the other side, best first; *worst* is the last price accepted. The sum is
    less than *qty* when the levels within *worst* hold less.
    """
    taken: list[tuple[Decimal, Decimal]] = []
    left = qty
    for level in levels:
        price = price_from_float(level.price, instrument.tick_size, Rounding.NEAREST)
        if left <= 0 or (price - worst) * side.sign > 0:
            break
        there = floor_to_step(Decimal(repr(level.qty)), instrument.qty_step)
        part = min(left, there)
        if part > 0:
            taken.append((part, price))
            left -= part
    return taken


def plan_qty(plan: Sequence[tuple[Decimal, Decimal]]) -> Decimal:
    """Add up the quantities of a plan."""
    return sum((qty for qty, _ in plan), ZERO)


def plan_notional(plan: Sequence[tuple[Decimal, Decimal]]) -> Decimal:
    """Add up quantity times price of a plan."""
    return sum((qty * price for qty, price in plan), ZERO)
