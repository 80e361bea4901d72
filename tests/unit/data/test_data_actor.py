"""The data actor: conflation with exact accounts, candles without holes, freshness with effect."""

import asyncio
from collections.abc import Callable
from typing import Any

import attrs

from aegis.core.clock import NS_PER_S
from aegis.core.errors import VenueUnreachable
from aegis.core.virtual_loop import run_virtual
from aegis.data.actor import BASE_BAR_NS, BURST_FRAMES, DataActor
from aegis.data.feed import StreamAccount
from aegis.data.firewall import MARK, QUOTE, UNREADABLE, Reason
from aegis.model.events import (
    AlertRaised,
    CandleClosed,
    CandleGapFound,
    FeedFresh,
    FeedStale,
    FrameRejected,
    MarketTick,
    WarmupFinished,
)
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.market import MINUTE_NS, Candle, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.ports import MarketSink

DeskOf = Callable[..., Any]
Market = tuple[Instrument, ...]
BTC = instrument_id("BTCUSDT", Venue.BINANCE)
ETH = instrument_id("ETHUSDT", Venue.BINANCE)
START_NS = 1_746_403_200_000_000_000


def as_sink(actor: DataActor) -> MarketSink:
    """Return the actor as venues see it; the type checker proves that it fits."""
    return actor


def quote(desk: Any, bid: float, of: InstrumentId = BTC, **changes: Any) -> QuoteFrame:
    now_ns = desk.clock.now_ns()
    frame = QuoteFrame(
        instrument_id=of,
        ts_event=now_ns,
        ts_recv=now_ns,
        bid=bid,
        bid_qty=1.0,
        ask=bid + 1.0,
        ask_qty=1.0,
    )
    return attrs.evolve(frame, **changes)


def mark(desk: Any, price: float, last: float | None = None, of: InstrumentId = BTC) -> MarkFrame:
    now_ns = desk.clock.now_ns()
    return MarkFrame(instrument_id=of, ts_event=now_ns, ts_recv=now_ns, mark=price, last=last)


def candle(open_ns: int, timeframe_ns: int = MINUTE_NS) -> Candle:
    return Candle(
        instrument_id=BTC,
        timeframe_ns=timeframe_ns,
        open_ns=open_ns,
        open=100.0,
        high=101.0,
        low=99.0,
        close=100.0,
        volume=1.0,
    )


def kline(bar: Candle, *, closed: bool = True) -> KlineFrame:
    at_ns = bar.close_ns if closed else bar.open_ns
    return KlineFrame(ts_event=at_ns, ts_recv=at_ns, candle=bar, closed=closed)


def test_a_burst_becomes_one_tick_per_instrument(desk_of: DeskOf, market: Market) -> None:
    """R1, R4: the newest value under its own symbol, once, with the merged count."""

    async def run() -> None:
        desk = desk_of(market)
        for step in range(10):
            desk.data.on_quote(quote(desk, 100.0 + step, BTC))
            desk.data.on_quote(quote(desk, 10.0 + step, ETH))
        desk.data.on_mark(mark(desk, 109.5, 109.0))
        assert desk.data.accounts().streams[QUOTE].pending == 20
        await asyncio.sleep(0)

        ticks = desk.of(MarketTick)
        told = [(t.instrument_id, t.bid, t.ask, t.mark, t.last, t.merged) for t in ticks]
        assert told == [
            (BTC, 109.0, 110.0, 109.5, 109.0, 9),
            (ETH, 19.0, 20.0, None, None, 9),
        ]
        expected = StreamAccount(produced=20, delivered=2, merged=18, rejected=0, pending=0)
        assert expected == desk.data.accounts().streams[QUOTE]

    run_virtual(run())


def test_unchanged_prices_are_merged_and_not_told_again(desk_of: DeskOf, market: Market) -> None:
    """R4: the same tick is not processed a second time; the next one says how many there were."""

    async def run() -> None:
        desk = desk_of(market)
        for bid in (100.0, 100.0, 100.0, 101.0):
            desk.data.on_quote(quote(desk, bid, bid_qty=bid))
            await asyncio.sleep(0.001)

        assert [(100.0, 0), (101.0, 2)] == [(t.bid, t.merged) for t in desk.of(MarketTick)]

    run_virtual(run())


def test_a_mark_without_last_keeps_the_last_told_before(desk_of: DeskOf, market: Market) -> None:
    """Merging frames that carry different fields loses none of them."""

    async def run() -> None:
        desk = desk_of(market)
        desk.data.on_mark(mark(desk, 100.0, 99.0))
        desk.data.on_mark(mark(desk, 101.0))
        await asyncio.sleep(0)

        (tick,) = desk.of(MarketTick)
        assert (101.0, 99.0, 1) == (tick.mark, tick.last, tick.merged)

    run_virtual(run())


def test_the_interval_collects_for_as_long_as_set(desk_of: DeskOf, market: Market) -> None:
    """R4: with 100 ms between drains, ten frames 10 ms apart are one tick."""

    async def run() -> None:
        desk = desk_of(market, conflation_interval_ms=100)
        for step in range(10):
            desk.data.on_quote(quote(desk, 100.0 + step))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)

        assert [(109.0, 9)] == [(t.bid, t.merged) for t in desk.of(MarketTick)]

    run_virtual(run())


def test_a_burst_beyond_the_ring_loses_no_instrument(desk_of: DeskOf, market: Market) -> None:
    """R2: a full ring is pumped; the one frame of a quiet instrument survives the storm."""

    async def run() -> None:
        desk = desk_of(market)
        desk.data.on_quote(quote(desk, 7.0, ETH))
        for step in range(20_000):
            desk.data.on_quote(quote(desk, 100.0 + step % 7))
        await asyncio.sleep(0)

        assert {BTC, ETH} == {t.instrument_id for t in desk.of(MarketTick)}
        account = desk.data.accounts().streams[QUOTE]
        # The quiet one once, the busy one after every BURST_FRAMES frames and at the end.
        bursts = 20_001 // BURST_FRAMES + 1
        assert (20_001, bursts + 1) == (account.produced, account.delivered)
        assert account.produced == account.delivered + account.merged

    run_virtual(run())


def test_refused_frames_are_counted_told_and_never_delivered(
    desk_of: DeskOf, market: Market
) -> None:
    """R5: poison between good frames; the account stays exact, the news are bounded."""

    async def run() -> None:
        desk = desk_of(market)
        for _ in range(5):
            desk.data.on_quote(quote(desk, float("nan")))
            desk.data.on_quote(quote(desk, 100.0))
            desk.data.on_mark(mark(desk, -1.0))
            as_sink(desk.data).on_unreadable(Venue.BINANCE, "no json")
        await asyncio.sleep(0)

        streams = desk.data.accounts().streams
        expected = StreamAccount(produced=10, delivered=1, merged=4, rejected=5, pending=0)
        assert expected == streams[QUOTE]
        assert streams[MARK].rejected == 5
        assert desk.data.accounts().unreadable == 5
        told = {(one.frame, one.reason): one.count for one in desk.of(FrameRejected)}
        assert told == {
            (UNREADABLE, "BINANCE: no json"): 4,
            (QUOTE, Reason.NOT_FINITE): 4,
            (MARK, Reason.NOT_POSITIVE): 4,
        }
        assert [100.0] == [t.bid for t in desk.of(MarketTick)]

    run_virtual(run())


def test_prices_before_a_bar_reach_the_bus_before_it(desk_of: DeskOf, market: Market) -> None:
    """A decision on the bar's close sees the prices that came first; open bars are not told."""

    async def run() -> None:
        desk = desk_of(market)
        desk.data.on_quote(quote(desk, 100.0))
        desk.data.on_kline(kline(candle(START_NS), closed=False))
        desk.data.on_kline(kline(candle(START_NS)))
        desk.data.on_kline(kline(candle(START_NS)))

        assert [MarketTick, CandleClosed] == [type(event) for event in desk.events]
        account = desk.data.accounts().candles
        told = (account.produced, account.unfinished, account.delivered, account.duplicates)
        assert (3, 1, 1, 1) == told

    run_virtual(run())


def test_a_refused_kline_is_counted(desk_of: DeskOf, market: Market) -> None:
    """R5: a bar whose high is below its low never becomes a candle."""

    async def run() -> None:
        desk = desk_of(market)
        desk.data.on_kline(kline(attrs.evolve(candle(START_NS), high=98.0)))

        assert [Reason.HIGH_BELOW_LOW] == [one.reason for one in desk.of(FrameRejected)]
        assert desk.data.accounts().candles.rejected == 1
        assert [] == desk.of(CandleClosed)

    run_virtual(run())


def opens(desk: Any) -> list[tuple[int, bool]]:
    told = desk.of(CandleClosed)
    return [((e.candle.open_ns - START_NS) // MINUTE_NS, e.from_history) for e in told]


def test_a_gap_is_filled_from_history_before_later_bars_go_on(
    desk_of: DeskOf, market: Market
) -> None:
    """A hole of two bars: told once, fetched once, every bar exactly once and in order."""

    async def run() -> None:
        desk = desk_of(market)
        every = [candle(START_NS + n * MINUTE_NS) for n in range(5)]
        desk.venue.bars[BTC, MINUTE_NS] = every
        await asyncio.sleep(300)
        desk.data.on_kline(kline(every[0]))
        desk.data.on_kline(kline(every[3]))
        desk.data.on_kline(kline(every[4]))
        assert [(0, False)] == opens(desk)
        assert desk.data.accounts().candles.pending == 2
        await asyncio.sleep(1)

        assert [(0, False), (1, True), (2, True), (3, False), (4, False)] == opens(desk)
        assert [2] == [gap.missing for gap in desk.of(CandleGapFound)]
        assert [(MINUTE_NS, START_NS + MINUTE_NS, START_NS + 4 * MINUTE_NS)] == desk.venue.asked
        await desk.supervisor.stop()

    run_virtual(run())


def test_a_gap_history_cannot_fill_is_given_up_aloud(desk_of: DeskOf, market: Market) -> None:
    """Later bars are not held for ever; the loss is counted and alerted."""

    async def run() -> None:
        desk = desk_of(market)
        await asyncio.sleep(300)
        desk.venue.failures = [VenueUnreachable(venue="BINANCE", operation="klines")] * 2
        desk.data.on_kline(kline(candle(START_NS)))
        desk.data.on_kline(kline(candle(START_NS + 3 * MINUTE_NS)))
        await asyncio.sleep(6)
        assert [(0, False)] == opens(desk)
        await asyncio.sleep(2)

        assert [(0, False), (3, False)] == opens(desk)
        assert desk.data.accounts().candles.given_up == 2
        assert ["candles_missing"] == [alert.rule for alert in desk.of(AlertRaised)]
        assert len(desk.venue.asked) == 4
        assert [] == desk.task_failures
        await desk.supervisor.stop()

    run_virtual(run())


def test_a_second_gap_while_the_first_is_asked_is_filled_too(
    desk_of: DeskOf, market: Market
) -> None:
    """A hole the stream closes by itself, then another: one task fills what is left, once."""

    async def run() -> None:
        desk = desk_of(market)
        every = [candle(START_NS + n * MINUTE_NS) for n in range(6)]
        desk.venue.bars[BTC, MINUTE_NS] = every
        await asyncio.sleep(360)
        desk.venue.failures = [VenueUnreachable(venue="BINANCE", operation="klines")]
        for number in (0, 2):
            desk.data.on_kline(kline(every[number]))
        await asyncio.sleep(0.5)
        for number in (1, 5):
            desk.data.on_kline(kline(every[number]))
        await asyncio.sleep(20)

        assert opens(desk) == [(0, False), (1, False), (2, False), (3, True), (4, True), (5, False)]
        assert [1, 2] == [gap.missing for gap in desk.of(CandleGapFound)]
        assert [] == desk.task_failures
        await desk.supervisor.stop()

    run_virtual(run())


def test_only_closed_bars_of_the_asked_window_are_taken(desk_of: DeskOf, market: Market) -> None:
    """A venue that answers more than was asked, the bar under way included, changes nothing."""

    async def run() -> None:
        desk = desk_of()
        await asyncio.sleep(30)
        bars = [candle(START_NS + n * MINUTE_NS) for n in (1, 0, -1, -2, -9)]
        desk.venue.bars[BTC, MINUTE_NS] = bars
        desk.venue.answers_all = True
        await desk.data.warm_up(desk.gateways(), market[:1], {MINUTE_NS: 2})
        assert [(-2, True), (-1, True)] == opens(desk)

        answer = await desk.data._history.ask(BTC, MINUTE_NS, START_NS, START_NS + 9 * MINUTE_NS)
        assert () == answer.candles
        desk.data.stop()

    run_virtual(run())


def test_frames_that_wait_in_the_ring_count_as_fresh(desk_of: DeskOf, market: Market) -> None:
    """R10: a long conflation interval does not make a flowing feed look stale."""

    async def run() -> None:
        desk = desk_of(market, stale_after_s=4.0, conflation_interval_ms=5000)
        desk.data.expect_frames([BTC])
        await asyncio.sleep(4 + BASE_BAR_NS / NS_PER_S - 3.5)
        desk.data.on_quote(quote(desk, 100.0))
        desk.data.on_mark(mark(desk, 100.0))
        await asyncio.sleep(4.8)

        assert [] == desk.of(MarketTick)
        assert [] == desk.of(FeedStale)
        desk.data.stop()

    run_virtual(run())


def test_warm_up_then_stream_loses_and_doubles_nothing(desk_of: DeskOf, market: Market) -> None:
    """At the junction the stream's first bar may leave a gap: it is fetched, in order."""

    async def run() -> None:
        desk = desk_of()
        every = [candle(START_NS + n * MINUTE_NS) for n in range(-3, 4)]
        desk.venue.bars[BTC, MINUTE_NS] = every
        await desk.data.warm_up(desk.gateways(), market[:1], {MINUTE_NS: 3})
        assert [(-3, True), (-2, True), (-1, True)] == opens(desk)
        (finished,) = desk.of(WarmupFinished)
        assert (("1m", 3),) == finished.bars
        await asyncio.sleep(240)
        desk.data.on_kline(kline(every[-1]))
        await asyncio.sleep(1)

        assert opens(desk)[3:] == [(0, True), (1, True), (2, True), (3, False)]
        desk.data.stop()
        await desk.supervisor.stop()

    run_virtual(run())


def test_no_history_is_empty_but_failed_history_is_an_alert(
    desk_of: DeskOf, market: Market
) -> None:
    """An error is never zero bars; the first stream bar asks for what is missing."""

    async def run() -> None:
        desk = desk_of()
        bars = {MINUTE_NS: 2, 5 * MINUTE_NS: 2}
        desk.venue.failures = [VenueUnreachable(venue="BINANCE", operation="klines")] * 4
        await desk.data.warm_up(desk.gateways(), market[:1], bars)
        (finished,) = desk.of(WarmupFinished)
        assert (("5m", 0),) == finished.bars
        assert ["warmup_failed"] == [alert.rule for alert in desk.of(AlertRaised)]

        desk.venue.bars[BTC, MINUTE_NS] = [candle(START_NS + n * MINUTE_NS) for n in (-2, -1)]
        await asyncio.sleep(60)
        desk.data.on_kline(kline(candle(START_NS)))
        await asyncio.sleep(1)
        assert [(-2, True), (-1, True), (0, False)] == opens(desk)
        desk.data.stop()
        await desk.supervisor.stop()

    run_virtual(run())


def test_refused_history_and_holes_in_it_are_told(desk_of: DeskOf, market: Market) -> None:
    """R5: a poisoned bar of history is refused, the hole it leaves is given up at once."""

    async def run() -> None:
        desk = desk_of()
        good = [candle(START_NS + n * MINUTE_NS) for n in (-3, -1)]
        poison = attrs.evolve(candle(START_NS - 2 * MINUTE_NS), low=float("nan"))
        desk.venue.bars[BTC, MINUTE_NS] = [good[0], poison, good[1]]
        await desk.data.warm_up(desk.gateways(), market[:1], {MINUTE_NS: 3})

        assert [(-3, True), (-1, True)] == opens(desk)
        rules = [alert.rule for alert in desk.of(AlertRaised)]
        assert ["history_refused", "candles_missing"] == rules
        assert [Reason.NOT_FINITE] == [one.reason for one in desk.of(FrameRejected)]
        desk.data.stop()

    run_virtual(run())


def test_a_silent_instrument_goes_stale_is_resubscribed_and_comes_back(
    desk_of: DeskOf, market: Market
) -> None:
    """R10, R69: one stale among two is found by its own time, asked anew, and told once each."""

    async def run() -> None:
        desk = desk_of(stale_after_s=100.0)
        await desk.data.warm_up(desk.gateways(), market, {})
        limit_s = 100 + BASE_BAR_NS // NS_PER_S
        for step in range(80):
            await asyncio.sleep(10)
            desk.data.on_quote(quote(desk, 10.0 + step, ETH))
            desk.data.on_mark(mark(desk, 10.5 + step, of=ETH))
        (stale,) = desk.of(FeedStale)
        assert stale.instrument_id == BTC
        assert limit_s < stale.age_ns / NS_PER_S <= limit_s + 25
        assert {BTC} == set(desk.venue.resubscribed)
        assert len(desk.venue.resubscribed) == 3
        assert [(True, True, f"{BTC} stays stale")] == desk.venue.restarts
        assert ["feed_stale"] == [alert.rule for alert in desk.of(AlertRaised)]
        assert [] == desk.of(FeedFresh)

        desk.data.on_quote(quote(desk, 100.0))
        desk.data.on_mark(mark(desk, 100.0))
        await asyncio.sleep(30)
        (fresh,) = desk.of(FeedFresh)
        assert BTC == fresh.instrument_id
        assert len(desk.venue.resubscribed) == 3
        desk.data.stop()
        await desk.supervisor.stop()

    run_virtual(run())


def test_a_symbol_that_stays_stale_restarts_the_connection_of_that_kind(
    desk_of: DeskOf, market: Market
) -> None:
    """R10, R11: three new subscriptions, then the connection, again and again, marks left alone."""

    async def run() -> None:
        desk = desk_of(stale_after_s=100.0)
        await desk.data.warm_up(desk.gateways(), market[:1], {})
        for step in range(130):
            await asyncio.sleep(10)
            desk.data.on_mark(mark(desk, 10.5 + step))
        assert [(True, False, f"{BTC} stays stale")] * 2 == desk.venue.restarts
        assert [BTC] * 6 == desk.venue.resubscribed[:6]
        assert ["feed_stale"] == [alert.rule for alert in desk.of(AlertRaised)]
        desk.data.stop()
        await desk.supervisor.stop()

    run_virtual(run())


def test_a_failed_resubscription_is_an_alert_and_not_the_end(
    desk_of: DeskOf, market: Market
) -> None:
    """R10: the supervisor sees no failure; the next try comes after the pause."""

    async def run() -> None:
        desk = desk_of(stale_after_s=100.0)
        await desk.data.warm_up(desk.gateways(), market[:1], {})
        desk.venue.failures = [VenueUnreachable(venue="BINANCE", operation="subscribe")]
        await asyncio.sleep(560)

        assert [BTC, BTC] == desk.venue.resubscribed
        assert ["resubscribe_failed"] == [alert.rule for alert in desk.of(AlertRaised)]
        assert [] == desk.task_failures
        desk.data.stop()
        await desk.supervisor.stop()

    run_virtual(run())


def test_stop_delivers_what_is_pending_and_ends_the_timers(desk_of: DeskOf, market: Market) -> None:
    """The last prices of a run are in its journal."""

    async def run() -> None:
        desk = desk_of(market, conflation_interval_ms=100)
        desk.data.expect_frames([BTC])
        desk.data.on_quote(quote(desk, 100.0))
        desk.data.stop()
        await asyncio.sleep(10_000)

        assert [100.0] == [t.bid for t in desk.of(MarketTick)]
        assert [] == desk.of(FeedStale)

    run_virtual(run())


def test_latency_is_told_from_event_time(desk_of: DeskOf, market: Market) -> None:
    """R6: receipt minus the event time E."""

    async def run() -> None:
        desk = desk_of(market)
        now_ns = desk.clock.now_ns()
        desk.data.on_quote(quote(desk, 100.0, ts_event=now_ns - 5_000_000))
        await asyncio.sleep(0)

        assert desk.data.latencies()[BTC].max_ns == 5_000_000

    run_virtual(run())
