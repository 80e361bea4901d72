"""Claims about aegis.journal.store and row: append-only, chained, whole or told."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import attrs
import pytest

from aegis.core.event import Event
from aegis.journal.codec import JournalFault
from aegis.journal.errors import JournalError
from aegis.journal.row import CHAIN_START, Entry
from aegis.journal.store import JournalStore, Run, open_journal
from aegis.model.events import AlertRaised, DayStarted, FillBooked, PositionClosed

Numbered = Callable[[Sequence[Event]], list[Entry]]
RUN = Run(
    run=1,
    run_id="r1",
    started_ns=1,
    stopped_ns=None,
    mode="paper",
    label="",
    code_hash="c",
    config_hash="s",
)


@attrs.frozen(slots=True, kw_only=True)
class Unwritable(Event):
    """An event no codec knows, since it is declared outside of the program."""


def alert(message: str) -> AlertRaised:
    return AlertRaised(ts_event=1, ts_recv=1, rule="r", level="WARNING", message=message)


def test_what_is_appended_is_read_back_with_its_envelope(
    tmp_path: Path, life: list[Event], numbered: Numbered
) -> None:
    """R74: every event is there once, in order, and its ids can be found without opening it."""
    store = open_journal(tmp_path / "state")
    added = store.append(1, "r1", numbered(life), durable=True)
    store.close()
    store = open_journal(tmp_path / "state")
    read = list(store.iter_events(1))
    row = read[2][0]

    assert added == len(life)
    assert life == [event for _, event in read]
    assert list(range(1, len(life) + 1)) == [row.seq for row, _ in read]
    assert ("FillBooked", "BINANCE", "BTCUSDT-PERP.BINANCE") == (
        row.type,
        row.venue,
        row.instrument,
    )
    assert ("AAAA-1-1", "t-1", "AAAA-1-1-EN0") == (
        row.position_id,
        row.trace_id,
        row.client_order_id,
    )
    assert ("r1:3", 1, 5, 6, 3) == (
        row.event_id,
        row.schema_version,
        row.ts_event,
        row.ts_recv,
        row.mono_ns,
    )
    assert read[-1][0].chain == store.head
    store.close()


def test_types_and_runs_select_and_last_is_the_newest(
    life: list[Event], numbered: Numbered
) -> None:
    """A reader takes only what it asks for."""
    store = JournalStore(None)
    store.append(1, "r1", numbered(life), durable=False)
    store.append(2, "r2", numbered(life[:4]), durable=False)
    newest = store.last(FillBooked)

    assert [PositionClosed] == [type(e) for _, e in store.iter_events(types=[PositionClosed])]
    assert 4 == len(list(store.iter_rows(2)))
    assert newest is not None
    assert (2, 4, life[3]) == (newest[0].run, newest[0].seq, newest[1])
    assert store.last(DayStarted) is None
    assert store.last(FillBooked, venue="BYBIT") is None


def test_an_entry_written_twice_stands_there_once(life: list[Event], numbered: Numbered) -> None:
    """A batch whose answer was lost is tried again as it is."""
    store = JournalStore(None)
    entries = numbered(life)
    store.append(1, "r1", entries[:5], durable=True)
    head = store.head

    assert 0 == store.append(1, "r1", entries[:5], durable=True)
    assert head == store.head
    assert len(life) - 5 == store.append(1, "r1", entries, durable=True)
    assert life == [event for _, event in store.iter_events()]


@pytest.mark.parametrize(
    "poison",
    [
        Unwritable(ts_event=1, ts_recv=1),
        attrs.evolve(alert("x"), ts_event=2**80),
        attrs.evolve(alert("x"), ts_recv=2**63),
        alert(cast("str", 7)),
    ],
    ids=["unknown-type", "beyond-json", "beyond-sqlite", "wrong-kind"],
)
def test_a_row_that_cannot_be_encoded_does_not_poison_its_batch(
    poison: Event, numbered: Numbered
) -> None:
    """R75: a fault stands in its place, counted, and the rows around it are written."""
    store = JournalStore(None)
    store.append(1, "r1", numbered([alert("a"), poison, alert("b")]), durable=False)
    read = [event for _, event in store.iter_events()]

    assert [alert("a"), alert("b")] == [read[0], read[2]]
    fault = read[1]
    assert isinstance(fault, JournalFault)
    assert (type(poison).__name__, 1_002) == (fault.event_type, fault.ts_recv)
    assert 1 == store.faults


def test_a_venues_odd_text_is_kept_and_its_column_is_printable(
    life: list[Event], numbered: Numbered
) -> None:
    """A lone surrogate in an id neither loses the row nor the id."""
    booked = life[2]
    assert isinstance(booked, FillBooked)
    odd = attrs.evolve(booked, fill=attrs.evolve(booked.fill, client_order_id="\ud800"))
    store = JournalStore(None)
    store.append(1, "r1", numbered([odd]), durable=True)
    [(row, event)] = store.iter_events()

    assert odd == event
    assert "\\ud800" == row.client_order_id


def test_the_chain_shows_a_changed_a_missing_and_a_cut_row(
    tmp_path: Path, life: list[Event], numbered: Numbered
) -> None:
    """R74: what was written cannot be altered without showing."""

    def after(statement: str) -> tuple[bool, tuple[int, int] | None, bool | None]:
        path = tmp_path / f"{abs(hash(statement))}.db"
        store = JournalStore(path)
        store.append(1, "r1", numbered(life), durable=True)
        head = store.head
        store.close()
        with sqlite3.connect(path) as raw:
            raw.execute(statement)
        raw.close()
        store = JournalStore(path)
        check = store.check_chain(head)
        store.close()
        return check.ok, check.broken_at, check.found_head

    assert (True, None, True) == after("SELECT 1")
    assert (False, (1, 3), True) == after("UPDATE events SET severity='CRITICAL' WHERE seq=3")
    assert (False, (1, 4), True) == after("DELETE FROM events WHERE seq=3")
    assert (False, None, False) == after("DELETE FROM events WHERE seq > 5")


def test_the_chain_goes_on_over_a_restart(
    tmp_path: Path, life: list[Event], numbered: Numbered
) -> None:
    """A second run is linked to the first."""
    path = tmp_path / "j.db"
    for run in (1, 2):
        store = JournalStore(path)
        assert (store.head == CHAIN_START) == (run == 1)
        store.append(run, f"r{run}", numbered(life), durable=True)
        store.close()
    store = JournalStore(path)

    assert store.check_chain().ok
    assert 2 * len(life) == store.check_chain().rows
    store.close()


def test_runs_begin_and_end(tmp_path: Path) -> None:
    """A run without an end is a crash; its number cannot be given again."""
    store = JournalStore(tmp_path / "j.db")
    store.begin_run(RUN)
    store.begin_run(attrs.evolve(RUN, run=2))
    store.end_run(2, 99)

    assert (RUN, attrs.evolve(RUN, run=2, stopped_ns=99)) == store.runs()
    with pytest.raises(JournalError, match="UNIQUE"):
        store.begin_run(RUN)
    store.close()


def test_a_file_that_is_no_journal_is_named_with_the_fix(tmp_path: Path) -> None:
    """The operator reads the path and what to do."""
    corrupt = tmp_path / "corrupt.db"
    corrupt.write_bytes(b"this is not a database, and long enough to be sure" * 100)
    with pytest.raises(JournalError, match="file is not a database: move the file"):
        JournalStore(corrupt)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE t (x)")
    raw.close()
    with pytest.raises(JournalError, match="its version was 0, this program reads 1"):
        JournalStore(other)


def test_a_folder_that_cannot_be_written_is_named_with_the_fix(tmp_path: Path) -> None:
    """Neither a missing folder nor a file in its place is passed over."""
    with pytest.raises(JournalError, match="unable to open database file: make the folder"):
        JournalStore(tmp_path / "absent" / "j.db")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(JournalError, match="choose a state_dir"):
        open_journal(tmp_path / "taken")


def test_a_closed_store_refuses(life: list[Event], numbered: Numbered) -> None:
    """After a crash was cut, nothing more reaches the file."""
    store = JournalStore(None)
    store.close()

    with pytest.raises(JournalError, match="was closed"):
        store.append(1, "r1", numbered(life), durable=True)
    with pytest.raises(JournalError, match="was closed"):
        list(store.iter_rows())
