"""
From `--tape` to a tape: which file, which instrument, which face, and the files beside it.

The shell around tape_load (formats) and tape_check (rows). The recorded raw feed is opened by
tape_raw_feed.
"""

import re
from pathlib import Path

import attrs
import numpy as np

from aegis.core.errors import TapeError
from aegis.twin.tape.check import (
    CheckedRows,
    RawColumns,
    check_candles,
    check_funding,
    check_marks,
    find_gaps,
)
from aegis.twin.tape.load import TapeFormat, detect_format, load_columns
from aegis.twin.tape.model import (
    HOUR_NS,
    CandleTape,
    FundingSeries,
    MarkSeries,
    NanosColumn,
    RejectedRows,
    TapeReport,
    span_text,
    utc_text,
)
from aegis.twin.tape.raw_lines import RawFeedTape, open_raw_feed

VENUES = ("binance", "bybit")
# A mark further away than this is another instrument or another scale, not a basis.
BASIS_SHARE_MAX = 0.10
# Settlements are stamped some ms late by the venues; the market settles on the full hour.
FUNDING_LATE_MAX_NS = 60_000_000_000

_SYMBOL_SUFFIX = re.compile(r"=([A-Z0-9]{5,30})$")
_PAIR_NAME = re.compile(r"^([A-Z0-9]+)_([A-Z]+)(?:_[A-Z]+)?-")
_SYMBOL_NAME = re.compile(r"^([A-Z0-9]{5,30})-")
_BESIDE_ENDINGS = ("feather", "json", "json.gz")


@attrs.frozen(kw_only=True)
class TapeSpec:
    """What one `--tape` names; *venue* and *symbol* None: both faces, symbol from the file."""

    path: Path
    venue: str | None
    symbol: str | None


def parse_spec(spec: str) -> TapeSpec:
    """Read `FILE`, `binance:FILE` or `bybit:FILE`, each with `=SYMBOL` behind it or not."""
    venue, separator, rest = spec.partition(":")
    if not separator or venue not in VENUES:
        venue, rest = "", spec
    found = _SYMBOL_SUFFIX.search(rest)
    if found is not None and not Path(rest).exists():
        return TapeSpec(
            path=Path(rest[: found.start()]), venue=venue or None, symbol=found.group(1)
        )
    return TapeSpec(path=Path(rest), venue=venue or None, symbol=None)


def symbol_from_name(name: str) -> str | None:
    """Take BTCUSDT from `BTCUSDT-1m-futures.feather` or `BTC_USDT_USDT-5m-...`, else None."""
    pair = _PAIR_NAME.match(name)
    if pair is not None:
        return pair.group(1) + pair.group(2)
    plain = _SYMBOL_NAME.match(name)
    return None if plain is None else plain.group(1)


def read_tape(
    spec: str, *, from_ns: int | None, to_ns: int | None, history_ns: int
) -> CandleTape | RawFeedTape:
    """
    Read the tape that *spec* names, cut to [*from_ns* - *history_ns*, *to_ns*).

    Play begins at *from_ns*; without one, *history_ns* after the first bar, or at the first bar
    when the file is no longer than that. A raw feed has no history.

    Raises: TapeError: names the file, the row where there is one, and the fix.
    """
    wanted = parse_spec(spec)
    if from_ns is not None and to_ns is not None and to_ns <= from_ns:
        raise TapeError(
            wanted.path,
            None,
            f"--to {utc_text(to_ns)} is not after --from {utc_text(from_ns)}",
            "name a --to later than --from",
        )
    if detect_format(wanted.path) is TapeFormat.RAW_FEED:
        if wanted.venue == "bybit":
            raise TapeError(
                wanted.path,
                None,
                "a raw feed is a Binance recording and was named for bybit",
                "leave out bybit:",
            )
        return open_raw_feed(wanted.path, symbol=wanted.symbol, from_ns=from_ns, to_ns=to_ns)
    return _read_candles(wanted, from_ns, to_ns, history_ns)


def _read_candles(
    wanted: TapeSpec, from_ns: int | None, to_ns: int | None, history_ns: int
) -> CandleTape:
    path = wanted.path
    _refuse_companion(path)
    symbol = wanted.symbol or symbol_from_name(path.name)
    if symbol is None:
        raise TapeError(
            path, None, "the file's name holds no symbol", f"name it: --tape {path}=BTCUSDT"
        )
    raw = load_columns(path)
    checked = check_candles(raw)
    open_ns = raw.time_ns[checked.kept]
    play_from_ns, notes = _play_from(open_ns, from_ns, history_ns, checked.timeframe_ns)
    chosen = _choose(path, open_ns, checked.timeframe_ns, from_ns, to_ns, history_ns)
    rows = checked.kept[chosen]
    mark, mark_rejected, mark_notes = _read_mark(path, raw, checked)
    funding, funding_rejected, funding_notes = _read_funding(path)
    face = "" if wanted.venue is None else f" on {wanted.venue} only"
    return CandleTape(
        symbol=symbol,
        timeframe_ns=checked.timeframe_ns,
        open_ns=raw.time_ns[rows],
        open=raw.open[rows],
        high=raw.high[rows],
        low=raw.low[rows],
        close=raw.close[rows],
        volume=raw.volume[rows],
        mark=mark,
        funding=funding,
        venue=wanted.venue,
        label=f"file {path.name}{face}",
        generated=False,
        play_from_ns=play_from_ns,
        report=TapeReport(
            file=path.name,
            rows_read=raw.rows_read,
            rows_kept=len(checked.kept),
            rows_played=len(rows),
            rejected=(*checked.rejected, *mark_rejected, *funding_rejected),
            gaps=find_gaps(raw.time_ns[rows], checked.timeframe_ns),
            notes=(*raw.notes, *notes, *mark_notes, *funding_notes),
        ),
    )


def _refuse_companion(path: Path) -> None:
    for kind in ("mark", "funding_rate"):
        if re.search(rf"-{kind}\.(feather|json|json\.gz)$", path.name):
            raise TapeError(
                path,
                None,
                f"is a {kind} file, not the candles",
                "name the candles; mark and funding files beside them are found by their names",
            )


def _play_from(
    open_ns: NanosColumn, from_ns: int | None, history_ns: int, timeframe_ns: int
) -> tuple[int, list[str]]:
    """Choose the start of play, and say so where there is less history than asked for."""
    first_ns, end_ns = int(open_ns[0]), int(open_ns[-1]) + timeframe_ns
    if from_ns is None:
        if first_ns + history_ns < end_ns:
            return first_ns + history_ns, []
        short = f"the tape is {span_text(end_ns - first_ns)} long, history {span_text(history_ns)}"
        return first_ns, [f"{short}: play begins at its first bar, without history"]
    if first_ns <= from_ns - history_ns:
        return from_ns, []
    had = max(0, from_ns - first_ns)
    return max(from_ns, first_ns), [
        f"history before the start is {span_text(had)}, {span_text(history_ns)} wanted"
    ]


def _choose(
    path: Path,
    open_ns: NanosColumn,
    timeframe_ns: int,
    from_ns: int | None,
    to_ns: int | None,
    history_ns: int,
) -> NanosColumn:
    """
    Give the indices of the bars to load.

    Raises: TapeError: none of them is to be played.
    """
    first_ns, end_ns = int(open_ns[0]), int(open_ns[-1]) + timeframe_ns
    since_ns = first_ns if from_ns is None else from_ns
    until_ns = end_ns if to_ns is None else to_ns
    played = (open_ns + timeframe_ns > since_ns) & (open_ns < until_ns)
    if not played.any():
        raise TapeError(
            path,
            None,
            f"no rows from {utc_text(since_ns)} to {utc_text(until_ns)}",
            f"choose --from and --to inside {utc_text(first_ns)} .. {utc_text(end_ns)} UTC",
        )
    # The bar that holds the start is loaded whole, or the market would begin with a hole.
    loaded = (open_ns + timeframe_ns > since_ns - history_ns) & (open_ns < until_ns)
    return np.flatnonzero(loaded)


def _beside(path: Path, kind: str) -> list[Path]:
    """List the `<pair>-<timeframe>-<kind>` files in the folder of *path*, by name."""
    pair = path.name.split("-", 1)[0]
    found = (path.parent.glob(f"{pair}-*-{kind}.{ending}") for ending in _BESIDE_ENDINGS)
    return sorted(file for files in found for file in files)


def _read_mark(
    path: Path, raw: RawColumns, checked: CheckedRows
) -> tuple[MarkSeries | None, tuple[RejectedRows, ...], list[str]]:
    """Take the basis from the mark file beside *path* that gives the most points."""
    best: tuple[MarkSeries, tuple[RejectedRows, ...], str] | None = None
    notes: list[str] = []
    for file in _beside(path, "mark"):
        mark_raw = load_columns(file)
        mark_checked = check_marks(mark_raw)
        series, far = _basis(raw, checked, mark_raw, mark_checked)
        if series is None:
            notes.append(f"{file.name}: not used, no mark in it falls on a candle of {path.name}")
            continue
        if best is None or len(series.times_ns) > len(best[0].times_ns):
            best = (series, (*mark_checked.rejected, *far), file.name)
    if best is None:
        notes.append(f"{path.name}: no mark prices beside it, mark = the candles' price")
        return None, (), notes
    notes.append(f"{best[2]}: {len(best[0].times_ns)} mark points, basis interpolated between")
    return best[0], best[1], notes


def _basis(
    raw: RawColumns, checked: CheckedRows, mark_raw: RawColumns, mark_checked: CheckedRows
) -> tuple[MarkSeries | None, tuple[RejectedRows, ...]]:
    """Subtract from every mark close the close of the candle that ends at the same time."""
    ends = raw.time_ns[checked.kept] + checked.timeframe_ns
    closes = raw.close[checked.kept]
    mark_ends = mark_raw.time_ns[mark_checked.kept] + mark_checked.timeframe_ns
    at = np.minimum(np.searchsorted(ends, mark_ends), len(ends) - 1)
    meets = ends[at] == mark_ends
    candle_closes = closes[at[meets]]
    basis = mark_raw.close[mark_checked.kept][meets] - candle_closes
    near = np.abs(basis) <= BASIS_SHARE_MAX * candle_closes
    far_rows = mark_raw.row[mark_checked.kept][meets][~near].tolist()
    rejected: tuple[RejectedRows, ...] = ()
    if far_rows:
        if len(far_rows) > BASIS_SHARE_MAX * len(near):
            raise TapeError(
                mark_raw.file,
                far_rows[0],
                f"{len(far_rows)} of {len(near)} marks are more than 10 % from the candles",
                "put the mark file of the same instrument beside the candles, or none",
            )
        rejected = (
            RejectedRows(
                file=mark_raw.file,
                reason="mark is more than 10 % from the candle",
                count=len(far_rows),
                rows=tuple(far_rows[:20]),
                row_word=mark_raw.row_word,
            ),
        )
    if not near.any():
        return None, rejected
    return MarkSeries(times_ns=mark_ends[meets][near], basis=basis[near]), rejected


def _read_funding(
    path: Path,
) -> tuple[FundingSeries | None, tuple[RejectedRows, ...], list[str]]:
    """Read the funding file beside *path* (the first by name), moved to the full hour."""
    files = _beside(path, "funding_rate")
    if not files:
        return None, (), [f"{path.name}: no funding rates beside it, no funding is paid"]
    raw = load_columns(files[0])
    checked = check_funding(raw)
    times = raw.time_ns[checked.kept]
    if len(times) == 0:
        return None, checked.rejected, [f"{files[0].name}: no funding rate in it can be used"]
    late = times % HOUR_NS
    settled = np.where(late <= FUNDING_LATE_MAX_NS, times - late, times)
    keep = np.append(True, np.diff(settled) > 0)
    moved = int(np.count_nonzero(settled != times))
    notes = [f"{files[0].name}: {int(keep.sum())} funding rates"]
    if moved:
        notes.append(f"{files[0].name}: {moved} settlements moved back to the full hour (< 60 s)")
    if not keep.all():
        notes.append(
            f"{files[0].name}: {int((~keep).sum())} settlements fell on one hour, left out"
        )
    notes.extend(f"{file.name}: not used, {files[0].name} is" for file in files[1:])
    return (
        FundingSeries(times_ns=settled[keep], rates=raw.open[checked.kept][keep]),
        (checked.rejected),
        notes,
    )
