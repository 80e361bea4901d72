"""History of Binance: closed bars over as many pages as they take."""

from typing import Final

from aegis.core.clock import NS_PER_MS, Clock
from aegis.model.instrument import InstrumentId
from aegis.model.market import TIMEFRAME_NAMES, Candle
from aegis.venue.binance.parse_market import parse_klines
from aegis.venue.binance.rest import BinanceRest

BARS_PER_PAGE: Final = 1500
"""At most; what a page weighs follows from the bars that are asked for (limits.py)."""


async def read_candles(
    rest: BinanceRest,
    clock: Clock,
    instrument_id: InstrumentId,
    timeframe_ns: int,
    start_ns: int,
    end_ns: int,
) -> tuple[Candle, ...]:
    """Return closed bars with start_ns <= open_ns < end_ns, oldest first; VenueError as raised."""
    found: list[Candle] = []
    from_ns = start_ns
    while from_ns < end_ns:
        bars = min(BARS_PER_PAGE, -(-(end_ns - from_ns) // timeframe_ns))
        answer = await rest.call(
            "klines",
            "futures_klines",
            {
                "symbol": instrument_id.symbol,
                "interval": TIMEFRAME_NAMES[timeframe_ns],
                "startTime": -(-from_ns // NS_PER_MS),
                "endTime": -(-end_ns // NS_PER_MS) - 1,
                "limit": bars,
            },
        )
        page = parse_klines(answer, instrument_id, timeframe_ns)
        found += page
        if len(page) < bars:
            break
        from_ns = page[-1].open_ns + timeframe_ns
    now_ns = clock.now_ns()
    return tuple(
        bar for bar in found if start_ns <= bar.open_ns < end_ns and bar.close_ns <= now_ns
    )
