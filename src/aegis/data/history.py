"""
Bars from a venue's history: asked with bounded patience, checked like everything else.

A failed request is None and never an empty answer; an empty answer means the venue has no bars.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import attrs

from aegis.core.clock import Clock
from aegis.core.errors import VenueError, bounded_text
from aegis.data.firewall import HISTORY, Firewall, Rejection
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.market import Candle
from aegis.model.ports import VenueGateway

PAUSES_S: Final = (0.0, 1.0, 2.0, 4.0)
"""Loop seconds before each try."""


@attrs.frozen(kw_only=True)
class HistoryAnswer:
    """
    What one request brought, oldest first.

    refused: bars the firewall did not let through; told: those of them that are to be published.
    """

    candles: tuple[Candle, ...]
    refused: int
    told: tuple[Rejection, ...]


@attrs.frozen(kw_only=True)
class HistoryFailure:
    """The request failed: nothing is known about those bars."""

    error: str


class HistoryReader:
    """Ask venues for closed bars."""

    def __init__(self, clock: Clock, firewall: Firewall) -> None:
        self._clock = clock
        self._firewall = firewall
        self._gateways: dict[Venue, VenueGateway] = {}

    def use(self, gateways: Mapping[Venue, VenueGateway]) -> None:
        """Ask *gateways* from now on."""
        self._gateways.update(gateways)

    def gateway(self, venue: Venue) -> VenueGateway | None:
        """Return the gateway of *venue*, None when it was never given."""
        return self._gateways.get(venue)

    async def ask(
        self, instrument_id: InstrumentId, timeframe_ns: int, start_ns: int, end_ns: int
    ) -> HistoryAnswer | HistoryFailure:
        """Ask once for the bars with start_ns <= open_ns < end_ns that are closed by now."""
        gateway = self._gateways.get(instrument_id.venue)
        if gateway is None:
            return HistoryFailure(error=f"no gateway for {instrument_id.venue}")
        try:
            candles = await gateway.candles(instrument_id, timeframe_ns, start_ns, end_ns)
        except VenueError as error:
            return HistoryFailure(error=bounded_text(str(error)))
        now_ns = self._clock.now_ns()
        good: list[Candle] = []
        told: list[Rejection] = []
        refused = 0
        for candle in candles:
            reason = self._firewall.check_history(candle, instrument_id, timeframe_ns)
            if reason is not None:
                refused += 1
                rejection = self._firewall.count(instrument_id, HISTORY, reason)
                if rejection is not None:
                    told.append(rejection)
            elif start_ns <= candle.open_ns < end_ns and candle.close_ns <= now_ns:
                good.append(candle)
        good.sort(key=lambda candle: candle.open_ns)
        return HistoryAnswer(candles=tuple(good), refused=refused, told=tuple(told))

    async def ask_patiently(
        self, instrument_id: InstrumentId, timeframe_ns: int, start_ns: int, end_ns: int
    ) -> HistoryAnswer | HistoryFailure:
        """Ask up to four times, 1, 2 and 4 loop seconds apart, until an answer comes."""
        answer: HistoryAnswer | HistoryFailure = HistoryFailure(error="never asked")
        for pause_s in PAUSES_S:
            if pause_s:
                await asyncio.sleep(pause_s)
            answer = await self.ask(instrument_id, timeframe_ns, start_ns, end_ns)
            if isinstance(answer, HistoryAnswer):
                break
        return answer
