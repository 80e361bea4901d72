"""
What Binance limits, and what each request of ours costs (venues.md 2.2, 1.2).

Weight is counted per IP address and minute, orders per account in 10 s and in a minute.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aegis.core.clock import NS_PER_S
from aegis.venue.weights import Cost, PoolLimit, WeightLedger

WEIGHT_1M: Final = "weight_1m"
ORDERS_10S: Final = "orders_10s"
ORDERS_1M: Final = "orders_1m"

POOLS: Final = (
    PoolLimit(name=WEIGHT_1M, limit=2400, window_ns=60 * NS_PER_S),
    PoolLimit(name=ORDERS_10S, limit=300, window_ns=10 * NS_PER_S),
    PoolLimit(name=ORDERS_1M, limit=1200, window_ns=60 * NS_PER_S),
)
"""2400 weight a minute and IP, 300 orders in 10 s and 1200 a minute and account (venues.md 2.2);
exchangeInfo tells the numbers of the venue in use, which rule."""

HEADERS: Final[Mapping[str, str]] = {
    "x-mbx-used-weight-1m": WEIGHT_1M,
    "x-mbx-order-count-10s": ORDERS_10S,
    "x-mbx-order-count-1m": ORDERS_1M,
}
"""Headers of an answer, in small letters (venues.md 2.2)."""

_ORDER: Final[tuple[Cost, ...]] = ((ORDERS_10S, 1), (ORDERS_1M, 1))


def _weight(units: int) -> tuple[Cost, ...]:
    return ((WEIGHT_1M, units),)


OF_ONE: Final = " of one symbol"
"""Ending of the operations whose weight is another where a symbol is named."""
CHEAPER_BY_SYMBOL: Final = frozenset({"open_orders", "open_algo_orders"})
PAGES_OF_KLINES: Final[tuple[tuple[int, int], ...]] = ((99, 1), (499, 2), (1000, 5))
"""So many bars asked for at most, and what the page weighs; more weigh as in the table (the
documents' table; as the twin charges and ccxt counts)."""

COSTS: Final[Mapping[str, tuple[Cost, ...]]] = {
    "place_order": _ORDER,  # weight 0, 1 order (venues.md 2.2)
    "place_algo_order": _ORDER,  # weight 0, 1 order (venues.md 1.2)
    "ws order.place": _ORDER,  # the socket shares the limits (venues.md 2.2)
    "ws algoOrder.place": _ORDER,
    "cancel_order": _weight(1),  # venues.md 2.2
    "cancel_algo_order": _weight(1),  # venues.md 1.2
    "ws order.cancel": _weight(1),
    "ws algoOrder.cancel": _weight(1),
    "get_order": _weight(1),  # venues.md 2.2
    "get_algo_order": _weight(1),  # venues.md 1.2
    "open_orders": _weight(40),  # without symbol (venues.md 2.2)
    "open_orders" + OF_ONE: _weight(1),
    "open_algo_orders": _weight(40),  # without symbol (venues.md 1.2)
    "open_algo_orders" + OF_ONE: _weight(1),
    "all_orders": _weight(5),  # venues.md 2.2
    "all_algo_orders": _weight(5),  # venues.md 1.2
    "user_trades": _weight(5),  # venues.md 2.2
    "positions": _weight(5),  # v3 (venues.md 2.2)
    "balance": _weight(5),  # venues.md 2.2
    "symbol_config": _weight(5),  # as the documents' table, not in venues.md: UNSURE
    "account_config": _weight(5),  # UNSURE, likewise
    "commission_rate": _weight(20),  # UNSURE, likewise
    "funding_info": (),  # UNSURE: it has a limit of its own
    "exchange_info": _weight(1),  # venues.md 2.2
    "leverage_bracket": _weight(1),  # venues.md 2.2
    "leverage": _weight(1),  # venues.md 2.2
    "margin_type": _weight(1),  # venues.md 2.2
    "position_mode": _weight(30),  # GET (venues.md 2.2)
    "asset_mode": _weight(30),  # UNSURE: as position_mode
    "depth": _weight(20),  # 1000 levels (venues.md 2.2)
    "klines": _weight(10),  # the dearest page
    **{f"klines up to {bars_max}": _weight(units) for bars_max, units in PAGES_OF_KLINES},
    "mark_price": _weight(1),  # one symbol (venues.md 2.2)
    "income": _weight(30),  # venues.md 2.2
    "listen_key": _weight(1),  # venues.md 2.2
    "listen_key_renew": _weight(1),
    "time": _weight(1),
}
COST_DEFAULT: Final = _weight(5)
"""For requests that are not in the table: more than most of them take."""

PROTECTIVE: Final = frozenset(
    {
        # What takes an order back, and the ear and the clock without which nothing protects.
        "cancel_order",
        "cancel_algo_order",
        "listen_key",
        "listen_key_renew",
        "time",
        # What a start must ask before it can protect what an earlier run left: several starts in a
        # minute would else wait for a limit while a position stands open.
        "position_mode",
        "account_config",
        "exchange_info",
        "leverage_bracket",
        "funding_info",
        "commission_rate",
        # What was booked while nobody heard: without it nothing is protected rightly.
        "income",
        "user_trades",
    }
)
"""Operations that are always protective; placing and asking are where the caller says so."""

_UNDER_WAY_NS: Final = NS_PER_S
"""An answer may be so old: in the first second of a window it tells of the one before."""
_LIMIT_POOLS: Final[Mapping[tuple[str, str, int], str]] = {
    ("REQUEST_WEIGHT", "MINUTE", 1): WEIGHT_1M,
    ("ORDERS", "SECOND", 10): ORDERS_10S,
    ("ORDERS", "MINUTE", 1): ORDERS_1M,
}


def new_ledger(protective_pct: int) -> WeightLedger:
    """Return an empty ledger that keeps *protective_pct* of every pool for protection."""
    return WeightLedger(POOLS, COSTS, cost_default=COST_DEFAULT, protective_pct=protective_pct)


def cost_key(operation: str, params: Mapping[str, object] | None) -> str:
    """Return the operation's name in the table of costs."""
    if operation in CHEAPER_BY_SYMBOL and params and params.get("symbol"):
        return operation + OF_ONE
    if operation == "klines" and params:
        return _klines_key(params.get("limit"))
    return operation


def _klines_key(bars: object) -> str:
    if isinstance(bars, int):
        for bars_max, _units in PAGES_OF_KLINES:
            if bars <= bars_max:
                return f"klines up to {bars_max}"
    return "klines"


def read_headers(ledger: WeightLedger, headers: Mapping[str, str], now_ns: int) -> None:
    """Correct *ledger* by the headers of an answer that came at *now_ns* (venue's clock)."""
    for name, text in headers.items():
        pool = HEADERS.get(name.lower())
        if pool is not None and text.isascii() and text.isdigit():
            ledger.correct(pool, int(text), sent_ns=now_ns - _UNDER_WAY_NS, now_ns=now_ns)


def read_rate_limits(ledger: WeightLedger, rows: Iterable[object], now_ns: int) -> None:
    """
    Take the rateLimits rows of exchangeInfo, or of an answer of the order socket.

    Rows tell limits, those of the socket counts too; rows we do not understand are passed over.
    """
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        pool = _pool_of(row)
        if pool is None:
            continue
        limit, count = row.get("limit"), row.get("count")
        if isinstance(limit, int):
            ledger.set_limit(pool, limit)
        if isinstance(count, int):
            ledger.correct(pool, count, sent_ns=now_ns - _UNDER_WAY_NS, now_ns=now_ns)


def _pool_of(row: Mapping[str, Any]) -> str | None:
    kind, interval, number = row.get("rateLimitType"), row.get("interval"), row.get("intervalNum")
    if not isinstance(kind, str) or not isinstance(interval, str) or not isinstance(number, int):
        return None
    return _LIMIT_POOLS.get((kind, interval, number))
