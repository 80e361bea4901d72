"""Signature, key and time of requests to the Binance face (venues.md 2.2)."""

from typing import Any
from urllib.parse import urlencode

import pytest

from aegis.core.transport import HttpRequest
from aegis.twin.binance.auth import Gatekeeper, split_signature

# The vector of Binance's documentation (venues.md 2.2).
VECTOR_KEY = "dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83"
VECTOR_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
VECTOR_TEXT = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
    "&recvWindow=5000&timestamp=1591702613943"
)
VECTOR_SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


def _request(query: str, body: str) -> HttpRequest:
    target = f"/fapi/v1/order?{query}" if query else "/fapi/v1/order"
    return HttpRequest(method="POST", target=target, headers={}, body=body.encode())


@pytest.mark.parametrize("cut", [0, 40, len(VECTOR_TEXT)])
def test_signature_vector_over_query_and_body(cut: int) -> None:
    """The documented vector verifies however it is split: no '&' joins query and body."""
    gate = Gatekeeper(api_key=VECTOR_KEY, api_secret=VECTOR_SECRET, wall_ms=lambda: 0)
    query = VECTOR_TEXT[:cut]
    body = VECTOR_TEXT[cut:] + f"&signature={VECTOR_SIGNATURE}"
    payload, signature = split_signature(_request(query, body))
    assert VECTOR_SIGNATURE == gate.sign(payload)
    assert VECTOR_SIGNATURE == signature


def test_signature_is_taken_out_of_the_middle_and_bytes_stay_as_sent() -> None:
    """Percent-encoding is signed as it came in, wherever the signature stands."""
    payload, signature = split_signature(_request("a=%5B1%5d&signature=ff&b=+", ""))
    assert b"a=%5B1%5d&b=+" == payload
    assert "ff" == signature


@pytest.mark.parametrize(
    ("offset_ms", "expected"),
    [
        (0, 200),
        (999, 200),
        (-5000, 200),
        (1000, "Timestamp for this request was 1000ms ahead of the server's time."),
        (-5001, "Timestamp for this request is outside of the recvWindow."),
    ],
)
def test_time_window(rig: Any, offset_ms: int, expected: int | str) -> None:
    """Timestamps from -recvWindow to just under +1000 ms pass, else -1021."""
    shifted = rig.wall_ms + offset_ms
    rig.client.wall_ms = lambda: shifted
    status, answer = rig.client.call("GET", "/fapi/v3/balance")
    if expected == 200:
        assert expected == status
    else:
        assert (400, {"code": -1021, "msg": expected}) == (status, answer)


def test_bad_signature_key_and_missing_parts(rig: Any) -> None:
    """Each missing or wrong part has the venue's own code."""
    client = rig.client
    stamp = {"timestamp": rig.wall_ms}
    path = "/fapi/v3/balance"
    wrong = client.raw("GET", path, {**stamp, "signature": "ab" * 32})
    assert (400, -1022) == (wrong[0], wrong[1]["code"])
    unsigned = client.raw("GET", path, stamp)
    assert (400, -1102) == (unsigned[0], unsigned[1]["code"])
    timeless = client.raw("GET", path, {"signature": "ab"})
    assert (400, -1102) == (timeless[0], timeless[1]["code"])
    wide = client.call("GET", path, recvWindow=60_001)
    assert (400, -1131) == _codes(wide)
    assert (401, -2014) == _codes(client.raw("GET", path, stamp, key="no good"))
    assert (401, -2015) == _codes(client.raw("GET", path, stamp, key="another"))


def _codes(answer: tuple[int, Any]) -> tuple[int, int]:
    return answer[0], answer[1]["code"]


def test_public_paths_need_no_key_and_unknown_ones_are_404(rig: Any) -> None:
    """Public data are free; an unknown path has the venue's 404 shape."""
    assert (200, {}) == rig.client.raw("GET", "/fapi/v1/ping", {}, key="")
    assert (200, {}) == rig.client.raw("GET", "/api/v3/ping", {}, key="")
    status, answer = rig.client.raw("GET", "/fapi/v1/nothing", {})
    assert (404, -5000) == (status, answer["code"])


def test_usage_headers_count_weight_and_orders_per_minute(rig: Any) -> None:
    """X-MBX-USED-WEIGHT-1M adds up the known weights and starts anew with the minute."""
    client = rig.client
    client.call("GET", "/fapi/v3/account")
    assert "5" == client.last.headers["X-MBX-USED-WEIGHT-1M"]
    client.order()
    assert "5" == client.last.headers["X-MBX-USED-WEIGHT-1M"]
    assert "1" == client.last.headers["X-MBX-ORDER-COUNT-10S"]
    assert "1" == client.last.headers["X-MBX-ORDER-COUNT-1M"]
    rig.wall_ms += 60_000
    client.call("GET", "/fapi/v1/openOrders")
    assert "40" == client.last.headers["X-MBX-USED-WEIGHT-1M"]


def test_signed_text_may_stand_in_the_query_of_a_post(rig: Any) -> None:
    """ccxt signs the query, python-binance the body: both pass."""
    text = urlencode({"symbol": "BTCUSDT", "leverage": 7, "timestamp": rig.wall_ms})
    gate = Gatekeeper(api_key="", api_secret="twinsecret", wall_ms=lambda: 0)
    params = {"symbol": "BTCUSDT", "leverage": 7, "timestamp": rig.wall_ms}
    params["signature"] = gate.sign(text.encode())
    status, answer = rig.client.raw("POST", "/fapi/v1/leverage", params)
    assert (200, 7) == (status, answer["leverage"])
