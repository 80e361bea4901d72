"""Binance's order socket: what is signed is sent, and an answer means what it means by REST."""

import hashlib
import hmac
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.clock import ManualClock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
)
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderRequest, OrderSide, OrderType, Purpose
from aegis.venue.binance.encode import encode
from aegis.venue.binance.errors import AnswerUnreadable, HttpFault, classify
from aegis.venue.binance.order_socket import (
    PLACE,
    AnswerReader,
    RateLimits,
    RequestWriter,
    Signer,
)

KEY, SECRET = "k" * 64, "s" * 64
START_NS = 1_756_684_800 * 1_000_000_000


def writer(offset_ms: int = 250) -> RequestWriter:
    """Return a writer whose clock stands still."""
    return RequestWriter(
        api_key=KEY,
        api_secret=SECRET,
        clock=ManualClock(START_NS),
        offset_ms=lambda: offset_ms,
        recv_window_ms=5000,
    )


def order(
    *, qty: str = "0.1", side: OrderSide = OrderSide.BUY, reduce_only: bool = False
) -> OrderRequest:
    """Return a market order."""
    return OrderRequest(
        instrument_id=instrument_id("BTCUSDT", Venue.BINANCE),
        client_order_id="test-1-1-EN0",
        purpose=Purpose.CLOSE_KILL if reduce_only else Purpose.ENTRY,
        side=side,
        order_type=OrderType.MARKET,
        qty=Decimal(qty),
        reduce_only=reduce_only,
    )


@given(secret=st.text(min_size=1, max_size=200), payload=st.text(max_size=500))
def test_the_quick_signature_is_the_standard_one(secret: str, payload: str) -> None:
    """Hashing the key once changes nothing of HMAC-SHA256, whatever the key's length."""
    expected = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    assert expected == Signer(secret).sign(payload)


def test_the_venue_s_own_example_is_signed_as_it_says() -> None:
    """The vector of the venue's documentation (venues.md 2.2)."""
    signer = Signer("2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9")
    payload = (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
        "&timestamp=1591702613943"
    )
    assert "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9" == signer.sign(
        payload
    )


def test_the_signature_is_over_the_sorted_parameters_at_the_venue_s_time() -> None:
    """Key, window and the corrected time are signed with all the rest (venues.md 2.2)."""
    stop = OrderRequest(
        instrument_id=instrument_id("BTCUSDT", Venue.BINANCE),
        client_order_id="test-1-1-SF0",
        purpose=Purpose.STOP_FLOOR,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=None,
        reduce_only=True,
        close_position=True,
        trigger_price=Decimal("59000.0"),
    )
    frame: dict[str, Any] = orjson.loads(writer().order("7", stop))
    assert ("7", "algoOrder.place") == (frame["id"], frame["method"])
    params = frame["params"]
    assert ("true", "59000", str(START_NS // 1_000_000 + 250)) == (
        params["closePosition"],
        params["triggerPrice"],
        params["timestamp"],
    )
    signature = params.pop("signature")
    text = "&".join(f"{name}={params[name]}" for name in sorted(params))
    assert hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest() == signature


@given(
    qty=st.decimals(min_value="0.00001", max_value="99999", allow_nan=False).map(str),
    side=st.sampled_from(OrderSide),
    reduce_only=st.booleans(),
)
def test_the_short_cut_for_market_orders_writes_what_the_long_way_writes(
    qty: str, side: OrderSide, *, reduce_only: bool
) -> None:
    """One frame, two ways to it: byte for byte the same."""
    request = order(qty=qty, side=side, reduce_only=reduce_only)
    write = writer()
    assert write.write("1", PLACE, encode(request).params) == write.order("1", request)


@pytest.mark.parametrize("poison", ["a&b", "a=b", 'a"b', "a\\b"])
def test_a_value_that_would_end_itself_is_never_sent(poison: str) -> None:
    """What is signed must read as the same parameters in JSON."""
    with pytest.raises(ValueError, match=r"a parameter of order\.cancel held"):
        writer().write("1", "order.cancel", {"origClientOrderId": poison})


def test_results_and_rate_limits_are_read() -> None:
    """The result goes to its request, the usage to whoever keeps the ledger."""
    seen: list[RateLimits] = []
    limits = [{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "count": 3}]
    frame = {"id": "5", "status": 200, "result": {"orderId": 1}, "rateLimits": limits}
    assert ("5", {"orderId": 1}) == AnswerReader(seen.append)(orjson.dumps(frame))
    assert [limits] == seen


def failure(status: int, code: int, msg: str, data: object = None) -> Exception:
    """Return what the reader makes of an error answer."""
    error: dict[str, object] = {"code": code, "msg": msg}
    if data is not None:
        error["data"] = data
    answered = AnswerReader()(orjson.dumps({"id": "1", "status": status, "error": error}))
    assert answered is not None
    assert isinstance(answered[1], HttpFault)
    return answered[1]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, -2019, VenueRefused),
        (400, -2021, VenueRefused),
        (408, -1007, OrderOutcomeUnknown),
        (500, -1000, OrderOutcomeUnknown),
        (503, -1008, VenueThrottled),
        (429, -1015, VenueThrottled),
        (418, -1003, VenueThrottled),
    ],
)
def test_an_error_means_what_it_means_by_rest(status: int, code: int, kind: type) -> None:
    """One table for both ways (R31, R42; venues.md 2.7)."""
    assert kind is type(classify(failure(status, code, "no"), "ws order.place", "cid"))


def test_a_refusal_keeps_its_meaning_and_a_ban_its_wait() -> None:
    """-4130 is EXISTS; retryAfter is a point of time on the venue's clock, not ours."""
    refused = classify(failure(400, -4130, "exists"), "ws algoOrder.place", "cid")
    assert isinstance(refused, VenueRefused)
    assert ("-4130", Refusal.EXISTS) == (refused.code, refused.refusal)
    data = {"serverTime": 1_000_000, "retryAfter": 1_007_500}
    banned = classify(failure(418, -1003, "banned", data), "ws order.place", "cid")
    assert isinstance(banned, VenueThrottled)
    assert 7.5 == banned.retry_after_s


@pytest.mark.parametrize("frame", [b"{", b"[]", b"3", b"\xff\xfe", b""])
def test_bytes_that_are_no_answer_raise_the_protocol_error_alone(frame: bytes) -> None:
    """Garbage is told as garbage."""
    with pytest.raises(VenueProtocolError):
        AnswerReader()(frame)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_nothing_or_the_protocol_error(frame: bytes) -> None:
    """No frame of a venue may raise anything else."""
    try:
        AnswerReader()(frame)
    except VenueProtocolError:
        return


def test_an_answer_without_a_result_is_unreadable_and_so_unknown() -> None:
    """Status 200 and nothing in it: an order may stand (R30)."""
    answered = AnswerReader()(orjson.dumps({"id": "1", "status": 200}))
    assert answered is not None
    assert isinstance(answered[1], AnswerUnreadable)
    assert OrderOutcomeUnknown is type(classify(answered[1], "ws order.place", "cid"))


def test_a_message_without_an_id_answers_nothing() -> None:
    """The venue may tell of a coming shutdown; that is no order of ours."""
    assert AnswerReader()(b'{"event":{"e":"serverShutdown"}}') is None
