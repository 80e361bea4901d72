"""The Bybit face's streams: acknowledgements, private rows, market frames, order entry."""

import json
from typing import Any

import attrs
from tests.unit.twin.bybit_world import (
    KEY,
    START_NS,
    WALL_MS,
    engine_of,
    enter,
    face_of,
    log_in_args,
    post,
)

from aegis.core.transport import HttpRequest
from aegis.model.market import MINUTE_NS
from aegis.twin.bybit.face import BybitFace
from aegis.twin.face_api import Face, StreamSession

PRIVATE_TOPICS = ["order", "execution", "execution.fast", "position", "wallet"]


@attrs.define
class Client:
    """One stream of a client: what it heard, oldest first."""

    face: BybitFace
    target: str
    frames: list[dict[str, Any]] = attrs.field(factory=list)
    session: StreamSession = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        session = self.face.open_stream(
            self.target, send=lambda frame: self.frames.append(json.loads(frame)), close=print
        )
        assert session is not None
        self.session = session

    def tell(self, **message: object) -> dict[str, Any]:
        """Send a message and return what came right after."""
        before = len(self.frames)
        self.session.on_message(json.dumps(message))
        return self.frames[before]

    def log_in(self) -> dict[str, Any]:
        """Authenticate as the venue asks."""
        return self.tell(op="auth", args=log_in_args())

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """Return every row of a topic."""
        return [
            row for frame in self.frames if frame.get("topic") == topic for row in frame["data"]
        ]

    def states(self, topic: str = "order") -> list[tuple[str, str]]:
        """Return kind and status of every order row."""
        return [(row["stopOrderType"], row["orderStatus"]) for row in self.rows(topic)]


def private_client(face: BybitFace, topics: list[str] | None = None) -> Client:
    """Return a client logged in and subscribed."""
    client = Client(face, "/v5/private?max_active_time=60s")
    assert client.log_in()["success"]
    answer = client.tell(op="subscribe", req_id="s1", args=topics or PRIVATE_TOPICS)
    assert (True, "s1") == (answer["success"], answer["req_id"])
    client.frames.clear()
    return client


def test_a_protected_entry_is_told_in_one_message_a_topic() -> None:
    """Fill, armed stop and target, position and wallet arrive with the request (R38)."""
    face = face_of(engine_of(1000.0))
    client = private_client(face)

    enter(face)

    assert ["execution", "execution.fast", "order", "position", "wallet"] == [
        frame["topic"] for frame in client.frames
    ]
    assert [("", "Filled"), ("StopLoss", "Untriggered"), ("TakeProfit", "Untriggered")] == (
        client.states()
    )
    entry, stop, target = client.rows("order")
    assert ("aegis-1-EN", "950", "1100", "Full", "CreateByUser") == (
        entry["orderLinkId"],
        entry["stopLoss"],
        entry["takeProfit"],
        entry["tpslMode"],
        entry["createType"],
    )
    assert ("", "aegis-1-EN", "CreateByStopLoss", 2, "MarkPrice", True) == (
        stop["orderLinkId"],
        stop["parentOrderLinkId"],
        stop["createType"],
        stop["triggerDirection"],
        stop["triggerBy"],
        stop["closeOnTrigger"],
    )
    assert ("CreateByTakeProfit", 1) == (target["createType"], target["triggerDirection"])
    assert ("950", "1100", "1") == tuple(
        client.rows("position")[-1][key] for key in ("stopLoss", "takeProfit", "size")
    )
    assert START_NS // 10**6 == client.frames[0]["creationTime"]


def test_a_close_shows_the_stops_taken_away_beside_the_filled_order() -> None:
    """One order message carries the close and the two Deactivated children (venues.md 3.5)."""
    face = face_of(engine_of(1000.0))
    enter(face)
    client = private_client(face)

    post(face, "/v5/order/create", side="Sell", orderType="Market", qty="1", reduceOnly=True)

    messages = [frame["data"] for frame in client.frames if frame["topic"] == "order"]
    assert [("", "Filled"), ("StopLoss", "Deactivated"), ("TakeProfit", "Deactivated")] == (
        client.states()
    )
    assert 1 == len(messages)
    assert {"CancelByTpSlTsClear"} == {row["cancelType"] for row in messages[0][1:]}
    assert ("0", "", "0") == tuple(
        client.rows("position")[-1][key] for key in ("size", "side", "stopLoss")
    )


def test_a_stop_that_fires_keeps_its_id_and_takes_its_sibling_along() -> None:
    """Untriggered, Triggered, Filled under one id; the target goes; the fill says why (R30)."""
    engine = engine_of(1000.0, 900.0)
    face = face_of(engine)
    enter(face, stopLoss="970")
    client = private_client(face)

    engine.advance(START_NS + 3 * MINUTE_NS)

    assert [
        ("StopLoss", "Triggered"),
        ("StopLoss", "Filled"),
        ("TakeProfit", "Deactivated"),
    ] == client.states()
    assert 1 == len(
        {row["orderId"] for row in client.rows("order") if row["stopOrderType"] == "StopLoss"}
    )
    fill = client.rows("execution")[0]
    assert ("StopLoss", "CreateByStopLoss", "1", "Trade", "") == (
        fill["stopOrderType"],
        fill["createType"],
        fill["closedSize"],
        fill["execType"],
        fill["orderLinkId"],
    )
    assert "0" == client.rows("position")[-1]["size"]
    assert client.rows("wallet")


def test_a_liquidation_is_the_venues_own_trade() -> None:
    """createType CreateByLiq, execType BustTrade, the stop cleared (venues.md 6)."""
    engine = engine_of(1000.0, 900.0)
    face = face_of(engine)
    enter(face, stopLoss="", takeProfit="")
    client = private_client(face)

    engine.advance(START_NS + 3 * MINUTE_NS)

    fill = client.rows("execution")[-1]
    assert ("BustTrade", "CreateByLiq") == (fill["execType"], fill["createType"])
    assert "0" == client.rows("position")[-1]["size"]


def test_canceling_and_amending_tell_the_position_too() -> None:
    """The position is pushed on every order request, changed or not (venues.md 3.7)."""
    face = face_of(engine_of(1000.0))
    client = private_client(face)

    order_id = enter(face, orderType="Limit", price="900", stopLoss="850", takeProfit="950")
    post(face, "/v5/order/amend", orderId=order_id, price="901")
    post(face, "/v5/order/cancel", orderId=order_id)

    assert [("", "New"), ("", "New"), ("", "Cancelled")] == client.states()
    assert ["900", "901", "901"] == [row["price"] for row in client.rows("order")]
    assert 3 == len(client.rows("position"))
    assert "CancelByUser" == client.rows("order")[-1]["cancelType"]


def test_a_conditional_order_canceled_by_hand_is_deactivated() -> None:
    """A trigger order that never fired ends Deactivated on the stream (venues.md 3.5)."""
    face = face_of(engine_of(1000.0))
    client = private_client(face)

    order_id = enter(face, triggerPrice="1050", triggerDirection=1, stopLoss="", takeProfit="")
    post(face, "/v5/order/cancel", orderId=order_id)

    assert [("Stop", "Untriggered"), ("Stop", "Deactivated")] == client.states()
    assert "aegis-1-EN" == client.rows("order")[-1]["orderLinkId"]


def test_categorised_topics_name_themselves() -> None:
    """order.linear is its own topic; both forms in one request are refused."""
    face = face_of(engine_of(1000.0))
    client = private_client(face, ["order.linear"])

    refused = client.tell(op="subscribe", args=["order.linear", "position"])
    enter(face)

    assert (False, "Invalid topic: order.linear,position") == (
        refused["success"],
        refused["ret_msg"],
    )
    assert {"order.linear"} == {frame["topic"] for frame in client.frames if "topic" in frame}


def test_nothing_private_without_a_login() -> None:
    """A stream that has not logged in gets no topic; a bad signature does not log in."""
    face = face_of(engine_of(1000.0))
    client = Client(face, "/v5/private")

    early = client.tell(op="subscribe", args=["order"])
    failed = client.tell(op="auth", args=[KEY, WALL_MS + 1000, "00"])
    enter(face)

    assert (False, False) == (early["success"], failed["success"])
    assert 2 == len(client.frames)


def test_each_stream_has_its_own_pong() -> None:
    """Public, private and trade answer a ping each in their own shape (venues.md 3.1)."""
    face = face_of(engine_of(1000.0))

    public = Client(face, "/v5/public/linear").tell(op="ping", req_id="a")
    private = Client(face, "/v5/private").tell(op="ping", req_id="b")
    trade = Client(face, "/v5/trade").tell(op="ping")

    assert (True, "pong", "ping", "a") == tuple(
        public[key] for key in ("success", "ret_msg", "op", "req_id")
    )
    assert ("pong", [str(WALL_MS)], "b") == tuple(private[key] for key in ("op", "args", "req_id"))
    assert (0, "OK", "pong", [str(WALL_MS)]) == tuple(
        trade[key] for key in ("retCode", "retMsg", "op", "data")
    )
    assert face.open_stream("/v5/public/spot", send=print, close=print) is None


def test_a_ticker_is_a_snapshot_and_then_what_changed() -> None:
    """Merging the deltas into the snapshot gives the quote of the moment."""
    engine = engine_of(1000.0, 1010.0, 1020.0)
    face = face_of(engine)
    client = Client(face, "/v5/public/linear")

    assert client.tell(op="subscribe", args=["tickers.BTCUSDT"])["success"]
    engine.advance(START_NS + 2 * MINUTE_NS + 1)

    frames = client.frames[1:]
    assert ["snapshot", "delta"] == [frames[0]["type"], frames[1]["type"]]
    assert "symbol" in frames[1]["data"]
    assert "openInterest" not in frames[1]["data"]
    merged: dict[str, str] = {}
    for frame in frames:
        merged.update(frame["data"])
    quote = engine.quote("BTCUSDT")
    assert [f"{quote.last:.1f}", f"{quote.mark:.1f}"] == [merged["lastPrice"], merged["markPrice"]]
    assert START_NS // 10**6 <= frames[-1]["ts"] <= engine.now_ns // 10**6


def test_books_and_bars_come_only_to_who_asked() -> None:
    """orderbook.1 snapshots, orderbook.50 deltas, klines; an unknown topic is refused."""
    engine = engine_of(1000.0, 1010.0, 1020.0)
    face = face_of(engine)
    client, other = Client(face, "/v5/public/linear"), Client(face, "/v5/public/linear")
    topics = ["orderbook.1.BTCUSDT", "orderbook.50.BTCUSDT", "kline.1.BTCUSDT"]

    assert client.tell(op="subscribe", args=topics)["success"]
    assert not other.tell(op="subscribe", args=["orderbook.7.BTCUSDT"])["success"]
    engine.advance(START_NS + 2 * MINUTE_NS)

    assert 1 == len(other.frames)
    top = [frame for frame in client.frames if frame.get("topic") == topics[0]]
    assert {"snapshot"} == {frame["type"] for frame in top}
    assert len(top) == len({frame["data"]["u"] for frame in top}) > 1
    deep = [frame for frame in client.frames if frame.get("topic") == topics[1]]
    assert ["snapshot", "delta"] == [deep[0]["type"], deep[1]["type"]]
    book = dict(deep[0]["data"]["b"])
    for frame in deep[1:]:
        for price, qty in frame["data"]["b"]:
            book[price] = qty
            if qty == "0":
                del book[price]
    bids, _ = engine.depth("BTCUSDT", 50)
    assert sorted(f"{price:.1f}" for price, _ in bids) == sorted(book)
    bars = [row for row in client.rows(topics[2]) if row["confirm"]]
    assert [("1000.0", "1000.0"), ("1000.0", "1010.0")] == [
        (bar["open"], bar["close"]) for bar in bars
    ]
    assert START_NS // 10**6 + 59_999 == bars[0]["end"]


def test_a_closed_stream_hears_nothing_more() -> None:
    """A client that went away costs nothing, the others go on."""
    engine = engine_of(1000.0, 1010.0)
    face = face_of(engine)
    gone, stays = Client(face, "/v5/public/linear"), Client(face, "/v5/public/linear")
    for client in (gone, stays):
        client.tell(op="subscribe", args=["orderbook.1.BTCUSDT", "kline.1.BTCUSDT"])
    before = len(gone.frames)

    gone.session.on_closed()
    engine.advance(START_NS + MINUTE_NS)

    assert before == len(gone.frames)
    assert len(stays.frames) > before


def test_orders_over_the_trade_stream_echo_their_request() -> None:
    """create, amend, cancel by reqId; the result is on the order stream; no login, no order."""
    face = face_of(engine_of(1000.0))
    orders = private_client(face, ["order"])
    trade = Client(face, "/v5/trade")
    header = {"X-BAPI-TIMESTAMP": str(WALL_MS)}
    spec = {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Limit",
        "qty": "0.1",
        "price": "900",
        "orderLinkId": "aegis-9",
    }

    denied = trade.tell(reqId="0", header=header, op="order.create", args=[spec])
    assert 0 == trade.log_in()["retCode"]
    made = trade.tell(reqId="1", header=header, op="order.create", args=[spec])
    again = trade.tell(reqId="1", header=header, op="order.create", args=[spec])
    twin = trade.tell(reqId="2", header=header, op="order.create", args=[spec])
    moved = trade.tell(reqId="3", header=header, op="order.amend", args=[{**spec, "price": "901"}])
    gone = trade.tell(reqId="4", header=header, op="order.cancel", args=[spec])
    odd = trade.tell(reqId="5", header=header, op="order.dance", args=[spec])

    codes = [one["retCode"] for one in (denied, made, again, twin, moved, gone, odd)]
    assert [10005, 0, 20006, 110072, 0, 0, 10404] == codes
    assert ("1", "aegis-9", "order.create") == (
        made["reqId"],
        made["data"]["orderLinkId"],
        made["op"],
    )
    assert "X-Bapi-Limit" in made["header"]
    assert [("", "New"), ("", "New"), ("", "Cancelled")] == orders.states()


def test_the_face_is_a_face() -> None:
    """The type checker agrees that the server can drive it."""
    face: Face = face_of(engine_of(1000.0))

    assert "bybit" == face.name
    assert 404 == face.http(HttpRequest(method="GET", target="/v5/none", headers={})).status
