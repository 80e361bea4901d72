"""A data actor on a virtual loop, with a scripted venue behind it."""

import asyncio
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, cast

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import VirtualClock
from aegis.core.errors import VenueError
from aegis.core.event import Event
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop
from aegis.data.actor import DataActor
from aegis.model.instrument import Instrument, InstrumentId, Venue, instrument_id
from aegis.model.market import MINUTE_NS, Candle
from aegis.model.ports import VenueGateway
from aegis.settings import AegisConfig

START_NS = 1_746_403_200_000_000_000


def instrument_of(symbol: str, venue: Venue) -> Instrument:
    """Return an instrument whose rules do not matter here."""
    return Instrument(
        instrument_id=instrument_id(symbol, venue),
        tick_size=Decimal("0.1"),
        qty_step=Decimal("0.001"),
        qty_min=Decimal("0.001"),
        qty_max=None,
        market_qty_max=None,
        notional_min=None,
        leverage_max=50,
        maint_margin_rate=Decimal("0.004"),
        taker_fee_rate=Decimal("0.0005"),
        maker_fee_rate=Decimal("0.0002"),
        funding_interval_ns=8 * 60 * MINUTE_NS,
    )


@attrs.define
class ScriptedVenue:
    """History as a dict of bars; *failures* are raised one per call before it answers again."""

    venue: Venue
    bars: dict[tuple[InstrumentId, int], list[Candle]] = attrs.field(factory=dict)
    failures: list[VenueError] = attrs.field(factory=list)
    asked: list[tuple[int, int, int]] = attrs.field(factory=list)
    resubscribed: list[InstrumentId] = attrs.field(factory=list)
    restarts: list[tuple[bool, bool, str]] = attrs.field(factory=list)
    answers_all: bool = False

    async def candles(
        self, instrument: InstrumentId, timeframe_ns: int, start_ns: int, end_ns: int
    ) -> tuple[Candle, ...]:
        """Answer after 10 ms."""
        self.asked.append((timeframe_ns, start_ns, end_ns))
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop(0)
        known = self.bars.get((instrument, timeframe_ns), [])
        if self.answers_all:
            return tuple(known)
        return tuple(one for one in known if start_ns <= one.open_ns < end_ns)

    async def resubscribe(self, instrument: InstrumentId) -> None:
        """Note it, or fail."""
        self.resubscribed.append(instrument)
        if self.failures:
            raise self.failures.pop(0)

    def restart_market(self, *, quotes: bool, marks: bool, reason: str) -> None:
        """Note it."""
        self.restarts.append((quotes, marks, reason))


@attrs.define
class Desk:
    """A data actor with everything around it."""

    data: DataActor
    clock: VirtualClock
    supervisor: Supervisor
    venue: ScriptedVenue
    events: list[Event]
    task_failures: list[TaskFailed]

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of one type."""
        return [event for event in self.events if type(event) is kind]

    def gateways(self) -> dict[Venue, VenueGateway]:
        """Return the scripted venue as the port data asks."""
        return {self.venue.venue: cast("VenueGateway", self.venue)}


DeskOf = Callable[..., Desk]


@pytest.fixture
def desk_of() -> DeskOf:
    """Return the builder of a desk; call it on a running virtual loop."""

    def build(instruments: Sequence[Instrument] = (), **settings: Any) -> Desk:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(START_NS, loop)
        bus = EventBus(clock)
        events: list[Event] = []
        bus.listen_all(lambda _seq, event: events.append(event))
        failures: list[TaskFailed] = []
        supervisor = Supervisor(clock, failures.append, rng=random.Random(1))
        data = DataActor(bus, clock, AegisConfig(**settings), loop, supervisor)
        venue = ScriptedVenue(Venue.BINANCE)
        desk = Desk(data, clock, supervisor, venue, events, failures)
        data.watch(desk.gateways(), instruments)
        return desk

    return build


@pytest.fixture
def market() -> tuple[Instrument, ...]:
    """Return BTCUSDT and ETHUSDT of Binance."""
    return tuple(instrument_of(symbol, Venue.BINANCE) for symbol in ("BTCUSDT", "ETHUSDT"))
