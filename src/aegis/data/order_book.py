"""
One instrument's order book out of a snapshot and numbered diffs: Binance's rule (venues.md 2.6).

Pure. Diffs that come before a snapshot wait for it. The first one applied must bridge the
snapshot's id, every later one must name the one before it; anything else is a gap, after which the
book says nothing until the next snapshot.
"""

import enum
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from typing import Final

import attrs

from aegis.model.market import BookLevel, DepthFrame, DepthKind

WAITING_MAX: Final = 2_048
"""Diffs kept for a snapshot, some 200 s of @100ms; beyond it the oldest are counted away."""
QUOTES_KEPT_MAX: Final = 8_192


class BookState(enum.StrEnum):
    """Whether the book can be believed."""

    NEEDS_SNAPSHOT = "needs_snapshot"
    BRIDGING = "bridging"
    """A snapshot is there, the diff that holds its id is not."""
    LIVE = "live"


@attrs.frozen(kw_only=True)
class BookAccount:
    """
    What became of everything that was brought to one book.

    diffs == applied + stale + overflowed + waiting. stale: wholly older than the book. overflowed:
    fell out of the full waiting line. gaps: breaks of the chain of ids. snapshots == snapshots_used
    + snapshots_unneeded; snapshots_unfit of the used ones were followed by no diff that bridges.
    crossed: times the best bid reached the best ask. compared, mismatched: best prices held against
    the venue's own best quote at the same id.
    """

    state: BookState
    diffs: int
    applied: int
    stale: int
    overflowed: int
    waiting: int
    gaps: int
    snapshots: int
    snapshots_used: int
    snapshots_unneeded: int
    snapshots_unfit: int
    crossed: int
    bid_levels: int
    ask_levels: int
    compared: int
    mismatched: int


class BookSide:
    """Prices of one side, ascending, with their quantities; a quantity of 0 is no level."""

    __slots__ = ("_prices", "_sizes")

    def __init__(self) -> None:
        self._prices: list[float] = []
        self._sizes: dict[float, float] = {}

    def __len__(self) -> int:
        return len(self._prices)

    def update(self, levels: Iterable[BookLevel]) -> None:
        """Set or delete levels; deleting an unknown one is nothing (venues send such)."""
        prices, sizes = self._prices, self._sizes
        for price, qty in levels:
            if qty:
                if price not in sizes:
                    insort(prices, price)
                sizes[price] = qty
            elif sizes.pop(price, None) is not None:
                del prices[bisect_left(prices, price)]

    def clear(self) -> None:
        """Forget every level."""
        self._prices.clear()
        self._sizes.clear()

    @property
    def lowest(self) -> BookLevel | None:
        """Return the lowest price with its quantity."""
        return (self._prices[0], self._sizes[self._prices[0]]) if self._prices else None

    @property
    def highest(self) -> BookLevel | None:
        """Return the highest price with its quantity."""
        return (self._prices[-1], self._sizes[self._prices[-1]]) if self._prices else None

    def levels(self) -> tuple[BookLevel, ...]:
        """Return all levels, by price ascending."""
        return tuple((price, self._sizes[price]) for price in self._prices)


class OrderBook:
    """The book of one instrument; not for several threads."""

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self.bids: Final = BookSide()
        self.asks: Final = BookSide()
        self.state = BookState.NEEDS_SNAPSHOT
        self.last_update_id = 0
        """Id of the newest change inside; 0 before the first snapshot."""
        self._waiting: deque[DepthFrame] = deque()
        self._waiting_max = waiting_max
        self._diffs = self._applied = self._stale = self._overflowed = self._gaps = 0
        self._snapshots = self._snapshots_unneeded = self._snapshots_unfit = 0
        self._crossed = 0
        self._check = _QuoteCheck()

    def take(self, frame: DepthFrame) -> None:
        """Take a snapshot or a diff; look at `state` afterwards."""
        if frame.kind is DepthKind.SNAPSHOT:
            self._take_snapshot(frame)
            return
        self._diffs += 1
        self._follow(frame)

    def compare(self, update_id: int, bid: float, ask: float) -> None:
        """
        Hold the venue's best quote of *update_id* against this book, as soon as that is fair.

        A book at id D equals the newest quote up to D, known once a quote beyond D has come.
        """
        if self.state is BookState.LIVE:
            self._check.add_quote(update_id, bid, ask)

    @property
    def best_bid(self) -> BookLevel | None:
        """Return the highest bid, None unless the book is LIVE and has one."""
        return self.bids.highest if self.state is BookState.LIVE else None

    @property
    def best_ask(self) -> BookLevel | None:
        """Return the lowest ask, None unless the book is LIVE and has one."""
        return self.asks.lowest if self.state is BookState.LIVE else None

    def account(self) -> BookAccount:
        """Return what became of everything."""
        return BookAccount(
            state=self.state,
            diffs=self._diffs,
            applied=self._applied,
            stale=self._stale,
            overflowed=self._overflowed,
            waiting=len(self._waiting),
            gaps=self._gaps,
            snapshots=self._snapshots,
            snapshots_used=self._snapshots - self._snapshots_unneeded,
            snapshots_unneeded=self._snapshots_unneeded,
            snapshots_unfit=self._snapshots_unfit,
            crossed=self._crossed,
            bid_levels=len(self.bids),
            ask_levels=len(self.asks),
            compared=self._check.compared,
            mismatched=self._check.mismatched,
        )

    def _take_snapshot(self, frame: DepthFrame) -> None:
        self._snapshots += 1
        if self.state is BookState.LIVE:
            # A second answer on its way; the chain is whole and newer.
            self._snapshots_unneeded += 1
            return
        self._clear()
        self.bids.update(frame.bids)
        self.asks.update(frame.asks)
        self.last_update_id = frame.last_update_id
        self.state = BookState.BRIDGING
        waiting, self._waiting = self._waiting, deque()
        for diff in waiting:
            self._follow(diff)

    def _follow(self, diff: DepthFrame) -> None:
        last = self.last_update_id
        if self.state is BookState.NEEDS_SNAPSHOT:
            self._wait(diff)
        elif self.state is BookState.BRIDGING:
            if diff.last_update_id < last:
                self._stale += 1
            elif diff.first_update_id <= last or diff.previous_update_id == last:
                # The second: the snapshot was taken exactly between two diffs.
                self.state = BookState.LIVE
                self._apply(diff)
            else:
                self._snapshots_unfit += 1
                self._lose(diff)
        elif diff.previous_update_id == last:
            self._apply(diff)
        elif diff.last_update_id <= last:
            self._stale += 1
        else:
            self._gaps += 1
            self._lose(diff)

    def _apply(self, diff: DepthFrame) -> None:
        self.bids.update(diff.bids)
        self.asks.update(diff.asks)
        self.last_update_id = diff.last_update_id
        self._applied += 1
        bid, ask = self.bids.highest, self.asks.lowest
        if bid is not None and ask is not None and bid[0] >= ask[0]:
            # Numbered without a gap and yet impossible: something in it is wrong.
            self._crossed += 1
            self.state = BookState.NEEDS_SNAPSHOT
            self._clear()
            return
        self._check.add_book(diff.last_update_id, bid, ask)

    def _lose(self, diff: DepthFrame) -> None:
        self.state = BookState.NEEDS_SNAPSHOT
        self._clear()
        self._wait(diff)

    def _wait(self, diff: DepthFrame) -> None:
        if len(self._waiting) >= self._waiting_max:
            self._waiting.popleft()
            self._overflowed += 1
        self._waiting.append(diff)

    def _clear(self) -> None:
        self.bids.clear()
        self.asks.clear()
        self._check.restart()


class _QuoteCheck:
    """Best prices of the book against the quotes of another stream, matched by id."""

    def __init__(self) -> None:
        self.compared = 0
        self.mismatched = 0
        self._quotes: deque[tuple[int, float, float]] = deque(maxlen=QUOTES_KEPT_MAX)
        self._books: deque[tuple[int, float | None, float | None]] = deque(maxlen=QUOTES_KEPT_MAX)

    def restart(self) -> None:
        """Forget what waits to be compared."""
        self._quotes.clear()
        self._books.clear()

    def add_quote(self, update_id: int, bid: float, ask: float) -> None:
        """Take a quote; ids that do not rise say nothing."""
        if not self._quotes or update_id > self._quotes[-1][0]:
            self._quotes.append((update_id, bid, ask))
            if self._books:
                self._settle()

    def add_book(self, update_id: int, bid: BookLevel | None, ask: BookLevel | None) -> None:
        """Take the best prices of the book at *update_id*."""
        self._books.append((update_id, bid and bid[0], ask and ask[0]))
        self._settle()

    def _settle(self) -> None:
        quotes, books = self._quotes, self._books
        while books and quotes and quotes[-1][0] > books[0][0]:
            update_id, bid, ask = books.popleft()
            while len(quotes) > 1 and quotes[1][0] <= update_id:
                quotes.popleft()
            at, quoted_bid, quoted_ask = quotes[0]
            if at <= update_id:
                self.compared += 1
                self.mismatched += (bid, ask) != (quoted_bid, quoted_ask)
