"""Margin: tiers by notional, cross positions on one balance, forced closes and who made them."""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.model.order import OrderSide, OrderType
from aegis.twin.engine.api import EngineStatus, Maker, OrderSpec, Reason, Refused
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.engine.instruments import VenueName, twin_instruments
from aegis.twin.engine.margin import joint_liquidation_price, liquidation_price
from aegis.twin.engine.tiers import notional_max, product_tiers, tier_for, tiers_of
from aegis.twin.engine.venue_rules import BINANCE_RULES
from aegis.twin.tape.model import MINUTE_NS, CandleTape, TapeReport
from aegis.twin.tape.path import PricePath
from aegis.twin.tape.synthetic_book import BookShape

if TYPE_CHECKING:
    from tests.unit.twin.conftest import EngineRig

SECOND_NS = 1_000_000_000
START_NS = 1_767_225_600 * SECOND_NS
MakeRig = Callable[..., "EngineRig"]
FALL = (50_000.0, 50_000.0, 40_000.0, 40_000.0, 40_000.0)
BTC = product_tiers("binance", "BTC", 125, Decimal("0.004"))


def test_deductions_are_those_of_the_venues_table(shared_data: Path) -> None:
    """Worked out from caps and rates they equal Binance's cum, for every symbol (venues.md 6)."""
    file = shared_data / "market" / "reference" / "binance_leverage_tiers.json.gz"
    tables = json.loads(gzip.decompress(file.read_bytes()))
    compared = 0
    for rows in tables.values():
        brackets = [row["info"] for row in rows]
        made = tiers_of(
            [
                (
                    Decimal(one["notionalCap"]),
                    int(one["initialLeverage"]),
                    Decimal(one["maintMarginRatio"]),
                )
                for one in brackets
            ]
        )
        for tier, one in zip(made, brackets, strict=True):
            assert Decimal(one["notionalFloor"]) == tier.notional_floor
            assert Decimal(one["cum"]) == pytest.approx(tier.deduction)
            compared += 1
    assert compared > 1000


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_every_instrument_has_rising_tiers(venue: VenueName) -> None:
    """More notional means less leverage and a higher rate; the first tier is the instrument's."""
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "FILUSDT", "1INCHUSDT", "NEWUSDT"]
    for one in twin_instruments(venue, symbols, {"NEWUSDT": 1.5}).values():
        tiers = one.margin_tiers
        assert (one.leverage_max, one.maint_margin_rate) == (
            tiers[0].leverage_max,
            tiers[0].maint_rate,
        )
        for lower, higher in pairwise(tiers):
            assert lower.notional_cap == higher.notional_floor < higher.notional_cap
            assert lower.leverage_max > higher.leverage_max
            assert lower.maint_rate < higher.maint_rate
            at = lower.notional_cap
            assert lower.maintenance(at) == higher.maintenance(at)


@given(st.integers(1, 20_000), st.integers(1, 125), st.booleans())
def test_at_its_liquidation_price_the_margin_is_used_up(
    thousandths: int, leverage: int, short: bool
) -> None:
    """Margin plus profit equals the maintenance margin of the tier that price falls into."""
    entry = Decimal(50_000)
    qty = Decimal(thousandths) / 100 * (-1 if short else 1)
    margin = abs(qty) * entry / leverage
    price = liquidation_price(qty, entry, margin, BTC)
    if price is None:
        return
    notional = abs(qty) * price
    left = margin + qty * (price - entry) - tier_for(BTC, notional).maintenance(notional)

    assert abs(left) < Decimal("0.0001")


def test_equal_legs_are_never_liquidated_by_a_fall() -> None:
    """What a cross long loses its short gains; only a rising maintenance margin ends both."""
    legs = [(Decimal(1), Decimal(50_000)), (Decimal(-1), Decimal(50_000))]
    price = joint_liquidation_price(legs, Decimal(1_000), BTC, Decimal(50_000))

    assert price is not None
    assert price > 50_000


def test_a_position_may_be_as_large_as_its_leverage_allows(make_engine_rig: MakeRig) -> None:
    """Beyond the tier an order is refused, and so is a leverage the position is too large for."""
    rig = make_engine_rig(wallet=Decimal(10_000_000))
    rig.engine.set_leverage("BTCUSDT", 100)
    with pytest.raises(Refused) as order:
        rig.order("BUY", "13")
    rig.order("BUY", "11")
    with pytest.raises(Refused) as leverage:
        rig.engine.set_leverage("BTCUSDT", 125)

    assert 600_000 == notional_max(BTC, 100)
    assert Reason.NOTIONAL_ABOVE_MAX is order.value.reason
    assert Reason.NOTIONAL_ABOVE_MAX is leverage.value.reason


def test_a_cross_position_stands_on_the_whole_wallet(make_engine_rig: MakeRig) -> None:
    """What liquidates an isolated position leaves the same cross one alone."""
    ends = []
    for isolated in (True, False):
        rig = make_engine_rig(prices=FALL)
        if not isolated:
            rig.engine.set_isolated("BTCUSDT", isolated=False)
        rig.order("BUY", "0.2")
        rig.at(180)
        ends.append(rig.position.qty)

    assert [Decimal(0), Decimal("0.2")] == ends


def test_a_cross_loss_ends_at_the_wallet(make_engine_rig: MakeRig) -> None:
    """The venue takes over at bankruptcy at the worst: the wallet does not go below zero."""
    rig = make_engine_rig(prices=FALL)
    rig.engine.set_isolated("BTCUSDT", isolated=False)
    rig.order("BUY", "2")
    stop = rig.order("SELL", "2", "STOP_MARKET", trigger_price=30_000, reduce_only=True)
    rig.at(180)
    (forced,) = [one for one in rig.engine.all_orders() if one.made_by is Maker.LIQUIDATION]

    assert EngineStatus.FILLED is forced.status
    assert EngineStatus.EXPIRED is stop.status
    assert 0 == rig.position.qty
    assert 0 <= rig.engine.wallet < 1_000


def test_a_mark_beyond_bankruptcy_is_taken_over(make_engine_rig: MakeRig) -> None:
    """An order that leaves less margin than the mark already lost closes at bankruptcy."""
    rig = make_engine_rig(prices=FALL, basis=-2_400.0)
    rig.order("BUY", "0.2")
    rig.at(90)
    made = [one.made_by for one in rig.engine.all_orders() if one.made_by is not Maker.USER]

    assert made in ([Maker.LIQUIDATION], [Maker.TAKEOVER])
    assert rig.engine.wallet >= Decimal(10_000) - Decimal("0.2") * 50_010 / 20 - 10


def test_deleveraging_closes_at_the_mark_without_a_fee(make_engine_rig: MakeRig) -> None:
    """ADL makes an order of the venue's own, and drops what the flat position leaves."""
    rig = make_engine_rig()
    rig.order("BUY", "0.2")
    stop = rig.stop(49_000)
    rig.engine.deleverage("BTCUSDT", Decimal("0.2"))
    last = rig.engine.fills()[-1]

    assert (Maker.ADL, Decimal(0)) == (last.order.made_by, last.fee)
    assert EngineStatus.EXPIRED is stop.status


def ramp_tape(prices: tuple[float, ...]) -> CandleTape:
    """Return minute bars from price to price, without wicks."""
    opens, closes = np.array(prices[:-1]), np.array(prices[1:])
    return CandleTape(
        symbol="BTCUSDT",
        timeframe_ns=MINUTE_NS,
        open_ns=START_NS + np.arange(len(opens), dtype=np.int64) * MINUTE_NS,
        open=opens,
        high=np.maximum(opens, closes),
        low=np.minimum(opens, closes),
        close=closes,
        volume=np.full(len(opens), 10.0),
        mark=None,
        funding=None,
        venue=None,
        label="hand-made",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="hand-made", rows_read=0, rows_kept=0, rows_played=0),
    )


def two_symbols(btc: tuple[float, ...], eth: tuple[float, ...]) -> TwinEngine:
    """Return a Binance engine, cross margin on both, 10 000 USDT."""
    made = {"BTCUSDT": btc, "ETHUSDT": eth}
    instruments = twin_instruments("binance", made, {})
    engine = TwinEngine(
        rules=BINANCE_RULES,
        instruments=instruments,
        paths={symbol: PricePath(ramp_tape(prices)) for symbol, prices in made.items()},
        start_ns=START_NS,
        seed=7,
        books={
            symbol: BookShape(
                seed=7,
                tick_size=float(one.tick_size),
                qty_step=float(one.qty_step),
                level_notional=10_000_000.0,
            )
            for symbol, one in instruments.items()
        },
    )
    for symbol in made:
        engine.set_isolated(symbol, isolated=False)
    return engine


def buy(engine: TwinEngine, symbol: str, qty: str) -> None:
    """Buy at market."""
    engine.place(
        OrderSpec(
            symbol=symbol,
            client_id=f"buy-{symbol}",
            side=OrderSide.BUY,
            order_type=OrderType.MARKET,
            qty=Decimal(qty),
        )
    )


def test_one_cross_position_is_liquidated_by_anothers_loss() -> None:
    """A fall of ETH uses up what stood behind BTC; the largest goes first, the rest if it must."""
    still = (50_000.0,) * 5
    calm = two_symbols(still, (2_500.0,) * 5)
    fallen = two_symbols(still, (2_500.0, 2_500.0, 1_500.0, 1_500.0, 1_500.0))
    for engine in (calm, fallen):
        buy(engine, "BTCUSDT", "1")
        buy(engine, "ETHUSDT", "10")
        engine.advance(START_NS + 200 * SECOND_NS)
    forced = [
        order.spec.symbol
        for order in fallen.all_orders()
        if order.made_by in {Maker.LIQUIDATION, Maker.TAKEOVER}
    ]

    assert 2 == len(calm.held())
    assert "BTCUSDT" == forced[0]
    assert fallen.wallet >= 0
