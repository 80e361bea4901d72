"""What an engine can be asked without anything happening: orders, fills, market, account."""

from collections.abc import Sequence
from decimal import Decimal

from aegis.model.order import OrderSide
from aegis.twin.engine.api import (
    Bar,
    EngineFill,
    EngineListener,
    EngineOrder,
    EnginePosition,
    IncomeRow,
    Leg,
    Quote,
)
from aegis.twin.engine.ledger import unrealized
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.venue_rules import VenueRules


class EngineView:
    """The queries of `engine_api.Engine`. An unknown symbol raises Refused(UNKNOWN_SYMBOL)."""

    def __init__(self, parts: EngineParts) -> None:
        self.parts = parts
        self.instruments = parts.ledger.instruments
        self.positions = parts.ledger.positions
        self.hedge_mode = False

    @property
    def now_ns(self) -> int:
        """Return the time on the tape's clock."""
        return self.parts.now_ns

    @property
    def wallet(self) -> Decimal:
        """Return the balance before unrealized profit, isolated margins included."""
        return self.parts.ledger.wallet

    @property
    def rules(self) -> VenueRules:
        """Return the venue's rules."""
        return self.parts.rules

    def find(
        self,
        *,
        order_id: int | None = None,
        client_id: str | None = None,
        conditional: bool | None = None,
    ) -> EngineOrder | None:
        """Return the newest order with that id; open ones first for a client id."""
        if order_id is not None:
            order = self.parts.store.by_id(order_id)
            if order is None or conditional in {None, order.conditional}:
                return order
            return None
        return self.parts.store.by_client(client_id, conditional) if client_id else None

    def open_orders(self, symbol: str | None = None) -> Sequence[EngineOrder]:
        """Return resting orders, conditional ones included, oldest first."""
        return self.parts.store.open_orders(symbol)

    def all_orders(self, symbol: str | None = None) -> Sequence[EngineOrder]:
        """Return every order still remembered, oldest first."""
        return self.parts.store.all_orders(symbol)

    def fills(self, symbol: str | None = None) -> Sequence[EngineFill]:
        """Return every fill still remembered, oldest first."""
        fills = self.parts.ledger.fills
        return [fill for fill in fills if symbol is None or fill.order.spec.symbol == symbol]

    def income(self) -> Sequence[IncomeRow]:
        """Return every booking still remembered, oldest first."""
        return list(self.parts.ledger.income)

    def quote(self, symbol: str) -> Quote:
        """Return the market now."""
        parts = self.parts
        return parts.market(symbol).quote(parts.now_ns, parts.faults.depth_factor(symbol))

    def depth(
        self, symbol: str, limit: int
    ) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Return bids (best first) and asks (best first) as (price, qty)."""
        parts = self.parts
        market = parts.market(symbol)
        factor = parts.faults.depth_factor(symbol)
        bids = market.opposing(parts.now_ns, OrderSide.SELL, factor)[:limit]
        asks = market.opposing(parts.now_ns, OrderSide.BUY, factor)[:limit]
        return [(b.price, b.qty) for b in bids], [(a.price, a.qty) for a in asks]

    def klines(
        self, symbol: str, timeframe_ns: int, start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[tuple[int, Bar]]:
        """Return bars up to now as (open_ns, bar), oldest first, the open one at the end."""
        market = self.parts.market(symbol)
        return market.bars(timeframe_ns, start_ns, end_ns, limit, self.parts.now_ns)

    def funding_rate(self, symbol: str) -> tuple[Decimal, int]:
        """Return the coming funding rate and its time."""
        return self.parts.market(symbol).funding_after(self.parts.now_ns)

    def legs(self, symbol: str | None = None) -> Sequence[EnginePosition]:
        """Return the positions of the mode it is in, flat ones included, by symbol."""
        ledger = self.parts.ledger
        wanted = (Leg.LONG, Leg.SHORT) if self.hedge_mode else (Leg.BOTH,)
        symbols = ledger.legs if symbol is None else (symbol,)
        return [ledger.legs[one][leg] for one in symbols for leg in wanted]

    def held(self) -> Sequence[EnginePosition]:
        """Return the positions that are not flat."""
        return self.parts.ledger.held()

    def leg(self, symbol: str, leg: Leg) -> EnginePosition:
        """Return one leg, of either mode."""
        return self.parts.ledger.legs[symbol][leg]

    def unrealized(self, symbol: str, leg: Leg = Leg.BOTH) -> Decimal:
        """Return the unrealized profit at the mark now."""
        mark = self.parts.market(symbol).mark_price(self.parts.now_ns)
        return unrealized(self.parts.ledger.legs[symbol][leg], mark)

    def maintenance(self, symbol: str, leg: Leg = Leg.BOTH) -> Decimal:
        """Return the maintenance margin at the mark now, by the tiers."""
        mark = self.parts.market(symbol).mark_price(self.parts.now_ns)
        return self.parts.ledger.maintenance(self.parts.ledger.legs[symbol][leg], mark)

    def available(self) -> Decimal:
        """Return the wallet free for new isolated margin."""
        return self.parts.available()

    def add_listener(self, listener: EngineListener) -> None:
        """Add a listener; they are called in the order they were added."""
        self.parts.voice.listeners.append(listener)
