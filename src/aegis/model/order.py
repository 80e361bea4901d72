"""
Orders: sides, kinds, the request we send, and the life of an order.

An order's status only moves forward (design.md, Orders). ``UNKNOWN`` is a time-out or 5xx after
the bytes left: it is resolved by querying the client order id, never by resending.
"""

import enum
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.instrument import InstrumentId


class OrderSide(enum.StrEnum):
    """Direction of an order. Distinct from PositionSide on purpose (R40)."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> "OrderSide":
        """Return the other side."""
        return OrderSide.SELL if self is OrderSide.BUY else OrderSide.BUY

    @property
    def sign(self) -> int:
        """Return +1 for BUY, -1 for SELL."""
        return 1 if self is OrderSide.BUY else -1


class PositionSide(enum.StrEnum):
    """Direction of a position."""

    LONG = "LONG"
    SHORT = "SHORT"

    @property
    def opposite(self) -> "PositionSide":
        """Return the other side."""
        return PositionSide.SHORT if self is PositionSide.LONG else PositionSide.LONG

    @property
    def sign(self) -> int:
        """Return +1 for LONG, -1 for SHORT."""
        return 1 if self is PositionSide.LONG else -1

    @property
    def entry_side(self) -> OrderSide:
        """Return the order side that opens this position."""
        return OrderSide.BUY if self is PositionSide.LONG else OrderSide.SELL

    @property
    def exit_side(self) -> OrderSide:
        """Return the order side that closes this position."""
        return self.entry_side.opposite


class OrderType(enum.StrEnum):
    """Kinds of order Aegis sends."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"

    @property
    def is_conditional(self) -> bool:
        """Say whether the order waits for a trigger price."""
        return self is OrderType.STOP_MARKET or self is OrderType.TAKE_PROFIT_MARKET


class TimeInForce(enum.StrEnum):
    """How long an order may rest. Aegis entries never rest: IOC."""

    GTC = "GTC"
    IOC = "IOC"


class TriggerBy(enum.StrEnum):
    """Which price fires a conditional order."""

    MARK = "MARK"
    LAST = "LAST"


class Purpose(enum.StrEnum):
    """
    Why an order exists; two letters of its client order id, which survive a restart (R30, R79).

    Close purposes carry the cause of the close. STOP_ENTRY rests before its entry leaves,
    STOP_MOVING is a stop at the plan's distance or at break-even, STOP_TRAIL one that trails, RUNG
    takes a part of the position at a profit.
    """

    ENTRY = "EN"
    STOP_ENTRY = "SE"
    STOP_FLOOR = "SF"
    STOP_MOVING = "SM"
    STOP_TRAIL = "ST"
    TARGET = "TP"
    RUNG = "RG"
    CLOSE_UNPROTECTED = "CU"
    CLOSE_FLATTEN = "CF"
    CLOSE_MANUAL = "CM"
    CLOSE_WATCHDOG = "CW"
    CLOSE_KILL = "CK"
    CLOSE_ROTATE = "CR"
    CLOSE_AGED = "CA"
    CLOSE_TIME = "CT"
    CLOSE_HARVEST = "CH"

    @property
    def is_stop(self) -> bool:
        """Say whether the order is a protective stop."""
        return self in _STOPS

    @property
    def is_protection(self) -> bool:
        """Say whether the order is a protective stop, a target or a rung of the ladder."""
        return self.is_stop or self in {Purpose.TARGET, Purpose.RUNG}

    @property
    def is_close(self) -> bool:
        """Say whether the order closes a position at market."""
        return self.value.startswith("C")


_STOPS: Final = frozenset(
    {Purpose.STOP_ENTRY, Purpose.STOP_FLOOR, Purpose.STOP_MOVING, Purpose.STOP_TRAIL}
)


class OrderStatus(enum.StrEnum):
    """
    Life of an order.

    TRIGGERING: a conditional order whose trigger was hit and whose market order has not been seen
    (Binance ALGO_UPDATE, venues.md 1.4).
    """

    CREATED = "CREATED"
    SUBMITTED = "SUBMITTED"
    UNKNOWN = "UNKNOWN"
    ACCEPTED = "ACCEPTED"
    TRIGGERING = "TRIGGERING"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def is_terminal(self) -> bool:
        """Say whether nothing more can happen to the order."""
        return self in _TERMINAL

    @property
    def is_working(self) -> bool:
        """Say whether the venue is known to hold the order."""
        return self in _WORKING

    @property
    def rank(self) -> int:
        """Return the place in the life of an order; a status never moves to a lower rank."""
        return _RANK[self]


_TERMINAL = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
)
_WORKING = frozenset({OrderStatus.ACCEPTED, OrderStatus.TRIGGERING, OrderStatus.PARTIALLY_FILLED})
_RANK = {
    OrderStatus.CREATED: 0,
    OrderStatus.SUBMITTED: 1,
    OrderStatus.UNKNOWN: 2,
    OrderStatus.ACCEPTED: 3,
    OrderStatus.TRIGGERING: 4,
    OrderStatus.PARTIALLY_FILLED: 5,
    OrderStatus.FILLED: 6,
    OrderStatus.CANCELED: 6,
    OrderStatus.REJECTED: 6,
    OrderStatus.EXPIRED: 6,
}


@attrs.frozen(slots=True, kw_only=True)
class AttachedProtection:
    """Stop and target that travel with an entry order, where the venue can (Bybit, Full mode)."""

    stop_price: Decimal
    target_price: Decimal
    trigger_by: TriggerBy = TriggerBy.MARK


@attrs.frozen(slots=True, kw_only=True)
class OrderRequest:
    """
    An order we wish to send.

    *qty* in base units, > 0; None exactly when *close_position* (the venue closes what is there).
    *trigger_price* is set exactly for conditional types, *limit_price* exactly for LIMIT.
    *reduce_only* promises the order cannot open or grow exposure; close_position implies it.
    """

    instrument_id: InstrumentId
    client_order_id: str
    purpose: Purpose
    side: OrderSide
    order_type: OrderType
    qty: Decimal | None
    reduce_only: bool
    close_position: bool = False
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None
    trigger_by: TriggerBy = TriggerBy.MARK
    time_in_force: TimeInForce = TimeInForce.GTC
    attached: AttachedProtection | None = None

    def __attrs_post_init__(self) -> None:
        if (self.qty is None) != self.close_position:
            raise ValueError(f"{self.client_order_id}: qty is None exactly with close_position")
        if self.qty is not None and not self.qty > 0:
            raise ValueError(f"{self.client_order_id}: qty was {self.qty}, must be > 0")
        if (self.trigger_price is not None) != self.order_type.is_conditional:
            raise ValueError(f"{self.client_order_id}: trigger_price goes with conditional orders")
        if (self.limit_price is not None) != (self.order_type is OrderType.LIMIT):
            raise ValueError(f"{self.client_order_id}: limit_price goes with LIMIT orders")
        if self.purpose is not Purpose.ENTRY and not self.reduce_only:
            raise ValueError(f"{self.client_order_id}: {self.purpose.name} must be reduce_only")
        if self.attached is not None and self.purpose is not Purpose.ENTRY:
            raise ValueError(f"{self.client_order_id}: only an entry carries attached protection")


@attrs.define(slots=True, kw_only=True)
class Order:
    """
    One order's life as the venue acknowledged it. Mutated only through its methods.

    *filled_qty* and *filled_notional* come from fills, each counted once by fill id.
    """

    request: OrderRequest
    position_id: str
    trace_id: str
    status: OrderStatus = OrderStatus.CREATED
    venue_order_id: str = ""
    filled_qty: Decimal = Decimal(0)
    filled_notional: Decimal = Decimal(0)
    venue_filled_qty: Decimal = Decimal(0)
    reject_code: str = ""
    reject_message: str = ""
    _fill_ids: set[str] = attrs.field(factory=set, repr=False)

    @property
    def average_px(self) -> Decimal | None:
        """Return the VWAP of the order's fills, or None before the first (R32, R33)."""
        return self.filled_notional / self.filled_qty if self.filled_qty > 0 else None

    @property
    def is_settled(self) -> bool:
        """
        Say whether the order is terminal and every fill the venue counted was seen.

        FILLED without a fill is not settled: its executions, with their prices, are still to come
        (R32).
        """
        if self.status is OrderStatus.FILLED and self.filled_qty == 0:
            return False
        return self.status.is_terminal and self.filled_qty >= self.venue_filled_qty

    def advance(self, status: OrderStatus) -> bool:
        """
        Move to *status* unless that would move backward; return whether anything changed.

        A terminal status is final, except that a reject or expiry we assumed never occurs here:
        only what the venue said is passed in (R60).
        """
        present = self.status
        if status is present or present in _TERMINAL or _RANK[status] < _RANK[present]:
            return False
        self.status = status
        return True

    def add_fill(self, fill_id: str, last_qty: Decimal, last_px: Decimal) -> bool:
        """
        Count a fill once.

        Returns whether it was new.

        Raises:
            ValueError: when quantity or price is not > 0: a fill without a price is an error (R32).
        """
        if not last_qty > 0 or not last_px > 0:
            raise ValueError(
                f"fill {fill_id} had qty {last_qty} at price {last_px}, both must be > 0"
            )
        if fill_id in self._fill_ids:
            return False
        self._fill_ids.add(fill_id)
        self.filled_qty += last_qty
        self.filled_notional += last_qty * last_px
        return True
