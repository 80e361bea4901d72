"""FIL on 2023-08-17: the minute of -8.7 % at 21:43 meets positions that stand in its way."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aegis.core.clock import parse_utc
from aegis.model.events import PositionClosed, PositionOpened
from aegis.model.instrument import Venue
from aegis.model.order import OrderSide, OrderType
from aegis.model.position import CloseCause
from aegis.twin.boot import Twin
from aegis.twin.engine.api import OrderSpec

if TYPE_CHECKING:
    from tests.simulation.conftest import Played

CRASH_NS = parse_utc("2023-08-17T21:43:00")
MINUTE_NS = 60_000_000_000


def buy_by_hand(twin: Twin) -> None:
    """Open a long without a stop on both venues, as a person would."""
    for engine in twin.engines.values():
        _ = engine.place(
            OrderSpec(
                symbol="FILUSDT",
                client_id="by-hand",
                side=OrderSide.BUY,
                order_type=OrderType.MARKET,
                qty=Decimal(1000),
            )
        )


@pytest.fixture(scope="module")
def fil(
    play: Callable[..., "Played"], shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Played":
    """Play 21:43 to 23:00 with a long in the way of the fall."""
    folder = shared_data / "market" / "binance_usdm" / "vision_csv_1m"
    return play(
        tmp_path_factory.mktemp("fil"),
        tapes=[folder / "FILUSDT-1m-2023-08.csv.gz"],
        from_="2023-08-17T21:43",
        to="2023-08-17T23:00",
        prepare=buy_by_hand,
    )


def test_the_minute_breaks_no_law(fil: "Played") -> None:
    """Conservation, money, frames and causes hold; adopted longs were covered (R76, R77, R79)."""
    assert len(Venue) == len(fil.of(PositionOpened))
    assert [] == [
        *fil.conservation.violations,
        *fil.broken_money(),
        *fil.broken_accounts(),
        *fil.broken_code(),
        *fil.untrue_causes(),
    ]


@pytest.mark.parametrize("venue", list(Venue))
def test_the_stop_takes_the_long_out_in_the_minute_of_the_fall(fil: "Played", venue: Venue) -> None:
    """A native stop closes while the market falls, without a word of ours (promise 3)."""
    (close,) = [e for e in fil.of(PositionClosed) if e.position.instrument_id.venue is venue]
    assert CloseCause.SL is close.cause
    assert CRASH_NS <= close.ts_event < CRASH_NS + MINUTE_NS
