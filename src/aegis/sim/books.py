"""
Laws of the books: what the journal counted against what the venues made, fill by fill and to the
last digit of money.
"""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from aegis.core.clock import NS_PER_S, format_ns
from aegis.model.events import (
    BalanceReported,
    EntryFailed,
    FillBooked,
    FundingReported,
    OrderAdvanced,
    OrderReported,
    OrderSubmitted,
    PositionClosed,
    PositionOpened,
    SnapshotReported,
)
from aegis.model.order import Purpose
from aegis.model.order_id import parse_client_order_id
from aegis.model.position import CloseCause, PositionView
from aegis.sim.evidence import Evidence, name_of, overlap_ns
from aegis.sim.witness import FillSeen
from aegis.twin.engine.api import FORCED

ZERO: Final = Decimal(0)
MONEY_TOLERANCE: Final = Decimal("0.000001")
"""USDT; both sides add the same numbers, and averages are divided to 28 digits."""
STALE_BOOK_S: Final = 2.0
FEES: Final = ("COMMISSION", "LIQUIDATION_FEE")


def fill_number(venue: str, fill_id: str) -> int:
    """Return the engine's number of a fill: Binance's trade id, or within Bybit's execId."""
    if venue == "binance":
        return int(fill_id)
    return int(fill_id[20:].replace("-", ""), 16)


def _booked(evidence: Evidence) -> dict[tuple[str, int], list[FillBooked]]:
    found: dict[tuple[str, int], list[FillBooked]] = {}
    for event in evidence.events(FillBooked):
        venue = name_of(event.fill.instrument_id.venue)
        found.setdefault((venue, fill_number(venue, event.fill.fill_id)), []).append(event)
    return found


def _taken_over(evidence: Evidence, fill: FillSeen) -> bool:
    """Say whether a fill that was not booked became part of a position that was adopted."""
    ended = next(
        (
            size.ts_ns
            for size in evidence.sizes
            if (size.venue, size.symbol) == (fill.venue, fill.symbol)
            and size.ts_ns >= fill.ts_ns
            and size.qty == 0
        ),
        evidence.end_ns,
    )
    return any(
        event.position.adopted
        and name_of(event.position.instrument_id.venue) == fill.venue
        and event.position.instrument_id.symbol == fill.symbol
        and fill.ts_ns <= event.ts_recv <= ended + round(STALE_BOOK_S * NS_PER_S)
        for event in evidence.events(PositionOpened)
    )


def broken_books(evidence: Evidence) -> Iterator[str]:
    """Every fill is booked once, opened = closed + active, every entry opened or rolled back."""
    booked = _booked(evidence)
    made: dict[tuple[str, int], FillSeen] = {(f.venue, f.fill_id): f for f in evidence.fills}
    for key, fill in made.items():
        if key not in booked and not _is_excused(evidence, fill):
            yield f"fill {_named(fill)} is not booked"
    for (venue, number), events in booked.items():
        if len(events) > 1:
            yield f"fill {venue} {number} is booked {len(events)} times"
        found = made.get((venue, number))
        told = events[0].fill
        if found is None:
            yield f"fill {venue} {number} is booked and was never made"
        elif (found.qty, found.price, found.fee) != (told.last_qty, told.last_px, told.fee):
            yield f"fill {_named(found)} is booked as {told.last_qty} at {told.last_px}"
    yield from _positions(evidence)


def _is_excused(evidence: Evidence, fill: FillSeen) -> bool:
    """A stranger's order that opens nothing of ours, or what was taken over as it stood."""
    return _taken_over(evidence, fill)


def _positions(evidence: Evidence) -> Iterator[str]:
    opened: set[str] = set()
    closed: Counter[str] = Counter(e.position.position_id for e in evidence.events(PositionClosed))
    for life in evidence.lives:
        here = Counter(e.position.position_id for e in life.of(PositionOpened))
        yield from (f"{each} was opened {n} times" for each, n in here.items() if n > 1)
        opened |= set(here)
    yield from (f"{each} was closed {n} times" for each, n in closed.items() if n > 1)
    yield from (f"{each} was closed and never opened" for each in closed if each not in opened)
    failed = {e.position_id for e in evidence.events(EntryFailed)}
    yield from (f"{each} was opened and rolled back" for each in sorted(failed & opened))
    yield from (f"{each} was rolled back and had filled" for each in _filled(evidence, failed))
    last = evidence.lives[-1]
    for event in last.of(OrderSubmitted):
        is_entry = event.request.purpose is Purpose.ENTRY
        if is_entry and last.is_clean and event.position_id not in opened | failed:
            yield f"{event.position_id} was ordered and neither opened nor rolled back"


def _filled(evidence: Evidence, position_ids: set[str]) -> Iterator[str]:
    """Yield those of *position_ids* whose entry the venue filled, each once."""
    tags = (parse_client_order_id(f.client_id) for f in evidence.fills if f.closed_qty < f.qty)
    entered = [tag.position_id for tag in tags if tag is not None and tag.purpose is Purpose.ENTRY]
    yield from dict.fromkeys(each for each in entered if each in position_ids)


def unequal_ends(evidence: Evidence) -> Iterator[str]:
    """Once quiet, positions, resting orders and balances are the venues' own."""
    last = evidence.lives[-1]
    if not last.is_clean:
        yield f"run {last.run} did not end cleanly"
        return
    ours = _open_now(evidence)
    for key in sorted({*ours, *evidence.positions}):
        if ours.get(key, ZERO) != evidence.positions.get(key, ZERO):
            yield (
                f"{key[0]} {key[1]}: ours {ours.get(key, ZERO)}, the venue's "
                f"{evidence.positions.get(key, ZERO)}"
            )
    for venue, wallet in evidence.wallets.items():
        told = _wallet(evidence, venue)
        if told is not None and told != wallet:
            yield f"{venue} wallet: told {told}, the venue's {wallet}"
    believed = _believed(evidence)
    resting = {
        (order.venue, order.client_id)
        for order in evidence.orders
        if order.ended_ns is None and _is_own(evidence, order.client_id) and not order.bound
    }
    stuck = {(o.venue, o.client_id) for o in evidence.orders if o.status == "TRIGGERING"}
    resting, believed = resting - stuck, believed - stuck
    yield from (f"{v} {key} rests and is not known" for v, key in sorted(resting - believed))
    yield from (f"{v} {key} is believed to rest" for v, key in sorted(believed - resting))


def _is_own(evidence: Evidence, client_id: str) -> bool:
    tag = parse_client_order_id(client_id)
    return tag is not None and tag.installation == evidence.installation


def _open_now(evidence: Evidence) -> dict[tuple[str, str], Decimal]:
    found: dict[str, tuple[tuple[str, str], Decimal]] = {}
    for event in evidence.lives[-1].events:
        match event:
            case PositionOpened(position=view) | FillBooked(position=view):
                at = (name_of(view.instrument_id.venue), view.instrument_id.symbol)
                found[view.position_id] = (at, view.qty * view.side.sign)
            case PositionClosed(position=view):
                found.pop(view.position_id, None)
            case _:
                pass
    open_now: dict[tuple[str, str], Decimal] = {}
    for at, qty in found.values():
        if qty:
            open_now[at] = open_now.get(at, ZERO) + qty
    return open_now


def _wallet(evidence: Evidence, venue: str) -> Decimal | None:
    newest = None
    for event in evidence.lives[-1].events:
        match event:
            case BalanceReported(report=report) if name_of(report.venue) == venue:
                newest = report.wallet
            case SnapshotReported(snapshot=snapshot) if name_of(snapshot.venue) == venue:
                newest = snapshot.balance.wallet
            case _:
                pass
    return newest


def _believed(evidence: Evidence) -> set[tuple[str, str]]:
    """Return the orders of ours that the last process was last told to be working."""
    working: dict[tuple[str, str], bool] = {}
    for event in evidence.lives[-1].events:
        match event:
            case SnapshotReported(snapshot=snapshot):
                venue = name_of(snapshot.venue)
                for key in [each for each in working if each[0] == venue]:
                    working[key] = False
                for order in snapshot.orders:
                    working[venue, order.client_order_id] = order.status.is_working
            case OrderReported(report=report):
                if not report.position_bound:
                    key = (name_of(report.instrument_id.venue), report.client_order_id)
                    working[key] = report.status.is_working
            case OrderAdvanced(client_order_id=client_id, instrument_id=at, status=status):
                if status.is_terminal:
                    working[name_of(at.venue), client_id] = False
            case _:
                pass
    return {key for key, is_on in working.items() if is_on and _is_own(evidence, key[1])}


def unequal_money(evidence: Evidence) -> Iterator[str]:
    """Realized results, fees and funding add up to the venues' income."""
    booked = _booked(evidence)
    for venue in evidence.episodes:
        missing = [
            fill
            for fill in evidence.fills
            if fill.venue == venue and (fill.venue, fill.fill_id) not in booked
        ]
        fees = sum((es[0].fill.fee for (v, _), es in booked.items() if v == venue), ZERO)
        fees += sum((fill.fee for fill in missing), ZERO)
        # What the venue closes by force costs a fee of its own kind.
        paid = -sum((_income(evidence, venue, kind) for kind in FEES), ZERO)
        if abs(fees - paid) > MONEY_TOLERANCE:
            yield f"{venue} fees: ours {fees}, the venue's {paid}"
        if not missing:
            realized = _realized(evidence, venue)
            told = _income(evidence, venue, "REALIZED_PNL")
            if abs(realized - told) > MONEY_TOLERANCE:
                yield f"{venue} realized: ours {realized}, the venue's {told}"
        yield from _funding(evidence, venue)
    yield from _wrong_results(evidence)


def _wrong_results(evidence: Evidence) -> Iterator[str]:
    """Yield closed positions whose fees, funding or net result are not those of their rows."""
    fees: dict[str, dict[tuple[str, int], Decimal]] = {}
    paid: dict[str, dict[str, Decimal]] = {}
    here: dict[tuple[str, str], PositionView] = {}
    for event in (event for life in evidence.lives for event in life.events):
        match event:
            case PositionOpened(position=view):
                here[name_of(view.instrument_id.venue), view.instrument_id.symbol] = view
            case FillBooked(position=view, fill=fill):
                venue = name_of(fill.instrument_id.venue)
                key = (venue, fill_number(venue, fill.fill_id))
                fees.setdefault(view.position_id, {})[key] = fill.fee
            case FundingReported(instrument_id=instrument) if instrument is not None:
                held = here.get((name_of(instrument.venue), instrument.symbol))
                if held is not None and held.opened_ns <= event.ts_event:
                    amounts = paid.setdefault(held.position_id, {})
                    _ = amounts.setdefault(event.funding_id, event.amount)
            case PositionClosed(position=view):
                _ = here.pop((name_of(view.instrument_id.venue), view.instrument_id.symbol), None)
                fee = sum(fees.get(view.position_id, {}).values(), ZERO)
                funding = sum(paid.get(view.position_id, {}).values(), ZERO)
                yield from _result_of(event, fee, funding)
            case _:
                pass


def _result_of(event: PositionClosed, fee: Decimal, funding: Decimal) -> Iterator[str]:
    view, name = event.position, event.position.position_id
    if abs(view.fees - fee) > MONEY_TOLERANCE:
        yield f"{name} closed with fees of {view.fees}, those of its fills are {fee}"
    if abs(view.funding - funding) > MONEY_TOLERANCE:
        yield f"{name} closed with funding of {view.funding}, told was {funding}"
    net = view.realized_pnl - view.fees + view.funding
    if abs(event.net_pnl - net) > MONEY_TOLERANCE:
        yield f"{name} closed with {event.net_pnl} net, its parts add up to {net}"


def _income(evidence: Evidence, venue: str, kind: str) -> Decimal:
    rows = (row.amount for row in evidence.income if (row.venue, row.kind) == (venue, kind))
    return sum(rows, ZERO)


def _realized(evidence: Evidence, venue: str) -> Decimal:
    """Add up what every position realized by its last word."""
    newest: dict[str, Decimal] = {}
    for life in evidence.lives:
        for event in life.events:
            if isinstance(event, FillBooked | PositionClosed):
                view = event.position
                if name_of(view.instrument_id.venue) == venue:
                    newest[view.position_id] = view.realized_pnl
    return sum(newest.values(), ZERO)


def _funding(evidence: Evidence, venue: str) -> Iterator[str]:
    told = {
        e.funding_id: e.amount
        for e in evidence.events(FundingReported)
        if name_of(e.venue) == venue
    }
    rows = [r for r in evidence.income if (r.venue, r.kind) == (venue, "FUNDING_FEE")]
    made = sum((row.amount for row in rows), ZERO)
    ours = sum(told.values(), ZERO)
    excuses = evidence.windows(venue)
    unheard = [r for r in rows if overlap_ns(r.ts_ns - 1, r.ts_ns + NS_PER_S, excuses)]
    if abs(ours - made) > MONEY_TOLERANCE and not unheard:
        yield f"{venue} funding: ours {ours}, the venue's {made}"


def false_causes(evidence: Evidence) -> Iterator[str]:
    """The cause of each close is that of the order which closed it at the venue."""
    last: dict[str, FillBooked] = {}
    made: dict[tuple[str, int], FillSeen] = {(f.venue, f.fill_id): f for f in evidence.fills}
    for life in evidence.lives:
        for event in life.events:
            if isinstance(event, FillBooked):
                # A fill that was found late happened before others that are booked already.
                before = last.setdefault(event.position.position_id, event)
                if event.fill.ts_event >= before.fill.ts_event:
                    last[event.position.position_id] = event
            elif isinstance(event, PositionClosed) and event.position.qty == 0:
                booked = last.get(event.position.position_id)
                if booked is None:
                    continue
                venue = name_of(booked.fill.instrument_id.venue)
                fill = made.get((venue, fill_number(venue, booked.fill.fill_id)))
                if fill is None or fill.closed_qty == 0:
                    continue
                true = causes_of(evidence, fill)
                if event.cause not in true:
                    yield (
                        f"{event.position.position_id} closed as {event.cause.value} at "
                        f"{format_ns(fill.ts_ns)} by {fill.client_id or '(the venue)'}: "
                        f"{' or '.join(each.value for each in true)}"
                    )


_BY_PURPOSE: Final = {
    Purpose.STOP_ENTRY: CloseCause.SL,
    Purpose.STOP_FLOOR: CloseCause.SL,
    Purpose.STOP_MOVING: CloseCause.SL,
    Purpose.STOP_TRAIL: CloseCause.TRAIL,
    Purpose.TARGET: CloseCause.TP,
    Purpose.RUNG: CloseCause.HARVEST,
}


def causes_of(evidence: Evidence, fill: FillSeen) -> tuple[CloseCause, ...]:
    """Return what a close by *fill* may be called, by the venue's own record."""
    if fill.made_by in FORCED:
        return (CloseCause.LIQ, CloseCause.ADL)
    tag = parse_client_order_id(fill.client_id)
    if tag is not None and tag.installation == evidence.installation:
        purpose = tag.purpose
        named = purpose.name.removeprefix("CLOSE_")
        return (_BY_PURPOSE.get(purpose) or CloseCause[named],)
    if fill.bound or (fill.closing_kind and not fill.client_id):
        if fill.closing_kind == "TARGET":
            return (CloseCause.TP,)
        return (CloseCause.SL, CloseCause.TRAIL)
    return (CloseCause.EXTERNAL,)


def _named(fill: FillSeen) -> str:
    what = "closing" if fill.closed_qty > 0 else "opening"
    return (
        f"{fill.venue} {fill.fill_id} {fill.symbol} {what} {fill.qty} by "
        f"{fill.client_id or '(the venue)'} at {format_ns(fill.ts_ns)}"
    )
