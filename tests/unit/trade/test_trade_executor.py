"""Trade and its executor on virtual time against a hand-written venue."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import VirtualClock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    VenueError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from aegis.core.event import Event, HandlerFailed
from aegis.core.ids import IdSource
from aegis.core.latch import HaltLatch
from aegis.core.supervise import Supervisor
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.account import (
    BalanceReport,
    Capabilities,
    OrderReport,
    ProtectionRole,
    ReportSource,
    VenueSnapshot,
)
from aegis.model.booked import BookedSince
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    EntriesHalted,
    EntriesResumed,
    EntryCompleted,
    EntryFailed,
    FillReported,
    FundingReported,
    IntentApproved,
    IntentCompleted,
    IntentProposed,
    MarketTick,
    OrderReported,
    OrderSubmitted,
    PositionOpened,
    SignalDropped,
    SignalRaised,
    SnapshotReported,
    SnapshotWanted,
    VenueConnected,
)
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.intent import (
    Approved,
    CancelProtection,
    ClosePosition,
    SetPositionProtection,
    TradeIntent,
)
from aegis.model.market import Candle
from aegis.model.order import OrderRequest, OrderSide, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.order_id import PositionIds
from aegis.model.ports import MarketSink
from aegis.model.position import CloseCause
from aegis.model.signal import Signal
from aegis.settings import AegisConfig
from aegis.trade.actor import TradeActor

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
BTC = InstrumentId("BTCUSDT", Venue.BINANCE)
ETH = InstrumentId("ETHUSDT", Venue.BINANCE)
WHERE: dict[str, Any] = {"venue": "BINANCE", "operation": "place"}
CAPABILITIES = Capabilities(
    attached_protection=False,
    position_protection=False,
    close_position_orders=True,
    child_orders_unnamed=False,
)


class FakeVenue:
    """A venue that does what the test wrote down, and counts what it was asked."""

    venue = Venue.BINANCE
    capabilities = CAPABILITIES

    def __init__(self) -> None:
        self.placed: list[str] = []
        self.asked: list[str] = []
        self.prepared = 0
        self.leverage: int | None = None
        self.prepare_errors: list[VenueError] = []
        self.place_errors: list[VenueError] = []
        self.answers: list[OrderStatus | VenueError | None] = []
        self.place_delay_s = 0.0
        self.prepare_delay_s = 0.0
        self.on_prepare: Callable[[], None] = lambda: None
        self.status = OrderStatus.ACCEPTED
        self.snapshots = 0

    async def connect(
        self, symbols: Sequence[str], *, held: Sequence[str] = ()
    ) -> tuple[Instrument, ...]:
        """Not used here."""
        raise NotImplementedError

    async def start_streams(self, instruments: Sequence[Instrument], sink: MarketSink) -> None:
        """Not used here."""
        raise NotImplementedError

    async def booked_since(self, since_ns: int) -> BookedSince:
        """Return nothing: every fill here is told."""
        return BookedSince(fills=(), fundings=())

    async def tell_missed_fills(self) -> None:
        """Nothing was missed here."""

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """Return an empty account, after a second."""
        self.snapshots += 1
        await asyncio.sleep(1.0)
        balance = BalanceReport(
            venue=Venue.BINANCE,
            wallet=Decimal(10_000),
            available=Decimal(10_000),
            equity=None,
            ts_event=START,
        )
        return VenueSnapshot(
            venue=Venue.BINANCE, ts_event=START, balance=balance, positions=(), orders=()
        )

    async def prepare_entry(self, instrument_id: InstrumentId, leverage: int) -> int:
        """Read back the leverage asked for, unless told otherwise."""
        self.prepared += 1
        await asyncio.sleep(self.prepare_delay_s)
        self.on_prepare()
        if self.prepare_errors:
            raise self.prepare_errors.pop(0)
        return self.leverage or leverage

    async def place(self, request: OrderRequest) -> OrderReport:
        """Answer, or fail as written down."""
        self.placed.append(request.client_order_id)
        await asyncio.sleep(self.place_delay_s)
        if self.place_errors:
            raise self.place_errors.pop(0)
        return report_of(request, self.status)

    async def cancel(self, command: CancelProtection) -> None:
        """Accept."""
        self.placed.append(f"cancel {command.client_order_id}")

    async def set_position_protection(self, command: SetPositionProtection) -> None:
        """Fail as written down, or accept."""
        self.placed.append("protect")
        if self.place_errors:
            raise self.place_errors.pop(0)

    async def query(
        self, instrument_id: InstrumentId, client_order_id: str, *, conditional: bool
    ) -> OrderReport | None:
        """Answer what was written down; the last answer repeats."""
        self.asked.append(client_order_id)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, VenueError):
            raise answer
        if answer is None:
            return None
        return attrs.evolve(
            report_of(request_of(client_order_id), answer), source=ReportSource.QUERY
        )

    async def candles(
        self, instrument_id: InstrumentId, timeframe_ns: int, start_ns: int, end_ns: int
    ) -> tuple[Candle, ...]:
        """Not used here."""
        raise NotImplementedError

    async def mark_price(self, instrument_id: InstrumentId) -> Decimal:
        """Not used here."""
        raise NotImplementedError

    async def resubscribe(self, instrument_id: InstrumentId) -> None:
        """Not used here."""

    def restart_market(self, *, quotes: bool, marks: bool, reason: str) -> None:
        """Not used here."""

    async def close(self) -> None:
        """Nothing is open."""


def request_of(client_order_id: str) -> OrderRequest:
    """Return a request as far as a report needs it."""
    entry = "-EN" in client_order_id
    return OrderRequest(
        instrument_id=BTC,
        client_order_id=client_order_id,
        purpose=Purpose.ENTRY if entry else Purpose.CLOSE_KILL,
        side=OrderSide.BUY if entry else OrderSide.SELL,
        order_type=OrderType.MARKET,
        qty=Decimal(1),
        reduce_only=not entry,
    )


def report_of(request: OrderRequest, status: OrderStatus) -> OrderReport:
    """Return the venue's word about *request*; FILLED is filled whole."""
    full = status is OrderStatus.FILLED
    return OrderReport(
        instrument_id=request.instrument_id,
        client_order_id=request.client_order_id,
        venue_order_id="77",
        conditional=request.order_type.is_conditional,
        status=status,
        side=request.side,
        order_type=request.order_type,
        qty=request.qty,
        filled_qty=(request.qty or Decimal(0)) if full else Decimal(0),
        reduce_only=request.reduce_only,
        close_position=request.close_position,
        role=ProtectionRole.NONE,
        source=ReportSource.ANSWER,
        ts_event=START,
    )


def instrument(instrument_id: InstrumentId, *, tradable: bool = True) -> Instrument:
    """Return a coin of 100 USDT, sized in hundredths."""
    return Instrument(
        instrument_id=instrument_id,
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.01"),
        qty_min=Decimal("0.01"),
        qty_max=None,
        market_qty_max=None,
        notional_min=Decimal(5),
        leverage_max=20,
        maint_margin_rate=Decimal("0.004"),
        taker_fee_rate=Decimal(0),
        maker_fee_rate=Decimal(0),
        funding_interval_ns=1,
        tradable=tradable,
    )


class Desk:
    """Trade alone on a bus whose safety approves everything."""

    def __init__(self, *, approve: bool = True, venue: "FakeVenue | None" = None) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.clock = VirtualClock(START, loop)
        self.bus = EventBus(self.clock)
        self.events: list[Event] = []
        self.bus.listen_all(lambda _seq, event: self.events.append(event))
        self.venue = venue or FakeVenue()
        self.latch = HaltLatch()
        self.failures: list[object] = []
        self.supervisor = Supervisor(self.clock, self.failures.append, rng=random.Random(1))
        self.trade = TradeActor(
            self.bus,
            self.clock,
            AegisConfig(),
            gateways={Venue.BINANCE: self.venue},
            halt=self.latch.view(),
            supervisor=self.supervisor,
            positions=PositionIds("test", 1),
            intents=IdSource("int"),
        )
        if approve:
            self.bus.subscribe(IntentProposed, lambda e: self.approve(e.intent))
        self.trade.start()
        self.tell(
            VenueConnected,
            venue=Venue.BINANCE,
            capabilities=CAPABILITIES,
            instruments=(instrument(BTC), instrument(ETH)),
        )
        snapshot = VenueSnapshot(
            venue=Venue.BINANCE,
            ts_event=START,
            balance=BalanceReport(
                venue=Venue.BINANCE,
                wallet=Decimal(10_000),
                available=Decimal(10_000),
                equity=None,
                ts_event=START,
            ),
            positions=(),
            orders=(),
        )
        self.tell(SnapshotReported, snapshot=snapshot, reason="test")
        for each in (BTC, ETH):
            self.tell(
                MarketTick, instrument_id=each, bid=None, ask=None, mark=100.0, last=None, merged=0
            )

    def tell(self, kind: Callable[..., Event], **fields: Any) -> None:
        """Publish an event of now."""
        now = self.clock.now_ns()
        self.bus.publish(kind(ts_event=now, ts_recv=now, **fields))

    def approve(self, intent: TradeIntent) -> None:
        """Let an intent through."""
        self.tell(IntentApproved, approved=Approved(intent))

    def signal(self, number: int = 1, where: InstrumentId = BTC, good_s: float = 60.0) -> None:
        """Raise the *number*-th signal."""
        signal = Signal(
            signal_id=f"sig-{number}",
            instrument_id=where,
            side=PositionSide.LONG,
            confidence=0.9,
            strategy="t",
            bar_close_ns=self.clock.now_ns(),
            expires_ns=self.clock.now_ns() + round(good_s * SECOND),
            reference_px=Decimal(100),
            stop_distance=Decimal(1),
            target_distance=Decimal(2),
            patterns=(),
            features=(),
            reasons=("because",),
        )
        self.tell(SignalRaised, signal=signal)

    def close(self, number: int = 1, intent_id: str = "") -> None:
        """Have exit ask for a close."""
        request = request_of(f"test-1-9-CK{number}")
        self.approve(
            TradeIntent(
                intent_id=intent_id or f"close-{number}",
                position_id="test-1-9",
                source="exit",
                reason="r",
                trace_id="t",
                command=ClosePosition(request=request, cause=CloseCause.KILL),
            )
        )

    def fill(self, qty: str, fill_id: str = "f1", position: int = 1) -> None:
        """Tell an execution of an entry."""
        fill = Fill(
            instrument_id=BTC,
            fill_id=fill_id,
            client_order_id=f"test-1-{position}-EN1",
            venue_order_id="77",
            side=OrderSide.BUY,
            last_qty=Decimal(qty),
            last_px=Decimal(101),
            fee=Decimal(0),
            liquidity=Liquidity.TAKER,
            origin=FillOrigin.ORDER,
            ts_event=self.clock.now_ns(),
        )
        self.tell(FillReported, fill=fill)

    def of(self, kind: type[Event]) -> list[Any]:
        """Return the events of *kind*; nothing may have failed."""
        assert not [e for e in self.events if isinstance(e, HandlerFailed)]
        assert [] == self.failures
        return [event for event in self.events if type(event) is kind]

    def outcomes(self) -> list[tuple[bool, str]]:
        """Return how intents ended."""
        return [(e.ok, e.outcome) for e in self.of(IntentCompleted)]


def on_desk(
    play: Callable[[Desk], Awaitable[None]],
    *,
    approve: bool = True,
    venue: FakeVenue | None = None,
) -> None:
    """Run *play* on virtual time and stop the desk."""

    async def main() -> None:
        desk = Desk(approve=approve, venue=venue)
        try:
            await play(desk)
        finally:
            await desk.supervisor.stop()
        assert [] == desk.failures
        assert not [e for e in desk.events if isinstance(e, HandlerFailed)]

    run_virtual(main())


ENTRY_1 = "test-1-1-EN1"


def unknown(client_order_id: str = ENTRY_1) -> OrderOutcomeUnknown:
    """Return a time-out after the bytes left."""
    return OrderOutcomeUnknown(client_order_id, venue="BINANCE", operation="place")


def test_an_entry_is_sent_once_and_ends_when_its_order_is_settled() -> None:
    """R28, R74: leverage first, then the order, one end."""

    async def play(desk: Desk) -> None:
        desk.signal()
        await asyncio.sleep(0.1)
        assert ([ENTRY_1], 1) == (desk.venue.placed, desk.venue.prepared)
        assert [] == desk.outcomes()
        desk.fill("50")
        assert [(True, "filled")] == desk.outcomes()
        assert [Decimal(1)] == [e.slippage for e in desk.of(EntryCompleted)]
        desk.venue.answers = [OrderStatus.FILLED]
        await asyncio.sleep(60)
        assert 1 == len(desk.outcomes())

    on_desk(play)


def test_a_time_out_after_acceptance_is_asked_about_and_never_sent_again() -> None:
    """R30, scenario 11: one order, one position."""

    async def play(desk: Desk) -> None:
        desk.venue.place_errors = [unknown()]
        desk.venue.answers = [
            VenueUnreachable(venue="BINANCE", operation="query"), None, OrderStatus.FILLED,
        ]  # fmt: skip
        desk.signal()
        await asyncio.sleep(2)
        desk.fill("50")
        await asyncio.sleep(60)
        assert [ENTRY_1] == desk.venue.placed
        assert [ENTRY_1] * 3 == desk.venue.asked
        assert 1 == len(desk.of(PositionOpened)) == len(desk.outcomes())

    on_desk(play)


def test_an_entry_counts_as_never_arrived_only_when_it_no_longer_can() -> None:
    """R30, R37: reserved for the 5 s of recvWindow, then released with a cool-down."""

    async def play(desk: Desk) -> None:
        desk.venue.place_errors = [unknown()]
        desk.venue.answers = [None]
        desk.signal()
        await asyncio.sleep(4.9)
        assert desk.trade.book.is_busy(BTC)
        await asyncio.sleep(3)
        assert not desk.trade.book.is_busy(BTC)
        assert [False] == [ok for ok, _ in desk.outcomes()]
        assert 1 == len(desk.of(EntryFailed))

    on_desk(play)


def test_a_duplicate_id_is_resolved_by_asking() -> None:
    """R30: an order with our id exists; it filled, and that is a position."""

    async def play(desk: Desk) -> None:
        refusal = VenueRefused("-4116", "duplicated", refusal=Refusal.DUPLICATE_ID, **WHERE)
        desk.venue.place_errors = [refusal]
        desk.venue.answers = [OrderStatus.FILLED]
        desk.signal()
        await asyncio.sleep(2)
        desk.fill("50")
        assert [(True, "filled")] == desk.outcomes()
        assert 1 == len(desk.of(PositionOpened))

    on_desk(play)


def test_a_refused_entry_releases_everything_and_cools_down_entries_only() -> None:
    """R37, R39: the next signal there waits 60 s, a close does not."""

    async def play(desk: Desk) -> None:
        desk.venue.place_errors = [VenueRefused("-2019", "margin", **WHERE)]
        desk.signal(1)
        await asyncio.sleep(0.1)
        assert not desk.trade.book.is_busy(BTC)
        desk.signal(2)
        desk.close()
        await asyncio.sleep(0.1)
        assert ["cooling down 60 s more after a failed entry"] == [
            e.reason for e in desk.of(SignalDropped)
        ]
        assert [ENTRY_1, "test-1-9-CK1"] == desk.venue.placed
        desk.venue.answers = [OrderStatus.FILLED]
        await asyncio.sleep(60)
        desk.signal(3)
        await asyncio.sleep(0.1)
        assert "test-1-2-EN1" == desk.venue.placed[-1]

    on_desk(play)


def test_a_leverage_read_back_differently_sends_nothing() -> None:
    """R28: set and read back, or no entry."""

    async def play(desk: Desk) -> None:
        desk.venue.leverage = 20
        desk.signal()
        await asyncio.sleep(0.1)
        assert [] == desk.venue.placed
        assert [(False, "leverage reads back as 20, wanted 5")] == desk.outcomes()

    on_desk(play)


def test_the_halt_is_read_just_before_the_socket() -> None:
    """R73: pulled while the leverage was being set."""

    async def play(desk: Desk) -> None:
        desk.venue.on_prepare = lambda: desk.latch.set("drill", at_ns=1)
        desk.signal()
        desk.close()
        await asyncio.sleep(0.1)
        assert ["test-1-9-CK1"] == desk.venue.placed
        assert (False, "halted: drill") in desk.outcomes()

    on_desk(play)


def test_a_locked_day_holds_the_queued_entries_of_its_venue() -> None:
    """R64: an entry approved a moment before does not slip out."""

    async def play(desk: Desk) -> None:
        desk.venue.on_prepare = lambda: desk.tell(EntriesHalted, scope="BINANCE", reason="down")
        desk.signal()
        await asyncio.sleep(0.1)
        assert [] == desk.venue.placed
        desk.venue.on_prepare = lambda: None
        desk.tell(EntriesResumed, scope="BINANCE", reason="new UTC day")
        desk.signal(2, ETH)
        await asyncio.sleep(0.1)
        assert ["test-1-2-EN1"] == desk.venue.placed

    on_desk(play)


def test_a_doubted_account_holds_the_queued_entries_of_its_venue() -> None:
    """R12: an entry approved a moment before the user stream broke does not slip out."""

    async def play(desk: Desk) -> None:
        desk.venue.on_prepare = lambda: desk.tell(AccountDoubted, venue=BTC.venue, reason="broke")
        desk.signal()
        await asyncio.sleep(0.1)
        assert [] == desk.venue.placed
        assert (False, "the account is being asked anew: broke") in desk.outcomes()
        desk.venue.on_prepare = lambda: None
        desk.tell(AccountConfirmed, venue=BTC.venue, doubted_ns=1, held=0, repeated=0)
        desk.signal(2, ETH)
        await asyncio.sleep(0.1)
        assert ["test-1-2-EN1"] == desk.venue.placed

    on_desk(play)


def test_a_signal_that_expires_on_the_way_is_not_sent() -> None:
    """R24: leverage took longer than the signal is good."""

    async def play(desk: Desk) -> None:
        desk.venue.prepare_delay_s = 2.0
        desk.signal(good_s=1.0)
        await asyncio.sleep(3)
        assert [] == desk.venue.placed
        assert [False] == [ok for ok, _ in desk.outcomes()]

    on_desk(play)


@pytest.mark.parametrize(("good_s", "sent"), [(60.0, [ENTRY_1]), (5.0, [])])
def test_throttled_entries_wait_and_ways_out_do_not(good_s: float, sent: list[str]) -> None:
    """R31, design 2: Retry-After is honored, unless the signal is over by then."""

    async def play(desk: Desk) -> None:
        desk.venue.prepare_errors = [VenueThrottled(10.0, **WHERE)]
        desk.signal(good_s=good_s)
        await asyncio.sleep(0.1)
        desk.close()
        await asyncio.sleep(1)
        assert ["test-1-9-CK1"] == desk.venue.placed
        desk.venue.answers = [OrderStatus.FILLED]
        await asyncio.sleep(10)
        assert ["test-1-9-CK1", *sent] == desk.venue.placed

    on_desk(play)


@pytest.mark.parametrize(("wait_s", "late_sent"), [(10.0, [ENTRY_1]), (None, [])])
def test_entries_wait_while_the_venue_wants_fewer_requests(
    wait_s: float | None, late_sent: list[str]
) -> None:
    """R31: a pause with an end is waited out, one without keeps entries in; ways out leave."""

    async def play(desk: Desk) -> None:
        desk.trade.executors[Venue.BINANCE].pause_entries("too many", wait_s)
        desk.signal(good_s=60.0)
        await asyncio.sleep(0.1)
        desk.close()
        desk.venue.answers = [OrderStatus.FILLED]
        await asyncio.sleep(20)
        assert ["test-1-9-CK1", *late_sent] == desk.venue.placed
        desk.trade.executors[Venue.BINANCE].resume_entries()

    on_desk(play)


def test_ways_out_never_wait_behind_an_entry() -> None:
    """Design 2: the entry hangs for a minute, the close leaves at once."""

    async def play(desk: Desk) -> None:
        desk.venue.prepare_delay_s = 60.0
        desk.signal(good_s=600)
        await asyncio.sleep(0.1)
        desk.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ["test-1-9-CK1"] == desk.venue.placed

    on_desk(play)


def test_unresolved_ways_out_hold_no_worker() -> None:
    """Design 2: six orders with unknown outcome, and the seventh still leaves at once."""

    async def play(desk: Desk) -> None:
        desk.venue.answers = [VenueUnreachable(venue="BINANCE", operation="query")]
        desk.venue.place_errors = [unknown(f"test-1-9-CK{n}") for n in range(6)]
        for number in range(7):
            desk.close(number)
        await asyncio.sleep(0.01)
        assert 7 == len(desk.venue.placed)
        assert 6 == desk.trade.executors[Venue.BINANCE].depths[0]
        await asyncio.sleep(20)
        ended = [ok for ok, _ in desk.outcomes()]
        assert (6, 1) == (ended.count(False), ended.count(True))
        assert 0 == desk.trade.executors[Venue.BINANCE].depths[0]

    on_desk(play)


def test_a_lost_end_of_a_close_is_asked_for() -> None:
    """R32, R60: the answer said NEW, the stream never told the end."""

    async def play(desk: Desk) -> None:
        desk.venue.answers = [OrderStatus.ACCEPTED, OrderStatus.EXPIRED]
        desk.close()
        await asyncio.sleep(10)
        assert 2 == len(desk.venue.asked)
        assert OrderStatus.EXPIRED is desk.of(OrderReported)[-1].report.status

    on_desk(play)


def test_an_answer_that_is_a_no_is_no_success() -> None:
    """R60: expired at once without a fill."""

    async def play(desk: Desk) -> None:
        desk.venue.status = OrderStatus.EXPIRED
        desk.close()
        await asyncio.sleep(0.1)
        assert [(False, "accepted as 77, EXPIRED")] == desk.outcomes()

    on_desk(play)


def test_fifty_signals_give_one_order() -> None:
    """R36, scenario 13: of one symbol, one after another."""

    async def play(desk: Desk) -> None:
        for number in range(50):
            desk.signal(number)
        await asyncio.sleep(0.1)
        assert [ENTRY_1] == desk.venue.placed
        assert 49 == len(desk.of(SignalDropped))

    on_desk(play)


def test_a_signal_seen_before_is_dropped() -> None:
    """R24: replayed after its position failed."""

    async def play(desk: Desk) -> None:
        desk.signal(1)
        desk.signal(1)
        assert ["the signal was seen before"] == [e.reason for e in desk.of(SignalDropped)]

    on_desk(play)


def test_an_instrument_found_outside_the_settings_is_not_traded() -> None:
    """Design, Protection: protected too, never traded."""

    async def play(desk: Desk) -> None:
        desk.tell(
            VenueConnected,
            venue=Venue.BINANCE,
            capabilities=CAPABILITIES,
            instruments=(instrument(ETH, tradable=False),),
        )
        desk.signal(1, ETH)
        assert [f"{ETH} is not traded"] == [e.reason for e in desk.of(SignalDropped)]

    on_desk(play)


def test_an_entry_approved_where_something_was_found_ends_and_releases() -> None:
    """R37, R74: no assertion, no leak, no order."""

    async def play(desk: Desk) -> None:
        desk.signal(1)
        intent = desk.of(IntentProposed)[0].intent
        desk.signal(2, ETH)
        other = desk.of(IntentProposed)[1].intent
        desk.approve(intent)
        desk.approve(attrs.evolve(intent, intent_id="again", position_id="test-1-7"))
        desk.approve(other)
        await asyncio.sleep(0.1)
        assert ["test-1-7"] == [e.position_id for e in desk.of(EntryFailed)]
        assert [False] == [ok for ok, _ in desk.outcomes()]
        assert [ENTRY_1, "test-1-2-EN1"] == desk.venue.placed

    on_desk(play, approve=False)


def test_an_id_used_before_is_not_sent_again() -> None:
    """R30: the second intent ends as a duplicate."""

    async def play(desk: Desk) -> None:
        desk.venue.answers = [OrderStatus.FILLED]
        desk.close()
        desk.close(intent_id="again")
        await asyncio.sleep(0.1)
        assert ["test-1-9-CK1"] == desk.venue.placed
        assert 1 == len(desk.of(OrderSubmitted))
        assert ["duplicate_id", ""] == [e.refusal for e in desk.of(IntentCompleted)]

    on_desk(play)


def test_funding_told_twice_is_booked_once() -> None:
    """R77: a replay after a gap doubles no money."""

    async def play(desk: Desk) -> None:
        desk.signal()
        await asyncio.sleep(0.1)
        desk.fill("50")
        for _ in range(2):
            desk.tell(
                FundingReported,
                venue=Venue.BINANCE,
                instrument_id=BTC,
                amount=Decimal("-0.25"),
                funding_id="f",
            )
        assert Decimal("-0.25") == desk.trade.book.positions[BTC].funding

    on_desk(play)


def test_a_doubt_during_a_snapshot_asks_once_more() -> None:
    """R12, R88: an answer under way may be older than the doubt; many doubts are one ask."""

    async def play(desk: Desk) -> None:
        desk.tell(SnapshotWanted, venue=Venue.BINANCE, reason="one")
        await asyncio.sleep(0.5)
        for _ in range(5):
            desk.tell(SnapshotWanted, venue=Venue.BINANCE, reason="two")
        await asyncio.sleep(10)
        assert 2 == desk.venue.snapshots
        assert ["test", "one", "two"] == [e.reason for e in desk.of(SnapshotReported)]

    on_desk(play)


def test_fills_that_cannot_be_asked_for_hold_up_no_snapshot() -> None:
    """R30, R88: what protects is seen all the same; no position ends by it before its fills."""
    venue = FakeVenue()

    async def fail() -> None:
        raise VenueUnreachable("no answer", venue="BINANCE", operation="user_trades")

    venue.tell_missed_fills = fail  # type: ignore[method-assign]  # the list alone is down

    async def play(desk: Desk) -> None:
        desk.tell(SnapshotWanted, venue=Venue.BINANCE, reason="one")
        await asyncio.sleep(2)
        assert ["test", "one"] == [e.reason for e in desk.of(SnapshotReported)]

    on_desk(play, venue=venue)


class SwiftVenue(FakeVenue):
    """A venue that takes an order in the call that decided it, while its socket is up."""

    def __init__(self) -> None:
        super().__init__()
        self.at_once: list[str] = []
        self.is_ready = True
        self.is_known = True

    def is_prepared(self, instrument_id: InstrumentId, leverage: int) -> bool:
        """Say what was written down."""
        return self.is_known

    def place_at_once(self, request: OrderRequest) -> Callable[[], Awaitable[OrderReport]] | None:
        """Note the order as sent now, unless the socket is down."""
        if not self.is_ready:
            return None
        self.at_once.append(request.client_order_id)
        return lambda: self.place(request)


def test_an_entry_on_a_free_lane_leaves_in_the_call_that_decided_it() -> None:
    """No turn of the loop and no read-back of what is known to stand; told as sent, once (R28)."""
    venue = SwiftVenue()

    async def play(desk: Desk) -> None:
        desk.signal()
        assert ([ENTRY_1], 0) == (venue.at_once, venue.prepared)
        assert [ENTRY_1] == [e.request.client_order_id for e in desk.of(OrderSubmitted)]
        await asyncio.sleep(0.1)
        desk.fill("50")
        assert [(True, "filled")] == desk.outcomes()
        assert 1 == len(desk.of(OrderSubmitted))

    on_desk(play, venue=venue)


def test_an_entry_takes_the_lane_where_something_must_be_asked_first() -> None:
    """Leverage not known, socket down: the same order goes the longer way, once."""
    for known, ready, prepared in ((False, True, 1), (True, False, 0)):
        venue = SwiftVenue()
        venue.is_known, venue.is_ready = known, ready

        async def play(desk: Desk, venue: SwiftVenue = venue, prepared: int = prepared) -> None:
            desk.signal()
            assert [] == venue.at_once
            await asyncio.sleep(0.1)
            assert ([ENTRY_1], prepared) == (venue.placed, venue.prepared)
            assert 1 == len(desk.of(OrderSubmitted))

        on_desk(play, venue=venue)


def test_nothing_leaves_at_once_past_a_halt_a_close_or_another_entry() -> None:
    """R73: the latch is read just before the socket; ways out and earlier entries go first."""
    venue = SwiftVenue()
    venue.place_delay_s = 1.0
    venue.answers = [OrderStatus.FILLED]

    async def play(desk: Desk) -> None:
        desk.latch.set("stop", at_ns=1)
        desk.signal(1)
        assert [] == venue.at_once
        await asyncio.sleep(0.1)
        assert [(False, "halted: stop")] == [(ok, why) for ok, why in desk.outcomes()]
        _ = desk.latch.reset("somebody")
        desk.close(1)
        desk.signal(2, where=ETH)
        assert [] == venue.at_once
        await asyncio.sleep(5)
        assert ["test-1-9-CK1", "test-1-2-EN1"] == venue.placed

    on_desk(play, venue=venue)


def test_a_halt_holds_an_entry_that_was_told_but_found_the_socket_down() -> None:
    """What did not leave at once is looked at again before it leaves (R73)."""
    venue = SwiftVenue()
    venue.is_ready = False

    async def play(desk: Desk) -> None:
        desk.signal()
        desk.latch.set("stop", at_ns=1)
        await asyncio.sleep(0.1)
        assert [] == venue.placed
        assert 1 == len(desk.of(EntryFailed))

    on_desk(play, venue=venue)


def test_an_entry_sent_at_once_whose_answer_is_lost_is_asked_about() -> None:
    """R30: unknown is resolved by the id and never sent again."""
    venue = SwiftVenue()
    venue.place_errors = [unknown()]
    venue.answers = [OrderStatus.FILLED]

    async def play(desk: Desk) -> None:
        desk.signal()
        await asyncio.sleep(10)
        assert [ENTRY_1] == venue.at_once
        assert venue.asked[0] == ENTRY_1
        assert 1 == len(venue.placed)

    on_desk(play, venue=venue)
