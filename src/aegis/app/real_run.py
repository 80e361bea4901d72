"""
Testnet and live: the bot on the venues themselves, on the machine's clock, with keys.

A live run passes the gate first (`live_gate`); a venue that cannot be reached is told and left to
the bot, which tries again while the others trade. In a live run it passes the gate then.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from functools import partial

from aegis.app.bot import EXIT_FAULT, EXIT_NO_VENUE, Bot, VenuePorts
from aegis.app.live_gate import admission_problems, check_live_accounts
from aegis.app.modes import Mode, VenueTarget, label_of, traded_symbols
from aegis.app.run import set_up_logging
from aegis.app.session import Ending, RunInputs, Session
from aegis.core.clock import LiveClock
from aegis.core.errors import ConfigError, Problem
from aegis.core.log import room_logger
from aegis.core.offload import ThreadOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import StreamConnector
from aegis.model.instrument import Venue
from aegis.venue.sdk_clock import restore_sdk_clocks
from aegis.venue.websocket_client import connector_class

log = room_logger("app")


async def run_real(
    inputs: RunInputs, reached: Sequence[VenueTarget], problems: Sequence[Problem]
) -> int:
    """
    Trade on *reached* and return the exit code.

    *problems* are those of the start so far: a testnet run tells them and goes on without those
    venues, a live one adds its own and is refused.

    Raises:
        ConfigError: a live start is refused; every reason at once.

    """
    mode, clock = inputs.plan.mode, LiveClock()
    set_up_logging(inputs, clock)
    restore_sdk_clocks()
    ending = Ending(asyncio.Event())
    rng = random.Random(inputs.seed)  # noqa: S311 - jitter, not secrets
    tasks = Supervisor(clock, partial(_failed, ending), rng=rng)
    offload = ThreadOffload()
    late: dict[Venue, VenueTarget] = {}
    try:
        client = connector_class(inputs.resolved.config.websocket_client)
        connector = client(supervisor=tasks)
        ports = [_ports(target, inputs, connector) for target in reached]
        if mode is Mode.LIVE:
            found = await check_live_accounts(
                ports, inputs.resolved.config, clock, offload, tasks, rng
            )
            for line in (*found.left_out.values(), *found.late.values()):
                log.critical(line)
            ports = [each for each in ports if each.venue not in found.left_out]
            late = {each.venue: each for each in reached if each.venue in found.late}
            if problems or found.problems:
                raise ConfigError([*problems, *found.problems])
        else:
            for problem in problems:
                log.warning(f"left out: {problem}")
        if not ports:
            log.critical("no venue is left to trade on")
            return EXIT_NO_VENUE
        session = Session(
            inputs,
            clock,
            ending,
            label_of(mode, reached),
            False,
            None,
            freeze=_nothing,
            same_account=True,
            on_bot=partial(_set_gates, inputs, late),
        )
        code = await session.run(tuple(ports), offload, rng)
        log.info("positions that are open stay on the venues, and so do their stops")
        return code
    finally:
        await tasks.stop()
        offload.close(wait=False)


def _ports(target: VenueTarget, inputs: RunInputs, connector: StreamConnector) -> VenuePorts:
    return VenuePorts(
        venue=target.venue,
        base_url=target.where.rest,
        ws_url=target.where.streams,
        order_ws_url=target.where.orders,
        api_key=target.api_key,
        api_secret=target.api_secret,
        http=None,
        connector=connector,
        symbols=traded_symbols(inputs.resolved.config),
    )


def _set_gates(inputs: RunInputs, late: Mapping[Venue, VenueTarget], bot: Bot) -> None:
    """Have the bot ask of each venue in *late* what could not be asked before the run."""
    for venue, target in late.items():
        bot.gates[venue] = partial(_admission, inputs, target, bot)


async def _admission(inputs: RunInputs, target: VenueTarget, bot: Bot) -> Sequence[Problem]:
    return await admission_problems(
        bot.gateways[target.venue],
        target,
        traded_symbols(inputs.resolved.config),
        inputs.state_dir,
        bot.around.clock.wall_ns(),
    )


def _nothing() -> None:
    """Stop no twin: there is none here."""


def _failed(ending: Ending, failed: TaskFailed) -> None:
    log.error(f"{failed.name} failed: {failed.error}\n{failed.traceback}")
    if failed.retry_in_s is None:
        ending.end(f"a task failed: {failed.error}", EXIT_FAULT)
