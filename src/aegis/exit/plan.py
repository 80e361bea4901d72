"""
The way from what rests to what should: the smallest set of actions that never leaves a gap (R48).

Pure. Nothing that covers is canceled before its successor works; a target may go first.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal

from aegis.exit.decide import (
    FIRING,
    Action,
    Cancel,
    Desired,
    PlaceRung,
    PlaceStop,
    PlaceTarget,
    Resting,
    SetBoth,
    TakeRung,
    closing_of,
    covered_qty,
    firing,
    is_ours,
    targets_of,
    working,
)
from aegis.model.account import Capabilities, ProtectionRole
from aegis.model.instrument import Instrument
from aegis.model.money import ZERO
from aegis.model.order import OrderStatus, Purpose
from aegis.model.position import PositionView


def plan_actions(
    position: PositionView,
    desired: Desired,
    resting: Sequence[Resting],
    *,
    capabilities: Capabilities,
    instrument: Instrument,
    entry_done: bool,
    due: Collection[Decimal] = (),
) -> tuple[Action, ...]:
    """
    Return what must be asked of the venue, in order, to get from *resting* to *desired*.

    Nothing that covers is canceled before its successor works; a second call after the venue has
    acknowledged everything returns nothing. While a stop or target is firing, what covers is left
    alone: the position is about to change. *due*: prices of rungs that the market has reached.
    """
    if position.qty <= 0:
        return ()
    closing = closing_of(position, resting)
    covered = covered_qty(position, closing) >= position.qty
    if firing(position, closing) and covered:
        return ()
    if capabilities.position_protection:
        actions = _plan_bound(desired, closing, entry_done=entry_done, covered=covered)
    else:
        actions = _plan_orders(
            position, desired, closing, instrument=instrument, entry_done=entry_done
        )
    return (*actions, *_plan_rungs(position, desired, closing, covered=covered, due=due))


def _plan_bound(
    desired: Desired, closing: Sequence[Resting], *, entry_done: bool, covered: bool
) -> tuple[Action, ...]:
    both = SetBoth(
        stop_price=desired.stop_price, target_price=desired.target_price, cause=desired.cause
    )
    stop = next((r for r in working(closing, ProtectionRole.STOP) if r.position_bound), None)
    target = next((r for r in targets_of(closing) if r.position_bound), None)
    if target is not None and target.status in FIRING:
        # The venue has taken the stop away because its target fires (venues.md 3.5).
        return ()
    if stop is None or target is None or not covered:
        return (both,)
    if not entry_done:
        return ()
    if stop.trigger_price == desired.stop_price and target.trigger_price == desired.target_price:
        return ()
    return (both,)


def _plan_orders(
    position: PositionView,
    desired: Desired,
    closing: Sequence[Resting],
    *,
    instrument: Instrument,
    entry_done: bool,
) -> tuple[Action, ...]:
    actions: list[Action] = []
    stops = working(closing, ProtectionRole.STOP)
    floors = [s for s in stops if s.qty is None]
    if not floors:
        actions.append(PlaceStop(price=desired.stop_price, qty=None))
    if not targets_of(closing):
        actions.append(PlaceTarget(price=desired.target_price))
    if entry_done and floors:
        moving = [s for s in stops if s.qty is not None]
        actions += _plan_moving(position, desired, floors[0], moving, instrument)
    return tuple(actions)


def _plan_moving(
    position: PositionView,
    desired: Desired,
    floor: Resting,
    moving: Sequence[Resting],
    instrument: Instrument,
) -> list[Action]:
    sign = position.side.sign
    if floor.trigger_price is None:
        return []
    ours = [s for s in moving if is_ours(s, position)]
    tighter_by = (desired.stop_price - floor.trigger_price) * sign
    if tighter_by <= instrument.tick_size:
        # The floor is the stop; a moving stop of an earlier aim is no longer needed.
        return [Cancel(key=stop.key) for stop in ours]
    fits = [s for s in moving if s.trigger_price == desired.stop_price and s.qty == position.qty]
    if fits:
        # Only now that the right one works may the others go.
        return [Cancel(key=s.key) for s in ours if s is not fits[0]]
    qty_max = instrument.market_qty_max
    if position.qty < instrument.qty_min or (qty_max is not None and position.qty > qty_max):
        # The venue takes no stop of that quantity; the floor needs none.
        return []
    place = PlaceStop(price=desired.stop_price, qty=position.qty, cause=desired.cause)
    return [place, *_outdone(position, ours)]


def _outdone(position: PositionView, ours: Sequence[Resting]) -> list[Action]:
    """Cancel what a tighter stop for the whole position has outdone while the next one is asked."""
    sign = position.side.sign
    whole = [s for s in ours if (s.qty or ZERO) >= position.qty and s.trigger_price is not None]
    if not whole:
        return []
    best = max(whole, key=lambda s: (s.trigger_price or ZERO) * sign)
    level = (best.trigger_price or ZERO) * sign
    return [
        Cancel(key=s.key)
        for s in ours
        if s is not best and s.trigger_price is not None and s.trigger_price * sign <= level
    ]


def _plan_rungs(
    position: PositionView,
    desired: Desired,
    closing: Sequence[Resting],
    *,
    covered: bool,
    due: Collection[Decimal],
) -> list[Action]:
    resting = [
        r
        for r in working(closing, ProtectionRole.TARGET)
        if r.purpose is Purpose.RUNG and is_ours(r, position)
    ]
    waiting = [r for r in resting if r.status is OrderStatus.ACCEPTED]
    wanted = {rung.price: rung for rung in desired.rungs}
    kept: dict[Decimal, Resting] = {}
    actions: list[Action] = []
    for order in resting:
        price = order.trigger_price
        rung = wanted.get(price) if price is not None else None
        if price is not None and order not in waiting:
            # It fires: what is left of it is its own matter.
            kept[price] = order
        elif rung is not None and price is not None and price not in kept and order.qty == rung.qty:
            kept[price] = order
        else:
            actions.append(Cancel(key=order.key))
    canceled = {r.trigger_price for r in waiting if any(c == Cancel(key=r.key) for c in actions)}
    if not covered:
        # First the stop.
        return actions
    for rung in desired.rungs:
        if rung.price in kept or rung.price in canceled:
            continue
        reached = rung.price in due
        actions.append(
            TakeRung(price=rung.price, qty=rung.qty)
            if reached
            else PlaceRung(price=rung.price, qty=rung.qty)
        )
    return actions
