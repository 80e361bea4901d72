"""What a person sees of many seeds: progress, faults, positions, times, violations."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from aegis.sim.outcome import Outcome

PLAIN_EVERY_S: Final = 20.0
"""Between two lines of progress where there is no terminal to draw a bar on."""
CHARS_MAX: Final = 600
"""Of one violation beside the progress; the replay has all of it."""


@attrs.define(slots=True)
class Totals:
    """The sum of many outcomes. *run_s*: wall seconds of all runs, side by side or not."""

    seeds: int = 0
    hours: float = 0.0
    lives: int = 0
    opened: int = 0
    orders: int = 0
    run_s: float = 0.0
    closed: Counter[str] = attrs.field(factory=Counter)
    faults: Counter[str] = attrs.field(factory=Counter)
    unprotected_ms: dict[str, list[float]] = attrs.field(factory=dict)
    counted_ms: dict[str, list[float]] = attrs.field(factory=dict)
    violations: list[tuple[int, str]] = attrs.field(factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take one outcome in."""
        self.seeds += 1
        self.hours += outcome.hours
        self.lives += outcome.lives
        self.opened += outcome.opened
        self.orders += outcome.orders
        self.run_s += outcome.wall_s
        self.closed += outcome.closed
        self.faults += outcome.faults
        for venue, times in outcome.unprotected_ms.items():
            self.unprotected_ms.setdefault(venue, []).extend(times)
        for venue, times in outcome.counted_ms.items():
            self.counted_ms.setdefault(venue, []).extend(times)
        self.violations += [(outcome.seed, each) for each in outcome.violations]

    @property
    def failed_seeds(self) -> list[int]:
        """Return the seeds with violations, in order."""
        return sorted({seed for seed, _ in self.violations})


class Shown(Protocol):
    """Where progress is told."""

    def told(self, outcome: Outcome, totals: Totals) -> None:
        """Tell that *outcome* came, *totals* with it."""
        ...


class _Bar:
    def __init__(self, progress: Progress, count: int) -> None:
        self._progress = progress
        self._task = progress.add_task("seeds", total=count, bad=0)

    def told(self, outcome: Outcome, totals: Totals) -> None:
        tell_violations(outcome, self._progress.console)
        self._progress.update(self._task, advance=1, bad=len(totals.failed_seeds))


class _Lines:
    def __init__(self, console: Console, count: int) -> None:
        self._console = console
        self._count = count
        self._began_s = self._last_s = time.perf_counter()

    def told(self, outcome: Outcome, totals: Totals) -> None:
        tell_violations(outcome, self._console)
        now_s = time.perf_counter()
        if now_s - self._last_s < PLAIN_EVERY_S:
            return
        self._last_s = now_s
        passed_s = now_s - self._began_s
        self._console.print(
            f"{totals.seeds} of {self._count} seeds, {totals.hours:g} h simulated in "
            f"{passed_s:.0f} s, {len(totals.failed_seeds)} violated",
            markup=False,
        )


@contextmanager
def progress_of(count: int, console: Console) -> Iterator[Shown]:
    """Draw a bar on a terminal; elsewhere print a plain line now and then."""
    if not console.is_terminal:
        yield _Lines(console, count)
        return
    columns = (
        TextColumn("seeds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bad]} violated"),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, count)


def tell_violations(outcome: Outcome, console: Console) -> None:
    """Print what *outcome* broke, a line each and more only where a traceback is told."""
    for violation in outcome.violations:
        text = violation if len(violation) <= CHARS_MAX else f"... {violation[-CHARS_MAX:]}"
        law = "" if text is violation else f"{violation.partition(': ')[0]}: "
        console.print(f"seed {outcome.seed}: {law}{text}", markup=False)


def totals_of(outcomes: Iterable[Outcome]) -> Totals:
    """Add *outcomes* up."""
    totals = Totals()
    for outcome in outcomes:
        totals.add(outcome)
    return totals


def show(totals: Totals, wall_s: float, console: Console) -> None:
    """Print the figures of many seeds; *wall_s*: what they took, 0 where nobody measured."""
    table = Table(title="SIMULATION", show_header=False)
    for name, text in rows_of(totals, wall_s):
        table.add_row(name, text)
    console.print(table)


def rows_of(totals: Totals, wall_s: float) -> Iterator[tuple[str, str]]:
    """Yield the figures, a name and a text each."""
    speed = totals.hours / wall_s if wall_s else 0.0
    each = totals.hours / totals.run_s if totals.run_s else 0.0
    yield "seeds", str(totals.seeds)
    yield "simulated hours", f"{totals.hours:g}"
    yield (
        "simulated hours per wall second",
        f"{speed:.2f} in {wall_s:.0f} s ({each:.2f} in one process)",
    )
    # A seed whose process died has no life on record.
    yield "restarts after a crash", str(max(0, totals.lives - totals.seeds))
    yield "orders at the venues", str(totals.orders)
    closed = ", ".join(f"{cause} {n}" for cause, n in sorted(totals.closed.items()))
    yield "positions", f"{totals.opened} opened; closed {closed or 'none'}"
    for venue, times in sorted(totals.unprotected_ms.items()):
        yield f"unprotected {venue}, a position", _line(times)
    for venue, times in sorted(totals.counted_ms.items()):
        yield f"  spans without dead time, {venue}", _line(times)
    yield "faults injected", str(totals.faults.total())
    for kind, times_struck in sorted(totals.faults.items()):
        yield f"  {kind}", str(times_struck)
    yield "violations", str(len(totals.violations))
    laws = Counter((violation.partition(": ")[0], seed) for seed, violation in totals.violations)
    for law in sorted({law for law, _ in laws}):
        seeds = sorted(seed for name, seed in laws if name == law)
        yield f"  {law}", f"seeds {', '.join(map(str, seeds))}"


def _line(times: Sequence[float]) -> str:
    if not times:
        return "none"
    ordered = sorted(times)
    p99 = ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)]
    return f"p99 {p99:.0f} ms, worst {ordered[-1]:.0f} ms, of {len(ordered)}"
