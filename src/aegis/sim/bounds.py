"""
The bound of docs/protection.md as numbers, from the settings and from what was broken meanwhile.

    unprotected <= detect + hard + queue + k x (answer + retry) + fill

A span's terms follow from the strikes around it: without any, only one round trip is allowed for
detection and no failed close.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from aegis.core.clock import NS_PER_S
from aegis.model.events import SnapshotReported
from aegis.settings import AegisConfig
from aegis.sim.evidence import Evidence, Window, name_of, overlap_ns
from aegis.sim.kinds import Kind
from aegis.sim.transport_faults import HALF_OPEN_S
from aegis.twin.boot import VenueName

FIRST_ASK_S: Final = 0.25
"""After an order without an answer, before the venue is asked for its id (docs/protection.md)."""
FILLS_ASKED_AFTER_S: Final = 0.3
RETRY_MAX_S: Final = 5.0
RECONNECT_MAX_S: Final = 30.0
WATCHDOG_S: Final = 7.0
"""A mark beyond the stop for 5 s, then 2 s for the venue's answer (docs/protection.md)."""
SILENCE_FOUND_S: Final = 30.0
LATE_MAX_S: Final = 2.0
"""The plan delays no frame longer."""
START_S_MAX: Final = 60
"""So long may a process take from its start to its first look at a venue."""
UNHEARD_CLOSE_S: Final = 10.0
"""So long nothing is heard of a close before the next one leaves (docs/protection.md)."""
LOOKS: Final = ("positions", "orders", "balance")
LOOK_AGAIN_MAX_S: Final = 10.0
"""A look whose questions fail is taken again at this pace (docs/protection.md)."""
BEFORE_S: Final = 20.0
"""Strikes so long before a span still shape it: an entry's answer, a queue that waits."""

LOST: Final = frozenset(
    {
        *(Kind.ANSWER_LOST, Kind.REQUEST_LOST, Kind.ANSWER_LATE, Kind.ERROR_AFTER),
        *(Kind.UNKNOWN_AFTER, Kind.REFUSED, Kind.TOO_MANY, Kind.BANNED),
        *(Kind.QUERY_EMPTY, Kind.QUERY_FAILED, Kind.RESET_BEFORE, Kind.RESET_AFTER),
        *(Kind.WARNED_THEN_BANNED, Kind.NAME_UNRESOLVED),
    }
)
UNSENT: Final = frozenset({Kind.CONNECT_REFUSED})
"""Known at once: nobody waits for an answer."""
UNTOLD: Final = frozenset({Kind.FRAMES_LOST, Kind.STREAM_SILENT, Kind.KEY_EXPIRED})
LATE: Final = frozenset({Kind.FRAMES_LATE, Kind.FRAMES_REORDERED})
CUT: Final = frozenset(
    {
        *(Kind.STREAM_CUT, Kind.DAY_CLOSE, Kind.STREAM_REFUSED, Kind.STREAM_HALF_OPEN),
        *(Kind.FRAMES_REPLAYED,),
    }
)
HALF_OPEN: Final = frozenset({Kind.STREAM_HALF_OPEN})
REFUSED_STREAM: Final = frozenset({Kind.STREAM_REFUSED})
NOT_YET: Final = frozenset({Kind.POSITION_UNSEEN})
CLOCKS: Final = frozenset({Kind.CLOCK_STEP, Kind.CLOCK_DRIFT})
THIN: Final = frozenset({Kind.BOOK_THIN})
STREAM_REFUSED_MAX_S: Final = 30.0
NOT_YET_MAX_S: Final = 1.5
"""The plan draws neither longer."""
CLOCK_WRONG_MAX_S: Final = 1_500.0
"""A clock is off for 900 s at most, and measured anew within 600 s more."""
RETIMED_TRIPS: Final = 5
"""Round trips of a request whose time was refused: itself, three measurements, itself again."""
THIN_MAX_S: Final = 600.0
THIN_CLOSES: Final = 6
"""In so many pieces a position leaves through what the plan leaves of the book."""


@attrs.frozen(slots=True, kw_only=True)
class Bound:
    """Its terms in seconds, by their names in docs/protection.md."""

    detect: float
    hard: float
    queue: float
    closes: float
    fill: float

    @property
    def seconds(self) -> float:
        """Return the sum."""
        return self.detect + self.hard + self.queue + self.closes + self.fill

    def __str__(self) -> str:
        return (
            f"{self.seconds:.2f} s = detect {self.detect:.2f} + hard {self.hard:.2f} + queue "
            f"{self.queue:.2f} + closes {self.closes:.2f} + fill {self.fill:.2f}"
        )


@attrs.frozen(slots=True, kw_only=True)
class Span:
    """One unprotected stretch of a position; *excused_s* of it nobody could act."""

    venue: VenueName
    symbol: str
    from_ns: int
    to_ns: int
    excused_s: float
    bound: Bound

    @property
    def length_s(self) -> float:
        """Return how long it was."""
        return (self.to_ns - self.from_ns) / NS_PER_S

    @property
    def counted_s(self) -> float:
        """Return what of it counts."""
        return self.length_s - self.excused_s


def spans_of(evidence: Evidence) -> list[Span]:
    """Return every unprotected span of all venues."""
    return list(_spans(evidence))


def _spans(evidence: Evidence) -> Iterator[Span]:
    for venue, episodes in evidence.episodes.items():
        excuses = [*evidence.windows(venue), *starts_of(evidence, venue)]
        for episode in episodes:
            for from_ns, to_ns in episode.gaps:
                yield Span(
                    venue=venue,
                    symbol=episode.symbol,
                    from_ns=from_ns,
                    to_ns=to_ns,
                    excused_s=overlap_ns(from_ns, to_ns, excuses) / NS_PER_S,
                    bound=bound_of(evidence, venue, (from_ns, to_ns)),
                )


def starts_of(evidence: Evidence, venue: str) -> list[Window]:
    """
    Return from each death until the next process has looked at *venue*, or is dead again.

    At most START_S_MAX after it was started: a start that cannot look is no excuse for ever.
    """
    looks = [
        event.ts_recv
        for event in evidence.events(SnapshotReported)
        if event.reason == "start" and name_of(event.snapshot.venue) == venue
    ]
    windows = []
    for number, (died_ns, back_ns) in enumerate(evidence.log.dead):
        coming = [look for look in looks if look > died_ns]
        later = [each for each, _ in evidence.log.dead[number + 1 :]]
        latest = back_ns + START_S_MAX * NS_PER_S
        windows.append((died_ns, min([*coming, *later, latest, evidence.end_ns])))
    return windows


def bound_of(evidence: Evidence, venue: str, span: Window) -> Bound:
    """Return the bound of one span: what its strikes allow, and nothing else."""
    config = evidence.config
    since_ns = span[0] - round(BEFORE_S * NS_PER_S)
    around = (since_ns, span[1])
    lost = len(evidence.struck(venue, LOST, around))
    answer = 2 * config.order_timeout_s
    unsent = len(evidence.struck(venue, UNSENT, around))
    thin = evidence.struck(venue, THIN, (span[0] - round(THIN_MAX_S * NS_PER_S), span[1]))
    closes = sum(answer + _retry_s(n) for n in range(min(lost, 8)))
    closes += sum(_retry_s(n) for n in range(min(unsent, 8)))
    closes += sum(_retry_s(n) for n in range(THIN_CLOSES)) if thin else 0.0
    unheard = sum("close" in each.what for each in evidence.struck(venue, LOST | UNSENT, span))
    if unheard > 8:
        # Nothing at all is answered: each close is given up before the next one leaves.
        closes = max(closes, unheard * (UNHEARD_CLOSE_S + RETRY_MAX_S))
    return Bound(
        detect=_detect(evidence, venue, span, around, lost),
        hard=config.protection_hard_ms / 1000,
        queue=config.request_timeout_s if lost and venue == "bybit" else 0.0,
        closes=closes,
        fill=0.1,
    )


def _retry_s(failed: int) -> float:
    return float(min(0.25 * 2**failed, RETRY_MAX_S))


def _detect(evidence: Evidence, venue: str, span: Window, around: Window, lost: int) -> float:
    config = evidence.config
    detect = 2 * config.paper_latency_ms / 1000
    if lost:
        detect += config.order_timeout_s + FIRST_ASK_S + FILLS_ASKED_AFTER_S
    detect += LATE_MAX_S if evidence.struck(venue, LATE, around) else 0.0
    wide = (span[0] - round(_look_s(config) * NS_PER_S), span[1])
    untold = bool(evidence.struck(venue, UNTOLD, wide))
    lies = _lies(evidence, venue, wide)
    detect += _look_s(config) if untold else 0.0
    detect += lies * config.reconcile_interval_s
    unheard = evidence.struck(venue, CUT | HALF_OPEN | REFUSED_STREAM, wide)
    detect += _looks_fail_s(evidence, venue, span) if untold or lies or unheard else 0.0
    if evidence.struck(venue, CUT, wide) or evidence.windows(venue):
        down = [*evidence.windows(venue), *starts_of(evidence, venue)]
        near = (span[0] - round(RECONNECT_MAX_S * NS_PER_S), span[1])
        if evidence.struck(venue, CUT, wide) or overlap_ns(*near, down):
            detect += RECONNECT_MAX_S
    detect += HALF_OPEN_S if evidence.struck(venue, HALF_OPEN, wide) else 0.0
    detect += STREAM_REFUSED_MAX_S if evidence.struck(venue, REFUSED_STREAM, wide) else 0.0
    if evidence.struck(venue, NOT_YET, around):
        detect += NOT_YET_MAX_S + config.protection_retry_ms / 1000
    off = (span[0] - round(CLOCK_WRONG_MAX_S * NS_PER_S), span[1])
    if evidence.struck("", CLOCKS, off):
        detect += RETIMED_TRIPS * 2 * config.paper_latency_ms / 1000
    stuck = frozenset({Kind.TRIGGER_STUCK})
    if evidence.struck(venue, stuck, around):
        detect += WATCHDOG_S
    return detect


def _look_s(config: AegisConfig) -> float:
    """Return how long something may stay untold: the steady look, or silence that is proven."""
    return config.reconcile_interval_s + SILENCE_FOUND_S


def _looks_fail_s(evidence: Evidence, venue: str, span: Window) -> float:
    """Return until when the questions of a look failed, from the span's beginning on."""
    failed = [
        strike.ts_ns
        for strike in evidence.struck(venue, LOST | UNSENT, span)
        if any(asked in strike.what for asked in LOOKS)
    ]
    return (max(failed) - span[0]) / NS_PER_S + LOOK_AGAIN_MAX_S if failed else 0.0


def _lies(evidence: Evidence, venue: str, window: Window) -> int:
    """Count the stops the venue said yes to and forgot around *window*: only a look tells."""
    desks = [
        (from_ns, to_ns)
        for at, from_ns, to_ns in evidence.log.desks
        if at == venue and from_ns <= window[1] and to_ns >= window[0]
    ]
    return sum(
        strike.kind is Kind.STOPS_FORGOTTEN
        and strike.venue == venue
        and any(from_ns <= strike.ts_ns <= to_ns for from_ns, to_ns in desks)
        for strike in evidence.log.strikes
    )
