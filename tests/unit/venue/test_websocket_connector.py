"""The contract of both connectors, on real loopback sockets."""

import asyncio
import base64
import hashlib
import random
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve

from aegis.core.clock import LiveClock
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import StreamConnection
from aegis.settings import AegisConfig
from aegis.venue.picows_connector import PicowsConnector
from aegis.venue.websocket_client import connector_class
from aegis.venue.websocket_connector import WebsocketConnector

Connector = PicowsConnector | WebsocketConnector
Make = Callable[..., Connector]
Serve = Callable[[ServerConnection], Awaitable[None]]
RawServe = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Test = Callable[["World"], Awaitable[None]]

CLIENTS = ("picows", "websockets")
SECRET = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


@pytest.fixture(params=[PicowsConnector, WebsocketConnector], ids=["picows", "websockets"])
def make(request: pytest.FixtureRequest) -> Make:
    """Return each connector's class in turn."""
    cls: Make = request.param
    return cls


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return each loop's maker in turn: the live process runs on uvloop."""
    factory: Callable[[], asyncio.AbstractEventLoop] = request.param
    return factory


class World:
    """A connector, where it connects to, and what its connections brought."""

    def __init__(self, connector: Connector, port: int) -> None:
        self.connector = connector
        self.url = f"ws://127.0.0.1:{port}"
        self.frames: list[bytes] = []
        self.reasons: list[str] = []
        self.closed = asyncio.Event()
        self._news = asyncio.Event()

    def take(self, frame: bytes) -> None:
        """Keep a frame."""
        self.frames.append(frame)
        self._news.set()

    def ended(self, reason: str) -> None:
        """Keep the reason of an end."""
        self.reasons.append(reason)
        self.closed.set()

    async def open(self) -> StreamConnection:
        """Connect."""
        return await self.connector.connect(self.url, on_frame=self.take, on_close=self.ended)

    async def until(self, count: int) -> list[bytes]:
        """Return the frames once there are *count* of them."""
        while len(self.frames) < count:
            self._news.clear()
            await self._news.wait()
        return self.frames


@attrs.frozen
class Runner:
    """Run a test against a server, with either connector, on either loop."""

    make: Make
    new_loop: Callable[[], asyncio.AbstractEventLoop]

    def served(self, handler: Serve, test: Test, **knobs: Any) -> list[TaskFailed]:
        """Run *test* against a server of the websockets library; return what tasks failed of."""

        async def with_server(connector: Connector) -> None:
            async with serve(handler, "127.0.0.1", 0, max_size=None) as server:
                port = next(iter(server.sockets)).getsockname()[1]
                await asyncio.wait_for(test(World(connector, port)), 10)

        return self._run(with_server, knobs)

    def raw(
        self,
        handler: RawServe,
        test: Test,
        *,
        context: ssl.SSLContext | None = None,
        **knobs: Any,
    ) -> list[TaskFailed]:
        """Run *test* against bytes written by hand after a handshake."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            key = next(
                line.split(b":", 1)[1].strip()
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"sec-websocket-key:")
            )
            digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
                % base64.b64encode(digest)
            )
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        async def with_server(connector: Connector) -> None:
            server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
            port = server.sockets[0].getsockname()[1]
            try:
                await asyncio.wait_for(test(World(connector, port)), 10)
            finally:
                server.close()

        return self._run(with_server, knobs)

    def _run(
        self, test: Callable[[Connector], Awaitable[None]], knobs: dict[str, Any]
    ) -> list[TaskFailed]:
        failures: list[TaskFailed] = []

        async def main() -> None:
            supervisor = Supervisor(LiveClock(), failures.append, rng=random.Random(1))
            knobs.setdefault("open_timeout_s", 2.0)
            await test(self.make(supervisor=supervisor, **knobs))
            await supervisor.stop()

        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            runner.run(main())
        return failures


@pytest.fixture
def run(make: Make, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Runner:
    """Return a runner for each connector on each loop."""
    return Runner(make, new_loop)


def frame_of(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Return one unmasked frame of a server."""
    first = (0x80 if fin else 0) | opcode
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65_536:
        return bytes((first, 126)) + len(payload).to_bytes(2, "big") + payload
    return bytes((first, 127)) + len(payload).to_bytes(8, "big") + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return opcode and payload of a client's next short frame."""
    first, second = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    masked = await reader.readexactly(second & 0x7F)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))


async def echo(socket: ServerConnection) -> None:
    """Send back what came."""
    async for message in socket:
        await socket.send(message)


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Read what comes and say nothing, not even to a ping; leave at a close frame."""
    while data := await reader.read(65_536):
        if data[0] == 0x88:
            return


def test_frames_arrive_as_bytes_and_messages_keep_their_order(run: Runner) -> None:
    """Whatever is sent leaves in order; text frames come back as UTF-8 bytes."""

    async def test(world: World) -> None:
        connection = await world.open()
        for number in range(100):
            connection.send(f"größer {number}")
        expected = [f"größer {number}".encode() for number in range(100)]
        assert expected == await world.until(100)
        await connection.close()

    assert [] == run.served(echo, test)


def test_messages_of_every_length_survive(run: Runner) -> None:
    """Each of the three length encodings of a frame works in both directions."""

    async def test(world: World) -> None:
        connection = await world.open()
        texts = ["x" * size for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000)]
        for text in texts:
            connection.send(text)
        assert [text.encode() for text in texts] == await world.until(len(texts))
        await connection.close()

    assert [] == run.served(echo, test)


def test_what_the_peer_says_first_comes_after_connect_returned(run: Runner) -> None:
    """No frame is handed on before its owner holds the connection, and none is lost."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Written in one piece with the handshake.
        writer.write(frame_of(1, b"one") + frame_of(1, b"two"))
        await silent(reader, writer)

    async def test(world: World) -> None:
        connection = await world.open()
        assert [] == world.frames
        assert [b"one", b"two"] == await world.until(2)
        await connection.close()

    assert [] == run.raw(greet, test)


def test_a_message_in_fragments_is_handed_on_whole(run: Runner) -> None:
    """Fragments are joined, and a ping between them is answered."""
    pongs: list[tuple[int, bytes]] = []

    async def split(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame_of(1, b"ab", fin=False) + frame_of(9, b"are you there"))
        writer.write(frame_of(0, b"cd", fin=False) + frame_of(0, b"ef") + frame_of(1, b"next"))
        pongs.append(await read_frame(reader))
        await silent(reader, writer)

    async def test(world: World) -> None:
        connection = await world.open()
        assert [b"abcdef", b"next"] == await world.until(2)
        await connection.close()

    assert [] == run.raw(split, test)
    assert [(0xA, b"are you there")] == pongs


def test_a_peer_that_answers_no_ping_is_given_up(run: Runner) -> None:
    """A half-open connection is noticed by the missing pong and told once (R11)."""

    async def test(world: World) -> None:
        connection = await world.open()
        await world.closed.wait()
        with pytest.raises(ConnectionError):
            connection.send("late")
        await connection.close()
        assert 1 == len(world.reasons)

    assert [] == run.raw(silent, test, ping_interval_s=0.05, ping_timeout_s=0.05)


def test_a_peer_that_answers_pings_stays(run: Runner) -> None:
    """Many pings that are answered end nothing."""
    pings: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(5):
            opcode, payload = await read_frame(reader)
            assert 9 == opcode
            pings.append(payload)
            writer.write(frame_of(10, payload))
        writer.write(frame_of(1, b"enough"))
        await silent(reader, writer)

    async def test(world: World) -> None:
        connection = await world.open()
        await world.until(1)
        assert [] == world.reasons
        await connection.close()

    assert [] == run.raw(answer, test, ping_interval_s=0.02, ping_timeout_s=1.0)
    assert 5 == len(pings)


@pytest.mark.parametrize("pieces", [1, 4], ids=["one frame", "fragments"])
def test_a_message_beyond_the_limit_ends_the_stream(run: Runner, pieces: int) -> None:
    """A message is bounded, in one frame or in many; nothing of it is handed on."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        piece = b"x" * (4_000 // pieces)
        for number in range(pieces):
            writer.write(frame_of(0 if number else 1, piece, fin=number == pieces - 1))
        assert 8 == (await read_frame(reader))[0]

    async def test(world: World) -> None:
        connection = await world.open()
        await world.closed.wait()
        assert ([], 1) == (world.frames, len(world.reasons))
        await connection.close()

    assert [] == run.raw(flood, test, message_bytes_max=3_000)


def test_a_peer_that_does_not_read_is_given_up(run: Runner) -> None:
    """What waits for a slow peer is bounded; beyond the limit sending raises (R3)."""

    async def deaf(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        _reader._transport.pause_reading()  # type: ignore[attr-defined]  # nothing public does it
        await asyncio.sleep(30)

    async def test(world: World) -> None:
        connection = await world.open()

        def push() -> None:
            for _ in range(1_000):
                connection.send("x" * 100_000)

        with pytest.raises(ConnectionError):
            push()
        await world.closed.wait()
        assert 1 == len(world.reasons)
        await connection.close()

    assert [] == run.raw(deaf, test, unsent_bytes_max=1_000_000)


def test_a_burst_leaves_the_loop_its_turns(run: Runner) -> None:
    """Between the frames of a burst others run, and every frame comes, in order."""
    count = 40_000
    turns: list[int] = []

    async def burst(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(frame_of(1, b"%d" % number) for number in range(count)))
        await silent(reader, writer)

    async def test(world: World) -> None:
        connection = await world.open()

        def turn() -> None:
            turns.append(len(world.frames))
            if len(world.frames) < count:
                asyncio.get_running_loop().call_soon(turn)

        turn()
        assert [b"%d" % number for number in range(count)] == await world.until(count)
        await connection.close()

    assert [] == run.raw(burst, test)
    steps = [after - before for before, after in pairwise(turns)]
    assert max(steps) < 4_096


def test_a_close_of_the_peer_is_told_once_and_ends_sending(run: Runner) -> None:
    """on_close comes once, with a reason, after every frame; then sending raises."""

    async def leave(socket: ServerConnection) -> None:
        await socket.send("bye")
        await socket.close(1001, "restart")

    async def test(world: World) -> None:
        connection = await world.open()
        await world.closed.wait()
        with pytest.raises(ConnectionError):
            connection.send("late")
        await connection.close()
        assert [b"bye"] == world.frames
        assert 1 == len(world.reasons)
        assert "1001" in world.reasons[0]
        assert "restart" in world.reasons[0]

    assert [] == run.served(leave, test)


def test_a_lost_connection_is_told_once(run: Runner) -> None:
    """A peer that vanishes without a close frame is a break like any other."""

    async def vanish(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame_of(1, b"last words"))
        await writer.drain()
        writer.close()

    async def test(world: World) -> None:
        connection = await world.open()
        await world.closed.wait()
        assert ([b"last words"], 1) == (world.frames, len(world.reasons))
        await connection.close()

    assert [] == run.raw(vanish, test)


def test_a_close_of_ours_is_not_told(run: Runner) -> None:
    """on_close is for breaks, not for what we did ourselves."""

    async def wait(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async def test(world: World) -> None:
        connection = await world.open()
        await connection.close()
        with pytest.raises(ConnectionError):
            connection.send("late")
        await connection.close()
        assert [] == world.reasons

    assert [] == run.served(wait, test)


def test_a_close_of_ours_ends_though_the_peer_says_nothing(run: Runner) -> None:
    """A peer that does not answer the close frame is not waited for without end."""

    async def test(world: World) -> None:
        connection = await world.open()
        await connection.close()
        assert [] == world.reasons

    async def mute(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass

    assert [] == run.raw(mute, test)


def test_what_a_frame_handler_raises_is_told_by_the_supervisor(run: Runner) -> None:
    """A defect of ours is never swallowed, and the frames behind it are not handed on (R7)."""

    async def chat(socket: ServerConnection) -> None:
        await socket.send("one")
        await socket.send("two")
        await socket.wait_closed()

    async def test(world: World) -> None:
        def fail(frame: bytes) -> None:
            world.take(frame)
            raise KeyError("defect")

        connection = await world.connector.connect(world.url, on_frame=fail, on_close=world.ended)
        await world.until(1)
        for _ in range(20):
            await asyncio.sleep(0)
        await connection.close()
        assert [b"one"] == world.frames

    (failure,) = run.served(chat, test)
    assert "KeyError" == failure.error_type


def test_only_connection_errors_come_out_of_connect(run: Runner) -> None:
    """Nothing but ConnectionError and TimeoutError, with no listen key in their text (R84)."""

    async def refuse(socket: ServerConnection) -> None:
        await socket.close()

    async def test(world: World) -> None:
        places = ("ws://127.0.0.1:1", "ws://no-such-host.invalid", "http://127.0.0.1", "ws://")
        for place in places:
            for tail in (f"/ws/{SECRET}", f"/ws?listenKey={SECRET}", f"/ws#{SECRET}"):
                with pytest.raises((ConnectionError, TimeoutError)) as raised:
                    await world.connector.connect(
                        place + tail, on_frame=world.take, on_close=world.ended
                    )
                assert SECRET not in str(raised.value)
                assert raised.value.__cause__ is None
                assert raised.value.__suppress_context__

    assert [] == run.served(refuse, test)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"",
        None,
    ],
    ids=["403", "redirect", "nonsense", "hangs up", "says nothing"],
)
def test_a_handshake_that_fails_is_an_error(
    make: Make, new_loop: Callable[[], asyncio.AbstractEventLoop], answer: bytes | None
) -> None:
    """Turned down, answered with nonsense, hung up or not answered: an error in bounded time."""

    async def main() -> None:
        ends = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await ends.wait()
            else:
                writer.write(answer)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        supervisor = Supervisor(LiveClock(), lambda failed: None, rng=random.Random(1))
        connector = make(supervisor=supervisor, open_timeout_s=0.3)
        reasons: list[str] = []
        with pytest.raises(TimeoutError if answer is None else ConnectionError):
            await connector.connect(
                f"ws://127.0.0.1:{port}/{SECRET}",
                on_frame=lambda frame: None,
                on_close=reasons.append,
            )
        ends.set()
        server.close()
        await supervisor.stop()
        assert [] == reasons

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_a_certificate_nobody_trusts_is_refused(run: Runner, tmp_path: Path) -> None:
    """wss:// checks the certificate; with a context that trusts it frames flow."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        (
            openssl,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            str(key),
            "-out",
            str(cert),
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))

    async def parrot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, payload = await read_frame(reader)
        writer.write(frame_of(1, payload))
        await silent(reader, writer)

    async def trusted(world: World) -> None:
        world.url = world.url.replace("ws://127.0.0.1", "wss://localhost")
        connection = await world.open()
        connection.send("hello")
        assert [b"hello"] == await world.until(1)
        await connection.close()

    async def distrusted(world: World) -> None:
        world.url = world.url.replace("ws://127.0.0.1", "wss://localhost")
        with pytest.raises(ConnectionError):
            await world.open()

    assert [] == run.raw(parrot, trusted, context=context, ssl_context=trusting)
    assert [] == run.raw(parrot, distrusted, context=context)


def test_the_setting_chooses_the_client() -> None:
    """websocket_client has an effect, and every value it allows has a connector."""
    chosen = [connector_class(AegisConfig(websocket_client=n).websocket_client) for n in CLIENTS]
    assert [PicowsConnector, WebsocketConnector] == chosen
