"""The REST side: which path is answered by whom, at what weight, behind which check."""

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import orjson

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.binance.account import AccountDesk
from aegis.twin.binance.algos import AlgoDesk
from aegis.twin.binance.auth import Gatekeeper, Params, request_params
from aegis.twin.binance.errors import ApiError
from aegis.twin.binance.limits import UsageCounter
from aegis.twin.binance.market import MarketDesk
from aegis.twin.binance.orders import OrderDesk
from aegis.twin.binance.user import UserStream

Handler = Callable[[Params], Any]

_DEPTH_WEIGHTS: Final = ((50, 2), (100, 5), (500, 10), (1000, 20))
_KLINE_WEIGHTS: Final = ((99, 1), (499, 2), (1000, 5), (1500, 10))


class Check(enum.Enum):
    """What a request must carry."""

    NONE = "NONE"
    KEY = "KEY"
    SIGNATURE = "SIGNATURE"


@attrs.frozen(slots=True)
class Route:
    """
    One path and method.

    *weight_all* is the weight without a symbol; *weigh* computes it where it depends on the limit.
    """

    handler: Handler
    check: Check = Check.SIGNATURE
    weight: int = 1
    weight_all: int | None = None
    orders: int = 0
    weigh: Callable[[Params], int] | None = None

    def cost(self, params: Params) -> int:
        """Return the request's weight."""
        if self.weigh is not None:
            return self.weigh(params)
        if self.weight_all is not None and not params.get("symbol"):
            return self.weight_all
        return self.weight


class RestDesk:
    """Answers HTTP requests."""

    def __init__(
        self, routes: Mapping[tuple[str, str], Route], gate: Gatekeeper, usage: UsageCounter
    ) -> None:
        self._routes = routes
        self._gate = gate
        self._usage = usage

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer *request*; every refusal is a code and a message."""
        route = self._routes.get((request.method, request.path))
        if route is None:
            message = f"Path {request.path}, Method {request.method} is invalid"
            return self._refuse(ApiError(-5000, message, 404), with_orders=False)
        params = request_params(request)
        with_orders = route.orders > 0
        try:
            self._usage.admit(weight=_tolerant_cost(route, params), orders=route.orders)
            if route.check is not Check.NONE:
                self._gate.check_key(request.headers.get("x-mbx-apikey", ""))
            if route.check is Check.SIGNATURE:
                self._gate.check_http(request, params)
            body = orjson.dumps(route.handler(params))
        except ApiError as error:
            return self._refuse(error, with_orders=with_orders)
        return HttpResponse(
            status=200, body=body, headers=self._usage.headers(with_orders=with_orders)
        )

    def _refuse(self, error: ApiError, *, with_orders: bool) -> HttpResponse:
        headers = self._usage.headers(with_orders=with_orders)
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        return HttpResponse(
            status=error.status,
            body=orjson.dumps({"code": error.code, "msg": error.message}),
            headers=headers,
        )


def build_routes(
    market: MarketDesk,
    orders: OrderDesk,
    algos: AlgoDesk,
    account: AccountDesk,
    user: UserStream,
) -> dict[tuple[str, str], Route]:
    """Return the table of everything the face answers; weights of venues.md 2.2 and 1.2."""
    routes = _market_routes(market)
    routes |= _order_routes(orders, algos)
    routes |= _account_routes(account)
    routes |= _listen_key_routes(user)
    return routes


def _market_routes(desk: MarketDesk) -> dict[tuple[str, str], Route]:
    free = Check.NONE
    return {
        ("GET", "/api/v3/ping"): Route(desk.ping, free),
        ("GET", "/api/v3/time"): Route(desk.time, free),
        ("GET", "/fapi/v1/ping"): Route(desk.ping, free),
        ("GET", "/fapi/v1/time"): Route(desk.time, free),
        ("GET", "/fapi/v1/exchangeInfo"): Route(desk.exchange_info, free),
        ("GET", "/fapi/v1/depth"): Route(desk.depth, free, weigh=_depth_weight),
        ("GET", "/fapi/v1/ticker/bookTicker"): Route(desk.book_ticker, free, 2, 5),
        ("GET", "/fapi/v1/ticker/price"): Route(desk.price, free, 1, 2),
        ("GET", "/fapi/v2/ticker/price"): Route(desk.price, free, 1, 2),
        ("GET", "/fapi/v1/premiumIndex"): Route(desk.premium_index, free, 1, 10),
        ("GET", "/fapi/v1/klines"): Route(desk.klines, free, weigh=_kline_weight),
        ("GET", "/fapi/v1/continuousKlines"): Route(
            desk.continuous_klines, free, weigh=_kline_weight
        ),
        ("GET", "/fapi/v1/markPriceKlines"): Route(desk.mark_klines, free, weigh=_kline_weight),
        ("GET", "/fapi/v1/indexPriceKlines"): Route(desk.index_klines, free, weigh=_kline_weight),
        ("GET", "/fapi/v1/ticker/24hr"): Route(desk.day, free, 1, 40),
        ("GET", "/fapi/v1/trades"): Route(desk.trades, free, 5),
        ("GET", "/fapi/v1/aggTrades"): Route(desk.aggregate_trades, free, 20),
        ("GET", "/fapi/v1/fundingRate"): Route(desk.funding_rate, free),
        ("GET", "/fapi/v1/fundingInfo"): Route(desk.funding_info, free, 0),
    }


def _order_routes(desk: OrderDesk, algos: AlgoDesk) -> dict[tuple[str, str], Route]:
    signed = Check.SIGNATURE
    return {
        ("POST", "/fapi/v1/order"): Route(desk.place, signed, 0, orders=1),
        ("PUT", "/fapi/v1/order"): Route(desk.modify, signed, 1, orders=1),
        ("DELETE", "/fapi/v1/order"): Route(desk.cancel),
        ("GET", "/fapi/v1/order"): Route(desk.query),
        ("POST", "/fapi/v1/batchOrders"): Route(desk.place_batch, signed, 5, orders=5),
        ("PUT", "/fapi/v1/batchOrders"): Route(desk.modify_batch, signed, 5, orders=5),
        ("DELETE", "/fapi/v1/batchOrders"): Route(desk.cancel_batch),
        ("GET", "/fapi/v1/openOrders"): Route(desk.open, signed, 1, 40),
        ("GET", "/fapi/v1/openOrder"): Route(desk.query_open),
        ("GET", "/fapi/v1/allOrders"): Route(desk.all, signed, 5),
        ("DELETE", "/fapi/v1/allOpenOrders"): Route(desk.cancel_all),
        ("POST", "/fapi/v1/algoOrder"): Route(algos.place, signed, 0, orders=1),
        ("DELETE", "/fapi/v1/algoOrder"): Route(algos.cancel),
        ("GET", "/fapi/v1/algoOrder"): Route(algos.query),
        ("GET", "/fapi/v1/openAlgoOrders"): Route(algos.open, signed, 1, 40),
        ("GET", "/fapi/v1/allAlgoOrders"): Route(algos.all, signed, 5),
        ("DELETE", "/fapi/v1/algoOpenOrders"): Route(algos.cancel_all),
        ("GET", "/fapi/v1/userTrades"): Route(desk.trades, signed, 5),
    }


def _account_routes(desk: AccountDesk) -> dict[tuple[str, str], Route]:
    signed = Check.SIGNATURE
    return {
        ("GET", "/fapi/v1/income"): Route(desk.income, signed, 30),
        ("GET", "/fapi/v2/positionRisk"): Route(desk.risk_v2, signed, 5),
        ("GET", "/fapi/v3/positionRisk"): Route(desk.risk_v3, signed, 5),
        ("GET", "/fapi/v2/account"): Route(desk.account_v2, signed, 5),
        ("GET", "/fapi/v3/account"): Route(desk.account_v3, signed, 5),
        ("GET", "/fapi/v2/balance"): Route(desk.balance, signed, 5),
        ("GET", "/fapi/v3/balance"): Route(desk.balance, signed, 5),
        ("POST", "/fapi/v1/leverage"): Route(desk.set_leverage),
        ("POST", "/fapi/v1/marginType"): Route(desk.set_margin_type),
        ("GET", "/fapi/v1/positionSide/dual"): Route(desk.position_mode, signed, 30),
        ("POST", "/fapi/v1/positionSide/dual"): Route(desk.set_position_mode),
        ("GET", "/fapi/v1/multiAssetsMargin"): Route(desk.asset_mode, signed, 30),
        ("GET", "/fapi/v1/leverageBracket"): Route(desk.leverage_bracket),
        ("GET", "/fapi/v1/commissionRate"): Route(desk.commission_rate, signed, 20),
        ("GET", "/fapi/v1/symbolConfig"): Route(desk.symbol_config, signed, 5),
        ("GET", "/fapi/v1/accountConfig"): Route(desk.account_config, signed, 5),
        ("GET", "/sapi/v1/account/apiRestrictions"): Route(desk.api_restrictions),
        ("POST", "/fapi/v1/countdownCancelAll"): Route(desk.countdown, signed, 10),
    }


def _listen_key_routes(user: UserStream) -> dict[tuple[str, str], Route]:
    def create(params: Params) -> dict[str, Any]:  # noqa: ARG001 - a handler
        return {"listenKey": user.create_listen_key()}

    def living(params: Params) -> None:
        if not user.listen_key or params.get("listenKey", user.listen_key) != user.listen_key:
            raise ApiError(-1125, "This listenKey does not exist.")

    def keep(params: Params) -> dict[str, Any]:
        living(params)
        return create(params)

    def close(params: Params) -> dict[str, Any]:
        living(params)
        user.close_listen_key()
        return {}

    return {
        ("POST", "/fapi/v1/listenKey"): Route(create, Check.KEY),
        ("PUT", "/fapi/v1/listenKey"): Route(keep, Check.KEY),
        ("DELETE", "/fapi/v1/listenKey"): Route(close, Check.KEY),
    }


def _tolerant_cost(route: Route, params: Params) -> int:
    # A malformed limit is refused by the handler; the request still has a weight.
    try:
        return route.cost(params)
    except ApiError:
        return route.weight


def _depth_weight(params: Params) -> int:
    return _stepped(params.integer("limit") or 500, _DEPTH_WEIGHTS)


def _kline_weight(params: Params) -> int:
    return _stepped(params.integer("limit") or 500, _KLINE_WEIGHTS)


def _stepped(limit: int, steps: tuple[tuple[int, int], ...]) -> int:
    for most, weight in steps:
        if limit <= most:
            return weight
    return steps[-1][1]
