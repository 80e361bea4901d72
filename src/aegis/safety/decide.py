"""
The gate: whether an intent may leave the process. Pure: no clock, no await, no log.

Risk-reducing intents always pass, even blind (R58): nothing may trap us in a position. An entry
passes only when every guard has its data and says yes; an unknown denies (R70). `Approved` is
written here and nowhere else.
"""

from decimal import Decimal
from typing import Final, NamedTuple

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
    UTC day, "" when they do not; *account_doubt* why the account is being asked anew; *second_leg*
    what is open beside a position of the bot in hedge mode.
    """

    protected: bool
    equity: Decimal | None
    day_start_equity: Decimal | None
    day_locked: str
    account_doubt: str = ""
    second_leg: str = ""


@attrs.frozen(slots=True, kw_only=True)
class GateState:
    """Everything the gate looks at. *tick_age_ns* None: no quote yet; *resting*: stray orders."""

    halt_reasons: tuple[str, ...]
    venue: VenueState
    exposures: tuple[Exposure, ...]
    tick_age_ns: int | None
    resting: int
    bar_ns: int


class Check(NamedTuple):
    """
    What one guard saw; *seen* is in words with values and units.

    The words are put together when somebody reads them, not while an order waits.
    """

    guard: str
    passed: bool
    words: str
    values: tuple[object, ...] = ()

    @property
    def seen(self) -> str:
        """Return what the guard saw."""
        return self.words.format(*self.values)


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
    instrument = command.request.instrument_id
    notional = (command.request.qty or ZERO) * command.mark_price
    checks = (
        _halt(state),
        _protected(state),
        _account(state),
        _expiry(command, now_ns),
        _fresh(state, limits),
        _alone(state, instrument),
        _no_stray_orders(state),
        *_slots(state, instrument.venue, limits),
        _drawdown(state.venue, limits),
        _exposure(state, instrument.venue, notional, limits),
    )
    for check in checks:
        if not check.passed:
            return Verdict(outcome=Denied(guard=check.guard, reason=check.seen), checks=checks)
    return Verdict(outcome=Approved(intent), checks=checks)


def drawdown_pct(venue: VenueState) -> Decimal | None:
    """Return the loss since the day's start in percent of it, > 0 is a loss; None when unknown."""
    if venue.equity is None or venue.day_start_equity is None:
        return None
    if not venue.equity.is_finite() or not venue.day_start_equity > 0:
        return None
    return (venue.day_start_equity - venue.equity) / venue.day_start_equity * 100


# What is said of every entry that passes, once and for all.
_NO_HALT: Final = Check("halt", True, "no halt")
_STARTED: Final = Check("start", True, "start finished")
_ACCOUNT_KNOWN: Final = Check("account", True, "account is known")
_FREE: Final = Check("one_position", True, "instrument is free")
_STRAY_WORDS: Final = "{} reduce-only orders of an earlier position rest there"
_NO_STRAY: Final = Check("stray_orders", True, _STRAY_WORDS, (0,))


def _halt(state: GateState) -> Check:
    reasons = state.halt_reasons
    if not reasons:
        return _NO_HALT
    return Check("halt", False, "{}", ("; ".join(reasons),))


def _protected(state: GateState) -> Check:
    if state.venue.protected:
        return _STARTED
    return Check("start", False, "positions found at start are not all protected yet")


def _account(state: GateState) -> Check:
    doubt = state.venue.account_doubt
    if doubt:
        return Check("account", False, "account is being asked anew: {}", (doubt,))
    if state.venue.second_leg:
        return Check("account", False, "{}", (state.venue.second_leg,))
    return _ACCOUNT_KNOWN


def _expiry(command: EnterPosition, now_ns: int) -> Check:
    left_ns = command.expires_ns - now_ns
    return Check("expiry", left_ns > 0, "signal expires in {:.1f} s", (left_ns / 1e9,))


def _fresh(state: GateState, limits: Limits) -> Check:
    limit_ns = limits.stale_after_ns + state.bar_ns
    age_ns = state.tick_age_ns
    if age_ns is None:
        return Check("freshness", False, "no quote yet")
    words = "newest data {:.1f} s old, limit {:.0f} s"
    return Check("freshness", age_ns <= limit_ns, words, (age_ns / 1e9, limit_ns / 1e9))


def _alone(state: GateState, instrument: InstrumentId) -> Check:
    for each in state.exposures:
        if each.instrument_id == instrument:
            taken = (instrument, each.position_id)
            return Check("one_position", False, "{} is taken by {}", taken)
    return _FREE


def _no_stray_orders(state: GateState) -> Check:
    if not state.resting:
        return _NO_STRAY
    return Check("stray_orders", False, _STRAY_WORDS, (state.resting,))


def _slots(state: GateState, venue: Venue, limits: Limits) -> tuple[Check, Check]:
    total = len(state.exposures)
    here = sum(1 for e in state.exposures if e.instrument_id.venue is venue) if total else 0
    total_max, here_max = limits.positions_max, limits.positions_max_per_venue
    return (
        Check(
            "slots",
            total < total_max,
            "{} of {} positions open or reserved",
            (total, total_max),
        ),
        Check("venue_slots", here < here_max, "{} of {} on {}", (here, here_max, venue.value)),
    )


def _drawdown(venue: VenueState, limits: Limits) -> Check:
    if venue.day_locked:
        return Check("daily_drawdown", False, "{}", (venue.day_locked,))
    loss = drawdown_pct(venue)
    if loss is None:
        return Check("daily_drawdown", False, "equity is unknown")
    limit = limits.daily_drawdown_max_pct
    return Check("daily_drawdown", loss < limit, "down {:.2f} % today, limit {} %", (loss, limit))


def _exposure(state: GateState, venue: Venue, proposed: Decimal, limits: Limits) -> Check:
    equity = state.venue.equity
    if equity is None or not equity.is_finite() or equity <= 0:
        return Check("exposure", False, "equity was {} USDT", (equity,))
    if not proposed.is_finite() or proposed <= 0:
        return Check("exposure", False, "notional asked was {} USDT", (proposed,))
    total = proposed
    for each in state.exposures:
        if each.instrument_id.venue is venue:
            if each.notional is None:
                return Check("exposure", False, "a position's mark price is unknown")
            total += each.notional
    limit = equity * limits.exposure_max_pct / 100
    words = "notional would be {:.2f} USDT, limit {:.2f} USDT"
    return Check("exposure", total <= limit, words, (total, limit))
