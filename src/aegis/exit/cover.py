"""
Cover of guarded positions: whether the venue reports stops for the whole, and what is told of it.
"""

from collections.abc import Callable

from aegis.exit.decide import Resting, covered_qty, effective_stop, targets_of
from aegis.exit.guarded import Guarded
from aegis.exit.voice import ExitVoice
from aegis.exit.watchdogs import Watchdogs
from aegis.settings import AegisConfig


class Cover:
    """Weigh the cover of positions and announce it."""

    def __init__(
        self,
        config: AegisConfig,
        voice: ExitVoice,
        watchdogs: Watchdogs,
        *,
        resting_of: Callable[[Guarded], tuple[Resting, ...]],
        on_covered: Callable[[Guarded], None],
    ) -> None:
        """*on_covered* hears of every look that found a position covered."""
        self._soft_s = config.protection_soft_ms / 1000
        self._voice = voice
        self._watchdogs = watchdogs
        self._resting_of = resting_of
        self._on_covered = on_covered

    def is_covered(self, guarded: Guarded) -> bool:
        """Say whether stops cover the whole position, or one that filled is settling."""
        return self._stops_cover(guarded) or self._watchdogs.is_settling(guarded)

    def _stops_cover(self, guarded: Guarded) -> bool:
        covered = covered_qty(guarded.position, self._resting_of(guarded))
        return covered >= guarded.position.qty

    def note(self, guarded: Guarded) -> None:
        """Look at the cover now: start or stop the deadlines, tell what changed."""
        if not self.is_covered(guarded):
            if guarded.naked_since_ns is None:
                self._watchdogs.on_naked(guarded)
                if guarded.closing is None:
                    self._watchdogs.on_uncovered(guarded)
            return
        self._watchdogs.on_covered(guarded)
        guarded.end_told = ""
        if self._stops_cover(guarded) and not self._watchdogs.is_settling(guarded):
            guarded.fired = None
        self._announce(guarded)
        self._on_covered(guarded)

    def _announce(self, guarded: Guarded) -> None:
        resting = self._resting_of(guarded)
        stop = effective_stop(guarded.position, resting)
        if stop is None or stop.trigger_price is None:
            return
        targets = targets_of(resting)
        if targets or guarded.announced:
            guarded.stop_timer("target")
            self._voice.covered(guarded, stop, targets[0] if targets else None)
        elif "target" not in guarded.timers:
            # The stop works; the target gets a moment so that both are told in one line.
            guarded.start_timer("target", self._soft_s, self._announce_without)

    def _announce_without(self, guarded: Guarded) -> None:
        stop = effective_stop(guarded.position, self._resting_of(guarded))
        if stop is not None and self.is_covered(guarded):
            self._voice.covered(guarded, stop, None)
            self._on_covered(guarded)
