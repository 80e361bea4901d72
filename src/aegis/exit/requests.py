"""The command that carries an action to the venue, and why it is asked for; no I/O."""

from decimal import Decimal
from typing import Final

from aegis.exit.decide import (
    Action,
    Cancel,
    PlaceRung,
    PlaceStop,
    PlaceTarget,
    SetBoth,
    TakeRung,
)
from aegis.exit.guarded import Guarded, purpose_of_stop
from aegis.model.intent import (
    CancelProtection,
    ClosePosition,
    Command,
    PlaceProtection,
    SetPositionProtection,
)
from aegis.model.money import Rounding, round_to_grid
from aegis.model.order import OrderRequest, OrderSide, OrderType, Purpose, TimeInForce
from aegis.model.order_id import client_order_id
from aegis.model.position import CloseCause

CLOSE_BAND: Final = Decimal("0.01")
"""How far from the mark an IOC close may fill. Inside both venues' own bands: Binance cuts market
orders at PERCENT_PRICE, Bybit refuses limits beyond priceLimitRatioX, 1 % (venues.md 2.6, 3.2)."""


def command_of(guarded: Guarded, action: Action) -> Command:
    """Return the command for *action*; an order gets the next client order id of its purpose."""
    instrument = guarded.position.instrument_id
    match action:
        case PlaceStop(price=price, qty=qty, cause=cause):
            purpose = Purpose.STOP_FLOOR if qty is None else purpose_of_stop(cause)
            return PlaceProtection(
                request=_conditional(guarded, purpose, OrderType.STOP_MARKET, price, qty)
            )
        case PlaceTarget(price=price):
            order_type = OrderType.TAKE_PROFIT_MARKET
            return PlaceProtection(
                request=_conditional(guarded, Purpose.TARGET, order_type, price, None)
            )
        case PlaceRung(price=price, qty=qty):
            order_type = OrderType.TAKE_PROFIT_MARKET
            return PlaceProtection(
                request=_conditional(guarded, Purpose.RUNG, order_type, price, qty)
            )
        case TakeRung(qty=qty):
            return ClosePosition(
                request=_market(guarded, Purpose.RUNG, qty), cause=CloseCause.HARVEST
            )
        case SetBoth(stop_price=stop, target_price=target, cause=cause):
            return SetPositionProtection(
                instrument_id=instrument,
                side=guarded.position.side,
                stop_price=stop,
                target_price=target,
                stop_cause=cause,
            )
        case Cancel(key=key):
            return CancelProtection(instrument_id=instrument, client_order_id=key)


def reason_of(action: Action) -> str:
    """Return why *action* is asked for, in words."""
    match action:
        case PlaceStop(qty=None):
            return "floor stop for whatever is open"
        case PlaceStop(cause=CloseCause.TRAIL):
            return "tighter stop behind the best mark price"
        case PlaceStop():
            return "tighter stop, or one of another quantity"
        case PlaceTarget():
            return "target for whatever is open"
        case PlaceRung():
            return "rung of the ladder"
        case TakeRung():
            return "the market has reached this rung of the ladder"
        case SetBoth():
            return "stop and target of the position"
        case Cancel():
            return "a better one works"


def close_order(guarded: Guarded, purpose: Purpose, *, banded: bool) -> OrderRequest:
    """
    Return the order that closes the position, or as much as the venue takes at once.

    A market order; *banded*: an IOC limit at the band around the mark instead, where that is known.
    """
    position, instrument = guarded.position, guarded.instrument
    if banded and guarded.mark_px is not None and guarded.known:
        cap = instrument.qty_max
        return OrderRequest(
            instrument_id=position.instrument_id,
            client_order_id=_next_id(guarded, purpose),
            purpose=purpose,
            side=position.side.exit_side,
            order_type=OrderType.LIMIT,
            qty=min(position.qty, cap) if cap else position.qty,
            reduce_only=True,
            limit_price=_band_price(guarded, guarded.mark_px),
            time_in_force=TimeInForce.IOC,
        )
    cap = instrument.market_qty_max
    return _market(guarded, purpose, min(position.qty, cap) if cap else position.qty)


def _band_price(guarded: Guarded, mark_px: Decimal) -> Decimal:
    side, tick = guarded.position.side.exit_side, guarded.instrument.tick_size
    # Toward the mark, so that rounding stays inside the venue's band.
    rounding = Rounding.UP if side is OrderSide.SELL else Rounding.DOWN
    return max(tick, round_to_grid(mark_px * (1 + side.sign * CLOSE_BAND), tick, rounding))


def _market(guarded: Guarded, purpose: Purpose, qty: Decimal) -> OrderRequest:
    return OrderRequest(
        instrument_id=guarded.position.instrument_id,
        client_order_id=_next_id(guarded, purpose),
        purpose=purpose,
        side=guarded.position.side.exit_side,
        order_type=OrderType.MARKET,
        qty=qty,
        reduce_only=True,
    )


def _next_id(guarded: Guarded, purpose: Purpose) -> str:
    return client_order_id(guarded.position.position_id, purpose, guarded.next_attempt(purpose))


def _conditional(
    guarded: Guarded,
    purpose: Purpose,
    order_type: OrderType,
    trigger_price: Decimal,
    qty: Decimal | None,
) -> OrderRequest:
    position = guarded.position
    return OrderRequest(
        instrument_id=position.instrument_id,
        client_order_id=_next_id(guarded, purpose),
        purpose=purpose,
        side=position.side.exit_side,
        order_type=order_type,
        qty=qty,
        reduce_only=True,
        close_position=qty is None,
        trigger_price=trigger_price,
    )
