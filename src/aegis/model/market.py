"""Market data as the bot sees it: candles, quotes, marks, depth. Floats, quote per base unit."""

import enum
from typing import Final

import attrs

from aegis.model.instrument import InstrumentId

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
TIMEFRAME_NAMES: Final = {
    MINUTE_NS: "1m",
    3 * MINUTE_NS: "3m",
    5 * MINUTE_NS: "5m",
    15 * MINUTE_NS: "15m",
    30 * MINUTE_NS: "30m",
    60 * MINUTE_NS: "1h",
    240 * MINUTE_NS: "4h",
    480 * MINUTE_NS: "8h",
    1440 * MINUTE_NS: "1d",
}


@attrs.frozen(slots=True, kw_only=True)
class Candle:
    """
    One closed bar.

    *open_ns* to *close_ns* (exclusive end), UTC. Volume in base units.
    """

    instrument_id: InstrumentId
    timeframe_ns: int
    open_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def close_ns(self) -> int:
        """Return the first nanosecond after the bar."""
        return self.open_ns + self.timeframe_ns


@attrs.frozen(slots=True, kw_only=True)
class QuoteFrame:
    """Best bid and ask as one frame of the venue brought them; before the firewall."""

    instrument_id: InstrumentId
    ts_event: int
    ts_recv: int
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float
    update_id: int = attrs.field(default=0, eq=False)
    """The venue's number of the change, shared with its depth; 0 where it tells none."""


@attrs.frozen(slots=True, kw_only=True)
class MarkFrame:
    """Mark price as one frame brought it. *last* is None where the frame carries none."""

    instrument_id: InstrumentId
    ts_event: int
    ts_recv: int
    mark: float
    last: float | None = None


@attrs.frozen(slots=True, kw_only=True)
class KlineFrame:
    """A bar as one frame brought it; *closed* when the venue says it is final."""

    ts_event: int
    ts_recv: int
    candle: Candle
    closed: bool


BookLevel = tuple[float, float]
"""Price, quote per base, and quantity, base units; a quantity of 0 deletes the level."""


class DepthKind(enum.StrEnum):
    """A whole book, or what changed in it."""

    SNAPSHOT = "snapshot"
    DELTA = "delta"


@attrs.frozen(slots=True, kw_only=True)
class DepthFrame:
    """
    A snapshot of the order book or a diff of it, as the venue brought it; before the firewall.

    A diff holds the changes *first_update_id* to *last_update_id*; the diff before it ended with
    *previous_update_id*. A snapshot is the book after *last_update_id*, the other two equal it.
    """

    instrument_id: InstrumentId
    ts_event: int
    ts_recv: int
    kind: DepthKind
    first_update_id: int
    last_update_id: int
    previous_update_id: int
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
