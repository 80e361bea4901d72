"""The gateway reads leverage back off the way of an entry, and again after any doubt (R28)."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import orjson
import pytest

from aegis.core.clock import LiveClock
from aegis.core.errors import VenueProtocolError
from aegis.core.offload import ThreadOffload
from aegis.core.supervise import Supervisor
from aegis.core.transport import HttpRequest, HttpResponse, StreamConnection
from aegis.model.events import StreamClosed
from aegis.model.instrument import InstrumentId, Venue
from aegis.venue.around import VenueAround
from aegis.venue.binance.gateway import BinanceGateway

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)


class Rest:
    """Answers what the leverage of a symbol is, and counts the questions."""

    def __init__(self) -> None:
        self.leverage = 5
        self.margin = "ISOLATED"
        self.asked = 0

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer as /fapi/v1/symbolConfig does (venues.md 2.3)."""
        assert request.path.endswith("/symbolConfig")
        self.asked += 1
        row = {"symbol": "BTCUSDT", "marginType": self.margin, "leverage": self.leverage}
        return HttpResponse(status=200, body=orjson.dumps([row]))


class NoStreams:
    """Opens nothing."""

    async def connect(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> StreamConnection:
        """Refuse."""
        raise ConnectionError("not here")


def with_gateway(
    test: Callable[[BinanceGateway, Rest], Awaitable[None]], fresh_s: float = 300.0
) -> None:
    """Run *test* with a gateway on a venue that answers one question."""

    async def main() -> None:
        offload, rest = ThreadOffload(), Rest()
        supervisor = Supervisor(LiveClock(), lambda failed: None, rng=random.Random(1))
        around = VenueAround(
            base_url="http://venue",
            ws_url="ws://venue",
            api_key="key",
            api_secret="secret",
            http=rest,
            connector=NoStreams(),
            offload=offload,
            publish=lambda event: None,
            clock=LiveClock(),
            supervisor=supervisor,
            rng=random.Random(1),
            timeframes_ns=(),
            recv_window_ms=5000,
            request_timeout_s=5.0,
            leverage_fresh_s=fresh_s,
        )
        gateway = BinanceGateway(around)
        try:
            await test(gateway, rest)
        finally:
            await gateway.close()
            await supervisor.stop()
            offload.close()

    asyncio.run(main())


def config_update(symbol: str, leverage: int) -> bytes:
    """Return what the user stream tells when a leverage was changed (venues.md 2.6)."""
    told = {"s": symbol, "l": leverage}
    return orjson.dumps({"e": "ACCOUNT_CONFIG_UPDATE", "E": 1, "T": 1, "ac": told})


def test_a_leverage_that_was_read_back_is_not_asked_for_again() -> None:
    """The second entry needs no round trip; another leverage than the known one does."""

    async def test(gateway: BinanceGateway, rest: Rest) -> None:
        assert not gateway.is_prepared(BTC, 5)
        assert 5 == await gateway.prepare_entry(BTC, 5)
        assert 5 == await gateway.prepare_entry(BTC, 5)
        assert 1 == rest.asked
        assert (True, False) == (gateway.is_prepared(BTC, 5), gateway.is_prepared(BTC, 3))

    with_gateway(test)


def test_with_no_trust_every_entry_asks() -> None:
    """leverage_fresh_s 0 has an effect: the venue is asked before each entry."""

    async def test(gateway: BinanceGateway, rest: Rest) -> None:
        assert 5 == await gateway.prepare_entry(BTC, 5)
        assert 5 == await gateway.prepare_entry(BTC, 5)
        assert (2, False) == (rest.asked, gateway.is_prepared(BTC, 5))

    with_gateway(test, fresh_s=0.0)


@pytest.mark.parametrize("doubt", ["changed", "closed", "unreadable"])
def test_a_doubt_has_the_leverage_read_back_anew(doubt: str) -> None:
    """A change by a person, a gap of the user stream, a message that could not be read."""

    async def test(gateway: BinanceGateway, rest: Rest) -> None:
        assert 5 == await gateway.prepare_entry(BTC, 5)
        if doubt == "changed":
            gateway._account.on_frame(config_update("BTCUSDT", 20))
        elif doubt == "closed":
            event = StreamClosed(
                ts_event=1, ts_recv=1, venue=Venue.BINANCE, stream="user", reason="test"
            )
            gateway._account.on_stream_state(event)
        else:
            with pytest.raises(VenueProtocolError):
                gateway._account.on_frame(b"nonsense")
        assert not gateway.is_prepared(BTC, 5)
        assert 5 == await gateway.prepare_entry(BTC, 5)
        assert 2 == rest.asked

    with_gateway(test)


def test_the_same_leverage_told_again_is_no_doubt() -> None:
    """Every change of ours is told by the stream as well."""

    async def test(gateway: BinanceGateway, rest: Rest) -> None:
        assert 5 == await gateway.prepare_entry(BTC, 5)
        gateway._account.on_frame(config_update("BTCUSDT", 5))
        assert gateway.is_prepared(BTC, 5)

    with_gateway(test)
