"""The real pybit client against the twin's Bybit face, called inline through a mounted adapter."""

import io
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import requests
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP
from requests.adapters import BaseAdapter
from tests.unit.twin.bybit_world import KEY, SECRET, START_NS, engine_of

from aegis.core.clock import LiveClock
from aegis.core.transport import HttpRequest
from aegis.model.market import MINUTE_NS
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.engine import TwinEngine


class FaceAdapter(BaseAdapter):
    """Answers a requests session from a face."""

    def __init__(self, face: BybitFace) -> None:
        super().__init__()
        self._face = face

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        body = request.body or b""
        answer = self._face.http(
            HttpRequest(
                method=request.method or "GET",
                target=request.path_url,
                headers={str(k).lower(): str(v) for k, v in request.headers.items()},
                body=body.encode() if isinstance(body, str) else bytes(body),
            )
        )
        response = requests.Response()
        response.status_code = answer.status
        response.headers.update(answer.headers)
        response.raw = io.BytesIO(answer.body)
        response.url = request.url or ""
        response.request = request
        return response

    def close(self) -> None:
        """Hold nothing."""


def client_of(engine: TwinEngine) -> Any:
    """Return a pybit client whose requests the face answers; its own retries are off."""
    clock = LiveClock()
    face = BybitFace(
        engine, api_key=KEY, api_secret=SECRET, wall_ms=lambda: clock.wall_ns() // 1_000_000
    )
    client = HTTP(api_key=KEY, api_secret=SECRET, max_retries=1, retry_codes={-1})
    client.client.mount("https://", FaceAdapter(face))
    return client


def rows(answer: Any) -> list[dict[str, Any]]:
    """Return the list of an answer."""
    assert answer["retCode"] == 0, answer
    return list(answer["result"]["list"])


def enter(client: Any, **more: str) -> str:
    """Buy 1 BTC at market with stop and target attached; return the orderId."""
    answer = client.place_order(
        category="linear",
        symbol="BTCUSDT",
        side="Buy",
        orderType="Market",
        qty="1",
        orderLinkId="aegis-1-EN",
        stopLoss="950",
        takeProfit="1100",
        slTriggerBy="MarkPrice",
        tpTriggerBy="MarkPrice",
        tpslMode="Full",
        positionIdx=0,
        **more,
    )
    return str(answer["result"]["orderId"])


def test_a_trade_from_the_first_look_to_flat() -> None:
    """pybit, unmodified, enters protected, moves its stop, closes, and nothing is left (R38)."""
    client = client_of(engine_of(1000.0, 1000.0))
    there = {"category": "linear", "symbol": "BTCUSDT"}

    instrument = rows(client.get_instruments_info(**there))[0]
    assert ("0.1", "0.001") == (
        instrument["priceFilter"]["tickSize"],
        instrument["lotSizeFilter"]["qtyStep"],
    )
    wallet = rows(client.get_wallet_balance(accountType="UNIFIED"))[0]
    assert ("10000", "") == (wallet["totalWalletBalance"], wallet["totalAvailableBalance"])
    client.set_leverage(**there, buyLeverage="10", sellLeverage="10")
    with pytest.raises(InvalidRequestError, match="leverage not modified"):
        client.set_leverage(**there, buyLeverage="10", sellLeverage="10")

    order_id = enter(client)

    position = rows(client.get_positions(**there))[0]
    assert ("Buy", "1", "10") == (position["side"], position["size"], position["leverage"])
    assert ("950", "1100") == (position["stopLoss"], position["takeProfit"])
    children = rows(client.get_open_orders(**there))
    assert {"StopLoss", "TakeProfit"} == {child["stopOrderType"] for child in children}
    for child in children:
        assert ("Untriggered", "", "aegis-1-EN", "1", "Sell", True) == (
            child["orderStatus"],
            child["orderLinkId"],
            child["parentOrderLinkId"],
            child["qty"],
            child["side"],
            child["reduceOnly"],
        )

    stop = {"slTriggerBy": "MarkPrice", "tpslMode": "Full", "positionIdx": 0}
    client.set_trading_stop(**there, stopLoss="970", **stop)
    assert "970" == rows(client.get_positions(**there))[0]["stopLoss"]
    with pytest.raises(InvalidRequestError) as caught:
        client.set_trading_stop(**there, stopLoss="970", **stop)
    assert 34040 == caught.value.status_code
    assert {child["orderId"] for child in children} == {
        child["orderId"] for child in rows(client.get_open_orders(**there))
    }

    client.place_order(
        **there,
        side="Sell",
        orderType="Market",
        qty="1",
        reduceOnly=True,
        orderLinkId="aegis-1-CF",
    )

    assert [] == rows(client.get_open_orders(category="linear", settleCoin="USDT"))
    assert [] == rows(client.get_positions(category="linear", settleCoin="USDT"))
    flat = rows(client.get_positions(**there))[0]
    assert ("", "0", "") == (flat["side"], flat["size"], flat["stopLoss"])
    history = {row["orderId"]: row for row in rows(client.get_order_history(**there))}
    assert ("Filled", "aegis-1-EN") == (
        history[order_id]["orderStatus"],
        history[order_id]["orderLinkId"],
    )
    assert {"CancelByTpSlTsClear"} == {
        history[child["orderId"]]["cancelType"] for child in children
    }
    fills = rows(client.get_executions(**there))
    assert ["Sell", "Buy"] == [fill["side"] for fill in fills]
    closed = rows(client.get_closed_pnl(**there))[0]
    paid = Decimal(rows(client.get_wallet_balance(accountType="UNIFIED"))[0]["totalEquity"])
    assert Decimal(closed["closedPnl"]) == paid - 10_000


def refusal(client: Any, **changes: object) -> tuple[int, str]:
    """Place an order that must be refused; return code and text."""
    order = {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Market",
        "qty": "1",
        **changes,
    }
    with pytest.raises(InvalidRequestError) as caught:
        client.place_order(**order)
    return caught.value.status_code, caught.value.message


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        (
            {"stopLoss": "1200"},
            10001,
            "StopLoss:120000000000 set for Buy position should lower than base_price:100000000000",
        ),
        ({"positionIdx": 1}, 10001, "position idx not match position mode"),
        ({"qty": "40"}, 110007, "ab not enough"),
        ({"qty": "0.001"}, 110094, "minimum order value"),
        ({"qty": "0.0015"}, 10001, "Qty invalid"),
        ({"side": "Sell", "reduceOnly": True}, 110017, "current position is zero"),
        ({"symbol": "NOUSDT"}, 10001, "symbol invalid"),
        ({"category": "spot"}, 10001, "Illegal category"),
        ({"orderType": "Limit", "price": "999.95"}, 10001, "Price invalid"),
        (
            {"triggerPrice": "990", "triggerDirection": 1, "triggerBy": "MarkPrice"},
            110092,
            "expect Rising",
        ),
        ({"triggerPrice": "1010", "triggerDirection": 2}, 110093, "expect Falling"),
        ({"triggerPrice": "1010"}, 10001, "TriggerDirection invalid"),
        ({"stopLoss": "950", "tpslMode": "Half"}, 10001, "tpslMode invalid"),
    ],
)
def test_a_refused_order_names_its_reason(changes: dict[str, object], code: int, text: str) -> None:
    """Each refusal has the venue's code and words (R60, venues.md 3.8)."""
    client = client_of(engine_of(1000.0))
    client.set_leverage(category="linear", symbol="BTCUSDT", buyLeverage="1", sellLeverage="1")

    told_code, told_text = refusal(client, **changes)

    assert code == told_code
    assert text in told_text


def test_a_repeated_order_link_id_is_110072() -> None:
    """The same orderLinkId never makes a second order, even after the first is done (R30)."""
    client = client_of(engine_of(1000.0))
    enter(client)

    assert 110072 == refusal(client, orderLinkId="aegis-1-EN")[0]


def test_trading_stop_without_a_position_is_10001() -> None:
    """A stop cannot be set before the position exists (venues.md 5.2)."""
    client = client_of(engine_of(1000.0))

    with pytest.raises(InvalidRequestError, match="can not set tp/sl/ts for zero position"):
        client.set_trading_stop(
            category="linear", symbol="BTCUSDT", stopLoss="950", tpslMode="Full", positionIdx=0
        )


def test_conditional_orders_are_amended_canceled_and_survive_a_close() -> None:
    """A conditional reduce-only order keeps its id when amended and outlives the position."""
    client = client_of(engine_of(1000.0))
    there = {"category": "linear", "symbol": "BTCUSDT"}
    enter(client)
    rung = client.place_order(
        **there,
        side="Sell",
        orderType="Market",
        qty="0.5",
        reduceOnly=True,
        triggerPrice="1050",
        triggerDirection=1,
        triggerBy="MarkPrice",
        orderLinkId="aegis-1-TP",
    )["result"]["orderId"]
    client.amend_order(**there, orderLinkId="aegis-1-TP", triggerPrice="1060")
    row = rows(client.get_open_orders(**there, orderLinkId="aegis-1-TP"))[0]
    assert (rung, "1060", "Stop", 1, "Untriggered") == (
        row["orderId"],
        row["triggerPrice"],
        row["stopOrderType"],
        row["triggerDirection"],
        row["orderStatus"],
    )

    client.place_order(
        **there, side="Sell", orderType="Market", qty="0", reduceOnly=True, closeOnTrigger=True
    )

    assert [rung] == [order["orderId"] for order in rows(client.get_open_orders(**there))]
    client.cancel_order(**there, orderId=rung)
    with pytest.raises(InvalidRequestError) as caught:
        client.cancel_order(**there, orderId=rung)
    assert 110001 == caught.value.status_code


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({}, set()),
        ({"orderFilter": "Order"}, {"StopLoss", "TakeProfit", "Stop"}),
        ({"orderFilter": "StopOrder"}, {""}),
        ({"orderFilter": "StopOrder", "stopOrderType": "Stop"}, {"StopLoss", "TakeProfit", ""}),
    ],
)
def test_cancel_all_takes_the_stops_unless_told_otherwise(
    filters: dict[str, str], left: set[str]
) -> None:
    """Without orderFilter the position's stop and target go too (venues.md 5.2, 5)."""
    client = client_of(engine_of(1000.0))
    there = {"category": "linear", "symbol": "BTCUSDT"}
    enter(client)
    client.place_order(**there, side="Buy", orderType="Limit", qty="0.1", price="900")
    client.place_order(
        **there,
        side="Sell",
        orderType="Market",
        qty="0.1",
        reduceOnly=True,
        triggerPrice="1050",
        triggerDirection=1,
    )

    client.cancel_all_orders(**there, **filters)

    assert left == {order["stopOrderType"] for order in rows(client.get_open_orders(**there))}


def test_pages_of_orders_follow_the_cursor() -> None:
    """Every open order is on exactly one page, newest first (R30)."""
    client = client_of(engine_of(1000.0))
    there = {"category": "linear", "symbol": "BTCUSDT"}
    placed = [
        client.place_order(**there, side="Buy", orderType="Limit", qty="0.1", price=str(900 + n))[
            "result"
        ]["orderId"]
        for n in range(5)
    ]

    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = client.get_open_orders(**there, limit=2, cursor=cursor or None)
        seen += [order["orderId"] for order in rows(page)]
        cursor = page["result"]["nextPageCursor"]

    assert "" == cursor
    assert placed[::-1] == seen


def test_the_market_is_told_the_way_the_venue_does() -> None:
    """Bars come newest first as text, the book best first, the time from the wall clock."""
    engine = engine_of(1000.0, 1010.0, 1020.0)
    client = client_of(engine)
    engine.advance(START_NS + 2 * MINUTE_NS + MINUTE_NS // 2)

    bars: list[Any] = rows(client.get_kline(category="linear", symbol="BTCUSDT", interval="1"))
    book = client.get_orderbook(category="linear", symbol="BTCUSDT", limit=5)["result"]
    ticker = rows(client.get_tickers(category="linear", symbol="BTCUSDT"))[0]

    starts = [int(bar[0]) for bar in bars]
    assert sorted(starts, reverse=True) == starts
    assert ["1000.0", "1010.0", "1000.0", "1010.0"] == bars[1][1:5]
    assert float(book["b"][0][0]) < float(book["a"][0][0])
    assert (book["b"][0][0], book["a"][0][0]) == (ticker["bid1Price"], ticker["ask1Price"])
    assert [] == rows(client.get_instruments_info(category="spot"))
    assert 0 < int(client.get_server_time()["result"]["timeSecond"])
    for answer in (
        client.get_risk_limit(category="linear", symbol="BTCUSDT"),
        client.get_fee_rates(category="linear", symbol="BTCUSDT"),
    ):
        assert "BTCUSDT" == rows(answer)[0]["symbol"]
    assert [] == rows(client.get_public_trade_history(category="linear", symbol="BTCUSDT"))
    assert [] == rows(client.get_funding_rate_history(category="linear", symbol="BTCUSDT"))


def test_the_account_is_told_the_way_the_venue_does() -> None:
    """Modes and key are those of a unified one-way account with isolated margin."""
    client = client_of(engine_of(1000.0))

    assert "ISOLATED_MARGIN" == client.get_account_info()["result"]["marginMode"]
    assert 1 == client.get_api_key_information()["result"]["uta"]
    with pytest.raises(InvalidRequestError) as caught:
        client.switch_position_mode(category="linear", symbol="BTCUSDT", mode=0)
    assert 110025 == caught.value.status_code
    client.set_margin_mode(setMarginMode="REGULAR_MARGIN")
    assert "REGULAR_MARGIN" == client.get_account_info()["result"]["marginMode"]
    wallet = rows(client.get_wallet_balance(accountType="UNIFIED"))[0]
    assert "10000" == wallet["totalAvailableBalance"]


def test_a_wrong_secret_is_refused() -> None:
    """An unsigned or wrongly signed request changes nothing (10004)."""
    client = client_of(engine_of(1000.0))
    client.api_secret = "another"

    with pytest.raises(InvalidRequestError) as caught:
        client.get_positions(category="linear", symbol="BTCUSDT")

    assert 10004 == caught.value.status_code
