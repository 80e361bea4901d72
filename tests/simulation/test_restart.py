"""What a restart must remember: the day's baseline and its lock (R64, R65)."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from aegis.model.events import DayStarted, EntriesHalted, IntentDenied, PositionOpened, RunStarted
from aegis.model.instrument import Venue

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

Play = Callable[..., "Played"]
TIGHT = {"daily_drawdown_max_pct": Decimal("0.4")}
"""One lost position of 0.5 % risk locks the day."""


def test_the_days_baseline_survives_a_restart(play: Play, tmp_path: Path) -> None:
    """The second run of a UTC day measures from the first one's equity, not from its own (R64)."""
    first = play(tmp_path, hours=3)
    second = play(tmp_path, hours=0.5)
    begun = {e.venue: e.equity for e in first.of(DayStarted)}
    assert set(Venue) == set(begun)
    assert [] == second.of(DayStarted)
    assert begun == {v: second.bot.safety.venue_state(v).day_start_equity for v in Venue}


def test_a_daily_lock_survives_a_restart_within_the_day(play: Play, tmp_path: Path) -> None:
    """A venue that lost its day stays shut after a restart, and opens with the next (R65)."""
    first = play(tmp_path, hours=4, settings=TIGHT)
    locked = {e.scope for e in first.of(EntriesHalted) if e.scope in set(Venue)}
    assert set(Venue) == locked
    second = play(tmp_path, hours=8, settings=TIGHT)
    fresh = [e for e in second.of(PositionOpened) if not e.position.adopted]
    assert [] == fresh
    assert {"daily_drawdown"} == {e.guard for e in second.of(IntentDenied)}
    third = play(tmp_path, hours=18, settings=TIGHT)
    days = {e.venue: e.day for e in third.of(DayStarted)}
    assert dict.fromkeys(Venue, "2026-01-02") == days
    assert third.of(PositionOpened)
    assert [1, 2, 3] == [played.of(RunStarted)[0].run for played in (first, second, third)]


def test_a_new_paper_account_is_not_bound_by_the_old_ones_losses(
    play: Play, tmp_path: Path
) -> None:
    """--fresh begins a new account: baseline and lock of the old one are not its own."""
    _ = play(tmp_path, hours=4, settings=TIGHT)
    second = play(tmp_path, hours=0.75, settings=TIGHT, fresh=True)
    assert second.of(PositionOpened)
