"""Batches of orders on the Bybit face: several creates, amends or cancels in one request."""

from collections.abc import Callable
from typing import Final

import attrs

from aegis.twin.bybit.json import Row
from aegis.twin.bybit.params import Params
from aegis.twin.bybit.refusal import BybitRefused, param_error
from aegis.twin.bybit.trade import TradeDesk, require_linear

BATCH_MAX: Final = 20
"""Orders in one request for linear contracts (from memory of the venue, not re-checked)."""


@attrs.frozen
class BatchAnswer:
    """What a batch is answered with: rows, and the fate of each order in retExtInfo."""

    result: Row
    ext_info: Row


class BatchDesk:
    """Does one request's orders one after the other; one refused order stops no other."""

    def __init__(self, trade: TradeDesk) -> None:
        self._trade = trade

    def create(self, params: Params) -> BatchAnswer:
        """Place orders."""
        return _each(params, self._trade.create)

    def amend(self, params: Params) -> BatchAnswer:
        """Change orders."""
        return _each(params, self._trade.amend)

    def cancel(self, params: Params) -> BatchAnswer:
        """Cancel orders."""
        return _each(params, self._trade.cancel)


def _each(params: Params, act: Callable[[Params], Row]) -> BatchAnswer:
    """
    Answer retCode 0 with a row per order; errors are in the second list alone (venues.md 3.2).

    Raises:
        BybitRefused: 10001 for a batch that is none, or too large.
    """
    require_linear(params)
    orders = params.objects("request", also=("category",))
    if not orders or len(orders) > BATCH_MAX:
        raise param_error(f"params error: request must hold 1 to {BATCH_MAX} orders")
    rows: list[Row] = []
    fates: list[Row] = []
    for order in orders:
        ids: Row = {"orderId": "", "orderLinkId": order.text("orderLinkId")}
        fate: Row = {"code": 0, "msg": "OK"}
        try:
            ids = act(order)
        except BybitRefused as refused:
            fate = {"code": refused.ret_code, "msg": refused.ret_msg}
        rows.append({"category": "linear", "symbol": order.text("symbol"), **ids})
        fates.append(fate)
    return BatchAnswer({"list": rows}, {"list": fates})
