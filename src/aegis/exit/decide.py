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
from aegis.model.order import OrderSide, OrderStatus, Purpose
from aegis.model.position import PositionView, ProtectionPlan

FIRING = frozenset({OrderStatus.TRIGGERING, OrderStatus.PARTIALLY_FILLED})
"""States of a protective order whose trigger was hit: it is on its way out of the position."""


@attrs.frozen(slots=True, kw_only=True)
class Resting:
    """
    A protective order the venue reports as working.

    *qty* None means whatever is open. *position_bound*: the position's own stop or target, which
    the venue sizes, amends in place and removes itself. *purpose* None: its id is not of our form;
    *installation*: whose id it is, "" then. Only our own installation's orders are ever canceled.
    """

    key: str
    role: ProtectionRole
    side: OrderSide
    trigger_price: Decimal | None
    qty: Decimal | None
    status: OrderStatus
    position_bound: bool
    purpose: Purpose | None
    installation: str


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


def default_plan(
    entry_px: Decimal,
    stop_pct: float,
    target_r: float,
    *,
    liquidation_px: Decimal | None = None,
    liquidation_use_max: float = 1.0,
) -> ProtectionPlan:
    """
    Return the plan of a position found without one: a stop *stop_pct* percent away, or nearer.

    Where the venue tells a liquidation price, the stop uses at most *liquidation_use_max* of the
    way there: a stop beyond liquidation protects nothing (R29).
    """
    distance = entry_px * Decimal(repr(stop_pct)) / 100
    if liquidation_px is not None and liquidation_px != entry_px:
        way = abs(entry_px - liquidation_px) * Decimal(repr(liquidation_use_max))
        distance = min(distance, way)
    return ProtectionPlan(
        stop_distance=distance, target_distance=distance * Decimal(repr(target_r))
    )


def desired_protection(
    position: PositionView, plan: ProtectionPlan, instrument: Instrument, *, entry_done: bool
) -> Desired | None:
    """
    Return the levels *position* should have, None while it has no price.

    From the first fill's price while the entry still fills, from the VWAP once it is complete.
    Both levels round toward the entry, so rounding never adds risk, and stay off it (R47).
    """
    basis = position.entry_px_avg if entry_done else position.first_fill_px
    if basis is None:
        return None
    sign, tick = position.side.sign, instrument.tick_size
    stop = _beside(basis, basis - sign * plan.stop_distance, tick)
    target = _beside(basis, basis + sign * plan.target_distance, tick)
    return Desired(
        stop_price=max(stop, tick),
        target_price=max(target, tick),
        basis="entry VWAP" if entry_done else "first fill",
    )


def _beside(basis: Decimal, price: Decimal, tick: Decimal) -> Decimal:
    """Return *price* rounded toward *basis* onto the grid, but never onto or past it."""
    if price < basis:
        rounded = round_to_grid(price, tick, Rounding.UP)
        nearest = round_to_grid(basis, tick, Rounding.UP) - tick
        return min(rounded, nearest)
    rounded = round_to_grid(price, tick, Rounding.DOWN)
    nearest = round_to_grid(basis, tick, Rounding.DOWN) + tick
    return max(rounded, nearest)


def keep_found(
    position: PositionView,
    resting: Sequence[Resting],
    desired: Desired,
    *,
    before: Desired | None,
    mark_px: Decimal | None,
    liquidation_px: Decimal | None,
) -> Desired:
    """
    Return the levels of a position found on the venue: those it has, since somebody chose them.

    A stop counts as found when it alone covers the whole position and can fire before liquidation.
    *before*: what was wanted last, so that a found stop that vanished is restored where it was.
    *mark_px* is looked at while *before* is None only: later it would be old.
    """
    sign = position.side.sign
    whole = [s for s in stops_of(position, resting) if s.qty is None or s.qty >= position.qty]
    stop = effective_stop(position, whole)
    stop_px = stop.trigger_price if stop is not None else None
    if stop_px is not None and liquidation_px is not None and liquidation_px > 0:
        stop_px = None if (stop_px - liquidation_px) * sign <= 0 else stop_px
    if stop_px is not None and mark_px is not None and before is None:
        stop_px = None if (mark_px - stop_px) * sign <= 0 else stop_px
    targets = working(_closing(position, resting), ProtectionRole.TARGET)
    target_px = targets[0].trigger_price if targets else None
    fallback = before or desired
    return Desired(
        stop_price=stop_px if stop_px is not None else fallback.stop_price,
        target_price=target_px if target_px is not None else fallback.target_price,
        basis="as found" if stop_px is not None else fallback.basis,
    )


def _closing(position: PositionView, resting: Sequence[Resting]) -> list[Resting]:
    # A reduce-only order of the other side, left by an earlier position, closes nothing of this.
    return [r for r in resting if r.side is position.side.exit_side]


def stops_of(position: PositionView, resting: Sequence[Resting]) -> list[Resting]:
    """Return the working stops that can close *position*: those of its exit side."""
    return working(_closing(position, resting), ProtectionRole.STOP)


def firing(position: PositionView, resting: Sequence[Resting]) -> list[Resting]:
    """Return the stops and targets of *position* whose trigger was hit and that have not ended."""
    return [r for r in _closing(position, resting) if r.status in FIRING]


def covered_qty(position: PositionView, resting: Sequence[Resting]) -> Decimal:
    """
    Return how much of *position* stops would close now, at most its quantity.

    A stop that is TRIGGERING still covers; whether it does so for too long is the watchdog's.
    """
    stops = stops_of(position, resting)
    if any(stop.qty is None for stop in stops):
        return position.qty
    return min(position.qty, sum((stop.qty for stop in stops if stop.qty is not None), ZERO))


def working(resting: Sequence[Resting], role: ProtectionRole) -> list[Resting]:
    """Return the working orders of *role*."""
    return [r for r in resting if r.role is role and r.status.is_working]


def effective_stop(position: PositionView, resting: Sequence[Resting]) -> Resting | None:
    """Return the stop that would fire first: the highest of a long, the lowest of a short."""
    stops = [s for s in stops_of(position, resting) if s.trigger_price is not None]
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
    acknowledged everything returns nothing. While a stop or target is firing, what covers is left
    alone: the position is about to change.
    """
    if position.qty <= 0:
        return ()
    closing = _closing(position, resting)
    covered = covered_qty(position, closing) >= position.qty
    if firing(position, closing) and covered:
        return ()
    if capabilities.position_protection:
        return _plan_bound(desired, closing, entry_done=entry_done, covered=covered)
    return _plan_orders(position, desired, closing, instrument=instrument, entry_done=entry_done)


def _plan_bound(
    desired: Desired, closing: Sequence[Resting], *, entry_done: bool, covered: bool
) -> tuple[Action, ...]:
    both = SetBoth(stop_price=desired.stop_price, target_price=desired.target_price)
    stop = next((r for r in working(closing, ProtectionRole.STOP) if r.position_bound), None)
    target = next((r for r in working(closing, ProtectionRole.TARGET) if r.position_bound), None)
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
    if not working(closing, ProtectionRole.TARGET):
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
    ours = [s for s in moving if s.purpose is not None and _is_ours(s, position)]
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
    return [PlaceStop(price=desired.stop_price, qty=position.qty)]


def _is_ours(resting: Resting, position: PositionView) -> bool:
    return resting.installation == installation_of(position.position_id)


def installation_of(position_id: str) -> str:
    """Return the installation a position id names (model.order_id)."""
    return position_id.partition("-")[0]


def kind_of(action: Action) -> str:
    """Return the kind of *action*: one of each is under way at a time, each at its own pace."""
    match action:
        case PlaceStop(qty=None):
            return "floor"
        case PlaceStop():
            return "moving"
        case PlaceTarget():
            return "target"
        case SetBoth():
            return "both"
        case Cancel(key=key):
            return f"cancel {key}"


def pace_s(*, naked: bool, failures: int, retry_ms: int) -> float:
    """
    Return how long after one request of a kind the next may leave, loop seconds.

    Naked positions are asked for at a steady pace until the hard deadline; what already covers is
    improved on the 1, 2, 4 s ladder (design.md, Decisions: Protection).
    """
    steady = retry_ms / 1000
    if naked or failures == 0:
        return steady
    return max(steady, float(min(4, 2 ** min(failures - 1, 2))))
