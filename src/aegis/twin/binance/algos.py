"""The desk for conditional orders: Binance's algoOrder requests."""

from decimal import Decimal
from typing import Any, Final

from aegis.model.order import OrderType, TimeInForce, TriggerBy
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
from aegis.twin.binance.orders import TIMES_IN_FORCE
from aegis.twin.engine.api import EngineOrder, OrderSpec, Reason, Refused, Trail

_TRAILING: Final = "TRAILING_STOP_MARKET"
_ALGO_TYPES: Final = {
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
    "STOP": OrderType.STOP_MARKET,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT_MARKET,
    _TRAILING: OrderType.STOP_MARKET,
}
_CLOSING_TYPES: Final = frozenset({"STOP_MARKET", "TAKE_PROFIT_MARKET"})
_IMMEDIATE: Final = TimeInForce.IOC
# Percent; 20 since 2026-10-23 (venues.md 1.1).
_CALLBACK_MIN: Final = Decimal("0.1")
_CALLBACK_MAX: Final = Decimal(20)
_TRIGGER_BY: Final = {"CONTRACT_PRICE": TriggerBy.LAST, "MARK_PRICE": TriggerBy.MARK}
_PAST_CANCELING: Final = (Reason.ORDER_NOT_FOUND, Reason.ORDER_TRIGGERING)


class AlgoDesk(Desk):
    """Places, cancels and shows conditional orders; they cannot be changed (venues.md 1.1)."""

    def place(self, params: Params) -> dict[str, Any]:
        """Answer POST algoOrder (venues.md 1.2, 1.3)."""
        instrument = self._instrument(params)
        if params.required("algoType") != "CONDITIONAL":
            raise ApiError(-1130, "Data sent for parameter 'algoType' is not valid.")
        word = params.required("type")
        kind = _ALGO_TYPES.get(word)
        if kind is None:
            raise ApiError(-1116, "Invalid orderType.")
        side = self._side(params)
        leg = self._leg(params)
        qty, close_position = self._qty(params, word)
        price = self._price(params, word)
        trail = self._trail(params) if word == _TRAILING else None
        trigger_price = params.decimal("triggerPrice")
        if trail is not None:
            # Its level is the engine's to move; until it follows, it waits for its activation.
            trigger_price = trail.activate or instrument.tick_size
        if trigger_price is None:
            raise missing("triggerPrice")
        trigger_by = _TRIGGER_BY.get(params.get("workingType", "CONTRACT_PRICE"))
        if trigger_by is None:
            raise ApiError(-1130, "Data sent for parameter 'workingType' is not valid.")
        time_in_force = params.get("timeInForce", "GTC")
        if price is not None and time_in_force not in TIMES_IN_FORCE:
            raise ApiError(-1115, "Invalid timeInForce.")
        self._check_precision(instrument, qty, trigger_price)
        self._check_precision(instrument, None, price)
        spec = OrderSpec(
            symbol=instrument.symbol,
            client_id=params.client_id("clientAlgoId") or self._labels.made_id(),
            side=side,
            order_type=kind,
            qty=qty,
            limit_price=price,
            time_in_force=_IMMEDIATE if time_in_force in {"IOC", "FOK"} else TimeInForce.GTC,
            post_only=price is not None and time_in_force == "GTX",
            fill_or_kill=price is not None and time_in_force == "FOK",
            reduce_only=params.flag("reduceOnly"),
            close_position=close_position,
            trigger_price=trigger_price,
            trigger_by=trigger_by,
            leg=leg,
            trail=trail,
            price_protect=params.flag("priceProtect"),
        )
        label = OrderLabel(time_in_force=time_in_force)
        order = self._place(spec, label, instrument)
        return algo_answer(order, self._formats[instrument.symbol], self._labels.of(order))

    @staticmethod
    def _qty(params: Params, word: str) -> tuple[Decimal | None, bool]:
        qty = params.decimal("quantity")
        close_position = params.flag("closePosition")
        if close_position and word not in _CLOSING_TYPES:
            raise ApiError(
                -4136, f"Target strategy invalid for orderType {word},closePosition true"
            )
        if close_position and params.flag("reduceOnly"):
            raise superfluous("reduceonly")
        if close_position and qty is not None:
            raise from_refusal(Refused(Reason.CLOSE_POSITION_WITH_QTY))
        if not close_position and qty is None:
            raise missing("quantity")
        return qty, close_position

    @staticmethod
    def _price(params: Params, word: str) -> Decimal | None:
        price = params.decimal("price")
        if word in {"STOP", "TAKE_PROFIT"}:
            if price is None:
                raise missing("price")
            return price
        if price:
            raise superfluous("price")
        return None

    @staticmethod
    def _trail(params: Params) -> Trail:
        rate = params.decimal("callbackRate")
        if rate is None:
            raise missing("callbackRate")
        if not _CALLBACK_MIN <= rate <= _CALLBACK_MAX:
            raise ApiError(-1130, "Data sent for parameter 'callbackRate' is not valid.")
        return Trail(rate=rate, activate=params.decimal("activatePrice") or None)

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
