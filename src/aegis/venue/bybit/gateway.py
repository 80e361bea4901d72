"""
Bybit V5 linear as a `VenueGateway`: orders, account, history and streams of one venue.

Native protection here is the position's own stop and target: they travel with the entry order and
are amended in place by trading-stop, so that no fill is ever without them (venues.md 3.3, 3.4).
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
from aegis.venue.bybit import startup
from aegis.venue.bybit.account import AccountQueries
from aegis.venue.bybit.account_watch import AccountWatch
from aegis.venue.bybit.capabilities import CAPABILITIES
from aegis.venue.bybit.encode import CATEGORY, protection_params
from aegis.venue.bybit.errors import TPSL_NOT_MODIFIED, VENUE, classify
from aegis.venue.bybit.klines import read_candles
from aegis.venue.bybit.leverage import SymbolLeverage
from aegis.venue.bybit.limits import new_ledger
from aegis.venue.bybit.order_entry import order_entry
from aegis.venue.bybit.parse_market import mark_price_of
from aegis.venue.bybit.rest import LANE_PROTECT, BybitRest
from aegis.venue.bybit.stream import PrivateStream, PublicStream, StreamParts, UnknownCounter
from aegis.venue.legs import HeldLegs
from aegis.venue.position_modes import PositionModes
from aegis.venue.resync import CaughtUp
from aegis.venue.upkeep import Upkeep, gated_calls

_PRIVATE_OPEN_TIMEOUT_S: Final = 30.0


class BybitGateway:
    """Trade Bybit's USDT perpetuals in isolated margin, one-way or in hedge mode."""

    def __init__(self, around: VenueAround) -> None:
        clock = around.clock
        self._around = around
        self._clock = clock
        self._parts = StreamParts(
            ws_url=around.ws_url.rstrip("/"),
            connector=around.connector,
            supervisor=around.supervisor,
            clock=clock,
            rng=around.rng,
        )
        self.calls = gated_calls(
            venue=Venue.BYBIT,
            publish=around.publish,
            clock=clock,
            classify=functools.partial(classify, wall_ns=clock.wall_ns),
            secrets=(around.api_key, around.api_secret),
            ledger=new_ledger(around.protective_weight_pct),
        )
        self._rest = BybitRest(
            base_url=around.base_url,
            api_key=around.api_key,
            api_secret=around.api_secret,
            http=around.http,
            offload=around.offload,
            runner=self.calls,
            recv_window_ms=around.recv_window_ms,
            request_timeout_s=around.request_timeout_s,
            order_timeout_s=around.order_timeout_s,
        )
        self._upkeep = Upkeep(
            self._rest,
            self.calls,
            venue=Venue.BYBIT,
            clock=clock,
            supervisor=around.supervisor,
            publish=around.publish,
            recv_window_ms=around.recv_window_ms,
        )
        self.unknowns = UnknownCounter()
        self._modes = PositionModes(Venue.BYBIT)
        self._legs = HeldLegs(Venue.BYBIT, self._modes, clock, around.publish)
        self._leverage = SymbolLeverage(self._rest, around)
        self._account = AccountWatch(
            AccountQueries(self._rest, self._venue_now_ns, self.unknowns),
            around,
            leverage=self._leverage,
            legs=self._legs,
            reconnect=self._reconnect_private,
        )
        self._public: PublicStream | None = None
        self._private: PrivateStream | None = None
        self._orders = order_entry(
            self._rest,
            around,
            self.calls,
            modes=self._modes,
            remeasure=self._upkeep.remeasure,
            venue_now_ns=self._venue_now_ns,
        )

    @property
    def venue(self) -> Venue:
        """Return BYBIT."""
        return Venue.BYBIT

    @property
    def capabilities(self) -> Capabilities:
        """Return what Bybit can do."""
        return CAPABILITIES

    @property
    def rest(self) -> BybitRest:
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
        Check clock, account and margin mode; return the tradable ones of *symbols*.

        Those in *held*, which carry a position, come whatever their status is.

        Raises:
            VenueRefused: with the fix, when a check failed.
            VenueError: when the venue could not be asked.

        """
        await self._upkeep.check_clock()
        await startup.check_account(self._rest)
        wanted = tuple(dict.fromkeys((*symbols, *held)))
        found = self._upkeep.told(await startup.load_instruments(self._rest, wanted, held))
        await self.read_position_modes([each.instrument_id.symbol for each in found])
        return found

    async def read_position_modes(self, symbols: Sequence[str]) -> Mapping[str, PositionMode]:
        """Ask for the position mode of each symbol and keep it for orders (R41)."""
        modes = {symbol: await startup.position_mode(self._rest, symbol) for symbol in symbols}
        for symbol, mode in modes.items():
            self._modes.learn(symbol, mode)
        return modes

    async def start_streams(self, instruments: Sequence[Instrument], sink: MarketSink) -> None:
        """
        Open the private stream, wait until it is subscribed, take a snapshot, open the public one.

        Raises:
            VenueRefused: the private stream's login or topics were refused.
            VenueUnreachable: it could not be opened in time.
            VenueError: the snapshot failed.

        """
        self._public = PublicStream(
            self._parts,
            symbols=[instrument.instrument_id.symbol for instrument in instruments],
            timeframes_ns=self._around.timeframes_ns,
            sink=sink,
            on_state=self._around.publish,
            unknowns=self.unknowns,
        )
        await self.open_account_stream()
        asked_ns = self._clock.now_ns()
        snapshot = await self.snapshot()
        self._account.begin_at(snapshot)
        self._account.tell_snapshot(snapshot, "user stream opened")
        self._account.resync.start(CaughtUp(asked_ns=asked_ns, snapshot=snapshot))
        symbols = [instrument.instrument_id.symbol for instrument in instruments]
        self._leverage.keep_fresh(symbols)
        self._public.stream.start()

    async def open_account_stream(self) -> None:
        """
        Open the private stream and wait for it, anew where one is open already.

        Raises:
            VenueRefused: its login or topics were refused.
            VenueUnreachable: it could not be opened in time.

        """
        if self._private is not None:
            await self._private.stream.stop()
            self._account.resync.forget_opened()
        self._private = PrivateStream(
            self._parts,
            api_key=self._around.api_key,
            api_secret=self._around.api_secret,
            on_fact=self._account.on_fact,
            on_unreadable=self._account.on_unreadable,
            on_state=self._account.on_stream_state,
            unknowns=self.unknowns,
        )
        self._private.stream.start()
        self._orders.start()
        self._upkeep.start()
        await self._wait_private(self._private)

    async def connect_unseen(self, held: Mapping[str, PositionMode]) -> tuple[Instrument, ...]:
        """
        Return the rules of *held* symbols and learn their position modes by their orders (R88).

        Executions do not tell the mode here, so that in *held* is only a guess: where no order
        tells it, it is one-way, and a wrong index is refused without an effect.
        """
        await self._upkeep.check_clock()
        loaded = await startup.load_instruments(self._rest, tuple(held), tuple(held))
        for symbol in held:
            mode = await self._account.queries.mode_by_orders(symbol)
            self._modes.learn(symbol, mode or PositionMode.ONE_WAY)
        return loaded.instruments

    async def resting_orders(self) -> tuple[OrderReport, ...]:
        """Return every resting order, conditional ones included, or raise."""
        return await self._account.queries.resting_orders()

    async def _wait_private(self, private: PrivateStream) -> None:
        try:
            async with asyncio.timeout(_PRIVATE_OPEN_TIMEOUT_S):
                await self._account.resync.wait_opened()
        except TimeoutError:
            if private.refusal is not None:
                raise private.refusal from None
            raise VenueUnreachable(
                f"not open after {_PRIVATE_OPEN_TIMEOUT_S} s",
                venue=VENUE,
                operation="stream private",
            ) from None

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """
        Return wallet, open positions and resting orders, conditional ones included.

        Raises:
            VenueError: when any of the queries failed: unknown is never empty (R43, R88).

        """
        return await self._account.snapshot(steady=steady)

    async def tell_missed_fills(self) -> None:
        """Publish the executions since the last known one (R12)."""
        await self._account.tell_missed_fills()

    async def booked_since(self, since_ns: int) -> BookedSince:
        """Return every fill and funding payment of the account from *since_ns* on (R49)."""
        return await self._account.booked_since(since_ns)

    async def prepare_entry(self, instrument_id: InstrumentId, leverage: int) -> int:
        """
        Set *leverage* for both sides and return it as the venue now states it (R28).

        Isolated margin is a setting of the account, made sure of by connect.
        """
        return await self._leverage.prepare(instrument_id.symbol, leverage)

    def is_prepared(self, instrument_id: InstrumentId, leverage: int) -> bool:
        """Say whether *leverage* was read back and still stands (R28)."""
        return self._leverage.is_prepared(instrument_id.symbol, leverage)

    async def place(self, request: OrderRequest) -> OrderReport:
        """
        Send an order; the answer only says it was accepted, the stream tells what became of it.

        Raises:
            VenueRefused: the venue rejected it.
            OrderOutcomeUnknown: sent, answer lost: query, never send again (R30).

        """
        return await self._orders.place(request)

    def place_at_once(self, request: OrderRequest) -> Callable[[], Awaitable[OrderReport]] | None:
        """Send by the order socket in this call, as `PlacesAtOnce` says."""
        return self._orders.place_at_once(request)

    async def cancel(self, command: CancelProtection) -> None:
        """Cancel one order of ours; VenueRefused (110001) when the venue does not know it."""
        await self._orders.cancel(command)

    async def set_position_protection(self, command: SetPositionProtection) -> None:
        """
        Set stop and target of the position in place; "not modified" is success.

        The call may be repeated as it is: it says what shall be, not what to change.

        Raises:
            VenueRefused: 10001 when there is no position yet, or a price is on the wrong side.

        """
        leg = command.side if self._modes.hedged(command.instrument_id.symbol) else None
        await self._rest.call(
            "set_trading_stop",
            protection_params(command, leg),
            lane=LANE_PROTECT,
            accept={TPSL_NOT_MODIFIED},
        )

    async def query(
        self, instrument_id: InstrumentId, client_order_id: str, *, conditional: bool
    ) -> OrderReport | None:
        """Return the order, None when realtime and history both say they do not know it."""
        del conditional  # both kinds of order live on one channel here
        return await self._account.queries.order(instrument_id, client_order_id)

    async def candles(
        self, instrument_id: InstrumentId, timeframe_ns: int, start_ns: int, end_ns: int
    ) -> tuple[Candle, ...]:
        """Return closed bars with start_ns <= open_ns < end_ns, oldest first, all pages."""
        return await read_candles(
            self._rest, self._venue_now_ns, instrument_id, timeframe_ns, start_ns, end_ns
        )

    async def mark_price(self, instrument_id: InstrumentId) -> Decimal:
        """Return the mark price now; VenueProtocolError when it is not told."""
        params: dict[str, object] = {"category": CATEGORY, "symbol": instrument_id.symbol}
        return mark_price_of(await self._rest.call("get_tickers", params), instrument_id.symbol)

    async def resubscribe(self, instrument_id: InstrumentId) -> None:
        """Subscribe one instrument's market streams anew (R10)."""
        if self._public is None:
            raise VenueUnreachable("not started", venue=VENUE, operation="resubscribe")
        await self._public.resubscribe(instrument_id.symbol)

    def restart_market(self, *, quotes: bool, marks: bool, reason: str) -> None:
        """Open the public connection anew, which carries both kinds."""
        if self._public is not None and (quotes or marks):
            self._public.stream.reconnect_if_allowed(reason)

    async def close(self) -> None:
        """Close streams and connections; resting orders stay on the venue."""
        self._account.resync.stop()
        self._upkeep.stop()
        self._leverage.stop()
        await self._orders.stop()
        for stream in (self._public, self._private):
            if stream is not None:
                await stream.stream.stop()
        self._rest.close()

    def _venue_now_ns(self) -> int:
        # The market clock and not the time of an answer: a played tape has a market time of its
        # own, while answers are stamped with the wall clock.
        return self._clock.now_ns() + self._rest.offset_ns

    def _reconnect_private(self, reason: str) -> None:
        if self._private is not None:
            self._private.stream.reconnect_if_allowed(reason)
