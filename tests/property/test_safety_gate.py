"""Laws of the gate over any state: exits are never refused, approved entries fit every limit."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import Approved, ClosePosition, EnterPosition, TradeIntent
from aegis.model.order import OrderRequest, OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause, ProtectionPlan
from aegis.safety.decide import Exposure, GateState, Limits, VenueState, gate

NOW = 10**18
BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
IDS = st.builds(
    InstrumentId, st.sampled_from(["BTCUSDT", "ETHUSDT", "XRPUSDT"]), st.sampled_from(Venue)
)
MONEY = st.none() | st.integers(-1000, 100_000).map(Decimal)
STATES = st.builds(
    GateState,
    halt_reasons=st.lists(st.text(min_size=1, max_size=3), max_size=1).map(tuple),
    venue=st.builds(
        VenueState,
        protected=st.booleans() | st.just(True),
        equity=MONEY,
        day_start_equity=MONEY,
        day_locked=st.sampled_from(["", "", "down"]),
    ),
    exposures=st.lists(
        st.builds(
            Exposure,
            position_id=st.just("p"),
            instrument_id=IDS,
            notional=st.none() | st.integers(0, 50_000).map(Decimal),
            reserved=st.booleans(),
        ),
        max_size=4,
    ).map(tuple),
    tick_age_ns=st.none() | st.integers(0, 10**9),
    resting=st.integers(0, 1),
    bar_ns=st.integers(0, 10**9),
)
LIMITS = st.builds(
    Limits,
    positions_max=st.integers(1, 5),
    positions_max_per_venue=st.integers(1, 5),
    exposure_max_pct=st.integers(1, 500).map(Decimal),
    daily_drawdown_max_pct=st.integers(1, 50).map(Decimal),
    stale_after_ns=st.integers(0, 10**9),
)


def _request(side: PositionSide, qty: Decimal, *, entry: bool) -> OrderRequest:
    return OrderRequest(
        instrument_id=BTC,
        client_order_id="test-1-1-EN1",
        purpose=Purpose.ENTRY if entry else Purpose.CLOSE_FLATTEN,
        side=side.entry_side if entry else side.exit_side,
        order_type=OrderType.MARKET,
        qty=qty,
        reduce_only=not entry,
    )


def _intent(command: EnterPosition | ClosePosition) -> TradeIntent:
    return TradeIntent(
        intent_id="i", position_id="p", source="t", reason="r", trace_id="t", command=command
    )


@settings(deadline=None)
@given(
    state=STATES,
    limits=LIMITS,
    side=st.sampled_from(PositionSide),
    cause=st.sampled_from(CloseCause),
    qty=st.integers(1, 10**9).map(Decimal),
)
def test_a_close_is_never_refused(
    state: GateState, limits: Limits, side: PositionSide, cause: CloseCause, qty: Decimal
) -> None:
    """R58: whatever is known or unknown, a way out passes and no guard is asked."""
    intent = _intent(ClosePosition(request=_request(side, qty, entry=False), cause=cause))

    verdict = gate(state, intent, limits, NOW)

    assert Approved(intent) == verdict.outcome
    assert () == verdict.checks


@settings(deadline=None)
@given(
    state=STATES,
    limits=LIMITS,
    side=st.sampled_from(PositionSide),
    qty=st.integers(1, 100).map(Decimal),
    mark=st.integers(1, 1000).map(Decimal),
    left_ns=st.integers(-5, 5),
)
def test_an_approved_entry_fits_every_limit(
    state: GateState,
    limits: Limits,
    side: PositionSide,
    qty: Decimal,
    mark: Decimal,
    left_ns: int,
) -> None:
    """R37, R64, R67, R70: computed anew from the state; asked twice, the same word."""
    intent = _intent(
        EnterPosition(
            request=_request(side, qty, entry=True),
            side=side,
            plan=ProtectionPlan(stop_distance=Decimal(1), target_distance=Decimal(1)),
            leverage=1,
            mark_price=mark,
            signal_price=mark,
            signal_id="s",
            expires_ns=NOW + left_ns,
        )
    )
    verdict = gate(state, intent, limits, NOW)
    here = [e for e in state.exposures if e.instrument_id.venue is Venue.BINANCE]
    equity, start = state.venue.equity, state.venue.day_start_equity
    known = equity is not None and start is not None and all(e.notional is not None for e in here)
    fits = known and (
        not state.halt_reasons
        and state.venue.protected
        and not state.venue.day_locked
        and left_ns > 0
        and state.tick_age_ns is not None
        and state.tick_age_ns <= limits.stale_after_ns + state.bar_ns
        and all(e.instrument_id != BTC for e in state.exposures)
        and state.resting == 0
        and len(state.exposures) < limits.positions_max
        and len(here) < limits.positions_max_per_venue
        and _money_fits(state, limits, here, qty * mark)
    )

    assert fits == isinstance(verdict.outcome, Approved)
    assert verdict == gate(state, intent, limits, NOW)


def _money_fits(state: GateState, limits: Limits, here: list[Exposure], proposed: Decimal) -> bool:
    equity, start = state.venue.equity, state.venue.day_start_equity
    assert equity is not None
    assert start is not None
    total = proposed + sum((e.notional or Decimal(0) for e in here), Decimal(0))
    return (
        equity > 0
        and start > 0
        and (start - equity) * 100 < limits.daily_drawdown_max_pct * start
        and total * 100 <= equity * limits.exposure_max_pct
    )
