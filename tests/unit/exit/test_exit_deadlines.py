"""Exit's deadlines: naked, triggering, filled; on the loop's clock (scenario 29 as decided)."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.model.events import (
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    SnapshotWanted,
)
from aegis.model.instrument import Venue
from aegis.model.intent import ClosePosition, SetPositionProtection
from aegis.model.order import OrderStatus, Purpose
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]
VENUES = (Venue.BINANCE, Venue.BYBIT)


def fired(make: MakeRig, status: OrderStatus) -> "ExitRig":
    """Return a rig whose floor stop was hit after a minute."""
    rig = make()
    rig.open()
    rig.accept_all()
    rig.wait(60_000)
    rig.publish(rig.order(rig.request(rig.intents[0]), status))
    return rig


@pytest.mark.parametrize("ms", [400, 1000, 4000])
def test_slow_stop_alerts_then_closes(make_exit_rig: MakeRig, ms: int) -> None:
    """A stop after 400 ms raises nothing, after 1 s an alert, after 4 s came too late (R71)."""
    rig = make_exit_rig()
    rig.open()
    rig.wait(ms)
    rig.accept_all()
    rig.wait(10_000)

    assert ([500.0] if ms > 500 else []) == rig.told_ms(ProtectionDelayed)
    assert ([3000.0] if ms > 3000 else []) == rig.told_ms(ProtectionFailed)
    closes = [c.cause for _, c in rig.of(ClosePosition)]
    assert ([CloseCause.UNPROTECTED] if ms > 3000 else []) == closes[:1]
    assert (ms < 3000) == (closes == [])


@pytest.mark.parametrize("venue", VENUES)
def test_later_naked_moment_has_deadlines_of_its_own(make_exit_rig: MakeRig, venue: Venue) -> None:
    """A stop lost after an hour: alert 500 ms, close 3 s after the loss (R45, R48)."""
    rig = make_exit_rig(venue)
    if venue is Venue.BYBIT:
        rig.tell_row(rig.row("1", stop="98", target="104"))
    rig.open()
    rig.accept_all()
    rig.wait(3_600_000)
    assert [] == rig.told(ProtectionDelayed)
    if venue is Venue.BYBIT:
        rig.tell_row(rig.row("1"))
    else:
        rig.publish(rig.order(rig.request(rig.intents[0]), OrderStatus.CANCELED))
    rig.wait(4000)

    assert [3_600_500.0] == rig.told_ms(ProtectionDelayed)
    assert [3_603_000.0] == rig.told_ms(ProtectionFailed)
    assert CloseCause.UNPROTECTED is rig.of(ClosePosition)[0][1].cause


def test_nothing_is_said_or_asked_after_the_close(make_exit_rig: MakeRig) -> None:
    """
    PositionClosed ends every watch, with requests still under way (R61, scenario 26).

    One look follows a minute later: a list that was empty by a fault may have hidden a leftover.
    """
    rig = make_exit_rig()
    rig.open()
    rig.wait(100)
    rig.closed()
    before = len(rig.events)
    for intent in rig.intents:
        rig.fail(intent)
    answers = len(rig.events) - before
    rig.wait(600_000)

    ((_, look),) = rig.events[before + answers :]
    assert isinstance(look, SnapshotWanted)
    assert "is anything left" in look.reason
    assert () == rig.actor.guarded()
    assert rig.clock.now_ns() - 600_100_000_000 < (rig.actor.last_close_ns or 0)


def test_flat_with_the_entry_still_open_is_not_naked(make_exit_rig: MakeRig) -> None:
    """Fills took everything while the entry may fill on: no alarm for an empty position."""
    rig = make_exit_rig()
    rig.open()
    rig.wait(100)
    rig.resize("0")
    rig.wait(10_000)

    assert [] == rig.told(ProtectionDelayed)
    assert [] == rig.of(ClosePosition)
    rig.resize("0.2")
    rig.wait(600)
    assert 1 == len(rig.told(ProtectionDelayed))


@pytest.mark.parametrize("by", ["stream", "snapshot"])
def test_stuck_trigger_closes_after_two_seconds(make_exit_rig: MakeRig, by: str) -> None:
    """TRIGGERING without an order for 2 s is closed as WATCHDOG, however it was learned."""
    rig = make_exit_rig()
    rig.open()
    rig.accept_all()
    rig.wait(60_000)
    report = rig.order(rig.request(rig.intents[0]), OrderStatus.TRIGGERING)
    if by == "stream":
        rig.publish(report, report)
    else:
        rig.snapshot((rig.row("1"),), (report.report,))
    rig.wait(1990)
    assert rig.actor.is_covered(rig.instrument)
    assert [] == rig.of(ClosePosition)
    rig.wait(20)

    assert [CloseCause.WATCHDOG] == [c.cause for _, c in rig.of(ClosePosition)]
    assert [] == rig.told(ProtectionDelayed)


def test_trigger_that_fills_is_not_stuck(make_exit_rig: MakeRig) -> None:
    """Partial fills of a stop are left to go on; the watch begins anew with each (R34)."""
    rig = fired(make_exit_rig, OrderStatus.TRIGGERING)
    for qty in ("0.7", "0.4", "0.1"):
        rig.wait(1500)
        rig.publish(rig.order(rig.request(rig.intents[0]), OrderStatus.PARTIALLY_FILLED))
        rig.resize(qty)
    assert [] == rig.of(ClosePosition)
    assert 2 == len(rig.intents)
    rig.wait(4100)

    assert [CloseCause.WATCHDOG] == [c.cause for _, c in rig.of(ClosePosition)]


def test_filled_stop_is_given_time_for_its_fills(make_exit_rig: MakeRig) -> None:
    """FILLED before its executions: nothing is asked or told meanwhile (venues.md 1.4)."""
    rig = fired(make_exit_rig, OrderStatus.FILLED)
    rig.resize("0.5")
    rig.wait(1900)
    rig.publish(rig.order(rig.request(rig.intents[1]), OrderStatus.EXPIRED))
    rig.closed()
    rig.wait(5000)

    assert 2 == len(rig.intents)
    assert [] == rig.told(ProtectionLost)
    assert [] == rig.told(ProtectionDelayed)
    assert [] == rig.told(SnapshotWanted)


def test_filled_stop_without_fills_is_doubted_and_replaced(make_exit_rig: MakeRig) -> None:
    """Two seconds after FILLED the position is still open: ask the venue, protect anew."""
    rig = fired(make_exit_rig, OrderStatus.FILLED)
    rig.wait(1990)
    assert rig.actor.is_covered(rig.instrument)
    rig.wait(20)

    assert not rig.actor.is_covered(rig.instrument)
    assert 1 == len(rig.told(SnapshotWanted))
    assert 2 == len(rig.orders(Purpose.STOP_FLOOR))
    # A repeated FILLED is old news and does not cover again.
    rig.publish(rig.order(rig.request(rig.intents[0]), OrderStatus.FILLED))
    assert not rig.actor.is_covered(rig.instrument)


def test_first_cover_is_told_with_the_target_or_half_a_second_later(
    make_exit_rig: MakeRig,
) -> None:
    """One line tells stop and target; a target that stays away is not waited for (R45)."""
    rig = make_exit_rig()
    rig.open()
    floor, target = rig.intents
    rig.accept(floor)
    rig.wait(100)
    assert [] == rig.told(ProtectionConfirmed)
    rig.wait(500)
    assert [None] == [e.target_price for e in rig.told(ProtectionConfirmed)]
    rig.accept(target)

    assert [500.0] == rig.told_ms(ProtectionConfirmed)
    assert 0 == rig.told(ProtectionConfirmed)[0].naked_ns


def test_unknown_answer_blocks_no_second_request_forever(make_exit_rig: MakeRig) -> None:
    """A stop whose fate is unknown is not sent twice, but the position does not wait for it."""
    rig = make_exit_rig()
    rig.open()
    rig.wait(3010)
    assert 1 == len(rig.orders(Purpose.STOP_FLOOR))
    assert 1 == len(rig.of(ClosePosition))
    rig.accept(rig.intents[0])
    rig.wait(100)

    assert rig.actor.is_covered(rig.instrument)
    assert 1 == len(rig.of(ClosePosition))


def test_growing_entry_keeps_one_pair_request(make_exit_rig: MakeRig) -> None:
    """On a venue with position stops, fills during a pending request ask for nothing more."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.open(qty="0.2")
    rig.wait(260)
    for qty in ("0.4", "0.6", "1"):
        rig.resize(qty)
    assert 1 == len(rig.of(SetPositionProtection))
    rig.tell_row(rig.row("1", stop="98", target="104"))

    assert rig.actor.is_covered(rig.instrument)
    assert Decimal(98) == rig.told(ProtectionConfirmed)[0].stop_price
