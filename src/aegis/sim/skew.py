"""The bot's clock beside the venues' true one: stepped, or drifting away."""

from collections.abc import Callable
from typing import Final

from aegis.core.clock import Clock


class SkewedClock:
    """A machine's clock that is off: market and wall time are, durations are not."""

    def __init__(self, true: Clock) -> None:
        self._true: Final = true
        self.skew_ns: Callable[[int], int] = _none
        """How far the clock is ahead at a true time, ns."""
        self.history: Final[list[tuple[int, Callable[[int], int]]]] = []
        """From when on which skew held."""

    @property
    def speed(self) -> float:
        """Return market seconds per loop second."""
        return self._true.speed

    def now_ns(self) -> int:
        """Return what the machine takes for the time."""
        true_ns = self._true.now_ns()
        return true_ns + self.skew_ns(true_ns)

    def wall_ns(self) -> int:
        """Return the time requests are signed with."""
        true_ns = self._true.wall_ns()
        return true_ns + self.skew_ns(true_ns)

    def mono_ns(self) -> int:
        """Return the time for durations, which no step reaches."""
        return self._true.mono_ns()

    def set(self, skew_ns: Callable[[int], int]) -> None:
        """Let the clock be off so much from now on."""
        self.skew_ns = skew_ns
        self.history.append((self._true.now_ns(), skew_ns))

    def right(self) -> None:
        """Set the clock right."""
        self.set(_none)

    @property
    def is_off(self) -> bool:
        """Return whether it is off just now."""
        return self.skew_ns(self._true.now_ns()) != 0

    def was_ahead_ns(self, true_ns: int) -> int:
        """Return how far it was ahead at a true time that is over."""
        skews = [skew for since_ns, skew in self.history if since_ns <= true_ns]
        return skews[-1](true_ns) if skews else 0


def _none(_true_ns: int) -> int:
    return 0
