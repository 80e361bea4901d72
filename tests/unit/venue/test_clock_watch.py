"""The clock against a venue's: measured, applied, warned of, refused."""

import asyncio
import random
from collections.abc import Callable

import pytest

from aegis.core.clock import NS_PER_MS, VirtualClock
from aegis.core.errors import VenueRefused, VenueUnreachable
from aegis.core.event import Event
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import ClockMeasured, RequestsPaused, RequestsResumed
from aegis.model.instrument import Venue
from aegis.venue.binance.limits import new_ledger
from aegis.venue.clock_watch import (
    MEASURE_EVERY_S,
    ROUND_TRIP_MAX_NS,
    ClockWatch,
    Reading,
    judge,
    measure,
)
from aegis.venue.gate import RequestGate

NOW_NS = 1_700_000_000_000 * NS_PER_MS


def reading(offset_ms: int, round_trip_ms: int = 20) -> Reading:
    """Return a look at a venue whose clock is *offset_ms* ahead of ours."""
    after_ns = NOW_NS + round_trip_ms * NS_PER_MS
    venue_ns = NOW_NS + (round_trip_ms // 2 + offset_ms) * NS_PER_MS
    return Reading(before_ns=NOW_NS, after_ns=after_ns, venue_ns=venue_ns)


def measured(*answers: Reading | Exception) -> tuple[Reading, int]:
    """Return what is made of *answers*, and how many were asked for."""
    asked: list[None] = []

    async def read() -> Reading:
        asked.append(None)
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return asyncio.run(measure(read)), len(asked)


UNREACHABLE = VenueUnreachable(venue="BINANCE", operation="time")
SLOW_MS = ROUND_TRIP_MAX_NS // NS_PER_MS + 100


def test_the_offset_is_taken_halfway() -> None:
    """The round trip is halved out of the offset."""
    assert 250 * NS_PER_MS == reading(250, 180).offset_ns


@pytest.mark.parametrize(
    ("answers", "round_trip_ms", "asked"),
    [
        ([reading(5, 20)], 20, 1),
        ([reading(5, SLOW_MS), reading(5, 30)], 30, 2),
        ([reading(5, SLOW_MS), reading(5, SLOW_MS + 9), reading(5, SLOW_MS + 5)], SLOW_MS, 3),
        ([reading(5, SLOW_MS), UNREACHABLE], SLOW_MS, 2),
        ([reading(5, -3000), reading(5, 40)], 40, 2),
    ],
    ids=["quick", "slow then quick", "always slow", "lost", "set back"],
)
def test_a_measurement_with_a_long_round_trip_is_repeated(
    answers: list[Reading | Exception], round_trip_ms: int, asked: int
) -> None:
    """The best of at most three counts."""
    best, count = measured(*answers)
    assert (round_trip_ms * NS_PER_MS, asked) == (best.round_trip_ns, count)


def test_a_venue_that_cannot_be_asked_at_all_is_an_error() -> None:
    """R43: no measurement is no offset of 0."""
    with pytest.raises(VenueUnreachable):
        measured(UNREACHABLE)


@pytest.mark.parametrize(
    ("offset_ms", "warned", "refused"),
    [
        (0, False, False),
        (500, False, False),
        (-501, True, False),
        (5000, True, False),
        (5001, False, True),
        (-7200, False, True),
    ],
)
def test_the_verdict_has_two_steps(offset_ms: int, *, warned: bool, refused: bool) -> None:
    """Warned beyond 500 ms, refused beyond recvWindow."""
    verdict = judge(offset_ms * NS_PER_MS, Venue.BINANCE, 5000)
    assert (warned, refused) == (bool(verdict.warning), bool(verdict.refusal))


def test_the_refusal_names_the_fix() -> None:
    """A person reads how far, against what, and what to do."""
    assert (
        "clock is 7.2 s ahead of binance, recv_window_ms is 5000: synchronize this machine's "
        "clock (chrony/ntp)" == judge(-7200 * NS_PER_MS, Venue.BINANCE, 5000).refusal
    )


class Rest:
    """A client whose clock is off by whatever *offset_ms* says."""

    def __init__(self) -> None:
        self.offset_ms = 0
        self.lost = False
        self.asked = 0
        self.on_measured: Callable[[Reading], None] | None = None

    async def sync_time(self) -> int:
        """Measure."""
        self.asked += 1
        if self.lost:
            raise UNREACHABLE
        assert self.on_measured is not None
        self.on_measured(reading(self.offset_ms))
        return self.offset_ms


def test_a_clock_that_goes_wrong_holds_entries_until_it_is_right_again() -> None:
    """Refused at start; while running entries stop, and go on once the clock was mended."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(NOW_NS, loop)
        told: list[Event] = []
        failures: list[TaskFailed] = []
        supervisor = Supervisor(clock, failures.append, rng=random.Random(1))
        rest = Rest()
        gate = RequestGate(
            venue=Venue.BINANCE, ledger=new_ledger(25), clock=clock, publish=told.append
        )
        watch = ClockWatch(
            rest,
            venue=Venue.BINANCE,
            gate=gate,
            clock=clock,
            supervisor=supervisor,
            publish=told.append,
            recv_window_ms=5000,
        )
        rest.offset_ms = -6000
        with pytest.raises(VenueRefused, match=r"6\.0 s ahead .*chrony/ntp"):
            await watch.check_at_start()
        rest.offset_ms = -700
        await watch.check_at_start()
        assert "" == gate.entries_held
        watch.start()
        rest.offset_ms = 9000
        await asyncio.sleep(MEASURE_EVERY_S + 1)
        assert "9.0 s behind" in gate.entries_held
        rest.lost = True
        await asyncio.sleep(MEASURE_EVERY_S)
        assert "9.0 s behind" in gate.entries_held
        rest.lost, rest.offset_ms = False, 3
        await asyncio.sleep(MEASURE_EVERY_S)
        assert ("", 5) == (gate.entries_held, rest.asked)
        watch.stop()
        await supervisor.stop()
        assert [] == failures
        kinds = [type(event) for event in told if not isinstance(event, ClockMeasured)]
        pairs = [RequestsPaused, RequestsResumed]
        assert [*pairs, *pairs] == kinds
        clocks = [event for event in told if isinstance(event, ClockMeasured)]
        assert [6000.0, 700.0, -9000.0, -3.0] == [event.ahead_ms for event in clocks]
        assert [True, True, True, False] == [bool(event.warning) for event in clocks]

    run_virtual(main())
