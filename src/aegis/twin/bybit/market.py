"""The public queries of the Bybit face: time, instruments, prices, book, bars, funding, tiers."""

from collections.abc import Callable
from typing import Final

from aegis.model.money import plain
from aegis.twin.bybit.account_rows import instrument_row, risk_tier
from aegis.twin.bybit.json import (
    NS_PER_MS,
    Row,
    decimals_of,
    ms_of,
    ms_text,
    price_text,
    side_word,
)
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.bybit.market_feed import INTERVALS, ticker_row
from aegis.twin.bybit.params import Params, cursor_text
from aegis.twin.bybit.refusal import param_error
from aegis.twin.engine.api import Bar, Engine, Quote, TwinInstrument

_RISK_SYMBOLS: Final = 15
_CATEGORIES: Final = frozenset({"linear", "inverse", "spot", "option"})


class MarketDesk:
    """Answers from the tape; only `time` tells the wall clock."""

    def __init__(self, engine: Engine, ledger: BybitLedger, wall_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._ledger = ledger
        self._wall_ms = wall_ms
        self._funding_seen: dict[str, dict[int, str]] = {one: {} for one in engine.instruments}
        self.funding_due_ns: dict[str, int] = {}
        """When the coming rate of each symbol is paid; the face asks for the next one then."""
        for symbol in engine.instruments:
            self.note_funding(symbol)

    def time(self, _params: Params) -> Row:
        """Return the wall clock, which signatures are checked against."""
        now_ms = self._wall_ms()
        return {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * NS_PER_MS)}

    def instruments(self, params: Params) -> Row:
        """List instruments; other categories than linear are empty."""
        category = _category(params)
        symbol, status = params.get("symbol"), params.get("status")
        rows = [
            instrument_row(one)
            for one in self._engine.instruments.values()
            if category == "linear"
            and (not symbol or one.symbol == symbol)
            and status in {None, "", "Trading"}
        ]
        if symbol and category == "linear" and symbol not in self._engine.instruments:
            raise param_error("Not supported symbols")
        begin = params.cursor() or 0
        end = begin + params.limit(default=500, maximum=1000)
        cursor = cursor_text(end) if end < len(rows) else ""
        return {"category": category, "list": rows[begin:end], "nextPageCursor": cursor}

    def tickers(self, params: Params) -> Row:
        """List whole tickers of one or all symbols."""
        category = _category(params)
        symbols = list(self._engine.instruments) if category == "linear" else []
        if params.get("symbol") and category == "linear":
            symbols = [self._instrument(params).symbol]
        return {
            "category": category,
            "list": [ticker_row(self._engine, symbol) for symbol in symbols],
        }

    def orderbook(self, params: Params) -> Row:
        """Return the book as it is, bids and asks best first."""
        instrument = self._instrument(params)
        bids, asks = self._engine.depth(instrument.symbol, params.limit(default=25, maximum=500))
        qty_digits = decimals_of(instrument.qty_step)
        now_ms = ms_of(self._engine.now_ns)

        def levels(side: list[tuple[float, float]]) -> list[list[str]]:
            return [[price_text(px, instrument), f"{qty:.{qty_digits}f}"] for px, qty in side]

        return {
            "s": instrument.symbol,
            "b": levels(bids),
            "a": levels(asks),
            "ts": now_ms,
            "u": now_ms,
            "seq": now_ms,
            "cts": now_ms,
        }

    def kline(self, params: Params) -> Row:
        """List bars newest first, the open one at the top."""
        instrument, bars = self._bars(params)
        rows = [_kline_row(open_ns, bar, instrument) for open_ns, bar in bars]
        return {"symbol": instrument.symbol, "category": "linear", "list": rows}

    def mark_kline(self, params: Params) -> Row:
        """
        List bars of the mark price: those of the last price, moved by the basis of now.

        The engine keeps no bars of the mark; where a tape has no mark file both are the same.
        """
        return self._moved_kline(params, lambda quote: quote.mark - quote.last)

    def index_kline(self, params: Params) -> Row:
        """List bars of the index price, made as those of the mark."""
        return self._moved_kline(params, lambda quote: quote.index - quote.last)

    def _moved_kline(self, params: Params, basis_of: Callable[[Quote], float]) -> Row:
        instrument, bars = self._bars(params)
        basis = basis_of(self._engine.quote(instrument.symbol))
        rows = [
            [ms_text(open_ns)]
            + [
                price_text(price + basis, instrument)
                for price in (bar.open, bar.high, bar.low, bar.close)
            ]
            for open_ns, bar in bars
        ]
        return {"symbol": instrument.symbol, "category": "linear", "list": rows}

    def _bars(self, params: Params) -> tuple[TwinInstrument, list[tuple[int, Bar]]]:
        instrument = self._instrument(params)
        word = params.required("interval")
        if word not in INTERVALS:
            raise param_error(f"interval {word} is not supported by the twin")
        start, end = params.integer("start"), params.integer("end")
        bars = self._engine.klines(
            instrument.symbol,
            INTERVALS[word],
            None if start is None else start * NS_PER_MS,
            None if end is None else end * NS_PER_MS,
            params.limit(default=200, maximum=1000),
        )
        return instrument, bars[::-1]

    def recent_trades(self, params: Params) -> Row:
        """List the account's own fills, newest first: the twin has no other prints."""
        instrument = self._instrument(params)
        fills = list(self._engine.fills(instrument.symbol))
        rows = [
            {
                "execId": self._ledger.ids.execution(fill.fill_id),
                "symbol": instrument.symbol,
                "price": f"{fill.price:f}",
                "size": f"{fill.qty:f}",
                "side": side_word(fill.order.spec.side),
                "time": ms_text(fill.ts_ns),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(fill.fill_id),
            }
            for fill in reversed(fills)
        ]
        return {"category": "linear", "list": rows[: params.limit(default=500, maximum=1000)]}

    def note_funding(self, symbol: str) -> None:
        """Remember the coming funding rate, for the history."""
        rate, next_ns = self._engine.funding_rate(symbol)
        self._funding_seen[symbol][next_ns] = f"{rate:f}"
        self.funding_due_ns[symbol] = next_ns

    def funding_history(self, params: Params) -> Row:
        """List the funding rates since the face began, newest first."""
        symbol = self._instrument(params).symbol
        start, end = params.integer("startTime"), params.integer("endTime")
        rows = [
            {"symbol": symbol, "fundingRate": rate, "fundingRateTimestamp": ms_text(time_ns)}
            for time_ns, rate in sorted(self._funding_seen[symbol].items(), reverse=True)
            if time_ns <= self._engine.now_ns
            and (start is None or time_ns >= start * NS_PER_MS)
            and (end is None or time_ns <= end * NS_PER_MS)
        ]
        return {"category": "linear", "list": rows[: params.limit(default=200, maximum=200)]}

    def risk_limit(self, params: Params) -> Row:
        """List risk tiers, 15 symbols a page."""
        category = _category(params)
        symbol = params.get("symbol")
        chosen = [
            one
            for one in self._engine.instruments.values()
            if category == "linear" and (not symbol or one.symbol == symbol)
        ]
        begin = params.cursor() or 0
        end = begin + _RISK_SYMBOLS
        rows = [row for one in chosen[begin:end] for row in _risk_rows(one)]
        cursor = cursor_text(end) if end < len(chosen) else ""
        return {"category": category, "list": rows, "nextPageCursor": cursor}

    def _instrument(self, params: Params) -> TwinInstrument:
        # kline and orderbook default to linear (venues.md 3.6); other categories have no symbols.
        if params.text("category", "linear") != "linear":
            raise param_error("Not supported symbols")
        instrument = self._engine.instruments.get(params.required("symbol"))
        if instrument is None:
            raise param_error("Not supported symbols")
        return instrument


def _category(params: Params) -> str:
    category = params.required("category")
    if category not in _CATEGORIES:
        raise param_error("Illegal category")
    return category


def _risk_rows(instrument: TwinInstrument) -> list[Row]:
    tiers = instrument.margin_tiers
    return [
        {
            "id": number,
            "symbol": instrument.symbol,
            "riskLimitValue": risk_tier(instrument, tier.leverage_max)[1],
            "maintenanceMargin": f"{tier.maint_rate:f}",
            "initialMargin": f"{1 / tier.leverage_max:.4f}",
            "isLowestRisk": 1 if number == 1 else 0,
            "maxLeverage": f"{tier.leverage_max}.00",
            "mmDeduction": plain(tier.deduction) if tier.deduction else "",
        }
        for number, tier in enumerate(tiers, 1)
    ]


def _kline_row(open_ns: int, bar: Bar, instrument: TwinInstrument) -> list[str]:
    turnover = bar.volume * (bar.open + bar.close) / 2
    return [
        ms_text(open_ns),
        price_text(bar.open, instrument),
        price_text(bar.high, instrument),
        price_text(bar.low, instrument),
        price_text(bar.close, instrument),
        f"{bar.volume:.{decimals_of(instrument.qty_step)}f}",
        f"{turnover:.4f}",
    ]
