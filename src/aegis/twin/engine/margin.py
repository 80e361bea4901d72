"""
Margin arithmetic of one position: initial margin, liquidation and bankruptcy price. Pure.

One maintenance tier per symbol and no closing fee inside the formula: the price at which the
margin left equals the maintenance margin (venues.md 6).
"""

from decimal import Decimal

from aegis.model.money import ONE, ZERO


def initial_margin(qty: Decimal, price: Decimal, leverage: int) -> Decimal:
    """Return the margin, in quote, that opening *qty* (> 0) at *price* takes."""
    return qty * price / leverage


def liquidation_price(
    qty_signed: Decimal, entry_px: Decimal, margin: Decimal, maint_margin_rate: Decimal
) -> Decimal | None:
    """
    Return the mark price at which *margin* (quote) is down to the maintenance margin.

    None when flat or when no price above 0 gets there.
    """
    if qty_signed == 0:
        return None
    qty = abs(qty_signed)
    sign = ONE if qty_signed > 0 else -ONE
    price = (margin - qty_signed * entry_px) / (qty * (maint_margin_rate - sign))
    return price if price > 0 else None


def bankruptcy_price(qty_signed: Decimal, entry_px: Decimal, margin: Decimal) -> Decimal:
    """Return the price at which the loss equals *margin*, at least 0."""
    assert qty_signed != 0
    return max(ZERO, entry_px - margin / qty_signed)
