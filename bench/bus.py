"""The bus: making an event and dispatching it to three handlers, against a bare dict of tuples."""

from collections.abc import Callable
from typing import Any

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import LiveClock
from aegis.core.event import Event
from aegis.model.events import MarketTick
from aegis.model.instrument import Venue, instrument_id
from bench.measure import Spread, ns_per_call, ratio, side_by_side, spread_of, unrest

HANDLERS = 3
_INSTRUMENT = instrument_id("BTCUSDT", Venue.BINANCE)


@attrs.frozen(kw_only=True)
class BusFigures:
    """Nanoseconds per event, spread over the rounds; handled: events the last handler counted."""

    rounds: int
    events_per_round: int
    create: Spread
    bare_dispatch: Spread
    bus_dispatch: Spread
    create_and_bare: Spread
    create_and_bus: Spread
    dispatch_ratio: float | None
    whole_ratio: float | None
    unrest: float
    published: int
    handled: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON-able data."""
        return attrs.asdict(self)


class _Counter:
    """A handler that does next to nothing."""

    def __init__(self) -> None:
        self.count = 0

    def on_tick(self, _event: MarketTick) -> None:
        """Count it."""
        self.count += 1


def tick() -> MarketTick:
    """Return a tick as data makes them."""
    return MarketTick(
        ts_event=1,
        ts_recv=2,
        instrument_id=_INSTRUMENT,
        bid=100.0,
        ask=100.1,
        mark=100.05,
        last=None,
        merged=0,
    )


def run(*, quick: bool) -> BusFigures:
    """Measure; *quick* is a short run whose figures mean little."""
    rounds, events = (3, 500) if quick else (25, 20_000)
    counters = [_Counter() for _ in range(HANDLERS)]
    bus = EventBus(LiveClock())
    for counter in counters:
        bus.subscribe(MarketTick, counter.on_tick)
    bare_counters = [_Counter() for _ in range(HANDLERS)]
    bare = _bare_dispatch(bare_counters)
    one, turns = tick(), range(events)

    def per_event(work: Callable[[], None]) -> Callable[[], float]:
        return lambda: ns_per_call(work, events)

    def create() -> None:
        for _ in turns:
            tick()

    def dispatch(publish: Callable[[Event], None]) -> Callable[[], None]:
        def work() -> None:
            for _ in turns:
                publish(one)

        return work

    def both(publish: Callable[[Event], None]) -> Callable[[], None]:
        def work() -> None:
            for _ in turns:
                publish(tick())

        return work

    sides = {
        "create": per_event(create),
        "bare": per_event(dispatch(bare)),
        "bus": per_event(dispatch(bus.publish)),
        "create+bare": per_event(both(bare)),
        "create+bus": per_event(both(bus.publish)),
    }
    samples = side_by_side(rounds, sides)
    spreads = {name: spread_of(values) for name, values in samples.items()}
    return BusFigures(
        rounds=rounds,
        events_per_round=events,
        create=spreads["create"],
        bare_dispatch=spreads["bare"],
        bus_dispatch=spreads["bus"],
        create_and_bare=spreads["create+bare"],
        create_and_bus=spreads["create+bus"],
        dispatch_ratio=ratio(spreads["bus"].p50, spreads["bare"].p50),
        whole_ratio=ratio(spreads["create+bus"].p50, spreads["create+bare"].p50),
        unrest=unrest(samples["bare"]),
        published=bus.seq,
        handled=counters[-1].count,
    )


def _bare_dispatch(counters: list[_Counter]) -> Callable[[Event], None]:
    table: dict[type[Event], tuple[Callable[[Any], None], ...]] = {
        MarketTick: tuple(counter.on_tick for counter in counters)
    }

    def publish(event: Event) -> None:
        for handler in table[type(event)]:
            handler(event)

    return publish
