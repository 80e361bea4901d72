"""Market, user and order entry streams of the Binance face."""

import hashlib
import hmac
import json
from typing import Any

import pytest


def _story(frames: list[dict[str, Any]]) -> list[str]:
    told = []
    for frame in frames:
        body = frame.get("o")
        if frame["e"] == "ORDER_TRADE_UPDATE" and isinstance(body, dict):
            told.append(f"OTU {body['c']} {body['x']} {body['X']}")
        elif frame["e"] == "ALGO_UPDATE" and isinstance(body, dict):
            told.append(f"ALGO {body['caid']} {body['X']}")
        elif frame["e"] == "ACCOUNT_UPDATE":
            told.append(f"ACCOUNT {frame['a']['m']}")
    return told


def test_filled_stop_is_told_in_the_recorded_order(rig: Any) -> None:
    """TRIGGERING, fills as MARKET with the clientAlgoId, TRIGGERED, FINISHED (venues.md 1.4)."""
    client = rig.client
    frames = client.listen()
    client.order(newClientOrderId="entry")
    client.stop(clientAlgoId="moving", quantity="0.02", reduceOnly="true", triggerPrice="49600")
    client.stop(clientAlgoId="floor")
    rig.pass_minutes(12)
    assert [
        "OTU entry NEW NEW",
        "OTU entry TRADE FILLED",
        "ACCOUNT ORDER",
        "ALGO moving NEW",
        "ALGO floor NEW",
        "ALGO moving TRIGGERING",
        "OTU moving NEW NEW",
        "OTU moving TRADE FILLED",
        "ALGO moving TRIGGERED",
        "ALGO moving FINISHED",
        "ACCOUNT ORDER",
        "ALGO floor EXPIRED",
    ] == _story(frames)
    algo = [frame["o"] for frame in frames if frame["e"] == "ALGO_UPDATE"]
    triggering, triggered, finished = algo[2:5]
    fill = next(
        frame["o"]
        for frame in frames
        if frame["e"] == "ORDER_TRADE_UPDATE"
        and (frame["o"]["c"], frame["o"]["x"]) == ("moving", "TRADE")
    )
    assert ("MARKET", "MARKET", "0") == (fill["o"], fill["ot"], fill["sp"])
    assert (algo[0]["aid"], -1, "ALGO_CONDITION") == (fill["si"], fill["ss"], fill["st"])
    assert "" == triggering["ai"]
    assert triggering["tt"] > 0
    assert (str(fill["i"]), "0", "0") == (triggered["ai"], triggered["ap"], triggered["aq"])
    assert (fill["ap"], "0.02", "MARKET") == (finished["ap"], finished["aq"], finished["act"])


def test_canceled_stop_tells_no_order_update(rig: Any) -> None:
    """A user's cancel is ALGO CANCELED alone, after a fill told before (venues.md 1.4)."""
    client = rig.client
    client.order()
    frames = client.listen()
    client.stop(clientAlgoId="floor")
    client.call("DELETE", "/fapi/v1/algoOrder", clientAlgoId="floor")
    assert ["ALGO floor NEW", "ALGO floor CANCELED"] == _story(frames)


def test_partial_fills_add_up(rig: Any) -> None:
    """A large order fills level by level: z grows by l, ap is the VWAP, the last is FILLED."""
    client = rig.client
    client.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=125)
    frames = client.listen()
    client.order(quantity="6")
    trades = [
        frame["o"]
        for frame in frames
        if frame["e"] == "ORDER_TRADE_UPDATE" and frame["o"]["x"] == "TRADE"
    ]
    assert len(trades) > 1
    assert [*["PARTIALLY_FILLED"] * (len(trades) - 1), "FILLED"] == [t["X"] for t in trades]
    filled = 0.0
    notional = 0.0
    for trade in trades:
        filled += float(trade["l"])
        notional += float(trade["l"]) * float(trade["L"])
        assert filled == pytest.approx(float(trade["z"]))
        assert notional / filled == pytest.approx(float(trade["ap"]))
    lite = [frame for frame in frames if frame["e"] == "TRADE_LITE"]
    assert [trade["t"] for trade in trades] == [frame["t"] for frame in lite]


def test_rejected_trigger_says_why(rig: Any) -> None:
    """A reduce-only stop that fires without a position ends REJECTED with rm (venues.md 1.3)."""
    client = rig.client
    client.order()
    client.stop(clientAlgoId="left", quantity="0.02", reduceOnly="true")
    client.order(side="SELL", reduceOnly="true")
    frames = client.listen()
    rig.pass_minutes(12)
    assert ["ALGO left TRIGGERING", "ALGO left REJECTED"] == _story(frames)
    assert "Reduce Only reject" == frames[-1]["o"]["rm"]


def test_liquidation_is_told_with_an_autoclose_id(rig: Any) -> None:
    """A liquidation has the client id autoclose-*, CALCULATED then TRADE (venues.md 2.5)."""
    client = rig.client
    client.call("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=100)
    client.order(quantity="1")
    client.stop(clientAlgoId="floor", triggerPrice="40000.0")
    frames = client.listen()
    rig.pass_minutes(12)
    story = _story(frames)
    assert "ALGO floor EXPIRED" in story
    mine = [line for line in story if "autoclose-" in line]
    assert ["CALCULATED NEW", "TRADE FILLED"] == [" ".join(line.split()[2:]) for line in mine]


def test_listen_key_life(rig: Any) -> None:
    """POST is idempotent, PUT of a lost key is -1125, expiry is told and silences (R51)."""
    client = rig.client
    frames = client.listen()
    key = client.raw("POST", "/fapi/v1/listenKey", {})[1]["listenKey"]
    assert (200, {"listenKey": key}) == client.raw("PUT", "/fapi/v1/listenKey", {})
    rig.face.expire_listen_key()
    assert ("listenKeyExpired", key) == (frames[-1]["e"], frames[-1]["listenKey"])
    assert isinstance(frames[-1]["E"], str)
    client.order()
    assert 1 == len(frames)
    assert -1125 == client.raw("PUT", "/fapi/v1/listenKey", {})[1]["code"]
    assert key != client.raw("POST", "/fapi/v1/listenKey", {})[1]["listenKey"]


def test_listen_key_ends_after_an_hour_of_wall_time(rig: Any) -> None:
    """A key nobody extended for 60 minutes expires by itself, once."""
    frames = rig.client.listen()
    rig.wall_ms += 60 * 60_000
    rig.client.order()
    assert ["listenKeyExpired"] == [frame["e"] for frame in frames]


def test_unknown_listen_key_connects_and_stays_silent(rig: Any) -> None:
    """A wrong key and the legacy path open, and hear nothing of the account (venues.md 2.1)."""
    client = rig.client
    heard = client.listen()
    key = client.raw("POST", "/fapi/v1/listenKey", {})[1]["listenKey"]
    wrong, _ = client.open_stream("/private/ws?listenKey=nope")
    legacy, _ = client.open_stream(f"/ws/{key}")
    combined, _ = client.open_stream(f"/private/stream?listenKey={key}&events=ALGO_UPDATE")
    client.order()
    client.stop()
    assert ([], []) == (wrong, legacy)
    assert len(heard) == 5
    assert [key] == [frame["stream"] for frame in combined]
    assert "ALGO_UPDATE" == combined[0]["data"]["e"]


def test_market_frames_of_each_stream(rig: Any) -> None:
    """bookTicker in /public, markPrice and kline in /market, combined form wrapped."""
    client = rig.client
    public, _ = client.open_stream("/public/ws/btcusdt@bookTicker")
    market, _ = client.open_stream("/market/stream?streams=btcusdt@markPrice@1s/btcusdt@kline_1m")
    rig.pass_minutes(1)
    assert {"bookTicker"} == {frame["e"] for frame in public}
    assert public[0]["b"] < public[0]["a"]
    marks = [f["data"] for f in market if f["stream"] == "btcusdt@markPrice@1s"]
    assert 60 <= len(marks) <= 61
    klines = [f["data"]["k"] for f in market if f["stream"] == "btcusdt@kline_1m"]
    closed = [k for k in klines if k["x"]]
    assert [("1m", "50000.0")] == [(k["i"], k["o"]) for k in closed]
    assert rig.engine.now_ns // 1_000_000 == marks[-1]["E"]


def test_category_split_is_silent(rig: Any) -> None:
    """A stream subscribed in the wrong category is acknowledged and silent (venues.md 2.1)."""
    client = rig.client
    wrong, _ = client.open_stream("/market/stream?streams=btcusdt@bookTicker")
    legacy, _ = client.open_stream("/stream?streams=btcusdt@bookTicker/btcusdt@markPrice@1s")
    private, _ = client.open_stream("/private/ws/nokey")
    rig.pass_minutes(0.1)
    assert ([], []) == (wrong, private)
    assert {"btcusdt@bookTicker"} == {frame["stream"] for frame in legacy}


def test_subscribe_unsubscribe_list(rig: Any) -> None:
    """The answer precedes data; LIST_SUBSCRIPTIONS names them; unsubscribed is silent."""
    client = rig.client
    frames, session = client.open_stream("/public/ws/1")
    request = {"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 7}
    session.on_message(json.dumps(request))
    rig.pass_minutes(0.05)
    assert {"result": None, "id": 7} == frames[0]
    assert "bookTicker" == frames[1]["e"]
    session.on_message('{"method":"LIST_SUBSCRIPTIONS","id":8}')
    assert {"result": ["btcusdt@bookTicker"], "id": 8} == frames[-1]
    request["method"] = "UNSUBSCRIBE"
    session.on_message(json.dumps(request))
    count = len(frames)
    rig.pass_minutes(0.05)
    assert count == len(frames)
    session.on_message("not json")
    session.on_message('{"method":"DANCE","id":9}')
    assert [3, 2] == [frame["error"]["code"] for frame in frames[-2:]]


def test_closed_session_hears_nothing(rig: Any) -> None:
    """A client that went away is forgotten, its time frames are no longer watched."""
    client = rig.client
    frames, session = client.open_stream("/market/stream?streams=btcusdt@kline_1m/btcusdt@aggTrade")
    rig.pass_minutes(0.1)
    session.on_closed()
    count = len(frames)
    rig.pass_minutes(1)
    assert count == len(frames) > 0


def test_partial_depth(rig: Any) -> None:
    """depth5@100ms carries five levels a side."""
    frames, _ = rig.client.open_stream("/public/ws/btcusdt@depth5@100ms")
    rig.pass_minutes(0.1)
    assert ("depthUpdate", 5, 5) == (frames[0]["e"], len(frames[0]["b"]), len(frames[0]["a"]))


def test_unknown_stream_path_is_none(rig: Any) -> None:
    """A path that is no stream of Binance opens nothing."""
    for target in ("/", "/v5/public/linear", "/public", "/fapi/v1/order"):
        found = rig.face.open_stream(target, send=lambda _: None, close=lambda _: None)
        assert found is None


def _signed(params: dict[str, Any]) -> dict[str, Any]:
    text = "&".join(f"{name}={params[name]}" for name in sorted(params))
    signature = hmac.new(b"twinsecret", text.encode(), hashlib.sha256).hexdigest()
    return {**params, "signature": signature}


def test_order_entry_over_the_websocket_api(rig: Any) -> None:
    """/ws-fapi/v1 places, queries and refuses, HMAC over the sorted parameters."""
    frames, session = rig.client.open_stream("/ws-fapi/v1")
    base = {"apiKey": "twinkey", "timestamp": rig.wall_ms, "symbol": "BTCUSDT"}
    order = {"side": "BUY", "type": "MARKET", "quantity": "0.02", "newClientOrderId": "ws-1"}
    stop = {
        "algoType": "CONDITIONAL",
        "side": "SELL",
        "type": "STOP_MARKET",
        "triggerPrice": "49000.0",
        "closePosition": True,
        "clientAlgoId": "ws-2",
    }
    for number, (method, params) in enumerate(
        [
            ("order.place", base | order),
            ("order.status", base | {"origClientOrderId": "ws-1"}),
            ("algoOrder.place", base | stop),
            ("algoOrder.cancel", base | {"clientAlgoId": "ws-2"}),
            ("algoOrder.cancel", base | {"clientAlgoId": "ws-2"}),
        ]
    ):
        request = {"id": str(number), "method": method, "params": _signed(params)}
        session.on_message(json.dumps(request))
    forged = {"id": "5", "method": "order.place", "params": {**base, "signature": "00"}}
    session.on_message(json.dumps(forged))
    assert [str(number) for number in range(6)] == [frame["id"] for frame in frames]
    assert [200, 200, 200, 200, 400, 400] == [frame["status"] for frame in frames]
    assert "FILLED" == frames[1]["result"]["status"]
    assert [-2011, -1022] == [frame["error"]["code"] for frame in frames[4:]]
