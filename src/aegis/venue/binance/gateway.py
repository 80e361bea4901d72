"""
Binance USDⓈ-M futures as a `VenueGateway`: orders, account, history and streams of one venue.

Native protection here are conditional orders of the algo service. They cannot be amended, and they
answer before the query store knows them (venues.md 1.2, 5.1): placing answers and the user stream
are the evidence, a lone "does not exist" is none.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from aegis.core.errors import VenueUnreachable
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
from aegis.model.market import Candle
from aegis.model.order import OrderRequest
from aegis.model.ports import MarketSink
from aegis.venue.around import VenueAround
from aegis.venue.binance import startup, wire
from aegis.venue.binance.account_watch import AccountWatch, Reconnects
from aegis.venue.binance.capabilities import CAPABILITIES
from aegis.venue.binance.errors import UNSUPPORTED, classify, refused
from aegis.venue.binance.frames import Ack, UnknownCounter, checked, row
from aegis.venue.binance.klines import read_candles
from aegis.venue.binance.leverage import SymbolLeverage
from aegis.venue.binance.limits import new_ledger
from aegis.venue.binance.market_frames import MarketFrames
from aegis.venue.binance.order_entry import order_entry
from aegis.venue.binance.rest import BinanceRest
from aegis.venue.binance.stream import BinanceStreams, ListenKeys
from aegis.venue.calls import CallRunner
from aegis.venue.legs import HeldLegs
from aegis.venue.position_modes import PositionModes
from aegis.venue.resync import CaughtUp
from aegis.venue.upkeep import Upkeep, gated_calls

_USER_OPEN_TIMEOUT_S: Final = 30.0


def _rest_of(around: VenueAround, calls: CallRunner) -> BinanceRest:
    return BinanceRest(
        base_url=around.base_url,
        api_key=around.api_key,
        api_secret=around.api_secret,
        http=around.http,
        offload=around.offload,
        calls=calls,
        clock=around.clock,
        recv_window_ms=around.recv_window_ms,
        request_timeout_s=around.request_timeout_s,
        order_timeout_s=around.order_timeout_s,
    )


class BinanceGateway:
    """Trade Binance's USDT perpetuals in isolated margin, one-way or in hedge mode."""

    def __init__(self, around: VenueAround) -> None:
        clock = self._clock = around.clock
        self.calls = gated_calls(
            venue=Venue.BINANCE,
            publish=around.publish,
            clock=clock,
            classify=functools.partial(classify, wall_ns=clock.wall_ns),
            secrets=(around.api_key, around.api_secret),
            ledger=new_ledger(around.protective_weight_pct),
        )
        self._rest = _rest_of(around, self.calls)
        self._upkeep = Upkeep(
            self._rest,
            self.calls,
            venue=Venue.BINANCE,
            clock=clock,
            supervisor=around.supervisor,
            publish=around.publish,
            recv_window_ms=around.recv_window_ms,
        )
        self._modes = PositionModes(Venue.BINANCE)
        self._legs = HeldLegs(Venue.BINANCE, self._modes, clock, around.publish)
        self._unknowns = UnknownCounter()
        self._leverage = SymbolLeverage(self._rest, around)
        self._account = AccountWatch(
            self._rest,
            around,
            leverage=self._leverage,
            legs=self._legs,
            unknowns=self._unknowns,
            reconnects=Reconnects(
                now=self._reconnect_user, if_allowed=self._reconnect_user_if_allowed
            ),
        )
        self._market = MarketFrames(
            self._rest,
            around,
            unknowns=self._unknowns,
            on_ack=self._on_ack,
        )
        self._streams = BinanceStreams(
            base_url=around.ws_url,
            connector=around.connector,
            supervisor=around.supervisor,
            clock=clock,
            rng=around.rng,
            keys=ListenKeys(self._create_listen_key, self._renew_listen_key),
            timeframes_ns=around.timeframes_ns,
            on_user_frame=self._account.on_frame,
            on_market_frame=self._market.take,
            on_state=self._account.on_stream_state,
            depth=around.depth_streams,
        )
        self._orders = order_entry(
            self._rest,
            around,
            self.calls,
            modes=self._modes,
            on_late=self._account.on_late_answer,
        )

    @property
    def unknowns(self) -> Mapping[str, int]:
        """Return how many messages came of kinds we have no use for, by kind."""
        return self._unknowns.counts

    @property
    def venue(self) -> Venue:
        """Return BINANCE."""
        return Venue.BINANCE

    @property
    def capabilities(self) -> Capabilities:
        """Return what Binance can do."""
        return CAPABILITIES

    @property
    def rest(self) -> BinanceRest:
        """Return the REST client, for the doctor's questions beyond the port."""
        return self._rest

    @property
    def second_legs(self) -> tuple[PositionReport, ...]:
        """Return what is open beside the positions the bot sees, in hedge mode (R41)."""
        return tuple(self._legs.second.values())

    async def connect(
        self, symbols: Sequence[str], *, held: Sequence[str] = ()
    ) -> tuple[Instrument, ...]:
        """
        Measure the clock, check the account's modes and return the tradable ones of *symbols*.

        Those in *held*, which carry a position, come whatever their status is.

        Raises:
            VenueRefused: with the fix, when a check failed.
            VenueError: when the venue could not be asked.

        """
        await self._upkeep.check_clock()
        await self.read_position_modes(symbols)
        await startup.check_account(self._rest)
        wanted = tuple(dict.fromkeys((*symbols, *held)))
        return self._upkeep.told(await startup.load_instruments(self._rest, wanted, held))

    async def read_position_modes(self, symbols: Sequence[str]) -> Mapping[str, PositionMode]:
        """Ask for the position mode and keep it for orders; here it is the account's (R41)."""
        mode = await startup.position_mode(self._rest)
        self._modes.learn_all(mode)
        return dict.fromkeys(symbols, mode)

    async def start_streams(self, instruments: Sequence[Instrument], sink: MarketSink) -> None:
        """
        Open the user stream, wait for it, take a snapshot, then open the market streams.

        Raises:
            VenueUnreachable: the user stream could not be opened in time.
            VenueError: the snapshot failed.

        """
        self._market.start(sink)
        await self.open_account_stream()
        asked_ns = self._clock.now_ns()
        snapshot = await self.snapshot()
        self._account.tell_snapshot(snapshot, "user stream opened")
        self._account.resync.start(CaughtUp(asked_ns=asked_ns, snapshot=snapshot))
        symbols = [each.instrument_id.symbol for each in instruments]
        self._leverage.keep_fresh(symbols)
        self._streams.start_market(symbols)

    async def open_account_stream(self) -> None:
        """
        Open the user stream and wait for it, anew where one is open already.

        Raises:
            VenueUnreachable: it could not be opened in time.

        """
        if await self._streams.renew_user():
            # A start that failed half-way begins anew.
            self._account.resync.forget_opened()
        self._streams.start_user()
        self._orders.start()
        self._upkeep.start()
        try:
            async with asyncio.timeout(_USER_OPEN_TIMEOUT_S):
                await self._account.resync.wait_opened()
        except TimeoutError:
            raise VenueUnreachable(
                f"not open after {_USER_OPEN_TIMEOUT_S} s",
                venue=Venue.BINANCE.value,
                operation="stream user",
            ) from None

    async def connect_unseen(self, held: Mapping[str, PositionMode]) -> tuple[Instrument, ...]:
        """Return the rules of *held* symbols and take their position mode as it was (R88)."""
        await self._upkeep.check_clock()
        loaded = await startup.load_instruments(self._rest, tuple(held), tuple(held))
        for mode in held.values():
            self._modes.learn_all(mode)
        return loaded.instruments

    async def resting_orders(self) -> tuple[OrderReport, ...]:
        """Return every resting order, conditional ones included, or raise."""
        return await self._account.queries.resting_orders()

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """Return balance, positions and resting orders, conditional ones included, or raise."""
        return await self._account.snapshot(steady=steady)

    async def tell_missed_fills(self) -> None:
        """Publish the fills since the last known ones of every symbol that was touched (R12)."""
        await self._account.tell_missed_fills()

    async def booked_since(self, since_ns: int) -> BookedSince:
        """Return every fill and funding payment of the account from *since_ns* on (R49)."""
        return await self._account.booked_since(since_ns)

    async def prepare_entry(self, instrument_id: InstrumentId, leverage: int) -> int:
        """
        Set isolated margin and *leverage* where they are not yet; return the leverage read back.

        Raises:
            VenueRefused: the margin stayed cross, or the venue turned the change down (R28).

        """
        return await self._leverage.prepare(instrument_id.symbol, leverage)

    def is_prepared(self, instrument_id: InstrumentId, leverage: int) -> bool:
        """Say whether isolated margin and *leverage* were read back and still stand (R28)."""
        return self._leverage.is_prepared(instrument_id.symbol, leverage)

    async def place(self, request: OrderRequest) -> OrderReport:
        """
        Send an order and return the venue's answer.

        Raises:
            VenueRefused: the venue rejected it.
            OrderOutcomeUnknown: sent, answer lost or unreadable: query by client order id (R30).

        """
        self._account.replay.follow(request.instrument_id)
        report = await self._orders.place(request)
        self._account.replay.saw_order(report)
        return report

    def place_at_once(self, request: OrderRequest) -> Callable[[], Awaitable[OrderReport]] | None:
        """Send by the order socket in this call, as `PlacesAtOnce` says."""
        placed = self._orders.place_at_once(request)
        if placed is None:
            return None
        self._account.replay.follow(request.instrument_id)

        async def answered() -> OrderReport:
            report = await placed()
            self._account.replay.saw_order(report)
            return report

        return answered

    async def cancel(self, command: CancelProtection) -> None:
        """
        Cancel one conditional order.

        Raises:
            VenueRefused: -2011 when it is finished or unknown, -4117 when it is triggering.

        """
        await self._orders.cancel(command.client_order_id)

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
        ask = self._account.queries.algo_order if conditional else self._account.queries.order
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

    def restart_market(self, *, quotes: bool, marks: bool, reason: str) -> None:
        """Open the market connection of the stale kind anew; they are apart on this venue."""
        self._streams.restart_market(quotes=quotes, marks=marks, reason=reason)

    async def close(self) -> None:
        """Close streams and connections; resting orders stay on the venue."""
        self._market.stop()
        self._leverage.stop()
        self._upkeep.stop()
        self._account.resync.stop()
        await self._orders.stop()
        await self._streams.stop()
        await self._rest.close()

    def _reconnect_user(self, reason: str) -> None:
        self._streams.user.reconnect(reason)

    def _reconnect_user_if_allowed(self, reason: str) -> None:
        self._streams.user.reconnect_if_allowed(reason)

    def _on_ack(self, ack: Ack) -> None:
        self._streams.on_ack(ack)

    async def _create_listen_key(self) -> str:
        return str(await self._rest.call("listen_key", "futures_stream_get_listen_key"))

    async def _renew_listen_key(self, key: str) -> None:
        await self._rest.call("listen_key_renew", "futures_stream_keepalive", {"listenKey": key})
