"""Deeds by the venues' own clock happen in order and at their time, whoever lives."""

from decimal import Decimal

from aegis.app.paper import new_twin
from aegis.core.clock import NS_PER_S, ManualClock
from aegis.settings import resolve
from aegis.sim.crash_scenarios import SCENARIOS, SYMBOL, Act, Deed
from aegis.sim.crash_venue import VenueHands, market_of
from aegis.twin.boot import GENERATED_START_NS, Twin


def standing(key: str) -> tuple[Twin, VenueHands]:
    """Return the twin of a scenario at its start, with hands at its venues."""
    flags = {"log_level": "ERROR", "venues": SCENARIOS[key].venues}
    config = resolve(None, dotenv={}, environ={}, flags=flags).config
    clock = ManualClock(GENERATED_START_NS)
    twin = new_twin(market_of(SCENARIOS[key]), config, clock, None, GENERATED_START_NS)
    return twin, VenueHands(twin)


def test_a_position_is_opened_and_closed_by_hand_at_its_time() -> None:
    """The world is brought far ahead at once, as after a long death: both deeds have happened."""
    twin, hands = standing("adopt@binance")
    opens = Act(deed=Deed.OPEN_BY_HAND, at_s=40.0, size=Decimal("0.05"))
    hands.plan((opens, Act(deed=Deed.CLOSE_BY_HAND, at_s=50.0)), GENERATED_START_NS)
    assert twin.world.next_event_ns() is not None
    twin.world.advance(GENERATED_START_NS + 45 * NS_PER_S)
    engine = twin.engines["binance"]
    assert [Decimal("0.05")] == [p.qty for p in engine.held() if p.symbol == SYMBOL]
    twin.world.advance(GENERATED_START_NS + 100 * NS_PER_S)
    assert [] == list(engine.held())
    times_s = [(fill.ts_ns - GENERATED_START_NS) / NS_PER_S for fill in engine.fills()]
    assert [40.0, 50.0] == times_s


def test_deeds_of_one_moment_keep_their_order() -> None:
    """And one that plans another is followed by it at its own time."""
    twin, hands = standing("adopt@bybit")
    seen: list[str] = []
    hands.call_later(2.0, seen.append, "second")
    hands.call_later(1.0, lambda: hands.call_later(0.5, seen.append, "first"))
    hands.call_later(2.0, seen.append, "third")
    twin.world.advance(GENERATED_START_NS + 3 * NS_PER_S)
    assert ["first", "second", "third"] == seen
