"""
Is the bot alive where it counts: its loop turns, and the way out of positions works (R87). Pure.

A process can be up, answer pings and write heartbeats while no exit leaves; that is the failure
this judge is for. Times are loop nanoseconds; durations do not stretch with a fast market.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from aegis.core.clock import NS_PER_S
from aegis.model.instrument import InstrumentId, Venue

LAG_MAX_NS: Final = 5 * NS_PER_S
"""A loop that runs a timer so much too late cannot keep a deadline of 3 s."""
NAKED_MAX_NS: Final = 60 * NS_PER_S
"""Beyond every deadline and several closes: the way out does not work."""
CLOSING_MAX_NS: Final = 120 * NS_PER_S
PROTECT_STUCK_MAX_NS: Final = 60 * NS_PER_S
"""So long has the protective lane of a venue held requests without ever being empty."""


@attrs.frozen(slots=True, kw_only=True)
class ExitState:
    """One open position: *naked_ns* None while it is covered, *closing* while a close runs."""

    position_id: str
    instrument_id: InstrumentId
    naked_ns: int | None
    closing: bool


@attrs.frozen(slots=True, kw_only=True)
class VenueLink:
    """
    How a venue is reached now: *streams* that were ever open, those of them that are *down*.

    *frame_age_s*: of the newest quote or mark of any symbol, in seconds of your clock; None: none
    came yet. A venue that is away makes no bot unwell: a new start would not bring it back.
    """

    venue: Venue
    brought_up: bool
    streams: tuple[str, ...]
    down: tuple[str, ...]
    frame_age_s: float | None

    @property
    def connected(self) -> bool:
        """Say whether it is brought up, its streams are open now, and market data have come."""
        return self.brought_up and not self.down and self.frame_age_s is not None


@attrs.frozen(slots=True, kw_only=True)
class HealthFacts:
    """
    What is looked at once.

    *lag_ns*: how late the loop ran the timer of this look. *protect_depths*: by venue name.
    """

    lag_ns: int
    exits: Sequence[ExitState]
    protect_depths: Sequence[tuple[str, int]]


@attrs.frozen(slots=True, kw_only=True)
class Health:
    """*problems*: one line each, () when healthy."""

    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.problems


@attrs.define(slots=True)
class HealthJudge:
    """Remember since when what, and say what has lasted too long."""

    _closing_since_ns: dict[str, int] = attrs.field(factory=dict)
    _busy_since_ns: dict[str, int] = attrs.field(factory=dict)

    def look(self, facts: HealthFacts, now_ns: int) -> Health:
        """Judge *facts* at loop time *now_ns*; call it in steady steps."""
        problems: list[str] = []
        if facts.lag_ns > LAG_MAX_NS:
            problems.append(f"the loop was {facts.lag_ns / NS_PER_S:.1f} s late")
        problems += self._exits(facts.exits, now_ns)
        problems += self._lanes(facts.protect_depths, now_ns)
        return Health(problems=tuple(problems))

    def _exits(self, exits: Sequence[ExitState], now_ns: int) -> list[str]:
        problems = []
        closing = {one.position_id for one in exits if one.closing}
        for position_id in [each for each in self._closing_since_ns if each not in closing]:
            del self._closing_since_ns[position_id]
        for one in exits:
            if one.naked_ns is not None and one.naked_ns > NAKED_MAX_NS:
                naked_s = one.naked_ns / NS_PER_S
                problems.append(f"{one.instrument_id} is without a stop for {naked_s:.0f} s")
            if not one.closing:
                continue
            lasted_ns = now_ns - self._closing_since_ns.setdefault(one.position_id, now_ns)
            if lasted_ns > CLOSING_MAX_NS:
                lasted_s = lasted_ns / NS_PER_S
                problems.append(f"{one.instrument_id} is being closed for {lasted_s:.0f} s")
        return problems

    def _lanes(self, depths: Sequence[tuple[str, int]], now_ns: int) -> list[str]:
        problems = []
        for name, depth in depths:
            if depth == 0:
                self._busy_since_ns.pop(name, None)
                continue
            lasted_ns = now_ns - self._busy_since_ns.setdefault(name, now_ns)
            if lasted_ns > PROTECT_STUCK_MAX_NS:
                lasted_s = lasted_ns / NS_PER_S
                problems.append(
                    f"{name}: {depth} protective requests wait, never none for {lasted_s:.0f} s"
                )
        return problems
