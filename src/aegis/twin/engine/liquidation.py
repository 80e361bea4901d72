"""
What the venue closes by force: liquidation of an isolated or of the cross positions, and ADL.

Orders go first. The price is the mark, but never worse than bankruptcy: a position the mark has
left behind is taken over at the price its margin ends at. The fee takes what margin is left, up to
the liquidation fee rate, so that a loss ends at the margin that stood behind it.
"""

from decimal import Decimal

from aegis.model.money import ZERO, Rounding, round_to_grid
from aegis.model.order import OrderSide, OrderType
from aegis.twin.engine.api import (
    Bound,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    Leg,
    Maker,
    OrderSpec,
    Reason,
    Refused,
)
from aegis.twin.engine.cross import backing, cross_positions, surplus
from aegis.twin.engine.execution import Execution
from aegis.twin.engine.margin import bankruptcy_price, liquidation_direction
from aegis.twin.engine.market import SymbolMarket
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.protection_desk import ProtectionDesk
from aegis.twin.engine.relatives import finish_parent
from aegis.twin.engine.triggers import is_reached

LIQUIDATION_DETAIL = "liquidation"
ADL_DETAIL = "auto-deleveraging"


class LiquidationDesk:
    """Closes positions whose margin is used up."""

    def __init__(
        self, parts: EngineParts, execution: Execution, protection: ProtectionDesk
    ) -> None:
        self._parts = parts
        self._execution = execution
        self._protection = protection

    def look_at(self, market: SymbolMarket) -> None:
        """
        Liquidate the legs of a symbol whose price is reached.

        An order that filled in this very instant may have closed one or moved its price.
        """
        mark = market.path.mark_at(self._parts.now_ns)
        for position in self._parts.ledger.legs[market.symbol].values():
            price = position.liquidation_px
            if position.qty == 0 or price is None:
                continue
            direction = liquidation_direction_of(self._parts, position, price)
            if not is_reached(mark, float(price), direction):
                continue
            if position.isolated:
                self._drop_orders(position.symbol, position.leg)
                self._close(position)
            else:
                self._liquidate_cross()

    def look_at_cross(self) -> None:
        """Liquidate the cross positions when together they no longer keep their margins."""
        if self._parts.several_cross and surplus(self._parts) <= 0:
            self._liquidate_cross()

    def _liquidate_cross(self) -> None:
        """Close cross positions, the largest maintenance margin first, until the rest is safe."""
        parts = self._parts
        for symbol in {one.symbol: None for one in cross_positions(parts)}:
            self._drop_orders(symbol, None)
        while True:
            held = cross_positions(parts)
            if not held:
                return
            self._close(max(held, key=self._maintenance))
            if surplus(parts) > 0:
                return

    def _maintenance(self, position: EnginePosition) -> Decimal:
        parts = self._parts
        mark = parts.markets[position.symbol].mark_price(parts.now_ns)
        return parts.ledger.maintenance(position, mark)

    def _drop_orders(self, symbol: str, leg: Leg | None) -> None:
        parts = self._parts
        for resting in parts.store.open_orders(symbol):
            if resting.bound is Bound.NONE and leg in {None, resting.spec.leg}:
                parts.move(resting, parts.dropped(), LIQUIDATION_DETAIL)
                finish_parent(parts, resting)
        for position in parts.ledger.legs[symbol].values():
            if leg in {None, position.leg}:
                self._protection.disarm(position, LIQUIDATION_DETAIL)

    def _close(self, position: EnginePosition) -> None:
        parts = self._parts
        market = parts.market(position.symbol)
        mark = market.mark_price(parts.now_ns)
        behind = backing(parts, position)
        price = self._price(position, mark, behind)
        qty = abs(position.qty)
        loss = (position.entry_px - price) * position.qty
        rate = market.instrument.liquidation_fee_rate
        fee = min(qty * price * rate, max(ZERO, behind - loss))
        made_by = Maker.LIQUIDATION if price == mark else Maker.TAKEOVER
        order = self._order(position, qty, made_by)
        booking = parts.ledger.book_liquidation(order, qty, price, fee, mark=mark, now=parts.now_ns)
        parts.mark(order, EngineStatus.FILLED, LIQUIDATION_DETAIL)
        self._execution.tell(order, booking, "LIQUIDATION")

    def _price(self, position: EnginePosition, mark: Decimal, behind: Decimal) -> Decimal:
        tick = self._parts.market(position.symbol).instrument.tick_size
        ruin = bankruptcy_price(position.qty, position.entry_px, behind)
        if position.qty > 0:
            return max(tick, mark, round_to_grid(ruin, tick, Rounding.UP))
        return min(mark, max(tick, round_to_grid(ruin, tick, Rounding.DOWN)))

    def _order(self, position: EnginePosition, qty: Decimal, made_by: Maker) -> EngineOrder:
        spec = OrderSpec(
            symbol=position.symbol,
            client_id="",
            side=OrderSide.SELL if position.qty > 0 else OrderSide.BUY,
            order_type=OrderType.MARKET,
            qty=qty,
            reduce_only=True,
            leg=position.leg,
        )
        return self._parts.create(spec, EngineStatus.NEW, made_by=made_by)

    def deleverage(self, symbol: str, leg: Leg, qty: Decimal) -> None:
        """Close *qty* of a position at the mark, without a fee, against a bankrupt other side."""
        parts = self._parts
        position = parts.ledger.legs[symbol][leg]
        if not 0 < qty <= abs(position.qty):
            raise Refused(Reason.NO_POSITION, f"qty was {qty}, position {position.qty}")
        mark = parts.market(symbol).mark_price(parts.now_ns)
        before = position.qty
        order = self._order(position, qty, Maker.ADL)
        booking = parts.ledger.book_liquidation(order, qty, mark, ZERO, mark=mark, now=parts.now_ns)
        parts.mark(order, EngineStatus.FILLED, ADL_DETAIL)
        self._execution.tell(order, booking, "ORDER")
        self._execution.settle(order, before)


def liquidation_direction_of(parts: EngineParts, position: EnginePosition, price: Decimal) -> int:
    """Return whether *position* is liquidated at or below (-1) or at or above (+1) *price*."""
    if not position.isolated:
        legs = parts.ledger.legs[position.symbol].values()
        both = [(one.qty, one.entry_px) for one in legs if one.qty and not one.isolated]
        if len(both) > 1:
            tiers = parts.ledger.instruments[position.symbol].margin_tiers
            return liquidation_direction(both, tiers, price)
    return -1 if position.qty > 0 else 1
