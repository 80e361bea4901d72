"""
The gate: whether an intent may leave the process. Pure: no clock, no await, no log.

Risk-reducing intents always pass, even blind (R58): nothing may trap us in a position. An entry
passes only when every guard has its data and says yes; an unknown denies (R70). `Approved` is
written here and nowhere else.
"""

from decimal import Decimal

import attrs

from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import Approved, EnterPosition, TradeIntent
from aegis.model.money import ZERO


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """The operator's limits; percentages of the venue's equity, 100 is the whole."""

    positions_max: int
    positions_max_per_venue: int
    exposure_max_pct: Decimal
    daily_drawdown_max_pct: Decimal
    stale_after_ns: int


@attrs.frozen(slots=True, kw_only=True)
class Exposure:
    """One open position or one reserved entry: *notional* in USDT, >= 0, None while unknown."""

    position_id: str
    instrument_id: InstrumentId
    notional: Decimal | None
    reserved: bool


@attrs.frozen(slots=True, kw_only=True)
class VenueState:
    """
    What safety knows of one venue now. None is unknown.

    *equity* and *day_start_equity* in USDT; *day_locked* tells why entries stay off until the next
    UTC day, "" when they do not.
    """

    protected: bool
    equity: Decimal | None
    day_start_equity: Decimal | None
    day_locked: str


@attrs.frozen(slots=True, kw_only=True)
class GateState:
    """Everything the gate looks at. *tick_age_ns* None: no quote yet; *resting*: stray orders."""

    halt_reasons: tuple[str, ...]
    venue: VenueState
    exposures: tuple[Exposure, ...]
    tick_age_ns: int | None
    resting: int
    bar_ns: int


@attrs.frozen(slots=True, kw_only=True)
class Check:
    """What one guard saw: *seen* in words with values and units."""

    guard: str
    passed: bool
    seen: str


@attrs.frozen(slots=True, kw_only=True)
class Denied:
    """A refusal is a value: which guard, why."""

    guard: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class Verdict:
    """The gate's answer and what every guard saw; no checks for risk-reducing intents."""

    outcome: Approved | Denied
    checks: tuple[Check, ...]


def gate(state: GateState, intent: TradeIntent, limits: Limits, now_ns: int) -> Verdict:
    """
    Decide whether *intent* may leave.

    Every guard is asked, so that the journal shows what each saw (R67, R70); the first one that
    says no names the refusal.
    """
    command = intent.command
    if not isinstance(command, EnterPosition):
        return Verdict(outcome=Approved(intent), checks=())
    notional = (command.request.qty or ZERO) * command.mark_price
    checks = (
        _halt(state),
        _protected(state),
        _expiry(command, now_ns),
        _fresh(state, limits),
        _alone(state, intent.instrument_id),
        _no_stray_orders(state),
        *_slots(state, intent.instrument_id.venue, limits),
        _drawdown(state.venue, limits),
        _exposure(state, intent.instrument_id.venue, notional, limits),
    )
    refused = next((check for check in checks if not check.passed), None)
    if refused is None:
        return Verdict(outcome=Approved(intent), checks=checks)
    return Verdict(outcome=Denied(guard=refused.guard, reason=refused.seen), checks=checks)


def drawdown_pct(venue: VenueState) -> Decimal | None:
    """Return the loss since the day's start in percent of it, > 0 is a loss; None when unknown."""
    if venue.equity is None or venue.day_start_equity is None:
        return None
    if not venue.equity.is_finite() or not venue.day_start_equity > 0:
        return None
    return (venue.day_start_equity - venue.equity) / venue.day_start_equity * 100


def _halt(state: GateState) -> Check:
    seen = "; ".join(state.halt_reasons) or "no halt"
    return Check(guard="halt", passed=not state.halt_reasons, seen=seen)


def _protected(state: GateState) -> Check:
    ready = state.venue.protected
    seen = "start finished" if ready else "positions found at start are not all protected yet"
    return Check(guard="start", passed=ready, seen=seen)


def _expiry(command: EnterPosition, now_ns: int) -> Check:
    left_ns = command.expires_ns - now_ns
    return Check(
        guard="expiry", passed=left_ns > 0, seen=f"signal expires in {left_ns / 1e9:.1f} s"
    )


def _fresh(state: GateState, limits: Limits) -> Check:
    limit_ns = limits.stale_after_ns + state.bar_ns
    if state.tick_age_ns is None:
        return Check(guard="freshness", passed=False, seen="no quote yet")
    seen = f"newest data {state.tick_age_ns / 1e9:.1f} s old, limit {limit_ns / 1e9:.0f} s"
    return Check(guard="freshness", passed=state.tick_age_ns <= limit_ns, seen=seen)


def _alone(state: GateState, instrument: InstrumentId) -> Check:
    busy = [e for e in state.exposures if e.instrument_id == instrument]
    seen = f"{instrument} is taken by {busy[0].position_id}" if busy else "instrument is free"
    return Check(guard="one_position", passed=not busy, seen=seen)


def _no_stray_orders(state: GateState) -> Check:
    seen = f"{state.resting} reduce-only orders of an earlier position rest there"
    return Check(guard="stray_orders", passed=state.resting == 0, seen=seen)


def _slots(state: GateState, venue: Venue, limits: Limits) -> tuple[Check, Check]:
    total = len(state.exposures)
    here = sum(1 for e in state.exposures if e.instrument_id.venue is venue)
    return (
        Check(
            guard="slots",
            passed=total < limits.positions_max,
            seen=f"{total} of {limits.positions_max} positions open or reserved",
        ),
        Check(
            guard="venue_slots",
            passed=here < limits.positions_max_per_venue,
            seen=f"{here} of {limits.positions_max_per_venue} on {venue.value}",
        ),
    )


def _drawdown(venue: VenueState, limits: Limits) -> Check:
    if venue.day_locked:
        return Check(guard="daily_drawdown", passed=False, seen=venue.day_locked)
    loss = drawdown_pct(venue)
    if loss is None:
        return Check(guard="daily_drawdown", passed=False, seen="equity is unknown")
    seen = f"down {loss:.2f} % today, limit {limits.daily_drawdown_max_pct} %"
    return Check(guard="daily_drawdown", passed=loss < limits.daily_drawdown_max_pct, seen=seen)


def _exposure(state: GateState, venue: Venue, proposed: Decimal, limits: Limits) -> Check:
    equity = state.venue.equity
    if equity is None or not equity.is_finite() or equity <= 0:
        return Check(guard="exposure", passed=False, seen=f"equity was {equity} USDT")
    if not proposed.is_finite() or proposed <= 0:
        return Check(guard="exposure", passed=False, seen=f"notional asked was {proposed} USDT")
    here = [e.notional for e in state.exposures if e.instrument_id.venue is venue]
    if any(notional is None for notional in here):
        return Check(guard="exposure", passed=False, seen="a position's mark price is unknown")
    total = sum((n for n in here if n is not None), proposed)
    limit = equity * limits.exposure_max_pct / 100
    seen = f"notional would be {total:.2f} USDT, limit {limit:.2f} USDT"
    return Check(guard="exposure", passed=total <= limit, seen=seen)
