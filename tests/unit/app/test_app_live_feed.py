"""The dry run's only way out: what it may ask, and what it hands on while its streams stand."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest

from aegis.app.live_feed import FeedParts, LiveFeed
from aegis.app.public_rest import PublicRest
from aegis.core.clock import ManualClock
from aegis.core.errors import VenueUnreachable
from aegis.core.supervise import Supervisor
from aegis.core.transport import StreamConnection
from aegis.model.events import StreamClosed, StreamOpened
from aegis.model.instrument import Instrument, Venue, instrument_id
from aegis.model.market import MINUTE_NS, Candle, KlineFrame, MarkFrame, QuoteFrame
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BINANCE_RULES
from aegis.twin.live_market import LiveBook, LiveMarket, LivePath, LivePrices
from aegis.twin.world import TwinWorld

NOW_NS = 1_800_000_000 * 1_000_000_000
BTC = instrument_id("BTCUSDT", Venue.BINANCE)


class NoConnector:
    """Opens nothing: the test speaks for the streams."""

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> StreamConnection:
        """Refuse."""
        raise ConnectionRefusedError(url)


class Source:
    """Counts how often history is asked, and answers with *candles*."""

    def __init__(self, candles: tuple[Candle, ...] = ()) -> None:
        self.candles = candles
        self.asked = 0

    async def rules(self, symbols: object) -> dict[str, Instrument]:
        """Tell none."""
        del symbols
        return {}

    async def prices(self, symbol: str, at_ns: int) -> LivePrices:
        """Tell none."""
        raise VenueUnreachable(f"{symbol} {at_ns}", venue="BINANCE", operation="prices")

    async def bars(self, symbol: str, timeframe_ns: int, now_ns: int) -> tuple[Candle, ...]:
        """Return the candles."""
        del symbol, timeframe_ns, now_ns
        self.asked += 1
        return self.candles


def made(source: Source) -> tuple[LiveFeed, LiveMarket]:
    """Return a feed whose streams are all closed."""
    path = LivePath(
        LivePrices(at_ns=NOW_NS, bid=100.0, bid_qty=1.0, ask=101.0, ask_qty=1.0, mark=100.5)
    )
    engine = TwinEngine(
        rules=BINANCE_RULES,
        instruments=twin_instruments("binance", ["BTCUSDT"], {}),
        paths={"BTCUSDT": path},
        start_ns=NOW_NS,
        seed=1,
        books={"BTCUSDT": LiveBook(seed=1, tick_size=0.1, qty_step=0.001, path=path)},
        options=EngineOptions(wallet=Decimal(1000)),
    )
    world = TwinWorld({"binance": engine})
    market = LiveMarket(
        engine,
        {"BTCUSDT": path},
        now_ns=lambda: NOW_NS,
        advance=world.advance,
        poke=lambda: None,
    )
    clock, rng = ManualClock(NOW_NS), random.Random(1)
    parts = FeedParts(
        venue=Venue.BINANCE,
        ws_url="ws://nowhere",
        connector=NoConnector(),
        supervisor=Supervisor(clock, lambda failed: pytest.fail(failed.error), rng=rng),
        clock=clock,
        rng=rng,
        timeframes_ns=(MINUTE_NS,),
    )
    return LiveFeed(parts, market, source), market


def state(stream: str, *, opened: bool) -> StreamOpened | StreamClosed:
    """Return the event of a stream that opened or broke."""
    if opened:
        return StreamOpened(
            ts_event=NOW_NS,
            ts_recv=NOW_NS,
            venue=Venue.BINANCE,
            stream=stream,
            attempt=1,
            downtime_ns=0,
        )
    return StreamClosed(
        ts_event=NOW_NS, ts_recv=NOW_NS, venue=Venue.BINANCE, stream=stream, reason="gone"
    )


def quote(bid: float, ask: float) -> QuoteFrame:
    """Return a frame with that quote."""
    return QuoteFrame(
        instrument_id=BTC, ts_event=NOW_NS, ts_recv=NOW_NS, bid=bid, bid_qty=1, ask=ask, ask_qty=1
    )


def kline(open_ns: int, *, closed: bool = True) -> KlineFrame:
    """Return a frame with a bar."""
    candle = Candle(
        instrument_id=BTC,
        timeframe_ns=MINUTE_NS,
        open_ns=open_ns,
        open=1.0,
        high=1.0,
        low=1.0,
        close=1.0,
        volume=1.0,
    )
    return KlineFrame(ts_event=NOW_NS, ts_recv=NOW_NS, candle=candle, closed=closed)


def on_loop(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run *scene* to its end."""
    asyncio.run(scene())


def test_prices_are_held_back_while_any_stream_is_broken() -> None:
    """R10: a fresh quote beside a dead mark must not make the market look alive."""

    async def scene() -> None:
        feed, market = made(Source())
        feed.on_quote(quote(100, 101))
        feed.on_state(state("public", opened=True))
        feed.on_quote(quote(100, 101))
        assert 0 == market.pushes
        feed.on_state(state("market", opened=True))
        feed.on_quote(quote(100, 101))
        assert 1 == market.pushes
        feed.on_state(state("market", opened=False))
        feed.on_quote(quote(100, 101))
        feed.on_mark(MarkFrame(instrument_id=BTC, ts_event=NOW_NS, ts_recv=NOW_NS, mark=100.0))
        assert 1 == market.pushes

    on_loop(scene)


@pytest.mark.parametrize(
    ("bid", "ask"), [(0.0, 1.0), (101.0, 100.0), (float("nan"), 1.0), (1.0, float("nan"))]
)
def test_a_quote_that_cannot_be_is_left_out(bid: float, ask: float) -> None:
    """R5: the engine never trades on a crossed or broken book."""

    async def scene() -> None:
        feed, market = made(Source())
        feed.on_state(state("public", opened=True))
        feed.on_state(state("market", opened=True))
        feed.on_quote(quote(bid, ask))
        assert 0 == market.pushes

    on_loop(scene)


def test_a_hole_in_the_bars_is_asked_for() -> None:
    """R18: bars missed by a stream come from REST, so that the bot's own question finds them."""

    async def scene() -> None:
        first = NOW_NS // MINUTE_NS * MINUTE_NS
        source = Source((kline(first + MINUTE_NS).candle, kline(first + 2 * MINUTE_NS).candle))
        feed, market = made(source)
        feed.on_state(state("public", opened=True))
        feed.on_state(state("market", opened=True))
        for _ in range(5):
            await asyncio.sleep(0)
        asked = source.asked
        feed.on_kline(kline(first + 2 * MINUTE_NS))
        feed.on_kline(kline(first + 3 * MINUTE_NS))
        feed.on_kline(kline(first + 4 * MINUTE_NS, closed=False))
        assert asked == source.asked
        feed.on_kline(kline(first + 6 * MINUTE_NS))
        for _ in range(5):
            await asyncio.sleep(0)
        assert asked < source.asked
        assert first + 6 * MINUTE_NS == market.path("BTCUSDT").newest_closed_ns(MINUTE_NS)

    on_loop(scene)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/fapi/v1/order", {}),
        ("/fapi/v1/listenKey", {}),
        ("/fapi/v3/account", {}),
        ("/fapi/v1/klines", {"signature": "x"}),
        ("/fapi/v1/klines", {"timestamp": 1}),
    ],
)
def test_the_public_client_sends_nothing_else(path: str, params: dict[str, str | int]) -> None:
    """A path or parameter that is not public is refused before anything is opened."""

    async def scene() -> None:
        rest = PublicRest(Venue.BINANCE, "http://127.0.0.1:1", timeout_s=1.0)
        with pytest.raises(ValueError, match="never sends it"):
            _ = await rest.get(path, **params)

    on_loop(scene)


def test_a_venue_that_is_not_there_is_unreachable() -> None:
    """R43: no answer is an error of its own, never an empty market."""

    async def scene() -> None:
        rest = PublicRest(Venue.BINANCE, "http://127.0.0.1:1", timeout_s=2.0)
        with pytest.raises(VenueUnreachable):
            _ = await rest.get("/fapi/v1/exchangeInfo")
        await rest.close()

    on_loop(scene)
