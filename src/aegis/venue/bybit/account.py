"""
Our account by REST: wallet, positions, orders, executions, each whole or not at all.

A query that failed raises; an empty list means that the venue said "none" (R43, R88).
"""

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from aegis.core.clock import NS_PER_MS
from aegis.core.errors import VenueError, VenueProtocolError, VenueRefused
from aegis.model.account import (
    BalanceReport,
    OrderReport,
    PositionMode,
    PositionReport,
    ReportSource,
    VenueSnapshot,
)
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.venue.bybit import wire
from aegis.venue.bybit.encode import CATEGORY
from aegis.venue.bybit.errors import ORDER_NOT_FOUND, VENUE
from aegis.venue.bybit.frames import Unknown
from aegis.venue.bybit.parse import (
    SETTLE_COIN,
    FundingBooked,
    balance_report,
    execution,
    order_report,
    position_report,
    read_rest,
)
from aegis.venue.bybit.rest import BybitRest
from aegis.venue.bybit.stream import UnknownCounter

_POSITIONS: Final = "get_positions"
_ORDERS_PER_PAGE: Final = 50
_POSITIONS_PER_PAGE: Final = 200
_EXECUTIONS_PER_PAGE: Final = 100
_EXECUTIONS_WINDOW_MS: Final = 7 * 24 * 3600 * 1000
"""The venue answers at most 7 days from startTime on."""


class AccountQueries:
    """
    Ask for what the venue holds of ours.

    *venue_now_ns* is the venue's market time, ns UTC: what a report without a time of its own gets.
    """

    def __init__(
        self, rest: BybitRest, venue_now_ns: Callable[[], int], unknowns: UnknownCounter
    ) -> None:
        self._rest = rest
        self._venue_now_ns = venue_now_ns
        self._unknowns = unknowns

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """
        Return wallet, open positions and resting orders, conditional ones included.

        *steady*: a look without a doubt, which may not use the part kept for protection.

        Raises:
            VenueError: when any of the queries failed: unknown is never empty (R43, R88).

        """
        # Before the first query: what happens from here on is not surely in the answers.
        ts_event = self._venue_now_ns()
        wallet = await self._rest.call(
            "get_wallet_balance",
            {"accountType": "UNIFIED", "coin": SETTLE_COIN},
            protective=not steady,
        )
        accounts = wallet.read(wire.Page).list
        balances = [
            read_rest(row, wire.WalletRow, lambda r: balance_report(r, ts_event), wallet.operation)
            for row in accounts
        ]
        balance = next((one for one in balances if isinstance(one, BalanceReport)), None)
        if balance is None:
            raise VenueProtocolError(
                wallet.result, f"no {SETTLE_COIN} wallet", venue=VENUE, operation=wallet.operation
            )
        settled: dict[str, object] = {"category": CATEGORY, "settleCoin": SETTLE_COIN}
        positions = await self._rest.rows(
            _POSITIONS, settled, limit=_POSITIONS_PER_PAGE, protective=not steady
        )
        orders = await self._rest.rows(
            "get_open_orders", settled, limit=_ORDERS_PER_PAGE, protective=not steady
        )
        return VenueSnapshot(
            venue=Venue.BYBIT,
            ts_event=ts_event,
            balance=balance,
            positions=tuple(self._positions_of(positions, ts_event)),
            orders=tuple(self._orders_of(orders, "get_open_orders", ts_event)),
        )

    async def resting_orders(self) -> tuple[OrderReport, ...]:
        """Return every resting order, conditional ones included, or raise."""
        ts_event = self._venue_now_ns()
        settled: dict[str, object] = {"category": CATEGORY, "settleCoin": SETTLE_COIN}
        rows = await self._rest.rows(
            "get_open_orders", settled, limit=_ORDERS_PER_PAGE, protective=True
        )
        return tuple(self._orders_of(rows, "get_open_orders", ts_event))

    def _positions_of(
        self, rows: Sequence[dict[str, object]], ts_event: int
    ) -> list[PositionReport]:
        positions = []
        for row in rows:
            report = read_rest(
                row, wire.PositionRow, lambda r: position_report(r, ts_event), _POSITIONS
            )
            if isinstance(report, Unknown):
                self._unknowns.count(report)
            elif report.qty_signed != 0:
                # Margin mode is account-wide, and connect made sure of it.
                positions.append(attrs.evolve(report, isolated=True))
        return positions

    def _orders_of(
        self, rows: Sequence[dict[str, object]], operation: str, ts_event: int
    ) -> list[OrderReport]:
        orders = []
        for row in rows:
            report = read_rest(
                row,
                wire.OrderRow,
                lambda r: order_report(r, ReportSource.QUERY, ts_event),
                operation,
            )
            if isinstance(report, Unknown):
                self._unknowns.count(report)
            else:
                orders.append(report)
        return orders

    async def order(self, instrument_id: InstrumentId, client_order_id: str) -> OrderReport | None:
        """Return the order, None when realtime and history both say they do not know it."""
        params: dict[str, object] = {
            "category": CATEGORY,
            "symbol": instrument_id.symbol,
            "orderLinkId": client_order_id,
        }
        for operation in ("get_open_orders", "get_order_history"):
            try:
                # Never on the protective lane: a question must not hold up a stop or a close.
                answer = await self._rest.call(operation, params, protective=True)
            except VenueRefused as error:
                if error.code != ORDER_NOT_FOUND:
                    raise
                continue
            rows = answer.read(wire.Page).list
            for report in self._orders_of(rows, operation, self._venue_now_ns()):
                if report.client_order_id == client_order_id:
                    return report
        return None

    async def mode_by_orders(self, symbol: str) -> PositionMode | None:
        """
        Return the position mode the newest order of *symbol* was for; None when there is none told.

        For a start whose question for positions fails: the mode cannot be changed while something
        is open, and executions do not tell it.
        """
        params: dict[str, object] = {"category": CATEGORY, "symbol": symbol}
        for operation in ("get_open_orders", "get_order_history"):
            try:
                answer = await self._rest.call(operation, params, protective=True)
            except VenueError:
                # Told as a failed call; the other question may be answered.
                continue
            rows = answer.read(wire.Page).list
            orders = self._orders_of(rows, operation, self._venue_now_ns())
            if orders:
                newest = max(orders, key=lambda report: report.ts_event)
                return PositionMode.ONE_WAY if newest.leg is None else PositionMode.HEDGE
        return None

    async def executions(self, since_ns: int) -> list[Fill | FundingBooked]:
        """Return what was booked from *since_ns* on (venue time), oldest first, all pages."""
        booked: list[Fill | FundingBooked] = []
        since_ms, now_ms = since_ns // NS_PER_MS, self._venue_now_ns() // NS_PER_MS
        for start_ms in range(since_ms, max(now_ms, since_ms) + 1, _EXECUTIONS_WINDOW_MS):
            rows = await self._rest.rows(
                "get_executions",
                {"category": CATEGORY, "startTime": start_ms},
                limit=_EXECUTIONS_PER_PAGE,
            )
            for row in rows:
                fact = read_rest(row, wire.ExecutionRow, execution, "get_executions")
                if isinstance(fact, Unknown):
                    self._unknowns.count(fact)
                else:
                    booked.append(fact)
        return sorted(booked, key=lambda fact: fact.ts_event)
