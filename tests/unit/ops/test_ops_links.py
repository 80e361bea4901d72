"""How a venue is reached now, which is another question than whether it once was (R87)."""

from typing import Any

import attrs
import pytest

from aegis.model.instrument import Venue
from aegis.ops.health import VenueLink

WELL = VenueLink(
    venue=Venue.BYBIT,
    brought_up=True,
    streams=("orders", "private", "public"),
    down=(),
    frame_age_s=0.2,
)


@pytest.mark.parametrize(
    "changed",
    [{"brought_up": False}, {"down": ("private",)}, {"frame_age_s": None}],
    ids=["not brought up", "a stream is down", "no frame yet"],
)
def test_connected_means_now_and_whole(changed: dict[str, Any]) -> None:
    """Brought up, every stream open, market data seen: any one missing is not connected."""
    assert WELL.connected
    assert not attrs.evolve(WELL, **changed).connected
