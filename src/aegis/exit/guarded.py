"""
What exit keeps of one guarded position: its picture, its pending requests, how long it was naked.

State follows the venue's acknowledgement only; a request under way is remembered here so that it is
not sent twice, and forgotten when its intent has ended.
"""

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

import attrs

from aegis.exit.aim import NOTHING_AIMED, Aim
from aegis.exit.decide import Action, Desired, kind_of
from aegis.model.instrument import Instrument
from aegis.model.money import ZERO
from aegis.model.order import Purpose
from aegis.model.position import CloseCause, PositionView, ProtectionPlan

ATTEMPTS_RESERVED: Final = 36
"""A kill cuts rows of some ms; not so many orders of one position fit in there."""


@attrs.define(slots=True, kw_only=True)
class Closing:
    """A close under way: why, and the attempts so far."""

    cause: CloseCause
    purpose: Purpose
    reason: str
    failures: int = 0
    """Close orders in a row that ended without closing what they were sent for."""
    absent: int = 0
    """Of those, the ones the venue refused because it knows of no position."""
    pending: str = ""
    """Client order id of the close order the venue has not ended yet, "" when none."""
    last: str = ""
    """Client order id of the newest close order."""
    leaves: Decimal = Decimal(0)
    """What would be left open when the newest close order fills."""
    banded: bool = False
    """The next order is an IOC at the band: the venue did not fill the market order before it."""
    halted: bool = False
    """Entries were halted over this close."""


@attrs.define(slots=True, kw_only=True, eq=False)
class Guarded:
    """One position and its protection. Times in loop ns."""

    position: PositionView
    instrument: Instrument
    plan: ProtectionPlan
    entry_done: bool
    opened_mono_ns: int
    naked_since_ns: int | None
    known: bool = True
    """False: the venue's rules for the instrument are not known, only closing is possible."""
    first_naked_ns: int | None = None
    """How long the first fill stood without a stop; None until the first evidence."""
    settling_until_ns: int = 0
    """Till then a filled stop or target, whose executions are awaited, covers the position."""
    announced: bool = False
    unlisted: bool = False
    """The list looked at now shows the position and lacks a stop of which no end was told."""
    losses: list[tuple[int, bool]] = attrs.field(factory=list)
    """When cover was lost of late, and whether silently: seen only by a list that lacked it."""
    end_told: str = ""
    """How the newest stop to end did so, in words; told when the position turns out naked."""
    desired: Desired | None = None
    shown_stop: Decimal | None = None
    shown_target: Decimal | None = None
    closing: Closing | None = None
    ended: bool = False
    mark_px: Decimal | None = None
    best_px: Decimal | None = None
    """The best mark price since the entry was complete, or what a found stop tells of it."""
    aim: Aim = NOTHING_AIMED
    moved_ns: int | None = None
    """When a trailing stop was aimed anew last."""
    found_taken: bool = False
    """Of a restored position: what rested there at the first look is taken into the aim."""
    fired: CloseCause | None = None
    """What a stop is called that fired without closing everything; the rest goes as the same."""
    stop_causes: dict[Decimal, CloseCause] = attrs.field(factory=dict)
    """Trigger price of the position's own stop to what a close there is called (R79)."""
    rungs_spent: dict[Decimal, None] = attrs.field(factory=dict)
    """Prices of rungs that worked once; only a word that one ended unfilled clears it (R53)."""
    rungs_due: dict[Decimal, None] = attrs.field(factory=dict)
    """Prices of rungs that the venue calls passed."""
    pending: dict[str, Action] = attrs.field(factory=dict)
    """Intent id to the action it carries."""
    asked_ns: dict[str, int] = attrs.field(factory=dict)
    """Kind of action to when it was asked for last."""
    failures: dict[str, int] = attrs.field(factory=dict)
    """Kind of action to its failures in a row."""
    attempts: dict[Purpose, int] = attrs.field(factory=dict)
    outdone: dict[str, None] = attrs.field(factory=dict)
    """Stops that rested when their successor was asked for: they are meant to be canceled."""
    strays_told: dict[str, None] = attrs.field(factory=dict)
    timers: dict[str, asyncio.TimerHandle] = attrs.field(factory=dict)

    def next_attempt(self, purpose: Purpose) -> int:
        """Return the number of the next order of *purpose*."""
        self.attempts[purpose] = self.attempts.get(purpose, 0) + 1
        return self.attempts[purpose]

    def reserve_attempts(self, used: Iterable[tuple[str, int]]) -> None:
        """
        Number on after an earlier run, whose newest orders may not be on record.

        Of those no purpose need have been used before: an id that is used again would make the
        end of one order the end of another.
        """
        last = {Purpose[purpose]: attempt for purpose, attempt in used}
        for purpose in Purpose:
            self.attempts[purpose] = last.get(purpose, 0) + ATTEMPTS_RESERVED

    def stop_cause(self, purpose: Purpose | None, price: Decimal | None) -> CloseCause:
        """Return what a close at a stop is called: by its id, else by its trigger (R79)."""
        if purpose is Purpose.STOP_TRAIL:
            return CloseCause.TRAIL
        if purpose is not None or price is None:
            return CloseCause.SL
        return self.stop_causes.get(price, CloseCause.SL)

    def is_pending(self, action: Action) -> bool:
        """Say whether a request of the same kind is under way."""
        kind = kind_of(action)
        return any(kind_of(other) == kind for other in self.pending.values())

    def start_timer(self, name: str, delay_s: float, callback: Callable[["Guarded"], None]) -> None:
        """Call *callback* in *delay_s* loop seconds, instead of the timer of that name."""

        def fire() -> None:
            self.timers.pop(name, None)
            if not self.ended:
                callback(self)

        self.stop_timer(name)
        self.timers[name] = asyncio.get_running_loop().call_later(delay_s, fire)

    def stop_timer(self, name: str) -> None:
        """Cancel one timer."""
        timer = self.timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def end(self) -> None:
        """Cancel every timer for good: the position is closed (R61)."""
        self.ended = True
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()


def purpose_of_stop(cause: CloseCause) -> Purpose:
    """Return the purpose in the id of an order that does what a stop of *cause* would do."""
    return Purpose.STOP_TRAIL if cause is CloseCause.TRAIL else Purpose.STOP_MOVING


def stand_in(position: PositionView) -> Instrument:
    """Return a name in place of trading rules we do not have; nothing is placed by them."""
    return Instrument(
        instrument_id=position.instrument_id,
        tick_size=Decimal("0.00000001"),
        qty_step=Decimal("0.00000001"),
        qty_min=ZERO,
        qty_max=None,
        market_qty_max=None,
        notional_min=None,
        leverage_max=1,
        maint_margin_rate=ZERO,
        taker_fee_rate=ZERO,
        maker_fee_rate=ZERO,
        funding_interval_ns=0,
        tradable=False,
    )
