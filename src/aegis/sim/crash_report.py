"""What a person sees of many kills: each violation as it comes, then a table by scenario."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs
from rich.console import Console
from rich.table import Table

from aegis.sim.crash_run import CrashOutcome, Reference

TOLD_EVERY_S: Final = 20.0
CHARS_MAX: Final = 2000


@attrs.define(slots=True, kw_only=True)
class CrashTotals:
    """The sum of one scenario, or of all."""

    marks: int = 0
    points: int = 0
    kills: int = 0
    sent: int = 0
    failed: int = 0
    violations: int = 0
    worst_ms: float = 0.0
    run_s: float = 0.0
    causes: Counter[str] = attrs.field(factory=Counter)

    def refer(self, reference: Reference) -> None:
        """Take in the run that nobody killed."""
        self.marks += reference.marks
        self.points += reference.points
        self._judge(reference.outcome)

    def add(self, outcome: CrashOutcome) -> None:
        """Take in one kill."""
        self.kills += 1
        self.sent += outcome.kill.endswith("+sent")
        self.causes.update(outcome.causes)
        self._judge(outcome)

    def join(self, other: "CrashTotals") -> None:
        """Take in the sum of one more scenario."""
        for name in ("marks", "points", "kills", "sent", "failed", "violations", "run_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.worst_ms = max(self.worst_ms, other.worst_ms)
        self.causes.update(other.causes)

    def _judge(self, outcome: CrashOutcome) -> None:
        self.failed += bool(outcome.violations)
        self.violations += len(outcome.violations)
        self.worst_ms = max(self.worst_ms, outcome.worst_ms)
        self.run_s += outcome.wall_s


class CrashTable:
    """Figures by scenario, and the lines between."""

    def __init__(self, console: Console) -> None:
        self._console: Final = console
        self._began_s = self._told_s = time.perf_counter()
        self.rows: Final[dict[str, CrashTotals]] = {}

    @property
    def sum(self) -> CrashTotals:
        """Return the figures of all scenarios."""
        total = CrashTotals()
        for row in self.rows.values():
            total.join(row)
        return total

    def add(self, told: Reference | CrashOutcome) -> None:
        """Take in one run."""
        outcome = told.outcome if isinstance(told, Reference) else told
        row = self.rows.setdefault(outcome.scenario, CrashTotals())
        if isinstance(told, Reference):
            row.refer(told)
        else:
            row.add(told)
        for line in cut(outcome.violations):
            where = f"{outcome.scenario} {outcome.kill}".strip()
            self._console.print(f"{where} at {outcome.at_s:.3f} s: {line}", markup=False)
        now_s = time.perf_counter()
        if now_s - self._told_s >= TOLD_EVERY_S:
            self._told_s = now_s
            total = self.sum
            passed_s = now_s - self._began_s
            self._console.print(
                f"{total.kills} kills in {passed_s:.0f} s, {total.failed} violated", markup=False
            )

    def show(self) -> None:
        """Print the table."""
        table = Table(title="CRASH AT EVERY STEP")
        for name in ("scenario", "marks", "points", "kills", "+sent", "violated", "worst ms"):
            is_name = name == "scenario"
            table.add_column(name, justify="left" if is_name else "right", no_wrap=is_name)
        for name, row in sorted(self.rows.items()):
            table.add_row(name, *_cells(row))
        total = self.sum
        table.add_section()
        table.add_row(f"{len(self.rows)} scenarios", *_cells(total))
        self._console.print(table)
        causes = ", ".join(f"{cause} {n}" for cause, n in sorted(total.causes.items()))
        wall_s = time.perf_counter() - self._began_s
        self._console.print(
            f"{total.kills} kills in {wall_s:.0f} s ({total.run_s:.0f} s of runs); positions "
            f"closed {causes or 'none'}; {total.violations} violations in {total.failed} runs",
            markup=False,
        )


def cut(violations: Iterable[str]) -> Iterable[str]:
    """Return *violations* with tracebacks cut to their end."""
    for text in violations:
        law = text.partition(": ")[0]
        yield text if len(text) <= CHARS_MAX else f"{law}: ... {text[-CHARS_MAX:]}"


def _cells(row: CrashTotals) -> tuple[str, ...]:
    figures = (row.marks, row.points, row.kills, row.sent, row.violations)
    return (*map(str, figures), f"{row.worst_ms:.0f}")
