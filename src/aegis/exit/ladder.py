"""
The ladder: parts of a position that are taken at a profit, each once. Pure.

Fractions are of the initial quantity (R53). What was taken is known from the quantity that is
closed, so that a restart knows it too: rungs are taken from the nearest on.
"""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from aegis.exit.decide import Rung, beside
from aegis.exit.trail import Measure
from aegis.model.instrument import Instrument
from aegis.model.money import ONE, ZERO, floor_to_step
from aegis.model.position import PositionView
from aegis.settings import AegisConfig, parse_ladder


@attrs.frozen(slots=True, kw_only=True)
class Step:
    """At a profit of *r*, *fraction* of the initial quantity is taken."""

    r: Decimal
    fraction: Decimal


def ladder_steps(config: AegisConfig) -> tuple[Step, ...]:
    """Return the operator's ladder, nearest first."""
    return tuple(Step(r=r, fraction=fraction) for r, fraction in parse_ladder(config.ladder))


def rungs_left(
    steps: Sequence[Step], position: PositionView, measure: Measure, instrument: Instrument
) -> tuple[Rung, ...]:
    """
    Return the rungs of *position* that are not taken yet, nearest first, with what is left of each.

    Never more than is open. A rung below the venue's least quantity goes with the next one;
    fractions that add up to 1 leave nothing behind.
    """
    opened = position.qty_opened
    closed = opened - position.qty
    rungs: list[Rung] = []
    fraction = done = ZERO
    for step in steps:
        fraction += step.fraction
        upto = opened if fraction == ONE else floor_to_step(opened * fraction, instrument.qty_step)
        if upto - done < max(instrument.qty_min, instrument.qty_step):
            continue
        left = upto - max(done, closed)
        done = upto
        if left <= 0:
            continue
        price = beside(measure.entry_px, measure.price_at(step.r), instrument.tick_size)
        if rungs and rungs[-1].price == price:
            rungs[-1] = Rung(price=price, qty=rungs[-1].qty + left)
        else:
            rungs.append(Rung(price=price, qty=left))
    return tuple(rungs)
