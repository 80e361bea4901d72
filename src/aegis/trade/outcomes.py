"""
What became of a request whose answer left it open: asked for by its client order id, never by
sending again (R30), and market orders the venue holds as working, until they ended (R32).
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain, repeat
from typing import Final

from aegis.core.errors import VenueError
from aegis.model.account import OrderReport
from aegis.model.intent import TradeIntent
from aegis.model.order import OrderRequest, OrderStatus
from aegis.model.ports import VenueGateway
from aegis.trade.executor_events import ExecutorEvents

RESOLVE_DELAYS_S: Final = (0.25, 0.25, 0.5, 1.0, 2.0)
ABSENT_ANSWERS_MIN: Final = 3
"""So many times must the venue say it does not know an entry before it counts as never arrived."""
ABSENT_ANSWERS_MIN_PROTECT: Final = 2
PROTECT_ASKS_MAX: Final = 8
"""So many failed asks, about 10 s, and exit may send another reduce-only order: it cannot flip."""
FOLLOW_DELAYS_S: Final = (2.0, 2.0, 4.0, 8.0, 14.0)
"""A market order that the venue holds as working is asked for, in case its end was lost (R32)."""
FOLLOW_STEADY_S: Final = 60.0
"""And then so often, for as long as it takes: its end may come late and unheard."""


class Outcomes:
    """Ask one venue what became of requests."""

    def __init__(
        self,
        gateway: VenueGateway,
        events: ExecutorEvents,
        *,
        on_error: Callable[[VenueError], None],
        wait_s: Callable[[], float],
        start: Callable[[str, Callable[[], Awaitable[None]]], None],
        late_arrival_s: float,
    ) -> None:
        """
        *on_error* hears every failed question, *wait_s* tells how long the venue wants none about
        entries, *start* runs work beside the lanes, *late_arrival_s*: see the executor.
        """
        self._gateway = gateway
        self._events = events
        self._on_error = on_error
        self._wait_s = wait_s
        self._start = start
        self._late_arrival_s = late_arrival_s

    def found(
        self, intent: TradeIntent, request: OrderRequest, report: OrderReport, outcome: str
    ) -> None:
        """Tell what the venue says of *request*; follow it to its end if it must not rest."""
        self._events.on_answer(report)
        ended = report.status.is_terminal and report.status is not OrderStatus.FILLED
        ok = report.filled_qty > 0 or not ended
        if not ok:
            outcome = f"{outcome}, {report.status.value} {report.reject_message}".rstrip()
        self._events.on_completed(intent, ok=ok, outcome=outcome, refusal="")
        self._follow_to_its_end(request)

    def _follow_to_its_end(self, request: OrderRequest) -> None:
        if not request.order_type.is_conditional and not self._events.is_ended(request):
            self._start(f"follow {request.client_order_id}", partial(self._follow, request))

    async def resolve(
        self, intent: TradeIntent, request: OrderRequest, why: str, sent_s: float
    ) -> None:
        """
        Ask for the id until the venue knows it, or has said often enough that it does not.

        An entry counts as never arrived only when it can no longer arrive. About a way out we stop
        asking at some point, since exit must be free to send another one.
        """
        loop = asyncio.get_running_loop()
        absent, attempt = 0, 0
        needed = ABSENT_ANSWERS_MIN if intent.is_entry else ABSENT_ANSWERS_MIN_PROTECT
        until_s = sent_s + (self._late_arrival_s if intent.is_entry else 0.0)
        while True:
            delay_s = RESOLVE_DELAYS_S[min(attempt, len(RESOLVE_DELAYS_S) - 1)]
            if intent.is_entry:
                delay_s = max(delay_s, self._wait_s())
            await asyncio.sleep(delay_s)
            attempt += 1
            if self._events.is_known(request):
                self._events.on_completed(
                    intent, ok=True, outcome=f"{why}; the stream told of it", refusal=""
                )
                # It told that it works, perhaps: its fill may still be lost.
                self._follow_to_its_end(request)
                return
            try:
                report = await self._gateway.query(
                    request.instrument_id,
                    request.client_order_id,
                    conditional=request.order_type.is_conditional,
                )
            except VenueError as error:
                self._on_error(error)
                if not intent.is_entry and attempt >= PROTECT_ASKS_MAX:
                    outcome = f"{why}; still unknown after {attempt} asks: {error}"
                    self._events.on_completed(intent, ok=False, outcome=outcome, refusal="")
                    return
                continue
            if report is not None:
                self.found(intent, request, report, f"{why}; found {report.status.value}")
                return
            absent += 1
            if absent >= needed and loop.time() >= until_s:
                self._events.on_refused(request, "absent", f"{why}; the venue does not know it")
                self._events.on_completed(
                    intent, ok=False, outcome=f"{why}; never arrived", refusal=""
                )
                return

    async def _follow(self, request: OrderRequest) -> None:
        """Ask for a market order until it is known to have ended: nothing of ours may rest."""
        for delay_s in chain(FOLLOW_DELAYS_S, repeat(FOLLOW_STEADY_S)):
            await asyncio.sleep(delay_s)
            if self._events.is_ended(request):
                return
            try:
                report = await self._gateway.query(
                    request.instrument_id, request.client_order_id, conditional=False
                )
            except VenueError as error:
                self._on_error(error)
                continue
            if report is not None:
                self._events.on_answer(report)
                if report.status.is_terminal:
                    return
