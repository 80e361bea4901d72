"""What a read-back of leverage is good for, and what ends it (R28)."""

import attrs

from aegis.venue.leverage import LeverageBook


@attrs.define
class Time:
    """A monotonic clock that is moved by hand."""

    now_ns: int = 0

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns


def book_with(leverage: int = 5, fresh_s: float = 10.0) -> tuple[LeverageBook, Time]:
    """Return a book that has read BTCUSDT back."""
    time = Time()
    book = LeverageBook(time, fresh_s)
    book.read_back("BTCUSDT", leverage, book.asking())
    return book, time


def test_what_was_never_asked_is_unknown() -> None:
    """An unknown is an unknown, not 1 and not the setting."""
    book, _ = book_with()
    assert (5, None) == (book.known("BTCUSDT"), book.known("ETHUSDT"))


def test_a_read_back_grows_old() -> None:
    """At its age limit it must be asked for again."""
    book, time = book_with(fresh_s=10.0)
    time.now_ns = 9_999_999_999
    assert 5 == book.known("BTCUSDT")
    time.now_ns = 10_000_000_000
    assert book.known("BTCUSDT") is None


def test_with_no_time_nothing_is_kept() -> None:
    """fresh_s 0 reads back before every entry."""
    book, _ = book_with(fresh_s=0.0)
    assert book.known("BTCUSDT") is None


def test_another_leverage_told_by_the_venue_ends_it() -> None:
    """A person changed it; the same value told again, as after a change of ours, does not."""
    book, _ = book_with(leverage=5)
    book.told("BTCUSDT", 5)
    assert 5 == book.known("BTCUSDT")
    book.told("BTCUSDT", 20)
    assert book.known("BTCUSDT") is None


def test_a_change_without_a_value_ends_it() -> None:
    """What is not told is not guessed."""
    book, _ = book_with()
    book.told("BTCUSDT", None)
    assert book.known("BTCUSDT") is None


def test_a_doubt_while_asking_wins_over_the_answer() -> None:
    """The answer may be older than the change that was told while it was under way."""
    for doubt in ("told", "gap", "forget"):
        book, _ = book_with()
        asked = book.asking()
        if doubt == "told":
            book.told("ETHUSDT", 20)
        elif doubt == "gap":
            book.forget_all()
        else:
            book.forget("ETHUSDT")
        book.read_back("ETHUSDT", 5, asked)
        assert book.known("ETHUSDT") is None


def test_a_gap_ends_all_and_a_single_doubt_only_its_own() -> None:
    """Nobody knows what an interrupted stream would have told."""
    book, _ = book_with()
    book.read_back("ETHUSDT", 3, book.asking())
    book.forget("ETHUSDT")
    assert (5, None) == (book.known("BTCUSDT"), book.known("ETHUSDT"))
    book.forget_all()
    assert book.known("BTCUSDT") is None
