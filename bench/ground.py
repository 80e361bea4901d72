"""What a measured bot stands on: a log nobody reads, a journal of its own, the live clock."""

import asyncio
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from loguru import logger

from aegis.app.bot import Surroundings
from aegis.core.clock import Clock
from aegis.core.offload import ThreadOffload
from aegis.journal.store import JournalStore, Run

INSTALLATION: Final = "bnch"
RUN_ID: Final = f"{INSTALLATION}-1"


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Let the bots write their log where nobody reads it, as a service's would be."""
    logger.remove()
    sink = logger.add(path, level="INFO")
    try:
        yield
    finally:
        logger.remove(sink)
        logger.add(sys.stderr)


def surroundings(clock: Clock, store: JournalStore, offload: ThreadOffload) -> Surroundings:
    """Begin the only run of *store* and return what its bot stands on, in the running loop."""
    store.begin_run(
        Run(
            run=1,
            run_id=RUN_ID,
            started_ns=clock.now_ns(),
            stopped_ns=None,
            mode="bench",
            label="bench",
            code_hash="",
            config_hash="",
        )
    )
    return Surroundings(
        clock=clock,
        loop=asyncio.get_running_loop(),
        offload=offload,
        rng=random.Random(1),
        store=store,
        installation=INSTALLATION,
        run=1,
        run_id=RUN_ID,
    )
