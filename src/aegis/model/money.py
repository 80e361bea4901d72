"""The one place where prices, quantities and money are rounded."""

import enum
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

ZERO = Decimal(0)
ONE = Decimal(1)
BPS = Decimal(10_000)


class Rounding(enum.Enum):
    """Direction of a rounding to a grid."""

    DOWN = ROUND_FLOOR
    UP = ROUND_CEILING
    NEAREST = ROUND_HALF_EVEN


def round_to_grid(value: Decimal, grid: Decimal, rounding: Rounding) -> Decimal:
    """
    Return the multiple of *grid* nearest to *value* in the direction of *rounding*.

    Raises:
        ValueError: when *grid* is not > 0 or *value* is not finite.
    """
    if not value.is_finite() or not grid > 0:
        raise ValueError(f"cannot round {value} to a grid of {grid}")
    steps = (value / grid).to_integral_value(rounding=rounding.value)
    return (steps * grid).quantize(grid) if grid.as_tuple().exponent != 0 else steps * grid


def price_from_float(price: float, tick_size: Decimal, rounding: Rounding) -> Decimal:
    """
    Turn a market-data float into a price on the instrument's tick grid.

    Raises:
        ValueError: when *price* is NaN or infinite.
    """
    return round_to_grid(Decimal(repr(price)), tick_size, rounding)


def floor_to_step(qty: Decimal, qty_step: Decimal) -> Decimal:
    """Return *qty* rounded toward zero onto the quantity step: rounding never adds risk (R26)."""
    if qty < 0:
        return -round_to_grid(-qty, qty_step, Rounding.DOWN)
    return round_to_grid(qty, qty_step, Rounding.DOWN)


def plain(value: Decimal) -> str:
    """Return *value* as a venue wants it: no exponent, no trailing zeros."""
    text = format(value.normalize(), "f")
    return "0" if text in {"-0", ""} else text
