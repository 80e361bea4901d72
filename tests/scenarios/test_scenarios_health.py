"""A bot whose way out does not work is not well, however busily its loop turns (R87)."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from aegis.app.pulse import Pulse
from aegis.core.clock import NS_PER_S
from aegis.model.events import CloseRequested
from aegis.model.instrument import Venue, instrument_id
from aegis.ops.health import CLOSING_MAX_NS
from aegis.ops.systemd import ServiceManager
from aegis.twin.boot import VENUE_NAMES, VenueName

if TYPE_CHECKING:
    from tests.scenarios.conftest import World

Play = Callable[..., "World"]
FEED_EVERY_S: Final = 5.0
NO_MARGIN: Final = {
    "binance": (-2019, "Margin is insufficient."),
    "bybit": (110007, "ab not enough"),
}


class Dog:
    """A service manager's watchdog: counts what it is fed."""

    def __init__(self, name: str) -> None:
        """Listen under *name* in the abstract name space."""
        self.address: Final = f"@{name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("\0" + name)

    def meals(self) -> int:
        """Return how often it was fed since it was asked last."""
        count = 0
        while True:
            try:
                count += self._socket.recv(200).startswith(b"WATCHDOG=1")
            except BlockingIOError:
                return count

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@pytest.mark.parametrize("venue", VENUE_NAMES)
def test_a_way_out_that_never_succeeds_starves_the_watchdog(
    play: Play, tmp_path: Path, venue: VenueName
) -> None:
    """The venue refuses every close: no feed after 120 s of it; fed again once it closed (R87)."""
    dog = Dog(f"aegis-scenario-{os.getpid()}-{venue}")

    async def scenario(world: "World") -> None:
        await world.ready()
        await world.open(venue)
        pulse = Pulse(world.bot, ServiceManager(dog.address), FEED_EVERY_S)
        pulse.start()
        await asyncio.sleep(4 * FEED_EVERY_S)
        assert dog.meals() >= 4
        rule = world.wire[venue].refuse("close", *NO_MARGIN[venue])
        now = world.bot.around.clock.now_ns()
        world.bot.bus.publish(
            CloseRequested(
                ts_event=now,
                ts_recv=now,
                instrument_id=instrument_id("BTCUSDT", Venue(venue.upper())),
                operator="ann",
                reason="on holiday",
                force=False,
            )
        )
        await asyncio.sleep(CLOSING_MAX_NS / NS_PER_S + 2)
        assert rule.hits > 1
        assert world.stops(venue)
        (problem,) = pulse.health.problems
        assert "is being closed for" in problem
        _ = dog.meals()
        await asyncio.sleep(10 * FEED_EVERY_S)
        assert 0 == dog.meals()
        rule.end()
        await world.until(lambda: world.qty(venue) == 0, within_s=120)
        await asyncio.sleep(4 * FEED_EVERY_S)
        assert pulse.health.ok
        assert dog.meals() >= 2
        pulse.stop()

    try:
        world = play(tmp_path, scenario)
    finally:
        dog.close()
    assert [] == world.faults_of_code()
