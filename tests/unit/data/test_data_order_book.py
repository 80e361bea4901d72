"""The order book of snapshot and diffs, and its place in the data actor (venues.md 2.6)."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from aegis.core.errors import ConfigError
from aegis.core.virtual_loop import run_virtual
from aegis.data.feed import StreamAccount
from aegis.data.firewall import DEPTH
from aegis.data.order_book import BookSide, BookState, OrderBook
from aegis.model.events import FrameRejected
from aegis.model.instrument import Instrument, Venue, instrument_id
from aegis.model.market import BookLevel, DepthFrame, DepthKind, QuoteFrame
from aegis.settings import AegisConfig, resolve

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
NOW_NS = 1_746_403_200_000_000_000
Levels = tuple[BookLevel, ...]


def snapshot(last: int, bids: Levels = ((9.0, 1.0),), asks: Levels = ((11.0, 1.0),)) -> DepthFrame:
    """Return a book of 9 to 11 at id *last*."""
    return DepthFrame(
        instrument_id=BTC,
        ts_event=NOW_NS,
        ts_recv=NOW_NS,
        kind=DepthKind.SNAPSHOT,
        first_update_id=last,
        last_update_id=last,
        previous_update_id=last,
        bids=bids,
        asks=asks,
    )


def diff(first: int, last: int, previous: int, bids: Levels = (), asks: Levels = ()) -> DepthFrame:
    """Return a diff of ids *first* to *last*."""
    return attrs.evolve(
        snapshot(last, bids, asks),
        kind=DepthKind.DELTA,
        first_update_id=first,
        previous_update_id=previous,
    )


def live_book() -> OrderBook:
    """Return a book that stands at id 12."""
    book = OrderBook()
    book.take(diff(9, 12, 8, ((9.5, 2.0),)))
    book.take(snapshot(10))
    return book


def test_the_first_diff_must_bridge_the_snapshot() -> None:
    """Diffs wholly older are dropped, the one that holds the id is applied (venues.md 2.6)."""
    book = OrderBook()
    book.take(diff(1, 4, 0, ((5.0, 1.0),)))
    book.take(diff(5, 8, 4, ((6.0, 1.0),)))
    assert book.best_bid is None
    book.take(snapshot(6))

    assert (BookState.LIVE, 8) == (book.state, book.last_update_id)
    assert ((6.0, 1.0), (9.0, 1.0)) == book.bids.levels()
    account = book.account()
    assert (2, 1, 1, 0) == (account.diffs, account.applied, account.stale, account.waiting)


def test_a_snapshot_alone_waits_for_its_diff() -> None:
    """Without a diff that holds its id the book says nothing."""
    book = OrderBook()
    book.take(snapshot(10))
    assert (BookState.BRIDGING, None) == (book.state, book.best_ask)
    book.take(diff(5, 9, 4))
    assert BookState.BRIDGING is book.state
    book.take(diff(10, 14, 9, asks=((10.5, 3.0),)))
    assert (BookState.LIVE, (10.5, 3.0)) == (book.state, book.best_ask)


def test_a_snapshot_between_two_diffs_is_followed_by_the_next() -> None:
    """The diff that names the snapshot's id as the one before it bridges as well."""
    book = OrderBook()
    book.take(snapshot(10))
    book.take(diff(13, 15, 10))
    assert BookState.LIVE is book.state


def test_a_snapshot_older_than_every_diff_is_unfit() -> None:
    """The diffs are kept for the next one."""
    book = OrderBook()
    book.take(diff(20, 24, 19))
    book.take(snapshot(10))
    account = book.account()
    assert (BookState.NEEDS_SNAPSHOT, 1, 1) == (
        book.state,
        account.snapshots_unfit,
        account.waiting,
    )
    book.take(snapshot(22))
    assert BookState.LIVE is book.state


def test_size_zero_deletes_and_an_unknown_level_is_no_fault() -> None:
    """Quantities are absolute; 0 removes the level."""
    book = live_book()
    assert (9.5, 2.0) == book.best_bid
    book.take(diff(13, 13, 12, ((9.5, 0.0), (1.0, 0.0)), ((11.0, 4.0),)))
    assert (9.0, 1.0) == book.best_bid
    assert (11.0, 4.0) == book.best_ask


def test_a_gap_silences_the_book_until_the_next_snapshot() -> None:
    """A diff that does not name the one before it (pu) ends the chain (venues.md 2.6)."""
    book = live_book()
    book.take(diff(20, 22, 19))
    account = book.account()
    assert (BookState.NEEDS_SNAPSHOT, 1, 1) == (book.state, account.gaps, account.waiting)
    assert 0 == account.bid_levels == len(book.bids)
    book.take(diff(23, 25, 22, ((9.9, 1.0),)))
    book.take(snapshot(21))
    assert (BookState.LIVE, (9.9, 1.0), 25) == (book.state, book.best_bid, book.last_update_id)


def test_a_repeated_diff_is_stale_and_a_late_snapshot_unneeded() -> None:
    """Neither is a gap, neither changes a live book."""
    book = live_book()
    book.take(diff(9, 12, 8, ((9.5, 7.0),)))
    book.take(snapshot(10, ((1.0, 1.0),)))
    account = book.account()
    assert (9.5, 2.0) == book.best_bid
    assert (1, 1, 0) == (account.stale, account.snapshots_unneeded, account.gaps)


def test_a_crossed_book_is_counted_and_not_believed() -> None:
    """A chain without a gap that crosses holds an error all the same."""
    book = live_book()
    book.take(diff(13, 13, 12, ((11.0, 1.0),)))
    assert (BookState.NEEDS_SNAPSHOT, 1) == (book.state, book.account().crossed)


def test_the_waiting_line_is_bounded() -> None:
    """The oldest falls out and is counted."""
    book = OrderBook(waiting_max=2)
    for first in (1, 2, 3):
        book.take(diff(first, first, first - 1))
    account = book.account()
    assert (3, 1, 2) == (account.diffs, account.overflowed, account.waiting)


def test_best_prices_are_held_against_the_quote_of_the_same_id() -> None:
    """A book at id D equals the newest quote up to D, known once a quote beyond D has come."""
    book = live_book()
    book.compare(11, 9.5, 11.0)
    book.compare(12, 9.5, 11.0)
    assert 0 == book.account().compared
    book.take(diff(13, 16, 12, ((9.6, 1.0),)))
    book.compare(15, 9.6, 11.0)
    assert (1, 0) == (book.account().compared, book.account().mismatched)
    book.compare(17, 9.7, 11.0)
    assert (2, 0) == (book.account().compared, book.account().mismatched)
    book.take(diff(17, 18, 16, ((9.6, 2.0),)))
    book.compare(19, 9.7, 11.0)
    assert (3, 1) == (book.account().compared, book.account().mismatched)


def test_a_side_stays_sorted() -> None:
    """Lowest and highest follow every change."""
    side = BookSide()
    side.update([(3.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 0.0)])
    assert ((2.0, 1.0), (3.0, 1.0)) == side.levels()
    assert ((2.0, 1.0), (3.0, 1.0)) == (side.lowest, side.highest)
    side.clear()
    assert (None, None, 0) == (side.lowest, side.highest, len(side))


def test_the_actor_keeps_books_only_when_asked(
    desk_of: Callable[..., Any], market: tuple[Instrument, ...]
) -> None:
    """R83: depth_streams has an effect; off, a frame is nothing and no account appears."""

    async def run() -> None:
        off, on = desk_of(market), desk_of(market, depth_streams=True)
        assert off.data.on_depth(diff(9, 12, 8)) is False
        assert DEPTH not in off.data.accounts().streams
        assert {} == off.data.accounts().books

        assert on.data.on_depth(diff(9, 12, 8)) is True
        assert on.data.on_depth(snapshot(10)) is False
        assert on.data.on_depth(diff(13, 14, 12, asks=((10.9, 1.0),))) is False
        assert on.data.on_depth(diff(20, 24, 19)) is True
        expected = StreamAccount(produced=4, delivered=3, merged=0, rejected=0, pending=1)
        assert expected == on.data.accounts().streams[DEPTH]
        assert 1 == on.data.accounts().books[BTC].gaps

    run_virtual(run())


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (diff(9, 12, 8, ((math.nan, 1.0),)), "not_finite"),
        (diff(9, 12, 8, ((0.0, 1.0),)), "not_positive"),
        (diff(9, 12, 8, asks=((5.0, -1.0),)), "negative_volume"),
        (diff(12, 9, 8), "bad_sequence"),
        (attrs.evolve(diff(9, 12, 8), ts_event=NOW_NS - 61 * 10**9), "too_old"),
        (attrs.evolve(diff(9, 12, 8), ts_event=NOW_NS + 6 * 10**9), "from_future"),
        (
            attrs.evolve(diff(9, 12, 8), instrument_id=instrument_id("XRPUSDT", Venue.BINANCE)),
            "unknown_instrument",
        ),
    ],
)
def test_depth_passes_the_firewall_first(
    desk_of: Callable[..., Any],
    market: tuple[Instrument, ...],
    frame: DepthFrame,
    reason: str,
) -> None:
    """R5: a refused frame is counted with its reason, told once, and changes no book."""

    async def run() -> None:
        desk = desk_of(market, depth_streams=True)
        desk.data.on_depth(frame)
        assert {(DEPTH, reason): 1} == desk.data.accounts().rejections
        assert [(DEPTH, reason)] == [(e.frame, e.reason) for e in desk.of(FrameRejected)]
        expected = StreamAccount(produced=1, delivered=0, merged=0, rejected=1, pending=0)
        assert expected == desk.data.accounts().streams[DEPTH]

    run_virtual(run())


def test_quotes_are_compared_and_still_delivered(
    desk_of: Callable[..., Any], market: tuple[Instrument, ...]
) -> None:
    """With books on, quotes take the same way as without."""

    async def run() -> None:
        desk = desk_of(market, depth_streams=True)
        desk.data.on_depth(diff(9, 12, 8))
        desk.data.on_depth(snapshot(10))
        for update_id in (11, 12, 13):
            desk.data.on_quote(
                QuoteFrame(
                    instrument_id=BTC,
                    ts_event=NOW_NS,
                    ts_recv=NOW_NS,
                    bid=9.0,
                    bid_qty=1.0,
                    ask=11.0,
                    ask_qty=1.0,
                    update_id=update_id,
                )
            )
        await asyncio.sleep(0)
        accounts = desk.data.accounts()
        assert (3, 1) == (accounts.streams["quote"].produced, accounts.streams["quote"].delivered)
        assert (1, 0) == (accounts.books[BTC].compared, accounts.books[BTC].mismatched)

    run_virtual(run())


def test_the_switch_is_read_from_the_environment() -> None:
    """R83: true and false in words; anything else is told, not guessed."""

    def config(text: str) -> AegisConfig:
        return resolve(None, dotenv={}, environ={"AEGIS_DEPTH_STREAMS": text}, flags={}).config

    assert config("True").depth_streams is True
    assert config("0").depth_streams is False
    with pytest.raises(ConfigError, match="AEGIS_DEPTH_STREAMS"):
        config("maybe")
    with pytest.raises(ConfigError, match="depth_streams"):
        AegisConfig(depth_streams=1)  # type: ignore[arg-type]  # what is tested
