"""The twin's Bybit V5 face: linear perpetuals over one engine, without sockets or tasks."""

from collections.abc import Callable

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.bybit.account_rows import AccountRows
from aegis.twin.bybit.auth import BybitAuth
from aegis.twin.bybit.batch import BatchDesk
from aegis.twin.bybit.json import Ids, side_word
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.bybit.limits import RateLimits
from aegis.twin.bybit.market import MarketDesk
from aegis.twin.bybit.market_feed import MarketFeed
from aegis.twin.bybit.order_queries import OrderQueries
from aegis.twin.bybit.order_scope import OrderScope
from aegis.twin.bybit.position import PositionDesk
from aegis.twin.bybit.private_feed import PrivateFeed
from aegis.twin.bybit.rest import BybitRest, routes_of
from aegis.twin.bybit.stream import PrivateSession, PublicSession
from aegis.twin.bybit.trade import TradeDesk
from aegis.twin.bybit.trade_session import TradeSession
from aegis.twin.bybit.transactions import TransactionLog
from aegis.twin.engine.api import (
    Bar,
    Engine,
    EngineFill,
    EngineOrder,
    EnginePosition,
    IncomeRow,
    Quote,
)
from aegis.twin.face_api import StreamSession
from aegis.twin.faults import FaultSeam, NoFaults
from aegis.twin.key_grants import KeyGrants


class BybitFace:
    """
    Bybit V5 linear as its clients see it: REST, public, private and trade streams.

    Signatures and the envelope's `time` follow the wall clock (*wall_ms*, UTC ms); everything about
    orders, fills and prices is on the engine's market clock. *limits_enforced* answers 10006 beyond
    the venue's requests per second; the headers count in any case.
    """

    name = "bybit"

    def __init__(
        self,
        engine: Engine,
        *,
        api_key: str,
        api_secret: str,
        wall_ms: Callable[[], int],
        faults: FaultSeam | None = None,
        limits_enforced: bool = False,
    ) -> None:
        self._engine = engine
        self._wall_ms = wall_ms
        self.key_grants = KeyGrants()
        self._faults = faults if faults is not None else NoFaults()
        self._auth = BybitAuth(api_key=api_key, api_secret=api_secret)
        self._limits = RateLimits(enforced=limits_enforced)
        self._ledger = BybitLedger(engine, Ids(api_key))
        rows = AccountRows(engine, self._ledger)
        self._private = PrivateFeed(engine, self._ledger, rows)
        self._public = MarketFeed(engine)
        scope = OrderScope(engine, self._ledger.ids)
        self._trade = TradeDesk(engine, self._ledger, self._private, scope)
        self._batches = BatchDesk(self._trade)
        orders = OrderQueries(engine, self._ledger, scope)
        position = PositionDesk(
            engine,
            self._ledger,
            rows,
            self._private,
            self._trade,
            scope,
            api_key,
            self.key_grants,
        )
        self._market = MarketDesk(engine, self._ledger, wall_ms)
        self._rest = BybitRest(
            routes_of(
                self._market,
                self._trade,
                self._batches,
                orders,
                position,
                TransactionLog(engine, self._ledger.ids),
            ),
            auth=self._auth,
            limits=self._limits,
            wall_ms=wall_ms,
            faults=self._faults,
        )
        self._stream_count = 0
        engine.add_listener(self)

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer one request; what it caused was already sent to the streams."""
        return self._rest.answer(request)

    def open_stream(
        self,
        target: str,
        *,
        send: Callable[[bytes], None],
        close: Callable[[str], None],
    ) -> StreamSession | None:
        """
        Open /v5/public/linear, /v5/private or /v5/trade; None for any other path.

        The face never ends a stream by itself: *close* is for the fault seam.
        """
        self._stream_count += 1
        conn_id = f"twin-{self._stream_count:06x}"
        match target.partition("?")[0]:
            case "/v5/public/linear":
                return PublicSession(self._public, send, conn_id)
            case "/v5/private":
                return PrivateSession(self._private, self._auth, self._wall_ms, send, conn_id)
            case "/v5/trade":
                return TradeSession(
                    self._trade,
                    self._batches,
                    self._auth,
                    self._limits,
                    self._wall_ms,
                    self._faults,
                    send,
                    close,
                    conn_id,
                )
            case _:
                return None

    def on_order(self, order: EngineOrder) -> None:
        """Tell the private streams."""
        self._private.order_changed(order)

    def take_over(self) -> None:
        """Show the executions of an account that was restored into the engine."""
        self._ledger.take_over()

    def on_fill(self, fill: EngineFill) -> None:
        """Book the fill, tell the private streams and the public trades."""
        row = self._ledger.note_fill(fill)
        self._private.executed(row)
        self._public.on_fill(fill, side_word(fill.order.spec.side), row["execId"])

    def on_position(self, position: EnginePosition, cause: str) -> None:  # noqa: ARG002 - the port's shape
        """Tell the private streams."""
        self._private.position_changed(position.symbol, position.leg)

    def on_balance(self, cause: str) -> None:  # noqa: ARG002 - the port's shape
        """Tell the private streams."""
        self._private.wallet_changed()

    def on_income(self, row: IncomeRow) -> None:
        """Book it; funding shows as an execution too."""
        execution = self._ledger.note_income(row)
        if execution is not None:
            self._private.executed(execution)

    def on_quote(self, quote: Quote) -> None:
        """Tell the public streams."""
        if quote.ts_ns > self._market.funding_due_ns[quote.symbol]:
            self._market.note_funding(quote.symbol)
        self._public.on_quote(quote)

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Tell the public streams."""
        self._public.on_kline(symbol, timeframe_ns, open_ns, bar, closed=closed)
