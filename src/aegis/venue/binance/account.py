"""Questions to Binance about our account: everything at once, one order, the fills since a time."""

from collections.abc import Callable, Sequence
from typing import Final

from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.errors import VenueRefused
from aegis.model.account import OrderReport, ReportSource, VenueSnapshot
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.venue.binance import wire
from aegis.venue.binance.errors import ORDER_UNKNOWN
from aegis.venue.binance.frames import not_understood, row
from aegis.venue.binance.parse_rest import (
    fill_of,
    parse_algo_order,
    parse_balance,
    parse_order,
    parse_positions,
    parse_symbol_configs,
    parse_trades,
)
from aegis.venue.binance.rest import BinanceRest, Value

_ROWS_MAX: Final = 1000
_ORDER_IDS_MAX: Final = 4096
# userTrades looks at most 7 days ahead of its start (venues.md 2.4); one day of reserve.
TRADES_WINDOW_NS: Final = 6 * 86_400 * 1_000_000_000
_OVERLAP_NS: Final = 30 * 1_000_000_000
"""Clocks differ, and the list of executions lags behind the stream."""


class AccountQueries:
    """Ask through *rest*. Every failure raises: an answer that is missing is never "none" (R43)."""

    def __init__(self, rest: BinanceRest, clock: Clock) -> None:
        self._rest = rest
        self._clock = clock

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """
        Return balance, positions and resting orders, conditional ones included, or raise.

        *steady*: a look without a doubt, which may not use the part kept for protection.
        """
        asked_ns = self._clock.now_ns()

        async def ask(operation: str, method: str) -> object:
            return await self._rest.call(operation, method, protective=not steady)

        # Orders before positions: exposure is the fresher fact.
        orders = await self.resting_orders(protective=not steady)
        configs = parse_symbol_configs(await ask("symbol_config", "futures_symbol_config"))
        positions, unrealized = parse_positions(
            await ask("positions", "futures_position_information"), configs
        )
        balance = parse_balance(
            await ask("balance", "futures_account_balance"), unrealized, asked_ns
        )
        return VenueSnapshot(
            venue=Venue.BINANCE,
            ts_event=asked_ns,
            balance=balance,
            positions=positions,
            orders=orders,
        )

    async def resting_orders(self, *, protective: bool = True) -> tuple[OrderReport, ...]:
        """Return every resting order, conditional ones included, or raise."""
        source, rest = ReportSource.QUERY, self._rest
        plain = self._listed(
            await rest.call("open_orders", "futures_get_open_orders", protective=protective)
        )
        algos = self._listed(
            await rest.call(
                "open_algo_orders", "futures_get_open_algo_orders", protective=protective
            )
        )
        return (
            *(parse_order(each, source) for each in plain),
            *(parse_algo_order(each, source) for each in algos),
        )

    async def order(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Return an order of the matching engine; None when three queries do not know it."""
        try:
            answer = await self._rest.call(
                "get_order",
                "futures_get_order",
                {"symbol": symbol, "origClientOrderId": client_order_id},
                protective=True,
            )
            return parse_order(answer, ReportSource.QUERY)
        except VenueRefused as refusal:
            if refusal.code != ORDER_UNKNOWN:
                raise
        # One -2013 is no proof of absence: the query store lags behind (venues.md 1.2, 2.7).
        for operation, method, limit in (
            ("open_orders", "futures_get_open_orders", None),
            ("all_orders", "futures_get_all_orders", _ROWS_MAX),
        ):
            found = await self._search(
                operation,
                method,
                {"symbol": symbol, "limit": limit},
                "clientOrderId",
                client_order_id,
            )
            if found is not None:
                return parse_order(found, ReportSource.QUERY)
        return None

    async def algo_order(self, symbol: str, client_algo_id: str) -> OrderReport | None:
        """Return a conditional order; None when three queries do not know it (venues.md 5.1)."""
        try:
            answer = await self._rest.call(
                "get_algo_order",
                "futures_get_algo_order",
                {"clientAlgoId": client_algo_id},
                protective=True,
            )
            return await self._algo_report(answer)
        except VenueRefused as refusal:
            if refusal.code != ORDER_UNKNOWN:
                raise
        for operation, method, limit in (
            ("open_algo_orders", "futures_get_open_algo_orders", None),
            ("all_algo_orders", "futures_get_all_algo_orders", _ROWS_MAX),
        ):
            found = await self._search(
                operation,
                method,
                {"symbol": symbol, "limit": limit},
                "clientAlgoId",
                client_algo_id,
            )
            if found is not None:
                return await self._algo_report(found)
        return None

    async def trades(self, symbol: str, since_ns: int) -> Sequence[wire.TradeRow]:
        """Return our executions on *symbol* from *since_ns* on, oldest first, all pages."""
        found: list[wire.TradeRow] = []
        # The limit returns the oldest rows, so pages go forward by id (venues.md 2.4).
        page: dict[str, Value] = {"startTime": since_ns // NS_PER_MS}
        while True:
            answer = await self._rest.call(
                "user_trades",
                "futures_account_trades",
                {"symbol": symbol, "limit": _ROWS_MAX, **page},
            )
            trades = parse_trades(answer)
            found += trades
            if len(trades) < _ROWS_MAX:
                return found
            page = {"fromId": trades[-1].id + 1}

    async def client_order_id(self, symbol: str, order_id: int) -> str:
        """Return the client id of an order of the matching engine, "" when it is forgotten."""
        try:
            answer = await self._rest.call(
                "get_order",
                "futures_get_order",
                {"symbol": symbol, "orderId": order_id},
                protective=True,
            )
        except VenueRefused as refusal:
            if refusal.code != ORDER_UNKNOWN:
                raise
            return ""
        return row(answer, wire.OrderRow, "get_order").client_order_id

    async def _algo_report(self, answer: object) -> OrderReport:
        algo = row(answer, wire.AlgoRow, "algo order")
        if algo.algo_status == "FINISHED" and algo.actual_qty is None and algo.actual_order_id:
            # Finished is filled or canceled; the child order tells which.
            child = row(
                await self._rest.call(
                    "get_order",
                    "futures_get_order",
                    {"symbol": algo.symbol, "orderId": int(algo.actual_order_id)},
                    protective=True,
                ),
                wire.OrderRow,
                "get_order",
            )
            known = {"actualQty": child.executed_qty, "actualPrice": child.avg_price}
            answer = {**(answer if isinstance(answer, dict) else {}), **known}
        return parse_algo_order(answer, ReportSource.QUERY)

    async def _search(
        self, operation: str, method: str, params: dict[str, Value], field: str, wanted: str
    ) -> object | None:
        answer = self._listed(await self._rest.call(operation, method, params, protective=True))
        found = [each for each in answer if isinstance(each, dict) and each.get(field) == wanted]
        # Ids may be used again once an order is done: the last one is the one asked for.
        return found[-1] if found else None

    @staticmethod
    def _listed(answer: object) -> list[object]:
        if not isinstance(answer, list):
            raise not_understood(answer, "no array", "orders")
        return answer


class FillReplay:
    """
    Ask for what the user stream may have swallowed (R12).

    Followed are the symbols that had an order, a fill or a position in this run, each from the last
    time its executions were answered: a fill that came proves nothing about those before it.
    """

    def __init__(self, queries: AccountQueries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock
        self._since_ns: dict[str, int] = {}
        self._client_ids: dict[str, str] = {}

    def follow(self, instrument_id: InstrumentId) -> None:
        """Follow the symbol from now on, when it is not followed already."""
        self._since_ns.setdefault(instrument_id.symbol, self._clock.now_ns() - _OVERLAP_NS)

    def saw_fill(self, fill: Fill) -> None:
        """Remember that *fill* arrived."""
        began_ns = fill.ts_event - _OVERLAP_NS
        self._since_ns.setdefault(fill.instrument_id.symbol, began_ns)
        self._remember(fill.venue_order_id, fill.client_order_id)

    def saw_order(self, report: OrderReport) -> None:
        """Remember whose order an id of the matching engine is."""
        self.follow(report.instrument_id)
        if not report.conditional:
            self._remember(report.venue_order_id, report.client_order_id)

    async def replay(self, publish: Callable[[Fill], None]) -> None:
        """
        Ask for the fills since the last answer of every followed symbol and publish them all.

        Known ones come again; whoever books fills counts each once. Raises VenueError.
        """
        for symbol in sorted(self._since_ns):
            asked_ns = self._clock.now_ns()
            since_ns = max(self._since_ns[symbol], asked_ns - TRADES_WINDOW_NS)
            trades = await self._queries.trades(symbol, since_ns)
            for fill in [fill_of(trade, await self.client_id(trade)) for trade in trades]:
                publish(fill)
            self._since_ns[symbol] = asked_ns - _OVERLAP_NS

    def answered(self, since_ns: int, asked_ns: int) -> None:
        """Hear that the followed symbols' fills from *since_ns* to *asked_ns* (ns UTC) are told."""
        for symbol, known_ns in self._since_ns.items():
            if since_ns <= known_ns:
                self._since_ns[symbol] = max(known_ns, asked_ns - _OVERLAP_NS)

    @property
    def followed(self) -> tuple[str, ...]:
        """Return the symbols, in order."""
        return tuple(sorted(self._since_ns))

    async def client_id(self, trade: wire.TradeRow) -> str:
        """Return the client id of the order *trade* belongs to, "" when it is forgotten."""
        order_id = str(trade.order_id)
        if order_id not in self._client_ids:
            client_id = await self._queries.client_order_id(trade.symbol, trade.order_id)
            self._remember(order_id, client_id)
        return self._client_ids[order_id]

    def _remember(self, order_id: str, client_order_id: str) -> None:
        self._client_ids[order_id] = client_order_id
        if len(self._client_ids) > _ORDER_IDS_MAX:
            del self._client_ids[next(iter(self._client_ids))]
