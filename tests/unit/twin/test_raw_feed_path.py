"""A recording as the engine's path and as frames: staircase, candles, levels, REST book."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from aegis.core.errors import TapeError
from aegis.twin.boot import TwinShape, build_twin, recorded_market
from aegis.twin.tape.raw_feed import LEAD_MAX_NS, LEAD_NS, RawFeed, lead_for, load_raw_feed
from aegis.twin.tape.raw_lines import open_raw_feed
from aegis.twin.tape.raw_path import TAIL_NS, WAKE_NS, RecordedBook
from aegis.twin.tape.raw_player import RecordedFrames

EVENT_MS = 1_700_000_040_000  # a full minute
EVENT_NS = EVENT_MS * 10**6
MINUTE_NS = 60 * 10**9


def line(at_ms: int, **message: object) -> str:
    """Write one line, received with its event, *at_ms* into the recording."""
    stamped = {"E": EVENT_MS + at_ms, "T": EVENT_MS + at_ms, "s": "BTCUSDT"} | message
    return f"{(EVENT_MS + at_ms) * 10**6} " + json.dumps({"stream": "x", "data": stamped})


def quote(at_ms: int, bid: str, ask: str, u: int = 1) -> str:
    """Write a bookTicker."""
    return line(at_ms, e="bookTicker", u=u, b=bid, B="1.500", a=ask, A="2.500")


def depth(at_ms: int, first: int, last: int, bids: list[list[str]]) -> str:
    """Write a depthUpdate."""
    return line(at_ms, e="depthUpdate", U=first, u=last, pu=first - 1, b=bids, a=[])


def trade(at_ms: int, qty: str) -> str:
    """Write a trade."""
    return line(at_ms, e="trade", p="100.0", q=qty)


def snapshot(at_ms: int, last: int) -> str:
    """Write a REST answer."""
    body = {"lastUpdateId": last, "E": 1, "T": 1, "bids": [["99.90", "4.000"]], "asks": []}
    return f"{(EVENT_MS + at_ms) * 10**6} {json.dumps(body)}"


LINES = [
    depth(-20_000, 1, 5, [["90.00", "1.000"]]),
    quote(-10_000, "99.90", "100.10"),
    snapshot(-9_500, 8),
    depth(-9_000, 6, 9, [["99.80", "3.000"]]),
    trade(1_000, "0.250"),
    quote(20_000, "101.90", "102.30"),
    quote(20_000, "101.80", "102.20"),
    trade(30_000, "0.500"),
    depth(40_000, 10, 12, [["99.90", "0.000"], ["99.70", "2.000"]]),
    quote(61_000, "98.90", "99.10"),
    quote(121_000, "98.90", "99.10"),
]


def write(tmp_path: Path, lines: list[str]) -> Path:
    """Write a plain recording."""
    path = tmp_path / "feed.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def feed_of(tmp_path: Path, lines: list[str]) -> RawFeed:
    """Load a recording."""
    return load_raw_feed(
        open_raw_feed(write(tmp_path, lines), symbol=None, from_ns=None, to_ns=None)
    )


def test_the_mid_holds_until_the_next_quote(tmp_path: Path) -> None:
    """Vertices where the mid changes and every 250 ms; of two quotes at one time the last."""
    path = feed_of(tmp_path, LINES).path
    at = EVENT_NS + 20_000 * 10**6
    assert path.first_ns == EVENT_NS - 20_000 * 10**6
    assert path.last_ns == EVENT_NS + 121_000 * 10**6 + TAIL_NS
    assert [100.0, 100.0, 102.0] == [path.price_at(t) for t in (path.first_ns, at - 1, at)]
    assert EVENT_NS + WAKE_NS == path.next_point_after(EVENT_NS)
    assert at == path.next_crossing(at - WAKE_NS, 101.0, 1, on_mark=False)
    assert (102.0, None) == (path.mark_at(at), path.next_point_after(path.last_ns))


def test_only_whole_candles_are_closed(tmp_path: Path) -> None:
    """Two whole minutes lie inside; a bar opens at the price held, volume is that of the trades."""
    path = feed_of(tmp_path, LINES).path
    candles = path.candles(MINUTE_NS, None, path.last_ns, 10)
    assert [EVENT_NS, EVENT_NS + MINUTE_NS] == candles.open_ns.tolist()
    assert [100.0, 102.0] == candles.open.tolist()
    assert [102.0, 102.0] == candles.high.tolist()
    assert [100.0, 99.0] == candles.low.tolist()
    assert [102.0, 99.0] == candles.close.tolist()
    assert [0.75, 0.0] == candles.volume.tolist()
    assert 0 == len(path.candles(5 * MINUTE_NS, None, path.last_ns, 10))


def test_the_running_candle_follows_the_path(tmp_path: Path) -> None:
    """Asked forwards, backwards and before the start, the answer depends on the time alone."""
    path = feed_of(tmp_path, LINES).path
    early, late = EVENT_NS + 5 * 10**9, EVENT_NS + 45 * 10**9
    first, second, again = (path.partial_candle(MINUTE_NS, t) for t in (early, late, early))
    assert first is not None
    assert second is not None
    assert (100.0, 100.0, 0.25) == (first.high, first.close, first.volume)
    assert (100.0, 102.0, 100.0, 102.0) == (second.open, second.high, second.low, second.close)
    assert first == again
    assert path.partial_candle(MINUTE_NS, path.first_ns - 1) is None


def test_the_engine_trades_on_recorded_best_levels(tmp_path: Path) -> None:
    """Best bid and ask with their quantities are recorded, what is behind them is made."""
    feed = feed_of(tmp_path, LINES)
    book = RecordedBook(seed=1, tick_size=0.1, qty_step=0.001, quotes=feed.quotes)
    made = book.book_at("BTCUSDT", EVENT_NS, 100.0)
    assert (99.9, 1.5, 100.1, 2.5) == (made.bid, made.bid_qty, made.ask, made.ask_qty)
    assert len(made.bids) == len(made.asks) == book.levels
    assert all(a.price > b.price for a, b in zip(made.bids, made.bids[1:], strict=False))


def test_frames_are_played_once_and_counted(tmp_path: Path) -> None:
    """Subscribers get the recorded bytes under every name of the stream; trades are left out."""
    market = recorded_market(
        [str(write(tmp_path, LINES))], from_ns=None, to_ns=None, seed=1, venues=("binance", "bybit")
    )
    raw = market.raw
    assert raw is not None
    assert ["binance"] == [v for v in ("binance", "bybit") if market.symbols_of(v)]
    assert market.lines[-1] == "bybit is left out: feed.txt is a Binance recording"
    shape = TwinShape(
        seed=1, wallet=Decimal(10_000), spread_bps=1.0, depth_usdt=1e5, quote_interval_ns=None
    )
    twin = build_twin(
        market, shape, start_ns=market.start_ns, wall_ms=lambda: 0, api_key="k", api_secret="s"
    )
    twin.world.advance(EVENT_NS - 9_700 * 10**6)
    got: list[bytes] = []
    names = "btcusdt@bookTicker/btcusdt@depth@0ms/btcusdt@depth@100ms/btcusdt@depth"
    session = twin.faces["binance"].open_stream(
        f"/public/stream?streams={names}", send=got.append, close=lambda reason: None
    )
    assert session is not None
    twin.world.advance(market.end_ns)
    bodies = [json.loads(one) for one in got]
    assert 4 == sum(one["stream"] == "btcusdt@bookTicker" for one in bodies)
    assert 6 == sum("@depth" in one["stream"] for one in bodies)
    assert raw.payloads[-1] in got[-1]
    assert [
        "binance BTCUSDT: recorded depthUpdate: 2 sent, 1 while nobody had subscribed",
        "binance BTCUSDT: recorded bookTicker: 4 sent, 1 while nobody had subscribed",
    ] == twin.recorded_lines()


def test_rest_depth_is_the_snapshot_and_what_was_played(tmp_path: Path) -> None:
    """Diffs older than the snapshot are left out, later ones applied, best levels first."""
    feed = feed_of(tmp_path, LINES)
    frames = RecordedFrames(feed, feed.start_ns)
    early = frames.depth(10)
    assert early is not None
    assert (8, [("99.90", "4.000")]) == (early.last_update_id, early.bids)
    assert 3 == len(frames.due(EVENT_NS))
    now = frames.depth(10)
    assert now is not None
    assert (9, [("99.90", "4.000"), ("99.80", "3.000")]) == (now.last_update_id, now.bids)
    assert 5 == len(frames.due(feed.end_ns))
    end = frames.depth(1)
    assert end is not None
    assert (12, [("99.80", "3.000")]) == (end.last_update_id, end.bids)
    assert 0 == frames.pending


@pytest.mark.parametrize("last", [None, 5_000, 0])
def test_a_snapshot_that_fits_no_diff_is_not_used(tmp_path: Path, last: int | None) -> None:
    """A made-up or foreign book would fit none of the recorded diffs: REST depth is refused."""
    kept = [one for one in LINES if "lastUpdateId" not in one]
    feed = feed_of(tmp_path, kept if last is None else [snapshot(-30_000, last), *kept])
    assert feed.snapshot is None
    assert any("REST depth is refused" in said for said in feed.lines)
    assert RecordedFrames(feed, feed.start_ns).depth(5) is None


def test_play_begins_before_the_first_message() -> None:
    """Two seconds of the operator's time, at least 5 s and at most 240 s of the market's."""
    assert [LEAD_NS, LEAD_NS, 120 * 10**9, LEAD_MAX_NS] == [
        lead_for(speed) for speed in (None, 1.0, 60.0, 3600.0)
    ]


def test_quotes_nobody_can_believe_make_no_market(tmp_path: Path) -> None:
    """A feed without a single sane quote is refused with the reason."""
    with pytest.raises(TapeError, match="no bookTicker of BTCUSDT that can be believed"):
        feed_of(tmp_path, [quote(0, "-1", "2"), quote(5, "nan", "2")])
