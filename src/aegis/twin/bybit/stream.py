"""Streams of the Bybit face: the public, the private and the trade session of one client each."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from aegis.twin.bybit.auth import BybitAuth, check_window
from aegis.twin.bybit.batch import BatchAnswer, BatchDesk
from aegis.twin.bybit.json import Row
from aegis.twin.bybit.limits import RateLimits
from aegis.twin.bybit.market_feed import MarketFeed
from aegis.twin.bybit.params import Params
from aegis.twin.bybit.private_feed import (
    BASE_TOPICS,
    CATEGORISED_TOPICS,
    QUIET_TOPICS,
    PrivateFeed,
)
from aegis.twin.bybit.refusal import BybitRefused
from aegis.twin.bybit.trade import TradeDesk

Send = Callable[[bytes], None]
Message = dict[str, Any]

REQUEST_IDS_MAX: Final = 1000


def read_message(text: str) -> Message | None:
    """Read a client's frame; None when it is not a JSON object."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None


class _Session:
    """What the public and the private session share: acknowledgements and subscriptions."""

    def __init__(self, send: Send, conn_id: str) -> None:
        self._send = send
        self._conn_id = conn_id
        self._topics: dict[str, None] = {}

    def _reply(self, message: Message, fields: Mapping[str, object]) -> None:
        answer: Row = {**fields, "conn_id": self._conn_id}
        if "req_id" in message:
            answer["req_id"] = message["req_id"]
        self._send(orjson.dumps(answer))

    def _acknowledge(self, message: Message, ret_msg: str = "", *, success: bool = True) -> None:
        op = str(message.get("op", ""))
        self._reply(message, {"success": success, "ret_msg": ret_msg, "op": op})

    def _topics_of(self, message: Message) -> list[str]:
        args = message.get("args")
        return [str(arg) for arg in args] if isinstance(args, list) else []


class PublicSession(_Session):
    """One client of /v5/public/linear."""

    def __init__(self, feed: MarketFeed, send: Send, conn_id: str) -> None:
        super().__init__(send, conn_id)
        self._feed = feed

    def on_message(self, text: str) -> None:
        """Take ping, subscribe or unsubscribe."""
        message = read_message(text)
        if message is None:
            self._acknowledge({}, "Params Error", success=False)
            return
        match message.get("op"):
            case "ping":
                self._acknowledge(message, "pong")
            case "subscribe":
                self._subscribe(message)
            case "unsubscribe":
                for topic in self._topics_of(message):
                    self._feed.unsubscribe(topic, self._send)
                    self._topics.pop(topic, None)
                self._acknowledge(message)
            case _:
                self._acknowledge(message, "Params Error", success=False)

    def _subscribe(self, message: Message) -> None:
        topics = self._topics_of(message)
        unknown = [topic for topic in topics if not self._feed.knows(topic)]
        if unknown or not topics:
            self._acknowledge(
                message, f"error:handler not found,topic:{','.join(unknown)}", success=False
            )
            return
        # The acknowledgement goes out before the first data frame (venues.md 7).
        self._acknowledge(message)
        for topic in topics:
            self._topics[topic] = None
            self._feed.subscribe(topic, self._send)
            self._feed.send_snapshot(topic, self._send)

    def on_closed(self) -> None:
        """Forget the client."""
        for topic in self._topics:
            self._feed.unsubscribe(topic, self._send)
        self._topics.clear()


class PrivateSession(_Session):
    """One client of /v5/private."""

    def __init__(
        self,
        feed: PrivateFeed,
        auth: BybitAuth,
        wall_ms: Callable[[], int],
        send: Send,
        conn_id: str,
    ) -> None:
        super().__init__(send, conn_id)
        self._feed = feed
        self._auth = auth
        self._wall_ms = wall_ms
        self._authorized = False

    def on_message(self, text: str) -> None:
        """Take ping, auth, subscribe or unsubscribe."""
        message = read_message(text)
        if message is None:
            self._acknowledge({}, "Params Error", success=False)
            return
        match message.get("op"):
            case "ping":
                self._reply(message, {"op": "pong", "args": [str(self._wall_ms())]})
            case "auth":
                self._authorize(message)
            case "subscribe":
                self._subscribe(message)
            case "unsubscribe":
                for topic in self._topics_of(message):
                    self._feed.unsubscribe(topic, self._send)
                    self._topics.pop(topic, None)
                self._acknowledge(message)
            case _:
                self._acknowledge(message, "Params Error", success=False)

    def _authorize(self, message: Message) -> None:
        args = message.get("args")
        try:
            self._auth.check_stream(args if isinstance(args, list) else [], self._wall_ms())
        except BybitRefused as refused:
            self._acknowledge(message, refused.ret_msg, success=False)
            return
        self._authorized = True
        self._acknowledge(message)

    def _subscribe(self, message: Message) -> None:
        if not self._authorized:
            self._acknowledge(message, "Request not authorized", success=False)
            return
        topics = self._topics_of(message)
        known = BASE_TOPICS | CATEGORISED_TOPICS | QUIET_TOPICS
        unknown = [topic for topic in topics if topic not in known]
        mixed = any(topic in CATEGORISED_TOPICS for topic in topics) and any(
            f"{topic}.linear" in CATEGORISED_TOPICS for topic in topics
        )
        if unknown or mixed or not topics:
            named = ",".join(unknown or topics)
            self._acknowledge(message, f"Invalid topic: {named}", success=False)
            return
        self._acknowledge(message)
        for topic in topics:
            self._topics[topic] = None
            self._feed.subscribe(topic, self._send)

    def on_closed(self) -> None:
        """Forget the client."""
        for topic in self._topics:
            self._feed.unsubscribe(topic, self._send)
        self._topics.clear()


class TradeSession:
    """One client of /v5/trade: order entry over the stream, each request echoed by reqId."""

    def __init__(
        self,
        trade: TradeDesk,
        batches: BatchDesk,
        auth: BybitAuth,
        limits: RateLimits,
        wall_ms: Callable[[], int],
        send: Send,
        conn_id: str,
    ) -> None:
        self._auth = auth
        self._limits = limits
        self._wall_ms = wall_ms
        self._send = send
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
                self._order(message, op)
        except BybitRefused as refused:
            self._answer(message, refused.ret_code, refused.ret_msg, {"data": {}})

    def _authorize(self, message: Message) -> None:
        if self._authorized:
            raise BybitRefused(20001, "Repeat auth")
        args = message.get("args")
        self._auth.check_stream(args if isinstance(args, list) else [], self._wall_ms())
        self._authorized = True
        self._answer(message, 0, "OK", {})

    def _order(self, message: Message, op: str) -> None:
        if op not in self._handlers:
            raise BybitRefused(10404, "op type is not found")
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
        path, handler = self._handlers[op]
        self._limits.count(path, wall_ms)
        told = handler(Params(args[0]))
        answer = told if isinstance(told, BatchAnswer) else BatchAnswer(told, {})
        self._answer(
            message,
            0,
            "OK",
            {
                "data": answer.result,
                "retExtInfo": answer.ext_info,
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
