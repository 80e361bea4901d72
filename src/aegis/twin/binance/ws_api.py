"""The WebSocket order entry /ws-fapi/v1: the REST handlers behind request frames."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.binance.auth import Gatekeeper, json_params
from aegis.twin.binance.errors import ApiError
from aegis.twin.binance.limits import UsageCounter
from aegis.twin.binance.rest import Check, Route
from aegis.twin.faults import FaultSeam

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

_HANDSHAKE_WEIGHT: Final = 5
_STATUS_OK: Final = 200
_UNKNOWN_METHOD: Final = (-1101, "Invalid method or parameters.")


class OrderEntrySession:
    """
    One WebSocket API connection.

    The fault seam is shown each request as the REST request it stands for, with the frame as body:
    a ConnectionError out of it ends the connection by *close*, a TimeoutError swallows the answer.
    """

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Route],
        gate: Gatekeeper,
        usage: UsageCounter,
        faults: FaultSeam,
        send: Callable[[bytes], None],
        close: Callable[[str], None],
        after: Callable[[], None],
    ) -> None:
        self._routes = routes
        self._gate = gate
        self._usage = usage
        self._faults = faults
        self._send = send
        self._close = close
        self._after = after
        usage.count(weight=_HANDSHAKE_WEIGHT, orders=0)

    def on_message(self, text: str) -> None:
        """Answer a request with status 200 and a result, or with an error."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            request = {}
        name = _METHODS.get(str(request.get("method")))
        try:
            response = self._answered(request, name, text)
        except TimeoutError:
            pass
        except ConnectionError as error:
            self._close(str(error))
        else:
            self._send(self._frame(request, name, response))
        self._after()

    def on_closed(self) -> None:
        """Hear the end; nothing is kept."""

    def _answered(
        self, request: dict[str, Any], name: tuple[str, str] | None, text: str
    ) -> HttpResponse:
        if name is None:
            return _refusal(ApiError(*_UNKNOWN_METHOD))
        shown = HttpRequest(method=name[0], target=name[1], headers={}, body=text.encode())
        early = self._faults.before(shown)
        if early is not None:
            return early
        try:
            response = HttpResponse(
                status=_STATUS_OK, body=orjson.dumps(self._result(request, self._routes[name]))
            )
        except ApiError as error:
            response = _refusal(error)
        return self._faults.after(shown, response)

    def _result(self, request: dict[str, Any], route: Route) -> Any:
        raw = request.get("params", {})
        if not isinstance(raw, dict):
            raise ApiError(*_UNKNOWN_METHOD)
        params = json_params(raw)
        self._usage.admit(weight=route.cost(params), orders=route.orders)
        if route.check is Check.KEY:
            self._gate.check_key(params.get("apiKey", ""))
        elif route.check is Check.SIGNATURE:
            self._gate.check_ws(raw, params)
        return route.handler(params)

    def _frame(
        self, request: dict[str, Any], name: tuple[str, str] | None, response: HttpResponse
    ) -> bytes:
        answer: dict[str, Any] = {"id": request.get("id"), "status": response.status}
        if response.status == _STATUS_OK:
            answer["result"] = orjson.Fragment(response.body)
        else:
            answer["error"] = self._error(response)
        params = request.get("params")
        if not isinstance(params, dict) or params.get("returnRateLimits") not in {False, "false"}:
            with_orders = name is not None and self._routes[name].orders > 0
            answer["rateLimits"] = self._usage.rows(with_orders=with_orders)
        return orjson.dumps(answer)

    def _error(self, response: HttpResponse) -> dict[str, Any]:
        try:
            error = orjson.loads(response.body)
        except orjson.JSONDecodeError:
            error = None
        if not isinstance(error, dict):
            # What REST says as plain text is no JSON: it has no code.
            error = {"msg": response.body.decode(errors="replace")}
        headers = {key.lower(): value for key, value in response.headers.items()}
        wait = headers.get("retry-after", "")
        if wait.isdigit():
            now_ms = self._usage.wall_ms()
            error["data"] = {"serverTime": now_ms, "retryAfter": now_ms + int(wait) * 1000}
        return error


def _refusal(error: ApiError) -> HttpResponse:
    body = orjson.dumps({"code": error.code, "msg": error.message})
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return HttpResponse(status=error.status, body=body, headers=headers)
