"""
Turn the bytes of a tape file into raw columns: feather, freqtrade json, data.binance.vision csv.

Knows file formats, judges no values: what can be read as a number is passed on to tape_check,
what cannot is a bad row with its number. Which files belong together is in tape_read.
"""

import gzip
import json
import math
import zlib
from collections.abc import Sequence
from enum import StrEnum, unique
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import feather

from aegis.core.errors import TapeError
from aegis.twin.tape.check import TIME_FIRST_NS, TIME_LAST_NS, RawColumns
from aegis.twin.tape.model import FloatColumn, NanosColumn

ACCEPTED = (
    "accepted are freqtrade feather or json(.gz) candles, data.binance.vision kline csv(.gz), "
    "and a recorded raw feed (gz or plain)"
)
COPY_AGAIN = "copy or download the file again"

FEATHER_COLUMNS = ("date", "open", "high", "low", "close", "volume")
VISION_COLUMNS = 12
VISION_HEADER = ("open_time", "open", "high", "low", "close", "volume")
JSON_FIELDS = 6

# The same instant is 13 digits long in ms and 16 in µs, until the year 2286.
MICROS_FROM = 100_000_000_000_000
_NS_PER_UNIT = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

NOT_A_NUMBER = "a field is not a number"


@unique
class TapeFormat(StrEnum):
    """The kinds of file a tape can be read from."""

    FEATHER = "feather"
    JSON = "json"
    VISION_CSV = "csv"
    RAW_FEED = "raw feed"


def read_bytes(path: Path, size: int = -1) -> bytes:
    """
    Read up to *size* bytes of *path*, unpacked when it is gzip; all by default.

    Raises: TapeError: missing, a folder, empty, not readable, or a gzip that is cut or damaged.
    """
    if path.is_dir():
        raise TapeError(path, None, "is a folder", "name a file")
    try:
        with path.open("rb") as plain:
            is_gzip = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if is_gzip:
                with gzip.open(plain) as packed:
                    content = packed.read(size)
            else:
                content = plain.read(size)
    except FileNotFoundError as fault:
        raise TapeError(path, None, "no such file", "check the path of --tape") from fault
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise TapeError(path, None, f"the gzip is cut or damaged ({fault})", COPY_AGAIN) from fault
    except OSError as fault:
        raise TapeError(
            path, None, f"cannot be read ({fault.strerror})", "check the file's permissions"
        ) from fault
    if not content:
        raise TapeError(path, None, "is empty", COPY_AGAIN)
    return content


def detect_format(path: Path) -> TapeFormat:
    """
    Tell the format of *path* from its first bytes, unpacked.

    Raises: TapeError: unknown, or one of the faults of `read_bytes`.
    """
    head = read_bytes(path, 4096)
    if head.startswith((b"ARROW1", b"FEA1")):
        return TapeFormat.FEATHER
    name = path.name.removesuffix(".gz")
    if name.endswith(".feather"):
        raise TapeError(path, None, f"is no feather file: it begins with {head[:8]!r}", COPY_AGAIN)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        return TapeFormat.JSON
    first_line = text.split(b"\n", 1)[0]
    stamp, _, message = first_line.partition(b" ")
    if stamp.isdigit() and message.lstrip().startswith(b"{"):
        return TapeFormat.RAW_FEED
    if b"," in first_line and b"\0" not in first_line:
        return TapeFormat.VISION_CSV
    raise TapeError(path, None, f"unknown format, it begins with {head[:16]!r}", ACCEPTED)


def load_columns(path: Path) -> RawColumns:
    """
    Read a candle, mark or funding file into raw columns.

    Raises: TapeError: the file as a whole cannot be read, or holds other columns.
    """
    match detect_format(path):
        case TapeFormat.FEATHER:
            return _load_feather(path)
        case TapeFormat.JSON:
            return _load_json(path)
        case TapeFormat.VISION_CSV:
            return _load_vision(path)
        case TapeFormat.RAW_FEED:
            raise TapeError(path, None, "is a raw feed, not candles", "name a file of candles")


def _to_nanos(values: NanosColumn, ns_per_unit: int) -> NanosColumn:
    """Scale to ns; what would leave the plausible range becomes 0, which is rejected later."""
    plausible = (values >= TIME_FIRST_NS // ns_per_unit) & (values < TIME_LAST_NS // ns_per_unit)
    return np.where(plausible, values, 0) * ns_per_unit


def _mixed_nanos(value: float) -> int:
    """Read a time in ms or µs; 0 when it is no number one could mean."""
    if not math.isfinite(value):
        return 0
    return int(value) * 1_000 if abs(value) >= MICROS_FROM else int(value) * 1_000_000


def _load_feather(path: Path) -> RawColumns:
    content = read_bytes(path)
    try:
        table = feather.read_table(pa.BufferReader(content))
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise TapeError(
            path, None, f"the feather file is cut or damaged ({fault})", COPY_AGAIN
        ) from fault
    names = list(table.column_names)
    missing = [name for name in FEATHER_COLUMNS if name not in names]
    if missing:
        raise TapeError(
            path,
            None,
            f"columns were {', '.join(names) or 'none'}: {', '.join(missing)} missing",
            f"write the columns {', '.join(FEATHER_COLUMNS)}",
        )
    if table.num_rows == 0:
        raise TapeError(path, None, "holds no rows", COPY_AGAIN)
    bad: dict[int, str] = {}
    numbers = [_feather_floats(table.column(name), bad) for name in FEATHER_COLUMNS[1:]]
    times = _feather_times(path, table.column("date"))
    rows = np.arange(table.num_rows, dtype=np.int64)
    readable = ~np.isin(rows, list(bad))
    o, h, low, c, v = (column[readable] for column in numbers)
    return RawColumns(
        file=path.name,
        row_word="row",
        row=rows[readable],
        time_ns=times[readable],
        open=o,
        high=h,
        low=low,
        close=c,
        volume=v,
        bad=tuple(bad.items()),
    )


def _feather_floats(column: pa.ChunkedArray, bad: dict[int, str]) -> FloatColumn:
    """Read a column as floats: a null is NaN, text that is no number makes its row *bad*."""
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        numbers: FloatColumn = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return numbers.astype(np.float64)
    values = np.empty(len(column), dtype=np.float64)
    for row, value in enumerate(column.to_pylist()):
        try:
            values[row] = math.nan if value is None else float(value)
        except (TypeError, ValueError):
            values[row] = math.nan
            bad[row] = NOT_A_NUMBER
    return values


def _feather_times(path: Path, column: pa.ChunkedArray) -> NanosColumn:
    kind = column.type
    if pa.types.is_timestamp(kind):
        ns_per_unit = _NS_PER_UNIT[kind.unit]
    elif pa.types.is_integer(kind):
        ns_per_unit = _NS_PER_UNIT["ms"]
    else:
        raise TapeError(
            path,
            None,
            f"column date is of type {kind}",
            "write date as a UTC timestamp or as integer milliseconds",
        )
    whole = column.cast(pa.int64(), safe=False).fill_null(0)
    return _to_nanos(whole.to_numpy(zero_copy_only=False).astype(np.int64), ns_per_unit)


def _load_json(path: Path) -> RawColumns:
    content = read_bytes(path)
    try:
        table = orjson.loads(content)
    except orjson.JSONDecodeError:
        table = _json_with_nan(path, content)
    if not isinstance(table, list):
        raise TapeError(path, None, "is not a list of candles", ACCEPTED)
    if not table:
        raise TapeError(path, None, "holds no rows", COPY_AGAIN)
    return _from_rows(path, "row", list(enumerate(table)), JSON_FIELDS)


def _json_with_nan(path: Path, content: bytes) -> object:
    # Python's own reader knows NaN and Infinity, which freqtrade's writer can leave behind.
    try:
        table: object = json.loads(content.decode("utf-8", errors="replace"))
    except (json.JSONDecodeError, RecursionError) as fault:
        at = fault.pos if isinstance(fault, json.JSONDecodeError) else 0
        row = max(0, content[:at].count(b"[") - 2)
        raise TapeError(path, row, f"the json is cut or damaged ({fault})", COPY_AGAIN) from fault
    return table


def _load_vision(path: Path) -> RawColumns:
    lines = read_bytes(path).decode("utf-8-sig", errors="replace").splitlines()
    rows = [(at, line.split(",")) for at, line in enumerate(lines, start=1) if line.strip()]
    first_at, first = rows[0]
    if not _is_number(first[0]):
        header = tuple(cell.strip().lower() for cell in first)
        if len(header) != VISION_COLUMNS or header[: len(VISION_HEADER)] != VISION_HEADER:
            raise TapeError(
                path,
                first_at,
                f"wrong columns: {', '.join(header)}",
                f"write {VISION_COLUMNS} columns beginning {', '.join(VISION_HEADER)}; {ACCEPTED}",
            )
        rows = rows[1:]
    if not rows:
        raise TapeError(path, None, "holds no rows", COPY_AGAIN)
    return _from_rows(path, "line", rows, VISION_COLUMNS)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_rows(
    path: Path,
    row_word: str,
    rows: Sequence[tuple[int, object]],
    fields: int,
) -> RawColumns:
    """Read rows of [time, open, high, low, close, volume, ...], each with its number."""
    bad: list[tuple[int, str]] = []
    numbers: list[int] = []
    times: list[int] = []
    values: list[tuple[float, ...]] = []
    for number, row in rows:
        if not isinstance(row, list) or len(row) != fields:
            had = f"{len(row)} fields" if isinstance(row, list) else "no list"
            bad.append((number, f"row has {had}, {fields} needed"))
            continue
        try:
            time, *rest = [float(cell) for cell in row[:JSON_FIELDS]]
        except (TypeError, ValueError):
            bad.append((number, NOT_A_NUMBER))
            continue
        numbers.append(number)
        times.append(_mixed_nanos(time))
        values.append(tuple(rest))
    table = np.array(values, dtype=np.float64).reshape(-1, JSON_FIELDS - 1)
    # Far beyond int64 ns; Python's integers hold it, the column must not.
    kept_times = [t if 0 <= t < TIME_LAST_NS else 0 for t in times]
    return RawColumns(
        file=path.name,
        row_word=row_word,
        row=np.array(numbers, dtype=np.int64),
        time_ns=np.array(kept_times, dtype=np.int64),
        open=table[:, 0],
        high=table[:, 1],
        low=table[:, 2],
        close=table[:, 3],
        volume=table[:, 4],
        bad=tuple(bad),
    )
