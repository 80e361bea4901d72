"""
The order books of every instrument that sends depth: firewall before them, one account over them.

Pure but for counting. Who can ask the venue for a snapshot is told that one is wanted. Binance
alone sends depth so far; Bybit's orderbook stream is not subscribed.
"""

from collections.abc import Mapping
from typing import Final

from aegis.data.feed import StreamAccount
from aegis.data.firewall import DEPTH, Firewall, Reason
from aegis.data.order_book import BookAccount, BookState, OrderBook
from aegis.model.instrument import InstrumentId
from aegis.model.market import DepthFrame, QuoteFrame


class DepthDesk:
    """Keep one book per admitted instrument."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall
        self._books: Final[dict[InstrumentId, OrderBook]] = {}
        self._taken = 0

    def admit(self, instrument_id: InstrumentId) -> None:
        """Keep a book of *instrument_id* from now on."""
        self._books.setdefault(instrument_id, OrderBook())

    def take(self, frame: DepthFrame) -> Reason | None:
        """Take a snapshot or a diff; return why it was refused, not counted here."""
        self._taken += 1
        reason = self._firewall.check_depth(frame)
        if reason is None:
            self._books[frame.instrument_id].take(frame)
        return reason

    def compare(self, frame: QuoteFrame) -> None:
        """Hold a quote against the book, where the venue numbers both alike."""
        book = self._books.get(frame.instrument_id)
        if book is not None and frame.update_id:
            book.compare(frame.update_id, frame.bid, frame.ask)

    def wants_snapshot(self, instrument_id: InstrumentId) -> bool:
        """Say whether the book of *instrument_id* stands still for want of a snapshot."""
        book = self._books.get(instrument_id)
        return book is not None and book.state is BookState.NEEDS_SNAPSHOT

    def book(self, instrument_id: InstrumentId) -> OrderBook | None:
        """Return the book of *instrument_id*, None where none is kept."""
        return self._books.get(instrument_id)

    def books(self) -> Mapping[InstrumentId, BookAccount]:
        """Return the account of every book."""
        return {instrument_id: book.account() for instrument_id, book in self._books.items()}

    def account(self) -> StreamAccount:
        """Return where all frames went: applied, older than the book, refused, or waiting."""
        accounts = self.books().values()
        return StreamAccount(
            produced=self._taken,
            delivered=sum(one.applied + one.snapshots_used for one in accounts),
            merged=sum(one.stale + one.overflowed + one.snapshots_unneeded for one in accounts),
            rejected=self._firewall.rejected(DEPTH),
            pending=sum(one.waiting for one in accounts),
        )
