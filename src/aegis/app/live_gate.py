"""
What must hold before real money is traded; every reason against it is found, none stops the search.

Keys, the doctor's stamp and the confirmation can be judged here; rights of the key and positions
found are asked from the venue. A right that is not told counts as one that is there.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from aegis.app.bot import VenuePorts, make_gateway
from aegis.app.doctor.rights import key_rights
from aegis.app.doctor.stamp import fingerprint, read_stamp
from aegis.app.modes import Mode, VenueTarget
from aegis.core.clock import NS_PER_S, Clock, format_ns
from aegis.core.errors import Problem, VenueError, VenueRefused
from aegis.core.event import Event
from aegis.core.latch import HaltLatch
from aegis.core.offload import Offload
from aegis.core.supervise import Supervisor
from aegis.model.instrument import Venue
from aegis.model.ports import SeesOneLeg, VenueGateway
from aegis.settings import LIVE_SWITCH, AegisConfig

LIVE_WORDS: Final = "yes-real-money"
STAMP_NS_MAX: Final = 3600 * NS_PER_S
"""How old the doctor's verdict may be."""


def start_problems(
    config: AegisConfig,
    reached: Sequence[VenueTarget],
    state_dir: Path,
    said: str,
    now_ns: int,
) -> list[Problem]:
    """
    Return what keeps a live start from trading, as far as no venue needs to be asked.

    *said*: what the environment says in AEGIS_LIVE. *now_ns*: wall clock.
    """
    problems = []
    if said != LIVE_WORDS:
        problems.append(
            Problem(
                name=LIVE_SWITCH,
                value=said,
                allowed=LIVE_WORDS,
                fix=f"start with {LIVE_SWITCH}={LIVE_WORDS} when you mean it",
            )
        )
    if not config.symbols:
        problems.append(
            Problem(
                name="symbols",
                value="",
                allowed="at least one in a live run",
                fix="name what to trade, in config.py or with --symbol",
            )
        )
    for target in reached:
        problem = _stamp_problem(target, state_dir, now_ns)
        if problem is not None:
            problems.append(problem)
    return problems


def _stamp_problem(target: VenueTarget, state_dir: Path, now_ns: int) -> Problem | None:
    stamp = read_stamp(state_dir, Mode.LIVE.value, target.venue)
    if stamp is None:
        value = "never"
    elif stamp.fingerprint != fingerprint(target.where.rest, target.api_key):
        value = "clean for another key or address"
    elif not stamp.ok:
        value = f"not clean at {format_ns(stamp.at_ns)}"
    elif not 0 <= now_ns - stamp.at_ns <= STAMP_NS_MAX:
        value = f"last clean at {format_ns(stamp.at_ns)}"
    else:
        return None
    name = target.venue.value
    return Problem(
        name=f"doctor of {name}",
        value=value,
        allowed="clean within the last hour",
        fix=f"run python -m aegis doctor --live --venue {name.lower()} and mend what it finds",
    )


@attrs.frozen(slots=True, kw_only=True)
class AccountsFound:
    """
    What the venues told: what forbids the start, and in words why venues could not be asked.

    Those *left_out* refused, which the next time they would again; those *late* may answer later.
    """

    problems: tuple[Problem, ...]
    left_out: dict[Venue, str]
    late: dict[Venue, str]


async def check_live_accounts(
    ports: Sequence[VenuePorts],
    config: AegisConfig,
    clock: Clock,
    offload: Offload,
    tasks: Supervisor,
    rng: random.Random,
) -> AccountsFound:
    """Ask every venue for the rights of its key and for what is open on the account."""
    problems: list[Problem] = []
    left_out: dict[Venue, str] = {}
    late: dict[Venue, str] = {}
    for each in ports:
        gateway = make_gateway(
            each,
            config,
            clock=clock,
            offload=offload,
            supervisor=tasks,
            rng=rng,
            publish=_unheard,
            halt=HaltLatch().view(),
        )
        try:
            problems += await rights_problems(gateway)
            problems += await position_problems(gateway, each.symbols)
        except VenueRefused as error:
            left_out[each.venue] = f"{each.venue.value} NOT TRADED, the start check failed: {error}"
        except VenueError as error:
            # What it would have told is unknown, so nothing is traded there; the others go on.
            late[each.venue] = (
                f"{each.venue.value} NOT TRADED until its start check has passed, which is tried "
                f"again: {error}"
            )
        finally:
            await gateway.close()
    return AccountsFound(problems=tuple(problems), left_out=left_out, late=late)


async def admission_problems(
    gateway: VenueGateway, target: VenueTarget, symbols: Sequence[str], state_dir: Path, now_ns: int
) -> list[Problem]:
    """
    Return what keeps a venue from being traded that could not be asked when the run began.

    The same as at a live start, the doctor's stamp of the last hour among it. *now_ns*: wall clock.
    """
    stamp = _stamp_problem(target, state_dir, now_ns)
    return [
        *([] if stamp is None else [stamp]),
        *await rights_problems(gateway),
        *await position_problems(gateway, symbols),
    ]


async def rights_problems(gateway: VenueGateway) -> list[Problem]:
    """Return a problem for every right the key must not have, or must."""
    rights = await key_rights(gateway)
    venue = gateway.venue.value
    problems = []
    if rights.can_withdraw is not False:
        why = "it can withdraw" if rights.can_withdraw else f"unknown ({rights.why_unknown})"
        problems.append(
            Problem(
                name=f"right to withdraw of the {venue} key",
                value=why,
                allowed="a key that cannot withdraw",
                fix="make a new key without the right to withdraw, and delete this one",
            )
        )
    if rights.can_trade is False:
        problems.append(
            Problem(
                name=f"right to trade of the {venue} key",
                value="it cannot trade",
                allowed="a key that can trade futures",
                fix="grant it at the venue",
            )
        )
    return problems


async def position_problems(gateway: VenueGateway, symbols: Sequence[str]) -> list[Problem]:
    """Return a problem for every open position that no stop could be placed for."""
    snapshot = await gateway.snapshot()
    second = gateway.second_legs if isinstance(gateway, SeesOneLeg) else ()
    held = [report for report in snapshot.positions if report.qty_signed != 0]
    names = [report.instrument_id.symbol for report in held]
    found = await gateway.connect(symbols, held=names)
    known = {each.instrument_id: each for each in found}
    problems = []
    for report in held:
        instrument, qty = known.get(report.instrument_id), abs(report.qty_signed)
        if instrument is None:
            why = "its rules cannot be read"
        elif not instrument.tradable:
            why = "it is not traded there now"
        elif instrument.market_qty_max is not None and qty > instrument.market_qty_max:
            why = f"{qty} is more than one market order may close, {instrument.market_qty_max}"
        else:
            continue
        problems.append(_unprotectable(gateway, report.instrument_id.symbol, why))
    problems += [
        _unprotectable(
            gateway,
            report.instrument_id.symbol,
            f"both its legs are open, and the bot would leave that of {report.qty_signed} alone",
        )
        for report in second
    ]
    return problems


def _unprotectable(gateway: VenueGateway, symbol: str, why: str) -> Problem:
    return Problem(
        name=f"open position {gateway.venue.value} {symbol}",
        value=why,
        allowed="positions that one stop can protect",
        fix="close it at the venue, or bring it to a size that one order closes",
    )


def _unheard(event: Event) -> None:
    """Leave out what a check before the run publishes: there is no journal yet."""
    del event
