"""
The journal's shell on the bus: collects every event at once, writes them behind the bot's back.

On the loop an event costs one append to a queue; encoding and writing happen in batches through
the offload port, so that neither a slow nor a full disk ever holds up trading (R75).

Not written: MarketTick, which is conflated and whose source is the venue's public record, and
CandleClosed, which history gives back at any time. Both are counted.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from itertools import chain
from typing import Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, Clock
from aegis.core.errors import bounded_text
from aegis.core.event import Event
from aegis.core.offload import Offload
from aegis.core.supervise import RestartPolicy, Supervisor
from aegis.journal.errors import JournalError
from aegis.journal.row import Entry
from aegis.journal.store import JournalStore
from aegis.model.events import (
    PRIORITY_EVENTS,
    AlertRaised,
    CandleClosed,
    JournalOverflowed,
    MarketTick,
)

LANE: Final = "journal"
SPILL_ROWS_MAX: Final = 1_000_000
"""Priority rows held in memory while the disk fails; at it entries halt."""

ALARM_FIRST_NS: Final = 60 * NS_PER_S
ALARM_MAX_NS: Final = 900 * NS_PER_S
"""While the disk fails the alarm comes again after the first, then twice as long each time."""

_BATCH_ROWS_MAX: Final = 500
_RETRY_S_FIRST: Final = 0.25
_RETRY_S_MAX: Final = 10.0
_FLUSH_TRIES_MAX: Final = 4
_SKIPPED: Final = frozenset({MarketTick, CandleClosed})
# The news of an overflow must not overflow itself; there is at most one per doubling.
_PRIORITY: Final = frozenset({*PRIORITY_EVENTS, JournalOverflowed})


@attrs.frozen(kw_only=True)
class JournalStats:
    """
    How the journal fares, for the heartbeat.

    written: rows of this run on disk. queued_*: rows in memory. dropped: ordinary rows that found
    their queue full. skipped: events not written by design. faults: rows replaced by a
    JournalFault. head: chain of the newest row on disk. failing_for_ns: since the first write that
    failed in a row, monotonic; None while writing works. oldest_for_ns: how long the oldest row in
    memory waits, monotonic; None while none does. write_ns_max: what the slowest try took, whether
    it wrote or not: a slow disk shows here.
    """

    written: int
    queued_priority: int
    queued_ordinary: int
    dropped: int
    skipped: int
    faults: int
    head: str
    failing_for_ns: int | None
    oldest_for_ns: int | None
    write_ns_max: int


class JournalActor:
    """
    Write every event of one run, in the order of the bus.

    Two lanes: priority rows (orders, exits, money, safety) are never dropped, ordinary ones are
    counted away once *queue_max* of them wait. Both leave in one sequence.
    """

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        store: JournalStore,
        offload: Offload,
        supervisor: Supervisor,
        *,
        run: int,
        run_id: str,
        queue_max: int,
        on_cap: Callable[[str], None],
        spill_max: int = SPILL_ROWS_MAX,
    ) -> None:
        """
        Listen from now on; start() begins to write.

        queue_max: ordinary rows in memory, > 0. on_cap: called once with the reason when
        *spill_max* priority rows wait; it must halt entries. Exits go on and are still kept.
        """
        self._bus = bus
        self._clock = clock
        self._store = store
        self._offload = offload
        self._supervisor = supervisor
        self._run = run
        self._run_id = run_id
        self._queue_max = queue_max
        self._on_cap = on_cap
        self._spill_max = spill_max
        self._capped = False
        self._priority: deque[Entry] = deque()
        self._ordinary: deque[Entry] = deque()
        self._batch: list[Entry] = []
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._written = self._dropped = self._dropped_told = self._skipped = 0
        self._failing_since_ns: int | None = None
        self._alarmed_ns = 0
        self._alarm_after_ns = ALARM_FIRST_NS
        self._write_ns_max = 0
        bus.listen_all(self.on_event)

    def start(self) -> None:
        """Begin to write; a writer that fails is started again and misses nothing."""
        policy = RestartPolicy(delay_s_first=_RETRY_S_FIRST, delay_s_max=_RETRY_S_MAX)
        _ = self._supervisor.start("journal", self._write_for_ever, restart=policy)

    @property
    def stats(self) -> JournalStats:
        """Return a snapshot of the counters."""
        since_ns, now_ns = self._failing_since_ns, self._clock.mono_ns()
        oldest_ns = self._oldest_ns()
        in_batch = sum(type(entry.event) in _PRIORITY for entry in self._batch)
        return JournalStats(
            written=self._written,
            queued_priority=len(self._priority) + in_batch,
            queued_ordinary=len(self._ordinary) + len(self._batch) - in_batch,
            dropped=self._dropped,
            skipped=self._skipped,
            faults=self._store.faults,
            head=self._store.head,
            failing_for_ns=None if since_ns is None else now_ns - since_ns,
            oldest_for_ns=None if oldest_ns is None else now_ns - oldest_ns,
            write_ns_max=self._write_ns_max,
        )

    def unwritten(self) -> dict[str, int]:
        """Return how many rows of each event type are in memory and not known to be on disk."""
        waiting = chain(self._batch, self._priority, self._ordinary)
        counts = Counter(type(entry.event).__name__ for entry in waiting)
        return {name: counts[name] for name in sorted(counts)}

    def _oldest_ns(self) -> int | None:
        firsts = [lane[0].mono_ns for lane in (self._batch, self._priority, self._ordinary) if lane]
        return min(firsts, default=None)

    # --- on the loop, for every event ------------------------------------------------------------

    def on_event(self, seq: int, event: Event) -> None:
        """Queue *event*; never waits and never touches the disk."""
        kind = type(event)
        if kind in _SKIPPED:
            self._skipped += 1
            return
        self._wake.set()
        if kind in _PRIORITY:
            self._priority.append(self._entry(seq, event))
            if len(self._priority) >= self._spill_max and not self._capped:
                self._cap()
        elif len(self._ordinary) < self._queue_max:
            self._ordinary.append(self._entry(seq, event))
        else:
            self._drop()

    def _entry(self, seq: int, event: Event) -> Entry:
        return Entry(seq, self._clock.now_ns(), self._clock.mono_ns(), event)

    def _drop(self) -> None:
        self._dropped += 1
        if self._dropped >= 2 * self._dropped_told:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        self._dropped_told = self._dropped
        now = self._clock.now_ns()
        self._bus.publish(JournalOverflowed(ts_event=now, ts_recv=now, dropped=self._dropped))

    def _cap(self) -> None:
        self._capped = True
        self._on_cap(
            f"journal held {len(self._priority)} unwritten priority rows, limit {self._spill_max}"
        )

    # --- behind it -------------------------------------------------------------------------------

    async def flush(self) -> None:
        """
        Write all that waits, for a clean stop; works with and without the writer's task.

        Raises:
            JournalError: the disk refused several times; says how many rows are not written.
        """
        if self._dropped > self._dropped_told:
            self._tell_dropped()
        tries = 0
        while self._batch or self._priority or self._ordinary:
            error = await self._write_batch()
            if error is None:
                tries = 0
                continue
            tries += 1
            if tries >= _FLUSH_TRIES_MAX:
                left = len(self._batch) + len(self._priority) + len(self._ordinary)
                raise JournalError(
                    error.path, f"{error.problem}, {left} rows were not written", error.fix
                )
            await asyncio.sleep(_retry_s(tries))

    async def _write_for_ever(self) -> None:
        tries = 0
        while True:
            if not (self._batch or self._priority or self._ordinary):
                self._wake.clear()
                await self._wake.wait()
            if await self._write_batch() is None:
                tries = 0
            else:
                tries += 1
                await asyncio.sleep(_retry_s(tries))

    async def _write_batch(self) -> JournalError | None:
        async with self._writing:
            if not self._batch:
                self._batch = self._take()
            batch = self._batch
            if not batch:
                return None
            durable = any(type(entry.event) in _PRIORITY for entry in batch)
            began_ns = self._clock.mono_ns()
            try:
                # Canceled here, the batch stays: written again, rows that are there are left out.
                _ = await self._offload(
                    lambda: self._store.append(self._run, self._run_id, batch, durable=durable),
                    lane=LANE,
                )
            except JournalError as error:
                self._note_slowness(began_ns)
                self._failed(error)
                return error
            self._note_slowness(began_ns)
            self._batch = []
            self._written += len(batch)
            self._recovered()
            return None

    def _take(self) -> list[Entry]:
        first, second = self._priority, self._ordinary
        batch: list[Entry] = []
        while len(batch) < _BATCH_ROWS_MAX and (first or second):
            from_first = first and (not second or first[0].seq < second[0].seq)
            batch.append((first if from_first else second).popleft())
        return batch

    def _note_slowness(self, began_ns: int) -> None:
        self._write_ns_max = max(self._write_ns_max, self._clock.mono_ns() - began_ns)

    def _failed(self, error: JournalError) -> None:
        """Alarm at the first failure in a row, and at a steady pace while it lasts."""
        now_ns = self._clock.mono_ns()
        if self._failing_since_ns is None:
            self._failing_since_ns = now_ns
            self._alarm_after_ns = ALARM_FIRST_NS
        elif now_ns - self._alarmed_ns < self._alarm_after_ns:
            return
        else:
            self._alarm_after_ns = min(ALARM_MAX_NS, 2 * self._alarm_after_ns)
        self._alarmed_ns = now_ns
        rows = len(self._batch) + len(self._priority) + len(self._ordinary)
        lasted_s = (now_ns - self._failing_since_ns) / NS_PER_S
        since = f" for {lasted_s:.0f} s" if lasted_s else ""
        self._alert(
            "CRITICAL",
            bounded_text(
                f"the journal was not written{since}, trading goes on, rows that wait in memory: "
                f"{rows}; they are lost if the process dies: {error}"
            ),
        )

    def _recovered(self) -> None:
        since_ns = self._failing_since_ns
        if since_ns is None:
            return
        self._failing_since_ns = None
        self._capped = self._capped and len(self._priority) >= self._spill_max
        self._alert(
            "WARNING",
            f"journal writes again after {(self._clock.mono_ns() - since_ns) / NS_PER_S:.1f} s",
        )

    def _alert(self, level: str, message: str) -> None:
        now = self._clock.now_ns()
        self._bus.publish(
            AlertRaised(
                ts_event=now, ts_recv=now, rule="journal_writes", level=level, message=message
            )
        )


def _retry_s(tries: int) -> float:
    # No jitter: nobody else waits for this disk.
    return min(_RETRY_S_MAX, float(_RETRY_S_FIRST * 2 ** min(tries - 1, 10)))
