"""TwinServer on loopback: the real python-binance client and raw WebSockets against the face."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.binance.face import BinanceFace
from aegis.twin.engine.api import TwinInstrument
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.venue_rules import BINANCE_RULES
from aegis.twin.face_api import StreamSession
from aegis.twin.server import TwinServer
from aegis.twin.tape.generate import generate_tape
from aegis.twin.tape.path import PricePath

AsyncClient = pytest.importorskip("binance").AsyncClient
BinanceAPIException = pytest.importorskip("binance.exceptions").BinanceAPIException

KEY, SECRET = "twinkey", "twinsecret"
START_NS = 1_760_000_000 * 1_000_000_000
PATIENCE_S = 10.0


def _engine() -> TwinEngine:
    tape = generate_tape("BTCUSDT", seed=3, start_ns=START_NS, days=0.1, start_price=50_000.0)
    instrument = TwinInstrument(
        symbol="BTCUSDT",
        base="BTC",
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.001"),
        qty_min=Decimal("0.001"),
        qty_max=Decimal(1000),
        market_qty_max=Decimal(120),
        notional_min=Decimal(50),
        leverage_max=125,
        maint_margin_rate=Decimal("0.004"),
        taker_fee_rate=Decimal("0.0005"),
        maker_fee_rate=Decimal("0.0002"),
        funding_interval_ns=8 * 3_600_000_000_000,
        liquidation_fee_rate=Decimal("0.0125"),
    )
    return TwinEngine(
        rules=BINANCE_RULES,
        instruments={"BTCUSDT": instrument},
        paths={"BTCUSDT": PricePath(tape)},
        start_ns=tape.first_ns,
        seed=3,
        options=EngineOptions(quote_interval_ns=100_000_000),
    )


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000  # noqa: TID251 - the SDK signs with the real clock


class Served:
    """A Binance face behind a server."""

    def __init__(self) -> None:
        self.engine = _engine()
        self.face = BinanceFace(self.engine, api_key=KEY, api_secret=SECRET, wall_ms=_wall_ms)
        self.requests = 0
        self.server = TwinServer(self.face, before_request=self._count)

    def _count(self) -> None:
        self.requests += 1

    async def sdk(self) -> Any:
        """Return a python-binance client that talks to the server (venues.md 4.2)."""
        url = self.server.url

        class LoopbackClient(AsyncClient):  # type: ignore[misc, valid-type] # the SDK has no types
            API_URL = url + "/api"
            FUTURES_URL = url + "/fapi"
            WS_FUTURES_URL = self.server.ws_url + "/ws-fapi/v1"

        return await LoopbackClient.create(KEY, SECRET)


def _run(scene: Callable[[Served], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        served = Served()
        await served.server.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scene(served)
        finally:
            await served.server.stop()

    asyncio.run(main())


def test_python_binance_places_orders_and_hears_the_user_stream() -> None:
    """A signed order, an algo stop and its user stream through SDK and socket (venues.md 1.4)."""

    async def scene(served: Served) -> None:
        client = await served.sdk()
        try:
            key = await client.futures_stream_get_listen_key()
            async with connect(f"{served.server.ws_url}/private/ws?listenKey={key}") as stream:
                entry = await client.futures_create_order(
                    symbol="BTCUSDT",
                    side="BUY",
                    type="MARKET",
                    quantity="0.02",
                    newClientOrderId="entry",
                )
                assert "NEW" == entry["status"]
                (risk,) = await client.futures_position_information(symbol="BTCUSDT")
                trigger = Decimal(risk["markPrice"]).quantize(Decimal("0.1")) - 10
                stop = await client.futures_create_order(
                    symbol="BTCUSDT",
                    side="SELL",
                    type="STOP_MARKET",
                    triggerPrice=str(trigger),
                    closePosition=True,
                    workingType="MARK_PRICE",
                    clientAlgoId="floor",
                )
                assert ("NEW", True) == (stop["algoStatus"], stop["closePosition"])
                served.engine.advance(served.engine.now_ns + 3_600_000_000_000)
                story: list[str] = []
                while not story or story[-1] != "ALGO_UPDATE FINISHED":
                    frame = json.loads(await stream.recv())
                    state = frame.get("o", {}).get("X", "") if "o" in frame else ""
                    story.append(f"{frame['e']} {state}".strip())
        finally:
            await client.close_connection()
        assert [
            "ORDER_TRADE_UPDATE NEW",
            "TRADE_LITE",
            "ORDER_TRADE_UPDATE FILLED",
            "ACCOUNT_UPDATE",
            "ALGO_UPDATE NEW",
            "ALGO_UPDATE TRIGGERING",
            "ORDER_TRADE_UPDATE NEW",
            "TRADE_LITE",
            "ORDER_TRADE_UPDATE FILLED",
            "ALGO_UPDATE TRIGGERED",
            "ALGO_UPDATE FINISHED",
        ] == story
        assert served.requests > 5

    _run(scene)


def test_python_binance_reads_account_and_raises_refusals() -> None:
    """The SDK's own decoding takes the answers; a refusal is its BinanceAPIException."""

    async def scene(served: Served) -> None:
        client = await served.sdk()
        try:
            assert [] == await client.futures_position_information()
            assert "10000.00000000" == (await client.futures_account_balance())[0]["balance"]
            assert "positions" in await client.futures_account()
            assert [] == await client.futures_get_open_orders(conditional=True)
            info = await client.futures_exchange_info()
            assert "BTCUSDT" == info["symbols"][0]["symbol"]
            assert (
                5
                == (await client.futures_change_leverage(symbol="BTCUSDT", leverage=5))["leverage"]
            )
            klines = await client.futures_klines(symbol="BTCUSDT", interval="5m", limit=2)
            assert all(len(row) == 12 for row in klines)
            with pytest.raises(BinanceAPIException) as caught:
                await client.futures_cancel_algo_order(clientAlgoId="nothing")
            assert -2011 == caught.value.code
        finally:
            await client.close_connection()

    _run(scene)


def test_order_entry_over_the_websocket_api_as_the_sdk_signs_it() -> None:
    """/ws-fapi/v1 takes what python-binance signs; its own socket takes 10 s to close (4.3)."""

    async def scene(served: Served) -> None:
        client = await served.sdk()
        try:
            async with connect(f"{served.server.ws_url}/ws-fapi/v1") as stream:

                async def ask(method: str, **params: Any) -> dict[str, Any]:
                    signed = client._sign_ws_params(params, client._generate_signature)
                    request = {"id": "one", "method": method, "params": signed}
                    await stream.send(json.dumps(request))
                    answer = json.loads(await stream.recv())
                    assert (200, "one") == (answer["status"], answer["id"]), answer
                    result: dict[str, Any] = answer["result"]
                    return result

                order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET"}
                placed = await ask("order.place", **order, quantity="0.02")
                assert "NEW" == placed["status"]
                stop = await ask(
                    "algoOrder.place",
                    algoType="CONDITIONAL",
                    symbol="BTCUSDT",
                    side="SELL",
                    type="STOP_MARKET",
                    triggerPrice="40000",
                    closePosition=True,
                    clientAlgoId="over-ws",
                )
                assert "over-ws" == stop["clientAlgoId"]
        finally:
            await client.close_connection()

    _run(scene)


def test_bytes_arrive_as_they_were_sent() -> None:
    """Percent-encoding in either case reaches the signature check unchanged (venues.md 2.2)."""

    async def scene(served: Served) -> None:
        text = f"newClientOrderId=a%3Ab%3aC&symbol=BTC%55SDT&timestamp={_wall_ms()}"
        signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        host, port = served.server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"GET /fapi/v1/openOrders?{text}&signature={signature} HTTP/1.1\r\n"
            f"Host: twin\r\nX-MBX-APIKEY: {KEY}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"HTTP/1.1 200" in head
        assert b"x-mbx-used-weight-1m: 1" in head.lower()
        assert b"[]" == body

    _run(scene)


def test_market_stream_pings_and_unknown_paths() -> None:
    """Subscribed frames arrive, a control ping is answered, a wrong path is 404."""

    async def scene(served: Served) -> None:
        url = served.server.ws_url
        async with connect(f"{url}/public/ws/1") as stream:
            await stream.send('{"method":"SUBSCRIBE","params":["btcusdt@bookTicker"],"id":1}')
            assert {"result": None, "id": 1} == json.loads(await stream.recv())
            served.engine.advance(served.engine.now_ns + 1_000_000_000)
            assert "bookTicker" == json.loads(await stream.recv())["e"]
            await (await stream.ping())
        with pytest.raises(InvalidStatus):
            await connect(f"{url}/v5/private")

    _run(scene)


class FloodFace:
    """A face that sends what it is told on its one stream."""

    name = "flood"

    def __init__(self) -> None:
        self.send: Callable[[bytes], None] = lambda _: None
        self.close: Callable[[str], None] = lambda _: None
        self.gone = asyncio.Event()

    def http(self, request: HttpRequest) -> HttpResponse:
        """Lose every answer."""
        raise ConnectionResetError("lost")

    def open_stream(
        self, target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
    ) -> StreamSession | None:
        """Open any path."""
        self.send, self.close = send, close
        return self

    def on_message(self, text: str) -> None:
        """Ignore it."""

    def on_closed(self) -> None:
        """Note the end."""
        self.gone.set()


def _run_flood(scene: Callable[[FloodFace, TwinServer], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        face = FloodFace()
        server = TwinServer(face)
        await server.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scene(face, server)
        finally:
            await server.stop()

    asyncio.run(main())


def test_a_client_too_far_behind_is_cut_off() -> None:
    """More than 100 000 frames behind, the connection is dropped and the face is told."""

    async def scene(face: FloodFace, server: TwinServer) -> None:
        async with connect(f"{server.ws_url}/any") as stream:
            for _ in range(100_001):
                face.send(b"{}")
            with pytest.raises(ConnectionClosed):
                await stream.recv()
        await face.gone.wait()

    _run_flood(scene)


def test_a_close_of_the_venue_follows_the_queued_frames() -> None:
    """Frames queued before a close arrive before it, in order."""

    async def scene(face: FloodFace, server: TwinServer) -> None:
        async with connect(f"{server.ws_url}/any") as stream:
            for number in range(100):
                face.send(str(number).encode())
            face.close("24 hours")
            heard = [message async for message in stream]
        assert [str(number) for number in range(100)] == heard
        assert (1000, "24 hours") == (stream.close_code, stream.close_reason)

    _run_flood(scene)


def test_a_lost_answer_is_a_cut_connection() -> None:
    """A fault seam's ConnectionError reaches the client as a connection without an answer."""

    async def scene(face: FloodFace, server: TwinServer) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: twin\r\n\r\n")
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        assert b"" == answer
        writer.close()

    _run_flood(scene)
