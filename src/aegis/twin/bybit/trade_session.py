"""The trade session /v5/trade of the Bybit face: orders over the stream, each echoed by reqId."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.bybit.auth import BybitAuth, check_window
from aegis.twin.bybit.batch import BatchAnswer, BatchDesk
from aegis.twin.bybit.json import Row
from aegis.twin.bybit.limits import RateLimits
from aegis.twin.bybit.params import Params
from aegis.twin.bybit.refusal import BybitRefused
from aegis.twin.bybit.rest import envelope
from aegis.twin.bybit.stream import Message, Send, read_message
from aegis.twin.bybit.trade import TradeDesk
from aegis.twin.faults import FaultSeam

REQUEST_IDS_MAX: Final = 1000
_STATUS_OK: Final = 200
_STATUS_SERVER_FAULT: Final = 500


class TradeSession:
    """
    One client of /v5/trade.

    The fault seam is shown each request as the REST request it stands for, with the frame as body:
    a ConnectionError out of it ends the connection by *close*, a TimeoutError swallows the answer.
    """

    def __init__(
        self,
        trade: TradeDesk,
        batches: BatchDesk,
        auth: BybitAuth,
        limits: RateLimits,
        wall_ms: Callable[[], int],
        faults: FaultSeam,
        send: Send,
        close: Callable[[str], None],
        conn_id: str,
    ) -> None:
        self._auth = auth
        self._limits = limits
        self._wall_ms = wall_ms
        self._faults = faults
        self._send = send
        self._close = close
        self._conn_id = conn_id
        self._authorized = False
        self._request_ids: deque[str] = deque(maxlen=REQUEST_IDS_MAX)
        self._handlers: Mapping[str, tuple[str, Callable[[Params], Row | BatchAnswer]]] = {
            "order.create": ("/v5/order/create", trade.create),
            "order.amend": ("/v5/order/amend", trade.amend),
            "order.cancel": ("/v5/order/cancel", trade.cancel),
            "order.create-batch": ("/v5/order/create-batch", batches.create),
            "order.amend-batch": ("/v5/order/amend-batch", batches.amend),
            "order.cancel-batch": ("/v5/order/cancel-batch", batches.cancel),
        }

    def on_message(self, text: str) -> None:
        """Take ping, auth, order.create, order.amend, order.cancel, or a batch of one kind."""
        message = read_message(text)
        if message is None:
            self._answer({}, 10001, "Params Error", {})
            return
        op = str(message.get("op", ""))
        try:
            if op == "ping":
                self._answer(message, 0, "OK", {"data": [str(self._wall_ms())]}, op="pong")
            elif op == "auth":
                self._authorize(message)
            else:
                self._order(message, op, text)
        except TimeoutError:
            return
        except ConnectionError as error:
            self._close(str(error))
        except BybitRefused as refused:
            self._answer(message, refused.ret_code, refused.ret_msg, {"data": {}})

    def _authorize(self, message: Message) -> None:
        if self._authorized:
            raise BybitRefused(20001, "Repeat auth")
        args = message.get("args")
        self._auth.check_stream(args if isinstance(args, list) else [], self._wall_ms())
        self._authorized = True
        self._answer(message, 0, "OK", {})

    def _order(self, message: Message, op: str, text: str) -> None:
        if op not in self._handlers:
            raise BybitRefused(10404, "op type is not found")
        path, handler = self._handlers[op]
        shown = HttpRequest(method="POST", target=path, headers={}, body=text.encode())
        early = self._faults.before(shown)
        if early is None:
            wall_ms = self._wall_ms()
            try:
                told = self._done(message, path, handler)
                body = envelope(0, "OK", told.result, wall_ms, told.ext_info)
            except BybitRefused as refused:
                body = envelope(refused.ret_code, refused.ret_msg, refused.result, wall_ms)
            early = self._faults.after(shown, HttpResponse(status=_STATUS_OK, body=body))
        self._tell(message, path, early)

    def _done(
        self, message: Message, path: str, handler: Callable[[Params], Row | BatchAnswer]
    ) -> BatchAnswer:
        if not self._authorized:
            raise BybitRefused(10005, "Permission denied, please check your API key permissions.")
        request_id = str(message.get("reqId", ""))
        if request_id and request_id in self._request_ids:
            raise BybitRefused(20006, "reqId is duplicated")
        self._request_ids.append(request_id)
        wall_ms = self._wall_ms()
        header = message.get("header")
        fields = header if isinstance(header, dict) else {}
        check_window(
            str(fields.get("X-BAPI-TIMESTAMP", "")),
            str(fields.get("X-BAPI-RECV-WINDOW", "") or 5000),
            wall_ms,
        )
        args = message.get("args")
        if not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], dict):
            raise BybitRefused(10001, "Params Error")
        self._limits.count(path, wall_ms)
        told = handler(Params(args[0]))
        return told if isinstance(told, BatchAnswer) else BatchAnswer(told, {})

    def _tell(self, message: Message, path: str, response: HttpResponse) -> None:
        if response.status != _STATUS_OK:
            server_fault = response.status >= _STATUS_SERVER_FAULT
            raise BybitRefused(*((10016, "Server error") if server_fault else (10429, "Too many")))
        wall_ms = self._wall_ms()
        said = orjson.loads(response.body)
        self._answer(
            message,
            said["retCode"],
            said["retMsg"],
            {
                "data": said.get("result", {}),
                "retExtInfo": said.get("retExtInfo", {}),
                "header": {
                    **self._limits.headers(path, wall_ms),
                    "Traceid": "0" * 32,
                    "Timenow": str(wall_ms),
                },
            },
        )

    def _answer(
        self, message: Message, ret_code: int, ret_msg: str, fields: Row, op: str = ""
    ) -> None:
        answer: Row = {
            "retCode": ret_code,
            "retMsg": ret_msg,
            "op": op or str(message.get("op", "")),
            **fields,
            "connId": self._conn_id,
        }
        if "reqId" in message:
            answer["reqId"] = message["reqId"]
        self._send(orjson.dumps(answer))

    def on_closed(self) -> None:
        """Forget the client: nothing is held for it."""
