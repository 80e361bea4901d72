"""Minutes of recorded real quotes through the data actor: every frame accounted for (R2, R4)."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from aegis.core.virtual_loop import run_virtual
from aegis.data.feed import StreamAccount
from aegis.data.firewall import QUOTE
from aegis.model.events import MarketTick
from aegis.model.instrument import Instrument, Venue, instrument_id
from aegis.model.market import QuoteFrame
from aegis.twin.tape.raw_lines import open_raw_feed

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
FEED = "market/raw_feed/binance_usdm_btcusdt_20240808.gz"
FRAMES = 66_089


class _BookTicker(msgspec.Struct):
    b: float
    B: float
    a: float
    A: float


def frames_of(path: Path) -> list[QuoteFrame]:
    """Return the best bid and ask of every bookTicker line, as an adapter would decode it."""
    decode = msgspec.json.Decoder(_BookTicker, strict=False).decode
    tape = open_raw_feed(path, symbol="BTCUSDT", from_ns=None, to_ns=None)
    frames = []
    for event in tape.events():
        if event.kind == "bookTicker":
            told = decode(event.payload)
            frames.append(
                QuoteFrame(
                    instrument_id=BTC,
                    ts_event=event.ts_event_ns,
                    ts_recv=event.ts_local_ns,
                    bid=told.b,
                    bid_qty=told.B,
                    ask=told.a,
                    ask_qty=told.A,
                )
            )
    return frames


def test_every_recorded_quote_is_delivered_merged_or_refused(
    shared_data: Path, desk_of: Callable[..., Any], market: tuple[Instrument, ...]
) -> None:
    """R4: 66,089 real frames in uneven bursts; ticks are those of a plain model."""
    frames = frames_of(shared_data / FEED)
    dice = random.Random(7)

    async def run() -> None:
        desk = desk_of(market)
        expected: list[tuple[float, float]] = []
        begin = 0
        while begin < len(frames):
            burst = frames[begin : begin + dice.randint(1, 40)]
            begin += len(burst)
            for frame in burst:
                desk.data.on_quote(frame)
            newest = (burst[-1].bid, burst[-1].ask)
            if not expected or expected[-1] != newest:
                expected.append(newest)
            await asyncio.sleep(0)

        ticks = desk.of(MarketTick)
        assert expected == [(tick.bid, tick.ask) for tick in ticks]
        account = desk.data.accounts().streams[QUOTE]
        merged = FRAMES - len(expected)
        assert account == StreamAccount(
            produced=FRAMES, delivered=len(expected), merged=merged, rejected=0, pending=0
        )
        assert {} == desk.data.accounts().rejections
        assert desk.data.latencies()[BTC].max_ns >= 0

    run_virtual(run())
