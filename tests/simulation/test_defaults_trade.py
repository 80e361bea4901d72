"""The settings as shipped trade the market as shipped; nobody watches a bot that does nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aegis.core.clock import NS_PER_S
from aegis.model.events import IntentDenied, PositionOpened, SignalRaised
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.twin.boot import GENERATED_START_NS

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

FIRST_SIGNAL_NS_MAX = 40 * 60 * NS_PER_S


@pytest.fixture(scope="module")
def first_hours(
    play: Callable[..., "Played"], tmp_path_factory: pytest.TempPathFactory
) -> "Played":
    """Play the first six hours of the generated market with every default."""
    return play(
        tmp_path_factory.mktemp("defaults"),
        hours=6,
        settings={"paper_seed": AegisConfig().paper_seed},
    )


def test_the_first_signal_comes_within_forty_minutes(first_hours: "Played") -> None:
    """At 60x a user sees a trade in the first minute of watching."""
    first = first_hours.of(SignalRaised)[0]
    assert first.ts_event - GENERATED_START_NS <= FIRST_SIGNAL_NS_MAX


@pytest.mark.parametrize("venue", list(Venue))
def test_the_defaults_trade_on_each_venue(first_hours: "Played", venue: Venue) -> None:
    """Positions open within the first market hours; no guard is so tight that none does."""
    assert len(first_hours.opened_on(venue)) >= 2


def test_most_ideas_are_let_through(first_hours: "Played") -> None:
    """The gate guards, it does not stand in the way of a healthy start (R83)."""
    assert len(first_hours.of(IntentDenied)) < len(first_hours.of(PositionOpened))


def test_the_first_hours_break_no_law(first_hours: "Played") -> None:
    """Protection, money, frames and causes hold on the generated market."""
    assert [] == first_hours.broken_laws()
