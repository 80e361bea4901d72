"""The liquidation cascade of 2025-10-10: 5m bars of Bybit, BTC and ETH, on both venues."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.model.events import CandleGapFound, PositionClosed, PositionOpened, StreamClosed
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.simulation.conftest import Played


@pytest.fixture(scope="module")
def cascade(
    play: Callable[..., "Played"], shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Played":
    """Play twelve hours around the fall, which begins at 20:50."""
    folder = shared_data / "market" / "bybit_linear" / "2025-2026_5m"
    return play(
        tmp_path_factory.mktemp("cascade"),
        tapes=[folder / f"{symbol}-5m-futures.feather" for symbol in ("BTCUSDT", "ETHUSDT")],
        from_="2025-10-10T12:00",
        to="2025-10-11",
    )


def test_the_cascade_breaks_no_law(cascade: "Played") -> None:
    """Protection, money, frames, causes: all hold through the fall (R76, R77, R79)."""
    assert cascade.of(PositionOpened)
    assert [] == cascade.broken_laws()


def test_no_position_is_liquidated_or_lost(cascade: "Played") -> None:
    """The stops were in front of the liquidation price, also in the fall (R29)."""
    causes = {close.cause for close in cascade.of(PositionClosed)}
    assert causes.isdisjoint({CloseCause.LIQ, CloseCause.ADL, CloseCause.EXTERNAL})


def test_a_slow_tape_is_no_dead_stream(cascade: "Played") -> None:
    """Bars of 5m come with long silences; the streams stay up and no candle is missed (R80)."""
    broken = [event.reason for event in cascade.of(StreamClosed)]
    assert [] == broken
    assert [] == cascade.of(CandleGapFound)
