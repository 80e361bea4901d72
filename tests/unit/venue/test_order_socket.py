"""An order leaves at once or not at all; what left is answered, late, or unknown, never resent."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from loguru import logger

from aegis.core.clock import VirtualClock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueUnreachable,
)
from aegis.core.event import Event
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import ApiCalled, StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.venue.calls import CallRunner
from aegis.venue.order_socket import Answered, Ask, OrderSocket

TIMEOUT_S = 2.0


class Peer:
    """The venue's end of one connection."""

    def __init__(self, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]) -> None:
        self.on_frame = on_frame
        self.on_close = on_close
        self.sent: list[str] = []
        self.closed = False

    def send(self, text: str) -> None:
        """Take a request."""
        if self.closed:
            raise ConnectionError("closed")
        self.sent.append(text)

    async def close(self) -> None:
        """Note the close."""
        self.closed = True


class Peers:
    """Opens connections, unless the line is down."""

    def __init__(self) -> None:
        self.down = False
        self.opened: list[Peer] = []

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> Peer:
        """Open or refuse."""
        assert "ws://venue/orders" == url
        await asyncio.sleep(0.001)
        if self.down:
            raise ConnectionRefusedError("refused")
        self.opened.append(Peer(on_frame, on_close))
        return self.opened[-1]


class NoError(Exception):
    """The venue's no, as its reader hands it over."""


def read(frame: bytes) -> Answered | None:
    """Read `id=answer`; `id!text` is a refusal, `pong` no answer."""
    text = frame.decode()
    if text == "pong":
        return None
    if "=" in text:
        request_id, _, answer = text.partition("=")
        return request_id, answer
    if "!" in text:
        request_id, _, message = text.partition("!")
        return request_id, NoError(message)
    raise VenueProtocolError(frame, venue="BINANCE", operation="order socket")


def classify(error: BaseException, operation: str, client_order_id: str | None) -> VenueError:
    """Decide as the venues' classify does."""
    if isinstance(error, NoError):
        return VenueRefused("-1", str(error), venue="BINANCE", operation=operation)
    if client_order_id is None:
        return VenueUnreachable(str(error), venue="BINANCE", operation=operation)
    return OrderOutcomeUnknown(
        client_order_id, venue="BINANCE", operation=operation, detail=str(error)
    )


class Bench:
    """An order socket, the other end, and what was told."""

    def __init__(self, log_in: Callable[[Ask], Awaitable[None]] | None = None) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(1_000_000_000, loop)
        self.events: list[Event] = []
        self.failures: list[TaskFailed] = []
        self.peers = Peers()
        self.late: list[object] = []
        self.supervisor = Supervisor(clock, self.failures.append, rng=random.Random(1))
        self.calls = CallRunner(
            venue=Venue.BINANCE, publish=self.events.append, clock=clock, classify=classify
        )
        self.socket = OrderSocket(
            venue=Venue.BINANCE,
            url="ws://venue/orders",
            connector=self.peers,
            supervisor=self.supervisor,
            clock=clock,
            rng=random.Random(2),
            calls=self.calls,
            read=read,
            on_state=self.events.append,
            answer_timeout_s=TIMEOUT_S,
            log_in=log_in,
        )

    @property
    def peer(self) -> Peer:
        """Return the newest connection's other end."""
        return self.peers.opened[-1]

    def tell(self, text: str) -> None:
        """Answer on the newest connection."""
        self.peer.on_frame(text.encode())

    def ask(self, request_id: str, client_order_id: str | None = "cid") -> "asyncio.Task[object]":
        """Ask in a task of its own."""
        return asyncio.get_running_loop().create_task(
            self.socket.ask(
                "ws order.place",
                request_id,
                f"order {request_id}",
                client_order_id=client_order_id,
                on_late=self.late.append,
            )
        )

    def told(self) -> list[tuple[str, bool, str]]:
        """Return the calls told: operation, success, class of the failure."""
        return [
            (event.operation, event.ok, event.error_class)
            for event in self.events
            if isinstance(event, ApiCalled)
        ]


def on_bench(
    test: Callable[[Bench], Awaitable[None]],
    log_in: Callable[[Ask], Awaitable[None]] | None = None,
) -> list[str]:
    """Run *test* on an open socket in virtual time and return the warnings logged."""
    warnings: list[str] = []

    async def main() -> None:
        bench = Bench(log_in)
        bench.socket.start()
        await asyncio.sleep(0.1)
        await test(bench)
        await bench.socket.stop()
        await bench.supervisor.stop()
        assert [] == bench.failures

    sink = logger.add(lambda message: warnings.append(str(message)), level="WARNING")
    try:
        run_virtual(main())
    finally:
        logger.remove(sink)
    return warnings


def test_a_request_leaves_in_the_call_that_asks_and_its_answer_comes_back() -> None:
    """Bytes go out before anything is awaited; answers find their request in any order."""

    async def test(bench: Bench) -> None:
        future = bench.socket.send("1", "order 1")
        assert ["order 1"] == bench.peer.sent
        other = bench.ask("2")
        await asyncio.sleep(0)
        bench.tell("2=two")
        bench.tell("pong")
        bench.tell("1=one")
        assert ("one", "two") == (await future, await other)
        assert [("ws order.place", True, "")] == bench.told()

    assert [] == on_bench(test)


def test_a_refusal_is_classified_as_every_call_is() -> None:
    """What the reader hands over as an exception goes through the venue's classify (R31)."""

    async def test(bench: Bench) -> None:
        asked = bench.ask("1")
        await asyncio.sleep(0)
        bench.tell("1!no margin")
        with pytest.raises(VenueRefused, match="no margin"):
            await asked
        assert [("ws order.place", False, "VenueRefused")] == bench.told()

    on_bench(test)


def test_nothing_is_sent_while_it_is_not_open_and_the_caller_is_told_so() -> None:
    """With no open socket the caller gets a ConnectionError, and no call is told."""

    async def test(bench: Bench) -> None:
        bench.peers.down = True
        bench.peer.on_close("gone")
        assert not bench.socket.ready
        with pytest.raises(ConnectionError):
            await bench.ask("1")
        assert [] == bench.told()
        bench.peers.down = False
        await asyncio.sleep(60)
        assert bench.socket.ready

    on_bench(test)


def test_what_is_pending_when_the_socket_ends_is_unknown_at_once() -> None:
    """The bytes left: unknown for an order, a plain failure for what may repeat (R30)."""

    async def test(bench: Bench) -> None:
        order, cancel = bench.ask("1"), bench.ask("2", client_order_id=None)
        await asyncio.sleep(0)
        started_s = asyncio.get_running_loop().time()
        bench.peer.on_close("reset")
        with pytest.raises(OrderOutcomeUnknown, match="reset") as unknown:
            await order
        assert "cid" == unknown.value.client_order_id
        with pytest.raises(VenueUnreachable):
            await cancel
        assert started_s == asyncio.get_running_loop().time()

    on_bench(test)


def test_stopping_leaves_no_request_without_an_end() -> None:
    """A clean stop with an order under way ends it as unknown."""

    async def test(bench: Bench) -> None:
        order = bench.ask("1")
        await asyncio.sleep(0)
        await bench.socket.stop()
        with pytest.raises(OrderOutcomeUnknown):
            await order

    on_bench(test)


def test_a_late_answer_is_evidence_and_told_once() -> None:
    """After the time-out the outcome is unknown; the late answers are handed over and counted."""

    async def test(bench: Bench) -> None:
        one, two = bench.ask("1"), bench.ask("2")
        for asked in (one, two):
            with pytest.raises(OrderOutcomeUnknown):
                await asked
        assert TIMEOUT_S <= asyncio.get_running_loop().time() < TIMEOUT_S + 0.2
        bench.tell("1=late")
        bench.tell("2!refused late")
        assert (["late"], 2) == (bench.late, bench.socket.late_answers)

    warnings = on_bench(test)
    assert 1 == sum("after the request was given up" in line for line in warnings)


def test_a_socket_that_owes_an_answer_takes_no_orders_until_it_speaks() -> None:
    """One order may be lost on a silent socket, the next goes by REST (R30)."""

    async def test(bench: Bench) -> None:
        with pytest.raises(OrderOutcomeUnknown):
            await bench.ask("1")
        assert not bench.socket.ready
        with pytest.raises(ConnectionError):
            _ = bench.socket.send("2", "order 2")
        bench.tell("1=late")
        assert bench.socket.ready
        await asyncio.sleep(10)
        assert 1 == len(bench.peers.opened)

    warnings = on_bench(test)
    assert 1 == sum("owes an answer" in line for line in warnings)


def test_a_socket_that_stays_silent_is_replaced() -> None:
    """A half-open socket is given up after a second time-out, and a new one takes orders."""

    async def test(bench: Bench) -> None:
        with pytest.raises(OrderOutcomeUnknown):
            await bench.ask("1")
        await asyncio.sleep(TIMEOUT_S + 1)
        assert (2, True) == (len(bench.peers.opened), bench.socket.ready)
        reasons = [event.reason for event in bench.events if isinstance(event, StreamClosed)]
        assert ["no answer"] == reasons

    on_bench(test)


def test_no_order_goes_before_the_log_in() -> None:
    """Open is not ready: the venue must have said yes to who we are."""
    logged_in: list[str] = []

    async def log_in(ask: Ask) -> None:
        logged_in.append(await ask("auth", "it is me"))

    async def test(bench: Bench) -> None:
        assert (["it is me"], False) == (bench.peer.sent, bench.socket.ready)
        with pytest.raises(ConnectionError):
            _ = bench.socket.send("1", "order 1")
        bench.tell("auth=welcome")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (["welcome"], True) == (logged_in, bench.socket.ready)
        assert 1 == sum(isinstance(event, StreamOpened) for event in bench.events)

    on_bench(test, log_in)


def test_a_log_in_without_an_answer_is_tried_again() -> None:
    """A venue that does not answer the log-in costs a reconnect, and orders go by REST."""

    async def log_in(ask: Ask) -> None:
        await ask("auth", "it is me")

    async def test(bench: Bench) -> None:
        await asyncio.sleep(30)
        assert len(bench.peers.opened) > 1
        assert not bench.socket.ready

    on_bench(test, log_in)


def test_an_unreadable_frame_ends_nothing() -> None:
    """Garbage is counted; the request it may have answered times out as unknown."""

    async def test(bench: Bench) -> None:
        asked = bench.ask("1")
        await asyncio.sleep(0)
        bench.tell("garbage")
        bench.tell("1=fine")
        assert "fine" == await asked

    on_bench(test)


def test_a_retired_socket_takes_no_order_and_still_answers() -> None:
    """Once the way is refused no order goes there, what is under way still ends."""

    async def test(bench: Bench) -> None:
        asked = bench.ask("1")
        await asyncio.sleep(0)
        bench.socket.retire()
        assert not bench.socket.ready
        bench.tell("1=fine")
        assert "fine" == await asked

    on_bench(test)


def test_request_ids_never_repeat_even_after_a_restart() -> None:
    """Ids grow from the wall clock: the venue refuses one it has seen (venues.md 3.7)."""

    async def test(bench: Bench) -> None:
        first = [bench.socket.next_id() for _ in range(3)]
        await asyncio.sleep(1)
        reborn = Bench().socket
        second = [reborn.next_id() for _ in range(3)]
        assert sorted(first + second, key=int) == first + second
        assert 6 == len({*first, *second})

    on_bench(test)
