"""Safety on the bus: reservations, the day's baseline and lock, strays, the kill switch."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock, parse_utc
from aegis.core.event import Event, HandlerFailed
from aegis.core.latch import HaltLatch
from aegis.model.account import (
    BalanceReport,
    OrderReport,
    PositionReport,
    ProtectionRole,
    ReportSource,
    VenueSnapshot,
)
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    BalanceReported,
    DayStarted,
    EntriesHalted,
    EntriesResumed,
    EntryCompleted,
    EntryFailed,
    FillBooked,
    GuardChecked,
    IntentApproved,
    IntentDenied,
    IntentProposed,
    KillSwitchPulled,
    MarketTick,
    OrderReported,
    PositionClosed,
    PositionOpened,
    SecondLegFound,
    SecondLegGone,
    SnapshotReported,
    VenueProtected,
)
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import ClosePosition, EnterPosition, TradeIntent
from aegis.model.order import (
    OrderRequest,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
)
from aegis.model.position import CloseCause, PositionView, ProtectionPlan
from aegis.safety.actor import SafetyActor
from aegis.settings import AegisConfig

START = parse_utc("2026-09-01T10:00:00Z")
MINUTE = 60_000_000_000
BINANCE = Venue.BINANCE
BTC = InstrumentId("BTCUSDT", BINANCE)
PLAN = ProtectionPlan(stop_distance=Decimal(5), target_distance=Decimal(5))


class Room:
    """A safety actor on a bus of its own, and all it published."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock(START)
        self.bus = EventBus(self.clock)
        self.latch = HaltLatch()
        self.events: list[Event] = []
        self.bus.listen_all(lambda _seq, event: self.events.append(event))
        self.actor = SafetyActor(
            self.bus, self.clock, AegisConfig(**config), self.latch, bar_ns=5 * MINUTE
        )

    def tell(self, kind: Callable[..., Event], **fields: Any) -> None:
        """Publish an event of now."""
        now = self.clock.now_ns()
        self.bus.publish(kind(ts_event=now, ts_recv=now, **fields))

    def of(self, kind: type[Event]) -> list[Any]:
        """Return the events of *kind* so far; no handler may have failed."""
        assert not [e for e in self.events if isinstance(e, HandlerFailed)]
        return [event for event in self.events if type(event) is kind]

    def ready(self, *instruments: InstrumentId, wallet: int = 10_000) -> "Room":
        """Make wallets, marks and protection known, everywhere."""
        for venue in Venue:
            self.balance(wallet, venue=venue)
            self.tell(VenueProtected, venue=venue, positions=0)
        for instrument in instruments:
            self.tick(100.0, instrument)
        return self

    def balance(self, wallet: int, venue: Venue = BINANCE, available: int = 1) -> None:
        """Tell a wallet; the free balance is something else."""
        report = BalanceReport(
            venue=venue,
            wallet=Decimal(wallet),
            available=Decimal(available),
            equity=None,
            ts_event=self.clock.now_ns(),
        )
        self.tell(BalanceReported, report=report)

    def tick(self, mark: float | None, instrument: InstrumentId = BTC) -> None:
        """Tell a mark."""
        self.tell(
            MarketTick, instrument_id=instrument, bid=None, ask=None, mark=mark, last=None, merged=0
        )

    def ask(self, number: int, instrument: InstrumentId = BTC, qty: int = 1) -> None:
        """Propose an entry."""
        self.tell(IntentProposed, intent=entry_intent(number, instrument, qty, self.clock.now_ns()))

    def opened(self, view: PositionView) -> None:
        """Tell an open position."""
        self.tell(PositionOpened, position=view)

    def closed(self, view: PositionView) -> None:
        """Tell that it is flat."""
        self.tell(
            PositionClosed,
            position=attrs.evolve(view, qty=Decimal(0)),
            cause=CloseCause.SL,
            exit_px_avg=Decimal(90),
            net_pnl=Decimal(-10),
            hold_ns=1,
        )

    def approved(self) -> int:
        """Return how many intents were let through."""
        return len(self.of(IntentApproved))


def entry_intent(number: int, instrument: InstrumentId, qty: int, now: int) -> TradeIntent:
    """Return the *number*-th wish to go long at 100."""
    request = OrderRequest(
        instrument_id=instrument,
        client_order_id=f"test-1-{number}-EN1",
        purpose=Purpose.ENTRY,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=Decimal(qty),
        reduce_only=False,
    )
    command = EnterPosition(
        request=request,
        side=PositionSide.LONG,
        plan=PLAN,
        leverage=2,
        mark_price=Decimal(100),
        signal_price=Decimal(100),
        signal_id=f"s{number}",
        expires_ns=now + MINUTE,
    )
    return TradeIntent(
        intent_id=f"i{number}",
        position_id=f"test-1-{number}",
        source="trade",
        reason="r",
        trace_id="t",
        command=command,
    )


def view(number: int = 1, instrument: InstrumentId = BTC, qty: int = 1) -> PositionView:
    """Return a long from 100."""
    return PositionView(
        position_id=f"test-1-{number}",
        instrument_id=instrument,
        side=PositionSide.LONG,
        qty=Decimal(qty),
        qty_opened=Decimal(qty),
        entry_px_avg=Decimal(100),
        first_fill_px=Decimal(100),
        plan=PLAN,
        leverage=2,
        realized_pnl=Decimal(0),
        fees=Decimal(0),
        funding=Decimal(0),
        opened_ns=START,
        adopted=False,
        trace_id="t",
    )


def coin(number: int, venue: Venue = BINANCE) -> InstrumentId:
    """Return the *number*-th instrument of a venue."""
    return InstrumentId(f"C{number}USDT", venue)


def test_fifty_signals_for_one_symbol_give_one_order() -> None:
    """R36, R37, scenario 13: the reservation is made before the next one is asked."""
    room = Room().ready(BTC)

    for number in range(50):
        room.ask(number)

    assert 1 == room.approved()
    assert {"one_position"} == {denied.guard for denied in room.of(IntentDenied)}
    assert 50 == len(room.of(GuardChecked))


def test_fifty_signals_published_from_within_one_delivery_give_one_order() -> None:
    """R37, scenario 13: queued behind each other on the bus, they cannot all pass an old state."""
    room = Room().ready(BTC)

    def flood(_event: VenueProtected) -> None:
        for number in range(50):
            room.ask(number)

    room.bus.subscribe(VenueProtected, flood)
    room.tell(VenueProtected, venue=BINANCE, positions=0)

    assert 1 == room.approved()


@pytest.mark.parametrize("limit", [1, 5, 20])
def test_limit_plus_33_signals_give_exactly_limit_orders(limit: int) -> None:
    """R37, scenario 14: slots are reserved when approved, not when filled."""
    coins = [coin(n) for n in range(limit + 33)]
    room = Room(positions_max=limit, positions_max_per_venue=limit).ready(*coins)

    for number, instrument in enumerate(coins):
        room.ask(number, instrument)

    assert limit == room.approved()
    assert 33 == len(room.of(IntentDenied))


def test_exposure_is_reserved_too() -> None:
    """R37, R67: 300 % of 10,000 holds three entries of 10,000, no fourth."""
    coins = [coin(n) for n in range(4)]
    room = Room().ready(*coins)

    for number, instrument in enumerate(coins):
        room.ask(number, instrument, qty=100)

    assert 3 == room.approved()
    assert ["exposure"] == [denied.guard for denied in room.of(IntentDenied)]


def test_a_thousand_trades_free_all_slots() -> None:
    """R37, scenario 8: failed and closed ones alike leave nothing behind."""
    room = Room(positions_max=2, positions_max_per_venue=2).ready(BTC)

    for number in range(1000):
        room.ask(number)
        if number % 2:
            room.tell(
                EntryFailed, position_id=f"test-1-{number}", instrument_id=BTC, reason="rejected"
            )
            continue
        held = view(number)
        room.opened(held)
        room.tell(EntryCompleted, position=held, slippage=Decimal(0))
        room.closed(held)

    assert 1000 == room.approved()
    assert () == room.actor.exposures()


def test_a_partly_filled_entry_counts_whole() -> None:
    """R34, R67: until the entry is over, what was asked for is the exposure."""
    room = Room().ready(BTC)
    room.ask(1, qty=10)
    part = view(qty=4)
    room.opened(part)

    assert [Decimal(1000)] == [e.notional for e in room.actor.exposures()]
    room.tell(EntryCompleted, position=part, slippage=Decimal(0))
    assert [Decimal(400)] == [e.notional for e in room.actor.exposures()]


def stop_fill() -> Fill:
    """Return an execution of a stop."""
    return Fill(
        instrument_id=BTC,
        fill_id="f",
        client_order_id="",
        venue_order_id="1",
        side=OrderSide.SELL,
        last_qty=Decimal(1),
        last_px=Decimal(100),
        fee=Decimal(0),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=START,
    )


def test_exposure_follows_fills_and_mark() -> None:
    """R67: |quantity| times the mark of now."""
    room = Room().ready(BTC)
    room.opened(view(qty=4))
    room.tell(FillBooked, fill=stop_fill(), position=view(qty=3), purpose="SL")
    room.tick(110.0)

    assert [Decimal(330)] == [e.notional for e in room.actor.exposures()]


def test_a_late_fill_of_an_ended_position_changes_nothing_of_the_next_one() -> None:
    """R67, R77: it is booked where it belongs; exposure is what is open."""
    room = Room().ready(BTC)
    room.opened(view(number=2, qty=4))
    room.tell(FillBooked, fill=stop_fill(), position=view(number=1, qty=0), purpose="SL")
    room.tick(100.0)

    assert [Decimal(400)] == [e.notional for e in room.actor.exposures()]


def test_a_position_without_a_mark_blocks_entries_of_its_venue() -> None:
    """R43, R70: an unknown mark is no entry price; the other venue goes on."""
    room = Room().ready(BTC, coin(1, Venue.BYBIT))
    room.opened(view(instrument=coin(9)))

    room.ask(1)
    room.ask(2, coin(1, Venue.BYBIT))

    assert ["daily_drawdown"] == [denied.guard for denied in room.of(IntentDenied)]
    assert 1 == room.approved()


@pytest.mark.parametrize("mark", [float("nan"), float("inf"), 0.0, -5.0])
def test_a_mark_that_is_no_price_changes_nothing(mark: float) -> None:
    """R5, R69: it is not believed and does not make data fresh."""
    room = Room().ready()
    room.tick(mark)
    room.ask(1)

    assert ["freshness"] == [denied.guard for denied in room.of(IntentDenied)]


def test_stale_data_block_entries_and_nothing_else() -> None:
    """R69: 300 s and a bar after the last tick."""
    room = Room().ready(BTC)
    room.clock.advance_ns(10 * MINUTE + 1)
    room.ask(1)
    close = attrs.evolve(
        entry_intent(2, BTC, 1, START),
        command=ClosePosition(
            request=OrderRequest(
                instrument_id=BTC,
                client_order_id="test-1-2-CK1",
                purpose=Purpose.CLOSE_KILL,
                side=OrderSide.SELL,
                order_type=OrderType.MARKET,
                qty=Decimal(1),
                reduce_only=True,
            ),
            cause=CloseCause.KILL,
        ),
    )
    room.tell(IntentProposed, intent=close)

    assert ["freshness"] == [denied.guard for denied in room.of(IntentDenied)]
    assert [close] == [event.approved.intent for event in room.of(IntentApproved)]


def test_entries_wait_until_a_venue_is_protected() -> None:
    """R88: found positions carry stops first; each venue for itself."""
    room = Room()
    room.balance(10_000)
    room.tick(100.0)
    room.ask(1)
    room.tell(VenueProtected, venue=BINANCE, positions=0)
    room.ask(2)

    assert ["start"] == [denied.guard for denied in room.of(IntentDenied)]
    assert 1 == room.approved()


def test_entries_wait_while_an_account_is_in_doubt() -> None:
    """R12: a gap of the user stream holds entries on that venue alone, until it was asked."""
    other = coin(1, Venue.BYBIT)
    room = Room().ready(BTC, other)
    room.tell(AccountDoubted, venue=BINANCE, reason="the user stream broke: reset")
    room.ask(1)
    room.ask(2, other)
    (denied,) = room.of(IntentDenied)
    assert ("account", "account is being asked anew: the user stream broke: reset") == (
        denied.guard,
        denied.reason,
    )
    assert 1 == room.approved()
    room.tell(AccountConfirmed, venue=BINANCE, doubted_ns=1, held=0, repeated=0)
    room.ask(3)
    assert 2 == room.approved()


def test_entries_wait_while_a_second_leg_is_open() -> None:
    """R41: a position the bot does not see holds entries on its venue alone, until it is gone."""
    other = coin(1, Venue.BYBIT)
    room = Room().ready(BTC, other)
    legs = {"held_qty_signed": Decimal("0.1"), "second_qty_signed": Decimal("-0.2")}
    room.tell(SecondLegFound, instrument_id=BTC, **legs)
    room.ask(1)
    room.ask(2, other)
    (denied,) = room.of(IntentDenied)
    assert "account" == denied.guard
    assert f"both legs of {BTC} are open" in denied.reason
    assert "give the SHORT leg a stop, or close it" in denied.reason
    assert 1 == room.approved()
    # A doubt that comes and goes meanwhile changes nothing about it.
    room.tell(AccountDoubted, venue=BINANCE, reason="the user stream broke: reset")
    room.tell(AccountConfirmed, venue=BINANCE, doubted_ns=1, held=0, repeated=0)
    room.ask(3)
    assert 1 == room.approved()
    room.tell(SecondLegGone, instrument_id=BTC)
    room.ask(4)
    assert 2 == room.approved()


# --- the day -------------------------------------------------------------------------------------


def lose(room: Room, mark: float) -> None:
    """Hold 10 from 100 and let the mark fall."""
    room.opened(view(qty=10))
    room.tick(mark)


def test_the_day_begins_with_equity_and_not_with_free_balance() -> None:
    """R64: wallet plus unrealized; what is free is another number."""
    room = Room()
    room.opened(view(qty=10))
    room.tick(110.0)
    room.balance(10_000, available=3)
    room.tell(VenueProtected, venue=BINANCE, positions=1)

    started = room.of(DayStarted)
    assert [("2026-09-01", Decimal(10_100))] == [(e.day, e.equity) for e in started]


def test_a_lost_day_stays_locked_when_the_market_comes_back() -> None:
    """R64: latched at 3 % of the day's start, told once, for that venue."""
    room = Room().ready(BTC, coin(1, Venue.BYBIT), wallet=1000)
    lose(room, 97.0)
    room.tick(110.0)
    room.ask(7, coin(2))
    room.tick(100.0, coin(2))
    room.ask(8, coin(2))
    room.ask(9, coin(1, Venue.BYBIT))

    assert ["BINANCE"] == [event.scope for event in room.of(EntriesHalted)]
    assert ["freshness", "daily_drawdown"] == [d.guard for d in room.of(IntentDenied)]
    assert 1 == room.approved()


def test_the_lock_ends_with_the_next_utc_day_and_its_own_baseline() -> None:
    """R64: at midnight UTC the equity of that moment is the new start."""
    room = Room().ready(BTC, wallet=1000)
    lose(room, 97.0)
    room.clock.advance_ns(parse_utc("2026-09-01T23:59:59Z") - START)
    room.actor.on_day_timer()
    assert [] == room.of(EntriesResumed)
    room.clock.advance_ns(1_000_000_000)
    room.actor.on_day_timer()

    assert ["new UTC day"] == [event.reason for event in room.of(EntriesResumed)]
    assert Decimal(970) == room.actor.venue_state(BINANCE).day_start_equity
    assert "" == room.actor.venue_state(BINANCE).day_locked


def test_a_lock_survives_midnight_while_equity_is_unknown() -> None:
    """R70: an unknown equity starts no day."""
    room = Room()
    room.actor.restore_day(BINANCE, "2026-08-31", Decimal(1000), "down 3.20 %")
    room.tell(VenueProtected, venue=BINANCE, positions=0)
    room.actor.on_day_timer()

    assert "down 3.20 %" == room.actor.venue_state(BINANCE).day_locked


def test_a_restart_takes_over_baseline_and_lock() -> None:
    """R65: a day restored is not re-based, its lock holds."""
    room = Room()
    room.actor.restore_day(BINANCE, "2026-09-01", Decimal(1000), "down 3.20 %")
    room.ready(BTC, wallet=5000)
    room.ask(1)

    assert Decimal(1000) == room.actor.venue_state(BINANCE).day_start_equity
    assert ["daily_drawdown"] == [denied.guard for denied in room.of(IntentDenied)]
    assert BINANCE not in {event.venue for event in room.of(DayStarted)}


def test_a_restart_counts_what_was_lost_before_it() -> None:
    """R65: the restored baseline judges the equity found."""
    room = Room()
    room.actor.restore_day(BINANCE, "2026-09-01", Decimal(1000), "")
    room.ready(BTC, wallet=970)

    assert ["BINANCE"] == [event.scope for event in room.of(EntriesHalted)]


def test_a_loss_told_by_the_wallet_first_is_not_counted_twice() -> None:
    """R64: the venue's wallet falls before the fill is told; 2 % lost is not 4 %."""
    room = Room().ready(BTC, wallet=1000)
    lose(room, 98.0)
    room.balance(980)
    room.tick(98.0)
    room.closed(view())
    room.clock.advance_ns(2_000_000_000)
    room.actor.on_day_timer()

    assert [] == room.of(EntriesHalted)
    assert Decimal(980) == room.actor.venue_state(BINANCE).equity


def test_a_true_loss_is_seen_once_wallet_and_positions_settled() -> None:
    """R64: the moment of grace ends, and entries are denied during it all the same."""
    room = Room().ready(BTC, coin(2), wallet=1000)
    room.opened(view(qty=10))
    room.balance(960)
    room.ask(1, coin(2))
    assert [] == room.of(EntriesHalted)
    room.clock.advance_ns(1_000_000_000)
    room.tick(100.0)

    assert ["BINANCE"] == [event.scope for event in room.of(EntriesHalted)]
    assert ["daily_drawdown"] == [denied.guard for denied in room.of(IntentDenied)]


# --- strays, the kill switch ---------------------------------------------------------------------


def stop_report(status: OrderStatus, **changes: Any) -> OrderReport:
    """Return a report of a resting stop."""
    report = OrderReport(
        instrument_id=BTC,
        client_order_id="test-1-1-SF1",
        venue_order_id="7",
        conditional=True,
        status=status,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=None,
        filled_qty=Decimal(0),
        reduce_only=True,
        close_position=True,
        role=ProtectionRole.STOP,
        source=ReportSource.STREAM,
        ts_event=START,
    )
    return attrs.evolve(report, **changes)


def test_no_entry_where_a_stop_of_an_earlier_position_rests() -> None:
    """Design, Protection: the next position would inherit it."""
    room = Room().ready(BTC)
    room.tell(OrderReported, report=stop_report(OrderStatus.ACCEPTED))
    room.ask(1)
    room.tell(OrderReported, report=stop_report(OrderStatus.CANCELED))
    room.ask(2)

    assert ["stray_orders"] == [denied.guard for denied in room.of(IntentDenied)]
    assert 1 == room.approved()


def test_an_overtaken_answer_does_not_block_the_instrument() -> None:
    """The stream told the end of a close before its answer NEW was read."""
    room = Room().ready(BTC)
    room.tell(OrderReported, report=stop_report(OrderStatus.FILLED))
    room.tell(OrderReported, report=stop_report(OrderStatus.ACCEPTED))
    room.ask(1)

    assert 1 == room.approved()


@pytest.mark.parametrize("change", [{"reduce_only": False, "close_position": False},
                                    {"position_bound": True}])  # fmt: skip
def test_orders_that_are_no_strays_block_nothing(change: dict[str, Any]) -> None:
    """An entry of ours, and the position's own stop which the venue removes itself."""
    room = Room().ready(BTC)
    room.tell(OrderReported, report=stop_report(OrderStatus.ACCEPTED, **change))
    room.ask(1)

    assert 1 == room.approved()


def test_a_snapshot_counts_resting_orders_anew_and_tells_marks() -> None:
    """R88: a complete list replaces what was believed."""
    room = Room().ready(BTC)
    room.tell(OrderReported, report=stop_report(OrderStatus.ACCEPTED))
    balance = BalanceReport(
        venue=BINANCE, wallet=Decimal(500), available=None, equity=None, ts_event=START
    )
    position = PositionReport(
        instrument_id=BTC,
        qty_signed=Decimal(0),
        entry_px_avg=None,
        ts_event=START,
        mark_price=Decimal(77),
    )
    snapshot = VenueSnapshot(
        venue=BINANCE, ts_event=START, balance=balance, positions=(position,), orders=()
    )
    room.tell(SnapshotReported, snapshot=snapshot, reason="test")
    room.opened(view(qty=2))

    assert [Decimal(154)] == [e.notional for e in room.actor.exposures()]
    assert Decimal(454) == room.actor.venue_state(BINANCE).equity


def test_the_kill_switch_stops_entries_until_an_operator_resets_it() -> None:
    """R73: at once, everywhere, and no day or restart of data lifts it."""
    room = Room().ready(BTC)
    room.tell(KillSwitchPulled, operator="ann", reason="drill")
    room.ask(1)
    room.clock.advance_ns(24 * 60 * MINUTE)
    room.actor.on_day_timer()
    room.tick(100.0)
    room.ask(2)
    assert ["halt", "halt"] == [denied.guard for denied in room.of(IntentDenied)]

    with pytest.raises(ValueError, match="operator was empty"):
        room.actor.reset_kill_switch(" ")
    room.actor.reset_kill_switch("bob")
    room.ask(3)

    assert 1 == room.approved()
    assert ["kill switch by ann: drill: lifted by bob"] == [
        event.reason for event in room.of(EntriesResumed)
    ]
