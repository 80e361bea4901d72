"""The default strategy on recorded months: it does trade, on both sides, and not all the time."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import feather

from aegis.brain.params import TIMEFRAME_NS, StrategyParams
from aegis.brain.strategy import Bar, Idea
from aegis.brain.trend_follow import TrendFollow
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import PositionSide

MINUTE_NS = 60_000_000_000
BARS_PER_DAY = 288


def five_minute_bars(path: Path, instrument_id: InstrumentId, limit: int) -> list[Bar]:
    """Return the whole 5m candles made of a file of 1m candles, *limit* at most."""
    table = feather.read_table(path)
    opened_ns = table["date"].to_numpy().astype("datetime64[ns]").astype(np.int64)
    columns = [table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
    opens, highs, lows, closes, volumes = (column.tolist() for column in columns)
    first = int(np.argmax(opened_ns % TIMEFRAME_NS == 0))
    bars = []
    for at in range(first, len(opened_ns) - 4, 5):
        assert opened_ns[at + 4] - opened_ns[at] == 4 * MINUTE_NS
        bars.append(
            Bar(
                instrument_id=instrument_id,
                timeframe_ns=TIMEFRAME_NS,
                open_ns=int(opened_ns[at]),
                close_ns=int(opened_ns[at]) + TIMEFRAME_NS,
                open=opens[at],
                high=max(highs[at : at + 5]),
                low=min(lows[at : at + 5]),
                close=closes[at + 4],
                volume=sum(volumes[at : at + 5]),
            )
        )
    return bars[:limit]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
def test_the_defaults_trade_a_recorded_month(shared_data: Path, symbol: str) -> None:
    """R20: two to six ideas a day on May 2025, longs and shorts, stops well above the fees."""
    path = shared_data / "market" / "binance_usdm" / "2025-05_1m" / f"{symbol}-1m-futures.feather"
    instrument_id = InstrumentId(symbol, Venue.BINANCE)
    bars = five_minute_bars(path, instrument_id, 30 * BARS_PER_DAY)
    strategy = TrendFollow(instrument_id, StrategyParams())
    judged = [(bar, strategy.on_bar(bar)) for bar in bars]
    ideas = [(bar, verdict) for bar, verdict in judged if isinstance(verdict, Idea)]
    per_day = len(ideas) / (len(bars) / BARS_PER_DAY)
    longs = sum(idea.side is PositionSide.LONG for _, idea in ideas)

    assert 2.0 <= per_day <= 6.0
    assert 0.3 <= longs / len(ideas) <= 0.7
    assert all(idea.stop_distance / bar.close >= 0.0025 for bar, idea in ideas)
