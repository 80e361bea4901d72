"""What the doctor hears on the streams: quotes by symbol, and what is told of its own orders."""

import asyncio
from collections.abc import Callable
from typing import Final

from aegis.core.event import Event
from aegis.model.account import OrderReport, ReportSource
from aegis.model.events import ApiCalled, OrderReported, StreamClosed, StreamOpened
from aegis.model.instrument import Venue
from aegis.model.market import DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import OrderStatus

_LOOK_EVERY_S: Final = 0.02


class Ear:
    """Takes market frames as `MarketSink` and events of a gateway as its *publish*."""

    def __init__(self) -> None:
        self.quoted_s: dict[str, float] = {}
        """Loop time of each symbol's first quote."""
        self.orders: list[tuple[float, OrderReport]] = []
        """What the user stream told, in order, each with its loop time."""
        self.closures: list[str] = []
        self.streams: list[str] = []
        self.calls: list[ApiCalled] = []

    def hear(self, event: Event) -> None:
        """Take an event of the gateway."""
        match event:
            case OrderReported(report=report) if report.source is ReportSource.STREAM:
                self.orders.append((_loop_s(), report))
            case StreamOpened(stream=stream):
                self.streams.append(stream)
            case StreamClosed(stream=stream, reason=reason):
                self.closures.append(f"{stream}: {reason}")
            case ApiCalled():
                self.calls.append(event)
            case _:
                pass

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take a quote."""
        self.quoted_s.setdefault(frame.instrument_id.symbol, _loop_s())

    def on_mark(self, frame: MarkFrame) -> None:
        """Take a mark."""

    def on_kline(self, frame: KlineFrame) -> None:
        """Take a bar."""

    def on_depth(self, frame: DepthFrame) -> bool:
        """Take a book; no snapshot is wanted."""
        del frame
        return False

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Take a complaint."""
        self.closures.append(f"{venue.value.lower()} market frame unreadable: {reason}")

    def told_s(self, client_order_id: str, wanted: Callable[[OrderStatus], bool]) -> float | None:
        """Return when the user stream told the order in a *wanted* status, None when it did not."""
        for at_s, report in self.orders:
            if report.client_order_id == client_order_id and wanted(report.status):
                return at_s
        return None


async def heard(true: Callable[[], bool], patience_s: float) -> bool:
    """Wait until *true*, at most *patience_s* loop seconds; say whether it came true."""
    until_s = _loop_s() + patience_s
    while not true():
        if _loop_s() >= until_s:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def _loop_s() -> float:
    return asyncio.get_running_loop().time()
