"""Exit's closer: one per position, reduce-only, until the venue says flat (R59, R60)."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.core.errors import Refusal
from aegis.model.events import AlertRaised, KillSwitchPulled, ProtectionFailed, SnapshotWanted
from aegis.model.intent import ClosePosition, PlaceProtection
from aegis.model.order import OrderSide, OrderStatus, PositionSide, Purpose
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]


def closing(make: MakeRig, qty: str = "1", **options: str) -> "ExitRig":
    """Return a rig with a covered position that a person asked to close."""
    rig = make(**options)
    rig.open(qty=qty)
    rig.accept_all()
    ask(rig)
    return rig


def ask(rig: "ExitRig") -> None:
    """Ask for a close by hand."""
    rig.call(
        lambda: rig.actor.close(rig.instrument, CloseCause.MANUAL, Purpose.CLOSE_MANUAL, "asked")
    )


@pytest.mark.parametrize("side", PositionSide)
def test_close_is_reduce_only_on_the_exit_side(make_exit_rig: MakeRig, side: PositionSide) -> None:
    """A close can only shrink the position it was asked for (R59, scenario 16)."""
    rig = make_exit_rig()
    rig.open(side=side)
    ask(rig)
    ((_, command),) = rig.of(ClosePosition)

    assert command.request.reduce_only
    assert side.exit_side is command.request.side
    assert Decimal(1) == command.request.qty
    assert CloseCause.MANUAL is command.cause


def test_one_closer_per_position(make_exit_rig: MakeRig) -> None:
    """Whoever asks second joins the first: one close order under way (R59)."""
    rig = closing(make_exit_rig)
    ask(rig)
    begun: list[int] = []
    rig.call(
        lambda: begun.append(
            rig.actor.close_all(CloseCause.FLATTEN, Purpose.CLOSE_FLATTEN, "the end")
        )
    )

    assert [0] == begun
    assert 1 == len(rig.of(ClosePosition))


def test_large_position_is_closed_in_slices_without_an_alarm(make_exit_rig: MakeRig) -> None:
    """Each order takes at most the venue's market maximum, until nothing is left."""
    rig = closing(make_exit_rig, qty="2.5", market_qty_max="1")
    for left in ("1.5", "0.5"):
        last = rig.of(ClosePosition)[-1][0]
        rig.complete(last)
        rig.resize(left)
        rig.advance(last, OrderStatus.FILLED)
        rig.wait(260)

    assert [Decimal(1), Decimal(1), Decimal("0.5")] == [
        c.request.qty for _, c in rig.of(ClosePosition)
    ]
    assert [] == rig.told(AlertRaised)


def test_failed_close_is_repeated_with_growing_pace_and_escalates(make_exit_rig: MakeRig) -> None:
    """Refused, not sent, canceled: again at 250, 500, 1000 ms, never dropped (R60)."""
    rig = closing(make_exit_rig)
    gaps = []
    for number in range(12):
        began = rig.loop.time()
        rig.fail(rig.of(ClosePosition)[number][0])
        while len(rig.of(ClosePosition)) == number + 1:
            rig.wait(5)
        gaps.append(rig.loop.time() - began)

    expected = [0.25, 0.5, 1, 2, 4, 5, 5, 5, 5, 5, 5, 5]
    assert expected == pytest.approx(gaps, abs=0.006)
    levels = [e.level for e in rig.told(AlertRaised)]
    assert ["WARNING"] + ["CRITICAL"] * 11 == levels
    ids = [c.request.client_order_id for _, c in rig.of(ClosePosition)]
    assert len(ids) == len(set(ids))


def test_partly_filled_close_closes_the_rest(make_exit_rig: MakeRig) -> None:
    """A close that ended with a part done is followed by one for what is left (R60)."""
    rig = closing(make_exit_rig)
    first = rig.of(ClosePosition)[0][0]
    rig.complete(first)
    rig.resize("0.3")
    rig.advance(first, OrderStatus.EXPIRED)
    rig.wait(260)

    assert Decimal("0.3") == rig.of(ClosePosition)[-1][1].request.qty


def test_close_rejected_after_its_answer_is_repeated(make_exit_rig: MakeRig) -> None:
    """A venue that accepts and then rejects on its stream does not stall the close (R60)."""
    rig = closing(make_exit_rig)
    first = rig.of(ClosePosition)[0][0]
    rig.complete(first)
    rig.advance(first, OrderStatus.REJECTED)
    rig.wait(260)

    assert 2 == len(rig.of(ClosePosition))


def test_close_of_which_nothing_is_heard_is_repeated(make_exit_rig: MakeRig) -> None:
    """No answer and no report for 10 s: told, and asked for once more (R60)."""
    rig = closing(make_exit_rig)
    rig.complete(rig.of(ClosePosition)[0][0])
    rig.wait(9_900)
    assert 1 == len(rig.of(ClosePosition))
    rig.wait(400)

    assert 2 == len(rig.of(ClosePosition))
    assert "nothing heard for 10.0 s" in rig.told(AlertRaised)[0].message


def test_filled_close_waits_for_its_fills(make_exit_rig: MakeRig) -> None:
    """FILLED before its executions: no second close, no alarm, for two seconds (scenario 26)."""
    rig = closing(make_exit_rig)
    first = rig.of(ClosePosition)[0][0]
    rig.complete(first)
    rig.advance(first, OrderStatus.FILLED)
    rig.wait(1900)
    assert 1 == len(rig.of(ClosePosition))
    rig.closed()
    rig.wait(20_000)

    assert 1 == len(rig.of(ClosePosition))
    assert [] == rig.told(AlertRaised)


def test_filled_close_without_fills_is_doubted(make_exit_rig: MakeRig) -> None:
    """Still open two seconds after FILLED: the venue is asked and the rest closed (R60)."""
    rig = closing(make_exit_rig)
    rig.advance(rig.of(ClosePosition)[0][0], OrderStatus.FILLED)
    rig.wait(2010)

    assert 1 == len(rig.told(SnapshotWanted))
    assert 2 == len(rig.of(ClosePosition))


def test_nothing_to_close_asks_the_venue(make_exit_rig: MakeRig) -> None:
    """A native stop was faster: the refusal is looked into, the position not dropped (R60)."""
    rig = closing(make_exit_rig)
    rig.complete(rig.of(ClosePosition)[0][0], Refusal.NO_POSITION, "ReduceOnly is rejected")
    assert ["nothing to close? ReduceOnly is rejected"] == [
        e.reason for e in rig.told(SnapshotWanted)
    ]
    assert 1 == len(rig.actor.guarded())
    rig.closed()
    rig.wait(60_000)

    assert 1 == len(rig.of(ClosePosition))


def test_native_stop_during_a_close_never_flips(make_exit_rig: MakeRig) -> None:
    """The stop fires while the close is under way: both only reduce, nothing more (scenario 27)."""
    rig = closing(make_exit_rig)
    floor = rig.request(rig.intents[0])
    rig.publish(rig.order(floor, OrderStatus.TRIGGERING), rig.order(floor, OrderStatus.FILLED))
    rig.resize("0")
    rig.complete(rig.of(ClosePosition)[0][0], Refusal.NO_POSITION)
    rig.closed()
    rig.wait(60_000)

    assert 1 == len(rig.of(ClosePosition))
    sides = {rig.request(i).side for i in rig.intents}
    assert {OrderSide.SELL} == sides


def test_entry_that_fills_on_during_a_close_is_closed_too(make_exit_rig: MakeRig) -> None:
    """Flat for a moment, then one more entry fill: the closer takes it (R60)."""
    rig = make_exit_rig()
    rig.open(qty="0.5")
    rig.resize("0")
    ask(rig)
    assert [] == rig.of(ClosePosition)
    rig.resize("0.5")

    assert [Decimal("0.5")] == [c.request.qty for _, c in rig.of(ClosePosition)]


def test_stop_is_still_sought_while_a_close_fails(make_exit_rig: MakeRig) -> None:
    """A close that fails and a stop that is gone: the stop is placed again, no target (R45)."""
    rig = closing(make_exit_rig)
    floor = rig.request(rig.intents[0])
    rig.publish(rig.order(floor, OrderStatus.CANCELED))
    rig.wait(1000)
    assert 2 == len(rig.of(PlaceProtection))
    rig.fail(rig.of(ClosePosition)[0][0])
    rig.wait(300)

    assert 3 == len(rig.of(PlaceProtection))
    assert Purpose.STOP_FLOOR is rig.of(PlaceProtection)[-1][1].request.purpose


def test_close_all_counts_what_it_began(make_exit_rig: MakeRig) -> None:
    """Every open position is closed with the given cause."""
    rig = make_exit_rig()
    rig.open()
    begun: list[int] = []
    rig.call(
        lambda: begun.append(
            rig.actor.close_all(CloseCause.FLATTEN, Purpose.CLOSE_FLATTEN, "the end")
        )
    )

    assert [1] == begun
    assert [CloseCause.FLATTEN] == [c.cause for _, c in rig.of(ClosePosition)]


def test_deadline_during_a_close_does_not_begin_another(make_exit_rig: MakeRig) -> None:
    """The stop goes during a close: its cause stays, no second one begins (R59)."""
    rig = closing(make_exit_rig)
    rig.publish(rig.order(rig.request(rig.intents[0]), OrderStatus.CANCELED))
    rig.wait(3500)

    assert [CloseCause.MANUAL] == [c.cause for _, c in rig.of(ClosePosition)]
    assert [] == rig.told(ProtectionFailed)


def test_no_position_is_no_trap(make_exit_rig: MakeRig) -> None:
    """Closes refused because the venue knows of nothing open halt no entries elsewhere (R60)."""
    rig = make_exit_rig()
    rig.open()
    ask(rig)
    for _ in range(5):
        last = rig.of(ClosePosition)[-1][0]
        rig.complete(last, Refusal.NO_POSITION, "ReduceOnly is rejected")
        rig.wait(6_000)

    assert [] == rig.told(KillSwitchPulled)
    assert rig.told(SnapshotWanted)
