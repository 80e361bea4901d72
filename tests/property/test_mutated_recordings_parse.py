"""Real messages, damaged in every way: reading them raises nothing but the protocol error (R5)."""

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegis.core.errors import VenueProtocolError
from aegis.model.account import ReportSource
from aegis.model.instrument import Venue, instrument_id
from aegis.model.market import MINUTE_NS
from aegis.venue.binance import parse_rest
from aegis.venue.binance.parse import parse_user
from aegis.venue.binance.parse_market import parse_depth_snapshot, parse_klines, parse_market
from aegis.venue.bybit import parse, wire
from aegis.venue.bybit.frames import Answer, DataFrame, convert, read_frame, rows_of
from aegis.venue.bybit.parse_market import MarketReader, closed_candles, mark_price_of

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
BTC_BYBIT = instrument_id("BTCUSDT", Venue.BYBIT)
MESSAGE_BYTES_MAX = 20_000
"""Lists of every instrument are read whole elsewhere; here they would only be slow."""

Read = Callable[[Any], object]

BINANCE_REST: Mapping[str, Read] = {
    "order": lambda each: parse_rest.parse_order(each, ReportSource.QUERY),
    "algo order": lambda each: parse_rest.parse_algo_order(each, ReportSource.QUERY),
    "trades": lambda each: [parse_rest.fill_of(t, "") for t in parse_rest.parse_trades(each)],
    "configs": parse_rest.parse_symbol_configs,
    "positions": lambda each: parse_rest.parse_positions(each, {}),
    "balance": lambda each: parse_rest.parse_balance(each, Decimal(0), 1),
    "exchange info": parse_rest.parse_exchange_info,
    "brackets": parse_rest.parse_brackets,
    "klines": lambda each: parse_klines(each, BTC, MINUTE_NS),
    "depth": lambda each: parse_depth_snapshot(each, BTC, 1),
}
BYBIT_REST: Mapping[str, Read] = {
    "order": lambda each: parse.read_rest(
        each, wire.OrderRow, lambda r: parse.order_report(r, ReportSource.QUERY, 1), "x"
    ),
    "execution": lambda each: parse.read_rest(each, wire.ExecutionRow, parse.execution, "x"),
    "position": lambda each: parse.read_rest(
        each, wire.PositionRow, lambda r: parse.position_report(r, 1), "x"
    ),
    "wallet": lambda each: parse.read_rest(
        each, wire.WalletRow, lambda r: parse.balance_report(r, 1), "x"
    ),
    "instrument": lambda each: parse.read_rest(each, wire.InstrumentRow, lambda r: r, "x"),
}
BYBIT_RESULTS: Mapping[str, Read] = {
    "page": lambda each: Answer(operation="x", result=each).read(wire.Page),
    "candles": lambda each: closed_candles(
        Answer(operation="x", result=each), BTC_BYBIT, MINUTE_NS, 2**62
    ),
    "mark": lambda each: mark_price_of(Answer(operation="x", result=each), "BTCUSDT"),
}


@cache
def recorded(folder: Path, *names: str) -> tuple[str, ...]:
    """Return the raw texts of some recordings."""
    lines = [line for name in names for line in (folder / "wire" / name).read_text().splitlines()]
    texts = (json.loads(line)["raw"] for line in lines)
    return tuple(text for text in texts if len(text) <= MESSAGE_BYTES_MAX)


POISON: list[object] = [
    None,
    True,
    -1,
    0,
    2**63,
    2**200,
    "",
    "x",
    "NaN",
    "Infinity",
    "-1",
    "1e999999",
    "1e-999999",
    "9" * 400,
    math.nan,
    math.inf,
    1e308,
    [],
    [[]],
    {},
    {"a": {"a": {}}},
    "\ud800",
    "\x00",
]


@attrs.frozen
class Damage:
    """What is done to a message: *at* picks the place, *poison* what stands there then."""

    kind: str
    at: int
    poison: object


DAMAGES = st.builds(
    Damage,
    st.sampled_from(["cut", "flip", "insert", "replace", "remove", "nest", "double"]),
    st.integers(min_value=0, max_value=2**32),
    st.sampled_from(POISON),
)


def places(value: object, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a decoded message."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    for key in keys:
        found.append((value, key))
        places(value[key], found)  # type: ignore[index]  # keys exist for containers alone
    return found


def damaged(text: str, damage: Damage) -> bytes:
    """Return *text* with *damage* done."""
    raw = text.encode()
    at = damage.at % max(len(raw), 1)
    match damage.kind:
        case "cut":
            return raw[:at]
        case "flip" if raw:
            return raw[:at] + bytes([raw[at] ^ (1 + damage.at % 255)]) + raw[at + 1 :]
        case "insert":
            return raw[:at] + b"[" * 3000 + raw[at:]
        case "double" | "flip":
            return raw + raw
        case _:
            return _poisoned(text, damage)


def _poisoned(text: str, damage: Damage) -> bytes:
    content = json.loads(text)
    found = places(content, [])
    if found:
        holder, key = found[damage.at % len(found)]
        if damage.kind == "remove":
            del holder[key]
        elif damage.kind == "nest":
            holder[key] = [holder[key]]
        else:
            holder[key] = damage.poison
    return json.dumps(content).encode()


def read_bybit_frame(raw: bytes) -> None:
    """Read a frame as either Bybit stream would."""
    message = read_frame(raw)
    if not isinstance(message, DataFrame):
        return
    frame: DataFrame = message
    only_protocol_errors(lambda _: MarketReader().read(frame, 1), raw)
    only_protocol_errors(
        lambda _: [parse.read_row(frame.topic, row, 1) for row in rows_of(frame)], raw
    )


def only_protocol_errors(read: Read, value: object) -> None:
    """Read *value*; a VenueProtocolError is the one error allowed."""
    with contextlib.suppress(VenueProtocolError):
        read(value)


FRAME_READERS: Mapping[str, tuple[tuple[str, ...], tuple[Read, ...]]] = {
    "binance": (
        ("binance_usdm_ws.jsonl", "binance_usdm_order_lifecycles.jsonl"),
        (lambda raw: parse_user(raw, 1), lambda raw: parse_market(raw, 1)),
    ),
    "bybit": (("bybit_v5_ws.jsonl",), (read_bybit_frame,)),
}


@pytest.mark.parametrize("venue", ["binance", "bybit"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pick=st.integers(min_value=0), damages=st.lists(DAMAGES, min_size=1, max_size=2))
def test_a_damaged_frame_raises_only_the_protocol_error(
    shared_data: Path, venue: str, pick: int, damages: list[Damage]
) -> None:
    """Cut, flipped, nested, poisoned: a fact, an Unknown or the protocol error."""
    files, readers = FRAME_READERS[venue]
    texts = recorded(shared_data, *files)
    text = texts[pick % len(texts)]
    raw = damaged(text, damages[0])
    for more in damages[1:]:
        try:
            raw = damaged(raw.decode(), more)
        except (ValueError, RecursionError):
            break
    for read in readers:
        only_protocol_errors(read, raw)


@pytest.mark.parametrize("venue", ["binance", "bybit"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pick=st.integers(min_value=0), damage=DAMAGES)
def test_a_damaged_answer_raises_only_the_protocol_error(
    shared_data: Path, venue: str, pick: int, damage: Damage
) -> None:
    """What a REST answer holds is believed field by field, or not at all (R43)."""
    texts = recorded(
        shared_data, "binance_usdm_rest.jsonl" if venue == "binance" else "bybit_v5_rest.jsonl"
    )
    content = json.loads(texts[pick % len(texts)])
    found = places(content, [])
    if found and damage.kind != "cut":
        holder, key = found[damage.at % len(found)]
        holder[key] = [holder[key]] if damage.kind == "nest" else damage.poison
    if venue == "binance":
        for read in BINANCE_REST.values():
            only_protocol_errors(read, content)
        return
    result = content.get("result", content) if isinstance(content, dict) else content
    for read in BYBIT_RESULTS.values():
        only_protocol_errors(read, result)
    rows = result.get("list") if isinstance(result, dict) else result
    for row in rows if isinstance(rows, list) else [result]:
        for read in BYBIT_REST.values():
            only_protocol_errors(read, row)


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_every_recorded_answer_passes_every_reader(shared_data: Path, venue: str) -> None:
    """An answer of another endpoint is refused as such; the right reader finds what it needs."""
    name = "binance_usdm_rest.jsonl" if venue == "binance" else "bybit_v5_rest.jsonl"
    readers = BINANCE_REST if venue == "binance" else BYBIT_REST
    read_by: dict[str, int] = dict.fromkeys(readers, 0)
    lines = (shared_data / "wire" / name).read_text().splitlines()
    for line in lines:
        content = json.loads(json.loads(line)["raw"])
        rows = [content]
        if venue == "bybit":
            result = content.get("result", content) if isinstance(content, dict) else content
            listed = result.get("list") if isinstance(result, dict) else None
            rows = listed if isinstance(listed, list) else [result]
        for row in rows:
            for kind, read in readers.items():
                try:
                    read(row)
                except VenueProtocolError:
                    continue
                read_by[kind] += 1
    assert all(count > 0 for kind, count in read_by.items() if kind != "brackets"), read_by


@pytest.mark.parametrize("text", ["\ud800", "\x00", "9" * 5000])
def test_text_no_encoder_takes_raises_only_the_protocol_error(text: str) -> None:
    """JSON may name half a character; an SDK hands it over as text that cannot be encoded."""
    for shape in (wire.OrderRow, wire.ExecutionRow, wire.PositionRow, wire.WalletRow):
        content = {field.encode_name: text for field in msgspec.structs.fields(shape)}
        with contextlib.suppress(VenueProtocolError):
            convert(content, shape, "x")
    for binance in (BINANCE_REST["order"], BINANCE_REST["algo order"]):
        only_protocol_errors(binance, dict.fromkeys(("symbol", "orderId", "status"), text))


def test_the_rows_of_a_private_frame_are_bounded_by_the_frame() -> None:
    """A frame of ten thousand empty rows is refused row by row, not a defect."""
    raw = orjson.dumps({"topic": "order", "creationTime": 1, "data": [{}] * 10_000})
    message = read_frame(raw)
    assert isinstance(message, DataFrame)
    rows = rows_of(message)
    assert 10_000 == len(rows)
    with pytest.raises(VenueProtocolError):
        parse.read_row("order", msgspec.Raw(b"{}"), 1)
