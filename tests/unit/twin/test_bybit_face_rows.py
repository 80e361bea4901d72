"""The Bybit face's rows against recorded ones: no key a bot may read is missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.twin.bybit_world import START_NS, ask, engine_of, enter, face_of, log_in_args, post

from aegis.model.market import MINUTE_NS
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.parts import NoFaults
from aegis.twin.tape.model import FundingSeries

PRIVATE_TOPICS = ["order", "execution", "execution.fast", "position", "wallet"]


def heard(face: BybitFace, topic: str) -> list[dict[str, Any]]:
    """Return the rows of a private topic that a protected entry brings."""
    frames: list[dict[str, Any]] = []
    session = face.open_stream(
        "/v5/private", send=lambda frame: frames.append(json.loads(frame)), close=print
    )
    assert session is not None
    session.on_message(json.dumps({"op": "auth", "args": log_in_args()}))
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
    return list(ask(face, "GET", target, target.partition("?")[2])["result"]["list"])


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
    engine = engine_of(
        *(1000.0, 1000.0, 1000.0),
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
    engine = engine_of(1000.0, faults=ThinBook())
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
