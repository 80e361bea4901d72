"""
The tally: what happened in this run, counted from events and nothing else.

A counter that listened from the start and is 0 is a real 0; what cannot be known is None (R80).
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S
from aegis.core.event import Event, HandlerFailed
from aegis.model.events import (
    AccountDoubted,
    AlertRaised,
    ApiCalled,
    CandleGapFound,
    EntryFailed,
    FillBooked,
    FrameRejected,
    FundingReported,
    IntentDenied,
    IntentProposed,
    JournalOverflowed,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    ProtectionMismatchFound,
    RequestsPaused,
    RequestsResumed,
    RunStarted,
    SignalDropped,
    SignalRaised,
    StreamOpened,
    TaskFailed,
)
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ZERO
from aegis.model.position import CloseCause

_HOUR_NS: Final = 3600 * NS_PER_S


def nearest_rank(values: Sequence[int], share: float) -> int | None:
    """Return the smallest value that at least *share* (0..1] of *values* do not exceed."""
    if not values:
        return None
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def net_pnl_of(event: PositionClosed) -> Decimal | None:
    """Return the net PnL, None when closing fills were never seen: their share is unknown."""
    if event.exit_px_avg is None or event.position.qty != 0:
        return None
    return event.net_pnl


def _add(sums: dict[Venue, Decimal], venue: Venue, amount: Decimal) -> None:
    sums[venue] = sums.get(venue, ZERO) + amount


@attrs.frozen(slots=True, kw_only=True)
class NakedTimes:
    """
    Unprotected time by the bot's own clock: receipt of the first fill to receipt of the evidence.

    *count* positions of ours were confirmed; None where there was none.
    """

    count: int
    p50_ns: int | None
    p99_ns: int | None
    max_ns: int | None


class Tally:
    """
    Count what the bus carries; read-only for everyone else.

    *net_pnl*: of closed positions whose fills were all seen, *net_unknown* counts the others.
    *naked_ns*: first confirmation of each position this run opened; the time an adopted one stood
    before it was found is known to nobody. *frames_rejected*: at least so many, since the firewall
    tells at doubling counts.
    """

    def __init__(self, bus: EventBus) -> None:
        self.opened = 0
        self.adopted = 0
        self.closed: Counter[CloseCause] = Counter()
        self.closed_unknown = 0
        """Closes of positions this run never saw open: conservation is broken (R76)."""
        self.net_pnl: dict[Venue, Decimal] = {}
        self.net_unknown: Counter[Venue] = Counter()
        self.realized: dict[Venue, Decimal] = {}
        self.fees: dict[Venue, Decimal] = {}
        self.funding: dict[Venue, Decimal] = {}
        self.fills: Counter[Venue] = Counter()
        self._traded: dict[Venue, Decimal] = {}
        """Fills that happened in this run, and what they sold less what they bought."""
        self.booked_before: dict[Venue, Decimal] = {}
        """Of all that, what happened before this run began, while nobody listened."""
        self._began_ns = 0
        self._fees_before: dict[Venue, Decimal] = {}
        self._funding_before: dict[Venue, Decimal] = {}
        self.confirmed = 0
        self.closed_unconfirmed = 0
        self.naked_ns: list[int] = []
        self.deadlines_soft_missed = 0
        self.protection_failed = 0
        self.protection_lost = 0
        self.mismatches: Counter[str] = Counter()
        """Differences between us and the venues by kind, positions and protective orders alike."""
        self.signals = 0
        self.signals_dropped = 0
        self.entry_intents = 0
        self.denied: Counter[str] = Counter()
        self.entries_failed = 0
        self.handler_failures = 0
        self.handler_failures_critical = 0
        self.task_failures = 0
        self.api_calls: Counter[Venue] = Counter()
        self.api_errors: Counter[Venue] = Counter()
        self.reconnects: Counter[Venue] = Counter()
        self.account_doubts: Counter[Venue] = Counter()
        self._reconnects_ns: deque[int] = deque()
        self.gaps = 0
        self.candles_missing = 0
        self.alerts: Counter[str] = Counter()
        self.paused: dict[Venue, str] = {}
        """Venues whose entries wait for the venue's limits or for the clock, and why."""
        self.journal_dropped = 0
        self._open: dict[str, bool] = {}
        self._adopted_open: dict[str, None] = {}
        self._realized_of: dict[str, Decimal] = {}
        self._funding_ids: dict[tuple[Venue, str], None] = {}
        self._streams: dict[tuple[Venue, str], None] = {}
        self._rejected: dict[tuple[InstrumentId | None, str, str], int] = {}
        self._counters = self._wire()
        bus.listen_all(self.on_event)

    def _wire(self) -> Mapping[type[Event], Callable[[Any], None]]:
        return {
            RunStarted: self._on_run_started,
            PositionOpened: self._on_opened,
            PositionClosed: self._on_closed,
            FillBooked: self._on_fill,
            FundingReported: self._on_funding,
            ProtectionConfirmed: self._on_confirmed,
            ProtectionDelayed: self._on_delayed,
            ProtectionFailed: self._on_failed,
            ProtectionLost: self._on_lost,
            PositionMismatchFound: self._on_mismatch,
            ProtectionMismatchFound: self._on_mismatch,
            SignalRaised: self._on_signal,
            SignalDropped: self._on_signal_dropped,
            IntentProposed: self._on_intent,
            IntentDenied: self._on_denied,
            EntryFailed: self._on_entry_failed,
            HandlerFailed: self._on_handler_failed,
            TaskFailed: self._on_task_failed,
            ApiCalled: self._on_api,
            StreamOpened: self._on_stream,
            AccountDoubted: self._on_doubt,
            FrameRejected: self._on_rejected,
            CandleGapFound: self._on_gap,
            AlertRaised: self._on_alert,
            RequestsPaused: self._on_paused,
            RequestsResumed: self._on_resumed,
            JournalOverflowed: self._on_overflow,
        }

    def on_event(self, _seq: int, event: Event) -> None:
        """Count the event, if it counts."""
        counter = self._counters.get(type(event))
        if counter is not None:
            counter(event)

    # --- what follows from the counters ----------------------------------------------------------

    @property
    def ever_open(self) -> int:
        """Return how many positions there were, adopted ones included."""
        return self.opened + self.adopted

    @property
    def active(self) -> int:
        """Return how many positions opened and have not closed, by id."""
        return len(self._open)

    @property
    def closed_count(self) -> int:
        """Return how many positions closed, for whatever cause."""
        return self.closed.total()

    @property
    def frames_rejected(self) -> int:
        """Return how many frames were refused at least."""
        return sum(self._rejected.values())

    def naked_times(self) -> NakedTimes:
        """Return median, 99th percentile (nearest rank) and maximum."""
        return NakedTimes(
            count=len(self.naked_ns),
            p50_ns=nearest_rank(self.naked_ns, 0.5),
            p99_ns=nearest_rank(self.naked_ns, 0.99),
            max_ns=max(self.naked_ns, default=None),
        )

    def income(self, venue: Venue) -> Decimal:
        """
        Return realized profit - fees + funding of every fill and booking there in this run (R77).

        What was booked before it began, and only told now, is in `booked_before`.
        """
        paid = self.fees.get(venue, ZERO)
        whole = self.realized.get(venue, ZERO) - paid + self.funding.get(venue, ZERO)
        return whole - self.booked_before.get(venue, ZERO)

    def cash(self, venue: Venue) -> Decimal:
        """
        Return sold - bought - fees + funding of this run, USDT: what a venue's own lists add up to.

        Needs no opening price, and so can be compared where positions of before are open.
        """
        paid = self.fees.get(venue, ZERO) - self._fees_before.get(venue, ZERO)
        received = self.funding.get(venue, ZERO) - self._funding_before.get(venue, ZERO)
        return self._traded.get(venue, ZERO) - paid + received

    # --- positions and money ---------------------------------------------------------------------

    def _on_run_started(self, event: RunStarted) -> None:
        self._began_ns = event.ts_event

    def _note_earlier(self, venue: Venue, amount: Decimal, ts_event: int) -> None:
        if ts_event < self._began_ns:
            self.booked_before[venue] = self.booked_before.get(venue, ZERO) + amount

    def _on_opened(self, event: PositionOpened) -> None:
        position = event.position
        if position.adopted or position.restored:
            self.adopted += 1
            self._adopted_open[position.position_id] = None
            # What an earlier run made of it is in that run's count.
            if event.taken_over:
                self._realized_of[position.position_id] = position.realized_pnl
        else:
            self.opened += 1
        self._open[position.position_id] = False

    def _on_closed(self, event: PositionClosed) -> None:
        position = event.position
        venue = position.instrument_id.venue
        self.closed[event.cause] += 1
        was_confirmed = self._open.pop(position.position_id, None)
        self._adopted_open.pop(position.position_id, None)
        if position.qty == 0:
            # One that ended with a rest may still be told fills: they count from here on.
            self._realized_of.pop(position.position_id, None)
        if was_confirmed is None:
            self.closed_unknown += 1
        elif not was_confirmed:
            self.closed_unconfirmed += 1
        net = net_pnl_of(event)
        if net is None:
            self.net_unknown[venue] += 1
        else:
            self.net_pnl[venue] = self.net_pnl.get(venue, ZERO) + net

    def _on_fill(self, event: FillBooked) -> None:
        position = event.position
        venue = position.instrument_id.venue
        before = self._realized_of.get(position.position_id, ZERO)
        self._realized_of[position.position_id] = position.realized_pnl
        made = position.realized_pnl - before
        self.realized[venue] = self.realized.get(venue, ZERO) + made
        self.fees[venue] = self.fees.get(venue, ZERO) + event.fill.fee
        self._note_earlier(venue, made - event.fill.fee, event.fill.ts_event)
        fill = event.fill
        if fill.ts_event < self._began_ns:
            _add(self._fees_before, venue, fill.fee)
        else:
            self.fills[venue] += 1
            _add(self._traded, venue, -fill.side.sign * fill.last_qty * fill.last_px)

    def _on_funding(self, event: FundingReported) -> None:
        key = (event.venue, event.funding_id)
        if event.funding_id and key in self._funding_ids:
            return
        self._funding_ids[key] = None
        self.funding[event.venue] = self.funding.get(event.venue, ZERO) + event.amount
        self._note_earlier(event.venue, event.amount, event.ts_event)
        if event.ts_event < self._began_ns:
            _add(self._funding_before, event.venue, event.amount)

    # --- protection ------------------------------------------------------------------------------

    def _on_confirmed(self, event: ProtectionConfirmed) -> None:
        if self._open.get(event.position_id) is not False:
            return
        self._open[event.position_id] = True
        self.confirmed += 1
        if event.position_id not in self._adopted_open:
            self.naked_ns.append(event.naked_ns)

    def _on_delayed(self, _: ProtectionDelayed) -> None:
        self.deadlines_soft_missed += 1

    def _on_failed(self, _: ProtectionFailed) -> None:
        self.protection_failed += 1

    def _on_lost(self, _: ProtectionLost) -> None:
        self.protection_lost += 1

    def _on_mismatch(self, event: PositionMismatchFound | ProtectionMismatchFound) -> None:
        if event.kind is not None:
            self.mismatches[event.kind.value] += 1

    # --- the way to an entry ---------------------------------------------------------------------

    def _on_signal(self, _: SignalRaised) -> None:
        self.signals += 1

    def _on_signal_dropped(self, _: SignalDropped) -> None:
        self.signals_dropped += 1

    def _on_intent(self, event: IntentProposed) -> None:
        self.entry_intents += event.intent.is_entry

    def _on_denied(self, event: IntentDenied) -> None:
        self.denied[event.guard] += 1

    def _on_entry_failed(self, _: EntryFailed) -> None:
        self.entries_failed += 1

    # --- faults ----------------------------------------------------------------------------------

    def _on_handler_failed(self, event: HandlerFailed) -> None:
        self.handler_failures += 1
        self.handler_failures_critical += event.critical

    def _on_task_failed(self, _: TaskFailed) -> None:
        self.task_failures += 1

    def _on_api(self, event: ApiCalled) -> None:
        self.api_calls[event.venue] += 1
        self.api_errors[event.venue] += not event.ok

    def _on_stream(self, event: StreamOpened) -> None:
        key = (event.venue, event.stream)
        if key in self._streams:
            self.reconnects[event.venue] += 1
            self._reconnects_ns.append(event.ts_recv)
        self._streams[key] = None

    def reconnects_last_hour(self, now_ns: int) -> int:
        """Return how many streams came back within the last hour of market time, of all venues."""
        while self._reconnects_ns and now_ns - self._reconnects_ns[0] >= _HOUR_NS:
            self._reconnects_ns.popleft()
        return len(self._reconnects_ns)

    def _on_doubt(self, event: AccountDoubted) -> None:
        self.account_doubts[event.venue] += 1

    def _on_rejected(self, event: FrameRejected) -> None:
        key = (event.instrument_id, event.frame, event.reason)
        self._rejected[key] = max(self._rejected.get(key, 0), event.count)

    def _on_gap(self, event: CandleGapFound) -> None:
        self.gaps += 1
        self.candles_missing += event.missing

    def _on_paused(self, event: RequestsPaused) -> None:
        self.paused[event.venue] = event.reason

    def _on_resumed(self, event: RequestsResumed) -> None:
        self.paused.pop(event.venue, None)

    def _on_alert(self, event: AlertRaised) -> None:
        self.alerts[event.rule] += 1

    def _on_overflow(self, event: JournalOverflowed) -> None:
        self.journal_dropped += event.dropped
