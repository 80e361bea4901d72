"""
The private topics of the Bybit face: order, execution, execution.fast, position, wallet.

Frames of one request are gathered and sent together at its end (a close shows the filled order
and the stop the venue took away in one message, venues.md 3.5); everything else goes out at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson

from aegis.twin.bybit.account_rows import AccountRows
from aegis.twin.bybit.json import Row, ms_of
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.engine.api import Engine, EngineOrder, Leg

Send = Callable[[bytes], None]

BASE_TOPICS: Final = frozenset({"order", "execution", "execution.fast", "position", "wallet"})
QUIET_TOPICS: Final = frozenset({"greeks", "dcp", "dcp.future", "dcp.spot", "dcp.option"})
_CATEGORIES: Final = ("linear", "inverse", "spot", "option")
CATEGORISED_TOPICS: Final = frozenset(
    f"{topic}.{category}"
    for topic in ("order", "execution", "execution.fast", "position")
    for category in _CATEGORIES
)

_FAST_KEYS: Final = (
    "category",
    "symbol",
    "execId",
    "execPrice",
    "execQty",
    "orderId",
    "isMaker",
    "orderLinkId",
    "side",
    "execTime",
    "seq",
)


class PrivateFeed:
    """Who listens to which private topic, and the rows waiting for the end of a request."""

    def __init__(self, engine: Engine, ledger: BybitLedger, rows: AccountRows) -> None:
        self._engine = engine
        self._ledger = ledger
        self._rows = rows
        self._senders: dict[str, tuple[Send, ...]] = {}
        self._message_count = 0
        self._holding = False
        self._orders: dict[str, Row] = {}
        self._executions: list[Row] = []
        self._positions: dict[tuple[str, Leg], None] = {}
        self._wallet_changed = False

    def subscribe(self, topic: str, send: Send) -> None:
        """Send frames of *topic* to *send* from now on, once each."""
        senders = self._senders.get(topic, ())
        if send not in senders:
            self._senders[topic] = (*senders, send)

    def unsubscribe(self, topic: str, send: Send) -> None:
        """Stop sending *topic* to *send*."""
        left = tuple(one for one in self._senders.get(topic, ()) if one != send)
        if left:
            self._senders[topic] = left
        else:
            self._senders.pop(topic, None)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Gather rows until the end of the block, then send each topic once."""
        if self._holding:
            yield
            return
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            self._flush()

    def order_changed(self, order: EngineOrder) -> None:
        """Tell of an order's state as it is now."""
        row = self._ledger.order_row(order)
        self._orders[row["orderId"]] = row
        self._flush_unless_holding()

    def executed(self, row: Row) -> None:
        """Tell of an execution."""
        self._executions.append(row)
        self._flush_unless_holding()

    def position_changed(self, symbol: str, leg: Leg = Leg.BOTH) -> None:
        """Tell of a position; the venue does so on every order request too (venues.md 3.7)."""
        self._positions[symbol, leg] = None
        self._flush_unless_holding()

    def wallet_changed(self) -> None:
        """Tell of the wallet."""
        self._wallet_changed = True
        self._flush_unless_holding()

    def _flush_unless_holding(self) -> None:
        if not self._holding:
            self._flush()

    def _flush(self) -> None:
        executions, self._executions = self._executions, []
        orders, self._orders = self._orders, {}
        positions, self._positions = self._positions, {}
        wallet, self._wallet_changed = self._wallet_changed, False
        if not self._senders:
            return
        if executions:
            self._publish("execution", executions)
            fast = [{key: row[key] for key in _FAST_KEYS} for row in executions]
            self._publish("execution.fast", fast)
        if orders:
            self._publish("order", list(orders.values()))
        if positions and self._wanted("position"):
            rows = [
                self._rows.position(self._engine.leg(symbol, leg), stream=True)
                for symbol, leg in positions
            ]
            self._publish("position", rows)
        if wallet and self._wanted("wallet"):
            self._publish("wallet", [self._rows.wallet()])

    def _wanted(self, topic: str) -> bool:
        return topic in self._senders or f"{topic}.linear" in self._senders

    def _publish(self, topic: str, rows: list[dict[str, Any]]) -> None:
        if not self._wanted(topic):
            return
        data = orjson.dumps(rows)
        self._message_count += 1
        for name in (topic, f"{topic}.linear"):
            senders = self._senders.get(name)
            if not senders:
                continue
            head = (
                f'{{"id":"{self._message_count:012x}","topic":"{name}",'
                f'"creationTime":{ms_of(self._engine.now_ns)},"data":'
            )
            frame = head.encode() + data + b"}"
            for send in senders:
                send(frame)
