"""Claims about aegis.journal.conservation: a run whose books do not agree says so."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.core.event import Event
from aegis.journal.codec import JournalFault
from aegis.journal.conservation import check_conservation
from aegis.model.events import (
    EntryFailed,
    FillBooked,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
)
from aegis.model.instrument import Venue, instrument_id

BTC = instrument_id("BTCUSDT", Venue.BINANCE)


def failed(position_id: str) -> EntryFailed:
    return EntryFailed(
        ts_event=1, ts_recv=1, position_id=position_id, instrument_id=BTC, reason="expired"
    )


def test_a_whole_life_is_in_order(life: list[Event]) -> None:
    """R74, R76: opened = closed, the intent ended, the fills make the profit."""
    report = check_conservation([*life, failed("AAAA-1-2")])
    [count] = report.venues

    assert () == report.violations
    assert report.ok
    assert (1, 1, 0, 0, 1) == (
        count.opened,
        count.closed,
        count.active,
        count.unconfirmed,
        count.rolled_back,
    )
    assert report.lines == (
        "BINANCE: opened 1 = closed 1 + active 0 + unconfirmed 0; rolled back 1",
        "intents: 1 proposed, 0 without an end",
    )


@pytest.mark.parametrize(
    ("kept", "active", "unconfirmed", "open_intents"),
    [(1, None, None, 1), (4, 1, 0, 1), (5, 0, 1, 1), (6, 0, 0, 1), (7, 0, 0, 0)],
)
def test_a_run_cut_anywhere_is_sound_and_lists_what_is_open(
    life: list[Event], kept: int, active: int | None, unconfirmed: int | None, open_intents: int
) -> None:
    """What has not ended yet is listed, not a fault."""
    report = check_conservation(life[:kept])

    assert report.ok
    assert open_intents == len(report.open_intents)
    if active is not None:
        [count] = report.venues
        assert (active, unconfirmed) == (count.active, count.unconfirmed)


def swap(old: type[Event], **changes: Any) -> Callable[[list[Event]], list[Event]]:
    def change(life: list[Event]) -> list[Event]:
        return [attrs.evolve(e, **changes) if type(e) is old else e for e in life]

    return change


def change_view(**changes: Any) -> Callable[[list[Event]], list[Event]]:
    def change(life: list[Event]) -> list[Event]:
        return [
            attrs.evolve(e, position=attrs.evolve(e.position, **changes))
            if isinstance(e, PositionClosed)
            else e
            for e in life
        ]

    return change


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda life: [*life, life[-1]], "intent int-1 was completed after it was completed"),
        (lambda life: life[1:], "intent int-1 was completed and never proposed"),
        (lambda life: [life[0], *life], "intent int-1 was proposed twice"),
        (lambda life: [*life, life[5]], "position AAAA-1-1 was closed twice"),
        (
            lambda life: [e for e in life if not isinstance(e, PositionOpened)],
            "position AAAA-1-1 was closed and never opened",
        ),
        (lambda life: [*life[:2], failed("AAAA-1-1")], "was opened and rolled back"),
        (lambda life: [*life[:3], life[2]], "fill f1 of AAAA-1-1 was booked twice"),
        (lambda life: [e for e in life if e is not life[3]], "opened 3, its fills 1"),
        (swap(PositionClosed, net_pnl=Decimal(1)), "net was 1 USDT, its parts make"),
        (change_view(fees=Decimal("0.10")), "fees were 0.10 USDT, its fills paid 0.15 USDT"),
        (change_view(realized_pnl=Decimal("27.9")), "realized 27.9 USDT, its fills 28"),
        (change_view(qty=Decimal(1)), "was closed with 1 left"),
        (
            lambda life: [
                *life,
                JournalFault(
                    ts_event=1, ts_recv=1, event_type="FillBooked", error="bad", event_repr=""
                ),
            ],
            "a FillBooked is not recorded: bad",
        ),
    ],
)
def test_every_disagreement_is_told(
    life: list[Event], spoil: Callable[[list[Event]], list[Event]], told: str
) -> None:
    """R74, R76, R77: double ends, lost and doubled fills, money that does not add up."""
    report = check_conservation(spoil(life))

    assert not report.ok
    assert any(told in problem for problem in report.violations), report.violations
    assert any(f"VIOLATED: {report.violations[0]}" == line for line in report.lines)


def test_a_position_the_venue_ended_is_listed_as_unexplained(life: list[Event]) -> None:
    """R79 EXTERNAL: somebody else closed it, so our fills cannot say what it made."""
    booked, closed = life[3], life[5]
    assert isinstance(booked, FillBooked)
    assert isinstance(closed, PositionClosed)
    view = booked.position
    ended = attrs.evolve(closed, position=view, net_pnl=-view.fees)
    differ = PositionMismatchFound(
        ts_event=1,
        ts_recv=1,
        instrument_id=BTC,
        ours=Decimal(3),
        theirs=Decimal(0),
        action="ended",
    )
    report = check_conservation([*life[:4], differ, ended, life[6]])

    assert () == report.violations
    assert ("position AAAA-1-1 was closed with 3 left",) == report.unexplained


def test_fills_that_were_found_after_the_end_explain_it(life: list[Event]) -> None:
    """R77: the venue ended it, its fills came late: nothing is unexplained, the money adds up."""
    booked, closed = life[3], life[5]
    assert isinstance(booked, FillBooked)
    assert isinstance(closed, PositionClosed)
    ended = attrs.evolve(closed, position=booked.position, net_pnl=-booked.position.fees)
    report = check_conservation([*life[:4], ended, life[4], life[6]])

    assert report.ok, report.violations
    assert () == report.unexplained
