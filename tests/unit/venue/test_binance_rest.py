"""What python-binance puts on the wire for us, and how its failures come back."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal

import pytest
from aiohttp import web

from aegis.core.clock import ManualClock
from aegis.core.errors import OrderOutcomeUnknown, VenueRefused, VenueUnreachable
from aegis.core.event import Event
from aegis.core.offload import InlineOffload
from aegis.core.transport import HttpExchange, HttpRequest, HttpResponse
from aegis.core.virtual_loop import run_virtual
from aegis.model.events import ApiCalled
from aegis.model.instrument import Venue
from aegis.venue.binance.errors import classify
from aegis.venue.binance.rest import BinanceRest, Value
from aegis.venue.calls import CallRunner
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks

NOW_NS = 1_600_000_000_000_000_000
KEY, SECRET = "the-api-key", "the-api-secret"
ORDER: Mapping[str, Value] = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "MARKET",
    "quantity": Decimal("1E+2"),
    "reduceOnly": True,
    "price": None,
    "newClientOrderId": "test-1-1-EN0",
}


def client(
    http: HttpExchange | None,
    events: list[Event],
    base_url: str = "http://twin",
    timeout_s: float = 5.0,
) -> BinanceRest:
    """Return a client that stands still at NOW_NS."""
    clock = ManualClock(NOW_NS)
    calls = CallRunner(
        venue=Venue.BINANCE,
        publish=events.append,
        clock=clock,
        classify=classify,
        secrets=(KEY, SECRET),
    )
    return BinanceRest(
        base_url=base_url,
        api_key=KEY,
        api_secret=SECRET,
        http=http,
        offload=InlineOffload(0.01, 0.01),
        calls=calls,
        clock=clock,
        recv_window_ms=5000,
        request_timeout_s=timeout_s,
    )


def answered(status: int, body: object) -> HttpResponse:
    """Return an answer."""
    return HttpResponse(status=status, body=json.dumps(body).encode())


def virtual(test: Callable[[], Awaitable[None]]) -> None:
    """Run *test* in virtual time, the SDK's clock standing at NOW_NS."""

    async def main() -> None:
        await test()

    set_sdk_clocks(lambda: NOW_NS)
    try:
        run_virtual(main())
    finally:
        restore_sdk_clocks()


def is_signed(text: str) -> bool:
    """Say whether the last parameter of *text* is the HMAC of all before (venues.md 2.2)."""
    payload, _, signature = text.rpartition("&signature=")
    return hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest() == signature


def test_requests_are_signed_over_the_bytes_that_leave() -> None:
    """Numbers are plain, booleans lower case, ours is the id, nothing else is made up (R26)."""

    async def test() -> None:
        seen: list[HttpRequest] = []

        def http(request: HttpRequest) -> HttpResponse:
            seen.append(request)
            return answered(200, {"orderId": 1})

        rest = client(http, [])
        await rest.call("place_order", "futures_create_order", ORDER, client_order_id="test")
        await rest.call("get_order", "futures_get_order", {"symbol": "BTCUSDT", "orderId": 5})
        place, query = seen
        assert ("POST", "/fapi/v1/order") == (place.method, place.target)
        body = place.body.decode()
        assert is_signed(body)
        assert body.startswith(
            "newClientOrderId=test-1-1-EN0&quantity=100&recvWindow=5000&reduceOnly=true"
            "&side=BUY&symbol=BTCUSDT&timestamp=1600000000000&type=MARKET&signature="
        )
        assert KEY == place.headers["x-mbx-apikey"]
        assert ("GET", "/fapi/v1/order") == (query.method, query.path)
        assert is_signed(query.query)
        await rest.close()

    virtual(test)


def test_the_measured_offset_is_signed_with() -> None:
    """sync_time adds the venue's lead to every later timestamp; nothing asks the spot host."""

    async def test() -> None:
        seen: list[HttpRequest] = []

        def http(request: HttpRequest) -> HttpResponse:
            seen.append(request)
            return answered(200, {"serverTime": NOW_NS // 1_000_000 + 700})

        rest = client(http, [])
        assert 700 == await rest.sync_time()
        await rest.call("balance", "futures_account_balance")
        assert ["/fapi/v1/time", "/fapi/v3/balance"] == [request.path for request in seen]
        assert "timestamp=1600000000700" in seen[1].query

    virtual(test)


@pytest.mark.parametrize("code", [-1021, -5028])
def test_a_refused_timestamp_is_measured_anew_and_the_call_repeated_once(code: int) -> None:
    """-1021, -5028: nothing was done; the clock is synced, the order sent again, once (R42)."""

    async def test() -> None:
        placed: list[str] = []

        def http(request: HttpRequest) -> HttpResponse:
            if request.path == "/fapi/v1/time":
                return answered(200, {"serverTime": NOW_NS // 1_000_000 - 9000})
            placed.append(request.body.decode())
            if len(placed) == 1:
                return answered(400, {"code": code, "msg": "outside of the recvWindow."})
            return answered(200, {"orderId": 1})

        rest = client(http, [])
        await rest.call("place_order", "futures_create_order", ORDER, client_order_id="id")
        assert 2 == len(placed)
        assert "timestamp=1599999991000" in placed[1]

    virtual(test)


def test_an_order_that_gets_no_answer_is_unknown_and_sent_once() -> None:
    """A lost answer and a time-out are OrderOutcomeUnknown after exactly one request (R30)."""

    async def test() -> None:
        count = 0

        def reset(request: HttpRequest) -> HttpResponse:
            nonlocal count
            count += 1
            raise ConnectionResetError("reset by peer")

        def late(request: HttpRequest) -> HttpResponse:
            nonlocal count
            count += 1
            raise TimeoutError("no answer")

        for http in (reset, late):
            count = 0
            events: list[Event] = []
            rest = client(http, events)
            with pytest.raises(OrderOutcomeUnknown):
                await rest.call("place_order", "futures_create_order", ORDER, client_order_id="id")
            assert 1 == count
            (told,) = [event for event in events if isinstance(event, ApiCalled)]
            assert (False, "OrderOutcomeUnknown") == (told.ok, told.error_class)

    virtual(test)


def test_refusals_tell_no_secret() -> None:
    """An error that quotes the request does not show the signature or the key (R84)."""

    async def test() -> None:
        def http(request: HttpRequest) -> HttpResponse:
            return answered(
                400, {"code": -1022, "msg": f"Signature: {request.body.decode()} {KEY}"}
            )

        rest = client(http, [])
        with pytest.raises(VenueRefused) as refused:
            await rest.call("place_order", "futures_create_order", ORDER, client_order_id="id")
        assert "-1022" == refused.value.code
        assert KEY not in str(refused.value)
        assert "signature=***" in str(refused.value)

    virtual(test)


def test_real_connections_carry_the_same_bytes() -> None:
    """Over aiohttp the server gets what the twin gets; no connection means nothing was sent."""

    async def main() -> None:
        seen: list[tuple[str, str, str]] = []

        async def take(request: web.Request) -> web.Response:
            body = (await request.read()).decode()
            seen.append((request.method, request.raw_path, body))
            if request.method == "GET":
                await asyncio.sleep(5)
            return web.json_response({"orderId": 1})

        app = web.Application()
        app.router.add_route("*", "/fapi/{tail:.*}", take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        rest = client(None, [], f"http://127.0.0.1:{port}", timeout_s=0.2)
        nobody = client(None, [], "http://127.0.0.1:1")
        try:
            answer = await rest.call(
                "place_order", "futures_create_order", ORDER, client_order_id="id"
            )
            assert {"orderId": 1} == answer
            ((method, path, body),) = seen
            assert ("POST", "/fapi/v1/order") == (method, path)
            assert is_signed(body)
            with pytest.raises(VenueUnreachable, match="no answer within"):
                await rest.call("get_order", "futures_get_order", {"symbol": "X", "orderId": 1})
            assert is_signed(seen[1][1].partition("?")[2])
            with pytest.raises(VenueUnreachable):
                await nobody.call(
                    "place_order", "futures_create_order", ORDER, client_order_id="id"
                )
        finally:
            await rest.close()
            await nobody.close()
            await runner.cleanup()

    asyncio.run(main())
