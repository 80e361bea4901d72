"""The WebSocket order entry /ws-fapi/v1: the REST handlers behind request frames."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from aegis.twin.binance.auth import Gatekeeper, json_params
from aegis.twin.binance.errors import ApiError
from aegis.twin.binance.limits import UsageCounter
from aegis.twin.binance.rest import Check, Route

# Method names and the REST routes that answer them (venues.md 2.2).
_METHODS: Final[Mapping[str, tuple[str, str]]] = {
    "order.place": ("POST", "/fapi/v1/order"),
    "order.modify": ("PUT", "/fapi/v1/order"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "account.status": ("GET", "/fapi/v2/account"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "depth": ("GET", "/fapi/v1/depth"),
    "ticker.price": ("GET", "/fapi/v1/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
}


class OrderEntrySession:
    """One WebSocket API connection."""

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Route],
        gate: Gatekeeper,
        usage: UsageCounter,
        send: Callable[[bytes], None],
        after: Callable[[], None],
    ) -> None:
        self._routes = routes
        self._gate = gate
        self._usage = usage
        self._send = send
        self._after = after

    def on_message(self, text: str) -> None:
        """Answer a request with status 200 and a result, or with an error."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            request = {}
        answer: dict[str, Any] = {"id": request.get("id")}
        try:
            answer |= {"status": 200, "result": self._result(request)}
        except ApiError as error:
            answer |= {
                "status": error.status,
                "error": {"code": error.code, "msg": error.message},
            }
        answer["rateLimits"] = [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": 2400,
                "count": self._usage.weight_1m,
            }
        ]
        self._send(orjson.dumps(answer))
        self._after()

    def on_closed(self) -> None:
        """Hear the end; nothing is kept."""

    def _result(self, request: dict[str, Any]) -> Any:
        name = _METHODS.get(str(request.get("method")))
        raw = request.get("params", {})
        if name is None or not isinstance(raw, dict):
            raise ApiError(-1101, "Invalid method or parameters.")
        route = self._routes[name]
        params = json_params(raw)
        self._usage.count(weight=route.cost(params), orders=route.orders)
        if route.check is Check.KEY:
            self._gate.check_key(params.get("apiKey", ""))
        elif route.check is Check.SIGNATURE:
            self._gate.check_ws(raw, params)
        return route.handler(params)
