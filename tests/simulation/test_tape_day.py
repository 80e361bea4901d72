"""A recorded day of three markets on both venues: what a user sees of it must add up."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.model.events import PositionClosed, SignalRaised
from aegis.model.instrument import Venue
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture(scope="module")
def day(
    play: Callable[..., "Played"], shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Played":
    """Play 2025-05-12 of BTC, ETH and SOL, one-minute bars of Binance, on both venues."""
    folder = shared_data / "market" / "binance_usdm" / "2025-05_1m"
    return play(
        tmp_path_factory.mktemp("day"),
        tapes=[folder / f"{symbol}-1m-futures.feather" for symbol in SYMBOLS],
        from_="2025-05-12",
        to="2025-05-13",
    )


def test_the_day_ends_cleanly_with_nothing_failed(day: "Played") -> None:
    """No handler and no task fails on a day without faults, and the exit code says so (R7)."""
    assert (0, []) == (day.code, day.broken_code())


@pytest.mark.parametrize("venue", list(Venue))
def test_positions_open_on_both_venues(day: "Played", venue: Venue) -> None:
    """The defaults trade a real day on each venue."""
    assert day.opened_on(venue)


def test_every_position_is_protected_within_the_bound(day: "Played") -> None:
    """The twin's own meter saw each position covered, none for longer than the bound in all."""
    assert [] == day.broken_protection()


def test_nothing_opened_is_lost(day: "Played") -> None:
    """Opened = closed + rolled back + active per venue, every intent ends at most once (R76)."""
    assert (True, ()) == (day.conservation.ok, day.conservation.violations)


def test_our_income_is_the_venues(day: "Played") -> None:
    """Realized - fees + funding agree with what each venue booked, to 0.01 USDT (R77)."""
    assert [] == day.broken_money()


def test_every_frame_is_accounted_for(day: "Played") -> None:
    """Produced = delivered + merged + rejected + pending, for each kind of frame (R4)."""
    assert [] == day.broken_accounts()


def test_every_close_has_its_true_cause(day: "Played") -> None:
    """SL and TP are what the venue's closing order was, and nothing is EXTERNAL (R79)."""
    causes = {close.cause for close in day.of(PositionClosed)}
    assert causes
    assert CloseCause.EXTERNAL not in causes
    assert [] == day.untrue_causes()


def test_the_venues_tell_the_same_story(day: "Played") -> None:
    """Both faces play one market, so both hear the same signals at the same bars."""
    heard = {
        venue: [
            (e.ts_event, e.signal.instrument_id.symbol)
            for e in day.of(SignalRaised)
            if e.signal.instrument_id.venue is venue
        ]
        for venue in Venue
    }
    assert heard[Venue.BINANCE] == heard[Venue.BYBIT]


def test_the_journal_is_whole(day: "Played") -> None:
    """The chain holds from the first row to the last (R74)."""
    store = day.journal()
    assert store.check_chain().ok
    store.close()
