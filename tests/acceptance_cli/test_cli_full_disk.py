"""A disk that takes no more: the run goes on, alarms, and ends with its summary (R75)."""

import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.journal.store import open_journal

if TYPE_CHECKING:
    from tests.acceptance_cli.conftest import Cli


@contextmanager
def no_file_beyond(pid: int, bytes_max: int) -> Iterator[None]:
    """Let process *pid* write no file beyond *bytes_max*, as a full disk would."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    _ = resource.prlimit(pid, resource.RLIMIT_FSIZE, (bytes_max, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            _ = resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_a_journal_that_takes_no_row_costs_the_record_and_not_the_summary(cli: "Cli") -> None:
    """CRITICAL while it lasts, the summary at the end, code 1, and what is lost by name."""
    bot = cli.start("--speed", "600", "--for", "100m")
    _ = bot.wait_for("RUN 1 started")
    with no_file_beyond(bot.pid, 4096):
        _ = bot.wait_for("CRITICAL .*journal_writes: the journal was not written, trading goes on")
        _ = bot.wait_for("NOT WRITING for")
        ended = bot.end()
    assert 1 == ended.code, ended.err
    assert "Traceback" not in ended.err
    assert "SUMMARY" in ended.out
    assert "journal NOT WRITTEN" in ended.out
    assert "rows ARE NOT WRITTEN to" in ended.err
    assert f"{cli.folder / 'state' / 'journal.db'}" in ended.err


@pytest.mark.parametrize("by", ["space", "lock"])
def test_rows_that_waited_are_written_in_order_once_it_takes_them(cli: "Cli", by: str) -> None:
    """Nothing is lost and nothing is twice: seq rises by one, the chain is whole, the end clean."""
    bot = cli.start("--speed", "60", "--heartbeat-minutes", "3")
    _ = bot.wait_for("RUN 1 started")
    path = cli.folder / "state" / "journal.db"
    with no_file_beyond(bot.pid, 4096) if by == "space" else _locked(path):
        _ = bot.wait_for("CRITICAL .*journal_writes: the journal was not written")
    _ = bot.wait_for("WARNING .*journal_writes: journal writes again after")
    _ = bot.wait_for("HEARTBEAT")
    ended = bot.end(signal.SIGTERM)
    assert 0 == ended.code, ended.err
    assert "NOT WRITTEN" not in ended.out + ended.err
    store = open_journal(cli.folder / "state")
    seqs = [row.seq for row in store.iter_rows(1)]
    chain = store.check_chain()
    store.close()
    assert sorted(set(seqs)) == seqs
    assert chain.ok


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as a backup tool might."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        _ = connection.execute("BEGIN IMMEDIATE")
        yield
        _ = connection.execute("ROLLBACK")
    finally:
        connection.close()


def test_a_journal_that_is_locked_at_the_start_is_told(cli: "Cli") -> None:
    """Nothing is traded without a record: code 2, one line with the fix (R74)."""
    assert 0 == cli.run("--speed", "max", "--for", "5m", "--log-level", "ERROR").code
    path = cli.folder / "state" / "journal.db"
    with _locked(path):
        ended = cli.run("--speed", "max", "--for", "5m", "--log-level", "ERROR")
    assert 2 == ended.code, ended.err
    (line,) = ended.problems
    assert line.startswith(f"aegis: journal {path}")
    assert "end the other program that writes to it" in line
    assert os.linesep.join(ended.problems) + os.linesep == ended.err
