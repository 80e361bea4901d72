"""
The exchange's books against the bot's journal: every execution once, no order twice, money equal.

The twin's report is the truth; nothing the bot prints is taken for it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import attrs

from aegis.journal.conservation import check_conservation
from aegis.journal.store import open_journal
from aegis.model.events import (
    FillBooked,
    FundingReported,
    OrderSubmitted,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    RunStarted,
    RunStopped,
)
from aegis.model.money import ZERO
from aegis.model.order import Purpose
from aegis.model.order_id import parse_client_order_id
from soak.bound import Window, report_venues

MONEY_TOLERANCE: Final = Decimal("0.01")
"""USDT; both sides add the same fills, what differs is rounding (R77)."""

_READ = (
    RunStarted,
    RunStopped,
    OrderSubmitted,
    FillBooked,
    FundingReported,
    PositionOpened,
    PositionClosed,
    PositionMismatchFound,
)


@attrs.frozen(kw_only=True)
class Journal:
    """What the bot's journal says of all its runs, oldest first."""

    runs: int
    started_ns: tuple[int, ...]
    stopped_ns: int | None
    """When the newest run ended cleanly; None when it did not."""
    fills: tuple[FillBooked, ...]
    opened: tuple[PositionOpened, ...]
    closed: tuple[PositionClosed, ...]
    submitted: tuple[OrderSubmitted, ...]
    mismatches: tuple[PositionMismatchFound, ...]
    funding: tuple[FundingReported, ...]
    violations: tuple[str, ...]
    chain_broken_at: tuple[int, int] | None
    open_now: dict[tuple[str, str], Decimal]
    """Signed quantity of the newest run's open positions by venue and symbol."""


def read_journal(state_dir: Path) -> Journal:
    """Read the journal in *state_dir*, also while a bot writes to it."""
    store = open_journal(state_dir)
    try:
        runs = store.runs()
        last = runs[-1].run if runs else 0
        rows = list(store.iter_events(types=_READ))
        events = [event for _, event in rows]
        newest = [event for row, event in rows if row.run == last]
        violations = [
            f"run {run.run}: {problem}"
            for run in runs
            for problem in check_conservation(e for _, e in store.iter_events(run.run)).violations
        ]
        chain = store.check_chain()
    finally:
        store.close()
    stops = [e.ts_event for e in newest if isinstance(e, RunStopped)]
    return Journal(
        runs=last,
        started_ns=tuple(e.ts_event for e in events if isinstance(e, RunStarted)),
        stopped_ns=stops[-1] if stops else None,
        fills=tuple(e for e in events if isinstance(e, FillBooked)),
        opened=tuple(e for e in events if isinstance(e, PositionOpened)),
        closed=tuple(e for e in events if isinstance(e, PositionClosed)),
        submitted=tuple(e for e in events if isinstance(e, OrderSubmitted)),
        mismatches=tuple(e for e in events if isinstance(e, PositionMismatchFound)),
        funding=tuple(e for e in events if isinstance(e, FundingReported)),
        violations=tuple(violations),
        chain_broken_at=chain.broken_at,
        open_now=_open_now(newest),
    )


def open_positions(state_dir: Path) -> dict[tuple[str, str], Decimal]:
    """Return `Journal.open_now` alone, which is quick."""
    store = open_journal(state_dir)
    try:
        runs = store.runs()
        types = (FillBooked, PositionOpened, PositionClosed)
        events = [event for _, event in store.iter_events(runs[-1].run, types)] if runs else []
    finally:
        store.close()
    return _open_now(events)


def _open_now(events: Iterable[object]) -> dict[tuple[str, str], Decimal]:
    found: dict[str, tuple[tuple[str, str], Decimal]] = {}
    for event in events:
        match event:
            case PositionOpened(position=view) | FillBooked(position=view):
                at = (view.instrument_id.venue.value, view.instrument_id.symbol)
                found[view.position_id] = (at, view.qty * view.side.sign)
            case PositionClosed(position=view):
                found.pop(view.position_id, None)
            case _:
                pass
    return {at: qty for at, qty in found.values() if qty}


def positions_of(report: dict[str, Any]) -> dict[tuple[str, str], Decimal]:
    """Return the twin's open positions as `Journal.open_now` has them."""
    return {
        (venue, row["symbol"]): Decimal(row["qty"])
        for venue, told in report_venues(report).items()
        for row in told["positions"]
    }


def fill_number(venue: str, fill_id: str) -> int:
    """Return the engine's number of a fill: Binance's trade id, or within Bybit's execId."""
    if venue == "BINANCE":
        return int(fill_id)
    return int(fill_id[20:].replace("-", ""), 16)


@attrs.frozen(kw_only=True)
class VenueBooks:
    """
    One venue's executions against the journal's.

    *lost*: made while a bot ran and neither booked nor part of an adopted position. *unseen*: the
    same, made within a dead window. *taken_over*: not booked, part of an adopted position.
    *doubled*: booked more than once. *altered*: booked with another size, price or fee.
    """

    venue: str
    made: int
    booked: int
    taken_over: int
    lost: tuple[str, ...]
    unseen: tuple[str, ...]
    doubled: tuple[str, ...]
    altered: tuple[str, ...]
    invented: tuple[str, ...]
    realized_off: Decimal
    fees_off: Decimal
    funding_off: Decimal
    realized_unbooked: Decimal
    fees_unbooked: Decimal

    @property
    def money_agrees(self) -> bool:
        """Say whether realized results, fees and funding are the venue's."""
        off = (self.realized_off, self.fees_off, self.funding_off)
        return all(abs(each) <= MONEY_TOLERANCE for each in off)

    @property
    def money_explained(self) -> bool:
        """Say whether the fills that were not booked are all that the books differ by."""
        off = (self.realized_off + self.realized_unbooked, self.fees_off + self.fees_unbooked)
        return all(abs(each) <= MONEY_TOLERANCE for each in off)


def compare(
    report: dict[str, Any], journal: Journal, *, dead: Sequence[Window] = (), until_ns: int
) -> list[VenueBooks]:
    """Compare what the twin did up to *until_ns* with *journal*; *dead*: when no bot ran."""
    return [
        _compare_venue(venue, told, journal, dead, until_ns)
        for venue, told in report_venues(report).items()
    ]


def _compare_venue(
    venue: str, told: dict[str, Any], journal: Journal, dead: Sequence[Window], until_ns: int
) -> VenueBooks:
    made = {row["fill_id"]: row for row in told["fills"] if row["ts_ns"] <= until_ns}
    mine = [e for e in journal.fills if e.fill.instrument_id.venue.value == venue]
    counts = Counter(fill_number(venue, e.fill.fill_id) for e in mine)
    adopted = [
        e
        for e in journal.opened
        if e.position.adopted and e.position.instrument_id.venue.value == venue
    ]
    taken_over, lost, unseen = 0, [], []
    for number, row in made.items():
        if number in counts:
            continue
        if _is_adopted(row, told["episodes"], adopted):
            taken_over += 1
        elif any(begin <= row["ts_ns"] <= end for begin, end in dead):
            unseen.append(_named(row))
        else:
            lost.append(_named(row))
    late = {row["fill_id"] for row in told["fills"]}
    realized = sum((Decimal(row["realized_pnl"]) for row in made.values()), ZERO)
    fees = sum((Decimal(row["fee"]) for row in made.values()), ZERO)
    unbooked = [row for number, row in made.items() if number not in counts]
    return VenueBooks(
        venue=venue,
        made=len(made),
        booked=len(counts),
        taken_over=taken_over,
        lost=tuple(lost),
        unseen=tuple(unseen),
        doubled=tuple(f"{number} x{times}" for number, times in counts.items() if times > 1),
        altered=tuple(_altered(venue, mine, made)),
        invented=tuple(str(number) for number in counts if number not in late),
        realized_off=_realized(venue, journal) - realized,
        fees_off=sum((e.fill.fee for e in mine), ZERO) - fees,
        funding_off=_funding(venue, journal) - Decimal(told["income"].get("FUNDING_FEE", "0")),
        realized_unbooked=sum((Decimal(row["realized_pnl"]) for row in unbooked), ZERO),
        fees_unbooked=sum((Decimal(row["fee"]) for row in unbooked), ZERO),
    )


def _is_adopted(
    row: dict[str, Any], episodes: Sequence[dict[str, Any]], adopted: Sequence[PositionOpened]
) -> bool:
    """Say whether the fill opened a position that was later adopted: its size and price count."""
    if Decimal(row["closed_qty"]) > 0:
        return False
    for episode in episodes:
        ended = episode["closed_ns"]
        if episode["symbol"] != row["symbol"] or row["ts_ns"] < episode["opened_ns"]:
            continue
        if ended is not None and row["ts_ns"] > ended:
            continue
        return any(
            e.position.instrument_id.symbol == row["symbol"]
            and row["ts_ns"] <= e.ts_event
            and (ended is None or e.ts_event <= ended)
            for e in adopted
        )
    return False


def _altered(
    venue: str, mine: Sequence[FillBooked], made: dict[int, dict[str, Any]]
) -> Iterable[str]:
    for event in mine:
        row = made.get(fill_number(venue, event.fill.fill_id))
        if row is None:
            continue
        told = (Decimal(row["qty"]), Decimal(row["price"]), Decimal(row["fee"]))
        booked = (event.fill.last_qty, event.fill.last_px, event.fill.fee)
        if told != booked:
            yield f"{row['fill_id']}: booked {booked}, made {told}"


def _named(row: dict[str, Any]) -> str:
    what = "closing" if Decimal(row["closed_qty"]) > 0 else "opening"
    return f"{row['fill_id']} {row['symbol']} {what} {row['client_id'] or '(venue)'}"


def _realized(venue: str, journal: Journal) -> Decimal:
    """Add up what every position realized by its last word, those a kill cut off included."""
    views = [*(e.position for e in journal.fills), *(e.position for e in journal.closed)]
    newest = {
        view.position_id: view.realized_pnl
        for view in views
        if view.instrument_id.venue.value == venue
    }
    return sum(newest.values(), ZERO)


def _funding(venue: str, journal: Journal) -> Decimal:
    told = {e.funding_id: e.amount for e in journal.funding if e.venue.value == venue}
    return sum(told.values(), ZERO)


def doubled_orders(report: dict[str, Any]) -> list[str]:
    """
    Return what was ordered twice: a client id used again, or a second entry of one position.

    The market order a fired stop makes carries its stop's id by the venue's rule, and is no double.
    """
    found = []
    for venue, told in report_venues(report).items():
        own = [
            row
            for row in told["orders"]
            if row["made_by"] == "USER" and row["parent_id"] is None and row["client_id"]
        ]
        ids = Counter(row["client_id"] for row in own)
        found += [f"{venue} {key} x{times}" for key, times in ids.items() if times > 1]
        entries: Counter[str] = Counter()
        for row in own:
            tag = parse_client_order_id(row["client_id"])
            if tag is not None and tag.purpose is Purpose.ENTRY:
                entries[tag.position_id] += 1
        found += [f"{venue} entry of {key} x{times}" for key, times in entries.items() if times > 1]
    return found


def oversized(report: dict[str, Any], journal: Journal) -> list[str]:
    """Return positions that two entries built, or that outgrew the entry the journal knows."""
    ordered = {
        (e.request.instrument_id.venue.value, e.request.client_order_id): e.request.qty
        for e in journal.submitted
        if e.request.purpose is Purpose.ENTRY and e.request.qty is not None
    }
    found = []
    for venue, told in report_venues(report).items():
        for episode in told["episodes"]:
            opening = _opening(episode, told["fills"])
            name = f"{venue} {episode['symbol']} at {episode['opened_ns']}"
            if len(opening) > 1:
                found.append(f"{name}: built by {', '.join(sorted(opening))}")
            for client_id, qty in opening.items():
                limit = ordered.get((venue, client_id))
                if limit is not None and qty > limit:
                    found.append(f"{name}: {qty} of {client_id}, ordered {limit}")
    return found


def _opening(episode: dict[str, Any], fills: Sequence[dict[str, Any]]) -> dict[str, Decimal]:
    """Return what each order opened of the position, by client id."""
    ended = episode["closed_ns"]
    sums: dict[str, Decimal] = {}
    for row in fills:
        opened = Decimal(row["qty"]) - Decimal(row["closed_qty"])
        within = row["ts_ns"] >= episode["opened_ns"] and (ended is None or row["ts_ns"] < ended)
        if row["symbol"] == episode["symbol"] and within and opened > 0:
            sums[row["client_id"]] = sums.get(row["client_id"], ZERO) + opened
    return sums
