"""Bybit's streams: login, subscriptions in parts, replies, rows that cannot be read."""

import asyncio
import hashlib
import hmac
import random
from collections.abc import Callable
from typing import Any

import orjson

from aegis.core.clock import VirtualClock
from aegis.core.errors import VenueProtocolError
from aegis.core.supervise import Supervisor
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.model.market import MINUTE_NS, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.venue.bybit.parse import AccountFact
from aegis.venue.bybit.stream import (
    PRIVATE_PING_INTERVAL_S,
    PRIVATE_SILENCE_TIMEOUT_S,
    PrivateStream,
    PublicStream,
    StreamParts,
    UnknownCounter,
)

NOW_NS = 1_700_000_000_000_000_000
Reply = Callable[[dict[str, Any]], dict[str, Any]]


class Peer:
    """A venue of one stream: keeps what it is sent and replies as told."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.mute = False
        self.urls: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.on_frame: Callable[[bytes], None] = lambda _frame: None

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> "Peer":
        """Open."""
        self.urls.append(url)
        self.on_frame = on_frame
        return self

    def send(self, text: str) -> None:
        """Take a request and reply a moment later."""
        request = orjson.loads(text)
        self.sent.append(request)
        if not self.mute:
            frame = orjson.dumps(self._reply(request))
            asyncio.get_running_loop().call_later(0.01, self.on_frame, frame)

    async def close(self) -> None:
        """Close."""

    def push(self, topic: str, *rows: Any) -> None:
        """Send a data frame."""
        self.on_frame(orjson.dumps({"topic": topic, "creationTime": 5, "data": rows}))


class Sink:
    """Count market frames."""

    def __init__(self) -> None:
        self.unreadable = 0

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take it."""

    def on_mark(self, frame: MarkFrame) -> None:
        """Take it."""

    def on_kline(self, frame: KlineFrame) -> None:
        """Take it."""

    def on_depth(self, frame: DepthFrame) -> bool:
        """Ask for nothing."""
        return False

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Count it."""
        self.unreadable += 1


def _accept(request: dict[str, Any]) -> dict[str, Any]:
    # The venue's reply to a login carries no req_id (venues.md 3.2).
    req_id = {} if request["op"] == "auth" else {"req_id": request.get("req_id", "")}
    return {"success": True, "ret_msg": "", "op": request["op"], **req_id}


def _parts(peer: Peer) -> StreamParts:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    clock = VirtualClock(NOW_NS, loop)
    return StreamParts(
        ws_url="ws://twin.invalid",
        connector=peer,
        supervisor=Supervisor(clock, lambda _failure: None, rng=random.Random(1)),
        clock=clock,
        rng=random.Random(2),
    )


class Private:
    """A private stream over a peer, and what came out of it."""

    def __init__(self, peer: Peer) -> None:
        self.facts: list[AccountFact] = []
        self.unreadable: list[VenueProtocolError] = []
        self.states: list[StreamOpened | StreamClosed] = []
        self.unknowns = UnknownCounter()
        self.parts = _parts(peer)
        self.private = PrivateStream(
            self.parts,
            api_key="the-key",
            api_secret="the-secret",
            on_fact=self.facts.append,
            on_unreadable=self.unreadable.append,
            on_state=self.states.append,
            unknowns=self.unknowns,
        )

    async def run(self, seconds: float) -> None:
        """Let it live for a while."""
        self.private.stream.start()
        await asyncio.sleep(seconds)

    async def stop(self) -> None:
        """End it."""
        await self.private.stream.stop()
        await self.parts.supervisor.stop()


def test_the_private_stream_logs_in_and_then_subscribes() -> None:
    """The login is signed over an expiry 10 s ahead, and topics follow once it is acknowledged."""
    peer = Peer(_accept)

    async def main() -> list[StreamOpened | StreamClosed]:
        stream = Private(peer)
        await stream.run(1.0)
        await stream.stop()
        return stream.states

    (opened,) = run_virtual(main())
    assert isinstance(opened, StreamOpened)
    expires_ms = NOW_NS // 1_000_000 + 10_000
    signature = hmac.new(
        b"the-secret", f"GET/realtime{expires_ms}".encode(), hashlib.sha256
    ).hexdigest()
    auth, subscribe = peer.sent
    assert ["the-key", expires_ms, signature] == auth["args"]
    assert ["order", "execution", "position", "wallet"] == subscribe["args"]
    assert ["ws://twin.invalid/v5/private"] == peer.urls


def test_a_refused_login_is_kept_and_tried_again() -> None:
    """A refusal is remembered for whoever waits, and the stream reconnects with back-off."""

    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        return {"op": request["op"], "success": False, "retMsg": "Invalid apikey"}

    peer = Peer(refuse)

    async def main() -> tuple[str, int]:
        stream = Private(peer)
        await stream.run(20.0)
        await stream.stop()
        assert [] == stream.states
        assert stream.private.refusal is not None
        return stream.private.refusal.code, len(peer.urls)

    code, attempts = run_virtual(main())
    assert "AUTH" == code
    assert attempts > 1
    assert {"auth"} == {request["op"] for request in peer.sent}


def test_a_row_that_cannot_be_read_spoils_no_other() -> None:
    """R12: the rows beside it are told, and so is the loss, that the state be asked for."""
    peer = Peer(_accept)
    good = {
        "symbol": "BTCUSDT",
        "side": "Buy",
        "size": "1",
        "positionIdx": 0,
        "entryPrice": "60000",
    }

    async def main() -> Private:
        stream = Private(peer)
        await stream.run(1.0)
        peer.push("position", good | {"size": ""}, good, good | {"category": "inverse"})
        peer.push("greeks", {})
        peer.on_frame(b"{")
        await stream.stop()
        return stream

    stream = run_virtual(main())
    assert 1 == len(stream.facts)
    assert 2 == len(stream.unreadable)
    assert 2 == stream.private.stream.frames_unreadable
    assert {"position of category inverse": 1, "topic greeks": 1} == stream.unknowns.counts


def _public(
    peer: Peer, symbols: list[str], sink: Sink, states: list[StreamOpened | StreamClosed]
) -> tuple[PublicStream, StreamParts]:
    parts = _parts(peer)
    stream = PublicStream(
        parts,
        symbols=symbols,
        timeframes_ns=(MINUTE_NS, 5 * MINUTE_NS, 15 * MINUTE_NS),
        sink=sink,
        on_state=states.append,
        unknowns=UnknownCounter(),
    )
    return stream, parts


def test_topics_are_subscribed_in_parts() -> None:
    """At most 10 topics go in one request, all of them before the stream counts as open."""
    peer = Peer(_accept)
    states: list[StreamOpened | StreamClosed] = []
    sink = Sink()

    async def main() -> None:
        stream, parts = _public(peer, ["AUSDT", "BUSDT", "CUSDT"], sink, states)
        stream.stream.start()
        await asyncio.sleep(1.0)
        peer.push("tickers.AUSDT", 1)
        await stream.resubscribe("BUSDT")
        await stream.stream.stop()
        await parts.supervisor.stop()

    run_virtual(main())
    first, second, unsubscribe, again = peer.sent
    assert [10, 5] == [len(first["args"]), len(second["args"])]
    assert ["orderbook.1.AUSDT", "tickers.AUSDT", "kline.1.AUSDT"] == first["args"][:3]
    assert ("unsubscribe", "subscribe") == (unsubscribe["op"], again["op"])
    assert unsubscribe["args"] == again["args"]
    assert [1, 1] == [len(states), sink.unreadable]


def test_a_refused_topic_closes_the_connection() -> None:
    """A stream with a topic missing is never taken for open."""

    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        return _accept(request) | {"success": False, "ret_msg": "Invalid topic: x"}

    peer = Peer(refuse)
    states: list[StreamOpened | StreamClosed] = []

    async def main() -> None:
        stream, parts = _public(peer, ["AUSDT"], Sink(), states)
        stream.stream.start()
        await asyncio.sleep(10.0)
        assert not stream.stream.connected
        await stream.stream.stop()
        await parts.supervisor.stop()

    run_virtual(main())
    assert [] == states
    assert len(peer.urls) > 1


def test_a_private_stream_whose_pongs_stop_is_opened_anew() -> None:
    """A peer that is gone without a word is found by the pong that does not come."""
    peer = Peer(_accept)

    async def main() -> list[StreamOpened | StreamClosed]:
        stream = Private(peer)
        # Pongs alone keep an idle account's stream open for as long as it likes.
        await stream.run(3600.0)
        assert 1 == len(stream.states)
        peer.mute = True
        await asyncio.sleep(PRIVATE_PING_INTERVAL_S + PRIVATE_SILENCE_TIMEOUT_S)
        peer.mute = False
        await asyncio.sleep(30.0)
        await stream.stop()
        return stream.states

    states = run_virtual(main())
    closed = [each.reason for each in states if isinstance(each, StreamClosed)]
    assert ["silent for 12.0 s"] == closed
    assert isinstance(states[-1], StreamOpened)


def test_a_refused_symbol_does_not_take_the_others_along() -> None:
    """A delisted symbol among good ones is left out, said aloud; the stream is open (R10)."""

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        bad = any(topic.endswith("GONEUSDT") for topic in request.get("args", []))
        ok = {"success": False, "ret_msg": "Invalid symbol"} if bad else {}
        return _accept(request) | ok

    peer = Peer(reply)
    states: list[StreamOpened | StreamClosed] = []

    async def main() -> None:
        stream, parts = _public(peer, ["AUSDT", "GONEUSDT", "BUSDT"], Sink(), states)
        stream.stream.start()
        await asyncio.sleep(5.0)
        assert stream.stream.connected
        await stream.stream.stop()
        await parts.supervisor.stop()

    run_virtual(main())
    assert 1 == len(states)
    assert 1 == len(peer.urls)
    by_symbol = [request["args"][0] for request in peer.sent[-3:]]
    assert ["orderbook.1.AUSDT", "orderbook.1.GONEUSDT", "orderbook.1.BUSDT"] == by_symbol
