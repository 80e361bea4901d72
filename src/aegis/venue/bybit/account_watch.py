"""
What the private stream and the queries tell of the account, in order, on its way to the bus.

A gap, an unreadable message or a proven silence has the account asked anew (R12); what came
meanwhile is told after the answer.
"""

from collections.abc import Callable
from typing import Final

from loguru import logger

from aegis.core.clock import NS_PER_MS
from aegis.core.errors import VenueProtocolError
from aegis.core.event import Event
from aegis.model.account import OrderReport, PositionReport, VenueSnapshot
from aegis.model.booked import BookedSince
from aegis.model.events import FundingReported, StreamClosed, StreamOpened
from aegis.model.fill import Fill
from aegis.model.instrument import Venue
from aegis.venue.around import VenueAround
from aegis.venue.bybit.account import AccountQueries
from aegis.venue.bybit.leverage import SymbolLeverage
from aegis.venue.bybit.parse import AccountFact, FundingBooked
from aegis.venue.legs import HeldLegs
from aegis.venue.reports import reported, snapshot_reported
from aegis.venue.resync import AccountQuestions, GapResync

_REPLAY_OVERLAP_NS: Final = 30_000 * NS_PER_MS
"""Clocks differ, and the list of executions lags; the overlap is removed downstream."""


class AccountWatch:
    """Tell what becomes of the account; *reconnect* opens the private stream anew, if it may."""

    def __init__(
        self,
        queries: AccountQueries,
        around: VenueAround,
        *,
        leverage: SymbolLeverage,
        legs: HeldLegs,
        reconnect: Callable[[str], object],
    ) -> None:
        self.queries = queries
        self._clock = around.clock
        self._publish = around.publish
        self._leverage = leverage
        self._legs = legs
        self._answered_ns = 0
        """So far (ns UTC) executions are known: a fill that came proves nothing about others."""
        self._replay_floor_ns = 0
        self.resync = GapResync(
            "bybit.resync",
            around.supervisor,
            AccountQuestions(
                replay=self.tell_missed_fills, snapshot=self.snapshot, tell=self.tell_snapshot
            ),
            venue=Venue.BYBIT,
            clock=around.clock,
            publish=around.publish,
            reconnect=reconnect,
        )

    # --- what the stream says --------------------------------------------------------------------

    def on_stream_state(self, event: StreamOpened | StreamClosed) -> None:
        """Tell of the private stream; after a gap nothing it knew is sure."""
        self._leverage.forget_all()
        self._publish(event)
        self.resync.on_state(event)

    def on_unreadable(self, error: VenueProtocolError) -> None:
        """Take a message as lost: the account is asked for all of it."""
        logger.error("a private message of bybit is lost, asking for the whole state: {}", error)
        self._leverage.forget_all()
        self.resync.doubt(f"a message could not be read: {error.detail}")

    def on_fact(self, fact: AccountFact) -> None:
        """Take what the stream told."""
        self._tell(fact, self.resync.hear)

    def _tell(self, fact: AccountFact, publish: Callable[[Event], None]) -> None:
        ts_recv = self._clock.now_ns()
        match fact:
            case PositionReport():
                self._leverage.compare(fact)
                for each in self._legs.position(fact):
                    publish(reported(each, ts_recv))
                return
            case Fill() if not self._legs.takes_fill(fact):
                return
            case OrderReport() if not self._legs.takes_order(fact):
                return
            case _:
                publish(_event_of(fact, ts_recv))

    # --- what is asked ---------------------------------------------------------------------------

    def begin_at(self, snapshot: VenueSnapshot) -> None:
        """Replay executions from *snapshot* on, none before it."""
        self._replay_floor_ns = self._answered_ns = max(self._answered_ns, snapshot.ts_event)

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """
        Return wallet, open positions and resting orders, conditional ones included.

        Raises:
            VenueError: when any of the queries failed: unknown is never empty (R43, R88).

        """
        snapshot = self._legs.snapshot(await self.queries.snapshot(steady=steady))
        self.resync.learn_orders(snapshot)
        return snapshot

    async def tell_missed_fills(self) -> None:
        """Publish the executions since the last answer about them (R12)."""
        asked_ns = self._clock.now_ns()
        since_ns = max(self._replay_floor_ns, self._answered_ns - _REPLAY_OVERLAP_NS)
        for fact in await self.queries.executions(since_ns):
            self._tell(fact, self.resync.learn)
        self._answered_ns = max(self._answered_ns, asked_ns)

    async def booked_since(self, since_ns: int) -> BookedSince:
        """Return every fill and funding payment of the account from *since_ns* on (R49)."""
        asked_ns = self._clock.now_ns()
        facts = await self.queries.executions(since_ns)
        if since_ns <= max(self._replay_floor_ns, self._answered_ns):
            self._answered_ns = max(self._answered_ns, asked_ns)
        told = [_event_of(f, self._clock.now_ns()) for f in facts if isinstance(f, FundingBooked)]
        fills = tuple(f for f in facts if isinstance(f, Fill) and self._legs.would_take(f))
        self.resync.learn_fills(fills)
        return BookedSince(
            fills=fills,
            fundings=tuple(each for each in told if isinstance(each, FundingReported)),
        )

    def tell_snapshot(self, snapshot: VenueSnapshot, reason: str) -> None:
        """Publish *snapshot*."""
        self._publish(snapshot_reported(snapshot, reason, self._clock.now_ns()))


def _event_of(fact: AccountFact, ts_recv: int) -> Event:
    if not isinstance(fact, FundingBooked):
        return reported(fact, ts_recv)
    return FundingReported(
        ts_event=fact.ts_event,
        ts_recv=ts_recv,
        venue=Venue.BYBIT,
        instrument_id=fact.instrument_id,
        amount=fact.amount,
        funding_id=fact.funding_id,
    )
