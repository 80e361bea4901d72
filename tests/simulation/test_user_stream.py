"""What the user stream tells early, and what it tells nobody because it breaks (R12)."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.core.clock import NS_PER_MS, NS_PER_S
from aegis.model.account import ReportSource
from aegis.model.events import (
    AccountConfirmed,
    AccountDoubted,
    FillReported,
    OrderReported,
    OrderSubmitted,
    StreamClosed,
)
from aegis.model.instrument import Venue
from aegis.twin.boot import Twin, VenueName
from aegis.twin.face_api import StreamSession

if TYPE_CHECKING:
    from tests.simulation.conftest import Play

USER_PATH: dict[VenueName, str] = {"binance": "/private", "bybit": "/v5/private"}


def breaking(venue: VenueName, every_s: float) -> Callable[[Twin], None]:
    """Return what ends the account's stream of *venue* whenever *every_s* have passed."""

    def prepare(twin: Twin) -> None:
        face = twin.faces[venue]
        open_stream = face.open_stream
        last_ns = [twin.market.start_ns + 60 * NS_PER_S]

        def opened(
            target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
        ) -> StreamSession | None:
            if not target.startswith(USER_PATH[venue]):
                return open_stream(target, send=send, close=close)
            ended: list[bool] = []

            def cut(frame: bytes) -> None:
                # The frame that comes after the time is up is the one that is lost.
                if not ended and twin.world.now_ns - last_ns[0] > every_s * NS_PER_S:
                    last_ns[0] = twin.world.now_ns
                    ended.append(True)
                    close("reset by peer")
                if not ended:
                    send(frame)

            return open_stream(target, send=cut, close=close)

        face.open_stream = opened  # type: ignore[method-assign]  # the wire is what is broken here

    return prepare


def test_a_fill_that_overtakes_its_answer_is_booked(play: "Play", tmp_path: Path) -> None:
    """R12: on both venues executions come before the answer to the order; none is skipped."""
    played = play(tmp_path, hours=3)

    for venue in Venue:
        overtaking = 0
        answered: set[str] = set()
        submitted: set[str] = set()
        for event in played.events:
            if isinstance(event, OrderSubmitted):
                submitted.add(event.request.client_order_id)
            elif isinstance(event, OrderReported) and event.report.source is ReportSource.ANSWER:
                answered.add(event.report.client_order_id)
            elif isinstance(event, FillReported) and event.fill.instrument_id.venue is venue:
                key = event.fill.client_order_id
                overtaking += key in submitted and key not in answered
        assert overtaking > 0
    assert [] == played.broken_laws()


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_stream_that_breaks_at_every_turn_costs_no_fill(
    play: "Play", tmp_path: Path, venue: VenueName
) -> None:
    """R12: the frame that is lost with the connection comes back by replay and snapshot."""
    played = play(tmp_path, hours=6, prepare=breaking(venue, every_s=60.0))

    name = Venue[venue.upper()]
    closed = [e for e in played.of(StreamClosed) if e.venue is name]
    assert len(closed) > 3
    assert len(played.of(AccountDoubted)) == len(played.of(AccountConfirmed))
    assert [] == played.broken_money()
    assert [] == played.broken_code()
    # The replay and one request more, instead of the stream's own word.
    assert [] == played.broken_protection(naked_ns_max=250 * NS_PER_MS)
