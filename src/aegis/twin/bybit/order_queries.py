"""Queries of orders and executions on the Bybit face: realtime, history, execution list."""

from collections.abc import Sequence
from typing import Final

from aegis.twin.bybit.json import FINAL_STATUSES, NS_PER_MS, Row
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.bybit.market_feed import DAY_NS
from aegis.twin.bybit.order_scope import OrderScope
from aegis.twin.bybit.params import Params, page_of, same_row
from aegis.twin.engine.api import Engine, EngineOrder

CLOSED_ROWS_MAX: Final = 500


class OrderQueries:
    """Lists what the engine and the ledger remember, newest first."""

    def __init__(self, engine: Engine, ledger: BybitLedger, scope: OrderScope) -> None:
        self._engine = engine
        self._ledger = ledger
        self._scope = scope

    def realtime(self, params: Params) -> Row:
        """
        List open orders, or the newest 500 closed ones (openOnly=1), newest first.

        With orderId or orderLinkId openOnly is ignored (docs v5/order/open-order).
        """
        category = params.required("category")
        if category != "linear":
            return {"list": [], "nextPageCursor": "", "category": category}
        named = bool(params.get("orderId") or params.get("orderLinkId"))
        symbol = self._scope.symbol(params)
        if named:
            orders = self._scope.named(params)
        elif params.integer("openOnly"):
            closed = [
                one for one in self._engine.all_orders(symbol) if one.status in FINAL_STATUSES
            ]
            orders = closed[-CLOSED_ROWS_MAX:]
        else:
            orders = list(self._engine.open_orders(symbol))
        orders = [
            one for one in orders if self._scope.includes(one, params) and _filtered(one, params)
        ]
        return self._page(orders, params, default=20, archived=False)

    def history(self, params: Params) -> Row:
        """
        List finished orders, newest first.

        Those that ended without a fill are kept for 24 h only (venues.md 3.6).
        """
        category = params.required("category")
        if category != "linear":
            return {"list": [], "nextPageCursor": "", "category": category}
        named = bool(params.get("orderId") or params.get("orderLinkId"))
        pool = self._scope.named(params) if named else self._engine.all_orders(params.get("symbol"))
        start_ns, end_ns = _window_ns(params)
        oldest_ns = self._engine.now_ns - DAY_NS
        orders = [
            order
            for order in pool
            if order.status in FINAL_STATUSES
            and self._scope.includes(order, params)
            and _filtered(order, params)
            and (order.filled_qty or order.updated_ns >= oldest_ns)
            and start_ns <= order.created_ns <= end_ns
        ]
        return self._page(orders, params, default=20, archived=True)

    def executions(self, params: Params) -> Row:
        """List executions, newest first."""
        category = params.required("category")
        if category != "linear":
            return {"list": [], "nextPageCursor": "", "category": category}
        start_ns, end_ns = _window_ns(params)
        wanted = {
            name: value
            for name in ("symbol", "orderId", "orderLinkId", "execType")
            if (value := params.get(name))
        }
        rows = [
            row
            for row in self._ledger.executions()
            if all(row[name] == value for name, value in wanted.items())
            and start_ns <= int(row["execTime"]) * NS_PER_MS + NS_PER_MS - 1
            and int(row["execTime"]) * NS_PER_MS <= end_ns
        ]
        rows.reverse()
        return page_of(rows, params, default=50, maximum=100, row_of=same_row)

    def _page(
        self, orders: Sequence[EngineOrder], params: Params, *, default: int, archived: bool
    ) -> Row:
        newest = sorted(orders, key=lambda order: order.order_id, reverse=True)
        return page_of(
            newest,
            params,
            default=default,
            maximum=50,
            row_of=lambda order: self._ledger.order_row(order, archived=archived),
        )


def _window_ns(params: Params) -> tuple[int, int]:
    start = params.integer("startTime")
    end = params.integer("endTime")
    return (
        0 if start is None else start * NS_PER_MS,
        2**63 if end is None else (end + 1) * NS_PER_MS - 1,
    )


def _filtered(order: EngineOrder, params: Params) -> bool:
    wanted = params.text("orderFilter")
    if wanted == "Order":
        return not order.conditional
    if wanted == "StopOrder":
        return order.conditional
    return True
