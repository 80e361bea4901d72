"""A dry run's account: the adapter's orders fill here at live prices, the live venue sees none."""

import asyncio
import random
from decimal import Decimal

import attrs
import pytest

from aegis.app.bot import make_gateway
from aegis.app.dry_run import live_twin, make_feed, open_venue
from aegis.app.endpoints import Endpoints
from aegis.app.modes import VenueTarget
from aegis.app.paper import new_twin, start_world
from aegis.core.clock import LiveClock
from aegis.core.latch import HaltLatch
from aegis.core.supervise import Supervisor
from aegis.model.instrument import Venue, instrument_id
from aegis.model.order import OrderRequest, OrderSide, OrderType, Purpose
from aegis.settings import AegisConfig
from aegis.twin.boot import VenueName, generated_market
from aegis.twin.server import TwinServer

CONFIG = AegisConfig(symbols=("BTCUSDT",), timeframes=("5m",))
PATIENCE_S = 20.0


async def trade_once(name: VenueName) -> None:
    """Serve a market, dry-run on it, and send one order through the adapter."""
    clock, rng = LiveClock(), random.Random(1)
    venue = Venue(name.upper())
    market = generated_market(25, days=1, venues=(name,), begin_ns=clock.now_ns())
    theirs = new_twin(market, CONFIG, clock, 1.0, market.start_ns)
    server = TwinServer(
        theirs.faces[name], before_request=lambda: theirs.world.advance(clock.now_ns())
    )
    await server.start()
    tasks = Supervisor(clock, lambda failed: pytest.fail(failed.error), rng=rng)
    where = Endpoints(rest=server.url, streams=server.ws_url, orders="")
    found = await open_venue(VenueTarget(venue=venue, where=where), CONFIG, clock)
    assert found is not None
    ours = live_twin([found], CONFIG, clock, "dry")
    played = attrs.evolve(CONFIG, symbols=())
    world = await start_world(ours, played, clock, virtual=False, supervisor=tasks, rng=rng)
    feed = make_feed(found, CONFIG, world, clock, tasks, rng)
    (ports,) = world.ports
    gateway = make_gateway(
        attrs.evolve(ports, order_ws_url=""),
        CONFIG,
        clock=clock,
        offload=world.offload,
        supervisor=tasks,
        rng=rng,
        publish=lambda event: None,
        halt=HaltLatch().view(),
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            await feed.begin()
            while not feed.flowing:
                await asyncio.sleep(0.01)
            _ = await gateway.connect(("BTCUSDT",))
            _ = await gateway.prepare_entry(instrument_id("BTCUSDT", venue), 5)
            quote = ours.engines[name].quote("BTCUSDT")
            _ = await gateway.place(
                OrderRequest(
                    instrument_id=instrument_id("BTCUSDT", venue),
                    client_order_id="dry-1-1-EN1",
                    purpose=Purpose.ENTRY,
                    side=OrderSide.BUY,
                    order_type=OrderType.MARKET,
                    qty=Decimal("0.002"),
                    reduce_only=False,
                )
            )
        (fill,) = ours.engines[name].fills()
        assert Decimal("0.002") == fill.qty
        assert abs(float(fill.price) / quote.ask - 1) < 0.01
        live = theirs.engines[name].quote("BTCUSDT")
        assert abs(quote.mark / live.mark - 1) < 0.01
        assert [] == list(theirs.engines[name].all_orders())
        assert [] == list(theirs.engines[name].fills())
    finally:
        await gateway.close()
        await feed.stop()
        await tasks.stop()
        await world.close()
        await found.rest.close()
        await server.stop()


@pytest.mark.parametrize("name", ["binance", "bybit"])
def test_orders_of_a_dry_run_go_to_the_twin_alone(name: VenueName) -> None:
    """The fill is at the live price, on the account here; the live venue has no order, no fill."""
    with asyncio.Runner() as runner:
        runner.run(trade_once(name))
