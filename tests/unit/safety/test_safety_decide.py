"""The gate as a matrix: every guard and every unknown denies entries, nothing holds a way out."""

from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import (
    Approved,
    CancelProtection,
    ClosePosition,
    Command,
    EnterPosition,
    PlaceProtection,
    SetPositionProtection,
    TradeIntent,
)
from aegis.model.order import OrderRequest, OrderSide, OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause, ProtectionPlan
from aegis.safety.decide import (
    Denied,
    Exposure,
    GateState,
    Limits,
    VenueState,
    drawdown_pct,
    gate,
)

NOW = 1_000_000_000_000
BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
ETH = InstrumentId("ETHUSDT", Venue.BINANCE)
ETH_BYBIT = InstrumentId("ETHUSDT", Venue.BYBIT)
LIMITS = Limits(
    positions_max=3,
    positions_max_per_venue=2,
    exposure_max_pct=Decimal(200),
    daily_drawdown_max_pct=Decimal(3),
    stale_after_ns=300_000_000_000,
)
HEALTHY = GateState(
    halt_reasons=(),
    venue=VenueState(
        protected=True, equity=Decimal(1000), day_start_equity=Decimal(1000), day_locked=""
    ),
    exposures=(),
    tick_age_ns=1,
    resting=0,
    bar_ns=300_000_000_000,
)
REQUEST = OrderRequest(
    instrument_id=BTC,
    client_order_id="test-1-1-EN1",
    purpose=Purpose.ENTRY,
    side=OrderSide.BUY,
    order_type=OrderType.MARKET,
    qty=Decimal(10),
    reduce_only=False,
)
ENTRY = EnterPosition(
    request=REQUEST,
    side=PositionSide.LONG,
    plan=ProtectionPlan(stop_distance=Decimal(1), target_distance=Decimal(1)),
    leverage=2,
    mark_price=Decimal(100),
    signal_price=Decimal(100),
    signal_id="s",
    expires_ns=NOW + 1,
)
STOP = attrs.evolve(
    REQUEST,
    purpose=Purpose.STOP_FLOOR,
    side=OrderSide.SELL,
    order_type=OrderType.STOP_MARKET,
    qty=None,
    close_position=True,
    reduce_only=True,
    trigger_price=Decimal(90),
)
CLOSE = attrs.evolve(REQUEST, purpose=Purpose.CLOSE_KILL, side=OrderSide.SELL, reduce_only=True)
WAYS_OUT: tuple[Command, ...] = (
    PlaceProtection(request=STOP),
    SetPositionProtection(
        instrument_id=BTC,
        side=PositionSide.LONG,
        stop_price=Decimal(90),
        target_price=Decimal(110),
    ),
    CancelProtection(instrument_id=BTC, client_order_id="x"),
    *(ClosePosition(request=CLOSE, cause=cause) for cause in CloseCause),
)


def exposure(
    instrument: InstrumentId, notional: int | None = 100, *, reserved: bool = False
) -> Exposure:
    """Return an open or reserved position."""
    return Exposure(
        position_id=f"p-{instrument}",
        instrument_id=instrument,
        notional=None if notional is None else Decimal(notional),
        reserved=reserved,
    )


def state(**changes: Any) -> GateState:
    """Return the healthy state with *changes*; venue_* ones go to the venue."""
    venue = {k.removeprefix("venue_"): v for k, v in changes.items() if k.startswith("venue_")}
    rest = {k: v for k, v in changes.items() if not k.startswith("venue_")}
    return attrs.evolve(HEALTHY, venue=attrs.evolve(HEALTHY.venue, **venue), **rest)


def intent_of(command: Command) -> TradeIntent:
    """Return an intent that carries *command*."""
    return TradeIntent(
        intent_id="i", position_id="p", source="t", reason="r", trace_id="t", command=command
    )


BAD_STATES: dict[str, tuple[str, GateState]] = {
    "halted": ("halt", state(halt_reasons=("kill switch by me: test",))),
    "start not finished": ("start", state(venue_protected=False)),
    "no quote yet": ("freshness", state(tick_age_ns=None)),
    "stale": ("freshness", state(tick_age_ns=600_000_000_001)),
    "position there": ("one_position", state(exposures=(exposure(BTC),))),
    "entry reserved there": ("one_position", state(exposures=(exposure(BTC, reserved=True),))),
    "stray orders": ("stray_orders", state(resting=1)),
    "all slots taken": (
        "slots",
        state(exposures=(exposure(ETH), *(exposure(ETH_BYBIT, reserved=True),) * 2)),
    ),
    "venue slots taken": (
        "venue_slots",
        state(exposures=(exposure(ETH), exposure(ETH, reserved=True))),
    ),
    "day locked": ("daily_drawdown", state(venue_day_locked="down 3.10 %")),
    "drawdown": ("daily_drawdown", state(venue_equity=Decimal(970))),
    "equity unknown": ("daily_drawdown", state(venue_equity=None)),
    "equity not a number": ("daily_drawdown", state(venue_equity=Decimal("NaN"))),
    "day start unknown": ("daily_drawdown", state(venue_day_start_equity=None)),
    "day start zero": ("daily_drawdown", state(venue_day_start_equity=Decimal(0))),
    "equity gone": ("daily_drawdown", state(venue_equity=Decimal(0))),
    "exposure": ("exposure", state(exposures=(exposure(ETH, 1001),))),
    "exposure unknown": ("exposure", state(exposures=(exposure(ETH, None),))),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_every_guard_and_every_unknown_denies_an_entry(case: str) -> None:
    """R67, R70: the guard named, all guards asked."""
    guard, bad = BAD_STATES[case]

    verdict = gate(bad, intent_of(ENTRY), LIMITS, NOW)

    assert isinstance(verdict.outcome, Denied)
    assert guard == verdict.outcome.guard
    assert len(gate(HEALTHY, intent_of(ENTRY), LIMITS, NOW).checks) == len(verdict.checks)


@pytest.mark.parametrize("case", BAD_STATES)
@pytest.mark.parametrize("command", WAYS_OUT, ids=lambda c: type(c).__name__)
def test_every_risk_reducing_command_passes_every_guard(case: str, command: Command) -> None:
    """R58, R70, scenario 3: nothing may trap us in a position."""
    intent = intent_of(command)

    assert Approved(intent) == gate(BAD_STATES[case][1], intent, LIMITS, NOW).outcome


def test_a_healthy_state_lets_an_entry_pass() -> None:
    """The matrix above denies for its reasons alone."""
    verdict = gate(HEALTHY, intent_of(ENTRY), LIMITS, NOW)

    assert Approved(intent_of(ENTRY)) == verdict.outcome
    assert all(check.passed for check in verdict.checks)


def test_an_expired_entry_is_denied() -> None:
    """R24: at its expiry a signal is too old."""
    verdict = gate(HEALTHY, intent_of(ENTRY), LIMITS, NOW + 1)

    assert isinstance(verdict.outcome, Denied)
    assert "expiry" == verdict.outcome.guard


@pytest.mark.parametrize(
    ("seen", "passes"),
    [
        ({"tick_age_ns": 600_000_000_000}, True),
        ({"exposures": (exposure(ETH, 1000),)}, True),
        ({"exposures": (exposure(ETH_BYBIT, 100_000), exposure(ETH_BYBIT, None))}, True),
        ({"exposures": (exposure(InstrumentId("BTCUSDT", Venue.BYBIT)),)}, True),
        ({"venue_equity": Decimal("970.01")}, True),
        ({"venue_equity": Decimal("970.00")}, False),
        ({"exposures": (exposure(ETH, 1001),)}, False),
    ],
)
def test_limits_hold_at_their_edges(seen: dict[str, Any], passes: bool) -> None:
    """R64, R67, R69, scenario 15: inclusive where said; the other venue has its own limits."""
    outcome = gate(state(**seen), intent_of(ENTRY), LIMITS, NOW).outcome

    assert passes == isinstance(outcome, Approved)


@pytest.mark.parametrize("mark", ["0", "-1", "NaN"])
def test_a_notional_that_is_none_denies(mark: str) -> None:
    """R67: the proposed exposure is known and above zero, or there is no entry."""
    entry = attrs.evolve(ENTRY, mark_price=Decimal(mark))

    outcome = gate(HEALTHY, intent_of(entry), LIMITS, NOW).outcome

    assert isinstance(outcome, Denied)
    assert "exposure" == outcome.guard


def test_drawdown_is_a_share_of_the_days_start() -> None:
    """R64: from 1000 to 970 is 3 %, a gain is below zero."""
    assert Decimal(3) == drawdown_pct(state(venue_equity=Decimal(970)).venue)
    assert Decimal(-1) == drawdown_pct(state(venue_equity=Decimal(1010)).venue)
