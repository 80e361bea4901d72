"""
Depth snapshots of Binance, asked by REST when a book wants one (venues.md 2.6).

One request per symbol at a time, with a pause after each: a snapshot of 1000 levels weighs 20 of
the 2400 a minute.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from loguru import logger

from aegis.core.clock import Clock
from aegis.core.errors import VenueError
from aegis.core.supervise import Supervisor
from aegis.model.instrument import InstrumentId
from aegis.model.market import DepthFrame
from aegis.venue.binance.parse_market import parse_depth_snapshot
from aegis.venue.binance.rest import BinanceRest

SNAPSHOT_LEVELS: Final = 1000
PAUSE_S: Final = 1.0


class DepthSnapshots:
    """Fetch snapshots and hand them over as frames."""

    def __init__(
        self,
        rest: BinanceRest,
        supervisor: Supervisor,
        clock: Clock,
        hand_over: Callable[[DepthFrame], object],
    ) -> None:
        self._rest = rest
        self._supervisor = supervisor
        self._clock = clock
        self._hand_over = hand_over
        self._asked: dict[InstrumentId, asyncio.Task[None]] = {}

    def ask(self, instrument_id: InstrumentId) -> None:
        """Fetch one unless that is under way; the next diff asks again if it did not fit."""
        if instrument_id not in self._asked and not self._supervisor.stopping:
            self._asked[instrument_id] = self._supervisor.start(
                f"binance.depth {instrument_id.symbol}", lambda: self._fetch(instrument_id)
            )

    def stop(self) -> None:
        """Give up what is under way."""
        for task in self._asked.values():
            task.cancel()

    async def _fetch(self, instrument_id: InstrumentId) -> None:
        params: dict[str, str | int] = {"symbol": instrument_id.symbol, "limit": SNAPSHOT_LEVELS}
        try:
            answer = await self._rest.call("depth", "futures_order_book", params)
            self._hand_over(parse_depth_snapshot(answer, instrument_id, self._clock.now_ns()))
        except VenueError as error:
            # Told as ApiCalled already; without a book nothing but the book is missing.
            logger.warning("no depth snapshot of {}, asking again: {}", instrument_id, error)
        await asyncio.sleep(PAUSE_S)
        del self._asked[instrument_id]
