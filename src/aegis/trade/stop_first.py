"""
The stop that rests before its entry leaves, where the venue takes one without a position.

It is reduce-only and for the whole quantity, so from the first fill on it covers whatever has
filled, also when the process dies before it has seen the fill (design.md, Decisions). An entry
whose stop does not rest is not sent. Only a venue that takes no such stop at all gets its entries
without one: then the floor after the first fill is the first stop.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    VenueError,
    VenueProtocolError,
    VenueRefused,
)
from aegis.model.account import OrderReport
from aegis.model.intent import EnterPosition, TradeIntent
from aegis.model.order import OrderRequest
from aegis.model.ports import VenueGateway
from aegis.trade.executor_events import ExecutorEvents

PlaceCall = Callable[[], Awaitable[OrderReport]]


class StopFirst:
    """Have an entry's stop rest; remember whether this venue takes one without a position."""

    def __init__(
        self,
        gateway: VenueGateway,
        events: ExecutorEvents,
        *,
        on_error: Callable[[VenueError], None],
        resolve: Callable[[TradeIntent, OrderRequest, str], None],
    ) -> None:
        """
        *on_error* hears every failed request; *resolve* asks for a stop of unknown outcome, beside
        the lane.
        """
        self._gateway = gateway
        self._events = events
        self._on_error = on_error
        self._resolve = resolve
        self._never_here = False

    def of(self, command: EnterPosition) -> OrderRequest | None:
        """Return the stop that must rest before *command*, None where there is none."""
        return None if self._never_here else command.stop_first

    async def rest(self, intent: TradeIntent, stop: OrderRequest) -> str:
        """Place *stop*; return why the entry must not leave, or "" when it may."""
        self._events.on_sending(intent, stop)
        return await self.rests(intent, stop, partial(self._gateway.place, stop))

    async def rests(self, intent: TradeIntent, stop: OrderRequest, answer: PlaceCall) -> str:
        """Wait for the *answer* to *stop*, which has left; return as `rest` does."""
        try:
            report = await answer()
        except (OrderOutcomeUnknown, VenueProtocolError) as error:
            self._events.on_unknown(stop)
            self._resolve(intent, stop, str(error))
            return f"whether its stop rests is not known: {error}"
        except VenueRefused as error:
            self._events.on_refused(stop, error.code, error.message)
            if error.refusal is Refusal.NO_POSITION:
                self._never_here = True
                return ""
            return f"its stop was refused {error.code}: {error.message}"
        except VenueError as error:
            self._on_error(error)
            self._events.on_refused(stop, type(error).__name__, str(error))
            return f"its stop was not sent: {error}"
        self._events.on_answer(report)
        if not report.status.is_working:
            return f"its stop is {report.status.value} {report.reject_message}".rstrip()
        # The answer may be late, and the stream have told of the stop's end meanwhile.
        return "its stop has ended before the entry left" if self._events.is_ended(stop) else ""
