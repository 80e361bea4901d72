"""python-binance's sockets, as installed: the user stream, market streams, order entry."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

BTC = {"symbol": "BTCUSDT"}
MARKET_BUY = {**BTC, "side": "BUY", "type": "MARKET", "quantity": "0.02"}
LIMIT_BUY = {**BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
STOP_SELL = {**BTC, "side": "SELL", "type": "STOP_MARKET", "closePosition": "true"}
PATIENCE_S = 10.0
QUIET_S = 0.2
"""SDK fault: closing a quiet socket waits for its next message, at most TIMEOUT (10 s)."""

Journey = Callable[[Any, Any], Awaitable[None]]


def travel(sdk: dict[str, Any], journey: Journey) -> None:
    """Run *journey* with an asynchronous client and its socket manager, both closed after."""

    async def run() -> None:
        client = await sdk["TwinAsyncClient"].create(sdk["KEY"], sdk["SECRET"])
        client.ws_future.TIMEOUT = 1.0
        try:
            await journey(client, sdk["TwinSockets"](client, max_queue_size=100_000))
        finally:
            # SDK fault: close_connection() leaves the order entry socket open (venues.md 4.3).
            if client.ws_future.ws is not None:
                await client.ws_future.__aexit__(None, None, None)
            await client.close_connection()

    asyncio.run(run())


def opened(socket: Any) -> Any:
    """Return *socket*, told to look every QUIET_S whether it was closed."""
    socket.TIMEOUT = QUIET_S
    return socket


async def hear(socket: Any, enough: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return what *socket* brings, up to the first message that is *enough*."""
    heard: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not heard or not enough(heard[-1]):
            message = await socket.recv()
            heard.append(message.get("data", message))
    return heard


def test_python_binance_user_stream_tells_a_trade(twin: Any, binance_sdk: dict[str, Any]) -> None:
    """Entry, stop and the stop's fill come in the venue's order and shapes (venues.md 1.4)."""

    async def journey(client: Any, sockets: Any) -> None:
        async with opened(sockets.futures_user_socket()) as user:
            await client.futures_create_order(**MARKET_BUY)
            await client.futures_create_order(
                **STOP_SELL, triggerPrice="49500", clientAlgoId="stop-1"
            )
            twin.move(3)

            def flat(event: dict[str, Any]) -> bool:
                rows = event["a"]["P"] if event["e"] == "ACCOUNT_UPDATE" else []
                return bool(rows) and rows[0]["pa"] == "0"

            events = await hear(user, flat)
        told = [
            (event["e"], event.get("o", {}).get("x", ""), event.get("o", {}).get("X", ""))
            for event in events
            if event["e"] not in {"TRADE_LITE", "ACCOUNT_UPDATE"}
        ]
        assert [
            ("ORDER_TRADE_UPDATE", "NEW", "NEW"),
            ("ORDER_TRADE_UPDATE", "TRADE", "FILLED"),
            ("ALGO_UPDATE", "", "NEW"),
            ("ALGO_UPDATE", "", "TRIGGERING"),
            ("ORDER_TRADE_UPDATE", "NEW", "NEW"),
            ("ORDER_TRADE_UPDATE", "TRADE", "FILLED"),
            ("ALGO_UPDATE", "", "TRIGGERED"),
            ("ALGO_UPDATE", "", "FINISHED"),
        ] == told
        fill = next(e["o"] for e in reversed(events) if e["e"] == "ORDER_TRADE_UPDATE")
        assert ("stop-1", "MARKET", "ALGO_CONDITION") == (fill["c"], fill["o"], fill["st"])

    travel(binance_sdk, journey)


def test_python_binance_market_streams(twin: Any, binance_sdk: dict[str, Any]) -> None:
    """
    Every futures socket of the SDK brings its messages on the path it chooses.

    kline_futures_socket asks for the continuous contract (venues.md 4.1).
    """

    async def journey(client: Any, sockets: Any) -> None:
        del client
        streams = {
            "markPriceUpdate": sockets.symbol_mark_price_socket("BTCUSDT"),
            "bookTicker": sockets.symbol_ticker_futures_socket("BTCUSDT"),
            "aggTrade": sockets.aggtrade_futures_socket("BTCUSDT"),
            "depthUpdate": sockets.futures_depth_socket("BTCUSDT"),
            "continuous_kline": sockets.kline_futures_socket("BTCUSDT"),
            "kline": sockets.futures_multiplex_socket(["btcusdt@kline_1m"]),
            "24hrTicker": sockets.futures_multiplex_socket(["btcusdt@ticker"]),
        }
        for socket in streams.values():
            await opened(socket).__aenter__()
        twin.move(3)
        for kind, socket in streams.items():
            first = (await hear(socket, lambda _: True))[0]
            assert kind == first["e"]
            await socket.__aexit__(None, None, None)

    travel(binance_sdk, journey)


def test_python_binance_multiplex_defaults_to_the_wrong_category(
    twin: Any, binance_sdk: dict[str, Any]
) -> None:
    """SDK fault: a bookTicker in a multiplex socket is silent without category (venues.md 4.1)."""

    async def journey(client: Any, sockets: Any) -> None:
        del client
        wrong = sockets.futures_multiplex_socket(["btcusdt@bookTicker"])
        right = sockets.futures_multiplex_socket(["ethusdt@bookTicker"], category="public")
        async with opened(wrong) as silent, opened(right) as speaking:
            twin.move(1)
            assert "bookTicker" == (await hear(speaking, lambda _: True))[0]["e"]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(silent.recv(), 0.05)

    travel(binance_sdk, journey)


def test_python_binance_enters_orders_over_the_socket(binance_sdk: dict[str, Any]) -> None:
    """Orders are placed, changed, read and canceled over ws-fapi, stops routed to algoOrder."""

    async def journey(client: Any, sockets: Any) -> None:
        del sockets
        await client.ws_futures_create_order(**MARKET_BUY)
        stop = await client.ws_futures_create_order(
            **STOP_SELL, triggerPrice="49500", clientAlgoId="ws-stop"
        )
        assert ("ws-stop", "NEW") == (stop["clientAlgoId"], stop["algoStatus"])
        limit = await client.ws_futures_create_order(**LIMIT_BUY, price="48000")
        named = {**BTC, "orderId": limit["orderId"]}
        changed = await client.ws_futures_edit_order(
            **named, side="BUY", quantity="0.02", price="48100"
        )
        assert ("48100.0", "0.020") == (changed["price"], changed["origQty"])
        assert "NEW" == (await client.ws_futures_get_order(**named))["status"]
        assert "CANCELED" == (await client.ws_futures_cancel_order(**named))["status"]
        position = (await client.ws_futures_v2_account_position())[0]
        assert "0.020" == position["positionAmt"]
        assert (
            "success" == (await client.ws_futures_cancel_algo_order(clientAlgoId="ws-stop"))["msg"]
        )
        with pytest.raises(binance_sdk["Refusal"], match="-2011"):
            await client.ws_futures_cancel_order(**named)

    travel(binance_sdk, journey)
