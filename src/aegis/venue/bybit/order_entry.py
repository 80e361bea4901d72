"""
Orders to Bybit by its order socket or by REST (venue/order_ways.py): requests, answers, and which
refusals are of the way and not of the order (its key, its operation).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from aegis.core.errors import OrderOutcomeUnknown, VenueProtocolError, VenueRefused
from aegis.core.latch import HaltView
from aegis.model.account import OrderReport, ProtectionRole, ReportSource
from aegis.model.instrument import Venue
from aegis.model.intent import CancelProtection
from aegis.model.money import ZERO
from aegis.model.order import OrderRequest, OrderStatus, OrderType
from aegis.venue.around import VenueAround
from aegis.venue.bybit import wire
from aegis.venue.bybit.encode import cancel_params, order_params
from aegis.venue.bybit.errors import TIMESTAMP_REFUSED, VENUE
from aegis.venue.bybit.frames import Answer
from aegis.venue.bybit.order_socket import CANCEL, CREATE, AnswerReader, LogIn, RequestWriter
from aegis.venue.bybit.rest import LANE_DEFAULT, LANE_PROTECT, BybitRest
from aegis.venue.bybit.stream import SILENCE_TIMEOUT_S, ping_text
from aegis.venue.calls import CallRunner
from aegis.venue.order_socket import OrderSocket
from aegis.venue.order_ways import NotSent, OrderWays, Sent
from aegis.venue.position_modes import PositionModes
from aegis.venue.reports import reported

WAY_REFUSED: Final = frozenset({"10003", "10004", "10005", "10404", "20003", "20006"})
"""
Key, signature, rights, operation, session too busy, id used: said before any order is looked at
(venues.md 3.7, 3.8).
"""

_WAY_CLOSED: Final = WAY_REFUSED - {"20003", "20006"}
"""The same request would be refused again and again: the socket takes no more orders."""


class OrderEntry(OrderWays):
    """
    Place and cancel orders; an answer only says that one was accepted. *socket* and *halt* as
    `OrderWays`.

    *remeasure* measures the venue's clock anew; *on_late* gets the report of an answer that came
    after its request had timed out: evidence. *venue_now_ns* stamps reports.
    """

    venue = Venue.BYBIT
    way_refused = WAY_REFUSED
    way_closed = _WAY_CLOSED
    time_refused = frozenset({TIMESTAMP_REFUSED})

    def __init__(
        self,
        rest: BybitRest,
        socket: OrderSocket | None,
        writer: RequestWriter,
        *,
        remeasure: Callable[[], Awaitable[None]],
        venue_now_ns: Callable[[], int],
        on_late: Callable[[OrderReport], None],
        modes: PositionModes,
        halt: HaltView,
    ) -> None:
        super().__init__(socket, halt=halt)
        self._rest = rest
        self._writer = writer
        self._measure = remeasure
        self._venue_now_ns = venue_now_ns
        self._on_late = on_late
        self._modes = modes

    async def _remeasure(self) -> None:
        await self._measure()

    def _leave(self, socket: OrderSocket, request: OrderRequest) -> Sent | None:
        try:
            params = order_params(request, self._modes.leg_of(request))
        except VenueRefused:
            # Refused by the other way, where it can be told.
            return None
        request_id = socket.next_id()
        late = partial(self._late, request)
        try:
            future = socket.send(
                request_id,
                self._writer.write(request_id, CREATE, params),
                late,
                operation="ws order.create",
                protective=request.reduce_only,
            )
        except ConnectionError:
            return None
        return partial(self._placed, socket, request, params, future)

    def _late(self, request: OrderRequest, answer: Answer) -> None:
        self._on_late(self._report(request, answer))

    async def _placed(
        self,
        socket: OrderSocket,
        request: OrderRequest,
        params: Mapping[str, object],
        future: asyncio.Future[Any],
    ) -> OrderReport:
        def again(request_id: str) -> str:
            self._check_not_halted(request)
            return self._writer.write(request_id, CREATE, params)

        try:
            answer = await self._by_socket(
                socket,
                CREATE,
                again,
                client_order_id=request.client_order_id,
                on_late=partial(self._late, request),
                sent=future,
                protective=request.reduce_only,
            )
        except NotSent:
            self._check_not_halted(request)
            return await self._place_by_rest(request)
        return self._read(request, answer)

    async def _place_by_rest(self, request: OrderRequest) -> OrderReport:
        answer = await self._rest.call(
            "place_order",
            order_params(request, self._modes.leg_of(request)),
            lane=LANE_PROTECT if request.reduce_only else LANE_DEFAULT,
            client_order_id=request.client_order_id,
            before_again=partial(self._check_not_halted, request),
        )
        return self._read(request, answer)

    async def cancel(self, command: CancelProtection) -> None:
        """
        Cancel one order of ours.

        Raises:
            VenueRefused: 110001 when the venue does not know it.
            OrderOutcomeUnknown: sent, answer lost.

        """
        params = cancel_params(command)
        socket = self._socket
        if socket is not None and socket.ready:
            try:
                await self._by_socket(
                    socket,
                    CANCEL,
                    lambda request_id: self._writer.write(request_id, CANCEL, params),
                    client_order_id=command.client_order_id,
                )
            except NotSent:
                pass
            else:
                return
        await self._rest.call(
            "cancel_order", params, lane=LANE_PROTECT, client_order_id=command.client_order_id
        )

    def _read(self, request: OrderRequest, answer: Answer) -> OrderReport:
        try:
            return self._report(request, answer)
        except VenueProtocolError as error:
            # The venue said yes in words we cannot read: an order stands, or may.
            raise OrderOutcomeUnknown(
                request.client_order_id,
                venue=VENUE,
                operation=answer.operation,
                detail=str(error),
            ) from error

    def _report(self, request: OrderRequest, answer: Answer) -> OrderReport:
        ack = answer.read(wire.OrderAck)
        return OrderReport(
            instrument_id=request.instrument_id,
            client_order_id=request.client_order_id,
            venue_order_id=ack.order_id,
            conditional=request.order_type.is_conditional,
            status=OrderStatus.ACCEPTED,
            side=request.side,
            order_type=request.order_type,
            qty=request.qty,
            filled_qty=ZERO,
            reduce_only=request.reduce_only or request.close_position,
            close_position=request.close_position,
            role=_role_of(request),
            source=ReportSource.ANSWER,
            ts_event=self._venue_now_ns(),
            trigger_price=request.trigger_price,
        )


def order_entry(
    rest: BybitRest,
    around: VenueAround,
    calls: CallRunner,
    *,
    modes: PositionModes,
    remeasure: Callable[[], Awaitable[None]],
    venue_now_ns: Callable[[], int],
) -> OrderEntry:
    """Return the order entry, with a socket where *around* has an address for one."""
    writer = RequestWriter(
        api_key=around.api_key,
        api_secret=around.api_secret,
        clock=around.clock,
        ahead_ns=lambda: -rest.offset_ns,
        recv_window_ms=around.recv_window_ms,
    )
    socket = around.order_ws_url and OrderSocket(
        venue=Venue.BYBIT,
        url=around.order_ws_url,
        connector=around.connector,
        supervisor=around.supervisor,
        clock=around.clock,
        rng=around.rng,
        calls=calls,
        read=AnswerReader(rest.learn_usage),
        on_state=around.publish,
        answer_timeout_s=around.answer_timeout_s,
        log_in=LogIn(writer),
        ping_text=ping_text,
        silence_timeout_s=SILENCE_TIMEOUT_S,
    )
    return OrderEntry(
        rest,
        socket or None,
        writer,
        remeasure=remeasure,
        venue_now_ns=venue_now_ns,
        on_late=lambda report: around.publish(reported(report, around.clock.now_ns())),
        modes=modes,
        halt=around.halt,
    )


def _role_of(request: OrderRequest) -> ProtectionRole:
    if not request.reduce_only or not request.order_type.is_conditional:
        return ProtectionRole.NONE
    is_stop = request.order_type is OrderType.STOP_MARKET
    return ProtectionRole.STOP if is_stop else ProtectionRole.TARGET
