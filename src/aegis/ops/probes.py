"""
What ops may look at besides events: callables the composition root hands in.

Ops is a stranger to the rooms that own these values; each callable returns a picture of now. None
is "not known", never "nothing".
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import attrs

from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import PositionSide


@attrs.frozen(slots=True, kw_only=True)
class FeedRow:
    """One instrument's market data; *age_ns* in market time, None before the first frame."""

    venue: Venue
    symbol: str
    age_ns: int | None
    is_stale: bool


@attrs.frozen(slots=True, kw_only=True)
class StreamRow:
    """One stream of a venue."""

    venue: Venue
    stream: str
    is_connected: bool


@attrs.frozen(slots=True, kw_only=True)
class PositionRow:
    """
    One open position, stop and target as the venue reports them.

    *qty* in base units, > 0; *upnl* in USDT; ids "" where there is no such order. *is_covered*: the
    stops cover the whole of it. *tick_size*: the grid averages are shown on, None: as they are.
    """

    instrument_id: InstrumentId
    side: PositionSide
    qty: Decimal
    entry_px: Decimal | None
    mark_price: Decimal | None
    upnl: Decimal | None
    stop_price: Decimal | None
    stop_id: str
    target_price: Decimal | None
    target_id: str
    is_covered: bool
    tick_size: Decimal | None = None


@attrs.frozen(slots=True, kw_only=True)
class GuardRow:
    """One venue's guards; money in USDT, *day_locked* "" while the day is open for entries."""

    venue: Venue
    equity: Decimal | None
    day_start_equity: Decimal | None
    day_locked: str
    halt_reasons: tuple[str, ...]

    @property
    def day_pnl(self) -> Decimal | None:
        """Return equity minus the equity the UTC day began with, in USDT."""
        if self.equity is None or self.day_start_equity is None:
            return None
        return self.equity - self.day_start_equity


@attrs.frozen(slots=True, kw_only=True)
class JournalRow:
    """
    The journal's state; *chain_head* shows a cut tail.

    Loop ns, None where there is none: *failing_ns* since when no write succeeded, *oldest_ns* how
    long the oldest row in memory waits, *write_ns_max* what the slowest write took. *unwritten*:
    rows in memory by event type.
    """

    written: int
    queued: int
    dropped: int
    chain_head: str
    failing_ns: int | None = None
    oldest_ns: int | None = None
    write_ns_max: int | None = None
    unwritten: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(slots=True, kw_only=True)
class DataRow:
    """Where the frames of one kind went: produced = delivered + merged + rejected + pending."""

    kind: str
    produced: int
    delivered: int
    merged: int
    rejected: int
    pending: int

    @property
    def missing(self) -> int:
        """Return how many frames nobody can account for; 0 is the law."""
        return self.produced - self.delivered - self.merged - self.rejected - self.pending


@attrs.frozen(slots=True, kw_only=True)
class FunnelRow:
    """How far bars came on the way to a signal: stages with counts, widest first (R20)."""

    instrument_id: InstrumentId
    stages: tuple[tuple[str, int], ...]


@attrs.frozen(slots=True, kw_only=True)
class VenueBooks:
    """
    What a venue lists of a run: *cash* is sold - bought - fees + funding, USDT.

    *fills_elsewhere*: in symbols this bot does not follow, not in *cash*.
    """

    fills: int
    cash: Decimal
    fills_elsewhere: int = 0


@attrs.frozen(slots=True, kw_only=True)
class TwinMeter:
    """
    Unprotected time measured by the twin itself, on the venue's timeline, apart from the bot.

    *count* fills or positions were measured, *protected* of them got a stop; None: none measured.
    """

    count: int
    protected: int
    p50_ns: int | None
    p99_ns: int | None
    max_ns: int | None
    speed: float = 1.0
    """Market seconds per second; the times are of the market."""


def _none() -> None:
    return None


def _no_rows() -> tuple[FunnelRow, ...]:
    return ()


@attrs.frozen(kw_only=True)
class Probes:
    """
    Everything the heartbeat and the summary ask for.

    last_close_ns: market time of the last close of a position, None before the first. queues: depth
    by name. twin_meter: paper mode only.
    """

    feeds: Callable[[], Sequence[FeedRow]]
    streams: Callable[[], Sequence[StreamRow]]
    positions: Callable[[], Sequence[PositionRow]]
    guards: Callable[[], Sequence[GuardRow]]
    queues: Callable[[], Mapping[str, int]]
    journal: Callable[[], JournalRow | None]
    data_accounts: Callable[[], Sequence[DataRow]]
    last_close_ns: Callable[[], int | None]
    funnels: Callable[[], Sequence[FunnelRow]] = _no_rows
    twin_meter: Callable[[], TwinMeter | None] = _none
