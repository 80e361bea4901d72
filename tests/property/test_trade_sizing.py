"""Laws of sizing: the loss at the stop fits the budget, scale does not matter, the stop is safe."""

from decimal import Decimal

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.model.account import Capabilities
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.market import MINUTE_NS
from aegis.model.order import PositionSide
from aegis.model.signal import Signal
from aegis.trade.decide import NotSized, Sized, SizeLimits, entry_request, size_entry

BTC = InstrumentId("BTCUSDT", Venue.BYBIT)
ATTACHED = Capabilities(
    attached_protection=True,
    position_protection=True,
    close_position_orders=False,
    child_orders_unnamed=True,
)
INSTRUMENTS = st.builds(
    Instrument,
    instrument_id=st.just(BTC),
    tick_size=st.sampled_from([Decimal(t) for t in ("0.0001", "0.01", "0.1", "0.5")]),
    qty_step=st.sampled_from([Decimal(t) for t in ("0.001", "0.1", "1", "10", "0.7")]),
    qty_min=st.sampled_from([Decimal(t) for t in ("0", "0.001", "1", "50")]),
    qty_max=st.none() | st.sampled_from([Decimal(0), Decimal(5), Decimal(1000)]),
    market_qty_max=st.none() | st.sampled_from([Decimal(0), Decimal(3), Decimal(200)]),
    notional_min=st.none() | st.sampled_from([Decimal(0), Decimal(5), Decimal(100)]),
    leverage_max=st.integers(1, 125),
    maint_margin_rate=st.sampled_from([Decimal(t) for t in ("0.004", "0.01", "0.05")]),
    taker_fee_rate=st.just(Decimal("0.0005")),
    maker_fee_rate=st.just(Decimal("0.0002")),
    funding_interval_ns=st.just(480 * MINUTE_NS),
)
LIMITS = st.builds(
    SizeLimits,
    risk_pct=st.decimals("0.01", "5", places=2),
    leverage=st.integers(1, 50),
    notional_max=st.decimals("5", "100000", places=2),
    liquidation_use_max=st.decimals("0.05", "0.9", places=2),
    drift_max_pct=st.decimals("0.01", "20", places=2),
)
PRICES = st.decimals("0.5", "90000", places=5)


def signal(side: PositionSide, px: Decimal, stop: Decimal, target: Decimal) -> Signal:
    """Return a signal at *px* with those distances."""
    return Signal(
        signal_id="s",
        instrument_id=BTC,
        side=side,
        confidence=0.9,
        strategy="t",
        bar_close_ns=0,
        expires_ns=1,
        reference_px=px,
        stop_distance=stop,
        target_distance=target,
        patterns=(),
        features=(),
        reasons=(),
    )


@settings(deadline=None)
@given(
    instrument=INSTRUMENTS,
    limits=LIMITS,
    side=st.sampled_from(PositionSide),
    px=PRICES,
    stop_pct=st.decimals("0.001", "50", places=3),
    target_r=st.decimals("0.1", "20", places=1),
    equity=st.decimals("-10", "1000000", places=8),
    available=st.decimals("-10", "1000000", places=8),
)
def test_any_size_fits_risk_maximums_margin_and_liquidation(
    instrument: Instrument,
    limits: SizeLimits,
    side: PositionSide,
    px: Decimal,
    stop_pct: Decimal,
    target_r: Decimal,
    equity: Decimal,
    available: Decimal,
) -> None:
    """R26, R27, R29: at the quantity that is sent, for any input; attached levels straddle mark."""
    stop = px * stop_pct / 100
    sized = size_entry(
        signal(side, px, stop, stop * target_r),
        instrument,
        equity=equity,
        available=available,
        mark_price=px,
        limits=limits,
    )
    if isinstance(sized, NotSized):
        assert sized.reason
        return

    budget = equity * limits.risk_pct / 100
    assert 0 == sized.qty % instrument.qty_step
    assert 0 < sized.qty * sized.plan.stop_distance == sized.risk <= budget
    assert sized.qty >= instrument.qty_min
    for cap in (instrument.qty_max, instrument.market_qty_max):
        assert not cap or sized.qty <= cap
    assert sized.qty * px <= limits.notional_max
    assert sized.qty * px >= (instrument.notional_min or 0)
    assert sized.qty * px <= available * sized.leverage
    assert 1 <= sized.leverage <= min(limits.leverage, instrument.leverage_max)
    to_liquidation = px * (1 / Decimal(sized.leverage) - instrument.maint_margin_rate)
    assert sized.plan.stop_distance <= to_liquidation * limits.liquidation_use_max

    request = entry_request(
        sized, side, instrument, mark_price=px, client_order_id="i", capabilities=ATTACHED
    )
    assert sized.qty == request.qty
    _check_attached(request.attached, side, px, instrument.tick_size, sized)


def _check_attached(
    attached: object, side: PositionSide, px: Decimal, tick: Decimal, sized: Sized
) -> None:
    stop = getattr(attached, "stop_price")  # noqa: B009 - told apart from None by its absence
    target = getattr(attached, "target_price")  # noqa: B009 - as above
    assert 0 == stop % tick == target % tick
    assert stop > 0
    assert target > 0
    if px > tick:
        assert (px - stop) * side.sign > 0
        assert (target - px) * side.sign > 0
        # Rounded toward the mark, unless that would put the level onto it.
        assert abs(px - stop) <= max(sized.plan.stop_distance, tick)


@settings(deadline=None)
@given(
    side=st.sampled_from(PositionSide),
    px=st.integers(100, 900),
    stop=st.integers(1, 9),
    scale=st.sampled_from([Decimal(1000), Decimal("0.001")]),
)
def test_scaling_price_or_quantity_keeps_the_risk(
    side: PositionSide, px: int, stop: int, scale: Decimal
) -> None:
    """R52, scenario 6: prices x1000 and quantities / 1000 are the same trade."""
    instrument = Instrument(
        instrument_id=BTC,
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.01"),
        qty_min=Decimal("0.01"),
        qty_max=None,
        market_qty_max=None,
        notional_min=Decimal(5),
        leverage_max=50,
        maint_margin_rate=Decimal("0.005"),
        taker_fee_rate=Decimal(0),
        maker_fee_rate=Decimal(0),
        funding_interval_ns=1,
    )
    limits = SizeLimits(
        risk_pct=Decimal("0.5"),
        leverage=5,
        notional_max=Decimal(20_000),
        liquidation_use_max=Decimal("0.6"),
        drift_max_pct=Decimal(1),
    )

    def sized(factor: Decimal) -> Sized | NotSized:
        scaled = attrs.evolve(
            instrument,
            tick_size=instrument.tick_size * factor,
            qty_step=instrument.qty_step / factor,
            qty_min=instrument.qty_min / factor,
        )
        return size_entry(
            signal(side, px * factor, stop * factor, stop * factor),
            scaled,
            equity=Decimal(10_000),
            available=Decimal(10_000),
            mark_price=px * factor,
            limits=limits,
        )

    one, other = sized(Decimal(1)), sized(scale)

    assert isinstance(one, Sized)
    assert isinstance(other, Sized)
    assert (one.qty, one.risk, one.leverage) == (other.qty * scale, other.risk, other.leverage)
