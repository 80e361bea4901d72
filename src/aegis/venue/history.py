"""
Recorded markets from the venues: candles, mark-price candles and funding rates, by ccxt.

One page of rows at a time, with the retries around it; files, resuming and gaps are not known here.
ccxt is imported when a history is opened and at no other time: it is slow and large.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum, unique
from typing import Any, Final, TypeVar

import attrs

from aegis.core.clock import NS_PER_MS, NS_PER_S
from aegis.core.errors import (
    ConfigError,
    Problem,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)

HISTORY_VENUES: Final = ("binance", "bybit")
MINUTE_NS: Final = 60 * NS_PER_S
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS
TIMEFRAMES_NS: Final[Mapping[str, int]] = {
    "1m": MINUTE_NS,
    "3m": 3 * MINUTE_NS,
    "5m": 5 * MINUTE_NS,
    "15m": 15 * MINUTE_NS,
    "30m": 30 * MINUTE_NS,
    "1h": HOUR_NS,
    "2h": 2 * HOUR_NS,
    "4h": 4 * HOUR_NS,
    "6h": 6 * HOUR_NS,
    "12h": 12 * HOUR_NS,
    "1d": DAY_NS,
}
"""What both venues have, up to a day; longer bars do not open at multiples of their length."""

PAGE_BARS: Final = 1000
"""Bars a request: Bybit's maximum, and what ccxt allows for Binance."""
PAGE_FUNDING_ROWS: Final = 200
PAGE_FUNDING_NS: Final = (PAGE_FUNDING_ROWS - 1) * HOUR_NS
"""No venue pays more often than hourly, so a page of this span is never cut at Bybit's 200 rows."""

RETRY_WAITS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
RETRY_AFTER_S_MAX: Final = 120.0
"""A venue that wants a longer silence has banned the address: waiting is the user's to decide."""
TIMEOUT_MS: Final = 20_000
_DETAIL_CHARS_MAX: Final = 200
_CCXT_IDS: Final = {"binance": "binanceusdm", "bybit": "bybit"}

T = TypeVar("T")


@unique
class Series(StrEnum):
    """What can be downloaded of one market."""

    CANDLES = "candles"
    MARK = "mark"
    FUNDING = "funding"


@attrs.frozen(slots=True)
class HistoryRow:
    """
    One bar by its open, or one funding settlement with the rate in *open* and zeros elsewhere.

    Time is UTC ns, prices are quote per base, *volume* is base units, 0 for mark prices.
    """

    time_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class CcxtHistory:
    """
    The past of one instrument at one venue; blocks while it waits.

    *sleep* waits seconds between tries; *on_retry* is told before each wait. Call `close`.
    """

    def __init__(
        self,
        exchange: Any,
        *,
        venue: str,
        faults: Any,
        sleep: Callable[[float], None] = time.sleep,
        on_retry: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._exchange = exchange
        self._venue = venue
        self._faults = faults
        self._sleep = sleep
        self._on_retry = on_retry
        self._market = ""

    def perpetuals(self) -> dict[str, Any]:
        """
        Return ccxt's description of every USDT perpetual, by the venue's symbol.

        Raises:
            VenueError: the venue did not tell them.
        """
        markets = self._call("load the markets", self._exchange.load_markets)
        return {
            str(market["id"]): market
            for market in markets.values()
            if market.get("swap") and market.get("linear") and market.get("settle") == "USDT"
        }

    def choose(self, symbol: str) -> None:
        """
        Look *symbol* up among the venue's USDT perpetuals.

        Raises:
            ConfigError: it is none of them.
            VenueError: the venue did not tell them.
        """
        perpetuals = {symbol: str(market["symbol"]) for symbol, market in self.perpetuals().items()}
        if symbol not in perpetuals:
            near = get_close_matches(symbol, perpetuals, n=3, cutoff=0.6)
            raise ConfigError(
                [
                    Problem(
                        name="SYMBOL",
                        value=symbol,
                        allowed=f"a USDT perpetual that {self._venue} lists",
                        fix=f"did you mean {', '.join(near)}?" if near else "like BTCUSDT",
                    )
                ]
            )
        self._market = perpetuals[symbol]

    def market_now_ns(self) -> int:
        """
        Return the market's own time, UTC: the order book's.

        The venue's server time would do as well, but for the twin, whose market has a time of its
        own: a bar is over when the market says so.

        Raises:
            VenueError: no answer, or one without a time.
        """
        book = self._call(
            "ask the time", lambda: self._exchange.fetch_order_book(self._market, limit=5)
        )
        stamp = book.get("timestamp") if isinstance(book, dict) else None
        if not isinstance(stamp, int):
            raise VenueProtocolError(
                stamp, "order book without a time", venue=self._venue, operation="ask the time"
            )
        return stamp * NS_PER_MS

    def bars(self, series: Series, timeframe: str, from_ns: int, to_ns: int) -> list[HistoryRow]:
        """
        Return the bars that open within [*from_ns*, *to_ns*), at most `PAGE_BARS`, oldest first.

        Raises:
            VenueError: the venue refused, or did not answer in all tries.
        """
        fetch = (
            self._exchange.fetch_mark_ohlcv if series is Series.MARK else self._exchange.fetch_ohlcv
        )
        operation = f"download {series.value}"
        told = self._call(
            operation,
            lambda: _list(
                fetch(
                    self._market,
                    timeframe,
                    from_ns // NS_PER_MS,
                    PAGE_BARS,
                    {"until": to_ns // NS_PER_MS - 1},
                )
            ),
        )
        return self._within(operation, [_bar(row, series) for row in told], from_ns, to_ns)

    def funding(self, from_ns: int, to_ns: int) -> list[HistoryRow]:
        """
        Return the settlements within [*from_ns*, *to_ns*), oldest first; at most PAGE_FUNDING_NS.

        Raises:
            VenueError: the venue refused, or did not answer in all tries.
        """
        operation = "download funding"
        told = self._call(
            operation,
            lambda: _list(
                self._exchange.fetch_funding_rate_history(
                    self._market,
                    from_ns // NS_PER_MS,
                    PAGE_FUNDING_ROWS,
                    {"until": to_ns // NS_PER_MS - 1},
                )
            ),
        )
        return self._within(operation, [_settlement(row) for row in told], from_ns, to_ns)

    def close(self) -> None:
        """Close the connections."""
        session = getattr(self._exchange, "session", None)
        if session is not None:
            session.close()

    def _within(
        self, operation: str, rows: Sequence[HistoryRow | None], from_ns: int, to_ns: int
    ) -> list[HistoryRow]:
        read = [row for row in rows if row is not None]
        if len(read) != len(rows):
            raise VenueProtocolError(
                f"{len(rows) - len(read)} of {len(rows)} rows",
                "rows without a time",
                venue=self._venue,
                operation=operation,
            )
        asked = (row for row in read if from_ns <= row.time_ns < to_ns)
        return sorted(asked, key=lambda row: row.time_ns)

    def _call(self, operation: str, call: Callable[[], T]) -> T:
        """Call the venue; network faults are tried again, a no is final."""
        for wait_s in (*RETRY_WAITS_S, None):
            try:
                return call()
            except self._faults.NetworkError as fault:
                self._wait(operation, fault, wait_s)
            except self._faults.BaseError as fault:
                raise VenueRefused(
                    type(fault).__name__, one_line(fault), venue=self._venue, operation=operation
                ) from None
            except (TypeError, KeyError, IndexError, ValueError, AttributeError) as fault:
                # ccxt parses as it reads; an answer of another shape fails somewhere inside it.
                raise VenueProtocolError(
                    one_line(fault), venue=self._venue, operation=operation
                ) from fault
        raise AssertionError(operation)

    def _wait(self, operation: str, fault: Exception, wait_s: float | None) -> None:
        detail = f"{type(fault).__name__}: {one_line(fault)}"
        asked_s = retry_after_s(self._exchange.last_response_headers)
        throttled = isinstance(fault, (self._faults.RateLimitExceeded, self._faults.DDoSProtection))
        if throttled and (wait_s is None or (asked_s or 0.0) > RETRY_AFTER_S_MAX):
            raise VenueThrottled(
                asked_s, venue=self._venue, operation=operation, detail=detail
            ) from None
        if wait_s is None:
            raise VenueUnreachable(
                f"no answer in {len(RETRY_WAITS_S) + 1} tries, the last one {detail}",
                venue=self._venue,
                operation=operation,
            ) from None
        pause_s = max(wait_s, asked_s or 0.0) if throttled else wait_s
        self._on_retry(f"{self._venue} {operation}: {detail}; again in {pause_s:g} s")
        self._sleep(pause_s)


def open_history(
    venue: str,
    base_url: str | None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    on_retry: Callable[[str], None] = lambda _line: None,
    rate_limited: bool = True,
) -> CcxtHistory:
    """
    Return the history of *venue*, one of HISTORY_VENUES; nothing is sent yet.

    *base_url* takes the place of the venue's own address, for a twin (venues.md 4.2).
    *rate_limited*: ccxt keeps to the venue's request weights; off only where nobody counts them.
    """
    import ccxt

    exchange = getattr(ccxt, _CCXT_IDS[venue])(
        {
            "enableRateLimit": rate_limited,
            "timeout": TIMEOUT_MS,
            "options": {"fetchCurrencies": False},
        }
    )
    if venue == "bybit":
        exchange.options["fetchMarkets"] = {"types": ["linear"]}
    # A path that is not there will not come by asking again.
    exchange.httpExceptions = {**exchange.httpExceptions, "404": ccxt.NotSupported}
    if base_url is not None:
        _redirect(exchange.urls["api"], base_url.rstrip("/"), venue)
    return CcxtHistory(exchange, venue=venue, faults=ccxt, sleep=sleep, on_retry=on_retry)


def one_line(fault: Exception) -> str:
    """Return what *fault* says in one line of bounded length."""
    text = re.sub(r"\s+", " ", str(fault)).strip()
    cut = len(text) > _DETAIL_CHARS_MAX
    return text[:_DETAIL_CHARS_MAX] + " ..." if cut else text


def retry_after_s(headers: Mapping[str, str] | None) -> float | None:
    """Return the seconds a Retry-After header asks for, None without one that is a number."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after":
            try:
                seconds = float(value)
            except ValueError:
                return None
            return seconds if math.isfinite(seconds) and seconds >= 0 else None
    return None


def _redirect(urls: dict[str, Any], base: str, venue: str) -> None:
    if venue == "bybit":
        urls["public"] = urls["private"] = base
        return
    for name, url in urls.items():
        if isinstance(url, str) and url.startswith("https://fapi.binance.com"):
            urls[name] = url.replace("https://fapi.binance.com", base)


def _list(told: object) -> list[Any]:
    if not isinstance(told, list):
        raise TypeError(f"answer was {type(told).__name__}, a list was expected")
    return told


def _number(value: object) -> float:
    # What the venue left out stays unknown; the reader of the rows refuses it.
    return float(value) if isinstance(value, (int, float)) else math.nan


def _bar(row: Any, series: Series) -> HistoryRow | None:
    if not isinstance(row, (list, tuple)) or len(row) < 5 or not isinstance(row[0], int):
        return None
    volume = 0.0 if series is Series.MARK else _number(row[5] if len(row) > 5 else None)
    o, h, low, c = (_number(value) for value in row[1:5])
    return HistoryRow(row[0] * NS_PER_MS, o, h, low, c, volume)


def _settlement(row: Any) -> HistoryRow | None:
    if not isinstance(row, dict) or not isinstance(row.get("timestamp"), int):
        return None
    rate = _number(row.get("fundingRate"))
    return HistoryRow(row["timestamp"] * NS_PER_MS, rate, 0.0, 0.0, 0.0, 0.0)
