"""Orders on the Bybit face: create, amend, cancel, cancel-all."""

import re
from decimal import Decimal
from typing import Final

from aegis.model.order import OrderSide, OrderType, TimeInForce, TriggerBy
from aegis.twin.bybit.json import FINAL_STATUSES, POSITION_IDX, Row
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.bybit.order_scope import OrderScope
from aegis.twin.bybit.params import Params
from aegis.twin.bybit.private_feed import PrivateFeed
from aegis.twin.bybit.refusal import RefusalContext, param_error, refusal_of
from aegis.twin.engine.api import (
    Bound,
    Engine,
    EngineOrder,
    EnginePosition,
    Leg,
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
_LEGS: Final = {index: leg for leg, index in POSITION_IDX.items()}
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


def limit_leg(params: Params, prefix: str) -> Decimal | None:
    """Return the limit price of a partial stop ("sl") or target ("tp"), None for market."""
    kind = params.text(f"{prefix}OrderType") or "Market"
    price = params.decimal(f"{prefix}LimitPrice") or None
    if kind not in {"Market", "Limit"} or (kind == "Limit") is (price is None):
        raise param_error(f"params error: {prefix}OrderType and {prefix}LimitPrice do not match")
    if price is not None and params.text("tpslMode") != "Partial":
        raise param_error("params error: tpslMode Full is for market orders only")
    return price


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
        spec = self._spec(params, instrument, self.leg(params))
        with self._private.holding():
            try:
                order = self._engine.place(spec)
            except Refused as refused:
                raise refusal_of(refused, self._context(spec, instrument)) from refused
            self._private.position_changed(spec.symbol, spec.leg)
        return self._ids_row(order)

    def _spec(self, params: Params, instrument: TwinInstrument, leg: Leg) -> OrderSpec:
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
        position = self._engine.leg(instrument.symbol, leg)
        qty = self._qty(params, position, side, whole=whole, conditional=bool(trigger))
        by = trigger_by(params, "triggerBy")
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
            leg=leg,
            attached_partial=params.text("tpslMode") == "Partial",
            attached_stop_limit=limit_leg(params, "sl"),
            attached_target_limit=limit_leg(params, "tp"),
        )

    def _attached(self, params: Params) -> tuple[Decimal | None, Decimal | None]:
        stop = params.decimal("stopLoss") or None
        target = params.decimal("takeProfit") or None
        if stop is None and target is None:
            return None, None
        if params.flag("reduceOnly"):
            raise param_error("reduceOnly order can not set takeProfit or stopLoss")
        if params.text("tpslMode", "Full") not in {"Full", "Partial"}:
            raise param_error("params error: tpslMode invalid")
        return stop, target

    def _qty(
        self,
        params: Params,
        position: EnginePosition,
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
        if position.qty * side.sign >= 0:
            raise refusal_of(Refused(Reason.REDUCE_ONLY_REJECTED))
        instrument = self._engine.instruments[position.symbol]
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
        stop, target = params.decimal("stopLoss"), params.decimal("takeProfit")
        if (stop is not None or target is not None) and order.bound is not Bound.NONE:
            raise param_error("takeProfit and stopLoss are of the order that carries them")
        trigger = params.decimal("triggerPrice") or None
        context = self._amend_context(order, instrument, trigger, stop, target)
        with self._private.holding():
            try:
                self._engine.amend(
                    order,
                    qty=params.decimal("qty") or None,
                    limit_price=params.decimal("price") or None,
                    trigger_price=trigger,
                    attached_stop=stop,
                    attached_target=target,
                )
            except Refused as refused:
                raise refusal_of(refused, context) from refused
            self._private.position_changed(order.spec.symbol, order.spec.leg)
        return self._ids_row(order)

    def _amend_context(
        self,
        order: EngineOrder,
        instrument: TwinInstrument,
        trigger: Decimal | None,
        stop: Decimal | None,
        target: Decimal | None,
    ) -> RefusalContext:
        spec = order.spec
        base = watched_price(self._engine.quote(spec.symbol), spec.trigger_by)
        own = order.bound is not Bound.NONE
        return RefusalContext(
            side=spec.side.opposite if own else spec.side,
            stop=trigger if own else stop,
            target=trigger if own else target,
            trigger=trigger,
            trigger_direction=spec.trigger_direction or 0,
            trigger_by=spec.trigger_by,
            stop_by=spec.trigger_by if own else spec.attached_stop_by,
            target_by=spec.trigger_by if own else spec.attached_target_by,
            stop_base_price=base,
            target_base_price=base,
            trigger_base_price=base,
            notional_min=instrument.notional_min,
            amending=True,
        )

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
            self._private.position_changed(order.spec.symbol, order.spec.leg)
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
                self._private.position_changed(order.spec.symbol, order.spec.leg)
        return {"list": canceled, "success": "1"}

    def leg(self, params: Params) -> Leg:
        """Return the position an index names; one of the other position mode is refused."""
        leg = _LEGS.get(params.integer("positionIdx") or 0)
        if leg is None or (leg is not Leg.BOTH) is not self._engine.hedge_mode:
            raise param_error("position idx not match position mode")
        return leg

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
