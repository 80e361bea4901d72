"""A lane of the simulated offload: callers that give up take no turn."""

import asyncio

from aegis.core.offload import InlineOffload
from aegis.core.virtual_loop import run_virtual


def test_callers_that_gave_up_leave_no_time_behind() -> None:
    """Twenty calls given up while they waited must not keep the twenty-first waiting."""

    async def run() -> tuple[float, list[int]]:
        loop = asyncio.get_running_loop()
        offload = InlineOffload(0.7, 0.7)
        done: list[int] = []

        async def call(number: int) -> None:
            async with asyncio.timeout(2.0):
                await offload(lambda: done.append(number), lane="protect")

        async with asyncio.TaskGroup() as group:
            for number in range(20):

                async def attempt(number: int = number) -> None:
                    try:
                        await call(number)
                    except TimeoutError:
                        return

                _ = group.create_task(attempt())
        began = loop.time()
        await offload(lambda: done.append(99), lane="protect")
        return loop.time() - began, done

    waited, done = run_virtual(run())

    assert waited < 3.0
    assert [0, 1, 99] == done
