"""A run that takes its process with it is told as such, and the others are done all the same."""

from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection

import attrs
import pytest

from aegis.sim import crash_crew
from aegis.sim.crash_crew import CrashJob, run_jobs
from aegis.sim.crash_run import CrashOutcome, failed_kill
from aegis.sim.crash_scenarios import SCENARIOS


@attrs.define(slots=True)
class Process:
    """A process that has ended before it is asked."""

    exitcode: int | None = None

    def join(self) -> None:
        """It has."""

    def kill(self) -> None:
        """It has."""


@attrs.define(slots=True)
class Pipe:
    """Tells *outcomes*, and then that nobody is there."""

    outcomes: list[CrashOutcome]
    process: Process

    def recv(self) -> CrashOutcome:
        """Return the next outcome."""
        if not self.outcomes:
            self.process.exitcode = -9
            raise EOFError
        return self.outcomes.pop(0)

    def close(self) -> None:
        """Nothing."""


def test_the_others_of_a_batch_are_given_to_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process dies in its second run of three; each run is told, that one as died."""
    jobs = [CrashJob(scenario=one, kill=None) for one in list(SCENARIOS.values())[:6]]
    given: list[list[str]] = []

    def start(batch: list[CrashJob], folder: str) -> object:
        assert folder
        given.append([job.scenario.key for job in batch])
        ends = batch[:1] if len(given) == 1 else batch
        process = Process()
        pipe = Pipe([failed_kill(job.scenario, None) for job in ends], process)
        return crash_crew._Worker(process=process, pipe=pipe, batch=deque(batch))  # type: ignore[arg-type]  # stand-ins

    def wait(pipes: Sequence[Connection]) -> list[Connection]:
        return list(pipes)

    monkeypatch.setattr(crash_crew, "_start", start)
    monkeypatch.setattr(crash_crew, "wait", wait)
    told = [each for each in run_jobs(jobs, count=1) if isinstance(each, CrashOutcome)]
    assert [job.scenario.key for job in jobs] == [each.scenario for each in told]
    died = ("died: the process of the run ended with code -9",)
    assert [(), died, (), (), (), ()] == [each.violations for each in told]
    keys = [job.scenario.key for job in jobs]
    assert [keys[:3], keys[2:5], keys[5:]] == given
