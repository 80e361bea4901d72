"""What faults answer and order in somebody else's name: the words of the venues and of a person."""

from decimal import Decimal

from aegis.core.transport import HttpResponse
from aegis.model.order import OrderSide, OrderType
from aegis.sim.plan import Fault, Kind
from aegis.twin.engine.api import OrderSpec, TwinInstrument


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


def by_hand(symbol: str, qty: Decimal, number: int) -> OrderSpec:
    """Return what closes a position as a person would."""
    return OrderSpec(
        symbol=symbol,
        client_id=f"by-hand-{number}",
        side=OrderSide.SELL if qty > 0 else OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=abs(qty),
        reduce_only=True,
    )


def foreign_order(instrument: TwinInstrument, price: Decimal, number: int) -> OrderSpec:
    """Return an order that rests far from the market."""
    price = price // instrument.tick_size * instrument.tick_size
    least = max(instrument.qty_min, instrument.notional_min / price * 2)
    qty = (least // instrument.qty_step + 1) * instrument.qty_step
    return OrderSpec(
        symbol=instrument.symbol,
        client_id=f"somebody-{number}",
        side=OrderSide.BUY,
        order_type=OrderType.LIMIT,
        qty=qty,
        limit_price=price,
    )
