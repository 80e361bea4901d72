"""A rig for exit: the real bus on a virtual loop, and a venue and trade that say what tests say."""

import asyncio
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, TypeVar

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import VirtualClock
from aegis.core.errors import Refusal
from aegis.core.event import Event, HandlerFailed
from aegis.core.ids import IdSource
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.exit.actor import START_REASON, ExitActor
from aegis.model.account import (
    BalanceReport,
    Capabilities,
    OrderReport,
    PositionReport,
    ProtectionRole,
    ReportSource,
    VenueSnapshot,
)
from aegis.model.events import (
    EntryCompleted,
    FillBooked,
    IntentCompleted,
    IntentProposed,
    MarketTick,
    OrderAdvanced,
    OrderReported,
    PositionClosed,
    PositionOpened,
    PositionReported,
    RunStarted,
    SnapshotReported,
    VenueConnected,
)
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.intent import (
    CancelProtection,
    ClosePosition,
    Command,
    EnterPosition,
    PlaceProtection,
    SetPositionProtection,
    TradeIntent,
)
from aegis.model.order import OrderRequest, OrderSide, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause, PositionView, ProtectionPlan
from aegis.settings import AegisConfig

E = TypeVar("E", bound=Event)
C = TypeVar("C", PlaceProtection, SetPositionProtection, CancelProtection, ClosePosition)

T0: Final = 1_790_000_000_000_000_000
POSITION_ID: Final = "ab12-1-5"
PLAN: Final = ProtectionPlan(stop_distance=Decimal(2), target_distance=Decimal(4))
BINANCE_LIKE: Final = Capabilities(
    attached_protection=False,
    position_protection=False,
    close_position_orders=True,
    child_orders_unnamed=False,
)
BYBIT_LIKE: Final = Capabilities(
    attached_protection=True,
    position_protection=True,
    close_position_orders=False,
    child_orders_unnamed=True,
)


class ExitRig:
    """An ExitActor between a scripted trade and a scripted venue. Decimals are given as text."""

    def __init__(
        self,
        venue: Venue = Venue.BINANCE,
        *,
        market_qty_max: str | None = None,
        config: AegisConfig | None = None,
    ) -> None:
        self.loop = VirtualTimeLoop()
        self.clock = VirtualClock(T0, self.loop)
        self.bus = EventBus(self.clock)
        self.venue = venue
        self.instrument: InstrumentId = instrument_id("BTCUSDT", venue)
        self.events: list[tuple[int, Event]] = []
        self.bus.listen_all(lambda _seq, event: self.events.append((self.loop.time_ns(), event)))
        self.actor = ExitActor(
            self.bus, self.clock, config or AegisConfig(), intents=IdSource("int")
        )
        self.market_qty_max = market_qty_max
        self._fills = 0
        self._orders = 0
        self.view: PositionView | None = None
        self.publish(
            RunStarted(
                **self.at,
                run_id="run-1",
                run=1,
                installation="ab12",
                mode="paper",
                label="",
                config=(),
            )
        )
        self.publish(
            VenueConnected(
                **self.at,
                venue=venue,
                capabilities=BINANCE_LIKE if venue is Venue.BINANCE else BYBIT_LIKE,
                instruments=(self.rules(),),
            )
        )

    # --- time and the bus ------------------------------------------------------------------------

    @property
    def at(self) -> dict[str, int]:
        """Return both times of an event."""
        return {"ts_event": self.clock.now_ns(), "ts_recv": self.clock.now_ns()}

    def publish(self, *events: Event) -> None:
        """Publish on the running loop."""

        async def deliver() -> None:
            for event in events:
                self.bus.publish(event)

        self.loop.run_until_complete(deliver())

    def call(self, what: Callable[[], object]) -> None:
        """Call *what* on the running loop."""

        async def deliver() -> None:
            what()

        self.loop.run_until_complete(deliver())

    def wait(self, ms: float) -> None:
        """Let *ms* milliseconds of loop time pass."""
        self.loop.run_until_complete(asyncio.sleep(ms / 1000))

    def told(self, event_type: type[E]) -> list[E]:
        """Return the events of that type so far."""
        return [event for _, event in self.events if isinstance(event, event_type)]

    def told_ms(self, event_type: type[Event]) -> list[float]:
        """Return when events of that type were published, loop ms."""
        return [at / 1e6 for at, event in self.events if isinstance(event, event_type)]

    # --- what exit wishes ------------------------------------------------------------------------

    @property
    def intents(self) -> list[TradeIntent]:
        """Return every intent so far."""
        return [event.intent for event in self.told(IntentProposed)]

    def of(self, kind: type[C]) -> list[tuple[TradeIntent, C]]:
        """Return intents of that kind with their commands."""
        return [(i, i.command) for i in self.intents if isinstance(i.command, kind)]

    def orders(self, purpose: Purpose) -> list[TradeIntent]:
        """Return intents that carry an order of *purpose*."""
        return [
            i
            for i in self.intents
            if isinstance(i.command, PlaceProtection | ClosePosition)
            and i.command.request.purpose is purpose
        ]

    @staticmethod
    def request(intent: TradeIntent) -> OrderRequest:
        """Return the order an intent carries."""
        assert isinstance(intent.command, PlaceProtection | ClosePosition), intent
        return intent.command.request

    # --- what trade answers ----------------------------------------------------------------------

    def complete(
        self, intent: TradeIntent, refusal: Refusal | None = None, outcome: str = ""
    ) -> None:
        """End an intent: acknowledged, or refused."""
        self._end(
            intent, ok=refusal is None, refusal=refusal.value if refusal else "", told=outcome
        )

    def fail(self, intent: TradeIntent, outcome: str = "not sent") -> None:
        """End an intent without a word of the venue."""
        self._end(intent, ok=False, refusal="", told=outcome)

    def _end(self, intent: TradeIntent, *, ok: bool, refusal: str, told: str) -> None:
        command: Command = intent.command
        key = ""
        if isinstance(command, CancelProtection):
            key = command.client_order_id
        elif not isinstance(command, SetPositionProtection):
            key = command.request.client_order_id
        if isinstance(command, ClosePosition) and not ok:
            self.advance(intent, OrderStatus.REJECTED, message=told)
        self.publish(
            IntentCompleted(
                **self.at,
                intent_id=intent.intent_id,
                position_id=intent.position_id,
                instrument_id=intent.instrument_id,
                command=type(command).__name__,
                client_order_id=key,
                ok=ok,
                outcome=told or ("accepted" if ok else "refused"),
                refusal=refusal,
            )
        )

    def accept(self, intent: TradeIntent, *, heard: bool = True) -> None:
        """Answer a protective order NEW; *heard*: the stream tells it too, as a sound venue's."""
        self.publish(self.order(self.request(intent)))
        self.complete(intent)
        if heard:
            self.publish(self.order(self.request(intent), source=ReportSource.STREAM))

    def accept_all(self) -> None:
        """Accept every protective order that is not answered yet."""
        ended = {event.intent_id for event in self.told(IntentCompleted)}
        for intent, _ in self.of(PlaceProtection):
            if intent.intent_id not in ended:
                self.accept(intent)

    def ended(self) -> list[IntentCompleted]:
        """Return the ends of intents so far."""
        return self.told(IntentCompleted)

    def unanswered(self) -> list[TradeIntent]:
        """Return the intents that have not ended, closes left out."""
        ended = {event.intent_id for event in self.ended()}
        return [
            i
            for i in self.intents
            if i.intent_id not in ended and not isinstance(i.command, ClosePosition)
        ]

    def serve(self) -> None:
        """Do whatever is asked as a willing venue would, until nothing more is asked."""
        while waiting := self.unanswered():
            for intent in waiting:
                self._serve(intent)

    def _serve(self, intent: TradeIntent) -> None:
        match intent.command:
            case PlaceProtection():
                self.accept(intent)
            case SetPositionProtection(stop_price=stop, target_price=target):
                assert self.view is not None
                signed = self.view.qty * self.view.side.sign
                self.tell_row(self.row(str(signed), stop=str(stop), target=str(target)))
                self.complete(intent)
            case CancelProtection(client_order_id=key):
                told = [event.report for event in self.told(OrderReported)]
                listed = [r for e in self.told(SnapshotReported) for r in e.snapshot.orders]
                known = {report.client_order_id: report for report in (*listed, *told)}
                self.report(attrs.evolve(known[key], status=OrderStatus.CANCELED))
                self.complete(intent)
            case EnterPosition() | ClosePosition():
                raise AssertionError(f"{intent.intent_id} is no protection")

    def mark(self, price: str | None) -> None:
        """Publish a mark price, None: not known; do what follows, and let a millisecond pass."""
        self.publish(
            MarketTick(
                **self.at,
                instrument_id=self.instrument,
                bid=None,
                ask=None,
                mark=None if price is None else float(price),
                last=None,
                merged=0,
            )
        )
        self.wait(1)

    def advance(
        self,
        intent: TradeIntent,
        status: OrderStatus,
        message: str = "",
        filled_qty: Decimal = Decimal(0),
    ) -> None:
        """Tell that an order of ours moved on."""
        request = self.request(intent)
        self.publish(
            OrderAdvanced(
                **self.at,
                client_order_id=request.client_order_id,
                venue_order_id="",
                instrument_id=request.instrument_id,
                position_id=intent.position_id,
                purpose=request.purpose.name,
                status=status,
                filled_qty=filled_qty,
                average_px=None,
                code="",
                message=message,
            )
        )

    # --- what the venue reports ------------------------------------------------------------------

    def rules(self) -> Instrument:
        """Return the instrument: tick 0.1, step 0.001."""
        return Instrument(
            instrument_id=self.instrument,
            tick_size=Decimal("0.1"),
            qty_step=Decimal("0.001"),
            qty_min=Decimal("0.001"),
            qty_max=None,
            market_qty_max=Decimal(self.market_qty_max) if self.market_qty_max else None,
            notional_min=None,
            leverage_max=50,
            maint_margin_rate=Decimal("0.004"),
            taker_fee_rate=Decimal("0.0005"),
            maker_fee_rate=Decimal("0.0002"),
            funding_interval_ns=8 * 3600 * 10**9,
        )

    def order(
        self,
        request: OrderRequest,
        status: OrderStatus = OrderStatus.ACCEPTED,
        source: ReportSource = ReportSource.ANSWER,
        **changes: Any,
    ) -> OrderReported:
        """Return a report about an order of ours."""
        is_target = request.order_type is OrderType.TAKE_PROFIT_MARKET
        conditional = request.order_type.is_conditional
        role = ProtectionRole.TARGET if is_target else ProtectionRole.STOP
        report = OrderReport(
            instrument_id=request.instrument_id,
            client_order_id=request.client_order_id,
            venue_order_id=f"v-{request.client_order_id}",
            conditional=conditional,
            status=status,
            side=request.side,
            order_type=request.order_type,
            qty=request.qty,
            filled_qty=Decimal(0),
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            role=role if conditional else ProtectionRole.NONE,
            source=source,
            ts_event=self.clock.now_ns(),
            trigger_price=request.trigger_price,
        )
        return OrderReported(**self.at, report=attrs.evolve(report, **changes))

    def resting(
        self,
        key: str,
        price: str,
        *,
        qty: str | None = None,
        side: OrderSide = OrderSide.SELL,
        role: ProtectionRole = ProtectionRole.STOP,
        status: OrderStatus = OrderStatus.ACCEPTED,
        bound: bool = False,
        ts_event: int | None = None,
        filled_qty: Decimal = Decimal(0),
    ) -> OrderReport:
        """Return a report of a conditional order; *bound*: the position's own, without our id."""
        is_stop = role is ProtectionRole.STOP
        return OrderReport(
            instrument_id=self.instrument,
            client_order_id="" if bound else key,
            venue_order_id=key,
            conditional=True,
            status=status,
            side=side,
            order_type=OrderType.STOP_MARKET if is_stop else OrderType.TAKE_PROFIT_MARKET,
            qty=None if qty is None else Decimal(qty),
            filled_qty=filled_qty,
            reduce_only=True,
            close_position=qty is None and not bound,
            role=role,
            source=ReportSource.STREAM,
            ts_event=self.clock.now_ns() if ts_event is None else ts_event,
            trigger_price=Decimal(price),
            position_bound=bound,
        )

    def report(self, *reports: OrderReport) -> None:
        """Publish order reports."""
        self.publish(*(OrderReported(**self.at, report=report) for report in reports))

    def row(
        self,
        qty: str,
        *,
        stop: str | None = None,
        target: str | None = None,
        entry: str = "100",
        mark: str | None = None,
        liquidation: str | None = None,
        ts_event: int | None = None,
        instrument: InstrumentId | None = None,
    ) -> PositionReport:
        """Return a position row; *qty* is signed."""
        return PositionReport(
            instrument_id=instrument or self.instrument,
            qty_signed=Decimal(qty),
            entry_px_avg=None if Decimal(qty) == 0 else Decimal(entry),
            ts_event=self.clock.now_ns() if ts_event is None else ts_event,
            mark_price=None if mark is None else Decimal(mark),
            liquidation_price=None if liquidation is None else Decimal(liquidation),
            stop_price=None if stop is None else Decimal(stop),
            target_price=None if target is None else Decimal(target),
        )

    def tell_row(self, row: PositionReport) -> None:
        """Publish a position row."""
        self.publish(PositionReported(**self.at, report=row))

    def snapshot(
        self,
        positions: tuple[PositionReport, ...] = (),
        orders: tuple[OrderReport, ...] = (),
        reason: str = "asked",
    ) -> None:
        """Publish a complete snapshot."""
        now = self.clock.now_ns()
        balance = BalanceReport(
            venue=self.venue, wallet=Decimal(1000), available=None, equity=None, ts_event=now
        )
        self.publish(
            SnapshotReported(
                **self.at,
                snapshot=VenueSnapshot(
                    venue=self.venue,
                    ts_event=now,
                    balance=balance,
                    positions=positions,
                    orders=orders,
                ),
                reason=reason,
            )
        )

    def start(
        self, positions: tuple[PositionReport, ...] = (), orders: tuple[OrderReport, ...] = ()
    ) -> None:
        """Publish the snapshot of the start."""
        self.snapshot(positions, orders, reason=START_REASON)

    # --- positions -------------------------------------------------------------------------------

    def open(
        self,
        px: str = "100",
        qty: str = "1",
        *,
        side: PositionSide = PositionSide.LONG,
        position_id: str = POSITION_ID,
        adopted: bool = False,
        restored: bool = False,
        qty_opened: str | None = None,
    ) -> None:
        """Open a position by its first fill, adopt one, or go on with one of an earlier run."""
        self.view = PositionView(
            position_id=position_id,
            instrument_id=self.instrument,
            side=side,
            qty=Decimal(qty),
            qty_opened=Decimal(qty_opened or qty),
            entry_px_avg=Decimal(px),
            first_fill_px=Decimal(px),
            plan=None if adopted else PLAN,
            leverage=5,
            realized_pnl=Decimal(0),
            fees=Decimal(0),
            funding=Decimal(0),
            opened_ns=self.clock.now_ns(),
            adopted=adopted,
            restored=restored,
            trace_id="sig-000001",
        )
        now = self.clock.now_ns()
        opened = PositionOpened(ts_event=now, ts_recv=now, position=self.view)
        self.publish(opened, *([] if adopted or restored else [self._booked(qty, px)]))

    def _booked(self, qty: str, px: str) -> FillBooked:
        assert self.view is not None
        self._fills += 1
        return FillBooked(
            **self.at,
            fill=Fill(
                instrument_id=self.instrument,
                fill_id=str(self._fills),
                client_order_id="",
                venue_order_id="",
                side=self.view.side.entry_side,
                last_qty=Decimal(qty),
                last_px=Decimal(px),
                fee=Decimal(0),
                liquidity=Liquidity.TAKER,
                origin=FillOrigin.ORDER,
                ts_event=self.clock.now_ns(),
            ),
            position=self.view,
            purpose="ENTRY",
        )

    def resize(self, qty: str, *, vwap: str | None = None) -> None:
        """Book a fill after which *qty* is open, the entry VWAP being *vwap*."""
        assert self.view is not None
        entry = self.view.entry_px_avg if vwap is None else Decimal(vwap)
        self.view = attrs.evolve(self.view, qty=Decimal(qty), entry_px_avg=entry)
        self.publish(self._booked("0.1", "100"))

    def entry_done(self) -> None:
        """Complete the entry."""
        assert self.view is not None
        self.publish(EntryCompleted(**self.at, position=self.view, slippage=None))

    def closed(self, cause: CloseCause = CloseCause.SL) -> None:
        """Close the position."""
        assert self.view is not None
        self.view = attrs.evolve(self.view, qty=Decimal(0))
        self.publish(
            PositionClosed(
                **self.at,
                position=self.view,
                cause=cause,
                exit_px_avg=Decimal(98),
                net_pnl=Decimal(-2),
                hold_ns=1,
            )
        )


@pytest.fixture
def make_exit_rig() -> Iterator[Callable[..., ExitRig]]:
    """Return the maker of rigs; at the end no handler may have failed."""
    made: list[ExitRig] = []

    def make(*args: Any, **kwargs: Any) -> ExitRig:
        rig = ExitRig(*args, **kwargs)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.loop.close()
        assert [] == rig.told(HandlerFailed)
