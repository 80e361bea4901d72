"""The desk for conditional orders: Binance's algoOrder requests."""

from typing import Any, Final

from aegis.model.order import OrderType, TriggerBy
from aegis.twin.binance.auth import Params
from aegis.twin.binance.desk import Desk, history_limit, in_window
from aegis.twin.binance.errors import (
    ALL_CANCELED,
    NO_SUCH_ORDER,
    UNKNOWN_ORDER,
    ApiError,
    from_refusal,
    missing,
    superfluous,
)
from aegis.twin.binance.json import ALGO_ID_BASE, OrderLabel, algo_answer, algo_row
from aegis.twin.engine.api import EngineOrder, OrderSpec, Reason, Refused

_ALGO_TYPES: Final = {
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
}
_TRIGGER_BY: Final = {"CONTRACT_PRICE": TriggerBy.LAST, "MARK_PRICE": TriggerBy.MARK}
_PAST_CANCELING: Final = (Reason.ORDER_NOT_FOUND, Reason.ORDER_TRIGGERING)


class AlgoDesk(Desk):
    """Places, cancels and shows conditional orders; they cannot be changed (venues.md 1.1)."""

    def place(self, params: Params) -> dict[str, Any]:
        """Answer POST algoOrder for STOP_MARKET and TAKE_PROFIT_MARKET (venues.md 1.2, 1.3)."""
        instrument = self._instrument(params)
        if params.required("algoType") != "CONDITIONAL":
            raise ApiError(-1130, "Data sent for parameter 'algoType' is not valid.")
        kind = _ALGO_TYPES.get(params.required("type"))
        if kind is None:
            raise ApiError(-1116, "Invalid orderType.")
        side = self._side(params)
        self._check_position_side(params)
        qty = params.decimal("quantity")
        close_position = params.flag("closePosition")
        if close_position and params.flag("reduceOnly"):
            raise superfluous("reduceonly")
        if close_position and qty is not None:
            raise from_refusal(Refused(Reason.CLOSE_POSITION_WITH_QTY))
        if not close_position and qty is None:
            raise missing("quantity")
        trigger_price = params.decimal("triggerPrice")
        if trigger_price is None:
            raise missing("triggerPrice")
        trigger_by = _TRIGGER_BY.get(params.get("workingType", "CONTRACT_PRICE"))
        if trigger_by is None:
            raise ApiError(-1130, "Data sent for parameter 'workingType' is not valid.")
        self._check_precision(instrument, qty, trigger_price)
        spec = OrderSpec(
            symbol=instrument.symbol,
            client_id=params.client_id("clientAlgoId") or self._labels.made_id(),
            side=side,
            order_type=kind,
            qty=qty,
            reduce_only=params.flag("reduceOnly"),
            close_position=close_position,
            trigger_price=trigger_price,
            trigger_by=trigger_by,
        )
        label = OrderLabel(
            time_in_force=params.get("timeInForce", "GTC"),
            price_protect=params.flag("priceProtect"),
        )
        order = self._place(spec, label, instrument)
        return algo_answer(order, self._formats[instrument.symbol], self._labels.of(order))

    def cancel(self, params: Params) -> dict[str, Any]:
        """Answer DELETE algoOrder; its code is a string (venues.md 1.2)."""
        order = self._algo(params, UNKNOWN_ORDER)
        self._cancel(order)
        return {
            "algoId": ALGO_ID_BASE + order.order_id,
            "clientAlgoId": order.spec.client_id,
            "code": "200",
            "msg": "success",
        }

    def cancel_all(self, params: Params) -> dict[str, Any]:
        """Answer DELETE algoOpenOrders; one that is triggering is past canceling."""
        instrument = self._instrument(params)
        for order in list(self._engine.open_orders(instrument.symbol)):
            if order.conditional:
                try:
                    self._engine.cancel(order)
                except Refused as refused:
                    if refused.reason not in _PAST_CANCELING:
                        raise from_refusal(refused) from refused
        return dict(ALL_CANCELED)

    def query(self, params: Params) -> dict[str, Any]:
        """Answer GET algoOrder."""
        return self._algo_row(self._algo(params, NO_SUCH_ORDER))

    def open(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET openAlgoOrders: a bare array."""
        symbol = self._optional_symbol(params)
        return [
            self._algo_row(order) for order in self._engine.open_orders(symbol) if order.conditional
        ]

    def all(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET allAlgoOrders: the newest *limit*."""
        instrument = self._instrument(params)
        rows = [order for order in self._engine.all_orders(instrument.symbol) if order.conditional]
        return [
            self._algo_row(order) for order in in_window(rows, params)[-history_limit(params) :]
        ]

    def _algo(self, params: Params, absent: tuple[int, str]) -> EngineOrder:
        algo_id = params.integer("algoId")
        client_id = params.get("clientAlgoId")
        if algo_id is None and not client_id:
            raise missing("algoId")
        found = self._engine.find(
            order_id=None if algo_id is None else algo_id - ALGO_ID_BASE,
            client_id=client_id if algo_id is None else None,
            conditional=True,
        )
        if found is None:
            raise ApiError(*absent)
        return found

    def _algo_row(self, order: EngineOrder) -> dict[str, Any]:
        return algo_row(order, self._formats[order.spec.symbol], self._labels.of(order))
