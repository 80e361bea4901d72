"""An entry under way: what it needs to become a position."""

from decimal import Decimal

import attrs

from aegis.model.order import Order, PositionSide
from aegis.model.position import Position, ProtectionPlan


@attrs.define(slots=True, kw_only=True)
class Entry:
    """What an entry needs to become a position; kept until the entry is terminal."""

    order: Order
    side: PositionSide
    plan: ProtectionPlan | None
    leverage: int | None
    signal_price: Decimal | None
    restored: bool = False


def slippage_of(entry: Entry, position: Position) -> Decimal | None:
    """Return entry VWAP minus signal price, in the direction that hurts; None if unknown."""
    entry_px, signal_price = position.entry_px_avg, entry.signal_price
    if entry_px is None or signal_price is None:
        return None
    return (entry_px - signal_price) * position.side.sign
