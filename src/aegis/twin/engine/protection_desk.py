"""
The position's own stop and target, where the venue keeps them (Bybit Full, venues.md 3.4, 3.5).

They arm when an entry fills, follow the position's size, keep their id when moved, and go when
the position is flat.
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
    Reason,
    Refused,
)
from aegis.twin.engine.order_checks import check_price
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.triggers import is_wrong_side


@attrs.frozen(slots=True, kw_only=True)
class _Wish:
    """One side of the protection as asked for; *level* 0 removes it."""

    bound: Bound
    level: Decimal
    by: TriggerBy


def _bound_to(position: EnginePosition, bound: Bound) -> EngineOrder | None:
    return position.stop if bound is Bound.STOP else position.target


def _bind(position: EnginePosition, bound: Bound, order: EngineOrder | None) -> None:
    if bound is Bound.STOP:
        position.stop = order
    else:
        position.target = order


class ProtectionDesk:
    """Arms, moves, resizes and removes position-bound stops and targets."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts

    def set(
        self,
        symbol: str,
        *,
        stop: Decimal | None,
        target: Decimal | None,
        stop_by: TriggerBy,
        target_by: TriggerBy,
    ) -> None:
        """Do what `Engine.set_position_protection` says, or raise Refused and change nothing."""
        parts = self._parts
        parts.market(symbol)
        position = parts.position(symbol)
        if position.qty == 0:
            raise Refused(Reason.NO_POSITION, symbol)
        wishes = []
        if stop is not None:
            wishes.append(_Wish(bound=Bound.STOP, level=stop, by=stop_by))
        if target is not None:
            wishes.append(_Wish(bound=Bound.TARGET, level=target, by=target_by))
        for wish in wishes:
            self._check(position, wish)
        changes = [self._apply(position, wish, parent=None) for wish in wishes]
        if not any(changes):
            raise Refused(Reason.NOT_MODIFIED, symbol)
        self._tell(position)

    def _check(self, position: EnginePosition, wish: _Wish) -> None:
        present = _bound_to(position, wish.bound)
        if present is not None and present.status is not EngineStatus.UNTRIGGERED:
            raise Refused(Reason.ORDER_TRIGGERING, f"order {present.order_id}")
        if wish.level == 0:
            return
        market = self._parts.market(position.symbol)
        check_price(wish.level, market.instrument)
        base = market.raw_price(self._parts.now_ns, wish.by)
        stop = wish.bound is Bound.STOP
        entry_side = OrderSide.BUY if position.qty > 0 else OrderSide.SELL
        if is_wrong_side(wish.level, base, entry_side, stop=stop):
            reason = Reason.STOP_WRONG_SIDE if stop else Reason.TARGET_WRONG_SIDE
            detail = f"{entry_side.value} position, level was {wish.level}, base {base:g}"
            raise Refused(reason, detail)

    def follow(self, order: EngineOrder) -> None:
        """Resize what is armed and arm what *order*, just filled, carries."""
        position = self._parts.position(order.spec.symbol)
        changed = self._resize(position)
        spec = order.spec
        if spec.side.sign * position.qty > 0:
            if spec.attached_stop is not None:
                wish = _Wish(bound=Bound.STOP, level=spec.attached_stop, by=spec.attached_stop_by)
                changed |= self._apply(position, wish, parent=order)
            if spec.attached_target is not None:
                by = spec.attached_target_by
                wish = _Wish(bound=Bound.TARGET, level=spec.attached_target, by=by)
                changed |= self._apply(position, wish, parent=order)
        if changed:
            self._tell(position)

    def _resize(self, position: EnginePosition) -> bool:
        changed = False
        for order in (position.stop, position.target):
            if order is None or order.status is not EngineStatus.UNTRIGGERED:
                continue
            if order.spec.qty != abs(position.qty):
                order.spec = attrs.evolve(order.spec, qty=abs(position.qty))
                self._parts.move(order, EngineStatus.UNTRIGGERED)
                changed = True
        return changed

    def _apply(self, position: EnginePosition, wish: _Wish, parent: EngineOrder | None) -> bool:
        """Make the position's stop or target what *wish* says; return whether that was a change."""
        present = _bound_to(position, wish.bound)
        if present is not None and present.status is not EngineStatus.UNTRIGGERED:
            return False
        if wish.level == 0:
            if present is None:
                return False
            self._remove(position, present, "removed")
            return True
        if present is None:
            spec = _bound_spec(position, wish)
            made_by = Maker.STOP_LOSS if wish.bound is Bound.STOP else Maker.TAKE_PROFIT
            armed = self._parts.create(
                spec, EngineStatus.UNTRIGGERED, made_by=made_by, bound=wish.bound, parent=parent
            )
            _bind(position, wish.bound, armed)
            return True
        if present.spec.trigger_price == wish.level and present.spec.trigger_by is wish.by:
            return False
        present.spec = attrs.evolve(present.spec, trigger_price=wish.level, trigger_by=wish.by)
        self._parts.move(present, EngineStatus.UNTRIGGERED)
        return True

    def disarm(self, symbol: str, detail: str) -> None:
        """Remove stop and target, the position being gone."""
        position = self._parts.position(symbol)
        for order in (position.stop, position.target):
            if order is not None:
                self._remove(position, order, detail)

    def release(self, order: EngineOrder) -> None:
        """Forget *order* as its position's stop or target: it fired or a request removed it."""
        position = self._parts.position(order.spec.symbol)
        if _bound_to(position, order.bound) is order:
            _bind(position, order.bound, None)

    def _remove(self, position: EnginePosition, order: EngineOrder, detail: str) -> None:
        _bind(position, order.bound, None)
        self._parts.move(order, EngineStatus.DEACTIVATED, detail)

    def _tell(self, position: EnginePosition) -> None:
        position.updated_ns = self._parts.now_ns
        position.seq += 1
        self._parts.voice.on_position(position, "PROTECTION")


def _bound_spec(position: EnginePosition, wish: _Wish) -> OrderSpec:
    stop = wish.bound is Bound.STOP
    side = OrderSide.SELL if position.qty > 0 else OrderSide.BUY
    return OrderSpec(
        symbol=position.symbol,
        client_id="",
        side=side,
        order_type=OrderType.STOP_MARKET if stop else OrderType.TAKE_PROFIT_MARKET,
        qty=abs(position.qty),
        reduce_only=True,
        trigger_price=wish.level,
        trigger_by=wish.by,
        trigger_direction=side.sign if stop else -side.sign,
    )
