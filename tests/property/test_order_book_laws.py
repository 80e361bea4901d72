"""Laws of the order book: it is right or silent, and every diff is accounted for."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.data.order_book import BookState, OrderBook
from aegis.model.instrument import Venue, instrument_id
from aegis.model.market import BookLevel, DepthFrame, DepthKind

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
MID = 10


class Change(NamedTuple):
    """One numbered change: bids lie below MID, asks above."""

    price: int
    qty: int


class Told(NamedTuple):
    """The venue's history: the book after every id, and the diffs it sent."""

    books: list[dict[int, int]]
    diffs: list[DepthFrame]

    def snapshot(self, at: int) -> DepthFrame:
        """Return the book after id *at*."""
        return frame(DepthKind.SNAPSHOT, at, at, at, self.books[at])


CHANGES = st.builds(
    Change,
    st.integers(1, 2 * MID - 1).filter(lambda price: price != MID),
    st.integers(0, 3),
)
HISTORIES = st.lists(st.lists(CHANGES, min_size=1, max_size=4), min_size=1, max_size=12)
FATES = st.sampled_from(["sent", "sent", "sent", "lost", "twice", "late"])


def levels(book: dict[int, int], *, bids: bool) -> tuple[BookLevel, ...]:
    """Return one side of *book*, by price."""
    side = [(float(p), float(q)) for p, q in sorted(book.items()) if (p < MID) == bids]
    return tuple(side)


def frame(
    kind: DepthKind, first: int, last: int, previous: int, book: dict[int, int]
) -> DepthFrame:
    """Return a frame."""
    return DepthFrame(
        instrument_id=BTC,
        ts_event=1,
        ts_recv=1,
        kind=kind,
        first_update_id=first,
        last_update_id=last,
        previous_update_id=previous,
        bids=levels(book, bids=True),
        asks=levels(book, bids=False),
    )


def venue_of(history: list[list[Change]]) -> Told:
    """Number every change, and send one diff per group with the quantities at its end."""
    books: list[dict[int, int]] = [{}]
    diffs = []
    for group in history:
        previous = len(books) - 1
        touched: dict[int, int] = {}
        for price, qty in group:
            book = {**books[-1], price: qty}
            books.append({p: q for p, q in book.items() if q})
            touched[price] = qty
        last = len(books) - 1
        diffs.append(frame(DepthKind.DELTA, previous + 1, last, previous, touched))
    return Told(books, diffs)


def check(book: OrderBook, venue: Told, taken: int) -> None:
    """Hold *book* against the venue's own history and its account against itself."""
    account = book.account()
    accounted = account.applied + account.stale + account.overflowed + account.waiting
    assert taken == account.diffs == accounted
    assert 0 == account.crossed
    if book.state is BookState.LIVE:
        truth = venue.books[book.last_update_id]
        assert levels(truth, bids=True) == book.bids.levels()
        assert levels(truth, bids=False) == book.asks.levels()
    else:
        assert (None, None) == (book.best_bid, book.best_ask)


@settings(max_examples=200, deadline=None)
@given(HISTORIES, st.data())
def test_a_book_is_right_or_silent_whatever_is_lost(
    history: list[list[Change]], data: st.DataObject
) -> None:
    """Lost, repeated and late diffs, snapshots of any moment: a live book equals the venue's."""
    venue = venue_of(history)
    book = OrderBook()
    taken = 0
    late: list[DepthFrame] = []
    for diff in venue.diffs:
        fate = data.draw(FATES)
        arriving = {"lost": [], "twice": [diff, diff], "late": []}.get(fate, [diff])
        arriving += late
        late = [diff] if fate == "late" else []
        for one in arriving:
            book.take(one)
            taken += 1
            check(book, venue, taken)
        if book.state is not BookState.LIVE and data.draw(st.booleans()):
            book.take(venue.snapshot(data.draw(st.integers(0, len(venue.books) - 1))))
            check(book, venue, taken)


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.data())
def test_a_whole_chain_has_no_gap_and_ends_right(
    history: list[list[Change]], data: st.DataObject
) -> None:
    """Nothing lost: one snapshot of any id from the first diff on is enough to the end."""
    venue = venue_of(history)
    book = OrderBook()
    newest = len(venue.books) - 1
    at = data.draw(st.integers(0, newest))
    asked_after = data.draw(st.integers(0, len(venue.diffs)))
    for index, diff in enumerate(venue.diffs):
        if index == asked_after:
            book.take(venue.snapshot(at))
        book.take(diff)
    if asked_after == len(venue.diffs):
        book.take(venue.snapshot(at))
    check(book, venue, len(venue.diffs))
    assert 0 == book.account().gaps
    # A snapshot older than the first diff after it is the one case that needs another.
    if not book.account().snapshots_unfit:
        assert BookState.LIVE is book.state
        assert newest == book.last_update_id


@settings(max_examples=100, deadline=None)
@given(HISTORIES)
def test_every_loss_from_a_live_book_is_noticed(history: list[list[Change]]) -> None:
    """Leaving out any one diff in the middle is one gap."""
    venue = venue_of(history)
    for left_out in range(1, len(venue.diffs) - 1):
        book = OrderBook()
        book.take(venue.snapshot(0))
        for index, diff in enumerate(venue.diffs):
            if index != left_out:
                book.take(diff)
        account = book.account()
        assert (BookState.NEEDS_SNAPSHOT, 1) == (book.state, account.gaps)
        assert len(venue.diffs) - 1 - left_out == account.waiting
