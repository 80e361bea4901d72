"""
Where a venue's word and the book differ: with some patience, since its messages overtake each
other, the venue is asked for everything.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Final, Protocol

from aegis.model.account import OrderReport, PositionReport, VenueSnapshot
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ZERO
from aegis.trade.book import Book
from aegis.trade.facts import Fact

FILLS_PATIENCE_S: Final = 0.3
FILLS_RETRY_S: Final = 2.0
FILLS_ASKS_MAX: Final = 30
"""Executions may come after the order's own report; so long they are waited for."""
MISMATCH_PATIENCE_S: Final = 2.0
"""A position report may overtake its fills; only a lasting difference is asked about."""


class AsksSnapshot(Protocol):
    """Who asks a venue for everything."""

    def __call__(self, venue: Venue, reason: str, delay_s: float = 0.0) -> None:
        """Ask *venue* after *delay_s* loop seconds, and say why."""


class Differences:
    """Compare what is told with the book; *ask* asks a venue for everything."""

    def __init__(self, book: Book, ask: AsksSnapshot) -> None:
        self._book = book
        self._ask = ask
        self._reported_qty: dict[InstrumentId, Decimal] = {}
        self._doubts: set[InstrumentId] = set()
        self._lacking: set[str] = set()
        self.told_flat: Final[set[InstrumentId]] = set()
        """Where the venue has said flat since the position was opened."""

    def on_order(self, report: OrderReport) -> None:
        """Ask for fills the venue counts and nobody told."""
        order_id = report.client_order_id
        if self._book.lacks_fills(order_id) and order_id not in self._lacking:
            self._lacking.add(order_id)
            venue = report.instrument_id.venue
            self._later(FILLS_PATIENCE_S, partial(self._ask_for_fills, venue, order_id))

    def _ask_for_fills(self, venue: Venue, order_id: str, asks: int = 1) -> None:
        self._lacking.discard(order_id)
        # What a minute of asking did not bring is left to the steady look.
        if self._book.lacks_fills(order_id) and asks <= FILLS_ASKS_MAX:
            self._ask(venue, f"fills of {order_id} did not arrive")
            self._lacking.add(order_id)
            self._later(FILLS_RETRY_S, partial(self._ask_for_fills, venue, order_id, asks + 1))

    def on_position(self, report: PositionReport) -> None:
        """Ask the venue when a difference lasts."""
        instrument = report.instrument_id
        self._reported_qty[instrument] = report.qty_signed
        if report.qty_signed == 0:
            self.told_flat.add(instrument)
        else:
            self.told_flat.discard(instrument)
        if report.qty_signed == self._own_qty(instrument) or instrument in self._doubts:
            return
        self._doubts.add(instrument)
        self._later(MISMATCH_PATIENCE_S, partial(self._settle_doubt, instrument))

    def _settle_doubt(self, instrument: InstrumentId) -> None:
        self._doubts.discard(instrument)
        reported = self._reported_qty.get(instrument)
        if reported is not None and reported != self._own_qty(instrument):
            reason = f"{instrument} is {reported} there and {self._own_qty(instrument)} here"
            self._ask(instrument.venue, reason)

    def _own_qty(self, instrument: InstrumentId) -> Decimal:
        position = self._book.positions.get(instrument)
        return position.qty_signed if position is not None else ZERO

    def on_snapshot(
        self,
        snapshot: VenueSnapshot,
        now_ns: int,
        tick_of: Callable[[InstrumentId], Decimal | None],
    ) -> list[Fact]:
        """Compare with the whole; return the facts that follow."""
        reports = {report.instrument_id: report for report in snapshot.positions}
        for instrument, report in reports.items():
            self._reported_qty[instrument] = report.qty_signed
        return self._book.reconcile(snapshot.venue, reports, now_ns, self.told_flat, tick_of)

    def _later(self, delay_s: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, callback)
