"""Laws of the price path: what it touches, where it crosses, and the candles it adds up to."""

from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.twin.tape.model import MINUTE_NS, CandleTape, MarkSeries, TapeReport
from aegis.twin.tape.path import CLOSE_BEFORE_END_NS, PricePath, bar_path, bar_times
from aegis.twin.tape.read import read_tape

START_NS = 1_700_006_400 * 10**9
REPORT = TapeReport(file="made", rows_read=0, rows_kept=0, rows_played=0)

Bar = tuple[float, float, float, float]


def make_tape(
    bars: list[Bar],
    *,
    timeframe_ns: int = MINUTE_NS,
    skip: frozenset[int] = frozenset(),
    mark: MarkSeries | None = None,
) -> CandleTape:
    """Make a tape of bars, leaving out the minutes in *skip*."""
    slots = [at for at in range(len(bars) + len(skip)) if at not in skip][: len(bars)]
    columns = np.array(bars, dtype=np.float64)
    return CandleTape(
        symbol="BTCUSDT",
        timeframe_ns=timeframe_ns,
        open_ns=START_NS + np.array(slots, dtype=np.int64) * timeframe_ns,
        open=columns[:, 0],
        high=columns[:, 1],
        low=columns[:, 2],
        close=columns[:, 3],
        volume=np.arange(1.0, len(bars) + 1.0),
        mark=mark,
        funding=None,
        venue=None,
        label="made",
        generated=True,
        play_from_ns=START_NS,
        report=REPORT,
    )


@st.composite
def some_bars(draw: st.DrawFn) -> Bar:
    """Draw a valid bar, in tenths so that ties happen."""
    prices = draw(st.lists(st.integers(900, 1100), min_size=4, max_size=4))
    low, first, second, high = (price / 10 for price in sorted(prices))
    open_, close = draw(st.permutations([first, second]))
    return open_, high, low, close


BARS = st.lists(some_bars(), min_size=1, max_size=8)
SKIPS = st.frozensets(st.integers(1, 4), max_size=2)


@pytest.mark.parametrize(
    ("bar", "path"),
    [
        ((10.0, 12.0, 9.0, 11.0), (10.0, 9.0, 12.0, 11.0)),
        ((10.0, 11.0, 7.0, 8.0), (10.0, 11.0, 7.0, 8.0)),
        ((10.0, 11.0, 9.0, 10.5), (10.0, 9.0, 11.0, 10.5)),
        ((10.0, 11.0, 9.0, 9.5), (10.0, 11.0, 9.0, 9.5)),
        ((10.0, 11.0, 9.0, 10.0), (10.0, 9.0, 11.0, 10.0)),
        ((10.0, 10.0, 10.0, 10.0), (10.0, 10.0, 10.0, 10.0)),
    ],
)
def test_the_nearer_extreme_comes_first(bar: Bar, path: Bar) -> None:
    """Open, nearer extreme, other extreme, close; a tie goes low first unless the bar fell."""
    assert path == bar_path(*bar)


@given(bars=BARS, skip=SKIPS)
def test_the_path_touches_exactly_the_bar(bars: list[Bar], skip: frozenset[int]) -> None:
    """It starts at the open, ends at the close, and low and high are its least and greatest."""
    tape = make_tape(bars, skip=skip)
    path = PricePath(tape)

    for opened_ns, (open_, high, low, close) in zip(tape.open_ns.tolist(), bars, strict=True):
        points = bar_times(opened_ns, MINUTE_NS)
        steps = range(opened_ns, opened_ns + MINUTE_NS, MINUTE_NS // 97)
        edges = [point - 1 for point in points[1:]]
        prices = [path.price_at(t) for t in sorted([*points, *edges, *steps])]
        assert (open_, close) == (path.price_at(opened_ns), path.price_at(points[-1]))
        assert (low, high) == (min(prices), max(prices))
        assert bar_path(open_, high, low, close) == tuple(path.price_at(t) for t in points)


@given(bars=BARS, skip=SKIPS)
def test_a_gap_holds_the_last_close_and_jumps_at_the_next_open(
    bars: list[Bar], skip: frozenset[int]
) -> None:
    """From the close to just before the next open the price does not move."""
    tape = make_tape(bars, skip=skip)
    path = PricePath(tape)
    opens = tape.open_ns.tolist()

    for at in range(len(bars) - 1):
        close_ns = opens[at] + MINUTE_NS - CLOSE_BEFORE_END_NS
        held = {path.price_at(t) for t in (close_ns, opens[at] + MINUTE_NS, opens[at + 1] - 1)}
        if opens[at + 1] == opens[at] + MINUTE_NS:
            held = {path.price_at(close_ns), path.price_at(opens[at + 1] - 1)}
        assert {bars[at][3]} == held
        assert bars[at + 1][0] == path.price_at(opens[at + 1])
    assert bars[0][0] == path.price_at(path.first_ns - 10**12)
    assert bars[-1][3] == path.price_at(path.last_ns + 10**12)


@given(bars=BARS, skip=SKIPS, offsets=st.lists(st.integers(-100, 700), max_size=20))
def test_the_cursor_does_not_show(
    bars: list[Bar], skip: frozenset[int], offsets: list[int]
) -> None:
    """Whatever was asked before, in whatever order, the answer is that of a fresh path."""
    tape = make_tape(bars, skip=skip)
    used = PricePath(tape)

    for offset in offsets:
        t_ns = START_NS + offset * 10**9
        fresh = PricePath(tape)
        assert fresh.price_at(t_ns) == used.price_at(t_ns)
        assert fresh.segment(t_ns) == used.segment(t_ns)
        assert fresh.next_point_after(t_ns) == used.next_point_after(t_ns)
        used.next_crossing(t_ns, 100.0, 1, on_mark=False, segments=3)


def test_the_vertices_are_walked_once_each() -> None:
    """Four vertices a bar, strictly rising, None at the end of the tape."""
    path = PricePath(make_tape([(10.0, 12.0, 9.0, 11.0)] * 3, skip=frozenset({1})))
    walked: list[int] = []
    point = path.next_point_after(START_NS - 1)
    while point is not None:
        walked.append(point)
        point = path.next_point_after(point)

    assert 12 == len(walked) == len(set(walked))
    assert sorted(walked) == walked
    assert (path.first_ns, path.last_ns) == (walked[0], walked[-1])


@settings(max_examples=200)
@given(
    bars=BARS,
    skip=SKIPS,
    level=st.integers(8900, 11100).map(lambda cents: cents / 100),
    direction=st.sampled_from([1, -1]),
    since=st.integers(-5_000, 500_000),
    with_mark=st.booleans(),
)
def test_a_crossing_is_exact(
    bars: list[Bar],
    skip: frozenset[int],
    level: float,
    direction: int,
    since: int,
    with_mark: bool,
) -> None:
    """The price has passed the level at the answer and at no vertex or ns before it."""
    basis = MarkSeries(
        times_ns=START_NS + np.array([30, 100, 250], dtype=np.int64) * 10**9,
        basis=np.array([1.0, -2.0, 0.5]),
    )
    path = PricePath(make_tape(bars, skip=skip, mark=basis if with_mark else None))
    t_ns = START_NS + since * 10**6 + 1

    def passed(at_ns: int) -> bool:
        return (path.mark_at(at_ns) - level) * direction >= 0

    found = path.next_crossing(t_ns, level, direction, on_mark=True, segments=10_000)

    until = path.last_ns + 10**9 if found is None else found - 1
    asked = [t_ns + 1 + (until - t_ns - 1) * part // 200 for part in range(201)]
    point = path.next_point_after(t_ns, on_mark=True)
    while point is not None and point <= until:
        asked.extend((point - 1, point))
        point = path.next_point_after(point, on_mark=True)
    assert not any(passed(at) for at in asked if t_ns < at <= until)
    assert found is None or (passed(found) and found > t_ns)


def test_a_crossing_looks_no_further_than_asked() -> None:
    """None means "not within the segments looked at", not "never"."""
    path = PricePath(make_tape([(10.0, 12.0, 9.0, 11.0)] * 5 + [(11.0, 20.0, 11.0, 19.0)]))

    near = path.next_crossing(START_NS, 15.0, 1, on_mark=False)
    far = path.next_crossing(START_NS, 15.0, 1, on_mark=False, segments=50)

    assert near is None
    assert far is not None
    assert path.price_at(far) >= 15.0
    assert path.next_crossing(START_NS, 50.0, -1, on_mark=False) == START_NS + 1


def test_a_jump_crosses_at_the_next_open() -> None:
    """A level inside the jump between two bars is crossed when the next bar opens."""
    path = PricePath(make_tape([(10.0, 10.0, 10.0, 10.0), (20.0, 20.0, 20.0, 20.0)]))
    held_ns = START_NS + MINUTE_NS - CLOSE_BEFORE_END_NS

    assert path.next_crossing(held_ns, 15.0, 1, on_mark=False) == START_NS + MINUTE_NS


def test_the_mark_is_the_price_plus_the_interpolated_basis() -> None:
    """Linear between its points, held before the first and after the last."""
    basis = MarkSeries(
        times_ns=START_NS + np.array([60, 120], dtype=np.int64) * 10**9, basis=np.array([2.0, -2.0])
    )
    path = PricePath(make_tape([(10.0, 10.0, 10.0, 10.0)] * 4, mark=basis))

    marks = [path.mark_at(START_NS + second * 10**9) for second in (0, 60, 90, 105, 120, 200)]

    assert pytest.approx(marks, abs=1e-12) == [12.0, 12.0, 10.0, 9.0, 8.0, 8.0]
    assert path.price_at(START_NS + 60 * 10**9) == 10.0


def test_without_a_mark_file_the_mark_is_the_price() -> None:
    """A tape without basis has one line for both."""
    path = PricePath(make_tape([(10.0, 12.0, 9.0, 11.0)]))

    assert not path.has_own_mark
    assert path.price_at(START_NS + 7 * 10**9) == path.mark_at(START_NS + 7 * 10**9)


@given(bars=BARS, skip=SKIPS)
def test_the_bar_that_just_ended_is_the_bar(bars: list[Bar], skip: frozenset[int]) -> None:
    """The running candle of the tape's own timeframe ends as the recorded bar."""
    tape = make_tape(bars, skip=skip)
    path = PricePath(tape)

    for at, opened_ns in enumerate(tape.open_ns.tolist()):
        candle = path.partial_candle(MINUTE_NS, opened_ns + MINUTE_NS - 1)
        assert candle is not None
        assert (opened_ns, *bars[at], at + 1.0) == attrs.astuple(candle)


@given(bars=BARS, skip=SKIPS, seconds=st.integers(0, 700))
def test_a_running_candle_holds_what_was_seen(
    bars: list[Bar], skip: frozenset[int], seconds: int
) -> None:
    """High and low of the open 5m candle are the path's extremes since its open, to the moment."""
    tape = make_tape(bars, skip=skip)
    path = PricePath(tape)
    t_ns = START_NS + seconds * 10**9
    opened_ns = t_ns - t_ns % (5 * MINUTE_NS)

    candle = path.partial_candle(5 * MINUTE_NS, t_ns)

    seen = [point for at in tape.open_ns.tolist() for point in bar_times(at, MINUTE_NS)]
    prices = [path.price_at(t) for t in seen if opened_ns <= t <= t_ns]
    if not prices:
        assert candle is None
        return
    prices.append(path.price_at(t_ns))
    assert candle is not None
    assert (opened_ns, max(prices), min(prices), prices[0], prices[-1]) == (
        candle.open_ns,
        candle.high,
        candle.low,
        candle.open,
        candle.close,
    )


def test_five_minute_candles_equal_those_of_another_source(shared_data: Path) -> None:
    """BTC 1m aggregated to 5m is the 5m file an unrelated source recorded."""
    market = shared_data / "market/binance_usdm"
    minutes = read_tape(
        str(market / "2025-05_1m/BTCUSDT-1m-futures.feather"),
        from_ns=None,
        to_ns=None,
        history_ns=0,
    )
    fives = read_tape(
        str(market / "2025_5m/BTCUSDT-5m-futures.feather"), from_ns=None, to_ns=None, history_ns=0
    )
    assert isinstance(minutes, CandleTape)
    assert isinstance(fives, CandleTape)

    made = PricePath(minutes).candles(5 * MINUTE_NS, None, minutes.end_ns, 1_000_000)

    at = np.searchsorted(fives.open_ns, made.open_ns)
    assert len(made) == 8639
    assert np.array_equal(fives.open_ns[at], made.open_ns)
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(fives, name)[at], getattr(made, name)), name
    assert np.allclose(fives.volume[at], made.volume, rtol=1e-9)


def test_closed_candles_are_cut_by_start_end_and_limit() -> None:
    """Only candles that are over by the end; the newest without a start, the first with one."""
    path = PricePath(make_tape([(10.0 + at, 12.0 + at, 9.0 + at, 11.0 + at) for at in range(20)]))
    five = 5 * MINUTE_NS
    end_ns = START_NS + 3 * five + 1

    newest = path.candles(five, None, end_ns, 2)
    first = path.candles(five, START_NS, end_ns, 2)
    early = path.candles(five, START_NS, START_NS + five - 1, 2)

    assert [START_NS + five, START_NS + 2 * five] == newest.open_ns.tolist()
    assert [START_NS, START_NS + five] == first.open_ns.tolist()
    assert (
        first.open[0],
        first.high[0],
        first.low[0],
        first.close[0],
        first.volume[0],
    ) == (10.0, 16.0, 9.0, 15.0, 15.0)
    assert len(early) == 0


def test_candles_finer_than_the_tape_are_not_made_up() -> None:
    """No 1m candles from 5m bars, neither closed nor running."""
    tape = make_tape([(10.0, 12.0, 9.0, 11.0)] * 4, timeframe_ns=5 * MINUTE_NS)
    path = PricePath(tape)

    assert len(path.candles(MINUTE_NS, None, tape.end_ns, 100)) == 0
    assert path.partial_candle(MINUTE_NS, START_NS + MINUTE_NS) is None


def test_a_candle_the_tape_enters_or_leaves_midway_is_left_out() -> None:
    """Minutes 2..13 hold one whole 5m candle: the one from minute 5."""
    whole = make_tape([(10.0, 12.0, 9.0, 11.0)] * 14)
    part = slice(2, 14)
    names = ("open_ns", "open", "high", "low", "close", "volume")
    tape = attrs.evolve(whole, **{name: getattr(whole, name)[part] for name in names})

    made = PricePath(tape).candles(5 * MINUTE_NS, None, tape.end_ns, 100)

    assert made.open_ns.tolist() == [START_NS + 5 * MINUTE_NS]
