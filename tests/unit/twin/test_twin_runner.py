"""TwinRunner: the world moves exactly when its next event is due, and stops with its tapes."""

import asyncio

import pytest

from aegis.core.clock import NS_PER_S, VirtualClock
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.twin.runner import TwinRunner

ORIGIN_NS = 1_700_000_000 * NS_PER_S


class ListedWorld:
    """A world whose events are a list of times; it notes when it was advanced."""

    def __init__(self, times_ns: list[int]) -> None:
        self.times_ns = sorted(times_ns)
        self.advanced: list[int] = []

    def next_event_ns(self) -> int | None:
        """Return the first time left."""
        return self.times_ns[0] if self.times_ns else None

    def advance(self, to_ns: int) -> None:
        """Drop the times up to *to_ns*."""
        self.advanced.append(to_ns)
        while self.times_ns and self.times_ns[0] <= to_ns:
            self.times_ns.pop(0)


class BrokenWorld(ListedWorld):
    """A world that raises at its first event."""

    def advance(self, to_ns: int) -> None:
        """Raise once there is something to do."""
        if self.times_ns and self.times_ns[0] <= to_ns:
            raise RuntimeError("the tape tore")
        super().advance(to_ns)


def _runner(world: ListedWorld, batch_s: float = 0.0) -> TwinRunner:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    clock = VirtualClock(ORIGIN_NS, loop)
    return TwinRunner(world, now_ns=clock.now_ns, speed=1.0, loop=loop, batch_s=batch_s)


def test_virtual_time_wakes_exactly_at_each_event() -> None:
    """In virtual time every event happens at its own nanosecond (design.md, Simulation)."""
    times = [ORIGIN_NS + offset for offset in (1, 1_000_003, 5 * NS_PER_S + 7, 86_400 * NS_PER_S)]

    async def main() -> ListedWorld:
        world = ListedWorld(times)
        runner = _runner(world)
        await runner.run()
        assert runner.finished.is_set()
        return world

    assert [ORIGIN_NS, *times] == run_virtual(main()).advanced


def test_dense_events_are_taken_in_batches() -> None:
    """With batch_s 0.02 a thousand events in a second take at most 51 wake-ups."""

    async def main() -> ListedWorld:
        world = ListedWorld([ORIGIN_NS + n * 1_000_000 for n in range(1, 1001)])
        await _runner(world, batch_s=0.02).run()
        return world

    assert len(run_virtual(main()).advanced) <= 51


def test_poke_moves_the_timer_to_an_earlier_event() -> None:
    """A request that makes something happen sooner is noticed through poke()."""

    async def main() -> ListedWorld:
        world = ListedWorld([ORIGIN_NS + 100 * NS_PER_S])
        runner = _runner(world)

        def order_arrives() -> None:
            world.times_ns.insert(0, ORIGIN_NS + 3 * NS_PER_S)
            runner.poke()

        asyncio.get_running_loop().call_later(1.0, order_arrives)
        await runner.run()
        runner.poke()
        return world

    expected = [ORIGIN_NS, ORIGIN_NS + 3 * NS_PER_S, ORIGIN_NS + 100 * NS_PER_S]
    assert expected == run_virtual(main()).advanced


def test_what_the_world_raises_comes_out_of_run() -> None:
    """A failing world ends the run loudly; nothing dies unseen (R60)."""

    async def main() -> None:
        await _runner(BrokenWorld([ORIGIN_NS + NS_PER_S])).run()

    with pytest.raises(RuntimeError, match="the tape tore"):
        run_virtual(main())


def test_speed_must_be_positive() -> None:
    """A speed of zero is refused with the value."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match=r"speed was 0"):
            TwinRunner(ListedWorld([]), now_ns=lambda: 0, speed=0.0, loop=loop)

    run_virtual(main())
