"""What a venue refuses before an order exists: filters, ids, closePosition rules, margin."""

from decimal import Decimal

from aegis.model.order import OrderType
from aegis.twin.engine.api import (
    Bound,
    EngineOrder,
    EngineStatus,
    Leg,
    OrderSpec,
    Reason,
    Refused,
    TwinInstrument,
)
from aegis.twin.engine.order_store import OPEN_STATUSES, RESTING_STATUSES
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.tiers import notional_max
from aegis.twin.engine.triggers import is_reached, is_stop_family, is_wrong_side, trigger_direction


def check_price(price: Decimal, instrument: TwinInstrument) -> None:
    """Raise Refused(PRICE_NOT_POSITIVE, PRICE_OFF_TICK)."""
    if not price > 0:
        raise Refused(Reason.PRICE_NOT_POSITIVE, f"price was {price}")
    if price % instrument.tick_size != 0:
        raise Refused(Reason.PRICE_OFF_TICK, f"price was {price}, tick {instrument.tick_size}")


def check_qty(qty: Decimal, instrument: TwinInstrument, *, at_market: bool) -> None:
    """Raise Refused(QTY_NOT_POSITIVE, QTY_OFF_STEP, QTY_BELOW_MIN, QTY_ABOVE_MAX)."""
    qty_max = instrument.market_qty_max if at_market else instrument.qty_max
    if not qty > 0:
        raise Refused(Reason.QTY_NOT_POSITIVE, f"qty was {qty}")
    if qty < instrument.qty_min:
        raise Refused(Reason.QTY_BELOW_MIN, f"qty was {qty}, min {instrument.qty_min}")
    if qty > qty_max:
        raise Refused(Reason.QTY_ABOVE_MAX, f"qty was {qty}, max {qty_max}")
    if qty % instrument.qty_step != 0:
        raise Refused(Reason.QTY_OFF_STEP, f"qty was {qty}, step {instrument.qty_step}")


def check_figures(spec: OrderSpec, instrument: TwinInstrument, last: Decimal) -> None:
    """Raise Refused when quantity, prices or notional break the instrument's filters."""
    if spec.close_position and spec.qty is not None:
        raise Refused(Reason.CLOSE_POSITION_WITH_QTY, f"qty was {spec.qty}")
    prices = (spec.limit_price, spec.trigger_price, spec.attached_stop, spec.attached_target)
    partial = (spec.attached_stop_limit, spec.attached_target_limit)
    for price in (*prices, *partial):
        if price is not None:
            check_price(price, instrument)
    if spec.close_position:
        return
    qty = spec.qty if spec.qty is not None else Decimal(0)
    check_qty(qty, instrument, at_market=spec.limit_price is None)
    trigger = None if spec.trail is not None else spec.trigger_price
    reference = spec.limit_price or trigger or last
    notional = qty * reference
    if notional < instrument.notional_min and not spec.reduce_only:
        detail = f"notional was {notional}, min {instrument.notional_min}"
        raise Refused(Reason.NOTIONAL_BELOW_MIN, detail)


def check_leg(spec: OrderSpec, *, hedge_mode: bool) -> None:
    """Raise Refused(LEG_MISMATCH) when the order's leg is not one of the position mode."""
    if (spec.leg is not Leg.BOTH) is not hedge_mode:
        raise Refused(Reason.LEG_MISMATCH, f"leg was {spec.leg.value}, hedge mode {hedge_mode}")


def closes_its_leg(spec: OrderSpec) -> bool:
    """Say whether the order's side closes its leg: it then never opens (hedge mode)."""
    return spec.leg is not Leg.BOTH and spec.side is not spec.leg.entry_side


def check_closing_qty(parts: EngineParts, spec: OrderSpec) -> None:
    """Raise Refused(REDUCE_ONLY_REJECTED) for a closing order larger than its leg (hedge mode)."""
    held = abs(parts.position_of(spec).qty)
    if spec.qty is not None and spec.qty > held:
        raise Refused(Reason.REDUCE_ONLY_REJECTED, f"qty was {spec.qty}, position {held}")


def check_notional(parts: EngineParts, spec: OrderSpec, qty: Decimal, price: Decimal) -> None:
    """Raise Refused(NOTIONAL_ABOVE_MAX) when the position would be too large at its leverage."""
    tiers = parts.ledger.instruments[spec.symbol].tiers
    if not tiers:
        return
    position = parts.position_of(spec)
    after = abs(position.qty + qty * spec.side.sign)
    if after <= abs(position.qty):
        return
    for order in parts.store.open_orders(spec.symbol):
        other = order.spec
        same = other.side is spec.side and other.leg is spec.leg and not other.reduce_only
        if same and order.status in RESTING_STATUSES and other.qty is not None:
            after += other.qty - order.filled_qty
    most = notional_max(tiers, position.leverage)
    if after * price > most:
        detail = f"notional was {after * price:f}, limit {most:f} at {position.leverage}x"
        raise Refused(Reason.NOTIONAL_ABOVE_MAX, detail)


def check_client_id(parts: EngineParts, spec: OrderSpec) -> None:
    """Raise Refused(DUPLICATE_CLIENT_ID) as the venue counts duplicates."""
    if not spec.client_id:
        return
    kind = (spec.trigger_price is not None) if parts.rules.client_ids_apart else None
    found = parts.store.by_client(spec.client_id, kind)
    if found is not None and (parts.rules.client_ids_once or found.status in OPEN_STATUSES):
        raise Refused(Reason.DUPLICATE_CLIENT_ID, spec.client_id)


def check_conditional(parts: EngineParts, spec: OrderSpec) -> None:
    """Raise Refused(WOULD_TRIGGER, CONDITIONAL_LIMIT) or what closePosition asks for."""
    assert spec.trigger_price is not None
    if spec.close_position:
        _check_close_position(parts, spec)
    if spec.trail is not None:
        _check_activation(parts, spec)
    else:
        check_not_reached(parts, spec)
    waiting = [order for order in _waiting(parts) if order.bound is Bound.NONE]
    if parts.rules.conditional_limit_per_symbol:
        waiting = [order for order in waiting if order.spec.symbol == spec.symbol]
    if len(waiting) >= parts.rules.conditional_limit:
        detail = f"conditional orders were {len(waiting)}, limit {parts.rules.conditional_limit}"
        raise Refused(Reason.CONDITIONAL_LIMIT, detail)


def _check_activation(parts: EngineParts, spec: OrderSpec) -> None:
    """Raise Refused(WOULD_TRIGGER) when a trail's activation price is already reached."""
    assert spec.trail is not None
    if spec.trail.activate is None:
        return
    check_price(spec.trail.activate, parts.market(spec.symbol).instrument)
    price = parts.market(spec.symbol).raw_price(parts.now_ns, spec.trigger_by)
    if is_reached(price, float(spec.trail.activate), -spec.side.sign):
        raise Refused(Reason.WOULD_TRIGGER, f"{spec.trigger_by.value} price was {price:g}")


def check_not_reached(parts: EngineParts, spec: OrderSpec) -> None:
    """Raise Refused(WOULD_TRIGGER) when the trigger price is already reached."""
    assert spec.trigger_price is not None
    price = parts.market(spec.symbol).raw_price(parts.now_ns, spec.trigger_by)
    if is_reached(price, float(spec.trigger_price), trigger_direction(spec)):
        raise Refused(Reason.WOULD_TRIGGER, f"{spec.trigger_by.value} price was {price:g}")


def _waiting(parts: EngineParts) -> list[EngineOrder]:
    orders = parts.store.open_orders()
    return [order for order in orders if order.status is EngineStatus.UNTRIGGERED]


def _check_close_position(parts: EngineParts, spec: OrderSpec) -> None:
    if parts.position_of(spec).qty * spec.side.sign >= 0:
        raise Refused(Reason.NO_POSITION, f"no position that {spec.side.value} closes")
    if not parts.rules.one_close_position_per_direction:
        return
    for order in _waiting(parts):
        other = order.spec
        same_place = (other.symbol, other.side, other.leg) == (spec.symbol, spec.side, spec.leg)
        if other.close_position and same_place and is_stop_family(other) is is_stop_family(spec):
            raise Refused(Reason.CLOSE_POSITION_EXISTS, f"order {order.order_id}")


def check_attached(parts: EngineParts, spec: OrderSpec) -> None:
    """Raise Refused(STOP_WRONG_SIDE, TARGET_WRONG_SIDE) against the limit or the market price."""
    if spec.attached_stop is None and spec.attached_target is None:
        return
    assert parts.rules.attached_protection, f"{parts.rules.name} attaches no protection"
    market = parts.market(spec.symbol)
    for level, by, stop in (
        (spec.attached_stop, spec.attached_stop_by, True),
        (spec.attached_target, spec.attached_target_by, False),
    ):
        if level is None:
            continue
        base = market.raw_price(parts.now_ns, by)
        if spec.limit_price is not None:
            base = float(spec.limit_price)
        if is_wrong_side(level, base, spec.side, stop=stop):
            reason = Reason.STOP_WRONG_SIDE if stop else Reason.TARGET_WRONG_SIDE
            raise Refused(reason, f"{spec.side.value} level was {level}, base {base:g}")


def check_reduce_only(parts: EngineParts, spec: OrderSpec) -> None:
    """Raise Refused(REDUCE_ONLY_REJECTED, NO_POSITION, REDUCE_ONLY_CROWDED)."""
    position = parts.position_of(spec)
    if position.qty * spec.side.sign >= 0:
        reason = Reason.NO_POSITION if spec.close_position else Reason.REDUCE_ONLY_REJECTED
        raise Refused(reason, f"position was {position.qty}")
    if not parts.rules.reduce_only_crowding:
        return
    covered = Decimal(0)
    for order in parts.store.open_orders(spec.symbol):
        other = order.spec
        resting = order.status in RESTING_STATUSES and other.order_type is OrderType.LIMIT
        same = other.side is spec.side and other.leg is spec.leg
        if resting and other.reduce_only and same and other.qty is not None:
            covered += other.qty - order.filled_qty
    if covered >= abs(position.qty):
        detail = f"resting reduce-only limits cover {covered} of {abs(position.qty)}"
        raise Refused(Reason.REDUCE_ONLY_CROWDED, detail)


def margin_is_short(parts: EngineParts, spec: OrderSpec, qty: Decimal, notional: Decimal) -> bool:
    """
    Say whether *qty* for *notional* needs more than is available, its taker fee included.

    What closes the present position needs nothing and sets its margin free.
    """
    position = parts.position_of(spec)
    closing = Decimal(0)
    if position.qty * spec.side.sign < 0:
        closing = min(qty, abs(position.qty))
    if qty <= closing:
        return False
    needed = notional * (qty - closing) / qty / position.leverage
    needed += notional * parts.ledger.instruments[spec.symbol].taker_fee_rate
    freed = position.margin * closing / abs(position.qty) if closing else Decimal(0)
    return needed > parts.available() + freed
