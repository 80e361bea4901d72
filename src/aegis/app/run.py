"""
One run of the bot, from its lock to its summary.

Ends on a signal, after the asked market time, with the tape, or on a fault of its own. A clean end
leaves positions and their native protection on the venues.
"""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aegis.app.bot import BAR_NS, EXIT_FAULT
from aegis.app.paper import (
    PaperWorld,
    RemoteTwin,
    ask_remote_twin,
    chosen_symbols,
    new_twin,
    remote_ports,
    start_world,
)
from aegis.app.plan import PAPER_API_KEY, PAPER_API_SECRET
from aegis.app.session import EXIT_CLEAN, Ending, RunInputs, Session
from aegis.app.state import damaged_account, drop_account, load_account, save_account
from aegis.core.clock import NS_PER_S, Clock, ScaledClock, VirtualClock, format_ns
from aegis.core.errors import ConfigError, Problem
from aegis.core.log import configure_logging, room_logger
from aegis.core.offload import ThreadOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.model.instrument import Venue
from aegis.model.market import MINUTE_NS
from aegis.settings import AegisConfig
from aegis.twin.boot import Market, Twin

TAPE_ENDED: Final = "the tape has ended"

log = room_logger("app")


async def run_paper(inputs: RunInputs, market: Market) -> int:
    """Play *market* on a twin in this process and trade on it."""
    config, plan = inputs.resolved.config, inputs.plan
    loop = asyncio.get_running_loop()
    saved = None if plan.fresh or plan.from_ns is not None else _usable(inputs, market)
    start_ns = int(saved["now_ns"]) if saved is not None else market.start_ns
    virtual = isinstance(loop, VirtualTimeLoop)
    clock: Clock = (
        VirtualClock(start_ns, loop)
        if isinstance(loop, VirtualTimeLoop)
        else ScaledClock(start_ns, plan.speed or 1.0, loop)
    )
    set_up_logging(inputs, clock)
    _warn_of_unused(config)
    for line in market.lines:
        log.info(line)
    _warn_of_coarse_tapes(market)
    twin = new_twin(market, config, clock, plan.speed, start_ns)
    if saved is not None:
        _restore(twin, saved, inputs, market)
        log.info(f"paper account of {format_ns(start_ns)} goes on; --fresh begins a new one")
    drop_account(inputs.state_dir, market.market_id)
    ending = Ending(asyncio.Event())
    rng = random.Random(inputs.seed)  # noqa: S311 - jitter, not secrets
    twin_tasks = Supervisor(clock, lambda failed: _twin_failed(ending, failed), rng=rng)
    world = await start_world(twin, config, clock, virtual=virtual, supervisor=twin_tasks, rng=rng)
    _ = twin_tasks.start("tape end", lambda: _end_with_tape(world, ending))
    # The first tape that ends, or --to, ends the run: no symbol is left without a feed.
    loop.call_later((market.end_ns - start_ns) / NS_PER_S / clock.speed, ending.end, TAPE_ENDED)
    session = Session(
        inputs,
        clock,
        ending,
        market.label,
        market.generated,
        twin,
        freeze=world.freeze,
        same_account=saved is not None,
    )
    code = await session.run(world.ports, world.offload, rng)
    await twin_tasks.stop()
    await world.close()
    for line in twin.recorded_lines():
        log.info(line)
    if code != EXIT_CLEAN:
        log.warning("the paper account ends here, with every position: a fault ended the run")
    elif twin.world.now_ns < market.end_ns:
        code = _save(inputs, twin)
    else:
        log.info("the paper account ends here with its market, and so does every position")
    return code


async def run_remote(inputs: RunInputs) -> int:
    """Trade on a twin that runs as another process, on its clock."""
    config, plan = inputs.resolved.config, inputs.plan
    urls = {
        Venue.BINANCE: ("--twin-binance", plan.twin_binance),
        Venue.BYBIT: ("--twin-bybit", plan.twin_bybit),
    }
    chosen = [v for v in urls if v.value.lower() in config.venues and urls[v][1]]
    if not chosen:
        raise ConfigError(
            [
                Problem(
                    name="venues",
                    value=",".join(config.venues),
                    allowed="a venue whose twin is named",
                    fix="name its twin with --twin-binance or --twin-bybit, or change --venue",
                )
            ]
        )
    told = {v: await ask_remote_twin(urls[v][0], urls[v][1]) for v in chosen}
    first = told[chosen[0]]
    clock = ScaledClock(first.now_ns, first.speed, asyncio.get_running_loop())
    set_up_logging(inputs, clock)
    _warn_of_unused(config)
    for venue in config.venues:
        if Venue(venue.upper()) not in chosen:
            log.warning(f"{venue} is left out: --twin-{venue} was not given")
    ending = Ending(asyncio.Event())
    rng = random.Random(inputs.seed)  # noqa: S311 - jitter, not secrets
    tasks = Supervisor(clock, lambda failed: _twin_failed(ending, failed), rng=rng)
    ports = [
        remote_ports(
            urls[v][1], v, _remote_symbols(inputs, told, v), tasks, config.websocket_client
        )
        for v in chosen
    ]
    offload = ThreadOffload()
    session = Session(
        inputs,
        clock,
        ending,
        first.label,
        "GENERATED" in first.label,
        None,
        freeze=lambda: None,
        same_account=True,
    )
    code = await session.run(tuple(ports), offload, rng)
    log.info("positions that are open stay on the twin, and so do their stops")
    await tasks.stop()
    offload.close(wait=False)
    return code


def _remote_symbols(
    inputs: RunInputs, told: Mapping[Venue, RemoteTwin], venue: Venue
) -> tuple[str, ...]:
    anywhere = [
        symbol for twin in told.values() for each in twin.symbols.values() for symbol in each
    ]
    here = told[venue].symbols.get(venue.value.lower(), [])
    return chosen_symbols(inputs.resolved.config, here, list(dict.fromkeys(anywhere)))


def _save(inputs: RunInputs, twin: Twin) -> int:
    """Save the paper account and return the exit code."""
    try:
        save_account(inputs.state_dir, twin.export_state())
    except OSError as error:
        log.critical(
            f"the paper account was not saved, the next start begins a new one: {error.strerror}; "
            f"mend {inputs.state_dir}"
        )
        return EXIT_FAULT
    log.info("the paper account is saved, positions and stops too; the next start goes on")
    return EXIT_CLEAN


def _usable(inputs: RunInputs, market: Market) -> dict[str, Any] | None:
    saved = load_account(inputs.state_dir, market.market_id)
    if saved is None or not market.start_ns <= int(saved["now_ns"]) < market.end_ns:
        return None
    return saved


def set_up_logging(inputs: RunInputs, clock: Clock) -> None:
    """Let the log show *clock*'s time and no secret."""
    config = inputs.resolved.config
    configure_logging(
        config.log_level,
        json_file=Path(config.log_file) if config.log_file else None,
        now_ns=clock.now_ns,
        secrets=(*inputs.secrets.values(), PAPER_API_KEY, PAPER_API_SECRET),
    )


def _warn_of_unused(config: AegisConfig) -> None:
    for venue in config.venues:
        if getattr(config, f"{venue}_url"):
            log.warning(
                f"{venue}_url is not used in paper mode: --twin-{venue} names a twin, "
                "--dry-run, --testnet and --live use the setting"
            )


def _restore(twin: Twin, saved: dict[str, Any], inputs: RunInputs, market: Market) -> None:
    try:
        twin.restore_state(saved)
    except (KeyError, ValueError, TypeError, ArithmeticError) as error:
        path = inputs.state_dir / "paper" / f"{market.market_id}.json"
        raise damaged_account(path, f"{type(error).__name__}: {error}") from None


def _warn_of_coarse_tapes(market: Market) -> None:
    for name, tapes in market.tapes.items():
        for tape in tapes:
            if tape.timeframe_ns > BAR_NS:
                log.warning(
                    f"{name} {tape.symbol}: the tape has bars of {tape.timeframe_ns // MINUTE_NS} "
                    "minutes, so there are no 5m candles and the strategy stays idle there"
                )


def _twin_failed(ending: Ending, failed: TaskFailed) -> None:
    log.error(f"{failed.name} failed: {failed.error}\n{failed.traceback}")
    if failed.retry_in_s is None:
        ending.end(f"the twin failed: {failed.error}", EXIT_FAULT)


async def _end_with_tape(world: PaperWorld, ending: Ending) -> None:
    await world.runner.finished.wait()
    ending.end(TAPE_ENDED)
