"""The recorded raw feed: counts, the clock's offset, bad lines, the best quote."""

import gzip
import json
from pathlib import Path

import pytest

from aegis.core.errors import TapeError
from aegis.twin.tape.model import tape_id
from aegis.twin.tape.raw_lines import BestQuote, RawFeedTape
from aegis.twin.tape.read import read_tape

EVENT_MS = 1_700_000_000_000


def read(spec: Path | str, *, from_ns: int | None = None, to_ns: int | None = None) -> RawFeedTape:
    """Open a raw feed."""
    tape = read_tape(str(spec), from_ns=from_ns, to_ns=to_ns, history_ns=0)
    assert isinstance(tape, RawFeedTape)
    return tape


def line(at: int, *, late_ms: int = 5, **fields: object) -> str:
    """Write one trade line, *at* ms into the recording."""
    event_ms = EVENT_MS + at
    message = {"e": "trade", "E": event_ms, "s": "BTCUSDT", "p": "10.0", "q": "1"} | fields
    return f"{(event_ms + late_ms) * 10**6} " + json.dumps({"stream": "x", "data": message})


def write(path: Path, lines: list[str]) -> Path:
    """Write the lines, plain."""
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_recorded_feed_is_yielded_in_order_and_counted(shared_data: Path) -> None:
    """All 93,953 messages come out, latency never negative, and the one odd line is named."""
    path = shared_data / "market/raw_feed/binance_usdm_btcusdt_20240808.gz"
    tape = read(path)
    quote = BestQuote()
    kinds = dict.fromkeys(("depthUpdate", "trade", "bookTicker"), 0)
    latest_ns = 0

    for ts_local_ns, ts_event_ns, kind, payload in tape.events():
        kinds[kind] += 1
        assert ts_event_ns <= ts_local_ns
        assert latest_ns <= ts_local_ns
        latest_ns = ts_local_ns
        if kind == "bookTicker":
            quote.update(payload)

    assert kinds == {"depthUpdate": 6551, "bookTicker": 66089, "trade": 21313}
    assert kinds == tape.report.yielded
    assert tape.report.lines_read == 93954
    assert [(one.reason, one.count, one.rows) for one in tape.report.skipped] == [
        ("depth snapshot of a REST answer (no event type)", 1, (55,))
    ]
    assert tape.offset_ns == 1_270_762_169
    assert (tape.symbol, tape.venue, quote.ignored) == ("BTCUSDT", "binance", 0)
    assert quote.mid is not None
    assert 61_000 < quote.mid < 63_000
    assert any("+1.270762 s" in said for said in tape.report.lines())
    assert "mid" in tape.label


def test_bad_lines_are_counted_by_reason_with_their_numbers(tmp_path: Path) -> None:
    """No space, no json, unknown or missing type, wrong types, another symbol: all counted."""
    lines = [line(at) for at in range(100)]
    lines[10] = "nospace"
    lines[11] = f"{EVENT_MS}000000 {{broken"
    lines[12] = line(12, e="kline")
    lines[13] = line(13, e=None)
    lines[14] = line(14, E="late")
    lines[15] = line(15, s="ETHUSDT")
    lines[16] = "12x4 {}"
    lines[17] = line(17, E=None)

    tape = read(write(tmp_path / "feed", lines))
    count = sum(1 for _ in tape.events())

    assert count == 92
    assert [(one.reason, one.rows) for one in tape.report.skipped] == [
        ("no space between time and message", (11,)),
        ("message is not json", (12,)),
        ("unknown event type", (13,)),
        ("no event type", (14,)),
        ("a field of the message has the wrong type", (15,)),
        ("another symbol", (16,)),
        ("local time is not a whole number of ns", (17,)),
        ("no event time or symbol", (18,)),
    ]


def test_a_clock_behind_the_venue_is_moved_and_one_ahead_is_left(tmp_path: Path) -> None:
    """Only negative latencies show an offset; the quickest message then took no time."""
    behind = read(write(tmp_path / "a", [line(at, late_ms=-1300 + at % 7) for at in range(50)]))
    ahead = read(write(tmp_path / "b", [line(at, late_ms=40) for at in range(50)]))

    assert (behind.offset_ns, ahead.offset_ns) == (1_300_000_000, 0)
    assert {0, 40_000_000} == {
        min(local - event for local, event, _, _ in tape.events()) for tape in (behind, ahead)
    }


def test_the_range_is_by_event_time(tmp_path: Path) -> None:
    """from is included, to is not; a range with nothing in it is refused."""
    path = write(tmp_path / "feed", [line(at) for at in range(100)])
    from_ns = (EVENT_MS + 20) * 10**6

    tape = read(path, from_ns=from_ns, to_ns=from_ns + 30 * 10**6)
    events = list(tape.events())

    assert (len(events), tape.report.outside) == (30, 70)
    assert from_ns == events[0].ts_event_ns
    with pytest.raises(TapeError, match="no messages from"):
        read(path, from_ns=from_ns + 10**12)


def test_a_cut_or_unbelievable_feed_is_refused_with_the_line(
    shared_data: Path, tmp_path: Path
) -> None:
    """A truncated gz ends in an error naming the line, so does one bad line in five."""
    whole = (shared_data / "market/raw_feed/binance_usdm_btcusdt_20240808.gz").read_bytes()
    cut = tmp_path / "feed.gz"
    cut.write_bytes(whole[:400_000])
    garbage = [line(at) if at % 5 else "garbage" for at in range(1, 200)]

    with pytest.raises(TapeError, match="cut or damaged") as caught:
        list(read(cut).events())
    assert caught.value.row is not None
    assert caught.value.row > 2_000
    with pytest.raises(TapeError, match="39 of 199 lines"):
        list(read(write(tmp_path / "garbage", garbage)).events())


def test_a_feed_is_binance_and_needs_something_to_play(tmp_path: Path) -> None:
    """bybit: is refused, so is a feed without a single known message of the symbol."""
    path = write(tmp_path / "feed", [line(at) for at in range(10)])

    with pytest.raises(TapeError, match="leave out bybit:"):
        read(f"bybit:{path}")
    with pytest.raises(TapeError, match="of ETHUSDT"):
        read(f"{path}=ETHUSDT")


def test_the_identity_follows_the_bytes_and_the_range(tmp_path: Path) -> None:
    """Another recording or another range is another market."""
    lines = [line(at) for at in range(100)]
    path = write(tmp_path / "feed", lines)
    packed = tmp_path / "feed.gz"
    packed.write_bytes(gzip.compress("\n".join(lines[1:]).encode()))
    cut_ns = (EVENT_MS + 50) * 10**6

    assert tape_id([read(path)], 1) == tape_id([read(path)], 1)
    assert (
        len(
            {
                tape_id([read(path)], 1),
                tape_id([read(packed)], 1),
                tape_id([read(path, to_ns=cut_ns)], 1),
            }
        )
        == 3
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"b": "NaN"},
        {"b": "11"},
        {"b": "-1"},
        {"B": "-1"},
        {"a": "x"},
        {"a": 10.5},
    ],
)
def test_a_quote_that_cannot_be_believed_is_ignored_and_counted(fields: dict[str, object]) -> None:
    """Crossed, negative or unreadable quotes leave the last good one in place."""
    good = {"b": "10.0", "B": "1", "a": "10.2", "A": "2"}
    quote = BestQuote()

    assert BestQuote().mid is None
    assert quote.update(json.dumps(good).encode())
    assert not quote.update(json.dumps(good | fields).encode())
    assert (quote.mid, quote.ignored) == (10.1, 1)
