"""
What is believed of an account: the stream's word, unless it may have lost some.

A gap of the user stream makes the account doubtful. Until fills were replayed and a snapshot was
taken, what the stream tells is kept back in order; then it follows, without what the snapshot holds
already (R12). Doubt and its end are told, and entries wait for the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import attrs
from loguru import logger

from aegis.core.clock import NS_PER_S, Clock
from aegis.core.errors import VenueError
from aegis.core.event import Event
from aegis.core.supervise import RestartPolicy, Supervisor
from aegis.model.account import OrderReport, VenueSnapshot
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    BalanceReported,
    FillReported,
    OrderReported,
    PositionReported,
    StreamClosed,
    StreamOpened,
)
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.venue.silence import StreamProof

GAP_REASON: Final = "user stream gap"
"""Why the snapshot was taken, as told with it."""
HOLD_S_MAX: Final = 3.0
"""
So long the stream's word is kept back, loop seconds.

Where the venue cannot be asked, a fill that is told late guards nobody: it is passed on, while
entries stay off until the snapshot has come.
"""

_RETRY: Final = RestartPolicy(delay_s_first=0.25, delay_s_max=10.0)
AGAIN_S_FIRST: Final = 0.25
AGAIN_S_MAX: Final = 10.0
"""A venue that cannot be asked is asked again, at a doubling pace: that is no fault of a task."""


@attrs.frozen(slots=True, kw_only=True)
class CaughtUp:
    """What a catch-up brought: when the snapshot was asked for (ns UTC), itself, the fills' ids."""

    asked_ns: int
    snapshot: VenueSnapshot
    fills: frozenset[tuple[InstrumentId, str]] = frozenset()


@attrs.frozen(slots=True, kw_only=True)
class AccountQuestions:
    """How a venue is asked: *replay* publishes fills, *tell* a snapshot with its reason."""

    replay: Callable[[], Awaitable[None]]
    snapshot: Callable[[], Awaitable[VenueSnapshot]]
    tell: Callable[[VenueSnapshot, str], None]


class GapResync:
    """
    Stand between the user stream and the bus, and bring what a gap may have swallowed (R12).

    The first snapshot is the caller's: what the stream tells before `start` is kept back too. When
    a question raises a VenueError the supervisor lets it be asked anew. *name* is the task's;
    *reconnect* is called with a reason when the stream is proven silent.
    """

    def __init__(
        self,
        name: str,
        supervisor: Supervisor,
        questions: AccountQuestions,
        *,
        venue: Venue,
        clock: Clock,
        publish: Callable[[Event], None],
        reconnect: Callable[[str], object],
    ) -> None:
        self.proof: Final = StreamProof(clock, reconnect)
        self._name = name
        self._supervisor = supervisor
        self._questions = questions
        self._venue = venue
        self._clock = clock
        self._publish = publish
        self._opened = asyncio.Event()
        self._gap = asyncio.Event()
        self._is_open = False
        self._task: asyncio.Task[None] | None = None
        self._is_holding = True
        self._held: list[Event] = []
        self._held_count = 0
        self._replayed: set[tuple[InstrumentId, str]] = set()
        self._hold_timer: asyncio.TimerHandle | None = None
        self._doubted_since_ns: int | None = None
        self._newest_ns: dict[InstrumentId | None, int] = {}
        self.late = 0
        """Wallets and positions that came after newer ones, and were left out."""

    def on_state(self, event: StreamOpened | StreamClosed) -> None:
        """Hear of the stream; from its second opening on there was a gap before."""
        if isinstance(event, StreamClosed):
            self._is_open = False
            self.proof.on_closed()
            self._begin_doubt(f"the user stream broke: {event.reason}")
            return
        self._is_open = True
        self.proof.on_opened()
        if self._opened.is_set():
            self._begin_doubt("the user stream was away")
            self._gap.set()
        self._opened.set()

    def doubt(self, reason: str) -> None:
        """Take a message as lost: the account is asked for all of it."""
        self._begin_doubt(reason)
        self._gap.set()

    def hear(self, event: Event) -> None:
        """Take what the stream told: now, or after the snapshot."""
        match event:
            case FillReported(fill=fill):
                self.proof.told(fill)
            case OrderReported(report=report):
                self.proof.told(report)
            case PositionReported(report=position) if self._is_late(event, position.instrument_id):
                return
            case BalanceReported() if self._is_late(event, None):
                return
            case _:
                pass
        if not self._is_holding:
            self._publish(event)
            return
        self._held.append(event)
        self._held_count += 1
        if self._hold_timer is None:
            self._hold_timer = asyncio.get_running_loop().call_later(HOLD_S_MAX, self._let_go)

    def _is_late(self, event: Event, instrument: InstrumentId | None) -> bool:
        """Say whether a newer wallet or position was told: each is the whole, not a difference."""
        newest_ns = self._newest_ns.get(instrument, 0)
        if event.ts_event >= newest_ns:
            self._newest_ns[instrument] = event.ts_event
            return False
        self.late += 1
        logger.warning(
            "{}: the user stream told {} of {} s before what it told last; kept the newer",
            self._venue.value.lower(),
            type(event).__name__,
            (newest_ns - event.ts_event) / NS_PER_S,
        )
        return True

    def learn(self, event: Event) -> None:
        """Take what a query told: at once."""
        if isinstance(event, FillReported):
            self.proof.found(event.fill)
            if self._doubted_since_ns is not None:
                self._replayed.add((event.fill.instrument_id, event.fill.fill_id))
        self._publish(event)

    def learn_orders(self, snapshot: VenueSnapshot) -> None:
        """Compare a snapshot's orders with what the stream told."""
        for order in snapshot.orders:
            self.proof.found(order)

    def learn_fills(self, fills: Iterable[Fill]) -> None:
        """Compare fills that a query told to others with what the stream told."""
        for fill in fills:
            self.proof.found(fill)

    def forget_opened(self) -> None:
        """Take the next opening as the first, and keep back what comes before `start`."""
        self._opened.clear()
        self._is_holding = True

    async def wait_opened(self) -> None:
        """Return once the stream has been open."""
        await self._opened.wait()

    def start(self, first: CaughtUp) -> None:
        """Pass on what was kept back since the opening; catch up after every gap from now on."""
        if self._doubted_since_ns is None:
            self._pass_on(first)
        self._task = self._supervisor.start(self._name, self._run, restart=_RETRY)

    def stop(self) -> None:
        """Catch up no more."""
        self.proof.on_closed()
        if self._hold_timer is not None:
            self._hold_timer.cancel()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._gap.wait()
            self._gap.clear()
            try:
                await self._catch_up()
            except VenueError:
                # Told as a failed request; till it is answered the account stays in doubt.
                self._gap.set()
                await asyncio.sleep(min(AGAIN_S_MAX, AGAIN_S_FIRST * 2.0 ** min(failures, 16)))
                failures += 1
            else:
                failures = 0

    async def _catch_up(self) -> None:
        # Fills first: a position that its stop closed is then known as stopped, not as vanished.
        await self._questions.replay()
        asked_ns = self._clock.now_ns()
        snapshot = await self._questions.snapshot()
        self._questions.tell(snapshot, GAP_REASON)
        if self._gap.is_set() or not self._is_open:
            # Another gap began meanwhile: the next opening asks again.
            return
        self._end_doubt(
            CaughtUp(asked_ns=asked_ns, snapshot=snapshot, fills=frozenset(self._replayed))
        )

    def _begin_doubt(self, reason: str) -> None:
        self._is_holding = True
        if self._doubted_since_ns is not None:
            return
        self._doubted_since_ns = self._clock.mono_ns()
        now_ns = self._clock.now_ns()
        self._publish(
            AccountDoubted(ts_event=now_ns, ts_recv=now_ns, venue=self._venue, reason=reason)
        )

    def _end_doubt(self, caught: CaughtUp) -> None:
        since_ns, self._doubted_since_ns = self._doubted_since_ns, None
        held = self._held_count
        repeated = self._pass_on(caught)
        now_ns = self._clock.now_ns()
        doubted_ns = 0 if since_ns is None else self._clock.mono_ns() - since_ns
        self._publish(
            AccountConfirmed(
                ts_event=now_ns,
                ts_recv=now_ns,
                venue=self._venue,
                doubted_ns=doubted_ns,
                held=held,
                repeated=repeated,
            )
        )

    def _pass_on(self, caught: CaughtUp) -> int:
        """Publish what was kept back and is news; return how many were none."""
        held = self._take_held()
        self._is_holding = False
        self._held_count = 0
        self._replayed.clear()
        orders = {_order_key(order): order.ts_event for order in caught.snapshot.orders}
        news = [event for event in held if not is_contained(event, caught, orders)]
        for event in news:
            self._publish(event)
        return len(held) - len(news)

    def _let_go(self) -> None:
        held = self._take_held()
        self._is_holding = False
        logger.warning(
            "{}: {} messages of the user stream are passed on before a snapshot, which did not "
            "come within {} s",
            self._venue.value.lower(),
            len(held),
            HOLD_S_MAX,
        )
        for event in held:
            self._publish(event)

    def _take_held(self) -> list[Event]:
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
        held, self._held = self._held, []
        return held


def is_contained(event: Event, caught: CaughtUp, orders: Mapping[object, int]) -> bool:
    """
    Say whether *event* of the stream tells nothing that *caught* does not hold already. Pure.

    *orders*: the snapshot's orders with their venue times, so that no order goes back. A wallet or
    position that was told before the snapshot was asked for is older than the snapshot's.
    """
    match event:
        case FillReported(fill=fill):
            return (fill.instrument_id, fill.fill_id) in caught.fills
        case OrderReported(report=report):
            known_ns = orders.get(_order_key(report))
            return known_ns is not None and known_ns > report.ts_event
        case PositionReported(report=position):
            if event.ts_recv < caught.asked_ns:
                return True
            return any(
                one.instrument_id == position.instrument_id and one.ts_event > position.ts_event
                for one in caught.snapshot.positions
            )
        case BalanceReported():
            return event.ts_recv < caught.asked_ns
        case _:
            return False


def _order_key(report: OrderReport) -> object:
    return report.instrument_id, report.conditional, report.venue_order_id
