"""
What can go wrong: the kinds of faults by where they strike, and one fault as a value.

A new kind is named here, drawn in `draw` and carried out in one of the `*_faults` files.
"""

import enum
from typing import Final

import attrs


class Kind(enum.StrEnum):
    """What can go wrong; each is carried out in a `*_faults` file and counted by its name."""

    # Requests and answers.
    ANSWER_LOST = "answer lost"
    REQUEST_LOST = "request lost"
    ANSWER_LATE = "answer late"
    ANSWER_TWICE = "answer twice"
    EVENT_FIRST = "event before the answer"
    ERROR_AFTER = "5xx after execution"
    UNKNOWN_AFTER = "unknown after execution"
    CONNECT_REFUSED = "connect refused"
    RESET_BEFORE = "reset before the request left"
    RESET_AFTER = "reset after the request left"
    NAME_UNRESOLVED = "name not resolved"

    # Streams and their frames.
    STREAM_CUT = "stream cut"
    STREAM_REFUSED = "stream refused"
    STREAM_SILENT = "stream silent"
    STREAM_HALF_OPEN = "stream half open"
    DAY_CLOSE = "24 h close"
    FRAMES_LOST = "frames lost"
    FRAMES_TWICE = "frames twice"
    FRAMES_LATE = "frames late"
    FRAMES_REORDERED = "frames reordered"
    FRAMES_REPLAYED = "frames again after reconnect"
    KEY_EXPIRED = "listen key expired"

    # The venue's own decisions.
    REFUSED = "refused by code"
    TOO_MANY = "too many requests"
    BANNED = "banned"
    WARNED_THEN_BANNED = "too many, then banned"
    WEIGHT_USED = "weight used up"
    QUERY_EMPTY = "query empty"
    QUERY_FAILED = "query failed"
    ORDERS_UNSEEN = "new orders not shown"
    POSITION_UNSEEN = "no position yet"
    STOPS_FORGOTTEN = "stops forgotten"
    STOPS_REFUSED = "stops refused"
    STOPS_OUT_OF_BAND = "stops beyond the band"
    TRIGGER_STUCK = "trigger stuck"
    FILL_STALLED = "partial fill stalled"
    BOOK_THIN = "thin book"
    OUTAGE = "venue outage"
    MAINTENANCE = "maintenance"

    # What becomes of the account by somebody else's hand.
    CLOSED_BY_HAND = "closed by hand"
    STOP_REMOVED = "stop removed by hand"
    FOREIGN_ORDER = "order of somebody else"
    SECOND_INSTANCE = "second instance"
    LEVERAGE_CHANGED = "leverage changed"
    MODE_CHANGED = "position mode changed"
    LIQUIDATED = "liquidated"
    DELEVERAGED = "deleveraged"

    # The process and its machine.
    CRASH = "crash"
    CRASH_AT_REQUEST = "crash at a request"
    CLOCK_STEP = "clock step"
    CLOCK_DRIFT = "clock drift"
    DISK_FULL = "disk full"
    DISK_LOCKED = "journal locked"
    DISK_SLOW = "disk slow"

    # The market, and what is told of it.
    PRICE_GAP = "price gap"
    FAST_MINUTE = "fast minute"
    MARK_FROZEN = "mark frozen"
    VOLUME_ZERO = "no volume"
    BOOK_CROSSED = "book crossed"
    POISON_TICKS = "poison ticks"


MARKET: Final = frozenset({Kind.PRICE_GAP, Kind.FAST_MINUTE, Kind.MARK_FROZEN, Kind.VOLUME_ZERO})
"""Made into the tape before the run; their strike only says when."""
UNBOUND: Final = frozenset(
    {
        *(Kind.CRASH, Kind.CLOCK_STEP, Kind.CLOCK_DRIFT),
        *(Kind.DISK_FULL, Kind.DISK_LOCKED, Kind.DISK_SLOW),
        *MARKET,
    }
)
"""Of no venue; all others mean nothing without one."""
OF_A_SYMBOL: Final = frozenset(
    {
        *(Kind.CLOSED_BY_HAND, Kind.STOP_REMOVED, Kind.FOREIGN_ORDER, Kind.SECOND_INSTANCE),
        *(Kind.LEVERAGE_CHANGED, Kind.LIQUIDATED, Kind.DELEVERAGED),
        *MARKET,
    }
)
"""Mean nothing without a symbol."""
SIGNED: Final = frozenset({Kind.CLOCK_STEP, Kind.CLOCK_DRIFT})
"""Whose *seconds* may be below 0: the clock is behind then."""
CRASHES: Final = frozenset({Kind.CRASH, Kind.CRASH_AT_REQUEST})


@attrs.frozen(slots=True, kw_only=True)
class Fault:
    """
    One thing that goes wrong from *at_s* on, for *for_s* seconds (0: at once and once).

    *share* of what could be struck is. *target*: a request kind, a stream, a symbol, or a code, as
    the kind wants it. *seconds*: a delay, a time dead, a length; *size*: a move as a fraction, or
    how often.
    """

    kind: Kind
    at_s: float
    venue: str = ""
    for_s: float = 0.0
    share: float = 1.0
    target: str = ""
    seconds: float = 0.0
    size: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.at_s:9.3f} s", self.kind.value, self.venue, self.target]
        parts += [f"for {self.for_s:.0f} s"] if self.for_s else []
        parts += [f"share {self.share:.2f}"] if self.share < 1 else []
        parts += [f"{self.seconds:.3f} s"] if self.seconds else []
        parts += [f"size {self.size:+.4f}"] if self.size else []
        return "  ".join(part for part in parts if part)
