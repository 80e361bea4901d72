"""Sizing, case by case."""

from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.model.account import Capabilities
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.order import OrderSide, OrderType, PositionSide
from aegis.model.signal import Signal
from aegis.trade.decide import (
    NotSized,
    Sized,
    SizeLimits,
    entry_request,
    leverage_for,
    size_entry,
)

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
INSTRUMENT = Instrument(
    instrument_id=BTC,
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1000),
    market_qty_max=Decimal(0),
    notional_min=Decimal(100),
    leverage_max=20,
    maint_margin_rate=Decimal("0.004"),
    taker_fee_rate=Decimal("0.0005"),
    maker_fee_rate=Decimal("0.0002"),
    funding_interval_ns=1,
)
LIMITS = SizeLimits(
    risk_pct=Decimal("0.5"),
    leverage=5,
    notional_max=Decimal(20_000),
    liquidation_use_max=Decimal("0.6"),
    drift_max_pct=Decimal("0.5"),
)
SIGNAL = Signal(
    signal_id="s",
    instrument_id=BTC,
    side=PositionSide.LONG,
    confidence=0.7,
    strategy="t",
    bar_close_ns=0,
    expires_ns=1,
    reference_px=Decimal(50_000),
    stop_distance=Decimal("333.33"),
    target_distance=Decimal(600),
    patterns=(),
    features=(),
    reasons=(),
)


def size(signal: Signal = SIGNAL, limits: SizeLimits = LIMITS, **known: Any) -> Sized | NotSized:
    """Size with 10,000 USDT, all free, mark at the signal's price; *known* changes that."""
    facts: dict[str, Any] = {
        "equity": Decimal(10_000),
        "available": Decimal(10_000),
        "mark_price": Decimal(50_000),
    }
    instrument = known.pop("instrument", INSTRUMENT)
    return size_entry(signal, instrument, limits=limits, **(facts | known))


def test_quantity_is_risk_over_distance_floored_to_the_step() -> None:
    """R26: 50 USDT over 333.3 is 0.15001..., 0.150 is sent."""
    sized = size()

    assert isinstance(sized, Sized)
    assert Decimal("0.150") == sized.qty
    assert Decimal("333.3") == sized.plan.stop_distance
    assert Decimal("49.995") == sized.risk


@pytest.mark.parametrize(
    "known",
    [
        {"equity": None},
        {"equity": Decimal(0)},
        {"equity": Decimal(-5)},
        {"equity": Decimal("NaN")},
        {"available": None},
        {"available": Decimal("NaN")},
        {"available": Decimal(0)},
        {"available": Decimal(-1)},
        {"mark_price": None},
        {"mark_price": Decimal(0)},
        {"mark_price": Decimal("NaN")},
        {"mark_price": Decimal("50250.1")},
        {"mark_price": Decimal("49749.9")},
    ],
    ids=str,
)
def test_what_is_unknown_or_ran_away_is_not_traded(known: dict[str, Any]) -> None:
    """R43, R44, R70: no entry on an unknown, nor more than 0.5 % from the signal."""
    assert isinstance(size(**known), NotSized)


@pytest.mark.parametrize("field", ["reference_px", "stop_distance", "target_distance"])
@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity"])
def test_a_signal_without_sane_numbers_is_not_traded(field: str, value: str) -> None:
    """R26: a stop distance of 0 must not become one tick and an enormous quantity."""
    change: dict[str, Any] = {field: Decimal(value)}

    assert isinstance(size(attrs.evolve(SIGNAL, **change)), NotSized)


@pytest.mark.parametrize("distance", [250, 251])
def test_the_drift_limit_is_inclusive(distance: int) -> None:
    """R44: mark against signal, either way."""
    for sign in (1, -1):
        mark = Decimal(50_000 + sign * distance)
        assert (distance == 250) == isinstance(size(mark_price=mark), Sized)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"market_qty_max": Decimal("0.01")}, "0.010"),
        ({"qty_max": Decimal("0.02")}, "0.020"),
        ({"qty_max": None, "market_qty_max": None}, "0.150"),
        ({"qty_step": Decimal("0.1"), "qty_min": Decimal("0.1")}, "0.1"),
    ],
)
def test_the_venues_limits_cap_and_zero_is_no_limit(change: dict[str, Any], expected: str) -> None:
    """R27: None and 0 both mean the venue sets none."""
    sized = size(instrument=attrs.evolve(INSTRUMENT, **change))

    assert isinstance(sized, Sized)
    assert Decimal(expected) == sized.qty


@pytest.mark.parametrize(
    "change", [{"qty_min": Decimal("0.151")}, {"notional_min": Decimal("7500.01")}]
)
def test_a_minimum_beyond_the_risk_is_not_traded(change: dict[str, Any]) -> None:
    """R27: the quantity is not bumped past the budget."""
    assert isinstance(size(instrument=attrs.evolve(INSTRUMENT, **change)), NotSized)


def test_the_free_margin_and_the_largest_notional_cap() -> None:
    """R26: 95 % of what is free, times leverage; and the operator's maximum."""
    poor = size(available=Decimal(100))
    small = size(limits=attrs.evolve(LIMITS, notional_max=Decimal(1000)))

    assert isinstance(poor, Sized)
    assert isinstance(small, Sized)
    assert Decimal("0.009") == poor.qty
    assert Decimal("0.020") == small.qty


@pytest.mark.parametrize(("stop", "leverage"), [(333, 20), (5000, 5), (20_000, 1), (40_000, None)])
def test_leverage_falls_until_the_stop_is_well_inside_liquidation(
    stop: int, leverage: int | None
) -> None:
    """R29: 60 % of the way at most; no leverage fits, no entry."""
    limits = attrs.evolve(LIMITS, leverage=50)

    assert leverage == leverage_for(Decimal(stop), Decimal(50_000), INSTRUMENT, limits)


def test_a_stop_beyond_liquidation_at_any_leverage_is_not_traded() -> None:
    """R29: refused, not clamped."""
    assert isinstance(size(attrs.evolve(SIGNAL, stop_distance=Decimal(40_000))), NotSized)


@pytest.mark.parametrize("side", PositionSide)
@pytest.mark.parametrize("attached", [True, False])
def test_an_entry_is_one_market_order_that_carries_its_protection_where_it_can(
    side: PositionSide, attached: bool
) -> None:
    """R45, R47: levels on their sides of the mark, rounded toward it; none where it cannot."""
    sized = size()
    assert isinstance(sized, Sized)
    request = entry_request(
        sized,
        side,
        INSTRUMENT,
        mark_price=Decimal("50000.03"),
        client_order_id="i",
        capabilities=Capabilities(
            attached_protection=attached,
            position_protection=attached,
            close_position_orders=not attached,
            child_orders_unnamed=attached,
        ),
    )

    assert (OrderType.MARKET, False, sized.qty) == (
        request.order_type, request.reduce_only, request.qty,
    )  # fmt: skip
    assert request.side is (OrderSide.BUY if side is PositionSide.LONG else OrderSide.SELL)
    levels = request.attached
    assert attached == (levels is not None)
    if levels is not None:
        expected = {
            PositionSide.LONG: (Decimal("49666.8"), Decimal("50600.0")),
            PositionSide.SHORT: (Decimal("50333.3"), Decimal("49400.1")),
        }
        assert expected[side] == (levels.stop_price, levels.target_price)
