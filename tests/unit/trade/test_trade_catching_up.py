"""Looking up missing fills and funding: from the last answer on, until one comes, each once."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Final

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, VirtualClock
from aegis.core.errors import VenueUnreachable
from aegis.core.event import Event
from aegis.core.supervise import Supervisor
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.booked import BookedSince
from aegis.model.events import FillReported, FundingReported
from aegis.model.fill import Fill, FillOrigin, Liquidity
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderSide, PositionSide
from aegis.model.position import Position
from aegis.trade.book import Book
from aegis.trade.catching_up import FUNDING_LAG_NS, OVERLAP_NS, SHORT_KEPT_NS, CatchingUp

BTC: Final = InstrumentId("BTCUSDT", Venue.BINANCE)
HOUR_NS: Final = 3600 * NS_PER_S
START: Final = 472_222 * HOUR_NS + HOUR_NS // 2


def fill(fill_id: str) -> Fill:
    """Return an execution by somebody."""
    return Fill(
        instrument_id=BTC,
        fill_id=fill_id,
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


def funding(funding_id: str) -> FundingReported:
    """Return a payment."""
    return FundingReported(
        ts_event=START,
        ts_recv=START,
        venue=Venue.BINANCE,
        instrument_id=BTC,
        amount=Decimal("-0.5"),
        funding_id=funding_id,
    )


class Lists:
    """A venue's lists: what it is asked since when, how long that takes, whether it answers."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self.asked: list[tuple[float, int]] = []
        self.is_down = False
        self.takes_s = 0.1
        self.booked = BookedSince(fills=(), fundings=())

    async def booked_since(self, since_ns: int) -> BookedSince:
        """Answer, or fail."""
        self.asked.append(((self._now_ns() - START) / NS_PER_S, since_ns))
        await asyncio.sleep(self.takes_s)
        if self.is_down:
            raise VenueUnreachable("no", venue="BINANCE", operation="income")
        return self.booked


class Room:
    """What catches up, with its surroundings."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(START, loop)
        bus = EventBus(clock)
        self.told: list[Event] = []
        bus.listen_all(lambda _, event: self.told.append(event))
        self.book = Book(new_position_id=lambda: "test-1-1")
        self.lists = Lists(clock.now_ns)
        gateways: Any = {Venue.BINANCE: self.lists}
        self.failures: list[object] = []
        self.supervisor = Supervisor(clock, self.failures.append, rng=random.Random(1))
        self.catching_up = CatchingUp(bus, clock, self.book, gateways, self.supervisor)
        self.catching_up.begin(Venue.BINANCE, clock.now_ns())

    def open_position(self) -> Position:
        """Have a long of 1 open, and return it."""
        position = Position(
            position_id="test-1-1",
            instrument_id=BTC,
            side=PositionSide.LONG,
            plan=None,
            trace_id="t",
            opened_ns=START,
        )
        position.adopt(Decimal(1), Decimal(100))
        self.book.positions[BTC] = position
        return position


def play(scene: Callable[[Room], Awaitable[None]]) -> None:
    """Run *scene* in virtual time."""

    async def main() -> None:
        room = Room()
        try:
            await scene(room)
        finally:
            await room.supervisor.stop()
        assert [] == room.failures

    run_virtual(main())


def test_it_is_asked_until_it_answers_at_a_growing_pace_and_from_the_last_answer_on() -> None:
    """R12, R30: failures move nothing: the question reaches back to what was answered."""

    async def scene(room: Room) -> None:
        room.lists.is_down = True
        room.catching_up.want(Venue.BINANCE)
        await asyncio.sleep(400)
        waits = [b - a for (a, _), (b, _) in itertools.pairwise(room.lists.asked)]
        assert [1.1, 2.1, 4.1, 8.1, 16.1, 32.1, 60.1, 60.1] == [round(w, 1) for w in waits[:8]]
        assert {START} == {since for _, since in room.lists.asked}
        assert {} == room.book.looked_ns
        room.lists.is_down = False
        await asyncio.sleep(70)
        answered_s, _ = room.lists.asked[-1]
        count = len(room.lists.asked)
        await asyncio.sleep(600)
        assert count == len(room.lists.asked)
        answered_ns = START + round(answered_s * NS_PER_S)
        assert answered_ns == room.book.looked_ns[Venue.BINANCE]
        room.catching_up.want(Venue.BINANCE)
        await asyncio.sleep(1)
        assert max(START, answered_ns - OVERLAP_NS) == room.lists.asked[-1][1]

    play(scene)


def test_wants_during_a_question_ask_once_more() -> None:
    """R12: an answer under way may be older than the doubt; many doubts are one question."""

    async def scene(room: Room) -> None:
        room.lists.takes_s = 5.0
        for _ in range(3):
            room.catching_up.want(Venue.BINANCE)
        await asyncio.sleep(1)
        for _ in range(3):
            room.catching_up.want(Venue.BINANCE)
        await asyncio.sleep(30)
        assert 2 == len(room.lists.asked)

    play(scene)


def test_what_is_known_is_not_told_again() -> None:
    """R77: fills by id and payments by theirs, those of earlier runs included."""

    async def scene(room: Room) -> None:
        room.book.restore_fill_ids([(BTC, "old")])
        room.catching_up.know_funding((Venue.BINANCE, "old"))
        assert room.catching_up.is_new_funding(funding("heard"))
        room.lists.booked = BookedSince(
            fills=(fill("old"), fill("new")),
            fundings=(funding("old"), funding("heard"), funding("lost")),
        )
        room.catching_up.want(Venue.BINANCE)
        await asyncio.sleep(1)
        assert ["new"] == [e.fill.fill_id for e in room.told if isinstance(e, FillReported)]
        paid = [e for e in room.told if isinstance(e, FundingReported)]
        assert ["lost"] == [e.funding_id for e in paid]
        assert room.catching_up.is_new_funding(paid[0])
        assert not room.catching_up.is_new_funding(paid[0])

    play(scene)


def test_each_hour_with_something_open_is_looked_at_once() -> None:
    """R77: a minute after it turned; with nothing open since the last answer, never."""

    async def scene(room: Room) -> None:
        async def hour() -> int:
            before = len(room.lists.asked)
            for _ in range(60):
                room.catching_up.look(Venue.BINANCE)
                await asyncio.sleep(60)
            return len(room.lists.asked) - before

        assert 0 == await hour()
        position = room.open_position()
        assert [1, 1] == [await hour(), await hour()]
        asked_s, _ = room.lists.asked[0]
        assert (START + round(asked_s * NS_PER_S)) % HOUR_NS >= FUNDING_LAG_NS
        # It was open for a part of the hour that follows: funding may have been paid.
        del room.book.positions[position.instrument_id]
        room.catching_up.touch(Venue.BINANCE)
        assert [1, 0] == [await hour(), await hour()]

    play(scene)


def test_after_a_doubt_it_is_asked_where_something_was_open() -> None:
    """R12: an account without anything of ours costs no request."""

    async def scene(room: Room) -> None:
        room.catching_up.after_doubt(Venue.BINANCE)
        room.catching_up.after_doubt(Venue.BYBIT)
        await asyncio.sleep(1)
        assert [] == room.lists.asked
        room.catching_up.touch(Venue.BINANCE)
        room.catching_up.after_doubt(Venue.BINANCE)
        await asyncio.sleep(1)
        assert 1 == len(room.lists.asked)

    play(scene)


def test_fills_of_an_end_without_them_are_looked_for_some_minutes() -> None:
    """R88: the list may lag behind the end; what never comes is given up."""

    async def scene(room: Room) -> None:
        position = room.open_position()
        del room.book.positions[BTC]
        room.book.shorts.keep(position, 0, START)
        room.catching_up.want(Venue.BINANCE)
        await asyncio.sleep(SHORT_KEPT_NS / NS_PER_S + 60)
        assert not room.book.shorts.is_waiting(Venue.BINANCE)
        assert 14 <= len(room.lists.asked) <= 18
        count = len(room.lists.asked)
        await asyncio.sleep(300)
        assert count == len(room.lists.asked)

    play(scene)
