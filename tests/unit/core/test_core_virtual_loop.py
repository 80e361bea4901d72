"""Claims about aegis.core.virtual_loop: no waiting, no drift, no real world."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest

from aegis.core.virtual_loop import Deadlock, NotSimulated, VirtualTimeLoop, run_virtual


def own_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


def test_thirty_days_pass_without_drift() -> None:
    """720 sleeps of an hour plus a nanosecond end exactly where they should."""

    async def main() -> int:
        for _ in range(720):
            await asyncio.sleep(3600.000000001)
        return own_loop().time_ns()

    assert run_virtual(main()) == 720 * 3_600_000_000_001


def test_timers_of_the_same_moment_fire_in_the_order_they_were_set() -> None:
    """What was asked for first happens first."""
    fired: list[int] = []

    async def main() -> None:
        for number in range(50):
            own_loop().call_later(1.0, fired.append, number)
        await asyncio.sleep(1.0)

    run_virtual(main())

    assert list(range(50)) == fired


@pytest.mark.parametrize("start_s", [0.0, 1 / 3, 2_592_000.1, 1e8 + 0.7])
def test_a_timer_never_fires_early_and_time_always_moves(start_s: float) -> None:
    """Code that waits again until its deadline is reached does not spin."""

    async def main() -> int:
        loop = own_loop()
        await asyncio.sleep(start_s)
        deadline = loop.time() + 1e-7 / 3
        waits = 0
        while loop.time() < deadline:
            waits += 1
            await asyncio.sleep(deadline - loop.time())
        reached = asyncio.Event()
        at_s = loop.time() + 0.1
        loop.call_at(at_s, reached.set)
        await reached.wait()
        assert loop.time() >= at_s
        return waits

    assert run_virtual(main()) <= 3


def test_a_timeout_fires_at_its_time() -> None:
    """asyncio's own time-outs work in virtual time."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(12.5):
                await asyncio.Event().wait()
        return own_loop().time()

    assert run_virtual(main()) == pytest.approx(12.5, abs=2e-9)


def test_a_deadlock_is_told_and_names_who_waits() -> None:
    """No timer and nothing ready: an error with names, and no hang."""

    async def never() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"1 waiting tasks: .*never"):
        run_virtual(never())


def test_canceled_timers_are_swept_out() -> None:
    """A time-out per request does not pile up for as long as it would have lasted."""

    async def main() -> int:
        loop = own_loop()
        for _ in range(10_000):
            loop.call_later(3600.0, print).cancel()
        return len(loop._timers)

    assert run_virtual(main()) < 300


def test_canceled_timers_do_not_move_time() -> None:
    """Time stops at timers that fire only."""

    async def main() -> float:
        loop = own_loop()
        loop.call_later(1.0, print).cancel()
        later = loop.call_later(2.0, print)
        loop.call_later(1.5, later.cancel)
        await asyncio.sleep(3.0)
        return loop.time()

    assert run_virtual(main()) == 3.0


def test_a_timer_can_be_canceled_by_one_of_the_same_moment() -> None:
    """Both were due, the first takes the second back."""
    fired: list[str] = []

    async def main() -> None:
        loop = own_loop()
        timers: list[asyncio.TimerHandle] = []

        def take_back() -> None:
            timers[0].cancel()

        loop.call_later(1.0, take_back)
        timers.append(loop.call_later(1.0, fired.append, "second"))
        await asyncio.sleep(2.0)

    run_virtual(main())

    assert fired == []


async def _look_up(loop: VirtualTimeLoop) -> None:
    await loop.getaddrinfo("localhost", 80)


async def _connect(loop: VirtualTimeLoop) -> None:
    await loop.create_connection(asyncio.Protocol, "localhost", 80)


async def _serve(loop: VirtualTimeLoop) -> None:
    await loop.create_server(asyncio.Protocol, "localhost", 0)


async def _thread(loop: VirtualTimeLoop) -> None:
    await loop.run_in_executor(None, print)


async def _to_thread(_loop: VirtualTimeLoop) -> None:
    await asyncio.to_thread(print)


async def _process(_loop: VirtualTimeLoop) -> None:
    await asyncio.create_subprocess_exec("true")


async def _watch(loop: VirtualTimeLoop) -> None:
    loop.add_reader(0, print)


async def _socket(loop: VirtualTimeLoop) -> None:
    near, far = socket.socketpair()
    with near, far:
        await loop.sock_recv(near, 1)


@pytest.mark.parametrize(
    "use", [_look_up, _connect, _serve, _thread, _to_thread, _process, _watch, _socket]
)
def test_the_real_world_is_refused(use: Callable[[VirtualTimeLoop], Awaitable[None]]) -> None:
    """No socket, thread or process: the error names the call."""

    async def main() -> None:
        with pytest.raises(NotSimulated, match="virtual time"):
            await use(own_loop())

    run_virtual(main())


def test_signal_handlers_are_refused_the_way_libraries_expect() -> None:
    """NotImplementedError is what asyncio raises where signals cannot be handled."""

    async def main() -> None:
        with pytest.raises(NotImplementedError, match="signals"):
            own_loop().add_signal_handler(2, print)

    run_virtual(main())


def test_a_call_from_another_thread_is_refused() -> None:
    """Its order would be chance; from the loop's own thread it is an ordinary call."""
    refused: list[str] = []

    def intrude(loop: VirtualTimeLoop) -> None:
        try:
            loop.call_soon_threadsafe(print)
        except NotSimulated as error:
            refused.append(str(error))

    async def main() -> list[int]:
        loop, called = own_loop(), list[int]()
        thread = threading.Thread(target=intrude, args=(loop,))
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(called.append, 1)
        await asyncio.sleep(0)
        return called

    assert run_virtual(main()) == [1]
    assert len(refused) == 1


def test_a_closed_loop_takes_no_timers() -> None:
    """As asyncio's own."""
    loop = VirtualTimeLoop()
    loop.close()

    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1.0, print)


def test_the_error_of_main_comes_out() -> None:
    """run_virtual raises what its coroutine raised."""

    async def main() -> None:
        await asyncio.sleep(5.0)
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        run_virtual(main())
