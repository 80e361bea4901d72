"""
What the twin's engine and its faces agree on: orders, fills, positions, refusals, the listener.

An engine is one account on one venue over several symbols. A face translates requests of its venue
into these calls and what the listener hears into frames. Quantities and prices are Decimal, times
integer ns UTC on the tape's clock.
"""

import enum
from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

import attrs

from aegis.model.order import OrderSide, OrderType, TimeInForce, TriggerBy
from aegis.twin.engine import venue_rules

VenueRules = venue_rules.VenueRules


@attrs.frozen(slots=True, kw_only=True)
class TwinInstrument:
    """The rules of one symbol on one venue, as the twin enforces and publishes them."""

    symbol: str
    base: str
    tick_size: Decimal
    qty_step: Decimal
    qty_min: Decimal
    qty_max: Decimal
    market_qty_max: Decimal
    notional_min: Decimal
    leverage_max: int
    maint_margin_rate: Decimal
    taker_fee_rate: Decimal
    maker_fee_rate: Decimal
    funding_interval_ns: int
    liquidation_fee_rate: Decimal


class EngineStatus(enum.StrEnum):
    """
    State of an order inside the twin.

    UNTRIGGERED, TRIGGERING and TRIGGERED are of conditional orders: waiting, sent to matching but
    not there yet, placed in matching. DEACTIVATED: a position-bound stop or target that was removed
    because the position is flat.
    """

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNTRIGGERED = "UNTRIGGERED"
    TRIGGERING = "TRIGGERING"
    TRIGGERED = "TRIGGERED"
    DEACTIVATED = "DEACTIVATED"


class Bound(enum.StrEnum):
    """Position-bound role: NONE for ordinary orders, else the position's own stop or target."""

    NONE = "NONE"
    STOP = "STOP"
    TARGET = "TARGET"


class Maker(enum.StrEnum):
    """Who made an order."""

    USER = "USER"
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"
    LIQUIDATION = "LIQUIDATION"
    ADL = "ADL"


class Reason(enum.StrEnum):
    """Why the engine refused a request; each face maps it to its venue's code."""

    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    QTY_NOT_POSITIVE = "QTY_NOT_POSITIVE"
    QTY_BELOW_MIN = "QTY_BELOW_MIN"
    QTY_ABOVE_MAX = "QTY_ABOVE_MAX"
    QTY_OFF_STEP = "QTY_OFF_STEP"
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE"
    NOTIONAL_BELOW_MIN = "NOTIONAL_BELOW_MIN"
    MARGIN_SHORT = "MARGIN_SHORT"
    LEVERAGE_INVALID = "LEVERAGE_INVALID"
    LEVERAGE_UNCHANGED = "LEVERAGE_UNCHANGED"
    MARGIN_TYPE_UNCHANGED = "MARGIN_TYPE_UNCHANGED"
    HAS_POSITION = "HAS_POSITION"
    HAS_ORDERS = "HAS_ORDERS"
    REDUCE_ONLY_REJECTED = "REDUCE_ONLY_REJECTED"
    REDUCE_ONLY_CROWDED = "REDUCE_ONLY_CROWDED"
    NO_POSITION = "NO_POSITION"
    WOULD_TRIGGER = "WOULD_TRIGGER"
    CLOSE_POSITION_EXISTS = "CLOSE_POSITION_EXISTS"
    CLOSE_POSITION_WITH_QTY = "CLOSE_POSITION_WITH_QTY"
    STOP_WRONG_SIDE = "STOP_WRONG_SIDE"
    TARGET_WRONG_SIDE = "TARGET_WRONG_SIDE"
    NOT_MODIFIED = "NOT_MODIFIED"
    DUPLICATE_CLIENT_ID = "DUPLICATE_CLIENT_ID"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    ORDER_TRIGGERING = "ORDER_TRIGGERING"
    CONDITIONAL_LIMIT = "CONDITIONAL_LIMIT"
    NO_LIQUIDITY = "NO_LIQUIDITY"


class Refused(Exception):
    """The engine refuses a request."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value


@attrs.frozen(slots=True, kw_only=True)
class OrderSpec:
    """
    What a request asks for. *qty* None exactly with *close_position*.

    *attached_stop* and *attached_target* are position-bound protection that arms when the order
    fills. *position_bound* conditionals follow the position's size and vanish when it is flat.
    *client_id* "" when the venue makes the order itself.
    """

    symbol: str
    client_id: str
    side: OrderSide
    order_type: OrderType
    qty: Decimal | None
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    close_position: bool = False
    trigger_price: Decimal | None = None
    trigger_by: TriggerBy = TriggerBy.LAST
    trigger_direction: int | None = None
    """+1 fires at or above, -1 at or below; None: derived from side and type."""
    attached_stop: Decimal | None = None
    attached_target: Decimal | None = None
    attached_stop_by: TriggerBy = TriggerBy.LAST
    attached_target_by: TriggerBy = TriggerBy.LAST
    post_only: bool = False
    """LIMIT only (Binance GTX): expires at once when it would take."""
    fill_or_kill: bool = False
    """Fills whole or not at all (FOK)."""


@attrs.define(slots=True, kw_only=True, eq=False)
class EngineOrder:
    """
    An order the engine holds. Conditional orders keep their own id; the market order a trigger
    makes is another EngineOrder whose *parent* is the conditional (Binance) or the same one
    continued (Bybit: *continues_in_place*), see `venue_rules.VenueRules`.

    A child's spec is an ordinary MARKET (trigger_price None) with the conditional's client id and
    the quantity as it was placed in matching; close_position is then only in ``parent.spec``. The
    *parent* of a position-bound order is the entry it came with, None when set later. A bound
    order's spec.qty follows the position. A reduce-only order larger than the position is trimmed:
    *spec* is replaced by one with the smaller qty.

    A conditional without continues_in_place ends FILLED once its child is terminal (Binance
    FINISHED: look at filled_qty), mirroring the child's figures.
    """

    order_id: int
    spec: OrderSpec
    status: EngineStatus
    made_by: Maker
    bound: Bound
    created_ns: int
    updated_ns: int
    triggered_ns: int = 0
    filled_qty: Decimal = Decimal(0)
    filled_notional: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    realized_pnl: Decimal = Decimal(0)
    detail: str = ""
    """Cancel, reject or expire reason in the engine's words."""
    parent: "EngineOrder | None" = None
    child: "EngineOrder | None" = None

    @property
    def conditional(self) -> bool:
        """Say whether the order waits, or waited, for a trigger."""
        return self.spec.trigger_price is not None

    @property
    def average_px(self) -> Decimal:
        """Return the VWAP of its fills, 0 before the first (the venues write 0 there)."""
        return self.filled_notional / self.filled_qty if self.filled_qty else Decimal(0)


@attrs.frozen(slots=True, kw_only=True)
class EngineFill:
    """One execution inside the twin. *fee* > 0 is paid; *closed_qty* is the part that reduced."""

    fill_id: int
    order: EngineOrder
    qty: Decimal
    price: Decimal
    fee: Decimal
    realized_pnl: Decimal
    closed_qty: Decimal
    maker: bool
    mark_price: Decimal
    ts_ns: int


@attrs.define(slots=True, kw_only=True, eq=False)
class EnginePosition:
    """A position in the twin, one-way mode. *qty* signed; *margin* is its isolated wallet."""

    symbol: str
    qty: Decimal = Decimal(0)
    entry_px: Decimal = Decimal(0)
    leverage: int = 20
    isolated: bool = True
    margin: Decimal = Decimal(0)
    realized_pnl: Decimal = Decimal(0)
    """Since the position was last flat, before fees."""
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    opened_ns: int = 0
    updated_ns: int = 0
    seq: int = 0
    liquidation_px: Decimal | None = None
    stop: EngineOrder | None = None
    """The position-bound stop, where the venue keeps one."""
    target: EngineOrder | None = None


@attrs.frozen(slots=True, kw_only=True)
class IncomeRow:
    """One booking on the account: kind REALIZED_PNL, COMMISSION, FUNDING_FEE, LIQUIDATION_FEE."""

    kind: str
    symbol: str
    amount: Decimal
    ts_ns: int
    ref: int


@attrs.frozen(slots=True, kw_only=True)
class Quote:
    """The synthetic top of book and prices of one symbol now; floats, rounded to the tick."""

    symbol: str
    ts_ns: int
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float
    last: float
    mark: float
    index: float


class EngineListener(Protocol):
    """
    Hears what happened, synchronously and in the engine's order. A face and the meter listen.

    on_order is called at every status change, on_fill after the order's figures were updated and
    before the on_order of that fill; on_position and on_balance after the fill.

    One fill: on_fill, on_order, on_income (0 to 2), on_position, on_balance. All state is already
    changed when the first of them is heard. A fired stop (Binance): on_quote, on_order TRIGGERING,
    then after the latency the child NEW, its fills, the conditional TRIGGERED, the conditional
    FILLED (FINISHED), then what the flat position drops (EXPIRED). Bybit: on_quote, TRIGGERED,
    fills of the same order, DEACTIVATED of the sibling. Position-bound orders are also heard when
    armed, moved and resized (UNTRIGGERED each time), then on_position PROTECTION.
    """

    def on_order(self, order: EngineOrder) -> None:
        """Hear that *order* was created or changed status."""

    def on_fill(self, fill: EngineFill) -> None:
        """Hear an execution."""

    def on_position(self, position: EnginePosition, cause: str) -> None:
        """Hear a changed position; cause ORDER, FUNDING_FEE, LIQUIDATION, PROTECTION, LEVERAGE."""

    def on_balance(self, cause: str) -> None:
        """Hear a changed wallet."""

    def on_income(self, row: IncomeRow) -> None:
        """Hear a booking."""

    def on_quote(self, quote: Quote) -> None:
        """Hear a market change: a vertex of the path, a trigger, or a periodic repeat."""

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: "Bar", *, closed: bool
    ) -> None:
        """Hear an open or closed bar of one timeframe."""


@attrs.frozen(slots=True)
class Bar:
    """Open, high, low, close, volume."""

    open: float
    high: float
    low: float
    close: float
    volume: float


class EngineFaults(Protocol):
    """What can go wrong inside the venue itself."""

    def trigger_stuck(self, order: EngineOrder) -> bool:
        """Say whether *order*, just triggered, never reaches matching."""

    def extra_trigger_latency_ns(self, order: EngineOrder) -> int:
        """Return nanoseconds to add to the trigger latency of *order*."""

    def depth_factor(self, symbol: str) -> float:
        """Return what every level of the book is multiplied with; 0 empties it."""


class Engine(Protocol):
    """
    One account on one venue.

    *positions* has every symbol from the start, flat ones included. *wallet* includes isolated
    margins. Listeners must not call back into the engine's changing methods.
    """

    instruments: dict[str, TwinInstrument]
    positions: dict[str, EnginePosition]
    hedge_mode: bool

    @property
    def now_ns(self) -> int:
        """Return the time on the tape's clock."""

    @property
    def wallet(self) -> Decimal:
        """Return the balance before unrealized profit."""

    def watch(self, symbol: str, timeframe_ns: int) -> None:
        """
        Ask for on_kline of a timeframe; closed bars come exactly at the bar's end.

        That is before the next bar's first quote. A timeframe the tape cannot make stays silent.
        """

    def unwatch(self, symbol: str, timeframe_ns: int) -> None:
        """Stop on_kline of a timeframe."""

    def next_event_ns(self) -> int | None:
        """Return when something happens next by itself, None when the tapes have ended."""

    def advance(self, to_ns: int) -> None:
        """Let everything up to *to_ns* happen, in order of time; no-op when in the past."""

    def place(self, spec: OrderSpec) -> EngineOrder:
        """Accept an order (MARKET and crossing LIMIT match at once) or raise Refused."""

    def cancel(self, order: EngineOrder) -> None:
        """Cancel a resting order, or raise Refused(ORDER_NOT_FOUND, ORDER_TRIGGERING)."""

    def amend(
        self,
        order: EngineOrder,
        *,
        qty: Decimal | None,
        limit_price: Decimal | None,
        trigger_price: Decimal | None,
    ) -> None:
        """Change a resting order in place, or raise Refused."""

    def set_position_protection(
        self,
        symbol: str,
        *,
        stop: Decimal | None,
        target: Decimal | None,
        stop_by: TriggerBy,
        target_by: TriggerBy,
    ) -> None:
        """Set, move or remove (0) the position-bound stop and target; None leaves one as it is."""

    def find(
        self,
        *,
        order_id: int | None = None,
        client_id: str | None = None,
        conditional: bool | None = None,
    ) -> EngineOrder | None:
        """Return the newest order with that id; open ones first for a client id."""

    def open_orders(self, symbol: str | None = None) -> Sequence[EngineOrder]:
        """Return resting orders, conditional ones included, oldest first."""

    def all_orders(self, symbol: str | None = None) -> Sequence[EngineOrder]:
        """Return every order still remembered, oldest first."""

    def fills(self, symbol: str | None = None) -> Sequence[EngineFill]:
        """Return every fill still remembered, oldest first."""

    def income(self) -> Sequence[IncomeRow]:
        """Return every booking still remembered, oldest first."""

    def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set leverage, or raise Refused(LEVERAGE_INVALID, LEVERAGE_UNCHANGED)."""

    def set_isolated(self, symbol: str, *, isolated: bool) -> None:
        """Set the margin type or raise Refused(MARGIN_TYPE_UNCHANGED, HAS_POSITION, HAS_ORDERS)."""

    def quote(self, symbol: str) -> Quote:
        """Return the market now."""

    def depth(
        self, symbol: str, limit: int
    ) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Return bids (best first) and asks (best first) as (price, qty)."""

    def klines(
        self, symbol: str, timeframe_ns: int, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[tuple[int, Bar]]:
        """
        Return bars up to now as (open_ns, bar), oldest first, the open one included at the end.

        Of the bars that open within [start_ns, end_ns]: the first *limit* with a start, else the
        newest *limit*.
        """

    def funding_rate(self, symbol: str) -> tuple[Decimal, int]:
        """Return the coming funding rate and its time."""

    def unrealized(self, symbol: str) -> Decimal:
        """Return the unrealized profit at the mark now."""

    def available(self) -> Decimal:
        """Return the wallet free for new isolated margin."""

    def add_listener(self, listener: EngineListener) -> None:
        """Add a listener; they are called in the order they were added."""
