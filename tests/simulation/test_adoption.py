"""Positions that were there before the run: adopted, protected first, closed with a true cause."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.core.event import Event
from aegis.model.events import (
    EntryCompleted,
    OrderSubmitted,
    PositionClosed,
    PositionOpened,
    ProtectionConfirmed,
    RunStarted,
    VenueProtected,
)
from aegis.model.instrument import Venue
from aegis.model.order import OrderSide, OrderType, Purpose
from aegis.model.order_id import parse_client_order_id
from aegis.model.position import CloseCause
from aegis.twin.boot import Twin
from aegis.twin.engine.api import OrderSpec

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

Play = Callable[..., "Played"]
MINUTE_NS = 60_000_000_000
FIRST_HOURS = 0.5
"""The generated market's first signal comes at 00:25; its positions are open at 00:30."""
PROTECT_NS_MAX = 3_000_000_000
"""From the start of the run to the cover of everything found, connecting included."""


@pytest.fixture(scope="module")
def two_runs(play: Play, tmp_path_factory: pytest.TempPathFactory) -> "tuple[Played, Played]":
    """End with positions open, then start again on the same state directory."""
    state_dir = tmp_path_factory.mktemp("twice")
    first = play(state_dir, hours=FIRST_HOURS)
    return first, play(state_dir, hours=6)


def entries(played: "Played") -> list[OrderSubmitted]:
    """Return the entry orders that were sent."""
    return [
        event
        for event in played.of(OrderSubmitted)
        if (tag := parse_client_order_id(event.request.client_order_id)) is not None
        and tag.purpose is Purpose.ENTRY
    ]


def index_of(played: "Played", event: Event) -> int:
    """Return the place of *event* in the order of the bus."""
    return next(i for i, one in enumerate(played.events) if one is event)


def test_the_end_leaves_positions_and_their_stops(two_runs: "tuple[Played, Played]") -> None:
    """A clean stop leaves native protection in place (R87)."""
    first, _ = two_runs
    for meter in first.twin.meters.values():
        (episode,) = meter.episodes(first.twin.world.now_ns)
        assert episode.closed_ns is None
        assert () == meter.summary(first.twin.world.now_ns).currently_unprotected
    assert [] == first.broken_laws()


def test_the_next_run_goes_on_with_them(two_runs: "tuple[Played, Played]") -> None:
    """What one run left open is restored with its id, its plan and its fees (R51, R88)."""
    first, second = two_runs
    left = {
        (e.position.position_id, e.position.side, e.position.qty, e.position.plan, e.position.fees)
        for e in first.of(EntryCompleted)
    }
    restored = {
        (e.position.position_id, e.position.side, e.position.qty, e.position.plan, e.position.fees)
        for e in second.of(PositionOpened)
        if e.position.restored
    }
    assert left == restored
    assert left


def test_no_entry_goes_out_before_they_are_protected(two_runs: "tuple[Played, Played]") -> None:
    """VenueProtected comes after each confirmation and before each entry of its venue (R88)."""
    _, second = two_runs
    for venue in Venue:
        (protected,) = [e for e in second.of(VenueProtected) if e.venue is venue]
        restored = [e for e in second.opened_on(venue) if e.position.restored]
        ids = {e.position.position_id for e in restored}
        confirmed = [e for e in second.of(ProtectionConfirmed) if e.position_id in ids]
        sent = [e for e in entries(second) if e.request.instrument_id.venue is venue]
        assert confirmed
        assert sent
        assert index_of(second, confirmed[0]) < index_of(second, protected)
        assert index_of(second, protected) < min(index_of(second, e) for e in sent)


def test_restored_positions_close_with_a_true_cause(two_runs: "tuple[Played, Played]") -> None:
    """The stop of the first run fires in the second and is known for what it is (R79)."""
    _, second = two_runs
    restored = {e.position.position_id for e in second.of(PositionOpened) if e.position.restored}
    closes = [e for e in second.of(PositionClosed) if e.position.position_id in restored]
    assert restored == {e.position.position_id for e in closes}
    assert {e.cause for e in closes} <= {CloseCause.SL, CloseCause.TP}
    assert [] == second.broken_laws()


def test_a_second_run_has_new_ids(two_runs: "tuple[Played, Played]") -> None:
    """Run 2 is numbered so, and no client order id comes twice (R30)."""
    runs = [played.of(RunStarted)[0].run for played in two_runs]
    ids = [{e.request.client_order_id for e in played.of(OrderSubmitted)} for played in two_runs]
    assert [1, 2] == runs
    assert ids[0]
    assert ids[1]
    assert ids[0].isdisjoint(ids[1])


def by_hand(symbol: str, qty: str, side: OrderSide) -> Callable[[Twin], None]:
    """Return what opens a position without a stop on both venues."""

    def prepare(twin: Twin) -> None:
        for engine in twin.engines.values():
            spec = OrderSpec(
                symbol=symbol,
                client_id="by-hand",
                side=side,
                order_type=OrderType.MARKET,
                qty=Decimal(qty),
            )
            _ = engine.place(spec)

    return prepare


@pytest.mark.parametrize(
    ("symbol", "qty", "side"),
    [
        ("BTCUSDT", "0.05", OrderSide.BUY),
        ("ETHUSDT", "1", OrderSide.SELL),
        ("SOLUSDT", "20", OrderSide.BUY),
    ],
)
def test_a_position_made_by_hand_is_protected_at_start(
    play: Play, tmp_path: Path, symbol: str, qty: str, side: OrderSide
) -> None:
    """A naked position is covered at once, and only then may its venue trade (promise 3)."""
    played = play(tmp_path, hours=0.1, prepare=by_hand(symbol, qty, side))
    assert [] == played.broken_protection(PROTECT_NS_MAX)
    for venue in Venue:
        (opened,) = played.opened_on(venue)
        (protected,) = [e for e in played.of(VenueProtected) if e.venue is venue]
        confirmed = next(
            e
            for e in played.of(ProtectionConfirmed)
            if e.position_id == opened.position.position_id
        )
        assert opened.position.adopted
        assert index_of(played, confirmed) < index_of(played, protected)
    assert [] == [*played.broken_code(), *played.conservation.violations]


def test_a_position_outside_the_settings_is_protected_and_never_traded(
    play: Play, tmp_path: Path
) -> None:
    """With only BTC configured, a SOL position is covered and SOL gets no entry."""
    played = play(
        tmp_path,
        hours=6,
        settings={"symbols": ("BTCUSDT",)},
        prepare=by_hand("SOLUSDT", "20", OrderSide.BUY),
    )
    assert [] == played.broken_protection(PROTECT_NS_MAX)
    traded = {e.request.instrument_id.symbol for e in entries(played)}
    assert {"BTCUSDT"} == traded
    assert len(Venue) == sum(
        e.position.instrument_id.symbol == "SOLUSDT" for e in played.of(PositionOpened)
    )
