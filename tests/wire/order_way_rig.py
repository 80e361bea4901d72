"""
The rig of the tests of both order sockets: a gateway with one over a twin, faults of requests for
orders, and a line on which the socket is down, slow, or garbled.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import attrs
import pytest
from loguru import logger
from tests.wire.twin_rig import twin_rig

from aegis.core.errors import Refusal, VenueRefused
from aegis.core.event import Event
from aegis.core.latch import HaltLatch
from aegis.core.transport import HttpRequest, HttpResponse, StreamConnection
from aegis.core.virtual_loop import run_virtual
from aegis.model.events import ApiCalled, StreamOpened
from aegis.model.instrument import Venue
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.inproc import InprocTransport
from aegis.venue.around import VenueAround
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.bybit.gateway import BybitGateway

TIMEOUT_S: Final = 2.0
T = TypeVar("T")
G = TypeVar("G", BinanceGateway, BybitGateway)


class OrderFaults(ABC):
    """What happens to requests for orders: each fault once."""

    def __init__(self) -> None:
        self.lose_answer_by: type[OSError] | None = None
        self.refuse: list[tuple[int, str]] = []
        self.paths: list[tuple[str, str]] = []
        self.latch = HaltLatch()
        self.halts = False
        """Whether a refusal finds entries halted before it is back."""

    @abstractmethod
    def seen(self, request: HttpRequest) -> tuple[str, str] | None:
        """Return by which way a request for an order came and what it is; None for others."""

    @abstractmethod
    def refusal(self, code: int, text: str) -> HttpResponse:
        """Return a no in the venue's words."""

    @abstractmethod
    def places(self, request: HttpRequest) -> bool:
        """Say whether a request places an order."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Refuse in the venue's place where told to."""
        seen = self.seen(request)
        if seen is None:
            return None
        self.paths.append(seen)
        if not self.refuse:
            return None
        code, text = self.refuse.pop(0)
        if self.halts:
            self.latch.set("a test", at_ns=1)
        return self.refusal(code, text)

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Lose one answer where told to."""
        if self.places(request) and self.lose_answer_by:
            kind, self.lose_answer_by = self.lose_answer_by, None
            raise kind("the answer was lost")
        return response


class Line:
    """The in-process transport; the order socket may be down, its answers slow, its words wrong."""

    def __init__(self, inner: InprocTransport, order_url: str) -> None:
        self._inner = inner
        self._order_url = order_url
        self.orders_down = False
        self.delay_s = 0.0
        self.garbled = ""
        """What is replaced in every request, "" for nothing."""
        self.frames: list[bytes] = []

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> StreamConnection:
        """Pass on."""
        if url != self._order_url:
            return await self._inner.connect(url, on_frame=on_frame, on_close=on_close)
        if self.orders_down:
            raise ConnectionRefusedError("the order socket is down")

        def slow(frame: bytes) -> None:
            self.frames.append(frame)
            asyncio.get_running_loop().call_later(self.delay_s, on_frame, frame)

        stream = await self._inner.connect(url, on_frame=slow, on_close=on_close)
        return _Garbled(stream, self.garbled) if self.garbled else stream


class _Garbled:
    """A stream on which some words of ours are wrong."""

    def __init__(self, inner: StreamConnection, word: str) -> None:
        self._inner = inner
        self._word = word

    def send(self, text: str) -> None:
        """Pass on."""
        self._inner.send(text.replace(self._word, "another-word"))

    async def close(self) -> None:
        """Pass on."""
        await self._inner.close()


@attrs.define(kw_only=True)
class OrderWorld(Generic[G]):
    """A gateway over a twin, and what it told; *line* is None behind sockets."""

    gateway: G
    engine: TwinEngine
    faults: OrderFaults
    events: list[Event]
    line: Line | None = None

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    def calls(self) -> list[str]:
        """Return the operations on orders, in order."""
        wanted = ("ws ", "place_", "cancel_", "set_trading")
        return [each.operation for each in self.of(ApiCalled) if each.operation.startswith(wanted)]

    async def ready(self) -> None:
        """Wait until the order socket is open."""
        while not any(event.stream == "orders" for event in self.of(StreamOpened)):
            await asyncio.sleep(0.005)


def play(
    venue: Venue,
    make_gateway: Callable[[VenueAround], G],
    faults: OrderFaults,
    act: Callable[[OrderWorld[G]], Awaitable[None]],
    *,
    sockets: bool = False,
    orders_down: bool = False,
    garbled: str = "",
) -> list[str]:
    """Run *act* with a started gateway, its order socket ready where it can be; return warnings."""

    async def main() -> None:
        async with twin_rig(venue, faults=faults, sockets=sockets) as rig:
            line = None
            if rig.transport is not None:
                rig.connector = line = Line(rig.transport, rig.order_ws_url)
                line.orders_down, line.garbled = orders_down, garbled
            gateway = make_gateway(
                rig.around(
                    halt=faults.latch.view(),
                    order_ws_url=rig.order_ws_url,
                    order_timeout_s=TIMEOUT_S,
                )
            )
            await rig.start(gateway)
            world = OrderWorld(
                gateway=gateway, engine=rig.engine, faults=faults, events=rig.events, line=line
            )
            if not orders_down and not garbled:
                await world.ready()
            await act(world)
            await gateway.close()
            assert [] == rig.sink.unreadable

    warnings: list[str] = []
    sink = logger.add(lambda message: warnings.append(str(message)), level="WARNING")
    try:
        asyncio.run(main()) if sockets else run_virtual(main())
    finally:
        logger.remove(sink)
    return warnings


async def refusal_of(call: Awaitable[object]) -> tuple[str, Refusal]:
    """Return the code and the meaning of the no that *call* ends in."""
    with pytest.raises(VenueRefused) as refused:
        await call
    return refused.value.code, refused.value.refusal
