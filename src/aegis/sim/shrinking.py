"""A failing run made smaller on the machine, told as it goes, and kept as a plan file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from aegis.core.errors import ConfigError
from aegis.sim.asked import BUDGET, KEPT_PLANS, Asked, problem
from aegis.sim.outcome import Outcome, law_of, laws_of
from aegis.sim.plan import FaultPlan
from aegis.sim.plan_file import SUFFIX, plan_text
from aegis.sim.pool import Crew, job_of
from aegis.sim.shrink import Enough, Shrunk, shrink, size_of

EXIT_CLEAN: Final = 0
EXIT_VIOLATED: Final = 1
EXIT_INTERRUPTED: Final = 130
DETERMINISM: Final = "determinism"
NOTE_CHARS: Final = 300


def shrink_plan(plan: FaultPlan, asked: Asked, hang_s: float) -> int:
    """
    Make *plan* smaller while its law stays broken; print what is left, and write it when asked.

    Raises:
        ConfigError: the law asked for is not broken, or the file cannot be written.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"the whole plan first: {size_of(plan)}", markup=False)
    try:
        with Crew(1, hang_s=hang_s) as crew:
            whole = crew.run(job_of(plan, is_twice=True))
            laws = laws_of(whole)
            for violation in whole.violations:
                console.print(f"VIOLATED {violation}", markup=False)
            if not laws and asked.law is None:
                console.print("no law was broken: there is nothing to shrink")
                return EXIT_CLEAN
            law = _law(asked.law, laws)
            judge = _Judge(crew, law, whole)
            console.print(f"shrinking while {law!r} stays broken", markup=False)
            left = shrink(
                plan,
                judge.breaks,
                budget=asked.budget or BUDGET,
                tell=lambda line: console.print(line, markup=False),
            )
    except KeyboardInterrupt:
        # Later ones end the shrinking and keep what it reached; here it had not begun.
        console.print("interrupted before the first run ended")
        return EXIT_INTERRUPTED
    _tell(left, judge, console)
    if asked.write_test:
        notes = _notes(plan, left, law, judge.told)
        path = _keep(asked.test_dir or KEPT_PLANS, law, left.plan, notes)
        console.print(f"written: {path}", markup=False)
        console.print(f"replay it: python -m aegis sim --plan {path} --trace", markup=False)
    return EXIT_VIOLATED


def _law(wanted: str | None, laws: Sequence[str]) -> str:
    if wanted is None:
        return laws[0]
    if wanted in laws:
        return wanted
    allowed = ", ".join(laws) or "none: no law was broken"
    raise ConfigError([problem("--law", wanted, allowed, "name a law that this plan breaks")])


class _Judge:
    """Runs plans and says whether they break one law; remembers what the last one that did said."""

    def __init__(self, crew: Crew, law: str, whole: Outcome) -> None:
        self._crew: Final = crew
        self._law: Final = law
        self.told = self._of_law(whole)

    def breaks(self, plan: FaultPlan) -> bool:
        """Return whether *plan* breaks the law. Raises Enough when a person ends the shrinking."""
        try:
            outcome = self._crew.run(job_of(plan, is_twice=self._law == DETERMINISM))
        except KeyboardInterrupt:
            raise Enough from None
        told = self._of_law(outcome)
        if told:
            self.told = told
        return bool(told)

    def _of_law(self, outcome: Outcome) -> tuple[str, ...]:
        return tuple(each for each in outcome.violations if law_of(each) == self._law)


def _tell(left: Shrunk, judge: _Judge, console: Console) -> None:
    smallest = "nothing can be left out alone" if left.is_minimal else "not the smallest: stopped"
    console.print(f"after {left.runs} runs: {size_of(left.plan)}; {smallest}", markup=False)
    console.print(plan_text(left.plan), markup=False)
    for violation in judge.told:
        console.print(f"VIOLATED {violation}", markup=False)


def _notes(plan: FaultPlan, left: Shrunk, law: str, told: Sequence[str]) -> list[str]:
    smallest = "" if left.is_minimal else ", not to the end"
    return [
        f"Broke {law!r} when it was kept: {told[0].splitlines()[0][:NOTE_CHARS]}",
        f"Shrunk{smallest} from seed {plan.seed}: {size_of(plan)}.",
    ]


def _keep(folder: Path, law: str, plan: FaultPlan, notes: Sequence[str]) -> Path:
    """Write *plan* to a file of its own in *folder*; an equal one is not written again."""
    name = re.sub(r"[^a-z0-9]+", "-", law.lower()).strip("-")
    text = plan_text(plan, notes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            end = "" if number == 1 else f"-{number}"
            path = folder / f"{name}-{plan.seed}{end}{SUFFIX}"
            if not path.exists() or path.read_text(encoding="utf-8") == text:
                _ = path.write_text(text, encoding="utf-8")
                return path
            number += 1
    except OSError as error:
        allowed = f"a folder that can be written ({error.strerror})"
        raise ConfigError(
            [problem("--test-dir", folder, allowed, "name a folder of yours")]
        ) from None
