"""Depth on Binance's side of the bot: subscription, frames, and asking for snapshots."""

import asyncio
import random

import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import VenueProtocolError
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import StreamConnection
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.instrument import Venue, instrument_id
from aegis.model.market import DepthFrame, DepthKind, QuoteFrame
from aegis.venue.binance.depth import PAUSE_S, DepthSnapshots
from aegis.venue.binance.parse_market import parse_depth_snapshot, parse_market
from aegis.venue.binance.stream import BinanceStreams, ListenKeys

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
ANSWER = {
    "lastUpdateId": 10,
    "E": 1_700_000_000_001,
    "T": 1_700_000_000_000,
    "bids": [["9.00", "1.5"]],
    "asks": [["11.00", "2.5"]],
}


class NoConnector:
    """Refuse every connection."""

    async def connect(self, url: str, **_: object) -> StreamConnection:
        """Refuse."""
        raise ConnectionRefusedError(url)


class Rest:
    """Answer depth after 10 ms, or raise."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.answer: object = ANSWER

    async def call(self, operation: str, method: str, params: object) -> object:
        """Answer."""
        self.asked.append((operation, method, params))
        await asyncio.sleep(0.01)
        return self.answer


async def no_key() -> str:
    """Return a key."""
    return "key"


async def no_renewal(_key: str) -> None:
    """Do nothing."""


def supervisor_of(failures: list[TaskFailed]) -> tuple[Supervisor, VirtualClock]:
    """Return a supervisor on the running virtual loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    clock = VirtualClock(0, loop)
    return Supervisor(clock, failures.append, rng=random.Random(1)), clock


def test_depth_is_subscribed_on_public_only_when_asked() -> None:
    """depth_streams adds one name a symbol, and nothing while it is off."""

    def names(*, depth: bool) -> list[str]:
        async def main() -> list[str]:
            supervisor, clock = supervisor_of([])
            streams = BinanceStreams(
                base_url="wss://venue",
                connector=NoConnector(),
                supervisor=supervisor,
                clock=clock,
                rng=random.Random(2),
                keys=ListenKeys(no_key, no_renewal),
                timeframes_ns=(60_000_000_000,),
                on_user_frame=lambda frame: None,
                on_market_frame=lambda frame: None,
                on_state=lambda event: None,
                depth=depth,
            )
            return streams._public_params(["BTCUSDT", "ETHUSDT"])

        return run_virtual(main())

    assert ["btcusdt@bookTicker", "ethusdt@bookTicker"] == names(depth=False)
    assert [
        "btcusdt@bookTicker",
        "btcusdt@depth@100ms",
        "ethusdt@bookTicker",
        "ethusdt@depth@100ms",
    ] == names(depth=True)


def test_a_diff_is_read_with_its_ids() -> None:
    """U, u and pu are kept; prices and quantities are floats (venues.md 2.6)."""
    fact = parse_market(
        b'{"e":"depthUpdate","E":1700000000001,"T":1700000000000,"s":"BTCUSDT","U":11,"u":14,'
        b'"pu":10,"b":[["9.10","0.000"]],"a":[["11.00","3.5"],["12.00","1"]],"st":1}',
        7,
    )
    expected = DepthFrame(
        instrument_id=BTC,
        ts_event=1_700_000_000_001 * 10**6,
        ts_recv=7,
        kind=DepthKind.DELTA,
        first_update_id=11,
        last_update_id=14,
        previous_update_id=10,
        bids=((9.1, 0.0),),
        asks=((11.0, 3.5), (12.0, 1.0)),
    )
    assert expected == fact


def test_a_quote_keeps_its_update_id() -> None:
    """The id that depth shares with bookTicker is told; 0 where the venue told none."""
    body = b'"T":1,"s":"BTCUSDT","b":"9","B":"1","a":"11","A":"1"}'
    for head, update_id in ((b'{"e":"bookTicker","u":15,', 15), (b'{"e":"bookTicker",', 0)):
        fact = parse_market(head + body, 7)
        assert isinstance(fact, QuoteFrame)
        assert update_id == fact.update_id


def test_a_snapshot_without_an_id_is_refused() -> None:
    """A missing field is a protocol error, not an id of 0."""
    assert 10 == parse_depth_snapshot(ANSWER, BTC, 7).last_update_id
    with pytest.raises(VenueProtocolError, match="lastUpdateId"):
        parse_depth_snapshot({"E": 1, "bids": [], "asks": []}, BTC, 7)


def test_one_snapshot_at_a_time_and_a_pause_after_it() -> None:
    """Every diff of a silent book asks; the venue hears one request a second."""

    async def main() -> None:
        failures: list[TaskFailed] = []
        supervisor, clock = supervisor_of(failures)
        rest, got = Rest(), list[DepthFrame]()
        snapshots = DepthSnapshots(rest, supervisor, clock, got.append)  # type: ignore[arg-type]  # a stand-in
        for _ in range(5):
            snapshots.ask(BTC)
            await asyncio.sleep(0.1)
        assert (1, 1) == (len(rest.asked), len(got))
        rest.answer = {"code": 1}
        await asyncio.sleep(PAUSE_S)
        snapshots.ask(BTC)
        await asyncio.sleep(0.5)
        assert (2, 1) == (len(rest.asked), len(got))
        assert [] == failures
        snapshots.stop()
        await supervisor.stop()

    run_virtual(main())
