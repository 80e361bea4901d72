"""Engine, face, runner and in-process transport together in virtual time."""

import asyncio
import json
from typing import Any

from aegis.core.clock import NS_PER_S, VirtualClock
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.twin.inproc import InprocTransport
from aegis.twin.runner import TwinRunner

DELAY_NS = 2_000_000


class Hearing:
    """Frames of one stream with the market time they arrived at."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.frames: list[tuple[int, dict[str, Any]]] = []

    def on_frame(self, frame: bytes) -> None:
        """Note a frame."""
        self.frames.append((self._clock.now_ns(), json.loads(frame)))

    def on_close(self, reason: str) -> None:
        """Fail: nothing closes here."""
        raise AssertionError(reason)


def _play(rig: Any) -> list[tuple[int, dict[str, Any]]]:
    async def main() -> list[tuple[int, dict[str, Any]]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(rig.engine.now_ns, loop)
        runner = TwinRunner(rig.engine, now_ns=clock.now_ns, speed=1.0, loop=loop)
        transport = InprocTransport(
            rig.face,
            loop,
            stream_delay_s=DELAY_NS / NS_PER_S,
            before_request=lambda: rig.engine.advance(clock.now_ns()),
            after_request=runner.poke,
        )
        rig.clock_ms = lambda: clock.now_ns() // 1_000_000
        hearing = Hearing(clock)

        async def trade() -> None:
            key = rig.client.raw("POST", "/fapi/v1/listenKey", {})[1]["listenKey"]
            await transport.connect(
                f"ws://twin/private/ws?listenKey={key}",
                on_frame=hearing.on_frame,
                on_close=hearing.on_close,
            )
            transport.before_request()
            rig.client.order(newClientOrderId="entry")
            rig.client.stop(clientAlgoId="floor")
            transport.after_request()

        async with asyncio.TaskGroup() as group:
            group.create_task(trade())
            group.create_task(runner.run())
        await asyncio.sleep(1)
        return hearing.frames

    return run_virtual(main())


def test_every_event_arrives_one_delay_after_it_happened(make_rig: Any) -> None:
    """A stop fires between the world's own ticks, and each frame takes exactly 2 ms."""
    frames = _play(make_rig())
    assert "FINISHED" in [frame["o"]["X"] for _, frame in frames if "o" in frame]
    for arrived_ns, frame in frames:
        late_ns = arrived_ns - frame["E"] * 1_000_000
        assert DELAY_NS <= late_ns < DELAY_NS + 1_000_000, frame


def test_two_runs_are_equal(make_rig: Any) -> None:
    """The same seed and the same requests give the same frames at the same instants."""
    assert _play(make_rig()) == _play(make_rig())
