"""The same market by the order socket and by REST: the setting rules, and neither way is naked."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aegis.model.events import ApiCalled
from aegis.model.instrument import Venue

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

BY_REST = {"place_order", "place_algo_order", "cancel_algo_order", "cancel_order"}
BY_SOCKET = {
    "ws order.place",
    "ws algoOrder.place",
    "ws algoOrder.cancel",
    "ws order.create",
    "ws order.cancel",
}


@pytest.fixture(scope="module")
def ways(
    play: Callable[..., "Played"], tmp_path_factory: pytest.TempPathFactory
) -> "dict[str, Played]":
    """Play three hours of the same market by each way."""
    return {
        way: play(tmp_path_factory.mktemp(way), hours=3, settings={"order_entry": way})
        for way in ("ws", "rest")
    }


def _used(played: "Played") -> set[str]:
    return {each.operation for each in played.of(ApiCalled)} & (BY_REST | BY_SOCKET)


def test_the_setting_rules_which_way_orders_go(ways: "dict[str, Played]") -> None:
    """By the socket nothing goes by REST, by REST no order socket is opened."""
    assert {"ws order.place", "ws algoOrder.place", "ws order.create"} <= _used(ways["ws"])
    assert _used(ways["ws"]) <= BY_SOCKET
    assert {"place_order", "place_algo_order"} <= _used(ways["rest"])
    assert _used(ways["rest"]) <= BY_REST


@pytest.mark.parametrize("way", ["ws", "rest"])
def test_neither_way_breaks_a_law(ways: "dict[str, Played]", way: str) -> None:
    """Protection, money, frames and causes hold whichever way orders go."""
    assert [] == ways[way].broken_laws()
    assert all(ways[way].opened_on(venue) for venue in Venue)


def test_the_socket_leaves_no_position_longer_uncovered_than_rest(
    ways: "dict[str, Played]",
) -> None:
    """The meter's longest unprotected time, venue by venue (promise 3)."""
    longest = {
        way: {
            name: meter.summary(played.twin.world.now_ns).max_ns
            for name, meter in played.twin.meters.items()
        }
        for way, played in ways.items()
    }
    assert all(longest["ws"][name] <= longest["rest"][name] for name in longest["rest"]), longest
