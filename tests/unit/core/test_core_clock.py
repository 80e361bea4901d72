"""Claims about aegis.core.clock: which clock runs how fast, and time as text."""

import asyncio

import pytest

from aegis.core.clock import (
    Clock,
    LiveClock,
    ManualClock,
    ScaledClock,
    VirtualClock,
    format_ns,
    loop_delay_s,
    parse_utc,
)
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual

ORIGIN = parse_utc("2026-09-01")


def test_the_virtual_clock_is_the_loop_plus_its_origin() -> None:
    """Market, wall and monotonic time move together, exact to the nanosecond."""

    async def main() -> tuple[int, int, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock: Clock = VirtualClock(ORIGIN, loop)
        await asyncio.sleep(90.000000001)
        return clock.now_ns(), clock.wall_ns(), clock.mono_ns()

    assert run_virtual(main()) == (ORIGIN + 90_000_000_001, ORIGIN + 90_000_000_001, 90_000_000_001)


@pytest.mark.parametrize("speed", [0.5, 1.0, 60.0, 86_400.0])
def test_the_scaled_clock_runs_at_its_speed(speed: float) -> None:
    """A market duration waited for in loop seconds is over on the market clock, exactly."""

    async def main() -> tuple[int, int]:
        clock: Clock = ScaledClock(ORIGIN, speed, asyncio.get_running_loop())
        await asyncio.sleep(loop_delay_s(clock, 86_400_000_000_000))
        return clock.now_ns(), clock.mono_ns()

    now_ns, mono_ns = run_virtual(main())

    assert parse_utc("2026-09-02") == now_ns
    assert round(86_400e9 / speed) == mono_ns


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    """Time neither stands nor runs backwards."""
    loop = VirtualTimeLoop()
    try:
        with pytest.raises(ValueError, match="speed was"):
            ScaledClock(ORIGIN, speed, loop)
    finally:
        loop.close()


def test_the_scaled_clock_on_a_real_loop_follows_the_machine() -> None:
    """Outside simulation it starts at the origin and does not step back."""
    loop = asyncio.new_event_loop()
    try:
        clock = ScaledClock(ORIGIN, 60.0, loop)
        first, second = clock.now_ns(), clock.now_ns()
    finally:
        loop.close()

    assert ORIGIN <= first <= second
    assert abs(clock.wall_ns() - LiveClock().wall_ns()) < 10**9


def test_the_live_clock_is_the_wall_clock() -> None:
    """Market time and signature time agree, and durations do not run backwards."""
    clock: Clock = LiveClock()

    assert abs(clock.wall_ns() - clock.now_ns()) < 10**9
    first, second = clock.mono_ns(), clock.mono_ns()
    assert first <= second
    assert clock.speed == 1.0


def test_the_manual_clock_moves_when_told() -> None:
    """And only forward."""
    clock = ManualClock(100)
    clock.advance_ns(5)

    assert (clock.now_ns(), clock.wall_ns(), clock.mono_ns()) == (105, 105, 5)
    with pytest.raises(ValueError, match="-1 ns"):
        clock.advance_ns(-1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", 0),
        ("1970-01-02T00:00:00Z", 86_400_000_000_000),
        ("1970-01-01T00:01", 60_000_000_000),
        ("1970-01-01 01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        (" 1970-01-01T00:00:00.123456789z ", 123_456_789),
    ],
)
def test_parse_utc_reads_iso(text: str, expected: int) -> None:
    """Date only, with and without offset, to the nanosecond."""
    assert expected == parse_utc(text)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-09-01T25:00", "1756684800"])
def test_parse_utc_says_what_it_understands(text: str) -> None:
    """A wrong time is a clear error and never a guess."""
    with pytest.raises(ValueError, match=r"time was .*must be like 2026-09-01"):
        parse_utc(text)


def test_format_ns_cuts_to_the_millisecond() -> None:
    """Rounding up could show a time that has not come yet."""
    assert format_ns(ORIGIN + 999_999_999) == "2026-09-01T00:00:00.999Z"
    assert format_ns(-1) == "1969-12-31T23:59:59.999Z"
