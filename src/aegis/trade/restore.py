"""
Going on where an earlier run stopped: its positions and entries, and what the venue booked since.

The journal tells what was open, the venue what happened after the journal's last word: fills and
funding of the time in which nobody listened. Only then the venue's snapshot is compared (R88).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from aegis.core.errors import VenueError
from aegis.model.account import OrderReport
from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import ZERO
from aegis.model.order import OrderRequest, OrderType, Purpose
from aegis.model.order_id import parse_client_order_id
from aegis.model.position import CloseCause, Position
from aegis.model.restored import OpenBook, OpenEntry, OpenPosition
from aegis.trade.book import Book
from aegis.trade.facts import cause_of


def position_of(open_position: OpenPosition) -> Position:
    """Return the position as its fills make it."""
    opening = open_position.opening
    position = Position(
        position_id=opening.position_id,
        instrument_id=opening.instrument_id,
        side=opening.side,
        plan=opening.plan,
        trace_id=opening.trace_id,
        opened_ns=opening.opened_ns,
        leverage=opening.leverage,
    )
    if opening.adopted:
        assert opening.entry_px_avg is not None, opening
        position.adopt(opening.qty_opened, opening.entry_px_avg)
    for fill in _in_order(open_position):
        position.apply(fill)
    position.funding = open_position.funding
    position.restored = True
    return position


def _in_order(open_position: OpenPosition) -> list[Fill]:
    # What opens goes first: the journal keeps the order of arrival, and a close may overtake.
    entry_side = open_position.opening.side.entry_side
    return sorted(open_position.fills, key=lambda fill: fill.side is not entry_side)


def restore(book: Book, left: OpenBook, venue: Venue) -> list[OpenPosition]:
    """Take what was *left* on *venue* into *book*; return the positions that go on."""
    here = [one for one in left.positions if one.opening.instrument_id.venue is venue]
    book.restore_fill_ids(key for key in left.fill_ids if key[0].venue is venue)
    going_on = []
    for one in here:
        position = position_of(one)
        if position.qty_opened == 0:
            # Opened by a fill whose row was cut: the venue tells it again.
            continue
        book.restore_fill_ids((position.instrument_id, fill.fill_id) for fill in one.fills)
        opened = [fill.ts_event for fill in one.fills if fill.side is position.side.entry_side]
        book.restore_position(position, _last_exit(one), min(opened, default=None))
        going_on.append(one)
    for entry in left.entries:
        if entry.command.request.instrument_id.venue is venue:
            _restore_entry(book, entry, here)
    return going_on


def _restore_entry(book: Book, entry: OpenEntry, here: Sequence[OpenPosition]) -> None:
    command = entry.command
    request = command.request
    fills = [
        fill
        for one in here
        if one.opening.position_id == entry.position_id
        for fill in one.fills
        if fill.client_order_id == request.client_order_id
    ]
    book.restore_entry(
        request,
        position_id=entry.position_id,
        trace_id=entry.trace_id,
        plan=command.plan,
        leverage=command.leverage,
        signal_price=command.signal_price,
        fills=fills,
    )


def _last_exit(one: OpenPosition) -> tuple[int, CloseCause] | None:
    exits = [fill for fill in one.fills if fill.side is one.opening.side.exit_side]
    if not exits:
        return None
    last = max(reversed(exits), key=lambda fill: fill.ts_event)
    return last.ts_event, cause_of(last, one.opening.position_id)


def restore_cut_entries(book: Book, fills: Iterable[Fill], installation: str) -> list[OrderRequest]:
    """
    Enter the entries of ours that only the venue knows: every row about them was cut by the kill.

    *fills*: what the venue booked since the journal's last word. Returns the orders entered.
    """
    filled: dict[tuple[InstrumentId, str], list[Fill]] = {}
    for fill in fills:
        tag = parse_client_order_id(fill.client_order_id)
        if tag is None or tag.installation != installation or tag.purpose is not Purpose.ENTRY:
            continue
        if not book.knows_fill(fill):
            filled.setdefault((fill.instrument_id, fill.client_order_id), []).append(fill)
    entered = []
    for (instrument, order_id), group in filled.items():
        tag = parse_client_order_id(order_id)
        if tag is None or book.is_busy(instrument):
            continue
        request = OrderRequest(
            instrument_id=instrument,
            client_order_id=order_id,
            purpose=Purpose.ENTRY,
            side=group[0].side,
            order_type=OrderType.MARKET,
            qty=sum((fill.last_qty for fill in group), ZERO),
            reduce_only=False,
        )
        book.restore_entry(request, position_id=tag.position_id, trace_id="restored")
        entered.append(request)
    return entered


ASK_DELAYS_S: Final = (0.0, 0.5, 1.0, 2.0)
ABSENT_ANSWERS_MIN: Final = 3
"""So many times must the venue say it does not know an entry before it counts as never arrived."""


class KnowsOrders(Protocol):
    """The part of a venue's gateway that is asked here."""

    async def query(
        self, instrument_id: InstrumentId, client_order_id: str, *, conditional: bool
    ) -> OrderReport | None:
        """Return the order with that id, None when the venue says it does not know it."""


class EntryEvents(Protocol):
    """What is told of a restored entry; the executor's callbacks of the same names."""

    def on_answer(self, report: OrderReport) -> None:
        """Hear what a query found."""

    def on_refused(self, request: OrderRequest, code: str, message: str) -> None:
        """Hear that the request never arrived."""


async def resolve_entry(
    gateway: KnowsOrders,
    request: OrderRequest,
    events: EntryEvents,
    *,
    is_settled: Callable[[], bool],
    late_arrival_s: float,
) -> None:
    """
    Ask for an entry of an earlier run until its end is known (R30); nothing is ever sent again.

    Aegis entries never rest, so an end there is. *late_arrival_s*: loop seconds from now in which a
    request that left before the kill may still arrive.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + late_arrival_s
    absent = asked = 0
    while not is_settled():
        await asyncio.sleep(ASK_DELAYS_S[min(asked, len(ASK_DELAYS_S) - 1)])
        asked += 1
        try:
            report = await gateway.query(
                request.instrument_id, request.client_order_id, conditional=False
            )
        except VenueError:
            # Told as a failed call; unknown is not absent.
            continue
        if report is not None:
            events.on_answer(report)
            continue
        absent += 1
        if absent >= ABSENT_ANSWERS_MIN and loop.time() >= until_s:
            events.on_refused(
                request, "absent", "left by an earlier run; the venue does not know it"
            )
            return
