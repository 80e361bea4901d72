"""
The deadlines of a position: how long it may be naked, a trigger may be stuck, the price may stand
beyond a stop that does not fire, and executions of a filled stop may be awaited. All on the loop's
clock, so that a scaled market does not stretch them.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from aegis.core.clock import NS_PER_S, Clock
from aegis.exit.decide import FIRING, Resting, is_through
from aegis.exit.guarded import Guarded, purpose_of_stop
from aegis.exit.voice import ExitVoice
from aegis.model.instrument import InstrumentId
from aegis.model.order import Purpose
from aegis.model.position import CloseCause
from aegis.settings import AegisConfig

TRIGGERING_MAX_S: Final = 2.0
"""A trigger that makes no order within this is stuck (venues.md 5.1, pitfall 3)."""
FILLED_PATIENCE_S: Final = 2.0
"""A filled stop's executions may come after its status; so long it still counts as covering."""

THROUGH_MAX_S: Final = 5.0
"""A mark price beyond the stop for so long, and no trigger told: the venue is asked."""
LOSSES_WITHIN_S: Final = 60.0
SILENT_LOSSES_MAX: Final = 2
"""So many stops the venue said yes to and then did not have: it keeps none (scenario 2)."""
LOSSES_MAX: Final = 5
"""So many losses of any kind within the time: a stop there is no protection."""
LOSS_LOOK_S: Final = 7.0
"""After a silent loss, when a list is proof of what became of the next stop: past its grace."""

THROUGH_ANSWER_S: Final = 2.0
"""So long the answer is waited for before the position is closed."""

Close = Callable[[Guarded, CloseCause, Purpose, str], object]


class Watchdogs:
    """Start, stop and answer the deadlines of guarded positions."""

    def __init__(
        self,
        clock: Clock,
        config: AegisConfig,
        voice: ExitVoice,
        *,
        close: Close,
        resting_of: Callable[[Guarded], tuple[Resting, ...]],
        is_unproven: Callable[[InstrumentId], bool],
        look_again: Callable[[Guarded], None],
    ) -> None:
        """*is_unproven*: whether a stop there rests by one word alone, see RestingOrders."""
        self._is_unproven = is_unproven
        self._clock = clock
        self._config = config
        self._voice = voice
        self._close = close
        self._resting_of = resting_of
        self._look_again = look_again

    # --- naked -----------------------------------------------------------------------------------

    def on_naked(self, guarded: Guarded) -> None:
        """Count from now: soft alerts, hard closes."""
        config = self._config
        guarded.naked_since_ns = self._clock.mono_ns()
        guarded.start_timer("soft", config.protection_soft_ms / 1000, self._voice.delayed)
        guarded.start_timer("hard", config.protection_hard_ms / 1000, self._on_hard)

    def on_covered(self, guarded: Guarded) -> None:
        """Stop counting."""
        since = guarded.naked_since_ns
        if since is None:
            return
        if guarded.first_naked_ns is None:
            guarded.first_naked_ns = self._clock.mono_ns() - since
        guarded.naked_since_ns = None
        guarded.stop_timer("soft")
        guarded.stop_timer("hard")

    def on_nothing_open(self, guarded: Guarded) -> None:
        """Stop counting, without having seen a stop."""
        guarded.naked_since_ns = None
        guarded.stop_timer("soft")
        guarded.stop_timer("hard")

    def _on_hard(self, guarded: Guarded) -> None:
        self.give_up(guarded, f"no stop within {self._config.protection_hard_ms} ms")

    def give_up(self, guarded: Guarded, reason: str) -> None:
        """Close what cannot be protected; what is being closed already goes on being so."""
        if guarded.closing is not None:
            return
        if guarded.fired is not None:
            # Its stop did fire, for a part: the rest goes as what it is the rest of (R79).
            told = f"what the stop left open: {reason}"
            self._close(guarded, guarded.fired, purpose_of_stop(guarded.fired), told)
            return
        self._voice.failed(guarded, reason)
        self._close(guarded, CloseCause.UNPROTECTED, Purpose.CLOSE_UNPROTECTED, reason)

    # --- lost ------------------------------------------------------------------------------------

    def on_uncovered(self, guarded: Guarded) -> None:
        """Cover is missing: tell of a loss, and give up on a venue that keeps no stop (R45)."""
        if guarded.announced:
            self.on_lost(guarded)
        elif guarded.first_naked_ns is None:
            # It never had any.
            return
        now_ns = self._clock.mono_ns()
        guarded.losses.append((now_ns, guarded.unlisted))
        since_ns = now_ns - round(LOSSES_WITHIN_S * NS_PER_S)
        guarded.losses = [loss for loss in guarded.losses if loss[0] > since_ns]
        silent = sum(is_silent for _, is_silent in guarded.losses)
        if silent >= SILENT_LOSSES_MAX or len(guarded.losses) >= LOSSES_MAX:
            lost = f"{len(guarded.losses)} stops lost within {LOSSES_WITHIN_S:g} s"
            self.give_up(guarded, f"{lost}, {silent} of them without a word of the venue")
        elif guarded.unlisted:
            guarded.start_timer("loss", LOSS_LOOK_S, self._look_after_loss)

    def watch_proof(self, guarded: Guarded) -> None:
        """Look at a stop again that only its answer told of, or that a list lacked (R45)."""
        if "proof" not in guarded.timers:
            guarded.start_timer("proof", LOSS_LOOK_S, self._look_for_proof)

    def _look_for_proof(self, guarded: Guarded) -> None:
        instrument = guarded.position.instrument_id
        if self._is_unproven(instrument):
            self._voice.want_snapshot(instrument.venue, f"does the stop of {instrument} rest?")

    def _look_after_loss(self, guarded: Guarded) -> None:
        instrument = guarded.position.instrument_id
        self._voice.want_snapshot(instrument.venue, f"does the new stop of {instrument} rest?")

    def on_kept(self, guarded: Guarded) -> None:
        """The stop a list lacked rests after all, by the venue's word: nothing was lost."""
        guarded.stop_timer("lost")
        if guarded.losses:
            guarded.losses.pop()
        guarded.start_timer("loss", LOSS_LOOK_S, self._look_after_loss)

    def on_lost(self, guarded: Guarded) -> None:
        """
        Tell of a vanished stop, a moment later.

        A venue takes stops away together with the position; then PositionClosed follows and there
        was no loss. What restores the stop does not wait for this.
        """
        reason = guarded.end_told or "the venue shows no stop for the whole position any more"
        guarded.end_told = ""
        if "lost" in guarded.timers:
            return

        def tell(lost: Guarded) -> None:
            self._voice.lost(lost, reason)
            self._voice.want_snapshot(lost.position.instrument_id.venue, f"stop lost: {reason}")

        guarded.start_timer("lost", self._config.protection_retry_ms / 1000, tell)

    # --- fired -----------------------------------------------------------------------------------

    def on_filled(self, guarded: Guarded) -> None:
        """A stop or target filled: its executions are under way, look again when they had time."""
        guarded.settling_until_ns = self._clock.mono_ns() + round(FILLED_PATIENCE_S * NS_PER_S)
        guarded.start_timer("settle", FILLED_PATIENCE_S, self._on_settled)

    def is_settling(self, guarded: Guarded) -> bool:
        """Say whether the executions of a filled stop or target may still be on their way."""
        return self._clock.mono_ns() < guarded.settling_until_ns

    def _on_settled(self, guarded: Guarded) -> None:
        instrument = guarded.position.instrument_id
        reason = f"a stop or target of {instrument} filled, position still open"
        self._voice.want_snapshot(instrument.venue, reason)
        self._look_again(guarded)

    def watch_firing(self, guarded: Guarded, fired: list[Resting]) -> None:
        """Watch orders whose trigger was hit, each from when it was first seen so."""
        for order in fired:
            if f"trigger {order.key}" not in guarded.timers:
                self._watch_trigger(guarded, order.key)

    def _watch_trigger(self, guarded: Guarded, key: str) -> None:
        qty_before = guarded.position.qty

        def look(watched: Guarded) -> None:
            found = next((r for r in self._resting_of(watched) if r.key == key), None)
            if found is None or watched.closing is not None:
                return
            if watched.position.qty != qty_before:
                # It does close, in parts.
                self._watch_trigger(watched, key)
                return
            reason = f"{key} is {found.status.value} for {TRIGGERING_MAX_S} s without a fill"
            self._close(watched, CloseCause.WATCHDOG, Purpose.CLOSE_WATCHDOG, reason)

        guarded.start_timer(f"trigger {key}", TRIGGERING_MAX_S, look)

    def watch_rungs(self, guarded: Guarded, fired: list[Resting]) -> None:
        """Ask the venue about a rung that is stuck at its trigger; the stop still works."""
        for order in fired:
            name = f"rung {order.key}"
            if name not in guarded.timers:
                guarded.start_timer(name, TRIGGERING_MAX_S, partial(self._on_stuck_rung, order.key))

    def _on_stuck_rung(self, key: str, guarded: Guarded) -> None:
        found = next((r for r in self._resting_of(guarded) if r.key == key), None)
        if found is not None and found.status in FIRING:
            reason = f"{key} is {found.status.value} for {TRIGGERING_MAX_S} s"
            self._voice.want_snapshot(guarded.position.instrument_id.venue, reason)

    def watch_price(self, guarded: Guarded) -> None:
        """Watch a mark price beyond a stop that does not fire."""
        if not self._is_through(guarded):
            guarded.stop_timer("through")
            guarded.stop_timer("through asked")
        elif "through" not in guarded.timers and "through asked" not in guarded.timers:
            guarded.start_timer("through", THROUGH_MAX_S, self._on_through)

    def _is_through(self, guarded: Guarded) -> bool:
        if guarded.mark_px is None or guarded.closing is not None or self.is_settling(guarded):
            return False
        if guarded.position.adopted:
            # A stop somebody else placed may fire by the last price.
            return False
        tick = guarded.instrument.tick_size
        return is_through(guarded.position, self._resting_of(guarded), guarded.mark_px, tick)

    def _on_through(self, guarded: Guarded) -> None:
        if self._is_through(guarded):
            self._voice.want_snapshot(guarded.position.instrument_id.venue, self._told_of(guarded))
            guarded.start_timer("through asked", THROUGH_ANSWER_S, self._on_still_through)

    def _on_still_through(self, guarded: Guarded) -> None:
        if self._is_through(guarded):
            told = self._told_of(guarded)
            self._close(guarded, CloseCause.WATCHDOG, Purpose.CLOSE_WATCHDOG, told)

    def _told_of(self, guarded: Guarded) -> str:
        instrument = guarded.position.instrument_id
        return f"mark {guarded.mark_px} of {instrument} is beyond its stop for {THROUGH_MAX_S} s"
