"""Scenario 22: ten moves of a trailing stop rejected, then a restart: old stop alive (R49, R51)."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.model.events import (
    EntryCompleted,
    IntentCompleted,
    PositionOpened,
    ProtectionChanged,
    ProtectionConfirmed,
)
from aegis.model.instrument import Venue
from aegis.model.position import CloseCause
from aegis.twin.boot import Twin

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

KNOBS = {
    "order_entry": "rest",
    "trail_start_r": 0.2,
    "trail_distance_r": 0.6,
    "trail_step_r": 0.0,
    "trail_interval_s": 0.0,
    "target_r": 3.0,
    "cooldown_bars": 2,
}
HOURS = 5.45
"""Then two positions of the generated market have been in profit for a while."""


def refuse_moves(twin: Twin) -> None:
    """Let both venues refuse whatever moves a stop; first stops and targets are taken."""
    for name, face in twin.faces.items():
        answer = face.http

        def refusing(
            request: HttpRequest,
            name: str = name,
            answer: Callable[[HttpRequest], HttpResponse] = answer,
        ) -> HttpResponse:
            text = request.target.encode() + request.body
            if name == "binance" and request.path == "/fapi/v1/algoOrder" and b"-ST" in text:
                return HttpResponse(status=400, body=b'{"code":-1111,"msg":"not now"}')
            if name == "bybit" and request.path == "/v5/position/trading-stop":
                body = b'{"retCode":10001,"retMsg":"not now","result":{},"retExtInfo":{},"time":0}'
                return HttpResponse(status=200, body=body)
            return answer(request)

        face.http = refusing  # type: ignore[method-assign]  # the venue's own fault


@pytest.fixture(scope="module")
def two_runs(
    play: Callable[..., "Played"], tmp_path_factory: pytest.TempPathFactory
) -> "tuple[Played, Played]":
    """End after the moves were refused, then go on with a venue that is well again."""
    state_dir = tmp_path_factory.mktemp("refused")
    first = play(state_dir, hours=HOURS, settings=KNOBS, prepare=refuse_moves)
    return first, play(state_dir, hours=1, settings=KNOBS)


def left_open(two_runs: "tuple[Played, Played]", venue: Venue) -> list[str]:
    """Return the positions of *venue* that both runs had."""
    _, second = two_runs
    return [e.position.position_id for e in second.opened_on(venue) if e.position.restored]


@pytest.mark.parametrize("venue", Venue)
def test_scenario_22_ten_moves_were_rejected(
    two_runs: "tuple[Played, Played]", venue: Venue
) -> None:
    """The fault is real: each venue said no ten times and more, and nobody was uncovered."""
    first, _ = two_runs
    command = "PlaceProtection" if venue is Venue.BINANCE else "SetPositionProtection"
    kept = left_open(two_runs, venue)
    refused = [
        e
        for e in first.of(IntentCompleted)
        if not e.ok and e.command == command and e.position_id in kept
    ]
    assert len(refused) >= 10
    assert [] == first.broken_protection()
    assert not [e for e in first.of(ProtectionChanged) if e.stop_cause is CloseCause.TRAIL]


@pytest.mark.parametrize("venue", Venue)
def test_scenario_22_old_stop_lives_and_the_state_is_the_venues(
    two_runs: "tuple[Played, Played]", venue: Venue
) -> None:
    """After the restart what is told is what rests, not what was wished for (R49, R51)."""
    first, second = two_runs
    stops: dict[str, Decimal] = {}
    for event in first.events:
        if isinstance(event, ProtectionConfirmed | ProtectionChanged):
            stops[event.position_id] = event.stop_price
    plans = {e.position.position_id: e.position for e in first.of(EntryCompleted)}
    kept = left_open(two_runs, venue)
    confirmed = {e.position_id: e for e in second.of(ProtectionConfirmed) if e.position_id in kept}
    assert kept
    assert sorted(kept) == sorted(confirmed)
    for key, event in confirmed.items():
        position = plans[key]
        assert position.plan is not None
        assert position.entry_px_avg is not None
        away = (position.entry_px_avg - event.stop_price) * position.side.sign
        assert stops[key] == event.stop_price
        assert CloseCause.SL is event.stop_cause
        assert away > position.plan.stop_distance * Decimal("0.8")


@pytest.mark.parametrize("venue", Venue)
def test_scenario_22_the_trail_goes_on_when_the_venue_is_well(
    two_runs: "tuple[Played, Played]", venue: Venue
) -> None:
    """The next marks move the stop as if nothing had been."""
    _, second = two_runs
    kept = left_open(two_runs, venue)
    moved = [
        e
        for e in second.of(ProtectionChanged)
        if e.position_id in kept and e.stop_cause is CloseCause.TRAIL
    ]
    assert moved
    assert {e.position.position_id for e in second.of(PositionOpened)} >= set(kept)
