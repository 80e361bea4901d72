"""The pushed market: prices act when they come, nothing happens by itself, bars are told once."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.model.order import OrderSide, OrderType, TriggerBy
from aegis.twin.engine.api import (
    Bar,
    EngineFill,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    IncomeRow,
    OrderSpec,
    Quote,
)
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BYBIT_RULES
from aegis.twin.live_market import LiveBar, LiveBook, LiveMarket, LivePath, LivePrices
from aegis.twin.world import TwinWorld

MINUTE_NS = 60_000_000_000
START_NS = 1_800_000_000 * 1_000_000_000
SYMBOL = "BTCUSDT"
FIRST = LivePrices(at_ns=START_NS, bid=100.0, bid_qty=5.0, ask=100.2, ask_qty=6.0, mark=100.1)


class Heard:
    """Notes what the engine says."""

    def __init__(self) -> None:
        self.quotes: list[Quote] = []
        self.fills: list[EngineFill] = []
        self.bars: list[tuple[int, Bar, bool]] = []

    def on_order(self, order: EngineOrder) -> None:
        """Leave it out."""

    def on_fill(self, fill: EngineFill) -> None:
        """Note a fill."""
        self.fills.append(fill)

    def on_position(self, position: EnginePosition, cause: str) -> None:
        """Leave it out."""

    def on_balance(self, cause: str) -> None:
        """Leave it out."""

    def on_income(self, row: IncomeRow) -> None:
        """Leave it out."""

    def on_quote(self, quote: Quote) -> None:
        """Note a quote."""
        self.quotes.append(quote)

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Note a bar."""
        del symbol, timeframe_ns
        self.bars.append((open_ns, bar, closed))


@attrs.define
class Stage:
    """An engine on pushed prices, and the clock the test moves."""

    engine: TwinEngine
    world: TwinWorld
    market: LiveMarket
    heard: Heard
    now_ns: int = START_NS

    def wait(self, seconds: float) -> None:
        """Let time pass without a price."""
        self.now_ns += round(seconds * 1e9)
        self.world.advance(self.now_ns)


@pytest.fixture
def stage() -> Stage:
    """Return an engine whose market stands at its first prices."""
    instruments = twin_instruments("bybit", [SYMBOL], {SYMBOL: 100.0})
    path = LivePath(FIRST)
    book = LiveBook(seed=1, tick_size=0.1, qty_step=0.001, level_notional=1e6, path=path)
    engine = TwinEngine(
        rules=BYBIT_RULES,
        instruments=instruments,
        paths={SYMBOL: path},
        start_ns=START_NS,
        seed=1,
        books={SYMBOL: book},
        options=EngineOptions(wallet=Decimal(10_000), quote_interval_ns=None),
    )
    heard = Heard()
    engine.add_listener(heard)
    world = TwinWorld({"bybit": engine})
    made: list[Stage] = []
    market = LiveMarket(
        engine,
        {SYMBOL: path},
        now_ns=lambda: made[0].now_ns,
        advance=world.advance,
        poke=lambda: None,
    )
    made.append(Stage(engine, world, market, heard))
    return made[0]


def order(side: OrderSide, **more: Any) -> OrderSpec:
    """Return a market order over 1."""
    base = OrderSpec(
        symbol=SYMBOL, client_id="", side=side, order_type=OrderType.MARKET, qty=Decimal(1)
    )
    return attrs.evolve(base, **more)


def test_an_order_fills_at_the_live_quote(stage: Stage) -> None:
    """A dry run buys at the pushed ask and sells at the pushed bid, not at made-up ones."""
    stage.wait(1)
    stage.market.quote(SYMBOL, 200.0, 5.0, 200.4, 6.0)
    bought = stage.engine.place(order(OrderSide.BUY, client_id="b"))
    sold = stage.engine.place(order(OrderSide.SELL, client_id="s", reduce_only=True))
    assert Decimal("200.4") == bought.average_px
    assert Decimal("200.0") == sold.average_px


@pytest.mark.parametrize(("mark", "fires"), [(96.0, False), (95.0, True), (80.0, True)])
def test_a_stop_fires_on_the_pushed_mark(stage: Stage, mark: float, fires: bool) -> None:
    """R11: the stop looks at the mark as it comes in, at once, and at nothing else."""
    _ = stage.engine.place(order(OrderSide.BUY, client_id="b"))
    stop = stage.engine.place(
        order(
            OrderSide.SELL,
            client_id="stop",
            order_type=OrderType.STOP_MARKET,
            trigger_price=Decimal(95),
            trigger_by=TriggerBy.MARK,
            trigger_direction=-1,
            reduce_only=True,
        )
    )
    stage.wait(1)
    stage.market.quote(SYMBOL, 90.0, 50.0, 90.2, 50.0)
    assert EngineStatus.UNTRIGGERED is stop.status
    stage.market.mark(SYMBOL, mark)
    stage.wait(5)
    assert fires is (EngineStatus.UNTRIGGERED is not stop.status)
    assert fires is (not stage.engine.positions[SYMBOL].qty)


def test_a_silent_market_is_silent(stage: Stage) -> None:
    """R10: without a pushed price no quote is told, so that a dead feed cannot look alive."""
    stage.wait(3600)
    assert [] == stage.heard.quotes
    stage.market.mark(SYMBOL, 101.0)
    (quote,) = stage.heard.quotes
    assert (100.0, 100.2, 101.0) == (quote.bid, quote.ask, quote.mark)
    assert quote.ts_ns > START_NS + 3600 * 10**9


def test_every_push_is_told_in_order(stage: Stage) -> None:
    """Pushes of one instant each have a moment of their own and none is lost."""
    for step in range(20):
        stage.market.quote(SYMBOL, 100.0 + step, 1.0, 100.5 + step, 1.0)
    assert [100.0 + step for step in range(20)] == [quote.bid for quote in stage.heard.quotes]
    times = [quote.ts_ns for quote in stage.heard.quotes]
    assert sorted(set(times)) == times


def test_bars_are_those_of_the_live_market(stage: Stage) -> None:
    """A closed bar is told once when it comes, kept for history, and never made up here."""
    stage.engine.watch(SYMBOL, MINUTE_NS)
    bar = Bar(1.0, 2.0, 0.5, 1.5, 10.0)
    stage.market.bar(SYMBOL, LiveBar(MINUTE_NS, START_NS, bar), closed=False)
    assert [(START_NS, bar)] == stage.engine.klines(SYMBOL, MINUTE_NS, None, None, 10)
    stage.wait(61)
    assert [] == [each for each in stage.heard.bars if each[2]]
    for _ in range(2):
        stage.market.bar(SYMBOL, LiveBar(MINUTE_NS, START_NS, bar), closed=True)
    assert [(START_NS, bar, True)] == [each for each in stage.heard.bars if each[2]]
    assert [(START_NS, bar)] == stage.engine.klines(SYMBOL, MINUTE_NS, None, None, 10)
    assert START_NS == stage.market.path(SYMBOL).newest_closed_ns(MINUTE_NS)


def opens(bars: Sequence[tuple[int, Bar]]) -> list[int]:
    """Return when bars opened."""
    return [open_ns for open_ns, _ in bars]


def test_history_keeps_its_order_whatever_comes_first(stage: Stage) -> None:
    """R18: a hole that is filled in later stands where it belongs."""
    bar = Bar(1.0, 2.0, 0.5, 1.5, 10.0)
    path = stage.market.path(SYMBOL)
    for back in (1, 3, 2):
        assert path.add_bar(LiveBar(MINUTE_NS, START_NS - back * MINUTE_NS, bar), closed=True)
    expected = [START_NS - back * MINUTE_NS for back in (3, 2, 1)]
    assert expected == opens(stage.engine.klines(SYMBOL, MINUTE_NS, None, None, 10))
    assert not path.add_bar(LiveBar(MINUTE_NS, expected[0], bar), closed=True)
