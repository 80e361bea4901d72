"""After each gap of the user stream, and only then, the account is asked for everything."""

import asyncio
import random

from aegis.core.clock import VirtualClock
from aegis.core.errors import VenueUnreachable
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.venue.resync import GapResync


class Bench:
    """A resync whose catching up fails as often as the test says."""

    def __init__(self, failures: int = 0) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.told: list[TaskFailed] = []
        self.asked = 0
        self._failures = failures
        supervisor = Supervisor(VirtualClock(0, loop), self.told.append, rng=random.Random(1))
        self.resync = GapResync("venue.resync", supervisor, self._catch_up)
        self.resync.start()

    async def _catch_up(self) -> None:
        self.asked += 1
        if self.asked <= self._failures:
            raise VenueUnreachable("down", venue="binance", operation="snapshot")


async def asked_after(bench: Bench, seconds: float) -> int:
    """Return how often the account was asked once *seconds* have passed."""
    await asyncio.sleep(seconds)
    bench.resync.stop()
    return bench.asked


def test_the_first_opening_is_no_gap_and_every_later_one_is() -> None:
    """R12: a stream that opens again was away, whatever it missed."""

    async def main() -> tuple[int, int]:
        once, twice = Bench(), Bench()
        for bench in (once, twice, twice):
            bench.resync.on_opened()
        return await asked_after(once, 60.0), await asked_after(twice, 60.0)

    assert (0, 1) == run_virtual(main())


def test_an_opening_that_is_to_count_as_the_first_is_no_gap() -> None:
    """R12: streams started anew are followed by a snapshot anyway."""

    async def main() -> int:
        bench = Bench()
        bench.resync.on_opened()
        bench.resync.forget_opened()
        bench.resync.on_opened()
        return await asked_after(bench, 60.0)

    assert 0 == run_virtual(main())


def test_a_lost_message_is_a_gap() -> None:
    """R12: what could not be read may have been anything."""

    async def main() -> int:
        bench = Bench()
        bench.resync.doubt()
        return await asked_after(bench, 60.0)

    assert 1 == run_virtual(main())


def test_a_gap_is_not_forgotten_while_the_venue_cannot_be_asked() -> None:
    """R12, R43: an error is told and the question is repeated until it is answered."""

    async def main() -> tuple[int, int]:
        bench = Bench(failures=3)
        bench.resync.doubt()
        return await asked_after(bench, 60.0), len(bench.told)

    assert (4, 3) == run_virtual(main())
