"""Claims about aegis.journal.writer: it never waits and never drops what matters."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import VirtualClock
from aegis.core.event import Event
from aegis.core.offload import InlineOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.journal.errors import JournalError
from aegis.journal.row import Entry
from aegis.journal.store import JournalStore
from aegis.journal.writer import JournalActor
from aegis.model.events import (
    AlertRaised,
    FeedStale,
    JournalOverflowed,
    KillSwitchPulled,
    MarketTick,
)
from aegis.model.instrument import Venue, instrument_id

BTC = instrument_id("BTCUSDT", Venue.BINANCE)


class FailingStore(JournalStore):
    """A disk that is full while told so; *keeps*: what it refuses was written all the same."""

    def __init__(self) -> None:
        super().__init__(None)
        self.full = False
        self.tries = 0
        self.keeps = False

    def append(self, run: int, run_id: str, entries: Sequence[Entry], *, durable: bool) -> int:
        self.tries += 1
        if self.keeps:
            super().append(run, run_id, entries, durable=durable)
        if self.full:
            raise JournalError("j.db", "disk is full", "free space")
        return super().append(run, run_id, entries, durable=durable)


@attrs.define
class Bench:
    """A journal on a virtual loop with all that it needs."""

    bus: EventBus
    store: FailingStore
    actor: JournalActor
    supervisor: Supervisor
    capped: list[str]

    def kill(self, reason: str) -> None:
        self.bus.publish(KillSwitchPulled(ts_event=1, ts_recv=1, operator="op", reason=reason))

    def stale(self, age_ns: int) -> None:
        self.bus.publish(FeedStale(ts_event=1, ts_recv=1, instrument_id=BTC, age_ns=age_ns))

    def written(self) -> list[Event]:
        return [event for _, event in self.store.iter_events()]


def run(
    scenario: Callable[[Bench], Coroutine[Any, Any, None]],
    *,
    queue_max: int = 100,
    spill_max: int = 100,
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(1_000, loop)
        bus = EventBus(clock)
        store, capped = FailingStore(), list[str]()
        failed: list[TaskFailed] = []
        supervisor = Supervisor(clock, failed.append, rng=random.Random(1))
        actor = JournalActor(
            bus,
            clock,
            store,
            InlineOffload(0.01, 0.01),
            supervisor,
            run=1,
            run_id="r1",
            queue_max=queue_max,
            spill_max=spill_max,
            on_cap=capped.append,
        )
        await scenario(Bench(bus, store, actor, supervisor, capped))
        await supervisor.stop()
        assert [] == failed
        store.close()

    run_virtual(main())


def test_both_lanes_leave_in_the_order_of_the_bus() -> None:
    """Priority keeps a row from being dropped; it never reorders the record."""

    async def scenario(bench: Bench) -> None:
        bench.actor.start()
        for number in range(3):
            bench.stale(number)
            bench.kill(str(number))
        assert [] == bench.written()
        await asyncio.sleep(1)

        rows = [row for row, _ in bench.store.iter_events()]
        assert ["FeedStale", "KillSwitchPulled"] * 3 == [row.type for row in rows]
        assert [1, 2, 3, 4, 5, 6] == [row.seq for row in rows]
        assert (6, 0, 0, None) == (
            bench.actor.stats.written,
            bench.actor.stats.queued_priority,
            bench.actor.stats.queued_ordinary,
            bench.actor.stats.failing_for_ns,
        )
        assert bench.store.head == bench.actor.stats.head

    run(scenario)


def test_ticks_are_counted_and_not_written() -> None:
    """Conflated data are the venue's public record, not ours."""

    async def scenario(bench: Bench) -> None:
        bench.bus.publish(
            MarketTick(
                ts_event=1, ts_recv=1, instrument_id=BTC, bid=1, ask=2, mark=1, last=1, merged=0
            )
        )
        await bench.actor.flush()
        assert [] == bench.written()
        assert 1 == bench.actor.stats.skipped

    run(scenario)


def test_an_overflow_is_counted_told_once_per_doubling_and_spares_priority() -> None:
    """R75: the queue is bounded, the loss is a row itself, orders and safety are never lost."""

    async def scenario(bench: Bench) -> None:
        for number in range(10 + 9):
            bench.stale(number)
        for number in range(50):
            bench.kill(str(number))
        assert (9, 10) == (bench.actor.stats.dropped, bench.actor.stats.queued_ordinary)
        await bench.actor.flush()

        written = bench.written()
        assert 10 == sum(isinstance(event, FeedStale) for event in written)
        assert 50 == sum(isinstance(event, KillSwitchPulled) for event in written)
        assert [1, 2, 4, 8, 9] == [
            event.dropped for event in written if isinstance(event, JournalOverflowed)
        ]

    run(scenario, queue_max=10)


@pytest.mark.parametrize("keeps", [False, True], ids=["lost", "kept-without-answer"])
def test_a_full_disk_loses_nothing_and_is_told_once(keeps: bool) -> None:
    """R75: rows wait in memory with back-off, also when a write failed only in its answer."""

    async def scenario(bench: Bench) -> None:
        bench.actor.start()
        bench.store.full, bench.store.keeps = True, keeps
        for number in range(5):
            bench.kill(str(number))
            await asyncio.sleep(4)
        failing_for_ns = bench.actor.stats.failing_for_ns
        assert failing_for_ns is not None
        assert failing_for_ns > 15_000_000_000
        assert 3 < bench.store.tries < 12
        bench.store.full = False
        await asyncio.sleep(20)

        written = bench.written()
        assert list("01234") == [e.reason for e in written if isinstance(e, KillSwitchPulled)]
        assert ["CRITICAL", "WARNING"] == [e.level for e in written if isinstance(e, AlertRaised)]
        assert bench.actor.stats.failing_for_ns is None
        assert bench.store.check_chain().ok

    run(scenario)


def test_the_alarm_of_a_full_disk_is_repeated_at_a_pace_and_begins_anew() -> None:
    """R75: CRITICAL at once, then after 1, 2, 4 ... minutes, at most 15 apart; again next time."""

    async def scenario(bench: Bench) -> None:
        bench.actor.start()
        bench.store.full = True
        bench.kill("a")
        await asyncio.sleep(60 * (1 + 2 + 4) + 30)
        bench.store.full = False
        await asyncio.sleep(20)
        bench.store.full = True
        bench.kill("b")
        await asyncio.sleep(1)
        bench.store.full = False
        await asyncio.sleep(20)

        told = [e for e in bench.written() if isinstance(e, AlertRaised)]
        assert "CCCCWCW" == "".join(e.level[0] for e in told)
        assert {"journal_writes"} == {e.rule for e in told}
        assert "trading goes on, rows that wait in memory: 1" in told[0].message
        assert "was not written for 6" in told[1].message

    run(scenario)


def test_slow_and_failing_writes_are_measured() -> None:
    """The heartbeat's figures: how long the oldest row waits, and what the slowest try took."""

    async def scenario(bench: Bench) -> None:
        assert bench.actor.stats.oldest_for_ns is None
        bench.store.full = True
        bench.actor.start()
        bench.kill("a")
        await asyncio.sleep(3)
        stats = bench.actor.stats
        assert stats.oldest_for_ns is not None
        assert 2_990_000_000 < stats.oldest_for_ns <= 3_000_000_000
        assert 20 == stats.write_ns_max // 1_000_000
        assert {"AlertRaised": 1, "KillSwitchPulled": 1} == bench.actor.unwritten()
        bench.store.full = False
        await asyncio.sleep(20)
        assert (None, {}) == (bench.actor.stats.oldest_for_ns, bench.actor.unwritten())

    run(scenario)


def test_at_the_cap_entries_halt_once_and_rows_are_still_kept() -> None:
    """The critical lane spills to memory; at its cap no new exposure, but no row is given up."""

    async def scenario(bench: Bench) -> None:
        for number in range(7):
            bench.kill(str(number))
        assert ["journal held 5 unwritten priority rows, limit 5"] == bench.capped
        await bench.actor.flush()
        assert 7 == len(bench.written())

    run(scenario, spill_max=5)


def test_a_clean_stop_writes_what_a_canceled_writer_left() -> None:
    """Canceled in the middle of a write, every row is there once after flush()."""

    async def scenario(bench: Bench) -> None:
        bench.actor.start()
        bench.kill("a")
        await asyncio.sleep(0.005)
        bench.kill("b")
        await bench.supervisor.stop()
        await bench.actor.flush()

        assert ["a", "b"] == [e.reason for e in bench.written() if isinstance(e, KillSwitchPulled)]

    run(scenario)


def test_a_clean_stop_on_a_broken_disk_ends_and_says_what_is_missing() -> None:
    """flush() neither hangs nor hides."""

    async def scenario(bench: Bench) -> None:
        bench.store.full = True
        bench.kill("a")
        with pytest.raises(JournalError, match="disk is full, 2 rows were not written: free space"):
            await bench.actor.flush()

    run(scenario)
