"""How Bybit writes numbers, times, ids and enum words: the small change of its rows."""

import zlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from aegis.model.money import plain
from aegis.model.order import OrderSide, OrderType
from aegis.twin.engine.api import (
    Bound,
    EngineOrder,
    EngineStatus,
    Leg,
    Maker,
    OrderSpec,
    TwinInstrument,
)

Row = dict[str, Any]
"""A JSON object of the venue."""

SETTLE_COIN: Final = "USDT"
NS_PER_MS: Final = 1_000_000

STATUS_WORDS: Final[Mapping[EngineStatus, str]] = {
    EngineStatus.NEW: "New",
    EngineStatus.PARTIALLY_FILLED: "PartiallyFilled",
    EngineStatus.FILLED: "Filled",
    EngineStatus.CANCELED: "Cancelled",
    EngineStatus.REJECTED: "Rejected",
    EngineStatus.EXPIRED: "Cancelled",
    EngineStatus.UNTRIGGERED: "Untriggered",
    EngineStatus.TRIGGERING: "Triggered",
    EngineStatus.TRIGGERED: "Triggered",
    EngineStatus.DEACTIVATED: "Deactivated",
}

FINAL_STATUSES: Final = frozenset(
    {
        EngineStatus.FILLED,
        EngineStatus.CANCELED,
        EngineStatus.REJECTED,
        EngineStatus.EXPIRED,
        EngineStatus.DEACTIVATED,
    }
)

_CREATE_TYPES: Final[Mapping[Maker, str]] = {
    Maker.USER: "CreateByUser",
    Maker.STOP_LOSS: "CreateByStopLoss",
    Maker.TAKE_PROFIT: "CreateByTakeProfit",
    Maker.LIQUIDATION: "CreateByLiq",
    Maker.TAKEOVER: "CreateByTakeOver_PassThrough",
    Maker.ADL: "CreateByAdl_PassThrough",
}

_EXEC_TYPES: Final[Mapping[Maker, str]] = {
    Maker.LIQUIDATION: "BustTrade",
    Maker.TAKEOVER: "BustTrade",
    Maker.ADL: "AdlTrade",
}


_BOUND_CREATE_TYPES: Final[Mapping[Bound, str]] = {
    Bound.STOP: "CreateByStopLoss",
    Bound.TARGET: "CreateByTakeProfit",
    Bound.TRAILING: "CreateByTrailingStop",
    Bound.PARTIAL_STOP: "CreateByPartialStopLoss",
    Bound.PARTIAL_TARGET: "CreateByPartialTakeProfit",
}
_STOP_ORDER_TYPES: Final[Mapping[Bound, str]] = {
    Bound.STOP: "StopLoss",
    Bound.TARGET: "TakeProfit",
    Bound.TRAILING: "TrailingStop",
    Bound.PARTIAL_STOP: "PartialStopLoss",
    Bound.PARTIAL_TARGET: "PartialTakeProfit",
}
POSITION_IDX: Final[Mapping[Leg, int]] = {Leg.BOTH: 0, Leg.LONG: 1, Leg.SHORT: 2}


def ms_of(time_ns: int) -> int:
    """Return whole milliseconds."""
    return time_ns // NS_PER_MS


def ms_text(time_ns: int) -> str:
    """Write a time in milliseconds as the venue does in rows: as text."""
    return str(time_ns // NS_PER_MS)


def decimals_of(grid: Decimal) -> int:
    """Return how many digits after the point *grid* needs."""
    exponent = grid.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def price_text(price: float, instrument: TwinInstrument) -> str:
    """Write a market price with the digits of the tick."""
    return f"{price:.{decimals_of(instrument.tick_size)}f}"


def money_text(amount: Decimal) -> str:
    """Write an amount of money with at most eight digits after the point."""
    return plain(round(amount, 8))


def side_word(side: OrderSide) -> str:
    """Write Buy or Sell."""
    return "Buy" if side is OrderSide.BUY else "Sell"


class Ids:
    """
    Engine numbers as the venue's uuids, and back. One account's ids differ from another's.

    The kind digit keeps orders and executions apart.
    """

    def __init__(self, account: str) -> None:
        self._tag = f"{zlib.crc32(account.encode()):08x}"

    def _uuid(self, number: int, kind: str) -> str:
        digits = f"{number:016x}"
        return f"{self._tag}-{kind}000-4000-8{digits[1:4]}-{digits[4:]}"

    def order(self, order_id: int) -> str:
        """Return the orderId of an engine order."""
        return self._uuid(order_id, "a")

    def execution(self, fill_id: int) -> str:
        """Return the execId of an engine fill."""
        return self._uuid(fill_id, "e")

    def funding(self, number: int) -> str:
        """Return the execId of the *number*-th funding payment."""
        return self._uuid(number, "f")

    def order_number(self, order_id: str) -> int | None:
        """Return the engine's number of an orderId of ours, None for any other text."""
        head, _, tail = order_id[:8], order_id[8:20], order_id[20:].replace("-", "")
        if head != self._tag or len(tail) != 15:
            return None
        try:
            number = int(tail, 16)
        except ValueError:
            return None
        return number if self.order(number) == order_id else None


def order_type_word(spec: OrderSpec) -> str:
    """Write the type after triggering: limit with a price of its own, else market."""
    return "Market" if spec.limit_price is None else "Limit"


def create_type(order: EngineOrder) -> str:
    """Say who made the order, in the venue's word."""
    return _BOUND_CREATE_TYPES.get(order.bound) or _CREATE_TYPES[order.made_by]


def exec_type(order: EngineOrder) -> str:
    """Say what kind of execution a fill of *order* is."""
    return _EXEC_TYPES.get(order.made_by, "Trade")


def stop_order_type(order: EngineOrder) -> str:
    """Name the kind of conditional order, "" for an ordinary one (venues.md 3.5)."""
    return _STOP_ORDER_TYPES.get(order.bound, "Stop" if order.conditional else "")


def trigger_direction(spec: OrderSpec) -> int:
    """Return 1 for a rise, 2 for a fall, 0 for an order without a trigger."""
    if spec.trigger_price is None:
        return 0
    if spec.trigger_direction is not None:
        return 1 if spec.trigger_direction > 0 else 2
    is_stop = spec.order_type is OrderType.STOP_MARKET
    rises = (spec.side is OrderSide.BUY) == is_stop
    return 1 if rises else 2
