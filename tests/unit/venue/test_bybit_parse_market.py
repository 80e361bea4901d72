"""Public frames to quotes, marks and bars."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from aegis.core.errors import VenueProtocolError
from aegis.model.instrument import Venue, instrument_id
from aegis.model.market import Candle, KlineFrame, MarkFrame, QuoteFrame
from aegis.venue.bybit.frames import Answer, DataFrame, Unknown, read_frame
from aegis.venue.bybit.parse_market import MarketReader, closed_candles, mark_price_of

BTC = instrument_id("BTCUSDT", Venue.BYBIT)
MS = 1_000_000
MINUTE = 60_000 * MS


def _frame(topic: str, data: Any, kind: str = "snapshot") -> DataFrame:
    frame = read_frame(orjson.dumps({"topic": topic, "type": kind, "ts": 1000, "data": data}))
    assert isinstance(frame, DataFrame)
    return frame


def _mark(reader: MarketReader, data: dict[str, str], kind: str) -> Any:
    return reader.read(_frame("tickers.BTCUSDT", {"symbol": "BTCUSDT"} | data, kind), 9)


def test_a_tickers_delta_is_merged_and_never_read_alone() -> None:
    """A delta before the snapshot tells nothing; after it, it changes only what it names."""
    reader = MarketReader()
    assert () == _mark(reader, {"markPrice": "1.5"}, "delta")
    assert () == _mark(reader, {"markPrice": "", "lastPrice": "2.5"}, "snapshot")
    assert (
        MarkFrame(instrument_id=BTC, ts_event=1000 * MS, ts_recv=9, mark=2.0, last=2.5),
    ) == _mark(reader, {"markPrice": "2.0"}, "delta")
    (merged,) = _mark(reader, {"lastPrice": "3.0"}, "delta")
    assert (2.0, 3.0) == (merged.mark, merged.last)
    reader.reset("BTCUSDT")
    assert () == _mark(reader, {"lastPrice": "4.0"}, "delta")


def test_the_top_of_book_needs_both_sides() -> None:
    """A side that is empty leaves no quote, not a zero price; a delta changes one side."""
    reader = MarketReader()

    def read(bids: list[list[str]], asks: list[list[str]], kind: str) -> Any:
        data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": 1, "seq": 2}
        return reader.read(_frame("orderbook.1.BTCUSDT", data, kind), 9)

    assert () == read([["10", "1"]], [], "snapshot")
    assert (
        QuoteFrame(
            instrument_id=BTC,
            ts_event=1000 * MS,
            ts_recv=9,
            bid=10.0,
            bid_qty=1.0,
            ask=10.5,
            ask_qty=2.0,
        ),
    ) == read([], [["10.5", "2"]], "delta")
    (moved,) = read([["10", "0"], ["9.5", "3"]], [], "delta")
    assert (9.5, 3.0, 10.5) == (moved.bid, moved.bid_qty, moved.ask)
    assert () == read([["9.5", "0"]], [], "delta")


def test_a_bar_of_the_stream() -> None:
    """A kline row becomes a bar of its topic's symbol and length."""
    row = {
        "start": 300_000,
        "end": 599_999,
        "interval": "5",
        "open": "1",
        "high": "4",
        "low": "0.5",
        "close": "2",
        "volume": "7",
        "turnover": "8",
        "confirm": True,
        "timestamp": 600_001,
    }
    candle = Candle(
        instrument_id=BTC,
        timeframe_ns=5 * MINUTE,
        open_ns=5 * MINUTE,
        open=1.0,
        high=4.0,
        low=0.5,
        close=2.0,
        volume=7.0,
    )
    assert (
        KlineFrame(ts_event=600_001 * MS, ts_recv=9, candle=candle, closed=True),
    ) == MarketReader().read(_frame("kline.5.BTCUSDT", [row]), 9)


@pytest.mark.parametrize("topic", ["orderbook.50.BTCUSDT", "kline_lt.5.X", "kline.W.X", "liq.X"])
def test_other_topics_are_unknown(topic: str) -> None:
    """A topic without use is typed Unknown, never fatal."""
    assert Unknown(what=f"topic {topic}") == MarketReader().read(_frame(topic, {}), 9)


@pytest.mark.parametrize(
    ("topic", "data"),
    [
        ("orderbook.1.X", {"s": "X", "b": [["a", "1"]], "a": []}),
        ("orderbook.1.X", []),
        ("tickers.X", {"symbol": "X", "markPrice": "abc"}),
        ("tickers.X", {"markPrice": "1"}),
        ("kline.5.X", [{"start": 1}]),
        ("kline.5.X", None),
    ],
)
def test_malformed_data_are_a_protocol_error(topic: str, data: Any) -> None:
    """Data that are not what their topic says raise the one typed error."""
    with pytest.raises(VenueProtocolError):
        MarketReader().read(_frame(topic, data), 9)


def test_history_is_turned_around_and_the_open_bar_left_out() -> None:
    """The venue sends newest first with the open bar; we return closed bars, oldest first."""
    rows = [[str(start), "1", "2", "0.5", "1.5", "3", "4"] for start in (120_000, 60_000, 0)]
    answer = Answer(operation="get_kline", result={"list": rows})
    candles = closed_candles(answer, BTC, MINUTE, 2 * MINUTE)
    assert [0, MINUTE] == [candle.open_ns for candle in candles]


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "NaN"])
def test_a_mark_price_that_is_not_told_is_an_error(text: str) -> None:
    """R43: an unknown price is never a number."""
    result = {"list": [{"symbol": "BTCUSDT", "markPrice": text}]}
    with pytest.raises(VenueProtocolError, match="no mark price"):
        mark_price_of(Answer(operation="get_tickers", result=result), "BTCUSDT")


def test_the_mark_price_is_read_as_decimal() -> None:
    """The mark price comes as the venue wrote it."""
    result = {"list": [{"symbol": "BTCUSDT", "markPrice": "60000.10"}]}
    answer = Answer(operation="get_tickers", result=result)
    assert Decimal("60000.10") == mark_price_of(answer, "BTCUSDT")
