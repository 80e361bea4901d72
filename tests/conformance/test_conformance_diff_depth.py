"""The law of Binance's diff stream: applied to a snapshot it gives the book (venues.md 2.6)."""

import json

from hypothesis import given
from hypothesis import strategies as st

from aegis.twin.binance.diff_depth import DiffBook, Side

PRICES = ("99.0", "99.5", "100.0", "100.5")
BOOK = st.dictionaries(st.sampled_from(PRICES), st.sampled_from(("1", "2", "3")), min_size=1)
BOOKS = st.lists(st.tuples(BOOK, BOOK), min_size=2, max_size=8)


def apply(side: Side, changes: list[list[str]]) -> None:
    """Change *side* as a client does: quantities are absolute, zero removes."""
    for price, qty in changes:
        if qty == "0":
            side.pop(price, None)
        else:
            side[price] = qty


@given(BOOKS, st.data())
def test_a_snapshot_and_the_diffs_after_it_are_the_book(
    books: list[tuple[Side, Side]], data: st.DataObject
) -> None:
    """A book taken between any two frames follows, and each frame continues the one before."""
    diff = DiffBook(0)
    taken_after = data.draw(st.integers(0, len(books) - 2))
    snapshot_ms = taken_after * 100 + data.draw(st.integers(1, 99))
    between_bids, between_asks = data.draw(BOOK), data.draw(BOOK)
    mine: tuple[Side, Side] | None = None
    last_id = 0
    for number, (bids, asks) in enumerate(books):
        raw = diff.frame("BTCUSDT", number * 100, dict(bids), dict(asks))
        if raw is not None:
            frame = json.loads(raw)
            assert last_id == frame["pu"] == frame["U"] - 1
            last_id = frame["u"]
            if mine is not None:
                apply(mine[0], frame["b"])
                apply(mine[1], frame["a"])
                assert frame["u"] >= snapshot_ms
        if mine is not None:
            assert (bids, asks) == mine
        if number == taken_after:
            mine = (dict(between_bids), dict(between_asks))
            diff.note_snapshot(list(between_bids.items()), list(between_asks.items()))
