"""Bars for the brain's tests: a seeded tape with trends, calm and storm, and a bar builder."""

import math
import random
from collections.abc import Callable, Iterable, Sequence

import pytest

from aegis.brain.params import TIMEFRAME_NS
from aegis.brain.strategy import Bar
from aegis.model.instrument import InstrumentId, Venue

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
START_NS = 1_746_403_200_000_000_000

Ohlc = tuple[float, float, float, float]
BarsOf = Callable[[Iterable[Ohlc]], list[Bar]]


def make_bars(candles: Iterable[Ohlc]) -> list[Bar]:
    """Return consecutive 5m bars from 2025-05-05 00:00 UTC on."""
    return [
        Bar(
            instrument_id=BTC,
            timeframe_ns=TIMEFRAME_NS,
            open_ns=START_NS + index * TIMEFRAME_NS,
            close_ns=START_NS + (index + 1) * TIMEFRAME_NS,
            open=candle[0],
            high=candle[1],
            low=candle[2],
            close=candle[3],
            volume=10.0,
        )
        for index, candle in enumerate(candles)
    ]


def make_tape(seed: int, count: int) -> list[Bar]:
    """Return a seeded walk whose drift and size change slowly, so that trends come and go."""
    dice = random.Random(seed)
    price = 50_000.0
    candles: list[Ohlc] = []
    for index in range(count):
        drift = 0.0006 * math.sin(index / 45.0)
        size = 0.0012 * (1.0 + 0.8 * math.sin(index / 110.0))
        path = [price]
        for _ in range(5):
            path.append(path[-1] * (1.0 + drift / 5 + dice.gauss(0.0, size / 2.2)))
        price = path[-1]
        candles.append((path[0], max(path), min(path), path[-1]))
    return make_bars(candles)


@pytest.fixture(scope="session")
def tape() -> Sequence[Bar]:
    """Return 2500 seeded bars: about nine days."""
    return tuple(make_tape(seed=7, count=2500))


@pytest.fixture(scope="session")
def bars_of() -> BarsOf:
    """Return the builder of consecutive 5m bars."""
    return make_bars
