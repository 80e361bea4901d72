"""
Runs in processes of their own; outcomes come back as they end.

A run that raises, hangs or takes its process with it is the failure of its seed alone: it is told
with where it was, and the others go on.
"""

import faulthandler
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final, NoReturn, Self

import attrs

from aegis.sim.outcome import Outcome, failed_outcome
from aegis.sim.plan import FaultPlan, Profile, make_plan

RUNS_PER_PROCESS: Final = 10
"""Crashed runs are kept in memory, so that nothing of them is executed; a new process forgets."""
HANG_S: Final = 120.0
HANG_S_PER_HOUR: Final = 90.0
"""Wall seconds, and more for each simulated hour, that a run may take; one hour takes about 4."""
GRACE_S: Final = 60.0
"""A process measures its run itself and says where it hangs; one that does not is killed."""
TIMED_OUT: Final = "Timeout ("
"""What a process says then, first."""
TAIL_CHARS: Final = 2000
STACK_LINES: Final = 8
_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@attrs.frozen(slots=True, kw_only=True)
class Job:
    """One run to do: *seed*, drawn where it is run, or the explicit *plan*."""

    seed: int
    hours: float
    profile: Profile
    tapes: str = ""
    plan: FaultPlan | None = None
    is_twice: bool = False
    trace: bool = False


Run = Callable[[Job], Outcome]


def job_of(plan: FaultPlan, *, is_twice: bool = False, trace: bool = False) -> Job:
    """Return the job that runs *plan* as it is."""
    return Job(
        seed=plan.seed,
        hours=plan.hours,
        profile=plan.profile,
        plan=plan,
        is_twice=is_twice,
        trace=trace,
    )


def run_job(job: Job) -> Outcome:
    """Do *job* here. A run that raises is a violation of the law `run` and its error's name."""
    # Imported where runs are made: whoever hands them out needs no exchange.
    from aegis.sim.run import run_plan

    began_s = time.perf_counter()
    try:
        plan = job.plan or make_plan(
            job.seed, hours=job.hours, profile=job.profile, tapes=job.tapes
        )
        outcome = run_plan(plan, trace=job.trace)
        if job.is_twice:
            outcome = _compared(outcome, run_plan(plan).digest)
    except Exception as error:  # noqa: BLE001 - a run that cannot be judged is a violation itself
        text = "".join(traceback.format_exception(error))
        wall_s = time.perf_counter() - began_s
        problem = f"run {type(error).__name__}: {text}"
        return failed_outcome(job.seed, job.hours, problem, wall_s=wall_s)
    return outcome


def run_seed(seed: int, *, hours: float, profile: Profile) -> Outcome:
    """Run *seed* in this process."""
    return run_job(Job(seed=seed, hours=hours, profile=profile))


def seed_jobs(
    seeds: Sequence[int],
    *,
    hours: float,
    profile: Profile,
    tapes: str = "",
    twice_every: int = 0,
) -> Iterator[Job]:
    """Return a job for each of *seeds*; every *twice_every*-th is run twice and compared."""
    for seed in seeds:
        is_twice = bool(twice_every) and seed % twice_every == 0
        yield Job(seed=seed, hours=hours, profile=profile, tapes=tapes, is_twice=is_twice)


def usual_hang_s(hours: float) -> float:
    """Return the wall seconds after which a run of *hours* counts as hanging."""
    return HANG_S + HANG_S_PER_HOUR * hours


@attrs.define(slots=True, kw_only=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    told: Path
    job: Job | None = None
    began_s: float = 0.0
    runs: int = 0


class Crew:
    """
    Up to *count* processes that do jobs, each at most *hang_s* wall seconds long (twice that when
    it is run twice), by *run*. Close it: a process under way is killed then.
    """

    def __init__(self, count: int, *, hang_s: float, run: Run = run_job) -> None:
        home = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
        self._folder: Final = Path(tempfile.mkdtemp(prefix="aegis-sim-", dir=home))
        self._count: Final = count
        self._hang_s: Final = hang_s
        self._run: Final = run
        self._workers: Final[list[_Worker]] = []
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job) -> Outcome:
        """Do one job."""
        (outcome,) = self.outcomes([job])
        return outcome

    def outcomes(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Do *jobs*; each has its outcome, in the order they end."""
        waiting = iter(jobs)
        try:
            while True:
                self._give(waiting)
                busy = [worker for worker in self._workers if worker.job is not None]
                if not busy:
                    return
                yield from self._ended(busy)
        finally:
            for worker in [one for one in self._workers if one.job is not None]:
                self._dismiss(worker)

    def close(self) -> None:
        """End every process and take away what they wrote."""
        for worker in list(self._workers):
            self._dismiss(worker)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _give(self, waiting: Iterator[Job]) -> None:
        for worker in [one for one in self._workers if one.job is None]:
            # One that ended while it had nothing to do took no job with it.
            if worker.runs >= RUNS_PER_PROCESS or not worker.process.is_alive():
                self._dismiss(worker)
        while sum(worker.job is not None for worker in self._workers) < self._count:
            job = next(waiting, None)
            if job is None:
                return
            idle = next((one for one in self._workers if one.job is None), None)
            worker = idle or self._start()
            worker.job, worker.began_s = job, time.perf_counter()
            worker.runs += 1
            worker.pipe.send((job, self._allowed_s(job)))

    def _allowed_s(self, job: Job) -> float:
        return self._hang_s * (2 if job.is_twice else 1)

    def _start(self) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        self._started += 1
        told = self._folder / f"stderr-{self._started}"
        with _uninterrupted():
            process = spawn.Process(
                target=_work, args=(theirs, told, self._folder, self._run), daemon=True
            )
            process.start()
        theirs.close()
        worker = _Worker(process=process, pipe=ours, told=told)
        self._workers.append(worker)
        return worker

    def _ended(self, busy: list[_Worker]) -> Iterator[Outcome]:
        left_s = min(self._left_s(worker) for worker in busy)
        ready = wait([worker.pipe for worker in busy], max(0.0, left_s))
        for worker in busy:
            assert worker.job is not None
            if worker.pipe in ready:
                outcome = self._received(worker, worker.job)
            elif self._left_s(worker) <= 0:
                outcome = self._lost(worker, worker.job)
            else:
                continue
            worker.job = None
            yield outcome

    def _left_s(self, worker: _Worker) -> float:
        assert worker.job is not None
        return worker.began_s + self._allowed_s(worker.job) + GRACE_S - time.perf_counter()

    def _received(self, worker: _Worker, job: Job) -> Outcome:
        try:
            outcome: Outcome = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(GRACE_S)
            return self._lost(worker, job)
        return outcome

    def _lost(self, worker: _Worker, job: Job) -> Outcome:
        wall_s = time.perf_counter() - worker.began_s
        code = worker.process.exitcode
        said = worker.told.read_text(errors="replace") if worker.told.exists() else ""
        self._dismiss(worker)
        if code is None or TIMED_OUT in said:
            problem = _hang_text(said, self._allowed_s(job))
        else:
            problem = _death_text(said, code)
        plan_lines = tuple(job.plan.lines()) if job.plan is not None else ()
        return failed_outcome(job.seed, job.hours, problem, wall_s=wall_s, plan_lines=plan_lines)

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.process.close()
        worker.pipe.close()
        worker.told.unlink(missing_ok=True)


def _work(pipe: Connection, told: Path, folder: Path, run: Run) -> NoReturn:
    """Do what comes out of *pipe* until it closes; state directories go to *folder*."""
    os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    tempfile.tempdir = str(folder)
    code = 0
    try:
        while True:
            job, allowed_s = pipe.recv()
            faulthandler.dump_traceback_later(allowed_s, exit=True, file=sys.__stderr__ or 2)
            outcome = run(job)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(outcome)
    except (EOFError, OSError):
        pass
    except BaseException:  # noqa: BLE001 - told by its text and code; the other end reports both
        traceback.print_exc(file=sys.__stderr__)
        code = 1
    # At once: tidying up would execute what crashes left undone.
    os._exit(code)


def _hang_text(said: str, allowed_s: float) -> str:
    block = said.rpartition(TIMED_OUT)[2].rpartition("hread 0x")[2]
    frames = re.findall(r'File "([^"]*)", line (\d+) in (\S+)', block)[:STACK_LINES]
    where = " < ".join(f"{name} ({Path(file).name}:{line})" for file, line, name in frames)
    return f"hang: no end after {allowed_s:.0f} s of wall time; in {where or 'an unknown place'}"


def _death_text(said: str, code: int) -> str:
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
    tail = said.strip()[-TAIL_CHARS:]
    return f"died: the process of the run ended with {ended}; it said {tail or 'nothing'}"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Start processes that no Ctrl-C reaches: whoever started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        _ = signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _compared(outcome: Outcome, digest: str) -> Outcome:
    if digest == outcome.digest:
        return outcome
    problem = f"determinism: digests were {outcome.digest[:12]} and {digest[:12]}"
    return attrs.evolve(outcome, violations=(*outcome.violations, problem))
