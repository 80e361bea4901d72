"""Each checker can fail: it is given a sound history with one thing broken."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest

from aegis.core.clock import NS_PER_S
from aegis.core.event import Event, HandlerFailed
from aegis.model.events import (
    EntriesHalted,
    EntryCompleted,
    EntryFailed,
    FillBooked,
    FundingReported,
    GuardChecked,
    IntentCompleted,
    IntentDenied,
    IntentProposed,
    OrderSubmitted,
    PositionClosed,
    PositionOpened,
)
from aegis.model.instrument import Venue
from aegis.model.order import Purpose
from aegis.model.position import CloseCause
from aegis.sim.bounds import bound_of
from aegis.sim.checkers import CHECKERS, check
from aegis.sim.evidence import Evidence, Life
from aegis.sim.faults import Log, Strike
from aegis.sim.plan import Kind, make_plan
from aegis.sim.run import play_plan
from aegis.sim.witness import FillSeen, IncomeSeen, OrderSeen

E = TypeVar("E", bound=Event)
Break = Callable[[Evidence], Evidence]


@pytest.fixture(scope="module", name="sound")
def sound_fixture(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Return a history without faults in which positions were opened and closed."""
    plan = make_plan(1, hours=1.0, profile="none")
    return play_plan(plan, tmp_path_factory.mktemp("sound"))[0]


def broken_laws(evidence: Evidence) -> set[str]:
    """Return the names of the laws that were broken."""
    return {violation.partition(":")[0] for violation in check(evidence)}


def with_events(evidence: Evidence, change: Callable[[list[Event]], list[Event]]) -> Evidence:
    """Change the journal of the last process."""
    *before, last = evidence.lives
    changed = attrs.evolve(last, events=tuple(change(list(last.events))))
    return attrs.evolve(evidence, lives=(*before, changed))


def first(events: list[Event], kind: type[E]) -> E:
    """Return the first event of a type."""
    return next(event for event in events if isinstance(event, kind))


def without(kind: type[Event]) -> Break:
    """Take the first event of a type away."""

    def change(events: list[Event]) -> list[Event]:
        gone = first(events, kind)
        return [event for event in events if event is not gone]

    return lambda evidence: with_events(evidence, change)


def again(kind: type[Event]) -> Break:
    """Let the first event of a type be told twice."""
    return lambda evidence: with_events(evidence, lambda events: [*events, first(events, kind)])


def in_place(kind: type[E], make: Callable[[E], Event]) -> Break:
    """Alter the first event of a type."""

    def change(events: list[Event]) -> list[Event]:
        old = first(events, kind)
        return [make(old) if event is old else event for event in events]

    return lambda evidence: with_events(evidence, change)


def entry_fill(evidence: Evidence) -> FillSeen:
    """Return a fill that opened."""
    return next(fill for fill in evidence.fills if fill.closed_qty == 0)


def with_fill(**changes: Any) -> Break:
    """Alter the first opening fill at the venue."""

    def broken(evidence: Evidence) -> Evidence:
        old = entry_fill(evidence)
        fills = tuple(attrs.evolve(f, **changes) if f is old else f for f in evidence.fills)
        return attrs.evolve(evidence, fills=fills)

    return broken


def naked_for(seconds: float) -> Break:
    """Let a position have stood without a stop for so long."""

    def broken(evidence: Evidence) -> Evidence:
        episode, *others = evidence.episodes["binance"]
        gap = (episode.opened_ns, episode.opened_ns + round(seconds * NS_PER_S))
        naked = attrs.evolve(episode, gaps=(gap,))
        return attrs.evolve(evidence, episodes={**evidence.episodes, "binance": (naked, *others)})

    return broken


def order_twice(evidence: Evidence) -> Evidence:
    """Let an entry have been sent twice under one id."""
    entry = next(o for o in evidence.orders if "-EN" in o.client_id)
    return attrs.evolve(evidence, orders=(*evidence.orders, attrs.evolve(entry, order_id=10**6)))


def leftover(evidence: Evidence) -> Evidence:
    """Let a stop have rested on after its position was closed."""
    gone = next(o for o in evidence.orders if "-SF" in o.client_id and o.ended_ns is not None)
    late = attrs.evolve(gone, ended_ns=None)
    orders = tuple(late if order is gone else order for order in evidence.orders)
    return attrs.evolve(evidence, orders=orders, end_ns=evidence.end_ns + 600 * NS_PER_S)


def while_halted(evidence: Evidence) -> Evidence:
    """Let everything have been halted at the start."""
    halt = EntriesHalted(ts_event=0, ts_recv=0, scope="all", reason="a test")
    return with_events(evidence, lambda events: [halt, *events])


def unheard_guard(checked: GuardChecked) -> GuardChecked:
    """Let a guard have said no."""
    return attrs.evolve(checked, checks=(("halt", False, "a test"), *checked.checks))


def failing_handler(evidence: Evidence) -> Evidence:
    """Let a handler have raised."""
    failed = HandlerFailed(
        ts_event=0,
        ts_recv=0,
        handler="trade",
        event_type="FillReported",
        event_repr="",
        error_type="KeyError",
        error="a test",
        traceback="",
        critical=False,
    )
    return with_events(evidence, lambda events: [*events, failed])


def other_fee(booked: FillBooked) -> FillBooked:
    """Book a fill with another fee."""
    return attrs.evolve(booked, fill=attrs.evolve(booked.fill, fee=booked.fill.fee + 1))


def as_manual(closed: PositionClosed) -> PositionClosed:
    """Call a close by another cause."""
    return attrs.evolve(closed, cause=CloseCause.MANUAL)


def rolled_back(evidence: Evidence) -> Evidence:
    """Let a position that was opened have been rolled back as well."""

    def change(events: list[Event]) -> list[Event]:
        order = next(
            e
            for e in events
            if isinstance(e, OrderSubmitted) and e.request.purpose is Purpose.ENTRY
        )
        failed = EntryFailed(
            ts_event=0,
            ts_recv=0,
            position_id=order.position_id,
            instrument_id=order.request.instrument_id,
            reason="a test",
        )
        return [*events, failed]

    return with_events(evidence, change)


def funding_of_nobody(evidence: Evidence) -> Evidence:
    """Let the journal hold a funding that the venue never booked."""
    told = FundingReported(
        ts_event=0,
        ts_recv=0,
        venue=Venue.BINANCE,
        instrument_id=None,
        amount=Decimal(1),
        funding_id="a test",
    )
    return with_events(evidence, lambda events: [*events, told])


def unaccounted(evidence: Evidence) -> Evidence:
    """Let a frame have vanished."""
    *before, last = evidence.lives
    lost: Life = attrs.evolve(last, unaccounted=("frames quote: 2 produced, 1 accounted for",))
    return attrs.evolve(evidence, lives=(*before, lost))


def paid_more(evidence: Evidence) -> Evidence:
    """Let the venue have booked a commission that nobody told."""
    row = IncomeSeen(venue="binance", kind="COMMISSION", amount=Decimal(-1), ts_ns=0)
    return attrs.evolve(evidence, income=(*evidence.income, row))


def another_wallet(evidence: Evidence) -> Evidence:
    """Let the wallet be another one at the end."""
    return attrs.evolve(evidence, wallets={**evidence.wallets, "binance": Decimal(1)})


def beside_another(evidence: Evidence) -> Evidence:
    """Let another Aegis have been on the account all the time."""
    log = attrs.evolve(evidence.log, rivals={0: ("binance", [0])})
    return attrs.evolve(evidence, log=log)


def first_floor(evidence: Evidence) -> OrderSeen:
    """Return the first floor stop of ours."""
    return next(order for order in evidence.orders if "-SF" in order.client_id)


def with_floor(*others: OrderSeen, **changes: Any) -> Break:
    """Alter the first floor stop, the only stop there is but for *others*."""

    def broken(evidence: Evidence) -> Evidence:
        old = first_floor(evidence)
        kept = (o for o in evidence.orders if o is old or "-S" not in o.client_id)
        orders = [attrs.evolve(order, **changes) if order is old else order for order in kept]
        return attrs.evolve(evidence, orders=(*orders, *others))

    return broken


def taken_away(evidence: Evidence) -> Evidence:
    """Let the floor have been canceled at once, with nothing in its place."""
    at_ns = first_floor(evidence).created_ns
    return with_floor(status="CANCELED", ended_ns=at_ns)(evidence)


def beside_a_stop(trigger: str, qty: Decimal | None = None) -> Break:
    """Let the floor have been canceled beside another stop of *qty*, at *trigger* of its price."""

    def changed(evidence: Evidence) -> Evidence:
        floor = first_floor(evidence)
        assert floor.trigger_price is not None
        price = floor.trigger_price * Decimal(trigger)
        other = attrs.evolve(
            floor, order_id=10**6, client_id="simu-1-1-SM1", trigger_price=price, qty=qty
        )
        return with_floor(other, status="CANCELED", ended_ns=floor.created_ns)(evidence)

    return changed


def misfit(evidence: Evidence) -> Evidence:
    """Let a stop of a small quantity have rested beside the whole position."""
    floor = first_floor(evidence)
    small = attrs.evolve(
        floor, order_id=10**6, client_id="simu-1-1-SM1", qty=Decimal("0.001"), ended_ns=None
    )
    return attrs.evolve(evidence, orders=(*evidence.orders, small))


def denied_exit(evidence: Evidence) -> Evidence:
    """Let a guard have refused what reduces risk."""

    def change(events: list[Event]) -> list[Event]:
        intent = next(
            e.intent for e in events if isinstance(e, IntentProposed) and not e.intent.is_entry
        )
        denied = IntentDenied(ts_event=0, ts_recv=0, intent=intent, guard="halt", reason="a test")
        return [*events, denied]

    return with_events(evidence, change)


def ended_while_open(evidence: Evidence) -> Evidence:
    """Let a position have been ended when it was whole at the venue."""

    def change(events: list[Event]) -> list[Event]:
        done = first(events, EntryCompleted)
        closed = first(events, PositionClosed)
        early = attrs.evolve(closed, position=done.position, ts_recv=done.ts_recv)
        return [*events, early]

    return with_events(evidence, change)


def as_unprotected(closed: PositionClosed) -> PositionClosed:
    """Call a close unprotected."""
    return attrs.evolve(closed, cause=CloseCause.UNPROTECTED)


def of_another_position(**changes: Any) -> Callable[[PositionClosed], PositionClosed]:
    """Let a position have ended with other figures than its rows add up to."""

    def change(closed: PositionClosed) -> PositionClosed:
        return attrs.evolve(closed, position=attrs.evolve(closed.position, **changes))

    return change


def rolled_back_unheard(evidence: Evidence) -> Evidence:
    """Let an entry that filled count as never arrived, with nothing told of its fills."""

    def change(events: list[Event]) -> list[Event]:
        gone = first(events, PositionOpened).position
        failed = EntryFailed(
            ts_event=0,
            ts_recv=0,
            position_id=gone.position_id,
            instrument_id=gone.instrument_id,
            reason="a test",
        )
        kinds = (PositionOpened, FillBooked, PositionClosed)
        kept = [
            event
            for event in events
            if not (isinstance(event, kinds) and event.position.position_id == gone.position_id)
        ]
        return [*kept, failed]

    return with_events(evidence, change)


BROKEN: list[tuple[str, Break]] = [
    ("unprotected", naked_for(3.5)),
    ("order twice", order_twice),
    ("sign", with_fill(closed_qty=Decimal("0.001"))),
    ("opened by an exit", with_fill(client_id="simu-1-1-SF1")),
    ("opened by an exit", with_floor(reduces=False)),
    ("leftover", leftover),
    ("stop taken away", taken_away),
    ("stop taken away", beside_a_stop("0.5", Decimal("0.001"))),
    ("stop of another size", misfit),
    ("denied exit", denied_exit),
    ("false end", ended_while_open),
    ("needless close", in_place(PositionClosed, as_unprotected)),
    ("limits", with_fill(open_after=5)),
    ("limits", with_fill(exposure_after=Decimal(10**6))),
    ("limits", with_fill(qty_after=Decimal(10**6))),
    ("intents", without(IntentCompleted)),
    ("intents", again(IntentCompleted)),
    ("unguarded entry", while_halted),
    ("unguarded entry", in_place(GuardChecked, unheard_guard)),
    ("second instance", beside_another),
    ("frames", unaccounted),
    ("code", failing_handler),
    ("code", lambda evidence: attrs.evolve(evidence, codes=(1,))),
    ("code", lambda evidence: attrs.evolve(evidence, chain_broken="the chain breaks at (1, 2)")),
    ("not submitted", lambda e: with_events(e, lambda es: [x for x in es if not is_order(x)])),
    ("positions", without(FillBooked)),
    ("positions", again(FillBooked)),
    ("positions", again(PositionClosed)),
    ("positions", in_place(FillBooked, other_fee)),
    ("positions", rolled_back),
    ("positions", rolled_back_unheard),
    ("quiet", lambda e: attrs.evolve(e, positions={("binance", "BTCUSDT"): Decimal(7)})),
    ("quiet", another_wallet),
    ("quiet", lambda e: attrs.evolve(e, orders=())),
    ("money", paid_more),
    ("money", in_place(FillBooked, other_fee)),
    ("money", funding_of_nobody),
    ("money", in_place(PositionClosed, of_another_position(fees=Decimal(7)))),
    ("money", in_place(PositionClosed, of_another_position(funding=Decimal(7)))),
    ("money", in_place(PositionClosed, lambda closed: attrs.evolve(closed, net_pnl=Decimal(7)))),
    ("cause", in_place(PositionClosed, as_manual)),
]


def is_order(event: Event) -> bool:
    """Say whether an order was sent."""
    return isinstance(event, OrderSubmitted)


def test_a_sound_history_breaks_no_law(sound: Evidence) -> None:
    """The ground the other tests stand on."""
    assert () == check(sound)
    assert any(isinstance(event, PositionClosed) for event in sound.lives[-1].events)


@pytest.mark.parametrize(("law", "broken"), BROKEN)
def test_each_checker_can_fail(sound: Evidence, law: str, broken: Break) -> None:
    """One thing is broken, and its law says so."""
    assert law in broken_laws(broken(sound))


def test_no_checker_is_left_untested() -> None:
    """A new checker comes with a history it refuses."""
    assert set(CHECKERS) == {law for law, _ in BROKEN}


def test_dead_time_excuses_and_nothing_else(sound: Evidence) -> None:
    """A gap while no process lived is not counted; the same gap beside a live one is."""
    naked = naked_for(60)(sound)
    from_ns, to_ns = naked.episodes["binance"][0].gaps[0]
    dead = Log(dead=[(from_ns, to_ns)])

    assert "unprotected" in broken_laws(naked)
    assert "unprotected" not in broken_laws(attrs.evolve(naked, log=dead))


def test_a_stop_may_go_when_a_better_one_rests_or_a_person_took_it(sound: Evidence) -> None:
    """Tighter by the position's side and for all of it is better; a looser one is not (R48)."""
    floor = first_floor(sound)
    tighter, looser = ("1.01", "0.99") if floor.side_sign < 0 else ("0.99", "1.01")
    strike = Strike(
        ts_ns=floor.created_ns, kind=Kind.STOP_REMOVED, venue=floor.venue, what=floor.symbol
    )
    by_hand = attrs.evolve(taken_away(sound), log=Log(strikes=[strike]))

    def forgotten(stop: str) -> Evidence:
        told = attrs.evolve(strike, kind=Kind.STOPS_FORGOTTEN, what=stop, ts_ns=0)
        return attrs.evolve(taken_away(sound), log=Log(strikes=[told]))

    assert "stop taken away" not in broken_laws(beside_a_stop(tighter)(sound))
    assert "stop taken away" in broken_laws(beside_a_stop(looser)(sound))
    assert "stop taken away" not in broken_laws(by_hand)
    assert "stop taken away" not in broken_laws(forgotten("simu-1-1-SM2"))
    assert "stop taken away" in broken_laws(forgotten("simu-1-2-SM2"))


def test_a_close_is_needless_only_where_nothing_was_struck(sound: Evidence) -> None:
    """A refused stop just before explains it; one message that came twice does not."""
    closed = in_place(PositionClosed, as_unprotected)(sound)
    told = first(list(closed.lives[-1].events), PositionClosed)

    def struck(kind: Kind) -> Evidence:
        venue = told.position.instrument_id.venue.value.lower()
        strike = Strike(ts_ns=told.position.opened_ns, kind=kind, venue=venue, what="stop")
        return attrs.evolve(closed, log=Log(strikes=[strike]))

    assert "needless close" not in broken_laws(struck(Kind.REFUSED))
    assert "needless close" in broken_laws(struck(Kind.FRAMES_TWICE))


def test_an_entry_that_filled_was_not_rolled_back(sound: Evidence) -> None:
    """Nothing told of its fills does not make it true (R30)."""
    said = [each for each in check(rolled_back_unheard(sound)) if "rolled back and had" in each]
    assert 1 == len(said)


def test_a_bound_is_only_as_wide_as_its_strikes(sound: Evidence) -> None:
    """Without a strike near it a span may last detect + 3 s + fill; each lost answer adds to it."""
    span = (sound.end_ns, sound.end_ns + NS_PER_S)
    lost = Strike(ts_ns=sound.end_ns, kind=Kind.ANSWER_LOST, venue="binance", what="close")
    struck = attrs.evolve(sound, log=Log(strikes=[lost]))

    assert bound_of(sound, "binance", span).seconds == pytest.approx(3.11)
    assert 6 < bound_of(struck, "binance", span).seconds < 12


def test_the_state_directory_is_no_part_of_the_digest(tmp_path: Path) -> None:
    """Two runs of a seed are compared by what happened."""
    plan = make_plan(3, hours=0.2, profile="heavy")
    assert play_plan(plan, tmp_path / "a")[1] == play_plan(plan, tmp_path / "b")[1]
