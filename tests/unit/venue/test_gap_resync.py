"""After each gap of the user stream the account is asked for everything before it is believed."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal

import attrs

from aegis.core.clock import NS_PER_S, VirtualClock
from aegis.core.errors import VenueUnreachable
from aegis.core.event import Event
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
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
    FillReported,
    OrderReported,
    PositionReported,
    SnapshotReported,
    StreamClosed,
    StreamOpened,
)
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderSide, OrderStatus, OrderType
from aegis.venue.reports import reported, snapshot_reported
from aegis.venue.resync import HOLD_S_MAX, AccountQuestions, CaughtUp, GapResync
from aegis.venue.silence import SILENCE_PATIENCE_S

BTC = instrument_id("BTCUSDT", Venue.BINANCE)


def fill_of(fill_id: str, ts_event: int = 0) -> Fill:
    """Return an execution."""
    return Fill(
        instrument_id=BTC,
        fill_id=fill_id,
        client_order_id="ours",
        venue_order_id="1",
        side=OrderSide.BUY,
        last_qty=Decimal(1),
        last_px=Decimal(100),
        fee=Decimal(0),
        liquidity=Liquidity.TAKER,
        origin=FillOrigin.ORDER,
        ts_event=ts_event,
    )


def order_of(venue_order_id: str, status: OrderStatus, ts_event: int) -> OrderReport:
    """Return an order as the venue tells it."""
    return OrderReport(
        instrument_id=BTC,
        client_order_id=f"ours-{venue_order_id}",
        venue_order_id=venue_order_id,
        conditional=True,
        status=status,
        side=OrderSide.SELL,
        order_type=OrderType.STOP_MARKET,
        qty=Decimal(1),
        filled_qty=Decimal(0),
        reduce_only=True,
        close_position=False,
        role=ProtectionRole.STOP,
        source=ReportSource.STREAM,
        ts_event=ts_event,
    )


def position_of(qty: str, ts_event: int) -> PositionReport:
    """Return a position."""
    return PositionReport(
        instrument_id=BTC, qty_signed=Decimal(qty), entry_px_avg=None, ts_event=ts_event
    )


def balance_of(wallet: str) -> BalanceReport:
    """Return a wallet."""
    return BalanceReport(
        venue=Venue.BINANCE, wallet=Decimal(wallet), available=None, equity=None, ts_event=0
    )


class Bench:
    """A resync whose catching up fails as often as the test says, and takes *takes_s*."""

    def __init__(self, failures: int = 0, takes_s: float = 0.0, *, started: bool = True) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.clock = VirtualClock(0, loop)
        self.told: list[TaskFailed] = []
        self.asked = 0
        self.events: list[Event] = []
        self.reconnects: list[str] = []
        self.replays: list[Fill] = []
        self.positions: tuple[PositionReport, ...] = ()
        self.orders: tuple[OrderReport, ...] = ()
        self._failures = failures
        self._takes_s = takes_s
        supervisor = Supervisor(self.clock, self.told.append, rng=random.Random(1))
        self.resync = GapResync(
            "venue.resync",
            supervisor,
            AccountQuestions(replay=self._replay, snapshot=self._snapshot, tell=self._tell),
            venue=Venue.BINANCE,
            clock=self.clock,
            publish=self.events.append,
            reconnect=self.reconnects.append,
        )
        if started:
            self.resync.start(CaughtUp(asked_ns=0, snapshot=self._empty()))

    async def _replay(self) -> None:
        await asyncio.sleep(0.01)
        for fill in self.replays:
            self.resync.learn(reported(fill, self.clock.now_ns()))

    async def _snapshot(self) -> VenueSnapshot:
        self.asked += 1
        await asyncio.sleep(self._takes_s)
        if self.asked <= self._failures:
            raise VenueUnreachable("down", venue="binance", operation="snapshot")
        return attrs.evolve(self._empty(), positions=self.positions, orders=self.orders)

    def _empty(self) -> VenueSnapshot:
        return VenueSnapshot(
            venue=Venue.BINANCE, ts_event=0, balance=balance_of("1"), positions=(), orders=()
        )

    def _tell(self, snapshot: VenueSnapshot, reason: str) -> None:
        self.events.append(snapshot_reported(snapshot, reason, self.clock.now_ns()))

    def open(self) -> None:
        """Let the stream open."""
        self.resync.on_state(
            StreamOpened(
                ts_event=0, ts_recv=0, venue=Venue.BINANCE, stream="user", attempt=1, downtime_ns=0
            )
        )

    def close(self) -> None:
        """Let the stream break."""
        self.resync.on_state(
            StreamClosed(
                ts_event=0, ts_recv=0, venue=Venue.BINANCE, stream="user", reason="reset by peer"
            )
        )

    def hear(self, fact: Fill | OrderReport | PositionReport | BalanceReport) -> None:
        """Let the stream tell something now."""
        self.resync.hear(reported(fact, self.clock.now_ns()))

    def kinds(self) -> list[str]:
        """Return what reached the bus, by type."""
        return [type(event).__name__ for event in self.events]


def virtual(test: Callable[[], Awaitable[None]]) -> None:
    """Run *test* in virtual time."""

    async def main() -> None:
        await test()

    run_virtual(main())


async def asked_after(bench: Bench, seconds: float) -> int:
    """Return how often the account was asked once *seconds* have passed."""
    await asyncio.sleep(seconds)
    bench.resync.stop()
    return bench.asked


def test_the_first_opening_is_no_gap_and_every_later_one_is() -> None:
    """R12: a stream that opens again was away, whatever it missed."""

    async def test() -> None:
        once, twice = Bench(), Bench()
        for bench in (once, twice, twice):
            bench.open()
        assert 0 == await asked_after(once, 60.0)
        assert 1 == await asked_after(twice, 60.0)

    virtual(test)


def test_an_opening_that_is_to_count_as_the_first_is_no_gap() -> None:
    """R12: streams started anew are followed by a snapshot anyway."""

    async def test() -> None:
        bench = Bench()
        bench.open()
        bench.resync.forget_opened()
        bench.open()
        assert 0 == await asked_after(bench, 60.0)

    virtual(test)


def test_a_lost_message_is_a_gap() -> None:
    """R12: what could not be read may have been anything."""

    async def test() -> None:
        bench = Bench()
        bench.open()
        bench.resync.doubt("unreadable")
        assert 1 == await asked_after(bench, 60.0)
        assert ["AccountDoubted", "SnapshotReported", "AccountConfirmed"] == bench.kinds()

    virtual(test)


def test_a_gap_is_not_forgotten_while_the_venue_cannot_be_asked() -> None:
    """R12, R43: an error is told and the question is repeated until it is answered."""

    async def test() -> None:
        bench = Bench(failures=3)
        bench.open()
        bench.resync.doubt("unreadable")
        assert 4 == await asked_after(bench, 60.0)
        assert [] == bench.told
        assert 4 == bench.asked
        assert 1 == bench.kinds().count("AccountConfirmed")

    virtual(test)


def test_what_the_stream_tells_during_a_gap_follows_the_snapshot_in_order() -> None:
    """R12: no delta is believed before fills and snapshot, and none is lost."""

    async def test() -> None:
        bench = Bench(takes_s=0.5)
        bench.open()
        bench.hear(fill_of("before"))
        bench.close()
        bench.open()
        bench.replays = [fill_of("missed")]
        await asyncio.sleep(0.1)
        bench.hear(fill_of("held 1"))
        bench.hear(fill_of("held 2"))
        await asyncio.sleep(1.0)
        bench.hear(fill_of("after"))
        bench.resync.stop()

        told = [
            event.fill.fill_id if isinstance(event, FillReported) else type(event).__name__
            for event in bench.events
        ]
        assert [
            "before",
            "AccountDoubted",
            "missed",
            "SnapshotReported",
            "held 1",
            "held 2",
            "AccountConfirmed",
            "after",
        ] == told

    virtual(test)


def test_what_the_snapshot_holds_already_is_not_told_again() -> None:
    """R12: a replayed fill, an older wallet, position or order state says nothing new."""

    async def test() -> None:
        bench = Bench(takes_s=0.5)
        bench.open()
        bench.replays = [fill_of("replayed")]
        bench.positions = (position_of("2", ts_event=50),)
        bench.orders = (order_of("7", OrderStatus.ACCEPTED, ts_event=50),)
        bench.close()
        bench.open()
        # Before the snapshot is asked for: the task has not run yet.
        bench.hear(balance_of("0.9"))
        await asyncio.sleep(0.1)
        bench.hear(fill_of("replayed"))
        bench.hear(position_of("1", ts_event=40))
        bench.hear(order_of("7", OrderStatus.ACCEPTED, ts_event=40))
        bench.hear(order_of("7", OrderStatus.CANCELED, ts_event=60))
        bench.hear(position_of("3", ts_event=60))
        await asyncio.sleep(1.0)
        bench.resync.stop()

        after = bench.events[bench.kinds().index("SnapshotReported") + 1 :]
        canceled, position, confirmed = after
        assert isinstance(canceled, OrderReported)
        assert OrderStatus.CANCELED is canceled.report.status
        assert reported(position_of("3", ts_event=60), position.ts_recv) == position
        assert isinstance(confirmed, AccountConfirmed)
        assert (6, 4) == (confirmed.held, confirmed.repeated)

    virtual(test)


def test_the_stream_is_not_kept_back_for_ever() -> None:
    """A venue that cannot be asked must not hide a fill; the doubt stays until it answers."""

    async def test() -> None:
        bench = Bench(failures=6)
        bench.open()
        bench.close()
        bench.open()
        bench.hear(fill_of("urgent"))
        await asyncio.sleep(HOLD_S_MAX - 0.1)
        assert "FillReported" not in bench.kinds()
        await asyncio.sleep(0.2)
        assert "FillReported" in bench.kinds()
        assert "AccountConfirmed" not in bench.kinds()
        bench.hear(fill_of("next"))
        assert 2 == bench.kinds().count("FillReported")
        await asyncio.sleep(60.0)
        bench.resync.stop()
        assert "AccountConfirmed" in bench.kinds()

    virtual(test)


def test_a_second_gap_during_the_first_extends_the_doubt() -> None:
    """R12: a snapshot of before the second break confirms nothing."""

    async def test() -> None:
        bench = Bench(takes_s=1.0)
        bench.open()
        bench.close()
        bench.open()
        await asyncio.sleep(0.5)
        bench.close()
        await asyncio.sleep(5.0)
        assert ["AccountDoubted", "SnapshotReported"] == bench.kinds()
        bench.open()
        await asyncio.sleep(5.0)
        bench.resync.stop()
        assert [
            "AccountDoubted",
            "SnapshotReported",
            "SnapshotReported",
            "AccountConfirmed",
        ] == bench.kinds()
        doubted = bench.events[0]
        assert isinstance(doubted, AccountDoubted)
        assert "the user stream broke: reset by peer" == doubted.reason
        confirmed = bench.events[-1]
        assert isinstance(confirmed, AccountConfirmed)
        assert round(6.51 * NS_PER_S) == confirmed.doubted_ns

    virtual(test)


def test_what_comes_before_the_first_snapshot_follows_it() -> None:
    """R12: the first snapshot is treated like the one after a gap."""

    async def test() -> None:
        bench = Bench(started=False)
        bench.open()
        bench.hear(fill_of("early"))
        assert [] == bench.events
        await asyncio.sleep(0.2)
        snapshot = VenueSnapshot(
            venue=Venue.BINANCE, ts_event=0, balance=balance_of("1"), positions=(), orders=()
        )
        bench.events.append(snapshot_reported(snapshot, "first", 0))
        bench.resync.start(CaughtUp(asked_ns=0, snapshot=snapshot))
        bench.resync.stop()
        assert [SnapshotReported, FillReported] == [type(event) for event in bench.events]

    virtual(test)


def test_a_fill_only_the_venue_knows_proves_the_stream_silent() -> None:
    """Pings fine, nothing arrives: the venue's own word is the proof (pitfall 7)."""

    async def test() -> None:
        bench = Bench()
        bench.open()
        await asyncio.sleep(60.0)
        fill = fill_of("77", ts_event=bench.clock.now_ns() - NS_PER_S)
        bench.resync.learn(reported(fill, 0))
        await asyncio.sleep(SILENCE_PATIENCE_S + 0.1)
        bench.resync.stop()
        assert [
            "silent: the venue knows fill 77 of BTCUSDT-PERP.BINANCE that the stream never told"
        ] == bench.reconnects

    virtual(test)


def test_an_order_only_a_snapshot_knows_proves_the_stream_silent() -> None:
    """A resting order that was made while the stream was open had to be told."""

    async def test() -> None:
        bench = Bench()
        bench.open()
        await asyncio.sleep(60.0)
        old = order_of("1", OrderStatus.ACCEPTED, ts_event=0)
        new = order_of("2", OrderStatus.ACCEPTED, ts_event=bench.clock.now_ns())
        bench.resync.learn_orders(
            VenueSnapshot(
                venue=Venue.BINANCE,
                ts_event=0,
                balance=balance_of("1"),
                positions=(),
                orders=(old, new),
            )
        )
        await asyncio.sleep(SILENCE_PATIENCE_S + 0.1)
        bench.resync.stop()
        assert 1 == len(bench.reconnects)
        assert "order 2 of BTCUSDT-PERP.BINANCE" in bench.reconnects[0]

    virtual(test)


def test_answers_that_overtake_the_stream_prove_nothing() -> None:
    """What the stream told before, tells in time, or was never asked to tell, is no proof."""

    async def test() -> None:
        bench = Bench()
        before = fill_of("1", ts_event=0)
        bench.resync.learn(reported(before, 0))
        bench.open()
        bench.resync.learn(reported(fill_of("2", ts_event=0), 0))
        await asyncio.sleep(60.0)
        now_ns = bench.clock.now_ns()
        known, late, broken = (fill_of(one, ts_event=now_ns) for one in ("3", "4", "5"))
        bench.hear(known)
        for fill in (known, late, broken):
            bench.resync.learn(reported(fill, 0))
        await asyncio.sleep(SILENCE_PATIENCE_S - 0.1)
        bench.hear(late)
        bench.close()
        await asyncio.sleep(60.0)
        bench.resync.stop()
        assert [] == bench.reconnects

    virtual(test)


def test_a_wallet_or_position_older_than_the_last_one_is_left_out() -> None:
    """Event times order the stream: a late whole must not undo a newer one; equals pass."""

    async def test() -> None:
        bench = Bench()
        bench.open()
        for qty, ts_event in (("1", 10), ("2", 20), ("1", 10), ("3", 20)):
            bench.hear(position_of(qty, ts_event))
        bench.hear(attrs.evolve(balance_of("7"), ts_event=30))
        bench.hear(attrs.evolve(balance_of("6"), ts_event=20))
        bench.resync.stop()
        assert ["1", "2", "3"] == [
            str(event.report.qty_signed)
            for event in bench.events
            if isinstance(event, PositionReported)
        ]
        assert ["7"] == [
            str(event.report.wallet) for event in bench.events if isinstance(event, BalanceReported)
        ]
        assert 2 == bench.resync.late

    virtual(test)
