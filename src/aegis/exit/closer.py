"""
The one closer of a position: reduce-only at market, again and again until the position is gone.

A close that was sent is not a close (R60): the position leaves only by PositionClosed. Until then
the rest is asked for with a growing pace, and every failure after the first is CRITICAL. What a
market order leaves is taken by an IOC at the band, in turn. Where neither a stop nor a close is to
be had, entries are halted everywhere until an operator lifts it.
"""

from collections.abc import Callable
from typing import Final

from aegis.core.errors import Refusal
from aegis.exit.guarded import Closing, Guarded
from aegis.exit.requests import close_order
from aegis.exit.voice import ExitVoice
from aegis.model.events import IntentCompleted, OrderAdvanced
from aegis.model.intent import ClosePosition
from aegis.model.money import ZERO
from aegis.model.order import OrderStatus, Purpose
from aegis.model.position import CloseCause

CLOSE_RETRY_MAX_S: Final = 5.0
CLOSE_FILLS_PATIENCE_S: Final = 2.0
"""The fills of a close order may come after its status."""
CLOSE_ANSWER_PATIENCE_S: Final = 10.0
"""A close of which nothing was heard for so long is asked for once more: reduce-only may repeat."""
HALT_AFTER_FAILURES: Final = 3
"""So many failed closes in a row of a position without a stop halt entries everywhere."""


class Closer:
    """Close positions and see it through."""

    def __init__(
        self,
        voice: ExitVoice,
        *,
        retry_ms: int,
        look_again: Callable[[Guarded], None],
        is_covered: Callable[[Guarded], bool],
    ) -> None:
        """*look_again* weighs a position anew: it pushes its close and may seek a stop."""
        self._voice = voice
        self._look_again = look_again
        self._is_covered = is_covered
        self._retry_s = retry_ms / 1000

    def begin(self, guarded: Guarded, cause: CloseCause, purpose: Purpose, reason: str) -> bool:
        """Begin to close; return whether that was news: a position has one closer (R59)."""
        if guarded.closing is not None:
            return False
        guarded.closing = Closing(cause=cause, purpose=purpose, reason=reason)
        self.push(guarded)
        return True

    def repeat(self, guarded: Guarded) -> None:
        """Send another close order now, whatever became of the last: reduce-only may repeat."""
        closing = guarded.closing
        if closing is not None:
            self._clear(guarded, closing)
            guarded.stop_timer("close")
            self.push(guarded)

    def push(self, guarded: Guarded) -> None:
        """Send the next close order unless one is under way, its time has not come, or all is."""
        closing = guarded.closing
        if closing is None or closing.pending or "close" in guarded.timers:
            return
        position = guarded.position
        if position.qty <= 0:
            return
        request = close_order(guarded, closing.purpose, banded=closing.banded)
        assert request.qty is not None, request
        closing.pending = closing.last = request.client_order_id
        closing.leaves = position.qty - request.qty
        guarded.start_timer("close answer", CLOSE_ANSWER_PATIENCE_S, self._on_no_answer)
        intent = self._voice.intent(
            position.position_id,
            position.trace_id,
            ClosePosition(request=request, cause=closing.cause),
            reason=f"{closing.cause.value}: {closing.reason}",
        )
        self._voice.propose(intent)

    def on_order_advanced(self, guarded: Guarded, event: OrderAdvanced) -> None:
        """When the close order ended, see what is left to close."""
        closing = guarded.closing
        if closing is None or closing.pending != event.client_order_id:
            return
        if not event.status.is_terminal:
            return
        if event.status is not OrderStatus.FILLED:
            if event.filled_qty > ZERO:
                # A part is closed: the rest at once, at the band where the market ran out.
                self._clear(guarded, closing)
                closing.banded = not closing.banded
                guarded.start_timer("close", self._retry_s, self.push)
                return
            told = f"{event.status.value} {event.code} {event.message}".strip()
            self._on_failed(guarded, closing, f"close order ended {told}", refused=True)
            return
        self._clear(guarded, closing)
        closing.failures = closing.absent = 0
        closing.banded = False
        # With nothing meant to be left its fills are awaited; else the next slice follows at once.
        delay_s = self._retry_s if closing.leaves > ZERO else CLOSE_FILLS_PATIENCE_S
        guarded.start_timer("close", delay_s, self._after_filled)

    def on_intent_completed(self, guarded: Guarded, event: IntentCompleted) -> None:
        """Hear that a close was refused or not sent."""
        closing = guarded.closing
        if closing is None or event.ok or closing.last != event.client_order_id:
            return
        if event.refusal == Refusal.NO_POSITION.value:
            venue = guarded.position.instrument_id.venue
            self._voice.want_snapshot(venue, f"nothing to close? {event.outcome}")
            closing.absent += 1
        if closing.pending == event.client_order_id:
            refused = event.refusal not in {"", Refusal.NO_POSITION.value}
            self._on_failed(guarded, closing, event.outcome, refused=refused)

    def _after_filled(self, guarded: Guarded) -> None:
        closing = guarded.closing
        if closing is not None and closing.leaves <= ZERO and guarded.position.qty > 0:
            instrument = guarded.position.instrument_id
            self._voice.want_snapshot(instrument.venue, f"{instrument} open after a filled close")
        self.push(guarded)

    def _on_no_answer(self, guarded: Guarded) -> None:
        closing = guarded.closing
        if closing is not None and closing.pending:
            told = f"nothing heard for {CLOSE_ANSWER_PATIENCE_S} s"
            self._on_failed(guarded, closing, told, refused=False)

    def _on_failed(self, guarded: Guarded, closing: Closing, why: str, *, refused: bool) -> None:
        self._clear(guarded, closing)
        closing.failures += 1
        closing.banded = refused and not closing.banded
        delay_s = self._retry_s * 2.0 ** min(closing.failures - 1, 6)
        guarded.start_timer("close", min(delay_s, CLOSE_RETRY_MAX_S), self._look_again)
        instrument = guarded.position.instrument_id
        self._voice.alert(
            "close_failed",
            "WARNING" if closing.failures == 1 else "CRITICAL",
            f"{instrument} attempt {closing.failures} to close failed: {why}",
        )
        if closing.failures > 1:
            self._voice.want_snapshot(instrument.venue, f"closing {instrument}: {why}")
        # Where the venue knows of no position nobody is trapped: the books are what is wrong.
        tried = closing.failures - closing.absent
        trapped = tried >= HALT_AFTER_FAILURES and not self._is_covered(guarded)
        if trapped and not closing.halted:
            closing.halted = True
            self._voice.halt_entries(
                f"{instrument} has no stop and {closing.failures} closes failed: {why}"
            )
        self._look_again(guarded)

    def _clear(self, guarded: Guarded, closing: Closing) -> None:
        closing.pending = ""
        guarded.stop_timer("close answer")
