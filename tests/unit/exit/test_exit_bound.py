"""Exit where the venue keeps stop and target with the position (Bybit)."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.core.errors import Refusal
from aegis.model.account import ProtectionRole
from aegis.model.events import (
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionLost,
    SnapshotWanted,
)
from aegis.model.instrument import Venue
from aegis.model.intent import ClosePosition, SetPositionProtection
from aegis.model.order import OrderStatus

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]


def children(
    rig: "ExitRig",
    stop: str = "98",
    target: str = "104",
    qty: str = "1",
    status: OrderStatus = OrderStatus.ACCEPTED,
) -> None:
    """Report the position's own stop and target orders."""
    rig.report(
        rig.resting("uuid-s", stop, qty=qty, bound=True, status=status),
        rig.resting(
            "uuid-t", target, qty=qty, bound=True, role=ProtectionRole.TARGET, status=status
        ),
    )


def attached(make: MakeRig) -> "ExitRig":
    """Return a rig with a position whose attached protection was reported with the fill."""
    rig = make(Venue.BYBIT)
    children(rig)
    rig.open()
    return rig


@pytest.mark.parametrize("how", ["children", "row"])
def test_attached_protection_leaves_no_gap_and_asks_nothing(
    make_exit_rig: MakeRig, how: str
) -> None:
    """Children or the position row before the fill: 0 ns naked, nothing asked (R45)."""
    rig = make_exit_rig(Venue.BYBIT)
    if how == "children":
        children(rig)
    else:
        rig.tell_row(rig.row("1", stop="98", target="104"))
    rig.open()
    rig.wait(5000)

    (confirmed,) = rig.told(ProtectionConfirmed)
    assert (0, "position") == (confirmed.naked_ns, confirmed.source)
    assert [] == rig.intents


def test_reports_one_after_another_after_the_fill_ask_nothing(make_exit_rig: MakeRig) -> None:
    """The stop's report some ms before the target's does not cause a request."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.open()
    rig.wait(10)
    rig.report(rig.resting("uuid-s", "98", qty="1", bound=True))
    rig.wait(10)
    children(rig)
    rig.wait(5000)

    assert [] == rig.intents
    assert [10_000_000] == [e.naked_ns for e in rig.told(ProtectionConfirmed)]


def test_amended_once_to_the_vwap_both_together(make_exit_rig: MakeRig) -> None:
    """After the entry both levels go to the VWAP's distances in one request, once (R48)."""
    rig = attached(make_exit_rig)
    rig.resize("1", vwap="101")
    rig.entry_done()
    ((intent, command),) = rig.of(SetPositionProtection)
    assert (Decimal(99), Decimal(105)) == (command.stop_price, command.target_price)
    rig.complete(intent)
    rig.wait(10)
    children(rig, "99", "105")
    rig.wait(5000)

    assert 1 == len(rig.intents)
    assert (Decimal(99), Decimal(105)) == (
        rig.told(ProtectionChanged)[-1].stop_price,
        rig.told(ProtectionChanged)[-1].target_price,
    )
    assert rig.actor.is_covered(rig.instrument)


@pytest.mark.parametrize("refusal", [Refusal.WOULD_TRIGGER, Refusal.OTHER, Refusal.NO_POSITION])
def test_refused_amendment_keeps_the_old_levels(make_exit_rig: MakeRig, refusal: Refusal) -> None:
    """A failed amendment leaves what covers and is tried again slowly (R48, R49, scenario 22)."""
    rig = attached(make_exit_rig)
    rig.resize("1", vwap="101")
    rig.entry_done()
    rig.complete(rig.intents[0], refusal)
    rig.wait(900)
    assert 1 == len(rig.intents)
    rig.wait(200)

    assert 2 == len(rig.intents)
    assert rig.actor.is_covered(rig.instrument)
    assert Decimal(98) == rig.told(ProtectionConfirmed)[-1].stop_price
    assert [] == rig.told(ProtectionChanged)
    assert [] == rig.of(ClosePosition)


def test_missing_attached_protection_is_set_after_the_pace(make_exit_rig: MakeRig) -> None:
    """Nothing attached was seen within 250 ms: set both for the position (venues.md 5.2)."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.open()
    rig.wait(240)
    assert [] == rig.intents
    rig.wait(20)
    ((intent, command),) = rig.of(SetPositionProtection)
    assert (Decimal(98), Decimal(104)) == (command.stop_price, command.target_price)
    rig.complete(intent, Refusal.NO_POSITION)
    rig.wait(250)

    assert 2 == len(rig.intents)


def test_set_and_not_seen_asks_the_venue(make_exit_rig: MakeRig) -> None:
    """An acknowledged request whose stop is not reported is no cover: a snapshot is asked (R49)."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.open()
    rig.wait(260)
    rig.complete(rig.intents[0])
    assert ["stop set, not seen yet"] == [e.reason for e in rig.told(SnapshotWanted)]
    rig.snapshot((rig.row("1", stop="98", target="104"),))

    assert rig.actor.is_covered(rig.instrument)


@pytest.mark.parametrize("how", ["row", "child"])
def test_stop_removed_by_a_person_is_told_and_restored(make_exit_rig: MakeRig, how: str) -> None:
    """A row without a stop, or the child Deactivated: told, and set again within the bound."""
    rig = attached(make_exit_rig)
    rig.tell_row(rig.row("1", stop="98", target="104"))
    rig.wait(60_000)
    if how == "row":
        rig.tell_row(rig.row("1", target="104"))
    else:
        rig.report(rig.resting("uuid-s", "98", bound=True, status=OrderStatus.CANCELED))
    assert not rig.actor.is_covered(rig.instrument)
    ((intent, command),) = rig.of(SetPositionProtection)
    assert (Decimal(98), Decimal(104)) == (command.stop_price, command.target_price)
    rig.complete(intent)
    rig.tell_row(rig.row("1", stop="98", target="104"))
    rig.wait(5000)

    assert rig.actor.is_covered(rig.instrument)
    assert 1 == len(rig.told(ProtectionLost))
    assert [] == rig.told(ProtectionDelayed)
    assert 1 == len(rig.intents)


def test_levels_altered_by_a_person_are_set_back(make_exit_rig: MakeRig) -> None:
    """A moved stop is shown as a change and moved back to the plan (design.md, Decisions)."""
    rig = attached(make_exit_rig)
    rig.entry_done()
    rig.wait(60_000)
    rig.tell_row(rig.row("1", stop="90", target="104"))
    ((_, command),) = rig.of(SetPositionProtection)

    assert Decimal(98) == command.stop_price
    assert Decimal(90) == rig.told(ProtectionChanged)[-1].stop_price


def test_stop_that_goes_with_the_position_is_no_loss(make_exit_rig: MakeRig) -> None:
    """The venue takes stops away when a position is closed by hand: no alarm (scenario 29)."""
    rig = attached(make_exit_rig)
    rig.wait(60_000)
    children(rig, status=OrderStatus.CANCELED)
    rig.tell_row(rig.row("0"))
    rig.wait(40)
    rig.closed()
    rig.wait(10_000)

    assert [] == rig.told(ProtectionLost)
    assert [] == rig.told(ProtectionDelayed)
    assert [] == rig.of(ClosePosition)


def test_levels_of_a_closed_position_do_not_cover_the_next(make_exit_rig: MakeRig) -> None:
    """Without a flat row in between, the old stop is still no cover of a new position (R45)."""
    rig = attached(make_exit_rig)
    rig.tell_row(rig.row("1", stop="98", target="104", ts_event=1_000))
    rig.closed()
    rig.tell_row(rig.row("1", stop="98", target="104", ts_event=900))
    rig.open(position_id="ab12-1-6")

    assert not rig.actor.is_covered(rig.instrument)


def test_late_end_of_an_old_child_does_not_uncover_the_new_position(make_exit_rig: MakeRig) -> None:
    """An end that is older than the position's row says nothing about its stop (R3)."""
    rig = attached(make_exit_rig)
    rig.closed()
    rig.wait(100)
    rig.tell_row(rig.row("1", stop="97", target="103"))
    rig.open("99", position_id="ab12-1-6")
    old = rig.resting("uuid-s", "98", bound=True, status=OrderStatus.CANCELED, ts_event=1_000)
    rig.report(old)

    assert rig.actor.is_covered(rig.instrument)


def test_partial_stop_of_a_person_is_cover_of_its_part_only(make_exit_rig: MakeRig) -> None:
    """A bound stop for a part of the position does not count for the whole (scenario 2)."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.open()
    children(rig, qty="0.4")
    assert not rig.actor.is_covered(rig.instrument)
    rig.wait(260)

    assert 1 == len(rig.of(SetPositionProtection))


def test_firing_target_that_took_the_stop_away_is_left_alone(make_exit_rig: MakeRig) -> None:
    """The venue cancels the stop when the target fires: nothing is set meanwhile."""
    rig = attached(make_exit_rig)
    rig.wait(1000)
    rig.report(
        rig.resting(
            "uuid-t",
            "104",
            bound=True,
            role=ProtectionRole.TARGET,
            status=OrderStatus.TRIGGERING,
        ),
        rig.resting("uuid-s", "98", bound=True, status=OrderStatus.CANCELED),
        rig.resting(
            "uuid-t", "104", bound=True, role=ProtectionRole.TARGET, status=OrderStatus.FILLED
        ),
    )
    rig.wait(100)
    rig.closed()
    rig.wait(5000)

    assert [] == rig.intents
    assert [] == rig.told(ProtectionLost)
