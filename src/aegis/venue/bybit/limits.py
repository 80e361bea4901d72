"""
What Bybit limits, and which pool each request of ours draws from (venues.md 3.2).

Each endpoint has a pool per account and second; all requests together one per IP address and 5 s.
"""

from collections.abc import Mapping
from typing import Final

from aegis.core.clock import NS_PER_S
from aegis.venue.weights import Cost, PoolLimit, WeightLedger

IP_5S: Final = "ip_5s"

_PER_SECOND: Final[Mapping[str, tuple[int, bool]]] = {
    # Requests a second (venues.md 3.2), and whether protection draws from them too.
    "order/create": (10, True),
    "order/amend": (10, True),
    "order/cancel": (10, True),
    "order/cancel-all": (10, True),
    "order/realtime": (50, True),
    "order/history": (50, True),
    "execution/list": (50, False),
    "position/list": (50, False),
    "position/trading-stop": (10, True),
    "position/set-leverage": (10, False),
    "position/switch-mode": (10, False),
    "account/wallet-balance": (50, False),
    "account/fee-rate": (5, False),
}

POOLS: Final = (
    PoolLimit(name=IP_5S, limit=600, window_ns=5 * NS_PER_S),
    *(
        PoolLimit(name=name, limit=limit, window_ns=NS_PER_S, shared=shared)
        for name, (limit, shared) in _PER_SECOND.items()
    ),
)
"""600 requests in 5 s and IP, beyond which HTTP 403 (venues.md 3.2); the rest per account."""

_IP: Final[Cost] = (IP_5S, 1)


def _from(pool: str) -> tuple[Cost, ...]:
    return ((pool, 1), _IP)


COSTS: Final[Mapping[str, tuple[Cost, ...]]] = {
    "place_order": _from("order/create"),
    "amend_order": _from("order/amend"),
    "cancel_order": _from("order/cancel"),
    "cancel_all_orders": _from("order/cancel-all"),
    # The socket has the same limits per account, and none per request and IP (venues.md 3.7).
    "ws order.create": (("order/create", 1),),
    "ws order.amend": (("order/amend", 1),),
    "ws order.cancel": (("order/cancel", 1),),
    "get_open_orders": _from("order/realtime"),
    "get_order_history": _from("order/history"),
    "get_executions": _from("execution/list"),
    "get_positions": _from("position/list"),
    "set_trading_stop": _from("position/trading-stop"),
    "set_leverage": _from("position/set-leverage"),
    "switch_position_mode": _from("position/switch-mode"),
    "get_wallet_balance": _from("account/wallet-balance"),
    "get_fee_rates": _from("account/fee-rate"),
}
"""First the pool the X-Bapi-Limit headers of the answer speak of (venues.md 3.2)."""
COST_DEFAULT: Final = (_IP,)
"""Market data and what else has no pool of its own."""

PROTECTIVE: Final = frozenset(
    {
        "cancel_order",
        "cancel_all_orders",
        "set_trading_stop",
        "get_server_time",
        # What a start must ask before it can protect what an earlier run left.
        "get_account_info",
        "get_instruments_info",
        "get_risk_limit",
        "get_fee_rates",
        # What was booked while nobody heard: without it nothing is protected rightly.
        "get_executions",
    }
)
"""Operations that are always protective; placing and asking are where the caller says so."""

_LIMIT: Final = "x-bapi-limit"
_LEFT: Final = "x-bapi-limit-status"
_RESET: Final = "x-bapi-limit-reset-timestamp"


def new_ledger(protective_pct: int) -> WeightLedger:
    """Return an empty ledger that keeps *protective_pct* of what protection draws from."""
    return WeightLedger(POOLS, COSTS, cost_default=COST_DEFAULT, protective_pct=protective_pct)


def read_headers(
    ledger: WeightLedger,
    operation: str,
    headers: Mapping[str, str],
    *,
    sent_ns: int,
    now_ns: int,
) -> None:
    """Correct *ledger* by the X-Bapi-Limit headers of an answer; venue's clock, ns."""
    costs = COSTS.get(operation)
    if costs is None:
        return
    told = {name.lower(): value for name, value in headers.items()}
    limit, left = _whole(told.get(_LIMIT)), _whole(told.get(_LEFT))
    if limit is None or left is None or not limit:
        return
    pool = costs[0][0]
    ledger.set_limit(pool, limit)
    ledger.correct(pool, max(0, limit - left), sent_ns=sent_ns, now_ns=now_ns)


def reset_ms(headers: Mapping[str, str] | None) -> int | None:
    """Return when the limit of an answer starts anew, ms UTC; None where it is not told."""
    for name, value in (headers or {}).items():
        if name.lower() == _RESET:
            return _whole(value)
    return None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
