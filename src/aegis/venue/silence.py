"""
Whether the user stream tells what it should: proof against sockets that ping and say nothing.

An idle account is silent for hours, so silence alone proves nothing. A fill or an order that the
venue's REST interface knows, that happened while the stream was open and that the stream has not
told within SILENCE_PATIENCE_S, does.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aegis.core.clock import NS_PER_S, Clock
from aegis.model.account import OrderReport
from aegis.model.fill import Fill

SILENCE_PATIENCE_S: Final = 3.0
"""Frames and answers overtake each other; what is still untold after so long was not sent."""
_OPENED_MARGIN_NS: Final = 2 * NS_PER_S
"""What happened this close to the opening may have been told to nobody, or by another clock."""
_FACTS_KEPT: Final = 10_000


class StreamProof:
    """
    Compare what the stream told with what the venue knows.

    *on_silent* is called with the reason, at most once per opening.
    """

    def __init__(self, clock: Clock, on_silent: Callable[[str], object]) -> None:
        self._clock = clock
        self._on_silent = on_silent
        self._told: dict[object, None] = {}
        self._suspects: dict[object, asyncio.TimerHandle] = {}
        self._opened_ns: int | None = None

    def on_opened(self) -> None:
        """Hear that the stream is open: from now on it owes every fact."""
        self._opened_ns = self._clock.now_ns()

    def on_closed(self) -> None:
        """Hear that the stream is not open: it owes nothing, and nothing is suspected."""
        self._opened_ns = None
        for handle in self._suspects.values():
            handle.cancel()
        self._suspects.clear()

    def told(self, fact: Fill | OrderReport) -> None:
        """Note what the stream told."""
        key = _key(fact)
        self._told[key] = None
        if len(self._told) > _FACTS_KEPT:
            del self._told[next(iter(self._told))]
        handle = self._suspects.pop(key, None)
        if handle is not None:
            handle.cancel()

    def found(self, fact: Fill | OrderReport) -> None:
        """Note what a query knew; the stream has some time left to tell it."""
        key = _key(fact)
        if self._opened_ns is None or key in self._told or key in self._suspects:
            return
        if fact.ts_event < self._opened_ns + _OPENED_MARGIN_NS:
            return
        loop = asyncio.get_running_loop()
        self._suspects[key] = loop.call_later(SILENCE_PATIENCE_S, self._judge, fact)

    def _judge(self, fact: Fill | OrderReport) -> None:
        self.on_closed()
        self._on_silent(f"silent: the venue knows {_words(fact)} that the stream never told")


def _key(fact: Fill | OrderReport) -> object:
    if isinstance(fact, Fill):
        return fact.instrument_id, fact.fill_id
    return fact.instrument_id, fact.conditional, fact.venue_order_id or fact.client_order_id


def _words(fact: Fill | OrderReport) -> str:
    if isinstance(fact, Fill):
        return f"fill {fact.fill_id} of {fact.instrument_id}"
    return f"order {fact.venue_order_id or fact.client_order_id} of {fact.instrument_id}"
