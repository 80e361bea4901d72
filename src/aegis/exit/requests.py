"""The command that carries an action to the venue, and why it is asked for; no I/O."""

from decimal import Decimal

from aegis.exit.decide import Action, Cancel, PlaceStop, PlaceTarget, SetBoth
from aegis.exit.guarded import Guarded
from aegis.model.intent import CancelProtection, Command, PlaceProtection, SetPositionProtection
from aegis.model.order import OrderRequest, OrderType, Purpose
from aegis.model.order_id import client_order_id


def command_of(guarded: Guarded, action: Action) -> Command:
    """Return the command for *action*; an order gets the next client order id of its purpose."""
    instrument = guarded.position.instrument_id
    match action:
        case PlaceStop(price=price, qty=qty):
            purpose = Purpose.STOP_FLOOR if qty is None else Purpose.STOP_MOVING
            return PlaceProtection(
                request=_conditional(guarded, purpose, OrderType.STOP_MARKET, price, qty)
            )
        case PlaceTarget(price=price):
            order_type = OrderType.TAKE_PROFIT_MARKET
            return PlaceProtection(
                request=_conditional(guarded, Purpose.TARGET, order_type, price, None)
            )
        case SetBoth(stop_price=stop, target_price=target):
            return SetPositionProtection(
                instrument_id=instrument,
                side=guarded.position.side,
                stop_price=stop,
                target_price=target,
            )
        case Cancel(key=key):
            return CancelProtection(instrument_id=instrument, client_order_id=key)


def reason_of(action: Action) -> str:
    """Return why *action* is asked for, in words."""
    match action:
        case PlaceStop(qty=None):
            return "floor stop for whatever is open"
        case PlaceStop():
            return "tighter stop at the entry price's distance"
        case PlaceTarget():
            return "target for whatever is open"
        case SetBoth():
            return "stop and target of the position"
        case Cancel():
            return "a better one works"


def close_order(guarded: Guarded, purpose: Purpose) -> OrderRequest:
    """Return the market order that closes the position, or as much as the venue takes at once."""
    position, cap = guarded.position, guarded.instrument.market_qty_max
    return OrderRequest(
        instrument_id=position.instrument_id,
        client_order_id=client_order_id(
            position.position_id, purpose, guarded.next_attempt(purpose)
        ),
        purpose=purpose,
        side=position.side.exit_side,
        order_type=OrderType.MARKET,
        qty=min(position.qty, cap) if cap else position.qty,
        reduce_only=True,
    )


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
        client_order_id=client_order_id(
            position.position_id, purpose, guarded.next_attempt(purpose)
        ),
        purpose=purpose,
        side=position.side.exit_side,
        order_type=order_type,
        qty=qty,
        reduce_only=True,
        close_position=qty is None,
        trigger_price=trigger_price,
    )
