"""The market desk: exchange rules, books, prices, candles and funding as Binance shows them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from aegis.twin.binance.auth import Params
from aegis.twin.binance.day import day_ticker
from aegis.twin.binance.errors import ApiError, from_refusal
from aegis.twin.binance.json import NS_PER_MS, SymbolFormat, plain, trade_row
from aegis.twin.engine.api import Bar, Engine, Quote, Reason, Refused, TwinInstrument
from aegis.twin.tape.raw_player import RecordedFrames

_MINUTE_NS: Final = 60_000_000_000
_HOUR_NS: Final = 60 * _MINUTE_NS

INTERVALS_NS: Final = {
    "1m": _MINUTE_NS,
    "3m": 3 * _MINUTE_NS,
    "5m": 5 * _MINUTE_NS,
    "15m": 15 * _MINUTE_NS,
    "30m": 30 * _MINUTE_NS,
    "1h": _HOUR_NS,
    "2h": 2 * _HOUR_NS,
    "4h": 4 * _HOUR_NS,
    "6h": 6 * _HOUR_NS,
    "8h": 8 * _HOUR_NS,
    "12h": 12 * _HOUR_NS,
    "1d": 24 * _HOUR_NS,
    "3d": 72 * _HOUR_NS,
    "1w": 168 * _HOUR_NS,
}
_PX_MAX: Final = 1_000_000
_KLINES_LIMIT: Final = 500
_KLINES_LIMIT_MAX: Final = 1500
_FUNDING_LIMIT: Final = 100
_FUNDING_LIMIT_MAX: Final = 1000
_DEPTH_LIMIT: Final = 500
_DEPTH_LIMITS: Final = frozenset({5, 10, 20, 50, 100, 500, 1000})


class MarketDesk:
    """Answers what needs no key."""

    def __init__(
        self,
        engine: Engine,
        formats: dict[str, SymbolFormat],
        wall_ms: Callable[[], int],
        recorded: Mapping[str, RecordedFrames],
        on_book: Callable[[str, list[list[str]], list[list[str]]], None],
    ) -> None:
        self._engine = engine
        self._on_book = on_book
        self._recorded = recorded
        self._formats = formats
        self._wall_ms = wall_ms
        self._funding_seen: dict[str, dict[int, str]] = {one: {} for one in engine.instruments}
        self.funding_due_ns: dict[str, int] = {}
        """When the coming rate of each symbol is paid; the face asks for the next one then."""
        for symbol in engine.instruments:
            self.note_funding(symbol)

    def ping(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer ping."""
        return {}

    def time(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer time: the wall clock, which signatures are checked against."""
        return {"serverTime": self._wall_ms()}

    def exchange_info(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer exchangeInfo; the numbers of filters are strings (venues.md 2.3)."""
        return {
            "timezone": "UTC",
            "serverTime": self._wall_ms(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, 2400),
                _rate_limit("ORDERS", "MINUTE", 1, 1200),
                _rate_limit("ORDERS", "SECOND", 10, 300),
            ],
            "exchangeFilters": [],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
            "symbols": [
                _symbol_info(each, self._formats[each.symbol])
                for each in self._engine.instruments.values()
            ],
        }

    def depth(self, params: Params) -> dict[str, Any]:
        """Answer depth: the recorded book where there is one, else the synthetic one."""
        symbol = self._symbol(params)
        limit = params.integer("limit") or _DEPTH_LIMIT
        if limit not in _DEPTH_LIMITS:
            raise ApiError(-4021, f"{limit} is not valid depth limit.")
        recorded = self._recorded.get(symbol)
        if recorded is not None:
            return _recorded_depth(recorded, limit)
        form = self._formats[symbol]
        bids, asks = self._engine.depth(symbol, limit)
        now_ms = self._now_ms()
        book = {
            "bids": [[form.px(price), form.qty(qty)] for price, qty in bids],
            "asks": [[form.px(price), form.qty(qty)] for price, qty in asks],
        }
        self._on_book(symbol, book["bids"], book["asks"])
        return {"lastUpdateId": now_ms, "E": now_ms, "T": now_ms, **book}

    def book_ticker(self, params: Params) -> Any:
        """Answer ticker/bookTicker: an object for one symbol, an array for all."""
        return self._one_or_all(params, self._book_ticker)

    def price(self, params: Params) -> Any:
        """Answer ticker/price."""
        return self._one_or_all(params, self._price)

    def premium_index(self, params: Params) -> Any:
        """Answer premiumIndex."""
        return self._one_or_all(params, self._premium)

    def funding_info(self, params: Params) -> list[dict[str, Any]]:  # noqa: ARG002 - a handler
        """Answer fundingInfo."""
        return [
            {
                "symbol": each.symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": each.funding_interval_ns // _HOUR_NS,
                "disclaimer": False,
            }
            for each in self._engine.instruments.values()
        ]

    def note_funding(self, symbol: str) -> None:
        """Remember the coming funding rate, for the history."""
        rate, next_ns = self._engine.funding_rate(symbol)
        self._funding_seen[symbol][next_ns] = f"{rate:.8f}"
        self.funding_due_ns[symbol] = next_ns

    def funding_rate(self, params: Params) -> list[dict[str, Any]]:
        """Answer fundingRate, oldest first: the rates paid since the face began."""
        symbols = [self._symbol(params)] if params.get("symbol") else list(self._engine.instruments)
        start_ms = params.integer("startTime")
        end_ms = params.integer("endTime")
        rows = [
            {
                "symbol": symbol,
                "fundingRate": rate,
                "fundingTime": time_ns // NS_PER_MS,
                "markPrice": f"{self._engine.quote(symbol).mark:.8f}",
            }
            for symbol in symbols
            for time_ns, rate in sorted(self._funding_seen[symbol].items())
            if time_ns <= self._engine.now_ns
            and (start_ms is None or time_ns // NS_PER_MS >= start_ms)
            and (end_ms is None or time_ns // NS_PER_MS <= end_ms)
        ]
        limit = max(1, min(params.integer("limit") or _FUNDING_LIMIT, _FUNDING_LIMIT_MAX))
        return rows[:limit] if start_ms is not None else rows[-limit:]

    def day(self, params: Params) -> Any:
        """Answer ticker/24hr."""
        return self._one_or_all(
            params, lambda symbol: day_ticker(self._engine, self._formats[symbol])
        )

    def trades(self, params: Params) -> list[dict[str, Any]]:
        """Answer trades with the account's own fills: the twin has no other prints."""
        rows = []
        for fill in self._engine.fills(self._symbol(params)):
            trade = trade_row(fill, self._formats[fill.order.spec.symbol])
            row = {key: trade[key] for key in ("id", "price", "qty", "quoteQty", "time")}
            rows.append({**row, "isBuyerMaker": trade["buyer"] == trade["maker"]})
        return rows[-min(params.integer("limit") or 500, 1000) :]

    def aggregate_trades(self, params: Params) -> list[dict[str, Any]]:
        """Answer aggTrades with the account's own fills, each alone."""
        return [
            {
                "a": row["id"],
                "p": row["price"],
                "q": row["qty"],
                "nq": row["qty"],
                "f": row["id"],
                "l": row["id"],
                "T": row["time"],
                "m": row["isBuyerMaker"],
            }
            for row in self.trades(params)
        ]

    def klines(self, params: Params) -> list[list[Any]]:
        """Answer klines: twelve columns, the open bar last."""
        return self._klines(params, self._symbol(params), lambda _quote: 0.0)

    def continuous_klines(self, params: Params) -> list[list[Any]]:
        """Answer continuousKlines: the pair's perpetual is the symbol itself."""
        if params.required("contractType") != "PERPETUAL":
            raise ApiError(-1130, "Data sent for parameter 'contractType' is not valid.")
        return self._klines(params, self._symbol(params, "pair"), lambda _quote: 0.0)

    def mark_klines(self, params: Params) -> list[list[Any]]:
        """
        Answer markPriceKlines: the bars of the last price, moved by the basis of now.

        The engine keeps no bars of the mark; where a tape has no mark file both are the same.
        """
        return self._klines(params, self._symbol(params), lambda quote: quote.mark - quote.last)

    def index_klines(self, params: Params) -> list[list[Any]]:
        """Answer indexPriceKlines, made as those of the mark."""
        symbol = self._symbol(params, "pair")
        return self._klines(params, symbol, lambda quote: quote.index - quote.last)

    def _klines(
        self, params: Params, symbol: str, basis_of: Callable[[Quote], float]
    ) -> list[list[Any]]:
        timeframe_ns = INTERVALS_NS.get(params.required("interval"))
        if timeframe_ns is None:
            raise ApiError(-1120, "Invalid interval.")
        start_ms = params.integer("startTime")
        end_ms = params.integer("endTime")
        rows = self._engine.klines(
            symbol,
            timeframe_ns,
            None if start_ms is None else start_ms * NS_PER_MS,
            None if end_ms is None else end_ms * NS_PER_MS,
            min(params.integer("limit") or _KLINES_LIMIT, _KLINES_LIMIT_MAX),
        )
        form = self._formats[symbol]
        basis = basis_of(self._engine.quote(symbol))
        return [_kline_row(open_ns, timeframe_ns, bar, form, basis) for open_ns, bar in rows]

    def _one_or_all(self, params: Params, row: Callable[[str], dict[str, Any]]) -> Any:
        if params.get("symbol"):
            return row(self._symbol(params))
        return [row(symbol) for symbol in self._engine.instruments]

    def _book_ticker(self, symbol: str) -> dict[str, Any]:
        quote = self._engine.quote(symbol)
        form = self._formats[symbol]
        return {
            "symbol": symbol,
            "bidPrice": form.px(quote.bid),
            "bidQty": form.qty(quote.bid_qty),
            "askPrice": form.px(quote.ask),
            "askQty": form.qty(quote.ask_qty),
            "time": quote.ts_ns // NS_PER_MS,
            "lastUpdateId": quote.ts_ns // NS_PER_MS,
        }

    def _price(self, symbol: str) -> dict[str, Any]:
        quote = self._engine.quote(symbol)
        return {
            "symbol": symbol,
            "price": self._formats[symbol].px(quote.last),
            "time": quote.ts_ns // NS_PER_MS,
        }

    def _premium(self, symbol: str) -> dict[str, Any]:
        quote = self._engine.quote(symbol)
        rate, next_ns = self._engine.funding_rate(symbol)
        return {
            "symbol": symbol,
            "markPrice": f"{quote.mark:.8f}",
            "indexPrice": f"{quote.index:.8f}",
            "estimatedSettlePrice": f"{quote.index:.8f}",
            "lastFundingRate": f"{rate:.8f}",
            "interestRate": "0.00010000",
            "nextFundingTime": next_ns // NS_PER_MS,
            "time": quote.ts_ns // NS_PER_MS,
        }

    def _symbol(self, params: Params, name: str = "symbol") -> str:
        symbol = params.required(name)
        if symbol not in self._engine.instruments:
            raise from_refusal(Refused(Reason.UNKNOWN_SYMBOL))
        return symbol

    def _now_ms(self) -> int:
        return self._engine.now_ns // NS_PER_MS


def _recorded_depth(recorded: RecordedFrames, limit: int) -> dict[str, Any]:
    book = recorded.depth(limit)
    if book is None:
        # A made-up book would fit none of the recorded diffs.
        raise ApiError(-1000, "The recording holds no depth snapshot.", 503)
    return {
        "lastUpdateId": book.last_update_id,
        "E": book.event_ms,
        "T": book.transaction_ms,
        "bids": book.bids,
        "asks": book.asks,
    }


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _symbol_info(instrument: TwinInstrument, form: SymbolFormat) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "pair": instrument.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": instrument.base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": form.px_digits,
        "quantityPrecision": form.qty_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": f"{instrument.liquidation_fee_rate:.6f}",
        "marketTakeBound": "0.05",
        "filters": _filters(instrument, form),
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _filters(instrument: TwinInstrument, form: SymbolFormat) -> list[dict[str, Any]]:
    step = plain(instrument.qty_step)
    least = plain(instrument.qty_min)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": plain(instrument.tick_size),
            "maxPrice": str(_PX_MAX),
            "tickSize": form.px(instrument.tick_size),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": least,
            "maxQty": plain(instrument.qty_max),
            "stepSize": step,
        },
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": least,
            "maxQty": plain(instrument.market_qty_max),
            "stepSize": step,
        },
        {"filterType": "MAX_NUM_ORDERS", "limit": 200},
        {"filterType": "MIN_NOTIONAL", "notional": plain(instrument.notional_min)},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": "1.0500",
            "multiplierDown": "0.9500",
            "multiplierDecimal": "4",
        },
    ]


def _kline_row(
    open_ns: int, timeframe_ns: int, bar: Bar, form: SymbolFormat, basis: float
) -> list[Any]:
    # The tape knows no quote volume and no taker side: volume at the close, and half of it.
    turnover = bar.volume * bar.close
    return [
        open_ns // NS_PER_MS,
        form.px(bar.open + basis),
        form.px(bar.high + basis),
        form.px(bar.low + basis),
        form.px(bar.close + basis),
        form.qty(bar.volume),
        (open_ns + timeframe_ns) // NS_PER_MS - 1,
        f"{turnover:.8f}",
        1 if bar.volume else 0,
        form.qty(bar.volume / 2),
        f"{turnover / 2:.8f}",
        "0",
    ]
