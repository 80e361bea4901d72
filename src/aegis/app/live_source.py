"""
What a dry run reads of each venue before and beside its streams: rules, prices, history.

All of it over `PublicRest`. Fees and leverage tiers are the twin's own: Binance tells them to keys
alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import attrs

from aegis.app.public_rest import PublicRest
from aegis.core.errors import VenueError, VenueProtocolError
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.market import TIMEFRAME_NAMES, Candle
from aegis.twin.boot import VenueName
from aegis.twin.engine.api import Bar, TwinInstrument
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.live_market import LiveBar, LivePrices
from aegis.venue.binance import wire as binance_wire
from aegis.venue.binance.parse_market import parse_klines
from aegis.venue.binance.parse_rest import parse_exchange_info, parse_instrument
from aegis.venue.bybit import wire as bybit_wire
from aegis.venue.bybit.frames import Answer
from aegis.venue.bybit.parse import instrument as bybit_instrument
from aegis.venue.bybit.parse import read_rest
from aegis.venue.bybit.parse_market import INTERVALS, closed_candles

_CATEGORY: Final = "linear"
_FUNDING_HOURS: Final = 8
BARS_ASKED: Final = 1000
_ROWS_ASKED: Final = 1000
TRIES: Final = 3
RETRY_FIRST_S: Final = 1.0

T = TypeVar("T")


class LiveSource(Protocol):
    """The public REST side of one venue."""

    async def rules(self, symbols: Sequence[str]) -> dict[str, Instrument]:
        """Return the rules of those of *symbols* that are listed."""

    async def prices(self, symbol: str, at_ns: int) -> LivePrices:
        """Return best quote and mark, as of *at_ns*."""

    async def bars(self, symbol: str, timeframe_ns: int, now_ns: int) -> tuple[Candle, ...]:
        """Return the newest closed bars, oldest first."""


class BinanceSource:
    """Binance's public REST side (venues.md 2.3, 2.6)."""

    def __init__(self, rest: PublicRest) -> None:
        self._rest = rest

    async def rules(self, symbols: Sequence[str]) -> dict[str, Instrument]:
        """Return the rules of those of *symbols* that are listed."""
        listed = parse_exchange_info(await self._rest.get("/fapi/v1/exchangeInfo"))
        table = _table("binance", [symbol for symbol in symbols if symbol in listed])
        return {
            symbol: parse_instrument(
                listed[symbol],
                binance_wire.BracketRow(
                    bracket=1,
                    initial_leverage=known.leverage_max,
                    maint_margin_ratio=known.maint_margin_rate,
                ),
                binance_wire.CommissionRow(
                    maker_commission_rate=known.maker_fee_rate,
                    taker_commission_rate=known.taker_fee_rate,
                ),
                _FUNDING_HOURS,
            )
            for symbol, known in table.items()
        }

    async def prices(self, symbol: str, at_ns: int) -> LivePrices:
        """Return best quote and mark, as of *at_ns*."""
        book = await self._rest.get("/fapi/v1/ticker/bookTicker", symbol=symbol)
        index = await self._rest.get("/fapi/v1/premiumIndex", symbol=symbol)
        names = ("bidPrice", "bidQty", "askPrice", "askQty")
        return _prices(Venue.BINANCE, {**book, "mark": index.get("markPrice")}, names, at_ns)

    async def bars(self, symbol: str, timeframe_ns: int, now_ns: int) -> tuple[Candle, ...]:
        """Return the newest closed bars, oldest first."""
        answer = await self._rest.get(
            "/fapi/v1/klines",
            symbol=symbol,
            interval=TIMEFRAME_NAMES[timeframe_ns],
            limit=BARS_ASKED,
        )
        found = parse_klines(answer, instrument_id(symbol, Venue.BINANCE), timeframe_ns)
        return tuple(bar for bar in found if bar.close_ns <= now_ns)


class BybitSource:
    """Bybit's public REST side (venues.md 3.6)."""

    def __init__(self, rest: PublicRest) -> None:
        self._rest = rest

    async def _all_rows(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            more = {"cursor": cursor} if cursor else {}
            answer = await self._rest.get(path, category=_CATEGORY, limit=_ROWS_ASKED, **more)
            rows += answer["result"].get("list", [])
            cursor = str(answer["result"].get("nextPageCursor") or "")
            if not cursor:
                return rows

    async def rules(self, symbols: Sequence[str]) -> dict[str, Instrument]:
        """Return the rules of those of *symbols* that are listed."""
        path = "/v5/market/instruments-info"
        # Asked by name, the venue refuses an unknown symbol instead of leaving it out.
        listed = {str(row.get("symbol")): row for row in await self._all_rows(path)}
        found = {}
        for symbol in symbols:
            row = listed.get(symbol)
            if row is None:
                continue
            known = _table("bybit", [symbol])[symbol]
            risk = bybit_wire.RiskRow(
                symbol=symbol,
                risk_limit_value="0",
                maintenance_margin=str(known.maint_margin_rate),
                max_leverage=str(row["leverageFilter"]["maxLeverage"]),
            )
            fee = bybit_wire.FeeRow(
                symbol=symbol,
                taker_fee_rate=str(known.taker_fee_rate),
                maker_fee_rate=str(known.maker_fee_rate),
            )
            found[symbol] = read_rest(
                row,
                bybit_wire.InstrumentRow,
                partial(bybit_instrument, risk=risk, fee=fee),
                path,
            )
        return found

    async def prices(self, symbol: str, at_ns: int) -> LivePrices:
        """Return best quote and mark, as of *at_ns*."""
        answer = await self._rest.get("/v5/market/tickers", category=_CATEGORY, symbol=symbol)
        rows = answer["result"].get("list", [])
        none: dict[str, Any] = {}
        row = next((each for each in rows if each.get("symbol") == symbol), none)
        names = ("bid1Price", "bid1Size", "ask1Price", "ask1Size")
        return _prices(Venue.BYBIT, {**row, "mark": row.get("markPrice")}, names, at_ns)

    async def bars(self, symbol: str, timeframe_ns: int, now_ns: int) -> tuple[Candle, ...]:
        """Return the newest closed bars, oldest first."""
        answer = await self._rest.get(
            "/v5/market/kline",
            category=_CATEGORY,
            symbol=symbol,
            interval=INTERVALS[timeframe_ns],
            limit=BARS_ASKED,
        )
        read = Answer(operation="get_kline", result=answer["result"])
        named: InstrumentId = instrument_id(symbol, Venue.BYBIT)
        return closed_candles(read, named, timeframe_ns, now_ns)


def twin_rules(venue: VenueName, rules: Instrument) -> TwinInstrument:
    """Return the live rules in the twin's form; what they leave open is the twin's own."""
    symbol = rules.instrument_id.symbol
    known = _table(venue, [symbol])[symbol]
    return attrs.evolve(
        known,
        tick_size=rules.tick_size,
        qty_step=rules.qty_step,
        qty_min=rules.qty_min,
        qty_max=known.qty_max if rules.qty_max is None else rules.qty_max,
        market_qty_max=known.market_qty_max
        if rules.market_qty_max is None
        else rules.market_qty_max,
        notional_min=known.notional_min if rules.notional_min is None else rules.notional_min,
        funding_interval_ns=rules.funding_interval_ns,
    )


def live_bar(candle: Candle) -> LiveBar:
    """Return a bar in the twin's form."""
    bar = Bar(candle.open, candle.high, candle.low, candle.close, candle.volume)
    return LiveBar(candle.timeframe_ns, candle.open_ns, bar)


def _table(venue: VenueName, symbols: Sequence[str]) -> dict[str, TwinInstrument]:
    # Tick and step come from the venue; the price only matters for those.
    return twin_instruments(venue, symbols, dict.fromkeys(symbols, 1.0))


def _prices(
    venue: Venue, row: Mapping[str, Any], names: tuple[str, str, str, str], at_ns: int
) -> LivePrices:
    try:
        bid, bid_qty, ask, ask_qty, mark = (float(row[name]) for name in (*names, "mark"))
    except (KeyError, TypeError, ValueError):
        bid = bid_qty = ask = ask_qty = mark = 0.0
    if not (0 < bid < ask and mark > 0):
        raise VenueProtocolError(
            dict(row), "no best quote or no mark price", venue=venue.value, operation="prices"
        )
    return LivePrices(at_ns=at_ns, bid=bid, bid_qty=bid_qty, ask=ask, ask_qty=ask_qty, mark=mark)


async def patient(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what *ask* returns; a VenueError is raised after the third try, 1 and 2 s apart."""
    for attempt in range(TRIES - 1):
        try:
            return await ask()
        except VenueError:
            await asyncio.sleep(RETRY_FIRST_S * 2**attempt)
    return await ask()
