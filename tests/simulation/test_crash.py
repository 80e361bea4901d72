"""A process killed at any moment: the next one finds every fill and doubles nothing (R49)."""

import asyncio
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from aegis.app.state import save_account
from aegis.journal.store import JournalStore, open_journal
from aegis.model.events import FillBooked, OrderSubmitted, PositionClosed, PositionOpened
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import OrderSide
from aegis.twin.boot import Twin

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

Play = Callable[..., "Played"]
Execution = tuple[InstrumentId, OrderSide, Decimal, Decimal, int]

MS: Final = 1_000_000
AFTER_HOURS: Final = 1.0
REFERENCE_HOURS: Final = 4.0
NAKED_NS_MAX: Final = 3_000_000_000
"""A start connects to both venues and looks before it protects; the market stands still meanwhile
only for the process that is dead."""


class Killed(KeyboardInterrupt):
    """Cuts the loop as a kill does: what was queued is never written."""


@pytest.fixture(scope="module")
def moments(play: Play, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Return when things happen in a run that nobody kills, ns UTC."""
    played = play(tmp_path_factory.mktemp("reference"), hours=REFERENCE_HOURS)
    first = played.of(OrderSubmitted)[0].ts_event
    return {"entry": first, "close": played.of(PositionClosed)[0].ts_event}


def kill_at(moment_ns: int, state_dir: Path) -> Callable[[Twin], None]:
    """Return what cuts the run at *moment_ns*; the venue lives on."""

    def prepare(twin: Twin) -> None:
        def die() -> None:
            save_account(state_dir, twin.export_state())
            raise Killed

        delay_s = (moment_ns - twin.world.now_ns) / 1e9
        asyncio.get_running_loop().call_later(delay_s, die)

    return prepare


def booked(store: JournalStore) -> Counter[Execution]:
    """Return how often each execution was counted over all runs."""
    counted: Counter[Execution] = Counter()
    for _, event in store.iter_events(types=(FillBooked,)):
        assert isinstance(event, FillBooked)
        f = event.fill
        counted[f.instrument_id, f.side, f.last_qty, f.last_px, f.ts_event // MS] += 1
    return counted


def filled(twin: Twin) -> Counter[Execution]:
    """Return every execution the venues know."""
    return Counter(
        (
            InstrumentId(symbol=fill.order.spec.symbol, venue=Venue(name.upper())),
            fill.order.spec.side,
            fill.qty,
            fill.price,
            fill.ts_ns // MS,
        )
        for name, engine in twin.engines.items()
        for fill in engine.fills()
    )


@pytest.mark.parametrize(
    ("anchor", "offset_ms"),
    [
        *(("entry", ms) for ms in (-1, 6, 9, 11, 13, 22)),
        *(("close", ms) for ms in (-12, -3, 0, 4)),
    ],
)
def test_no_fill_is_lost_and_none_is_doubled(
    play: Play, tmp_path: Path, moments: dict[str, int], anchor: str, offset_ms: int
) -> None:
    """Killed around an entry and around a stop's fill: books and venue agree again (R49, R77)."""
    moment = moments[anchor] + offset_ms * MS
    with pytest.raises(Killed):
        play(tmp_path, hours=REFERENCE_HOURS, prepare=kill_at(moment, tmp_path))
    second = play(tmp_path, hours=AFTER_HOURS)
    assert [] == second.broken_code()
    assert second.conservation.ok, second.conservation.lines
    store = open_journal(tmp_path)
    try:
        counted = booked(store)
    finally:
        store.close()
    assert filled(second.twin) == counted
    opened = [e.position.position_id for e in second.of(PositionOpened)]
    assert len(opened) == len(set(opened))
    assert [] == second.untrue_causes()
    for meter in second.twin.meters.values():
        spans = [e.unprotected_ns_total for e in meter.episodes(second.twin.world.now_ns)]
        assert max(spans, default=0) <= NAKED_NS_MAX
