"""Which leg an order is for, and what is sent for it in either position mode (R41, scenario 9)."""

from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import VenueRefused
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.account import PositionMode
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import SetPositionProtection
from aegis.model.order import OrderRequest, OrderSide, OrderType, PositionSide, Purpose
from aegis.venue.binance.encode import encode
from aegis.venue.binance.order_socket import RequestWriter
from aegis.venue.bybit.encode import order_params, protection_params
from aegis.venue.position_modes import PositionModes, leg_of

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT


def order(
    leg: PositionSide,
    *,
    enters: bool,
    order_type: OrderType = OrderType.MARKET,
    close_position: bool = False,
    venue: Venue = Venue.BINANCE,
) -> OrderRequest:
    """Return an order that opens or closes *leg*."""
    limit = Decimal(60000) if order_type is OrderType.LIMIT else None
    return OrderRequest(
        instrument_id=instrument_id("BTCUSDT", venue),
        client_order_id="test-1-1-EN0" if enters else "test-1-1-CF0",
        purpose=Purpose.ENTRY if enters else Purpose.CLOSE_FLATTEN,
        side=leg.entry_side if enters else leg.exit_side,
        order_type=order_type,
        qty=None if close_position else Decimal("0.1"),
        reduce_only=not enters,
        close_position=close_position,
        limit_price=limit,
        trigger_price=Decimal(59000) if order_type.is_conditional else None,
    )


@pytest.mark.parametrize(("leg", "enters"), list(product((LONG, SHORT), (True, False))))
def test_an_order_belongs_to_the_leg_it_opens_or_closes(leg: PositionSide, enters: bool) -> None:
    """R40, R41: a sale that reduces is the long leg's, one that opens the short leg's."""
    assert leg is leg_of(order(leg, enters=enters))


@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_MARKET])
@pytest.mark.parametrize("leg", [LONG, SHORT])
def test_binance_gets_the_leg_in_place_of_reduce_only(
    leg: PositionSide, order_type: OrderType
) -> None:
    """R41: -1106 for reduceOnly in hedge mode, -4061 for a leg in one-way mode (venues.md 1.3)."""
    request = order(leg, enters=False, order_type=order_type)
    hedged, plain = encode(request, leg).params, encode(request).params
    assert (leg.value, None) == (hedged["positionSide"], hedged["reduceOnly"])
    assert (None, True) == (plain["positionSide"], plain["reduceOnly"])


def test_a_floor_of_hedge_mode_closes_its_leg() -> None:
    """closePosition goes with the leg and with nothing else (venues.md 1.3)."""
    floor = order(SHORT, enters=False, order_type=OrderType.STOP_MARKET, close_position=True)
    params = {name: value for name, value in encode(floor, SHORT).params.items() if value}
    assert ("SHORT", True) == (params["positionSide"], params["closePosition"])
    assert not {"reduceOnly", "quantity"} & set(params)


@pytest.mark.parametrize("enters", [True, False])
@pytest.mark.parametrize("leg", [LONG, SHORT])
def test_the_quick_frame_is_the_encoder_s(leg: PositionSide, enters: bool) -> None:
    """The market order that is written without a table says what `encode` says, in both modes."""
    loop = VirtualTimeLoop()
    writer = RequestWriter(
        api_key="key",
        api_secret="secret",
        clock=VirtualClock(1_700_000_000_000_000_000, loop),
        offset_ms=lambda: 0,
        recv_window_ms=5000,
    )
    request = order(leg, enters=enters)
    for wanted in (None, leg):
        slow = writer.write("1", "order.place", encode(request, wanted).params)
        assert slow == writer.order("1", request, wanted)
    loop.close()


@pytest.mark.parametrize(("leg", "index"), [(None, 0), (LONG, 1), (SHORT, 2)])
def test_bybit_gets_the_index_beside_reduce_only(leg: PositionSide | None, index: int) -> None:
    """R41: 0 one-way, 1 long, 2 short, for orders and for trading-stop (venues.md 3.3, 3.4)."""
    request = order(leg or LONG, enters=False, venue=Venue.BYBIT)
    command = SetPositionProtection(
        instrument_id=request.instrument_id,
        side=leg or LONG,
        stop_price=Decimal(59000),
        target_price=Decimal(62000),
    )
    params: dict[str, Any] = order_params(request, leg)
    assert (index, True) == (params["positionIdx"], params["reduceOnly"])
    assert index == protection_params(command, leg)["positionIdx"]


def test_a_mode_that_was_not_read_writes_no_order() -> None:
    """R41, R43: unknown is not one-way."""
    modes = PositionModes(Venue.BYBIT)
    modes.learn("ETHUSDT", PositionMode.HEDGE)
    request = order(LONG, enters=True, venue=Venue.BYBIT)
    with pytest.raises(VenueRefused, match="was not read yet"):
        modes.leg_of(request)
    modes.learn_all(PositionMode.ONE_WAY)
    assert modes.leg_of(request) is None
    assert modes.hedged("ETHUSDT")
    assert OrderSide.BUY is request.side
