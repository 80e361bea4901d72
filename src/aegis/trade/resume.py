"""
The order in which an earlier run is taken up again on one venue (R88).

First what was open is told, then what the venue booked meanwhile is told as if it arrived now, so
that every listener sees one story; what is still unknown of an entry is asked for.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, Clock
from aegis.core.supervise import Supervisor
from aegis.model.booked import BookedSince
from aegis.model.events import PositionOpened
from aegis.model.instrument import Venue
from aegis.model.ports import VenueGateway
from aegis.model.restored import OpenBook, OpenPosition
from aegis.trade.book import Book
from aegis.trade.facts import Fact
from aegis.trade.restore import EntryEvents, resolve_entry, restore, restore_cut_entries

IDS_KNOWN_NS: Final = 23 * 3600 * NS_PER_S
"""The journal tells the ids of a day's fills; what is older would be booked once more."""


def heard_all_ns(left: OpenBook, venue: Venue) -> int | None:
    """
    Return until when (ns UTC) earlier runs surely heard all of *venue*; None: of no run.

    A fill may have been lost while they ran: where a position was left open, what it had is asked
    for from its opening on, as far back as booked fills are known by id.
    """
    heard_ns = left.heard_ns.get(venue)
    if heard_ns is None:
        return None
    here = [one.opening for one in left.positions if one.opening.instrument_id.venue is venue]
    opened_ns = min((opening.opened_ns for opening in here), default=heard_ns)
    return min(heard_ns, max(heard_ns - IDS_KNOWN_NS, opened_ns))


class Resumption:
    """Take up what earlier runs left, each venue once."""

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        book: Book,
        events: EntryEvents,
        supervisor: Supervisor,
        late_arrival_s: float,
        *,
        tell: Callable[[BookedSince], None],
    ) -> None:
        """
        *tell* takes what the venue booked. *late_arrival_s*: loop seconds in which an entry sent
        before the kill may still arrive, its recvWindow.
        """
        self._bus = bus
        self._clock = clock
        self._book = book
        self._events = events
        self._supervisor = supervisor
        self._late_arrival_s = late_arrival_s
        self._tell_booked = tell
        self._left = OpenBook()
        self._installation = ""
        self._resumed: set[Venue] = set()

    def leave(self, left: OpenBook, installation: str) -> None:
        """Keep what earlier runs of *installation* left open."""
        self._left, self._installation = left, installation

    def heard_ns(self, venue: Venue) -> int | None:
        """Return until when earlier runs heard all; None: nothing is to be resumed."""
        return None if venue in self._resumed else heard_all_ns(self._left, venue)

    def resume(self, gateway: VenueGateway, booked: BookedSince) -> list[Fact]:
        """Tell what goes on on the venue and what it *booked*; return the facts that follow."""
        venue, book = gateway.venue, self._book
        if venue in self._resumed:
            return []
        self._resumed.add(venue)
        going_on = restore(book, self._left, venue)
        _ = restore_cut_entries(book, booked.fills, self._installation)
        for one in going_on:
            self._tell(one)
        facts = [fact for one in going_on for fact in book.end_if_flat(one.opening.instrument_id)]
        self._tell_booked(booked)
        for request in book.entries_of(venue):
            _ = self._supervisor.start(
                f"resolve {request.client_order_id}",
                partial(
                    resolve_entry,
                    gateway,
                    request,
                    self._events,
                    is_settled=partial(book.is_entry_settled, request),
                    late_arrival_s=self._late_arrival_s,
                ),
            )
        return facts

    def _tell(self, one: OpenPosition) -> None:
        instrument = one.opening.instrument_id
        now = self._clock.now_ns()
        self._bus.publish(
            PositionOpened(
                ts_event=now,
                ts_recv=now,
                position=self._book.positions[instrument].view(),
                taken_over=True,
                attempts=tuple((purpose.name, n) for purpose, n in sorted(one.attempts.items())),
                entry_under_way=self._book.has_entry(instrument),
            )
        )
