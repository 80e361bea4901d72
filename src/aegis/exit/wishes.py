"""
What each position should have: its plan or what was found, tightened by its aim, with its rungs.

The venue's word is taken in where it matters: mark and liquidation prices of positions, stops and
rungs that an earlier run left (R51).
"""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from aegis.exit.aim import aimed
from aegis.exit.decide import (
    FIRING,
    Desired,
    Resting,
    Rung,
    default_plan,
    desired_protection,
    is_ours,
    keep_found,
    tighter_found,
)
from aegis.exit.guarded import Guarded
from aegis.exit.ladder import ladder_steps, rungs_left
from aegis.exit.trail import Measure, best_behind, better_mark, cause_found, trail_rules
from aegis.model.account import PositionReport
from aegis.model.instrument import InstrumentId
from aegis.model.order import Purpose
from aegis.model.position import PositionView, ProtectionPlan
from aegis.settings import AegisConfig


@attrs.frozen(slots=True)
class _Told:
    """Mark and liquidation price of the newest position report; None while not told."""

    mark_px: Decimal | None
    liquidation_px: Decimal | None


class Wishes:
    """Compute what is wanted of each position."""

    def __init__(self, config: AegisConfig) -> None:
        self._config = config
        self._rules = trail_rules(config)
        self._steps = ladder_steps(config)
        self._told: dict[InstrumentId, _Told] = {}

    # --- what the venue told ---------------------------------------------------------------------

    def note_told(self, report: PositionReport) -> None:
        """Take mark and liquidation price of a position; a report without the latter leaves it."""
        if report.qty_signed == 0:
            self.forget(report.instrument_id)
            return
        before = self._told.get(report.instrument_id)
        liquidation = report.liquidation_price
        if liquidation is None and before is not None:
            liquidation = before.liquidation_px
        self._told[report.instrument_id] = _Told(report.mark_price, liquidation)

    def forget(self, instrument: InstrumentId) -> None:
        """Nothing is open there any more."""
        self._told.pop(instrument, None)

    def take_found(self, guarded: Guarded, resting: Sequence[Resting]) -> None:
        """
        Take a stop of an earlier run that is tighter than the plan's into the aim, once (R49, R51).

        It was acknowledged, so it is never loosened; what it tells of the best mark price goes on.
        """
        position = guarded.position
        if guarded.found_taken or not guarded.known or not _goes_on(position):
            return
        plan = desired_protection(
            position, guarded.plan, guarded.instrument, entry_done=guarded.entry_done
        )
        if plan is None:
            return
        guarded.found_taken = True
        stop = tighter_found(position, resting, plan.stop_price)
        if stop is None or stop.trigger_price is None:
            return
        measure, price = measure_of(guarded), stop.trigger_price
        assert measure is not None, position
        if stop.purpose is None:
            cause = cause_found(self._rules, measure, price, guarded.instrument)
            guarded.stop_causes[price] = cause
        else:
            cause = guarded.stop_cause(stop.purpose, price)
        guarded.aim = guarded.aim.tightened(position.side, price, cause, "as found")
        best = best_behind(self._rules, measure, price, guarded.instrument)
        if best is not None:
            guarded.best_px = better_mark(position.side, guarded.best_px, best)

    # --- what is wanted --------------------------------------------------------------------------

    def plan_of(self, position: PositionView) -> ProtectionPlan:
        """Return the plan of *position*, the default's where it has none."""
        if position.plan is not None:
            return position.plan
        entry_px = position.entry_px_avg
        assert entry_px is not None, position
        told = self._told.get(position.instrument_id) if position.adopted else None
        return default_plan(
            entry_px,
            self._config.max_stop_pct,
            self._config.target_r,
            liquidation_px=told.liquidation_px if told is not None else None,
            liquidation_use_max=self._config.liquidation_use_max,
        )

    def desired(self, guarded: Guarded, resting: Sequence[Resting]) -> Desired | None:
        """Return what the position should have, None while it has no price."""
        position = guarded.position
        desired = desired_protection(
            position, guarded.plan, guarded.instrument, entry_done=guarded.entry_done
        )
        if desired is None:
            return None
        if position.adopted or (position.restored and position.plan is None):
            told = self._told.get(position.instrument_id)
            return keep_found(
                position,
                resting,
                desired,
                before=guarded.desired,
                mark_px=told.mark_px if told is not None else None,
                liquidation_px=told.liquidation_px if told is not None else None,
            )
        rungs = self._rungs(guarded, resting)
        if rungs != guarded.aim.rungs:
            guarded.aim = attrs.evolve(guarded.aim, rungs=rungs)
        return aimed(desired, guarded.aim, position.side)

    def _rungs(self, guarded: Guarded, resting: Sequence[Resting]) -> tuple[Rung, ...]:
        measure = measure_of(guarded)
        if not self._steps or not guarded.entry_done or measure is None:
            return ()
        working = rungs_of(guarded.position, resting)
        for rung in working:
            if rung.trigger_price is not None:
                guarded.rungs_spent[rung.trigger_price] = None
        prices = {rung.trigger_price for rung in working}
        left = rungs_left(self._steps, guarded.position, measure, guarded.instrument)
        return tuple(r for r in left if r.price in prices or r.price not in guarded.rungs_spent)

    @staticmethod
    def due(guarded: Guarded) -> tuple[Decimal, ...]:
        """Return the prices of rungs that the market has reached."""
        mark, sign = guarded.mark_px, guarded.position.side.sign
        return tuple(
            rung.price
            for rung in guarded.aim.rungs
            if rung.price in guarded.rungs_due
            or (mark is not None and (mark - rung.price) * sign >= 0)
        )


def measure_of(guarded: Guarded) -> Measure | None:
    """Return what one R is for the position: its entry price and its plan's stop distance."""
    position = guarded.position
    if position.entry_px_avg is None:
        return None
    return Measure(
        side=position.side, entry_px=position.entry_px_avg, unit=guarded.plan.stop_distance
    )


def rungs_of(position: PositionView, resting: Sequence[Resting]) -> list[Resting]:
    """Return the rungs of the ladder that rest."""
    return [r for r in resting if r.purpose is Purpose.RUNG and is_ours(r, position)]


def rungs_firing(position: PositionView, resting: Sequence[Resting]) -> list[Resting]:
    """Return the rungs whose trigger was hit and that have not ended."""
    return [r for r in rungs_of(position, resting) if r.status in FIRING]


def _goes_on(position: PositionView) -> bool:
    return position.restored and not position.adopted and position.plan is not None
