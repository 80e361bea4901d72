"""Positions and the money they made; equity; instrument ids."""

from decimal import Decimal

import attrs
import pytest

from aegis.model.account import equity_of
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.market import MINUTE_NS
from aegis.model.order import OrderSide, PositionSide
from aegis.model.position import Position, ProtectionPlan

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
ETH = InstrumentId("ETHUSDT", Venue.BINANCE)


def fill(fill_id: str, side: OrderSide, qty: str, px: str, fee: str = "0") -> Fill:
    """Return an execution on BTC."""
    return Fill(
        instrument_id=BTC,
        fill_id=fill_id,
        client_order_id="test-1-1-EN1",
        venue_order_id="9",
        side=side,
        last_qty=Decimal(qty),
        last_px=Decimal(px),
        fee=Decimal(fee),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=1,
    )


def position(side: PositionSide) -> Position:
    """Return an empty position."""
    return Position(
        position_id="test-1-1", instrument_id=BTC, side=side, plan=None, trace_id="t", opened_ns=1
    )


@pytest.mark.parametrize(("side", "expected"), [("LONG", "28.7"), ("SHORT", "-31.3")])
def test_net_profit_is_realized_minus_fees_plus_funding(side: str, expected: str) -> None:
    """R77: 2 in at 105 on average, 2 out at 120: 30 gross, 1 fees, 0.3 funding paid."""
    held = position(PositionSide(side))
    into, out = held.side.entry_side, held.side.exit_side
    for each in (
        fill("1", into, "1", "100", "0.25"),
        fill("2", into, "1", "110", "0.25"),
        fill("3", out, "0.5", "120", "0.25"),
        fill("4", out, "1.5", "120", "0.25"),
    ):
        assert held.apply(each)
    held.funding -= Decimal("0.3")

    assert Decimal(105) == held.entry_px_avg
    assert Decimal(120) == held.exit_px_avg
    assert Decimal(0) == held.qty == held.qty_signed
    assert Decimal(100) == held.first_fill_px
    assert Decimal(expected) == held.net_pnl


def test_a_repeated_fill_changes_nothing() -> None:
    """R77: no doubled quantity, no doubled fee."""
    held = position(PositionSide.LONG)
    once = fill("1", OrderSide.BUY, "1", "100", "0.5")
    held.apply(once)

    assert not held.apply(once)
    assert (Decimal(1), Decimal("0.5")) == (held.qty, held.fees)


def test_a_close_larger_than_the_position_raises_and_leaves_it_alone() -> None:
    """R59: the sign never flips."""
    held = position(PositionSide.SHORT)
    held.apply(fill("1", OrderSide.SELL, "1", "100"))

    with pytest.raises(ValueError, match="sign would flip"):
        held.apply(fill("2", OrderSide.BUY, "1.1", "100"))

    assert Decimal(-1) == held.qty_signed


def test_a_fill_of_another_instrument_raises() -> None:
    """R13: one instrument at every boundary."""
    with pytest.raises(ValueError, match="applied to"):
        position(PositionSide.LONG).apply(
            attrs.evolve(fill("1", OrderSide.BUY, "1", "1"), instrument_id=ETH)
        )


@pytest.mark.parametrize(("qty", "px"), [("0", "1"), ("1", "0"), ("-1", "1"), ("1", "-1")])
def test_a_fill_needs_quantity_and_price(qty: str, px: str) -> None:
    """R32: a fill at price 0 cannot be built."""
    with pytest.raises(ValueError, match="must be > 0"):
        fill("1", OrderSide.BUY, qty, px)


def test_unrealized_profit_has_the_sign_of_the_side() -> None:
    """R77: a short gains when the mark falls."""
    held = position(PositionSide.SHORT)
    assert Decimal(0) == held.unrealized_pnl(Decimal(90))
    held.apply(fill("1", OrderSide.SELL, "2", "100"))

    assert Decimal(20) == held.unrealized_pnl(Decimal(90))


def test_an_adopted_position_has_the_venues_quantity_and_price() -> None:
    """R88: what was found counts from the venue's average price."""
    held = position(PositionSide.LONG)
    held.adopt(Decimal(3), Decimal(50))
    view = held.view()

    assert (Decimal(3), Decimal(50), True) == (view.qty, view.entry_px_avg, view.adopted)
    assert Decimal(50) == view.first_fill_px


@pytest.mark.parametrize(("stop", "target"), [("0", "1"), ("1", "0"), ("-1", "1")])
def test_a_plan_needs_distances_above_zero(stop: str, target: str) -> None:
    """R47: no stop on the entry price itself."""
    with pytest.raises(ValueError, match="must be > 0"):
        ProtectionPlan(stop_distance=Decimal(stop), target_distance=Decimal(target))


def test_equity_is_wallet_plus_unrealized() -> None:
    """R64: a short of 2 from 100, marked at 90, adds 20."""
    held = {BTC: (Decimal(-2), Decimal(100))}

    assert Decimal(1020) == equity_of(Decimal(1000), held, {BTC: Decimal(90)})


@pytest.mark.parametrize(
    ("wallet", "entry", "mark"), [(None, 100, 90), (1000, None, 90), (1000, 100, None)]
)
def test_equity_is_unknown_when_any_part_is(
    wallet: int | None, entry: int | None, mark: int | None
) -> None:
    """R43: an unknown wallet, entry price or mark is no zero."""
    held = {BTC: (Decimal(1), None if entry is None else Decimal(entry))}
    marks = {} if mark is None else {BTC: Decimal(mark)}

    assert equity_of(None if wallet is None else Decimal(wallet), held, marks) is None


def test_instrument_ids_go_round_as_text() -> None:
    """R13: one text form, one shared object."""
    assert instrument_id("BTCUSDT", Venue.BYBIT) is InstrumentId.parse("BTCUSDT-PERP.BYBIT")
    assert "BTCUSDT-PERP.BINANCE" == str(BTC)


@pytest.mark.parametrize("text", ["BTCUSDT", "-PERP.BYBIT", "BTCUSDT-PERP.KRAKEN", ""])
def test_other_texts_are_no_instrument(text: str) -> None:
    """R13: an unknown venue or form raises."""
    with pytest.raises(ValueError, match=r"instrument id|valid Venue"):
        InstrumentId.parse(text)


@pytest.mark.parametrize("name", ["tick_size", "qty_step"])
def test_an_instrument_needs_its_grids(name: str) -> None:
    """R27: a tick or step of zero cannot be used."""
    grids = {"tick_size": Decimal("0.1"), "qty_step": Decimal("0.001")} | {name: Decimal(0)}
    with pytest.raises(ValueError, match=name):
        Instrument(
            instrument_id=BTC,
            qty_min=Decimal("0.001"),
            qty_max=None,
            market_qty_max=None,
            notional_min=None,
            leverage_max=50,
            maint_margin_rate=Decimal("0.004"),
            taker_fee_rate=Decimal("0.0005"),
            maker_fee_rate=Decimal("0.0002"),
            funding_interval_ns=480 * MINUTE_NS,
            tick_size=grids["tick_size"],
            qty_step=grids["qty_step"],
        )
