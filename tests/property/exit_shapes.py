"""
What the laws of exit are tried on: instruments and positions in their plainest shape, and the
least a venue does with protective orders.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from hypothesis import strategies as st

from aegis.exit.decide import (
    Action,
    Cancel,
    PlaceRung,
    PlaceStop,
    PlaceTarget,
    Resting,
    SetBoth,
    TakeRung,
    targets_of,
)
from aegis.model.account import Capabilities, ProtectionRole
from aegis.model.instrument import Instrument, Venue, instrument_id
from aegis.model.money import ZERO
from aegis.model.order import OrderStatus, PositionSide, Purpose
from aegis.model.position import CloseCause, PositionView

BTC: Final = instrument_id("BTCUSDT", Venue.BINANCE)
TICK: Final = Decimal("0.1")
INSTALLATION: Final = "ab12"
STOP, TARGET = ProtectionRole.STOP, ProtectionRole.TARGET
ORDERS: Final = Capabilities(
    attached_protection=False,
    position_protection=False,
    close_position_orders=True,
    child_orders_unnamed=False,
)
"""A venue where stop and target are orders of their own."""
BOUND: Final = Capabilities(
    attached_protection=True,
    position_protection=True,
    close_position_orders=False,
    child_orders_unnamed=True,
)
"""A venue that keeps stop and target with the position."""
SIDES: Final = st.sampled_from(PositionSide)


def rules_of(tick: Decimal = TICK, taker_fee_rate: Decimal = ZERO) -> Instrument:
    """Return an instrument with that tick, step 0.001."""
    return Instrument(
        instrument_id=BTC,
        tick_size=tick,
        qty_step=Decimal("0.001"),
        qty_min=Decimal("0.001"),
        qty_max=None,
        market_qty_max=None,
        notional_min=None,
        leverage_max=50,
        maint_margin_rate=ZERO,
        taker_fee_rate=taker_fee_rate,
        maker_fee_rate=ZERO,
        funding_interval_ns=1,
    )


def position_of(
    side: PositionSide,
    entry_px: Decimal,
    qty: Decimal = Decimal(1),
    *,
    opened: Decimal | None = None,
    first_px: Decimal | None = None,
) -> PositionView:
    """Return a position of which *qty* is left; *opened* at least 1 unless it is told."""
    return PositionView(
        position_id=f"{INSTALLATION}-1-1",
        instrument_id=BTC,
        side=side,
        qty=qty,
        qty_opened=max(qty, Decimal(1)) if opened is None else opened,
        entry_px_avg=entry_px,
        first_fill_px=entry_px if first_px is None else first_px,
        plan=None,
        leverage=1,
        realized_pnl=ZERO,
        fees=ZERO,
        funding=ZERO,
        opened_ns=0,
        adopted=False,
        trace_id="t",
    )


class NaiveVenue:
    """The least a venue does: rests what it is asked, one floor, one target, pairs in place."""

    def __init__(self, side: PositionSide) -> None:
        self.side = side
        self.resting: list[Resting] = []
        self._count = 0

    def order(
        self,
        role: ProtectionRole,
        price: Decimal,
        qty: Decimal | None,
        purpose: Purpose | None = None,
    ) -> Resting:
        """Return a new order; without a *purpose* it is the position's own."""
        self._count += 1
        name = purpose.value if purpose else role.value
        return Resting(
            key=f"{INSTALLATION}-1-1-{name}{self._count}" if purpose else name,
            role=role,
            side=self.side.exit_side,
            trigger_price=price,
            qty=qty,
            status=OrderStatus.ACCEPTED,
            position_bound=purpose is None,
            purpose=purpose,
            installation=INSTALLATION if purpose else "",
        )

    def refusal(self, action: Action) -> str:
        """Return the code of a no that follows from what rests; "" for none."""
        match action:
            case PlaceStop(qty=None):
                floors = [r for r in self.resting if r.role is STOP and r.qty is None]
                return "-4130" if floors else ""
            case PlaceTarget():
                return "-4130" if targets_of(self.resting) else ""
            case Cancel(key=key):
                return "" if any(r.key == key for r in self.resting) else "-2011"
            case _:
                return ""

    def do(self, action: Action) -> Sequence[Resting]:
        """Do *action* and return what is new; fail where a venue would say no."""
        assert "" == self.refusal(action), action
        before = list(self.resting)
        match action:
            case PlaceStop(price=price, qty=None):
                self.resting.append(self.order(STOP, price, None, Purpose.STOP_FLOOR))
            case PlaceStop(price=price, qty=qty, cause=cause):
                trails = cause is CloseCause.TRAIL
                purpose = Purpose.STOP_TRAIL if trails else Purpose.STOP_MOVING
                self.resting.append(self.order(STOP, price, qty, purpose))
            case PlaceTarget(price=price):
                self.resting.append(self.order(TARGET, price, None, Purpose.TARGET))
            case PlaceRung(price=price, qty=qty):
                self.resting.append(self.order(TARGET, price, qty, Purpose.RUNG))
            case TakeRung():
                raise AssertionError("a market order does not rest")
            case SetBoth(stop_price=stop_price, target_price=target_price):
                self.resting[:] = [r for r in self.resting if not r.position_bound]
                self.resting.append(self.order(STOP, stop_price, None))
                self.resting.append(self.order(TARGET, target_price, None))
            case Cancel(key=key):
                self.resting[:] = [r for r in self.resting if r.key != key]
        return [r for r in self.resting if r not in before]
