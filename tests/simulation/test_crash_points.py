"""Kills at chosen steps of whole runs, and that the steps which are left out could show nothing."""

import hashlib
import json
import sqlite3
from typing import Any

import attrs
import pytest

from aegis.exit.actor import ExitActor
from aegis.journal.store import FILE_NAME
from aegis.model.events import PositionOpened, RunStarted
from aegis.sim.crash_probe import Mark
from aegis.sim.crash_run import Reference, kill_at, refer
from aegis.sim.crash_scenarios import SCENARIOS
from aegis.sim.outcome import law_of
from aegis.sim.run import Stage

CLOCKS = frozenset({"now_ns"})


def lasting(stage: Stage) -> str:
    """Return a digest of everything that outlives a process: the journal's rows, the accounts."""
    with sqlite3.connect(stage.inputs.state_dir / FILE_NAME) as journal:
        rows = [
            journal.execute(
                "select count(*), max(chain) from events where row = (select max(row) from events)"
            ).fetchall(),
            journal.execute("select * from runs").fetchall(),
        ]
    told = json.dumps([rows, timeless(stage.twin.export_state())], default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def timeless(state: Any) -> Any:
    """Return *state* without its clocks, which go on whoever lives."""
    if isinstance(state, dict):
        return {key: timeless(value) for key, value in state.items() if key not in CLOCKS}
    return [timeless(each) for each in state] if isinstance(state, list) else state


@pytest.fixture(scope="module")
def entered() -> Reference:
    """Return the run of an entry on Binance that nobody kills."""
    return refer(SCENARIOS["entry@binance"])


@pytest.mark.parametrize("name", ["entry@binance", "break-even@bybit"])
def test_nothing_lasting_changes_within_a_point(name: str) -> None:
    """Marks that are taken together have one journal, one account, the same requests under way."""
    seen: dict[int, set[str]] = {}

    def look(stage: Stage, mark: Mark) -> None:
        seen.setdefault(mark.number, set()).add(lasting(stage))

    reference = refer(SCENARIOS[name], watch=look)
    assert () == reference.outcome.violations
    assert reference.marks > reference.points == len(seen) > 20
    assert {1} == {len(digests) for digests in seen.values()}
    assert len(set().union(*seen.values())) > 3


def test_kills_within_a_point_are_the_same_kill(entered: Reference) -> None:
    """Killed at the first and at the last mark of a point, all that follows is equal."""
    wide = max(entered.kills, key=lambda kill: kill.last - kill.number)
    assert wide.last > wide.number
    scenario = SCENARIOS["entry@binance"]
    first, last = kill_at(scenario, wide), kill_at(scenario, attrs.evolve(wide, number=wide.last))
    assert ((), ()) == (first.violations, last.violations)
    assert first.digest == last.digest


def test_an_entry_that_arrives_after_the_death_is_found_and_protected(entered: Reference) -> None:
    """The order was under way and nobody lived to see it fill: the next start sees to it (R49)."""
    scenario = SCENARIOS["entry@binance"]
    sent = [kill_at(scenario, kill) for kill in entered.kills if kill.sent]
    lost = [
        kill_at(scenario, attrs.evolve(kill, sent=False)) for kill in entered.kills if kill.sent
    ]
    assert [] == [(one.kill, one.violations) for one in (*sent, *lost) if one.violations]
    assert ((), ("SL",)) in [
        (one.causes, other.causes) for one, other in zip(lost, sent, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "share"), [("entry@bybit", 5), ("partial-fill@binance", 6), ("restart@binance", 20)]
)
def test_a_killed_bot_goes_on(name: str, share: int) -> None:
    """Some of the points of the whole enumeration, judged by every checker (R49, R77)."""
    reference = refer(SCENARIOS[name])
    outcomes = [kill_at(SCENARIOS[name], kill) for kill in reference.kills[::share]]
    assert () == reference.outcome.violations
    assert len(outcomes) >= 3
    assert [] == [(one.kill, one.violations) for one in outcomes if one.violations]


def test_a_bot_that_protects_nothing_after_a_restart_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed before the stop of what it adopts, such a bot leaves it naked, and is judged so."""
    scenario = SCENARIOS["adopt@binance"]
    kills = refer(scenario).kills[::4]
    runs: list[int] = []
    opened = ExitActor.on_position_opened

    def began(_self: ExitActor, event: RunStarted) -> None:
        runs.append(event.run)

    def forgets(self: ExitActor, event: PositionOpened) -> None:
        if runs[-1] == 1:
            opened(self, event)

    monkeypatch.setattr(ExitActor, "on_run_started", began)
    monkeypatch.setattr(ExitActor, "on_position_opened", forgets)
    outcomes = [kill_at(scenario, kill) for kill in kills]
    broken = {law_of(each) for outcome in outcomes for each in outcome.violations}
    assert "unprotected" in broken


def test_a_run_that_comes_another_way_to_its_death_is_found(entered: Reference) -> None:
    """A kill in another state than without it would prove nothing, so it is a violation."""
    kill = attrs.evolve(entered.kills[3], state=(0, 0, 0))
    outcome = kill_at(SCENARIOS["entry@binance"], kill)
    assert ["determinism"] == [law_of(each) for each in outcome.violations]
