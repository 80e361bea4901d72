"""Laws of the twin's engine in hedge mode and with cross margin, over random requests."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.model.order import OrderSide, OrderType, TimeInForce, TriggerBy
from aegis.twin.engine.api import Leg, OrderSpec, PartialWish, Refused, Trail
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import VenueName, twin_instruments
from aegis.twin.engine.order_store import RESTING_STATUSES
from aegis.twin.engine.venue_rules import BINANCE_RULES, BYBIT_RULES
from aegis.twin.meter import ProtectionMeter
from aegis.twin.tape.model import MINUTE_NS, CandleTape, TapeReport
from aegis.twin.tape.path import PricePath
from aegis.twin.tape.synthetic_book import BookShape

SECOND_NS = 1_000_000_000
START_NS = 1_767_225_600 * SECOND_NS
SYMBOL = "BTCUSDT"
WALLET = Decimal(20_000)
LEGS = (Leg.LONG, Leg.SHORT)

LEVELS = st.integers(-300, 300)
BARS = st.lists(st.tuples(LEVELS, LEVELS, LEVELS, LEVELS), min_size=2, max_size=8)
KINDS = st.sampled_from(["market", "limit", "stop", "whole", "trail", "partial", "cancel", "lever"])
REQUESTS = st.tuples(
    KINDS, st.sampled_from(LEGS), st.sampled_from(list(OrderSide)), st.integers(1, 400), LEVELS
)
STEPS = st.lists(st.tuples(st.integers(0, 60), REQUESTS), max_size=16)
VENUES = st.sampled_from(["binance", "bybit"])


def tape_of(bars: Any) -> CandleTape:
    """Return minute bars of four prices each, as steps of 10 USDT around 50 000."""
    prices = np.array(bars, dtype=np.float64) * 10 + 50_000
    return CandleTape(
        symbol=SYMBOL,
        timeframe_ns=MINUTE_NS,
        open_ns=START_NS + np.arange(len(bars), dtype=np.int64) * MINUTE_NS,
        open=prices[:, 0],
        high=prices.max(axis=1),
        low=prices.min(axis=1),
        close=prices[:, 3],
        volume=np.full(len(bars), 10.0),
        mark=None,
        funding=None,
        venue=None,
        label="made up",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="made up", rows_read=0, rows_kept=0, rows_played=0),
    )


def engine_of(venue: VenueName, bars: Any, *, isolated: bool) -> TwinEngine:
    """Return an engine in hedge mode."""
    engine = TwinEngine(
        rules=BINANCE_RULES if venue == "binance" else BYBIT_RULES,
        instruments=twin_instruments(venue, [SYMBOL], {}),
        paths={SYMBOL: PricePath(tape_of(bars))},
        start_ns=START_NS,
        seed=1,
        books={SYMBOL: BookShape(seed=1, tick_size=0.1, qty_step=0.001, level_notional=50_000.0)},
        options=EngineOptions(wallet=WALLET),
    )
    engine.add_listener(ProtectionMeter())
    engine.set_hedge_mode(hedge=True)
    if not isolated:
        engine.set_isolated(SYMBOL, isolated=False)
    return engine


def ask(engine: TwinEngine, number: int, request: Any) -> None:
    """Do what a random request stands for."""
    kind, leg, side, steps, level = request
    qty, price = Decimal(steps) / 200, Decimal(50_000 + level * 10)
    fields: dict[str, Any] = {"qty": qty, "order_type": OrderType.MARKET}
    if kind == "cancel":
        opened = engine.open_orders()
        if opened:
            engine.cancel(opened[number % len(opened)])
        return
    if kind == "lever":
        engine.set_leverage(SYMBOL, 1 + steps % 100, leg=leg)
        return
    if kind == "partial":
        stop, target = (price - 500, price + 500) if leg is Leg.LONG else (price + 500, price - 500)
        engine.add_partial_protection(
            PartialWish(symbol=SYMBOL, leg=leg, qty=qty, stop=stop, target=target)
        )
        return
    if kind == "limit":
        fields |= {"order_type": OrderType.LIMIT, "limit_price": price}
        fields["time_in_force"] = TimeInForce.IOC if level % 2 else TimeInForce.GTC
    elif kind != "market":
        fields |= {"order_type": OrderType.STOP_MARKET, "trigger_price": price}
        fields["trigger_by"] = TriggerBy.MARK
        if level % 3 == 0:
            fields["limit_price"] = price
        if kind == "whole":
            fields |= {"qty": None, "close_position": True, "limit_price": None}
        if kind == "trail":
            activate = price if level % 2 else None
            fields |= {"trail": Trail(rate=Decimal(1), activate=activate), "limit_price": None}
    engine.place(OrderSpec(symbol=SYMBOL, client_id=f"c{number}", side=side, leg=leg, **fields))


def play(engine: TwinEngine, steps: Any) -> None:
    """Let time pass and requests come, refusals included, then play the tape to its end."""
    for number, (wait_s, request) in enumerate(steps):
        engine.advance(engine.now_ns + wait_s * SECOND_NS + number)
        try:
            ask(engine, number, request)
        except Refused:
            continue
    engine.advance(START_NS + 20 * MINUTE_NS)


@settings(max_examples=80, deadline=None)
@given(VENUES, BARS, STEPS, st.booleans())
def test_each_side_adds_up(venue: VenueName, bars: Any, steps: Any, isolated: bool) -> None:
    """Wallet = start + income; each side = its fills and never turns; nothing outlives it."""
    engine = engine_of(venue, bars, isolated=isolated)
    play(engine, steps)

    assert WALLET + sum(row.amount for row in engine.income()) == engine.wallet
    for leg in LEGS:
        position = engine.leg(SYMBOL, leg)
        own = [f for f in engine.fills() if f.order.spec.leg is leg]
        assert position.qty == sum(f.qty * f.order.spec.side.sign for f in own)
        assert position.qty * (1 if leg is Leg.LONG else -1) >= 0
        if position.qty == 0:
            assert position.margin == 0
            assert position.liquidation_px is None
            for order in engine.open_orders():
                if order.spec.leg is leg:
                    assert not order.bound.is_partial
                    assert order.status not in RESTING_STATUSES or not order.spec.reduce_only
    assert engine.wallet >= 0
    assert engine.available() >= 0


@settings(max_examples=30, deadline=None)
@given(VENUES, BARS, STEPS, st.booleans())
def test_a_saved_account_is_the_same_account(
    venue: VenueName, bars: Any, steps: Any, isolated: bool
) -> None:
    """Saved in the middle and restored, it goes on word for word (R79, R89)."""
    engine = engine_of(venue, bars, isolated=isolated)
    half = len(steps) // 2
    for number, (wait_s, request) in enumerate(steps[:half]):
        engine.advance(engine.now_ns + wait_s * SECOND_NS)
        try:
            ask(engine, number, request)
        except Refused:
            continue
    saved = engine.export_state()
    again = engine_of(venue, bars, isolated=isolated)
    again.restore_state(saved)
    for one in (engine, again):
        one.advance(START_NS + 20 * MINUTE_NS)

    assert engine.wallet == pytest.approx(again.wallet)
    assert [p.qty for p in engine.legs()] == [p.qty for p in again.legs()]
