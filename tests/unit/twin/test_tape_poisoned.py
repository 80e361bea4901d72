"""Tapes that cannot be believed: bad files are refused, bad rows are counted, nothing crashes."""

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather

from aegis.core.errors import TapeError
from aegis.twin.tape.model import CandleTape
from aegis.twin.tape.read import read_tape

START_MS = 1_700_006_400_000
MINUTE_MS = 60_000
ROWS = 60
POISONED = 30

Row = list[float | str | None]


def clean_rows() -> list[Row]:
    """Make an hour of sound 1m candles."""
    return [[START_MS + at * MINUTE_MS, 10.0, 10.5, 9.5, 10.2, 5.0] for at in range(ROWS)]


def with_cell(column: int, value: float | str | None) -> Callable[[list[Row]], None]:
    """Make a poison that writes *value* into one cell of row 30."""

    def poison(rows: list[Row]) -> None:
        rows[POISONED][column] = value

    return poison


def write_json(path: Path, rows: list[Row]) -> Path:
    """Write rows in freqtrade's json layout."""
    path.write_text(json.dumps(rows))
    return path


def write_csv(path: Path, rows: list[Row]) -> Path:
    """Write rows in data.binance.vision's layout, without a header."""
    path.write_text("\n".join(",".join(map(str, row)) + ",0,0,0,0,0,0" for row in rows))
    return path


def write_feather(path: Path, rows: list[Row]) -> Path:
    """Write rows in freqtrade's feather layout."""
    names = ("date", "open", "high", "low", "close", "volume")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    times = pa.array([round(float(t or 0)) for t in columns["date"]], pa.timestamp("ms", tz="UTC"))
    table = {"date": times, **{name: pa.array(columns[name], pa.float64()) for name in names[1:]}}
    feather.write_feather(pa.table(table), path)
    return path


def read(path: Path) -> CandleTape:
    """Read the whole of *path*."""
    tape = read_tape(str(path), from_ns=None, to_ns=None, history_ns=0)
    assert isinstance(tape, CandleTape)
    return tape


VALUE_POISONS = [
    pytest.param(with_cell(1, math.nan), "price is not a finite number", id="nan price"),
    pytest.param(with_cell(2, math.inf), "price is not a finite number", id="inf price"),
    pytest.param(with_cell(3, -9.5), "price is not above zero", id="negative price"),
    pytest.param(with_cell(4, 0.0), "price is not above zero", id="zero price"),
    pytest.param(with_cell(2, 9.0), "high is below low", id="high below low"),
    pytest.param(with_cell(1, 11.0), "open is outside low..high", id="open above high"),
    pytest.param(with_cell(4, 9.4), "close is outside low..high", id="close below low"),
    pytest.param(with_cell(5, -1.0), "volume is negative", id="negative volume"),
    pytest.param(with_cell(5, math.nan), "volume is not a finite number", id="nan volume"),
    pytest.param(with_cell(0, START_MS + 29 * MINUTE_MS), "duplicate time", id="duplicate time"),
    pytest.param(
        with_cell(0, START_MS - 5 * MINUTE_MS),
        "time out of order (it goes back, or ahead of the rows that follow)",
        id="time going back",
    ),
    pytest.param(
        with_cell(0, START_MS + 9999 * MINUTE_MS),
        "time out of order (it goes back, or ahead of the rows that follow)",
        id="time ahead",
    ),
    pytest.param(
        with_cell(0, START_MS + 30 * MINUTE_MS + 7), "time is off the 1m grid", id="off the grid"
    ),
    pytest.param(with_cell(0, 0), "time missing or outside 2009..2099", id="time zero"),
    pytest.param(with_cell(0, -5), "time missing or outside 2009..2099", id="time negative"),
]


@pytest.mark.parametrize("write", [write_json, write_csv, write_feather])
@pytest.mark.parametrize(("poison", "reason"), VALUE_POISONS)
def test_a_poisoned_row_is_rejected_with_its_reason_and_number(
    tmp_path: Path,
    write: Callable[[Path, list[Row]], Path],
    poison: Callable[[list[Row]], None],
    reason: str,
) -> None:
    """One bad row costs itself: the rest is played and the report names the row."""
    rows = clean_rows()
    poison(rows)

    tape = read(write(tmp_path / "BTCUSDT-1m-futures.x", rows))

    number = POISONED + 1 if write is write_csv else POISONED
    assert [(reason, 1, (number,))] == [(r.reason, r.count, r.rows) for r in tape.report.rejected]
    assert ROWS - 1 == len(tape.open_ns) == tape.report.rows_kept
    assert 1 == tape.report.rows_rejected == len(tape.report.gaps)
    assert any(reason in line for line in tape.report.lines())


@pytest.mark.parametrize("write", [write_json, write_csv])
@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (with_cell(2, "ten"), "a field is not a number"),
        (with_cell(0, "noon"), "a field is not a number"),
        (with_cell(2, None), "a field is not a number"),
        (lambda rows: rows[POISONED].pop(), "fields,"),
        (lambda rows: rows[POISONED].append(1.0), "fields,"),
    ],
)
def test_a_row_that_cannot_be_read_is_rejected(
    tmp_path: Path,
    write: Callable[[Path, list[Row]], Path],
    poison: Callable[[list[Row]], None],
    reason: str,
) -> None:
    """Text for a number and too few or too many fields are counted, not skipped."""
    rows = clean_rows()
    poison(rows)

    tape = read(write(tmp_path / "BTCUSDT-1m-futures.x", rows))

    assert len(tape.report.rejected) == 1
    assert reason in tape.report.rejected[0].reason
    assert (tape.report.rows_read, tape.report.rows_kept) == (ROWS, ROWS - 1)


def test_more_than_a_tenth_of_bad_rows_refuses_the_tape(tmp_path: Path) -> None:
    """6 of 60 are left out; the 7th makes the tape unbelievable, its first bad row named."""
    rows = clean_rows()
    for at in range(20, 26):
        rows[at][4] = -1.0
    at_limit = read(write_json(tmp_path / "AAAUSDT-1m.json", rows))
    rows[40][4] = -1.0

    assert at_limit.report.rows_rejected == 6
    with pytest.raises(TapeError, match="7 of 60 rows") as caught:
        read(write_json(tmp_path / "BTCUSDT-1m.json", rows))
    assert caught.value.row == 20


def test_newest_first_is_refused_with_the_fix(tmp_path: Path) -> None:
    """A file in falling order is told to be sorted, not played backwards."""
    with pytest.raises(TapeError, match="sort the rows by time, oldest first"):
        read(write_json(tmp_path / "BTCUSDT-1m.json", clean_rows()[::-1]))


def test_missing_bars_are_kept_as_a_gap(tmp_path: Path) -> None:
    """Three absent minutes are one gap of three, and nothing is made up for them."""
    rows = clean_rows()
    del rows[10:13]

    tape = read(write_json(tmp_path / "BTCUSDT-1m.json", rows))

    assert [(gap.from_ns, gap.bars) for gap in tape.report.gaps] == [
        ((START_MS + 10 * MINUTE_MS) * 10**6, 3)
    ]
    assert len(tape.open_ns) == ROWS - 3


def test_poisoned_mark_and_funding_rows_are_counted_too(tmp_path: Path) -> None:
    """A NaN mark, a mark of another scale and a wild funding rate each have their line."""
    hours = 40
    rows: list[Row] = [
        [START_MS + at * 60 * MINUTE_MS, 10.0, 10.5, 9.5, 10.2, 5.0] for at in range(hours)
    ]
    path = write_json(tmp_path / "BTCUSDT-1h-futures.json", rows)
    marks = [list(row) for row in rows]
    marks[3][4] = math.nan
    marks[5][4] = 1020.0
    write_json(tmp_path / "BTCUSDT-1h-mark.json", marks)
    rates: list[Row] = [[row[0], 0.0001, 0.0, 0.0, 0.0, 0.0] for row in rows]
    rates[8][1] = 7.0
    write_json(tmp_path / "BTCUSDT-1h-funding_rate.json", rates)

    tape = read(path)

    assert tape.mark is not None
    assert tape.funding is not None
    assert (hours - 2, hours - 1) == (len(tape.mark.times_ns), len(tape.funding.times_ns))
    assert {
        ("BTCUSDT-1h-mark.json", "mark price is not a finite number", (3,)),
        ("BTCUSDT-1h-mark.json", "mark is more than 10 % from the candle", (5,)),
        ("BTCUSDT-1h-funding_rate.json", "funding rate is beyond 10 %", (8,)),
    } == {(one.file, one.reason, one.rows) for one in tape.report.rejected}


def test_files_that_are_no_tape_are_refused_by_name(tmp_path: Path) -> None:
    """Missing, folder, empty, unknown, wrong columns, companion files: each with its own fix."""
    cases: list[tuple[str, bytes | None, str]] = [
        ("BTCUSDT-1m.feather", b"", "is empty"),
        ("BTCUSDT-2m.feather", b"hello", "is no feather file"),
        ("BTCUSDT-3m.parquet", b"PAR1\0\0,\0", "accepted are freqtrade feather"),
        ("BTCUSDT-4m.csv", b"time,price\n1,2\n", "wrong columns: time, price"),
        ("BTCUSDT-5m.json", b"[]", "holds no rows"),
        ("BTCUSDT-6m.json", b'{"a": 1}', "accepted are freqtrade feather"),
        ("BTCUSDT-7m.json", b"[[1, 2,", "the json is cut or damaged"),
        ("BTCUSDT-8m.csv.gz", gzip.compress(b""), "is empty"),
        ("BTCUSDT-1h-mark.feather", b"ARROW1", "is a mark file, not the candles"),
        ("BTCUSDT-9m.csv", None, "no such file"),
    ]
    for name, content, problem in cases:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TapeError, match=problem) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert caught.value.fix
    with pytest.raises(TapeError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.999])
def test_truncated_files_are_refused(shared_data: Path, tmp_path: Path, keep: float) -> None:
    """A feather or gz that was cut anywhere is named, not half played."""
    market = shared_data / "market"
    for name in (
        "freqtrade_testdata/XRP_USDT_USDT-1h-futures.feather",
        "binance_usdm/2022_5m/1INCHUSDT-5m-futures.json.gz",
        "binance_usdm/vision_csv_1m/FILUSDT-1m-2023-08.csv.gz",
    ):
        whole = (market / name).read_bytes()
        path = tmp_path / Path(name).name
        path.write_bytes(whole[: int(len(whole) * keep)])
        with pytest.raises(TapeError, match="cut or damaged") as caught:
            read(path)
        assert path.name in caught.value.file


def test_a_cut_plain_csv_loses_only_its_last_line(tmp_path: Path) -> None:
    """The half line at the end is counted with its line number."""
    path = write_csv(tmp_path / "BTCUSDT-1m.csv", clean_rows())
    path.write_text(path.read_text()[:-20])

    tape = read(path)

    assert [one.rows for one in tape.report.rejected] == [(ROWS,)]


def test_feather_text_and_missing_columns(tmp_path: Path) -> None:
    """Text cells of a feather are judged one by one; a missing column refuses the file."""
    table = feather.read_table(write_feather(tmp_path / "a.feather", clean_rows()))
    texts = [str(value) for value in table.column("close").to_pylist()]
    texts[POISONED] = "n/a"
    path = tmp_path / "BTCUSDT-1m.feather"
    feather.write_feather(table.set_column(4, "close", pa.array(texts)), path)
    short = tmp_path / "ETHUSDT-1m.feather"
    feather.write_feather(table.drop_columns(["volume"]), short)

    assert [(one.reason, one.rows) for one in read(path).report.rejected] == [
        ("a field is not a number", (POISONED,))
    ]
    with pytest.raises(TapeError, match="volume missing"):
        read(short)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["BTCUSDT-1m.json", "BTCUSDT-1m.csv", "BTCUSDT-1m.feather", "x.gz"]),
    head=st.sampled_from([b"", b"[[1,", b"ARROW1\0\0", b"\x1f\x8b", b"17 {", b"1700006400000,1,"]),
    tail=st.binary(max_size=200),
)
def test_any_bytes_give_a_tape_error_or_a_tape(
    tmp_path: Path, name: str, head: bytes, tail: bytes
) -> None:
    """Garbage never escapes as another exception."""
    path = tmp_path / name
    path.write_bytes(head + tail)

    with pytest.raises(TapeError) as caught:
        read(path)
    assert path.name in caught.value.file
