"""
What happened at the venues, written down as it happens: the checkers' own record, from the
engines' listeners alone. Nothing of the bot is read here.
"""

from decimal import Decimal
from typing import Final

import attrs

from aegis.model.order import OrderType
from aegis.twin.boot import VenueName
from aegis.twin.engine.api import (
    Bar,
    Bound,
    EngineFill,
    EngineOrder,
    EnginePosition,
    IncomeRow,
    Leg,
    Maker,
    Quote,
)
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.engine.order_store import OPEN_STATUSES

ZERO: Final = Decimal(0)


@attrs.frozen(slots=True, kw_only=True)
class FillSeen:
    """
    One execution. *qty_after* signed; *exposure_after*: notional of everything open on the venue,
    at marks, USDT, *equity_after* beside it. *closing_kind*: STOP, TARGET, or "" for what is no
    fired protection.
    """

    venue: VenueName
    fill_id: int
    order_id: int
    client_id: str
    symbol: str
    made_by: Maker
    side_sign: int
    qty: Decimal
    price: Decimal
    fee: Decimal
    realized: Decimal
    closed_qty: Decimal
    ts_ns: int
    qty_after: Decimal
    exposure_after: Decimal
    equity_after: Decimal
    open_after: int
    closing_kind: str = ""
    bound: bool = False


@attrs.define(slots=True, kw_only=True)
class OrderSeen:
    """
    One order and how long it rested; *ended_ns* None while it does. *reduces*: cannot open.

    *trigger_price* as it was placed; *is_stop*: it waits where the position loses.
    """

    venue: VenueName
    order_id: int
    client_id: str
    symbol: str
    side_sign: int
    qty: Decimal | None
    reduces: bool
    conditional: bool
    bound: bool
    by_user: bool
    is_child: bool
    created_ns: int
    status: str
    ended_ns: int | None = None
    filled_qty: Decimal = ZERO
    trigger_price: Decimal | None = None
    is_stop: bool = False


@attrs.frozen(slots=True, kw_only=True)
class IncomeSeen:
    """One booking on the account."""

    venue: VenueName
    kind: str
    amount: Decimal
    ts_ns: int


@attrs.frozen(slots=True, kw_only=True)
class SizeSeen:
    """A position's signed size from *ts_ns* on."""

    venue: VenueName
    symbol: str
    qty: Decimal
    ts_ns: int


class Witness:
    """An `EngineListener` of one venue."""

    def __init__(self, venue: VenueName, engine: TwinEngine) -> None:
        self._venue: Final = venue
        self._engine: Final = engine
        self.fills: Final[list[FillSeen]] = []
        self.orders: Final[dict[int, OrderSeen]] = {}
        self.income: Final[list[IncomeSeen]] = []
        self.sizes: Final[list[SizeSeen]] = []
        engine.add_listener(self)

    def on_order(self, order: EngineOrder) -> None:
        """Note a new order, or what became of one."""
        spec = order.spec
        seen = self.orders.get(order.order_id)
        if seen is None:
            seen = self.orders[order.order_id] = OrderSeen(
                venue=self._venue,
                order_id=order.order_id,
                client_id=spec.client_id,
                symbol=spec.symbol,
                side_sign=spec.side.sign,
                qty=spec.qty,
                reduces=_reduces(order),
                conditional=order.conditional,
                bound=order.bound is not Bound.NONE,
                by_user=order.made_by is Maker.USER,
                is_child=order.parent is not None,
                created_ns=order.created_ns,
                status=order.status.value,
                trigger_price=spec.trigger_price,
                is_stop=_closing_kind(order) == "STOP",
            )
        seen.status = order.status.value
        seen.filled_qty = order.filled_qty
        seen.ended_ns = None if order.status in OPEN_STATUSES else order.updated_ns

    def on_fill(self, fill: EngineFill) -> None:
        """Note an execution, and what the account is after it."""
        order, engine = fill.order, self._engine
        exposure, unrealized, count = ZERO, ZERO, 0
        qty_after = ZERO
        for position in engine.held():
            mark = Decimal(repr(engine.quote(position.symbol).mark))
            exposure += abs(position.qty) * mark
            unrealized += engine.unrealized(position.symbol, position.leg)
            count += 1
            if position.symbol == order.spec.symbol:
                qty_after = position.qty
        self.fills.append(
            FillSeen(
                venue=self._venue,
                fill_id=fill.fill_id,
                order_id=order.order_id,
                client_id=order.spec.client_id,
                symbol=order.spec.symbol,
                made_by=order.made_by,
                side_sign=order.spec.side.sign,
                qty=fill.qty,
                price=fill.price,
                fee=fill.fee,
                realized=fill.realized_pnl,
                closed_qty=fill.closed_qty,
                ts_ns=fill.ts_ns,
                qty_after=qty_after,
                exposure_after=exposure,
                equity_after=engine.wallet + unrealized,
                open_after=count,
                closing_kind=_closing_kind(order),
                bound=order.bound is not Bound.NONE,
            )
        )

    def on_position(self, position: EnginePosition, cause: str) -> None:  # noqa: ARG002 - protocol
        """Note a position's size."""
        last = next((s for s in reversed(self.sizes) if s.symbol == position.symbol), None)
        if last is not None and last.qty == position.qty:
            return
        self.sizes.append(
            SizeSeen(
                venue=self._venue,
                symbol=position.symbol,
                qty=position.qty,
                ts_ns=position.updated_ns,
            )
        )

    def on_balance(self, cause: str) -> None:
        """Say nothing: the income tells."""

    def on_income(self, row: IncomeRow) -> None:
        """Note a booking."""
        self.income.append(
            IncomeSeen(venue=self._venue, kind=row.kind, amount=row.amount, ts_ns=row.ts_ns)
        )

    def on_quote(self, quote: Quote) -> None:
        """Say nothing."""

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Say nothing."""


def _reduces(order: EngineOrder) -> bool:
    """Say whether it cannot open: by its own word, or in hedge mode by the leg it is against."""
    spec = order.spec
    against = {Leg.LONG: -1, Leg.SHORT: 1}.get(spec.leg) == spec.side.sign
    return spec.reduce_only or spec.close_position or order.bound is not Bound.NONE or against


def _closing_kind(order: EngineOrder) -> str:
    """Return which protection fired: STOP where the position loses, TARGET where it wins."""
    spec = order.spec
    if spec.trigger_price is None and order.parent is not None:
        spec = order.parent.spec
    if spec.trigger_price is None:
        return ""
    if spec.trigger_direction is None:
        return "STOP" if spec.order_type is OrderType.STOP_MARKET else "TARGET"
    # A stop of a long sells when the price falls, one of a short buys when it rises.
    return "STOP" if spec.trigger_direction == spec.side.sign else "TARGET"
