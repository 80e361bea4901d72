"""Moving stops and the ladder against the twin of both venues: never naked, 100 moves (R48)."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from aegis.model.events import (
    FillBooked,
    IntentApproved,
    PositionClosed,
    PositionOpened,
    ProtectionChanged,
    ProtectionConfirmed,
)
from aegis.model.instrument import Venue
from aegis.model.intent import CancelProtection, PlaceProtection, SetPositionProtection
from aegis.model.order import OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause
from aegis.twin.boot import Twin
from aegis.twin.engine.api import EngineOrder, OrderSpec
from aegis.twin.engine.orders import EngineStatus
from aegis.twin.meter import ProtectionMeter

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

KNOBS = {
    "break_even_r": 0.15,
    "trail_start_r": 0.2,
    "trail_distance_r": 0.6,
    "trail_step_r": 0.0,
    "trail_interval_s": 0.0,
    "target_r": 3.0,
    "cooldown_bars": 2,
    "ladder": ("0.4:0.2", "0.8:0.2", "1.2:0.1"),
}


def is_stop_of(spec: OrderSpec, side: PositionSide) -> bool:
    """Say whether the order closes a position of *side* where that one loses."""
    if spec.side is not side.exit_side:
        return False
    if spec.trigger_direction is None:
        return spec.order_type is OrderType.STOP_MARKET
    return spec.trigger_direction == -side.sign


class Census(ProtectionMeter):
    """Also counts how many stops rest at once for one position, on the venue's own books."""

    def __init__(self) -> None:
        """Count from now on."""
        super().__init__()
        self.most = 0
        self.floors_most = 0

    def on_order(self, order: EngineOrder) -> None:
        """Take in the order, then count."""
        super().on_order(order)
        for market in self._markets.values():
            if market.running is not None:
                side = market.running.side
                stops = [
                    c
                    for c in market.covers.values()
                    if c.status is EngineStatus.UNTRIGGERED and is_stop_of(c.conditional, side)
                ]
                whole = [c for c in stops if c.conditional.close_position]
                self.most = max(self.most, len(stops))
                self.floors_most = max(self.floors_most, len(whole))


@pytest.fixture(scope="module")
def census() -> dict[str, Census]:
    """Return a count for each venue, filled by `moved`."""
    return {"binance": Census(), "bybit": Census()}


@pytest.fixture(scope="module")
def moved(
    play: Callable[..., "Played"],
    tmp_path_factory: pytest.TempPathFactory,
    census: dict[str, Census],
) -> "Played":
    """Play most of a day of the generated market with every mover on, and flatten at its end."""

    def prepare(twin: Twin) -> None:
        for name, engine in twin.engines.items():
            engine.add_listener(census[name])

    folder = tmp_path_factory.mktemp("moved")
    return play(folder, hours=20, settings=KNOBS, flatten=True, prepare=prepare)


def commands(played: "Played", venue: Venue) -> list[object]:
    """Return every command that left for *venue*."""
    intents = [event.approved.intent for event in played.of(IntentApproved)]
    return [i.command for i in intents if i.instrument_id.venue is venue]


def test_no_law_is_broken(moved: "Played") -> None:
    """Never naked beyond the bound by the twin's own meter; money and journal add up (R48, R76)."""
    broken = [
        *([] if moved.code == 0 else [f"exit code was {moved.code}"]),
        *moved.conservation.violations,
        *moved.broken_protection(),
        *moved.broken_money(),
        *moved.broken_accounts(),
        *moved.broken_code(),
    ]
    assert [] == broken


def test_stops_move_a_hundred_times_on_each_venue(moved: "Played") -> None:
    """Binance by place-then-cancel, Bybit in place (R48)."""
    binance, bybit = commands(moved, Venue.BINANCE), commands(moved, Venue.BYBIT)
    placed = [
        c
        for c in binance
        if isinstance(c, PlaceProtection)
        and c.request.purpose in {Purpose.STOP_TRAIL, Purpose.STOP_MOVING}
    ]
    assert len(placed) >= 100
    assert len([c for c in binance if isinstance(c, CancelProtection)]) >= 50
    assert len([c for c in bybit if isinstance(c, SetPositionProtection)]) >= 100
    assert not [c for c in binance if isinstance(c, SetPositionProtection)]


@pytest.mark.parametrize(("venue", "stops", "floors"), [("binance", 3, 1), ("bybit", 1, 0)])
def test_stops_never_pile_up(
    moved: "Played", census: dict[str, Census], venue: str, stops: int, floors: int
) -> None:
    """Binance: one floor, the stop, and for a moment its successor; Bybit: one (R48)."""
    assert 0 == moved.code
    assert stops == census[venue].most
    assert floors == census[venue].floors_most


def test_stops_only_tighten(moved: "Played") -> None:
    """What the venue reports never goes back once the entry's own level stands (R50, R72)."""
    sides = {e.position.position_id: e.position.side for e in moved.of(PositionOpened)}
    last: dict[str, Decimal] = {}
    for event in moved.of(ProtectionChanged):
        if event.stop_cause is CloseCause.TRAIL:
            before = last.get(event.position_id, event.stop_price)
            assert (event.stop_price - before) * sides[event.position_id].sign >= 0
            last[event.position_id] = event.stop_price
    assert last


def test_nothing_is_left_resting(moved: "Played") -> None:
    """At the end no stop, target or rung of a closed position rests on either venue (R49, R62)."""
    for engine in moved.twin.engines.values():
        assert [] == [order.spec.client_id for order in engine.open_orders()]


@pytest.mark.parametrize("venue", Venue)
def test_each_rung_fires_at_most_once(moved: "Played", venue: Venue) -> None:
    """By what was filled: never more than the ladder's part of the initial quantity (R53)."""
    opened = {e.position.position_id: e.position for e in moved.opened_on(venue)}
    taken: dict[str, Decimal] = {}
    for event in moved.of(FillBooked):
        here = event.position.position_id in opened
        if here and event.purpose == CloseCause.HARVEST.name:
            key = event.position.position_id
            taken[key] = taken.get(key, Decimal(0)) + event.fill.last_qty
    initial = {
        e.position.position_id: e.position.qty_opened
        for e in moved.of(PositionClosed)
        if e.position.position_id in opened
    }
    assert taken
    for key, qty in taken.items():
        assert qty <= initial[key] * Decimal("0.5")


@pytest.mark.parametrize("venue", Venue)
def test_trailing_closes_are_called_so(moved: "Played", venue: Venue) -> None:
    """TRAIL lies nearer to profit than the plan's stop, SL at it or at break-even (R79)."""
    closed = [e for e in moved.of(PositionClosed) if e.position.instrument_id.venue is venue]
    causes = {e.cause for e in closed}
    assert CloseCause.TRAIL in causes
    assert causes <= {
        CloseCause.SL,
        CloseCause.TRAIL,
        CloseCause.TP,
        CloseCause.FLATTEN,
        CloseCause.HARVEST,
    }
    for event in closed:
        position = event.position
        assert position.plan is not None
        assert position.entry_px_avg is not None
        if event.cause is CloseCause.TRAIL:
            last = [
                e.fill.last_px
                for e in moved.of(FillBooked)
                if e.position.position_id == position.position_id
            ][-1]
            r = (last - position.entry_px_avg) * position.side.sign / position.plan.stop_distance
            assert r > Decimal("-0.6")


PROTECT_NS_MAX = 3_000_000_000
"""From the start of a run to the cover of everything found, connecting included."""
RESTART_HOURS = 5.45
"""Then two positions of the generated market trail, with rungs taken."""


@pytest.fixture(scope="module")
def two_runs(
    play: Callable[..., "Played"], tmp_path_factory: pytest.TempPathFactory
) -> "tuple[Played, Played]":
    """End while stops trail, then go on from the same state directory."""
    state_dir = tmp_path_factory.mktemp("moved_twice")
    first = play(state_dir, hours=RESTART_HOURS, settings=KNOBS)
    return first, play(state_dir, hours=2, settings=KNOBS)


def test_a_restart_goes_on_from_the_stops_found(two_runs: "tuple[Played, Played]") -> None:
    """The trailed stop stays, is called so, and is never loosened (R49, R51, scenario 22)."""
    first, second = two_runs
    left: dict[str, ProtectionChanged] = {}
    for event in first.of(ProtectionChanged):
        left[event.position_id] = event
    restored = {e.position.position_id for e in second.of(PositionOpened) if e.position.restored}
    found = {e.position_id: e for e in second.of(ProtectionConfirmed) if e.position_id in restored}
    assert restored
    assert CloseCause.TRAIL in {e.stop_cause for e in found.values()}
    for key, confirmed in found.items():
        assert left[key].stop_price == confirmed.stop_price
        assert left[key].stop_cause is confirmed.stop_cause


def test_a_restart_takes_no_rung_again(two_runs: "tuple[Played, Played]") -> None:
    """Over both runs each position gave at most the ladder's part (R53)."""
    first, second = two_runs
    taken: dict[str, Decimal] = {}
    for event in (*first.of(FillBooked), *second.of(FillBooked)):
        if event.purpose == CloseCause.HARVEST.name:
            key = event.position.position_id
            taken[key] = taken.get(key, Decimal(0)) + event.fill.last_qty
    opened = {e.position.position_id: e.position for e in second.of(PositionClosed)}
    both = set(taken) & {e.position.position_id for e in first.of(FillBooked)} & set(opened)
    assert both
    for key in both:
        assert taken[key] <= opened[key].qty_opened * Decimal("0.5")


def test_a_restarted_trail_closes_with_a_true_cause(two_runs: "tuple[Played, Played]") -> None:
    """Also on Bybit, whose child orders carry no id (R79)."""
    _, second = two_runs
    restored = {e.position.position_id for e in second.of(PositionOpened) if e.position.restored}
    causes = {
        (e.position.instrument_id.venue, e.cause)
        for e in second.of(PositionClosed)
        if e.position.position_id in restored
    }
    assert {(venue, CloseCause.TRAIL) for venue in Venue} <= causes
    assert {cause for _, cause in causes} <= {CloseCause.TRAIL, CloseCause.SL}
    assert [] == second.broken_protection(PROTECT_NS_MAX)
    assert [] == second.broken_code()
