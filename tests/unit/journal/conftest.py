"""What the journal's tests share: a position's life in events, and entries made of events."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest

from aegis.core.event import Event
from aegis.journal.row import Entry
from aegis.model.events import (
    FillBooked,
    IntentCompleted,
    IntentProposed,
    PositionClosed,
    PositionOpened,
)
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import CancelProtection, TradeIntent
from aegis.model.order import OrderSide, PositionSide
from aegis.model.position import CloseCause, Position

BTC = instrument_id("BTCUSDT", Venue.BINANCE)


def fill_of(fill_id: str, side: OrderSide, qty: str, px: str) -> Fill:
    return Fill(
        instrument_id=BTC,
        fill_id=fill_id,
        client_order_id="AAAA-1-1-EN0",
        venue_order_id="7",
        side=side,
        last_qty=Decimal(qty),
        last_px=Decimal(px),
        fee=Decimal("0.05"),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=5,
    )


def life_of_a_position() -> list[Event]:
    """Return a long of 3 lots in two fills, proposed, opened and closed with a profit."""
    intent = TradeIntent(
        intent_id="int-1",
        position_id="AAAA-1-1",
        source="exit",
        reason="test",
        trace_id="t-1",
        command=CancelProtection(instrument_id=BTC, client_order_id="AAAA-1-1-SF0"),
    )
    position = Position(
        position_id="AAAA-1-1",
        instrument_id=BTC,
        side=PositionSide.LONG,
        plan=None,
        trace_id="t-1",
        opened_ns=5,
    )
    events: list[Event] = [IntentProposed(ts_event=1, ts_recv=1, intent=intent)]
    fills = (
        fill_of("f1", OrderSide.BUY, "1", "100"),
        fill_of("f2", OrderSide.BUY, "2", "101"),
        fill_of("f3", OrderSide.SELL, "3", "110"),
    )
    for fill in fills:
        position.apply(fill)
        if fill.fill_id == "f1":
            events.append(PositionOpened(ts_event=5, ts_recv=6, position=position.view()))
        events.append(
            FillBooked(ts_event=5, ts_recv=6, fill=fill, position=position.view(), purpose="x")
        )
    events.append(
        PositionClosed(
            ts_event=7,
            ts_recv=8,
            position=position.view(),
            cause=CloseCause.TP,
            exit_px_avg=position.exit_px_avg,
            net_pnl=position.net_pnl,
            hold_ns=2,
        )
    )
    events.append(
        IntentCompleted(
            ts_event=9,
            ts_recv=9,
            intent_id="int-1",
            position_id="AAAA-1-1",
            instrument_id=BTC,
            command="CancelProtection",
            client_order_id="AAAA-1-1-SF0",
            ok=True,
            outcome="canceled",
            refusal="",
        )
    )
    return events


def entries_of(events: Sequence[Event]) -> list[Entry]:
    return [Entry(seq, 1_000 + seq, seq, event) for seq, event in enumerate(events, 1)]


@pytest.fixture
def life() -> list[Event]:
    return life_of_a_position()


@pytest.fixture
def numbered() -> Callable[[Sequence[Event]], list[Entry]]:
    """Return what gives events the numbers 1, 2, ... as the bus would."""
    return entries_of
