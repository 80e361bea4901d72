"""What is missing, what can be believed, and files that are whole or not there at all."""

from pathlib import Path
from typing import Any

import ccxt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather

from aegis.app.history import Download, HistoryPlan, whole_bars
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
from aegis.core.errors import (
    ConfigError,
    TapeError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
)
from aegis.twin.tape.model import Gap
from aegis.venue.history import (
    HISTORY_VENUES,
    HOUR_NS,
    MINUTE_NS,
    TIMEFRAMES_NS,
    CcxtHistory,
    HistoryRow,
    Series,
    one_line,
    open_history,
    retry_after_s,
)

T0 = 1_760_000_040 * 10**9 // MINUTE_NS * MINUTE_NS


def bar(index: int, price: float = 100.0, step_ns: int = MINUTE_NS) -> HistoryRow:
    """Make the bar numbered *index* from T0."""
    return HistoryRow(T0 + index * step_ns, price, price + 2, price - 2, price + 1, 5.0)


def bars(*indices: int, price: float = 100.0) -> Rows:
    """Make rows of those bars."""
    return rows_of([bar(index, price) for index in indices])


def numbers(rows: Rows) -> list[int]:
    """Give back the numbers of the bars."""
    return [(at - T0) // MINUTE_NS for at in rows.time_ns.tolist()]


@given(had=st.sets(st.integers(-5, 45)), received=st.sets(st.integers(-5, 45)))
def test_had_and_missing_bars_make_the_whole(had: set[int], received: set[int]) -> None:
    """Each bar of the period is had or missing, never both, also after a merge."""
    rows = merged(bars(*sorted(had)), bars(*sorted(received)))
    gaps = missing_bars(rows.time_ns, MINUTE_NS, T0, T0 + 40 * MINUTE_NS)

    missing = [(gap.from_ns - T0) // MINUTE_NS + at for gap in gaps for at in range(gap.bars)]
    inside = [index for index in numbers(rows) if 0 <= index < 40]
    assert list(range(40)) == sorted(inside + missing)
    assert sorted(had | received) == numbers(rows)


def test_nothing_had_is_one_gap_and_all_had_is_none() -> None:
    """The resume point of an empty file is the start; of a whole one there is none."""
    end_ns = T0 + 3 * MINUTE_NS

    assert (Gap(from_ns=T0, bars=3),) == missing_bars(bars().time_ns, MINUTE_NS, T0, end_ns)
    assert () == missing_bars(bars(0, 1, 2).time_ns, MINUTE_NS, T0, end_ns)


def test_what_is_there_stays_as_it_is() -> None:
    """A bar that came twice keeps the values that are on disk."""
    rows = merged(bars(0, 1), bars(1, 2, price=900.0))

    assert [0, 1, 2] == numbers(rows)
    assert [100.0, 100.0, 900.0] == rows.values[:, 0].tolist()


def test_funding_grows_at_its_ends_only() -> None:
    """Before and after are asked for, the earlier piece from its end, so no hole can arise."""
    times = np.array([T0, T0 + 8 * HOUR_NS], dtype=np.int64)
    early, late = T0 - 30 * HOUR_NS, T0 + 20 * HOUR_NS
    before, after = missing_funding(times, early, late)

    assert Span(early, T0, newest_first=True) == before
    assert Span(T0 + 8 * HOUR_NS + 1, late) == after
    assert [T0 - 10 * HOUR_NS, T0 - 20 * HOUR_NS, early] == [
        page.from_ns for page in before.pages(10 * HOUR_NS)
    ]
    # A period that lies wholly after what is had is bridged, or the file would get a hole.
    assert (Span(T0 + 8 * HOUR_NS + 1, late),) == missing_funding(times, late - HOUR_NS, late)


def test_funding_holes_are_longer_than_eight_hours() -> None:
    """8 h, stamped late, is no hole; two settlements apart is; so is an empty end."""
    times = np.array([T0, T0 + 8 * HOUR_NS + 20 * 10**6, T0 + 24 * HOUR_NS], dtype=np.int64)
    holes = funding_holes(times, T0, T0 + 40 * HOUR_NS)

    assert [int(times[1]), int(times[2])] == [hole.from_ns for hole in holes]


@pytest.mark.parametrize(
    "row",
    [
        HistoryRow(T0 + 1, 100, 102, 98, 101, 5),
        HistoryRow(T0, 100, 102, 98, float("nan"), 5),
        HistoryRow(T0, 100, 102, 98, 101, float("nan")),
        HistoryRow(T0, 100, 100.5, 98, 101, 5),
        HistoryRow(T0, 100, 102, 100.5, 101, 5),
        HistoryRow(T0, 100, 102, 0, 101, 5),
        HistoryRow(T0, 100, 102, 98, 101, -1),
    ],
)
def test_bars_that_cannot_be_are_left_out(row: HistoryRow) -> None:
    """Off the grid, not finite, outside low..high, not above zero: none of it reaches the disk."""
    rows = rows_of([row, bar(1)])

    assert [1] == numbers(believable(Series.CANDLES, rows, MINUTE_NS))


def test_funding_rates_beyond_ten_percent_are_left_out() -> None:
    """A rate of either sign is believed, an unknown or impossible one is not."""
    rates = [0.0001, -0.003, float("nan"), 0.5]
    rows = rows_of([HistoryRow(T0 + at, rate, 0, 0, 0, 0) for at, rate in enumerate(rates)])

    assert [0.0001, -0.003] == believable(Series.FUNDING, rows, 1).values[:, 0].tolist()


def test_files_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Rows survive the file, and the names are those a tape's reader looks for."""
    path = tmp_path / file_name("BTCUSDT", "5m", Series.MARK)
    write_rows(path, bars(0, 1, 5))
    rows = read_rows(path, MINUTE_NS)

    assert "BTCUSDT-5m-mark.feather" == path.name
    assert "BTCUSDT-5m-futures.feather" == file_name("BTCUSDT", "5m", Series.CANDLES)
    assert "BTCUSDT-1h-funding_rate.feather" == file_name("BTCUSDT", "5m", Series.FUNDING)
    assert [0, 1, 5] == numbers(rows)
    assert bars(0, 1, 5).values.tolist() == rows.values.tolist()
    assert [path] == list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle of a write costs the new rows, not the old ones."""
    path = tmp_path / "BTCUSDT-1m-futures.feather"
    write_rows(path, bars(0, 1))

    def fail(_table: Any, file: Any, **_options: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feather, "write_feather", fail)
    with pytest.raises(OSError, match="No space left"):
        write_rows(path, bars(0, 1, 2))

    assert [0, 1] == numbers(read_rows(path, MINUTE_NS))


def test_files_that_cannot_be_continued_are_refused(tmp_path: Path) -> None:
    """Another time frame, disorder and damage are told with the file and the fix."""
    path = tmp_path / "BTCUSDT-5m-futures.feather"
    assert 0 == len(read_rows(path, MINUTE_NS))
    write_rows(path, bars(0, 1))
    with pytest.raises(TapeError, match="not on the 5m grid: move it away"):
        read_rows(path, 5 * MINUTE_NS)
    write_rows(path, bars(1, 0))
    with pytest.raises(TapeError, match="not in the order of time"):
        read_rows(path, MINUTE_NS)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TapeError, match="damaged"):
        read_rows(path, MINUTE_NS)


def test_a_gap_of_the_venue_is_told_not_filled(tmp_path: Path) -> None:
    """Bars the venue does not have stay missing in the file and are named."""
    download = Download(
        source=CcxtHistory(None, venue="binance", faults=None),
        series=Series.CANDLES,
        timeframe="1m",
        path=tmp_path / "BTCUSDT-1m-futures.feather",
        from_ns=T0,
        to_ns=T0 + 6 * MINUTE_NS,
        have=bars(0, 1, 4, 5),
    )

    assert (Span(T0 + 2 * MINUTE_NS, T0 + 4 * MINUTE_NS),) == download.missing()
    assert "bars missing: 2" in download.lines()[1]


def plan(since_ns: int, until_ns: int | None) -> HistoryPlan:
    """Make a plan of 5m bars."""
    return HistoryPlan(
        symbol="BTCUSDT",
        venue="binance",
        timeframe="5m",
        since_ns=since_ns,
        until_ns=until_ns,
        folder=Path("data"),
        base_url=None,
        series=("candles",),
    )


def test_only_bars_that_are_over_are_wanted() -> None:
    """The period is cut to whole bars: up at its start, down at its end or at now."""
    step = 5 * MINUTE_NS
    at = T0 // step * step

    assert (at + step, at + 3 * step) == whole_bars(plan(at + 1, None), at + 4 * step - 1)
    assert (at, at + step) == whole_bars(plan(at, at + step), at + 4 * step)
    with pytest.raises(ConfigError, match="--since"):
        whole_bars(plan(at, None), at + step - 1)


@pytest.mark.parametrize("venue", HISTORY_VENUES)
def test_the_venues_limits_are_kept_and_nothing_leaves_for_the_real_address(venue: str) -> None:
    """ccxt's limiter is on unless told otherwise, and a base URL replaces all that is asked."""
    real = open_history(venue, None)
    twin = open_history(venue, "http://127.0.0.1:9/")

    assert real._exchange.enableRateLimit is True
    assert set(TIMEFRAMES_NS) <= set(real._exchange.timeframes)
    for path in ("fapiPublic",) if venue == "binance" else ("public",):
        assert twin._exchange.urls["api"][path].startswith("http://127.0.0.1:9")
    real.close()
    twin.close()


def test_faults_are_one_line_and_retry_after_is_read() -> None:
    """A page of HTML becomes one short line; a wait is only believed when it is a number."""
    assert "a b c" == one_line(ValueError("a\n  b\tc "))
    assert len(one_line(ValueError("x" * 5000))) < 210
    assert 30.0 == retry_after_s({"Retry-After": "30"})
    assert None is retry_after_s({"retry-after": "soon"})
    assert None is retry_after_s(None)


class Moody:
    """An exchange that raises its faults one after the other, then answers with no bars."""

    def __init__(self, *faults: Exception, retry_after: str | None = None) -> None:
        self._faults = list(faults)
        self.last_response_headers = {} if retry_after is None else {"Retry-After": retry_after}

    def fetch_ohlcv(self, *_asked: object) -> object:
        """Raise the next fault, or answer."""
        if self._faults:
            raise self._faults.pop(0)
        return []


def ask(exchange: Moody) -> list[float]:
    """Ask for bars; return the waits."""
    waits: list[float] = []
    source = CcxtHistory(exchange, venue="binance", faults=ccxt, sleep=waits.append)
    assert [] == source.bars(Series.CANDLES, "1m", T0, T0 + HOUR_NS)
    return waits


def test_a_throttled_download_waits_as_long_as_it_is_told() -> None:
    """429 waits for Retry-After when that is longer; a ban of hours is not sat out."""
    assert [30.0, 30.0] == ask(Moody(*[ccxt.RateLimitExceeded("429")] * 2, retry_after="30"))
    assert [1.0] == ask(Moody(ccxt.RateLimitExceeded("429")))
    with pytest.raises(VenueThrottled, match=r"retry after 7200\.0 s"):
        ask(Moody(ccxt.DDoSProtection("418"), retry_after="7200"))


def test_a_no_and_a_riddle_are_not_repeated() -> None:
    """What the venue refuses, or nobody can read, ends at once; neither becomes an empty list."""
    with pytest.raises(VenueRefused, match="BadRequest: no"):
        ask(Moody(ccxt.BadRequest("no")))
    with pytest.raises(VenueProtocolError, match="riddle"):
        ask(Moody(TypeError("riddle")))
