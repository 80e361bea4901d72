"""
The ports between strangers that are not bus events: what a venue offers, and who takes its data.

Both adapters fulfil `VenueGateway`; app hands it to trade and data. All methods raise the
`VenueError` tree of core.errors and nothing else.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol, runtime_checkable

from aegis.model.account import (
    Capabilities,
    OrderReport,
    PositionMode,
    PositionReport,
    VenueSnapshot,
)
from aegis.model.booked import BookedSince
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

    async def connect(
        self, symbols: Sequence[str], *, held: Sequence[str] = ()
    ) -> tuple[Instrument, ...]:
        """
        Check the venue and return the instruments that can be traded, in that order.

        Checks: reachable, clock within recvWindow, keys accepted, margin mode; the position mode
        is read, and orders are written for it (R41). A symbol that is not listed or not tradable is
        left out and told of; those in *held*, which carry a position, come whatever their status.

        Raises:
            VenueRefused: a check failed, or no symbol is left; with the fix.
        """

    async def start_streams(self, instruments: Sequence[Instrument], sink: MarketSink) -> None:
        """Open user and market streams; they keep themselves alive until `close`. User first."""

    async def tell_missed_fills(self) -> None:
        """Publish recent fills as FillReported, in case the stream lost one; known ones too."""

    async def booked_since(self, since_ns: int) -> BookedSince:
        """
        Return every fill and funding payment of the account from *since_ns* (ns UTC) on, or raise.

        For what happened while no process listened (R49); known ones come again.
        """

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """
        Return balance, positions and resting orders (conditional ones included), or raise.

        *steady*: a look without a doubt, which may not use the requests kept for protection.
        """

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

    def restart_market(self, *, quotes: bool, marks: bool, reason: str) -> None:
        """
        Open the connections that carry quotes or marks anew, for a stale instrument (R10, R11).

        A few times an hour at most, beyond that nothing happens; others on the connection wait.
        """

    async def close(self) -> None:
        """Close streams and clients; resting orders stay on the venue."""


@runtime_checkable
class PlacesAtOnce(Protocol):
    """A gateway that can also send an order in the call stack that decided it."""

    def is_prepared(self, instrument_id: InstrumentId, leverage: int) -> bool:
        """Say whether margin and *leverage* stand as read back, and nothing spoke against it."""

    def place_at_once(self, request: OrderRequest) -> Callable[[], Awaitable[OrderReport]] | None:
        """
        Send an order now and return what waits for its answer; None: nothing was sent, use `place`.

        What waits raises as `VenueGateway.place`; it must be called, once.
        """


@runtime_checkable
class TellsInParts(Protocol):
    """A gateway that can tell a part of the account while it cannot be asked for the whole."""

    async def connect_unseen(self, held: Mapping[str, PositionMode]) -> tuple[Instrument, ...]:
        """
        Return the rules of *held* symbols, for orders that reduce; nothing else is checked.

        The modes are those of their fills in an earlier run: a mode cannot be changed while
        something is open. A venue whose fills do not tell it finds it another way.
        """

    async def resting_orders(self) -> tuple[OrderReport, ...]:
        """Return every resting order, conditional ones included, or raise."""

    async def open_account_stream(self) -> None:
        """
        Open the account's stream and wait for it; `start_streams` opens it anew later.

        What it tells before a snapshot was taken is passed on a moment late.
        """


@runtime_checkable
class SeesOneLeg(Protocol):
    """A gateway of a venue with hedge mode: of a symbol's two legs it shows one (R41)."""

    @property
    def second_legs(self) -> tuple[PositionReport, ...]:
        """Return what the last snapshot and stream told beside the positions that are shown."""


__all__ = [
    "DepthFrame",
    "KlineFrame",
    "MarkFrame",
    "MarketSink",
    "PlacesAtOnce",
    "QuoteFrame",
    "SeesOneLeg",
    "TellsInParts",
    "VenueGateway",
]
