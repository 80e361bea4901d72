"""
The twin's own table of instruments: what each venue asks of a symbol in 2026.

Figures of BTC, ETH and fees: venues.md 2.3, 3.6, 6; the rest are the venues' usual ones. Symbols
not in the table get rules derived from their price.
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, Literal

import attrs

from aegis.twin.engine.api import TwinInstrument
from aegis.twin.engine.tiers import product_tiers
from aegis.twin.tape.model import HOUR_NS

FUNDING_INTERVAL_NS: Final = 8 * HOUR_NS
# One step of a derived instrument is worth between 1 and 10 times this at the reference price.
STEP_NOTIONAL_MIN: Final = 0.5
TICK_SHARE: Final = 1e-5

VenueName = Literal["binance", "bybit"]


@attrs.frozen(slots=True)
class _Row:
    """tick, step, notional_min, qty_max, market_qty_max, leverage_max, maint_margin_rate."""

    tick: str
    step: str
    notional_min: str
    qty_max: str
    market_qty_max: str
    leverage_max: int
    maint: str


_BINANCE: Final = {
    "BTC": _Row("0.10", "0.001", "50", "1000", "120", 125, "0.004"),
    "ETH": _Row("0.01", "0.001", "20", "10000", "2000", 100, "0.005"),
    "SOL": _Row("0.0100", "0.01", "5", "1000000", "80000", 75, "0.01"),
    "XRP": _Row("0.0001", "0.1", "5", "10000000", "2000000", 75, "0.01"),
    "FIL": _Row("0.001", "0.1", "5", "10000000", "60000", 50, "0.01"),
    "1INCH": _Row("0.0001", "1", "5", "10000000", "900000", 50, "0.01"),
}
_BYBIT: Final = {
    "BTC": _Row("0.10", "0.001", "5", "1190", "500", 100, "0.005"),
    "ETH": _Row("0.01", "0.01", "5", "7240", "1500", 100, "0.005"),
    "SOL": _Row("0.010", "0.1", "5", "79770", "20000", 75, "0.01"),
    "XRP": _Row("0.0001", "0.1", "5", "4000000", "1000000", 75, "0.01"),
    "FIL": _Row("0.001", "0.1", "5", "300000", "80000", 50, "0.01"),
    "1INCH": _Row("0.0001", "0.1", "5", "1600000", "500000", 50, "0.01"),
}
_TABLES: Final[Mapping[str, Mapping[str, _Row]]] = {"binance": _BINANCE, "bybit": _BYBIT}
_TAKER: Final[Mapping[str, str]] = {"binance": "0.0005", "bybit": "0.00055"}


def twin_instruments(
    venue: VenueName, symbols: Iterable[str], reference_prices: Mapping[str, float]
) -> dict[str, TwinInstrument]:
    """
    Return the rules of *symbols* (``BTCUSDT``) on *venue*, in the order given.

    *reference_prices*: quote per base, > 0; needed for symbols outside the table.

    Raises:
        ValueError: when a symbol is in neither, or is not against USDT.
    """
    made = {}
    for symbol in symbols:
        base = symbol.removesuffix("USDT")
        if not base or base == symbol:
            raise ValueError(f"symbol was {symbol!r}, the twin plays USDT perpetuals only")
        row = _TABLES[venue].get(base)
        if row is None:
            price = reference_prices.get(symbol)
            if price is None or not 0 < price < math.inf:
                raise ValueError(f"{symbol} is not in the table and its price was {price}")
            row = _derived(price)
        made[symbol] = _instrument(venue, symbol, base, row)
    return made


def _instrument(venue: VenueName, symbol: str, base: str, row: _Row) -> TwinInstrument:
    return TwinInstrument(
        symbol=symbol,
        base=base,
        tick_size=Decimal(row.tick),
        qty_step=Decimal(row.step),
        qty_min=Decimal(row.step),
        qty_max=Decimal(row.qty_max),
        market_qty_max=Decimal(row.market_qty_max),
        notional_min=Decimal(row.notional_min),
        leverage_max=row.leverage_max,
        maint_margin_rate=Decimal(row.maint),
        taker_fee_rate=Decimal(_TAKER[venue]),
        maker_fee_rate=Decimal("0.0002"),
        funding_interval_ns=FUNDING_INTERVAL_NS,
        liquidation_fee_rate=Decimal("0.0125"),
        tiers=product_tiers(venue, base, row.leverage_max, Decimal(row.maint)),
    )


def _derived(price: float) -> _Row:
    tick = Decimal(1).scaleb(math.ceil(math.log10(price * TICK_SHARE)))
    step = Decimal(1).scaleb(math.ceil(math.log10(STEP_NOTIONAL_MIN / price)))
    return _Row(
        tick=format(tick, "f"),
        step=format(step, "f"),
        notional_min="5",
        qty_max=format(step * 10_000_000, "f"),
        market_qty_max=format(step * 1_000_000, "f"),
        leverage_max=50,
        maint="0.01",
    )
