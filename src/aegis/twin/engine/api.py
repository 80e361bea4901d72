"""
What the twin's engine and its faces agree on: instruments, fills, positions, listener, port.

An engine is one account on one venue over several symbols. A face translates requests of its venue
into these calls and what the listener hears into frames. Quantities and prices are Decimal, times
integer ns UTC on the tape's clock.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

import attrs

from aegis.model.order import TriggerBy
from aegis.twin.engine import orders, refusals, tiers, venue_rules

VenueRules = venue_rules.VenueRules
Reason = refusals.Reason
Refused = refusals.Refused
MarginTier = tiers.MarginTier
Leg = orders.Leg
EngineStatus = orders.EngineStatus
Bound = orders.Bound
Maker = orders.Maker
FORCED = orders.FORCED
Trail = orders.Trail
OrderSpec = orders.OrderSpec
EngineOrder = orders.EngineOrder


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
    tiers: tuple[MarginTier, ...] = ()
    """By notional, ascending; empty: one tier without an upper end."""
    trigger_protect: Decimal = Decimal("0.05")
    """A price-protected trigger waits while mark and last are further apart, as a share."""

    @property
    def margin_tiers(self) -> tuple[MarginTier, ...]:
        """Return the tiers, at least one."""
        return self.tiers or (tiers.only_tier(self.leverage_max, self.maint_margin_rate),)


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
    """One leg of a symbol. *qty* signed; *margin* is its isolated wallet."""

    symbol: str
    leg: Leg = Leg.BOTH
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
    trailing: EngineOrder | None = None

    @property
    def qty_sign(self) -> int:
        """Return +1 for a long, -1 for a short, 0 when flat."""
        return (self.qty > 0) - (self.qty < 0)


@attrs.frozen(slots=True, kw_only=True)
class PartialWish:
    """A partial stop, target or pair of them (Bybit Partial); *qty* None: all of the position."""

    symbol: str
    leg: Leg
    qty: Decimal | None
    stop: Decimal | None = None
    target: Decimal | None = None
    stop_by: TriggerBy = TriggerBy.LAST
    target_by: TriggerBy = TriggerBy.LAST
    stop_limit: Decimal | None = None
    target_limit: Decimal | None = None


@attrs.frozen(slots=True, kw_only=True)
class IncomeRow:
    """One booking on the account: kind REALIZED_PNL, COMMISSION, FUNDING_FEE, LIQUIDATION_FEE."""

    kind: str
    symbol: str
    amount: Decimal
    ts_ns: int
    ref: int
    leg: Leg = Leg.BOTH


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

    *positions* has every symbol's one-way position from the start, flat ones included; `legs` gives
    those of the mode it is in. *wallet* includes isolated margins. Listeners must not call back
    into the engine's changing methods.
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
        attached_stop: Decimal | None = None,
        attached_target: Decimal | None = None,
    ) -> None:
        """Change a resting order in place, attached 0 takes one off, or raise Refused."""

    def set_position_protection(
        self,
        symbol: str,
        *,
        stop: Decimal | None,
        target: Decimal | None,
        stop_by: TriggerBy,
        target_by: TriggerBy,
        leg: Leg = Leg.BOTH,
        trail: Trail | None = None,
    ) -> None:
        """
        Set, move or remove (0) the position-bound stop and target; None leaves one as it is.

        A trail of distance 0 removes the trailing stop.
        """

    def add_partial_protection(self, wish: PartialWish) -> None:
        """Add a partial stop, target or both as a pair, or raise Refused."""

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

    def set_leverage(self, symbol: str, leverage: int, *, leg: Leg | None = None) -> None:
        """Set leverage, of one *leg* or all, or raise Refused(LEVERAGE_INVALID, ...)."""

    def set_hedge_mode(self, *, hedge: bool) -> None:
        """Set the position mode, or raise Refused(MODE_UNCHANGED, HAS_POSITION, HAS_ORDERS)."""

    def legs(self, symbol: str | None = None) -> Sequence[EnginePosition]:
        """Return the positions of the mode it is in, flat ones included, by symbol."""

    def held(self) -> Sequence[EnginePosition]:
        """Return the positions that are not flat."""

    def leg(self, symbol: str, leg: Leg) -> EnginePosition:
        """Return one leg, of either mode."""

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

    def unrealized(self, symbol: str, leg: Leg = Leg.BOTH) -> Decimal:
        """Return the unrealized profit at the mark now."""

    def maintenance(self, symbol: str, leg: Leg = Leg.BOTH) -> Decimal:
        """Return the maintenance margin at the mark now, by the tiers."""

    def available(self) -> Decimal:
        """Return the wallet free for new isolated margin."""

    def add_listener(self, listener: EngineListener) -> None:
        """Add a listener; they are called in the order they were added."""
