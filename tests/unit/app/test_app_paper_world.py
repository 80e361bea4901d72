"""How a twin is served: to this bot, and to the clients of others."""

import asyncio
import random
from typing import Final

import pytest
from aiohttp import ClientSession

from aegis.app.paper import PaperWorld, new_twin, open_market, start_world
from aegis.app.plan import RunPlan
from aegis.core.clock import NS_PER_MS, LiveClock, ScaledClock
from aegis.core.supervise import Supervisor
from aegis.settings import AegisConfig
from aegis.twin.boot import VenueName
from aegis.venue.sdk_clock import restore_sdk_clocks

DELAY_S: Final = 0.2
SOCKETS: Final[dict[VenueName, str]] = {"binance": "/ws-fapi/v1", "bybit": "/v5/public/linear"}
ASKED: Final = {"binance": {"id": "1", "method": "ping"}, "bybit": {"req_id": "1", "op": "ping"}}


async def _answer_ms(world: PaperWorld, name: VenueName) -> float:
    """Return how long one answer over a socket took."""
    clock = LiveClock()
    url = world.servers[name].ws_url + SOCKETS[name]
    async with ClientSession() as session, session.ws_connect(url) as stream:
        begun_ns = clock.mono_ns()
        await stream.send_json(ASKED[name])
        _ = await stream.receive(timeout=5)
        return (clock.mono_ns() - begun_ns) / NS_PER_MS


@pytest.mark.parametrize("delay_s", [0.0, DELAY_S])
def test_only_bybits_frames_wait_and_only_when_asked(delay_s: float) -> None:
    """pybit drops an answer that comes at once (venues.md 4.3); our own bot waits for none."""

    async def run() -> dict[str, float]:
        config = AegisConfig(paper_days=1)
        market = open_market(config, RunPlan(speed=1.0))
        loop = asyncio.get_running_loop()
        clock = ScaledClock(market.start_ns, 1.0, loop)
        rng = random.Random(1)
        supervisor = Supervisor(clock, print, rng=rng)
        twin = new_twin(market, config, clock, 1.0, market.start_ns)
        world = await start_world(
            twin,
            config,
            clock,
            virtual=False,
            supervisor=supervisor,
            rng=rng,
            bybit_stream_delay_s=delay_s,
        )
        try:
            return {name: await _answer_ms(world, name) for name in SOCKETS}
        finally:
            await supervisor.stop()
            await world.close()

    try:
        took_ms = asyncio.run(run())
    finally:
        restore_sdk_clocks()
    assert took_ms["binance"] < DELAY_S * 1000
    assert (took_ms["bybit"] >= DELAY_S * 1000) is (delay_s > 0)
