"""
Orders of ours as parameters of the venue's endpoints. Pure.

MARKET and LIMIT go to /fapi/v1/order, stops and targets to the algo service, which alone takes them
since 2025-12-09 (venues.md 1.1, 1.2).
"""

from typing import Final

import attrs

from aegis.model.order import OrderRequest, OrderType, PositionSide, TriggerBy
from aegis.venue.binance.errors import UNSUPPORTED, refused
from aegis.venue.binance.rest import Value

_WORKING_TYPE: Final = {TriggerBy.MARK: "MARK_PRICE", TriggerBy.LAST: "CONTRACT_PRICE"}


@attrs.frozen(slots=True, kw_only=True)
class Encoded:
    """A call of the SDK: which operation it is to us, which method it is to the SDK."""

    operation: str
    method: str
    params: dict[str, Value]


def encode(request: OrderRequest, leg: PositionSide | None = None) -> Encoded:
    """
    Return the call that places *request*; *leg* is its position in hedge mode, None in one-way.

    In hedge mode positionSide stands for reduceOnly, which is refused there: an order against its
    leg cannot open anything (-1106, -4061; venues.md 1.3).

    Raises:
        VenueRefused: the venue has no such order: attached protection, or a plain order that is to
            close whatever is open.

    """
    if request.attached is not None:
        raise refused(UNSUPPORTED, "stop and target cannot travel with an entry", "place")
    if request.order_type.is_conditional:
        return _conditional(request, leg)
    if request.close_position:
        raise refused(
            UNSUPPORTED, f"closePosition with a {request.order_type.value} order", "place"
        )
    is_limit = request.order_type is OrderType.LIMIT
    return Encoded(
        operation="place_order",
        method="futures_create_order",
        params={
            "symbol": request.instrument_id.symbol,
            "side": request.side.value,
            "positionSide": None if leg is None else leg.value,
            "type": request.order_type.value,
            "quantity": request.qty,
            "price": request.limit_price,
            "timeInForce": request.time_in_force.value if is_limit else None,
            "reduceOnly": True if request.reduce_only and leg is None else None,
            "newClientOrderId": request.client_order_id,
            "newOrderRespType": "RESULT",
        },
    )


def _conditional(request: OrderRequest, leg: PositionSide | None) -> Encoded:
    # closePosition goes with neither quantity nor reduceOnly (-4137, -1106; venues.md 1.3).
    reduces = request.reduce_only and not request.close_position and leg is None
    return Encoded(
        operation="place_algo_order",
        method="futures_create_algo_order",
        params={
            "algoType": "CONDITIONAL",
            "symbol": request.instrument_id.symbol,
            "side": request.side.value,
            "positionSide": None if leg is None else leg.value,
            "type": request.order_type.value,
            "quantity": request.qty,
            "triggerPrice": request.trigger_price,
            "workingType": _WORKING_TYPE[request.trigger_by],
            "closePosition": True if request.close_position else None,
            "reduceOnly": True if reduces else None,
            "clientAlgoId": request.client_order_id,
        },
    )
