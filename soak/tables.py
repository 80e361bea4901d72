"""What a soak and a kill run print at the end."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.measure import percentile
from rich.console import Console
from rich.table import Table

from aegis.core.clock import NS_PER_S
from soak.bound import Bound, Span, report_venues
from soak.proxy import Kind

if TYPE_CHECKING:
    from soak.endure import Verdict

SPANS_SHOWN = 8


def table(title: str, *columns: str) -> Table:
    """Return an empty table; the first column is text, the others figures."""
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def unprotected_times(report: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the unprotected time of every position of the twin's meter, tape ns, by venue."""
    return {
        venue: tuple(episode["unprotected_ns"] for episode in told["episodes"])
        for venue, told in report_venues(report).items()
    }


def print_unprotected(
    console: Console,
    episodes: Mapping[str, Sequence[int]],
    bounds: Mapping[str, Bound],
    spans: Sequence[Span],
    speed: float,
) -> None:
    """Print the unprotected time by venue in wall ms, and its longest spans against the bound."""
    times = table(
        "Unprotected time, twin's meter (wall ms)",
        "venue",
        "positions",
        "p50",
        "p99",
        "max",
        "spans",
        "beyond the bound",
    )
    for venue, taken in episodes.items():
        wall = [each / NS_PER_S / speed * 1000 for each in taken]
        here = [span for span in spans if span.venue == venue]
        figures = [f"{percentile(wall, p):.1f}" if wall else "-" for p in (50, 99, 100)]
        beyond = sum(span.beyond(bounds[venue]) for span in here)
        times.add_row(venue, str(len(taken)), *figures, str(len(here)), str(beyond))
    console.print(times)
    for venue, bound in bounds.items():
        console.print(f"bound {venue}: {bound}, outages of requests apart", highlight=False)
    longest = table("Longest spans (wall s)", "position", "length", "of it cut off", "no bot")
    for span in spans[:SPANS_SHOWN]:
        lengths = (span.length_s, span.outage_s, span.dead_s)
        longest.add_row(f"{span.venue} {span.symbol}", *(f"{each:.2f}" for each in lengths))
    if spans:
        console.print(longest)


def print_soak(console: Console, verdict: "Verdict", speed: float) -> None:
    """Print everything a soak showed."""
    struck = table("Disconnects", "stream", *Kind, "connections", "came back", "slowest, s")
    rows: dict[str, list[Any]] = {}
    for hit in verdict.hits:
        rows.setdefault(f"{hit.venue} {hit.stream}", []).append(hit)
    for name, hits in sorted(rows.items()):
        kinds = [sum(hit.strike.kind is kind for hit in hits) for kind in Kind]
        back = [hit.back_after_s for hit in hits if hit.back_after_s is not None]
        struck.add_row(
            name,
            *(str(count or "") for count in kinds),
            str(sum(hit.connections for hit in hits)),
            str(len(back)),
            f"{max(back):.1f}" if back else "-",
        )
    console.print(struck)
    aimed = sum(hit.aimed_well for hit in verdict.hits)
    console.print(f"{len(verdict.hits)} of {verdict.planned} carried out, {aimed} around an order")
    books = table(
        "Books",
        "venue",
        "fills made",
        "booked",
        "taken over",
        "lost",
        "doubled",
        "altered",
        "realized off",
        "fees off",
        "funding off",
    )
    for each in verdict.books:
        books.add_row(
            each.venue,
            *(str(count) for count in (each.made, each.booked, each.taken_over)),
            *(str(len(rows)) for rows in (each.lost, each.doubled, each.altered)),
            *(f"{off:f}" for off in (each.realized_off, each.fees_off, each.funding_off)),
        )
    console.print(books)
    print_unprotected(console, verdict.episodes, verdict.bounds, verdict.spans, speed)
    for note in verdict.notes:
        console.print(note, highlight=False)
    print_problems(console, verdict.problems)


def print_problems(console: Console, problems: Sequence[str]) -> None:
    """Print the verdict."""
    for problem in problems:
        console.print(f"PROBLEM {problem}", markup=False, highlight=False)
    console.print("PASSED" if not problems else f"FAILED, {len(problems)} problems")
