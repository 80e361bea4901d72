"""The harness itself: a played run is whole, whatever happens to the process it is played in."""

import asyncio
import os
import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from aegis.model.events import RunStopped

if TYPE_CHECKING:
    from tests.scenarios.conftest import Play, World


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_is_the_process_s_and_never_cuts_a_played_run_short(
    play: "Play", tmp_path: Path, number: signal.Signals
) -> None:
    """Two plays are the same (R88): a time-out around the tests ends them, and no run inside."""
    heard: list[int] = []

    def hear(got: int, _frame: FrameType | None) -> None:
        heard.append(got)

    async def scenario(world: "World") -> None:
        await world.ready()
        os.kill(os.getpid(), number)
        await asyncio.sleep(10)
        assert [] == world.of(RunStopped)

    before = signal.signal(number, hear)
    try:
        world = play(tmp_path, scenario, venues=("binance",))
        assert hear is signal.getsignal(number)
    finally:
        signal.signal(number, before)

    assert [number] == heard
    assert ["the scenario is over"] == [e.reason for e in world.of(RunStopped)]


def test_a_run_that_ends_before_its_scenario_is_no_pass(play: "Play", tmp_path: Path) -> None:
    """A test whose scenario was not played to its end has shown nothing."""

    async def scenario(world: "World") -> None:
        world.bot._on_fatal("something else", 0)
        await asyncio.sleep(600)

    with pytest.raises(AssertionError, match="ended before its scenario"):
        _ = play(tmp_path, scenario, venues=("binance",))
