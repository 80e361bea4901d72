"""
Bybit V5 linear as a `VenueGateway`: orders, account, history and streams of one venue.

Native protection here is the position's own stop and target: they travel with the entry order and
are amended in place by trading-stop, so that no fill is ever without them (venues.md 3.3, 3.4).
"""

import asyncio
import functools
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from loguru import logger

from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.errors import OrderOutcomeUnknown, VenueProtocolError, VenueUnreachable
from aegis.core.event import Event
from aegis.core.offload import Offload
from aegis.core.supervise import Supervisor
from aegis.core.transport import HttpExchange, StreamConnector
from aegis.model.account import (
    Capabilities,
    OrderReport,
    ProtectionRole,
    ReportSource,
    VenueSnapshot,
)
from aegis.model.events import (
    FundingReported,
    StreamClosed,
    StreamOpened,
)
from aegis.model.fill import Fill
from aegis.model.instrument import Instrument, InstrumentId, Venue
from aegis.model.intent import CancelProtection, SetPositionProtection
from aegis.model.market import Candle
from aegis.model.money import ZERO
from aegis.model.order import OrderRequest, OrderStatus, OrderType
from aegis.model.ports import MarketSink
from aegis.venue.bybit import startup, wire
from aegis.venue.bybit.account import AccountQueries
from aegis.venue.bybit.encode import CATEGORY, cancel_params, order_params, protection_params
from aegis.venue.bybit.errors import (
    LEVERAGE_NOT_MODIFIED,
    TPSL_NOT_MODIFIED,
    VENUE,
    classify,
)
from aegis.venue.bybit.parse import (
    AccountFact,
    FundingBooked,
)
from aegis.venue.bybit.parse_market import INTERVALS, closed_candles, mark_price_of
from aegis.venue.bybit.rest import LANE_DEFAULT, LANE_PROTECT, BybitRest
from aegis.venue.bybit.stream import PrivateStream, PublicStream, StreamParts, UnknownCounter
from aegis.venue.calls import CallRunner
from aegis.venue.reports import reported, snapshot_reported
from aegis.venue.resync import GAP_REASON, GapResync

CAPABILITIES: Final = Capabilities(
    attached_protection=True,
    position_protection=True,
    close_position_orders=False,
    child_orders_unnamed=True,
)
_BARS_PER_PAGE: Final = 1000
_PRIVATE_OPEN_TIMEOUT_S: Final = 30.0
_REPLAY_OVERLAP_NS: Final = 5_000 * NS_PER_MS
"""Executions are not pushed in the order they happened; the overlap is removed downstream."""


class BybitGateway:
    """Trade Bybit's USDT perpetuals in one-way mode and isolated margin."""

    def __init__(
        self,
        *,
        base_url: str,
        ws_url: str,
        api_key: str,
        api_secret: str,
        http: HttpExchange | None,
        connector: StreamConnector,
        offload: Offload,
        publish: Callable[[Event], None],
        clock: Clock,
        supervisor: Supervisor,
        rng: random.Random,
        timeframes_ns: Sequence[int],
        recv_window_ms: int,
        request_timeout_s: float,
        order_timeout_s: float | None = None,
    ) -> None:
        self._key = api_key
        self._secret = api_secret
        self._publish = publish
        self._clock = clock
        self._timeframes_ns = tuple(timeframes_ns)
        self._recv_window_ms = recv_window_ms
        self._parts = StreamParts(
            ws_url=ws_url.rstrip("/"),
            connector=connector,
            supervisor=supervisor,
            clock=clock,
            rng=rng,
        )
        self.calls = CallRunner(
            venue=Venue.BYBIT,
            publish=publish,
            clock=clock,
            classify=functools.partial(classify, wall_ns=clock.wall_ns),
            secrets=(api_key, api_secret),
        )
        self._rest = BybitRest(
            base_url=base_url,
            api_key=api_key,
            api_secret=api_secret,
            http=http,
            offload=offload,
            runner=self.calls,
            recv_window_ms=recv_window_ms,
            request_timeout_s=request_timeout_s,
            order_timeout_s=order_timeout_s,
        )
        self.unknowns = UnknownCounter()
        self._account = AccountQueries(self._rest, self._venue_now_ns, self.unknowns)
        self._public: PublicStream | None = None
        self._private: PrivateStream | None = None
        self._ahead_ns = 0
        self._executed_ns = 0
        self._replay_floor_ns = 0
        self._resync = GapResync("bybit.resync", supervisor, self._catch_up)

    @property
    def venue(self) -> Venue:
        """Return BYBIT."""
        return Venue.BYBIT

    @property
    def capabilities(self) -> Capabilities:
        """Return what Bybit can do."""
        return CAPABILITIES

    async def connect(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """
        Check clock, account, margin and position mode; return the instruments of *symbols*.

        Raises:
            VenueRefused: with the fix, when a check failed.
            VenueError: when the venue could not be asked.

        """
        self._ahead_ns = await startup.check_clock(self._rest, self._clock, self._recv_window_ms)
        await startup.check_account(self._rest)
        instruments = await startup.load_instruments(self._rest, symbols)
        for symbol in symbols:
            await startup.check_one_way(self._rest, symbol)
        return instruments

    async def start_streams(self, instruments: Sequence[Instrument], sink: MarketSink) -> None:
        """
        Open the private stream, wait until it is subscribed, take a snapshot, open the public one.

        Raises:
            VenueRefused: the private stream's login or topics were refused.
            VenueUnreachable: it could not be opened in time.
            VenueError: the snapshot failed.

        """
        if self._private is not None:
            await self._private.stream.stop()
            self._resync.forget_opened()
        self._private = PrivateStream(
            self._parts,
            api_key=self._key,
            api_secret=self._secret,
            on_fact=self._on_fact,
            on_unreadable=self._on_unreadable,
            on_state=self._on_private_state,
            unknowns=self.unknowns,
        )
        self._public = PublicStream(
            self._parts,
            symbols=[instrument.instrument_id.symbol for instrument in instruments],
            timeframes_ns=self._timeframes_ns,
            sink=sink,
            on_state=self._publish,
            unknowns=self.unknowns,
        )
        self._private.stream.start()
        await self._wait_private(self._private)
        snapshot = await self.snapshot()
        self._replay_floor_ns = self._executed_ns = max(self._executed_ns, snapshot.ts_event)
        self._tell_snapshot(snapshot, "user stream opened")
        self._resync.start()
        self._public.stream.start()

    async def _wait_private(self, private: PrivateStream) -> None:
        try:
            async with asyncio.timeout(_PRIVATE_OPEN_TIMEOUT_S):
                await self._resync.wait_opened()
        except TimeoutError:
            if private.refusal is not None:
                raise private.refusal from None
            raise VenueUnreachable(
                f"not open after {_PRIVATE_OPEN_TIMEOUT_S} s",
                venue=VENUE,
                operation="stream private",
            ) from None

    async def snapshot(self) -> VenueSnapshot:
        """
        Return wallet, open positions and resting orders, conditional ones included.

        Raises:
            VenueError: when any of the queries failed: unknown is never empty (R43, R88).

        """
        return await self._account.snapshot()

    async def prepare_entry(self, instrument_id: InstrumentId, leverage: int) -> int:
        """
        Set *leverage* for both sides and return it as the venue now states it (R28).

        Isolated margin is a setting of the account, made sure of by connect.
        """
        await self._rest.call(
            "set_leverage",
            {
                "category": CATEGORY,
                "symbol": instrument_id.symbol,
                "buyLeverage": str(leverage),
                "sellLeverage": str(leverage),
            },
            accept={LEVERAGE_NOT_MODIFIED},
        )
        return await startup.leverage_of(self._rest, instrument_id.symbol)

    async def place(self, request: OrderRequest) -> OrderReport:
        """
        Send an order; the answer only says it was accepted, the stream tells what became of it.

        Raises:
            VenueRefused: the venue rejected it.
            OrderOutcomeUnknown: sent, answer lost: query, never send again (R30).

        """
        answer = await self._rest.call(
            "place_order",
            order_params(request),
            lane=LANE_PROTECT if request.reduce_only else LANE_DEFAULT,
            client_order_id=request.client_order_id,
        )
        try:
            ack = answer.read(wire.OrderAck)
        except VenueProtocolError as error:
            # The venue said yes in words we cannot read: an order stands, or may.
            raise OrderOutcomeUnknown(
                request.client_order_id, venue=VENUE, operation="place_order", detail=str(error)
            ) from error
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

    async def cancel(self, command: CancelProtection) -> None:
        """Cancel one order of ours; VenueRefused (110001) when the venue does not know it."""
        await self._rest.call(
            "cancel_order",
            cancel_params(command),
            lane=LANE_PROTECT,
            client_order_id=command.client_order_id,
        )

    async def set_position_protection(self, command: SetPositionProtection) -> None:
        """
        Set stop and target of the position in place; "not modified" is success.

        The call may be repeated as it is: it says what shall be, not what to change.

        Raises:
            VenueRefused: 10001 when there is no position yet, or a price is on the wrong side.

        """
        await self._rest.call(
            "set_trading_stop",
            protection_params(command),
            lane=LANE_PROTECT,
            accept={TPSL_NOT_MODIFIED},
        )

    async def query(
        self, instrument_id: InstrumentId, client_order_id: str, *, conditional: bool
    ) -> OrderReport | None:
        """Return the order, None when realtime and history both say they do not know it."""
        del conditional  # both kinds of order live on one channel here
        return await self._account.order(instrument_id, client_order_id)

    async def candles(
        self, instrument_id: InstrumentId, timeframe_ns: int, start_ns: int, end_ns: int
    ) -> tuple[Candle, ...]:
        """Return closed bars with start_ns <= open_ns < end_ns, oldest first, all pages."""
        found: list[Candle] = []
        span_ns = _BARS_PER_PAGE * timeframe_ns
        for page_ns in range(start_ns, end_ns, span_ns):
            # A window no larger than a page: whichever end the venue would cut, it does not.
            # Asked before the call: a bar may close while its open state is on the way.
            now_ns = self._venue_now_ns()
            answer = await self._rest.call(
                "get_kline",
                {
                    "category": CATEGORY,
                    "symbol": instrument_id.symbol,
                    "interval": INTERVALS[timeframe_ns],
                    "start": page_ns // NS_PER_MS,
                    "end": min(page_ns + span_ns, end_ns) // NS_PER_MS - 1,
                    "limit": _BARS_PER_PAGE,
                },
            )
            found += closed_candles(answer, instrument_id, timeframe_ns, now_ns)
        return tuple(candle for candle in found if start_ns <= candle.open_ns < end_ns)

    async def mark_price(self, instrument_id: InstrumentId) -> Decimal:
        """Return the mark price now; VenueProtocolError when it is not told."""
        params: dict[str, object] = {"category": CATEGORY, "symbol": instrument_id.symbol}
        return mark_price_of(await self._rest.call("get_tickers", params), instrument_id.symbol)

    async def resubscribe(self, instrument_id: InstrumentId) -> None:
        """Subscribe one instrument's market streams anew (R10)."""
        if self._public is None:
            raise VenueUnreachable("not started", venue=VENUE, operation="resubscribe")
        await self._public.resubscribe(instrument_id.symbol)

    async def close(self) -> None:
        """Close streams and connections; resting orders stay on the venue."""
        self._resync.stop()
        for stream in (self._public, self._private):
            if stream is not None:
                await stream.stream.stop()
        self._rest.close()

    def _venue_now_ns(self) -> int:
        # The market clock and not the time of an answer: a played tape has a market time of its
        # own, while answers are stamped with the wall clock.
        return self._clock.now_ns() - self._ahead_ns

    def _on_private_state(self, event: StreamOpened | StreamClosed) -> None:
        self._publish(event)
        if isinstance(event, StreamOpened):
            self._resync.on_opened()

    def _on_unreadable(self, error: VenueProtocolError) -> None:
        logger.error("a private message of bybit is lost, asking for the whole state: {}", error)
        self._resync.doubt()

    async def tell_missed_fills(self) -> None:
        """Publish the executions since the last known one (R12)."""
        since_ns = max(self._replay_floor_ns, self._executed_ns - _REPLAY_OVERLAP_NS)
        for fact in await self._account.executions(since_ns):
            self._on_fact(fact)

    async def _catch_up(self) -> None:
        # Fills first: a position that its stop closed is then known as stopped, not as vanished.
        await self.tell_missed_fills()
        self._tell_snapshot(await self.snapshot(), GAP_REASON)

    def _tell_snapshot(self, snapshot: VenueSnapshot, reason: str) -> None:
        self._publish(snapshot_reported(snapshot, reason, self._clock.now_ns()))

    def _on_fact(self, fact: AccountFact) -> None:
        ts_recv = self._clock.now_ns()
        if isinstance(fact, Fill | FundingBooked):
            self._executed_ns = max(self._executed_ns, fact.ts_event)
        self._publish(_event_of(fact, ts_recv))


def _event_of(fact: AccountFact, ts_recv: int) -> Event:
    if not isinstance(fact, FundingBooked):
        return reported(fact, ts_recv)
    return FundingReported(
        ts_event=fact.ts_event,
        ts_recv=ts_recv,
        venue=Venue.BYBIT,
        instrument_id=fact.instrument_id,
        amount=fact.amount,
        funding_id=fact.funding_id,
    )


def _role_of(request: OrderRequest) -> ProtectionRole:
    if not request.reduce_only or not request.order_type.is_conditional:
        return ProtectionRole.NONE
    is_stop = request.order_type is OrderType.STOP_MARKET
    return ProtectionRole.STOP if is_stop else ProtectionRole.TARGET
