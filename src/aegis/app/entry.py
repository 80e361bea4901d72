"""What each command does before and around its event loop: settings, lock, loop, exit code."""

import asyncio
import hashlib
import random
import secrets as chance
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from aegis.app.load import load_settings
from aegis.app.operator import Request, leave_request
from aegis.app.paper import chosen_symbols, open_market
from aegis.app.plan import RunPlan
from aegis.app.run import run_paper, run_remote
from aegis.app.session import RunInputs
from aegis.app.state import INSTALLATION_CHARS, StateLock, open_state_dir
from aegis.app.twin_process import run_twin
from aegis.core.virtual_loop import run_virtual
from aegis.settings import state_path


def run_bot_process(plan: RunPlan, flags: Mapping[str, object], config_path: Path | None) -> int:
    """
    Run the bot and return the exit code.

    Raises:
        ConfigError, TapeError, AlreadyRunning: what a person can mend, before anything connects.
    """
    resolved, keys = load_settings(config_path, flags)
    config = resolved.config
    remote = bool(config.binance_url or config.bybit_url)
    market = None if remote else open_market(config, plan)
    if market is not None:
        chosen_symbols(config, market.symbols, market.symbols)
    state_dir = open_state_dir(state_path(config))
    with StateLock(state_dir):
        virtual = plan.speed is None and not remote
        inputs = RunInputs(
            resolved=resolved,
            secrets=keys,
            plan=plan,
            state_dir=state_dir,
            installation=_drawn_from(config.paper_seed) if virtual else _drawn,
            seed=config.paper_seed if virtual else chance.randbits(32),
        )
        if market is None:
            return _real_time(run_remote(inputs))
        if virtual:
            return run_virtual(run_paper(inputs, market))
        return _real_time(run_paper(inputs, market))


def run_twin_process(
    plan: RunPlan,
    flags: Mapping[str, object],
    config_path: Path | None,
    tcp_ports: tuple[int, int],
) -> int:
    """
    Run a twin on loopback until its tape ends or a signal comes.

    Raises:
        ConfigError, TapeError: what a person can mend.
    """
    resolved, _ = load_settings(config_path, flags)
    market = open_market(resolved.config, plan)
    return _real_time(run_twin(resolved.config, plan, market, tcp_ports))


def leave_operator_request(request: Request, flags: Mapping[str, object]) -> int:
    """
    Leave a person's request for the bot of the configured state directory.

    Raises:
        ConfigError: no such directory, or an empty operator or reason.
    """
    resolved, _ = load_settings(None, flags)
    path = leave_request(state_path(resolved.config), request)
    Console().print(f"left for the bot of {path.parent}: {request.action}", markup=False)
    return 0


def _real_time(main: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _drawn() -> str:
    return "".join(chance.choice(INSTALLATION_CHARS) for _ in range(4))


def _drawn_from(seed: int) -> Callable[[], str]:
    digest = hashlib.sha256(f"installation of seed {seed}".encode()).digest()
    rng = random.Random(digest)  # noqa: S311 - a name, not a secret
    return lambda: "".join(rng.choice(INSTALLATION_CHARS) for _ in range(4))
