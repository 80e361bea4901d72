"""
The halt latch: once set, no new exposure until an operator resets it; exits pass it.

Safety holds the latch, everyone else a HaltView, read again just before the socket so that a halt
never waits in a queue (R73).
"""

from typing import Final

import attrs

REASONS_MAX: Final = 100


@attrs.frozen
class HaltReason:
    """Why entries were halted, and when (integer nanoseconds UTC) this reason came up first."""

    reason: str
    at_ns: int


class HaltLatch:
    """Keep the first reason and all others since the last reset, in the order they came up."""

    def __init__(self) -> None:
        self._reasons: dict[str, HaltReason] = {}
        self._omitted = 0

    def set(self, reason: str, *, at_ns: int) -> None:
        """Halt for *reason*; a reason already known keeps its first time."""
        if not reason.strip():
            raise ValueError("reason was empty, a halt must say why")
        if reason in self._reasons:
            return
        if len(self._reasons) >= REASONS_MAX:
            self._omitted += 1
            return
        self._reasons[reason] = HaltReason(reason, at_ns)

    def reset(self, operator: str) -> tuple[HaltReason, ...]:
        """
        Lift the halt in the name of *operator* and return the reasons it had.

        Raises:
            ValueError: if the name is empty; nothing but a person resets a halt.

        """
        if not operator.strip():
            raise ValueError("operator was empty, a halt is reset by a named person only")
        lifted = tuple(self._reasons.values())
        self._reasons.clear()
        self._omitted = 0
        return lifted

    def view(self) -> "HaltView":
        """Return a read-only view that always shows the present state."""
        return HaltView(self)


class HaltView:
    """Strictly read-only."""

    __slots__ = ("_latch",)

    def __init__(self, latch: HaltLatch) -> None:
        self._latch = latch

    @property
    def halted(self) -> bool:
        """Return whether new exposure is forbidden."""
        return bool(self._latch._reasons)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return the texts of the reasons, the first one first."""
        return tuple(self._latch._reasons)

    @property
    def history(self) -> tuple[HaltReason, ...]:
        """Return the reasons with their times, the first one first."""
        return tuple(self._latch._reasons.values())

    @property
    def omitted(self) -> int:
        """Return how many sets beyond the first 100 reasons were counted but not kept."""
        return self._latch._omitted
