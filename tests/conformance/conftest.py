"""
A twin of both venues on loopback sockets, in a thread of its own, whose market moves when told.

The clients in this folder are packages nobody here wrote, as they are installed. They are pointed
at the twin by the very code that docs/twin.md shows, read from there, so that it is always right.
"""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pytest

from aegis.twin.boot import Market, TwinShape, build_twin
from aegis.twin.server import TwinServer
from aegis.twin.tape.model import HOUR_NS, MINUTE_NS, CandleTape, FundingSeries, TapeReport

KEY: Final = "conformance-key"
SECRET: Final = "conformance-secret"
HISTORY_BARS: Final = 120
START_NS: Final = 1_767_225_600_000_000_000 - 10 * MINUTE_NS
"""Ten minutes before a funding time."""
PATIENCE_S: Final = 10.0
PYBIT_DELAY_S: Final = 0.006

# Closes of the minutes played: still for two, down 2 %, still for four, up 4 %, then still.
MOVES: Final = (1.0, 1.0, 0.98, 0.98, 0.98, 0.98, 0.98, 1.02, *[1.02] * 32)

DOCS: Final = Path(__file__).resolve().parent.parent.parent / "docs" / "twin.md"

Result = TypeVar("Result")


def set_up(words: str, twin: "ServedTwin") -> dict[str, Any]:
    """Run the documented set-up that holds *words* against *twin*; what it defined."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    code = next(block for block in blocks if words in block)
    for shown, real in (
        ("http://127.0.0.1:9101", twin.binance.url),
        ("ws://127.0.0.1:9101", twin.binance.ws_url),
        ("http://127.0.0.1:9102", twin.bybit.url),
        ("ws://127.0.0.1:9102", twin.bybit.ws_url),
        ("paper-key-of-the-twin", KEY),
        ("paper-secret-of-the-twin", SECRET),
    ):
        code = code.replace(shown, real)
    defined: dict[str, Any] = {"__name__": "documented"}
    exec(compile(code, DOCS.name, "exec"), defined)
    return defined


def tape_of(symbol: str, price: float) -> CandleTape:
    """Return two hours of a still market, then the moves, each bar without wicks."""
    closes = price * np.array([*[1.0] * HISTORY_BARS, *MOVES])
    opens = np.append(price, closes[:-1])
    bars = len(closes)
    first_ns = START_NS - HISTORY_BARS * MINUTE_NS
    times = first_ns + np.arange(bars, dtype=np.int64) * MINUTE_NS
    first_funding_ns = START_NS + 10 * MINUTE_NS - 8 * HOUR_NS
    return CandleTape(
        symbol=symbol,
        timeframe_ns=MINUTE_NS,
        open_ns=times,
        open=opens,
        high=np.maximum(opens, closes),
        low=np.minimum(opens, closes),
        close=closes,
        volume=np.full(bars, 12.5),
        mark=None,
        funding=FundingSeries(
            times_ns=first_funding_ns + np.arange(4, dtype=np.int64) * 8 * HOUR_NS,
            rates=np.array([0.0001, 0.0002, 0.0001, 0.0001]),
        ),
        venue=None,
        label="hand-made",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="hand-made", rows_read=bars, rows_kept=bars, rows_played=bars),
    )


def market() -> Market:
    """Return BTCUSDT at 50 000 and ETHUSDT at 2 500 on both venues."""
    tapes = (tape_of("BTCUSDT", 50_000.0), tape_of("ETHUSDT", 2_500.0))
    return Market(
        tapes={"binance": tapes, "bybit": tapes},
        start_ns=START_NS,
        end_ns=tapes[0].end_ns,
        label="hand-made",
        generated=True,
        market_id="conformance",
        lines=(),
    )


def wall_ms() -> int:
    """Return the wall clock, which the clients sign with."""
    return time.time_ns() // 1_000_000  # noqa: TID251 - the SDKs sign with the real clock


class ServedTwin:
    """
    Both faces behind servers; requests act at the market's moment, which `move` alone changes.

    A still market of about 500 000 USDT on each side of the book, 1 000 000 USDT in each wallet.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="twin", daemon=True)
        shape = TwinShape(
            seed=7,
            wallet=Decimal(1_000_000),
            spread_bps=1.0,
            depth_usdt=5_000.0,
            quote_interval_ns=1_000_000_000,
        )
        self.twin = build_twin(
            market(), shape, start_ns=START_NS, wall_ms=wall_ms, api_key=KEY, api_secret=SECRET
        )
        self.binance = TwinServer(self.twin.faces["binance"])
        self.bybit = TwinServer(self.twin.faces["bybit"], stream_delay_s=PYBIT_DELAY_S)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        for server in (self.binance, self.bybit):
            asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(PATIENCE_S)

    def close(self) -> None:
        """Stop listening and end the thread."""
        for server in (self.binance, self.bybit):
            asyncio.run_coroutine_threadsafe(server.stop(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def call(self, function: Callable[[], Result]) -> Result:
        """Run *function* where the faces live and return what it returns."""

        async def run() -> Result:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE_S)

    def move(self, minute: float) -> None:
        """Let the market go on to *minute* after its start; the minutes are those of MOVES."""
        to_ns = START_NS + round(minute * MINUTE_NS)
        self.call(lambda: self.twin.world.advance(to_ns))

    @staticmethod
    def until(true: Callable[[], Any], what: str) -> Any:
        """Wait for another thread to make *true* say something; its value."""
        ends = time.perf_counter() + PATIENCE_S
        while time.perf_counter() < ends:
            value = true()
            if value:
                return value
            time.sleep(0.005)
        raise AssertionError(f"waited {PATIENCE_S:g} s for {what}")


@pytest.fixture
def twin() -> Iterator[ServedTwin]:
    """Give a twin that stands at the start of its market."""
    served = ServedTwin()
    served.start()
    try:
        yield served
    finally:
        served.close()


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing look up another host: a client that would reach a real venue fails its test."""
    strangers: list[str] = []
    look_up = socket.getaddrinfo

    def guarded(host: Any, *arguments: Any, **named: Any) -> Any:
        if host not in {None, "127.0.0.1", b"127.0.0.1"}:
            strangers.append(str(host))
            raise socket.gaierror(f"only loopback is called here, not {host}")
        return look_up(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)
    yield
    assert [] == strangers


@pytest.fixture
def binance_sdk(twin: ServedTwin) -> Iterator[dict[str, Any]]:
    """Give what python-binance's set-up defines: client, TwinAsyncClient, TwinSockets."""
    sdk = set_up("binance.Client", twin)
    sdk["Refusal"] = pytest.importorskip("binance.exceptions").BinanceAPIException
    try:
        yield sdk
    finally:
        sdk["client"].close_connection()
        # SDK fault: the synchronous client makes an event loop for its sockets and never closes it.
        sdk["client"].loop.close()
        asyncio.set_event_loop(None)


@pytest.fixture
def pybit_sdk(twin: ServedTwin, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Give what pybit's set-up defines; the constants of its modules are put back."""
    trading = pytest.importorskip("pybit._websocket_trading")
    unified = pytest.importorskip("pybit.unified_trading")
    for module, name in (
        (unified, "PUBLIC_WSS"),
        (unified, "PRIVATE_WSS"),
        (trading, "TRADE_WSS"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    sdk = set_up("from pybit", twin)
    sdk["Refusal"] = pytest.importorskip("pybit.exceptions").InvalidRequestError
    try:
        yield sdk
    finally:
        sdk["client"].client.close()


CcxtJourney = Callable[[Any], Coroutine[Any, Any, None]]


@pytest.fixture
def with_ccxt(twin: ServedTwin) -> Callable[[str, CcxtJourney], None]:
    """
    Give the way to travel with ccxt.pro on one venue.

    Its own rate limiter is off (a setting of its users): it would sleep a second before cancel-all.
    """

    def travel(name: str, journey: CcxtJourney) -> None:
        async def run() -> None:
            client = set_up(f"ccxt.pro.{name}(", twin)["client"]
            client.enableRateLimit = False
            try:
                await client.load_markets()
                await journey(client)
            finally:
                await client.close()

        asyncio.run(run())

    return travel
