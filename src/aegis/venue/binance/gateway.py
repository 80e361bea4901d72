"""
Binance USDⓈ-M futures as a `VenueGateway`: orders, account, history and streams of one venue.

Native protection here are conditional orders of the algo service. They cannot be amended, and they
answer before the query store knows them (venues.md 1.2, 5.1): placing answers and the user stream
are the evidence, a lone "does not exist" is none.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from loguru import logger

from aegis.core.clock import Clock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    VenueProtocolError,
    VenueRefused,
    VenueUnreachable,
)
from aegis.core.event import Event
from aegis.core.offload import Offload
from aegis.core.supervise import Supervisor
from aegis.core.transport import HttpExchange, StreamConnector
from aegis.model.account import (
    BalanceReport,
    Capabilities,
    OrderReport,
    PositionReport,
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
from aegis.model.market import Candle, DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.order import OrderRequest
from aegis.model.ports import MarketSink
from aegis.venue.binance import startup, wire
from aegis.venue.binance.account import AccountQueries, FillReplay
from aegis.venue.binance.depth import DepthSnapshots
from aegis.venue.binance.encode import encode
from aegis.venue.binance.errors import ALREADY_ISOLATED, UNSUPPORTED, classify, refused
from aegis.venue.binance.frames import Ack, ListenKeyLost, Notice, Unknown, checked, row
from aegis.venue.binance.klines import read_candles
from aegis.venue.binance.parse import UserFact, parse_user
from aegis.venue.binance.parse_market import parse_market
from aegis.venue.binance.parse_rest import parse_algo_order, parse_order, parse_symbol_configs
from aegis.venue.binance.rest import BinanceRest
from aegis.venue.binance.stream import USER_STREAM, BinanceStreams, ListenKeys
from aegis.venue.calls import CallRunner
from aegis.venue.reports import reported, snapshot_reported
from aegis.venue.resync import GAP_REASON, GapResync

CAPABILITIES: Final = Capabilities(
    attached_protection=False,
    position_protection=False,
    close_position_orders=True,
    child_orders_unnamed=False,
)
_USER_OPEN_TIMEOUT_S: Final = 30.0


class BinanceGateway:
    """
    Trade Binance's USDT perpetuals in one-way mode and isolated margin.

    *base_url* and *public_ws_url* are scheme and host. *http* is the twin in this process, reached
    through *offload*; None opens real connections. *depth_streams*: bring order books too.
    """

    def __init__(
        self,
        *,
        base_url: str,
        public_ws_url: str,
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
        depth_streams: bool = False,
    ) -> None:
        self._publish = publish
        self._clock = clock
        self.calls = _call_runner(publish, clock, (api_key, api_secret))
        self._rest = BinanceRest(
            base_url=base_url,
            api_key=api_key,
            api_secret=api_secret,
            http=http,
            offload=offload,
            calls=self.calls,
            clock=clock,
            recv_window_ms=recv_window_ms,
            request_timeout_s=request_timeout_s,
            order_timeout_s=order_timeout_s,
        )
        self._account = AccountQueries(self._rest, clock)
        self._replay = FillReplay(self._account, clock)
        self._streams = BinanceStreams(
            base_url=public_ws_url,
            connector=connector,
            supervisor=supervisor,
            clock=clock,
            rng=rng,
            keys=ListenKeys(self._create_listen_key, self._renew_listen_key),
            timeframes_ns=timeframes_ns,
            on_user_frame=self._on_user_frame,
            on_market_frame=self._on_market_frame,
            on_state=self._on_stream_state,
            depth=depth_streams,
        )
        self._depth = DepthSnapshots(self._rest, supervisor, clock, self._on_depth)
        self._sink: MarketSink | None = None
        self._resync = GapResync("binance.resync", supervisor, self._catch_up)
        self.unknowns: Counter[str] = Counter()
        """Messages of kinds we have no use for, by kind."""

    @property
    def venue(self) -> Venue:
        """Return BINANCE."""
        return Venue.BINANCE

    @property
    def capabilities(self) -> Capabilities:
        """Return what Binance can do."""
        return CAPABILITIES

    async def connect(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """
        Measure the clock, check the account's modes and return the instruments of *symbols*.

        Raises:
            VenueRefused: with the fix, when a check failed.
            VenueError: when the venue could not be asked.

        """
        await self._rest.sync_time()
        await startup.check_modes(self._rest)
        return await startup.load_instruments(self._rest, symbols)

    async def start_streams(self, instruments: Sequence[Instrument], sink: MarketSink) -> None:
        """
        Open the user stream, wait for it, take a snapshot, then open the market streams.

        Raises:
            VenueUnreachable: the user stream could not be opened in time.
            VenueError: the snapshot failed.

        """
        self._sink = sink
        self._streams.start_user()
        try:
            async with asyncio.timeout(_USER_OPEN_TIMEOUT_S):
                await self._resync.wait_opened()
        except TimeoutError:
            raise VenueUnreachable(
                f"not open after {_USER_OPEN_TIMEOUT_S} s",
                venue=Venue.BINANCE.value,
                operation="stream user",
            ) from None
        self._tell_snapshot(await self.snapshot(), "user stream opened")
        self._resync.start()
        self._streams.start_market([each.instrument_id.symbol for each in instruments])

    async def snapshot(self) -> VenueSnapshot:
        """Return balance, positions and resting orders, conditional ones included, or raise."""
        return await self._account.snapshot()

    async def prepare_entry(self, instrument_id: InstrumentId, leverage: int) -> int:
        """
        Set isolated margin and *leverage* where they are not yet; return the leverage read back.

        Raises:
            VenueRefused: the margin stayed cross, or the venue turned the change down (R28).

        """
        symbol = instrument_id.symbol
        config = await self._symbol_config(symbol)
        if config.isolated and config.leverage == leverage:
            return leverage
        if not config.isolated:
            await self._isolate(symbol)
        await self._rest.call(
            "leverage", "futures_change_leverage", {"symbol": symbol, "leverage": leverage}
        )
        config = await self._symbol_config(symbol)
        if not config.isolated:
            raise refused(
                "margin type", f"{symbol} stayed on {config.margin_type} margin", "prepare_entry"
            )
        return config.leverage

    async def _isolate(self, symbol: str) -> None:
        try:
            await self._rest.call(
                "margin_type",
                "futures_change_margin_type",
                {"symbol": symbol, "marginType": "ISOLATED"},
            )
        except VenueRefused as refusal:
            if refusal.code != ALREADY_ISOLATED:
                raise

    async def place(self, request: OrderRequest) -> OrderReport:
        """
        Send an order and return the venue's answer.

        Raises:
            VenueRefused: the venue rejected it.
            OrderOutcomeUnknown: sent, answer lost or unreadable: query by client order id (R30).

        """
        call = encode(request)
        self._replay.follow(request.instrument_id)
        answer = await self._rest.call(
            call.operation, call.method, call.params, client_order_id=request.client_order_id
        )
        parse = parse_algo_order if request.order_type.is_conditional else parse_order
        try:
            report = parse(answer, ReportSource.ANSWER)
        except VenueProtocolError as error:
            raise OrderOutcomeUnknown(
                request.client_order_id,
                venue=Venue.BINANCE.value,
                operation=call.operation,
                detail=str(error),
            ) from error
        self._replay.saw_order(report)
        return report

    async def cancel(self, command: CancelProtection) -> None:
        """
        Cancel one conditional order.

        Raises:
            VenueRefused: -2011 when it is finished or unknown, -4117 when it is triggering.

        """
        await self._rest.call(
            "cancel_algo_order",
            "futures_cancel_algo_order",
            {"clientAlgoId": command.client_order_id},
        )

    async def set_position_protection(self, command: SetPositionProtection) -> None:
        """Refuse: Binance keeps no stop or target per position."""
        raise refused(
            UNSUPPORTED,
            f"no position protection on this venue for {command.instrument_id}",
            "set_position_protection",
        )

    async def query(
        self, instrument_id: InstrumentId, client_order_id: str, *, conditional: bool
    ) -> OrderReport | None:
        """Return the order, None when query, open and all orders say they do not know it."""
        ask = self._account.algo_order if conditional else self._account.order
        return await ask(instrument_id.symbol, client_order_id)

    async def candles(
        self, instrument_id: InstrumentId, timeframe_ns: int, start_ns: int, end_ns: int
    ) -> tuple[Candle, ...]:
        """Return closed bars with start_ns <= open_ns < end_ns, oldest first, all pages."""
        return await read_candles(
            self._rest, self._clock, instrument_id, timeframe_ns, start_ns, end_ns
        )

    async def mark_price(self, instrument_id: InstrumentId) -> Decimal:
        """Return the mark price now; VenueProtocolError when it is not told."""
        answer = await self._rest.call(
            "mark_price", "futures_mark_price", {"symbol": instrument_id.symbol}
        )
        index = row(answer, wire.PremiumIndexRow, "mark_price")
        return checked(index.mark_price, "markPrice", answer, "mark_price")

    async def resubscribe(self, instrument_id: InstrumentId) -> None:
        """Subscribe one instrument's market streams anew (R10)."""
        await self._streams.resubscribe(instrument_id.symbol)

    async def close(self) -> None:
        """Close streams and connections; resting orders stay on the venue."""
        self._depth.stop()
        self._resync.stop()
        await self._streams.stop()
        await self._rest.close()

    async def _symbol_config(self, symbol: str) -> wire.SymbolConfigRow:
        answer = await self._rest.call("symbol_config", "futures_symbol_config", {"symbol": symbol})
        config = parse_symbol_configs(answer).get(symbol)
        if config is None:
            raise VenueProtocolError(
                answer,
                f"no configuration of {symbol}",
                venue=Venue.BINANCE.value,
                operation="symbol_config",
            )
        return config

    async def _create_listen_key(self) -> str:
        return str(await self._rest.call("listen_key", "futures_stream_get_listen_key"))

    async def _renew_listen_key(self, key: str) -> None:
        await self._rest.call("listen_key_renew", "futures_stream_keepalive", {"listenKey": key})

    def _on_stream_state(self, event: StreamOpened | StreamClosed) -> None:
        self._publish(event)
        if event.stream == USER_STREAM and isinstance(event, StreamOpened):
            self._resync.on_opened()

    def _on_user_frame(self, frame: bytes) -> None:
        ts_recv = self._clock.now_ns()
        try:
            facts = parse_user(frame, ts_recv)
        except VenueProtocolError as error:
            logger.error("a message about the account is lost, asking for all of it: {}", error)
            self._resync.doubt()
            raise
        for fact in facts:
            self._tell(fact, ts_recv)

    def _on_market_frame(self, frame: bytes) -> None:
        sink = self._sink
        assert sink is not None, "market streams start after the sink is known"
        try:
            fact = parse_market(frame, self._clock.now_ns())
        except VenueProtocolError as error:
            sink.on_unreadable(Venue.BINANCE, error.detail)
            raise
        match fact:
            case QuoteFrame():
                sink.on_quote(fact)
            case MarkFrame():
                sink.on_mark(fact)
            case KlineFrame():
                sink.on_kline(fact)
            case DepthFrame():
                self._on_depth(fact)
            case Ack():
                if fact.error:
                    logger.error("binance refused request {}: {}", fact.request_id, fact.error)
            case Unknown():
                self._count(fact)

    def _on_depth(self, frame: DepthFrame) -> None:
        if self._sink is not None and self._sink.on_depth(frame):
            self._depth.ask(frame.instrument_id)

    def _tell(self, fact: UserFact, ts_recv: int) -> None:
        match fact:
            case Fill():
                self._replay.saw_fill(fact)
                self._publish(reported(fact, ts_recv))
            case OrderReport():
                self._replay.saw_order(fact)
                self._publish(reported(fact, ts_recv))
            case PositionReport():
                self._replay.follow(fact.instrument_id)
                self._publish(reported(fact, ts_recv))
            case BalanceReport():
                self._publish(reported(fact, ts_recv))
            case FundingReported():
                self._publish(fact)
            case ListenKeyLost():
                self._streams.user.reconnect("listen key expired")
            case Notice(kind="leverage changed"):
                # Follows every change of ours; prepare_entry reads the leverage back anyway (R28).
                logger.debug("binance {}: {}", fact.kind, fact.text)
            case Notice():
                logger.warning("binance {}: {}", fact.kind, fact.text)
            case Ack():
                pass
            case Unknown():
                self._count(fact)

    def _count(self, unknown: Unknown) -> None:
        self.unknowns[unknown.kind] += 1
        if self.unknowns[unknown.kind] == 1:
            logger.warning("binance sent something unknown: {}", unknown.kind)

    async def tell_missed_fills(self) -> None:
        """Publish the fills since the last known ones of every symbol that was touched (R12)."""
        await self._replay.replay(lambda fill: self._tell(fill, self._clock.now_ns()))

    async def _catch_up(self) -> None:
        # Fills first: a position that its stop closed is then known as stopped, not as vanished.
        await self.tell_missed_fills()
        self._tell_snapshot(await self.snapshot(), GAP_REASON)

    def _tell_snapshot(self, snapshot: VenueSnapshot, reason: str) -> None:
        for position in snapshot.positions:
            self._replay.follow(position.instrument_id)
        self._publish(snapshot_reported(snapshot, reason, self._clock.now_ns()))


def _call_runner(
    publish: Callable[[Event], None], clock: Clock, secrets: tuple[str, str]
) -> CallRunner:
    return CallRunner(
        venue=Venue.BINANCE, publish=publish, clock=clock, classify=classify, secrets=secrets
    )
