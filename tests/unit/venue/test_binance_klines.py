"""How Binance's bars are asked for: no more of them than wanted, so that a page weighs little."""

import asyncio
import json
from urllib.parse import parse_qs

import pytest

from aegis.core.clock import NS_PER_MS, NS_PER_S, VirtualClock
from aegis.core.offload import InlineOffload
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.instrument import Venue, instrument_id
from aegis.venue.binance import limits
from aegis.venue.binance.errors import classify
from aegis.venue.binance.klines import read_candles
from aegis.venue.binance.rest import BinanceRest
from aegis.venue.calls import CallRunner
from aegis.venue.gate import RequestGate

MINUTE_NS = 60 * NS_PER_S
NOW_NS = 1_600_000_020 * NS_PER_S
"""The first second of a minute."""


class Bars:
    """A venue that has a bar for every minute, and notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer klines."""
        asked = {name: values[0] for name, values in parse_qs(request.query).items()}
        self.asked.append(int(asked["limit"]))
        span_ms = MINUTE_NS // NS_PER_MS
        first_ms = -(-int(asked["startTime"]) // span_ms) * span_ms
        opens = range(first_ms, int(asked["endTime"]) + 1, span_ms)[: int(asked["limit"])]
        rows = [
            [at, "1", "2", "1", "1", "5", at + span_ms - 1, "5", 1, "1", "1", "0"] for at in opens
        ]
        return HttpResponse(status=200, body=json.dumps(rows).encode())


def _read(bars_back: int, shift_ns: int = 0) -> tuple[int, list[int], int]:
    """Read the last bars; return how many came, what was asked for, and the weight charged."""
    bars = Bars()

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(NOW_NS, loop)
        ledger = limits.new_ledger(25)
        gate = RequestGate(
            venue=Venue.BINANCE, ledger=ledger, clock=clock, publish=lambda _event: None
        )
        calls = CallRunner(
            venue=Venue.BINANCE,
            publish=lambda _event: None,
            clock=clock,
            classify=classify,
            gate=gate,
        )
        rest = BinanceRest(
            base_url="http://twin",
            api_key="key",
            api_secret="secret",
            http=bars,
            offload=InlineOffload(0.001, 0.001),
            calls=calls,
            clock=clock,
            recv_window_ms=5000,
            request_timeout_s=5.0,
        )
        start_ns = NOW_NS - bars_back * MINUTE_NS + shift_ns
        instrument = instrument_id("BTCUSDT", Venue.BINANCE)
        found = await read_candles(rest, clock, instrument, MINUTE_NS, start_ns, NOW_NS)
        used = ledger.used(limits.WEIGHT_1M, clock.now_ns())
        await rest.close()
        gate.stop()
        return len(found), used

    found, used = run_virtual(main())
    return found, bars.asked, used


@pytest.mark.parametrize(
    ("bars_back", "asked", "weight"),
    [(5, [5], 1), (400, [400], 2), (1500, [1500], 10), (1600, [1500, 100], 12)],
)
def test_no_more_bars_are_asked_for_than_are_wanted(
    bars_back: int, asked: list[int], weight: int
) -> None:
    """A warm-up of 38 symbols and 3 timeframes at 400 bars weighs 228 of 2400, not 1140 (R31)."""
    assert (bars_back, asked, weight) == _read(bars_back)


def test_a_span_that_begins_within_a_bar_loses_none() -> None:
    """A part of a bar at the begin counts as one more, never as one less."""
    assert (9, [10], 1) == _read(10, shift_ns=NS_PER_S)
