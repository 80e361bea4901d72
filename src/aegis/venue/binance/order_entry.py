"""
Orders to Binance by its order socket or by REST (venue/order_ways.py): requests, answers, and which
refusals are of the way and not of the order (its signature, its method).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aegis.core.errors import OrderOutcomeUnknown, VenueProtocolError, VenueRefused
from aegis.core.latch import HaltView
from aegis.model.account import OrderReport, ReportSource
from aegis.model.instrument import Venue
from aegis.model.order import OrderRequest
from aegis.venue.around import VenueAround
from aegis.venue.binance.encode import encode
from aegis.venue.binance.errors import TIME_REFUSED
from aegis.venue.binance.order_socket import (
    CANCEL_ALGO,
    PLACE,
    PLACE_ALGO,
    AnswerReader,
    RequestWriter,
)
from aegis.venue.binance.parse_rest import parse_algo_order, parse_order
from aegis.venue.binance.rest import BinanceRest, Value
from aegis.venue.calls import CallRunner
from aegis.venue.order_socket import OrderSocket
from aegis.venue.order_ways import NotSent, OrderWays, Sent
from aegis.venue.position_modes import PositionModes

WAY_REFUSED: Final = frozenset({"-1022", "-1101", "-2014", "-2015"})
"""Signature, method or parameters, key: checked before any order is looked at (venues.md 2.7)."""


OPERATIONS: Final = {PLACE: f"ws {PLACE}", PLACE_ALGO: f"ws {PLACE_ALGO}"}


class OrderEntry(OrderWays):
    """
    Place and cancel orders. *socket* and *halt* as `OrderWays`.

    *on_late* gets the report of an answer that came after its request had timed out: evidence.
    """

    venue = Venue.BINANCE
    way_refused = WAY_REFUSED
    way_closed = WAY_REFUSED
    time_refused = TIME_REFUSED

    def __init__(
        self,
        rest: BinanceRest,
        socket: OrderSocket | None,
        writer: RequestWriter,
        on_late: Callable[[OrderReport], None],
        *,
        modes: PositionModes,
        halt: HaltView,
    ) -> None:
        super().__init__(socket, halt=halt)
        self._rest = rest
        self._writer = writer
        self._on_late = on_late
        self._modes = modes

    async def _remeasure(self) -> None:
        await self._rest.sync_time()

    def _leave(self, socket: OrderSocket, request: OrderRequest) -> Sent | None:
        on_late = self._late_algo if request.order_type.is_conditional else self._late_plain
        request_id = socket.next_id()
        method = PLACE_ALGO if request.order_type.is_conditional else PLACE
        try:
            future = socket.send(
                request_id,
                self._writer.order(request_id, request, self._modes.leg_of(request)),
                on_late,
                operation=OPERATIONS[method],
                protective=request.reduce_only,
            )
        except (ConnectionError, VenueRefused, ValueError):
            # An order that cannot be written is refused by the other way, where it can be told.
            return None
        return partial(self._placed, socket, request, future)

    async def _placed(
        self, socket: OrderSocket, request: OrderRequest, future: asyncio.Future[Any]
    ) -> OrderReport:
        conditional = request.order_type.is_conditional
        method = PLACE_ALGO if conditional else PLACE
        try:
            answer = await self._by_socket(
                socket,
                method,
                lambda request_id: self._again(request_id, request),
                client_order_id=request.client_order_id,
                on_late=self._late_algo if conditional else self._late_plain,
                sent=future,
                protective=request.reduce_only,
            )
        except NotSent:
            self._check_not_halted(request)
            return await self._place_by_rest(request)
        return _read(answer, request, f"ws {method}")

    def _again(self, request_id: str, request: OrderRequest) -> str:
        """Write *request* once more; VenueRefused when entries were halted meanwhile."""
        self._check_not_halted(request)
        return self._writer.order(request_id, request, self._modes.leg_of(request))

    async def _place_by_rest(self, request: OrderRequest) -> OrderReport:
        call = encode(request, self._modes.leg_of(request))
        answer = await self._rest.call(
            call.operation,
            call.method,
            call.params,
            client_order_id=request.client_order_id,
            protective=request.reduce_only,
            before_again=partial(self._check_not_halted, request),
        )
        return _read(answer, request, call.operation)

    async def cancel(self, client_order_id: str) -> None:
        """
        Cancel a conditional order by its id; may be repeated.

        Raises:
            VenueRefused: the venue does not know it, or it is triggering.
            VenueUnreachable: no answer.

        """
        params: dict[str, Value] = {"clientAlgoId": client_order_id}
        socket = self._socket
        if socket is not None and socket.ready:
            try:
                await self._by_socket(
                    socket,
                    CANCEL_ALGO,
                    lambda request_id: self._writer.write(request_id, CANCEL_ALGO, params),
                )
            except NotSent:
                pass
            else:
                return
        await self._rest.call("cancel_algo_order", "futures_cancel_algo_order", params)

    def _late_plain(self, answer: object) -> None:
        self._tell_late(answer, conditional=False)

    def _late_algo(self, answer: object) -> None:
        self._tell_late(answer, conditional=True)

    def _tell_late(self, answer: object, *, conditional: bool) -> None:
        self._on_late(_parse(answer, conditional=conditional))


def order_entry(
    rest: BinanceRest,
    around: VenueAround,
    calls: CallRunner,
    *,
    modes: PositionModes,
    on_late: Callable[[OrderReport], None],
) -> OrderEntry:
    """Return the order entry, with a socket where *around* has an address for one."""
    socket = around.order_ws_url and OrderSocket(
        venue=Venue.BINANCE,
        url=around.order_ws_url,
        connector=around.connector,
        supervisor=around.supervisor,
        clock=around.clock,
        rng=around.rng,
        calls=calls,
        read=AnswerReader(rest.learn_usage),
        on_state=around.publish,
        answer_timeout_s=around.answer_timeout_s,
    )
    writer = RequestWriter(
        api_key=around.api_key,
        api_secret=around.api_secret,
        clock=around.clock,
        offset_ms=lambda: rest.offset_ms,
        recv_window_ms=around.recv_window_ms,
    )
    return OrderEntry(rest, socket or None, writer, on_late, modes=modes, halt=around.halt)


def _parse(answer: object, *, conditional: bool) -> OrderReport:
    parse = parse_algo_order if conditional else parse_order
    return parse(answer, ReportSource.ANSWER)


def _read(answer: object, request: OrderRequest, operation: str) -> OrderReport:
    try:
        return _parse(answer, conditional=request.order_type.is_conditional)
    except VenueProtocolError as error:
        # The venue said yes in words we cannot read: an order stands, or may.
        raise OrderOutcomeUnknown(
            request.client_order_id,
            venue=Venue.BINANCE.value,
            operation=operation,
            detail=str(error),
        ) from error
