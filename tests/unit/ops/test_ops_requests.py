"""What people hear of request limits, bans, clocks and symbols that are left out."""

from typing import TYPE_CHECKING, Any

import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, VirtualClock
from aegis.core.event import Event
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.events import (
    AlertRaised,
    ClockMeasured,
    RequestsPaused,
    RequestsResumed,
    SymbolLeftOut,
    VenueUnavailable,
)
from aegis.model.instrument import Venue
from aegis.ops.alerts import Alerts
from aegis.ops.beat import pause_lines
from aegis.ops.tally import Tally
from aegis.ops.tell_system import SYSTEM_TELLERS
from aegis.ops.telling import Line, Memory

if TYPE_CHECKING:
    from tests.unit.ops.conftest import Maker

BANNED = "banned, nothing is sent: protection depends on resting native stops until 18:34:00 UTC"


def told(event: Event, memory: Memory | None = None) -> Line | None:
    """Return the line of *event*."""
    return SYSTEM_TELLERS[type(event)](event, memory or Memory())


def paused(make: "Maker", **given: Any) -> RequestsPaused:
    """Return a pause of 30 s."""
    values: dict[str, Any] = {
        "venue": Venue.BINANCE,
        "banned": False,
        "until_ns": 1,
        "wait_s": 30.0,
        "reason": "too many",
    }
    values |= make.at
    return RequestsPaused(**(values | given))


def test_a_pause_stands_in_the_heartbeat_until_it_ends(bus: EventBus, make: "Maker") -> None:
    """R31: entries that wait are seen, and no longer once they may leave."""
    tally = Tally(bus)
    assert [] == pause_lines(tally)
    bus.publish(paused(make))
    assert ["limits   BINANCE: ENTRIES WAIT: too many"] == pause_lines(tally)
    bus.publish(RequestsResumed(**make.at, venue=Venue.BINANCE))
    assert [] == pause_lines(tally)


@pytest.mark.parametrize(
    ("given", "level", "text"),
    [
        (
            {},
            "WARNING",
            "REQUESTS paused for 30.0 s, no entries here, ways out go on: too many",
        ),
        (
            {"wait_s": None, "until_ns": None, "reason": "clock is 7.2 s ahead"},
            "WARNING",
            "REQUESTS paused, no entries here, ways out go on: clock is 7.2 s ahead",
        ),
        ({"banned": True, "reason": BANNED}, "CRITICAL", f"REQUESTS {BANNED}"),
    ],
    ids=["throttled", "clock", "banned"],
)
def test_a_pause_is_one_line(make: "Maker", given: dict[str, Any], level: str, text: str) -> None:
    """A person reads what stops, for how long and why."""
    assert Line(level, Venue.BINANCE, text) == told(paused(make, **given))


def test_a_ban_is_an_alert_once(bus: EventBus, make: "Maker", heard: list[Event]) -> None:
    """R71: nothing can be sent: that is told loudly, a pause is not."""
    loop = VirtualTimeLoop()
    alerts = Alerts(bus, VirtualClock(0, loop), loop)
    bus.publish(paused(make))
    bus.publish(paused(make, banned=True, reason=BANNED))
    bus.publish(paused(make, banned=True, reason=BANNED))
    alerts.stop()
    loop.close()
    raised = [event for event in heard if isinstance(event, AlertRaised)]
    assert [("banned", "CRITICAL", f"BINANCE {BANNED}")] == [
        (event.rule, event.level, event.message) for event in raised
    ]


def test_a_symbol_that_is_left_out_is_one_clear_line(make: "Maker") -> None:
    """Symbol, venue, status and fix."""
    event = SymbolLeftOut(
        **make.at, venue=Venue.BYBIT, symbol="OLDUSDT", status="Closed", fix="remove it"
    )
    text = "NOT TRADED OLDUSDT, its status is Closed: remove it"
    assert Line("ERROR", Venue.BYBIT, text) == told(event)


def test_a_clock_is_told_where_it_is_off(make: "Maker") -> None:
    """A good clock is a detail, a bad one a warning with its fix."""
    values: dict[str, Any] = {"venue": Venue.BYBIT, "ahead_ms": 3.2, "round_trip_ms": 20.0}
    values |= make.at
    good = told(ClockMeasured(**values, warning=""))
    bad = told(ClockMeasured(**values, warning="clock is 1.2 s ahead"))
    assert Line("DEBUG", Venue.BYBIT, "CLOCK +3 ms, asked within 20 ms") == good
    assert Line("WARNING", Venue.BYBIT, "CLOCK clock is 1.2 s ahead") == bad


def test_a_venue_that_stays_away_is_one_line(make: "Maker") -> None:
    """A venue in maintenance is asked every minute, and told of once."""
    memory = Memory()
    lines = []
    for minute in range(20):
        at_ns = minute * 60 * NS_PER_S
        event = VenueUnavailable(
            ts_event=at_ns, ts_recv=at_ns, venue=Venue.BYBIT, stage="time", error="maintenance"
        )
        lines.append(told(event, memory))
    assert [0, 15] == [minute for minute, line in enumerate(lines) if line is not None]
