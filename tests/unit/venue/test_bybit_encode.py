"""What is sent to Bybit for what is meant."""

from decimal import Decimal

import pytest

from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.order import (
    AttachedProtection,
    OrderRequest,
    OrderSide,
    OrderType,
    PositionSide,
    Purpose,
    TimeInForce,
)
from aegis.venue.bybit.encode import cancel_params, order_params, protection_params

BTC = instrument_id("BTCUSDT", Venue.BYBIT)


def test_an_entry_carries_stop_and_target() -> None:
    """Stop and target travel with the entry, in Full mode and on the mark price (zero gap)."""
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id="abcd-1-1-EN0",
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal("0.010"),
        reduce_only=False,
        attached=AttachedProtection(stop_price=Decimal("59000.0"), target_price=Decimal(62000)),
    )
    assert {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Market",
        "qty": "0.01",
        "orderLinkId": "abcd-1-1-EN0",
        "positionIdx": 0,
        "reduceOnly": False,
        "tpslMode": "Full",
        "stopLoss": "59000",
        "takeProfit": "62000",
        "slTriggerBy": "MarkPrice",
        "tpTriggerBy": "MarkPrice",
        "slOrderType": "Market",
        "tpOrderType": "Market",
    } == order_params(request)


def test_a_limit_entry_does_not_rest() -> None:
    """Price and time in force go with limit orders only."""
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id="abcd-1-1-EN0",
        purpose=Purpose.ENTRY,
        side=OrderSide.SELL,
        order_type=OrderType.LIMIT,
        qty=Decimal(1),
        reduce_only=False,
        limit_price=Decimal("1E+2"),
        time_in_force=TimeInForce.IOC,
    )
    params = order_params(request)
    assert ("Limit", "100", "IOC") == (params["orderType"], params["price"], params["timeInForce"])


@pytest.mark.parametrize(
    ("side", "order_type", "direction"),
    [
        (OrderSide.SELL, OrderType.STOP_MARKET, 2),
        (OrderSide.BUY, OrderType.STOP_MARKET, 1),
        (OrderSide.SELL, OrderType.TAKE_PROFIT_MARKET, 1),
        (OrderSide.BUY, OrderType.TAKE_PROFIT_MARKET, 2),
    ],
)
def test_trigger_directions(side: OrderSide, order_type: OrderType, direction: int) -> None:
    """A sell stop waits for a fall, a sell target for a rise, buys the other way around."""
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id="abcd-1-1-TP0",
        purpose=Purpose.TARGET,
        side=side,
        order_type=order_type,
        qty=Decimal("0.5"),
        reduce_only=True,
        trigger_price=Decimal("60000.5"),
    )
    params = order_params(request)
    assert direction == params["triggerDirection"]
    assert ("Market", "60000.5", "MarkPrice", True) == (
        params["orderType"],
        params["triggerPrice"],
        params["triggerBy"],
        params["reduceOnly"],
    )


def test_close_position_closes_whatever_is_open() -> None:
    """close_position is quantity 0 with closeOnTrigger and reduceOnly."""
    request = OrderRequest(
        instrument_id=BTC,
        client_order_id="abcd-1-1-CU0",
        purpose=Purpose.CLOSE_UNPROTECTED,
        side=OrderSide.SELL,
        order_type=OrderType.MARKET,
        qty=None,
        reduce_only=True,
        close_position=True,
    )
    params = order_params(request)
    assert ("0", True, True) == (params["qty"], params["closeOnTrigger"], params["reduceOnly"])


def test_protection_is_set_as_a_pair() -> None:
    """Both prices always go together: one alone would unlink the pair."""
    command = SetPositionProtection(
        instrument_id=BTC,
        side=PositionSide.LONG,
        stop_price=Decimal("59000.50"),
        target_price=Decimal(61000),
    )
    params = protection_params(command)
    assert ("Full", 0, "59000.5", "61000") == (
        params["tpslMode"],
        params["positionIdx"],
        params["stopLoss"],
        params["takeProfit"],
    )


def test_a_cancel_names_one_order() -> None:
    """A cancel never reaches beyond the one order of ours."""
    command = CancelProtection(instrument_id=BTC, client_order_id="abcd-1-1-TP0")
    assert {
        "category": "linear",
        "symbol": "BTCUSDT",
        "orderLinkId": "abcd-1-1-TP0",
    } == cancel_params(command)
