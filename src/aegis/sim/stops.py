"""
Laws of the way out: stops that stay, that fit, and exits that nobody hinders and everybody needs.

They see what the bound of the unprotected time cannot: a stop that is taken away for an instant, or
replaced by a looser one, a position that is believed closed, a close that nothing made necessary.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from aegis.core.clock import NS_PER_S, format_ns
from aegis.model.events import IntentDenied, PositionClosed
from aegis.model.intent import EnterPosition
from aegis.model.order import Purpose
from aegis.model.order_id import OrderTag, parse_client_order_id
from aegis.model.position import CloseCause
from aegis.sim.evidence import Evidence, Window, name_of, overlap_ns
from aegis.sim.plan import Kind
from aegis.sim.witness import OrderSeen

STOPS: Final = frozenset(
    {Purpose.STOP_ENTRY, Purpose.STOP_FLOOR, Purpose.STOP_MOVING, Purpose.STOP_TRAIL}
)
SIZED: Final = frozenset({Purpose.STOP_MOVING, Purpose.STOP_TRAIL})
"""Stops with a quantity of their own; a floor closes whatever is open."""
HARMLESS: Final = frozenset({Kind.FRAMES_TWICE, Kind.FOREIGN_ORDER})
"""Nothing that these do asks for a close, or keeps a stop from fitting."""
NEEDLESS: Final = frozenset({CloseCause.UNPROTECTED, CloseCause.WATCHDOG})
BEFORE_NS: Final = 120 * NS_PER_S
"""Strikes so long before something still explain it: what was lost is found by the steady look."""
LEVEL_TOLERANCE: Final = Decimal("0.0002")
"""As a fraction of the price: a floor within a tick of a moving stop takes its place."""
FITS_WITHIN_NS: Final = 5 * NS_PER_S
FITS_WITHIN_STRUCK_NS: Final = 240 * NS_PER_S
"""A steady look, the proof of silence, and twice the slowest pace at which cover is improved."""


def own_tag(evidence: Evidence, client_id: str) -> OrderTag | None:
    """Return what a client id says when it is of this installation."""
    tag = parse_client_order_id(client_id)
    return tag if tag is not None and tag.installation == evidence.installation else None


def sizes_of(evidence: Evidence, venue: str, symbol: str) -> list[tuple[int, int, Decimal]]:
    """Return the position's signed size there as (from, to, size), ns UTC."""
    seen = [s for s in evidence.sizes if (s.venue, s.symbol) == (venue, symbol)]
    ends = [*(size.ts_ns for size in seen[1:]), max(evidence.end_ns, 1)]
    return [(size.ts_ns, end_ns, size.qty) for size, end_ns in zip(seen, ends, strict=False)]


def size_at(evidence: Evidence, venue: str, symbol: str, ts_ns: int) -> Decimal:
    """Return the position's signed size there once everything of that moment has happened."""
    now = [s.qty for s in evidence.sizes if (s.venue, s.symbol) == (venue, symbol)
           and s.ts_ns <= ts_ns]  # fmt: skip
    return now[-1] if now else Decimal(0)


def _is_struck(evidence: Evidence, venue: str, window: Window) -> bool:
    """Say whether anything went wrong with *venue*, or with everything, within *window*."""
    if any(
        strike.venue in {venue, ""}
        and strike.kind not in HARMLESS
        and window[0] <= strike.ts_ns <= window[1]
        for strike in evidence.log.strikes
    ):
        return True
    desks = [(from_ns, to_ns) for at, from_ns, to_ns in evidence.log.desks if at == venue]
    return overlap_ns(*window, [*evidence.windows(venue), *desks]) > 0


def stops_taken_away(evidence: Evidence) -> Iterator[str]:
    """No stop of ours is canceled while its position is open, unless one as tight covers all."""
    for order in evidence.orders:
        if order.status != "CANCELED" or order.ended_ns is None or order.trigger_price is None:
            continue
        tag = own_tag(evidence, order.client_id)
        if tag is None or tag.purpose not in STOPS or order.is_child:
            continue
        left = size_at(evidence, order.venue, order.symbol, order.ended_ns) * -order.side_sign
        if left <= 0 or (order.qty is not None and order.qty < left):
            continue
        excused = _by_a_person(evidence, order) or _was_lied_to(evidence, order, tag)
        if not excused and not _is_outdone(evidence, order, left):
            yield (
                f"{order.venue} {order.symbol} {order.client_id} at {order.trigger_price} was "
                f"canceled at {format_ns(order.ended_ns)} beside {left} open, and none as tight "
                "rests"
            )


def _by_a_person(evidence: Evidence, order: OrderSeen) -> bool:
    return any(
        strike.kind is Kind.STOP_REMOVED and strike.venue == order.venue
        and strike.ts_ns == order.ended_ns
        for strike in evidence.log.strikes
    )  # fmt: skip


def _was_lied_to(evidence: Evidence, order: OrderSeen, tag: OrderTag) -> bool:
    """Say whether the venue said yes to another stop of that position and kept none."""
    return any(
        strike.kind is Kind.STOPS_FORGOTTEN and strike.venue == order.venue
        and (other := parse_client_order_id(strike.what)) is not None
        and other.position_id == tag.position_id
        for strike in evidence.log.strikes
    )  # fmt: skip


def _is_outdone(evidence: Evidence, gone: OrderSeen, left: Decimal) -> bool:
    """Say whether another stop for all of *left* rested, not looser than *gone*."""
    assert gone.ended_ns is not None, gone
    assert gone.trigger_price is not None, gone
    worst = gone.trigger_price * (1 + LEVEL_TOLERANCE * gone.side_sign)
    tag = parse_client_order_id(gone.client_id)
    # It stood at the distance from the mark before the fill; what follows, from the fill's price.
    was_first = tag is not None and tag.purpose is Purpose.STOP_ENTRY
    for other in evidence.orders:
        if other is gone or (other.venue, other.symbol) != (gone.venue, gone.symbol):
            continue
        if other.trigger_price is None or other.side_sign != gone.side_sign or not other.reduces:
            continue
        is_on = other.created_ns <= gone.ended_ns < (other.ended_ns or evidence.end_ns + 1)
        # A stop that sells is tighter the higher it lies, one that buys the lower.
        is_tight = was_first or (other.trigger_price - worst) * gone.side_sign <= 0
        if is_on and is_tight and other.is_stop and (other.qty is None or other.qty >= left):
            return True
    return False


def misfitting_stops(evidence: Evidence) -> Iterator[str]:
    """A stop with a quantity of its own follows the position's, at once where nothing is struck."""
    for order in evidence.orders:
        tag = own_tag(evidence, order.client_id)
        if tag is None or tag.purpose not in SIZED or order.is_child or order.qty is None:
            continue
        until_ns = order.ended_ns if order.ended_ns is not None else evidence.end_ns
        for from_ns, to_ns, size in sizes_of(evidence, order.venue, order.symbol):
            begin_ns, end_ns = max(from_ns, order.created_ns), min(to_ns, until_ns)
            open_qty = size * -order.side_sign
            if open_qty <= 0 or open_qty == order.qty or end_ns - begin_ns <= FITS_WITHIN_NS:
                continue
            window = (begin_ns - BEFORE_NS, end_ns)
            struck = _is_struck(evidence, order.venue, window)
            allowed_ns = FITS_WITHIN_STRUCK_NS if struck else FITS_WITHIN_NS
            allowed_ns += _cancels_fail_ns(evidence, order.venue, begin_ns, end_ns)
            if end_ns - begin_ns > allowed_ns:
                yield (
                    f"{order.venue} {order.symbol} {order.client_id} of {order.qty} rested "
                    f"{(end_ns - begin_ns) / NS_PER_S:.0f} s beside {open_qty} open from "
                    f"{format_ns(begin_ns)}"
                )


def _cancels_fail_ns(evidence: Evidence, venue: str, begin_ns: int, end_ns: int) -> int:
    """Return for how long after *begin_ns* requests to cancel were struck: nothing can go then."""
    struck = [
        strike.ts_ns - begin_ns
        for strike in evidence.log.strikes
        if strike.venue == venue and "cancel" in strike.what and begin_ns <= strike.ts_ns <= end_ns
    ]
    return max(struck, default=0)


def denied_exits(evidence: Evidence) -> Iterator[str]:
    """Nothing but an entry is ever denied."""
    for event in evidence.events(IntentDenied):
        if not isinstance(event.intent.command, EnterPosition):
            name = type(event.intent.command).__name__
            yield f"{name} {event.intent.intent_id} was denied by {event.guard}: {event.reason}"


def false_ends(evidence: Evidence) -> Iterator[str]:
    """No position is ended that the venue holds unchanged."""
    for event in evidence.events(PositionClosed):
        view = event.position
        venue, symbol = name_of(view.instrument_id.venue), view.instrument_id.symbol
        ours = view.qty * view.side.sign
        if ours and size_at(evidence, venue, symbol, event.ts_recv) == ours:
            yield (
                f"{view.position_id} ended as {event.cause.value} at {format_ns(event.ts_recv)} "
                f"while {venue} held {ours} {symbol}"
            )


def needless_closes(evidence: Evidence) -> Iterator[str]:
    """Nothing is closed as unprotected, or by a watchdog, where nothing went wrong."""
    for event in evidence.events(PositionClosed):
        venue = name_of(event.position.instrument_id.venue)
        window = (event.position.opened_ns - BEFORE_NS, event.ts_recv)
        if event.cause in NEEDLESS and not _is_struck(evidence, venue, window):
            yield (
                f"{event.position.position_id} {event.position.side.value} on {venue} closed as "
                f"{event.cause.value} at {format_ns(event.ts_recv)}, and nothing was struck"
            )
