"""
Data's shell: takes frames from the socket readers, hands ticks and candles to the bus.

Quotes and marks go through ring, firewall and slots (feed.py) and are drained once per burst;
closed bars are lossless and leave at once (bars.py), after the prices that arrived before them.
A timer in market time watches every instrument's freshness apart from its sockets (R10).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, Clock, loop_delay_s
from aegis.core.errors import VenueError
from aegis.core.supervise import Supervisor
from aegis.data.bars import BarKeeper, CandleAccount
from aegis.data.decide import (
    Freshness,
    FreshnessStep,
    last_fresh_ns,
    next_freshness,
    stale_instruments,
)
from aegis.data.depth import DepthDesk
from aegis.data.feed import MarketFeed, StreamAccount
from aegis.data.firewall import DEPTH, KLINE, UNREADABLE, FeedLatency, Firewall, Rejection
from aegis.data.history import HistoryReader
from aegis.data.order_book import BookAccount
from aegis.model.events import AlertRaised, FeedFresh, FeedStale, FrameRejected
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.market import MINUTE_NS, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.ports import VenueGateway
from aegis.settings import AegisConfig

BASE_BAR_NS: Final = 5 * MINUTE_NS
BURST_FRAMES: Final = 512
"""In a burst prices are delivered after so many frames, without waiting for a free loop."""
FRESHNESS_LOOKS: Final = 4
"""Looks at freshness per stale_after_s."""


@attrs.frozen(kw_only=True)
class DataAccounts:
    """Every frame that came in, by kind, and why frames were refused."""

    streams: Mapping[str, StreamAccount]
    candles: CandleAccount
    unreadable: int
    rejections: Mapping[tuple[str, str], int]
    """Refused frames by (kind, reason)."""
    ticks: int
    books: Mapping[InstrumentId, BookAccount] = attrs.field(factory=dict)
    """Empty unless depth_streams is on; then the streams have a kind "depth" too."""


class DataActor:
    """Fulfill model.ports.MarketSink; publish MarketTick, CandleClosed and what went wrong."""

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        config: AegisConfig,
        loop: asyncio.AbstractEventLoop,
        supervisor: Supervisor,
        *,
        base_bar_ns: int = BASE_BAR_NS,
    ) -> None:
        """Make an actor that knows no instrument; *base_bar_ns* is added to stale_after_s (R69)."""
        self._bus = bus
        self._clock = clock
        self._loop = loop
        self._supervisor = supervisor
        self._interval_s = config.conflation_interval_ms / 1000
        self._stale_after_ns = round(config.stale_after_s * NS_PER_S)
        self._stale_limit_ns = self._stale_after_ns + base_bar_ns
        self._firewall = Firewall(
            future_tolerance_ns=round(config.future_tolerance_s * NS_PER_S),
            late_tolerance_ns=round(config.late_tolerance_s * NS_PER_S),
            timeframes_ns=config.timeframes_ns,
        )
        self._feed = MarketFeed(self._firewall)
        self._take_quote: Callable[[QuoteFrame], None] = self._feed.take_quote
        self.depth: Final = DepthDesk(self._firewall) if config.depth_streams else None
        if self.depth is not None:
            self._take_quote = self._take_quote_and_compare
        self._history = HistoryReader(clock, self._firewall)
        self._bars = BarKeeper(bus, clock, supervisor, self._history, self._tell)
        self._klines_taken = 0
        self._bars_unfinished = 0
        self._drain_handle: asyncio.Handle | None = None
        self._undrained = 0
        self._freshness: dict[InstrumentId, Freshness] = {}
        self._expected_since_ns: dict[InstrumentId, int] = {}
        self._freshness_handle: asyncio.TimerHandle | None = None

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take a best bid and ask."""
        self._take_quote(frame)
        self._after_frame()

    def on_mark(self, frame: MarkFrame) -> None:
        """Take a mark price."""
        self._feed.take_mark(frame)
        self._after_frame()

    def _after_frame(self) -> None:
        self._undrained += 1
        if self._undrained >= BURST_FRAMES and not self._interval_s:
            # A socket that is never empty must not keep the loop from delivering.
            self.drain()
        elif self._drain_handle is None:
            self._schedule_drain()

    def on_depth(self, frame: DepthFrame) -> bool:
        """Take a snapshot or a diff of a book; return whether a new snapshot is wanted."""
        if self.depth is None:
            return False
        reason = self.depth.take(frame)
        if reason is not None:
            self._tell_one(self._firewall.count(frame.instrument_id, DEPTH, reason))
        return self.depth.wants_snapshot(frame.instrument_id)

    def _take_quote_and_compare(self, frame: QuoteFrame) -> None:
        self._feed.take_quote(frame)
        if self.depth is not None:
            self.depth.compare(frame)

    def on_kline(self, frame: KlineFrame) -> None:
        """Take a bar; a closed one goes on at once, an open one only shows that data flow."""
        self._klines_taken += 1
        reason = self._firewall.check_kline(frame)
        if reason is not None:
            instrument_id = getattr(frame.candle, "instrument_id", None)
            self._tell_one(self._firewall.count(instrument_id, KLINE, reason))
        elif frame.closed:
            self.drain()
            self._bars.take(frame.candle)
        else:
            self._bars_unfinished += 1

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Count a market frame that could not be decoded."""
        self._tell_one(self._firewall.count_unreadable(venue.value, reason))

    def drain(self) -> None:
        """Publish one tick per instrument with news, now."""
        if self._drain_handle is not None:
            self._drain_handle.cancel()
        self._deliver()

    def _deliver(self) -> None:
        self._drain_handle = None
        self._undrained = 0
        publish = self._bus.publish
        feed = self._feed
        for tick in feed.drain():
            publish(tick)
        if feed.has_rejections:
            self._tell(feed.take_rejections())

    def _schedule_drain(self) -> None:
        if self._interval_s:
            self._drain_handle = self._loop.call_later(self._interval_s, self._deliver)
        else:
            self._drain_handle = self._loop.call_soon(self._deliver)

    def _tell(self, rejections: Iterable[Rejection]) -> None:
        for rejection in rejections:
            self._tell_one(rejection)

    def _tell_one(self, rejection: Rejection | None) -> None:
        if rejection is None:
            return
        now_ns = self._clock.now_ns()
        self._bus.publish(
            FrameRejected(
                ts_event=now_ns,
                ts_recv=now_ns,
                instrument_id=rejection.instrument_id,
                frame=rejection.kind,
                reason=rejection.reason,
                count=rejection.count,
            )
        )

    def accounts(self) -> DataAccounts:
        """Return where every frame went, for the heartbeat and the summary."""
        depth = {} if self.depth is None else {DEPTH: self.depth.account()}
        return DataAccounts(
            streams={**self._feed.accounts(), **depth},
            candles=self._bars.account(
                produced=self._klines_taken,
                unfinished=self._bars_unfinished,
                rejected=self._firewall.rejected(KLINE),
            ),
            unreadable=self._firewall.rejected(UNREADABLE),
            rejections=self._firewall.counts(),
            ticks=self._feed.ticks,
            books={} if self.depth is None else self.depth.books(),
        )

    def latencies(self) -> Mapping[InstrumentId, FeedLatency]:
        """Return receipt minus event time per instrument; nothing where market time is scaled."""
        return self._firewall.latencies() if self._clock.speed == 1 else {}

    def watch(
        self, gateways: Mapping[Venue, VenueGateway], instruments: Sequence[Instrument]
    ) -> None:
        """Admit *instruments*, whose venues are asked through *gateways*."""
        self._history.use(gateways)
        for instrument in instruments:
            self._firewall.admit(instrument.instrument_id)
            if self.depth is not None:
                self.depth.admit(instrument.instrument_id)

    async def warm_up(
        self,
        gateways: Mapping[Venue, VenueGateway],
        instruments: Sequence[Instrument],
        bars_by_timeframe_ns: Mapping[int, int],
    ) -> None:
        """
        Publish history before the streams start, then watch freshness.

        bars_by_timeframe_ns: how many closed bars of each length. One instrument after the other;
        venues may be warmed up by concurrent calls.
        """
        self.watch(gateways, instruments)
        for instrument in instruments:
            await self._bars.warm_up(instrument.instrument_id, bars_by_timeframe_ns)
        self.expect_frames([instrument.instrument_id for instrument in instruments])

    def expect_frames(self, instrument_ids: Iterable[InstrumentId]) -> None:
        """Watch the freshness of *instrument_ids* from now on; the timer runs until stop()."""
        now_ns = self._clock.now_ns()
        for instrument_id in instrument_ids:
            self._expected_since_ns.setdefault(instrument_id, now_ns)
            self._freshness.setdefault(instrument_id, Freshness())
        if self._freshness_handle is None:
            self._arm_freshness()

    def stop(self) -> None:
        """Publish what is pending and end all timers; frames that come later are not delivered."""
        self.drain()
        if self._freshness_handle is not None:
            self._freshness_handle.cancel()
            self._freshness_handle = None

    def _arm_freshness(self) -> None:
        delay_s = loop_delay_s(self._clock, self._stale_after_ns // FRESHNESS_LOOKS)
        self._freshness_handle = self._loop.call_later(delay_s, self._on_freshness_timer)

    def _on_freshness_timer(self) -> None:
        self._arm_freshness()
        self._feed.pump()
        now_ns = self._clock.now_ns()
        last_ns = {
            instrument_id: last_fresh_ns(*self._firewall.last_accepted_ns(instrument_id), since_ns)
            for instrument_id, since_ns in self._expected_since_ns.items()
        }
        stale = stale_instruments(last_ns, now_ns, self._stale_limit_ns)
        for instrument_id, at_ns in last_ns.items():
            step = next_freshness(
                self._freshness[instrument_id],
                last_ns=at_ns,
                age_stale_ns=stale.get(instrument_id),
                now_ns=now_ns,
                pause_ns=self._stale_after_ns,
            )
            self._freshness[instrument_id] = step.state
            self._follow(instrument_id, step, now_ns)

    def _follow(self, instrument_id: InstrumentId, step: FreshnessStep, now_ns: int) -> None:
        if step.went_stale_age_ns is not None:
            self._bus.publish(
                FeedStale(
                    ts_event=now_ns,
                    ts_recv=now_ns,
                    instrument_id=instrument_id,
                    age_ns=step.went_stale_age_ns,
                )
            )
        if step.became_fresh_after_ns is not None:
            self._bus.publish(
                FeedFresh(
                    ts_event=now_ns,
                    ts_recv=now_ns,
                    instrument_id=instrument_id,
                    stale_for_ns=step.became_fresh_after_ns,
                )
            )
        if step.escalate:
            asked = step.state.resubscribes - 1
            text = f"{instrument_id}: no fresh data after {asked} new subscriptions"
            self._alert("feed_stale", "CRITICAL", text)
        if step.restart:
            self._restart(instrument_id, now_ns)
        if step.resubscribe and not self._supervisor.stopping:
            _ = self._supervisor.start(
                f"resubscribe {instrument_id}", lambda: self._resubscribe(instrument_id)
            )

    def _restart(self, instrument_id: InstrumentId, now_ns: int) -> None:
        gateway = self._history.gateway(instrument_id.venue)
        if gateway is None:
            return
        limit_ns = now_ns - self._stale_limit_ns
        quote_ns, mark_ns = self._firewall.last_accepted_ns(instrument_id)
        gateway.restart_market(
            quotes=quote_ns is None or quote_ns < limit_ns,
            marks=mark_ns is None or mark_ns < limit_ns,
            reason=f"{instrument_id} stays stale",
        )

    async def _resubscribe(self, instrument_id: InstrumentId) -> None:
        gateway = self._history.gateway(instrument_id.venue)
        if gateway is None:
            self._alert("resubscribe_failed", "WARNING", f"{instrument_id}: no gateway to ask")
            return
        try:
            await gateway.resubscribe(instrument_id)
        except VenueError as error:
            self._alert("resubscribe_failed", "WARNING", f"{instrument_id}: {error}")

    def _alert(self, rule: str, level: str, message: str) -> None:
        now_ns = self._clock.now_ns()
        self._bus.publish(
            AlertRaised(ts_event=now_ns, ts_recv=now_ns, rule=rule, level=level, message=message)
        )
