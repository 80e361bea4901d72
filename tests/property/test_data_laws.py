"""Laws of the data room: nothing that entered is missing, no bar is doubled or out of order."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aegis.data.candles import CandleSeries
from aegis.data.feed import MarketFeed
from aegis.data.firewall import MARK, QUOTE, Firewall
from aegis.model.events import MarketTick
from aegis.model.instrument import InstrumentId, Venue, instrument_id
from aegis.model.market import MINUTE_NS, Candle, MarkFrame, QuoteFrame

NOW_NS = 1_746_403_200_000_000_000
IDS = [instrument_id(symbol, venue) for symbol in ("BTCUSDT", "ETHUSDT") for venue in Venue]
PRICES: st.SearchStrategy[Any] = st.sampled_from(
    [1.0, 1.1, 1.2, float("nan"), -1.0, None, "2", float("inf")]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("quote"), st.sampled_from(IDS), PRICES),
        st.tuples(st.just("mark"), st.sampled_from(IDS), PRICES),
        st.tuples(st.just("pump"), st.none(), st.none()),
        st.tuples(st.just("drain"), st.none(), st.none()),
    ),
    max_size=120,
)
BAR_NUMBERS = st.integers(0, 15)
BAR_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("stream"), BAR_NUMBERS),
        st.tuples(st.just("history"), BAR_NUMBERS),
        st.tuples(st.just("give_up"), BAR_NUMBERS),
    ),
    max_size=60,
)


def is_good(price: Any) -> bool:
    return type(price) is float and 0.0 < price < 10.0


def quote(of: InstrumentId, bid: Any) -> QuoteFrame:
    return QuoteFrame(
        instrument_id=of,
        ts_event=NOW_NS,
        ts_recv=NOW_NS,
        bid=bid,
        bid_qty=1.0,
        ask=9.0,
        ask_qty=1.0,
    )


def check_accounts(feed: MarketFeed) -> None:
    accounts = feed.accounts()
    for one in accounts.values():
        assert one.produced == one.delivered + one.merged + one.rejected + one.pending
        assert min(one.delivered, one.merged, one.rejected, one.pending) >= 0


@given(STEPS, st.integers(1, 8))
def test_every_frame_is_delivered_merged_refused_or_pending(
    steps: list[tuple[str, Any, Any]], ring_capacity: int
) -> None:
    """R2, R4, R5: at every moment, whatever the interleaving, the poison and the ring's size."""
    firewall = Firewall(future_tolerance_ns=0, late_tolerance_ns=0, timeframes_ns=(MINUTE_NS,))
    for one in IDS:
        firewall.admit(one)
    feed = MarketFeed(firewall, ring_capacity=ring_capacity)
    ticks: list[MarketTick] = []
    newest: dict[tuple[str, InstrumentId], float] = {}
    taken, poisoned = {QUOTE: 0, MARK: 0}, {QUOTE: 0, MARK: 0}
    for step, of, price in [*steps, ("drain", None, None)]:
        if step == "drain":
            ticks += feed.drain()
        elif step == "pump":
            feed.pump()
            assert feed.ring_pending == 0
        else:
            taken[step] += 1
            if is_good(price):
                newest[step, of] = price
            else:
                poisoned[step] += 1
            if step == QUOTE:
                feed.take_quote(quote(of, price))
            else:
                told: Any = price
                feed.take_mark(
                    MarkFrame(instrument_id=of, ts_event=NOW_NS, ts_recv=NOW_NS, mark=told)
                )
        check_accounts(feed)

    accounts = feed.accounts()
    for kind in (QUOTE, MARK):
        assert (taken[kind], poisoned[kind]) == (accounts[kind].produced, accounts[kind].rejected)
        assert accounts[kind].pending == 0
    last = {tick.instrument_id: tick for tick in ticks}
    for (kind, of), price in newest.items():
        assert price == (last[of].bid if kind == QUOTE else last[of].mark)


@given(st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from([1.0, 2.0])), max_size=60))
def test_no_tick_repeats_the_one_before(values: list[tuple[InstrumentId, float]]) -> None:
    """R4: unchanged prices are not told again, even when every frame is drained alone."""
    firewall = Firewall(future_tolerance_ns=0, late_tolerance_ns=0, timeframes_ns=())
    for one in IDS:
        firewall.admit(one)
    feed = MarketFeed(firewall)
    told: dict[InstrumentId, list[float | None]] = {one: [] for one in IDS}
    merged = 0
    for of, bid in values:
        feed.take_quote(quote(of, bid))
        for tick in feed.drain():
            told[of].append(tick.bid)
            merged += tick.merged

    for bids in told.values():
        assert all(before != after for before, after in itertools.pairwise(bids))
    assert merged <= feed.accounts()[QUOTE].merged


def bar(number: int) -> Candle:
    return Candle(
        instrument_id=IDS[0],
        timeframe_ns=MINUTE_NS,
        open_ns=number * MINUTE_NS,
        open=1.0,
        high=1.0,
        low=1.0,
        close=1.0,
        volume=0.0,
    )


@given(BAR_STEPS, st.integers(1, 6))
def test_bars_come_once_in_order_and_none_is_unaccounted(
    steps: list[tuple[str, int]], held_max: int
) -> None:
    """Duplicates, gaps and any order: released bars ascend, holes are those given up, sums hold."""
    series = CandleSeries(MINUTE_NS, held_max=held_max)
    released: list[int] = []
    for step, number in steps:
        if step == "stream":
            out, _ = series.on_stream(bar(number))
        elif step == "history":
            out = series.on_history([bar(number), bar(number + 1)])
        else:
            out, _ = series.give_up(before_ns=number * MINUTE_NS)
        released += [one.candle.open_ns // MINUTE_NS for one in out]

        for counts, from_history in ((series.stream, False), (series.history, True)):
            gone = counts.released + counts.duplicates + counts.late
            assert counts.taken == gone + series.held(from_history=from_history)
    assert released == sorted(set(released))
    if released:
        span = released[-1] - released[0] + 1
        assert span == len(released) + series.given_up
    assert series.stream.released + series.history.released == len(released)


@given(st.permutations(range(12)), st.lists(st.integers(0, 11), max_size=10))
def test_with_history_complete_no_bar_is_lost(order: list[int], again: list[int]) -> None:
    """Any order and any repeats after a warm-up: all bars, each once, in order."""
    series = CandleSeries(MINUTE_NS)
    released = [one.candle.open_ns for one in series.on_history([bar(0)])]
    for number in [*order, *again]:
        out, gap = series.on_stream(bar(number))
        released += [one.candle.open_ns for one in out]
        if gap is not None and number % 2:
            filled = series.on_history([bar(n) for n in range(number)])
            released += [one.candle.open_ns for one in filled]

    assert released == [number * MINUTE_NS for number in range(12)]
    assert series.gap is None
