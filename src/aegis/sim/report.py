"""What a person sees of many seeds: progress, faults, positions, times, violations."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from aegis.sim.outcome import Outcome

VIOLATIONS_SHOWN: Final = 200


@attrs.define(slots=True)
class Totals:
    """The sum of many outcomes."""

    seeds: int = 0
    hours: float = 0.0
    lives: int = 0
    opened: int = 0
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


def watch(outcomes: Iterable[Outcome], count: int, console: Console) -> Totals:
    """Add *outcomes* up beside a progress bar, tell violations as they come, show the sum."""
    totals, began_s = Totals(), time.perf_counter()
    columns = (
        TextColumn("seeds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bad]} violated"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("seeds", total=count, bad=0)
        for outcome in outcomes:
            totals.add(outcome)
            for violation in outcome.violations:
                progress.console.print(f"seed {outcome.seed}: {violation}", markup=False)
            progress.update(task, advance=1, bad=len(totals.failed_seeds))
    show(totals, time.perf_counter() - began_s, console)
    return totals


def show(totals: Totals, wall_s: float, console: Console) -> None:
    """Print the figures of many seeds."""
    table = Table(title="SIMULATION", show_header=False)
    speed = totals.hours / wall_s if wall_s else 0.0
    table.add_row("seeds, simulated hours", f"{totals.seeds}, {totals.hours:g}")
    table.add_row("hours a wall second", f"{speed:.2f} ({wall_s:.0f} s)")
    table.add_row("processes of the bot", str(totals.lives))
    closed = ", ".join(f"{cause} {n}" for cause, n in sorted(totals.closed.items()))
    table.add_row("positions", f"{totals.opened} opened; closed {closed or 'none'}")
    for venue, times in sorted(totals.unprotected_ms.items()):
        table.add_row(f"unprotected {venue}, a position", _line(times))
    for venue, times in sorted(totals.counted_ms.items()):
        table.add_row(f"  spans without dead time, {venue}", _line(times))
    for kind, times_struck in sorted(totals.faults.items()):
        table.add_row(f"fault: {kind}", str(times_struck))
    seeds = ", ".join(map(str, totals.failed_seeds))
    table.add_row(
        "violations", f"{len(totals.violations)}" + (f" in seeds {seeds}" if seeds else "")
    )
    console.print(table)


def _line(times: Sequence[float]) -> str:
    if not times:
        return "none"
    ordered = sorted(times)
    p99 = ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)]
    return f"p99 {p99:.0f} ms, worst {ordered[-1]:.0f} ms, of {len(ordered)}"
