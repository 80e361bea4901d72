"""
When a person should be told (R71). Pure: time comes in, alerts come out.

Windows and cool-downs are market time, integer nanoseconds.
"""

from collections import deque
from typing import Final

import attrs

from aegis.core.clock import NS_PER_S

MINUTE_NS: Final = 60 * NS_PER_S
BURST_COUNT: Final = 5
BURST_WINDOW_NS: Final = MINUTE_NS
IDENTICAL_ABOVE: Final = 10
IDENTICAL_WINDOW_NS: Final = 60 * MINUTE_NS
"""Repeats spread over more than an hour are no alarm: a long run would raise it for certain."""
BREAKS_COUNT: Final = 3
BREAKS_WINDOW_NS: Final = 10 * MINUTE_NS
COOL_DOWN_NS: Final = 15 * MINUTE_NS
NAKED_MAX_NS: Final = 5 * NS_PER_S
EXIT_DUE_MAX_NS: Final = 15 * MINUTE_NS


@attrs.frozen(slots=True)
class Alert:
    """What should be told; *subject* is what the cool-down holds back repeats of."""

    rule: str
    subject: str
    level: str
    message: str


@attrs.define(slots=True)
class Window:
    """Times of the newest occurrences, at most *kept* of them."""

    kept: int
    times_ns: deque[int] = attrs.field(factory=deque)

    def add(self, now_ns: int) -> None:
        """Count one; older ones than the newest *kept* decide nothing."""
        self.times_ns.append(now_ns)
        while len(self.times_ns) > self.kept:
            self.times_ns.popleft()

    def within(self, window_ns: int, now_ns: int) -> int:
        """Return how many of the kept ones lie within *window_ns* before *now_ns*."""
        return sum(1 for at_ns in self.times_ns if now_ns - at_ns <= window_ns)


@attrs.define(slots=True)
class AlertRules:
    """Count errors and breaks, and hold back what was told a moment ago."""

    _errors: dict[str, Window] = attrs.field(factory=dict)
    _breaks: dict[str, Window] = attrs.field(factory=dict)
    _told_ns: dict[tuple[str, str], int] = attrs.field(factory=dict)

    def on_error(self, what: str, now_ns: int) -> list[Alert]:
        """Count an error; *what* is the same text for equal errors."""
        window = self._errors.setdefault(what, Window(IDENTICAL_ABOVE + 1))
        window.add(now_ns)
        found: list[Alert] = []
        in_burst = window.within(BURST_WINDOW_NS, now_ns)
        if in_burst >= BURST_COUNT:
            text = f"{BURST_COUNT} or more equal errors within a minute: {what}"
            found.append(Alert("error_burst", what, "WARNING", text))
        if window.within(IDENTICAL_WINDOW_NS, now_ns) > IDENTICAL_ABOVE:
            text = f"more than {IDENTICAL_ABOVE} identical errors within an hour: {what}"
            found.append(Alert("error_repeats", what, "CRITICAL", text))
        return self.fresh(found, now_ns)

    def on_break(self, what: str, now_ns: int) -> list[Alert]:
        """Count a broken stream or a restarted task."""
        window = self._breaks.setdefault(what, Window(BREAKS_COUNT))
        window.add(now_ns)
        if window.within(BREAKS_WINDOW_NS, now_ns) < BREAKS_COUNT:
            return []
        text = f"{what} broke {BREAKS_COUNT} times or more within 10 min"
        return self.fresh([Alert("unsteady", what, "WARNING", text)], now_ns)

    def on_critical_handler(self, handler: str, what: str, now_ns: int) -> list[Alert]:
        """Tell of a failure on the way out of a position at once."""
        text = f"the way out of a position failed: {what}"
        return self.fresh([Alert("exit_path_failed", handler, "CRITICAL", text)], now_ns)

    def on_ban(self, venue: str, what: str, now_ns: int) -> list[Alert]:
        """Tell at once that nothing can be sent to a venue."""
        return self.fresh([Alert("banned", venue, "CRITICAL", what)], now_ns)

    def on_second_leg(self, subject: str, what: str, now_ns: int) -> list[Alert]:
        """Tell at once of a position beside the bot's own, which nobody may protect."""
        return self.fresh([Alert("second_leg", subject, "CRITICAL", what)], now_ns)

    def on_naked(self, subject: str, naked_ns: int, now_ns: int) -> list[Alert]:
        """Judge a position without a stop; *naked_ns* is loop time."""
        if naked_ns < NAKED_MAX_NS:
            return []
        text = f"{subject} has no stop for {naked_ns / NS_PER_S:.1f} s, limit 5 s"
        return self.fresh([Alert("naked_position", subject, "CRITICAL", text)], now_ns)

    def on_exit_due(self, subject: str, why: str, due_ns: int, now_ns: int) -> list[Alert]:
        """Judge an exit that is due since *due_ns* and has not closed its position."""
        if now_ns - due_ns < EXIT_DUE_MAX_NS:
            return []
        minutes = (now_ns - due_ns) // MINUTE_NS
        text = f"{subject}: exit due for {minutes} min and not closed: {why}"
        return self.fresh([Alert("exit_overdue", subject, "CRITICAL", text)], now_ns)

    def fresh(self, alerts: list[Alert], now_ns: int) -> list[Alert]:
        """Return those not told within the cool-down, and note them as told."""
        out: list[Alert] = []
        for alert in alerts:
            key = (alert.rule, alert.subject)
            told_ns = self._told_ns.get(key)
            if told_ns is None or now_ns - told_ns >= COOL_DOWN_NS:
                self._told_ns[key] = now_ns
                out.append(alert)
        return out
