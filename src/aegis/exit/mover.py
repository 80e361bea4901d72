"""
Mark prices at work: they move the stop of a position by the operator's rules, and watch it.

A stop is moved by changing the aim; the rest follows from it. What rests on the venue stays the
truth: the aim is compared with it, and an aim the market has passed before the venue took it is
carried out at market (R47, R49).
"""

from collections.abc import Callable
from decimal import Decimal

from aegis.core.clock import Clock
from aegis.exit.aim import is_tighter
from aegis.exit.decide import Resting, effective_stop, firing
from aegis.exit.guarded import Guarded, purpose_of_stop
from aegis.exit.trail import better_mark, is_due, is_passed, trail_rules, wished_stop
from aegis.exit.watchdogs import Close, Watchdogs
from aegis.exit.wishes import Wishes, measure_of
from aegis.model.money import ONE
from aegis.model.position import CloseCause
from aegis.settings import AegisConfig


class Mover:
    """Turn mark prices into tighter stops."""

    def __init__(
        self,
        clock: Clock,
        config: AegisConfig,
        watchdogs: Watchdogs,
        *,
        close: Close,
        resting_of: Callable[[Guarded], tuple[Resting, ...]],
        look_again: Callable[[Guarded], None],
    ) -> None:
        self._clock = clock
        self._rules = trail_rules(config)
        self._watchdogs = watchdogs
        self._close = close
        self._resting_of = resting_of
        self._look_again = look_again

    def on_mark(self, guarded: Guarded, mark: float) -> None:
        """Take the newest mark price of a guarded position."""
        if not mark > 0:
            return
        mark_px = Decimal(repr(mark))
        if mark_px == guarded.mark_px:
            return
        guarded.mark_px = mark_px
        self._watchdogs.watch_price(guarded)
        if self._may_move(guarded):
            self._move(guarded, mark_px)
        if guarded.closing is None and any(
            price not in guarded.rungs_spent for price in Wishes.due(guarded)
        ):
            self._look_again(guarded)

    def on_mark_unknown(self, guarded: Guarded) -> None:
        """Nobody knows the mark price now: nothing is done on the last one known."""
        guarded.mark_px = None
        self._watchdogs.watch_price(guarded)

    def _may_move(self, guarded: Guarded) -> bool:
        position = guarded.position
        return (
            self._rules.any_on
            and guarded.entry_done
            and guarded.known
            and guarded.closing is None
            and position.qty > 0
            and not position.adopted
            # What an earlier run left must be seen first, lest its stop be taken for nothing.
            and (guarded.found_taken or not position.restored)
            and not self._watchdogs.is_settling(guarded)
        )

    def _move(self, guarded: Guarded, mark: Decimal) -> None:
        position, side = guarded.position, guarded.position.side
        measure, resting = measure_of(guarded), self._resting_of(guarded)
        if measure is None or firing(position, resting):
            return
        guarded.best_px = better_mark(side, guarded.best_px, mark)
        stop = effective_stop(position, resting)
        present = stop.trigger_price if stop is not None else None
        aim_px = guarded.aim.stop_price
        if aim_px is not None and is_tighter(side, aim_px, present):
            if is_passed(side, aim_px, mark):
                self._carry_out(guarded, aim_px)
                return
            present = aim_px
        wish = wished_stop(self._rules, measure, guarded.best_px, guarded.instrument)
        if wish is None or present is None:
            return
        tick, now = guarded.instrument.tick_size, self._clock.mono_ns()
        # Never too soon where the market has come back already to where the stop belongs.
        moved = None if is_passed(side, wish.price, mark) else guarded.moved_ns
        if not is_due(
            self._rules, measure, wish, present=present, tick=tick, moved_ns=moved, now_ns=now
        ):
            return
        guarded.aim = guarded.aim.tightened(
            side, wish.price, wish.cause, self._basis(guarded, wish.basis)
        )
        if wish.cause is CloseCause.TRAIL:
            guarded.moved_ns = now
        if is_passed(side, wish.price, mark):
            self._carry_out(guarded, wish.price)
        else:
            self._look_again(guarded)

    def _basis(self, guarded: Guarded, basis: str) -> str:
        measure = measure_of(guarded)
        assert measure is not None, guarded.position
        assert guarded.best_px is not None, guarded.position
        best_r = measure.r_of(guarded.best_px).quantize(ONE / 100)
        return f"{basis} at best {best_r} R"

    def _carry_out(self, guarded: Guarded, price: Decimal) -> None:
        cause = guarded.aim.cause
        reason = f"mark {guarded.mark_px} passed {price} before the stop could move there"
        self._close(guarded, cause, purpose_of_stop(cause), reason)
