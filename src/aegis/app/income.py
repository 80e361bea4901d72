"""
What the venues say that a run made, asked at its end: every fill and payment since it began.

Not needed where the twin runs in this process: its ledger is compared then. A venue that cannot be
asked costs the comparison and nothing else; why stands in the summary.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from aegis.core.clock import NS_PER_S
from aegis.core.errors import VenueError
from aegis.model.booked import BookedSince
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ZERO
from aegis.ops.probes import VenueBooks

PATIENCE_S: Final = 10.0
"""Loop seconds for one venue: an end must not hang on a comparison."""
AGAIN_AFTER_S: Final = 1.0
"""A fill of the last moment may be known to one side alone: where they differ, asked once more."""
RUN_NS_MAX: Final = 6 * 24 * 3600 * NS_PER_S
"""Venues list executions of a week; half a list would not be one."""


class ListsBookings(Protocol):
    """The one question this file has to a gateway."""

    async def booked_since(self, since_ns: int) -> BookedSince:
        """Return every fill and funding payment from *since_ns* on, or raise VenueError."""


async def ask_income(
    gateways: Mapping[Venue, ListsBookings],
    connected: Mapping[Venue, Sequence[InstrumentId]],
    since_ns: int,
    now_ns: int,
    agrees: Callable[[Venue, VenueBooks], bool],
) -> dict[Venue, VenueBooks | str]:
    """
    Return what each venue booked since *since_ns* (ns UTC), or why that is not known.

    *connected*: what is followed on each venue that was brought up. *agrees* is asked once, before
    a venue is asked again.
    """
    told: dict[Venue, VenueBooks | str] = {}
    for venue, gateway in gateways.items():
        if venue not in connected:
            told[venue] = "the venue was never connected"
        elif now_ns - since_ns > RUN_NS_MAX:
            told[venue] = "the run was longer than the venue's lists go back"
        else:
            told[venue] = await _ask(venue, gateway, connected[venue], since_ns, agrees)
    return told


async def _ask(
    venue: Venue,
    gateway: ListsBookings,
    followed: Sequence[InstrumentId],
    since_ns: int,
    agrees: Callable[[Venue, VenueBooks], bool],
) -> VenueBooks | str:
    try:
        async with asyncio.timeout(PATIENCE_S):
            books = _books(await gateway.booked_since(since_ns), followed, since_ns)
            if not agrees(venue, books):
                await asyncio.sleep(AGAIN_AFTER_S)
                books = _books(await gateway.booked_since(since_ns), followed, since_ns)
            return books
    except TimeoutError:
        return f"the venue did not answer within {PATIENCE_S:.0f} s"
    except VenueError as error:
        return str(error)


def _books(booked: BookedSince, followed: Sequence[InstrumentId], since_ns: int) -> VenueBooks:
    since = [fill for fill in booked.fills if fill.ts_event >= since_ns]
    ours = [fill for fill in since if fill.instrument_id in followed]
    fundings = [
        each.amount
        for each in booked.fundings
        if each.ts_event >= since_ns
        and (each.instrument_id is None or each.instrument_id in followed)
    ]
    traded = sum((-fill.side.sign * fill.last_qty * fill.last_px for fill in ours), ZERO)
    fees = sum((fill.fee for fill in ours), ZERO)
    return VenueBooks(
        fills=len(ours),
        cash=traded - fees + sum(fundings, ZERO),
        fills_elsewhere=len(since) - len(ours),
    )
