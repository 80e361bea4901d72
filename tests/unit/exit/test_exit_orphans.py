"""Exit's sweep: leftovers go when flat is said twice, and nothing else is touched (R62)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from aegis.core.errors import Refusal
from aegis.model.events import SnapshotWanted
from aegis.model.intent import CancelProtection, PlaceProtection
from aegis.model.order import OrderStatus, Purpose

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]


def canceled(rig: "ExitRig") -> list[str]:
    """Return the ids whose cancel was asked for."""
    return [command.client_order_id for _, command in rig.of(CancelProtection)]


def closed_with_leftover(make: MakeRig) -> "ExitRig":
    """Return a rig whose closed position left a quantity stop, and a person's stop beside it."""
    rig = make()
    rig.open()
    rig.accept_all()
    rig.report(
        rig.resting("ab12-1-5-SM1", "99", qty="1"),
        rig.resting("web_1", "90", qty="1"),
        rig.resting("zz99-1-5-SM1", "90", qty="1"),
    )
    for intent in rig.intents:
        rig.publish(rig.order(rig.request(intent), OrderStatus.EXPIRED))
    rig.closed()
    return rig


def test_leftover_goes_when_book_and_venue_say_flat(make_exit_rig: MakeRig) -> None:
    """PositionClosed and a flat row: ours is canceled, foreign orders never (scenario 25)."""
    rig = closed_with_leftover(make_exit_rig)
    rig.tell_row(rig.row("0"))
    rig.wait(1100)

    assert ["ab12-1-5-SM1"] == canceled(rig)
    leftover = rig.resting("ab12-1-5-SM1", "99", qty="1", status=OrderStatus.CANCELED)
    rig.report(leftover)
    rig.wait(120_000)
    assert ["ab12-1-5-SM1"] == canceled(rig)


def test_unknown_is_not_flat(make_exit_rig: MakeRig) -> None:
    """Without the venue's word nothing is canceled, however long; it is asked (R62, R88)."""
    rig = closed_with_leftover(make_exit_rig)
    rig.wait(120_000)

    assert [] == canceled(rig)
    assert len(rig.told(SnapshotWanted)) in range(4, 12)
    rig.snapshot()
    rig.wait(31_000)
    # The snapshot that says flat lists no such order: nothing is left to cancel.
    assert [] == canceled(rig)


def test_venue_that_shows_the_position_keeps_everything(make_exit_rig: MakeRig) -> None:
    """The book says closed, the venue does not: its stops stay (R62)."""
    rig = closed_with_leftover(make_exit_rig)
    left = rig.resting("ab12-1-5-SM1", "99", qty="1")
    for _ in range(10):
        rig.snapshot((rig.row("1"),), (left,))
        rig.wait(10_000)

    assert [] == canceled(rig)


def test_reopened_position_stops_the_sweep(make_exit_rig: MakeRig) -> None:
    """While a position is open nothing is swept; after it, the older leftovers go too (R62)."""
    rig = closed_with_leftover(make_exit_rig)
    rig.tell_row(rig.row("0"))
    rig.wait(900)
    rig.open("105", position_id="ab12-1-6")
    rig.accept_all()
    rig.wait(60_000)
    swept = [i for i, _ in rig.of(CancelProtection) if i.reason.startswith("orphan")]
    assert [] == swept
    for intent in rig.orders(Purpose.STOP_FLOOR) + rig.orders(Purpose.TARGET):
        rig.publish(rig.order(rig.request(intent), OrderStatus.EXPIRED))
    rig.tell_row(rig.row("0"))
    rig.closed()
    rig.wait(1100)

    assert "ab12-1-5-SM1" in canceled(rig)


def test_leftover_of_an_earlier_run_goes_after_two_snapshots(make_exit_rig: MakeRig) -> None:
    """At start an order of ours without a position: one snapshot asks, two cancel (R62, R88)."""
    rig = make_exit_rig()
    orders = (
        rig.resting("ab12-0-9-SM2", "99", qty="1"),
        rig.resting("web_1", "90", qty="1"),
        rig.resting("zz99-0-9-SM2", "90", qty="1"),
    )
    rig.start((), orders)
    rig.wait(1100)
    assert [] == canceled(rig)
    assert 1 == len(rig.told(SnapshotWanted))
    rig.snapshot((), orders)
    rig.wait(3000)

    assert ["ab12-0-9-SM2"] == canceled(rig)


def test_leftover_of_an_adopted_position_goes(make_exit_rig: MakeRig) -> None:
    """An earlier run's quantity stop does not outlive the position adopted with it (R62)."""
    rig = make_exit_rig()
    rig.start((rig.row("1"),), (rig.resting("ab12-0-3-SM1", "97", qty="1"),))
    rig.open(adopted=True)
    rig.accept_all()
    for intent, _ in rig.of(PlaceProtection):
        rig.publish(rig.order(rig.request(intent), OrderStatus.EXPIRED))
    rig.tell_row(rig.row("0"))
    rig.closed()
    rig.wait(1100)

    (swept,) = [i for i, _ in rig.of(CancelProtection) if i.reason.startswith("orphan")]
    assert "ab12-0-3" == swept.position_id
    assert "ab12-0-3-SM1" == canceled(rig)[-1]


def test_stop_that_arrives_after_the_close_goes(make_exit_rig: MakeRig) -> None:
    """A stop whose answer was late appears after PositionClosed: it is swept (scenario 21)."""
    rig = make_exit_rig()
    rig.open()
    floor = rig.intents[0]
    rig.tell_row(rig.row("0"))
    rig.closed()
    rig.wait(30_000)
    assert [] == canceled(rig)
    rig.accept(floor)
    rig.wait(1100)

    assert ["ab12-1-5-SF1"] == canceled(rig)


def test_failed_cancel_asks_the_venue_and_is_repeated_slowly(make_exit_rig: MakeRig) -> None:
    """A cancel error is not swallowed: looked into, repeated ever slower (scenario 27)."""
    rig = closed_with_leftover(make_exit_rig)
    rig.tell_row(rig.row("0"))
    rig.wait(1100)
    before = len(rig.told(SnapshotWanted))
    rig.complete(rig.of(CancelProtection)[0][0], Refusal.NOT_FOUND)
    assert before + 1 == len(rig.told(SnapshotWanted))
    rig.wait(120_000)

    assert len(canceled(rig)) in range(4, 9)
