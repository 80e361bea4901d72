"""Binance's JSON shapes of orders, algo orders and fills, and its way of writing numbers."""

import itertools
from decimal import Decimal
from typing import Any, Final

import attrs

from aegis.model.order import OrderType, TriggerBy
from aegis.twin.engine.api import (
    EngineFill,
    EngineOrder,
    EngineStatus,
    Maker,
    TwinInstrument,
)

NS_PER_MS: Final = 1_000_000

# Live algo ids are sixteen digits and start with 2 (venues.md 1.2): a bot that mixes up algo ids
# and order ids finds nothing.
ALGO_ID_BASE: Final = 2_000_000_000_000_000

_AVERAGE_DIGITS_MIN: Final = 5
_TERMINAL: Final = frozenset(
    {
        EngineStatus.FILLED,
        EngineStatus.CANCELED,
        EngineStatus.EXPIRED,
        EngineStatus.REJECTED,
        EngineStatus.DEACTIVATED,
    }
)
_ALGO_STATUS: Final = {
    EngineStatus.NEW: "NEW",
    EngineStatus.UNTRIGGERED: "NEW",
    EngineStatus.TRIGGERING: "TRIGGERING",
    EngineStatus.CANCELED: "CANCELED",
    EngineStatus.REJECTED: "REJECTED",
    EngineStatus.EXPIRED: "EXPIRED",
    EngineStatus.DEACTIVATED: "EXPIRED",
}
_WORKING_TYPE: Final = {TriggerBy.MARK: "MARK_PRICE", TriggerBy.LAST: "CONTRACT_PRICE"}


def plain(number: Decimal) -> str:
    """Return *number* without exponent and trailing zeros, as the user stream writes it."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"", "-0"} else text


def money(amount: Decimal) -> str:
    """Return *amount* in USDT with the eight places Binance writes."""
    return f"{amount:.8f}"


def decimals(step: Decimal) -> int:
    """Return how many decimal places *step* has."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


@attrs.frozen(slots=True, kw_only=True)
class SymbolFormat:
    """How many decimal places prices and quantities of one symbol have."""

    symbol: str
    px_digits: int
    qty_digits: int

    @classmethod
    def of(cls, instrument: TwinInstrument) -> "SymbolFormat":
        """Return the format of *instrument*."""
        return cls(
            symbol=instrument.symbol,
            px_digits=decimals(instrument.tick_size),
            qty_digits=decimals(instrument.qty_step),
        )

    def px(self, price: Decimal | float | None) -> str:
        """Return a price at the tick's places, "0" for none."""
        return "0" if price is None else f"{price:.{self.px_digits}f}"

    def qty(self, qty: Decimal | float) -> str:
        """Return a quantity at the step's places."""
        return f"{qty:.{self.qty_digits}f}"

    def average(self, price: Decimal) -> str:
        """Return an average price, which has more places than the tick."""
        return f"{price:.{max(_AVERAGE_DIGITS_MIN, self.px_digits + 1)}f}"


@attrs.frozen(slots=True, kw_only=True)
class OrderLabel:
    """What a client asked for that the engine does not know: carried back in every answer."""

    time_in_force: str = "GTC"
    price_protect: bool = False


NO_LABEL: Final = OrderLabel()


class LabelBook:
    """
    The labels of the orders placed through this face.

    An engine reports an order while it is being placed, before its id is known to the caller: what
    is set as *placing* is taken by the first unknown user order.
    """

    def __init__(self) -> None:
        self._labels: dict[int, OrderLabel] = {}
        self._made_ids = itertools.count(1)
        self.placing: OrderLabel | None = None

    def made_id(self) -> str:
        """Return a client id for an order that came without one."""
        return f"twin{next(self._made_ids):018d}"

    def of(self, order: EngineOrder) -> OrderLabel:
        """Return the label of *order*."""
        label = self._labels.get(order.order_id)
        if label is not None:
            return label
        if self.placing is None or order.made_by is not Maker.USER or order.parent is not None:
            return NO_LABEL
        label, self.placing = self.placing, None
        if label != NO_LABEL:
            self._labels[order.order_id] = label
        return label


def is_terminal(order: EngineOrder) -> bool:
    """Say whether nothing more happens to *order*."""
    return order.status in _TERMINAL


def order_qty(order: EngineOrder) -> Decimal:
    """Return the quantity an order asks for; a closing order without one asks for what it got."""
    return order.filled_qty if order.spec.qty is None else order.spec.qty


def client_order_id(order: EngineOrder) -> str:
    """Return the client id as Binance shows it; the venue's own orders have telling ones."""
    if order.made_by in {Maker.LIQUIDATION, Maker.TAKEOVER}:
        return f"autoclose-{order.order_id}"
    if order.made_by is Maker.ADL:
        return "adl_autoclose"
    return order.spec.client_id


def working_type(order: EngineOrder) -> str:
    """Return which price triggers; CONTRACT_PRICE for orders without a trigger."""
    return _WORKING_TYPE[order.spec.trigger_by] if order.conditional else "CONTRACT_PRICE"


def closes_position(order: EngineOrder) -> bool:
    """Say whether *order*, or the algo order that made it, is a closePosition order."""
    source = order.parent or order
    return source.spec.close_position


def reduces_only(order: EngineOrder) -> bool:
    """Say whether *order* cannot open exposure."""
    return order.spec.reduce_only or closes_position(order)


def order_type(order: EngineOrder) -> str:
    """
    Return the type Binance shows.

    The order a trigger made is MARKET, of a stop with a limit price LIMIT (venues.md 1.4).
    """
    spec = order.spec
    if not order.conditional:
        return spec.order_type.value
    if spec.trail is not None:
        return "TRAILING_STOP_MARKET"
    if spec.limit_price is not None:
        return "STOP" if spec.order_type is OrderType.STOP_MARKET else "TAKE_PROFIT"
    return spec.order_type.value


def order_answer(
    order: EngineOrder, form: SymbolFormat, label: OrderLabel, *, acknowledged_only: bool = False
) -> dict[str, Any]:
    """
    Return the answer to POST, PUT and DELETE order, without avgPrice and cumQuote.

    Binance dropped those two on 2026-06-30 (venues.md 2.3). *acknowledged_only* is newOrderRespType
    ACK, the default: the order as it was before it matched.
    """
    executed = Decimal(0) if acknowledged_only else order.filled_qty
    status = EngineStatus.NEW if acknowledged_only else order.status
    return {
        "clientOrderId": client_order_id(order),
        "cumQty": form.qty(executed),
        "executedQty": form.qty(executed),
        "orderId": order.order_id,
        "origQty": form.qty(order_qty(order)),
        "price": form.px(order.spec.limit_price or Decimal(0)),
        "reduceOnly": reduces_only(order),
        "side": order.spec.side.value,
        "positionSide": order.spec.leg.value,
        "status": status.value,
        "stopPrice": "0",
        "closePosition": closes_position(order),
        "symbol": order.spec.symbol,
        "timeInForce": label.time_in_force,
        "type": order_type(order),
        "origType": order_type(order),
        "updateTime": order.updated_ns // NS_PER_MS,
        "workingType": working_type(order),
        "priceProtect": label.price_protect,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
    }


def order_row(order: EngineOrder, form: SymbolFormat, label: OrderLabel) -> dict[str, Any]:
    """Return an order as GET order, openOrders and allOrders show it."""
    row = order_answer(order, form, label)
    del row["cumQty"]
    row["avgPrice"] = form.average(order.average_px)
    row["cumQuote"] = plain(order.filled_notional)
    row["time"] = order.created_ns // NS_PER_MS
    return row


def algo_id(order: EngineOrder) -> int:
    """Return the algoId of a conditional order."""
    return ALGO_ID_BASE + order.order_id


def algo_status(order: EngineOrder) -> str:
    """Return the state of a conditional order in Binance's words (venues.md 1.4)."""
    known = _ALGO_STATUS.get(order.status)
    if known is not None:
        return known
    child = order.child
    return "TRIGGERED" if child is not None and not is_terminal(child) else "FINISHED"


def algo_qty(order: EngineOrder, form: SymbolFormat) -> str:
    """Return the quantity of a conditional order, zero with closePosition."""
    return form.qty(order.spec.qty or Decimal(0))


def algo_answer(order: EngineOrder, form: SymbolFormat, label: OrderLabel) -> dict[str, Any]:
    """Return the answer to POST algoOrder (venues.md 1.2)."""
    return {
        "algoId": algo_id(order),
        "clientAlgoId": order.spec.client_id,
        "algoType": "CONDITIONAL",
        "orderType": order_type(order),
        "symbol": order.spec.symbol,
        "side": order.spec.side.value,
        "positionSide": order.spec.leg.value,
        "timeInForce": label.time_in_force,
        "quantity": algo_qty(order, form),
        "algoStatus": algo_status(order),
        "triggerPrice": form.px(shown_trigger(order)),
        "price": form.px(order.spec.limit_price or Decimal(0)),
        "icebergQuantity": None,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": working_type(order),
        "priceMatch": "NONE",
        "closePosition": order.spec.close_position,
        "priceProtect": order.spec.price_protect,
        "reduceOnly": reduces_only(order),
        "createTime": order.created_ns // NS_PER_MS,
        "updateTime": order.updated_ns // NS_PER_MS,
        "triggerTime": order.triggered_ns // NS_PER_MS,
        "goodTillDate": 0,
        **_trail_keys(order, form),
    }


def shown_trigger(order: EngineOrder) -> Decimal:
    """Return the trigger price as shown: a trailing stop has none, its level is the venue's."""
    spec = order.spec
    return Decimal(0) if spec.trail is not None else spec.trigger_price or Decimal(0)


def _trail_keys(order: EngineOrder, form: SymbolFormat) -> dict[str, Any]:
    trail = order.spec.trail
    if trail is None:
        return {}
    return {
        "activatePrice": form.px(trail.activate or Decimal(0)),
        "callbackRate": plain(trail.rate or Decimal(0)),
    }


def algo_row(order: EngineOrder, form: SymbolFormat, label: OrderLabel) -> dict[str, Any]:
    """Return a conditional order as GET algoOrder and openAlgoOrders show it."""
    child = order.child
    zero = Decimal(0)
    row = algo_answer(order, form, label)
    row["actualOrderId"] = "" if child is None else str(child.order_id)
    row["actualPrice"] = form.average(zero if child is None else child.average_px)
    row["actualQty"] = "0.0" if child is None else form.qty(child.filled_qty)
    row["actualType"] = "" if child is None else order_type(child)
    for name in ("tpTriggerPrice", "tpPrice", "slTriggerPrice", "slPrice"):
        row[name] = "0.000"
    row["tpOrderType"] = ""
    return row


def trade_row(fill: EngineFill, form: SymbolFormat) -> dict[str, Any]:
    """Return a fill as userTrades shows it."""
    spec = fill.order.spec
    return {
        "buyer": spec.side.sign > 0,
        "commission": money(fill.fee),
        "commissionAsset": "USDT",
        "id": fill.fill_id,
        "maker": fill.maker,
        "orderId": fill.order.order_id,
        "price": form.px(fill.price),
        "qty": form.qty(fill.qty),
        "quoteQty": plain(fill.qty * fill.price),
        "baseQty": form.qty(fill.qty),
        "marginAsset": "USDT",
        "realizedPnl": money(fill.realized_pnl),
        "side": spec.side.value,
        "positionSide": spec.leg.value,
        "symbol": spec.symbol,
        "pair": spec.symbol,
        "time": fill.ts_ns // NS_PER_MS,
    }
