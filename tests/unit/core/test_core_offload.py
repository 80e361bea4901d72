"""Claims about aegis.core.offload: lanes keep their order, cancelled callers do not unsend."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from aegis.core.offload import InlineOffload, Offload, ThreadOffload
from aegis.core.virtual_loop import run_virtual


def now_s() -> float:
    return asyncio.get_running_loop().time()


def refuse() -> None:
    raise LookupError("no such order")


def test_inline_calls_in_between_its_two_delays() -> None:
    """The call happens after the way out, its result is there after the way back."""

    async def main() -> tuple[float, float]:
        offload: Offload = InlineOffload(0.25, 0.5)
        return await offload(now_s), now_s()

    assert run_virtual(main()) == pytest.approx((0.25, 0.75), abs=1e-8)


def test_a_lane_is_a_queue_and_lanes_do_not_wait_for_each_other() -> None:
    """As with one worker thread per lane."""
    called: list[tuple[str, float]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: called.append((name, round(now_s(), 6)))

    async def main() -> None:
        offload = InlineOffload(1.0, 1.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(offload(note("first")))
            group.create_task(offload(note("second")))
            group.create_task(offload(note("stop"), lane="protective"))

    run_virtual(main())

    assert called == [("first", 1.0), ("stop", 1.0), ("second", 3.0)]


def test_jitter_is_added_to_each_delay_and_never_makes_one_negative() -> None:
    """Delays come from the injected source alone."""
    jitters = iter([0.5, -9.0])

    async def main() -> tuple[float, float]:
        offload = InlineOffload(1.0, 1.0, lambda: next(jitters))
        return await offload(now_s), now_s()

    assert run_virtual(main()) == pytest.approx((1.5, 1.5), abs=1e-8)


def test_a_call_that_left_happens_although_its_caller_gave_up() -> None:
    """A time-out does not unsend: the outcome is unknown, in simulation as in life."""
    called: list[float] = []

    async def main() -> None:
        offload = InlineOffload(2.0, 1.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await offload(lambda: called.append(now_s()))
        await asyncio.sleep(5.0)

    run_virtual(main())

    assert called == pytest.approx([2.0], abs=1e-8)


def test_a_call_still_queued_does_not_happen_when_its_caller_gives_up() -> None:
    """It never left."""
    called: list[str] = []

    async def main() -> None:
        offload = InlineOffload(2.0, 2.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(offload(lambda: called.append("first")))
            second = group.create_task(offload(lambda: called.append("second")))
            await asyncio.sleep(1.0)
            second.cancel()
        await asyncio.sleep(10.0)

    run_virtual(main())

    assert called == ["first"]


def test_inline_raises_what_the_call_raised() -> None:
    """After the way back, like a result."""

    async def main() -> float:
        with pytest.raises(LookupError, match="no such order"):
            await InlineOffload(1.0, 1.0)(refuse)
        return now_s()

    assert run_virtual(main()) == pytest.approx(2.0, abs=1e-8)


def test_a_failure_nobody_waits_for_harms_nobody() -> None:
    """The caller gave up; its future takes no exception any more."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await InlineOffload(1.0, 1.0)(refuse)
        await asyncio.sleep(5.0)

    run_virtual(main())


def test_negative_delays_are_refused() -> None:
    """Nothing answers before it was asked."""
    with pytest.raises(ValueError, match="-1"):
        InlineOffload(-1.0)


def test_threads_run_one_lane_in_order_off_the_loop() -> None:
    """One worker per lane, and not the loop's own thread."""
    called: list[int] = []
    threads: list[str] = []

    def note(number: int) -> Callable[[], int]:
        def call() -> int:
            called.append(number)
            threads.append(threading.current_thread().name)
            return number

        return call

    async def main() -> list[int]:
        offload: Offload = ThreadOffload()
        assert isinstance(offload, ThreadOffload)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(offload(note(number), lane="rest")) for number in range(20)]
        with pytest.raises(LookupError):
            await offload(refuse)
        offload.close()
        with pytest.raises(RuntimeError, match="closed"):
            await offload(note(99))
        return [task.result() for task in tasks]

    assert asyncio.run(main()) == list(range(20)) == called
    assert {name.rpartition("_")[0] for name in threads} == {"offload-rest"}
    assert len({*threads}) == 1
