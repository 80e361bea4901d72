"""
The ports between strangers that are not bus events: what a venue offers, and who takes its data.

Both adapters fulfil `VenueGateway`; app hands it to trade and data. All methods raise the
`VenueError` tree of core.errors and nothing else.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from aegis.model.account import Capabilities, OrderReport, VenueSnapshot
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.market import Candle, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import OrderRequest


class MarketSink(Protocol):
    """Takes decoded market frames; called synchronously from the socket reader, must not block."""

    def on_quote(self, frame: QuoteFrame) -> None:
        """Take a best bid and ask."""

    def on_mark(self, frame: MarkFrame) -> None:
        """Take a mark price."""

    def on_kline(self, frame: KlineFrame) -> None:
        """Take a bar, open or closed."""

    def on_depth(self, frame: DepthFrame) -> bool:
        """Take a snapshot or a diff of a book; return whether a new snapshot is wanted."""

    def on_unreadable(self, venue: Venue, reason: str) -> None:
        """Count a market frame that could not be decoded."""


class VenueGateway(Protocol):
    """One venue: orders, account, history and streams."""

    @property
    def venue(self) -> Venue:
        """Return which venue this is."""

    @property
    def capabilities(self) -> Capabilities:
        """Return what the venue can do."""

    async def connect(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """
        Check the venue and return the instruments of *symbols*, in that order.

        Checks: reachable, clock within recvWindow, keys accepted, one-way position mode (R41,
        refused with the fix otherwise), each symbol listed and tradable.
        """

    async def start_streams(self, instruments: Sequence[Instrument], sink: MarketSink) -> None:
        """Open user and market streams; they keep themselves alive until `close`. User first."""

    async def tell_missed_fills(self) -> None:
        """Publish recent fills as FillReported, in case the stream lost one; known ones too."""

    async def snapshot(self) -> VenueSnapshot:
        """Return balance, positions and resting orders (conditional ones included), or raise."""

    async def prepare_entry(self, instrument_id: InstrumentId, leverage: int) -> int:
        """Set isolated margin and *leverage*; return the leverage as read back (R28)."""

    async def place(self, request: OrderRequest) -> OrderReport:
        """
        Send an order and return the venue's answer.

        Raises:
            VenueRefused: the venue rejected it.
            OrderOutcomeUnknown: sent, answer lost: query by client order id (R30).
        """

    async def cancel(self, command: CancelProtection) -> None:
        """Cancel one conditional order; VenueRefused when the venue does not know it."""

    async def set_position_protection(self, command: SetPositionProtection) -> None:
        """Set the position's own stop and target; "not modified" is success."""

    async def query(
        self, instrument_id: InstrumentId, client_order_id: str, *, conditional: bool
    ) -> OrderReport | None:
        """Return the order with that id, None when the venue says it does not know it."""

    async def candles(
        self, instrument_id: InstrumentId, timeframe_ns: int, start_ns: int, end_ns: int
    ) -> tuple[Candle, ...]:
        """Return closed bars with start_ns <= open_ns < end_ns, oldest first, all pages."""

    async def mark_price(self, instrument_id: InstrumentId) -> Decimal:
        """Return the venue's mark price now."""

    async def resubscribe(self, instrument_id: InstrumentId) -> None:
        """Subscribe one instrument's market streams anew without touching the others (R10)."""

    async def close(self) -> None:
        """Close streams and clients; resting orders stay on the venue."""


__all__ = ["DepthFrame", "KlineFrame", "MarkFrame", "MarketSink", "QuoteFrame", "VenueGateway"]
