"""
What exit keeps of one guarded position: its picture, its pending requests, how long it was naked.

State follows the venue's acknowledgement only; a request under way is remembered here so that it is
not sent twice, and forgotten when its intent has ended.
"""

import asyncio
from decimal import Decimal

import attrs

from aegis.exit.decide import Action, Cancel, Desired, PlaceStop, PlaceTarget, SetBoth
from aegis.model.instrument import Instrument
from aegis.model.order import Purpose
from aegis.model.position import CloseCause, PositionView, ProtectionPlan


@attrs.define(slots=True, kw_only=True)
class Closing:
    """A close under way: why, and the attempts so far."""

    cause: CloseCause
    purpose: Purpose
    reason: str
    attempts: int = 0
    pending: str = ""
    """Client order id of the close order the venue has not ended yet, "" when none."""


@attrs.define(slots=True, kw_only=True)
class Guarded:
    """One position and its protection. Times in loop ns."""

    position: PositionView
    instrument: Instrument
    plan: ProtectionPlan
    entry_done: bool
    naked_since_ns: int | None
    first_naked_ns: int | None = None
    """How long the first fill stood without a stop; None until the first evidence."""
    announced: bool = False
    desired: Desired | None = None
    shown_stop: Decimal | None = None
    shown_target: Decimal | None = None
    closing: Closing | None = None
    pending: dict[str, Action] = attrs.field(factory=dict)
    """Intent id to the action it carries."""
    attempts: dict[Purpose, int] = attrs.field(factory=dict)
    timers: dict[str, asyncio.TimerHandle] = attrs.field(factory=dict)

    def next_attempt(self, purpose: Purpose) -> int:
        """Return the number of the next order of *purpose*."""
        self.attempts[purpose] = self.attempts.get(purpose, 0) + 1
        return self.attempts[purpose]

    def is_pending(self, action: Action) -> bool:
        """Say whether a request of the same kind is under way."""
        return any(_same_kind(action, other) for other in self.pending.values())

    def stop_timers(self) -> None:
        """Cancel every timer."""
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()

    def stop_timer(self, name: str) -> None:
        """Cancel one timer."""
        timer = self.timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _same_kind(a: Action, b: Action) -> bool:
    match a, b:
        case PlaceStop(), PlaceStop():
            return (a.qty is None) == (b.qty is None)
        case (PlaceTarget(), PlaceTarget()) | (SetBoth(), SetBoth()):
            return True
        case Cancel(key=one), Cancel(key=other):
            return one == other
        case _:
            return False
