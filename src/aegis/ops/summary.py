"""
The summary at the end of a run: a table of what was done, protected, earned, and what went wrong.

Everything comes from the tally and the probes; an unknown is told as one (R76, R77, R80).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, TextIO

from rich.box import ASCII2, SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from aegis.model.instrument import Venue
from aegis.ops.beat import scaled_note
from aegis.ops.probes import DataRow, PositionRow, Probes, TwinMeter, VenueBooks
from aegis.ops.tally import Tally
from aegis.ops.words import NOT_RECORDED, duration, plural, signed_usdt

INCOME_TOLERANCE: Final = Decimal("0.01")
"""USDT; both sides add the same fills, what differs is rounding (R77)."""
PLAIN_WIDTH: Final = 110

Row = tuple[str, str]


def conservation(tally: Tally, active: int) -> str:
    """Return the law opened + adopted = closed + active with its verdict (R76)."""
    holds = tally.ever_open == tally.closed_count + active and tally.closed_unknown == 0
    text = (
        f"{tally.opened} opened + {tally.adopted} adopted = "
        f"{tally.closed_count} closed + {active} active"
    )
    return f"{text}: {'holds' if holds else 'BROKEN'}"


def money_rows(tally: Tally) -> list[Row]:
    """Return net PnL by venue, fees and funding."""
    venues = sorted({*tally.net_pnl, *tally.net_unknown})
    rows = [(f"net PnL {venue.value}", _net(tally, venue)) for venue in venues]
    if not rows:
        rows = [("net PnL", "no position closed yet")]
    fees = [f"{venue.value} {_amount(tally.fees[venue])}" for venue in sorted(tally.fees)]
    rows.append(("fees paid, USDT", ", ".join(fees) or "no fill yet"))
    funding = [f"{venue.value} {_amount(tally.funding[venue])}" for venue in sorted(tally.funding)]
    rows.append(("funding received, USDT", ", ".join(funding) or "none booked"))
    rows += [
        (f"of it before this run, {venue.value}", signed_usdt(tally.booked_before[venue]))
        for venue in sorted(tally.booked_before)
    ]
    return rows


def _amount(value: Decimal) -> str:
    return f"{value:.4f}"


def _net(tally: Tally, venue: Venue) -> str:
    unknown = tally.net_unknown[venue]
    known = signed_usdt(tally.net_pnl.get(venue))
    if not unknown:
        return known
    return f"{known}; of {plural(unknown, 'more position')} {NOT_RECORDED}"


def income_rows(tally: Tally, venue_income: Mapping[Venue, Decimal] | None) -> list[Row]:
    """Return our books against the venue's own income; None: the venue was not asked."""
    if venue_income is None:
        return [("venue's income", NOT_RECORDED)]
    rows: list[Row] = []
    for venue in sorted(venue_income):
        ours, theirs = tally.income(venue), venue_income[venue]
        off = ours - theirs
        verdict = "agree" if abs(off) <= INCOME_TOLERANCE else f"DIFFER by {off:+.4f}"
        text = f"ours {ours:+.4f}, venue {theirs:+.4f} USDT: {verdict}"
        rows.append((f"income {venue.value}", text))
    return rows


def books_agree(tally: Tally, venue: Venue, books: VenueBooks) -> bool:
    """Say whether our fills, fees and funding of the run are those the venue lists (R77)."""
    return abs(tally.cash(venue) - books.cash) <= INCOME_TOLERANCE


def listed_rows(tally: Tally, listed: Mapping[Venue, VenueBooks | str]) -> list[Row]:
    """Return our books against what each venue lists, or why it does not; see `VenueBooks`."""
    rows: list[Row] = []
    for venue in sorted(listed):
        books = listed[venue]
        name = f"income {venue.value}"
        if isinstance(books, str):
            rows.append(
                (name, f"ours {tally.income(venue):+.4f} USDT, venue {NOT_RECORDED}: {books}")
            )
            continue
        off = tally.cash(venue) - books.cash
        verdict = "agree" if books_agree(tally, venue, books) else f"DIFFER by {off:+.4f}"
        counts = f"{plural(tally.fills[venue], 'fill')}, the venue lists {books.fills}"
        theirs = tally.income(venue) - off
        text = f"ours {tally.income(venue):+.4f}, venue {theirs:+.4f} USDT ({counts}): {verdict}"
        if books.fills_elsewhere:
            text += f"; {plural(books.fills_elsewhere, 'fill')} in symbols not followed left out"
        rows.append((name, text))
    return rows


def protection_rows(tally: Tally, meter: TwinMeter | None) -> list[Row]:
    """Return the bot's own measure of unprotected time, then the twin's."""
    if tally.ever_open == 0:
        rows = [("protected", "no position yet"), ("unprotected, bot's clock", "no position yet")]
    else:
        naked = tally.naked_times()
        shown = _times(naked.p50_ns, naked.p99_ns, naked.max_ns) if naked.count else NOT_RECORDED
        rows = [
            ("protected", f"{tally.confirmed}/{tally.ever_open}"),
            ("unprotected, bot's clock", f"{shown} ({plural(naked.count, 'position')})"),
        ]
    missed = (
        f"soft {tally.deadlines_soft_missed}, closed for want of a stop {tally.protection_failed}, "
        f"stops lost {tally.protection_lost}, closed before confirmed {tally.closed_unconfirmed}"
    )
    rows.append(("deadlines missed", missed))
    if tally.mismatches:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.mismatches.items()))
        rows.append(("differed from the venue", kinds))
    if meter is not None:
        rows.append(("twin's own meter, venue time", _meter(meter)))
    return rows


def _meter(meter: TwinMeter) -> str:
    if meter.count == 0:
        return "no position yet"
    times = _times(meter.p50_ns, meter.p99_ns, meter.max_ns)
    return f"protected {meter.protected}/{meter.count}; {times}{scaled_note(meter)}"


def _times(p50_ns: int | None, p99_ns: int | None, max_ns: int | None) -> str:
    return f"p50 {duration(p50_ns)}, p99 {duration(p99_ns)}, max {duration(max_ns)}"


def trade_rows(tally: Tally, positions: Sequence[PositionRow]) -> list[Row]:
    """Return the way from signal to close."""
    denied = ", ".join(f"{guard} {count}" for guard, count in sorted(tally.denied.items()))
    causes = ", ".join(f"{cause.value} {tally.closed[cause]}" for cause in sorted(tally.closed))
    covered = sum(1 for row in positions if row.is_covered)
    active = "none" if not positions else f"{len(positions)}, protected {covered}/{len(positions)}"
    return [
        ("signals", f"{tally.signals} raised, {tally.signals_dropped} dropped"),
        ("entry intents", f"{tally.entry_intents}, denied {tally.denied.total()}{_in(denied)}"),
        ("entries failed", str(tally.entries_failed)),
        ("opened", f"{tally.opened}{f', adopted {tally.adopted}' if tally.adopted else ''}"),
        ("closed", f"{tally.closed_count}{_in(causes)}"),
        ("left open", active),
        ("conservation", conservation(tally, len(positions))),
    ]


def _in(text: str) -> str:
    return f" ({text})" if text else ""


def data_rows(tally: Tally, accounts: Sequence[DataRow], probes: Probes) -> list[Row]:
    """Return frames and journal rows that were dropped or refused."""
    journal = probes.journal()
    rows: list[Row] = []
    for row in accounts:
        off = f"; UNACCOUNTED {row.missing}" if row.missing else ""
        text = f"{row.produced}: delivered {row.delivered}, merged {row.merged}, "
        rows.append(
            (f"frames {row.kind}", f"{text}rejected {row.rejected}, pending {row.pending}{off}")
        )
    dropped = NOT_RECORDED if journal is None else f"{journal.dropped} of {journal.written} rows"
    rows.append(("journal dropped", dropped))
    if journal is not None and journal.queued:
        kinds = ", ".join(f"{name} {count}" for name, count in journal.unwritten.items())
        rows.append(("journal NOT WRITTEN", f"{plural(journal.queued, 'row')}{_in(kinds)}"))
    rows.append(("candle gaps", f"{tally.gaps}, {plural(tally.candles_missing, 'candle')} missing"))
    return rows


def fault_rows(tally: Tally) -> list[Row]:
    """Return what went wrong, zeros included: they were counted."""
    alerts = ", ".join(f"{rule} {count}" for rule, count in sorted(tally.alerts.items()))
    requests = ", ".join(
        f"{venue.value} {tally.api_errors[venue]} of {tally.api_calls[venue]}"
        for venue in sorted(tally.api_calls)
    )
    critical = tally.handler_failures_critical
    return [
        ("handler failures", f"{tally.handler_failures}, on the way out {critical}"),
        ("task failures", str(tally.task_failures)),
        ("failed requests", requests or "no request yet"),
        ("stream reconnects", str(tally.reconnects.total())),
        ("alerts", f"{tally.alerts.total()}{_in(alerts)}"),
    ]


def render_summary(
    tally: Tally,
    probes: Probes,
    *,
    title: str,
    label: str = "",
    venue_income: Mapping[Venue, Decimal] | None = None,
    listed: Mapping[Venue, VenueBooks | str] | None = None,
    is_plain: bool = False,
) -> RenderableType:
    """
    Return the summary for a rich Console.

    title: mode, duration and why it ended. label: what market was played. venue_income: what each
    venue booked in this run, realized profit - fees + funding, USDT. listed: what each venue lists
    where it was asked for that instead. is_plain: no box characters.
    """
    positions = probes.positions()
    compared = listed_rows(tally, listed) if listed else income_rows(tally, venue_income)
    parts: list[tuple[str, list[Row]]] = [
        ("trades", trade_rows(tally, positions)),
        ("protection", protection_rows(tally, probes.twin_meter())),
        ("money", [*money_rows(tally), *compared]),
        ("data", data_rows(tally, probes.data_accounts(), probes)),
        ("errors", fault_rows(tally)),
    ]
    table = Table(box=ASCII2 if is_plain else SIMPLE_HEAD, title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, rows in parts:
        for index, (what, value) in enumerate(rows):
            is_last = index == len(rows) - 1
            table.add_row(Text(name if index == 0 else ""), Text(what), Text(value))
            if is_last:
                table.add_section()
    head = f"[{label}] {title}" if label else title
    return Group(Text(f"SUMMARY {head}"), table)


def print_summary(
    tally: Tally,
    probes: Probes,
    *,
    title: str,
    label: str = "",
    venue_income: Mapping[Venue, Decimal] | None = None,
    listed: Mapping[Venue, VenueBooks | str] | None = None,
    file: TextIO | None = None,
) -> None:
    """Print the summary to *file* (stdout without one), plain where that is no terminal."""
    console = Console(file=file, highlight=False)
    is_plain = not console.is_terminal
    if is_plain:
        console = Console(file=file, highlight=False, width=PLAIN_WIDTH, color_system=None)
    console.print(
        render_summary(
            tally,
            probes,
            title=title,
            label=label,
            venue_income=venue_income,
            listed=listed,
            is_plain=is_plain,
        )
    )
