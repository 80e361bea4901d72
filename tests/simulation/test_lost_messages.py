"""
Messages lost on a stream that stays open: nothing tells of them, so the bot must ask (R12, R88).

Each scenario cuts frames between the twin and the bot while pings and all else go on. The judge is
the twin's own meter.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.core.clock import NS_PER_MS, NS_PER_S
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.model.events import EntriesHalted, EntryFailed, ProtectionFailed, ProtectionLost
from aegis.twin.boot import Twin, VenueName
from aegis.twin.face_api import StreamSession

if TYPE_CHECKING:
    from tests.simulation.conftest import Play, Played

ACCOUNT: dict[VenueName, tuple[bytes, ...]] = {
    "binance": (b'"ACCOUNT_UPDATE"', b'"ORDER_TRADE_UPDATE"', b'"ALGO_UPDATE"', b'"TRADE_LITE"'),
    "bybit": (
        b'"topic":"order"',
        b'"topic":"position"',
        b'"topic":"execution"',
        b'"topic":"wallet"',
    ),
}


def cut(venue: VenueName, *, from_s: float = 60.0) -> Callable[[Twin], None]:
    """Return what drops every account frame of *venue* from *from_s* after the start on."""

    def prepare(twin: Twin) -> None:
        face = twin.faces[venue]
        open_stream = face.open_stream
        after_ns = twin.market.start_ns + round(from_s * NS_PER_S)

        def opened(
            target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
        ) -> StreamSession | None:
            def sieve(frame: bytes) -> None:
                lost = twin.world.now_ns > after_ns and any(m in frame for m in ACCOUNT[venue])
                if not lost:
                    send(frame)

            return open_stream(target, send=sieve, close=close)

        face.open_stream = opened  # type: ignore[method-assign]  # the wire is what is broken here

    return prepare


def worst_ns(played: "Played", venue: VenueName) -> int:
    """Return the longest time a position of *venue* stood uncovered, by the twin's own meter."""
    episodes = played.twin.meters[venue].episodes(played.twin.world.now_ns)
    assert episodes
    return max(episode.longest_gap_ns for episode in episodes)


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_an_entry_whose_fill_is_never_told_is_protected(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """The answer or the query counts a fill that the stream swallowed: it is asked for at once."""
    played = play(tmp_path, hours=3, prepare=cut(venue))

    assert worst_ns(played, venue) < 3_500 * NS_PER_MS
    assert [] == played.broken_money()


def test_stops_that_vanish_without_a_word_are_found_by_the_steady_look(
    play: "Play", tmp_path: Path
) -> None:
    """A stop removed at the venue, its message lost, is restored within the steady pace."""
    settings = {"reconcile_interval_s": 20.0}

    def prepare(twin: Twin) -> None:
        cut("binance", from_s=3000.0)(twin)
        engine = twin.engines["binance"]
        advance = engine.advance
        removed: list[int] = []

        def advancing(to_ns: int) -> None:
            advance(to_ns)
            if to_ns > twin.market.start_ns + 3_060 * NS_PER_S and not removed:
                removed.append(to_ns)
                for order in list(engine.open_orders()):
                    engine.cancel(order)

        engine.advance = advancing  # type: ignore[method-assign]  # a person at the venue

    played = play(tmp_path, hours=1, settings=settings, prepare=prepare)

    assert played.of(ProtectionLost)
    assert worst_ns(played, "binance") < 26 * NS_PER_S
    assert (
        () == played.twin.meters["binance"].summary(played.twin.world.now_ns).currently_unprotected
    )


def refuse_every_stop(twin: Twin) -> None:
    """Let Binance take no conditional order."""
    face = twin.faces["binance"]
    answer = face.http

    def refusing(request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path == "/fapi/v1/algoOrder":
            body = b'{"code":-1111,"msg":"Precision is over the maximum defined."}'
            return HttpResponse(status=400, body=body)
        return answer(request)

    face.http = refusing  # type: ignore[method-assign]  # the venue's own fault


def test_a_venue_that_refuses_every_stop_gets_no_position_at_all(
    play: "Play", tmp_path: Path
) -> None:
    """Without a stop that rests no entry leaves (R35, R45)."""
    settings = {"cooldown_bars": 0, "order_entry": "rest"}
    played = play(tmp_path, hours=6, settings=settings, prepare=refuse_every_stop)

    failed = [e for e in played.of(EntryFailed) if e.instrument_id.venue == "BINANCE"]
    assert failed
    assert all("its stop was refused -1111" in e.reason for e in failed)
    assert [] == played.twin.engines["binance"].fills()


def test_a_venue_that_refuses_every_stop_gets_no_third_position(
    play: "Play", tmp_path: Path
) -> None:
    """Each try costs fees and a naked moment: two on one day are enough (R35, R70)."""
    played = play(
        tmp_path,
        hours=12,
        settings={"cooldown_bars": 0, "order_entry": "rest", "stop_before_entry": False},
        prepare=refuse_every_stop,
    )

    failures = [e for e in played.of(ProtectionFailed) if e.instrument_id.venue == "BINANCE"]
    assert 2 == len(failures)
    halts = [e.reason for e in played.of(EntriesHalted) if e.scope == "BINANCE"]
    assert 1 == len(halts)
    assert "2 positions got no stop" in halts[0]
    assert worst_ns(played, "binance") < 3_500 * NS_PER_MS
