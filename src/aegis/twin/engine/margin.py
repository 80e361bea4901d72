"""
Margin arithmetic of one position: initial margin, liquidation and bankruptcy price. Pure.

One maintenance tier per symbol and no closing fee inside the formula: the price at which the
margin left equals the maintenance margin (venues.md 6).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from aegis.model.money import ZERO
from aegis.twin.engine.tiers import MarginTier, tier_for

# The tier follows from the price that is looked for; a few rounds settle it.
_ROUNDS_MAX: Final = 8


def initial_margin(qty: Decimal, price: Decimal, leverage: int) -> Decimal:
    """Return the margin, in quote, that opening *qty* (> 0) at *price* takes."""
    return qty * price / leverage


def liquidation_price(
    qty_signed: Decimal, entry_px: Decimal, margin: Decimal, tiers: Sequence[MarginTier]
) -> Decimal | None:
    """
    Return the mark price at which *margin* (quote) is down to the maintenance margin.

    None when flat or when no price above 0 gets there.
    """
    if qty_signed == 0:
        return None
    return joint_liquidation_price([(qty_signed, entry_px)], margin, tiers, entry_px)


def joint_liquidation_price(
    legs: Sequence[tuple[Decimal, Decimal]],
    margin: Decimal,
    tiers: Sequence[MarginTier],
    near: Decimal,
) -> Decimal | None:
    """
    Return the mark at which *margin* no longer keeps the legs (signed qty, entry) of one symbol.

    *near* is a price to begin with: the tiers depend on the price that is looked for. None when no
    price above 0 gets there, as for a long and a short of the same size.
    """
    price = near
    for _ in range(_ROUNDS_MAX):
        slope, rest = ZERO, margin
        for qty, entry in legs:
            tier = tier_for(tiers, abs(qty) * price)
            slope += abs(qty) * tier.maint_rate - qty
            rest += tier.deduction - qty * entry
        if slope == 0:
            return None
        found = rest / slope
        if found <= 0:
            return None
        if found == price:
            break
        price = found
    return price


def liquidation_direction(
    legs: Sequence[tuple[Decimal, Decimal]], tiers: Sequence[MarginTier], price: Decimal
) -> int:
    """Return -1 when the legs are liquidated at or below *price*, +1 when at or above."""
    slope = ZERO
    for qty, _ in legs:
        slope += abs(qty) * tier_for(tiers, abs(qty) * price).maint_rate - qty
    return 1 if slope > 0 else -1


def bankruptcy_price(qty_signed: Decimal, entry_px: Decimal, margin: Decimal) -> Decimal:
    """Return the price at which the loss equals *margin*, at least 0."""
    assert qty_signed != 0
    return max(ZERO, entry_px - margin / qty_signed)
