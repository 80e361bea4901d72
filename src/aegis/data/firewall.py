"""
The firewall: what a market frame must be before anybody believes it (R5).

Pure: a frame's own times are compared with each other, no clock is read. Every refusal has one
reason and one count. A venue's time E is compared with our receipt, never a bar's open (R6).
"""

import enum
import math
from collections.abc import Iterable
from typing import Final

import attrs

from aegis.model.instrument import InstrumentId
from aegis.model.market import Candle, DepthFrame, KlineFrame, MarkFrame, QuoteFrame

QUOTE: Final = "quote"
MARK: Final = "mark"
KLINE: Final = "kline"
HISTORY: Final = "history"
DEPTH: Final = "depth"
UNREADABLE: Final = "unreadable"
UNREADABLE_REASONS_MAX: Final = 64
JUMP_MAX: Final = 0.2
"""
How far a mark price may be from the last one, as a fraction, until a second frame tells it too.

The fastest minute on record here is -8.7 % (FIL, 2023-08-17) and marks come every second: what is
beyond this in one frame is a fault until it is told again, which costs one frame.
"""
_INF: Final = math.inf
_NEVER: Final = -1


class Reason(enum.StrEnum):
    """Why a frame was refused; the first that applies, in this order."""

    WRONG_TYPE = "wrong_type"
    """None, text or anything else where a number belongs."""
    UNKNOWN_INSTRUMENT = "unknown_instrument"
    UNKNOWN_TIMEFRAME = "unknown_timeframe"
    OFF_GRID = "off_grid"
    """A bar that does not open on a multiple of its length, UTC."""
    NOT_FINITE = "not_finite"
    NOT_POSITIVE = "not_positive"
    NEGATIVE_VOLUME = "negative_volume"
    """A volume or a quantity below 0."""
    CROSSED = "crossed"
    """The bid above the ask."""
    LOCKED = "locked"
    """The bid equal to the ask: no market stands like that, one side is old."""
    HIGH_BELOW_LOW = "high_below_low"
    OPEN_CLOSE_OUTSIDE = "open_close_outside"
    JUMPED = "jumped"
    """A mark price far from the last one, which no second, different one has confirmed."""
    BAD_SEQUENCE = "bad_sequence"
    """Update ids that run backwards inside one frame."""
    FROM_FUTURE = "from_future"
    TOO_OLD = "too_old"
    TIME_BACKWARDS = "time_backwards"
    """Older than the last one accepted of that instrument and kind; equal is fine."""


@attrs.frozen(kw_only=True)
class Rejection:
    """The *count*-th frame of this kind and instrument refused for *reason*."""

    instrument_id: InstrumentId | None
    kind: str
    reason: str
    count: int


@attrs.frozen(kw_only=True)
class FeedLatency:
    """Receipt minus the venue's event time, ns: the offset of the two clocks is inside (R6)."""

    last_ns: int
    max_ns: int


class _Watch:
    """What was accepted of one instrument; *_recv_ns None: nothing yet."""

    __slots__ = (
        "bar_event_ns",
        "latency_max_ns",
        "mark",
        "mark_doubted",
        "mark_event_ns",
        "mark_recv_ns",
        "newest_event_ns",
        "newest_recv_ns",
        "quote_event_ns",
        "quote_recv_ns",
    )

    def __init__(self) -> None:
        self.quote_event_ns = _NEVER
        self.mark_event_ns = _NEVER
        self.mark: float | None = None
        self.mark_doubted: float | None = None
        self.bar_event_ns: dict[int, int] = {}
        self.quote_recv_ns: int | None = None
        self.mark_recv_ns: int | None = None
        self.newest_event_ns = 0
        self.newest_recv_ns = 0
        self.latency_max_ns: int | None = None


class Firewall:
    """Accept or refuse frames of admitted instruments, and count every refusal."""

    def __init__(
        self, *, future_tolerance_ns: int, late_tolerance_ns: int, timeframes_ns: Iterable[int]
    ) -> None:
        """
        Make a firewall that knows no instrument yet.

        future_tolerance_ns, late_tolerance_ns: how far a frame's event time may lie after and
        before its receipt, market ns. timeframes_ns: the bars that were asked for.
        """
        self._future_ns = future_tolerance_ns
        self._late_ns = late_tolerance_ns
        self._timeframes_ns = frozenset(timeframes_ns)
        self._watches: dict[InstrumentId, _Watch] = {}
        self._rejected: dict[str, int] = dict.fromkeys(
            (QUOTE, MARK, KLINE, HISTORY, DEPTH, UNREADABLE), 0
        )
        self._counts: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[InstrumentId | None, str, str], int] = {}
        self._unreadable_reasons: dict[str, None] = {}

    def admit(self, instrument_id: InstrumentId) -> None:
        """Let frames of *instrument_id* through from now on."""
        self._watches.setdefault(instrument_id, _Watch())

    def check_quote(self, frame: QuoteFrame) -> Reason | None:
        """Return why *frame* is refused, None when it is accepted; not counted here."""
        # A sane frame takes one chain of comparisons; only a refused one is looked at closely.
        try:
            watch = self._watches.get(frame.instrument_id)
            bid, ask = frame.bid, frame.ask
            event_ns, recv_ns = frame.ts_event, frame.ts_recv
            if not (
                watch is not None
                and type(bid) is type(ask) is float
                and type(event_ns) is type(recv_ns) is int
                and 0.0 < bid < ask < _INF
                and 0.0 <= frame.bid_qty < _INF
                and 0.0 <= frame.ask_qty < _INF
                and watch.quote_event_ns <= event_ns <= recv_ns + self._future_ns
                and recv_ns - event_ns <= self._late_ns
            ):
                reason = self._quote_fault(frame)
                if reason is not None or watch is None:
                    return reason
        except TypeError:  # not comparable or not hashable: no number, or no instrument
            return self._quote_fault(frame) or Reason.WRONG_TYPE
        watch.quote_event_ns = watch.newest_event_ns = event_ns
        watch.quote_recv_ns = watch.newest_recv_ns = recv_ns
        latency_max_ns = watch.latency_max_ns
        if latency_max_ns is None or recv_ns - event_ns > latency_max_ns:
            watch.latency_max_ns = recv_ns - event_ns
        return None

    def check_mark(self, frame: MarkFrame) -> Reason | None:
        """Return why *frame* is refused, None when it is accepted; not counted here."""
        try:
            watch = self._watches.get(frame.instrument_id)
            mark, last = frame.mark, frame.last
            event_ns, recv_ns = frame.ts_event, frame.ts_recv
            if not (
                watch is not None
                and type(mark) is float
                and type(event_ns) is type(recv_ns) is int
                and 0.0 < mark < _INF
                and (last is None or (type(last) is float and 0.0 < last < _INF))
                and watch.mark_event_ns <= event_ns <= recv_ns + self._future_ns
                and recv_ns - event_ns <= self._late_ns
            ):
                reason = self._mark_fault(frame)
                if reason is not None or watch is None:
                    return reason
        except TypeError:  # not hashable: no instrument
            return self._mark_fault(frame) or Reason.WRONG_TYPE
        if watch.mark is not None and abs(mark - watch.mark) > JUMP_MAX * watch.mark:
            doubted = watch.mark_doubted
            # Bybit's deltas tell the mark they do not change once more: that is no second word.
            repeats = mark == doubted
            if doubted is None or repeats or abs(mark - doubted) > JUMP_MAX * doubted:
                watch.mark_doubted = mark
                return Reason.JUMPED
        watch.mark, watch.mark_doubted = mark, None
        watch.mark_event_ns = watch.newest_event_ns = event_ns
        watch.mark_recv_ns = watch.newest_recv_ns = recv_ns
        latency_max_ns = watch.latency_max_ns
        if latency_max_ns is None or recv_ns - event_ns > latency_max_ns:
            watch.latency_max_ns = recv_ns - event_ns
        return None

    def check_kline(self, frame: KlineFrame) -> Reason | None:
        """
        Return why *frame* is refused, None when it is accepted; not counted here.

        A closed bar may come up to its own length later than other frames, and out of order: it is
        lossless, and putting bars in order is the business of the candle series.
        """
        reason = self._kline_fault(frame)
        if reason is None and not frame.closed:
            candle = frame.candle
            self._watches[candle.instrument_id].bar_event_ns[candle.timeframe_ns] = frame.ts_event
        return reason

    def check_depth(self, frame: DepthFrame) -> Reason | None:
        """
        Return why *frame* is refused, None when it is accepted; not counted here.

        Order in time is not looked at: the book follows the update ids. A refused diff is missing
        from their chain.
        """
        fault = self._envelope_fault(frame.instrument_id, (frame.ts_event, frame.ts_recv))
        if fault is not None:
            return fault
        ids = (frame.first_update_id, frame.last_update_id, frame.previous_update_id)
        if any(type(one) is not int for one in ids):
            return Reason.WRONG_TYPE
        for levels in (frame.bids, frame.asks):
            for price, qty in levels:
                # As with quotes: one chain of comparisons, a close look only when it fails.
                sane = type(price) is type(qty) is float and 0 < price < _INF and 0 <= qty < _INF
                if not sane and (fault := _numbers_fault((price,), (qty,))) is not None:
                    return fault
        if not 0 < frame.first_update_id <= frame.last_update_id:
            return Reason.BAD_SEQUENCE
        return self._time_fault(frame.ts_event, frame.ts_recv, _NEVER)

    def check_history(
        self, candle: Candle, instrument_id: InstrumentId, timeframe_ns: int
    ) -> Reason | None:
        """Return why a bar that was asked from history is refused; its age does not matter."""
        reason = candle_fault(candle)
        if reason is not None:
            return reason
        if candle.instrument_id != instrument_id:
            return Reason.UNKNOWN_INSTRUMENT
        return Reason.UNKNOWN_TIMEFRAME if candle.timeframe_ns != timeframe_ns else None

    def count(self, instrument_id: object, kind: str, reason: str) -> Rejection | None:
        """Count one refusal; return it for the first of its like and at doubling counts."""
        known = (
            instrument_id
            if isinstance(instrument_id, InstrumentId) and instrument_id in self._watches
            else None
        )
        self._rejected[kind] += 1
        self._counts[kind, reason] = self._counts.get((kind, reason), 0) + 1
        key = (known, kind, reason)
        count = self._told[key] = self._told.get(key, 0) + 1
        if count & (count - 1):
            return None
        return Rejection(instrument_id=known, kind=kind, reason=reason, count=count)

    def count_unreadable(self, venue: str, reason: str) -> Rejection | None:
        """Count a frame that could not be decoded; past 64 different reasons they share one."""
        named = f"{venue}: {reason}"
        if named not in self._unreadable_reasons:
            if len(self._unreadable_reasons) >= UNREADABLE_REASONS_MAX:
                named = f"{venue}: other"
            self._unreadable_reasons[named] = None
        return self.count(None, UNREADABLE, named)

    def rejected(self, kind: str) -> int:
        """Return how many frames of *kind* were refused."""
        return self._rejected[kind]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return the refusals by (kind, reason), in order of first appearance."""
        return dict(self._counts)

    def last_accepted_ns(self, instrument_id: InstrumentId) -> tuple[int | None, int | None]:
        """Return when the last quote and the last mark were received, bot clock; None: never."""
        watch = self._watches[instrument_id]
        return watch.quote_recv_ns, watch.mark_recv_ns

    def latencies(self) -> dict[InstrumentId, FeedLatency]:
        """Return the feed latency of every instrument that was heard of (R6)."""
        return {
            instrument_id: FeedLatency(
                last_ns=watch.newest_recv_ns - watch.newest_event_ns, max_ns=watch.latency_max_ns
            )
            for instrument_id, watch in self._watches.items()
            if watch.latency_max_ns is not None
        }

    def _quote_fault(self, frame: QuoteFrame) -> Reason | None:
        prices, sizes = (frame.bid, frame.ask), (frame.bid_qty, frame.ask_qty)
        fault = self._envelope_fault(frame.instrument_id, (frame.ts_event, frame.ts_recv))
        fault = fault or _numbers_fault(prices, sizes)
        if fault is not None:
            return fault
        if frame.bid >= frame.ask:
            return Reason.CROSSED if frame.bid > frame.ask else Reason.LOCKED
        last_ns = self._watches[frame.instrument_id].quote_event_ns
        return self._time_fault(frame.ts_event, frame.ts_recv, last_ns)

    def _mark_fault(self, frame: MarkFrame) -> Reason | None:
        prices = (frame.mark,) if frame.last is None else (frame.mark, frame.last)
        fault = self._envelope_fault(frame.instrument_id, (frame.ts_event, frame.ts_recv))
        fault = fault or _numbers_fault(prices, ())
        if fault is not None:
            return fault
        last_ns = self._watches[frame.instrument_id].mark_event_ns
        return self._time_fault(frame.ts_event, frame.ts_recv, last_ns)

    def _kline_fault(self, frame: KlineFrame) -> Reason | None:
        candle = frame.candle
        if not _is_a(candle, Candle) or not _is_a(frame.closed, bool):
            return Reason.WRONG_TYPE
        fault = self._envelope_fault(candle.instrument_id, (frame.ts_event, frame.ts_recv))
        if fault is not None:
            return fault
        if type(candle.timeframe_ns) is int and candle.timeframe_ns not in self._timeframes_ns:
            return Reason.UNKNOWN_TIMEFRAME
        fault = candle_fault(candle)
        if fault is not None:
            return fault
        timeframe_ns = candle.timeframe_ns
        if frame.closed:
            newest_ns = max(frame.ts_event, candle.close_ns)
            if newest_ns > frame.ts_recv + self._future_ns:
                return Reason.FROM_FUTURE
            age_ns = frame.ts_recv - candle.close_ns
            return Reason.TOO_OLD if age_ns > self._late_ns + timeframe_ns else None
        if candle.open_ns > frame.ts_recv + self._future_ns:
            return Reason.FROM_FUTURE
        last_ns = self._watches[candle.instrument_id].bar_event_ns.get(timeframe_ns, _NEVER)
        return self._time_fault(frame.ts_event, frame.ts_recv, last_ns)

    def _envelope_fault(
        self, instrument_id: object, times_ns: tuple[object, object]
    ) -> Reason | None:
        if not isinstance(instrument_id, InstrumentId):
            return Reason.WRONG_TYPE
        if any(type(time_ns) is not int for time_ns in times_ns):
            return Reason.WRONG_TYPE
        return None if instrument_id in self._watches else Reason.UNKNOWN_INSTRUMENT

    def _time_fault(self, event_ns: int, recv_ns: int, last_event_ns: int) -> Reason | None:
        if event_ns > recv_ns + self._future_ns:
            return Reason.FROM_FUTURE
        if recv_ns - event_ns > self._late_ns:
            return Reason.TOO_OLD
        return Reason.TIME_BACKWARDS if event_ns < last_event_ns else None


def candle_fault(candle: Candle) -> Reason | None:
    """Return what is wrong with a bar by itself, times aside."""
    if type(candle.timeframe_ns) is not int or type(candle.open_ns) is not int:
        return Reason.WRONG_TYPE
    prices = (candle.open, candle.high, candle.low, candle.close)
    if not all(_is_number(value) for value in (*prices, candle.volume)):
        return Reason.WRONG_TYPE
    if candle.timeframe_ns <= 0 or candle.open_ns < 0 or candle.open_ns % candle.timeframe_ns:
        return Reason.OFF_GRID
    fault = _numbers_fault(prices, (candle.volume,))
    if fault is not None:
        return fault
    if candle.high < candle.low:
        return Reason.HIGH_BELOW_LOW
    if not candle.low <= min(candle.open, candle.close):
        return Reason.OPEN_CLOSE_OUTSIDE
    return None if max(candle.open, candle.close) <= candle.high else Reason.OPEN_CLOSE_OUTSIDE


def _numbers_fault(prices: tuple[object, ...], sizes: tuple[object, ...]) -> Reason | None:
    fault: Reason | None = None
    for value in (*prices, *sizes):
        if not isinstance(value, int | float) or isinstance(value, bool):
            return Reason.WRONG_TYPE
        if not math.isfinite(value):
            fault = Reason.NOT_FINITE
    if fault is None and any(isinstance(p, int | float) and p <= 0 for p in prices):
        return Reason.NOT_POSITIVE
    if fault is None and any(isinstance(s, int | float) and s < 0 for s in sizes):
        return Reason.NEGATIVE_VOLUME
    return fault


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_a(value: object, kind: type) -> bool:
    return isinstance(value, kind)
