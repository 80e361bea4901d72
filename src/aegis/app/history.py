"""
The history command: a venue's past into the files that ``--tape`` plays, resumed where it stopped.

What is missing is worked out from what is on disk, so that there is no progress file that could
be wrong: a download that was cut off goes on by being started again.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import attrs
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from aegis.app.history_rows import (
    Rows,
    Span,
    believable,
    file_name,
    funding_holes,
    merged,
    missing_bars,
    missing_funding,
    read_rows,
    rows_of,
    write_rows,
)
from aegis.app.state import StateLock
from aegis.core.errors import ConfigError, Problem, VenueError, VenueRefused
from aegis.twin.tape.model import GAPS_NAMED_MAX, utc_text
from aegis.venue.history import (
    DAY_NS,
    HISTORY_VENUES,
    PAGE_BARS,
    PAGE_FUNDING_NS,
    TIMEFRAMES_NS,
    CcxtHistory,
    Series,
    open_history,
)

EXIT_VENUE: Final = 3
EXIT_INTERRUPTED: Final = 130
SAVE_EVERY_PAGES: Final = 10
"""How many answers a kill can cost; each save writes the whole file anew."""
SKIP_FROM_PAGES: Final = 5
"""From so many pages on it is worth asking where the bars begin: before a listing all are empty."""
_SYMBOL: Final = re.compile(r"[A-Z0-9]{5,30}")
_URL: Final = re.compile(r"https?://[^\s/]+\S*")


@attrs.frozen(slots=True, kw_only=True)
class HistoryPlan:
    """What to download: [*since_ns*, *until_ns*) UTC, None: up to now; into *folder* / *venue*."""

    symbol: str
    venue: str
    timeframe: str
    since_ns: int
    until_ns: int | None
    folder: Path
    base_url: str | None
    series: tuple[str, ...]


@attrs.define(slots=True, kw_only=True)
class Download:
    """One file being filled: what it holds, what is missing, and what came since it was saved."""

    source: CcxtHistory
    series: Series
    timeframe: str
    path: Path
    from_ns: int
    to_ns: int
    have: Rows
    refused: int = 0
    added: int = 0
    _fresh: list[Rows] = attrs.field(factory=list)

    @property
    def timeframe_ns(self) -> int:
        """Return the length of a bar."""
        return TIMEFRAMES_NS[self.timeframe]

    def missing(self) -> tuple[Span, ...]:
        """Return what has to be asked for."""
        if self.series is Series.FUNDING:
            return missing_funding(self.have.time_ns, self.from_ns, self.to_ns)
        step = self.timeframe_ns
        gaps = missing_bars(self.have.time_ns, step, self.from_ns, self.to_ns)
        return tuple(Span(gap.from_ns, gap.from_ns + gap.bars * step) for gap in gaps)

    def run(self, advance: Callable[[int], None]) -> None:
        """
        Ask for all that is missing; *advance* is told how many ns were dealt with.

        Raises:
            VenueError: what came before it is saved.
            OSError: it could not be saved.
        """
        bars = self.series is not Series.FUNDING
        page_ns = PAGE_BARS * self.timeframe_ns if bars else PAGE_FUNDING_NS
        asked = skip_to_ns = 0
        try:
            for span in self.missing():
                for page in span.pages(page_ns):
                    if page.to_ns > skip_to_ns:
                        empty = not self._take(page)
                        asked += 1
                        if asked % SAVE_EVERY_PAGES == 0:
                            self.save()
                        if empty and bars and span.to_ns - page.to_ns > SKIP_FROM_PAGES * page_ns:
                            skip_to_ns = self._bars_begin_ns(page.to_ns)
                    advance(page.to_ns - page.from_ns)
        finally:
            self.save()

    def _take(self, page: Span) -> bool:
        """Ask for *page* and keep what can be believed; tell whether anything came."""
        if self.series is Series.FUNDING:
            told = self.source.funding(page.from_ns, page.to_ns)
        else:
            told = self.source.bars(self.series, self.timeframe, page.from_ns, page.to_ns)
        received = rows_of(told)
        good = believable(self.series, received, self.timeframe_ns)
        self.refused += len(received) - len(good)
        if len(good):
            self._fresh.append(good)
        return bool(told)

    def _bars_begin_ns(self, after_ns: int) -> int:
        """Return a time from *after_ns* on before which there are no bars, by the daily ones."""
        day_ns = after_ns // DAY_NS * DAY_NS
        to_ns = day_ns + PAGE_BARS * DAY_NS
        days = self.source.bars(self.series, "1d", day_ns, to_ns)
        # A venue may leave out the day of the listing itself, which is no whole one.
        return days[0].time_ns - DAY_NS if days else to_ns

    def save(self) -> None:
        """Write what came since the last save, if anything did."""
        rows = merged(self.have, *self._fresh)
        self._fresh.clear()
        if len(rows) > len(self.have):
            write_rows(self.path, rows)
            self.added += len(rows) - len(self.have)
            self.have = rows

    def lines(self) -> list[str]:
        """Say what the file holds now, and what is not in it, one sentence a line."""
        name = self.path.name
        word = "settlements" if self.series is Series.FUNDING else "bars"
        said = [f"{name}: {len(self.have)} {word}, {self.added} of them new"]
        if len(self.have):
            first, last = int(self.have.time_ns[0]), int(self.have.time_ns[-1])
            said[0] += f", {utc_text(first)} to {utc_text(last)} UTC"
        if self.refused:
            said.append(f"{name}: {self.refused} {word} of the venue were not believable, left out")
        holes = self._holes()
        said.extend(f"{name}: {hole}" for hole in holes[:GAPS_NAMED_MAX])
        if len(holes) > GAPS_NAMED_MAX:
            said.append(f"{name}: {len(holes) - GAPS_NAMED_MAX} more gaps not listed")
        return said

    def _holes(self) -> list[str]:
        if self.series is Series.FUNDING:
            spans = funding_holes(self.have.time_ns, self.from_ns, self.to_ns)
            return [
                f"no settlement from {utc_text(one.from_ns)} to {utc_text(one.to_ns)} UTC"
                for one in spans
            ]
        gaps = missing_bars(self.have.time_ns, self.timeframe_ns, self.from_ns, self.to_ns)
        return [f"gap from {utc_text(one.from_ns)} UTC, bars missing: {one.bars}" for one in gaps]


def run_history(
    plan: HistoryPlan,
    console: Console,
    *,
    open_source: Callable[..., CcxtHistory] = open_history,
) -> int:
    """
    Download what *plan* names and is not there yet; return the exit code.

    Raises:
        ConfigError: the plan cannot be followed: name, time frame, dates, folder.
        TapeError: a file that is there cannot be continued.
        AlreadyRunning: another download writes to the folder.
    """
    _refuse_plan(plan)
    folder = _open_folder(plan.folder / plan.venue)
    with StateLock(folder), _progress(console) as progress:

        def say(line: str) -> None:
            progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        source = open_source(plan.venue, plan.base_url, on_retry=say)
        try:
            return _download_all(plan, source, folder, progress, say)
        except VenueError as error:
            say(f"aegis: {error}; what came before is kept, the same command goes on from there")
            return EXIT_VENUE
        except OSError as error:
            say(f"aegis: {folder} cannot be written ({error.strerror}); what was saved is kept")
            return 1
        except KeyboardInterrupt:
            say("interrupted; what came is kept, the same command goes on from there")
            return EXIT_INTERRUPTED
        finally:
            source.close()


def _download_all(
    plan: HistoryPlan,
    source: CcxtHistory,
    folder: Path,
    progress: Progress,
    say: Callable[[str], None],
) -> int:
    source.choose(plan.symbol)
    from_ns, to_ns = whole_bars(plan, source.market_now_ns())
    refused: list[str] = []
    for series in (one for one in Series if one in plan.series):
        path = folder / file_name(plan.symbol, plan.timeframe, series)
        grid_ns = 1 if series is Series.FUNDING else TIMEFRAMES_NS[plan.timeframe]
        download = Download(
            source=source,
            series=series,
            timeframe=plan.timeframe,
            path=path,
            from_ns=from_ns,
            to_ns=to_ns,
            have=read_rows(path, grid_ns),
        )
        total_ns = sum(span.to_ns - span.from_ns for span in download.missing())
        # Without anything to do a bar of length 0 would look as if nothing had been done.
        task = progress.add_task(
            f"{plan.symbol} {series.value}", total=total_ns or 1, completed=0 if total_ns else 1
        )
        try:
            download.run(partial(progress.advance, task))
        except VenueRefused as error:
            # One kind a venue does not have leaves the others worth having.
            refused.append(f"aegis: {error}")
        for line in download.lines():
            say(line)
    for line in refused:
        say(line)
    candles = folder / file_name(plan.symbol, plan.timeframe, Series.CANDLES)
    if candles.exists():
        say(f"play it: python -m aegis --tape {plan.venue}:{candles}")
    return EXIT_VENUE if refused else 0


def whole_bars(plan: HistoryPlan, now_ns: int) -> tuple[int, int]:
    """
    Return the period of the bars that open since the plan's start and are over by its end and now.

    Raises:
        ConfigError: there is none.
    """
    step = TIMEFRAMES_NS[plan.timeframe]
    end_ns = now_ns if plan.until_ns is None else min(plan.until_ns, now_ns)
    from_ns, to_ns = -(-plan.since_ns // step) * step, end_ns // step * step
    if from_ns >= to_ns:
        allowed = f"a time at least {plan.timeframe} before {utc_text(end_ns)} UTC"
        raise ConfigError(
            [_problem("--since", utc_text(plan.since_ns), allowed, "go back further")]
        )
    return from_ns, to_ns


def _refuse_plan(plan: HistoryPlan) -> None:
    kinds = ", ".join(Series)
    checks = (
        (
            _SYMBOL.fullmatch(plan.symbol) is not None,
            _problem("SYMBOL", plan.symbol, "5 to 30 of A-Z and 0-9", "like BTCUSDT"),
        ),
        (
            plan.venue in HISTORY_VENUES,
            _problem("--venue", plan.venue, " or ".join(HISTORY_VENUES), "name one of them"),
        ),
        (
            plan.timeframe in TIMEFRAMES_NS,
            _problem("--timeframe", plan.timeframe, ", ".join(TIMEFRAMES_NS), "name one of them"),
        ),
        (
            plan.until_ns is None or plan.since_ns < plan.until_ns,
            _problem(
                "--until", utc_text(plan.until_ns or 0), "a time after --since", "mend the flag"
            ),
        ),
        (
            plan.base_url is None or _URL.fullmatch(plan.base_url) is not None,
            _problem("--base-url", plan.base_url, "an http or https URL", "mend the flag"),
        ),
        (
            set(plan.series) <= set(Series),
            _problem("--only", ", ".join(plan.series), kinds, "name one of them"),
        ),
    )
    problems = [problem for holds, problem in checks if not holds]
    if problems:
        raise ConfigError(problems)


def _problem(name: str, value: object, allowed: str, fix: str) -> Problem:
    return Problem(name=name, value=value, allowed=allowed, fix=fix)


def _open_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        fix = f"choose another one or mend its rights ({error.strerror})"
        raise ConfigError(
            [_problem("--dir", str(folder), "a folder this user may write", fix)]
        ) from None
    return folder


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
    )
