"""
Partial stops and targets (Bybit Partial, venues.md 3.4, 3.5): each closes a quantity of its own.

They are only ever added, come as pairs of which one cancels the other, and go when the position
is flat.
"""

from decimal import Decimal

import attrs

from aegis.model.order import OrderSide, OrderType, TriggerBy
from aegis.twin.engine.api import (
    Bound,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    Maker,
    OrderSpec,
    PartialWish,
    Reason,
    Refused,
)
from aegis.twin.engine.order_checks import check_price, check_qty
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.triggers import is_wrong_side


class PartialDesk:
    """Adds and removes partial stops and targets."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts

    def add(self, wish: PartialWish) -> None:
        """Add what *wish* says to a position, or raise Refused and change nothing."""
        parts = self._parts
        market = parts.market(wish.symbol)
        position = parts.ledger.legs[wish.symbol][wish.leg]
        if position.qty == 0:
            raise Refused(Reason.NO_POSITION, wish.symbol)
        qty = abs(position.qty) if wish.qty is None else wish.qty
        check_qty(qty, market.instrument, at_market=False)
        levels = [level for level in (wish.stop, wish.target) if level is not None]
        for price in (*levels, wish.stop_limit, wish.target_limit):
            if price is not None:
                check_price(price, market.instrument)
        self._check_sides(position, wish)
        waiting = len(self._of(position))
        if waiting + len(levels) > parts.rules.partial_limit:
            detail = f"partials were {waiting}, limit {parts.rules.partial_limit}"
            raise Refused(Reason.PARTIAL_LIMIT, detail)
        self._create(position, wish, min(qty, abs(position.qty)), parent=None)

    def _check_sides(self, position: EnginePosition, wish: PartialWish) -> None:
        market = self._parts.market(position.symbol)
        side = OrderSide.BUY if position.qty > 0 else OrderSide.SELL
        for level, by, stop in (
            (wish.stop, wish.stop_by, True),
            (wish.target, wish.target_by, False),
        ):
            if level is None:
                continue
            base = market.raw_price(self._parts.now_ns, by)
            if is_wrong_side(level, base, side, stop=stop):
                reason = Reason.STOP_WRONG_SIDE if stop else Reason.TARGET_WRONG_SIDE
                raise Refused(reason, f"{side.value} position, level was {level}, base {base:g}")

    def arm_attached(self, order: EngineOrder) -> bool:
        """Arm what an entry carries, at the quantity it has filled; say whether that changed."""
        spec = order.spec
        position = self._parts.position_of(spec)
        armed = [one for one in self._of(position) if one.parent is order]
        for one in armed:
            one.spec = attrs.evolve(one.spec, qty=order.filled_qty)
            self._parts.move(one, EngineStatus.UNTRIGGERED)
        if armed or (spec.attached_stop is None and spec.attached_target is None):
            return bool(armed)
        wish = PartialWish(
            symbol=spec.symbol,
            leg=spec.leg,
            qty=order.filled_qty,
            stop=spec.attached_stop,
            target=spec.attached_target,
            stop_by=spec.attached_stop_by,
            target_by=spec.attached_target_by,
            stop_limit=spec.attached_stop_limit,
            target_limit=spec.attached_target_limit,
        )
        self._create(position, wish, order.filled_qty, parent=order)
        return True

    def _create(
        self, position: EnginePosition, wish: PartialWish, qty: Decimal, parent: EngineOrder | None
    ) -> None:
        made: list[EngineOrder] = []
        for bound, level, by, limit in (
            (Bound.PARTIAL_STOP, wish.stop, wish.stop_by, wish.stop_limit),
            (Bound.PARTIAL_TARGET, wish.target, wish.target_by, wish.target_limit),
        ):
            if level is None:
                continue
            stop = bound is Bound.PARTIAL_STOP
            made.append(
                self._parts.create(
                    _partial_spec(position, qty, level, by, limit, stop=stop),
                    EngineStatus.UNTRIGGERED,
                    made_by=Maker.STOP_LOSS if stop else Maker.TAKE_PROFIT,
                    bound=bound,
                    parent=parent,
                )
            )
        if len(made) > 1:
            made[0].sibling, made[1].sibling = made[1], made[0]

    def _of(self, position: EnginePosition) -> list[EngineOrder]:
        return [
            order
            for order in self._parts.store.open_orders(position.symbol)
            if order.bound.is_partial and order.spec.leg is position.leg
        ]

    def disarm(self, position: EnginePosition, detail: str) -> None:
        """Remove the partials of a position that is gone, resting ones too."""
        for order in self._of(position):
            waiting = order.status is EngineStatus.UNTRIGGERED
            status = EngineStatus.DEACTIVATED if waiting else EngineStatus.CANCELED
            order.sibling = None
            self._parts.move(order, status, detail)


def _partial_spec(
    position: EnginePosition,
    qty: Decimal,
    level: Decimal,
    by: TriggerBy,
    limit: Decimal | None,
    *,
    stop: bool,
) -> OrderSpec:
    side = OrderSide.SELL if position.qty > 0 else OrderSide.BUY
    return OrderSpec(
        symbol=position.symbol,
        client_id="",
        side=side,
        order_type=OrderType.STOP_MARKET if stop else OrderType.TAKE_PROFIT_MARKET,
        qty=qty,
        limit_price=limit,
        reduce_only=True,
        trigger_price=level,
        trigger_by=by,
        trigger_direction=side.sign if stop else -side.sign,
        leg=position.leg,
    )
