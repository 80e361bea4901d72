"""
Processes for many kills: each does a batch and ends, since killed runs are kept in its memory.

A run that hangs or takes its process with it is told as what it is, and the others go on.
"""

import faulthandler
import multiprocessing
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final, NoReturn

import attrs

from aegis.sim.crash_probe import Kill
from aegis.sim.crash_run import CrashOutcome, Reference, failed_kill, kill_at, refer
from aegis.sim.crash_scenarios import CrashScenario

RUNS_PER_PROCESS: Final = 25
HANG_S: Final = 180.0
"""Wall seconds after which a run counts as hanging: its process says where, and ends."""

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it

Told = Reference | CrashOutcome


@attrs.frozen(slots=True, kw_only=True)
class CrashJob:
    """One run to do; *kill* None: the one that nobody kills. *trace*: with a timeline."""

    scenario: CrashScenario
    kill: Kill | None
    trace: bool = False


@attrs.define(slots=True, kw_only=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    batch: deque[CrashJob]
    has_died: bool = False


def told_of(job: CrashJob) -> Told:
    """Do *job* in this process."""
    if job.kill is None:
        return refer(job.scenario, trace=job.trace)
    return kill_at(job.scenario, job.kill, trace=job.trace)


def run_jobs(jobs: Sequence[CrashJob], *, count: int) -> Iterator[Told]:
    """Do *jobs* in *count* processes at a time; each is told as it ends."""
    waiting = deque(jobs)
    size = max(1, min(RUNS_PER_PROCESS, len(jobs) // (2 * count)))
    workers: list[_Worker] = []
    # State directories in memory cost no wait for a disk.
    home = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="aegis-crash-", dir=home)
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                workers.append(_start(batch, folder))
            ready = wait([worker.pipe for worker in workers])
            for worker in [one for one in workers if one.pipe in ready]:
                yield _received(worker)
                if worker.has_died or not worker.batch:
                    workers.remove(worker)
                    _dismiss(worker)
                    waiting.extendleft(reversed(worker.batch))
    finally:
        for worker in workers:
            _dismiss(worker)
        shutil.rmtree(folder, ignore_errors=True)


def _start(batch: list[CrashJob], folder: str) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_work, args=(theirs, batch, folder), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process=process, pipe=ours, batch=deque(batch))


def _received(worker: _Worker) -> Told:
    job = worker.batch.popleft()
    try:
        told: Told = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        worker.has_died = True
        problem = f"died: the process of the run ended with code {worker.process.exitcode}"
        return failed_kill(job.scenario, job.kill, problem)
    return told


def _dismiss(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _work(pipe: Connection, batch: Sequence[CrashJob], folder: str) -> NoReturn:
    """Do *batch* in order, and end at once: tidying up would execute what kills left undone."""
    tempfile.tempdir = folder
    code = 1
    try:
        for job in batch:
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            pipe.send(told_of(job))
        code = 0
    finally:
        os._exit(code)
