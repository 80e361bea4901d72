"""
Where a trailing stop and a break-even stop belong, by the best mark price seen. Pure.

All distances are in R: the profit per unit over the distance of the initial stop, so that neither
quantity nor leverage changes anything (R52). The best mark only grows, so what it has switched on
stays on (R50). Of a stop found after a restart the best mark is derived back (R51).
"""

from decimal import Decimal

import attrs

from aegis.core.clock import NS_PER_S
from aegis.exit.aim import is_tighter
from aegis.model.instrument import Instrument
from aegis.model.money import Rounding, round_to_grid
from aegis.model.order import PositionSide
from aegis.model.position import CloseCause
from aegis.settings import AegisConfig


@attrs.frozen(slots=True, kw_only=True)
class Measure:
    """What one R is for a position: *unit* is the distance of its initial stop, quote per base."""

    side: PositionSide
    entry_px: Decimal
    unit: Decimal

    def r_of(self, price: Decimal) -> Decimal:
        """Return the profit at *price* in R, < 0 is a loss (R52)."""
        return (price - self.entry_px) * self.side.sign / self.unit

    def price_at(self, r: Decimal) -> Decimal:
        """Return the price at which the profit is *r*, not rounded."""
        return self.entry_px + r * self.unit * self.side.sign


@attrs.frozen(slots=True, kw_only=True)
class TrailRules:
    """The operator's rules in R; *start_r* or *break_even_r* 0 switches that one off."""

    start_r: Decimal
    distance_r: Decimal
    step_r: Decimal
    interval_ns: int
    break_even_r: Decimal

    @property
    def any_on(self) -> bool:
        """Say whether anything moves a stop."""
        return self.start_r > 0 or self.break_even_r > 0


def trail_rules(config: AegisConfig) -> TrailRules:
    """Return the rules of *config*."""
    return TrailRules(
        start_r=Decimal(repr(config.trail_start_r)),
        distance_r=Decimal(repr(config.trail_distance_r)),
        step_r=Decimal(repr(config.trail_step_r)),
        interval_ns=round(config.trail_interval_s * NS_PER_S),
        break_even_r=Decimal(repr(config.break_even_r)),
    )


@attrs.frozen(slots=True, kw_only=True)
class Wish:
    """A tighter stop, and what a close at it is called."""

    price: Decimal
    cause: CloseCause
    basis: str


def better_mark(side: PositionSide, best: Decimal | None, mark: Decimal) -> Decimal:
    """Return the better of both prices for a position of *side*."""
    if best is None:
        return mark
    return max(best, mark) if side is PositionSide.LONG else min(best, mark)


def break_even_px(measure: Measure, instrument: Instrument) -> Decimal:
    """Return the price at which entry and exit are paid for, rounded so that both are (R54)."""
    side = measure.side
    cost = 2 * instrument.taker_fee_rate * measure.entry_px
    rounding = Rounding.UP if side is PositionSide.LONG else Rounding.DOWN
    return round_to_grid(measure.entry_px + cost * side.sign, instrument.tick_size, rounding)


def wished_stop(
    rules: TrailRules, measure: Measure, best: Decimal, instrument: Instrument
) -> Wish | None:
    """Return the tightest stop that the *best* mark has earned, None before it has earned any."""
    wishes = [
        _break_even(rules, measure, best, instrument),
        _trail(rules, measure, best, instrument),
    ]
    earned = [wish for wish in wishes if wish is not None]
    if not earned:
        return None
    # The first of equals: a stop at break-even is called a stop.
    return max(earned, key=lambda wish: wish.price * measure.side.sign)


def _break_even(
    rules: TrailRules, measure: Measure, best: Decimal, instrument: Instrument
) -> Wish | None:
    if rules.break_even_r <= 0 or measure.r_of(best) < rules.break_even_r:
        return None
    price = break_even_px(measure, instrument)
    if not is_tighter(measure.side, best, price):
        # Costs reach beyond the best price seen: a stop there would fire at once.
        return None
    return Wish(price=price, cause=CloseCause.SL, basis="break-even")


def _trail(
    rules: TrailRules, measure: Measure, best: Decimal, instrument: Instrument
) -> Wish | None:
    if rules.start_r <= 0 or measure.r_of(best) < rules.start_r:
        return None
    side, tick = measure.side, instrument.tick_size
    behind = best - rules.distance_r * measure.unit * side.sign
    # Away from the price: rounding never makes the distance smaller than the rule says.
    rounding = Rounding.DOWN if side is PositionSide.LONG else Rounding.UP
    price = round_to_grid(behind, tick, rounding)
    return None if price <= 0 else Wish(price=price, cause=CloseCause.TRAIL, basis="trailing")


def is_due(
    rules: TrailRules,
    measure: Measure,
    wish: Wish,
    *,
    present: Decimal,
    tick: Decimal,
    moved_ns: int | None,
    now_ns: int,
) -> bool:
    """
    Say whether a stop may move from *present* to *wish* now: tighter, far enough, not too soon.

    *moved_ns*: when it was moved last, loop ns; None for never. Break-even moves once, unhindered.
    """
    gain = (wish.price - present) * measure.side.sign
    if gain < tick:
        return False
    if wish.cause is not CloseCause.TRAIL:
        return True
    if gain < rules.step_r * measure.unit:
        return False
    return moved_ns is None or now_ns - moved_ns >= rules.interval_ns


def is_passed(side: PositionSide, price: Decimal, mark: Decimal) -> bool:
    """Say whether *mark* has reached a stop at *price*."""
    return not is_tighter(side, mark, price)


def best_behind(
    rules: TrailRules, measure: Measure, stop_px: Decimal, instrument: Instrument
) -> Decimal | None:
    """
    Return the best mark price that a stop found at *stop_px* tells of, None when it tells nothing.

    Break-even first: a stop there says no more than that it was reached.
    """
    tick = instrument.tick_size
    if rules.break_even_r > 0 and abs(stop_px - break_even_px(measure, instrument)) < tick:
        return measure.price_at(rules.break_even_r)
    if rules.start_r <= 0:
        return None
    best = stop_px + rules.distance_r * measure.unit * measure.side.sign
    start = measure.price_at(rules.start_r)
    if (best - start) * measure.side.sign <= -tick:
        return None
    # Rounding may have taken up to a tick: what was switched on stays on.
    return better_mark(measure.side, best, start)


def cause_found(
    rules: TrailRules, measure: Measure, stop_px: Decimal, instrument: Instrument
) -> CloseCause:
    """Return what a close at a stop found tighter than the plan's is called (R79)."""
    if abs(stop_px - break_even_px(measure, instrument)) < instrument.tick_size:
        return CloseCause.SL
    best = best_behind(rules, measure, stop_px, instrument)
    return CloseCause.SL if best is None else CloseCause.TRAIL
