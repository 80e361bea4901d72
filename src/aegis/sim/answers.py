"""What faults answer and order in somebody else's name: the words of the venues and of a person."""

from decimal import Decimal
from typing import Final

import orjson

from aegis.core.transport import HttpResponse
from aegis.model.order import OrderSide, OrderType
from aegis.sim.kinds import Fault, Kind
from aegis.twin.engine.api import Leg, OrderSpec, TwinInstrument

TEXTS: Final = {
    -2021: "Order would immediately trigger.",
    -4130: "An open stop or take profit order with GTE and closePosition is existing.",
    -4509: "Time in Force (TIF) GTE can only be used with open positions.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -4118: "ReduceOnly Order Failed. Please check your existing position and open orders",
    -4183: "Price is higher than stop price multiplier cap.",
    -4184: "Price is lower than stop price multiplier floor.",
    10001: "can not set tp/sl/ts for zero position",
    10002: "invalid request, please check your server timestamp or recv_window param",
    110001: "order not exists or too late to cancel",
    110003: "Order price exceeds the allowable range.",
    110079: "The order is processing and can not be operated, please try again later",
}
"""What the venues say with each code (venues.md, error codes)."""


def refusal_answer(venue: str, code: int) -> HttpResponse:
    """Return a venue's no with *code*, in its own words."""
    if venue == "binance":
        return HttpResponse(status=400, body=orjson.dumps({"code": code, "msg": TEXTS[code]}))
    told = {"retCode": code, "retMsg": TEXTS[code], "result": {}, "retExtInfo": {}}
    return HttpResponse(status=200, body=orjson.dumps(told))


def maintenance_answer(venue: str, which: int) -> HttpResponse:
    """
    Return what is answered while a venue is at work on itself; nothing is executed.

    Binance: one of the three meanings of its 503 (venues.md 2.2). Bybit: retCode 10016, 10019, or
    its front's 503 (venues.md 3.7).
    """
    if venue == "binance":
        return HttpResponse(status=503, body=_REGRETS[which])
    if which == 2:
        return HttpResponse(status=503, body=b"Service Unavailable")
    code, text = ((10016, "Server error."), (10019, "ws trade service is restarting"))[which]
    told = {"retCode": code, "retMsg": text, "result": {}, "retExtInfo": {}}
    return HttpResponse(status=200, body=orjson.dumps(told))


_REGRETS: Final = (
    b'{"code":-1000,"msg":"Unknown error, please check your request or try again later."}',
    b'{"code":-1016,"msg":"Service Unavailable."}',
    b'{"code":-1008,"msg":"Request throttled by system-level protection."}',
)


def server_error(fault: Fault) -> HttpResponse:
    """Return a 5xx, or the venue's own word that it does not know what became of it."""
    if fault.kind is Kind.ERROR_AFTER:
        return HttpResponse(status=502, body=b"Bad Gateway")
    if fault.venue == "binance":
        text = b'{"code":-1007,"msg":"Timeout waiting for response from backend server."}'
        return HttpResponse(status=408, body=text)
    text = b'{"retCode":10000,"retMsg":"Server Timeout","result":{},"retExtInfo":{}}'
    return HttpResponse(status=200, body=text)


def limit_answer(venue: str, banned: bool, wait_s: int) -> HttpResponse:
    """Return a 429 or a ban as the venue words it, *wait_s* until the next try."""
    headers = {"Retry-After": str(max(1, wait_s))}
    if venue == "binance":
        status = 418 if banned else 429
        text = b'{"code":-1003,"msg":"Too many requests."}'
        return HttpResponse(status=status, body=text, headers=headers)
    if banned:
        return HttpResponse(status=403, body=b"access too frequent", headers=headers)
    text = b'{"retCode":10006,"retMsg":"Too many visits!","result":{},"retExtInfo":{}}'
    return HttpResponse(status=200, body=text, headers=headers)


def by_hand(symbol: str, qty: Decimal, number: int, leg: Leg = Leg.BOTH) -> OrderSpec:
    """Return what closes a position of *qty*, signed, as a person would."""
    return OrderSpec(
        symbol=symbol,
        client_id=f"by-hand-{number}",
        side=OrderSide.SELL if qty > 0 else OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=abs(qty),
        # In hedge mode the leg alone says that it closes.
        reduce_only=leg is Leg.BOTH,
        leg=leg,
    )


def foreign_order(
    instrument: TwinInstrument, price: Decimal, number: int, *, hedge: bool
) -> OrderSpec:
    """Return an order of a person that rests far below the market."""
    return _resting(instrument, price, f"somebody-{number}", hedge=hedge)


RIVAL: Final = "othr-"
"""How the ids of another installation of Aegis begin."""


def rivals_order(
    instrument: TwinInstrument, price: Decimal, number: int, *, hedge: bool
) -> OrderSpec:
    """Return an order that another installation of Aegis has resting far below the market."""
    return _resting(instrument, price, rivals_id(number), hedge=hedge)


def rivals_id(number: int) -> str:
    """Return the client id of the order of the second instance that is fault *number*."""
    return f"{RIVAL}1-{number + 1:x}-EN1"


def _resting(
    instrument: TwinInstrument, price: Decimal, client_id: str, *, hedge: bool
) -> OrderSpec:
    price = price // instrument.tick_size * instrument.tick_size
    least = max(instrument.qty_min, instrument.notional_min / price * 2)
    qty = (least // instrument.qty_step + 1) * instrument.qty_step
    return OrderSpec(
        symbol=instrument.symbol,
        client_id=client_id,
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        qty=qty,
        limit_price=price,
        leg=Leg.LONG if hedge else Leg.BOTH,
    )
