"""
Cross margin: one balance stands behind all cross positions, and they are liquidated together.

The price at which one of them would be is reckoned with the marks the others have now, so that it
is exact for one symbol, and looked at again whenever another symbol's mark turns.
"""

from decimal import Decimal

from aegis.twin.engine.api import EnginePosition
from aegis.twin.engine.ledger import unrealized
from aegis.twin.engine.margin import joint_liquidation_price
from aegis.twin.engine.parts import EngineParts


def cross_positions(parts: EngineParts) -> list[EnginePosition]:
    """Return the cross positions that are not flat."""
    return [one for one in parts.ledger.held() if not one.isolated]


def cross_wallet(parts: EngineParts) -> Decimal:
    """Return the wallet without what is locked in isolated positions."""
    return parts.ledger.wallet - parts.ledger.isolated_margins()


def surplus(parts: EngineParts, *, without: str = "") -> Decimal:
    """
    Return the cross wallet and profits less maintenance margins, at the marks now.

    *without*: the symbol whose positions are left out.
    """
    left = cross_wallet(parts)
    for one in cross_positions(parts):
        if one.symbol != without:
            mark = parts.markets[one.symbol].mark_price(parts.now_ns)
            left += unrealized(one, mark) - parts.ledger.maintenance(one, mark)
    return left


def backing(parts: EngineParts, position: EnginePosition) -> Decimal:
    """Return what a loss of *position* can use up: its margin, or the cross balance beside it."""
    if position.isolated:
        return position.margin
    left = cross_wallet(parts)
    for one in cross_positions(parts):
        if one is not position:
            left += unrealized(one, parts.markets[one.symbol].mark_price(parts.now_ns))
    return left


def reckon_liquidation(parts: EngineParts, symbol: str) -> None:
    """Bring liquidation prices up to date after a change of *symbol*'s positions or the wallet."""
    parts.ledger.reckon_isolated(symbol)
    reckon_cross(parts)


def reckon_cross(parts: EngineParts) -> None:
    """Bring the liquidation prices of all cross positions up to date."""
    groups: dict[str, list[EnginePosition]] = {}
    for one in cross_positions(parts):
        groups.setdefault(one.symbol, []).append(one)
    parts.several_cross = len(groups) > 1
    for symbol, legs in groups.items():
        price = joint_liquidation_price(
            [(one.qty, one.entry_px) for one in legs],
            surplus(parts, without=symbol),
            parts.ledger.instruments[symbol].margin_tiers,
            parts.markets[symbol].mark_price(parts.now_ns),
        )
        for one in legs:
            one.liquidation_px = price
        parts.touch(symbol)
