"""The orders the engine remembers: open ones always, closed ones up to a bound."""

from collections import deque

from aegis.twin.engine.api import EngineOrder, EngineStatus

OPEN_STATUSES = frozenset(
    {
        EngineStatus.NEW,
        EngineStatus.PARTIALLY_FILLED,
        EngineStatus.UNTRIGGERED,
        EngineStatus.TRIGGERING,
        EngineStatus.TRIGGERED,
    }
)
RESTING_STATUSES = frozenset({EngineStatus.NEW, EngineStatus.PARTIALLY_FILLED})


class OrderStore:
    """Orders by id and client id. *closed_max* bounds the closed ones, the oldest go first."""

    def __init__(self, closed_max: int) -> None:
        self._all: dict[int, EngineOrder] = {}
        self._open: dict[int, EngineOrder] = {}
        self._by_client: dict[str, list[EngineOrder]] = {}
        self._closed: deque[int] = deque()
        self._closed_max = closed_max
        self.last_id = 0

    def next_id(self) -> int:
        """Give a new order id."""
        self.last_id += 1
        return self.last_id

    def add(self, order: EngineOrder) -> None:
        """Remember a new order."""
        assert order.order_id not in self._all, order.order_id
        self._all[order.order_id] = order
        self._by_client.setdefault(order.spec.client_id, []).append(order)
        if order.status in OPEN_STATUSES:
            self._open[order.order_id] = order
        else:
            self._closed.append(order.order_id)

    def settle(self, order: EngineOrder) -> None:
        """Move *order* to the closed ones when its status says so."""
        if order.status in OPEN_STATUSES or self._open.pop(order.order_id, None) is None:
            return
        self._closed.append(order.order_id)
        while len(self._closed) > self._closed_max:
            forgotten = self._all.pop(self._closed.popleft())
            same = self._by_client[forgotten.spec.client_id]
            same.remove(forgotten)
            if not same:
                del self._by_client[forgotten.spec.client_id]

    def open_orders(self, symbol: str | None = None) -> list[EngineOrder]:
        """Give the open orders, oldest first."""
        return [o for o in self._open.values() if symbol is None or o.spec.symbol == symbol]

    def all_orders(self, symbol: str | None = None) -> list[EngineOrder]:
        """Give every remembered order, oldest first."""
        return [o for o in self._all.values() if symbol is None or o.spec.symbol == symbol]

    def by_id(self, order_id: int) -> EngineOrder | None:
        """Give the order with that id."""
        return self._all.get(order_id)

    def by_client(self, client_id: str, conditional: bool | None) -> EngineOrder | None:
        """Give the newest order with that client id, open ones first."""
        matching = [
            order
            for order in self._by_client.get(client_id, [])
            if conditional is None or order.conditional is conditional
        ]
        for order in reversed(matching):
            if order.order_id in self._open:
                return order
        return matching[-1] if matching else None
