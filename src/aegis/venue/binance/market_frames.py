"""Where each market frame of Binance goes: quotes, marks, bars, books, acks, unknown ones."""

from collections.abc import Callable

from aegis.core.errors import VenueProtocolError
from aegis.model.instrument import Venue
from aegis.model.market import DepthFrame, KlineFrame, MarkFrame, QuoteFrame
from aegis.model.ports import MarketSink
from aegis.venue.around import VenueAround
from aegis.venue.binance.depth import DepthSnapshots
from aegis.venue.binance.frames import Ack, Unknown, UnknownCounter
from aegis.venue.binance.parse_market import parse_market
from aegis.venue.binance.rest import BinanceRest


class MarketFrames:
    """Decode market frames and hand them on; *on_ack* gets the answers to subscriptions."""

    def __init__(
        self,
        rest: BinanceRest,
        around: VenueAround,
        *,
        unknowns: UnknownCounter,
        on_ack: Callable[[Ack], None],
    ) -> None:
        self._clock = around.clock
        self._unknowns = unknowns
        self._on_ack = on_ack
        self._depth = DepthSnapshots(rest, around.supervisor, around.clock, self._on_depth)
        self._sink: MarketSink | None = None

    def start(self, sink: MarketSink) -> None:
        """Hand frames to *sink* from here on."""
        self._sink = sink

    def stop(self) -> None:
        """Ask for no more books."""
        self._depth.stop()

    def take(self, frame: bytes) -> None:
        """
        Decode *frame* and hand it on.

        Raises:
            VenueProtocolError: it is no message of the venue; the sink was told.

        """
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
                self._on_ack(fact)
            case Unknown():
                self._unknowns.count(fact)

    def _on_depth(self, frame: DepthFrame) -> None:
        if self._sink is not None and self._sink.on_depth(frame):
            self._depth.ask(frame.instrument_id)
