"""
The position's own stop, target and trail, where the venue keeps them (Bybit, venues.md 3.4, 3.5).

They arm when an entry fills, follow the position's size, keep their id when moved, and go when
the position is flat.
"""

from decimal import Decimal
from typing import Final

import attrs

from aegis.model.order import OrderSide, OrderType, TriggerBy
from aegis.twin.engine.api import (
    Bound,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    Leg,
    Maker,
    OrderSpec,
    PartialWish,
    Reason,
    Refused,
    Trail,
)
from aegis.twin.engine.order_checks import check_price
from aegis.twin.engine.partial_desk import PartialDesk
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.trailing import start_trail
from aegis.twin.engine.triggers import is_wrong_side


@attrs.frozen(slots=True, kw_only=True)
class _Wish:
    """One side of the protection as asked for; *level* 0 removes it."""

    bound: Bound
    level: Decimal
    by: TriggerBy
    trail: Trail | None = None


_FIELDS: Final = {Bound.STOP: "stop", Bound.TARGET: "target", Bound.TRAILING: "trailing"}
_MAKERS: Final = {
    Bound.STOP: Maker.STOP_LOSS,
    Bound.TARGET: Maker.TAKE_PROFIT,
    Bound.TRAILING: Maker.STOP_LOSS,
}


def _bound_to(position: EnginePosition, bound: Bound) -> EngineOrder | None:
    found: EngineOrder | None = getattr(position, _FIELDS[bound])
    return found


def _bind(position: EnginePosition, bound: Bound, order: EngineOrder | None) -> None:
    setattr(position, _FIELDS[bound], order)


class ProtectionDesk:
    """Arms, moves, resizes and removes position-bound stops, targets and trails."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts
        self._partials = PartialDesk(parts)

    def add_partial(self, wish: PartialWish) -> None:
        """Do what `Engine.add_partial_protection` says."""
        self._partials.add(wish)
        self._tell(self._parts.ledger.legs[wish.symbol][wish.leg])

    def set(
        self,
        symbol: str,
        *,
        stop: Decimal | None,
        target: Decimal | None,
        stop_by: TriggerBy,
        target_by: TriggerBy,
        leg: Leg,
        trail: Trail | None,
    ) -> None:
        """Do what `Engine.set_position_protection` says, or raise Refused and change nothing."""
        parts = self._parts
        parts.market(symbol)
        position = parts.ledger.legs[symbol][leg]
        if position.qty == 0:
            raise Refused(Reason.NO_POSITION, symbol)
        wishes = []
        if stop is not None:
            wishes.append(_Wish(bound=Bound.STOP, level=stop, by=stop_by))
        if target is not None:
            wishes.append(_Wish(bound=Bound.TARGET, level=target, by=target_by))
        if trail is not None:
            assert trail.distance is not None
            wish = _Wish(bound=Bound.TRAILING, level=trail.distance, by=TriggerBy.LAST, trail=trail)
            wishes.append(wish)
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
        if wish.trail is not None:
            self._check_trail(position, wish.trail)
            return
        base = market.raw_price(self._parts.now_ns, wish.by)
        stop = wish.bound is Bound.STOP
        entry_side = OrderSide.BUY if position.qty > 0 else OrderSide.SELL
        if is_wrong_side(wish.level, base, entry_side, stop=stop):
            reason = Reason.STOP_WRONG_SIDE if stop else Reason.TARGET_WRONG_SIDE
            detail = f"{entry_side.value} position, level was {wish.level}, base {base:g}"
            raise Refused(reason, detail)

    def _check_trail(self, position: EnginePosition, trail: Trail) -> None:
        market = self._parts.market(position.symbol)
        price = market.raw_price(self._parts.now_ns, TriggerBy.LAST)
        assert trail.distance is not None
        if float(trail.distance) >= price:
            raise Refused(Reason.TRAIL_INVALID, f"distance was {trail.distance}, price {price:g}")
        if trail.activate is not None:
            check_price(trail.activate, market.instrument)
            if (float(trail.activate) - price) * position.qty_sign <= 0:
                detail = f"activation was {trail.activate}, price {price:g}"
                raise Refused(Reason.TRAIL_INVALID, detail)

    def follow(self, order: EngineOrder) -> None:
        """Resize what is armed and arm what *order*, just filled, carries."""
        position = self._parts.position_of(order.spec)
        changed = self._resize(position)
        spec = order.spec
        if spec.side.sign * position.qty > 0 and spec.attached_partial:
            changed |= self._partials.arm_attached(order)
        elif spec.side.sign * position.qty > 0:
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
        for order in (position.stop, position.target, position.trailing):
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
            armed = self._parts.create(
                spec,
                EngineStatus.UNTRIGGERED,
                made_by=_MAKERS[wish.bound],
                bound=wish.bound,
                parent=parent,
                prepare=self._prepare if wish.trail is not None else None,
            )
            _bind(position, wish.bound, armed)
            return True
        if wish.trail is not None:
            return self._move_trail(present, wish.trail)
        if present.spec.trigger_price == wish.level and present.spec.trigger_by is wish.by:
            return False
        present.spec = attrs.evolve(present.spec, trigger_price=wish.level, trigger_by=wish.by)
        self._parts.move(present, EngineStatus.UNTRIGGERED)
        return True

    def _move_trail(self, present: EngineOrder, trail: Trail) -> bool:
        if present.spec.trail == trail:
            return False
        present.spec = attrs.evolve(present.spec, trail=trail)
        present.trail_active = False
        self._parts.followed.pop(present.order_id, None)
        self._prepare(present)
        self._parts.move(present, EngineStatus.UNTRIGGERED)
        return True

    def _prepare(self, order: EngineOrder) -> None:
        """Let a new trail begin, at once or at its activation price."""
        trail = order.spec.trail
        assert trail is not None
        if trail.activate is not None:
            order.spec = attrs.evolve(order.spec, trigger_price=trail.activate)
        else:
            start_trail(self._parts, order)

    def disarm(self, position: EnginePosition, detail: str) -> None:
        """Remove all that is bound to a position that is gone."""
        for order in (position.stop, position.target, position.trailing):
            if order is not None:
                self._remove(position, order, detail)
        self._partials.disarm(position, detail)

    def release(self, order: EngineOrder) -> None:
        """Forget *order* as its position's stop or target: it fired or a request removed it."""
        if order.bound.is_partial:
            return
        position = self._parts.position_of(order.spec)
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
    stop = wish.bound is not Bound.TARGET
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
        leg=position.leg,
        trail=wish.trail,
    )
