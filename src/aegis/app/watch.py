"""
What a person sees of a run: narration, heartbeat, alerts and the summary, fed by probes.

Here alone the rooms' states are turned into the rows ops asks for.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

from aegis.app.books import RunBooks
from aegis.app.bot import Bot
from aegis.app.income import ask_income
from aegis.app.modes import Mode
from aegis.core.clock import NS_PER_S
from aegis.core.event import Event
from aegis.core.log import room_logger
from aegis.exit.decide import effective_stop, targets_of
from aegis.model.events import FeedFresh, FeedStale, MarketTick, StreamClosed, StreamOpened
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ZERO
from aegis.ops.alerts import Alerts
from aegis.ops.health import VenueLink
from aegis.ops.heartbeat import Heartbeat
from aegis.ops.narrate import Narrator
from aegis.ops.probes import (
    DataRow,
    FeedRow,
    FunnelRow,
    GuardRow,
    JournalRow,
    PositionRow,
    Probes,
    StreamRow,
    TwinMeter,
    VenueBooks,
)
from aegis.ops.summary import books_agree, print_summary
from aegis.ops.tally import Tally
from aegis.safety.decide import VenueState
from aegis.twin.boot import Twin

log = room_logger("ops")
INCOME_KINDS = ("REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "LIQUIDATION_FEE")


class Watch:
    """Listen to a bot and tell what it does."""

    def __init__(self, bot: Bot, twin: Twin | None, label: str, mode: Mode) -> None:
        self._bot = bot
        self._twin = twin
        self._label = label
        self._mode = mode
        self._clock = bot.around.clock
        self._started_ns = self._clock.now_ns()
        self._income_before = self._income()
        self._over = False
        self._listed: dict[Venue, VenueBooks | str] = {}
        self._ticks: dict[InstrumentId, MarketTick] = {}
        self._stale: dict[InstrumentId, None] = {}
        self._streams: dict[tuple[Venue, str], bool] = {}
        Narrator(bot.bus, log, label=label)
        self._tally = Tally(bot.bus)
        bot.bus.listen_all(self._note)
        self._probes = self._make_probes()
        self._heartbeat = Heartbeat(
            bot.bus,
            self._clock,
            bot.config,
            self._probes,
            self._tally,
            bot.around.loop,
            mode=mode.value,
            label=label,
        )
        self._alerts = Alerts(bot.bus, self._clock, bot.around.loop, is_covered=bot.exit.is_covered)

    def start(self) -> None:
        """Let the heart beat."""
        self._heartbeat.start()

    def stop(self) -> None:
        """Write the last heartbeat and stop watching."""
        self._over = True
        self._heartbeat.stop()
        self._alerts.stop()

    def print_summary(self, reason: str, books: RunBooks) -> None:
        """Print the table of the whole run, and what the journal says about it."""
        minutes = (self._clock.now_ns() - self._started_ns) / 60e9
        print_summary(
            self._tally,
            self._probes,
            title=f"{self._mode.value}, {minutes:.0f} min of market time, stopped: {reason}",
            label=self._label,
            venue_income=self._income_of_run(),
            listed=self._listed,
        )
        level = "INFO" if books.ok else "CRITICAL"
        for line in books.lines:
            log.log(level, f"journal: {line}")

    async def ask_income(self) -> None:
        """Have the venues tell what they booked in this run, where no ledger is at hand (R77)."""
        if self._twin is None:
            agrees = partial(books_agree, self._tally)
            followed = {
                venue: [each.instrument_id for each in instruments]
                for venue, instruments in self._bot.connected.items()
            }
            now_ns = self._clock.now_ns()
            self._listed = await ask_income(
                self._bot.gateways, followed, self._started_ns, now_ns, agrees
            )

    def links(self) -> list[VenueLink]:
        """Return how each venue is reached at this moment."""
        now, speed = self._clock.now_ns(), self._clock.speed
        newest: dict[Venue, int] = {}
        for instrument, tick in self._ticks.items():
            newest[instrument.venue] = max(tick.ts_recv, newest.get(instrument.venue, 0))
        return [
            VenueLink(
                venue=venue,
                brought_up=venue in self._bot.connected,
                streams=tuple(name for of, name in self._streams if of is venue),
                down=tuple(
                    name
                    for (of, name), is_open in self._streams.items()
                    if of is venue and not is_open
                ),
                frame_age_s=((now - newest[venue]) / speed / NS_PER_S if venue in newest else None),
            )
            for venue in self._bot.gateways
        ]

    # --- what happened ---------------------------------------------------------------------------

    def _note(self, _seq: int, event: Event) -> None:
        match event:
            case MarketTick(instrument_id=instrument):
                self._ticks[instrument] = event
            case FeedStale(instrument_id=instrument):
                self._stale[instrument] = None
            case FeedFresh(instrument_id=instrument):
                self._stale.pop(instrument, None)
            case StreamOpened(venue=venue, stream=stream):
                self._streams[venue, stream] = True
            case StreamClosed(venue=venue, stream=stream):
                self._streams[venue, stream] = False
            case _:
                pass

    # --- probes ----------------------------------------------------------------------------------

    def _make_probes(self) -> Probes:
        return Probes(
            feeds=self._feeds,
            streams=self._stream_rows,
            positions=self._positions,
            guards=self._guards,
            queues=self._queues,
            journal=self._journal,
            data_accounts=self._data_accounts,
            last_close_ns=lambda: self._bot.exit.last_close_ns,
            funnels=self._funnels,
            twin_meter=self._meter,
        )

    def _feeds(self) -> Sequence[FeedRow]:
        now = self._clock.now_ns()
        rows = []
        for venue, instruments in self._bot.connected.items():
            for instrument in instruments:
                tick = self._ticks.get(instrument.instrument_id)
                rows.append(
                    FeedRow(
                        venue=venue,
                        symbol=instrument.instrument_id.symbol,
                        age_ns=None if tick is None else now - tick.ts_recv,
                        is_stale=instrument.instrument_id in self._stale,
                    )
                )
        return rows

    def _stream_rows(self) -> Sequence[StreamRow]:
        return [
            StreamRow(venue=venue, stream=stream, is_connected=connected)
            for (venue, stream), connected in self._streams.items()
        ]

    def _positions(self) -> Sequence[PositionRow]:
        rows = []
        for guarded, resting in self._bot.exit.guarded():
            position = guarded.position
            stop = effective_stop(position, resting)
            targets = targets_of(resting)
            tick = self._ticks.get(position.instrument_id)
            mark = Decimal(repr(tick.mark)) if tick is not None and tick.mark else None
            entry = position.entry_px_avg
            upnl = (
                (mark - entry) * position.qty * position.side.sign
                if mark is not None and entry is not None
                else None
            )
            rows.append(
                PositionRow(
                    instrument_id=position.instrument_id,
                    side=position.side,
                    qty=position.qty,
                    entry_px=entry,
                    mark_price=mark,
                    upnl=upnl,
                    stop_price=stop.trigger_price if stop is not None else None,
                    stop_id=stop.key if stop is not None else "",
                    target_price=targets[0].trigger_price if targets else None,
                    target_id=targets[0].key if targets else "",
                    is_covered=self._bot.exit.is_covered(position.instrument_id),
                    tick_size=guarded.instrument.tick_size,
                )
            )
        return rows

    def _guards(self) -> Sequence[GuardRow]:
        halts = self._bot.latch.view().reasons
        rows = []
        for venue in self._bot.gateways:
            state = self._bot.safety.venue_state(venue)
            rows.append(
                GuardRow(
                    venue=venue,
                    equity=state.equity,
                    day_start_equity=state.day_start_equity,
                    day_locked=state.day_locked,
                    halt_reasons=(*halts, *_held_here(state)),
                )
            )
        return rows

    def _queues(self) -> Mapping[str, int]:
        depths: dict[str, int] = {}
        for venue, executor in self._bot.trade.executors.items():
            protect, entries = executor.depths
            depths[f"{venue.value} protective"] = protect
            depths[f"{venue.value} entries"] = entries
        stats = self._bot.journal.stats
        depths["journal"] = stats.queued_priority + stats.queued_ordinary
        return depths

    def _journal(self) -> JournalRow:
        stats = self._bot.journal.stats
        return JournalRow(
            written=stats.written,
            queued=stats.queued_priority + stats.queued_ordinary,
            dropped=stats.dropped,
            chain_head=stats.head,
            failing_ns=stats.failing_for_ns,
            oldest_ns=stats.oldest_for_ns,
            write_ns_max=stats.write_ns_max,
            # A count over up to a million rows: for the summary, not for every heartbeat.
            unwritten=self._bot.journal.unwritten() if self._over else {},
        )

    def _data_accounts(self) -> Sequence[DataRow]:
        accounts = self._bot.data.accounts()
        rows = [
            DataRow(
                kind=kind,
                produced=one.produced,
                delivered=one.delivered,
                merged=one.merged,
                rejected=one.rejected,
                pending=one.pending,
            )
            for kind, one in accounts.streams.items()
        ]
        bars = accounts.candles
        rows.append(
            DataRow(
                kind="bars",
                produced=bars.produced,
                delivered=bars.delivered,
                # An update of an open bar is merged into its final one.
                merged=bars.unfinished + bars.duplicates + bars.late,
                rejected=bars.rejected,
                pending=bars.pending,
            )
        )
        return rows

    def _funnels(self) -> Sequence[FunnelRow]:
        return [
            FunnelRow(
                instrument_id=instrument,
                stages=(
                    ("bars", funnel.strategy.bars),
                    ("set-ups", funnel.strategy.detected),
                    ("ideas", funnel.strategy.ideas),
                ),
            )
            for instrument, funnel in self._bot.brain.funnels().items()
        ]

    def _meter(self) -> TwinMeter | None:
        if self._twin is None:
            return None
        now = self._twin.world.now_ns
        episodes = [e for meter in self._twin.meters.values() for e in meter.episodes(now)]
        times = sorted(e.unprotected_ns_total for e in episodes)
        return TwinMeter(
            count=len(episodes),
            protected=sum(1 for e in episodes if e.first_protected_after_ns is not None),
            p50_ns=_rank(times, 50),
            p99_ns=_rank(times, 99),
            max_ns=times[-1] if times else None,
            speed=self._clock.speed,
        )

    # --- money -----------------------------------------------------------------------------------

    def _income(self) -> dict[Venue, Decimal] | None:
        if self._twin is None:
            return None
        return {
            Venue(name.upper()): sum(
                (row.amount for row in engine.income() if row.kind in INCOME_KINDS), ZERO
            )
            for name, engine in self._twin.engines.items()
        }

    def _income_of_run(self) -> Mapping[Venue, Decimal] | None:
        now, before = self._income(), self._income_before
        if now is None or before is None:
            return None
        return {venue: amount - before[venue] for venue, amount in now.items()}


def _held_here(state: VenueState) -> list[str]:
    """Return why a venue's entries wait besides a halt: not ready, or its account in doubt."""
    held = [] if state.protected else ["not ready: what was found there is not protected yet"]
    if state.account_doubt:
        held.append(f"account in doubt: {state.account_doubt}")
    if state.second_leg:
        held.append(state.second_leg)
    return held


def _rank(ordered: Sequence[int], percent: int) -> int | None:
    """Return the nearest-rank percentile of *ordered*, None of nothing."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
