"""What ccxt makes of the recorded orders and executions, beside what we make of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aegis.core.errors import VenueProtocolError
from aegis.model.account import OrderReport
from aegis.model.fill import Fill
from aegis.venue.binance.parse import parse_user
from aegis.venue.bybit.frames import DataFrame, read_frame, rows_of
from aegis.venue.bybit.parse import read_row

EXPECTED = "expected_ccxt_4.5.64.jsonl"
KINDS = {"ORDER_TRADE_UPDATE", "order", "execution"}
ENDED = {"closed", "canceled", "expired", "rejected"}


def facts_of(file: str, raw: bytes) -> list[object]:
    """Return what our reader of that venue says."""
    if file.startswith("binance"):
        return list(parse_user(raw, 1))
    frame = read_frame(raw)
    assert isinstance(frame, DataFrame)
    return [read_row(frame.topic, row, frame.ts_event) for row in rows_of(frame)]


def differences(fact: OrderReport | Fill, theirs: Mapping[str, Any]) -> list[str]:
    """Return every field in which ccxt disagrees."""
    if isinstance(fact, Fill):
        ours = {
            "id": fact.fill_id,
            "side": fact.side.value.lower(),
            "amount": float(fact.last_qty),
            "price": float(fact.last_px),
        }
        fee = theirs.get("fee") or {}
        if fee.get("cost") is not None:
            ours["fee"] = float(fact.fee)
            theirs = {**theirs, "fee": float(fee["cost"])}
    else:
        ours = {
            "id": fact.venue_order_id,
            "clientOrderId": fact.client_order_id,
            "side": fact.side.value.lower(),
            "filled": float(fact.filled_qty),
            "amount": None if fact.qty is None else float(fact.qty),
            "average": None if fact.average_px is None else float(fact.average_px),
        }
        if fact.trigger_price is not None:
            ours["triggerPrice"] = float(fact.trigger_price)
        if (theirs["status"] in ENDED) is not fact.status.is_terminal:
            return [f"status {fact.status}, ccxt {theirs['status']}"]
    return [
        f"{name} was {value}, ccxt {theirs.get(name)}"
        for name, value in ours.items()
        if theirs.get(name) != value
    ]


def test_ccxt_reads_the_recorded_orders_and_executions_alike(shared_data: Path) -> None:
    """A second opinion on each order and execution of the streams: nothing differs that counts."""
    path = shared_data / "wire" / EXPECTED
    if not path.is_file():
        pytest.skip(f"no {path}")
    raws: dict[str, bytes] = {}
    for file in (shared_data / "wire").glob("*_*s*.jsonl"):
        for line in file.read_text().splitlines():
            message = json.loads(line)
            if "raw" in message:
                raws[message["id"]] = message["raw"].encode()

    compared, odd = 0, {}
    for line in path.read_text().splitlines():
        expected = json.loads(line)
        if expected["kind"] not in KINDS or "rest" in expected["file"]:
            continue
        parsed = expected["parsed"]
        orders = parsed.get("orders", [parsed["order"]] if "order" in parsed else [])
        trades = parsed.get("trades", [parsed["trade"]] if "trade" in parsed else [])
        try:
            facts = facts_of(expected["file"], raws[expected["id"]])
        except VenueProtocolError as error:
            odd[expected["id"]] = [error.detail]
            continue
        for kind, theirs in ((OrderReport, orders), (Fill, trades)):
            ours = [fact for fact in facts if isinstance(fact, kind)]
            for fact, one in zip(ours, theirs, strict=False):
                compared += 1
                found = differences(fact, one)
                if found:
                    odd.setdefault(expected["id"], []).extend(found)
    assert {} == odd
    assert 25 < compared
