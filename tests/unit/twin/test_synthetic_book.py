"""The made-up book: sound at any price, the same for the same question."""

from hypothesis import given
from hypothesis import strategies as st

from aegis.twin.tape.synthetic_book import BookShape, hashed_unit

SHAPES = st.sampled_from(
    [
        BookShape(seed=7, tick_size=0.1, qty_step=0.001),
        BookShape(seed=7, tick_size=0.0001, qty_step=0.1),
        BookShape(seed=8, tick_size=0.01, qty_step=1.0, spread_bps=5.0),
        BookShape(seed=8, tick_size=5.0, qty_step=0.5, spread_bps=0.0),
    ]
)
MIDS = st.floats(0.5, 200_000.0)
TIMES = st.integers(0, 2 * 10**18)


@given(shape=SHAPES, t_ns=TIMES, mid=MIDS)
def test_a_book_is_never_crossed_and_its_levels_are_in_order(
    shape: BookShape, t_ns: int, mid: float
) -> None:
    """Bids fall, asks rise, the mid lies between, every quantity is above zero."""
    book = shape.book_at("BTCUSDT", t_ns, mid)
    bids, asks = [level.price for level in book.bids], [level.price for level in book.asks]

    assert 0 < book.bid < book.ask
    assert (bids[0], asks[0]) == (book.bid, book.ask) == shape.best_at("BTCUSDT", t_ns, mid)
    assert sorted(set(bids), reverse=True) == bids
    assert sorted(set(asks)) == asks
    assert all(level.qty > 0 for level in (*book.bids, *book.asks))
    if mid > 2 * shape.tick_size:
        assert book.bid <= mid * (1 + 1e-12)
        assert mid < book.ask * (1 + 1e-12)
    assert shape.levels == len(asks)


@given(t_ns=TIMES, mid=st.integers(100_000, 2_000_000))
def test_prices_are_on_ticks_and_the_spread_is_near_what_was_asked(t_ns: int, mid: int) -> None:
    """At tick 0.1 the spread is 0.8 to 1.2 bp of the mid, rounded up to whole ticks."""
    shape = BookShape(seed=1, tick_size=0.1, qty_step=0.001)
    book = shape.book_at("BTCUSDT", t_ns, mid / 10)
    spread_ticks = round((book.ask - book.bid) * 10)

    assert all(round(level.price, 1) == level.price for level in (*book.bids, *book.asks))
    assert max(1, mid * 0.8e-4) <= spread_ticks + 1e-6
    assert spread_ticks <= mid * 1.2e-4 + 1


def test_the_book_depends_on_seed_symbol_and_second_only() -> None:
    """Within a second it stands still; another second, symbol or seed is another book."""
    shape = BookShape(seed=1, tick_size=0.1, qty_step=0.001)
    other = BookShape(seed=2, tick_size=0.1, qty_step=0.001)
    second = 1_700_000_000 * 10**9

    assert shape.book_at("A", second, 100.0) == shape.book_at("A", second + 10**9 - 1, 100.0)
    assert (
        len(
            {
                shape.book_at("A", second, 100.0),
                shape.book_at("A", second + 10**9, 100.0),
                shape.book_at("B", second, 100.0),
                other.book_at("A", second, 100.0),
            }
        )
        == 4
    )


def test_depth_grows_from_the_level_notional() -> None:
    """The best level is 50,000 quote within 40 %, the 20th about 1.15 ** 19 times that."""
    shape = BookShape(seed=1, tick_size=0.1, qty_step=0.001)
    book = shape.book_at("BTCUSDT", 0, 100_000.0)

    assert 30_000 * 0.99 <= book.bid * book.bid_qty <= 70_000 * 1.01
    worst = book.asks[-1]
    assert 0.59 <= worst.price * worst.qty / (50_000 * 1.15**19) <= 1.41


def test_the_hash_is_even() -> None:
    """Ten thousand neighbors average a half."""
    draws = [hashed_unit(7, key) for key in range(10_000)]

    assert 0.49 < sum(draws) / len(draws) < 0.51
    assert 0.0 <= min(draws) < 0.01 < 0.99 < max(draws) < 1.0
