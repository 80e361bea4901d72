"""What trade was told of venues and markets: instruments, abilities, marks and wallets."""

import math
from decimal import Decimal
from typing import Final

from aegis.model.account import BalanceReport, Capabilities, PositionReport, equity_of
from aegis.model.events import VenueConnected
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.trade.book import Book


class Known:
    """Keep the newest of what was told; what was never told stays unknown."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._marks: dict[InstrumentId, float] = {}
        self._wallets: dict[Venue, tuple[Decimal, Decimal | None]] = {}
        self.instruments: Final[dict[InstrumentId, Instrument]] = {}
        self.capabilities: Final[dict[Venue, Capabilities]] = {}

    def on_venue(self, event: VenueConnected) -> None:
        """Keep instruments and abilities."""
        self.capabilities[event.venue] = event.capabilities
        for instrument in event.instruments:
            self.instruments[instrument.instrument_id] = instrument

    def on_mark(self, instrument: InstrumentId, mark: float | None) -> None:
        """Keep the newest mark price; None: it is not known now."""
        if mark is None:
            self._marks.pop(instrument, None)
        elif math.isfinite(mark) and mark > 0:
            self._marks[instrument] = mark

    def on_position(self, report: PositionReport) -> None:
        """Take the mark a position was reported with, where none is known yet."""
        if report.mark_price is not None:
            self._marks.setdefault(report.instrument_id, float(report.mark_price))

    def on_balance(self, report: BalanceReport) -> None:
        """Keep wallet and free margin; a report that does not tell the free margin leaves it."""
        free = report.available if report.available is not None else self.available(report.venue)
        self._wallets[report.venue] = (report.wallet, free)

    def on_whole_balance(self, venue: Venue, report: BalanceReport) -> None:
        """Keep wallet and free margin as a snapshot tells them, an untold margin included."""
        self._wallets[venue] = (report.wallet, report.available)

    def tick_size(self, instrument: InstrumentId) -> Decimal | None:
        """Return the tick size; None while the instrument's rules are unknown."""
        rules = self.instruments.get(instrument)
        return None if rules is None else rules.tick_size

    def mark(self, instrument: InstrumentId) -> Decimal | None:
        """Return the newest mark, quote per base; None while never told."""
        mark = self._marks.get(instrument)
        return None if mark is None else Decimal(repr(mark))

    def available(self, venue: Venue) -> Decimal | None:
        """Return the free margin of *venue*, USDT; None while never told."""
        wallet = self._wallets.get(venue)
        return None if wallet is None else wallet[1]

    def equity(self, venue: Venue) -> Decimal | None:
        """Return wallet plus unrealized results of *venue*, USDT; None where a part is unknown."""
        wallet = self._wallets.get(venue)
        if not self._book.positions:
            return wallet[0] if wallet else None
        here = {
            instrument: (position.qty_signed, position.entry_px_avg)
            for instrument, position in self._book.positions.items()
            if instrument.venue is venue
        }
        marks = {i: m for i in here if (m := self.mark(i)) is not None}
        return equity_of(wallet[0] if wallet else None, here, marks)
