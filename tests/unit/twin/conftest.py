"""A rig for the twin's engine: a hand-made market, a real engine, and a log of what it told."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from aegis.model.order import OrderSide, OrderType, TriggerBy
from aegis.twin.engine.api import (
    Bar,
    EngineFill,
    EngineOrder,
    EnginePosition,
    IncomeRow,
    OrderSpec,
    Quote,
)
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BINANCE_RULES, BYBIT_RULES
from aegis.twin.tape.model import MINUTE_NS, CandleTape, FundingSeries, MarkSeries, TapeReport
from aegis.twin.tape.path import PricePath
from aegis.twin.tape.synthetic_book import BookShape

SECOND_NS = 1_000_000_000
START_NS = 1_767_225_600 * SECOND_NS
SYMBOL = "BTCUSDT"


def ramp_tape(
    prices: tuple[float, ...],
    *,
    basis: float | None = None,
    funding: tuple[tuple[int, float], ...] = (),
) -> CandleTape:
    """Return minute bars from price to price: flat for 20 s, 20 s of change, flat to the end."""
    opens, closes = np.array(prices[:-1]), np.array(prices[1:])
    bars = len(opens)
    times = START_NS + np.arange(bars, dtype=np.int64) * MINUTE_NS
    mark = None
    if basis is not None:
        mark = MarkSeries(times_ns=times[:1], basis=np.array([basis]))
    series = None
    if funding:
        series = FundingSeries(
            times_ns=np.array([START_NS + at for at, _ in funding], dtype=np.int64),
            rates=np.array([rate for _, rate in funding]),
        )
    return CandleTape(
        symbol=SYMBOL,
        timeframe_ns=MINUTE_NS,
        open_ns=times,
        open=opens,
        high=np.maximum(opens, closes),
        low=np.minimum(opens, closes),
        close=closes,
        volume=np.full(bars, 10.0),
        mark=mark,
        funding=series,
        venue=None,
        label="hand-made",
        generated=True,
        play_from_ns=START_NS,
        report=TapeReport(file="hand-made", rows_read=bars, rows_kept=bars, rows_played=bars),
    )


class Log:
    """Writes down what the engine tells, one short line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.quotes: list[Quote] = []
        self.bars: list[tuple[int, int, Bar, bool, int]] = []

    def on_order(self, order: EngineOrder) -> None:
        """Write an order's status."""
        self.lines.append(f"order {order.order_id} {order.status.value}")

    def on_fill(self, fill: EngineFill) -> None:
        """Write a fill."""
        self.lines.append(f"fill {fill.order.order_id} {fill.qty}")

    def on_position(self, position: EnginePosition, cause: str) -> None:
        """Write a position."""
        self.lines.append(f"position {position.qty} {cause}")

    def on_balance(self, cause: str) -> None:
        """Write a balance."""
        self.lines.append(f"balance {cause}")

    def on_income(self, row: IncomeRow) -> None:
        """Write a booking."""
        self.lines.append(f"income {row.kind}")

    def on_quote(self, quote: Quote) -> None:
        """Keep a quote."""
        self.quotes.append(quote)

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Keep a bar and how many quotes came before it."""
        self.bars.append((timeframe_ns, open_ns - START_NS, bar, closed, len(self.quotes)))

    def orders(self) -> list[str]:
        """Return the lines about orders only."""
        return [line for line in self.lines if line.startswith("order")]


class EngineRig:
    """An engine of one venue on one hand-made market."""

    def __init__(
        self,
        venue: str = "binance",
        prices: tuple[float, ...] = (50_000.0,) * 6,
        *,
        basis: float | None = None,
        funding: tuple[tuple[int, float], ...] = (),
        depth_usdt: float = 10_000_000.0,
        faults: Any = None,
        **options: Any,
    ) -> None:
        rules = BINANCE_RULES if venue == "binance" else BYBIT_RULES
        tape = ramp_tape(prices, basis=basis, funding=funding)
        instruments = twin_instruments("binance" if venue == "binance" else "bybit", [SYMBOL], {})
        self.engine = TwinEngine(
            rules=rules,
            instruments=instruments,
            paths={SYMBOL: PricePath(tape)},
            start_ns=START_NS,
            seed=7,
            funding={SYMBOL: tape.funding} if tape.funding is not None else None,
            books={
                SYMBOL: BookShape(seed=7, tick_size=0.1, qty_step=0.001, level_notional=depth_usdt)
            },
            faults=faults,
            options=EngineOptions(**options),
        )
        self.log = Log()
        self.engine.add_listener(self.log)
        self._ids = 0

    @property
    def position(self) -> EnginePosition:
        """Return the one position."""
        return self.engine.positions[SYMBOL]

    def at(self, seconds: float) -> None:
        """Advance to *seconds* after the start."""
        self.engine.advance(START_NS + round(seconds * SECOND_NS))

    def order(self, side: str, qty: str | None, kind: str = "MARKET", **fields: Any) -> EngineOrder:
        """Place an order with a client id of its own."""
        self._ids += 1
        fields.setdefault("client_id", f"c{self._ids}")
        for name in ("limit_price", "trigger_price", "attached_stop", "attached_target"):
            if fields.get(name) is not None:
                fields[name] = Decimal(str(fields[name]))
        return self.engine.place(
            OrderSpec(
                symbol=SYMBOL,
                side=OrderSide(side),
                order_type=OrderType(kind),
                qty=None if qty is None else Decimal(qty),
                **fields,
            )
        )

    def stop(self, trigger: float, qty: str | None = None, side: str = "SELL") -> EngineOrder:
        """Place a STOP_MARKET on the mark: closePosition, or reduce-only with a quantity."""
        return self._conditional("STOP_MARKET", trigger, qty, side)

    def target(self, trigger: float, qty: str | None = None, side: str = "SELL") -> EngineOrder:
        """Place a TAKE_PROFIT_MARKET on the mark: closePosition, or reduce-only with a quantity."""
        return self._conditional("TAKE_PROFIT_MARKET", trigger, qty, side)

    def _conditional(self, kind: str, trigger: float, qty: str | None, side: str) -> EngineOrder:
        return self.order(
            side,
            qty,
            kind,
            trigger_price=trigger,
            trigger_by=TriggerBy.MARK,
            reduce_only=qty is not None,
            close_position=qty is None,
        )


@pytest.fixture
def make_engine_rig() -> Callable[..., EngineRig]:
    """Return the maker of engine rigs."""
    return EngineRig
