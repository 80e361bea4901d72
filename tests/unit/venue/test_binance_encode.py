"""Orders of ours as the venue's parameters."""

from decimal import Decimal

import pytest

from aegis.core.errors import VenueRefused
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import (
    AttachedProtection,
    OrderRequest,
    OrderSide,
    OrderType,
    Purpose,
    TimeInForce,
    TriggerBy,
)
from aegis.venue.binance.encode import encode
from aegis.venue.binance.rest import Value

BTC = instrument_id("BTCUSDT", Venue.BINANCE)


def sent(request: OrderRequest) -> tuple[str, dict[str, Value]]:
    """Return SDK method and the parameters that leave."""
    call = encode(request)
    return call.method, {name: value for name, value in call.params.items() if value is not None}


def test_a_market_entry() -> None:
    """An entry goes to the order endpoint under our id and asks for the result."""
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id="a-1-1-EN0",
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal("0.5"),
        reduce_only=False,
    )
    assert (
        "futures_create_order",
        {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "MARKET",
            "quantity": Decimal("0.5"),
            "newClientOrderId": "a-1-1-EN0",
            "newOrderRespType": "RESULT",
        },
    ) == sent(request)


def test_an_ioc_close() -> None:
    """A close is reduce-only, and a limit carries price and time in force."""
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id="a-1-1-CU0",
        purpose=Purpose.CLOSE_UNPROTECTED,
        side=OrderSide.SELL,
        order_type=OrderType.LIMIT,
        qty=Decimal(1),
        limit_price=Decimal(50_000),
        time_in_force=TimeInForce.IOC,
        reduce_only=True,
    )
    method, params = sent(request)
    assert "futures_create_order" == method
    assert ("IOC", Decimal(50_000), True) == (
        params["timeInForce"],
        params["price"],
        params["reduceOnly"],
    )


@pytest.mark.parametrize("close_position", [True, False])
def test_a_stop_goes_to_the_algo_service(close_position: bool) -> None:
    """closePosition goes with neither quantity nor reduceOnly (venues.md 1.3); marks trigger."""
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id="a-1-1-SF0",
        purpose=Purpose.STOP_FLOOR,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=None if close_position else Decimal(2),
        close_position=close_position,
        trigger_price=Decimal("49000.5"),
        reduce_only=True,
    )
    size: dict[str, Value] = (
        {"closePosition": True} if close_position else {"quantity": Decimal(2), "reduceOnly": True}
    )
    assert (
        "futures_create_algo_order",
        {
            "algoType": "CONDITIONAL",
            "symbol": "BTCUSDT",
            "side": "SELL",
            "type": "STOP_MARKET",
            "triggerPrice": Decimal("49000.5"),
            "workingType": "MARK_PRICE",
            "clientAlgoId": "a-1-1-SF0",
            **size,
        },
    ) == sent(request)


def test_a_target_on_the_last_price() -> None:
    """The other working type is the contract price."""
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id="a-1-1-TP0",
        purpose=Purpose.TARGET,
        side=OrderSide.BUY,
        order_type=OrderType.TAKE_PROFIT_MARKET,
        qty=Decimal(2),
        trigger_price=Decimal(40_000),
        trigger_by=TriggerBy.LAST,
        reduce_only=True,
    )
    _, params = sent(request)
    assert ("CONTRACT_PRICE", "TAKE_PROFIT_MARKET") == (params["workingType"], params["type"])


def test_what_the_venue_does_not_have_is_refused() -> None:
    """Attached protection and a plain closePosition order are refused before anything leaves."""
    attached = OrderRequest(
        instrument_id=BTC,
        client_order_id="a-1-1-EN0",
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal(1),
        reduce_only=False,
        attached=AttachedProtection(stop_price=Decimal(1), target_price=Decimal(2)),
    )
    whole = OrderRequest(
        instrument_id=BTC,
        client_order_id="a-1-1-CF0",
        purpose=Purpose.CLOSE_FLATTEN,
        side=OrderSide.SELL,
        order_type=OrderType.MARKET,
        qty=None,
        close_position=True,
        reduce_only=True,
    )
    for request in (attached, whole):
        with pytest.raises(VenueRefused, match="unsupported"):
            encode(request)
