"""Closed bars of Bybit, page by page."""

from collections.abc import Callable
from typing import Final

from aegis.core.clock import NS_PER_MS
from aegis.model.instrument import InstrumentId
from aegis.model.market import Candle
from aegis.venue.bybit.encode import CATEGORY
from aegis.venue.bybit.parse_market import INTERVALS, closed_candles
from aegis.venue.bybit.rest import BybitRest

_BARS_PER_PAGE: Final = 1000


async def read_candles(
    rest: BybitRest,
    venue_now_ns: Callable[[], int],
    instrument_id: InstrumentId,
    timeframe_ns: int,
    start_ns: int,
    end_ns: int,
) -> tuple[Candle, ...]:
    """Return closed bars with start_ns <= open_ns < end_ns, oldest first; VenueError: none."""
    found: list[Candle] = []
    span_ns = _BARS_PER_PAGE * timeframe_ns
    for page_ns in range(start_ns, end_ns, span_ns):
        # A window no larger than a page: whichever end the venue would cut, it does not.
        # Asked before the call: a bar may close while its open state is on the way.
        now_ns = venue_now_ns()
        answer = await rest.call(
            "get_kline",
            {
                "category": CATEGORY,
                "symbol": instrument_id.symbol,
                "interval": INTERVALS[timeframe_ns],
                "start": page_ns // NS_PER_MS,
                "end": min(page_ns + span_ns, end_ns) // NS_PER_MS - 1,
                "limit": _BARS_PER_PAGE,
            },
        )
        found += closed_candles(answer, instrument_id, timeframe_ns, now_ns)
    return tuple(candle for candle in found if start_ns <= candle.open_ns < end_ns)
