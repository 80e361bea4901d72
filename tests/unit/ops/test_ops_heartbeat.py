"""The heartbeat: its rhythm in market time, its words, and what it does about a failing probe."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock, ScaledClock
from aegis.core.event import Event
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import AlertRaised, HeartbeatEmitted
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import PositionSide
from aegis.ops.beat import (
    close_line,
    data_lines,
    guard_lines,
    journal_line,
    lag_line,
    protection_line,
    twin_line,
)
from aegis.ops.heartbeat import Heartbeat, LagMeter
from aegis.ops.probes import (
    DataRow,
    FeedRow,
    FunnelRow,
    GuardRow,
    JournalRow,
    PositionRow,
    Probes,
    StreamRow,
    TwinMeter,
)
from aegis.ops.tally import Tally
from aegis.settings import AegisConfig

if TYPE_CHECKING:
    from tests.unit.ops.conftest import Maker

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
MS = 1_000_000
MINUTE = 60_000 * MS
T0 = 1_788_231_600_000_000_000


def position(*, covered: bool = True) -> PositionRow:
    """Return a long position with a stop that covers it, or without any."""
    return PositionRow(
        instrument_id=BTC,
        side=PositionSide.LONG,
        qty=Decimal("0.031"),
        entry_px=Decimal("100012.4"),
        mark_price=Decimal("100100.5"),
        upnl=Decimal("2.73"),
        stop_price=Decimal("99702.2") if covered else None,
        stop_id="ab12-1-5-SF1" if covered else "",
        target_price=Decimal("100570.8"),
        target_id="ab12-1-5-TP1",
        is_covered=covered,
    )


def probes(*, rows: Sequence[PositionRow] = ()) -> Probes:
    """Return probes of a healthy bot with the given positions."""
    return Probes(
        feeds=lambda: [
            FeedRow(venue=Venue.BINANCE, symbol="BTCUSDT", age_ns=120 * MS, is_stale=False),
            FeedRow(venue=Venue.BINANCE, symbol="ETHUSDT", age_ns=None, is_stale=True),
        ],
        streams=lambda: [
            StreamRow(venue=Venue.BINANCE, stream="market", is_connected=True),
            StreamRow(venue=Venue.BINANCE, stream="user", is_connected=False),
        ],
        positions=lambda: rows,
        guards=lambda: [
            GuardRow(
                venue=Venue.BINANCE,
                equity=Decimal("10016.9"),
                day_start_equity=Decimal(10000),
                day_locked="",
                halt_reasons=(),
            ),
        ],
        queues=lambda: {"BINANCE orders": 0, "journal": 3},
        journal=lambda: JournalRow(
            written=1234, queued=3, dropped=0, chain_head="9f2c44d01be7aa00ff"
        ),
        data_accounts=lambda: [
            DataRow(kind="quote", produced=10, delivered=6, merged=3, rejected=1, pending=0)
        ],
        last_close_ns=lambda: None,
        funnels=lambda: [
            FunnelRow(instrument_id=BTC, stages=(("bars", 300), ("detected", 9), ("signals", 1)))
        ],
    )


def test_it_beats_every_interval_of_market_time() -> None:
    """Fifteen market minutes at 60x are fifteen loop seconds; one more beat ends it (R81)."""

    async def run() -> list[Event]:
        loop = asyncio.get_running_loop()
        clock = ScaledClock(T0, 60.0, loop)
        bus, events = EventBus(clock), list[Event]()
        bus.listen_all(lambda _seq, event: events.append(event))
        heart = Heartbeat(
            bus, clock, AegisConfig(), probes(), Tally(bus), loop, mode="paper", label="GENERATED"
        )
        heart.start()
        await asyncio.sleep(46)
        heart.stop()
        heart.stop()
        await asyncio.sleep(100)
        return events

    beats = [event for event in run_virtual(run()) if isinstance(event, HeartbeatEmitted)]

    assert [15, 30, 45, 46] == [(beat.ts_event - T0) // MINUTE for beat in beats]
    assert beats[0].lines[0].startswith("[GENERATED] HEARTBEAT")
    assert "LAST HEARTBEAT" in beats[-1].lines[0]


def make_heart(bus: EventBus, clock: ManualClock, found: Probes) -> Heartbeat:
    """Return a heart that never starts its timers, on a loop that never runs."""
    loop = VirtualTimeLoop()
    try:
        return Heartbeat(bus, clock, AegisConfig(), found, Tally(bus), loop, mode="paper")
    finally:
        loop.close()


def test_the_beat_shows_stop_and_target_of_every_position(
    bus: EventBus, clock: ManualClock, heard: list[Event]
) -> None:
    """Ids and prices as the venue reports them; one without a stop stands out (R45, R81)."""
    heart = make_heart(bus, clock, probes(rows=[position(), position(covered=False)]))

    text = "\n".join(heart.emit())

    assert "2 positions, protected 1/2" in text
    assert "stop 99702.2 [ab12-1-5-SF1] target 100570.8 [ab12-1-5-TP1]" in text
    assert "stop NONE target 100570.8 [ab12-1-5-TP1]  NOT PROTECTED" in text
    assert [(2, 1)] == [
        (event.positions_open, event.positions_protected)
        for event in heard
        if isinstance(event, HeartbeatEmitted)
    ]


def test_the_beat_names_what_is_down_stale_or_unknown(bus: EventBus, clock: ManualClock) -> None:
    """A stream that is down, a feed without data, no close yet: words, not zeros (R80, R81)."""
    text = "\n".join(make_heart(bus, clock, probes()).emit())

    assert "1/2 streams connected (DOWN: user)" in text
    assert "BTCUSDT 120 ms old, ETHUSDT none yet STALE" in text
    assert "no position closed yet" in text
    assert "naked    no position yet" in text
    assert "lag virtual" in text


def test_a_failing_probe_is_told_and_hides_nothing_else(
    bus: EventBus, clock: ManualClock, heard: list[Event]
) -> None:
    """Its section reads not recorded, an alert says why, the other sections stand (R80)."""

    def broken() -> NoReturn:
        raise KeyError("no such room")

    heart = make_heart(bus, clock, attrs.evolve(probes(), guards=broken))

    text = "\n".join(heart.emit())

    assert "account  not recorded" in text
    assert "journal  1234 rows written" in text
    assert ["probe_failed"] == [event.rule for event in heard if isinstance(event, AlertRaised)]


def test_unknown_positions_are_not_counted_as_none(
    bus: EventBus, clock: ManualClock, heard: list[Event]
) -> None:
    """When positions cannot be read no event claims that there are 0 (R80)."""

    def broken() -> NoReturn:
        raise RuntimeError("reconciling")

    lines = make_heart(bus, clock, attrs.evolve(probes(), positions=broken)).emit()

    assert "open     not recorded" in lines
    assert [] == [event for event in heard if isinstance(event, HeartbeatEmitted)]


def test_unprotected_time_comes_with_its_exceptions(bus: EventBus, make: "Maker") -> None:
    """Percentiles of the confirmed ones, and how many were never confirmed (R45)."""
    tally = Tally(bus)
    for key, naked_ms in (("a", 8), ("b", 12)):
        bus.publish(make.opened(key))
        bus.publish(make.confirmed(key, naked_ms * MS))
    bus.publish(make.opened("c"))
    bus.publish(make.closed("c"))

    assert (
        "naked    protected so far 2/3; unprotected p99 12 ms, max 12 ms; "
        "1 closed before its stop was confirmed"
    ) == protection_line(tally)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (GuardRow(venue=Venue.BYBIT, equity=None, day_start_equity=None, day_locked="",
                  halt_reasons=()),
         "account  BYBIT: equity not recorded, day PnL not recorded, entries allowed"),
        (GuardRow(venue=Venue.BYBIT, equity=Decimal(9600), day_start_equity=Decimal(10000),
                  day_locked="down 4.00 %", halt_reasons=("kill switch by ann",)),
         ("account  BYBIT: equity 9600.00 USDT, day PnL -400.00 USDT, "
         "ENTRIES HALTED: kill switch by ann; down 4.00 %")),
    ],
    ids=["unknown", "halted"],
)  # fmt: skip
def test_guards_say_why_entries_are_off(row: GuardRow, expected: str) -> None:
    """Equity and day PnL are real or unknown; every reason of a halt is named (R64, R73)."""
    assert [expected] == guard_lines([row])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "9 queued, none dropped, chain head"),
        (
            {"failing_ns": 40_000 * MS, "oldest_ns": 41_000 * MS},
            "none dropped, NOT WRITING for 40.0 s, the oldest waits 41.0 s, chain head",
        ),
        ({"write_ns_max": 3_000 * MS}, "none dropped, slowest write 3.0 s, chain head"),
        ({"oldest_ns": 999 * MS, "write_ns_max": 999 * MS}, "none dropped, chain head"),
    ],
    ids=["sound", "full", "slow", "quick enough"],
)
def test_a_disk_that_lags_is_told(changed: dict[str, Any], told: str) -> None:
    """A full, locked or slow disk shows in the heartbeat's journal line (R75, R81)."""
    row = attrs.evolve(JournalRow(written=1, queued=9, dropped=0, chain_head="9f"), **changed)
    assert told in journal_line(row)


def test_frames_that_nobody_accounts_for_stand_out() -> None:
    """Produced = delivered + merged + rejected + pending, else the difference is told (R4)."""
    row = DataRow(kind="mark", produced=10, delivered=6, merged=2, rejected=1, pending=0)

    assert data_lines([row])[0].endswith("UNACCOUNTED 1")


def test_the_twins_meter_is_labelled_as_its_own() -> None:
    """Venue time and the bot's time are never mixed (R45)."""
    meter = TwinMeter(count=3, protected=3, p50_ns=0, p99_ns=9 * MS, max_ns=9 * MS)

    assert (
        "twin     twin's own meter, venue time: protected 3/3; "
        "unprotected p50 0 ms, p99 9 ms, max 9 ms"
    ) == twin_line(meter)


def test_the_last_close_has_its_time() -> None:
    """Age and moment of the last close (R81)."""
    assert "closed   last 2 min ago (2026-09-01T03:00:00.000Z)" == close_line(T0, T0 + 2 * MINUTE)


def test_lag_is_the_mean_and_the_worst_since_the_last_beat(clock: ManualClock) -> None:
    """Taking it begins a new count; nothing measured is not recorded, never 0 (R80)."""
    loop = asyncio.new_event_loop()
    try:
        meter = LagMeter(clock, loop)
        for late_ns in (MS, 3 * MS, -1):
            meter.note(late_ns)

        assert "loop     lag mean 1.3 ms, max 3.0 ms" == lag_line(meter.take())
        assert "loop     lag not recorded" == lag_line(meter.take())
    finally:
        loop.close()
