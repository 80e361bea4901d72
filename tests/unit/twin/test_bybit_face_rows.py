"""The Bybit face's rows against recorded ones: no key a bot may read is missing."""

import hashlib
import hmac
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aegis.core.transport import HttpRequest
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.api import TwinInstrument
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.engine.parts import NoFaults
from aegis.twin.engine.venue_rules import BYBIT_RULES
from aegis.twin.tape.model import CandleTape, FundingSeries, TapeReport
from aegis.twin.tape.path import PricePath

WALL_MS = 1_763_640_000_000
START_NS = 1_700_006_400 * 10**9
MINUTE_NS = 60 * 10**9
KEY, SECRET = "twin-key", "twin-secret"

BTC = TwinInstrument(
    symbol="BTCUSDT",
    base="BTC",
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(100),
    market_qty_max=Decimal(50),
    notional_min=Decimal(5),
    leverage_max=100,
    maint_margin_rate=Decimal("0.005"),
    taker_fee_rate=Decimal("0.00055"),
    maker_fee_rate=Decimal("0.0002"),
    funding_interval_ns=480 * MINUTE_NS,
    liquidation_fee_rate=Decimal("0.005"),
)
PRIVATE_TOPICS = ["order", "execution", "execution.fast", "position", "wallet"]


def tape_of(closes: list[float]) -> CandleTape:
    """Make a tape of minutes that begin at 1000 and end at *closes*, without wicks."""
    opens = [1000.0, *closes[:-1]]
    return CandleTape(
        symbol="BTCUSDT",
        timeframe_ns=MINUTE_NS,
        open_ns=START_NS + np.arange(len(closes), dtype=np.int64) * MINUTE_NS,
        open=np.array(opens),
        high=np.maximum(opens, closes),
        low=np.minimum(opens, closes),
        close=np.array(closes, dtype=np.float64),
        volume=np.full(len(closes), 5.0),
        mark=None,
        funding=None,
        venue=None,
        label="made",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="made", rows_read=0, rows_kept=0, rows_played=0),
    )


def engine_of(*closes: float) -> TwinEngine:
    """Start an engine on such a tape."""
    return TwinEngine(
        rules=BYBIT_RULES,
        instruments={"BTCUSDT": BTC},
        paths={"BTCUSDT": PricePath(tape_of(list(closes)))},
        start_ns=START_NS,
        seed=7,
    )


def face_of(engine: TwinEngine) -> BybitFace:
    """Put a face on an engine, the wall clock standing still."""
    return BybitFace(engine, api_key=KEY, api_secret=SECRET, wall_ms=lambda: WALL_MS)


def post(face: BybitFace, path: str, **body: object) -> dict[str, Any]:
    """Send a signed request; return the envelope."""
    raw = json.dumps({"category": "linear", "symbol": "BTCUSDT", **body})
    text = f"{WALL_MS}{KEY}5000{raw}".encode()
    headers = {
        "x-bapi-api-key": KEY,
        "x-bapi-timestamp": str(WALL_MS),
        "x-bapi-recv-window": "5000",
        "x-bapi-sign": hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest(),
    }
    answer = face.http(HttpRequest(method="POST", target=path, headers=headers, body=raw.encode()))
    envelope: dict[str, Any] = json.loads(answer.body)
    assert 0 == envelope["retCode"], envelope
    return dict(envelope["result"])


def enter(face: BybitFace, **changes: object) -> str:
    """Buy 1 BTC at market, protected; return the orderId."""
    order = {
        "side": "Buy",
        "orderType": "Market",
        "qty": "1",
        "orderLinkId": "aegis-1-EN",
        "stopLoss": "950",
        "takeProfit": "1100",
        "slTriggerBy": "MarkPrice",
        "tpTriggerBy": "MarkPrice",
        **changes,
    }
    return str(post(face, "/v5/order/create", **order)["orderId"])


def heard(face: BybitFace, topic: str) -> list[dict[str, Any]]:
    """Return the rows of a private topic that a protected entry brings."""
    frames: list[dict[str, Any]] = []
    session = face.open_stream(
        "/v5/private", send=lambda frame: frames.append(json.loads(frame)), close=print
    )
    assert session is not None
    expires = WALL_MS + 1000
    text = f"GET/realtime{expires}".encode()
    signature = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
    session.on_message(json.dumps({"op": "auth", "args": [KEY, expires, signature]}))
    session.on_message(json.dumps({"op": "subscribe", "args": [topic]}))
    enter(face)
    return [row for frame in frames[2:] for row in frame["data"]]


FIXTURE_SLIPS = {"totalPerpUpl"}
"""Keys of hand-edited fixtures that the venue does not send (it writes totalPerpUPL)."""


def recorded_rows(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return the linear rows of one kind among the recorded messages."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if entry["kind"] != kind or entry["type"].startswith("account_position"):
            continue
        message = json.loads(entry["raw"])
        body = message.get("result", message)
        data = body.get("list") or body.get("data") or []
        category = body.get("category", "linear")
        rows += [row for row in data if row.get("category", category) in {"linear", "inverse"}]
    return rows


@pytest.mark.parametrize("topic", ["order", "execution", "execution.fast", "position", "wallet"])
def test_stream_rows_have_every_recorded_key(shared_data: Path, topic: str) -> None:
    """No key a bot may read from the venue is missing from the twin's rows."""
    face = face_of(engine_of(1000.0))
    recorded = recorded_rows(shared_data / "wire" / "bybit_v5_ws.jsonl", topic)
    ours = heard(face, topic)

    assert recorded
    assert ours
    for row in recorded:
        for mine in ours:
            assert set() == set(row) - set(mine) - FIXTURE_SLIPS
            if topic == "wallet":
                assert set() == set(row["coin"][0]) - set(mine["coin"][0])


def get(face: BybitFace, target: str) -> list[dict[str, Any]]:
    """Return the list of a signed query."""
    query = target.partition("?")[2]
    text = f"{WALL_MS}{KEY}5000{query}".encode()
    headers = {
        "x-bapi-api-key": KEY,
        "x-bapi-timestamp": str(WALL_MS),
        "x-bapi-recv-window": "5000",
        "x-bapi-sign": hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest(),
    }
    answer = face.http(HttpRequest(method="GET", target=target, headers=headers))
    return list(json.loads(answer.body)["result"]["list"])


LINEAR = "category=linear&symbol=BTCUSDT"


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("order/realtime", f"/v5/order/realtime?{LINEAR}"),
        ("order/history", f"/v5/order/history?{LINEAR}"),
        ("execution/list", f"/v5/execution/list?{LINEAR}"),
        ("position/list", f"/v5/position/list?{LINEAR}"),
        ("closed-pnl", f"/v5/position/closed-pnl?{LINEAR}"),
        ("fee-rate", f"/v5/account/fee-rate?{LINEAR}"),
        ("instruments-info", f"/v5/market/instruments-info?{LINEAR}"),
        ("risk-limit", f"/v5/market/risk-limit?{LINEAR}"),
        ("recent-trade", f"/v5/market/recent-trade?{LINEAR}"),
        ("wallet-balance", "/v5/account/wallet-balance?accountType=UNIFIED"),
    ],
)
def test_query_rows_have_every_recorded_key(shared_data: Path, kind: str, target: str) -> None:
    """REST rows are as complete as the recorded ones, nested objects too."""
    face = face_of(engine_of(1000.0))
    enter(face)
    post(face, "/v5/order/create", side="Sell", orderType="Market", qty="0.4", reduceOnly=True)
    recorded = [
        row
        for row in recorded_rows(shared_data / "wire" / "bybit_v5_rest.jsonl", kind)
        if row.get("contractType", "LinearPerpetual") == "LinearPerpetual"
        and row.get("status", "Trading") == "Trading"
        and "optionsType" not in row
    ]
    ours = get(face, target)

    assert recorded
    assert ours
    for row in recorded:
        for mine in ours:
            assert set() == set(row) - set(mine)
            for key, value in row.items():
                if isinstance(value, dict):
                    assert set() == set(value) - set(mine[key])
                if key == "coin":
                    assert set() == set(value[0]) - set(mine[key][0])


def test_funding_is_an_execution_of_its_own() -> None:
    """A long pays a positive rate: execType Funding, execFee > 0, not a closed size (R30)."""
    engine = TwinEngine(
        rules=BYBIT_RULES,
        instruments={"BTCUSDT": BTC},
        paths={"BTCUSDT": PricePath(tape_of([1000.0, 1000.0, 1000.0]))},
        start_ns=START_NS,
        seed=7,
        funding={
            "BTCUSDT": FundingSeries(
                times_ns=np.array([START_NS + MINUTE_NS], dtype=np.int64),
                rates=np.array([0.0001]),
            )
        },
    )
    face = face_of(engine)
    enter(face)

    engine.advance(START_NS + 2 * MINUTE_NS)

    row = get(face, f"/v5/execution/list?{LINEAR}&execType=Funding")[0]
    assert ("0.1", "1", "0", "0.0001") == (
        row["execFee"],
        row["execQty"],
        row["closedSize"],
        row["feeRate"],
    )
    assert [] == get(face, f"/v5/position/closed-pnl?{LINEAR}")
    announced = get(face, f"/v5/market/funding/history?{LINEAR}")
    assert ["0.0001"] == [one["fundingRate"] for one in announced]


def test_an_order_too_big_for_the_book_ends_canceled_with_its_fills() -> None:
    """The rest of a market order is dropped: Cancelled with cumExecQty > 0 (venues.md 3.3)."""
    engine = TwinEngine(
        rules=BYBIT_RULES,
        instruments={"BTCUSDT": BTC},
        paths={"BTCUSDT": PricePath(tape_of([1000.0]))},
        start_ns=START_NS,
        seed=7,
        faults=ThinBook(),
    )
    face = face_of(engine)

    enter(face, qty="40", stopLoss="990")

    row = get(face, f"/v5/order/history?{LINEAR}")[0]
    assert ("Cancelled", "EC_NoImmediateQtyToFill", "0") == (
        row["orderStatus"],
        row["rejectReason"],
        row["leavesQty"],
    )
    assert 0 < float(row["cumExecQty"]) < 40
    children = get(face, f"/v5/order/realtime?{LINEAR}&orderFilter=StopOrder")
    assert {row["cumExecQty"]} == {child["qty"] for child in children}


class ThinBook(NoFaults):
    """A book with a thousandth of its depth."""

    def depth_factor(self, symbol: str) -> float:
        """Thin it."""
        return 0.001
