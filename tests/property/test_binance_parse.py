"""Laws of decoding: whatever bytes come, only VenueProtocolError comes out."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aegis.core.errors import VenueProtocolError
from aegis.model.account import OrderReport
from aegis.model.fill import Fill
from aegis.model.order import OrderStatus
from aegis.venue.binance.parse import parse_user
from aegis.venue.binance.parse_market import parse_market

KINDS = [
    "ORDER_TRADE_UPDATE",
    "ALGO_UPDATE",
    "ACCOUNT_UPDATE",
    "TRADE_LITE",
    "ACCOUNT_CONFIG_UPDATE",
    "MARGIN_CALL",
    "listenKeyExpired",
    "CONDITIONAL_ORDER_TRIGGER_REJECT",
    "bookTicker",
    "markPriceUpdate",
    "kline",
    "newKindOfEvent",
]
NUMBERS = st.sampled_from(
    ["0", "1", "-1", "0.00661", "NaN", "inf", "-inf", "1e999999", "1e-999999", "x", "", "9" * 60]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), NUMBERS, st.text(max_size=6), st.floats()
)
FIELDS = st.sampled_from([*"ETsScoqpxXizLlntmNRb", "ap", "aq", "tp", "ps", "cp", "a", "m"])
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=12)
    ),
    max_leaves=30,
)

ORDER = {
    "s": "BTCUSDT",
    "c": "a",
    "S": "BUY",
    "o": "MARKET",
    "q": "1",
    "x": "TRADE",
    "X": "FILLED",
    "i": 1,
    "z": "1",
    "T": 1,
    "t": 7,
    "l": "1",
    "L": "2",
    "ap": "2",
    "n": "0.1",
    "N": "USDT",
}


def parse_both(frame: bytes) -> list[object]:
    """Parse as either stream; a VenueProtocolError is an allowed end."""
    facts: list[object] = []
    try:
        facts += parse_user(frame, 1)
    except VenueProtocolError:
        facts.append(None)
    try:
        facts.append(parse_market(frame, 1))
    except VenueProtocolError:
        facts.append(None)
    return facts


@given(st.binary(max_size=200))
def test_any_bytes_give_facts_or_a_protocol_error(frame: bytes) -> None:
    """Bytes that are no message never raise anything else (R5)."""
    assert parse_both(frame)


@given(st.integers(min_value=1, max_value=50_000), st.sampled_from([b"[", b'{"e":', b'{"data":']))
def test_deep_nesting_is_a_protocol_error(depth: int, opening: bytes) -> None:
    """Nesting of any depth neither overflows the stack nor passes."""
    assert [None, None] == parse_both(opening * depth)


@given(st.sampled_from(KINDS), st.dictionaries(FIELDS, OBJECTS, max_size=12), st.booleans())
def test_any_object_of_any_kind_gives_facts_or_a_protocol_error(
    kind: str, fields: dict[str, Any], wrapped: bool
) -> None:
    """Fields of wrong type, absent, not finite or absurd are never believed."""
    message: dict[str, Any] = {**fields, "e": kind}
    if wrapped:
        message = {"stream": "x", "data": message}
    # A TRADE_LITE gives no fact at all, so only the absence of other exceptions is claimed.
    parse_both(json.dumps(message).encode())


@given(st.dictionaries(st.sampled_from(sorted(ORDER)), st.one_of(NUMBERS, LEAVES), max_size=4))
def test_no_mutation_of_a_trade_gives_a_fill_without_quantity_and_price(
    changes: dict[str, Any],
) -> None:
    """FILLED needs a quantity and a price above 0, whatever the frame claims (R32)."""
    frame = json.dumps({"e": "ORDER_TRADE_UPDATE", "E": 1, "o": {**ORDER, **changes}}).encode()
    for fact in parse_both(frame):
        if isinstance(fact, Fill):
            assert fact.last_qty > 0
            assert fact.last_px > 0
            assert fact.fee.is_finite()
        if isinstance(fact, OrderReport) and fact.status is OrderStatus.FILLED:
            assert fact.filled_qty > 0
            assert fact.average_px is not None
            assert fact.average_px > 0
