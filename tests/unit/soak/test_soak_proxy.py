"""The chaos proxy does to a connection what each kind says, and nothing to the others."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from soak.plan import chosen, strikes
from soak.proxy import ChaosProxy, Kind, Stream, stream_of

USER = b"GET /private/ws?listenKey=k HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
REST = b"POST /fapi/v1/order HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "stream"),
    [
        (USER, Stream.USER),
        (b"GET /v5/private HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n", Stream.USER),
        (b"GET /public/ws HTTP/1.1\r\nupgrade: websocket\r\n\r\n", Stream.MARKET),
        (b"GET /v5/public/linear HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", Stream.MARKET),
        (b"GET /ws-fapi/v1 HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", Stream.ORDER),
        (b"GET /v5/trade HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", Stream.ORDER),
        (REST, Stream.REST),
        (b"\r\n\r\n", Stream.REST),
    ],
)
def test_streams_are_told_apart_by_their_first_line(head: bytes, stream: Stream) -> None:
    """Paths of venues.md 2 and 3; whatever is no WebSocket is REST."""
    assert stream is stream_of(head)


class Wire:
    """A client's connection through the proxy, whose server sends everything back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def echoed(self, sent: bytes) -> bytes:
        """Send, and return what comes back."""
        self.writer.write(sent)
        return await self.reader.readexactly(len(sent))


Open = Callable[[bytes], Awaitable[Wire]]


def through(work: Callable[[ChaosProxy, Open], Awaitable[None]]) -> None:
    """Run *work* with a proxy, and a way to open a connection that begins with some bytes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1024):
                writer.write(chunk)
        except ConnectionError:
            return
        finally:
            writer.close()

    async def main() -> None:
        wires: list[Wire] = []
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = ChaosProxy(server.sockets[0].getsockname()[1], random.Random(1), lambda *_: None)
        await proxy.start()
        port = int(proxy.url.rpartition(":")[2])

        async def connect(head: bytes) -> Wire:
            wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port)))
            wires[-1].writer.write(head)
            return wires[-1]

        try:
            async with asyncio.timeout(5):
                await work(proxy, connect)
        finally:
            for wire in wires:
                wire.writer.close()
            await proxy.stop()
            server.close()
            for wire in wires:
                with suppress(ConnectionError):
                    await wire.writer.wait_closed()

    asyncio.run(main())


async def opened(connect: Open, head: bytes) -> Wire:
    """Return a connection whose first bytes came back."""
    wire = await connect(head)
    assert head == await wire.reader.readexactly(len(head))
    return wire


@pytest.mark.parametrize("kind", [Kind.CLOSE, Kind.RESET])
def test_a_connection_is_ended_and_the_others_live(kind: Kind) -> None:
    """An end of file or a reset on the user stream; REST goes on."""

    async def work(proxy: ChaosProxy, connect: Open) -> None:
        user, rest = await opened(connect, USER), await opened(connect, REST)
        assert [Stream.USER, Stream.REST] == proxy.carried()
        assert 1 == proxy.strike(Stream.USER, kind, 0.0)
        if kind is Kind.RESET:
            with pytest.raises(ConnectionResetError):
                _ = await user.reader.read()
        else:
            assert b"" == await user.reader.read()
        assert b"still here" == await rest.echoed(b"still here")

    through(work)


def test_a_silent_connection_swallows_then_is_reset() -> None:
    """Half-open: nothing comes, nothing is told, until its time is over."""

    async def work(proxy: ChaosProxy, connect: Open) -> None:
        user = await opened(connect, USER)
        assert 1 == proxy.strike(Stream.USER, Kind.SILENT, 0.05)
        with pytest.raises(ConnectionResetError):
            _ = await user.echoed(b"lost")

    through(work)


def test_a_stalled_connection_gives_everything_later() -> None:
    """No byte is lost and the order is kept."""

    async def work(proxy: ChaosProxy, connect: Open) -> None:
        user = await opened(connect, USER)
        assert 1 == proxy.strike(Stream.USER, Kind.STALL, 0.05)
        user.writer.write(b"late")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                _ = await user.reader.readexactly(4)
        user.writer.write(b"r on")
        assert b"later on" == await user.reader.readexactly(8)

    through(work)


def test_a_refused_stream_takes_no_connection_for_a_while() -> None:
    """New ones of that stream are reset, those of others are not."""

    async def work(proxy: ChaosProxy, connect: Open) -> None:
        _ = await opened(connect, USER)
        assert 1 == proxy.strike(Stream.USER, Kind.REFUSE, 60.0)
        refused = await connect(USER)
        with pytest.raises(ConnectionResetError):
            _ = await refused.reader.read()
        assert 1 == proxy.refused
        _ = await opened(connect, REST)

    through(work)


def test_a_plan_is_drawn_from_its_seed_and_is_fair() -> None:
    """The same seed draws the same strikes; kinds come equally often, every stream is struck."""
    plan = strikes(5, 20.0, 400.0)
    assert plan == strikes(5, 20.0, 400.0)
    assert plan != strikes(6, 20.0, 400.0)
    assert {4} == {sum(s.kind is kind for s in plan) for kind in Kind}
    assert set(Stream) == {s.stream for s in plan}
    assert not any(s.aimed and s.stream is Stream.MARKET for s in plan)


def test_a_strike_hits_its_stream_where_the_order_went() -> None:
    """Else the nearest thing that is carried; nothing when nothing is."""
    (strike, *_) = [s for s in strikes(5, 20.0, 400.0) if s.stream is Stream.USER]
    both = [(venue, stream) for venue in ("A", "B") for stream in (Stream.USER, Stream.REST)]
    assert ("B", Stream.USER) == chosen(strike, both, "B")
    assert ("B", Stream.REST) == chosen(strike, [("B", Stream.REST)], "A")
    assert chosen(strike, [], None) is None
