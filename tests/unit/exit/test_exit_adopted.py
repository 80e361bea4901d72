"""Exit at start: positions found on the venue keep what they have, or get what they lack (R88)."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs
import pytest

from aegis.core.errors import Refusal
from aegis.model.account import PositionReport, ProtectionRole
from aegis.model.events import (
    AlertRaised,
    ProtectionConfirmed,
    ProtectionWanted,
    VenueConnected,
    VenueProtected,
)
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import CancelProtection, ClosePosition, SetPositionProtection
from aegis.model.order import OrderStatus, PositionSide, Purpose
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]
TARGET = ProtectionRole.TARGET


def test_empty_venue_is_protected_at_once(make_exit_rig: MakeRig) -> None:
    """Nothing was found: entries may begin."""
    rig = make_exit_rig()
    rig.start()

    assert [0] == [e.positions for e in rig.told(VenueProtected)]


@pytest.mark.parametrize("stop_id", ["web_1", "ab12-0-3-SF1", "zz99-1-1-SF1"])
def test_found_levels_are_kept(make_exit_rig: MakeRig, stop_id: str) -> None:
    """A person's stop and target, or an earlier run's, stay as they were found."""
    rig = make_exit_rig()
    rig.start(
        (rig.row("1", mark="101"),),
        (rig.resting(stop_id, "91.5"), rig.resting("web_2", "120", role=TARGET)),
    )
    assert [] == rig.told(VenueProtected)
    rig.open(adopted=True)
    rig.wait(10_000)

    assert [] == rig.intents
    assert [1] == [e.positions for e in rig.told(VenueProtected)]
    (confirmed,) = rig.told(ProtectionConfirmed)
    assert (Decimal("91.5"), Decimal(120)) == (confirmed.stop_price, confirmed.target_price)


def test_found_without_protection_gets_ours_before_entries(make_exit_rig: MakeRig) -> None:
    """Without a stop one is placed at the largest distance the settings allow (R88)."""
    rig = make_exit_rig()
    rig.start((rig.row("1"),))
    rig.open(adopted=True)
    assert [Decimal("97.0"), Decimal("105.4")] == [
        rig.request(i).trigger_price for i in rig.intents
    ]
    assert [] == rig.told(VenueProtected)
    rig.accept_all()

    assert 1 == len(rig.told(VenueProtected))


def test_found_on_a_venue_with_position_stops(make_exit_rig: MakeRig) -> None:
    """The row's own stop is kept and the missing target is added beside it."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.start((rig.row("1", stop="95"),))
    rig.open(adopted=True)
    ((_, command),) = rig.of(SetPositionProtection)

    assert (Decimal(95), Decimal("105.4")) == (command.stop_price, command.target_price)


def test_found_stop_beyond_liquidation_is_not_enough(make_exit_rig: MakeRig) -> None:
    """A stop that fires after liquidation protects nothing: ours joins above it (R29)."""
    rig = make_exit_rig()
    rig.start((rig.row("1", liquidation="98"),), (rig.resting("web_1", "97"),))
    rig.open(adopted=True)
    moving = rig.request(rig.orders(Purpose.STOP_MOVING)[0])

    # 60 % of the way from 100 to 98, rounded toward the entry.
    assert Decimal("98.8") == moving.trigger_price
    assert Decimal("98.8") == rig.told(ProtectionWanted)[0].stop_price


def test_found_row_stop_on_the_wrong_side_of_the_mark_is_replaced(make_exit_rig: MakeRig) -> None:
    """A level the mark has passed is no stop: ours is set instead (R47)."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.start((rig.row("1", stop="103", target="110", mark="101"),))
    rig.open(adopted=True)
    ((_, command),) = rig.of(SetPositionProtection)

    assert Decimal(97) == command.stop_price


def test_found_profit_lock_is_kept(make_exit_rig: MakeRig) -> None:
    """A stop in profit, below the mark of a long, is a person's choice."""
    rig = make_exit_rig(Venue.BYBIT)
    rig.start((rig.row("1", stop="103", target="110", mark="105"),))
    rig.open(adopted=True)

    assert [] == rig.intents


def test_found_stop_for_a_part_is_no_cover(make_exit_rig: MakeRig) -> None:
    """A stop with a smaller quantity is left alone and a whole one placed (scenario 2)."""
    rig = make_exit_rig()
    rig.start((rig.row("1"),), (rig.resting("web_1", "99.5", qty="0.1"),))
    rig.open(adopted=True)
    rig.accept_all()

    assert Decimal(97) == rig.request(rig.orders(Purpose.STOP_FLOOR)[0]).trigger_price
    assert [] == rig.of(CancelProtection)


def test_found_stop_that_vanishes_is_restored_where_it_was(make_exit_rig: MakeRig) -> None:
    """The level that was found stays the one to restore."""
    rig = make_exit_rig()
    stop = rig.resting("web_1", "91.5")
    rig.start((rig.row("1"),), (stop, rig.resting("web_2", "120", role=TARGET)))
    rig.open(adopted=True)
    rig.report(attrs.evolve(stop, status=OrderStatus.CANCELED))

    assert Decimal("91.5") == rig.request(rig.intents[-1]).trigger_price


def test_unprotectable_position_is_closed_before_entries(make_exit_rig: MakeRig) -> None:
    """No stop to be had: closed at the hard deadline; then the venue counts as safe (R88)."""
    rig = make_exit_rig()
    rig.start((rig.row("1"),))
    rig.open(adopted=True)
    for _ in range(31):
        for intent in rig.orders(Purpose.STOP_FLOOR):
            rig.complete(intent, Refusal.OTHER)
        rig.wait(100)
    assert [CloseCause.UNPROTECTED] == [c.cause for _, c in rig.of(ClosePosition)]
    assert [] == rig.told(VenueProtected)
    rig.closed(CloseCause.UNPROTECTED)

    assert [0] == [e.positions for e in rig.told(VenueProtected)]


@pytest.mark.parametrize("how", ["row", "snapshot"])
def test_position_gone_before_it_was_adopted_ends_the_wait(
    make_exit_rig: MakeRig, how: str
) -> None:
    """A flat row is enough where the venue keeps no position stops, and so is a snapshot."""
    rig = make_exit_rig()
    rig.start((rig.row("1"),))
    if how == "row":
        rig.tell_row(rig.row("0"))
    else:
        rig.snapshot()

    assert [0] == [e.positions for e in rig.told(VenueProtected)]


def test_short_found_with_a_long_position_s_stop_is_naked(make_exit_rig: MakeRig) -> None:
    """Side counts: a SELL stop does not protect a short (scenario 23, opposite side)."""
    rig = make_exit_rig()
    rig.start((rig.row("-1"),), (rig.resting("ab12-0-3-SF1", "97"),))
    rig.open(adopted=True, side=PositionSide.SHORT)

    assert not rig.actor.is_covered(rig.instrument)
    assert Decimal(103) == rig.request(rig.orders(Purpose.STOP_FLOOR)[0]).trigger_price


def test_unknown_instrument_is_told_and_closed_unless_covered(make_exit_rig: MakeRig) -> None:
    """Without trading rules nothing can be placed: alarm, then the hard deadline closes (R45)."""
    rig = make_exit_rig()
    known = rig.instrument
    rig.instrument = instrument_id("NEWUSDT", Venue.BINANCE)
    stranger: PositionReport = rig.row("1")
    rig.snapshot((stranger,))
    rig.open(adopted=True)
    assert ["instrument_unknown"] == [e.rule for e in rig.told(AlertRaised)]
    assert not rig.actor.is_covered(rig.instrument)
    rig.wait(3010)

    assert [CloseCause.UNPROTECTED] == [c.cause for _, c in rig.of(ClosePosition)]
    assert known != rig.of(ClosePosition)[0][1].request.instrument_id


def test_unknown_instrument_is_protected_once_its_rules_come(make_exit_rig: MakeRig) -> None:
    """VenueConnected brings the rules: the stop is placed within the bound."""
    rig = make_exit_rig()
    rig.instrument = instrument_id("NEWUSDT", Venue.BINANCE)
    rig.open(adopted=True)
    assert [] == rig.intents
    before = rig.told(VenueConnected)[0]
    rig.publish(attrs.evolve(before, instruments=(rig.rules(),)))
    rig.accept_all()
    rig.wait(5000)

    assert rig.actor.is_covered(rig.instrument)
    assert [] == rig.of(ClosePosition)
