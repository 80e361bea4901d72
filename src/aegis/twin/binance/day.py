"""The figures of the last 24 hours, as Binance's ticker writes them over REST and on streams."""

from typing import Any, Final

import orjson

from aegis.twin.binance.json import NS_PER_MS, SymbolFormat
from aegis.twin.engine.api import Engine

_HOUR_NS: Final = 3_600_000_000_000
_DAY_HOURS: Final = 24


def day_ticker(engine: Engine, form: SymbolFormat) -> dict[str, Any]:
    """
    Return the row of GET ticker/24hr, from the hourly bars.

    The tape knows no trades: ids and counts are those of the bars, the average is by volume.
    """
    symbol = form.symbol
    now_ns = engine.now_ns
    begin_ns = now_ns - _DAY_HOURS * _HOUR_NS
    bars = [bar for _, bar in engine.klines(symbol, _HOUR_NS, begin_ns, None, _DAY_HOURS + 1)]
    quote = engine.quote(symbol)
    opened = bars[0].open if bars else quote.last
    volume = sum(bar.volume for bar in bars)
    turnover = sum(bar.volume * (bar.open + bar.close) / 2 for bar in bars)
    return {
        "symbol": symbol,
        "priceChange": form.px(quote.last - opened),
        "priceChangePercent": f"{(quote.last / opened - 1) * 100:.3f}",
        "weightedAvgPrice": form.px(turnover / volume if volume else quote.last),
        "lastPrice": form.px(quote.last),
        "lastQty": form.qty(quote.bid_qty),
        "openPrice": form.px(opened),
        "highPrice": form.px(max([quote.last, *(bar.high for bar in bars)])),
        "lowPrice": form.px(min([quote.last, *(bar.low for bar in bars)])),
        "volume": form.qty(volume),
        "quoteVolume": f"{turnover:.2f}",
        "openTime": begin_ns // NS_PER_MS,
        "closeTime": now_ns // NS_PER_MS,
        "firstId": 1,
        "lastId": len(bars),
        "count": len(bars),
    }


_TICKER_KEYS: Final = (
    ("p", "priceChange"),
    ("P", "priceChangePercent"),
    ("w", "weightedAvgPrice"),
    ("c", "lastPrice"),
    ("Q", "lastQty"),
    ("o", "openPrice"),
    ("h", "highPrice"),
    ("l", "lowPrice"),
    ("v", "volume"),
    ("q", "quoteVolume"),
    ("O", "openTime"),
    ("C", "closeTime"),
    ("F", "firstId"),
    ("L", "lastId"),
    ("n", "count"),
)
_MINI_KEYS: Final = frozenset("cohlvq")


def day_frame(engine: Engine, form: SymbolFormat, *, mini: bool) -> bytes:
    """Return a frame of the stream <symbol>@ticker, or of @miniTicker."""
    row = day_ticker(engine, form)
    frame = {
        "e": "24hrMiniTicker" if mini else "24hrTicker",
        "E": row["closeTime"],
        "s": form.symbol,
        "ps": form.symbol,
        "st": 1,
    }
    frame |= {key: row[name] for key, name in _TICKER_KEYS if not mini or key in _MINI_KEYS}
    return orjson.dumps(frame)
