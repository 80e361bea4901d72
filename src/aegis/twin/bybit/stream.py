"""Streams of the Bybit face: the public and the private session of one client each."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from aegis.twin.bybit.auth import BybitAuth
from aegis.twin.bybit.json import Row
from aegis.twin.bybit.market_feed import MarketFeed
from aegis.twin.bybit.private_feed import (
    BASE_TOPICS,
    CATEGORISED_TOPICS,
    QUIET_TOPICS,
    PrivateFeed,
)
from aegis.twin.bybit.refusal import BybitRefused

Send = Callable[[bytes], None]
Message = dict[str, Any]


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
