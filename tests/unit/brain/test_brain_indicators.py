"""Indicators against TA-Lib's own output, and at the edges where bots like to invent numbers."""

import csv
import gzip
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aegis.brain.indicators import (
    NOT_READY,
    Adx,
    Atr,
    Bands,
    Bollinger,
    Directional,
    Donchian,
    Ema,
    Macd,
    MacdLines,
    NotReady,
    Roc,
    Rsi,
    Sma,
    StdDev,
    true_range,
)

Row = dict[str, str]
Reading = float | NotReady


def rows_of(shared_data: Path) -> list[Row]:
    path = shared_data / "indicators" / "talib_BTCUSDT-1m_first3000.csv.gz"
    with gzip.open(path, "rt", newline="") as lines:
        return list(csv.DictReader(lines))


def close_feed(update: Callable[[float], Reading]) -> Callable[[Row], list[Reading]]:
    return lambda row: [update(float(row["close"]))]


def hlc_feed(update: Callable[[float, float, float], Reading]) -> Callable[[Row], list[Reading]]:
    return lambda row: [update(float(row["high"]), float(row["low"]), float(row["close"]))]


def natr_feed() -> Callable[[Row], list[Reading]]:
    atr = Atr(14)

    def feed(row: Row) -> list[Reading]:
        value = atr.update(float(row["high"]), float(row["low"]), float(row["close"]))
        return [NOT_READY if value is NOT_READY else 100.0 * value / float(row["close"])]

    return feed


def adx_feed() -> Callable[[Row], list[Reading]]:
    adx = Adx(14)

    def feed(row: Row) -> list[Reading]:
        moves = adx.update(float(row["high"]), float(row["low"]), float(row["close"]))
        if moves is NOT_READY:
            return [NOT_READY] * 3
        return [moves.adx, moves.plus_di, moves.minus_di]

    return feed


def bands_feed() -> Callable[[Row], list[Reading]]:
    bollinger = Bollinger(20, 2.0)

    def feed(row: Row) -> list[Reading]:
        bands = bollinger.update(float(row["close"]))
        if bands is NOT_READY:
            return [NOT_READY] * 3
        return [bands.upper, bands.middle, bands.lower]

    return feed


def macd_feed() -> Callable[[Row], list[Reading]]:
    macd = Macd(12, 26, 9)

    def feed(row: Row) -> list[Reading]:
        lines = macd.update(float(row["close"]))
        if lines is NOT_READY:
            return [NOT_READY] * 3
        return [lines.macd, lines.signal, lines.histogram]

    return feed


@pytest.mark.parametrize(
    ("columns", "feed"),
    [
        (("RSI_14",), close_feed(Rsi(14).update)),
        (("ATR_14",), hlc_feed(Atr(14).update)),
        (("NATR_14",), natr_feed()),
        (("EMA_9",), close_feed(Ema(9).update)),
        (("EMA_21",), close_feed(Ema(21).update)),
        (("EMA_50",), close_feed(Ema(50).update)),
        (("EMA_200",), close_feed(Ema(200).update)),
        (("SMA_20",), close_feed(Sma(20).update)),
        (("ADX_14", "PLUS_DI_14", "MINUS_DI_14"), adx_feed()),
        (("BB_UP_20_2", "BB_MID_20_2", "BB_LOW_20_2"), bands_feed()),
        (("MACD_12_26_9", "MACDS_12_26_9", "MACDH_12_26_9"), macd_feed()),
        (("STDDEV_20",), close_feed(StdDev(20).update)),
        (("ROC_10",), close_feed(Roc(10).update)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_every_row_equals_ta_lib(
    shared_data: Path, columns: tuple[str, ...], feed: Callable[[Row], list[Reading]]
) -> None:
    """R15: each indicator equals TA-Lib on every row and is NOT_READY just where that is empty."""
    compared = 0
    for index, row in enumerate(rows_of(shared_data)):
        for column, actual in zip(columns, feed(row), strict=True):
            expected = None if row[column] == "" else float(row[column])
            where = f"{column} at row {index}"
            if expected is None or actual is NOT_READY:
                assert (expected is None) == (actual is NOT_READY), where
                continue
            compared += 1
            assert math.isclose(expected, actual, rel_tol=1e-9, abs_tol=0), (
                f"{where}: {actual!r}, expected {expected!r}"
            )

    assert compared > 2700 * len(columns)


def candles_in(count: int, price: float) -> Iterator[tuple[float, float, float]]:
    return ((price, price, price) for _ in range(count))


def test_constant_prices_give_no_movement_and_no_division_by_zero() -> None:
    """R15: on constant prices ATR, ADX and DIs are 0, deviation 0, MACD and ROC 0, means equal."""
    atr, adx = Atr(14), Adx(14)
    ranges: list[Reading] = []
    moves: list[Directional | NotReady] = []
    for candle in candles_in(60, 100.0):
        ranges.append(atr.update(*candle))
        moves.append(adx.update(*candle))
    ema, deviation, bollinger, macd, roc = Ema(9), StdDev(20), Bollinger(), Macd(), Roc()
    for _ in range(59):
        ema.update(100.0)
        deviation.update(100.0)
        bollinger.update(100.0)
        macd.update(100.0)
        roc.update(100.0)

    assert ranges[-1] == 0.0
    assert moves[-1] == Directional(plus_di=0.0, minus_di=0.0, adx=0.0)
    assert ema.update(100.0) == 100.0
    assert deviation.update(100.0) == 0.0
    assert bollinger.update(100.0) == Bands(upper=100.0, middle=100.0, lower=100.0, deviation=0.0)
    assert macd.update(100.0) == MacdLines(macd=0.0, signal=0.0, histogram=0.0)
    assert roc.update(100.0) == 0.0


def test_rsi_of_constant_prices_is_zero_as_in_ta_lib_and_says_it_is_flat() -> None:
    """R15: without a change the RSI follows TA-Lib (0, not 50) and is_flat tells it apart."""
    rsi = Rsi(14)
    readings = [rsi.update(100.0) for _ in range(15)]
    falling = Rsi(2)
    last = [falling.update(price) for price in (3.0, 2.0, 1.0)][-1]

    assert readings[:14] == [NOT_READY] * 14
    assert readings[14] == 0.0
    assert rsi.is_flat
    assert last == 0.0
    assert not falling.is_flat


def test_rsi_of_only_gains_is_one_hundred() -> None:
    """R15: the RSI reaches its bounds on one-sided series."""
    rsi = Rsi(3)

    assert [rsi.update(price) for price in (1.0, 2.0, 3.0, 4.0)][-1] == 100.0


def test_one_candle_is_never_enough() -> None:
    """R15: after a single candle every indicator with a window says NOT_READY."""
    assert [
        Sma(2).update(1.0),
        Ema(2).update(1.0),
        Rsi(2).update(1.0),
        Atr(1).update(2.0, 1.0, 1.5),
        Adx(2).update(2.0, 1.0, 1.5),
        StdDev(2).update(1.0),
        Bollinger(2).update(1.0),
        Macd(2, 3, 1).update(1.0),
        Roc(1).update(1.0),
        Donchian(2).update(2.0, 1.0),
    ] == [NOT_READY] * 10


def test_six_prices_do_not_make_an_rsi_of_fourteen() -> None:
    """R15: too little data stays NOT_READY to the last missing value."""
    rsi = Rsi(14)

    assert [rsi.update(100.0 + step) for step in range(6)] == [NOT_READY] * 6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Sma(2).update,
        lambda: Ema(2).update,
        lambda: Rsi(2).update,
        lambda: StdDev(2).update,
        lambda: Bollinger(2).update,
        lambda: Macd(2, 3, 2).update,
        lambda: Roc(2).update,
    ],
    ids=["sma", "ema", "rsi", "stddev", "bollinger", "macd", "roc"],
)
def test_input_that_is_not_finite_raises(
    make: Callable[[], Callable[[float], object]], bad: float
) -> None:
    """R15: NaN and infinity raise ValueError instead of poisoning every later number."""
    update = make()
    update(1.0)

    with pytest.raises(ValueError, match="must be finite"):
        update(bad)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("make", [lambda: Atr(2).update, lambda: Adx(2).update])
def test_a_candle_that_is_not_finite_raises(
    make: Callable[[], Callable[[float, float, float], object]], place: int
) -> None:
    """R15: NaN in any of high, low and close raises."""
    candle = [2.0, 1.0, 1.5]
    candle[place] = math.nan

    with pytest.raises(ValueError, match="must be finite"):
        make()(*candle)


def test_a_refused_value_leaves_the_state_as_it_was() -> None:
    """R15: after a refused NaN the next readings are those of a run without it."""
    clean_ema, clean_rsi, clean_atr = Ema(3), Rsi(3), Atr(3)
    hurt_ema, hurt_rsi, hurt_atr = Ema(3), Rsi(3), Atr(3)
    for price in (5.0, 6.0, 4.0, 7.0, 8.0):
        with pytest.raises(ValueError, match="must be finite"):
            hurt_ema.update(math.nan)
        with pytest.raises(ValueError, match="must be finite"):
            hurt_rsi.update(math.nan)
        with pytest.raises(ValueError, match="must be finite"):
            hurt_atr.update(price, price, math.nan)

        assert clean_ema.update(price) == hurt_ema.update(price)
        assert clean_rsi.update(price) == hurt_rsi.update(price)
        assert clean_atr.update(price, price, price) == hurt_atr.update(price, price, price)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sma(0),
        lambda: Ema(0),
        lambda: Rsi(1),
        lambda: Atr(0),
        lambda: Adx(1),
        lambda: StdDev(1),
        lambda: Bollinger(1),
        lambda: Bollinger(20, 0.0),
        lambda: Macd(26, 12, 9),
        lambda: Macd(12, 26, 0),
        lambda: Roc(0),
        lambda: Donchian(0),
    ],
)
def test_a_period_out_of_range_raises(make: Callable[[], object]) -> None:
    """R16: a period that makes no sense is refused when the indicator is built."""
    with pytest.raises(ValueError, match="was"):
        make()


def test_a_high_below_the_low_raises() -> None:
    """R15: a candle that contradicts itself is refused."""
    with pytest.raises(ValueError, match="below low"):
        Atr(2).update(1.0, 2.0, 1.5)


def test_true_range_reaches_over_a_gap() -> None:
    """R15: the true range counts the jump from the close before, up and down."""
    assert true_range(12.0, 11.0, 9.0) == 3.0
    assert true_range(8.0, 7.0, 9.0) == 2.0
    assert true_range(12.0, 11.0, 11.5) == 1.0


def test_the_donchian_channel_forgets_old_extremes() -> None:
    """R15: only the last candles count, the newest included."""
    donchian = Donchian(2)
    donchian.update(10.0, 1.0)
    donchian.update(6.0, 4.0)
    channel = donchian.update(7.0, 5.0)

    assert channel is not NOT_READY
    assert (channel.upper, channel.lower) == (7.0, 4.0)


def test_roc_refuses_a_price_of_zero() -> None:
    """R15: a rate of change from zero has no value, so zero is refused."""
    with pytest.raises(ValueError, match="must be above 0"):
        Roc(1).update(0.0)
