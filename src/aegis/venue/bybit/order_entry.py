"""
By which way an order goes to Bybit: the order socket while it is ready, else REST.

What may have left by one way is never sent by the other. Only when the venue refused the way and
not the order (its key, its operation), nothing was done, and the order goes by REST.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from loguru import logger

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
from aegis.venue.halted import check_not_halted
from aegis.venue.order_socket import OrderSocket
from aegis.venue.position_modes import PositionModes
from aegis.venue.reports import reported

WAY_REFUSED: Final = frozenset({"10003", "10004", "10005", "10404", "20003", "20006"})
"""
Key, signature, rights, operation, session too busy, id used: said before any order is looked at
(venues.md 3.7, 3.8).
"""

_WAY_CLOSED: Final = WAY_REFUSED - {"20003", "20006"}
"""The same request would be refused again and again: the socket takes no more orders."""


class OrderEntry:
    """
    Place and cancel orders. *socket* None is REST alone.

    *remeasure* measures the venue's clock anew; *on_late* gets the report of an answer that came
    after its request had timed out: evidence. *venue_now_ns* stamps reports. *halt* is read before
    an entry leaves again, with a new time or by the other way (R73).
    """

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
        self._rest = rest
        self._socket = socket
        self._writer = writer
        self._remeasure = remeasure
        self._venue_now_ns = venue_now_ns
        self._on_late = on_late
        self._modes = modes
        self._halt = halt

    def start(self) -> None:
        """Open the order socket, where there is one; returns at once."""
        if self._socket is not None:
            self._socket.start()

    async def stop(self) -> None:
        """Close the order socket."""
        if self._socket is not None:
            await self._socket.stop()

    async def place(self, request: OrderRequest) -> OrderReport:
        """
        Send an order; the answer only says it was accepted.

        Raises:
            VenueRefused: the venue rejected it.
            OrderOutcomeUnknown: sent, answer lost or unreadable.
            VenueError: as `CallRunner.run`.

        """
        sent = self.place_at_once(request)
        return await (self._place_by_rest(request) if sent is None else sent())

    def place_at_once(self, request: OrderRequest) -> Callable[[], Awaitable[OrderReport]] | None:
        """
        Send an order in this call and return what waits for its answer; None: nothing was sent.

        What waits raises as `place`.
        """
        socket = self._socket
        if socket is None or not socket.ready:
            return None
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
        late = partial(self._late, request)
        before_again = partial(check_not_halted, self._halt, request, Venue.BYBIT)
        try:
            answer = await self._by_socket(
                socket,
                CREATE,
                params,
                request.client_order_id,
                late,
                future,
                protective=request.reduce_only,
                before_again=before_again,
            )
        except _NotSent:
            before_again()
            return await self._place_by_rest(request)
        return self._read(request, answer)

    async def _place_by_rest(self, request: OrderRequest) -> OrderReport:
        answer = await self._rest.call(
            "place_order",
            order_params(request, self._modes.leg_of(request)),
            lane=LANE_PROTECT if request.reduce_only else LANE_DEFAULT,
            client_order_id=request.client_order_id,
            before_again=partial(check_not_halted, self._halt, request, Venue.BYBIT),
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
                await self._by_socket(socket, CANCEL, params, command.client_order_id, None)
            except _NotSent:
                pass
            else:
                return
        await self._rest.call(
            "cancel_order", params, lane=LANE_PROTECT, client_order_id=command.client_order_id
        )

    async def _by_socket(
        self,
        socket: OrderSocket,
        op: str,
        params: Mapping[str, object],
        client_order_id: str,
        on_late: Callable[[Answer], None] | None,
        sent: asyncio.Future[Any] | None = None,
        *,
        protective: bool = True,
        before_again: Callable[[], None] | None = None,
    ) -> Answer:
        """Ask by the socket, once more with a new time if that is what was refused."""
        try:
            if sent is not None:
                first: Answer = await socket.answer(
                    f"ws {op}", sent, client_order_id=client_order_id
                )
                return first
            return await self._once(
                socket, op, params, client_order_id, on_late, protective=protective
            )
        except VenueRefused as refusal:
            if refusal.code in WAY_REFUSED:
                self._shun(socket, refusal)
                raise _NotSent from refusal
            if refusal.code != TIMESTAMP_REFUSED:
                raise
        await self._remeasure()
        if before_again is not None:
            before_again()
        return await self._once(socket, op, params, client_order_id, on_late, protective=protective)

    async def _once(
        self,
        socket: OrderSocket,
        op: str,
        params: Mapping[str, object],
        client_order_id: str,
        on_late: Callable[[Answer], None] | None,
        *,
        protective: bool,
    ) -> Answer:
        request_id = socket.next_id()
        text = self._writer.write(request_id, op, params)
        try:
            answer: Answer = await socket.ask(
                f"ws {op}",
                request_id,
                text,
                client_order_id=client_order_id,
                on_late=on_late,
                protective=protective,
            )
        except ConnectionError as error:
            raise _NotSent from error
        return answer

    def _shun(self, socket: OrderSocket, refusal: VenueRefused) -> None:
        if refusal.code in _WAY_CLOSED:
            logger.warning(
                "bybit takes no orders by its order socket, they go by REST from now on: {}",
                refusal,
            )
            socket.retire()

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


class _NotSent(Exception):
    """Nothing of the order reached the venue's book by the socket: REST may send it."""


def _role_of(request: OrderRequest) -> ProtectionRole:
    if not request.reduce_only or not request.order_type.is_conditional:
        return ProtectionRole.NONE
    is_stop = request.order_type is OrderType.STOP_MARKET
    return ProtectionRole.STOP if is_stop else ProtectionRole.TARGET
