"""Reading real tapes in every accepted format, and the files found beside them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from aegis.core.errors import TapeError
from aegis.twin.tape.model import DAY_NS, HOUR_NS, MINUTE_NS, CandleTape, tape_id
from aegis.twin.tape.read import parse_spec, read_tape, symbol_from_name

START_MS = 1_700_006_400_000


def read(
    spec: Path | str,
    *,
    from_ns: int | None = None,
    to_ns: int | None = None,
    history_ns: int = 0,
) -> CandleTape:
    """Read a candle tape, whole by default."""
    tape = read_tape(str(spec), from_ns=from_ns, to_ns=to_ns, history_ns=history_ns)
    assert isinstance(tape, CandleTape)
    return tape


def vision_line(minute: int, *, micros: bool = False) -> str:
    """Write one minute of a data.binance.vision file."""
    open_ms = START_MS + minute * 60_000
    scale = 1000 if micros else 1
    return f"{open_ms * scale},10.0,10.5,9.5,10.2,5.0,{(open_ms + 59_999) * scale},51,7,2,20,0"


@pytest.mark.parametrize(
    ("name", "symbol", "timeframe_ns", "bars", "marks", "fundings"),
    [
        (
            "binance_usdm/2025-05_1m/BTCUSDT-1m-futures.feather",
            "BTCUSDT",
            MINUTE_NS,
            43199,
            90,
            266,
        ),
        (
            "bybit_linear/2025-2026_5m/BTCUSDT-5m-futures.feather",
            "BTCUSDT",
            5 * MINUTE_NS,
            86604,
            7217,
            902,
        ),
        (
            "freqtrade_testdata/XRP_USDT_USDT-5m-futures.feather",
            "XRPUSDT",
            5 * MINUTE_NS,
            1999,
            100,
            91,
        ),
        (
            "binance_usdm/2022_5m/1INCHUSDT-5m-futures.json.gz",
            "1INCHUSDT",
            5 * MINUTE_NS,
            50893,
            529,
            529,
        ),
        (
            "binance_usdm/vision_csv_1m/FILUSDT-1m-2023-08.csv.gz",
            "FILUSDT",
            MINUTE_NS,
            44640,
            0,
            0,
        ),
    ],
)
def test_every_recorded_format_is_read_whole(
    shared_data: Path,
    name: str,
    symbol: str,
    timeframe_ns: int,
    bars: int,
    marks: int,
    fundings: int,
) -> None:
    """Feather, json.gz and csv.gz give all their bars, with mark and funding from beside them."""
    tape = read(shared_data / "market" / name)

    assert (symbol, timeframe_ns, bars) == (tape.symbol, tape.timeframe_ns, len(tape.open_ns))
    assert marks == (0 if tape.mark is None else len(tape.mark.times_ns))
    assert fundings == (0 if tape.funding is None else len(tape.funding.times_ns))
    assert (tape.report.rejected, tape.report.gaps) == ((), ())
    assert tape.report.rows_read == bars
    assert not tape.generated


def test_basis_is_mark_close_minus_the_candle_that_ends_with_it(shared_data: Path) -> None:
    """The first 8h mark inside the BTC tape closes at 00:00 UTC against the 23:59 candle."""
    tape = read(shared_data / "market/binance_usdm/2025-05_1m/BTCUSDT-1m-futures.feather")
    assert tape.mark is not None

    times, basis = tape.mark.times_ns, tape.mark.basis

    assert bool(np.all(times % (8 * HOUR_NS) == 0))
    assert bool(np.all(np.abs(basis) < 0.005 * 95_000))
    assert float(np.abs(basis).max()) > 0


def test_funding_comes_from_the_open_column_on_the_full_hour(shared_data: Path) -> None:
    """Settlements stamped a few ms late are moved to the hour, and the report says so."""
    tape = read(shared_data / "market/binance_usdm/2025-05_1m/BTCUSDT-1m-futures.feather")
    assert tape.funding is not None

    assert bool(np.all(tape.funding.times_ns % HOUR_NS == 0))
    assert tape.funding.rates[0] == 6.818e-05
    assert any("moved back to the full hour" in line for line in tape.report.lines())


def test_real_outages_stay_gaps(shared_data: Path) -> None:
    """The spot file's 27 outages (127 bars) are listed and no bars are made up."""
    tape = read(shared_data / "market/binance_spot/ETHUSDT-1h-2017-2022.json.gz")

    assert (len(tape.report.gaps), sum(gap.bars for gap in tape.report.gaps)) == (27, 127)
    assert len(tape.open_ns) == 45345


def test_from_to_and_history_cut_the_tape(shared_data: Path) -> None:
    """Bars from (from - history) up to, not including, to are loaded; play begins at from."""
    path = shared_data / "market/binance_usdm/2025-05_1m/BTCUSDT-1m-futures.feather"
    whole = read(path)
    from_ns = whole.first_ns + 2 * DAY_NS

    tape = read(path, from_ns=from_ns, to_ns=from_ns + HOUR_NS, history_ns=DAY_NS)

    assert (from_ns - DAY_NS, from_ns + HOUR_NS) == (tape.first_ns, tape.end_ns)
    assert from_ns == tape.play_from_ns
    assert tape.report.rows_played == 1500


def test_without_from_play_begins_after_the_history(shared_data: Path) -> None:
    """The history is taken from the file's own first bars; a short file plays without one."""
    path = shared_data / "market/binance_usdm/2025-05_1m/BTCUSDT-1m-futures.feather"

    long_enough = read(path, history_ns=3 * DAY_NS)
    too_short = read(path, history_ns=300 * DAY_NS)

    assert long_enough.first_ns + 3 * DAY_NS == long_enough.play_from_ns
    assert too_short.first_ns == too_short.play_from_ns
    assert any("without history" in line for line in too_short.report.lines())


def test_a_range_without_rows_names_the_range_there_is(shared_data: Path) -> None:
    """--from after the end is refused with the dates one may choose."""
    path = shared_data / "market/binance_usdm/2025-05_1m/BTCUSDT-1m-futures.feather"

    with pytest.raises(TapeError, match=r"2025-05-04 15:33:00 \.\. 2025-06-03 15:32:00"):
        read(path, from_ns=1_760_000_000 * 10**9)
    with pytest.raises(TapeError, match="is not after --from"):
        read(path, from_ns=1_747_000_000 * 10**9, to_ns=1_747_000_000 * 10**9)


@pytest.mark.parametrize(
    ("spec", "venue", "symbol", "path"),
    [
        ("a/BTCUSDT-1m.csv", None, None, "a/BTCUSDT-1m.csv"),
        ("bybit:BTCUSDT-1m.csv", "bybit", None, "BTCUSDT-1m.csv"),
        ("binance:x.csv=ETHUSDT", "binance", "ETHUSDT", "x.csv"),
        ("x=1.csv", None, None, "x=1.csv"),
        ("C:x.csv", None, None, "C:x.csv"),
    ],
)
def test_a_spec_names_face_file_and_symbol(
    spec: str, venue: str | None, symbol: str | None, path: str
) -> None:
    """Only binance: and bybit: are faces, only =SYMBOL in capitals is a symbol."""
    parsed = parse_spec(spec)

    assert (venue, symbol, Path(path)) == (parsed.venue, parsed.symbol, parsed.path)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTCUSDT-1m-futures.feather", "BTCUSDT"),
        ("BTC_USDT_USDT-5m-futures.feather", "BTCUSDT"),
        ("1INCH_USDT-5m-futures.json", "1INCHUSDT"),
        ("FILUSDT-1m-2023-08.csv.gz", "FILUSDT"),
        ("candles.csv", None),
    ],
)
def test_the_symbol_is_read_from_the_name(name: str, symbol: str | None) -> None:
    """Both freqtrade's and the exchange's own naming are understood."""
    assert symbol == symbol_from_name(name)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("micros", [True, False])
def test_vision_csv_with_and_without_header_in_ms_and_micros(
    tmp_path: Path, header: bool, micros: bool
) -> None:
    """The four layouts data.binance.vision has used give the same candles."""
    names = "open_time,open,high,low,close,volume,close_time,quote_volume,count,a,b,ignore"
    lines = [names] * header + [vision_line(at, micros=micros) for at in range(30)]
    path = tmp_path / "FILUSDT-1m-2023-08.csv"
    path.write_text("\n".join(lines) + "\n")

    tape = read(f"bybit:{path}")

    assert (tape.symbol, tape.venue, len(tape.open_ns)) == ("FILUSDT", "bybit", 30)
    assert tape.first_ns == START_MS * 1_000_000
    assert (
        tape.open[0],
        tape.high[0],
        tape.low[0],
        tape.close[0],
        tape.volume[0],
    ) == (10.0, 10.5, 9.5, 10.2, 5.0)


def test_a_file_without_a_symbol_in_its_name_asks_for_it(tmp_path: Path) -> None:
    """The fix says how to name the symbol, and naming it works."""
    path = tmp_path / "candles.csv"
    path.write_text("\n".join(vision_line(at) for at in range(5)))

    with pytest.raises(TapeError, match="=BTCUSDT"):
        read(path)
    assert read(f"{path}=ETHUSDT").symbol == "ETHUSDT"


def test_the_tape_id_follows_content_symbol_and_seed_only(tmp_path: Path) -> None:
    """The same rows under another name are the same market; any change makes another."""
    rows = [[START_MS + at * 60_000, 10.0, 10.5, 9.5, 10.2, 5.0] for at in range(20)]
    first = tmp_path / "BTCUSDT-1m-futures.json"
    first.write_text(json.dumps(rows))
    second = tmp_path / "other.json.gz"
    second.write_bytes(gzip.compress(json.dumps(rows).encode()))
    rows[7][5] = 5.1
    third = tmp_path / "ETHUSDT-1m-futures.json"
    third.write_text(json.dumps(rows))
    one, same, other = read(first), read(f"{second}=BTCUSDT"), read(third)

    assert tape_id([one, other], 7) == tape_id([other, same], 7)
    assert len({tape_id([one], 7), tape_id([other], 7), tape_id([one], 8), tape_id([], 7)}) == 4
    assert len(tape_id([one], 7)) == 16
