"""
Runs on accounts in hedge mode (R41, scenario 9): the same laws hold as in one-way mode.

A second leg, opened by a person beside a position of the bot, stops entries of that venue and
changes nothing about the bot's own position.
"""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.core.clock import NS_PER_MS
from aegis.model.events import (
    AlertRaised,
    OrderSubmitted,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    SecondLegFound,
    SecondLegGone,
)
from aegis.model.instrument import Venue
from aegis.model.order import OrderSide, OrderType, Purpose
from aegis.twin.boot import Twin, VenueName
from aegis.twin.engine.api import Leg, OrderSpec

if TYPE_CHECKING:
    from tests.simulation.conftest import Play, Played

ROUND_TRIP_NS = 25 * NS_PER_MS
"""One request of the twin in process is 5 ms each way; a fill's stop is one answer and one more."""


def hedged(twin: Twin) -> None:
    """Switch both venues to hedge mode, as a person would before the start."""
    for engine in twin.engines.values():
        engine.set_hedge_mode(hedge=True)


def worst_ns(played: "Played", name: VenueName) -> int:
    """Return the longest time a position stood uncovered, by the twin's own meter."""
    episodes = played.twin.meters[name].episodes(played.twin.world.now_ns)
    assert episodes, f"nothing was traded on {name}"
    return max(episode.longest_gap_ns for episode in episodes)


@pytest.fixture(scope="module")
def played(play: "Play", tmp_path_factory: pytest.TempPathFactory) -> "Played":
    """Return one run of some hours with both accounts in hedge mode."""
    return play(tmp_path_factory.mktemp("hedge"), hours=6, prepare=hedged)


def test_a_run_in_hedge_mode_breaks_no_law(played: "Played") -> None:
    """R41, R76, R77: positions close for true causes, money and protection are as in one-way."""
    assert [] == played.broken_laws()
    for venue in Venue:
        assert played.opened_on(venue), f"nothing opened on {venue.value}"
    assert played.of(PositionClosed)


def test_protection_is_as_quick_as_in_one_way_mode(played: "Played") -> None:
    """R46, R47: within one round trip after the fill on Binance, without any gap on Bybit."""
    assert worst_ns(played, "binance") <= ROUND_TRIP_NS
    assert 0 == worst_ns(played, "bybit")


def test_every_order_named_its_leg(played: "Played") -> None:
    """R41: no order of the run was for the net position, and none flipped its leg."""
    assert played.of(OrderSubmitted)
    for engine in played.twin.engines.values():
        legs = {fill.order.spec.leg for s in engine.instruments for fill in engine.fills(s)}
        assert legs
        assert Leg.BOTH not in legs
    assert Decimal(0) == sum((p.position.qty for p in played.of(PositionClosed)), Decimal(0))
    assert played.of(PositionOpened)


def test_the_journal_of_hedge_mode_is_the_same_twice(play: "Play", tmp_path: Path) -> None:
    """Same seed, same run: which leg is held is no matter of chance."""
    runs = [play(tmp_path / name, hours=2, prepare=hedged) for name in ("one", "two")]
    first, second = ([type(e).__name__ for e in run.events] for run in runs)
    assert first == second


def test_a_second_leg_stops_entries_and_leaves_the_bot_s_position_alone(
    play: "Play", tmp_path: Path
) -> None:
    """R41, R59: CRITICAL at once, no entry there meanwhile, and the leg that is left is adopted."""
    opened_ns: list[int] = []

    def prepare(twin: Twin) -> None:
        hedged(twin)
        engine = twin.engines["binance"]
        advance = engine.advance

        def advancing(to_ns: int) -> None:
            advance(to_ns)
            held = [leg for leg in engine.legs() if leg.qty]
            if held and not opened_ns:
                opened_ns.append(to_ns)
                other = Leg.SHORT if held[0].leg is Leg.LONG else Leg.LONG
                _ = engine.place(
                    OrderSpec(
                        symbol=held[0].symbol,
                        client_id="web_person",
                        side=OrderSide.SELL if other is Leg.SHORT else OrderSide.BUY,
                        order_type=OrderType.MARKET,
                        qty=abs(held[0].qty),
                        leg=other,
                    )
                )

        engine.advance = advancing  # type: ignore[method-assign]  # a person at the venue

    played = play(tmp_path, hours=3, prepare=prepare)

    found = played.of(SecondLegFound)
    assert found
    assert Venue.BINANCE is found[0].instrument_id.venue
    alerts = [a for a in played.of(AlertRaised) if a.rule == "second_leg"]
    assert {"CRITICAL"} == {a.level for a in alerts}
    told_at = next(i for i, e in enumerate(played.events) if isinstance(e, SecondLegFound))
    gone_at = next(i for i, e in enumerate(played.events) if isinstance(e, SecondLegGone))
    between = played.events[told_at:gone_at]
    mismatches = [e.instrument_id for e in between if isinstance(e, PositionMismatchFound)]
    assert found[0].instrument_id not in mismatches
    entries = [
        e.request.instrument_id.venue
        for e in between
        if isinstance(e, OrderSubmitted) and e.request.purpose is Purpose.ENTRY
    ]
    assert Venue.BINANCE not in entries
    assert [] == played.broken_code()
    # The leg that was left is adopted and protected once the held one ended.
    adopted = [e for e in played.events[gone_at:] if isinstance(e, PositionOpened)]
    assert any(e.position.adopted for e in adopted)
