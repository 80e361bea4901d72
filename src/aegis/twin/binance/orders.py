"""The desk for regular orders: MARKET and LIMIT, and the fills of every order."""

from collections.abc import Callable
from typing import Any, Final

import orjson

from aegis.model.order import OrderType, TimeInForce
from aegis.twin.binance.auth import Params
from aegis.twin.binance.desk import Desk, history_limit, in_window
from aegis.twin.binance.errors import (
    ALL_CANCELED,
    NO_SUCH_ORDER,
    UNKNOWN_ORDER,
    USE_ALGO_ENDPOINT,
    ApiError,
    missing,
    superfluous,
)
from aegis.twin.binance.json import (
    NS_PER_MS,
    LabelBook,
    OrderLabel,
    SymbolFormat,
    is_terminal,
    order_answer,
    order_row,
    trade_row,
)
from aegis.twin.engine.api import Engine, EngineOrder, OrderSpec, Refused

_CONDITIONAL_TYPES: Final = frozenset(
    {"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"}
)
TIMES_IN_FORCE: Final = frozenset({"GTC", "IOC", "FOK", "GTX"})
_DEPTH_LEVELS: Final = 1000
_BATCH_MAX: Final = 5


class OrderDesk(Desk):
    """Places, changes, cancels and shows orders."""

    def __init__(
        self,
        engine: Engine,
        formats: dict[str, SymbolFormat],
        labels: LabelBook,
        on_amending: Callable[[EngineOrder | None], None],
    ) -> None:
        super().__init__(engine, formats, labels)
        self._on_amending = on_amending

    def place(self, params: Params) -> dict[str, Any]:
        """Answer POST order: MARKET and LIMIT; conditional types are sent to algoOrder (-4120)."""
        instrument = self._instrument(params)
        kind = params.required("type")
        if kind in _CONDITIONAL_TYPES:
            raise ApiError(*USE_ALGO_ENDPOINT)
        if kind not in {"MARKET", "LIMIT"}:
            raise ApiError(-1116, "Invalid orderType.")
        side = self._side(params)
        leg = self._leg(params)
        if params.flag("closePosition"):
            raise ApiError(-4136, "Target strategy invalid for orderType MARKET,closePosition true")
        qty = params.decimal("quantity")
        if qty is None:
            raise missing("quantity")
        limit_price = params.decimal("price")
        time_in_force = "GTC"
        if kind == "LIMIT":
            if limit_price is None:
                raise missing("price")
            time_in_force = params.required("timeInForce")
            if time_in_force not in TIMES_IN_FORCE:
                raise ApiError(-1115, "Invalid timeInForce.")
        elif limit_price is not None:
            raise superfluous("price")
        spec = OrderSpec(
            symbol=instrument.symbol,
            client_id=params.client_id("newClientOrderId") or self._labels.made_id(),
            side=side,
            order_type=OrderType(kind),
            qty=qty,
            limit_price=limit_price,
            time_in_force=(TimeInForce.IOC if time_in_force in {"IOC", "FOK"} else TimeInForce.GTC),
            reduce_only=params.flag("reduceOnly"),
            post_only=time_in_force == "GTX",
            fill_or_kill=time_in_force == "FOK",
            leg=leg,
        )
        self._check_precision(instrument, qty, limit_price)
        self._check_maker_or_whole(spec, time_in_force)
        order = self._place(spec, OrderLabel(time_in_force=time_in_force), instrument)
        return order_answer(
            order,
            self._formats[instrument.symbol],
            self._labels.of(order),
            acknowledged_only=params.get("newOrderRespType", "ACK") != "RESULT",
        )

    def modify(self, params: Params) -> dict[str, Any]:
        """Answer PUT order: a resting LIMIT gets a new quantity and price, both mandatory."""
        instrument = self._instrument(params)
        self._side(params)
        order = self._regular(params, UNKNOWN_ORDER)
        qty = params.decimal("quantity")
        price = params.decimal("price")
        if qty is None:
            raise missing("quantity")
        if price is None:
            raise missing("price")
        if order.spec.order_type is not OrderType.LIMIT:
            raise ApiError(-5025, "Only limit order is supported.")
        self._check_precision(instrument, qty, price)
        try:
            if qty <= order.filled_qty:
                self._engine.cancel(order)
            else:
                self._on_amending(order)
                self._engine.amend(order, qty=qty, limit_price=price, trigger_price=None)
        except Refused as refused:
            raise self._error(refused, instrument) from refused
        finally:
            self._on_amending(None)
        return self._answer(order)

    def cancel(self, params: Params) -> dict[str, Any]:
        """Answer DELETE order."""
        self._instrument(params)
        order = self._regular(params, UNKNOWN_ORDER)
        self._cancel(order)
        return self._answer(order)

    def cancel_all(self, params: Params) -> dict[str, Any]:
        """Answer DELETE allOpenOrders; algo orders stay (venues.md 1.2)."""
        instrument = self._instrument(params)
        for order in list(self._engine.open_orders(instrument.symbol)):
            if not order.conditional:
                self._cancel(order)
        return dict(ALL_CANCELED)

    def query(self, params: Params) -> dict[str, Any]:
        """Answer GET order."""
        self._instrument(params)
        return self._row(self._regular(params, NO_SUCH_ORDER))

    def query_open(self, params: Params) -> dict[str, Any]:
        """Answer GET openOrder: one that is not open does not exist there."""
        self._instrument(params)
        order = self._regular(params, NO_SUCH_ORDER)
        if is_terminal(order):
            raise ApiError(*NO_SUCH_ORDER)
        return self._row(order)

    def open(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET openOrders; conditional orders are not among them."""
        symbol = self._optional_symbol(params)
        return [
            self._row(order) for order in self._engine.open_orders(symbol) if not order.conditional
        ]

    def all(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET allOrders: the newest *limit* (venues.md 2.4)."""
        instrument = self._instrument(params)
        least_id = params.integer("orderId") or 0
        rows = [
            order
            for order in self._engine.all_orders(instrument.symbol)
            if not order.conditional and order.order_id >= least_id
        ]
        return [self._row(order) for order in in_window(rows, params)[-history_limit(params) :]]

    def place_batch(self, params: Params) -> list[dict[str, Any]]:
        """Answer POST batchOrders: each element is an order's answer or a refusal."""
        return self._batch(self._listed(params, "batchOrders"), self.place)

    def modify_batch(self, params: Params) -> list[dict[str, Any]]:
        """Answer PUT batchOrders: each element is an order's answer or a refusal."""
        return self._batch(self._listed(params, "batchOrders"), self.modify)

    def cancel_batch(self, params: Params) -> list[dict[str, Any]]:
        """Answer DELETE batchOrders by orderIdList or origClientOrderIdList."""
        symbol = params.required("symbol")
        name, key = "orderIdList", "orderId"
        if name not in params:
            name, key = "origClientOrderIdList", "origClientOrderId"
        wanted = [Params(symbol=symbol, **{key: str(each)}) for each in self._listed(params, name)]
        return self._batch(wanted, self.cancel)

    # Fills.

    def trades(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET userTrades: the oldest *limit* of the window (venues.md 2.4)."""
        instrument = self._instrument(params)
        form = self._formats[instrument.symbol]
        from_id = params.integer("fromId")
        order_id = params.integer("orderId")
        start_ms = params.integer("startTime")
        end_ms = params.integer("endTime")
        rows = [
            trade_row(fill, form)
            for fill in self._engine.fills(instrument.symbol)
            if (from_id is None or fill.fill_id >= from_id)
            and (order_id is None or fill.order.order_id == order_id)
            and (start_ms is None or fill.ts_ns // NS_PER_MS >= start_ms)
            and (end_ms is None or fill.ts_ns // NS_PER_MS <= end_ms)
        ]
        return rows[: history_limit(params)]

    # Checks and look-ups.

    def _regular(self, params: Params, absent: tuple[int, str]) -> EngineOrder:
        order_id = params.integer("orderId")
        client_id = params.get("origClientOrderId")
        if order_id is None and not client_id:
            raise missing("orderId")
        found = self._engine.find(
            order_id=order_id,
            client_id=client_id if order_id is None else None,
            conditional=False,
        )
        if found is None or found.spec.symbol != params.get("symbol"):
            raise ApiError(*absent)
        return found

    def _check_maker_or_whole(self, spec: OrderSpec, time_in_force: str) -> None:
        if time_in_force not in {"GTX", "FOK"} or spec.limit_price is None or spec.qty is None:
            return
        bids, asks = self._engine.depth(spec.symbol, _DEPTH_LEVELS)
        limit = float(spec.limit_price)
        sign = spec.side.sign
        crossed = [
            size for price, size in (asks if sign > 0 else bids) if sign * (limit - price) >= 0
        ]
        if time_in_force == "GTX" and crossed:
            raise ApiError(
                -5022,
                "Due to the order could not be executed as maker, the Post Only order will be"
                " rejected. The order will not be recorded in the order history",
            )
        if time_in_force == "FOK" and sum(crossed) < float(spec.qty):
            raise ApiError(
                -5021,
                "Due to the order could not be filled immediately, the FOK order has been"
                " rejected. The order will not be recorded in the order history",
            )

    @staticmethod
    def _listed(params: Params, name: str) -> list[Any]:
        try:
            listed = orjson.loads(params.required(name))
        except orjson.JSONDecodeError as error:
            raise missing(name) from error
        if not isinstance(listed, list) or len(listed) > _BATCH_MAX:
            raise ApiError(-4082, f"Invalid number of batch place orders, at most {_BATCH_MAX}.")
        return listed

    @staticmethod
    def _batch(
        requests: list[Any], answer: Callable[[Params], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        answers = []
        for each in requests:
            try:
                answers.append(answer(Params({name: str(value) for name, value in each.items()})))
            except ApiError as error:
                answers.append({"code": error.code, "msg": error.message})
        return answers

    def _answer(self, order: EngineOrder) -> dict[str, Any]:
        return order_answer(order, self._formats[order.spec.symbol], self._labels.of(order))

    def _row(self, order: EngineOrder) -> dict[str, Any]:
        return order_row(order, self._formats[order.spec.symbol], self._labels.of(order))
