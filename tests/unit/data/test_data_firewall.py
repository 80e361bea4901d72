"""The firewall: every poison refused for its own reason, every refusal counted (R5, R6)."""

import math
from typing import Any

import attrs
import pytest

from aegis.data.firewall import (
    KLINE,
    MARK,
    QUOTE,
    UNREADABLE,
    UNREADABLE_REASONS_MAX,
    Firewall,
    Reason,
)
from aegis.model.instrument import Venue, instrument_id
from aegis.model.market import MINUTE_NS, SECOND_NS, Candle, KlineFrame, MarkFrame, QuoteFrame

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
ETH = instrument_id("ETHUSDT", Venue.BINANCE)
NOW_NS = 1_746_403_200_000_000_000 + 5 * MINUTE_NS
NAN, INF = math.nan, math.inf
QUOTE_OK = QuoteFrame(
    instrument_id=BTC,
    ts_event=NOW_NS,
    ts_recv=NOW_NS,
    bid=99.0,
    bid_qty=1.0,
    ask=101.0,
    ask_qty=2.0,
)
MARK_OK = MarkFrame(instrument_id=BTC, ts_event=NOW_NS, ts_recv=NOW_NS, mark=100.0, last=100.5)
CANDLE_OK = Candle(
    instrument_id=BTC,
    timeframe_ns=MINUTE_NS,
    open_ns=NOW_NS - MINUTE_NS,
    open=100.0,
    high=102.0,
    low=99.0,
    close=101.0,
    volume=5.0,
)
KLINE_OK = KlineFrame(ts_event=NOW_NS, ts_recv=NOW_NS, candle=CANDLE_OK, closed=True)

Poison = tuple[str, dict[str, Any], Reason]
POISONS: list[Poison] = [
    (QUOTE, {"bid": NAN}, Reason.NOT_FINITE),
    (QUOTE, {"ask": INF}, Reason.NOT_FINITE),
    (QUOTE, {"bid": -INF}, Reason.NOT_FINITE),
    (QUOTE, {"bid": 0.0}, Reason.NOT_POSITIVE),
    (QUOTE, {"bid": -99.0}, Reason.NOT_POSITIVE),
    (QUOTE, {"bid": 102.0}, Reason.CROSSED),
    (QUOTE, {"bid": 101.0}, Reason.LOCKED),
    (QUOTE, {"ask": None}, Reason.WRONG_TYPE),
    (QUOTE, {"bid": "99.0"}, Reason.WRONG_TYPE),
    (QUOTE, {"bid": True}, Reason.WRONG_TYPE),
    (QUOTE, {"bid_qty": None}, Reason.WRONG_TYPE),
    (QUOTE, {"bid_qty": -1.0}, Reason.NEGATIVE_VOLUME),
    (QUOTE, {"ask_qty": NAN}, Reason.NOT_FINITE),
    (QUOTE, {"ts_event": None}, Reason.WRONG_TYPE),
    (QUOTE, {"ts_event": float(NOW_NS)}, Reason.WRONG_TYPE),
    (QUOTE, {"ts_event": NOW_NS + 6 * SECOND_NS}, Reason.FROM_FUTURE),
    (QUOTE, {"ts_event": NOW_NS - 61 * SECOND_NS}, Reason.TOO_OLD),
    (QUOTE, {"instrument_id": None}, Reason.WRONG_TYPE),
    (QUOTE, {"instrument_id": []}, Reason.WRONG_TYPE),
    (QUOTE, {"instrument_id": ETH}, Reason.UNKNOWN_INSTRUMENT),
    (MARK, {"mark": NAN}, Reason.NOT_FINITE),
    (MARK, {"mark": 0.0}, Reason.NOT_POSITIVE),
    (MARK, {"mark": "100"}, Reason.WRONG_TYPE),
    (MARK, {"mark": None}, Reason.WRONG_TYPE),
    (MARK, {"last": INF}, Reason.NOT_FINITE),
    (MARK, {"last": "100"}, Reason.WRONG_TYPE),
    (MARK, {"last": -1.0}, Reason.NOT_POSITIVE),
    (MARK, {"instrument_id": {}}, Reason.WRONG_TYPE),
    (MARK, {"ts_event": NOW_NS + 6 * SECOND_NS}, Reason.FROM_FUTURE),
    (MARK, {"ts_event": NOW_NS - 61 * SECOND_NS}, Reason.TOO_OLD),
    (KLINE, {"high": 98.0}, Reason.HIGH_BELOW_LOW),
    (KLINE, {"close": 103.0}, Reason.OPEN_CLOSE_OUTSIDE),
    (KLINE, {"open": 98.0}, Reason.OPEN_CLOSE_OUTSIDE),
    (KLINE, {"volume": -1.0}, Reason.NEGATIVE_VOLUME),
    (KLINE, {"volume": None}, Reason.WRONG_TYPE),
    (KLINE, {"low": NAN}, Reason.NOT_FINITE),
    (KLINE, {"low": 0.0}, Reason.NOT_POSITIVE),
    (KLINE, {"open_ns": CANDLE_OK.open_ns + 1}, Reason.OFF_GRID),
    (KLINE, {"open_ns": None}, Reason.WRONG_TYPE),
    (KLINE, {"timeframe_ns": 7 * MINUTE_NS}, Reason.UNKNOWN_TIMEFRAME),
    (KLINE, {"open_ns": NOW_NS + MINUTE_NS}, Reason.FROM_FUTURE),
    (KLINE, {"open_ns": NOW_NS - 4 * MINUTE_NS}, Reason.TOO_OLD),
]


def firewall_of_btc() -> Firewall:
    firewall = Firewall(
        future_tolerance_ns=5 * SECOND_NS,
        late_tolerance_ns=60 * SECOND_NS,
        timeframes_ns=(MINUTE_NS, 5 * MINUTE_NS),
    )
    firewall.admit(BTC)
    return firewall


def check(firewall: Firewall, kind: str, changes: dict[str, Any]) -> Reason | None:
    if kind == QUOTE:
        return firewall.check_quote(attrs.evolve(QUOTE_OK, **changes))
    if kind == MARK:
        return firewall.check_mark(attrs.evolve(MARK_OK, **changes))
    return firewall.check_kline(attrs.evolve(KLINE_OK, candle=attrs.evolve(CANDLE_OK, **changes)))


@pytest.mark.parametrize(("kind", "changes", "reason"), POISONS)
def test_every_poison_is_refused(kind: str, changes: dict[str, Any], reason: Reason) -> None:
    """R5: no poison of the corpus gets through, and each has its own reason."""
    assert reason == check(firewall_of_btc(), kind, changes)


@pytest.mark.parametrize("kind", [QUOTE, MARK, KLINE])
def test_the_frame_the_poisons_are_made_of_is_accepted(kind: str) -> None:
    """The corpus poisons one thing each: unpoisoned, and with whole numbers, frames pass."""
    whole: dict[str, dict[str, Any]] = {
        QUOTE: {"bid": 99, "ask": 101},
        MARK: {"mark": 100, "last": None},
        KLINE: {"volume": 0},
    }
    firewall = firewall_of_btc()

    assert check(firewall, kind, {}) is None
    assert check(firewall, kind, whole[kind]) is None


def test_a_closed_flag_or_candle_of_another_type_is_refused() -> None:
    """R5: None is neither a flag nor a bar."""
    firewall = firewall_of_btc()
    no_flag: Any = {"closed": None}
    no_bar: Any = {"candle": None}

    assert Reason.WRONG_TYPE == firewall.check_kline(attrs.evolve(KLINE_OK, **no_flag))
    assert Reason.WRONG_TYPE == firewall.check_kline(attrs.evolve(KLINE_OK, **no_bar))


@pytest.mark.parametrize("kind", [QUOTE, MARK])
def test_time_may_stand_still_but_not_run_backwards(kind: str) -> None:
    """R5: an older event time is refused, an equal one is fine, kinds do not mix."""
    firewall = firewall_of_btc()

    assert check(firewall, kind, {}) is None
    assert check(firewall, kind, {}) is None
    assert Reason.TIME_BACKWARDS == check(firewall, kind, {"ts_event": NOW_NS - 1})
    other = MARK if kind == QUOTE else QUOTE
    assert check(firewall, other, {"ts_event": NOW_NS - 1}) is None


def test_a_mark_far_from_the_last_one_is_believed_when_it_is_told_twice() -> None:
    """One frame of 1e12 moves no stop; a market that did jump is one frame late (R5)."""
    firewall = firewall_of_btc()

    assert check(firewall, MARK, {"mark": 100.0}) is None
    assert Reason.JUMPED == check(firewall, MARK, {"mark": 1e12})
    assert check(firewall, MARK, {"mark": 101.0}) is None
    assert Reason.JUMPED == check(firewall, MARK, {"mark": 70.0})
    assert check(firewall, MARK, {"mark": 68.0}) is None
    assert check(firewall, MARK, {"mark": 62.0}) is None


def test_another_jump_or_the_same_one_again_confirms_nothing() -> None:
    """Poison beside poison, or told again by a delta, is no second word for the first (R5)."""
    firewall = firewall_of_btc()

    assert check(firewall, MARK, {"mark": 100.0}) is None
    for mark in (1e12, 1.0, 1e12, 1e12, 1e12, 1.0):
        assert Reason.JUMPED == check(firewall, MARK, {"mark": mark})
    assert check(firewall, MARK, {"mark": 100.0}) is None


def test_an_open_bar_keeps_time_but_a_closed_one_is_lossless() -> None:
    """An update of an open bar may not be older than the last; a late closed bar is still a bar."""
    firewall = firewall_of_btc()
    update = attrs.evolve(KLINE_OK, closed=False)

    assert firewall.check_kline(update) is None
    older = attrs.evolve(update, ts_event=NOW_NS - 1)
    assert Reason.TIME_BACKWARDS == firewall.check_kline(older)
    assert firewall.check_kline(attrs.evolve(older, closed=True)) is None
    future = attrs.evolve(CANDLE_OK, open_ns=NOW_NS + MINUTE_NS)
    assert Reason.FROM_FUTURE == firewall.check_kline(attrs.evolve(update, candle=future))


def test_a_closed_bar_may_be_late_by_its_own_length() -> None:
    """R69: the limit plus the bar; one ns more is too old."""
    firewall = firewall_of_btc()
    limit_ns = CANDLE_OK.close_ns + 60 * SECOND_NS + MINUTE_NS

    assert firewall.check_kline(attrs.evolve(KLINE_OK, ts_recv=limit_ns)) is None
    assert Reason.TOO_OLD == firewall.check_kline(attrs.evolve(KLINE_OK, ts_recv=limit_ns + 1))


def test_a_refused_frame_changes_nothing() -> None:
    """A frame from the future does not move the clock the next frame is measured against."""
    firewall = firewall_of_btc()
    check(firewall, QUOTE, {"ts_event": NOW_NS + 6 * SECOND_NS})

    assert check(firewall, QUOTE, {}) is None
    assert (NOW_NS, None) == firewall.last_accepted_ns(BTC)


def test_refusals_are_told_first_and_at_doubling_counts() -> None:
    """R5: each (kind, reason) has its count; the 1st, 2nd, 4th and 8th are told."""
    firewall = firewall_of_btc()
    told = [firewall.count(BTC, QUOTE, Reason.CROSSED) for _ in range(10)]

    assert [1, 2, 4, 8] == [one.count for one in told if one is not None]
    assert {(QUOTE, Reason.CROSSED): 10} == firewall.counts()
    assert (10, 0) == (firewall.rejected(QUOTE), firewall.rejected(MARK))
    stranger = firewall.count(ETH, QUOTE, Reason.UNKNOWN_INSTRUMENT)
    assert stranger is not None
    assert stranger.instrument_id is None


def test_reasons_of_unreadable_frames_are_bounded() -> None:
    """A peer that fails in ever new words cannot fill the memory."""
    firewall = firewall_of_btc()
    for number in range(1000):
        firewall.count_unreadable("BYBIT", f"broken at {number}")

    assert firewall.rejected(UNREADABLE) == 1000
    assert len(firewall.counts()) == UNREADABLE_REASONS_MAX + 1
    assert firewall.counts()[UNREADABLE, "BYBIT: other"] == 1000 - UNREADABLE_REASONS_MAX


def test_latency_is_receipt_minus_event_time() -> None:
    """R6: measured from the event time, also of bars' neighbors, never from a bar's open."""
    firewall = firewall_of_btc()
    check(firewall, QUOTE, {"ts_event": NOW_NS - 7})
    check(firewall, QUOTE, {"ts_event": NOW_NS - 3})
    firewall.check_kline(KLINE_OK)

    latency = firewall.latencies()[BTC]
    assert (3, 7) == (latency.last_ns, latency.max_ns)


def test_history_is_checked_but_not_for_its_age() -> None:
    """Bars of history may be old; of another instrument or length they are refused."""
    firewall = firewall_of_btc()
    old = attrs.evolve(CANDLE_OK, open_ns=0)

    assert firewall.check_history(old, BTC, MINUTE_NS) is None
    assert Reason.UNKNOWN_INSTRUMENT == firewall.check_history(old, ETH, MINUTE_NS)
    assert Reason.UNKNOWN_TIMEFRAME == firewall.check_history(old, BTC, 5 * MINUTE_NS)
    broken = attrs.evolve(old, high=98.0)
    assert Reason.HIGH_BELOW_LOW == firewall.check_history(broken, BTC, MINUTE_NS)
