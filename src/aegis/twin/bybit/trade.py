"""Orders on the Bybit face: create, amend, cancel, cancel-all."""

import re
from decimal import Decimal
from typing import Final

from aegis.model.order import OrderSide, OrderType, TimeInForce, TriggerBy
from aegis.twin.bybit.json import FINAL_STATUSES, Row
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.bybit.order_scope import OrderScope
from aegis.twin.bybit.params import Params
from aegis.twin.bybit.private_feed import PrivateFeed
from aegis.twin.bybit.refusal import RefusalContext, param_error, refusal_of
from aegis.twin.engine.api import (
    Bound,
    Engine,
    EngineOrder,
    OrderSpec,
    Quote,
    Reason,
    Refused,
    TwinInstrument,
)

_LINK_ID: Final = re.compile(r"[A-Za-z0-9_-]{0,36}")
_SIDES: Final = {"Buy": OrderSide.BUY, "Sell": OrderSide.SELL}
_DIRECTIONS: Final = {"1": 1, "2": -1}
_TIME_IN_FORCE: Final = {
    "GTC": TimeInForce.GTC,
    "PostOnly": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.IOC,
}
_TRIGGER_BY: Final = {"LastPrice": TriggerBy.LAST, "MarkPrice": TriggerBy.MARK}


def require_linear(params: Params) -> None:
    """Refuse every category but linear, for requests that change something."""
    if params.required("category") != "linear":
        raise param_error("Illegal category")


def trigger_by(params: Params, name: str, default: TriggerBy = TriggerBy.LAST) -> TriggerBy:
    """Read which price fires; IndexPrice is refused, the twin's engine does not watch it."""
    word = params.text(name)
    if not word:
        return default
    if word not in _TRIGGER_BY:
        raise param_error(f"params error: {name} {word} is not supported by the twin")
    return _TRIGGER_BY[word]


def watched_price(quote: Quote, by: TriggerBy) -> float:
    """Return the price a trigger looks at."""
    return quote.mark if by is TriggerBy.MARK else quote.last


class TradeDesk:
    """Turns order requests into engine calls; the answers only say that they were accepted."""

    def __init__(
        self, engine: Engine, ledger: BybitLedger, private: PrivateFeed, scope: OrderScope
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._private = private
        self._scope = scope

    def create(self, params: Params) -> Row:
        """Place an order; answers its ids (venues.md 3.3)."""
        require_linear(params)
        instrument = self._scope.instrument(params)
        self.check_position_idx(params)
        spec = self._spec(params, instrument)
        with self._private.holding():
            try:
                order = self._engine.place(spec)
            except Refused as refused:
                raise refusal_of(refused, self._context(spec, instrument)) from refused
            self._private.position_changed(spec.symbol)
        return self._ids_row(order)

    def _spec(self, params: Params, instrument: TwinInstrument) -> OrderSpec:
        side = _SIDES.get(params.text("side"))
        if side is None:
            raise param_error("Side invalid")
        kind = params.text("orderType")
        if kind not in {"Market", "Limit"}:
            raise param_error("OrderType invalid")
        link_id = params.text("orderLinkId")
        if not _LINK_ID.fullmatch(link_id):
            raise param_error("OrderLinkId invalid")
        stop, target = self._attached(params)
        trigger = params.decimal("triggerPrice")
        whole = params.flag("reduceOnly") and params.flag("closeOnTrigger")
        qty = self._qty(params, instrument, side, whole=whole, conditional=bool(trigger))
        by = trigger_by(params, "triggerBy")
        if trigger and kind == "Limit":
            raise param_error("conditional limit orders are not supported by the twin")
        direction = _DIRECTIONS.get(params.text("triggerDirection")) if trigger else None
        if trigger and direction is None:
            raise param_error("TriggerDirection invalid")
        order_type = OrderType.LIMIT if kind == "Limit" else OrderType.MARKET
        if direction is not None:
            is_stop = direction == side.sign
            order_type = OrderType.STOP_MARKET if is_stop else OrderType.TAKE_PROFIT_MARKET
        limit_price = params.decimal("price") if kind == "Limit" else None
        if kind == "Limit" and not limit_price:
            raise param_error("Price invalid")
        return OrderSpec(
            symbol=instrument.symbol,
            client_id=link_id,
            side=side,
            order_type=order_type,
            qty=qty,
            limit_price=limit_price,
            time_in_force=_time_in_force(params, kind),
            post_only=kind == "Limit" and params.text("timeInForce") == "PostOnly",
            fill_or_kill=kind == "Limit" and params.text("timeInForce") == "FOK",
            reduce_only=params.flag("reduceOnly") or params.flag("closeOnTrigger"),
            close_position=qty is None,
            trigger_price=trigger or None,
            trigger_by=by,
            trigger_direction=direction,
            attached_stop=stop,
            attached_target=target,
            attached_stop_by=trigger_by(params, "slTriggerBy"),
            attached_target_by=trigger_by(params, "tpTriggerBy"),
        )

    def _attached(self, params: Params) -> tuple[Decimal | None, Decimal | None]:
        stop = params.decimal("stopLoss") or None
        target = params.decimal("takeProfit") or None
        if stop is None and target is None:
            return None, None
        if params.flag("reduceOnly"):
            raise param_error("reduceOnly order can not set takeProfit or stopLoss")
        if params.text("tpslMode", "Full") != "Full":
            raise param_error("tpslMode Partial is not supported by the twin")
        return stop, target

    def _qty(
        self,
        params: Params,
        instrument: TwinInstrument,
        side: OrderSide,
        *,
        whole: bool,
        conditional: bool,
    ) -> Decimal | None:
        """
        Read the quantity, None for "whatever the position is then".

        "0" with reduceOnly and closeOnTrigger closes the position, up to maxMktOrderQty
        (venues.md 3.3).
        """
        qty = params.decimal("qty")
        if qty is None:
            raise param_error("Qty invalid")
        if qty > 0:
            return qty
        if not whole:
            raise param_error("Qty invalid")
        if conditional:
            return None
        position = self._engine.positions[instrument.symbol]
        if position.qty * side.sign >= 0:
            raise refusal_of(Refused(Reason.REDUCE_ONLY_REJECTED))
        return min(abs(position.qty), instrument.market_qty_max)

    def _context(self, spec: OrderSpec, instrument: TwinInstrument) -> RefusalContext:
        quote = self._engine.quote(spec.symbol)
        return RefusalContext(
            side=spec.side,
            stop=spec.attached_stop,
            target=spec.attached_target,
            trigger=spec.trigger_price,
            trigger_direction=spec.trigger_direction or 0,
            trigger_by=spec.trigger_by,
            stop_by=spec.attached_stop_by,
            target_by=spec.attached_target_by,
            stop_base_price=watched_price(quote, spec.attached_stop_by),
            target_base_price=watched_price(quote, spec.attached_target_by),
            trigger_base_price=watched_price(quote, spec.trigger_by),
            notional_min=instrument.notional_min,
        )

    def amend(self, params: Params) -> Row:
        """Change quantity, price or trigger of a resting order in place."""
        require_linear(params)
        instrument = self._scope.instrument(params)
        order = self._open_order(params, amending=True)
        if params.get("takeProfit") or params.get("stopLoss"):
            raise param_error(
                "takeProfit and stopLoss in order/amend are not supported by the twin: "
                "use position/trading-stop"
            )
        trigger = params.decimal("triggerPrice") or None
        quote = self._engine.quote(order.spec.symbol)
        by = order.spec.trigger_by
        context = RefusalContext(
            side=order.spec.side.opposite,
            stop=trigger,
            target=trigger,
            trigger=trigger,
            trigger_direction=order.spec.trigger_direction or 0,
            trigger_by=by,
            stop_by=by,
            target_by=by,
            stop_base_price=watched_price(quote, by),
            target_base_price=watched_price(quote, by),
            trigger_base_price=watched_price(quote, by),
            notional_min=instrument.notional_min,
            amending=True,
        )
        with self._private.holding():
            try:
                self._engine.amend(
                    order,
                    qty=params.decimal("qty") or None,
                    limit_price=params.decimal("price") or None,
                    trigger_price=trigger,
                )
            except Refused as refused:
                raise refusal_of(refused, context) from refused
            self._private.position_changed(order.spec.symbol)
        return self._ids_row(order)

    def cancel(self, params: Params) -> Row:
        """Cancel one resting order; orderId wins over orderLinkId."""
        require_linear(params)
        self._scope.instrument(params)
        order = self._open_order(params, amending=False)
        with self._private.holding():
            try:
                self._engine.cancel(order)
            except Refused as refused:
                raise refusal_of(refused) from refused
            self._private.position_changed(order.spec.symbol)
        return self._ids_row(order)

    def cancel_all(self, params: Params) -> Row:
        """
        Cancel resting orders; without orderFilter the stops and targets go too (venues.md 3.6).

        OpenOrder is taken as Order plus conditional orders that are not TP/SL (UNSURE).
        """
        require_linear(params)
        chosen = [
            order
            for order in self._engine.open_orders(self._scope.symbol(params))
            if self._scope.includes(order, params) and _cancel_all_takes(order, params)
        ]
        canceled: list[Row] = []
        with self._private.holding():
            for order in chosen:
                try:
                    self._engine.cancel(order)
                except Refused as refused:
                    # Already on its way: the venue leaves it out of the list.
                    if refused.reason not in {Reason.ORDER_TRIGGERING, Reason.ORDER_NOT_FOUND}:
                        raise refusal_of(refused) from refused
                    continue
                canceled.append(self._ids_row(order))
                self._private.position_changed(order.spec.symbol)
        return {"list": canceled, "success": "1"}

    def check_position_idx(self, params: Params) -> None:
        """Refuse a position index that does not match the position mode."""
        index = params.integer("positionIdx") or 0
        if (index in {1, 2}) != self._engine.hedge_mode or index not in {0, 1, 2}:
            raise param_error("position idx not match position mode")

    def _open_order(self, params: Params, *, amending: bool) -> EngineOrder:
        if not params.get("orderId") and not params.get("orderLinkId"):
            raise param_error("params error: orderId or orderLinkId is required")
        for order in self._scope.named(params):
            if order.spec.symbol == params.text("symbol") and order.status not in FINAL_STATUSES:
                return order
        raise refusal_of(Refused(Reason.ORDER_NOT_FOUND), RefusalContext(amending=amending))

    def _ids_row(self, order: EngineOrder) -> Row:
        link_id = order.spec.client_id if order.bound is Bound.NONE else ""
        return {"orderId": self._ledger.ids.order(order.order_id), "orderLinkId": link_id}


def _time_in_force(params: Params, kind: str) -> TimeInForce:
    if kind == "Market":
        return TimeInForce.IOC
    word = params.text("timeInForce") or "GTC"
    if word not in _TIME_IN_FORCE:
        raise param_error(f"timeInForce {word} is not supported by the twin")
    return _TIME_IN_FORCE[word]


def _cancel_all_takes(order: EngineOrder, params: Params) -> bool:
    wanted = params.text("orderFilter")
    if wanted == "Order":
        return not order.conditional
    if wanted == "StopOrder":
        only_plain = params.text("stopOrderType") == "Stop"
        return order.conditional and (order.bound is Bound.NONE or not only_plain)
    if wanted == "OpenOrder":
        return order.bound is Bound.NONE
    return True
