"""Events built by hand for the tests of ops; no room but ops and model is needed."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import attrs
import pytest
from loguru import logger

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock, parse_utc
from aegis.core.event import Event
from aegis.model.account import Capabilities
from aegis.model.events import (
    ApiCalled,
    EntryCompleted,
    FillBooked,
    GuardChecked,
    IntentApproved,
    IntentDenied,
    IntentProposed,
    PositionClosed,
    PositionOpened,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    SignalRaised,
    StreamClosed,
    StreamOpened,
    VenueConnected,
)
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.intent import Approved, ClosePosition, EnterPosition, TradeIntent
from aegis.model.order import OrderRequest, OrderSide, OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause, PositionView, ProtectionPlan
from aegis.model.signal import Signal

T0: Final = parse_utc("2026-09-01T03:00:00Z")
BTC: Final = instrument_id("BTCUSDT", Venue.BINANCE)
MS: Final = 1_000_000
MINUTE: Final = 60_000 * MS


@attrs.define
class Maker:
    """Make events at the time of a clock; each method has defaults that read like a real trade."""

    clock: ManualClock

    @property
    def at(self) -> dict[str, int]:
        """Return both times of an event."""
        return {"ts_event": self.clock.now_ns(), "ts_recv": self.clock.now_ns()}

    def view(
        self,
        position_id: str = "ab12-1-5",
        *,
        instrument: InstrumentId = BTC,
        qty: str = "0.031",
        realized: str = "0",
        fees: str = "0",
        adopted: bool = False,
    ) -> PositionView:
        return PositionView(
            position_id=position_id,
            instrument_id=instrument,
            side=PositionSide.LONG,
            qty=Decimal(qty),
            qty_opened=Decimal("0.031"),
            entry_px_avg=Decimal("100012.43333333"),
            first_fill_px=Decimal("100012.4"),
            plan=None
            if adopted
            else ProtectionPlan(stop_distance=Decimal("310.2"), target_distance=Decimal("558.4")),
            leverage=5,
            realized_pnl=Decimal(realized),
            fees=Decimal(fees),
            funding=Decimal(0),
            opened_ns=self.clock.now_ns(),
            adopted=adopted,
            trace_id="s1",
        )

    def connected(self) -> VenueConnected:
        return VenueConnected(
            **self.at,
            venue=Venue.BINANCE,
            capabilities=Capabilities(
                attached_protection=False,
                position_protection=False,
                close_position_orders=True,
                child_orders_unnamed=False,
            ),
            instruments=(
                Instrument(
                    instrument_id=BTC,
                    tick_size=Decimal("0.10"),
                    qty_step=Decimal("0.001"),
                    qty_min=Decimal("0.001"),
                    qty_max=None,
                    market_qty_max=None,
                    notional_min=Decimal(100),
                    leverage_max=125,
                    maint_margin_rate=Decimal("0.004"),
                    taker_fee_rate=Decimal("0.0005"),
                    maker_fee_rate=Decimal("0.0002"),
                    funding_interval_ns=8 * 60 * MINUTE,
                ),
            ),
        )

    def signal(self) -> SignalRaised:
        return SignalRaised(
            **self.at,
            signal=Signal(
                signal_id="s1",
                instrument_id=BTC,
                side=PositionSide.LONG,
                confidence=0.7123,
                strategy="trend_follow",
                bar_close_ns=self.clock.now_ns(),
                expires_ns=self.clock.now_ns() + MINUTE,
                reference_px=Decimal("100011.2"),
                stop_distance=Decimal("310.2"),
                target_distance=Decimal("558.4"),
                patterns=("pullback",),
                features=(("rsi", 55.5),),
                reasons=("ema 21 above ema 50", "15m trend up"),
            ),
        )

    def entry_intent(self) -> TradeIntent:
        return TradeIntent(
            intent_id="i1",
            position_id="ab12-1-5",
            source="trade",
            reason="trend_follow",
            trace_id="s1",
            command=EnterPosition(
                request=OrderRequest(
                    instrument_id=BTC,
                    client_order_id="ab12-1-5-EN1",
                    purpose=Purpose.ENTRY,
                    side=OrderSide.BUY,
                    order_type=OrderType.MARKET,
                    qty=Decimal("0.031"),
                    reduce_only=False,
                ),
                side=PositionSide.LONG,
                plan=ProtectionPlan(
                    stop_distance=Decimal("310.2"), target_distance=Decimal("558.4")
                ),
                leverage=5,
                mark_price=Decimal("100011.2"),
                signal_price=Decimal("100011.2"),
                signal_id="s1",
                expires_ns=self.clock.now_ns() + MINUTE,
            ),
        )

    def close_intent(self) -> IntentProposed:
        intent = TradeIntent(
            intent_id="i9",
            position_id="ab12-1-5",
            source="exit",
            reason="UNPROTECTED: no stop within 3000 ms",
            trace_id="s1",
            command=ClosePosition(
                request=OrderRequest(
                    instrument_id=BTC,
                    client_order_id="ab12-1-5-CU1",
                    purpose=Purpose.CLOSE_UNPROTECTED,
                    side=OrderSide.SELL,
                    order_type=OrderType.MARKET,
                    qty=Decimal("0.031"),
                    reduce_only=True,
                ),
                cause=CloseCause.UNPROTECTED,
            ),
        )
        return IntentProposed(**self.at, intent=intent)

    def proposed(self) -> IntentProposed:
        return IntentProposed(**self.at, intent=self.entry_intent())

    def checked(self) -> GuardChecked:
        return GuardChecked(
            **self.at,
            intent_id="i1",
            instrument_id=BTC,
            checks=tuple((f"guard{n}", True, "fine") for n in range(11)),
        )

    def approved(self) -> IntentApproved:
        return IntentApproved(**self.at, approved=Approved(self.entry_intent()))

    def denied(self) -> IntentDenied:
        return IntentDenied(
            **self.at,
            intent=self.entry_intent(),
            guard="exposure",
            reason="notional would be 31000.00 USDT, limit 30000.00 USDT",
        )

    def opened(self, position_id: str = "ab12-1-5", *, adopted: bool = False) -> PositionOpened:
        now = self.clock.now_ns()
        return PositionOpened(
            ts_event=now, ts_recv=now, position=self.view(position_id, adopted=adopted)
        )

    def booked(self, *, side: OrderSide, qty: str, realized: str, fee: str) -> FillBooked:
        return FillBooked(
            **self.at,
            fill=Fill(
                instrument_id=BTC,
                fill_id=f"f{side}{qty}",
                client_order_id="ab12-1-5-EN1",
                venue_order_id="1",
                side=side,
                last_qty=Decimal("0.031"),
                last_px=Decimal("100012.4"),
                fee=Decimal(fee),
                liquidity=Liquidity.TAKER,
                origin=FillOrigin.ORDER,
                ts_event=self.clock.now_ns(),
            ),
            position=self.view(qty=qty, realized=realized),
            purpose="ENTRY",
        )

    def entered(self) -> EntryCompleted:
        return EntryCompleted(**self.at, position=self.view(), slippage=Decimal("1.23333333"))

    def confirmed(
        self, position_id: str = "ab12-1-5", naked_ns: int = 8 * MS
    ) -> ProtectionConfirmed:
        now = self.clock.now_ns()
        return ProtectionConfirmed(
            ts_event=now,
            ts_recv=now,
            position_id=position_id,
            instrument_id=BTC,
            stop_price=Decimal("99702.20"),
            target_price=Decimal("100570.80"),
            stop_order=f"{position_id}-SF1",
            target_order=f"{position_id}-TP1",
            naked_ns=naked_ns,
            source="order",
        )

    def delayed(self, naked_ns: int = 500 * MS) -> ProtectionDelayed:
        return ProtectionDelayed(
            **self.at, position_id="ab12-1-5", instrument_id=BTC, naked_ns=naked_ns
        )

    def failed(self) -> ProtectionFailed:
        return ProtectionFailed(
            **self.at, position_id="ab12-1-5", instrument_id=BTC, reason="no stop within 3000 ms"
        )

    def closed(
        self,
        position_id: str = "ab12-1-5",
        *,
        cause: CloseCause = CloseCause.TP,
        net: str = "16.9",
        exit_px: str | None = "100570.8",
    ) -> PositionClosed:
        return PositionClosed(
            **self.at,
            position=self.view(position_id, qty="0"),
            cause=cause,
            exit_px_avg=None if exit_px is None else Decimal(exit_px),
            net_pnl=Decimal(net),
            hold_ns=41 * MINUTE,
        )

    def api(self, *, ok: bool = False, operation: str = "place") -> ApiCalled:
        return ApiCalled(
            **self.at,
            venue=Venue.BINANCE,
            operation=operation,
            ok=ok,
            duration_ms=12.5,
            error_class="" if ok else "VenueRefused",
            error_code="" if ok else "-2019",
            error="" if ok else "BINANCE place: refused with -2019: margin is insufficient",
        )

    def stream_opened(self, downtime_ns: int = 3 * MS) -> StreamOpened:
        return StreamOpened(
            **self.at, venue=Venue.BINANCE, stream="market", attempt=1, downtime_ns=downtime_ns
        )

    def stream_closed(self) -> StreamClosed:
        return StreamClosed(
            **self.at, venue=Venue.BINANCE, stream="market", reason="1006 abnormal closure"
        )


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at three in the morning."""
    return ManualClock(T0)


@pytest.fixture
def bus(clock: ManualClock) -> EventBus:
    """Return a bus on that clock."""
    return EventBus(clock)


@pytest.fixture
def make(clock: ManualClock) -> Maker:
    """Return the maker of events."""
    return Maker(clock)


@pytest.fixture
def heard(bus: EventBus) -> list[Event]:
    """Return the list that gets every event."""
    events: list[Event] = []
    bus.listen_all(lambda _seq, event: events.append(event))
    return events


@pytest.fixture
def logged() -> Iterator[list[tuple[str, str]]]:
    """Return the list that gets (level, message) of every line of the log."""
    lines: list[tuple[str, str]] = []

    def keep(message: "object") -> None:
        record = message.record  # type: ignore[attr-defined]  # loguru's message is a str with one
        lines.append((record["level"].name, record["message"]))

    sink = logger.add(keep, level="DEBUG", format="{message}")
    yield lines
    logger.remove(sink)
