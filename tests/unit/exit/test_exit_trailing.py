"""Exit's moving stops: trailing and break-even, on the venue's word only (R49 to R54)."""

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from aegis.core.errors import Refusal
from aegis.exit.decide import Resting, effective_stop, stops_of
from aegis.model.account import ProtectionRole
from aegis.model.events import ProtectionChanged, ProtectionConfirmed
from aegis.model.instrument import Venue
from aegis.model.intent import ClosePosition
from aegis.model.order import OrderStatus, PositionSide, Purpose
from aegis.model.position import CloseCause
from aegis.settings import AegisConfig

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]
LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
TRAILING: dict[str, Any] = {"trail_start_r": 1.0, "trail_distance_r": 0.5, "trail_interval_s": 0.0}


def opened(
    make: MakeRig, venue: Venue = Venue.BINANCE, side: PositionSide = LONG, **knobs: Any
) -> "ExitRig":
    """Return a rig with a covered position at 100 whose stop is 2 away, so that 1 R is 2."""
    rig = make(venue, config=AegisConfig(**knobs))
    rig.start()
    rig.open(side=side)
    if venue is Venue.BYBIT:
        signed = str(side.sign)
        far = {LONG: ("98", "104"), SHORT: ("102", "96")}[side]
        rig.tell_row(rig.row(signed, stop=far[0], target=far[1]))
    rig.entry_done()
    rig.serve()
    return rig


def stop_of(rig: "ExitRig") -> Decimal:
    """Return the price of the effective stop that rests on the venue."""
    ((guarded, resting),) = rig.actor.guarded()
    stop = effective_stop(guarded.position, resting)
    assert stop is not None
    assert stop.trigger_price is not None
    return stop.trigger_price


def stops(rig: "ExitRig") -> list[Resting]:
    """Return every stop that rests for the position."""
    ((guarded, resting),) = rig.actor.guarded()
    return stops_of(guarded.position, resting)


def play(rig: "ExitRig", *marks: str, apart_ms: float = 1000) -> list[str]:
    """Publish marks, the venue doing what is asked; return where the stop rested after each."""
    seen = []
    for mark in marks:
        rig.mark(mark)
        rig.serve()
        rig.wait(apart_ms)
        rig.serve()
        seen.append(str(stop_of(rig).normalize()))
    return seen


@pytest.mark.parametrize("venue", Venue)
def test_stop_follows_the_mark_and_never_back(make_exit_rig: MakeRig, venue: Venue) -> None:
    """From 1 R on it lies half an R behind the best mark, whatever the mark does then (R50)."""
    rig = opened(make_exit_rig, venue, **TRAILING)

    assert ["98", "98", "101", "101", "101.6", "101.6"] == play(
        rig, "101", "101.9", "102", "101.5", "102.6", "102.2"
    )
    assert CloseCause.TRAIL is rig.told(ProtectionChanged)[-1].stop_cause
    assert [] == rig.of(ClosePosition)


@pytest.mark.parametrize("venue", Venue)
def test_short_is_the_mirror_of_a_long(make_exit_rig: MakeRig, venue: Venue) -> None:
    """The same path mirrored at the entry moves a short's stop to the mirrored prices (R50)."""
    rig = opened(make_exit_rig, venue, SHORT, **TRAILING)

    assert ["102", "102", "99", "99", "98.4", "98.4"] == play(
        rig, "99", "98.1", "98", "98.5", "97.4", "97.8"
    )


def test_nothing_moves_by_default(make_exit_rig: MakeRig) -> None:
    """Trailing, break-even and ladder are off unless the operator switches them on."""
    rig = opened(make_exit_rig)
    before = len(rig.intents)

    assert ["98", "98"] == play(rig, "102", "103.9")
    assert before == len(rig.intents)


@pytest.mark.parametrize(
    ("knob", "value", "expected"),
    [
        ("trail_start_r", 1.25, ["98", "101.5"]),
        ("trail_distance_r", 0.25, ["101.5", "102"]),
        ("trail_step_r", 0.3, ["101", "101"]),
        ("trail_step_r", 0.1, ["101", "101.5"]),
        ("trail_interval_s", 5.0, ["101", "101"]),
        ("trail_start_r", 0.0, ["98", "98"]),
    ],
)
def test_each_knob_of_the_trail_has_its_effect(
    make_exit_rig: MakeRig, knob: str, value: float, expected: list[str]
) -> None:
    """Start, distance, least step and interval do what their names say (R50)."""
    rig = opened(make_exit_rig, **{**TRAILING, knob: value})

    assert expected == play(rig, "102", "102.5")


def test_interval_delays_a_move_and_does_not_lose_it(make_exit_rig: MakeRig) -> None:
    """After the interval the next mark moves the stop by the best seen meanwhile (R50)."""
    rig = opened(make_exit_rig, **{**TRAILING, "trail_interval_s": 5.0})

    assert ["101", "101", "101.8"] == play(rig, "102", "102.8", "102.7", apart_ms=2600)


@pytest.mark.parametrize("venue", Venue)
def test_break_even_moves_the_native_stop(make_exit_rig: MakeRig, venue: Venue) -> None:
    """At its profit the stop on the venue goes to the entry plus both fees, once (R54)."""
    rig = opened(make_exit_rig, venue, break_even_r=0.5)

    assert ["98", "100.1", "100.1"] == play(rig, "100.9", "101", "103")
    assert CloseCause.SL is rig.told(ProtectionChanged)[-1].stop_cause


def test_break_even_waits_until_the_fees_are_earned(make_exit_rig: MakeRig) -> None:
    """A stop that would fire at once is not asked for (R47)."""
    rig = opened(make_exit_rig, break_even_r=0.01)

    assert ["98", "98", "100.1"] == play(rig, "100.05", "100.1", "100.2")
    assert [] == rig.of(ClosePosition)


def test_moved_stop_is_placed_seen_and_only_then_the_old_one_goes(make_exit_rig: MakeRig) -> None:
    """Binance: second moving stop first, cancel after; the floor stays beneath (R48)."""
    rig = opened(make_exit_rig, **TRAILING)
    play(rig, "102")
    rig.mark("103")
    (placed,) = rig.unanswered()
    assert Purpose.STOP_TRAIL is rig.request(placed).purpose
    assert 2 == len(stops(rig))
    rig.accept(placed)
    assert 3 == len(stops(rig))
    rig.serve()

    assert [Decimal(98), Decimal(102)] == [s.trigger_price for s in stops(rig)]
    assert [None, Decimal(1)] == [s.qty for s in stops(rig)]


@pytest.mark.parametrize("venue", Venue)
def test_old_stop_lives_until_the_venue_takes_a_new_one(
    make_exit_rig: MakeRig, venue: Venue
) -> None:
    """Scenario 22: ten moves rejected, then a restart: the old stop lives, state = venue (R49)."""
    rig = opened(make_exit_rig, venue, **TRAILING)
    play(rig, "102")
    refused = 0
    while refused < 10:
        rig.mark(str(Decimal("103") + Decimal(refused) / 100))
        for intent in rig.unanswered():
            rig.fail(intent, "refused")
            refused += 1
        rig.wait(61_000)
    assert Decimal(101) == stop_of(rig)
    assert Decimal(101) == rig.told(ProtectionChanged)[-1].stop_price

    again = restarted(make_exit_rig, venue, stop="101", **TRAILING)
    assert Decimal(101) == stop_of(again)
    assert [] == again.intents
    # Half an R behind the best of 1 R: the earlier best of the refused moves is not believed.
    assert ["101", "101.4"] == play(again, "101.9", "102.4")


def restarted(
    make: MakeRig,
    venue: Venue,
    stop: str,
    *,
    side: PositionSide = LONG,
    stop_id: str = "ab12-1-5-ST3",
    target: str | None = None,
    **knobs: Any,
) -> "ExitRig":
    """Return a rig that goes on with a position of an earlier run whose stop rests at *stop*."""
    rig = make(venue, config=AegisConfig(**knobs))
    target = target or str(100 + 4 * side.sign)
    if venue is Venue.BYBIT:
        rig.start((rig.row(str(side.sign), stop=stop, target=target),))
    else:
        floor = str(100 - 2 * side.sign)
        rig.start(
            (rig.row(str(side.sign)),),
            (
                rig.resting("ab12-1-5-SF1", floor, side=side.exit_side),
                rig.resting(
                    "ab12-1-5-TP1", target, role=ProtectionRole.TARGET, side=side.exit_side
                ),
                rig.resting(stop_id, stop, qty="1", side=side.exit_side),
            ),
        )
    rig.open(side=side, restored=True)
    return rig


@pytest.mark.parametrize("venue", Venue)
@pytest.mark.parametrize(("side", "stop", "mark"), [(LONG, "101", "101.4"), (SHORT, "99", "98.6")])
def test_restored_trail_goes_on_from_the_stop_found(
    make_exit_rig: MakeRig, venue: Venue, side: PositionSide, stop: str, mark: str
) -> None:
    """A tighter stop found is kept, its activation derived, and a close there is a TRAIL (R51)."""
    rig = restarted(make_exit_rig, venue, stop, side=side, **TRAILING)
    (confirmed,) = rig.told(ProtectionConfirmed)
    assert CloseCause.TRAIL is confirmed.stop_cause
    assert [] == rig.intents

    # Below the start of 1 R, yet active: the stop found says so. It holds until a better mark.
    assert [stop] == play(rig, mark)
    better = {LONG: ("103", "102"), SHORT: ("97", "98")}[side]
    assert [better[1]] == play(rig, better[0])


def test_restored_stop_at_break_even_is_no_trail(make_exit_rig: MakeRig) -> None:
    """Bybit's stop without an id is called by where it lies: break-even is SL (R79)."""
    rig = restarted(make_exit_rig, Venue.BYBIT, "100.1", break_even_r=0.5, **TRAILING)

    (confirmed,) = rig.told(ProtectionConfirmed)
    assert CloseCause.SL is confirmed.stop_cause
    assert ["100.1", "101"] == play(rig, "101.5", "102")


@pytest.mark.parametrize("venue", Venue)
def test_hand_loosened_stop_is_tightened_again_after_a_restart(
    make_exit_rig: MakeRig, venue: Venue
) -> None:
    """A restored position takes its plan's level where the stop found is looser (R51, R72)."""
    rig = restarted(make_exit_rig, venue, "95", stop_id="ab12-1-5-SM3")
    rig.serve()

    assert Decimal(98) == stop_of(rig)


def test_restored_stop_altered_by_hand_in_the_run_comes_back(make_exit_rig: MakeRig) -> None:
    """What the venue had acknowledged is never loosened, by whomever (R72)."""
    rig = restarted(make_exit_rig, Venue.BYBIT, "101", **TRAILING)
    rig.tell_row(rig.row("1", stop="97", target="104"))
    rig.serve()

    assert Decimal(101) == stop_of(rig)


def test_level_the_market_passed_before_the_venue_took_it_closes(make_exit_rig: MakeRig) -> None:
    """A trailing stop nobody would take is carried out at market when its price comes (R47)."""
    rig = opened(make_exit_rig, **TRAILING)
    rig.mark("102")
    (placed,) = rig.unanswered()
    rig.fail(placed, "busy")
    rig.mark("100.9")

    ((_, command),) = rig.of(ClosePosition)
    assert CloseCause.TRAIL is command.cause
    assert Purpose.STOP_TRAIL is command.request.purpose


def test_trailing_stop_refused_as_passed_closes_as_trail(make_exit_rig: MakeRig) -> None:
    """Would trigger at once: the close is called what the stop would have been (R47, R79)."""
    rig = opened(make_exit_rig, **TRAILING)
    rig.mark("102")
    (placed,) = rig.unanswered()
    rig.complete(placed, Refusal.WOULD_TRIGGER)

    assert [CloseCause.TRAIL] == [c.cause for _, c in rig.of(ClosePosition)]


def test_stop_that_fired_is_not_raced_by_a_close(make_exit_rig: MakeRig) -> None:
    """While the trailing stop's executions are under way, its price is no reason to close (R59)."""
    rig = opened(make_exit_rig, **TRAILING)
    play(rig, "102")
    (stop,) = rig.orders(Purpose.STOP_TRAIL)
    rig.publish(rig.order(rig.request(stop), OrderStatus.FILLED, filled_qty=Decimal(1)))
    rig.mark("100.5")

    assert [] == rig.of(ClosePosition)


def test_adopted_positions_are_not_moved(make_exit_rig: MakeRig) -> None:
    """What somebody else opened keeps the levels it was found with."""
    rig = make_exit_rig(config=AegisConfig(break_even_r=0.2, **TRAILING))
    rig.start(
        (rig.row("1", mark="101"),),
        (
            rig.resting("web_1", "98"),
            rig.resting("web_2", "104", role=ProtectionRole.TARGET),
        ),
    )
    rig.open(adopted=True)

    assert ["98"] == play(rig, "103")
    assert [] == rig.intents


def test_pair_refused_for_ever_is_asked_for_ever_more_rarely(make_exit_rig: MakeRig) -> None:
    """Bybit's amendment, refused while the old pair covers: after 1, 2, 4 ... 60 s (R48)."""
    rig = opened(make_exit_rig, Venue.BYBIT, **TRAILING)
    rig.mark("102")
    times = []
    for _ in range(9):
        times.append(rig.loop.time())
        rig.complete(rig.unanswered()[0], Refusal.OTHER)
        while not rig.unanswered():
            rig.wait(50)

    gaps = [round(b - a) for a, b in itertools.pairwise(times)]
    assert [1, 2, 4, 8, 16, 32, 60, 60] == gaps
    assert Decimal(98) == stop_of(rig)
