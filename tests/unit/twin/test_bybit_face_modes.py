"""The Bybit face in hedge mode, and its partial and trailing protection."""

import hashlib
import hmac
import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from aegis.core.transport import HttpRequest
from aegis.twin.bybit.face import BybitFace
from aegis.twin.bybit.limits import RateLimits

if TYPE_CHECKING:
    from tests.unit.twin.conftest import EngineRig

MakeRig = Callable[..., "EngineRig"]
WALL_MS = 1_763_640_000_000
KEY, SECRET = "twin-key", "twin-secret"
UP = (50_000.0, 51_000.0, 52_000.0, 52_000.0)
FALL = (50_000.0, 50_000.0, 49_000.0, 49_000.0, 49_000.0)


class Client:
    """Signs and sends requests; *heard* are the private rows by topic, as they came."""

    def __init__(self, rig: "EngineRig", **options: Any) -> None:
        self.rig = rig
        self.face = BybitFace(
            rig.engine, api_key=KEY, api_secret=SECRET, wall_ms=lambda: WALL_MS, **options
        )
        self.heard: list[tuple[str, dict[str, Any]]] = []
        session = self.face.open_stream("/v5/private", send=self._hear, close=print)
        assert session is not None
        expires = WALL_MS + 1000
        args = [KEY, expires, self._sign(f"GET/realtime{expires}")]
        session.on_message(json.dumps({"op": "auth", "args": args}))
        topics = ["order", "execution", "position"]
        session.on_message(json.dumps({"op": "subscribe", "args": topics}))

    def _hear(self, raw: bytes) -> None:
        frame = json.loads(raw)
        if "topic" in frame:
            self.heard += [(frame["topic"], row) for row in frame["data"]]

    @staticmethod
    def _sign(text: str, secret: str = SECRET) -> str:
        return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    def _send(
        self,
        method: str,
        target: str,
        payload: str,
        *,
        stamp_ms: int = WALL_MS,
        key: str = KEY,
        secret: str = SECRET,
    ) -> dict[str, Any]:
        headers = {
            "x-bapi-api-key": key,
            "x-bapi-timestamp": str(stamp_ms),
            "x-bapi-recv-window": "5000",
            "x-bapi-sign": self._sign(f"{stamp_ms}{key}5000{payload}", secret),
        }
        body = b"" if method == "GET" else payload.encode()
        request = HttpRequest(method=method, target=target, headers=headers, body=body)
        answer: dict[str, Any] = json.loads(self.face.http(request).body)
        return answer

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """POST and return the envelope."""
        raw = json.dumps({"category": "linear", "symbol": "BTCUSDT", **body})
        return self._send("POST", f"/v5/{path}", raw)

    def post_at(self, stamp_ms: int, *, key: str = KEY, secret: str = SECRET) -> dict[str, Any]:
        """POST cancel-all with another time, key or secret."""
        raw = json.dumps({"category": "linear", "symbol": "BTCUSDT"})
        path = "/v5/order/cancel-all"
        return self._send("POST", path, raw, stamp_ms=stamp_ms, key=key, secret=secret)

    def rows(self, path: str, query: str = "symbol=BTCUSDT") -> list[dict[str, Any]]:
        """GET and return the rows."""
        text = f"category=linear&{query}"
        answer = self._send("GET", f"/v5/{path}?{text}", text)
        assert 0 == answer["retCode"], answer
        found: list[dict[str, Any]] = answer["result"]["list"]
        return found

    def market(self, side: str, qty: str, **fields: Any) -> dict[str, Any]:
        """Place a market order."""
        return self.post("order/create", side=side, orderType="Market", qty=qty, **fields)

    def protect(self, **fields: Any) -> dict[str, Any]:
        """POST trading-stop, Full and one-way unless told otherwise."""
        return self.post(
            "position/trading-stop", **{"positionIdx": 0, "tpslMode": "Full", **fields}
        )


@pytest.fixture
def make_client(make_engine_rig: MakeRig) -> Callable[..., Client]:
    """Return the maker of clients on markets of their own."""
    return lambda prices=FALL, **options: Client(make_engine_rig("bybit", prices), **options)


@pytest.fixture
def hedged(make_client: Callable[..., Client]) -> Client:
    """Return a client in hedge mode with 0.2 long and 0.1 short."""
    client = make_client()
    assert 0 == client.post("position/switch-mode", mode=3)["retCode"]
    assert 0 == client.market("Buy", "0.2", positionIdx=1)["retCode"]
    assert 0 == client.market("Sell", "0.1", positionIdx=2)["retCode"]
    return client


def test_the_mode_is_switched_when_nothing_is_open(make_client: Callable[..., Client]) -> None:
    """110025 unchanged, 110024 with a position, 110028 with orders (venues.md 3.6)."""
    client = make_client()

    def switch(mode: int) -> int:
        code: int = client.post("position/switch-mode", mode=mode)["retCode"]
        return code

    assert 110025 == switch(0)
    client.market("Buy", "0.1")
    assert 110024 == switch(3)
    client.market("Sell", "0.1", reduceOnly=True)
    limit = {"side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "45000"}
    client.post("order/create", **limit)
    assert 110028 == switch(3)
    client.post("order/cancel-all")
    assert (0, 110025) == (switch(3), switch(3))


def test_positions_and_rows_carry_their_index(hedged: Client) -> None:
    """Two rows a symbol; orders, executions' orders and the stream name the index (3.6, 3.7)."""
    rows = hedged.rows("position/list")
    assert [(1, "Buy", "0.2"), (2, "Sell", "0.1")] == [
        (row["positionIdx"], row["side"], row["size"]) for row in rows
    ]
    assert rows == hedged.rows("position/list", "settleCoin=USDT")
    assert [2, 1] == [row["positionIdx"] for row in hedged.rows("order/history")]
    told = {row["positionIdx"] for topic, row in hedged.heard if topic == "position"}
    assert {1, 2} == told


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 10001),
        ({"positionIdx": 0}, 10001),
        ({"positionIdx": 3}, 10001),
        ({"positionIdx": 1, "reduceOnly": True}, 110017),
        ({"positionIdx": 2, "qty": "0.2"}, 110017),
    ],
)
def test_orders_must_match_their_side(hedged: Client, fields: dict[str, Any], code: int) -> None:
    """A wrong index, a reduce-only buy of the long, closing too much are refused (3.3)."""
    assert code == hedged.market("Buy", **{"qty": "0.1", **fields})["retCode"]


def test_protection_and_leverage_are_by_side(hedged: Client) -> None:
    """A stop of the short alone; each side has a leverage of its own (3.4, 3.6)."""
    assert 0 == hedged.protect(positionIdx=2, stopLoss="51000")["retCode"]
    lever = {"buyLeverage": "10", "sellLeverage": "5"}
    assert 0 == hedged.post("position/set-leverage", **lever)["retCode"]
    assert 110043 == hedged.post("position/set-leverage", **lever)["retCode"]
    long, short = hedged.rows("position/list")

    assert ("", "51000") == (long["stopLoss"], short["stopLoss"])
    assert ("10", "5") == (long["leverage"], short["leverage"])


def test_partial_stops_are_added_with_a_size(make_client: Callable[..., Client]) -> None:
    """Two calls make two pairs; the fired stop cancels its own target alone (3.4, 3.5)."""
    client = make_client()
    client.market("Buy", "0.3")
    pair = {"tpslMode": "Partial", "stopLoss": "49500", "takeProfit": "52000"}
    assert 0 == client.protect(**pair, slSize="0.1", tpSize="0.1")["retCode"]
    later = {**pair, "stopLoss": "48000"}
    assert 0 == client.protect(**later, slSize="0.2", tpSize="0.2")["retCode"]
    uneven = client.protect(**pair, slSize="0.1", tpSize="0.2")
    waiting = client.rows("order/realtime")
    client.rig.at(130)
    told = [row for topic, row in client.heard if topic == "order"]
    fired = next(row for row in told if row["orderStatus"] == "Filled" and row["stopOrderType"])
    gone = next(row for row in told if row["cancelType"].startswith("CancelByOCO"))

    assert 10001 == uneven["retCode"]
    assert ["PartialTakeProfit", "PartialStopLoss"] * 2 == [row["stopOrderType"] for row in waiting]
    assert {"Partial"} == {row["tpslMode"] for row in waiting}
    assert ("PartialStopLoss", "CreateByPartialStopLoss", "0.1") == (
        fired["stopOrderType"],
        fired["createType"],
        fired["cumExecQty"],
    )
    assert "CancelByOCOTpCanceledBySlTriggered" == gone["cancelType"]
    assert 2 == len(client.rows("order/realtime"))


def test_the_twenty_first_partial_is_refused(make_client: Callable[..., Client]) -> None:
    """110061 beyond twenty of a symbol (venues.md 3.3)."""
    client = make_client()
    client.market("Buy", "0.3")
    stop = {"tpslMode": "Partial", "stopLoss": "48000", "slSize": "0.01"}
    codes = [client.protect(**stop)["retCode"] for _ in range(21)]

    assert [0] * 20 + [110061] == codes


def test_an_entry_carries_partials_with_limits(make_client: Callable[..., Client]) -> None:
    """tpslMode Partial attaches a limit target of the order's own quantity (3.3)."""
    client = make_client()
    entry = {
        "tpslMode": "Partial",
        "takeProfit": "51000",
        "tpOrderType": "Limit",
        "tpLimitPrice": "50990",
        "stopLoss": "49000",
    }
    assert 0 == client.market("Buy", "0.2", orderLinkId="entry-1", **entry)["retCode"]
    target, stop = client.rows("order/realtime")

    assert ("Limit", "50990", "0.2") == (target["orderType"], target["price"], target["qty"])
    assert ("Market", "entry-1") == (stop["orderType"], stop["parentOrderLinkId"])
    full = client.market("Buy", "0.2", **{**entry, "tpslMode": "Full"})
    assert 10001 == full["retCode"]


def test_a_trailing_stop_waits_follows_and_is_told(make_client: Callable[..., Client]) -> None:
    """Untriggered anew at each move; the position shows distance and activation (3.4, 3.5)."""
    client = make_client(UP)
    client.market("Buy", "0.1")
    wrong = client.protect(trailingStop="500", activePrice="49000")
    assert 0 == client.protect(trailingStop="500", activePrice="50500")["retCode"]
    assert 34040 == client.protect(trailingStop="500")["retCode"]
    row = client.rows("position/list")[0]
    client.heard.clear()
    client.rig.at(115)
    moves = [one["triggerPrice"] for topic, one in client.heard if topic == "order"]
    (order,) = client.rows("order/realtime")

    assert 10001 == wrong["retCode"]
    assert ("500", "50500") == (row["trailingStop"], row["activePrice"])
    assert ["50000", "50500", "51500"] == moves
    assert ("TrailingStop", "CreateByTrailingStop") == (
        order["stopOrderType"],
        order["createType"],
    )
    assert 0 == client.protect(trailingStop="0")["retCode"]
    assert [] == client.rows("order/realtime")


def test_an_orders_protection_is_amended(make_client: Callable[..., Client]) -> None:
    """order/amend moves and takes off what a resting entry will arm (venues.md 3.6)."""
    client = make_client()
    limit = {"side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "49500"}
    named = {"orderLinkId": "limit-1"}
    client.post("order/create", **limit, **named, stopLoss="49000", takeProfit="52000")
    wrong = client.post("order/amend", **named, stopLoss="49600")
    assert 0 == client.post("order/amend", **named, stopLoss="48900", takeProfit="0")["retCode"]
    row = client.rows("order/realtime")[0]
    client.rig.at(130)

    assert 10001 == wrong["retCode"]
    assert ("48900", "") == (row["stopLoss"], row["takeProfit"])
    assert [("StopLoss", "48900")] == [
        (one["stopOrderType"], one["triggerPrice"]) for one in client.rows("order/realtime")
    ]


def test_a_conditional_limit_rests_after_its_trigger(make_client: Callable[..., Client]) -> None:
    """Untriggered, Triggered, New under one id (venues.md 3.5)."""
    client = make_client()
    client.market("Buy", "0.1")
    stop = {"triggerPrice": "49500", "triggerDirection": 2, "reduceOnly": True}
    limit = {"side": "Sell", "orderType": "Limit", "qty": "0.1", "price": "49900"}
    client.post("order/create", **limit, **stop, orderLinkId="stop-1")
    client.rig.at(130)
    states = [
        row["orderStatus"]
        for topic, row in client.heard
        if topic == "order" and row["orderLinkId"] == "stop-1"
    ]

    assert ["Untriggered", "Triggered", "New"] == states
    assert "49900" == client.rows("order/realtime")[0]["price"]


def test_risk_limits_are_by_tier(make_client: Callable[..., Client]) -> None:
    """Tiers rise in the list; too large an order is 110090, too high a leverage 110013 (3.8)."""
    client = make_client()
    rows = client.rows("market/risk-limit")
    client.rig.engine.parts.ledger.wallet = Decimal(100_000_000)
    lever = {"buyLeverage": "100", "sellLeverage": "100"}
    assert 0 == client.post("position/set-leverage", **lever)["retCode"]
    high = {"buyLeverage": "101", "sellLeverage": "101"}

    assert ["2000000", "3000000", "12000000"] == [row["riskLimitValue"] for row in rows[:3]]
    assert ("", True) == (rows[0]["mmDeduction"], bool(rows[1]["mmDeduction"]))
    assert 110090 == client.market("Buy", "41")["retCode"]
    assert 110013 == client.post("position/set-leverage", **high)["retCode"]


def test_a_liquidation_is_the_venues_own_order(make_client: Callable[..., Client]) -> None:
    """BustTrade by CreateByLiq; the stop goes by CancelByPrepareLiq (venues.md 6)."""
    client = make_client((50_000.0, 50_000.0, 40_000.0, 40_000.0))
    lever = {"buyLeverage": "50", "sellLeverage": "50"}
    client.post("position/set-leverage", **lever)
    client.market("Buy", "0.2", stopLoss="45000")
    client.rig.at(130)
    fills = [row for topic, row in client.heard if topic == "execution"]
    stop = next(
        row for topic, row in client.heard[::-1] if topic == "order" and row["stopOrderType"]
    )

    assert ("BustTrade", "CreateByLiq") == (fills[-1]["execType"], fills[-1]["createType"])
    assert ("Deactivated", "CancelByPrepareLiq") == (stop["orderStatus"], stop["cancelType"])


def test_too_many_requests_are_10006(make_client: Callable[..., Client]) -> None:
    """Enforced, the eleventh leverage request of a second is refused (venues.md 3.2)."""
    client = make_client(limits_enforced=True)
    codes = [
        client.post("position/set-leverage", buyLeverage=str(n), sellLeverage=str(n))["retCode"]
        for n in range(1, 12)
    ]

    assert [0] * 10 + [10006] == codes


def test_an_address_that_asks_too_often_is_shut_out() -> None:
    """600 HTTP requests in five seconds, then 403 for ten minutes (venues.md 3.2)."""
    limits = RateLimits(enforced=True)
    first = [limits.too_frequent(WALL_MS) for _ in range(601)]

    assert [False] * 600 + [True] == first
    assert limits.too_frequent(WALL_MS + 599_000)
    assert not limits.too_frequent(WALL_MS + 600_000)


LIMIT = {"side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "45000"}


def doubled_id(client: Client) -> dict[str, Any]:
    """Use a client id twice, the first order being gone."""
    client.post("order/create", **LIMIT, orderLinkId="once")
    client.post("order/cancel", orderLinkId="once")
    return client.post("order/create", **LIMIT, orderLinkId="once")


def stop_set_twice(client: Client) -> dict[str, Any]:
    """Ask for the stop that stands."""
    client.market("Buy", "0.1", stopLoss="49000")
    return client.protect(stopLoss="49000")


PROVOKED: dict[int, Callable[[Client], dict[str, Any]]] = {
    10001: lambda client: client.protect(stopLoss="49000"),
    10002: lambda client: client.post_at(WALL_MS - 6_000),
    10003: lambda client: client.post_at(WALL_MS, key="stranger"),
    10004: lambda client: client.post_at(WALL_MS, secret="wrong"),
    34040: stop_set_twice,
    110001: lambda client: client.post("order/cancel", orderLinkId="nobody"),
    110007: lambda client: client.market("Buy", "400"),
    110017: lambda client: client.market("Sell", "0.1", reduceOnly=True),
    110025: lambda client: client.post("position/switch-mode", mode=0),
    110043: lambda client: client.post(
        "position/set-leverage", buyLeverage="20", sellLeverage="20"
    ),
    110072: doubled_id,
    110092: lambda client: client.market("Buy", "0.1", triggerPrice="49000", triggerDirection=1),
    110093: lambda client: client.market("Sell", "0.1", triggerPrice="51000", triggerDirection=2),
    110094: lambda client: client.post(
        "order/create", **{**LIMIT, "qty": "0.001", "price": "4000"}
    ),
}


@pytest.mark.parametrize("code", PROVOKED)
def test_the_codes_a_bot_must_know(make_client: Callable[..., Client], code: int) -> None:
    """Each comes with a text (R42, venues.md 3.8)."""
    answer = PROVOKED[code](make_client())

    assert code == answer["retCode"]
    assert answer["retMsg"]
