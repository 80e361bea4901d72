"""
What the user stream and the queries tell of the account, in order, on its way to the bus.

A gap, an unreadable message or a proven silence has the account asked anew (R12); what came
meanwhile is told after the answer.
"""

from collections.abc import Callable

import attrs
from loguru import logger

from aegis.core.errors import VenueProtocolError
from aegis.core.event import Event
from aegis.model.account import BalanceReport, OrderReport, PositionReport, VenueSnapshot
from aegis.model.booked import BookedSince
from aegis.model.events import FundingReported, StreamClosed, StreamOpened
from aegis.model.fill import Fill
from aegis.model.instrument import Venue
from aegis.venue.around import VenueAround
from aegis.venue.binance.account import TRADES_WINDOW_NS, AccountQueries, FillReplay
from aegis.venue.binance.booked import booked_since
from aegis.venue.binance.frames import Ack, ListenKeyLost, Notice, Unknown, UnknownCounter
from aegis.venue.binance.leverage import SymbolLeverage
from aegis.venue.binance.parse import UserFact, parse_user
from aegis.venue.binance.rest import BinanceRest
from aegis.venue.binance.stream import USER_STREAM
from aegis.venue.legs import HeldLegs
from aegis.venue.reports import reported, snapshot_reported
from aegis.venue.resync import AccountQuestions, GapResync


@attrs.frozen(slots=True, kw_only=True)
class Reconnects:
    """How the user stream is opened anew: at once, or a few times an hour at most."""

    now: Callable[[str], object]
    if_allowed: Callable[[str], object]


class AccountWatch:
    """Tell what becomes of the account."""

    def __init__(
        self,
        rest: BinanceRest,
        around: VenueAround,
        *,
        leverage: SymbolLeverage,
        legs: HeldLegs,
        unknowns: UnknownCounter,
        reconnects: Reconnects,
    ) -> None:
        self._rest = rest
        self._clock = around.clock
        self._publish = around.publish
        self._leverage = leverage
        self._legs = legs
        self._unknowns = unknowns
        self._reconnects = reconnects
        self.queries = AccountQueries(rest, around.clock)
        self.replay = FillReplay(self.queries, around.clock)
        self.resync = GapResync(
            "binance.resync",
            around.supervisor,
            AccountQuestions(
                replay=self.tell_missed_fills, snapshot=self.snapshot, tell=self.tell_snapshot
            ),
            venue=Venue.BINANCE,
            clock=around.clock,
            publish=around.publish,
            reconnect=reconnects.if_allowed,
        )

    # --- what the stream says --------------------------------------------------------------------

    def on_stream_state(self, event: StreamOpened | StreamClosed) -> None:
        """Tell of a stream; after a gap of the user stream nothing it knew is sure."""
        self._publish(event)
        if event.stream == USER_STREAM:
            self._leverage.forget_all()
            self.resync.on_state(event)

    def on_frame(self, frame: bytes) -> None:
        """
        Take a frame of the user stream.

        Raises:
            VenueProtocolError: it could not be read; the account is asked for all of it.

        """
        ts_recv = self._clock.now_ns()
        try:
            facts = parse_user(frame, ts_recv)
        except VenueProtocolError as error:
            logger.error("a message about the account is lost, asking for all of it: {}", error)
            self._leverage.forget_all()
            self.resync.doubt(f"a message could not be read: {error.detail}")
            raise
        for fact in facts:
            self._tell(fact, ts_recv, self.resync.hear)

    def on_late_answer(self, report: OrderReport) -> None:
        """Take an order's answer that came after its request had timed out: evidence."""
        self.replay.saw_order(report)
        self._publish(reported(report, self._clock.now_ns()))

    def _tell(self, fact: UserFact, ts_recv: int, publish: Callable[[Event], None]) -> None:
        match fact:
            case Fill():
                self.replay.saw_fill(fact)
                if self._legs.takes_fill(fact):
                    publish(reported(fact, ts_recv))
            case OrderReport():
                self.replay.saw_order(fact)
                if self._legs.takes_order(fact):
                    publish(reported(fact, ts_recv))
            case PositionReport():
                self._leverage.compare(fact)
                self.replay.follow(fact.instrument_id)
                for each in self._legs.position(fact):
                    publish(reported(each, ts_recv))
            case BalanceReport():
                publish(reported(fact, ts_recv))
            case FundingReported():
                publish(fact)
            case _:
                self._note(fact)

    def _note(self, fact: ListenKeyLost | Notice | Ack | Unknown) -> None:
        """Take what is no fact about the account."""
        match fact:
            case ListenKeyLost():
                self._reconnects.now("listen key expired")
            case Notice(kind="leverage changed"):
                if fact.leverage is not None:
                    self._leverage.told(*fact.leverage)
                # It follows every change of ours as well.
                logger.debug("binance {}: {}", fact.kind, fact.text)
            case Notice():
                logger.warning("binance {}: {}", fact.kind, fact.text)
            case Ack():
                pass
            case Unknown():
                self._unknowns.count(fact)

    # --- what is asked ---------------------------------------------------------------------------

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """Return balance, positions and resting orders, conditional ones included, or raise."""
        snapshot = self._legs.snapshot(await self.queries.snapshot(steady=steady))
        self.resync.learn_orders(snapshot)
        return snapshot

    async def tell_missed_fills(self) -> None:
        """Publish the fills since the last known ones of every symbol that was touched (R12)."""
        await self.replay.replay(
            lambda fill: self._tell(fill, self._clock.now_ns(), self.resync.learn)
        )

    async def booked_since(self, since_ns: int) -> BookedSince:
        """Return every fill and funding payment of the account from *since_ns* on (R49)."""
        asked_ns = self._clock.now_ns()
        oldest_ns = max(since_ns, asked_ns - TRADES_WINDOW_NS)
        booked = await booked_since(
            self._rest,
            self.queries.trades,
            self.replay.client_id,
            oldest_ns,
            asked_ns,
            followed=self.replay.followed,
        )
        self.replay.answered(oldest_ns, asked_ns)
        fills = tuple(filter(self._legs.would_take, booked.fills))
        self.resync.learn_fills(fills)
        return attrs.evolve(booked, fills=fills)

    def tell_snapshot(self, snapshot: VenueSnapshot, reason: str) -> None:
        """Publish *snapshot* and follow its positions."""
        for position in snapshot.positions:
            self.replay.follow(position.instrument_id)
        self._publish(snapshot_reported(snapshot, reason, self._clock.now_ns()))
