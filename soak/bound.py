"""
The bound of docs/protection.md as a number, and which of the twin's unprotected spans exceed it.

    unprotected <= detect + hard + queue + k x (answer + retry) + fill

Wall seconds: the bot's deadlines run on the wall, however fast the market is played.
"""

from collections.abc import Sequence
from typing import Any, Final

import attrs

from aegis.core.clock import NS_PER_S
from aegis.settings import AegisConfig

FIRST_ASK_S: Final = 0.25
"""After an order without an answer, before the venue is asked for its id (docs/protection.md)."""
FILLS_ASKED_AFTER_S: Final = 0.3
RETRY_FIRST_S: Final = 0.25
FILL_S: Final = 0.1
"""The twin's own: an accepted market order fills at once; this covers two busy processes."""
FAILED_CLOSES: Final = 1
"""One strike can cost one close its answer."""


@attrs.frozen(kw_only=True)
class Bound:
    """Its terms in seconds, by their names in docs/protection.md."""

    detect: float
    hard: float
    queue: float
    answer: float
    retry: float
    fill: float
    failed_closes: int

    @property
    def seconds(self) -> float:
        """Return the sum."""
        closes = self.failed_closes * (self.answer + self.retry)
        return self.detect + self.hard + self.queue + closes + self.fill

    def __str__(self) -> str:
        return (
            f"{self.seconds:.2f} s = detect {self.detect:.2f} + hard {self.hard:.2f} + queue "
            f"{self.queue:.2f} + {self.failed_closes} x (answer {self.answer:.2f} + retry "
            f"{self.retry:.2f}) + fill {self.fill:.2f}"
        )


def bound_of(config: AegisConfig, venue: str) -> Bound:
    """Return the bound for one broken connection at *venue*, outages of its requests apart."""
    ask = config.order_timeout_s
    return Bound(
        # The entry's answer is lost: time-out, a question for its id, then one for its fills.
        detect=config.order_timeout_s + FIRST_ASK_S + FILLS_ASKED_AFTER_S,
        hard=config.protection_hard_ms / 1000,
        # Bybit's protective requests share one thread, which its client's own time-out frees.
        queue=config.request_timeout_s if venue == "BYBIT" else 0.0,
        answer=config.order_timeout_s + ask,
        retry=RETRY_FIRST_S,
        fill=FILL_S,
        failed_closes=FAILED_CLOSES,
    )


@attrs.frozen(kw_only=True)
class Span:
    """
    One unprotected stretch of a position, wall seconds; *outage_s* of it no request could pass,
    *dead_s* of it no bot ran.
    """

    venue: str
    symbol: str
    opened_ns: int
    from_ns: int
    to_ns: int
    length_s: float
    outage_s: float
    dead_s: float

    def beyond(self, bound: Bound) -> bool:
        """Say whether the bound does not explain it, outages and death left out."""
        return self.length_s - self.outage_s - self.dead_s > bound.seconds


Window = tuple[int, int]
"""From, to on the tape's clock, ns."""


def spans_of(
    report: dict[str, Any],
    speed: float,
    *,
    outages: dict[str, list[Window]],
    dead: Sequence[Window] = (),
) -> list[Span]:
    """Return every unprotected span of *report*, longest first."""
    return sorted(
        (
            _span(venue, episode, gap, speed, outages.get(venue, []), dead)
            for venue, told in report_venues(report).items()
            for episode in told["episodes"]
            for gap in episode["gaps"]
        ),
        key=lambda span: -span.length_s,
    )


def report_venues(report: dict[str, Any]) -> dict[str, Any]:
    """Return the venues of a twin's report under the bot's names."""
    return {name.upper(): told for name, told in report["venues"].items()}


def _span(
    venue: str,
    episode: dict[str, Any],
    gap: Sequence[int],
    speed: float,
    outages: Sequence[Window],
    dead: Sequence[Window],
) -> Span:
    from_ns, to_ns = gap
    return Span(
        venue=venue,
        symbol=episode["symbol"],
        opened_ns=episode["opened_ns"],
        from_ns=from_ns,
        to_ns=to_ns,
        length_s=(to_ns - from_ns) / NS_PER_S / speed,
        outage_s=_overlap_ns(from_ns, to_ns, outages) / NS_PER_S / speed,
        dead_s=_overlap_ns(from_ns, to_ns, dead) / NS_PER_S / speed,
    )


def _overlap_ns(from_ns: int, to_ns: int, windows: Sequence[Window]) -> int:
    total, reached = 0, from_ns
    for begin, end in sorted(windows):
        begin = max(begin, reached)
        end = min(end, to_ns)
        if end > begin:
            total += end - begin
            reached = end
    return total
