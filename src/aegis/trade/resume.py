"""
The order in which an earlier run is taken up again on one venue (R88).

First what was open is told, then what the venue booked meanwhile is told as if it arrived now, so
that every listener sees one story; what is still unknown of an entry is asked for.
"""

from functools import partial

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.supervise import Supervisor
from aegis.model.booked import BookedSince
from aegis.model.events import FillReported, PositionOpened
from aegis.model.instrument import Venue
from aegis.model.ports import VenueGateway
from aegis.model.restored import OpenBook, OpenPosition
from aegis.trade.book import Book
from aegis.trade.facts import Fact
from aegis.trade.restore import EntryEvents, resolve_entry, restore, restore_cut_entries


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
    ) -> None:
        """
        *late_arrival_s*: loop seconds in which an entry sent before the kill may still arrive, its
        recvWindow.
        """
        self._bus = bus
        self._clock = clock
        self._book = book
        self._events = events
        self._supervisor = supervisor
        self._late_arrival_s = late_arrival_s
        self._left = OpenBook()
        self._installation = ""
        self._resumed: set[Venue] = set()
        self._told: set[tuple[Venue, str]] = set()

    def leave(self, left: OpenBook, installation: str) -> None:
        """Keep what earlier runs of *installation* left open."""
        self._left, self._installation = left, installation

    def heard_ns(self, venue: Venue) -> int | None:
        """Return until when earlier runs heard of *venue*; None when nothing is to be resumed."""
        return None if venue in self._resumed else self._left.heard_ns.get(venue)

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
        self.tell(booked)
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

    def tell(self, booked: BookedSince) -> None:
        """Tell what the venue *booked* and no stream told, as if it arrived now."""
        now = self._clock.now_ns()
        for fill in booked.fills:
            if not self._book.knows_fill(fill):
                self._bus.publish(FillReported(ts_event=fill.ts_event, ts_recv=now, fill=fill))
        for funding in booked.fundings:
            key = (funding.venue, funding.funding_id)
            if key not in self._left.funding_ids and key not in self._told:
                self._told.add(key)
                self._bus.publish(funding)

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
