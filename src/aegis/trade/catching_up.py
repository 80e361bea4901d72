"""
Asking the venues for what no stream told: fills and funding, until they answer, each booked once.

A frame may be lost on a stream that stays open, and the questions fail when it is noticed. So what
is asked for reaches back to the last time the venue answered, never to the newest fill that came:
what was lost lies before that (R12, R77, R88).
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, Clock
from aegis.core.errors import VenueError
from aegis.core.supervise import Supervisor
from aegis.model.booked import BookedSince
from aegis.model.events import FillReported, FundingReported
from aegis.model.instrument import Venue
from aegis.model.ports import VenueGateway
from aegis.trade.book import Book
from aegis.trade.once import Once

OVERLAP_NS: Final = 300 * NS_PER_S
"""So much before the last answer is asked again: a venue's lists lag behind what it did."""
AGAIN_S_FIRST: Final = 1.0
AGAIN_S_MAX: Final = 60.0
"""Loop seconds before the next question; doubling while it fails."""
HOUR_NS: Final = 3600 * NS_PER_S
FUNDING_LAG_NS: Final = 60 * NS_PER_S
"""Funding is paid on the hour; so long after it is surely in the list (venues.md 6: 15 s)."""
SHORT_KEPT_NS: Final = 300 * NS_PER_S
SHORT_AGAIN_S: Final = 20.0
"""Fills of a position that ended without them are looked for so long, and so often."""


@attrs.define(slots=True)
class _Looking:
    """One venue: until when all is known, whether something is wanted, and the pace."""

    floor_ns: int
    known_ns: int
    is_wanted: bool = False
    is_busy: bool = False
    touched_ns: int | None = None
    """Since when (ns UTC), after the last answer, something of ours was open."""
    pace_s: float = AGAIN_S_FIRST
    next_s: float = 0.0
    timer: asyncio.TimerHandle | None = None
    short_timer: asyncio.TimerHandle | None = None


class CatchingUp:
    """Look up missing fills and funding of every venue; one question a venue at a time."""

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        book: Book,
        gateways: Mapping[Venue, VenueGateway],
        supervisor: Supervisor,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._book = book
        self._gateways = gateways
        self._supervisor = supervisor
        self._looking: dict[Venue, _Looking] = {}
        self._funding: Once[tuple[Venue, str]] = Once()

    # --- what is known ---------------------------------------------------------------------------

    def begin(self, venue: Venue, since_ns: int) -> None:
        """Take the venue as reached; nothing before *since_ns* (ns UTC) is ever asked for."""
        self._looking.setdefault(venue, _Looking(since_ns, since_ns))

    def touch(self, venue: Venue) -> None:
        """Note that something of ours is, or was, open there: it may be paid for and filled."""
        looking = self._looking.get(venue)
        if looking is not None and looking.touched_ns is None:
            looking.touched_ns = self._clock.now_ns()

    def is_new_funding(self, event: FundingReported) -> bool:
        """Say whether a payment is told for the first time, and remember it."""
        return not event.funding_id or self._funding.is_new((event.venue, event.funding_id))

    def know_funding(self, key: tuple[Venue, str]) -> None:
        """Book a payment of an earlier run no more."""
        _ = self._funding.is_new(key)

    def tell(self, booked: BookedSince) -> None:
        """Tell what the venue *booked* and nobody told, as if it arrived now."""
        now = self._clock.now_ns()
        for fill in booked.fills:
            if not self._book.knows_fill(fill):
                self._bus.publish(FillReported(ts_event=fill.ts_event, ts_recv=now, fill=fill))
        for funding in booked.fundings:
            if not self._funding.has((funding.venue, funding.funding_id)):
                self._bus.publish(funding)

    # --- when it is asked ------------------------------------------------------------------------

    def want(self, venue: Venue) -> None:
        """Ask what was booked since the last answer: something does not add up, or may not."""
        looking = self._looking.get(venue)
        if looking is None or self._supervisor.stopping:
            # Not reached yet: its start asks.
            return
        looking.is_wanted = True
        loop = asyncio.get_running_loop()
        if not looking.is_busy and looking.timer is None:
            wait_s = max(0.0, looking.next_s - loop.time())
            looking.timer = loop.call_later(wait_s, self._ask, venue, looking)

    def after_doubt(self, venue: Venue) -> None:
        """The private stream was silent or away: what it may have told is asked for."""
        looking = self._looking.get(venue)
        if looking is not None and (looking.touched_ns is not None or self._book.is_active(venue)):
            self.want(venue)

    def look(self, venue: Venue) -> None:
        """Look once for each hour that turned while something was open: funding may be lost."""
        looking = self._looking.get(venue)
        if looking is None:
            return
        if self._book.is_active(venue):
            self.touch(venue)
        since_ns, now_ns = looking.touched_ns, self._clock.now_ns()
        if since_ns is not None and _hour_of(now_ns) > _hour_of(since_ns):
            self.want(venue)

    # --- asking ----------------------------------------------------------------------------------

    def _ask(self, venue: Venue, looking: _Looking) -> None:
        looking.timer = None
        if self._supervisor.stopping:
            return
        looking.is_busy = True
        name = f"look up fills {venue.value.lower()}"
        _ = self._supervisor.start(name, partial(self._look_up, venue, looking))

    async def _look_up(self, venue: Venue, looking: _Looking) -> None:
        loop = asyncio.get_running_loop()
        looking.is_wanted = False
        asked_ns = self._clock.now_ns()
        since_ns = max(looking.floor_ns, looking.known_ns - OVERLAP_NS)
        try:
            booked = await self._gateways[venue].booked_since(since_ns)
        except VenueError:
            # Told as a failed call; what is unknown is asked for again.
            looking.is_wanted = True
            looking.next_s = loop.time() + looking.pace_s
            looking.pace_s = min(AGAIN_S_MAX, 2.0 * looking.pace_s)
        else:
            looking.touched_ns = asked_ns if self._book.is_active(venue) else None
            looking.known_ns = self._book.looked_ns[venue] = asked_ns
            looking.next_s, looking.pace_s = loop.time() + AGAIN_S_FIRST, AGAIN_S_FIRST
            self.tell(booked)
            self._wait_for_short(venue, looking)
        finally:
            looking.is_busy = False
        if looking.is_wanted:
            self.want(venue)

    def _wait_for_short(self, venue: Venue, looking: _Looking) -> None:
        # The list may have lagged behind the end.
        self._book.shorts.give_up(venue, looking.known_ns - SHORT_KEPT_NS)
        if self._book.shorts.is_waiting(venue) and looking.short_timer is None:
            later = asyncio.get_running_loop().call_later
            looking.short_timer = later(SHORT_AGAIN_S, self._look_for_short, venue, looking)

    def _look_for_short(self, venue: Venue, looking: _Looking) -> None:
        looking.short_timer = None
        if self._book.shorts.is_waiting(venue):
            self.want(venue)


def _hour_of(at_ns: int) -> int:
    """Return whose hour's payment the list surely has at *at_ns* (ns UTC)."""
    return (at_ns - FUNDING_LAG_NS) // HOUR_NS
