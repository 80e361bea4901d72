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
from aegis.venue.binance.stream import BinanceStreams, ListenKeys

MINUTE_NS = 60_000_000_000


class Connection:
    """One connection: what was sent and when."""

    def __init__(self, url: str, on_frame: Callable[[bytes], None]) -> None:
        self.url = url
        self.on_frame = on_frame
        self.sent: list[tuple[float, dict[str, object]]] = []
        self.closed = False

    def send(self, text: str) -> None:
        """Take a message."""
        self.sent.append((asyncio.get_running_loop().time(), json.loads(text)))

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
            on_market_frame=lambda frame: None,
            on_state=self.states.append,
        )

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> Connection:
        """Open."""
        self.connections.append(Connection(url, on_frame))
        return self.connections[-1]

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
