"""Claims about aegis.core.supervise: no task dies unseen, and all stop in start order."""

import asyncio
import functools
import random

import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import InvariantError
from aegis.core.supervise import RestartPolicy, Supervisor, TaskFailed, backoff_s
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual

NO_JITTER = RestartPolicy(delay_s_first=1.0, factor=2.0, delay_s_max=5.0, jitter=0.0)


def make_supervisor(failures: list[TaskFailed]) -> Supervisor:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return Supervisor(VirtualClock(0, loop), failures.append, rng=random.Random(1))


async def forever() -> None:
    await asyncio.Event().wait()


async def fail_after_1s() -> None:
    await asyncio.sleep(1.0)
    raise LookupError("socket gone")


def test_a_failure_without_a_policy_ends_the_run_with_its_error() -> None:
    """It is told first, the others are stopped, and the error comes out."""
    failures: list[TaskFailed] = []

    async def main() -> tuple[bool, float]:
        supervisor = make_supervisor(failures)
        other = supervisor.start("other", forever)
        _ = supervisor.start("feed", fail_after_1s)
        with pytest.raises(LookupError, match="socket gone"):
            await supervisor.run_until_stopped()
        return other.cancelled(), asyncio.get_running_loop().time()

    assert run_virtual(main()) == (True, 1.0)
    (failure,) = failures
    assert (failure.name, failure.error_type, failure.error) == (
        "feed",
        "LookupError",
        "socket gone",
    )
    assert (failure.at_ns, failure.restarts, failure.retry_in_s) == (10**9, 0, None)
    assert "fail_after_1s" in failure.traceback


def test_a_failed_task_is_restarted_with_growing_waits_until_the_maximum() -> None:
    """Waits 1, 2, 4, then 5 s; after the last allowed restart the failure is fatal."""
    failures: list[TaskFailed] = []

    async def main() -> float:
        supervisor = make_supervisor(failures)
        policy = RestartPolicy(delay_s_max=5.0, jitter=0.0, restarts_max=4)
        _ = supervisor.start("feed", fail_after_1s, restart=policy)
        with pytest.raises(LookupError):
            await supervisor.run_until_stopped()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 5 * 1.0 + 1 + 2 + 4 + 5
    assert [failure.retry_in_s for failure in failures] == [1.0, 2.0, 4.0, 5.0, None]
    assert [failure.restarts for failure in failures] == [0, 1, 2, 3, 4]


def test_a_task_that_ran_well_for_long_counts_anew() -> None:
    """One disconnect a day is not a series."""
    failures: list[TaskFailed] = []

    async def fail_after_a_day() -> None:
        await asyncio.sleep(86_400.0)
        raise LookupError

    async def main() -> None:
        supervisor = make_supervisor(failures)
        _ = supervisor.start("feed", fail_after_a_day, restart=NO_JITTER)
        await asyncio.sleep(3.5 * 86_400)
        await supervisor.stop()

    run_virtual(main())

    assert [failure.retry_in_s for failure in failures] == [1.0, 1.0, 1.0]


def test_jitter_shortens_a_wait_by_at_most_its_share() -> None:
    """And is the same for the same seed."""
    policy = RestartPolicy(delay_s_first=10.0, factor=2.0, delay_s_max=40.0, jitter=0.25)
    waits = [backoff_s(policy, 9_999, random.Random(seed)) for seed in range(100)]

    assert all(30.0 <= wait <= 40.0 for wait in waits)
    assert len({*waits}) > 90
    assert waits[7] == backoff_s(policy, 9_999, random.Random(7))


def test_tasks_are_canceled_and_awaited_in_start_order() -> None:
    """The same order in every run, slow ones included."""
    ended: list[int] = []

    async def actor(number: int) -> None:
        try:
            await forever()
        finally:
            ended.append(number)

    async def main() -> list[str]:
        supervisor = make_supervisor([])
        for number in range(30):
            _ = supervisor.start(f"actor {number}", functools.partial(actor, number))
        await asyncio.sleep(1.0)
        return await supervisor.stop()

    assert run_virtual(main()) == []
    assert ended == list(range(30))


def test_a_task_that_does_not_end_in_time_is_named() -> None:
    """A stop has a bound when it is given one."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(100.0)
                return
            except asyncio.CancelledError:
                continue

    async def main() -> tuple[list[str], float]:
        supervisor = make_supervisor([])
        _ = supervisor.start("stubborn", stubborn)
        _ = supervisor.start("meek", forever)
        await asyncio.sleep(1.0)
        return await supervisor.stop(grace_s=2.0), asyncio.get_running_loop().time()

    left, ended_s = run_virtual(main())

    assert left == ["stubborn"]
    assert ended_s == pytest.approx(3.0, abs=1e-6)


def test_a_stray_cancellation_does_not_end_a_task_without_a_word() -> None:
    """A CancelledError out of an awaited future is a failure, not a wish."""
    failures: list[TaskFailed] = []

    async def await_a_canceled_future() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def main() -> None:
        supervisor = make_supervisor(failures)
        _ = supervisor.start("feed", await_a_canceled_future)
        with pytest.raises(InvariantError, match="nobody asked for"):
            await supervisor.run_until_stopped()

    run_virtual(main())

    assert [failure.error_type for failure in failures] == ["CancelledError"]


def test_a_canceled_task_ends_for_good_and_is_no_failure() -> None:
    """The owner of one task may end it."""
    failures: list[TaskFailed] = []

    async def main() -> bool:
        supervisor = make_supervisor(failures)
        task = supervisor.start("feed", forever, restart=NO_JITTER)
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.sleep(100.0)
        await supervisor.stop()
        return task.cancelled()

    assert run_virtual(main())
    assert failures == []


def test_request_stop_ends_the_run_and_its_tasks() -> None:
    """A task that returns is done and stops nothing."""

    async def main() -> tuple[bool, bool]:
        supervisor = make_supervisor([])
        task = supervisor.start("actor", forever)
        _ = supervisor.start("short", lambda: asyncio.sleep(0.5))
        asyncio.get_running_loop().call_later(2.0, supervisor.request_stop)
        await supervisor.run_until_stopped()
        return task.cancelled(), supervisor.stopping

    assert run_virtual(main()) == (True, True)


def test_nothing_starts_once_stopping() -> None:
    """A task started then would outlive its owner."""

    async def main() -> None:
        supervisor = make_supervisor([])
        await supervisor.stop()
        with pytest.raises(InvariantError, match="late"):
            _ = supervisor.start("late", forever)

    run_virtual(main())


def test_a_failure_that_cannot_be_told_ends_the_run() -> None:
    """An error in on_failure is not lost, and names the failure it was about."""

    def cannot_tell(failure: TaskFailed) -> None:
        raise OSError("disk full")

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        supervisor = Supervisor(VirtualClock(0, loop), cannot_tell, rng=random.Random(1))
        _ = supervisor.start("feed", fail_after_1s, restart=NO_JITTER)
        with pytest.raises(OSError, match="disk full") as caught:
            await supervisor.run_until_stopped()
        return caught.value.__notes__

    (note,) = run_virtual(main())

    assert "feed" in note
    assert "socket gone" in note


def test_a_failure_while_stopping_is_told_and_not_restarted() -> None:
    """Clean-up that raises does not hold up the others."""
    failures: list[TaskFailed] = []

    async def breaks_on_the_way_out() -> None:
        try:
            await forever()
        finally:
            raise LookupError("clean-up")

    async def main() -> None:
        supervisor = make_supervisor(failures)
        _ = supervisor.start("a", breaks_on_the_way_out, restart=NO_JITTER)
        _ = supervisor.start("b", forever)
        await asyncio.sleep(1.0)
        assert await supervisor.stop() == []

    run_virtual(main())

    assert [(failure.name, failure.retry_in_s) for failure in failures] == [("a", None)]
