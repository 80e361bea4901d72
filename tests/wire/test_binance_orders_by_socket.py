"""Orders of the Binance adapter over ws-fapi against the twin: virtual time, and sockets."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

import attrs
import orjson
import pytest
from tests.wire.order_way_rig import TIMEOUT_S, OrderFaults, OrderWorld, play, refusal_of

from aegis.core.errors import OrderOutcomeUnknown, Refusal, VenueRefused
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.model.account import ReportSource
from aegis.model.events import ApiCalled, OrderReported
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import CancelProtection
from aegis.model.order import OrderRequest, OrderSide, OrderStatus, OrderType, Purpose
from aegis.venue.binance.gateway import BinanceGateway

# python-binance imports what websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BTC: Final = instrument_id("BTCUSDT", Venue.BINANCE)
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
World = OrderWorld[BinanceGateway]


class Faults(OrderFaults):
    """Faults of requests for plain and conditional orders."""

    def seen(self, request: HttpRequest) -> tuple[str, str] | None:
        """Return the way and the path."""
        if request.path not in {ORDER, ALGO} or request.method not in {"POST", "DELETE"}:
            return None
        # A signature in the body is a frame's: REST carries it in the query or the form.
        way = "ws" if request.body.startswith(b"{") else "rest"
        return way, f"{request.method} {request.path}"

    def refusal(self, code: int, text: str) -> HttpResponse:
        """Return an error body."""
        return HttpResponse(status=400, body=orjson.dumps({"code": code, "msg": text}))

    def places(self, request: HttpRequest) -> bool:
        """Say whether a request places an order."""
        return request.path in {ORDER, ALGO} and request.method == "POST"


def _in_world(
    act: Callable[[World], Awaitable[None]], *, sockets: bool = False, orders_down: bool = False
) -> list[str]:
    return play(
        Venue.BINANCE, BinanceGateway, Faults(), act, sockets=sockets, orders_down=orders_down
    )


def entry(client_order_id: str = "test-1-1-EN0") -> OrderRequest:
    """Return a market order that buys 0.1 BTC."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal("0.1"),
        reduce_only=False,
    )


def floor(client_order_id: str = "test-1-1-SF0", price: str = "59000.0") -> OrderRequest:
    """Return a stop that closes whatever is open."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.STOP_FLOOR,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=None,
        reduce_only=True,
        close_position=True,
        trigger_price=Decimal(price),
    )


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
def test_entry_stop_and_cancel_go_by_the_order_socket(*, sockets: bool) -> None:
    """Three requests, three answers, none of them by REST; each told as a call of its own."""

    async def act(world: World) -> None:
        bought = await world.gateway.place(entry())
        assert (ReportSource.ANSWER, "test-1-1-EN0") == (bought.source, bought.client_order_id)
        assert bought.filled_qty > 0
        stop = await world.gateway.place(floor())
        assert (OrderStatus.ACCEPTED, Decimal(59000)) == (stop.status, stop.trigger_price)
        gone = CancelProtection(instrument_id=BTC, client_order_id="test-1-1-SF0")
        await world.gateway.cancel(gone)
        assert ("-2011", Refusal.NOT_FOUND) == await refusal_of(world.gateway.cancel(gone))
        assert [
            "ws order.place",
            "ws algoOrder.place",
            "ws algoOrder.cancel",
            "ws algoOrder.cancel",
        ] == world.calls()
        assert {"ws"} == {way for way, _ in world.faults.paths}

    assert [] == _in_world(act, sockets=sockets)


@pytest.mark.parametrize("sockets", [False, True], ids=["virtual", "sockets"])
def test_refusals_by_the_socket_mean_what_they_mean_by_rest(*, sockets: bool) -> None:
    """No position, already there, would trigger, margin: each with its meaning (R31, R47)."""

    async def act(world: World) -> None:
        place = world.gateway.place
        assert ("-4509", Refusal.NO_POSITION) == await refusal_of(place(floor()))
        await place(entry())
        assert ("-2021", Refusal.WOULD_TRIGGER) == await refusal_of(place(floor(price="61000.0")))
        await place(floor())
        assert ("-4130", Refusal.EXISTS) == await refusal_of(place(floor("test-1-1-SF1")))
        big = attrs.evolve(entry("test-1-2-EN0"), qty=Decimal(100))
        assert ("-2019", Refusal.MARGIN) == await refusal_of(place(big))
        assert not any(call.startswith("place_") for call in world.calls())

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
        assert [("ws", f"POST {ORDER}")] == world.faults.paths
        assert ["ws order.place"] == world.calls()
        # The next order goes out, by whatever way is open.
        await world.gateway.place(entry("test-1-2-EN0"))
        assert 2 == len(world.faults.paths)

    _in_world(act, sockets=sockets)


def test_orders_go_by_rest_while_the_socket_is_down_and_by_the_socket_once_it_is_up() -> None:
    """The fall-back needs no switch, and ends by itself."""

    async def act(world: World) -> None:
        assert world.line is not None
        await world.gateway.place(entry())
        world.line.orders_down = False
        await world.ready()
        await world.gateway.place(floor())
        assert ["place_order", "ws algoOrder.place"] == world.calls()

    _in_world(act, orders_down=True)


def test_a_socket_that_refuses_who_we_are_is_left_with_one_warning() -> None:
    """A refused signature did nothing: this order and all later ones go by REST."""

    async def act(world: World) -> None:
        world.faults.refuse = [(-1022, "Signature for this request is not valid.")]
        bought = await world.gateway.place(entry())
        assert bought.filled_qty > 0
        await world.gateway.place(floor())
        assert ["ws order.place", "place_order", "place_algo_order"] == world.calls()

    warnings = _in_world(act)
    assert 1 == sum("by REST from now on" in line for line in warnings)


@pytest.mark.parametrize("code", [-1021, -5028])
def test_a_refused_time_is_measured_anew_and_the_order_repeated_once(code: int) -> None:
    """-1021 and -5028 did nothing; twice in a row they are a refusal (venues.md 2.2)."""

    async def act(world: World) -> None:
        late = (code, "Timestamp for this request is outside of the recvWindow.")
        world.faults.refuse = [late]
        bought = await world.gateway.place(entry())
        assert bought.filled_qty > 0
        assert 2 == sum(call.operation == "time" for call in world.of(ApiCalled))
        world.faults.refuse = [late, late]
        assert str(code) == (await refusal_of(world.gateway.place(floor())))[0]
        assert 4 == world.calls().count("ws algoOrder.place") + world.calls().count(
            "ws order.place"
        )

    _in_world(act)


def test_a_late_answer_is_told_as_evidence() -> None:
    """After the time-out the outcome is unknown; an answer that comes is heard by all (R30)."""

    async def act(world: World) -> None:
        assert world.line is not None
        await world.gateway.place(entry())
        world.line.delay_s = 1.5 * TIMEOUT_S
        with pytest.raises(OrderOutcomeUnknown):
            await world.gateway.place(floor())
        before = len(world.events)
        await asyncio.sleep(TIMEOUT_S)
        told = [e.report for e in world.events[before:] if isinstance(e, OrderReported)]
        assert [(ReportSource.ANSWER, "test-1-1-SF0", OrderStatus.ACCEPTED)] == [
            (each.source, each.client_order_id, each.status) for each in told
        ]

    warnings = _in_world(act)
    assert 1 == sum("after the request was given up" in line for line in warnings)


def test_every_answer_tells_the_usage() -> None:
    """Weight with every answer, order counts with those about orders (venues.md 2.2)."""

    async def act(world: World) -> None:
        await world.gateway.place(entry())
        await world.gateway.place(floor())
        gone = CancelProtection(instrument_id=BTC, client_order_id="test-1-1-SF0")
        await world.gateway.cancel(gone)
        assert world.line is not None
        limits = [orjson.loads(frame)["rateLimits"] for frame in world.line.frames]
        kinds = [[row["rateLimitType"] for row in rows] for rows in limits]
        orders = ["ORDERS", "ORDERS", "REQUEST_WEIGHT"]
        assert [orders, orders, ["REQUEST_WEIGHT"]] == kinds
        assert [1, 2] == [rows[0]["count"] for rows in limits[:2]]

    _in_world(act)


@pytest.mark.parametrize(
    ("refusal", "orders_down"),
    [
        ((-1021, "Timestamp for this request is outside of the recvWindow."), False),
        ((-1021, "Timestamp for this request is outside of the recvWindow."), True),
        ((-1022, "Signature for this request is not valid."), False),
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
        world.faults.refuse = [(-1021, "Timestamp for this request is outside of the recvWindow.")]
        await world.gateway.place(floor())

    _in_world(act, orders_down=orders_down)
