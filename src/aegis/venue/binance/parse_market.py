"""
Market frames and klines of Binance as model values. Pure.

Floats are handed on as they came, NaN included: the data firewall judges values, this file shapes.
"""

from typing import Final

from aegis.model.instrument import InstrumentId, Venue, instrument_id
from aegis.model.market import (
    TIMEFRAME_NAMES,
    Candle,
    DepthFrame,
    DepthKind,
    KlineFrame,
    MarkFrame,
    QuoteFrame,
)
from aegis.venue.binance import wire
from aegis.venue.binance.frames import NS_PER_MS, Ack, Unknown, market_frame, row, rows

MarketFact = QuoteFrame | MarkFrame | KlineFrame | DepthFrame | Ack | Unknown

TIMEFRAMES_NS: Final = {name: timeframe_ns for timeframe_ns, name in TIMEFRAME_NAMES.items()}


def parse_market(frame: bytes, ts_recv: int) -> MarketFact:
    """
    Turn a frame of /public or /market into a fact.

    Raises:
        VenueProtocolError: the bytes are no message of the venue.

    """
    event = market_frame(frame)
    if isinstance(event, wire.BookTicker):
        return QuoteFrame(
            instrument_id=instrument_id(event.symbol, Venue.BINANCE),
            ts_event=event.transaction_ms * NS_PER_MS,
            ts_recv=ts_recv,
            bid=event.bid,
            bid_qty=event.bid_qty,
            ask=event.ask,
            ask_qty=event.ask_qty,
            update_id=event.update_id,
        )
    if isinstance(event, wire.MarkPriceUpdate):
        return MarkFrame(
            instrument_id=instrument_id(event.symbol, Venue.BINANCE),
            ts_event=event.event_ms * NS_PER_MS,
            ts_recv=ts_recv,
            mark=event.mark,
        )
    if isinstance(event, wire.Kline):
        return _kline(event, ts_recv)
    if isinstance(event, wire.DepthUpdate):
        return DepthFrame(
            instrument_id=instrument_id(event.symbol, Venue.BINANCE),
            ts_event=event.event_ms * NS_PER_MS,
            ts_recv=ts_recv,
            kind=DepthKind.DELTA,
            first_update_id=event.first_id,
            last_update_id=event.last_id,
            previous_update_id=event.previous_id,
            bids=event.bids,
            asks=event.asks,
        )
    return event


def _kline(event: wire.Kline, ts_recv: int) -> KlineFrame | Unknown:
    bar = event.bar
    timeframe_ns = TIMEFRAMES_NS.get(bar.interval)
    if timeframe_ns is None:
        return Unknown(f"kline {bar.interval}")
    return KlineFrame(
        ts_event=event.event_ms * NS_PER_MS,
        ts_recv=ts_recv,
        candle=Candle(
            instrument_id=instrument_id(bar.symbol, Venue.BINANCE),
            timeframe_ns=timeframe_ns,
            open_ns=bar.open_ms * NS_PER_MS,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
        ),
        closed=bar.closed,
    )


def parse_depth_snapshot(answer: object, instrument: InstrumentId, ts_recv: int) -> DepthFrame:
    """
    Turn the answer of /fapi/v1/depth into a snapshot.

    Raises:
        VenueProtocolError: a field is missing or unreadable.

    """
    book = row(answer, wire.DepthRow, "depth")
    return DepthFrame(
        instrument_id=instrument,
        ts_event=book.event_ms * NS_PER_MS,
        ts_recv=ts_recv,
        kind=DepthKind.SNAPSHOT,
        first_update_id=book.last_update_id,
        last_update_id=book.last_update_id,
        previous_update_id=book.last_update_id,
        bids=book.bids,
        asks=book.asks,
    )


def parse_klines(answer: object, instrument: InstrumentId, timeframe_ns: int) -> tuple[Candle, ...]:
    """
    Turn the answer of /fapi/v1/klines into bars, in its order (oldest first); open ones included.

    Raises:
        VenueProtocolError: the answer is no array of kline rows.

    """
    return tuple(
        Candle(
            instrument_id=instrument,
            timeframe_ns=timeframe_ns,
            open_ns=bar.open_ms * NS_PER_MS,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
        )
        for bar in rows(answer, wire.KlineColumns, "klines")
    )
