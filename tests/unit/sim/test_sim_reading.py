"""Timelines as a person wants them: what was broken in its place, or a part alone."""

import pytest

from aegis.sim.reading import chosen, marked

LINES = (
    "2026-01-01T23:58:00.000Z bot 1   RunStarted mode=paper",
    "2026-01-01T23:59:00.500Z venue   order bybit BTCUSDT simu-1-2-EN1 id 7 side +1",
    "2026-01-01T23:59:00.500Z venue   FILL bybit BTCUSDT +1 at 5 by simu-1-2-EN1: 1 open",
    "2026-01-02T00:00:30.000Z FAULT   venue outage bybit 30 s",
    "2026-01-02T00:03:00.000Z bot 1   PositionOpened ETHUSDT-PERP.BYBIT simu-1-3 LONG 1 of 1",
)


def at(lines: list[str], law: str) -> int:
    """Return where the line of a broken law stands."""
    (found,) = [number for number, line in enumerate(lines) if f" BROKEN  {law}:" in line]
    return found


def test_a_violation_stands_before_the_time_it_names() -> None:
    """What follows is its story."""
    lines = marked(LINES, ["unprotected: bybit at 2026-01-01T23:59:00.500Z: 3 s"])

    assert 1 == at(lines, "unprotected")
    assert len(LINES) + 1 == len(lines)


def test_a_violation_without_a_time_stands_where_what_it_names_appears() -> None:
    """The last id it names: with that one the law was broken."""
    told = ["sign: built by simu-1-2, simu-1-3", "order twice: bybit simu-1-2-EN1 x2", "code: 1"]
    lines = marked(LINES, told)

    assert lines[at(lines, "sign") - 1] == LINES[-1]
    assert 3 == at(lines, "order twice")
    assert len(LINES) + 2 == len(lines)


def test_without_a_timeline_nothing_is_put_in() -> None:
    """A run that was not traced has no lines."""
    assert [] == marked((), ["unprotected: at 2026-01-01T23:59:00.500Z: 3 s"])


@pytest.mark.parametrize(
    ("around", "left"),
    [
        (None, [0, 1, 2, 3, 4]),
        ("2026-01-01T23:59:00.500Z", [0, 1, 2, 3]),
        ("00:03:00", [4]),
        ("23:58", [0, 1, 2]),
        ("12:00", []),
    ],
)
def test_two_minutes_before_and_after_are_shown(around: str | None, left: list[int]) -> None:
    """A time of the day alone is meant on whichever day the run passed it."""
    assert [LINES[at] for at in left] == list(chosen(LINES, around=around, symbol=None))


def test_other_symbols_are_left_out_and_what_names_none_stays() -> None:
    """Faults and the start concern every symbol."""
    left = list(chosen(LINES, around=None, symbol="ETHUSDT"))

    assert [LINES[0], LINES[3], LINES[4]] == left
