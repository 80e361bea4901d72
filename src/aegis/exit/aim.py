"""
The aim of a position: what it should have beyond its plan. Pure.

Whatever moves a stop or adds a rung speaks only through it. A stop is tightened or left as it is:
nothing here can loosen one (R50, R72).
"""

from decimal import Decimal

import attrs

from aegis.exit.decide import Desired, Rung
from aegis.model.order import PositionSide
from aegis.model.position import CloseCause


@attrs.frozen(slots=True, kw_only=True)
class Aim:
    """
    A tighter stop than the plan's, None for none, and the rungs of the ladder.

    *cause*: what a close at that stop is called (R79). *basis*: why it is wanted, in words.
    """

    stop_price: Decimal | None = None
    cause: CloseCause = CloseCause.SL
    basis: str = ""
    rungs: tuple[Rung, ...] = ()

    def tightened(self, side: PositionSide, price: Decimal, cause: CloseCause, basis: str) -> "Aim":
        """Return the aim with its stop at *price* if that is tighter, else itself."""
        if not is_tighter(side, price, self.stop_price):
            return self
        return attrs.evolve(self, stop_price=price, cause=cause, basis=basis)


NOTHING_AIMED = Aim()


def is_tighter(side: PositionSide, price: Decimal, than: Decimal | None) -> bool:
    """Say whether a stop at *price* is nearer to profit than one at *than*; None is no stop."""
    return than is None or (price - than) * side.sign > 0


def aimed(desired: Desired, aim: Aim, side: PositionSide) -> Desired:
    """Return *desired* with the aim's stop where that is tighter, and with its rungs."""
    desired = attrs.evolve(desired, rungs=aim.rungs)
    if aim.stop_price is None or not is_tighter(side, aim.stop_price, desired.stop_price):
        return desired
    return attrs.evolve(desired, stop_price=aim.stop_price, cause=aim.cause, basis=aim.basis)
