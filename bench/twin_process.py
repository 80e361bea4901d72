"""
The twin as the venue of a bench, a process of its own on the machine's clock.

Both faces on free loopback ports, and no frame held back: ``aegis twin`` delays Bybit's streams for
clients of others, which would be in every figure. It says where it listens in one JSON line and
ends when its standard input does.
"""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvloop
from loguru import logger

from aegis.app.paper import new_twin, start_world
from aegis.core.clock import LiveClock
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.twin.boot import generated_market

END_TIMEOUT_S: Final = 10.0
_REPOSITORY: Final = Path(__file__).resolve().parent.parent


@contextmanager
def running_twin() -> Iterator[dict[Venue, str]]:
    """Run a twin, give the URL of each face, and end it."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.twin_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_REPOSITORY,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise ConnectionError("the twin did not start; what it said is on stderr")
            yield {Venue(name.upper()): url for name, url in json.loads(line).items()}
        finally:
            process.stdin.close()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


async def _serve() -> None:
    clock, config = LiveClock(), AegisConfig()
    rng = random.Random(config.paper_seed)
    market = generated_market(
        config.paper_seed, days=1, venues=("binance", "bybit"), begin_ns=clock.now_ns()
    )
    twin = new_twin(market, config, clock, 1.0, market.start_ns)
    tasks = Supervisor(clock, _on_failure, rng=rng)
    world = await start_world(twin, config, clock, virtual=False, supervisor=tasks, rng=rng)
    print(json.dumps({name: server.url for name, server in world.servers.items()}), flush=True)
    # Whoever started it has ended, or wants it to.
    await asyncio.to_thread(sys.stdin.read)
    await tasks.stop()
    await world.close()


def _on_failure(failed: TaskFailed) -> None:
    print(f"the twin's {failed.name} failed: {failed.error}", file=sys.stderr)


if __name__ == "__main__":
    logger.remove()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
