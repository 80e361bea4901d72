"""Orders of others on our account: told once; a second bot stops entries (R86, R88)."""

from decimal import Decimal
from typing import Final

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock
from aegis.core.event import Event
from aegis.model.account import (
    BalanceReport,
    OrderReport,
    ProtectionRole,
    ReportSource,
    VenueSnapshot,
)
from aegis.model.events import (
    EntriesResumed,
    ForeignOrderFound,
    OrderReported,
    RunStarted,
    SnapshotReported,
)
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderSide, OrderStatus, OrderType
from aegis.safety.strangers import Strangers

BTC: Final = InstrumentId(symbol="BTCUSDT", venue=Venue.BINANCE)
RUN: Final = 5


@attrs.define
class Rig:
    """Strangers on a bus, and what they said."""

    bus: EventBus
    found: list[ForeignOrderFound] = attrs.field(factory=list)
    halts: list[str] = attrs.field(factory=list)

    def report(self, client_order_id: str, status: OrderStatus = OrderStatus.ACCEPTED) -> None:
        """Tell of an order."""
        self.bus.publish(
            OrderReported(ts_event=1, ts_recv=1, report=order(client_order_id, status))
        )


def order(client_order_id: str, status: OrderStatus = OrderStatus.ACCEPTED) -> OrderReport:
    """Return an order the venue holds."""
    return OrderReport(
        instrument_id=BTC,
        client_order_id=client_order_id,
        venue_order_id="1",
        conditional=False,
        status=status,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal(1),
        filled_qty=Decimal(0),
        reduce_only=False,
        close_position=False,
        role=ProtectionRole.NONE,
        source=ReportSource.STREAM,
        ts_event=1,
    )


@pytest.fixture
def rig() -> Rig:
    """Return a rig of installation mine, run 5."""
    clock = ManualClock(1)
    bus = EventBus(clock)
    made = Rig(bus)
    _ = Strangers(bus, clock, made.halts.append)

    def note(_seq: int, event: Event) -> None:
        if isinstance(event, ForeignOrderFound):
            made.found.append(event)

    bus.listen_all(note)
    bus.publish(
        RunStarted(
            ts_event=1,
            ts_recv=1,
            run_id="mine-5",
            run=RUN,
            installation="mine",
            mode="paper",
            label="",
            config=(),
        )
    )
    return made


@pytest.mark.parametrize(
    "client_order_id",
    [
        "mine-5-1-EN1",
        "mine-4-7-SF2",
        "",
        "autoclose-123",
        "adl_autoclose",
        "settlement_autoclose-7",
    ],
)
def test_our_own_and_the_venues_orders_are_no_strangers(rig: Rig, client_order_id: str) -> None:
    """This run's, an earlier run's, and children and liquidations of the venue (R88)."""
    rig.report(client_order_id)

    assert rig.found == []
    assert rig.halts == []


def test_a_persons_order_is_told_once_and_stops_nothing(rig: Rig) -> None:
    """Trading by hand is a person's right; the bot says that it saw it (R88)."""
    for status in (OrderStatus.ACCEPTED, OrderStatus.FILLED):
        rig.report("web_abc", status)

    assert [each.whose for each in rig.found] == ["a person or another program"]
    assert rig.halts == []


@pytest.mark.parametrize(
    ("client_order_id", "another"),
    [("othr-1-1-EN1", "othr-1-2-SF1"), ("mine-6-1-SF1", "mine-6-2-EN1")],
)
def test_a_second_bot_on_the_account_stops_entries(
    rig: Rig, client_order_id: str, another: str
) -> None:
    """Another installation, or a later run of this one: two cannot both be right (R86)."""
    rig.report(client_order_id)
    rig.report(another)

    (reason,) = rig.halts
    assert "another Aegis" in reason
    assert client_order_id in reason
    assert "aegis resume" in reason


def test_the_doctors_stop_is_no_second_bot(rig: Rig) -> None:
    """A person may examine an account while the bot trades on it; it is told, not feared."""
    rig.report("doct-1-1-SF1")

    assert [each.whose for each in rig.found] == ["aegis doctor"]
    assert rig.halts == []


def test_the_remains_of_another_bot_do_not_stop_entries(rig: Rig) -> None:
    """An order that has ended says that one was here, not that one is (R86)."""
    rig.report("othr-1-1-EN1", OrderStatus.FILLED)

    assert len(rig.found) == 1
    assert rig.halts == []


def test_what_rests_at_start_is_looked_at_too(rig: Rig) -> None:
    """A snapshot tells what no stream did (R88)."""
    balance = BalanceReport(
        venue=Venue.BINANCE, wallet=Decimal(1), available=None, equity=None, ts_event=1
    )
    snapshot = VenueSnapshot(
        venue=Venue.BINANCE,
        ts_event=1,
        balance=balance,
        positions=(),
        orders=(order("othr-1-1-SF1"),),
    )
    rig.bus.publish(SnapshotReported(ts_event=1, ts_recv=1, snapshot=snapshot, reason="start"))

    assert len(rig.halts) == 1


def test_after_a_resume_only_a_new_order_of_the_other_bot_halts_again(rig: Rig) -> None:
    """R86: an operator answers for what rests, not for a second bot that goes on trading."""
    rig.report("othe-1-1-EN1")
    rig.bus.publish(EntriesResumed(ts_event=2, ts_recv=2, scope="all", reason="by an operator"))
    rig.report("othe-1-1-EN1", OrderStatus.PARTIALLY_FILLED)
    assert 1 == len(rig.halts)

    rig.report("othe-1-2-EN1")

    assert 2 == len(rig.halts)
