"""The end of a run whose journal cannot be written: told in full, raised nowhere (R74, R75)."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import attrs

from aegis.app.books import RunBooks, close_books
from aegis.core.bus import EventBus
from aegis.core.clock import VirtualClock
from aegis.core.offload import InlineOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.journal.errors import JournalError
from aegis.journal.row import Entry
from aegis.journal.store import JournalStore, Run
from aegis.journal.writer import JournalActor
from aegis.model.events import KillSwitchPulled


class Disk(JournalStore):
    """A journal whose disk fills up: rows no longer, then not even the end of the run."""

    def __init__(self, path: Path, *, rows_fit: bool, end_fits: bool) -> None:
        super().__init__(path)
        self._rows_fit, self._end_fits = rows_fit, end_fits

    def append(self, run: int, run_id: str, entries: Sequence[Entry], *, durable: bool) -> int:
        """Write, or find the disk full."""
        if not self._rows_fit:
            raise JournalError("j.db", "database or disk is full", "free space on the disk")
        return super().append(run, run_id, entries, durable=durable)

    def end_run(self, run: int, stopped_ns: int) -> None:
        """Book the end, or find the disk full."""
        if not self._end_fits:
            raise JournalError("j.db", "database or disk is full", "free space on the disk")
        super().end_run(run, stopped_ns)


def closed(path: Path, *, rows_fit: bool = True, end_fits: bool = True) -> RunBooks:
    """Run a journal with one kill switch in it, and close its books."""

    async def main() -> RunBooks:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(1_000, loop)
        bus, failed = EventBus(clock), list[TaskFailed]()
        store = Disk(path / "journal.db", rows_fit=rows_fit, end_fits=end_fits)
        store.begin_run(
            Run(
                run=1,
                run_id="r1",
                started_ns=1,
                stopped_ns=None,
                mode="paper",
                label="",
                code_hash="",
                config_hash="",
            )
        )
        journal = JournalActor(
            bus,
            clock,
            store,
            InlineOffload(0.0, 0.0),
            Supervisor(clock, failed.append, rng=random.Random(1)),
            run=1,
            run_id="r1",
            queue_max=10,
            on_cap=lambda _reason: None,
        )
        bus.publish(KillSwitchPulled(ts_event=1, ts_recv=1, operator="op", reason="x"))
        books = await close_books(journal, store, 1, clock)
        ended = store.runs()[0].stopped_ns is not None
        store.close()
        assert (rows_fit and end_fits) is ended
        return books

    return run_virtual(main())


def test_a_whole_journal_is_booked_and_its_books_are_read_back(tmp_path: Path) -> None:
    """Every row written, the end booked, the lines those of the check."""
    books = closed(tmp_path)
    assert (True, True) == (books.whole, books.ok)
    assert "NOT" not in " ".join(books.lines)


def test_rows_that_cannot_be_written_are_named_with_where_and_why(tmp_path: Path) -> None:
    """How many of what, in which file, why, and what to do; the books claim nothing (R80)."""
    books = closed(tmp_path, rows_fit=False)
    assert (False, False) == (books.whole, books.ok)
    told = attrs.astuple(books)[2]
    assert told[0].startswith("2 rows ARE NOT WRITTEN to j.db")
    assert told[0].endswith("AlertRaised 1, KillSwitchPulled 1")
    assert "why: database or disk is full" in told[1]
    assert "free space on the disk, then start again" in told[1]
    assert "were not checked" in told[3]


def test_an_end_that_cannot_be_booked_is_told_apart(tmp_path: Path) -> None:
    """All rows are there, and the run looks like one that was killed."""
    books = closed(tmp_path, end_fits=False)
    assert (False, False) == (books.whole, books.ok)
    assert "all rows are written, the end of the run is not booked in j.db" == books.lines[0]
