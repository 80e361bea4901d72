"""
Commands to Bybit's request parameters. Pure: what is sent for what is meant (venues.md 3.3, 3.4).
"""

from typing import Final

from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.money import plain
from aegis.model.order import OrderRequest, OrderSide, OrderType, PositionSide, TriggerBy

CATEGORY: Final = "linear"
ONE_WAY: Final = 0
POSITION_INDEX: Final = {None: ONE_WAY, PositionSide.LONG: 1, PositionSide.SHORT: 2}
"""By leg; None is one-way mode (venues.md 3.3)."""
_RISE: Final = 1
_FALL: Final = 2
_SIDES: Final = {OrderSide.BUY: "Buy", OrderSide.SELL: "Sell"}
_TRIGGERS: Final = {TriggerBy.MARK: "MarkPrice", TriggerBy.LAST: "LastPrice"}


def order_params(request: OrderRequest, leg: PositionSide | None = None) -> dict[str, object]:
    """
    Return the parameters of order/create; *leg* is its position in hedge mode, None in one-way.

    close_position becomes qty 0 with closeOnTrigger, which closes whatever is open. Stop and target
    of an entry travel with it in Full mode: market orders that follow the position's size.
    """
    params: dict[str, object] = {
        "category": CATEGORY,
        "symbol": request.instrument_id.symbol,
        "side": _SIDES[request.side],
        "orderType": "Limit" if request.order_type is OrderType.LIMIT else "Market",
        "qty": "0" if request.qty is None else plain(request.qty),
        "orderLinkId": request.client_order_id,
        "positionIdx": POSITION_INDEX[leg],
        "reduceOnly": request.reduce_only or request.close_position,
    }
    if request.close_position:
        params["closeOnTrigger"] = True
    if request.limit_price is not None:
        params["price"] = plain(request.limit_price)
        params["timeInForce"] = request.time_in_force.value
    if request.trigger_price is not None:
        params["triggerPrice"] = plain(request.trigger_price)
        params["triggerDirection"] = _trigger_direction(request)
        params["triggerBy"] = _TRIGGERS[request.trigger_by]
    if request.attached is not None:
        trigger = _TRIGGERS[request.attached.trigger_by]
        params |= {
            "tpslMode": "Full",
            "stopLoss": plain(request.attached.stop_price),
            "takeProfit": plain(request.attached.target_price),
            "slTriggerBy": trigger,
            "tpTriggerBy": trigger,
            "slOrderType": "Market",
            "tpOrderType": "Market",
        }
    return params


def _trigger_direction(request: OrderRequest) -> int:
    """Return 2 for a price that must fall: stops of sells and targets of buys."""
    falls = (request.order_type is OrderType.STOP_MARKET) == (request.side is OrderSide.SELL)
    return _FALL if falls else _RISE


def cancel_params(command: CancelProtection) -> dict[str, object]:
    """Return the parameters of order/cancel: one order, by our id."""
    return {
        "category": CATEGORY,
        "symbol": command.instrument_id.symbol,
        "orderLinkId": command.client_order_id,
    }


def protection_params(
    command: SetPositionProtection, leg: PositionSide | None = None
) -> dict[str, object]:
    """
    Return the parameters of trading-stop: both prices always together; *leg* as `order_params`.

    Full mode changes what is there in place; one price alone would unlink the pair, and Partial
    mode can only add (venues.md 3.4).
    """
    return {
        "category": CATEGORY,
        "symbol": command.instrument_id.symbol,
        "positionIdx": POSITION_INDEX[leg],
        "tpslMode": "Full",
        "stopLoss": plain(command.stop_price),
        "takeProfit": plain(command.target_price),
        "slTriggerBy": _TRIGGERS[TriggerBy.MARK],
        "tpTriggerBy": _TRIGGERS[TriggerBy.MARK],
        "slOrderType": "Market",
        "tpOrderType": "Market",
    }
