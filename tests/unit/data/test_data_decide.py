"""Freshness and history windows, decided without a clock (R10, R69)."""

from aegis.data.decide import (
    RESUBSCRIBES_BEFORE_ALARM,
    Freshness,
    history_window,
    last_fresh_ns,
    next_freshness,
    stale_instruments,
)
from aegis.model.instrument import Venue, instrument_id

BTC = instrument_id("BTCUSDT", Venue.BYBIT)
ETH = instrument_id("ETHUSDT", Venue.BYBIT)


def test_only_what_is_older_than_the_limit_is_stale() -> None:
    """R69: at the limit an instrument is fresh, one ns beyond it is stale, with its age."""
    assert {ETH: 101} == stale_instruments({BTC: 900, ETH: 899}, now_ns=1000, limit_ns=100)


def test_an_instrument_is_as_fresh_as_its_older_stream() -> None:
    """R10: a ticking mark does not hide a dead quote stream; what never came counts from start."""
    assert last_fresh_ns(50, 90, since_ns=10) == 50
    assert last_fresh_ns(None, 90, since_ns=10) == 10
    assert last_fresh_ns(5, 90, since_ns=10) == 10


def test_stale_and_fresh_are_told_once_and_subscriptions_are_bounded() -> None:
    """R10: one FeedStale, a new subscription once per pause, one alarm, one FeedFresh."""
    state, told, asked, alarms, restarts = Freshness(), 0, 0, 0, 0
    for now_ns in range(1000, 1600, 25):
        step = next_freshness(
            state, last_ns=800, age_stale_ns=now_ns - 800, now_ns=now_ns, pause_ns=100
        )
        state = step.state
        told += step.went_stale_age_ns is not None
        asked += step.resubscribe
        alarms += step.escalate
        restarts += step.restart
    assert (1, 5, 1, 1) == (told, asked, alarms, restarts)
    assert asked > RESUBSCRIBES_BEFORE_ALARM

    fresh = next_freshness(state, last_ns=1600, age_stale_ns=None, now_ns=1600, pause_ns=100)
    assert fresh.became_fresh_after_ns == 800
    again = next_freshness(fresh.state, last_ns=1600, age_stale_ns=None, now_ns=1601, pause_ns=100)
    assert again.became_fresh_after_ns is None


def test_a_new_outage_right_after_the_last_waits_for_its_turn() -> None:
    """R10: a stream that flaps does not buy more subscriptions than one per pause."""
    flapped = Freshness(resubscribed_ns=1000)
    step = next_freshness(flapped, last_ns=1, age_stale_ns=5, now_ns=1050, pause_ns=100)

    assert step.went_stale_age_ns == 5
    assert not step.resubscribe


def test_the_history_window_ends_at_the_last_close() -> None:
    """The bar under way is not history."""
    assert (700, 1000) == history_window(1099, 100, 3)
    assert (800, 1100) == history_window(1100, 100, 3)
    assert (0, 100) == history_window(150, 100, 3)
