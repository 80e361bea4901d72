"""The Binance face's rate limits when they are enforced: 429, then a ban."""

from collections.abc import Callable
from typing import Any

import pytest

from aegis.twin.binance.errors import ApiError
from aegis.twin.binance.face import BinanceFace
from aegis.twin.binance.limits import BAN_S, BAN_S_MAX, IGNORED_MAX, UsageCounter

MINUTE_MS = 60_000


class Clock:
    """A wall clock that moves when told."""

    def __init__(self) -> None:
        self.ms = 1_000 * MINUTE_MS

    def __call__(self) -> int:
        """Return the time."""
        return self.ms


def refusal(admit: Callable[[], None]) -> ApiError:
    """Return what *admit* was refused with."""
    with pytest.raises(ApiError) as caught:
        admit()
    return caught.value


def test_weight_beyond_the_minute_is_429_until_it_ends() -> None:
    """-1003 with the seconds to wait; the next minute is free again (venues.md 2.2)."""
    clock = Clock()
    usage = UsageCounter(clock, enforced=True)
    usage.admit(weight=2400, orders=0)
    clock.ms += 15_500
    refused = refusal(lambda: usage.admit(weight=1, orders=0))
    clock.ms += 44_500
    usage.admit(weight=1, orders=0)

    assert (-1003, 429, 45) == (refused.code, refused.status, refused.retry_after_s)
    assert 1 == usage.weight_1m


@pytest.mark.parametrize(("gap_ms", "count", "wait_s"), [(0, 300, 10), (10_000, 1200, 10)])
def test_too_many_orders_are_1015(gap_ms: int, count: int, wait_s: int) -> None:
    """300 in ten seconds, 1200 in a minute; queries go on (venues.md 2.2)."""
    clock = Clock()
    usage = UsageCounter(clock, enforced=True)
    for number in range(count):
        if number and number % 240 == 0:
            clock.ms += gap_ms
        usage.admit(weight=0, orders=1)
    if gap_ms:
        clock.ms += gap_ms
    refused = refusal(lambda: usage.admit(weight=0, orders=1))
    usage.admit(weight=1, orders=0)

    assert (-1015, 429, wait_s) == (refused.code, refused.status, refused.retry_after_s)


def test_who_goes_on_is_banned_for_longer_each_time() -> None:
    """418 after ignored 429s; the ban doubles up to three days (venues.md 2.2)."""
    clock = Clock()
    usage = UsageCounter(clock, enforced=True)
    bans = []
    for _ in range(14):
        codes = [
            refusal(lambda: usage.admit(weight=2401, orders=0)).status
            for _ in range(IGNORED_MAX + 1)
        ]
        assert [429] * IGNORED_MAX + [418] == codes
        banned = refusal(lambda: usage.admit(weight=0, orders=0))
        assert banned.retry_after_s is not None
        assert "IP banned until" in banned.message
        bans.append(banned.retry_after_s)
        clock.ms += banned.retry_after_s * 1000

    assert [BAN_S, 2 * BAN_S, 4 * BAN_S] == bans[:3]
    assert BAN_S_MAX == bans[-1]


def test_without_the_switch_it_only_counts() -> None:
    """The headers are right and nothing is refused."""
    usage = UsageCounter(Clock())
    usage.admit(weight=5000, orders=400)

    assert ("5000", "400") == (
        usage.headers(with_orders=True)["X-MBX-USED-WEIGHT-1M"],
        usage.headers(with_orders=True)["X-MBX-ORDER-COUNT-10S"],
    )


def test_the_face_answers_429_and_418_with_retry_after(rig: Any) -> None:
    """Over HTTP they carry Retry-After, code and the used weight (R31)."""
    rig.client.face = BinanceFace(
        rig.engine,
        api_key="twinkey",
        api_secret="twinsecret",
        wall_ms=rig.now_wall_ms,
        limits_enforced=True,
    )

    def ask() -> tuple[int, Any]:
        asked = {"symbol": "BTCUSDT", "limit": 1000}
        answer: tuple[int, Any] = rig.client.raw("GET", "/fapi/v1/depth", asked)
        return answer

    statuses = [ask()[0] for _ in range(120 + IGNORED_MAX + 1)]
    headers = rig.client.last.headers

    assert [200] * 120 + [429] * IGNORED_MAX + [418] == statuses
    assert str(BAN_S) == headers["Retry-After"]
    assert (418, -1003) == (ask()[0], ask()[1]["code"])
