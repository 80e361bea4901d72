"""What earlier runs left open, folded from the journal (R49, R51, R88)."""

from decimal import Decimal
from typing import Final

import pytest

from aegis.core.event import Event
from aegis.journal.open_book import RECENT_NS, open_book
from aegis.model.events import (
    EntryCompleted,
    EntryFailed,
    FillBooked,
    FundingReported,
    IntentApproved,
    OrderSubmitted,
    PositionOpened,
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionLost,
)
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import Approved, EnterPosition, TradeIntent
from aegis.model.order import OrderRequest, OrderSide, OrderType, PositionSide, Purpose
from aegis.model.order_id import client_order_id
from aegis.model.position import CloseCause, ProtectionPlan
from aegis.model.restored import AcknowledgedStop

BTC: Final = instrument_id("BTCUSDT", Venue.BINANCE)
POSITION: Final = "AAAA-1-1"
EXPIRES_NS: Final = 100


def request(purpose: Purpose, attempt: int = 1) -> OrderRequest:
    """Return an order of the position."""
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id(POSITION, purpose, attempt),
        purpose=purpose,
        side=OrderSide.BUY if purpose is Purpose.ENTRY else OrderSide.SELL,
        order_type=OrderType.MARKET,
        qty=Decimal(3),
        reduce_only=purpose is not Purpose.ENTRY,
    )


def submitted(purpose: Purpose, attempt: int = 1, at: int = 2) -> OrderSubmitted:
    """Return that an order left."""
    return OrderSubmitted(
        ts_event=at,
        ts_recv=at,
        request=request(purpose, attempt),
        position_id=POSITION,
        trace_id="t-1",
        attempt=1,
    )


def approved() -> IntentApproved:
    """Return that an entry may leave, until EXPIRES_NS."""
    command = EnterPosition(
        request=request(Purpose.ENTRY),
        side=PositionSide.LONG,
        plan=ProtectionPlan(stop_distance=Decimal(5), target_distance=Decimal(9)),
        leverage=5,
        mark_price=Decimal(100),
        signal_price=Decimal(100),
        signal_id="sig-1",
        expires_ns=EXPIRES_NS,
    )
    intent = TradeIntent(
        intent_id="int-0",
        position_id=POSITION,
        source="trade",
        reason="test",
        trace_id="t-1",
        command=command,
    )
    return IntentApproved(ts_event=1, ts_recv=1, approved=Approved(intent))


def funding(funding_id: str, at: int) -> FundingReported:
    """Return a payment of a tenth."""
    return FundingReported(
        ts_event=at,
        ts_recv=at,
        venue=Venue.BINANCE,
        instrument_id=BTC,
        amount=Decimal("-0.1"),
        funding_id=funding_id,
    )


def test_a_closed_position_leaves_nothing_but_the_ids_of_its_fills(life: list[Event]) -> None:
    """Its fills may be told again by the venue and must not be booked again (R77)."""
    left = open_book(life)

    assert left.positions == ()
    assert left.entries == ()
    assert [fill_id for _, fill_id in left.fill_ids] == ["f1", "f2", "f3"]
    assert left.heard_ns == {Venue.BINANCE: 8}


@pytest.mark.parametrize(("kept", "fills"), [(2, 0), (3, 1), (4, 2), (5, 3)])
def test_a_life_cut_anywhere_goes_on_with_the_fills_it_had(
    life: list[Event], kept: int, fills: int
) -> None:
    """From the first fill to the last row before its end, the position is open (R49)."""
    (one,) = open_book(life[:kept]).positions

    assert one.opening.position_id == POSITION
    assert [fill.fill_id for fill in one.fills] == ["f1", "f2", "f3"][:fills]


def test_a_lost_opening_row_does_not_lose_the_position(life: list[Event]) -> None:
    """A kill cuts rows at the end only, yet a fill alone is enough to know of it (R49)."""
    rows = [event for event in life[:4] if not isinstance(event, PositionOpened)]

    assert [one.opening.position_id for one in open_book(rows).positions] == [POSITION]


def test_a_position_restored_twice_is_one(life: list[Event]) -> None:
    """Each later run tells it anew; the fills of all runs make it."""
    opened, first, second = life[1], life[2], life[3]
    (one,) = open_book([opened, first, opened, second]).positions

    assert [fill.fill_id for fill in one.fills] == ["f1", "f2"]


def test_numbers_of_client_ids_go_on(life: list[Event]) -> None:
    """The highest attempt of each purpose is kept, so that none is used again (R30)."""
    rows = [submitted(Purpose.STOP_MOVING, 1), submitted(Purpose.STOP_MOVING, 40), *life[:3]]
    (one,) = open_book([*rows, submitted(Purpose.TARGET, 2)]).positions

    assert one.attempts == {Purpose.STOP_MOVING: 40, Purpose.TARGET: 2}


@pytest.mark.parametrize(
    ("later", "left_open"),
    [
        ([], True),
        ([submitted(Purpose.ENTRY)], True),
        ([submitted(Purpose.ENTRY), submitted(Purpose.TARGET, at=EXPIRES_NS + 1)], True),
        # Never sent while it was good: nothing can arrive any more.
        ([submitted(Purpose.TARGET, at=EXPIRES_NS + 1)], False),
        (
            [
                EntryFailed(
                    ts_event=3, ts_recv=3, position_id=POSITION, instrument_id=BTC, reason="no"
                )
            ],
            False,
        ),
    ],
)
def test_an_entry_is_open_until_its_end_is_told(later: list[Event], *, left_open: bool) -> None:
    """Approved counts as sent: the row that says it left may be the one that was cut (R30)."""
    entries = open_book([approved(), *later]).entries

    assert [entry.position_id for entry in entries] == ([POSITION] if left_open else [])


def test_a_completed_entry_is_done_and_an_unknown_one_is_not(life: list[Event]) -> None:
    """What the entry's end decides: whether the stop may move to the average price (R34)."""
    opened, first = life[1], life[2]
    assert isinstance(first, FillBooked)
    done = EntryCompleted(ts_event=6, ts_recv=6, position=first.position, slippage=None)

    (under_way,) = open_book([approved(), opened, first]).positions
    (complete,) = open_book([approved(), opened, first, done]).positions
    assert not under_way.entry_done
    assert complete.entry_done


def test_funding_of_a_life_is_kept_once(life: list[Event]) -> None:
    """A payment told twice counts once, one from before the position is not its own (R77)."""
    rows = [funding("0", at=4), *life[:4], funding("1", at=9), funding("1", at=10)]
    left = open_book(rows)

    assert left.positions[0].funding == Decimal("-0.1")
    assert left.funding_ids == {(Venue.BINANCE, "0"), (Venue.BINANCE, "1")}


def test_old_ids_are_forgotten(life: list[Event]) -> None:
    """The venue is asked for a minute before the journal's end, not for its whole past."""
    late = funding("late", at=RECENT_NS + 20)

    assert open_book([*life, funding("early", at=9), late]).fill_ids == ()
    assert open_book([*life, late]).funding_ids == {(Venue.BINANCE, "late")}


def confirmed(source: str) -> ProtectionConfirmed:
    """Return that a stop at 95 was acknowledged."""
    return ProtectionConfirmed(
        ts_event=5,
        ts_recv=5,
        position_id=POSITION,
        instrument_id=BTC,
        stop_price=Decimal(95),
        target_price=None,
        stop_order="AAAA-1-1-SF1",
        target_order="",
        naked_ns=0,
        source=source,
    )


def moved() -> ProtectionChanged:
    """Return that the stop trails at 99."""
    return ProtectionChanged(
        ts_event=6,
        ts_recv=6,
        position_id=POSITION,
        instrument_id=BTC,
        stop_price=Decimal(99),
        target_price=None,
        reason="trailing",
        stop_cause=CloseCause.TRAIL,
    )


def lost() -> ProtectionLost:
    """Return that no stop is seen any more."""
    return ProtectionLost(
        ts_event=7, ts_recv=7, position_id=POSITION, instrument_id=BTC, reason="gone"
    )


@pytest.mark.parametrize(
    ("told", "stop"),
    [
        ([], None),
        ([confirmed("order")], AcknowledgedStop(price=Decimal(95), order="AAAA-1-1-SF1")),
        ([confirmed("position")], AcknowledgedStop(price=Decimal(95))),
        (
            [confirmed("order"), moved()],
            AcknowledgedStop(price=Decimal(99), cause=CloseCause.TRAIL),
        ),
        ([confirmed("order"), moved(), lost()], None),
    ],
    ids=["none", "an order", "the position's own", "moved", "lost"],
)
def test_the_stop_that_was_acknowledged_last_is_known(
    life: list[Event], told: list[Event], stop: AcknowledgedStop | None
) -> None:
    """R51, R88: a start that cannot look at the venue knows what rested there, if anything."""
    opened, first, *_ = life
    (one,) = open_book([opened, first, *told]).positions

    assert stop == one.stop
