"""
By which way an order goes: the order socket while it is ready, else REST.

What may have left by one way is never sent by the other. Only when the venue refused the way and
not the order, nothing was done, and the order goes by REST. What the requests and answers look like
is each adapter's own.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from loguru import logger

from aegis.core.errors import VenueRefused
from aegis.core.latch import HaltView
from aegis.model.account import OrderReport
from aegis.model.instrument import Venue
from aegis.model.order import OrderRequest
from aegis.venue.halted import check_not_halted
from aegis.venue.order_socket import OrderSocket

Sent = Callable[[], Awaitable[OrderReport]]
"""Waits for the answer to an order that has left."""


class NotSent(Exception):
    """Nothing of the order reached the venue's book by the socket: REST may send it."""


class OrderWays(ABC):
    """
    Place orders by the socket or by REST; a *socket* of None is REST alone.

    *halt* is read before an entry leaves again, with a new time or by the other way (R73).
    """

    venue: ClassVar[Venue]
    way_refused: ClassVar[frozenset[str]]
    """Refusals of the way: said before any order is looked at."""
    way_closed: ClassVar[frozenset[str]]
    """Of those the ones that every request would meet: the socket takes no more orders."""
    time_refused: ClassVar[frozenset[str]]
    """Refusals of the time a request was signed with: it may be sent again with a new one."""

    def __init__(self, socket: OrderSocket | None, *, halt: HaltView) -> None:
        self._socket = socket
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
        Send an order and return what the venue answered.

        Raises:
            VenueRefused: the venue rejected it.
            OrderOutcomeUnknown: sent, answer lost or unreadable.
            VenueError: as `CallRunner.run`.

        """
        sent = self.place_at_once(request)
        return await (self._place_by_rest(request) if sent is None else sent())

    def place_at_once(self, request: OrderRequest) -> Sent | None:
        """
        Send an order in this call and return what waits for its answer; None: nothing was sent.

        What waits raises as `place`.
        """
        socket = self._socket
        return None if socket is None or not socket.ready else self._leave(socket, request)

    @abstractmethod
    def _leave(self, socket: OrderSocket, request: OrderRequest) -> Sent | None:
        """Send *request* by *socket*; None when it cannot be written or sent there."""

    @abstractmethod
    async def _place_by_rest(self, request: OrderRequest) -> OrderReport:
        """Send *request* by REST."""

    @abstractmethod
    async def _remeasure(self) -> None:
        """Measure the venue's clock anew."""

    def _check_not_halted(self, request: OrderRequest) -> None:
        check_not_halted(self._halt, request, self.venue)

    async def _by_socket(
        self,
        socket: OrderSocket,
        method: str,
        write: Callable[[str], str],
        *,
        client_order_id: str | None = None,
        on_late: Callable[[Any], None] | None = None,
        sent: asyncio.Future[Any] | None = None,
        protective: bool = True,
    ) -> Any:
        """
        Ask by the socket, once more with a new time if that is what was refused.

        *write* returns the text of a request with that id. *sent*: it left already, this is where
        its answer comes.

        Raises:
            NotSent: the order goes by REST.
            VenueError: as `OrderSocket.answer`, and whatever *write* raises.

        """

        async def once() -> Any:
            request_id = socket.next_id()
            text = write(request_id)
            try:
                return await socket.ask(
                    f"ws {method}",
                    request_id,
                    text,
                    client_order_id=client_order_id,
                    on_late=on_late,
                    protective=protective,
                )
            except ConnectionError as error:
                raise NotSent from error

        try:
            if sent is not None:
                return await socket.answer(f"ws {method}", sent, client_order_id=client_order_id)
            return await once()
        except VenueRefused as refusal:
            if refusal.code in self.way_refused:
                self._shun(socket, refusal)
                raise NotSent from refusal
            if refusal.code not in self.time_refused:
                raise
        await self._remeasure()
        return await once()

    def _shun(self, socket: OrderSocket, refusal: VenueRefused) -> None:
        if refusal.code in self.way_closed:
            logger.warning(
                "{} takes no orders by its order socket, they go by REST from now on: {}",
                self.venue.value.lower(),
                refusal,
            )
            socket.retire()
