"""InprocTransport: a face without sockets, frames in order, in virtual time."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.twin.face_api import StreamSession
from aegis.twin.inproc import InprocTransport


class EchoSession:
    """Echoes each message."""

    def __init__(self, face: "EchoFace") -> None:
        self.face = face

    def on_message(self, text: str) -> None:
        """Send it back."""
        self.face.send(text.encode())

    def on_closed(self) -> None:
        """Note the end."""
        self.face.closed += 1


class EchoFace:
    """A face with one stream at /echo."""

    name = "echo"

    def __init__(self) -> None:
        self.send: Callable[[bytes], None] = lambda _: None
        self.close: Callable[[str], None] = lambda _: None
        self.closed = 0

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer with the target."""
        return HttpResponse(status=200, body=request.target.encode())

    def open_stream(
        self, target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
    ) -> StreamSession | None:
        """Open /echo."""
        if not target.startswith("/echo"):
            return None
        self.send, self.close = send, close
        return EchoSession(self)


class Client:
    """Notes frames with their time, and the end."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.reasons: list[str] = []

    def on_frame(self, frame: bytes) -> None:
        """Note a frame."""
        self.frames.append((_loop().time_ns(), frame))

    def on_close(self, reason: str) -> None:
        """Note the end."""
        self.reasons.append(reason)


def _loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


def test_messages_and_frames_take_the_delay_each_way() -> None:
    """A message and its echo take two delays of virtual time."""

    async def main() -> None:
        face, client = EchoFace(), Client()
        transport = InprocTransport(face, _loop(), stream_delay_s=0.002)
        stream = await transport.connect(
            "ws://twin/echo?x=1", on_frame=client.on_frame, on_close=client.on_close
        )
        started_ns = _loop().time_ns()
        stream.send("hello")
        await asyncio.sleep(1)
        assert [(started_ns + 4_000_000, b"hello")] == client.frames

    run_virtual(main())


@given(
    gaps_ms=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    delay_ms=st.integers(0, 4),
    jitter_ms=st.integers(0, 9),
    seed=st.integers(0, 1 << 30),
)
def test_frames_arrive_complete_and_in_order(
    gaps_ms: list[int], delay_ms: int, jitter_ms: int, seed: int
) -> None:
    """Whatever delay and jitter, a session is FIFO and loses nothing."""

    async def main() -> list[bytes]:
        face, client = EchoFace(), Client()
        transport = InprocTransport(
            face,
            _loop(),
            stream_delay_s=delay_ms / 1000,
            jitter_s=jitter_ms / 1000,
            rng=random.Random(seed),
        )
        await transport.connect("ws://t/echo", on_frame=client.on_frame, on_close=client.on_close)
        for number, gap_ms in enumerate(gaps_ms):
            face.send(str(number).encode())
            if gap_ms:
                await asyncio.sleep(gap_ms / 1000)
        await asyncio.sleep(1)
        return [frame for _, frame in client.frames]

    assert [str(n).encode() for n in range(len(gaps_ms))] == run_virtual(main())


def test_end_from_the_venue_follows_the_frames_under_way() -> None:
    """on_close comes once, after the last frame; sending afterwards raises ConnectionError."""

    async def main() -> None:
        face, client = EchoFace(), Client()
        transport = InprocTransport(face, _loop())
        stream = await transport.connect(
            "ws://t/echo", on_frame=client.on_frame, on_close=client.on_close
        )
        face.send(b"last")
        face.close("24 hours")
        await asyncio.sleep(1)
        assert [b"last"] == [frame for _, frame in client.frames]
        assert ["24 hours"] == client.reasons
        assert face.closed == 1
        with pytest.raises(ConnectionError):
            stream.send("too late")

    run_virtual(main())


def test_own_close_is_silent() -> None:
    """A close of our own calls no on_close, and frames under way are dropped."""

    async def main() -> None:
        face, client = EchoFace(), Client()
        transport = InprocTransport(face, _loop())
        stream = await transport.connect(
            "ws://t/echo", on_frame=client.on_frame, on_close=client.on_close
        )
        face.send(b"never seen")
        await stream.close()
        await asyncio.sleep(1)
        assert ([], []) == (client.frames, client.reasons)
        assert face.closed == 1

    run_virtual(main())


def test_a_raising_client_loses_no_later_frame() -> None:
    """A handler that raises never stops the frames behind it (design.md, The bus)."""

    async def main() -> list[bytes]:
        seen: list[bytes] = []

        def on_frame(frame: bytes) -> None:
            if frame == b"bad":
                raise ValueError("cannot read this")
            seen.append(frame)

        loop = _loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        face = EchoFace()
        await InprocTransport(face, loop).connect(
            "ws://t/echo", on_frame=on_frame, on_close=lambda _: None
        )
        for frame in (b"one", b"bad", b"two"):
            face.send(frame)
        await asyncio.sleep(1)
        return seen

    assert [b"one", b"two"] == run_virtual(main())


def test_unknown_path_is_refused() -> None:
    """A path that is no stream of the venue raises ConnectionError."""

    async def main() -> None:
        with pytest.raises(ConnectionError, match="no stream at /nowhere"):
            await InprocTransport(EchoFace(), _loop()).connect(
                "ws://t/nowhere", on_frame=lambda _: None, on_close=lambda _: None
            )

    run_virtual(main())


def test_hooks_surround_every_request() -> None:
    """The world is brought to now before each request, and asked again after it."""

    async def main() -> None:
        calls: list[str] = []
        transport = InprocTransport(
            EchoFace(),
            _loop(),
            before_request=lambda: calls.append("before"),
            after_request=lambda: calls.append("after"),
        )
        answer = transport(HttpRequest(method="GET", target="/a?b=%2F", headers={}))
        assert b"/a?b=%2F" == answer.body
        assert ["before", "after"] == calls

    run_virtual(main())
