"""Exit when stops vanish: what is believed, what is restored, and when it gives up."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aegis.core.errors import Refusal
from aegis.model.account import ProtectionRole
from aegis.model.events import (
    ProtectionFailed,
    ProtectionLost,
    ProtectionMismatchFound,
    ProtectionMismatchKind,
    SnapshotWanted,
)
from aegis.model.intent import CancelProtection, ClosePosition
from aegis.model.order import OrderStatus, Purpose
from aegis.model.position import CloseCause
from aegis.settings import AegisConfig

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]


def protected(make: MakeRig, config: AegisConfig | None = None) -> "ExitRig":
    """Return a rig with one covered position."""
    rig = make(config=config)
    rig.open()
    rig.accept_all()
    return rig


def without_stop(rig: "ExitRig", ms: float = 6000) -> None:
    """Let time pass, then let the venue list the position and its target alone."""
    rig.wait(ms)
    target = rig.order(rig.request(rig.orders(Purpose.TARGET)[0])).report
    rig.snapshot((rig.row("1"),), (target,))


def test_a_floor_that_exists_by_the_venues_word_is_believed(make_exit_rig: MakeRig) -> None:
    """Scenario 16, R46, R62: no list has it, a second one is refused: it rests."""
    rig = protected(make_exit_rig)
    without_stop(rig)
    assert not rig.actor.is_covered(rig.instrument)
    rig.complete(rig.orders(Purpose.STOP_FLOOR)[-1], Refusal.EXISTS, "is existing")

    assert rig.actor.is_covered(rig.instrument)
    rig.wait(10_000)
    assert [] == rig.told(ProtectionLost)
    assert [] == rig.of(ClosePosition)
    assert 2 == len(rig.orders(Purpose.STOP_FLOOR))
    # It is looked at again: at once, and when the next list is proof.
    assert 2 == len(rig.told(SnapshotWanted))


def test_the_venues_word_is_not_believed_for_ever(make_exit_rig: MakeRig) -> None:
    """R45: refused six times as existing and listed never: the deadlines run, it is closed."""
    rig = protected(make_exit_rig)
    for _ in range(7):
        without_stop(rig)
        rig.complete(rig.orders(Purpose.STOP_FLOOR)[-1], Refusal.EXISTS, "is existing")
    assert not rig.actor.is_covered(rig.instrument)
    rig.wait(3100)

    assert [CloseCause.UNPROTECTED] == [close.cause for _, close in rig.of(ClosePosition)]


def test_a_list_that_shows_the_floor_again_begins_anew(make_exit_rig: MakeRig) -> None:
    """R46: what was believed is confirmed: the count is back at none."""
    rig = protected(make_exit_rig)
    floor = rig.order(rig.request(rig.orders(Purpose.STOP_FLOOR)[0])).report
    for _ in range(9):
        without_stop(rig)
        rig.complete(rig.orders(Purpose.STOP_FLOOR)[-1], Refusal.EXISTS, "is existing")
        rig.snapshot((rig.row("1"),), (floor,))

    assert rig.actor.is_covered(rig.instrument)
    assert [] == rig.of(ClosePosition)


@pytest.mark.parametrize("how", ["never seen", "its end was told"])
def test_only_a_floor_that_may_rest_is_believed(make_exit_rig: MakeRig, how: str) -> None:
    """R45: a refusal alone, without a stop that was seen and not ended, covers nothing."""
    rig = make_exit_rig()
    rig.open()
    floor, target = rig.intents
    rig.accept(target)
    if how != "never seen":
        rig.accept(floor)
        without_stop(rig)
        rig.publish(rig.order(rig.request(floor), OrderStatus.CANCELED))
    rig.complete(rig.orders(Purpose.STOP_FLOOR)[-1], Refusal.EXISTS, "is existing")

    assert not rig.actor.is_covered(rig.instrument)


def test_a_venue_that_keeps_no_stop_is_given_up_after_two(make_exit_rig: MakeRig) -> None:
    """Scenario 2, R45: two stops it said yes to are in no list within a minute: closed."""
    rig = protected(make_exit_rig)
    without_stop(rig, 60_000)
    rig.accept(rig.orders(Purpose.STOP_FLOOR)[-1])
    rig.wait(1000)
    looks = len(rig.told(SnapshotWanted))
    assert [] == rig.of(ClosePosition)
    # It does not wait for the next steady look.
    rig.wait(6500)
    assert looks + 1 == len(rig.told(SnapshotWanted))
    without_stop(rig, 0)

    assert [CloseCause.UNPROTECTED] == [close.cause for _, close in rig.of(ClosePosition)]
    assert "2 of them without a word" in rig.told(ProtectionFailed)[0].reason


def test_a_stop_that_only_its_answer_told_is_looked_for_within_seconds(
    make_exit_rig: MakeRig,
) -> None:
    """R45, scenario 2: neither stream nor list have shown it: one look after 7 s, no steady one."""
    rig = make_exit_rig()
    rig.open()
    floor, target = rig.intents
    rig.accept(target)
    rig.accept(floor, heard=False)
    rig.wait(6900)
    assert [] == rig.told(SnapshotWanted)
    rig.wait(200)
    assert 1 == len(rig.told(SnapshotWanted))
    without_stop(rig, 0)

    assert 2 == len(rig.orders(Purpose.STOP_FLOOR))


def test_a_list_that_lacks_a_fresh_stop_is_followed_by_a_second_look(
    make_exit_rig: MakeRig,
) -> None:
    """R45 (sim seed 6): a list of a moment later proves nothing; one of 7 s later does."""
    rig = protected(make_exit_rig)
    without_stop(rig, 200)
    assert rig.actor.is_covered(rig.instrument)
    looks = len(rig.told(SnapshotWanted))
    rig.wait(7100)
    assert looks + 1 == len(rig.told(SnapshotWanted))
    without_stop(rig, 0)

    assert not rig.actor.is_covered(rig.instrument)
    assert 2 == len(rig.orders(Purpose.STOP_FLOOR))


def test_a_stop_that_stream_or_list_have_shown_is_not_looked_for(make_exit_rig: MakeRig) -> None:
    """R45: what two words tell needs no third: no question beside the steady look."""
    rig = protected(make_exit_rig)
    rig.wait(59_000)

    assert [] == rig.told(SnapshotWanted)


def test_losses_more_than_a_minute_apart_are_each_restored(make_exit_rig: MakeRig) -> None:
    """R45: a stop that a list lacked now and then is placed anew and no reason to close."""
    rig = protected(make_exit_rig)
    for _ in range(4):
        without_stop(rig, 61_000)
        rig.accept(rig.orders(Purpose.STOP_FLOOR)[-1])

    assert rig.actor.is_covered(rig.instrument)
    assert [] == rig.of(ClosePosition)


def test_stops_missing_together_with_the_position_are_no_loss_to_count(
    make_exit_rig: MakeRig,
) -> None:
    """R62: a venue takes its stops away with the position; a list that shows neither says that."""
    rig = protected(make_exit_rig)
    for _ in range(3):
        rig.wait(6000)
        rig.snapshot()
        rig.accept(rig.orders(Purpose.STOP_FLOOR)[-1])

    assert [] == rig.told(ProtectionFailed)


def test_stops_that_end_at_once_are_placed_at_the_steady_pace(make_exit_rig: MakeRig) -> None:
    """R45: accepted and expired again and again: asked at the pace, given up at the fifth."""
    rig = make_exit_rig()
    rig.open()
    asked_ms: list[float] = []
    for _ in range(200):
        for intent in rig.orders(Purpose.STOP_FLOOR)[len(asked_ms) :]:
            asked_ms.append(rig.loop.time() * 1000)
            if intent.intent_id in rig.actor.guarded()[0][0].pending:
                rig.accept(intent)
                rig.publish(rig.order(rig.request(intent), OrderStatus.EXPIRED))
        rig.wait(10)

    assert 5 == len(rig.orders(Purpose.STOP_FLOOR))
    gaps = [later - before for before, later in itertools.pairwise(asked_ms)]
    assert [250] * 4 == [round(gap, -1) for gap in gaps], gaps
    assert [CloseCause.UNPROTECTED] == [close.cause for _, close in rig.of(ClosePosition)]
    assert "5 stops lost within 60 s" in rig.told(ProtectionFailed)[0].reason


def strays(rig: "ExitRig") -> list[tuple[ProtectionMismatchKind, str]]:
    """Return what was told of orders that nothing needs."""
    return [(e.kind, e.client_order_id) for e in rig.told(ProtectionMismatchFound)]


def canceled(rig: "ExitRig") -> list[str]:
    """Return the ids exit asked to cancel."""
    return [command.client_order_id for _, command in rig.of(CancelProtection)]


def test_a_second_stop_of_ours_is_told_once_and_canceled(make_exit_rig: MakeRig) -> None:
    """R48, R88: two stops that count are one too many: the outdone one goes."""
    rig = protected(make_exit_rig)
    rig.entry_done()
    rig.report(rig.resting("ab12-1-5-SM40", "97", qty="1"))
    for _ in range(2):
        (intent,) = [i for i in rig.unanswered() if isinstance(i.command, CancelProtection)]
        rig.fail(intent)
        rig.wait(1200)

    assert ["ab12-1-5-SM40"] * 2 == canceled(rig)
    assert [(ProtectionMismatchKind.DUPLICATE_STOP, "ab12-1-5-SM40")] == strays(rig)


def test_replacing_a_moving_stop_is_no_mismatch(make_exit_rig: MakeRig) -> None:
    """R48: place, see, cancel is the way of every move."""
    rig = protected(make_exit_rig)
    rig.resize("2", vwap="101")
    rig.entry_done()
    rig.serve()
    rig.wait(1000)
    rig.resize("1", vwap="101")
    rig.serve()

    assert ["ab12-1-5-SM1"] == canceled(rig)
    assert [] == strays(rig)


def test_a_rung_nobody_wants_is_told_and_canceled(make_exit_rig: MakeRig) -> None:
    """R53: left by a ladder that is off now."""
    rig = protected(make_exit_rig)
    rig.entry_done()
    rig.report(rig.resting("ab12-1-5-RG7", "103", qty="0.5", role=ProtectionRole.TARGET))

    assert ["ab12-1-5-RG7"] == canceled(rig)
    assert [(ProtectionMismatchKind.STRAY_TARGET, "ab12-1-5-RG7")] == strays(rig)


def test_a_rung_that_gets_another_quantity_is_no_stray(make_exit_rig: MakeRig) -> None:
    """R53: the ladder follows the position."""
    rig = protected(make_exit_rig, AegisConfig(ladder=("1:0.25", "1.5:0.5")))
    rig.entry_done()
    rig.serve()
    rig.resize("0.9")
    rig.serve()
    rig.wait(1000)
    rig.serve()

    assert [] == strays(rig)
