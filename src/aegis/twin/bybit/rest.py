"""The HTTP side of the Bybit face: routes, envelope, signature, rate-limit headers, faults."""

from collections.abc import Callable, Mapping
from typing import Final

import attrs
import orjson

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.bybit.auth import BybitAuth
from aegis.twin.bybit.batch import BatchAnswer, BatchDesk
from aegis.twin.bybit.json import Row
from aegis.twin.bybit.limits import RateLimits
from aegis.twin.bybit.market import MarketDesk
from aegis.twin.bybit.order_queries import OrderQueries
from aegis.twin.bybit.params import Params, params_of
from aegis.twin.bybit.position import PositionDesk
from aegis.twin.bybit.refusal import BybitRefused
from aegis.twin.bybit.trade import TradeDesk
from aegis.twin.bybit.transactions import TransactionLog
from aegis.twin.faults import FaultSeam

_JSON_HEADERS: Final[Mapping[str, str]] = {"Content-Type": "application/json; charset=utf-8"}


@attrs.frozen
class Route:
    """What answers one method and path."""

    handler: Callable[[Params], Row | BatchAnswer]
    signed: bool = True


def routes_of(
    market: MarketDesk,
    trade: TradeDesk,
    batches: BatchDesk,
    orders: OrderQueries,
    position: PositionDesk,
    transactions: TransactionLog,
) -> dict[tuple[str, str], Route]:
    """Return every endpoint of the face."""
    return {
        ("GET", "/v5/market/time"): Route(market.time, signed=False),
        ("GET", "/v5/market/instruments-info"): Route(market.instruments, signed=False),
        ("GET", "/v5/market/tickers"): Route(market.tickers, signed=False),
        ("GET", "/v5/market/orderbook"): Route(market.orderbook, signed=False),
        ("GET", "/v5/market/kline"): Route(market.kline, signed=False),
        ("GET", "/v5/market/mark-price-kline"): Route(market.mark_kline, signed=False),
        ("GET", "/v5/market/index-price-kline"): Route(market.index_kline, signed=False),
        ("GET", "/v5/market/recent-trade"): Route(market.recent_trades, signed=False),
        ("GET", "/v5/market/funding/history"): Route(market.funding_history, signed=False),
        ("GET", "/v5/market/risk-limit"): Route(market.risk_limit, signed=False),
        ("POST", "/v5/order/create"): Route(trade.create),
        ("POST", "/v5/order/amend"): Route(trade.amend),
        ("POST", "/v5/order/cancel"): Route(trade.cancel),
        ("POST", "/v5/order/cancel-all"): Route(trade.cancel_all),
        ("POST", "/v5/order/create-batch"): Route(batches.create),
        ("POST", "/v5/order/amend-batch"): Route(batches.amend),
        ("POST", "/v5/order/cancel-batch"): Route(batches.cancel),
        ("GET", "/v5/order/realtime"): Route(orders.realtime),
        ("GET", "/v5/order/history"): Route(orders.history),
        ("GET", "/v5/execution/list"): Route(orders.executions),
        ("GET", "/v5/position/list"): Route(position.positions),
        ("POST", "/v5/position/trading-stop"): Route(position.trading_stop),
        ("POST", "/v5/position/set-leverage"): Route(position.set_leverage),
        ("POST", "/v5/position/switch-mode"): Route(position.switch_mode),
        ("GET", "/v5/position/closed-pnl"): Route(position.closed_pnl),
        ("GET", "/v5/account/wallet-balance"): Route(position.wallet_balance),
        ("GET", "/v5/account/transaction-log"): Route(transactions.rows),
        ("GET", "/v5/account/info"): Route(position.account_info),
        ("GET", "/v5/account/fee-rate"): Route(position.fee_rate),
        ("POST", "/v5/account/set-margin-mode"): Route(position.set_margin_mode),
        ("GET", "/v5/user/query-api"): Route(position.query_api),
        ("GET", "/v5/asset/coin/query-info"): Route(position.coin_info),
    }


def envelope(
    ret_code: int,
    ret_msg: str,
    result: Mapping[str, object],
    wall_ms: int,
    ext_info: Mapping[str, object] | None = None,
) -> bytes:
    """Write the body every answer has; refusals have HTTP 200 too (venues.md 3.2)."""
    return orjson.dumps(
        {
            "retCode": ret_code,
            "retMsg": ret_msg,
            "result": result,
            "retExtInfo": {} if ext_info is None else ext_info,
            "time": wall_ms,
        }
    )


class BybitRest:
    """Answers HTTP requests, one at a time."""

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Route],
        *,
        auth: BybitAuth,
        limits: RateLimits,
        wall_ms: Callable[[], int],
        faults: FaultSeam,
    ) -> None:
        self._routes = routes
        self._auth = auth
        self._limits = limits
        self._wall_ms = wall_ms
        self._faults = faults

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer *request*; ConnectionError and TimeoutError come from the faults only."""
        early = self._faults.before(request)
        if early is not None:
            return early
        return self._faults.after(request, self._true_answer(request))

    def _true_answer(self, request: HttpRequest) -> HttpResponse:
        route = self._routes.get((request.method, request.path))
        if route is None:
            return HttpResponse(
                status=404, body=b"404 page not found", headers={"Content-Type": "text/plain"}
            )
        wall_ms = self._wall_ms()
        if self._limits.too_frequent(wall_ms):
            return HttpResponse(
                status=403, body=b"access too frequent", headers={"Content-Type": "text/plain"}
            )
        try:
            if route.signed:
                self._auth.check_request(request, wall_ms)
            self._limits.count(request.path, wall_ms)
            answer = route.handler(params_of(request))
            if isinstance(answer, BatchAnswer):
                body = envelope(0, "OK", answer.result, wall_ms, answer.ext_info)
            else:
                body = envelope(0, "OK", answer, wall_ms)
        except BybitRefused as refused:
            body = envelope(refused.ret_code, refused.ret_msg, refused.result, wall_ms)
        headers = {**_JSON_HEADERS, **self._limits.headers(request.path, wall_ms)}
        return HttpResponse(status=200, body=body, headers=headers)
