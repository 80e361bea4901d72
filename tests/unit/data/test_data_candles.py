"""The candle series: each bar once, in order, holes held and then filled or given up."""

import pytest

from aegis.data.candles import CandleSeries, GapFound, ReleasedBar
from aegis.model.instrument import Venue, instrument_id
from aegis.model.market import MINUTE_NS, Candle

BTC = instrument_id("BTCUSDT", Venue.BINANCE)


def bar(number: int) -> Candle:
    return Candle(
        instrument_id=BTC,
        timeframe_ns=MINUTE_NS,
        open_ns=number * MINUTE_NS,
        open=1.0,
        high=1.0,
        low=1.0,
        close=1.0,
        volume=0.0,
    )


def numbers(released: list[ReleasedBar]) -> list[int]:
    return [one.candle.open_ns // MINUTE_NS for one in released]


def test_bars_in_order_pass_at_once_and_duplicates_are_counted() -> None:
    """A repeated bar is released once."""
    series = CandleSeries(MINUTE_NS)
    released = [n for given in (5, 6, 6, 5, 7) for n in numbers(series.on_stream(bar(given))[0])]

    assert [5, 6, 7] == released
    assert (5, 3, 2) == (series.stream.taken, series.stream.released, series.stream.duplicates)


def test_a_gap_holds_later_bars_until_history_fills_it() -> None:
    """Neither lost nor doubled at the junction; the gap is told once."""
    series = CandleSeries(MINUTE_NS)
    series.on_history([bar(1), bar(2)])
    opened = series.on_stream(bar(5))
    assert ([], GapFound(from_ns=3 * MINUTE_NS, missing=2)) == opened
    assert ([], None) == series.on_stream(bar(6))
    assert series.held(from_history=False) == 2

    filled = series.on_history([bar(4), bar(3), bar(5)])
    assert [3, 4, 5, 6] == numbers(filled)
    assert [True, True, False, False] == [one.from_history for one in filled]
    assert (1, 0) == (series.history.duplicates, series.given_up)


def test_a_hole_given_up_is_counted_and_its_bars_come_late() -> None:
    """Giving up is bounded to the holes that were asked for."""
    series = CandleSeries(MINUTE_NS)
    for number in (1, 3, 5):
        series.on_stream(bar(number))
    released, left = series.give_up(before_ns=3 * MINUTE_NS)

    assert [3] == numbers(released)
    assert GapFound(from_ns=4 * MINUTE_NS, missing=1) == left
    series.on_stream(bar(2))
    series.on_stream(bar(0))
    assert (2, 0) == (series.stream.late, series.stream.duplicates)
    assert series.given_up == 1


def test_a_late_stream_bar_closes_the_gap_by_itself() -> None:
    """Reordering alone needs no history."""
    series = CandleSeries(MINUTE_NS)
    series.on_stream(bar(1))
    series.on_stream(bar(3))

    assert [2, 3] == numbers(series.on_stream(bar(2))[0])
    assert series.gap is None


def test_what_is_held_is_bounded() -> None:
    """A hole nobody fills is given up when too much waits behind it."""
    series = CandleSeries(MINUTE_NS, held_max=3)
    series.on_stream(bar(1))
    released = [n for given in range(3, 8) for n in numbers(series.on_stream(bar(given))[0])]

    assert [3, 4, 5, 6, 7] == released
    assert series.given_up == 1


def test_a_series_can_expect_bars_before_its_first() -> None:
    """After a warm-up that failed, the first stream bar shows the whole hole."""
    series = CandleSeries(MINUTE_NS)
    series.begin_at(2 * MINUTE_NS)

    assert ([], GapFound(from_ns=2 * MINUTE_NS, missing=3)) == series.on_stream(bar(5))


def test_a_bar_off_the_grid_is_refused() -> None:
    """The firewall keeps such bars out; the series does not trust that."""
    series = CandleSeries(2 * MINUTE_NS)
    with pytest.raises(ValueError, match="off the"):
        series.begin_at(MINUTE_NS)
    with pytest.raises(ValueError, match="time frame was"):
        series.on_stream(bar(2))
