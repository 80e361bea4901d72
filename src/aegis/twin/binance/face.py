"""The Binance USDⓈ-M face of the twin: requests in, answers and stream frames out."""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs, unquote

from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.binance.account import AccountDesk
from aegis.twin.binance.algos import AlgoDesk
from aegis.twin.binance.auth import Gatekeeper
from aegis.twin.binance.countdown import Countdowns
from aegis.twin.binance.json import LabelBook, SymbolFormat
from aegis.twin.binance.limits import UsageCounter
from aegis.twin.binance.market import MarketDesk
from aegis.twin.binance.market_session import MarketSession
from aegis.twin.binance.orders import OrderDesk
from aegis.twin.binance.rest import RestDesk, build_routes
from aegis.twin.binance.stream import MARKET, PUBLIC, MarketHub
from aegis.twin.binance.user import UserSink, UserStream
from aegis.twin.binance.ws_api import OrderEntrySession
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
from aegis.twin.tape.raw_player import RecordedFrames

# First path element to the category of market streams heard there. The bare legacy paths still
# connect, and carry public data alone (venues.md 2.1).
_CATEGORIES: Final = {"public": PUBLIC, "market": MARKET, "private": "", "": PUBLIC}


class BinanceFace:
    """
    One Binance account over an engine; listens to the engine and speaks to its clients.

    Times in answers and events are the engine's market clock; the time of requests is checked
    against *wall_ms*. *recorded*: symbols whose quotes and depth are a recording's, not made.
    *limits_enforced* answers 429 and 418 beyond the venue's limits; the headers count in any case.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        api_key: str,
        api_secret: str,
        wall_ms: Callable[[], int],
        faults: FaultSeam | None = None,
        recorded: Mapping[str, RecordedFrames] | None = None,
        limits_enforced: bool = False,
    ) -> None:
        self.name = "binance"
        self.recorded: Final = dict(recorded or {})
        self.key_grants: Final = KeyGrants()
        self._faults = faults or NoFaults()
        formats = {symbol: SymbolFormat.of(each) for symbol, each in engine.instruments.items()}
        labels = LabelBook()
        self._user = UserStream(engine, labels, wall_ms)
        self._hub = MarketHub(engine, formats, self.recorded)
        self._gate = Gatekeeper(api_key=api_key, api_secret=api_secret, wall_ms=wall_ms)
        self._usage = UsageCounter(wall_ms, enforced=limits_enforced)
        self._countdowns = Countdowns(engine, self._user.flush)
        self._market = MarketDesk(engine, formats, wall_ms, self.recorded, self._hub.note_snapshot)
        self._routes = build_routes(
            self._market,
            OrderDesk(engine, formats, labels, self._user.on_amending),
            AlgoDesk(engine, formats, labels),
            AccountDesk(
                engine, formats, self._user.on_leverage, self._countdowns.set, self.key_grants
            ),
            self._user,
        )
        self._rest = RestDesk(self._routes, self._gate, self._usage)
        engine.add_listener(self)

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer a request; ConnectionError and TimeoutError come out of the fault seam alone."""
        response = self._faults.before(request)
        if response is not None:
            return response
        response = self._rest.answer(request)
        self._user.flush()
        return self._faults.after(request, response)

    def open_stream(
        self, target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
    ) -> StreamSession | None:
        """
        Open market, user or order entry stream *target*; None for other paths.

        Binance ends a stream of its own after 24 hours only; *close* is for the fault seam.
        """
        path, _, query = target.partition("?")
        elements = path.strip("/").split("/")
        if elements == ["ws-fapi", "v1"]:
            return OrderEntrySession(
                self._routes,
                self._gate,
                self._usage,
                self._faults,
                send,
                close,
                self._user.flush,
            )
        category = elements.pop(0) if elements[0] in _CATEGORIES else ""
        if not elements or elements[0] not in {"ws", "stream"}:
            return None
        combined = elements[0] == "stream"
        asked = parse_qs(query)
        rest = [unquote(each) for each in elements[1:]]
        if category == "private":
            return self._open_user(rest, asked, combined=combined, send=send)
        names = [each for value in asked.get("streams", []) for each in value.split("/")]
        # ccxt appends a counter to the path, which names no stream (venues.md 7).
        names += [each for each in rest if "@" in each]
        return MarketSession(
            self._hub,
            category=_CATEGORIES[category],
            combined=combined,
            send=send,
            names=[each for each in names if each],
        )

    def next_event_ns(self) -> int | None:
        """Return when the next recorded frame or end of a countdown is due, None for neither."""
        coming = [recorded.next_event_ns() for recorded in self.recorded.values()]
        coming.append(self._countdowns.next_event_ns())
        return min((at_ns for at_ns in coming if at_ns is not None), default=None)

    def advance(self, to_ns: int) -> None:
        """Send the recorded frames that are due by *to_ns*, and end the countdowns."""
        self._hub.play(to_ns)
        self._countdowns.advance(to_ns)

    def expire_listen_key(self) -> None:
        """Let the listen key expire: its streams hear of it, stay open and fall silent."""
        self._user.expire_listen_key()

    def _open_user(
        self,
        path: list[str],
        asked: dict[str, list[str]],
        *,
        combined: bool,
        send: Callable[[bytes], None],
    ) -> StreamSession:
        keys = asked.get("listenKey", []) or path
        events = frozenset(
            each for value in asked.get("events", []) for each in value.split("/") if each
        )
        sink = UserSink(send=send, key=keys[0] if keys else "", combined=combined, events=events)
        self._user.attach(sink)
        market = MarketSession(self._hub, category="", combined=combined, send=send, names=[])
        return _UserSession(self._user, sink, market)

    # What the engine says.

    def on_order(self, order: EngineOrder) -> None:
        """Tell the user stream."""
        self._user.on_order(order)

    def on_fill(self, fill: EngineFill) -> None:
        """Tell the user stream."""
        self._user.on_fill(fill)

    def on_position(self, position: EnginePosition, cause: str) -> None:
        """Tell the user stream."""
        self._user.on_position(position, cause)

    def on_balance(self, cause: str) -> None:
        """Tell the user stream."""
        self._user.on_balance(cause)

    def on_income(self, row: IncomeRow) -> None:
        """Keep funding for the account event that follows; other income is asked for."""
        if row.kind == "FUNDING_FEE":
            self._user.on_funding(row.amount)

    def on_quote(self, quote: Quote) -> None:
        """Tell those who subscribe."""
        if quote.ts_ns > self._market.funding_due_ns[quote.symbol]:
            self._market.note_funding(quote.symbol)
        self._hub.on_quote(quote)

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Tell those who subscribe."""
        self._hub.on_kline(symbol, timeframe_ns, open_ns, bar, closed=closed)


class _UserSession:
    """A connection of the private path: control frames are answered as on market paths."""

    def __init__(self, user: UserStream, sink: UserSink, market: MarketSession) -> None:
        self._user = user
        self._sink = sink
        self._market = market

    def on_message(self, text: str) -> None:
        """Answer a control frame."""
        self._market.on_message(text)

    def on_closed(self) -> None:
        """Leave the user stream."""
        self._user.detach(self._sink)
