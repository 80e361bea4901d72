"""The Bybit face's table of refusals, its signatures, ids and parameters: no engine needed."""

import hashlib
import hmac
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.transport import HttpRequest
from aegis.model.order import OrderSide, TriggerBy
from aegis.twin.bybit.auth import BybitAuth
from aegis.twin.bybit.json import Ids
from aegis.twin.bybit.limits import RateLimits
from aegis.twin.bybit.params import Params, params_of
from aegis.twin.bybit.refusal import REFUSALS, BybitRefused, RefusalContext, refusal_of
from aegis.twin.engine.api import Reason, Refused

NOW_MS = 1_763_640_000_000
AUTH = BybitAuth(api_key="key", api_secret="secret")


def sign(payload: str) -> str:
    """Sign as the venue's documentation says."""
    return hmac.new(b"secret", payload.encode(), hashlib.sha256).hexdigest()


def signed_get(query: str, *, stamp_ms: int = NOW_MS, key: str = "key") -> HttpRequest:
    """Return a signed GET with *query* as it is."""
    return HttpRequest(
        method="GET",
        target=f"/v5/order/realtime?{query}",
        headers={
            "x-bapi-api-key": key,
            "x-bapi-timestamp": str(stamp_ms),
            "x-bapi-recv-window": "5000",
            "x-bapi-sign": sign(f"{stamp_ms}{key}5000{query}"),
        },
    )


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_the_engine_has_an_answer(reason: Reason) -> None:
    """No refusal of the engine leaves the face without a retCode and a text (R60)."""
    refused = refusal_of(Refused(reason), RefusalContext())

    assert reason in REFUSALS
    assert refused.ret_code != 0
    assert refused.ret_msg


def test_a_stop_on_the_wrong_side_is_told_in_the_venues_words() -> None:
    """The text a bot meets after slippage is the recorded one (venues.md 3.4)."""
    context = RefusalContext(
        side=OrderSide.BUY, stop=Decimal("3.24"), stop_base_price=1.616, stop_by=TriggerBy.LAST
    )

    refused = refusal_of(Refused(Reason.STOP_WRONG_SIDE), context)

    assert 10001 == refused.ret_code
    assert (
        "StopLoss:324000000 set for Buy position should lower than base_price:161600000??LastPrice"
    ) == refused.ret_msg


@pytest.mark.parametrize(
    ("direction", "code", "text"),
    [
        (1, 110092, "expect Rising, but trigger_price[150000000] <= current[200000000]??MarkPrice"),
        (
            -1,
            110093,
            "expect Falling, but trigger_price[150000000] >= current[200000000]??MarkPrice",
        ),
    ],
)
def test_a_trigger_already_passed_names_the_direction(direction: int, code: int, text: str) -> None:
    """110092 rises, 110093 falls: the bot closes at market on either (venues.md 3.8)."""
    context = RefusalContext(
        trigger=Decimal("1.5"),
        trigger_direction=direction,
        trigger_by=TriggerBy.MARK,
        trigger_base_price=2.0,
    )

    refused = refusal_of(Refused(Reason.WOULD_TRIGGER), context)

    assert (code, text) == (refused.ret_code, refused.ret_msg)


def test_an_unchanged_protection_is_34040_and_an_unchanged_amend_10001() -> None:
    """trading-stop and amend tell "nothing changed" apart (venues.md 3.4)."""
    assert 34040 == refusal_of(Refused(Reason.NOT_MODIFIED)).ret_code
    assert 10001 == refusal_of(Refused(Reason.NOT_MODIFIED), RefusalContext(amending=True)).ret_code


@given(query=st.text(alphabet="abc=&%3A0.", max_size=30))
def test_a_signature_over_the_raw_query_is_accepted(query: str) -> None:
    """The check takes the query as sent, never decoded and written again."""
    AUTH.check_request(signed_get(query), NOW_MS)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (signed_get("a=1", key="other"), 10003),
        (signed_get("a=1", stamp_ms=NOW_MS - 5001), 10002),
        (signed_get("a=1", stamp_ms=NOW_MS + 1000), 10002),
        (HttpRequest(method="GET", target="/v5/order/realtime", headers={}), 10003),
    ],
)
def test_a_wrong_key_or_time_is_refused(request_: HttpRequest, code: int) -> None:
    """Key and time window are checked: server - window <= timestamp < server + 1 s."""
    with pytest.raises(BybitRefused) as caught:
        AUTH.check_request(request_, NOW_MS)

    assert code == caught.value.ret_code


@pytest.mark.parametrize("stamp_ms", [NOW_MS - 5000, NOW_MS + 999])
def test_the_edges_of_the_window_are_inside(stamp_ms: int) -> None:
    """The oldest and the youngest allowed timestamps pass."""
    AUTH.check_request(signed_get("a=1", stamp_ms=stamp_ms), NOW_MS)


def test_a_changed_body_is_10004() -> None:
    """A body that is not the signed one is refused, a space is enough."""
    body = b'{"a": 1}'
    headers = {
        "x-bapi-api-key": "key",
        "x-bapi-timestamp": str(NOW_MS),
        "x-bapi-recv-window": "5000",
        "x-bapi-sign": sign(f"{NOW_MS}key5000" + '{"a":1}'),
    }

    with pytest.raises(BybitRefused) as caught:
        AUTH.check_request(
            HttpRequest(method="POST", target="/v5/order/create", headers=headers, body=body),
            NOW_MS,
        )

    assert 10004 == caught.value.ret_code


@pytest.mark.parametrize("expires", [NOW_MS + 1, str(NOW_MS + 1)])
def test_a_stream_auth_may_expire_as_number_or_text(expires: int | str) -> None:
    """pybit sends a number, ccxt a text (venues.md 3.2)."""
    AUTH.check_stream(["key", expires, sign(f"GET/realtime{expires}")], NOW_MS)


def test_an_expired_stream_auth_is_refused() -> None:
    """A clock that lags behind cannot log in."""
    with pytest.raises(BybitRefused) as caught:
        AUTH.check_stream(["key", NOW_MS, sign(f"GET/realtime{NOW_MS}")], NOW_MS)

    assert 10002 == caught.value.ret_code


@given(number=st.integers(0, 2**56))
def test_an_order_id_reads_back(number: int) -> None:
    """The uuid of an order gives its number again, and only for its own account (R30)."""
    mine, other = Ids("key"), Ids("another key")

    assert number == mine.order_number(mine.order(number))
    assert mine.order_number(other.order(number)) is None
    assert mine.order_number(mine.execution(number)) is None


def test_the_eleventh_order_in_a_second_is_too_many_when_enforced() -> None:
    """Headers count down and tell when the second ends; enforced limits answer 10006."""
    limits = RateLimits(enforced=True)
    for _ in range(10):
        limits.count("/v5/order/create", NOW_MS)

    assert {
        "X-Bapi-Limit": "10",
        "X-Bapi-Limit-Status": "0",
        "X-Bapi-Limit-Reset-Timestamp": str(NOW_MS + 1000),
    } == limits.headers("/v5/order/create", NOW_MS)
    with pytest.raises(BybitRefused, match="Too many visits!"):
        limits.count("/v5/order/create", NOW_MS)
    limits.count("/v5/order/create", NOW_MS + 1000)


@pytest.mark.parametrize("value", ["NaN", "-1", "abc", "Infinity", "1e"])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    """No odd number passes for a price or a quantity."""
    with pytest.raises(BybitRefused, match="qty"):
        Params({"qty": value}).decimal("qty")


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff"])
def test_a_body_that_is_no_object_is_10001(body: bytes) -> None:
    """A broken body is a parameter error, not a crash."""
    with pytest.raises(BybitRefused) as caught:
        params_of(HttpRequest(method="POST", target="/v5/order/create", headers={}, body=body))

    assert 10001 == caught.value.ret_code
