"""Laws of virtual time: two runs are identical; timers fire by time, then as they were set."""

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual

Trace = list[tuple[int, int]]


async def _busy(seed: int, wakeups: int, duration_s: float) -> Trace:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    rng = random.Random(seed)
    trace: Trace = []
    lock = asyncio.Lock()

    async def worker(number: int) -> None:
        while loop.time() < duration_s:
            await asyncio.sleep(rng.expovariate(wakeups / 20 / duration_s))
            async with lock:
                trace.append((number, loop.time_ns()))
                if rng.random() < 0.3:
                    try:
                        async with asyncio.timeout(0.001):
                            await asyncio.sleep(rng.choice([0.0005, 0.001, 0.002]))
                    except TimeoutError:
                        trace.append((-number, loop.time_ns()))

    async with asyncio.TaskGroup() as group:
        for number in range(1, 21):
            group.create_task(worker(number))
    return trace


def test_an_hour_with_ten_thousand_wakeups_is_the_same_twice() -> None:
    """Two runs of 3,600 s call everything in the same order at the same nanosecond."""
    first = run_virtual(_busy(7, 10_000, 3600.0))
    second = run_virtual(_busy(7, 10_000, 3600.0))

    assert len(first) > 9_000
    assert first == second
    assert [at_ns for _, at_ns in first] == sorted(at_ns for _, at_ns in first)
    assert first != run_virtual(_busy(8, 10_000, 3600.0))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_timers_fire_by_time_then_by_the_order_they_were_set(
    timers: list[tuple[int, bool]],
) -> None:
    """The canceled ones never do."""

    async def main() -> list[tuple[int, int]]:
        loop = asyncio.get_running_loop()
        fired: list[tuple[int, int]] = []
        for number, (delay_s, is_kept) in enumerate(timers):
            timer = loop.call_later(delay_s, fired.append, (delay_s, number))
            if not is_kept:
                timer.cancel()
        await asyncio.sleep(6.0)
        return fired

    kept = [(delay_s, number) for number, (delay_s, is_kept) in enumerate(timers) if is_kept]
    assert run_virtual(main()) == sorted(kept)
