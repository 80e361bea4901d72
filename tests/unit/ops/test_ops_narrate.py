"""What the log says of each event: level, and that the values a reader needs are in the line."""

from decimal import Decimal
from typing import TYPE_CHECKING

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock
from aegis.core.event import Event, event_types
from aegis.core.log import room_logger
from aegis.model.events import MarketTick, ProtectionLost, RunStarted, SignalDropped, TaskFailed
from aegis.model.instrument import Venue, instrument_id
from aegis.model.position import CloseCause
from aegis.ops.narrate import Narrator
from aegis.ops.tell_system import SYSTEM_TELLERS
from aegis.ops.tell_trade import TRADE_TELLERS
from aegis.ops.words import duration, price_text, short_id, signed_usdt, usdt

if TYPE_CHECKING:
    from tests.unit.ops.conftest import Maker

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
Logged = list[tuple[str, str]]


def test_a_whole_trade_reads_as_one_story(bus: EventBus, make: "Maker", logged: Logged) -> None:
    """A newcomer sees feed, signal, intent, verdict, entry, protection and exit (R81)."""
    Narrator(bus, room_logger("ops"), label="GENERATED seed 7")
    story: list[Event] = [
        make.connected(),
        make.stream_opened(),
        make.signal(),
        make.proposed(),
        make.checked(),
        make.approved(),
        make.opened(),
        make.entered(),
        make.confirmed(),
        make.closed(),
    ]

    for event in story:
        bus.publish(event)

    info = [text for level, text in logged if level == "INFO"]
    expected = [
        (
            "[GENERATED seed 7] BINANCE            CONNECTED 1 instrument; "
            "stop and target are placed at the first fill"
        ),
        "BINANCE            FEED market connected",
        (
            "BINANCE BTCUSDT    SIGNAL long confidence 0.71: ema 21 above ema 50; 15m trend up; "
            "stop 310.2 away, target 558.4"
        ),
        "BINANCE BTCUSDT    INTENT buy 0.031 at market, risk 9.62 USDT at the stop, leverage 5x",
        "BINANCE BTCUSDT    GATE approved: 11 guards said yes",
        "BINANCE BTCUSDT    ENTRY filled 0.031 @ 100012.4 (slippage +1.2)",
        (
            "BINANCE BTCUSDT    PROTECTED stop 99702.2 [ab12-1-5-SF1] "
            "target 100570.8 [ab12-1-5-TP1], 8 ms after the fill"
        ),
        "BINANCE BTCUSDT    EXIT TP 0.031 @ 100570.8 net +16.90 USDT after 41 min",
    ]
    assert [" ".join(text.split()) for text in expected] == [" ".join(t.split()) for t in info]


def test_a_denied_entry_names_its_guard(bus: EventBus, make: "Maker", logged: Logged) -> None:
    """The first guard that said no is told with what it saw (R67)."""
    Narrator(bus, room_logger("ops"))

    bus.publish(make.denied())

    level, text = logged[-1]
    assert "INFO" == level
    assert "GATE denied by exposure: notional would be 31000.00 USDT" in text


@pytest.mark.parametrize(
    ("critical", "expected"), [(True, "CRITICAL"), (False, "ERROR")], ids=["way out", "other"]
)
def test_a_failing_handler_is_never_swallowed(
    bus: EventBus, make: "Maker", logged: Logged, critical: bool, expected: str
) -> None:
    """Handler, event and error are told; on the way out of a position it is critical (R7)."""
    Narrator(bus, room_logger("ops"))

    def broken(_: SignalDropped) -> None:
        raise ValueError("no such level")

    bus.subscribe(SignalDropped, broken, critical=critical)
    bus.publish(SignalDropped(**make.at, signal_id="s", instrument_id=BTC, reason="busy"))

    level, text = logged[-1]
    assert expected == level
    assert "broken failed on SignalDropped: ValueError: no such level" in text
    assert "Traceback" in text


def test_a_failing_operation_is_told_once_a_minute(
    bus: EventBus, clock: ManualClock, make: "Maker", logged: Logged
) -> None:
    """Of equal failures one line a minute is written, with how many were held back (R71)."""
    Narrator(bus, room_logger("ops"))

    for _ in range(4):
        bus.publish(make.api())
    bus.publish(make.api(ok=True))
    bus.publish(make.api(operation="cancel"))
    clock.advance_ns(61_000_000_000)
    bus.publish(make.api())

    assert ["WARNING"] * 3 == [level for level, _ in logged]
    assert logged[-1][1].endswith("(3 more since the last line)")


def test_a_stream_that_opens_again_is_told_as_such(
    bus: EventBus, make: "Maker", logged: Logged
) -> None:
    """The first opening is a connection, the next one tells how long the stream was down."""
    Narrator(bus, room_logger("ops"))

    bus.publish(make.stream_opened())
    bus.publish(make.stream_closed())
    bus.publish(make.stream_opened(downtime_ns=1_200_000_000))

    assert ["INFO", "WARNING", "INFO"] == [level for level, _ in logged]
    assert "connected again after 1.2 s" in logged[-1][1]


def test_an_unknown_exit_is_not_a_zero(bus: EventBus, make: "Maker", logged: Logged) -> None:
    """A close whose fills nobody saw has neither price nor profit (R80)."""
    Narrator(bus, room_logger("ops"))

    bus.publish(make.closed(cause=CloseCause.EXTERNAL, net="0", exit_px=None))

    level, text = logged[-1]
    assert "WARNING" == level
    assert "@ not recorded net not recorded" in text


def test_what_a_person_must_act_on_is_critical(
    bus: EventBus, make: "Maker", logged: Logged
) -> None:
    """No stop, a lost stop and a fatal task stand out by their level."""
    Narrator(bus, room_logger("ops"))

    bus.publish(make.failed())
    bus.publish(
        ProtectionLost(**make.at, position_id="p", instrument_id=BTC, reason="stop is CANCELED")
    )
    bus.publish(
        TaskFailed(
            **make.at,
            task="journal",
            error_type="OSError",
            error="disk full",
            traceback="",
            restarts=0,
            fatal=True,
        )
    )

    assert ["CRITICAL"] * 3 == [level for level, _ in logged]


def test_an_adopted_position_is_timed_from_its_finding(
    bus: EventBus, make: "Maker", logged: Logged
) -> None:
    """Nobody knows how long it stood before it was found: the line does not claim it (R80, R88)."""
    Narrator(bus, room_logger("ops"))

    bus.publish(make.opened(adopted=True))
    bus.publish(make.confirmed())

    assert logged[0][1].endswith("found on the venue, it gets its stop and target now")
    assert logged[1][1].endswith("8 ms after it was found")


def test_a_restored_position_is_not_told_as_found_even_if_it_once_was(
    bus: EventBus, make: "Maker", logged: Logged
) -> None:
    """One that an earlier run adopted is known to us: RESTORED, and no warning (R88)."""
    Narrator(bus, room_logger("ops"))

    opened = make.opened(adopted=True)
    position = attrs.evolve(opened.position, restored=True)
    bus.publish(attrs.evolve(opened, position=position))

    ((level, line),) = logged
    assert "INFO" == level
    assert "RESTORED ab12-1-5 long 0.031" in line
    assert "ADOPTED" not in line


def test_ticks_have_no_line(bus: EventBus, make: "Maker", logged: Logged) -> None:
    """Market data never reach the log."""
    Narrator(bus, room_logger("ops"))

    bus.publish(
        MarketTick(**make.at, instrument_id=BTC, bid=1.0, ask=2.0, mark=1.5, last=None, merged=0)
    )

    assert [] == logged


def test_every_event_has_a_line_or_is_known_to_have_none() -> None:
    """A new event is either told, or left out on purpose and named here (R81)."""
    silent = {
        "BalanceReported",
        "CandleClosed",
        "FillReported",
        "HeartbeatEmitted",
        "MarketTick",
        "PositionReported",
    }
    told = {event_type.__name__ for event_type in (*TRADE_TELLERS, *SYSTEM_TELLERS)}

    # JournalFault stands in the journal for a row that could not be written; it is never published.
    kinds = [*event_types("aegis.model"), *event_types("aegis.core")]

    assert {kind.__name__ for kind in kinds} == told | silent


def test_settings_that_differ_are_in_the_first_line(
    bus: EventBus, make: "Maker", logged: Logged
) -> None:
    """A run begins with its mode and every setting that is not at its default (R83)."""
    Narrator(bus, room_logger("ops"), label="GENERATED seed 7")

    bus.publish(
        RunStarted(
            **make.at,
            run_id="r",
            run=3,
            installation="ab12",
            mode="paper",
            label="",
            config=(("leverage", "3", "flag"), ("venues", "binance,bybit", "default")),
        )
    )

    assert logged[0][1].startswith("[GENERATED seed 7] ")
    assert logged[0][1].endswith("RUN 3 started: paper; settings leverage=3 (flag)")


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "0 ms"),
        (400_000, "0.4 ms"),
        (4_000, "under 0.1 ms"),
        (8_000_000, "8 ms"),
        (120_000_000, "120 ms"),
        (1_250_000_000, "1.2 s"),
        (41 * 60_000_000_000, "41 min"),
        (192 * 60_000_000_000, "3 h 12 min"),
        (52 * 3600_000_000_000, "2 d 4 h"),
        (None, "not recorded"),
    ],
)
def test_durations_show_the_units_that_matter(ns: int | None, expected: str) -> None:
    """Milliseconds below a second, then ever coarser; an unknown is no zero (R80)."""
    assert expected == duration(ns)


def test_money_and_prices_keep_what_matters() -> None:
    """Small amounts keep four decimals, averages go onto the tick grid, unknowns say so (R80)."""
    assert "+16.90 USDT" == signed_usdt(Decimal("16.9"))
    assert "-0.0041 USDT" == signed_usdt(Decimal("-0.00412"))
    assert "not recorded" == usdt(None)
    assert "100012.4" == price_text(Decimal("100012.43333"), Decimal("0.10"))
    assert "not recorded" == price_text(None, Decimal("0.10"))
    assert "..b12-10-5-SF1" == short_id("xyzw-ab12-10-5-SF1")
