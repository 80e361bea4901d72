"""Whatever comes down the wire, reading it raises nothing but VenueProtocolError."""

import contextlib
from typing import Any

import msgspec
import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from aegis.core.errors import VenueProtocolError
from aegis.venue.bybit.frames import DataFrame, read_frame, rows_of
from aegis.venue.bybit.parse import read_row
from aegis.venue.bybit.parse_market import MarketReader

TOPICS = ("orderbook.1.X", "tickers.X", "kline.5.X", "publicTrade.X")
PRIVATE = ("order", "execution", "position", "wallet")
# fmt: off
NAMES = (
    "symbol", "category", "orderId", "orderLinkId", "side", "orderType", "orderStatus", "qty",
    "cumExecQty", "avgPrice", "stopOrderType", "triggerDirection", "updatedTime", "execId",
    "execType", "execTime", "execPrice", "execQty", "execFee", "createType", "size",
    "positionIdx", "entryPrice", "leverage", "stopLoss", "coin", "walletBalance", "equity", "s",
    "b", "a", "start", "open", "high", "low", "close", "volume", "confirm", "timestamp",
    "markPrice", "lastPrice", "T", "S", "v", "p", "i",
)
# fmt: on
TEXTS = st.sampled_from(
    ["", "0", "1.5", "-1", "NaN", "1e999999", "x", "Buy", "New", "Trade", "Funding", "Market"]
) | st.text(max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=20,
)


def _read_all(raw: bytes) -> None:
    try:
        message = read_frame(raw)
    except VenueProtocolError:
        return
    if not isinstance(message, DataFrame):
        return
    with contextlib.suppress(VenueProtocolError):
        MarketReader().read(message, 1)
    try:
        rows = rows_of(message)
    except VenueProtocolError:
        return
    for row in rows:
        try:
            read_row(message.topic, row, 1)
        except VenueProtocolError:
            continue


@given(st.binary(max_size=200))
@example(b"[" * 5000)
@example(b'{"topic":"order","data":' + b"[" * 5000)
@example(b'{"topic":"\xff"}')
@example(b"")
def test_any_bytes(raw: bytes) -> None:
    """Malformed bytes raise only VenueProtocolError."""
    _read_all(raw)


@given(st.sampled_from(TOPICS + PRIVATE), st.sampled_from(["snapshot", "delta"]), VALUES)
def test_any_json_under_a_known_topic(topic: str, kind: str, data: Any) -> None:
    """Well-formed JSON of the wrong shape raises only VenueProtocolError."""
    _read_all(orjson.dumps({"topic": topic, "type": kind, "ts": 1, "data": data}))


@given(st.sampled_from(PRIVATE), st.dictionaries(st.sampled_from(NAMES), TEXTS))
def test_any_row_of_texts(topic: str, row: dict[str, str]) -> None:
    """A row of arbitrary texts is read or refused, never a defect."""
    complete = dict.fromkeys(NAMES, "1") | {"category": "linear", "positionIdx": 0} | row
    try:
        read_row(topic, msgspec.Raw(orjson.dumps(complete)), 1)
    except VenueProtocolError:
        return
