"""A managed stream comes back, keeps order, notices silence, and swallows nothing."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable

import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import VenueProtocolError, VenueUnreachable
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.venue.managed_stream import (
    RENEWAL_PATIENCE_S,
    RESTARTS_PER_HOUR_MAX,
    ManagedStream,
)


class FakeConnection:
    """A connection the test plays the peer of."""

    def __init__(self, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]) -> None:
        self.on_frame = on_frame
        self.on_close = on_close
        self.sent: list[str] = []
        self.closed = False

    def send(self, text: str) -> None:
        """Take what is sent."""
        if self.closed:
            raise ConnectionError("closed")
        self.sent.append(text)

    async def close(self) -> None:
        """Note the close."""
        self.closed = True


class FakeConnector:
    """Opens connections, or refuses the first few; notes when it was asked."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.asked_at_s: list[float] = []
        self.connections: list[FakeConnection] = []

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> FakeConnection:
        """Open or refuse."""
        self.asked_at_s.append(asyncio.get_running_loop().time())
        assert "ws://peer" == url
        await asyncio.sleep(0.001)
        if len(self.asked_at_s) <= self.refusals:
            raise ConnectionRefusedError("refused")
        self.connections.append(FakeConnection(on_frame, on_close))
        return self.connections[-1]


class Bench:
    """A stream and what it told."""

    def __init__(
        self,
        *,
        refusals: int = 0,
        on_frame: Callable[[bytes], None] | None = None,
        on_open: Callable[[], Awaitable[None]] | None = None,
        ping: bool = False,
        silence_timeout_s: float | None = None,
        renew_after_s: float | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(0, loop)
        self.connector = FakeConnector(refusals)
        self.failures: list[TaskFailed] = []
        self.supervisor = Supervisor(clock, self.failures.append, rng=random.Random(1))
        self.states: list[StreamOpened | StreamClosed] = []
        self.frames: list[bytes] = []
        self.opens = 0

        async def opened(connection: object) -> None:
            self.opens += 1
            if on_open is not None:
                await on_open()

        async def url() -> str:
            return "ws://peer"

        self.stream = ManagedStream(
            venue=Venue.BINANCE,
            name="test",
            connector=self.connector,
            url=url,
            on_frame=on_frame or self.frames.append,
            on_open=opened,
            on_state=self.states.append,
            supervisor=self.supervisor,
            clock=clock,
            rng=random.Random(3),
            ping_text=(lambda: "ping") if ping else None,
            ping_interval_s=20.0,
            silence_timeout_s=silence_timeout_s,
            renew_after_s=renew_after_s,
        )
        self.stream.start()

    @property
    def peer(self) -> FakeConnection:
        """Return the newest connection."""
        return self.connector.connections[-1]

    def told(self) -> list[str]:
        """Return the states in words."""
        return [
            f"opened {each.attempt}" if isinstance(each, StreamOpened) else each.reason
            for each in self.states
        ]


def virtual(test: Callable[[], Awaitable[None]]) -> None:
    """Run *test* in virtual time."""

    async def main() -> None:
        await test()

    run_virtual(main())


def test_it_opens_delivers_in_order_and_stops() -> None:
    """Frames come synchronously and in order; a stop of ours is no StreamClosed."""

    async def test() -> None:
        bench = Bench()
        await asyncio.sleep(1)
        for frame in (b"1", b"2", b"3"):
            bench.peer.on_frame(frame)
        assert [b"1", b"2", b"3"] == bench.frames
        bench.stream.send("hello")
        assert ["hello"] == bench.peer.sent
        assert bench.stream.connected
        await bench.stream.stop()
        assert bench.peer.closed
        assert not bench.stream.connected
        assert ["opened 1"] == bench.told()
        with pytest.raises(ConnectionError, match="not open"):
            bench.stream.send("late")

    virtual(test)


def test_it_never_gives_up_and_backs_off_with_jitter() -> None:
    """Fifty refusals end in a connection; waits grow, stay below 30 s and differ (R11)."""

    async def test() -> None:
        bench = Bench(refusals=50)
        await asyncio.sleep(3_000)
        assert ["opened 51"] == bench.told()
        asked = bench.connector.asked_at_s
        waits = [later - earlier - 0.001 for earlier, later in itertools.pairwise(asked)]
        assert all(wait <= 0.25 * 2**n + 1e-6 for n, wait in enumerate(waits[:7]))
        assert 15.0 < max(waits) <= 30.0
        assert len(waits) == len({round(wait, 6) for wait in waits})
        opened = bench.states[0]
        assert isinstance(opened, StreamOpened)
        assert opened.downtime_ns == round((asked[-1] + 0.001) * 1e9)
        await bench.stream.stop()

    virtual(test)


def test_it_reconnects_when_the_peer_closes() -> None:
    """A break is told with its reason and the downtime with the next opening."""

    async def test() -> None:
        bench = Bench()
        await asyncio.sleep(1)
        bench.peer.on_close("going away")
        await asyncio.sleep(1)
        assert ["opened 1", "going away", "opened 2"] == bench.told()
        assert 2 == bench.opens
        await bench.stream.stop()

    virtual(test)


def test_a_minute_of_peace_resets_the_back_off() -> None:
    """After a stable minute the first wait is short again; a flapping peer waits longer."""

    async def test() -> None:
        bench = Bench()
        for _ in range(8):
            # Longer than the longest wait of so few failures, shorter than a stable minute.
            await asyncio.sleep(33)
            bench.peer.on_close("flap")
        await asyncio.sleep(33 + 61)
        flaps = bench.connector.asked_at_s[1:]
        assert max(later - earlier - 33 for earlier, later in itertools.pairwise(flaps)) > 1
        broken_at = asyncio.get_running_loop().time()
        bench.peer.on_close("after a minute")
        await asyncio.sleep(1)
        assert bench.connector.asked_at_s[-1] - broken_at <= 0.25
        await bench.stream.stop()

    virtual(test)


def test_silence_is_a_break() -> None:
    """Without any frame for so long the connection is given up; frames put it off."""

    async def test() -> None:
        bench = Bench(silence_timeout_s=10)
        for _ in range(5):
            await asyncio.sleep(6)
            bench.peer.on_frame(b"x")
        assert ["opened 1"] == bench.told()
        await asyncio.sleep(12)
        assert ["opened 1", "silent for 10.0 s", "opened 2"] == bench.told()
        await bench.stream.stop()

    virtual(test)


def test_pings_go_out_on_time() -> None:
    """The ping text is sent every interval of loop time."""

    async def test() -> None:
        bench = Bench(ping=True)
        await asyncio.sleep(61)
        assert ["ping"] * 3 == bench.peer.sent
        await bench.stream.stop()

    virtual(test)


def test_an_unreadable_frame_is_counted_and_the_stream_goes_on() -> None:
    """A frame that is not understood costs itself and nothing else (R5)."""

    async def test() -> None:
        seen: list[bytes] = []

        def handle(frame: bytes) -> None:
            if frame == b"bad":
                raise VenueProtocolError(frame, venue="BINANCE", operation="frame")
            seen.append(frame)

        bench = Bench(on_frame=handle)
        await asyncio.sleep(1)
        for frame in (b"1", b"bad", b"2"):
            bench.peer.on_frame(frame)
        await asyncio.sleep(1)
        assert [b"1", b"2"] == seen
        assert 1 == bench.stream.frames_unreadable
        assert ["opened 1"] == bench.told()
        assert [] == bench.failures
        await bench.stream.stop()

    virtual(test)


def test_a_defect_of_the_handler_is_told_and_the_stream_opens_anew() -> None:
    """Any other exception reaches the supervisor and is followed by a fresh connection (R7)."""

    async def test() -> None:
        def handle(frame: bytes) -> None:
            raise KeyError(frame)

        bench = Bench(on_frame=handle)
        await asyncio.sleep(1)
        bench.peer.on_frame(b"boom")
        await asyncio.sleep(1)
        assert ["KeyError"] == [failure.error_type for failure in bench.failures]
        assert ["opened 1", "frame handler raised KeyError", "opened 2"] == bench.told()
        await bench.stream.stop()

    virtual(test)


def test_an_opening_that_fails_is_tried_again_without_being_told_open() -> None:
    """A refused login closes the socket and never counts as open."""

    async def test() -> None:
        attempts = 0

        async def refuse_twice() -> None:
            nonlocal attempts
            attempts += 1
            if attempts <= 2:
                raise VenueUnreachable("no login", venue="BINANCE", operation="auth")

        bench = Bench(on_open=refuse_twice)
        await asyncio.sleep(5)
        assert ["opened 3"] == bench.told()
        assert [True, True, False] == [each.closed for each in bench.connector.connections]
        await bench.stream.stop()

    virtual(test)


def test_a_reconnect_can_be_asked_for() -> None:
    """The adapter may give a connection up, for an expired key for example."""

    async def test() -> None:
        bench = Bench()
        await asyncio.sleep(1)
        bench.stream.reconnect("listen key expired")
        await asyncio.sleep(1)
        assert ["opened 1", "listen key expired", "opened 2"] == bench.told()
        assert bench.connector.connections[0].closed
        await bench.stream.stop()

    virtual(test)


def test_stopping_while_it_connects_ends_it() -> None:
    """A stop during the back-off leaves no task behind."""

    async def test() -> None:
        bench = Bench(refusals=1_000_000)
        await asyncio.sleep(100)
        await bench.stream.stop()
        asked = len(bench.connector.asked_at_s)
        await asyncio.sleep(100)
        assert asked == len(bench.connector.asked_at_s)
        assert [] == bench.states

    virtual(test)


def test_a_defect_while_opening_is_told_each_time_and_backs_off() -> None:
    """A bug in the adapter's opening neither spins nor hides: it is told and tried with waits."""

    async def test() -> None:
        async def broken() -> None:
            raise KeyError("login")

        bench = Bench(on_open=broken)
        await asyncio.sleep(60)
        assert {"KeyError"} == {failure.error_type for failure in bench.failures}
        assert 4 < len(bench.failures) < 40
        assert all(each.closed for each in bench.connector.connections[:-1])
        assert [] == bench.states
        await bench.stream.stop()

    virtual(test)


def test_a_renewal_waits_for_a_quiet_moment() -> None:
    """While frames come the connection stays; two seconds without one are quiet enough."""

    async def test() -> None:
        bench = Bench(renew_after_s=1000.0)
        for _ in range(1010):
            await asyncio.sleep(1)
            bench.peer.on_frame(b"x")
        assert ["opened 1"] == bench.told()
        await asyncio.sleep(1.9)
        assert ["opened 1"] == bench.told()
        await asyncio.sleep(1)
        assert ["opened 1", "renewed after 0.3 h", "opened 2"] == bench.told()
        await bench.stream.stop()

    virtual(test)


def test_a_renewal_does_not_wait_for_ever() -> None:
    """A stream that is never quiet is renewed when its patience ends, and once only."""

    async def test() -> None:
        bench = Bench(renew_after_s=1000.0)
        seconds = round(1000 + RENEWAL_PATIENCE_S)
        for _ in range(seconds + 100):
            await asyncio.sleep(1)
            bench.peer.on_frame(b"x")
        assert ["opened 1", "renewed after 0.8 h", "opened 2"] == bench.told()
        await bench.stream.stop()

    virtual(test)


def test_doubts_cost_a_bounded_number_of_connections() -> None:
    """R11: so many restarts within an hour, then the open connection is left alone."""

    async def test() -> None:
        bench = Bench()
        await asyncio.sleep(1)
        allowed = []
        for _ in range(RESTARTS_PER_HOUR_MAX + 2):
            allowed.append(bench.stream.reconnect_if_allowed("doubt"))
            await asyncio.sleep(60)
        assert [True] * RESTARTS_PER_HOUR_MAX + [False, False] == allowed
        assert RESTARTS_PER_HOUR_MAX == bench.stream.breaks_last_hour
        await asyncio.sleep(3600)
        assert 0 == bench.stream.breaks_last_hour
        assert bench.stream.reconnect_if_allowed("doubt")
        await bench.stream.stop()

    virtual(test)


def test_a_doubt_about_a_stream_that_is_down_costs_nothing() -> None:
    """It is on its way already: nothing is counted, nothing is ended."""

    async def test() -> None:
        bench = Bench(refusals=5)
        assert all(bench.stream.reconnect_if_allowed("doubt") for _ in range(20))
        await asyncio.sleep(30)
        assert ["opened 6"] == bench.told()
        assert bench.stream.reconnect_if_allowed("doubt")
        await asyncio.sleep(1)
        assert ["opened 6", "doubt"] == bench.told()[:2]
        await bench.stream.stop()

    virtual(test)


def test_an_opening_whose_peer_is_gone_is_given_up_at_once() -> None:
    """R11: what it waits for would have come by its own reader, which has ended."""

    async def test() -> None:
        async def wait_for_an_answer() -> None:
            await asyncio.sleep(1000)

        bench = Bench(on_open=wait_for_an_answer)
        await asyncio.sleep(1)
        bench.peer.on_close("reset by peer")
        await asyncio.sleep(1)
        assert 2 == len(bench.connector.connections)
        assert bench.connector.connections[0].closed
        assert [] == bench.states
        assert [] == bench.failures
        await bench.stream.stop()

    virtual(test)
