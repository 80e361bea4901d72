"""
Pure decisions of exit: the protection a position should have, what covers it now, and the smallest
set of actions from one to the other that never leaves a gap.

Coverage is what the venue reports, never what we remember having sent (design.md, Protection).
"""

from collections.abc import Sequence
from decimal import Decimal

import attrs

from aegis.model.account import Capabilities, ProtectionRole
from aegis.model.instrument import Instrument
from aegis.model.money import ZERO, Rounding, round_to_grid
from aegis.model.order import OrderStatus, PositionSide, Purpose
from aegis.model.position import PositionView, ProtectionPlan


@attrs.frozen(slots=True, kw_only=True)
class Resting:
    """
    A protective order the venue reports as working.

    *qty* None means whatever is open. *position_bound*: the position's own stop or target, which
    the venue sizes, amends in place and removes itself. *purpose* None: not placed by us.
    """

    key: str
    role: ProtectionRole
    trigger_price: Decimal | None
    qty: Decimal | None
    status: OrderStatus
    position_bound: bool
    purpose: Purpose | None


@attrs.frozen(slots=True, kw_only=True)
class Desired:
    """Stop and target a position should have; on the tick grid, on the right side of its basis."""

    stop_price: Decimal
    target_price: Decimal
    basis: str


@attrs.frozen(slots=True, kw_only=True)
class PlaceStop:
    """Place a stop; *qty* None closes whatever is open (the floor)."""

    price: Decimal
    qty: Decimal | None


@attrs.frozen(slots=True, kw_only=True)
class PlaceTarget:
    """Place the target for whatever is open."""

    price: Decimal


@attrs.frozen(slots=True, kw_only=True)
class SetBoth:
    """Set the position's own stop and target in place."""

    stop_price: Decimal
    target_price: Decimal


@attrs.frozen(slots=True, kw_only=True)
class Cancel:
    """Cancel a protective order that a better one has replaced."""

    key: str


Action = PlaceStop | PlaceTarget | SetBoth | Cancel


def default_plan(entry_px: Decimal, stop_pct: float, target_r: float) -> ProtectionPlan:
    """Return the plan of a position found without one: a stop *stop_pct* percent away."""
    distance = entry_px * Decimal(repr(stop_pct)) / 100
    return ProtectionPlan(
        stop_distance=distance, target_distance=distance * Decimal(repr(target_r))
    )


def desired_protection(
    position: PositionView, plan: ProtectionPlan, instrument: Instrument, *, entry_done: bool
) -> Desired | None:
    """
    Return the levels *position* should have, None while it has no price.

    From the first fill's price while the entry still fills, from the VWAP once it is complete.
    Both levels round toward the entry: rounding never adds risk.
    """
    basis = position.entry_px_avg if entry_done else position.first_fill_px
    if basis is None:
        return None
    sign, tick = position.side.sign, instrument.tick_size
    toward = (
        (Rounding.UP, Rounding.DOWN)
        if position.side is PositionSide.LONG
        else (Rounding.DOWN, Rounding.UP)
    )
    stop = round_to_grid(basis - sign * plan.stop_distance, tick, toward[0])
    target = round_to_grid(basis + sign * plan.target_distance, tick, toward[1])
    # Rounding must not put a level onto the entry price itself.
    stop = min(stop, basis - tick) if sign > 0 else max(stop, basis + tick)
    target = max(target, basis + tick) if sign > 0 else min(target, basis - tick)
    stop = round_to_grid(stop, tick, toward[1])
    target = round_to_grid(target, tick, toward[0])
    return Desired(
        stop_price=max(stop, tick),
        target_price=max(target, tick),
        basis="entry VWAP" if entry_done else "first fill",
    )


def covered_qty(position: PositionView, resting: Sequence[Resting]) -> Decimal:
    """
    Return how much of *position* stops would close now, at most its quantity.

    A stop that is TRIGGERING still covers; whether it does so for too long is the watchdog's.
    """
    stops = [r for r in resting if r.role is ProtectionRole.STOP and r.status.is_working]
    if any(stop.qty is None or stop.position_bound for stop in stops):
        return position.qty
    return min(position.qty, sum((stop.qty for stop in stops if stop.qty is not None), ZERO))


def working(resting: Sequence[Resting], role: ProtectionRole) -> list[Resting]:
    """Return the working orders of *role*."""
    return [r for r in resting if r.role is role and r.status.is_working]


def effective_stop(position: PositionView, resting: Sequence[Resting]) -> Resting | None:
    """Return the stop that would fire first: the highest of a long, the lowest of a short."""
    stops = [s for s in working(resting, ProtectionRole.STOP) if s.trigger_price is not None]
    if not stops:
        return None
    return max(stops, key=lambda s: (s.trigger_price or ZERO) * position.side.sign)


def plan_actions(
    position: PositionView,
    desired: Desired,
    resting: Sequence[Resting],
    *,
    capabilities: Capabilities,
    instrument: Instrument,
    entry_done: bool,
) -> tuple[Action, ...]:
    """
    Return what must be asked of the venue, in order, to get from *resting* to *desired*.

    Nothing that covers is canceled before its successor works; a second call after the venue has
    acknowledged everything returns nothing.
    """
    if position.qty <= 0:
        return ()
    if capabilities.position_protection:
        return _plan_bound(desired, resting, entry_done=entry_done)
    return _plan_orders(position, desired, resting, instrument=instrument, entry_done=entry_done)


def _plan_bound(
    desired: Desired, resting: Sequence[Resting], *, entry_done: bool
) -> tuple[Action, ...]:
    both = SetBoth(stop_price=desired.stop_price, target_price=desired.target_price)
    stop = next((r for r in working(resting, ProtectionRole.STOP) if r.position_bound), None)
    target = next((r for r in working(resting, ProtectionRole.TARGET) if r.position_bound), None)
    if stop is None or target is None:
        return (both,)
    if not entry_done or stop.status is OrderStatus.TRIGGERING:
        return ()
    if stop.trigger_price == desired.stop_price and target.trigger_price == desired.target_price:
        return ()
    return (both,)


def _plan_orders(
    position: PositionView,
    desired: Desired,
    resting: Sequence[Resting],
    *,
    instrument: Instrument,
    entry_done: bool,
) -> tuple[Action, ...]:
    actions: list[Action] = []
    stops = working(resting, ProtectionRole.STOP)
    floors = [s for s in stops if s.qty is None]
    moving = [s for s in stops if s.qty is not None]
    if not floors:
        actions.append(PlaceStop(price=desired.stop_price, qty=None))
    if not working(resting, ProtectionRole.TARGET):
        actions.append(PlaceTarget(price=desired.target_price))
    if entry_done and floors:
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
    if floor.trigger_price is None or any(s.status is OrderStatus.TRIGGERING for s in moving):
        return []
    tighter_by = (desired.stop_price - floor.trigger_price) * sign
    if tighter_by <= instrument.tick_size:
        # The floor is the stop; a moving stop of an earlier aim is no longer needed.
        return [Cancel(key=stop.key) for stop in moving if stop.purpose is not None]
    fits = [
        stop
        for stop in moving
        if stop.trigger_price == desired.stop_price and stop.qty == position.qty
    ]
    if not fits:
        return [PlaceStop(price=desired.stop_price, qty=position.qty)]
    # Only now that the right one works may the others go.
    return [Cancel(key=s.key) for s in moving if s is not fits[0] and s.purpose is not None]
