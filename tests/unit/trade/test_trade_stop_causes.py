"""The cause of a close at a stop without an id: the last acknowledged with that trigger (R79)."""

from decimal import Decimal

import pytest

from aegis.model.account import OrderReport, ProtectionRole, ReportSource
from aegis.model.events import ProtectionChanged
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.intent import SetPositionProtection
from aegis.model.order import OrderSide, OrderStatus, OrderType, PositionSide
from aegis.model.position import CloseCause
from aegis.trade.stop_causes import StopCauses

BTC = instrument_id("BTCUSDT", Venue.BYBIT)
SL, TRAIL = CloseCause.SL, CloseCause.TRAIL


def child_fill(origin: FillOrigin = FillOrigin.STOP) -> Fill:
    """Return a fill of the position's own stop."""
    return Fill(
        instrument_id=BTC,
        fill_id="1",
        client_order_id="",
        venue_order_id="child",
        side=OrderSide.SELL,
        last_qty=Decimal(1),
        last_px=Decimal(98),
        fee=Decimal(0),
        liquidity=Liquidity.TAKER,
        origin=origin,
        ts_event=1,
    )


def child(trigger: str) -> OrderReport:
    """Return a report of the position's own stop."""
    return OrderReport(
        instrument_id=BTC,
        client_order_id="",
        venue_order_id="child",
        conditional=True,
        status=OrderStatus.TRIGGERING,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=None,
        filled_qty=Decimal(0),
        reduce_only=True,
        close_position=False,
        role=ProtectionRole.STOP,
        source=ReportSource.STREAM,
        ts_event=1,
        trigger_price=Decimal(trigger),
        position_bound=True,
    )


def acknowledged(*stops: tuple[str, CloseCause]) -> StopCauses:
    """Return causes after the venue acknowledged *stops*."""
    causes = StopCauses(lambda _: True)
    for price, cause in stops:
        causes.on_set(
            SetPositionProtection(
                instrument_id=BTC,
                side=PositionSide.LONG,
                stop_price=Decimal(price),
                target_price=Decimal(104),
                stop_cause=cause,
            )
        )
    return causes


@pytest.mark.parametrize(("trigger", "cause"), [("98", SL), ("101", TRAIL), ("101.5", TRAIL)])
def test_trigger_says_which_stop_fired(trigger: str, cause: CloseCause) -> None:
    """The one with that trigger, also when a later one was acknowledged meanwhile."""
    causes = acknowledged(("98", SL), ("101", TRAIL), ("101.5", TRAIL))
    causes.on_order(child(trigger))

    assert cause is causes.cause_of(child_fill())


def test_without_a_trigger_the_last_acknowledged_counts() -> None:
    """The child's own report may come late, or never."""
    assert TRAIL is acknowledged(("98", SL), ("101", TRAIL)).cause_of(child_fill())
    assert SL is acknowledged(("101", TRAIL), ("98", SL)).cause_of(child_fill())


def test_nothing_acknowledged_is_a_plain_stop() -> None:
    """The stop that travelled with the entry was never asked for by itself."""
    assert SL is StopCauses(lambda _: True).cause_of(child_fill())


def test_other_fills_are_not_judged_here() -> None:
    """Ids and the venue's word decide those."""
    assert acknowledged(("101", TRAIL)).cause_of(child_fill(FillOrigin.TARGET)) is None
    assert acknowledged(("101", TRAIL)).cause_of(child_fill(FillOrigin.ORDER)) is None


def test_what_exit_tells_after_a_restart_counts() -> None:
    """A stop an earlier run moved is known by what exit reads from it (R51)."""
    causes = StopCauses(lambda _: True)
    causes.on_told(
        ProtectionChanged(
            ts_event=1,
            ts_recv=1,
            position_id="ab12-1-1",
            instrument_id=BTC,
            stop_price=Decimal(101),
            target_price=None,
            reason="as found",
            stop_cause=TRAIL,
        )
    )
    assert TRAIL is causes.cause_of(child_fill())


def test_next_position_begins_anew() -> None:
    """An end forgets; what comes after it is not kept."""
    causes = acknowledged(("101", TRAIL))
    causes.forget(BTC)
    assert SL is causes.cause_of(child_fill())

    closed = StopCauses(lambda _: False)
    closed.on_order(child("101"))
    assert SL is closed.cause_of(child_fill())
