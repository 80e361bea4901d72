"""Exit's watchdogs and last resorts: a stop that does not fire, a close that is refused."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.core.errors import Refusal
from aegis.model.account import ProtectionRole
from aegis.model.events import (
    AlertRaised,
    KillSwitchPulled,
    ProtectionFailed,
    SnapshotWanted,
)
from aegis.model.instrument import Venue
from aegis.model.intent import ClosePosition
from aegis.model.order import OrderStatus, OrderType, PositionSide, Purpose, TimeInForce
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]
LONG, SHORT = PositionSide.LONG, PositionSide.SHORT


def covered(make: MakeRig, side: PositionSide = LONG, qty: str = "1") -> "ExitRig":
    """Return a rig with a covered position at 100, its stop 2 away."""
    rig = make()
    rig.start()
    rig.open(side=side, qty=qty)
    rig.entry_done()
    rig.serve()
    return rig


@pytest.mark.parametrize(("side", "beyond"), [(LONG, "97.8"), (SHORT, "102.2")])
def test_price_beyond_the_stop_without_a_trigger_is_asked_about_then_closed(
    make_exit_rig: MakeRig, side: PositionSide, beyond: str
) -> None:
    """5 s beyond the stop: the venue is asked; 2 s later it is closed at market (WATCHDOG)."""
    rig = covered(make_exit_rig, side)
    rig.mark(beyond)
    rig.wait(4900)
    assert [] == rig.told(SnapshotWanted)
    rig.wait(200)
    assert 1 == len(rig.told(SnapshotWanted))
    assert [] == rig.of(ClosePosition)
    rig.wait(2000)

    ((_, command),) = rig.of(ClosePosition)
    assert CloseCause.WATCHDOG is command.cause
    assert command.request.reduce_only


def test_a_price_that_is_not_known_any_more_closes_nothing(make_exit_rig: MakeRig) -> None:
    """While the newest mark is doubted the one before says nothing: no close by an old price."""
    rig = covered(make_exit_rig)
    rig.mark("97.8")
    rig.wait(4900)
    rig.mark(None)
    rig.wait(20_000)

    assert [] == rig.told(SnapshotWanted)
    assert [] == rig.of(ClosePosition)


@pytest.mark.parametrize("mark", ["98", "97.9"])
def test_price_at_the_stop_is_not_beyond_it(make_exit_rig: MakeRig, mark: str) -> None:
    """A mark told rounded to the stop's tick may not have reached it: no close by guess."""
    rig = covered(make_exit_rig)
    rig.mark(mark)
    rig.wait(20_000)

    assert [] == rig.of(ClosePosition)


def test_stop_of_somebody_else_may_fire_by_the_last_price(make_exit_rig: MakeRig) -> None:
    """An adopted position is not closed because the mark is beyond its stop."""
    rig = make_exit_rig()
    rig.start(
        (rig.row("1", mark="101"),),
        (
            rig.resting("web_1", "98"),
            rig.resting("web_2", "104", role=ProtectionRole.TARGET),
        ),
    )
    rig.open(adopted=True)
    rig.mark("97")
    rig.wait(20_000)

    assert [] == rig.of(ClosePosition)


def test_price_that_comes_back_is_forgotten(make_exit_rig: MakeRig) -> None:
    """The 5 s begin anew each time."""
    rig = covered(make_exit_rig)
    for _ in range(3):
        rig.mark("97.8")
        rig.wait(4000)
        rig.mark("98.1")
        rig.wait(4000)

    assert [] == rig.told(SnapshotWanted)
    assert [] == rig.of(ClosePosition)


def test_stop_that_fires_is_no_price_without_a_fill(make_exit_rig: MakeRig) -> None:
    """A trigger that is told has its own watchdog."""
    rig = covered(make_exit_rig)
    rig.mark("97.8")
    (stop,) = rig.orders(Purpose.STOP_FLOOR)
    rig.publish(rig.order(rig.request(stop), OrderStatus.TRIGGERING))
    rig.wait(1500)
    rig.closed()
    rig.wait(10_000)

    assert [] == rig.of(ClosePosition)


@pytest.mark.parametrize("status", [OrderStatus.EXPIRED, OrderStatus.CANCELED])
def test_rest_of_a_stop_that_filled_in_part_is_closed_as_the_stop(
    make_exit_rig: MakeRig, status: OrderStatus
) -> None:
    """Bybit: part filled and ended: the rest goes at once, and is an SL (R79)."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.start()
    rig.open()
    rig.tell_row(rig.row("1", stop="98", target="104"))
    rig.entry_done()
    stop = rig.resting("child", "98", bound=True, qty="1")
    rig.report(stop)
    rig.report(rig.resting("child", "98", bound=True, qty="1", status=OrderStatus.TRIGGERING))
    rig.resize("0.4")
    rig.report(
        rig.resting("child", "98", bound=True, qty="1", status=status, filled_qty=Decimal("0.6"))
    )

    ((_, command),) = rig.of(ClosePosition)
    assert CloseCause.SL is command.cause
    assert Purpose.STOP_MOVING is command.request.purpose
    assert Decimal("0.4") == command.request.qty
    assert [] == rig.told(ProtectionFailed)


def test_rest_of_a_stop_reported_filled_is_closed_as_the_stop(make_exit_rig: MakeRig) -> None:
    """FILLED, something left, and no new stop to be had: not UNPROTECTED, its stop did fire."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.start()
    rig.open()
    rig.tell_row(rig.row("1", stop="98", target="104"))
    rig.entry_done()
    rig.report(rig.resting("child", "98", bound=True, qty="1", status=OrderStatus.TRIGGERING))
    filled = Decimal("0.6")
    rig.report(
        rig.resting(
            "child", "98", bound=True, qty="0.6", status=OrderStatus.FILLED, filled_qty=filled
        )
    )
    rig.resize("0.4")
    rig.tell_row(rig.row("0.4"))
    rig.wait(2100)
    rig.complete(rig.unanswered()[0], Refusal.WOULD_TRIGGER)

    assert [CloseCause.SL] == [c.cause for _, c in rig.of(ClosePosition)]
    assert [] == rig.told(ProtectionFailed)


def closing(rig: "ExitRig") -> None:
    """Ask for a close by hand."""
    rig.call(
        lambda: rig.actor.close(rig.instrument, CloseCause.MANUAL, Purpose.CLOSE_MANUAL, "asked")
    )


@pytest.mark.parametrize(("side", "band"), [(LONG, "99.0"), (SHORT, "101.0")])
def test_what_a_market_close_leaves_goes_as_ioc_at_the_band(
    make_exit_rig: MakeRig, side: PositionSide, band: str
) -> None:
    """MARKET, then IOC at the band, then MARKET again, until the venue says flat (R60)."""
    rig = covered(make_exit_rig, side)
    rig.mark("100")
    closing(rig)
    for left in ("0.6", "0.3"):
        last = rig.of(ClosePosition)[-1][0]
        rig.complete(last)
        rig.resize(left)
        rig.advance(last, OrderStatus.EXPIRED, filled_qty=Decimal("0.3"))
        rig.wait(260)

    sent = [c.request for _, c in rig.of(ClosePosition)]
    assert [OrderType.MARKET, OrderType.LIMIT, OrderType.MARKET] == [r.order_type for r in sent]
    assert (Decimal(band), TimeInForce.IOC) == (sent[1].limit_price, sent[1].time_in_force)
    assert [Decimal(1), Decimal("0.6"), Decimal("0.3")] == [r.qty for r in sent]
    assert all(r.reduce_only for r in sent)
    assert [] == rig.told(AlertRaised)


def test_close_the_venue_refuses_tries_the_other_way(make_exit_rig: MakeRig) -> None:
    """A refused market order (-4131) is followed by an IOC; without a mark by MARKET again."""
    rig = covered(make_exit_rig)
    closing(rig)
    rig.complete(rig.of(ClosePosition)[-1][0], Refusal.OTHER)
    rig.wait(300)
    rig.mark("100")
    rig.complete(rig.of(ClosePosition)[-1][0], Refusal.OTHER)
    rig.wait(600)
    rig.complete(rig.of(ClosePosition)[-1][0], Refusal.OTHER)
    rig.wait(1100)

    kinds = [c.request.order_type for _, c in rig.of(ClosePosition)]
    assert [OrderType.MARKET, OrderType.MARKET, OrderType.MARKET, OrderType.LIMIT] == kinds


def test_neither_stop_nor_close_halts_entries_and_repeats_the_alarm(
    make_exit_rig: MakeRig,
) -> None:
    """The venue refuses everything: entries halt everywhere, once; alarm and attempts go on."""
    rig = make_exit_rig()
    rig.start()
    rig.open()
    for _ in range(200):
        for intent in rig.unanswered():
            rig.complete(intent, Refusal.OTHER)
        pending = [
            i
            for i, _ in rig.of(ClosePosition)
            if i.intent_id not in {e.intent_id for e in rig.ended()}
        ]
        for intent in pending:
            rig.complete(intent, Refusal.OTHER)
        rig.wait(250)

    (halt,) = rig.told(KillSwitchPulled)
    assert "exit" == halt.operator
    assert "has no stop and 3 closes failed" in halt.reason
    failed = [e for e in rig.told(AlertRaised) if e.rule == "close_failed"]
    assert len(rig.of(ClosePosition)) - 1 <= len(failed) <= len(rig.of(ClosePosition))
    assert len(failed) > 8
    assert {"CRITICAL"} == {e.level for e in failed[1:]}


def test_covered_position_whose_close_fails_does_not_halt_entries(make_exit_rig: MakeRig) -> None:
    """Its stop works: an alarm is enough."""
    rig = covered(make_exit_rig)
    closing(rig)
    for _ in range(6):
        rig.complete(rig.of(ClosePosition)[-1][0], Refusal.OTHER)
        rig.wait(6000)

    assert [] == rig.told(KillSwitchPulled)


def test_target_of_a_person_is_still_a_target_beside_rungs(make_exit_rig: MakeRig) -> None:
    """A partial target without our id is no rung: the adopted position keeps it."""
    rig = make_exit_rig()
    rig.start(
        (rig.row("1", mark="101"),),
        (
            rig.resting("web_1", "98"),
            rig.resting("web_2", "104", qty="0.5", role=ProtectionRole.TARGET),
        ),
    )
    rig.open(adopted=True)

    assert [] == rig.intents
