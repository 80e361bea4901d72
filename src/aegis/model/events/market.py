"""What is known of the markets: quotes, bars, warm-up, and data that is missing or refused."""

import attrs

from aegis.core.event import Event
from aegis.model.instrument import InstrumentId
from aegis.model.market import Candle


@attrs.frozen(slots=True, kw_only=True)
class MarketTick(Event):
    """
    Newest quote, mark and last of one instrument; older values of this drain were merged.

    Prices are floats, quote per base; None while never told, and a mark also while what was told
    last is doubted. *merged* counts merged frames.
    """

    instrument_id: InstrumentId
    bid: float | None
    ask: float | None
    mark: float | None
    last: float | None
    merged: int

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class CandleClosed(Event):
    """A bar is final. *from_history*: it came by REST, to warm up or to fill a gap."""

    candle: Candle
    from_history: bool

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.candle.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class CandleGapFound(Event):
    """Bars are missing between two stream bars; *missing* were asked from history."""

    instrument_id: InstrumentId
    timeframe_ns: int
    from_ns: int
    missing: int


@attrs.frozen(slots=True, kw_only=True)
class WarmupFinished(Event):
    """History of one instrument was read; *bars* by timeframe name."""

    instrument_id: InstrumentId
    bars: tuple[tuple[str, int], ...]


@attrs.frozen(slots=True, kw_only=True)
class FeedStale(Event):
    """Nothing fresh arrived for an instrument for *age_ns*: no entries there (R69)."""

    instrument_id: InstrumentId
    age_ns: int


@attrs.frozen(slots=True, kw_only=True)
class FeedFresh(Event):
    """An instrument's data flow again."""

    instrument_id: InstrumentId
    stale_for_ns: int


@attrs.frozen(slots=True, kw_only=True)
class FrameRejected(Event):
    """
    The firewall refused a frame (R5).

    Published for the first of each reason and instrument, and then with doubling counts.
    """

    instrument_id: InstrumentId | None
    frame: str
    reason: str
    count: int
