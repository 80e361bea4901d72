"""Orders of the Bybit adapter over v5/trade against the twin: in virtual time, and sockets."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

import attrs
import orjson
import pytest
from tests.wire.order_way_rig import TIMEOUT_S, OrderFaults, OrderWorld, play, refusal_of
from tests.wire.twin_rig import KEY

from aegis.core.errors import OrderOutcomeUnknown, Refusal, VenueError, VenueRefused
from aegis.core.transport import (
    HttpRequest,
    HttpResponse,
)
from aegis.model.account import ReportSource
from aegis.model.events import OrderReported
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.order import (
    AttachedProtection,
    OrderRequest,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.venue.bybit.gateway import BybitGateway

# python-binance imports what websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BTC: Final = instrument_id("BTCUSDT", Venue.BYBIT)
CREATE, CANCEL = "/v5/order/create", "/v5/order/cancel"
World = OrderWorld[BybitGateway]


class Faults(OrderFaults):
    """Faults of requests for orders."""

    def seen(self, request: HttpRequest) -> tuple[str, str] | None:
        """Return the way and the path."""
        if request.path not in {CREATE, CANCEL}:
            return None
        # A request by REST is signed in its headers, a frame has none.
        return "rest" if request.headers else "ws", request.path

    def refusal(self, code: int, text: str) -> HttpResponse:
        """Return an envelope without a result."""
        body = orjson.dumps({"retCode": code, "retMsg": text, "result": {}})
        return HttpResponse(status=200, body=body)

    def places(self, request: HttpRequest) -> bool:
        """Say whether a request places an order."""
        return request.path == CREATE


def _in_world(
    act: Callable[[World], Awaitable[None]],
    *,
    sockets: bool = False,
    orders_down: bool = False,
    log_in_garbled: bool = False,
) -> list[str]:
    garbled = KEY if log_in_garbled else ""
    return play(
        Venue.BYBIT,
        BybitGateway,
        Faults(),
        act,
        sockets=sockets,
        orders_down=orders_down,
        garbled=garbled,
    )


def entry(client_order_id: str = "test-1-1-EN0") -> OrderRequest:
    """Return a market order that buys 0.1 BTC, its stop and target with it."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal("0.1"),
        reduce_only=False,
        attached=AttachedProtection(stop_price=Decimal(59000), target_price=Decimal(63000)),
    )


def rung(client_order_id: str = "test-1-1-TP0", price: int = 62000) -> OrderRequest:
    """Return a conditional order that sells half above the market."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.TARGET,
        side=OrderSide.SELL,
        order_type=OrderType.TAKE_PROFIT_MARKET,
        qty=Decimal("0.05"),
        reduce_only=True,
        trigger_price=Decimal(price),
    )


GONE: Final = CancelProtection(instrument_id=BTC, client_order_id="test-1-1-TP0")


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
def test_entry_rung_and_cancel_go_by_the_order_socket(*, sockets: bool) -> None:
    """Stop and target travel with the entry by the socket too; the position's own stay on REST."""

    async def act(world: World) -> None:
        bought = await world.gateway.place(entry())
        assert (ReportSource.ANSWER, OrderStatus.ACCEPTED) == (bought.source, bought.status)
        target = await world.gateway.place(rung())
        assert (True, Decimal(62000)) == (target.conditional, target.trigger_price)
        await world.gateway.cancel(GONE)
        assert ("110001", Refusal.NOT_FOUND) == await refusal_of(world.gateway.cancel(GONE))
        await world.gateway.set_position_protection(
            SetPositionProtection(
                instrument_id=BTC,
                side=PositionSide.LONG,
                stop_price=Decimal(59500),
                target_price=Decimal(63000),
            )
        )
        assert [
            "ws order.create",
            "ws order.create",
            "ws order.cancel",
            "ws order.cancel",
            "set_trading_stop",
        ] == world.calls()
        assert {"ws"} == {way for way, _ in world.faults.paths}
        (position,) = (await world.gateway.snapshot()).positions
        assert (Decimal("0.1"), Decimal(59500)) == (position.qty_signed, position.stop_price)

    assert [] == _in_world(act, sockets=sockets)


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
def test_refusals_by_the_socket_mean_what_they_mean_by_rest(*, sockets: bool) -> None:
    """No position, would trigger, margin, duplicate: each with its meaning (R31, R47)."""

    async def act(world: World) -> None:
        place = world.gateway.place
        big = attrs.evolve(entry(), qty=Decimal(100))
        assert ("110007", Refusal.MARGIN) == await refusal_of(place(big))
        await place(entry())
        assert ("110092", Refusal.WOULD_TRIGGER) == await refusal_of(place(rung(price=59900)))
        await place(rung())
        with pytest.raises(VenueError) as twice:
            await place(rung())
        assert "110072" in str(twice.value)
        assert "place_order" not in world.calls()

    _in_world(act, sockets=sockets)


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
@pytest.mark.parametrize("fault", [ConnectionResetError, TimeoutError])
def test_an_order_whose_answer_is_lost_is_unknown_resolved_by_its_id_and_never_resent(
    fault: type[OSError], *, sockets: bool
) -> None:
    """Cut or silent: the order stands once, and its id finds it (R30, R42, R43)."""

    async def act(world: World) -> None:
        world.faults.lose_answer_by = fault
        with pytest.raises(OrderOutcomeUnknown) as unknown:
            await world.gateway.place(entry())
        assert "test-1-1-EN0" == unknown.value.client_order_id
        found = await world.gateway.query(BTC, "test-1-1-EN0", conditional=False)
        assert found is not None
        assert (OrderStatus.FILLED, Decimal("0.1")) == (found.status, found.filled_qty)
        assert [("ws", CREATE)] == world.faults.paths
        assert ["ws order.create"] == world.calls()
        # The next order goes out, by whatever way is open.
        await world.gateway.place(rung())
        assert 2 == len(world.faults.paths)

    _in_world(act, sockets=sockets)


def test_orders_go_by_rest_while_the_socket_is_down_and_by_the_socket_once_it_is_up() -> None:
    """The fall-back needs no switch, and ends by itself."""

    async def act(world: World) -> None:
        assert world.line is not None
        await world.gateway.place(entry())
        world.line.orders_down = False
        await world.ready()
        await world.gateway.place(rung())
        assert ["place_order", "ws order.create"] == world.calls()

    _in_world(act, orders_down=True)


def test_a_refused_log_in_leaves_orders_to_rest_with_one_warning() -> None:
    """The socket tries again for ever; the operator is told once, and orders go out."""

    async def act(world: World) -> None:
        await asyncio.sleep(60)
        await world.gateway.place(entry())
        assert ["place_order"] == world.calls()

    warnings = _in_world(act, log_in_garbled=True)
    assert 1 == sum("refused the log-in of the order socket" in line for line in warnings)


def test_a_socket_that_refuses_what_we_may_do_is_left_with_one_warning() -> None:
    """A refused permission did nothing: this order and all later ones go by REST."""

    async def act(world: World) -> None:
        world.faults.refuse = [(10005, "Permission denied")]
        await world.gateway.place(entry())
        await world.gateway.place(rung())
        assert ["ws order.create", "place_order", "place_order"] == world.calls()

    warnings = _in_world(act)
    assert 1 == sum("by REST from now on" in line for line in warnings)


def test_a_refused_time_is_measured_anew_and_the_order_repeated_once() -> None:
    """10002 did nothing; twice in a row it is a refusal (venues.md 3.2)."""

    async def act(world: World) -> None:
        late = (10002, "invalid request, please check your server timestamp")
        world.faults.refuse = [late]
        await world.gateway.place(entry())
        world.faults.refuse = [late, late]
        assert "10002" == (await refusal_of(world.gateway.place(rung())))[0]
        assert ["ws order.create"] * 4 == world.calls()

    _in_world(act)


def test_a_late_answer_is_told_as_evidence() -> None:
    """After the time-out the outcome is unknown; an answer that comes is heard by all (R30)."""

    async def act(world: World) -> None:
        assert world.line is not None
        await world.gateway.place(entry())
        await asyncio.sleep(1)
        world.line.delay_s = 1.5 * TIMEOUT_S
        with pytest.raises(OrderOutcomeUnknown):
            await world.gateway.place(rung())
        before = len(world.events)
        await asyncio.sleep(TIMEOUT_S)
        told = [e.report for e in world.events[before:] if isinstance(e, OrderReported)]
        assert [("test-1-1-TP0", OrderStatus.ACCEPTED)] == [
            (each.client_order_id, each.status)
            for each in told
            if each.source is ReportSource.ANSWER
        ]

    warnings = _in_world(act)
    assert 1 == sum("after the request was given up" in line for line in warnings)


@pytest.mark.parametrize(
    ("refusal", "orders_down"),
    [
        ((10002, "invalid request, please check your server timestamp"), False),
        ((10002, "invalid request, please check your server timestamp"), True),
        ((10004, "Error sign"), False),
    ],
    ids=["time by the socket", "time by REST", "way"],
)
def test_an_entry_that_would_leave_again_reads_the_halt_anew(
    refusal: tuple[int, str], *, orders_down: bool
) -> None:
    """R73: a halt that came meanwhile stops the repeat and the other way, never an exit."""

    async def act(world: World) -> None:
        await world.gateway.place(entry())
        fills = len(world.engine.fills())
        world.faults.halts, world.faults.refuse = True, [refusal]
        with pytest.raises(VenueRefused, match="halted before it could be sent again"):
            await world.gateway.place(entry("test-1-2-EN0"))
        assert fills == len(world.engine.fills())
        world.faults.refuse = [(10002, "invalid request, please check your server timestamp")]
        await world.gateway.place(rung())

    _in_world(act, orders_down=orders_down)
