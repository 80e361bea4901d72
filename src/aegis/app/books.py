"""
What a run's journal says at its end: whether all of it is written, and whether its books add up.

A disk that is full or a file that is locked takes nothing else from the end: it is told, the
summary is printed, and the exit code says that the record is not whole.
"""

from collections.abc import Mapping

import attrs

from aegis.core.clock import Clock
from aegis.journal.conservation import check_conservation
from aegis.journal.errors import JournalError
from aegis.journal.store import JournalStore
from aegis.journal.writer import JournalActor


@attrs.frozen(slots=True, kw_only=True)
class RunBooks:
    """
    The last words of a run's journal.

    *whole*: every row is written and the end is booked. *ok*: and the books, read back, add up.
    """

    whole: bool
    ok: bool
    lines: tuple[str, ...]


async def close_books(
    journal: JournalActor, store: JournalStore, run: int, clock: Clock
) -> RunBooks:
    """Write what waits, book the end of *run*, read its books back; raises nothing of the disk."""
    try:
        await journal.flush()
        store.end_run(run, clock.now_ns())
    except JournalError as error:
        return RunBooks(whole=False, ok=False, lines=_not_written(journal.unwritten(), error))
    try:
        report = check_conservation(event for _, event in store.iter_events(run))
    except JournalError as error:
        return RunBooks(whole=True, ok=False, lines=(f"the books could not be read back: {error}",))
    return RunBooks(whole=True, ok=report.ok, lines=(*report.lines, *report.violations))


def _not_written(unwritten: Mapping[str, int], error: JournalError) -> tuple[str, ...]:
    count = sum(unwritten.values())
    kinds = ", ".join(f"{name} {number}" for name, number in unwritten.items())
    what = (
        f"{count} rows ARE NOT WRITTEN to {error.path} and are lost with this process: {kinds}"
        if count
        else f"all rows are written, the end of the run is not booked in {error.path}"
    )
    return (
        what,
        f"why: {error.problem}; to mend: {error.fix}, then start again",
        "positions and fills are on the venue: the next start asks for them and goes on",
        "the books of this run were not checked: they are not all there",
    )
