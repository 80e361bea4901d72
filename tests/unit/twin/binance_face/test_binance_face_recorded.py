"""The face's frames and answers have exactly the keys of recorded ones (shared wire data)."""

import json
from pathlib import Path
from typing import Any

import pytest

# Since June 2026 most market frames carry these two; recordings of 2021 do not (venues.md 2.6).
NEW_MARKET_KEYS = {"st", "ps"}


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> list[dict[str, Any]]:
    """Return every Binance message of the shared data with its parsed body, unwrapped."""
    rows = []
    for name in ("order_lifecycles", "ws", "rest"):
        path = shared_data / "wire" / f"binance_usdm_{name}.jsonl"
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row["type"] == "fragment":
                continue
            body = json.loads(row["raw"])
            if isinstance(body, dict) and set(body) == {"stream", "data"}:
                body = body["data"]
            rows.append({**row, "body": body, "file": name})
    return rows


def _bodies(recorded: list[dict[str, Any]], kind: str, file: str) -> list[dict[str, Any]]:
    found = [row["body"] for row in recorded if row["kind"] == kind and row["file"] == file]
    assert found, f"no recorded {kind} in {file}"
    return found


def _lifecycle(rig: Any) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = rig.client.listen()
    rig.client.order(newClientOrderId="entry")
    rig.client.stop(clientAlgoId="stop")
    rig.pass_minutes(12)
    return frames


def test_order_trade_update_keys(rig: Any, recorded: list[dict[str, Any]]) -> None:
    """An ordinary order's frames have the keys and the key order of the recorded ones."""
    ours = [
        frame
        for frame in _lifecycle(rig)
        if frame["e"] == "ORDER_TRADE_UPDATE" and frame["o"]["c"] == "entry"
    ]
    for theirs in _bodies(recorded, "ORDER_TRADE_UPDATE", "order_lifecycles"):
        for frame in ours:
            assert set(theirs) == set(frame)
            assert list(theirs["o"]) == list(frame["o"])
            assert [type(v) for v in theirs["o"].values()] == [type(v) for v in frame["o"].values()]


def test_stop_fill_adds_one_key(rig: Any, recorded: list[dict[str, Any]]) -> None:
    """The order a trigger made carries st besides (venues.md 1.4)."""
    theirs = _bodies(recorded, "ORDER_TRADE_UPDATE", "order_lifecycles")[0]
    ours = [
        frame["o"]
        for frame in _lifecycle(rig)
        if frame["e"] == "ORDER_TRADE_UPDATE" and frame["o"]["c"] == "stop"
    ]
    assert ours
    for body in ours:
        assert {"st"} == set(body) - set(theirs["o"])
        assert set(theirs["o"]) <= set(body)


def test_algo_update_keys_by_state(rig: Any, recorded: list[dict[str, Any]]) -> None:
    """NEW, TRIGGERING and CANCELED as recorded; ap, aq, act from TRIGGERED on."""
    rows = _bodies(recorded, "ALGO_UPDATE", "order_lifecycles")
    rows += [
        row["body"]
        for row in recorded
        if row["kind"] == "ALGO_UPDATE"
        and row["file"] == "ws"
        and row["body"]["o"]["caid"].startswith("O-")
    ]
    theirs = {row["o"]["X"]: row["o"] for row in rows}
    assert {"NEW", "CANCELED", "TRIGGERING", "TRIGGERED"} == set(theirs)
    frames = _lifecycle(rig)
    rig.client.order()
    rig.client.stop(clientAlgoId="taken-back", triggerPrice="40000.0")
    rig.client.call("DELETE", "/fapi/v1/algoOrder", clientAlgoId="taken-back")
    ours = {frame["o"]["X"]: frame["o"] for frame in frames if frame["e"] == "ALGO_UPDATE"}
    for state, body in theirs.items():
        assert list(body) == list(ours[state]), state
    assert list(theirs["TRIGGERED"]) == list(ours["FINISHED"])


def test_account_update_and_trade_lite_keys(rig: Any, recorded: list[dict[str, Any]]) -> None:
    """ACCOUNT_UPDATE has balances and positions as recorded, TRADE_LITE its keys."""
    frames = _lifecycle(rig)
    theirs = max(_bodies(recorded, "ACCOUNT_UPDATE", "ws"), key=lambda row: len(row["a"]["P"]))
    ours = next(frame for frame in frames if frame["e"] == "ACCOUNT_UPDATE")
    assert set(theirs) == set(ours)
    assert set(theirs["a"]) == set(ours["a"])
    assert set(theirs["a"]["B"][0]) == set(ours["a"]["B"][0])
    assert set(theirs["a"]["P"][0]) == set(ours["a"]["P"][0])
    lite = next(frame for frame in frames if frame["e"] == "TRADE_LITE")
    for row in _bodies(recorded, "TRADE_LITE", "ws"):
        assert set(row) == set(lite)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("bookTicker", "/public/ws/btcusdt@bookTicker"),
        ("kline", "/market/ws/btcusdt@kline_1m"),
        ("markPriceUpdate", "/market/ws/btcusdt@markPrice@1s"),
        ("aggTrade", "/market/ws/btcusdt@aggTrade"),
        ("depthUpdate", "/public/ws/btcusdt@depth5@100ms"),
    ],
)
def test_market_frame_keys(
    rig: Any, recorded: list[dict[str, Any]], kind: str, target: str
) -> None:
    """Market frames have the recorded keys, with nothing but the additions of 2026."""
    frames, _ = rig.client.open_stream(target)
    rig.pass_minutes(11)
    added = NEW_MARKET_KEYS | {"ap", "nq"}
    for theirs in _bodies(recorded, kind, "ws"):
        assert set(theirs) <= set(frames[0])
        assert set(frames[0]) - set(theirs) <= added
        if kind == "kline":
            assert set(theirs["k"]) == set(frames[0]["k"])


REST_KEYS_OLD = {
    # Gone since 2026-06-30, or of order types this face does not know (venues.md 2.3).
    "order": {"cumQuote", "avgPrice", "activatePrice", "priceRate", "time", "cumQty"},
    "orders": {"activatePrice", "priceRate"},
}


def _rows(recorded: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    bodies = [row["body"] for row in recorded if row.get("http_path") == path]
    assert bodies, f"no recorded {path}"
    return [body[0] if isinstance(body, list) else body for body in bodies]


def test_rest_answer_keys(rig: Any, recorded: list[dict[str, Any]]) -> None:
    """Orders, algo orders, positions, balances and trades have at least the documented keys."""
    client = rig.client
    _, order = client.order()
    client.order(type="LIMIT", timeInForce="GTC", price="48000.0")
    client.stop(clientAlgoId="stop")
    for theirs in _rows(recorded, "/fapi/v1/order"):
        assert set(theirs) - REST_KEYS_OLD["order"] <= set(order)
    answers = {
        "/fapi/v1/openOrders": client.call("GET", "/fapi/v1/openOrders"),
        "/fapi/v1/openAlgoOrders": client.call("GET", "/fapi/v1/openAlgoOrders"),
        "/fapi/v2/positionRisk": client.call("GET", "/fapi/v2/positionRisk"),
        "/fapi/v3/balance": client.call("GET", "/fapi/v3/balance"),
        "/fapi/v1/userTrades": client.call("GET", "/fapi/v1/userTrades", symbol="BTCUSDT"),
        "/fapi/v1/symbolConfig": client.call("GET", "/fapi/v1/symbolConfig"),
        "/fapi/v2/account": client.call("GET", "/fapi/v2/account"),
        "/fapi/v1/fundingInfo": client.call("GET", "/fapi/v1/fundingInfo"),
    }
    for path, (status, body) in answers.items():
        assert 200 == status, path
        ours = body[0] if isinstance(body, list) else body
        for theirs in _rows(recorded, path):
            assert set(theirs) - REST_KEYS_OLD["orders"] <= set(ours), path


def test_algo_query_keys(rig: Any, recorded: list[dict[str, Any]]) -> None:
    """GET algoOrder of a finished stop has exactly the recorded keys, with the same types."""
    _lifecycle(rig)
    _, ours = rig.client.call("GET", "/fapi/v1/algoOrder", clientAlgoId="stop")
    theirs = next(
        row["body"]
        for row in recorded
        if (row.get("http_method"), row.get("http_path")) == ("GET", "/fapi/v1/algoOrder")
    )
    assert set(theirs) == set(ours)
    assert {key: type(theirs[key]) for key in theirs} == {key: type(ours[key]) for key in theirs}


def test_exchange_info_keys(rig: Any, recorded: list[dict[str, Any]]) -> None:
    """A symbol of exchangeInfo has the documented keys, and every filter its own."""
    (info,) = (row["body"] for row in recorded if row["kind"] == "exchangeInfo")
    _, ours = rig.client.raw("GET", "/fapi/v1/exchangeInfo", {})
    theirs = info["symbols"][0]
    mine = ours["symbols"][0]
    assert set(theirs) - {"settlePlan"} == set(mine)
    # MAX_NUM_ALGO_ORDERS was removed on 2025-12-29 (venues.md 1.1).
    expected = {
        each["filterType"]: set(each)
        for each in theirs["filters"]
        if each["filterType"] != "MAX_NUM_ALGO_ORDERS"
    }
    assert expected == {each["filterType"]: set(each) for each in mine["filters"]}
