"""
Pure decisions of trade: how large an entry may be, and the order that expresses it.

Formulas: qty = equity * risk / stop distance, floored to the step (R26). A stop must lie well
inside liquidation: stop distance <= use * entry * (1 / leverage - maintenance rate), else leverage
is reduced (R29; isolated margin, venues.md 6).
"""

from decimal import ROUND_FLOOR, Context, Decimal
from typing import Final

import attrs

from aegis.model.account import Capabilities
from aegis.model.instrument import Instrument
from aegis.model.money import ONE, ZERO, Rounding, floor_to_step, round_to_grid
from aegis.model.order import (
    AttachedProtection,
    OrderRequest,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.model.position import ProtectionPlan
from aegis.model.signal import Signal

_DOWN: Final = Context(prec=28, rounding=ROUND_FLOOR)
_HUNDRED: Final = Decimal(100)
_USABLE: Final = Decimal("0.95")


@attrs.frozen(slots=True, kw_only=True)
class SizeLimits:
    """The operator's limits for one entry; *risk_pct* percent of equity, others USDT or factors."""

    risk_pct: Decimal
    leverage: int
    notional_max: Decimal
    liquidation_use_max: Decimal
    drift_max_pct: Decimal


@attrs.frozen(slots=True, kw_only=True)
class Sized:
    """An entry that fits: *qty* base units on the step, *leverage* to set before it."""

    qty: Decimal
    leverage: int
    plan: ProtectionPlan
    risk: Decimal
    """Loss at the stop before fees, USDT; at most the risk budget."""


@attrs.frozen(slots=True, kw_only=True)
class NotSized:
    """Why there is no entry."""

    reason: str


def size_entry(
    signal: Signal,
    instrument: Instrument,
    *,
    equity: Decimal | None,
    available: Decimal | None,
    mark_price: Decimal | None,
    limits: SizeLimits,
) -> Sized | NotSized:
    """
    Size an entry by its risk at the stop.

    *equity* and *available* in USDT, None while unknown: then there is no entry (R43, R70).
    *mark_price* quote per base, None while unknown.
    """
    if equity is None or not equity.is_finite() or equity <= 0:
        return NotSized(reason=f"equity was {equity} USDT")
    if available is None or not available.is_finite():
        return NotSized(reason="free margin is unknown")
    if mark_price is None or not mark_price.is_finite() or mark_price <= 0:
        return NotSized(reason="mark price is unknown")
    if not _is_sane(signal):
        return NotSized(
            reason=f"signal had reference {signal.reference_px}, stop distance "
            f"{signal.stop_distance}, target distance {signal.target_distance}: all must be > 0"
        )
    drift_pct = abs(mark_price - signal.reference_px) / signal.reference_px * 100
    if drift_pct > limits.drift_max_pct:
        return NotSized(
            reason=f"mark {mark_price} is {drift_pct:.2f} % from the signal's "
            f"{signal.reference_px}, limit {limits.drift_max_pct} %"
        )
    plan = plan_on_grid(signal, instrument)
    leverage = leverage_for(plan.stop_distance, mark_price, instrument, limits)
    if leverage is None:
        return NotSized(
            reason=f"a stop {plan.stop_distance} away is too near liquidation at any leverage"
        )
    # A quotient rounded up in its last digit could reach the next step.
    times, over = _DOWN.multiply, _DOWN.divide
    # A twentieth stays free for fees and for the price moving before the order arrives.
    free_notional = times(times(available, _USABLE), leverage)
    qty = min(
        over(over(times(equity, limits.risk_pct), _HUNDRED), plan.stop_distance),
        over(min(limits.notional_max, free_notional), mark_price),
    )
    for cap in (instrument.qty_max, instrument.market_qty_max):
        if cap and cap < qty:
            qty = cap
    qty = max(ZERO, floor_to_step(qty, instrument.qty_step))
    if qty < instrument.qty_min or qty <= 0:
        return NotSized(
            reason=f"quantity would be {qty}, the venue's minimum {instrument.qty_min} breaks the "
            f"risk of {limits.risk_pct} % of equity, the free margin or a maximum"
        )
    if instrument.notional_min and qty * mark_price < instrument.notional_min:
        return NotSized(
            reason=f"notional would be {qty * mark_price:.2f} USDT, "
            f"the venue's minimum is {instrument.notional_min} USDT"
        )
    return Sized(qty=qty, leverage=leverage, plan=plan, risk=qty * plan.stop_distance)


def _is_sane(signal: Signal) -> bool:
    # A distance of nothing would become one tick, and the quantity enormous.
    price, stop, target = signal.reference_px, signal.stop_distance, signal.target_distance
    return (price.is_finite() and stop.is_finite() and target.is_finite()) and (
        price > 0 and stop > 0 and target > 0
    )


def plan_on_grid(signal: Signal, instrument: Instrument) -> ProtectionPlan:
    """Return stop and target distances as multiples of the tick, at least one tick each."""
    tick = instrument.tick_size
    return ProtectionPlan(
        stop_distance=max(tick, round_to_grid(signal.stop_distance, tick, Rounding.NEAREST)),
        target_distance=max(tick, round_to_grid(signal.target_distance, tick, Rounding.NEAREST)),
    )


def leverage_for(
    stop_distance: Decimal, mark_price: Decimal, instrument: Instrument, limits: SizeLimits
) -> int | None:
    """Return the highest allowed leverage whose liquidation lies well beyond the stop, or None."""
    for leverage in range(min(limits.leverage, instrument.leverage_max), 0, -1):
        way = mark_price * (ONE / leverage - instrument.maint_margin_rate)
        if stop_distance <= way * limits.liquidation_use_max:
            return leverage
    return None


def _attached(
    plan: ProtectionPlan, side: PositionSide, mark_price: Decimal, tick: Decimal
) -> AttachedProtection:
    # Both levels round toward the mark, so that rounding never adds risk; a mark between two ticks
    # still gets a stop on its far side.
    long = side is PositionSide.LONG
    below, above = (
        (plan.stop_distance, plan.target_distance)
        if long
        else (plan.target_distance, plan.stop_distance)
    )
    last_below = round_to_grid(mark_price, tick, Rounding.UP) - tick
    first_above = round_to_grid(mark_price, tick, Rounding.DOWN) + tick
    low = min(last_below, round_to_grid(mark_price - below, tick, Rounding.UP))
    high = max(first_above, round_to_grid(mark_price + above, tick, Rounding.DOWN))
    low = max(tick, low)
    return AttachedProtection(stop_price=low if long else high, target_price=high if long else low)


def stop_first_request(
    sized: Sized,
    side: PositionSide,
    instrument: Instrument,
    *,
    mark_price: Decimal,
    client_order_id: str,
) -> OrderRequest:
    """
    Return the reduce-only stop that rests before the entry leaves (design.md, Decisions).

    At the plan's distance from the mark at sizing, for all of the quantity: from the first fill on
    it covers whatever has filled. Exit puts the stops at the entry price's distance beside it.
    """
    return OrderRequest(
        instrument_id=instrument.instrument_id,
        client_order_id=client_order_id,
        purpose=Purpose.STOP_ENTRY,
        side=side.exit_side,
        order_type=OrderType.STOP_MARKET,
        qty=sized.qty,
        reduce_only=True,
        trigger_price=_attached(sized.plan, side, mark_price, instrument.tick_size).stop_price,
    )


def entry_request(
    sized: Sized,
    side: PositionSide,
    instrument: Instrument,
    *,
    mark_price: Decimal,
    client_order_id: str,
    capabilities: Capabilities,
) -> OrderRequest:
    """
    Return the market order that enters, with stop and target attached where the venue can.

    Attached levels stand at the plan's distances from the mark at sizing; exit moves them to the
    entry price's distances after the fill (R19 scenario: protection from the fill).
    """
    attached = None
    if capabilities.attached_protection:
        attached = _attached(sized.plan, side, mark_price, instrument.tick_size)
    return OrderRequest(
        instrument_id=instrument.instrument_id,
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY,
        side=side.entry_side,
        order_type=OrderType.MARKET,
        qty=sized.qty,
        reduce_only=False,
        attached=attached,
    )
