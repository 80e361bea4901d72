"""Sides, requests, and the life of one order."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import attrs
import pytest

from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import (
    Approved,
    CancelProtection,
    ClosePosition,
    EnterPosition,
    PlaceProtection,
    SetPositionProtection,
    TradeIntent,
    instrument_of,
)
from aegis.model.order import (
    AttachedProtection,
    Order,
    OrderRequest,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.model.position import CloseCause, ProtectionPlan

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
ENTRY = OrderRequest(
    instrument_id=BTC,
    client_order_id="test-1-1-EN1",
    purpose=Purpose.ENTRY,
    side=OrderSide.BUY,
    order_type=OrderType.MARKET,
    qty=Decimal(2),
    reduce_only=False,
)
STOP = attrs.evolve(
    ENTRY,
    client_order_id="test-1-1-SF1",
    purpose=Purpose.STOP_FLOOR,
    side=OrderSide.SELL,
    order_type=OrderType.STOP_MARKET,
    qty=None,
    close_position=True,
    reduce_only=True,
    trigger_price=Decimal(90),
)
ATTACHED = AttachedProtection(stop_price=Decimal(90), target_price=Decimal(110))
PLAN = ProtectionPlan(stop_distance=Decimal(10), target_distance=Decimal(10))


def new_order() -> Order:
    """Return an entry order nobody has sent."""
    return Order(request=ENTRY, position_id="test-1-1", trace_id="t")


@pytest.mark.parametrize("side", PositionSide)
def test_entry_and_exit_sides_are_opposite(side: PositionSide) -> None:
    """R40: a position is left by the other side than it was entered by."""
    assert side.entry_side is side.exit_side.opposite
    assert side.sign == side.entry_side.sign == -side.opposite.sign


@pytest.mark.parametrize("text", ["long", "BUY", "both", ""])
def test_unknown_side_texts_raise(text: str) -> None:
    """R40: nothing but LONG and SHORT is a position side."""
    with pytest.raises(ValueError, match="is not a valid"):
        PositionSide(text)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_purpose_is_entry_protection_or_close(purpose: Purpose) -> None:
    """Every purpose is exactly one of the three, and two capital letters of an id."""
    kinds = (purpose is Purpose.ENTRY, purpose.is_protection, purpose.is_close)

    assert 1 == sum(kinds)
    assert 2 == len(purpose.value)


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (ENTRY, {"qty": None}),
        (ENTRY, {"qty": Decimal(0)}),
        (ENTRY, {"qty": Decimal(-1)}),
        (ENTRY, {"trigger_price": Decimal(1)}),
        (ENTRY, {"limit_price": Decimal(1)}),
        (ENTRY, {"order_type": OrderType.LIMIT}),
        (ENTRY, {"purpose": Purpose.CLOSE_KILL}),
        (STOP, {"trigger_price": None}),
        (STOP, {"reduce_only": False}),
        (STOP, {"qty": Decimal(1)}),
        (STOP, {"close_position": False}),
        (STOP, {"attached": ATTACHED}),
    ],
)
def test_a_request_that_contradicts_itself_cannot_be_made(
    base: OrderRequest, change: dict[str, Any]
) -> None:
    """Quantity, trigger, limit and reduce_only fit the kind of order, or nothing is built."""
    with pytest.raises(ValueError, match=base.client_order_id):
        attrs.evolve(base, **change)


def test_statuses_have_a_place_and_terminal_ones_are_last() -> None:
    """No terminal status ranks below a working one."""
    last_working = max(status.rank for status in OrderStatus if not status.is_terminal)

    assert all(status.rank > last_working for status in OrderStatus if status.is_terminal)
    assert not any(status.is_terminal and status.is_working for status in OrderStatus)


@pytest.mark.parametrize("before", OrderStatus)
@pytest.mark.parametrize("after", OrderStatus)
def test_a_status_only_moves_forward(before: OrderStatus, after: OrderStatus) -> None:
    """Backward moves, repeats and everything after the end change nothing."""
    order = new_order()
    order.status = before

    moved = order.advance(after)

    assert moved == (not before.is_terminal and after is not before and after.rank >= before.rank)
    assert order.status is (after if moved else before)


def test_a_late_time_out_does_not_take_back_an_acceptance() -> None:
    """R30: UNKNOWN after the stream said ACCEPTED is not believed."""
    order = new_order()
    for status in (OrderStatus.SUBMITTED, OrderStatus.ACCEPTED):
        assert order.advance(status)

    assert not order.advance(OrderStatus.UNKNOWN)
    assert order.status is OrderStatus.ACCEPTED


def test_fills_count_once_and_give_the_vwap() -> None:
    """R33: two fills, one of them told twice."""
    order = new_order()

    told = [order.add_fill(i, Decimal(q), Decimal(p)) for i, q, p in
            (("a", 1, 100), ("b", 1, 104), ("a", 1, 100))]  # fmt: skip

    assert [True, True, False] == told
    assert Decimal(2) == order.filled_qty
    assert Decimal(102) == order.average_px


@pytest.mark.parametrize(("qty", "px"), [(0, 1), (1, 0), (-1, 1), (1, -1)])
def test_a_fill_without_quantity_or_price_is_an_error(qty: int, px: int) -> None:
    """R32: FILLED $0.0000 is no fill."""
    with pytest.raises(ValueError, match="must be > 0"):
        new_order().add_fill("a", Decimal(qty), Decimal(px))


def test_filled_without_a_fill_is_not_settled() -> None:
    """R32: the venue's word FILLED alone, with nothing counted, does not end an order's account."""
    order = new_order()
    order.advance(OrderStatus.FILLED)

    assert not order.is_settled
    order.add_fill("a", Decimal(2), Decimal(100))
    assert order.is_settled


def test_an_order_settles_when_every_fill_the_venue_counted_was_seen() -> None:
    """R34: canceled after 1.5 of which 1 was seen is not settled."""
    order = new_order()
    order.venue_filled_qty = Decimal("1.5")
    order.add_fill("a", Decimal(1), Decimal(100))
    order.advance(OrderStatus.CANCELED)

    assert not order.is_settled
    order.add_fill("b", Decimal("0.5"), Decimal(100))
    assert order.is_settled


def test_a_command_that_passes_all_guards_cannot_carry_an_order_that_adds_risk() -> None:
    """R58: an entry order in the clothes of a stop or a close is not built."""
    with pytest.raises(ValueError, match="reduce_only"):
        PlaceProtection(request=ENTRY)
    with pytest.raises(ValueError, match="reduce_only"):
        ClosePosition(request=ENTRY, cause=CloseCause.KILL)


@pytest.mark.parametrize(
    ("request_", "side"), [(ENTRY, PositionSide.SHORT), (STOP, PositionSide.LONG)]
)
def test_an_entry_opens_the_side_it_says(request_: OrderRequest, side: PositionSide) -> None:
    """R40: a buy does not open a short, a stop opens nothing."""
    with pytest.raises(ValueError, match="does not open"):
        EnterPosition(
            request=request_, side=side, plan=PLAN, leverage=2, mark_price=Decimal(100),
            signal_price=Decimal(100),
            signal_id="s", expires_ns=1,
        )  # fmt: skip


def test_every_command_names_its_instrument_and_only_an_entry_is_one() -> None:
    """R58: what adds risk is told by type."""
    entry = EnterPosition(
        request=ENTRY, side=PositionSide.LONG, plan=PLAN, leverage=2, mark_price=Decimal(100),
        signal_price=Decimal(100),
        signal_id="s", expires_ns=1,
    )  # fmt: skip
    commands = (
        entry,
        PlaceProtection(request=STOP),
        SetPositionProtection(
            instrument_id=BTC,
            side=PositionSide.LONG,
            stop_price=Decimal(90),
            target_price=Decimal(110),
        ),
        CancelProtection(instrument_id=BTC, client_order_id="test-1-1-SF1"),
        ClosePosition(
            request=attrs.evolve(ENTRY, purpose=Purpose.CLOSE_KILL, reduce_only=True),
            cause=CloseCause.KILL,
        ),
    )

    for command in commands:
        intent = TradeIntent(
            intent_id="i", position_id="p", source="t", reason="r", trace_id="t", command=command
        )
        assert BTC == instrument_of(command) == intent.instrument_id
        assert (command is entry) == intent.is_entry
        assert intent == Approved(intent).intent


def test_ranks_rise_along_the_usual_life() -> None:
    """Created, submitted, accepted, partially filled, filled."""
    life = (
        OrderStatus.CREATED,
        OrderStatus.SUBMITTED,
        OrderStatus.UNKNOWN,
        OrderStatus.ACCEPTED,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.FILLED,
    )

    assert all(a.rank < b.rank for a, b in pairwise(life))
