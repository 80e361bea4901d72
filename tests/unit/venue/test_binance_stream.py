"""The venue's three streams: paths, subscriptions within the limits, and the listen key."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import VenueRefused, VenueUnreachable
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import StreamClosed, StreamOpened
from aegis.venue.binance.frames import Ack
from aegis.venue.binance.parse_market import parse_market
from aegis.venue.binance.stream import ACK_TIMEOUT_S, BinanceStreams, ListenKeys
from aegis.venue.managed_stream import RESTARTS_PER_HOUR_MAX

MINUTE_NS = 60_000_000_000


Answer = Callable[[dict[str, object]], dict[str, object] | None]


def accepted(request: dict[str, object]) -> dict[str, object] | None:
    """Answer as the venue does (venues.md 2.1)."""
    return {"result": None, "id": request["id"]}


class Connection:
    """One connection: what was sent and when; it answers a moment later, or not at all."""

    def __init__(self, url: str, on_frame: Callable[[bytes], None], answer: Answer) -> None:
        self.url = url
        self.on_frame = on_frame
        self.answer = answer
        self.sent: list[tuple[float, dict[str, object]]] = []
        self.closed = False

    def send(self, text: str) -> None:
        """Take a message."""
        loop = asyncio.get_running_loop()
        request = json.loads(text)
        self.sent.append((loop.time(), request))
        answer = self.answer(request)
        if answer is not None:
            loop.call_later(0.01, self.on_frame, json.dumps(answer).encode())

    async def close(self) -> None:
        """Note the close."""
        self.closed = True


class Bench:
    """Streams on a connector that accepts everything."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(0, loop)
        self.connections: list[Connection] = []
        self.answer: Answer = accepted
        self.failures: list[TaskFailed] = []
        self.states: list[StreamOpened | StreamClosed] = []
        self.created = 0
        self.renewed: list[tuple[float, str]] = []
        self.renewal_error: Exception | None = None
        self.streams = BinanceStreams(
            base_url="wss://venue/",
            connector=self,
            supervisor=Supervisor(clock, self.failures.append, rng=random.Random(1)),
            clock=clock,
            rng=random.Random(2),
            keys=ListenKeys(self._create, self._renew),
            timeframes_ns=(MINUTE_NS, 5 * MINUTE_NS),
            on_user_frame=lambda frame: None,
            on_market_frame=self._on_market_frame,
            on_state=self.states.append,
        )

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> Connection:
        """Open."""
        self.connections.append(Connection(url, on_frame, self._reply))
        return self.connections[-1]

    def _reply(self, request: dict[str, object]) -> dict[str, object] | None:
        return self.answer(request)

    def _on_market_frame(self, frame: bytes) -> None:
        fact = parse_market(frame, 0)
        if isinstance(fact, Ack):
            self.streams.on_ack(fact)

    async def _create(self) -> str:
        self.created += 1
        return f"key{self.created}"

    async def _renew(self, key: str) -> None:
        self.renewed.append((asyncio.get_running_loop().time(), key))
        if self.renewal_error is not None:
            raise self.renewal_error

    def at(self, path: str) -> Connection:
        """Return the newest connection whose address holds *path*."""
        return [each for each in self.connections if path in each.url][-1]


def virtual(test: Callable[[Bench], Awaitable[None]]) -> None:
    """Run *test* in virtual time."""

    async def main() -> None:
        bench = Bench()
        await test(bench)
        await bench.streams.stop()
        assert [] == bench.failures

    run_virtual(main())


def names_of(message: dict[str, object]) -> list[str]:
    """Return the stream names of one message."""
    params = message["params"]
    assert isinstance(params, list)
    return params


def params_of(connection: Connection) -> list[str]:
    """Return everything a connection subscribed to."""
    return [name for _, message in connection.sent for name in names_of(message)]


def test_each_kind_of_stream_has_its_own_path() -> None:
    """The bare legacy path would carry neither marks nor the account (venues.md 2.1, 5.1)."""

    async def test(bench: Bench) -> None:
        bench.streams.start_user()
        bench.streams.start_market(["BTCUSDT"])
        await asyncio.sleep(1)
        assert [
            "wss://venue/private/ws?listenKey=key1",
            "wss://venue/public/ws",
            "wss://venue/market/ws",
        ] == [connection.url for connection in bench.connections]
        assert ["btcusdt@bookTicker"] == params_of(bench.at("/public"))
        assert ["btcusdt@markPrice@1s", "btcusdt@kline_1m", "btcusdt@kline_5m"] == params_of(
            bench.at("/market")
        )
        assert [] == bench.at("/private").sent

    virtual(test)


def test_subscriptions_stay_within_the_venues_limits() -> None:
    """At most 100 names a message and 10 messages a second, ids not repeated (venues.md 2.1)."""

    async def test(bench: Bench) -> None:
        symbols = [f"S{number}USDT" for number in range(340)]
        bench.streams.start_market(symbols)
        await asyncio.sleep(5)
        market = bench.at("/market")
        assert 3 * 340 == len(set(params_of(market)))
        assert 100 == max(len(names_of(message)) for _, message in market.sent)
        times = [at_s for at_s, _ in market.sent]
        assert 11 == len(times)
        assert all(times[n + 10] - times[n] > 1.0 for n in range(len(times) - 10))
        ids = [message["id"] for connection in bench.connections for _, message in connection.sent]
        assert len(ids) == len(set(ids))

    virtual(test)


def test_too_many_symbols_are_said_at_once() -> None:
    """A connection that would be cut by the venue is not opened."""

    async def test(bench: Bench) -> None:
        with pytest.raises(ValueError, match="streams were 1200, limit 1024"):
            bench.streams.start_market([f"S{number}USDT" for number in range(400)])

    virtual(test)


def test_the_listen_key_is_renewed_and_replaced_when_it_is_gone() -> None:
    """Renewal comes every 30 minutes; -1125 opens the stream anew with a new key (pitfall 7)."""

    async def test(bench: Bench) -> None:
        bench.streams.start_user()
        await asyncio.sleep(3601)
        assert [(1800.0, "key1"), (3600.0, "key1")] == bench.renewed
        bench.renewal_error = VenueRefused("-1125", "gone", venue="BINANCE", operation="x")
        await asyncio.sleep(1801)
        assert "wss://venue/private/ws?listenKey=key2" == bench.connections[-1].url
        assert bench.connections[0].closed
        closed = [each.reason for each in bench.states if isinstance(each, StreamClosed)]
        assert ["listen key is gone"] == closed

    virtual(test)


def test_a_renewal_that_fails_is_repeated_within_the_keys_life() -> None:
    """An unreachable venue is asked again each minute; the stream is left alone meanwhile."""

    async def test(bench: Bench) -> None:
        bench.streams.start_user()
        bench.renewal_error = VenueUnreachable("down", venue="BINANCE", operation="x")
        await asyncio.sleep(1800 + 130)
        assert [1800.0, 1860.0, 1920.0] == [at_s for at_s, _ in bench.renewed]
        assert 1 == len(bench.connections)

    virtual(test)


def test_one_symbol_is_resubscribed_alone() -> None:
    """Only that symbol's names are unsubscribed and subscribed, in that order (R10)."""

    async def test(bench: Bench) -> None:
        bench.streams.start_market(["BTCUSDT", "ETHUSDT"])
        await asyncio.sleep(1)
        await bench.streams.resubscribe("ETHUSDT")
        for path, names in (
            ("/public", ["ethusdt@bookTicker"]),
            ("/market", ["ethusdt@markPrice@1s", "ethusdt@kline_1m", "ethusdt@kline_5m"]),
        ):
            assert [("UNSUBSCRIBE", names), ("SUBSCRIBE", names)] == [
                (message["method"], message["params"]) for _, message in bench.at(path).sent[-2:]
            ]
        assert 2 == len(bench.connections)

    virtual(test)


def test_a_refused_subscription_is_no_open_stream() -> None:
    """An error answer is told, closes the connection and is tried again with back-off (R31)."""

    def refuse(request: dict[str, object]) -> dict[str, object] | None:
        if "btcusdt@bookTicker" not in names_of(request):
            return accepted(request)
        return {"error": {"code": 2, "msg": "Invalid request"}, "id": request["id"]}

    async def test(bench: Bench) -> None:
        bench.answer = refuse
        bench.streams.start_market(["BTCUSDT"])
        await asyncio.sleep(5)
        assert ["market"] == [each.stream for each in bench.states]
        refused = [each for each in bench.connections if "/public" in each.url]
        assert 2 < len(refused) < 20
        assert all(each.closed for each in refused[:-1])
        bench.answer = accepted
        await asyncio.sleep(20)
        assert ["market", "public"] == [each.stream for each in bench.states]

    virtual(test)


def test_a_subscription_without_an_answer_is_no_open_stream() -> None:
    """A venue that takes the request and says nothing is asked anew after 10 s."""

    async def test(bench: Bench) -> None:
        bench.answer = lambda request: None
        bench.streams.start_market(["BTCUSDT"])
        await asyncio.sleep(ACK_TIMEOUT_S + 1)
        assert [] == bench.states
        assert 2 == len([each for each in bench.connections if "/public" in each.url])

    virtual(test)


def test_a_resubscription_that_is_refused_raises() -> None:
    """R10: a symbol that stays stale is not taken for subscribed anew."""

    async def test(bench: Bench) -> None:
        bench.streams.start_market(["BTCUSDT"])
        await asyncio.sleep(1)
        bench.answer = lambda request: {"error": {"code": 2, "msg": "no"}, "id": request["id"]}
        with pytest.raises(VenueRefused, match="UNSUBSCRIBE of btcusdt@bookTicker"):
            await bench.streams.resubscribe("BTCUSDT")
        assert 2 == len(bench.states)

    virtual(test)


def test_a_market_connection_is_restarted_alone_and_not_for_ever() -> None:
    """R11: the one that carries the stale kind, RESTARTS_PER_HOUR_MAX times an hour at most."""

    async def test(bench: Bench) -> None:
        bench.streams.start_market(["BTCUSDT"])
        await asyncio.sleep(1)
        for _ in range(10):
            bench.streams.restart_market(quotes=True, marks=False, reason="BTCUSDT stays stale")
            # The market stream must not be silent meanwhile.
            bench.at("/market").on_frame(b"{}")
            await asyncio.sleep(20)
        closed = [each for each in bench.states if isinstance(each, StreamClosed)]
        assert {("public", "BTCUSDT stays stale")} == {
            (each.stream, each.reason) for each in closed
        }
        assert RESTARTS_PER_HOUR_MAX == len(closed)

    virtual(test)


def test_connections_are_renewed_before_the_venue_ends_them() -> None:
    """After 23 of 24 hours, at a moment without frames, with a new listen key (venues.md 2.1)."""

    async def test(bench: Bench) -> None:
        bench.streams.start_user()
        await asyncio.sleep(23 * 3600 - 10)
        bench.at("/private").on_frame(b"{}")
        assert 1 == len(bench.states)
        await asyncio.sleep(20)
        assert ["opened", "renewed after 23.0 h", "opened"] == [
            each.reason if isinstance(each, StreamClosed) else "opened" for each in bench.states
        ]
        assert "wss://venue/private/ws?listenKey=key2" == bench.connections[-1].url

    virtual(test)
