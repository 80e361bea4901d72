"""What each command does before and around its event loop: settings, lock, loop, exit code."""

import asyncio
import hashlib
import random
import secrets as chance
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import uvloop
from rich.console import Console

from aegis.app.ask import bot_is_seen
from aegis.app.doctor.plan import DoctorPlan, DoctorVenue
from aegis.app.doctor.report import print_report, report_json
from aegis.app.doctor.run import run_doctor
from aegis.app.dry_run import run_dry
from aegis.app.live_gate import start_problems
from aegis.app.load import check_log_file, live_words, load_settings
from aegis.app.modes import (
    Mode,
    VenueTarget,
    chosen_mode,
    refused_flags,
    state_dir_of,
    targets,
    traded_symbols,
)
from aegis.app.operator import Request, leave_request, request_dirs
from aegis.app.paper import chosen_symbols, open_market
from aegis.app.plan import RunPlan
from aegis.app.real_run import run_real
from aegis.app.run import run_paper, run_remote
from aegis.app.session import RunInputs
from aegis.app.state import INSTALLATION_CHARS, StateLock, claim_for, open_state_dir
from aegis.app.twin_process import run_twin
from aegis.core.clock import LiveClock
from aegis.core.errors import ConfigError
from aegis.core.log import configure_logging
from aegis.core.virtual_loop import run_virtual
from aegis.settings import AegisConfig, Resolved, Secrets, state_path, url_problem
from aegis.twin.boot import Market

T = TypeVar("T")


def run_bot_process(plan: RunPlan, flags: Mapping[str, object], config_path: Path | None) -> int:
    """
    Run the bot and return the exit code.

    Raises:
        ConfigError, TapeError, AlreadyRunning: what a person can mend, before anything connects;
            for a live start also what its check at the venues found.
    """
    resolved, keys = load_settings(config_path, flags)
    config = resolved.config
    mode = chosen_mode(plan.asked, config.testnet)
    problems = refused_flags(mode, plan.given)
    if mode is Mode.PAPER:
        urls = (("--twin-binance", plan.twin_binance), ("--twin-bybit", plan.twin_bybit))
        told = [url_problem(name, url, "http") for name, url in urls]
        problems += [problem for problem in told if problem is not None]
    if problems:
        raise ConfigError(problems)
    check_log_file(config)
    plan = attrs.evolve(plan, mode=mode)
    if mode is Mode.PAPER:
        return _run_paper(plan, resolved, keys)
    return _run_on_venues(attrs.evolve(plan, speed=1.0), resolved, keys)


def _run_paper(plan: RunPlan, resolved: Resolved, keys: Secrets) -> int:
    config = resolved.config
    remote = bool(plan.twin_binance or plan.twin_bybit)
    market = None if remote else _checked_market(config, plan)
    state_dir = open_state_dir(state_path(config))
    with StateLock(state_dir):
        claim_for(state_dir, plan.mode)
        virtual = plan.speed is None and not remote
        inputs = _inputs(plan, resolved, keys, state_dir, virtual=virtual)
        if market is None:
            return _real_time(run_remote(inputs))
        if virtual:
            return run_virtual(run_paper(inputs, market))
        return _real_time(run_paper(inputs, market))


def _checked_market(config: AegisConfig, plan: RunPlan) -> Market:
    market = open_market(config, plan)
    chosen_symbols(config, market.symbols, market.symbols)
    return market


def _run_on_venues(plan: RunPlan, resolved: Resolved, keys: Secrets) -> int:
    config, mode = resolved.config, plan.mode
    base = open_state_dir(state_path(config))
    state_dir = open_state_dir(state_dir_of(base, mode))
    with StateLock(state_dir):
        claim_for(state_dir, mode)
        inputs = _inputs(plan, resolved, keys, state_dir, virtual=False)
        reached, problems = targets(mode, config, keys)
        if mode is Mode.DRY_RUN:
            return _real_time(run_dry(inputs, reached))
        if mode is Mode.LIVE:
            now_ns = LiveClock().wall_ns()
            problems += start_problems(config, reached, state_dir, live_words(), now_ns)
        if not reached:
            raise ConfigError(problems)
        return _real_time(run_real(inputs, reached, problems))


def run_doctor_process(
    asked: Sequence[Mode],
    flags: Mapping[str, object],
    config_path: Path | None,
    *,
    as_json: bool,
) -> int:
    """
    Examine the venues of a mode, show what was found and return the exit code.

    Without a mode it is the test environments: they cost nothing.

    Raises:
        ConfigError: what a person can mend, no key among it.
    """
    resolved, keys = load_settings(config_path, flags)
    config = resolved.config
    mode = chosen_mode(asked, config.testnet)
    mode = Mode.TESTNET if mode is Mode.PAPER else mode
    reached, problems = targets(mode, config, keys)
    if not reached:
        raise ConfigError(problems)
    base = open_state_dir(state_path(config))
    state_dir = open_state_dir(state_dir_of(base, mode))
    clock = LiveClock()
    configure_logging(config.log_level, json_file=None, now_ns=clock.now_ns, secrets=keys.values())
    plan = DoctorPlan(
        mode=mode.value,
        venues=tuple(_patient_of(target, config) for target in reached),
        config=config,
        state_dir=state_dir,
        seed=chance.randbits(32),
    )
    report = _real_time(run_doctor(plan))
    if as_json:
        sys.stdout.buffer.write(report_json(report) + b"\n")
    else:
        print_report(report, Console())
    for problem in problems:
        Console(stderr=True, soft_wrap=True).print(f"aegis: left out: {problem}", markup=False)
    return report.exit_code


def _patient_of(target: VenueTarget, config: AegisConfig) -> DoctorVenue:
    return DoctorVenue(
        venue=target.venue,
        base_url=target.where.rest,
        ws_url=target.where.streams,
        order_ws_url=target.where.orders,
        api_key=target.api_key,
        api_secret=target.api_secret,
        symbols=traded_symbols(config),
    )


def _inputs(
    plan: RunPlan, resolved: Resolved, keys: Secrets, state_dir: Path, *, virtual: bool
) -> RunInputs:
    seed = resolved.config.paper_seed
    return RunInputs(
        resolved=resolved,
        secrets=keys,
        plan=plan,
        state_dir=state_dir,
        installation=_drawn_from(seed) if virtual else _drawn,
        seed=seed if virtual else chance.randbits(32),
    )


def run_twin_process(
    plan: RunPlan,
    flags: Mapping[str, object],
    config_path: Path | None,
    tcp_ports: tuple[int, int],
    *,
    from_now: bool = False,
) -> int:
    """
    Run a twin on loopback until its tape ends or a signal comes.

    *from_now*: the generated market begins at this moment, on the machine's clock.

    Raises:
        ConfigError, TapeError: what a person can mend.
    """
    resolved, _ = load_settings(config_path, flags)
    check_log_file(resolved.config)
    begin_ns = LiveClock().now_ns() if from_now else None
    market = open_market(resolved.config, plan, begin_ns=begin_ns)
    return _real_time(run_twin(resolved.config, plan, market, tcp_ports, on_wall_clock=from_now))


def leave_operator_request(
    request: Request, flags: Mapping[str, object], asked: Sequence[Mode]
) -> int:
    """
    Leave a person's request for the bots of the configured state directory.

    Raises:
        ConfigError: no such directory, an empty operator or reason, or a resume that does not say
            which of several modes it means.
    """
    resolved, _ = load_settings(None, flags)
    for state_dir in request_dirs(state_path(resolved.config), asked, request.action):
        path = leave_request(state_dir, request)
        taker = (
            "it runs and takes it at once"
            if bot_is_seen(state_dir)
            else "none is seen running there, the next start takes it"
        )
        output = Console(soft_wrap=True, highlight=False)
        output.print(f"left for the bot of {path.parent}: {request.action}; {taker}", markup=False)
    return 0


def _real_time(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _drawn() -> str:
    return "".join(chance.choice(INSTALLATION_CHARS) for _ in range(4))


def _drawn_from(seed: int) -> Callable[[], str]:
    digest = hashlib.sha256(f"installation of seed {seed}".encode()).digest()
    rng = random.Random(digest)  # noqa: S311 - a name, not a secret
    return lambda: "".join(rng.choice(INSTALLATION_CHARS) for _ in range(4))
