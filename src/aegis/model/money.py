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
        ValueError: when *grid* is not finite and > 0, or *value* is not finite.
    """
    if not value.is_finite() or not grid.is_finite() or not grid > 0:
        raise ValueError(f"cannot round {value} to a grid of {grid}")
    # Ratios of integers are exact: a quotient cut to 28 digits could round up onto the grid, and
    # a rounding DOWN would then add risk.
    value_num, value_den = value.as_integer_ratio()
    grid_num, grid_den = grid.as_integer_ratio()
    num, den = value_num * grid_den, value_den * grid_num
    steps, rest = divmod(num, den)
    half_even = 2 * rest > den or (2 * rest == den and steps % 2 == 1)
    if (rounding is Rounding.UP and rest) or (rounding is Rounding.NEAREST and half_even):
        steps += 1
    return Decimal(steps) * grid


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
    """
    Return *value* as a venue wants it: no exponent, no trailing zeros, every digit it has.

    Raises:
        ValueError: when *value* is NaN or infinite: no venue may be sent that.
    """
    if not value.is_finite():
        raise ValueError(f"number was {value}, must be finite")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if value == 0 else text
