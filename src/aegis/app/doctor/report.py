"""How a doctor's report is shown: a table for people, JSON for programs. No secrets in either."""

import math
from typing import Final

import attrs
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aegis.app.doctor.checks import Finding, State
from aegis.app.doctor.plan import EXIT_FAILED, EXIT_UNREACHABLE, DoctorReport, VenueReport
from aegis.core.clock import format_ns

_SIGNS: Final = {State.OK: "✓", State.WARN: "!", State.FAIL: "✗", State.UNKNOWN: "?"}
_PLAIN_SIGNS: Final = {State.OK: "ok", State.WARN: "!", State.FAIL: "X", State.UNKNOWN: "?"}
_STYLES: Final = {
    State.OK: "green",
    State.WARN: "yellow",
    State.FAIL: "bold red",
    State.UNKNOWN: "magenta",
}
_VERDICTS: Final = {
    0: "clean: it can be traded",
    1: "not clean: mend what is crossed or unknown, then run the doctor again",
    EXIT_UNREACHABLE: "a venue could not be reached",
}


def print_report(report: DoctorReport, console: Console) -> None:
    """Print one table a venue and the verdict; the mode and the time stand above."""
    console.print(
        f"doctor, {report.mode}, {format_ns(report.at_ns)}", markup=False, highlight=False
    )
    for venue in report.venues:
        console.print(_table(venue, console))
    for line in verdict_lines(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def verdict_lines(report: DoctorReport) -> list[str]:
    """Return the verdict, and where limits held the visit up, what still stands."""
    lines = []
    for venue in report.venues:
        if not venue.held_up:
            continue
        after_s = venue.retry_after_s
        when = "later" if after_s is None else f"in {math.ceil(after_s)} s"
        name = venue.venue.value.title()
        stands = (
            "no clean verdict stands"
            if venue.stands_ns is None
            else f"the clean one of {format_ns(venue.stands_ns)} stands"
        )
        lines.append(f"{name}: asked too often, no verdict; {stands}; try again {when}")
    not_ok = [venue for venue in report.venues if not venue.ok]
    verdict = _VERDICTS[report.exit_code]
    if report.exit_code == EXIT_FAILED and all(venue.held_up for venue in not_ok):
        verdict = "no verdict: not everything could be asked"
    return [*lines, f"{verdict} (exit code {report.exit_code})"]


def _table(venue: VenueReport, console: Console) -> Table:
    table = Table(
        title=Text(f"{venue.venue.value.title()} at {venue.base_url}"),
        title_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    unicode = "utf" in console.encoding.lower()
    for finding in venue.findings:
        sign = (_SIGNS if unicode else _PLAIN_SIGNS)[finding.state]
        table.add_row(
            Text(sign, style=_STYLES[finding.state]), Text(finding.name), Text(_words(finding))
        )
    return table


def _words(finding: Finding) -> str:
    if finding.state is State.OK:
        return finding.value
    lines = [finding.reason]
    if finding.fix:
        lines.append(f"fix: {finding.fix}")
    return "\n".join(lines)


def report_json(report: DoctorReport) -> bytes:
    """Return the report as JSON, one object; states and names as in the table."""
    venues = [
        {
            "venue": venue.venue.value,
            "base_url": venue.base_url,
            "reachable": venue.reachable,
            "ok": venue.ok,
            "held_up": venue.held_up,
            "retry_after_s": venue.retry_after_s,
            "clean_stands_ns": venue.stands_ns,
            "findings": [attrs.asdict(finding) for finding in venue.findings],
        }
        for venue in report.venues
    ]
    told = {
        "mode": report.mode,
        "at_ns": report.at_ns,
        "exit_code": report.exit_code,
        "venues": venues,
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2)
