"""The lines of a timeline as a person wants them: broken laws among them, or a part alone."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from aegis.core.clock import NS_PER_S, parse_utc
from aegis.sim.asked import CLOCK_TIME, SYMBOL

AROUND_NS: Final = 120 * NS_PER_S
"""Before and after the time that is asked for."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_ID: Final = re.compile(r"\bsimu-[0-9a-z]+-[0-9a-z]+(?:-[A-Z0-9]+)?")
_STAMP: Final = 24
"""Characters of a time at the beginning of a line."""


def marked(lines: Sequence[str], violations: Sequence[str]) -> list[str]:
    """
    Return *lines* with each violation put in: before the first time it names, or else after the
    first line with the last order or position it names. One that names nothing stays out.
    """
    rows = [(line[:_STAMP], 1, line) for line in lines]
    for violation in violations if lines else ():
        found = _TIME.search(violation)
        ids = _ID.findall(violation)
        if found is not None:
            rows.append((found.group(), 0, f"{found.group()} BROKEN  {violation}"))
        elif ids:
            named = re.compile(rf"{re.escape(ids[-1])}\b")
            first = next((line for line in lines if named.search(line)), None)
            if first is not None:
                rows.append((first[:_STAMP], 2, f"{first[:_STAMP]} BROKEN  {violation}"))
    rows.sort(key=lambda row: row[:2])
    return [line for _, _, line in rows]


def chosen(lines: Sequence[str], *, around: str | None, symbol: str | None) -> Iterator[str]:
    """
    Yield the lines near a time and about a symbol; those that name no symbol are about all.

    *around*: a time of the day, or a day and a time, as the lines have it.
    """
    days = sorted({line[:10] for line in lines})
    times: list[int] = []
    if around is not None:
        is_clock = CLOCK_TIME.fullmatch(around) is not None
        times = [parse_utc(f"{day}T{around}") for day in days] if is_clock else [parse_utc(around)]
    for line in lines:
        named = set(SYMBOL.findall(line)) if symbol is not None else ()
        if named and symbol not in named:
            continue
        at_ns = parse_utc(line[:_STAMP])
        if around is None or any(abs(at_ns - time_ns) <= AROUND_NS for time_ns in times):
            yield line
