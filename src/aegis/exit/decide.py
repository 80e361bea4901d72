"""
Pure decisions of exit: the protection a position should have by its plan or as it was found, and
what covers it now. The way from one to the other is in plan.py, what moves a stop in trail.py.

Coverage is what the venue reports, never what we remember having sent (design.md, Protection).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.account import ProtectionRole
from aegis.model.instrument import Instrument
from aegis.model.money import ZERO, Rounding, round_to_grid
from aegis.model.order import OrderSide, OrderStatus, Purpose
from aegis.model.position import CloseCause, PositionView, ProtectionPlan

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
class Rung:
    """A part of the position to be taken at a price; *qty* in base units, what is left of it."""

    price: Decimal
    qty: Decimal


@attrs.frozen(slots=True, kw_only=True)
class Desired:
    """
    Stop, target and rungs a position should have; on the tick grid, on the right side of its basis.

    *cause*: what a close at the stop is called (R79).
    """

    stop_price: Decimal
    target_price: Decimal
    basis: str
    cause: CloseCause = CloseCause.SL
    rungs: tuple[Rung, ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class PlaceStop:
    """Place a stop; *qty* None closes whatever is open (the floor)."""

    price: Decimal
    qty: Decimal | None
    cause: CloseCause = CloseCause.SL


@attrs.frozen(slots=True, kw_only=True)
class PlaceTarget:
    """Place the target for whatever is open."""

    price: Decimal


@attrs.frozen(slots=True, kw_only=True)
class PlaceRung:
    """Place a rung of the ladder: a target of a part of the position."""

    price: Decimal
    qty: Decimal


@attrs.frozen(slots=True, kw_only=True)
class TakeRung:
    """Do at market what a rung would do whose price is reached already (R47)."""

    price: Decimal
    qty: Decimal


@attrs.frozen(slots=True, kw_only=True)
class SetBoth:
    """Set the position's own stop and target in place."""

    stop_price: Decimal
    target_price: Decimal
    cause: CloseCause = CloseCause.SL


@attrs.frozen(slots=True, kw_only=True)
class Cancel:
    """Cancel a protective order that a better one has replaced."""

    key: str


Action = PlaceStop | PlaceTarget | PlaceRung | TakeRung | SetBoth | Cancel

PACE_MAX_S: Final = 60.0
"""What covers already is improved at this pace at the slowest, however often the venue refused."""


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
    stop = beside(basis, basis - sign * plan.stop_distance, tick)
    target = beside(basis, basis + sign * plan.target_distance, tick)
    return Desired(
        stop_price=max(stop, tick),
        target_price=max(target, tick),
        basis="entry VWAP" if entry_done else "first fill",
    )


def beside(basis: Decimal, price: Decimal, tick: Decimal) -> Decimal:
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
    targets = targets_of(closing_of(position, resting))
    target_px = targets[0].trigger_price if targets else None
    fallback = before or desired
    return Desired(
        stop_price=stop_px if stop_px is not None else fallback.stop_price,
        target_price=target_px if target_px is not None else fallback.target_price,
        basis="as found" if stop_px is not None else fallback.basis,
    )


def tighter_found(
    position: PositionView, resting: Sequence[Resting], stop_price: Decimal
) -> Resting | None:
    """
    Return the tightest stop found that is tighter than *stop_price*; None when there is none.

    It must cover the whole position, or be an order of our own: those follow the quantity (R51).
    """
    found = [
        s
        for s in stops_of(position, resting)
        if s.qty is None or s.qty >= position.qty or is_ours(s, position)
    ]
    stop = effective_stop(position, found)
    if stop is None or stop.trigger_price is None:
        return None
    return stop if (stop.trigger_price - stop_price) * position.side.sign > 0 else None


def is_ours(resting: Resting, position: PositionView) -> bool:
    """Say whether the installation that opened *position* placed *resting*."""
    return resting.purpose is not None and (
        resting.installation == installation_of(position.position_id)
    )


def closing_of(position: PositionView, resting: Sequence[Resting]) -> list[Resting]:
    """Return what can close *position*: orders of its exit side."""
    # A reduce-only order of the other side, left by an earlier position, closes nothing of this.
    return [r for r in resting if r.side is position.side.exit_side]


def stops_of(position: PositionView, resting: Sequence[Resting]) -> list[Resting]:
    """Return the working stops that can close *position*: those of its exit side."""
    return working(closing_of(position, resting), ProtectionRole.STOP)


def firing(position: PositionView, resting: Sequence[Resting]) -> list[Resting]:
    """
    Return the stops and targets of *position* whose trigger was hit and that have not ended.

    Rungs are not among them: one that fires takes its part and leaves the position open.
    """
    fired = [r for r in closing_of(position, resting) if r.status in FIRING]
    return [r for r in fired if r.purpose is not Purpose.RUNG]


def is_through(
    position: PositionView, resting: Sequence[Resting], mark_px: Decimal, tick: Decimal
) -> bool:
    """
    Say whether the mark is beyond the stop of *position* and nothing is seen to fire.

    By more than a *tick*: a mark may be told rounded to where the stop lies and not be there yet.
    """
    stop = effective_stop(position, resting)
    if stop is None or stop.trigger_price is None or firing(position, resting):
        return False
    return (mark_px - stop.trigger_price) * position.side.sign < -tick


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


def targets_of(resting: Sequence[Resting]) -> list[Resting]:
    """Return the working targets, rungs of the ladder left out."""
    return [r for r in working(resting, ProtectionRole.TARGET) if r.purpose is not Purpose.RUNG]


def effective_stop(position: PositionView, resting: Sequence[Resting]) -> Resting | None:
    """Return the stop that would fire first: the highest of a long, the lowest of a short."""
    stops = [s for s in stops_of(position, resting) if s.trigger_price is not None]
    if not stops:
        return None
    return max(stops, key=lambda s: (s.trigger_price or ZERO) * position.side.sign)


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
        case PlaceRung(price=price) | TakeRung(price=price):
            return f"rung {price}"
        case SetBoth():
            return "both"
        case Cancel(key=key):
            return f"cancel {key}"


def pace_s(*, naked: bool, failures: int, retry_ms: int) -> float:
    """
    Return how long after one request of a kind the next may leave, loop seconds.

    Naked positions are asked for at a steady pace until the hard deadline; what already covers is
    improved after 1, 2, 4 s and then ever more rarely, up to PACE_MAX_S (R48).
    """
    steady = retry_ms / 1000
    if naked or failures == 0:
        return steady
    return max(steady, min(PACE_MAX_S, 2.0 ** min(failures - 1, 6)))
