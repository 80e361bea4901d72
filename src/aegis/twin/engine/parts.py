"""
What the parts of one engine share: rules, markets, orders, books, voice, faults, and the time.

Nothing decides here; `execution`, `trigger_desk` and `protection_desk` do, on these.
"""

import heapq
from collections.abc import Callable, Mapping
from decimal import Decimal

import attrs

from aegis.model.money import ZERO
from aegis.twin.engine.api import (
    Bound,
    EngineFaults,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    Maker,
    OrderSpec,
    Reason,
    Refused,
)
from aegis.twin.engine.ledger import Ledger, unrealized
from aegis.twin.engine.market import SymbolMarket
from aegis.twin.engine.order_store import OPEN_STATUSES, RESTING_STATUSES, OrderStore
from aegis.twin.engine.venue_rules import VenueRules
from aegis.twin.engine.voice import Voice


class NoFaults:
    """A venue that works."""

    def trigger_stuck(self, order: EngineOrder) -> bool:  # noqa: ARG002 - the protocol's shape
        """Never."""
        return False

    def extra_trigger_latency_ns(self, order: EngineOrder) -> int:  # noqa: ARG002 - as above
        """None."""
        return 0

    def depth_factor(self, symbol: str) -> float:  # noqa: ARG002 - as above
        """Return the book as it is."""
        return 1.0


@attrs.define(slots=True, kw_only=True, eq=False)
class EngineParts:
    """The shared state of one engine. *touched* names symbols whose watches are out of date."""

    rules: VenueRules
    seed: int
    markets: Mapping[str, SymbolMarket]
    store: OrderStore
    ledger: Ledger
    faults: EngineFaults
    now_ns: int
    voice: Voice = attrs.field(factory=Voice)
    touched: dict[str, None] = attrs.field(factory=dict)
    due: list[tuple[int, int]] = attrs.field(factory=list)
    """Heap of (time, order id): triggered orders on their way to matching."""
    maker_offsets: dict[int, float] = attrs.field(factory=dict)
    """Order id -> distance from its limit to the mid at which it fills, half a spread."""
    followed: dict[int, EngineOrder] = attrs.field(factory=dict)
    """Orders looked at whenever the price turns: trailing ones, those held at their trigger."""
    several_cross: bool = False
    """Cross positions in more than one symbol: each price moves the others' liquidation."""

    def market(self, symbol: str) -> SymbolMarket:
        """Return the market of *symbol*, or raise Refused(UNKNOWN_SYMBOL)."""
        found = self.markets.get(symbol)
        if found is None:
            raise Refused(Reason.UNKNOWN_SYMBOL, symbol)
        return found

    def position_of(self, spec: OrderSpec) -> EnginePosition:
        """Return the position that an order of *spec* acts on."""
        return self.ledger.legs[spec.symbol][spec.leg]

    def create(
        self,
        spec: OrderSpec,
        status: EngineStatus,
        *,
        made_by: Maker = Maker.USER,
        bound: Bound = Bound.NONE,
        parent: EngineOrder | None = None,
        prepare: Callable[[EngineOrder], None] | None = None,
    ) -> EngineOrder:
        """Make an order, remember it, let *prepare* complete it, and tell of it."""
        order = EngineOrder(
            order_id=self.store.next_id(),
            spec=spec,
            status=status,
            made_by=made_by,
            bound=bound,
            created_ns=self.now_ns,
            updated_ns=self.now_ns,
            parent=parent,
        )
        self.store.add(order)
        self.touch(spec.symbol)
        if prepare is not None:
            prepare(order)
        self.voice.on_order(order)
        return order

    def move(self, order: EngineOrder, status: EngineStatus, detail: str = "") -> None:
        """Give *order* a status and tell of it."""
        self.mark(order, status, detail)
        self.voice.on_order(order)

    def mark(self, order: EngineOrder, status: EngineStatus, detail: str = "") -> None:
        """Give *order* a status without telling."""
        order.status = status
        order.updated_ns = self.now_ns
        order.detail = detail or order.detail
        self.store.settle(order)
        if status not in OPEN_STATUSES:
            self.maker_offsets.pop(order.order_id, None)
            self.followed.pop(order.order_id, None)
        self.touch(order.spec.symbol)

    def touch(self, symbol: str) -> None:
        """Say that the watches of *symbol* are out of date."""
        self.touched[symbol] = None

    def send_later(self, due_ns: int, order: EngineOrder) -> None:
        """Let *order* reach matching at *due_ns*."""
        heapq.heappush(self.due, (due_ns, order.order_id))

    def dropped(self) -> EngineStatus:
        """Return the status of what matching or the system drops on this venue."""
        return EngineStatus.EXPIRED if self.rules.leftover_expires else EngineStatus.CANCELED

    def available(self) -> Decimal:
        """
        Return the wallet free for new margin, at least 0.

        Cross positions hold their initial margin and lend their unrealized profit.
        """
        free = self.ledger.wallet
        for position in self.ledger.held():
            if position.isolated:
                free -= position.margin
                continue
            mark = self.markets[position.symbol].mark_price(self.now_ns)
            held = abs(position.qty) * position.entry_px / position.leverage
            free += unrealized(position, mark) - held
        for order in self.store.open_orders():
            spec = order.spec
            resting = order.status in RESTING_STATUSES
            if resting and spec.limit_price is not None and spec.qty and not spec.reduce_only:
                left = spec.qty - order.filled_qty
                free -= left * spec.limit_price / self.position_of(spec).leverage
        return max(ZERO, free)
