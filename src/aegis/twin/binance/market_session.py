"""One client of Binance's market streams: what it subscribed to, and its control frames."""

from typing import Any

import orjson

from aegis.twin.binance.stream import MarketHub, Send


class MarketSession:
    """
    One connection to market streams.

    *category* public, market, or "" for the private path, where no market stream is heard.
    """

    def __init__(
        self, hub: MarketHub, *, category: str, combined: bool, send: Send, names: list[str]
    ) -> None:
        self._hub = hub
        self._category = category
        self._combined = combined
        self._send = send
        self._names: dict[str, bool] = {}
        for name in names:
            self._subscribe(name)

    def on_message(self, text: str) -> None:
        """Answer SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS; the answer precedes data."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            self._reply({"error": {"code": 3, "msg": "Invalid JSON: expected a request object"}})
            return
        number = request.get("id")
        method = request.get("method")
        names = request.get("params") or []
        if method == "LIST_SUBSCRIPTIONS":
            self._reply({"result": list(self._names), "id": number})
        elif method not in {"SUBSCRIBE", "UNSUBSCRIBE"} or not isinstance(names, list):
            message = f"Invalid request: unknown variant `{method}`"
            self._reply({"error": {"code": 2, "msg": message}, "id": number})
        else:
            self._reply({"result": None, "id": number})
            for name in names:
                if method == "SUBSCRIBE":
                    self._subscribe(str(name))
                else:
                    self._unsubscribe(str(name))

    def on_closed(self) -> None:
        """Leave every stream."""
        for name in list(self._names):
            self._unsubscribe(name)

    def _subscribe(self, name: str) -> None:
        if name not in self._names:
            self._names[name] = self._hub.subscribe(
                name, self._category, self._send, wrapped=self._combined
            )

    def _unsubscribe(self, name: str) -> None:
        if self._names.pop(name, False):
            self._hub.unsubscribe(name, self._send)

    def _reply(self, answer: dict[str, Any]) -> None:
        self._send(orjson.dumps(answer))
