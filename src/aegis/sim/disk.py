"""The journal's disk: full, locked by another program, or slow, as SQLite would say it."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs
from sqlalchemy.exc import OperationalError

from aegis.journal.errors import JournalError
from aegis.journal.row import Entry
from aegis.journal.store import FILE_NAME, JournalStore

FULL: Final = "database or disk is full"
LOCKED: Final = "database is locked"


@attrs.define(slots=True)
class Disk:
    """
    What is wrong with the disk.

    *refuses* returns SQLite's words for a write, "" when it is done; *acts_first*: the rows are
    there all the same, only the word of it is lost. *slow_s*: how much later a write ends.
    """

    refuses: Callable[[], str] = lambda: ""
    acts_first: Callable[[], bool] = lambda: False
    slow_s: float = 0.0


class StruckStore(JournalStore):
    """A journal whose rows meet the disk's faults; its start and its reading do not."""

    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path)
        self._disk = disk

    def append(self, run: int, run_id: str, entries: Sequence[Entry], *, durable: bool) -> int:
        """Write *entries*, or raise JournalError as the disk's fault says."""
        problem = self._disk.refuses()
        if problem and not self._disk.acts_first():
            raise self._failed(problem)
        written = super().append(run, run_id, entries, durable=durable)
        if problem:
            self._head_known = False
            raise self._failed(problem)
        return written

    def _failed(self, problem: str) -> JournalError:
        said = OperationalError("INSERT INTO events", {}, sqlite3.OperationalError(problem))
        told = self._told(said)
        # Alerts tell the path, and the journals of equal runs are equal.
        return JournalError(Path("state") / FILE_NAME, told.problem, told.fix)


def struck_store(state_dir: Path, disk: Disk) -> JournalStore:
    """Open the journal of *state_dir* on *disk*."""
    state_dir.mkdir(parents=True, exist_ok=True)
    return StruckStore(state_dir / FILE_NAME, disk)
