"""The connector on real loopback sockets."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve

from aegis.core.clock import LiveClock
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.venue.websocket_connector import WebsocketConnector

Serve = Callable[[ServerConnection], Awaitable[None]]


def with_server(
    handler: Serve, test: Callable[[WebsocketConnector, str], Awaitable[None]]
) -> list[TaskFailed]:
    """Run *test* against a server that serves each connection with *handler*."""
    failures: list[TaskFailed] = []

    async def main() -> None:
        supervisor = Supervisor(LiveClock(), failures.append, rng=random.Random(1))
        connector = WebsocketConnector(supervisor=supervisor, open_timeout_s=2)
        async with serve(handler, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            await asyncio.wait_for(test(connector, f"ws://127.0.0.1:{port}"), 10)
        await supervisor.stop()

    asyncio.run(main())
    return failures


def test_frames_arrive_as_bytes_and_messages_keep_their_order() -> None:
    """Whatever is queued leaves in order; text frames come back as UTF-8 bytes."""

    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async def test(connector: WebsocketConnector, url: str) -> None:
        frames: list[bytes] = []
        enough = asyncio.Event()

        def take(frame: bytes) -> None:
            frames.append(frame)
            if len(frames) == 100:
                enough.set()

        connection = await connector.connect(url, on_frame=take, on_close=lambda reason: None)
        for number in range(100):
            connection.send(f"größer {number}")
        await enough.wait()
        assert [f"größer {number}".encode() for number in range(100)] == frames
        await connection.close()

    assert [] == with_server(echo, test)


def test_a_close_of_the_peer_is_told_once_and_ends_sending() -> None:
    """on_close comes once, with a reason; afterwards sending raises ConnectionError."""

    async def leave(socket: ServerConnection) -> None:
        await socket.send("bye")
        await socket.close(1001, "restart")

    async def test(connector: WebsocketConnector, url: str) -> None:
        reasons: list[str] = []
        closed = asyncio.Event()

        def note(reason: str) -> None:
            reasons.append(reason)
            closed.set()

        connection = await connector.connect(url, on_frame=lambda frame: None, on_close=note)
        await closed.wait()
        with pytest.raises(ConnectionError):
            connection.send("late")
        await connection.close()
        assert 1 == len(reasons)
        assert "restart" in reasons[0]

    assert [] == with_server(leave, test)


def test_a_close_of_ours_is_not_told() -> None:
    """on_close is for breaks, not for what we did ourselves."""

    async def wait(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async def test(connector: WebsocketConnector, url: str) -> None:
        reasons: list[str] = []
        connection = await connector.connect(
            url, on_frame=lambda frame: None, on_close=reasons.append
        )
        await connection.close()
        with pytest.raises(ConnectionError):
            connection.send("late")
        assert [] == reasons

    assert [] == with_server(wait, test)


def test_a_refused_connection_is_a_connection_error() -> None:
    """Nothing but ConnectionError and TimeoutError comes out of connect."""

    async def refuse(socket: ServerConnection) -> None:
        await socket.close()

    async def test(connector: WebsocketConnector, url: str) -> None:
        for bad in ("ws://127.0.0.1:1", "ws://no-such-host.invalid", "http://127.0.0.1"):
            with pytest.raises((ConnectionError, TimeoutError)):
                await connector.connect(bad, on_frame=lambda frame: None, on_close=lambda why: None)

    assert [] == with_server(refuse, test)
