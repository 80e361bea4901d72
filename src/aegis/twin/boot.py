"""
Putting a twin together: tapes become a market, the market becomes engines, faces and meters.

Used by paper mode, by the twin as its own process, and by tests. No sockets, no tasks.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import attrs

from aegis.core.clock import NS_PER_S, format_ns
from aegis.core.errors import TapeError
from aegis.twin.binance.face import BinanceFace
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.api import Engine, VenueRules
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.engine.venue_rules import BINANCE_RULES, BYBIT_RULES
from aegis.twin.meter import ProtectionMeter
from aegis.twin.tape.generate import default_generated
from aegis.twin.tape.model import CandleTape, tape_id
from aegis.twin.tape.path import PricePath
from aegis.twin.tape.raw_feed import RawFeed, lead_for, load_raw_feed
from aegis.twin.tape.raw_lines import RawFeedTape
from aegis.twin.tape.raw_path import RecordedBook
from aegis.twin.tape.raw_player import RecordedFrames
from aegis.twin.tape.read import read_tape
from aegis.twin.tape.synthetic_book import BookShape
from aegis.twin.world import TwinWorld

VenueName = Literal["binance", "bybit"]
VENUE_NAMES: Final[tuple[VenueName, ...]] = ("binance", "bybit")
RULES: Final[Mapping[VenueName, VenueRules]] = {"binance": BINANCE_RULES, "bybit": BYBIT_RULES}
RAW_FEED_VENUE: Final[VenueName] = "binance"
_DAY_NS: Final = 86_400 * NS_PER_S
HISTORY_NS: Final = 3 * _DAY_NS
GENERATED_START_NS: Final = 1_767_225_600 * NS_PER_S
"""2026-01-01T00:00Z: where the generated market begins; the date means nothing."""


BOOK_BUCKET_NS: Final = 60 * NS_PER_S
"""How long spread and depth keep their variation."""


@attrs.frozen(slots=True, kw_only=True)
class TwinShape:
    """How the twin is made: seed of spread, depth and latencies; USDT; bps."""

    seed: int
    wallet: Decimal
    spread_bps: float
    depth_usdt: float
    quote_interval_ns: int | None
    open_klines: bool = True
    """Whether bars are also told while they are open; nine of ten frames of a fast run."""
    venues: tuple[VenueName, ...] = VENUE_NAMES
    limits_enforced: bool = False
    """Whether requests beyond the venues' rate limits are refused; the headers always count."""


@attrs.frozen(slots=True, kw_only=True)
class Market:
    """
    What will be played: tapes by venue, from *start_ns* to *end_ns* (exclusive), ns UTC.

    *raw*: a recorded raw feed instead of tapes, on Binance alone.
    """

    tapes: Mapping[VenueName, tuple[CandleTape, ...]]
    start_ns: int
    end_ns: int
    label: str
    generated: bool
    market_id: str
    lines: tuple[str, ...]
    raw: RawFeed | None = None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Return every symbol once, in the order of the tapes."""
        if self.raw is not None:
            return (self.raw.symbol,)
        seen = {tape.symbol: None for tapes in self.tapes.values() for tape in tapes}
        return tuple(seen)

    def symbols_of(self, venue: VenueName) -> tuple[str, ...]:
        """Return the symbols one venue plays."""
        if self.raw is not None:
            return (self.raw.symbol,) if venue == RAW_FEED_VENUE else ()
        return tuple(tape.symbol for tape in self.tapes.get(venue, ()))


def generated_market(
    seed: int,
    *,
    days: int,
    venues: Sequence[VenueName],
    from_ns: int | None = None,
    to_ns: int | None = None,
    begin_ns: int | None = None,
) -> Market:
    """
    Make up a market of several symbols, with history before its start at *begin_ns*.

    Raises:
        TapeError: *from_ns* or *to_ns* lie outside of it.
    """
    # Bars open on whole minutes, those of every timeframe on whole days.
    start_ns = GENERATED_START_NS if begin_ns is None else begin_ns // _DAY_NS * _DAY_NS
    tapes = default_generated(seed, start_ns=start_ns, play_days=float(days))
    market = _market(tapes, seed=seed, from_ns=None, venues=venues)
    if from_ns is None:
        from_ns = begin_ns
    start_ns = market.start_ns if from_ns is None else from_ns
    end_ns = market.end_ns if to_ns is None else to_ns
    if not market.start_ns <= start_ns < end_ns <= market.end_ns:
        raise TapeError(
            market.label,
            None,
            f"{format_ns(start_ns)} to {format_ns(end_ns)} was asked for, "
            f"it lasts from {format_ns(market.start_ns)} to {format_ns(market.end_ns)}",
            "choose --from and --to within it, or raise paper_days",
        )
    return attrs.evolve(market, start_ns=start_ns, end_ns=end_ns)


def recorded_market(
    specs: Sequence[str],
    *,
    from_ns: int | None,
    to_ns: int | None,
    seed: int,
    venues: Sequence[VenueName],
    speed: float | None = None,
) -> Market:
    """
    Read tapes into a market; play begins where every tape has begun and ends where the first ends.

    A raw feed is played alone; *speed* (market seconds per second, None: virtual time) decides how
    long before its first message play begins.

    Raises:
        TapeError: names file, row and fix.
    """
    tapes: list[CandleTape] = []
    for spec in specs:
        tape = read_tape(spec, from_ns=from_ns, to_ns=to_ns, history_ns=HISTORY_NS)
        if isinstance(tape, RawFeedTape):
            if len(specs) == 1:
                return _raw_market(tape, seed=seed, venues=venues, lead_ns=lead_for(speed))
            raise TapeError(
                tape.path,
                None,
                "a raw feed cannot be mixed with candle tapes",
                "play it alone: --tape FILE",
            )
        tapes.append(tape)
    return _market(tuple(tapes), seed=seed, from_ns=from_ns, venues=venues)


def _market(
    tapes: tuple[CandleTape, ...], *, seed: int, from_ns: int | None, venues: Sequence[VenueName]
) -> Market:
    by_venue: dict[VenueName, tuple[CandleTape, ...]] = {}
    for venue in venues:
        mine = tuple(tape for tape in tapes if tape.venue in {None, venue})
        doubled = _first_double([tape.symbol for tape in mine])
        if doubled:
            raise TapeError(
                doubled, None, f"two tapes play {doubled} on {venue}", "name each symbol once"
            )
        if mine:
            by_venue[venue] = mine
    if not by_venue:
        raise TapeError("tapes", None, f"no tape is for {', '.join(venues)}", "add one or a venue")
    start_ns = max(tape.play_from_ns for tape in tapes)
    if from_ns is not None:
        start_ns = max(start_ns, from_ns)
    end_ns = min(tape.end_ns for tape in tapes)
    if end_ns <= start_ns:
        raise TapeError(
            "tapes",
            None,
            f"they share no time: the last begins {format_ns(start_ns)}, "
            f"the first ends {format_ns(end_ns)}",
            "name tapes of the same period",
        )
    lines = [line for tape in tapes for line in tape.report.lines()]
    generated = any(tape.generated for tape in tapes)
    label = "; ".join(dict.fromkeys(tape.label for tape in tapes))
    return Market(
        tapes=by_venue,
        start_ns=start_ns,
        end_ns=end_ns,
        label=label,
        generated=generated,
        market_id=tape_id(tapes, seed, ",".join(by_venue)),
        lines=tuple(lines),
    )


def _raw_market(
    tape: RawFeedTape, *, seed: int, venues: Sequence[VenueName], lead_ns: int
) -> Market:
    if RAW_FEED_VENUE not in venues:
        raise TapeError(
            tape.path,
            None,
            f"a raw feed is a Binance recording, venues were {', '.join(venues)}",
            "add binance to venues, or name a tape of candles",
        )
    raw = load_raw_feed(tape, lead_ns=lead_ns)
    left_out = [
        f"{venue} is left out: {tape.path.name} is a Binance recording"
        for venue in venues
        if venue != RAW_FEED_VENUE
    ]
    return Market(
        tapes={},
        start_ns=raw.start_ns,
        end_ns=raw.end_ns,
        label=tape.label,
        generated=False,
        market_id=tape_id((raw,), seed, RAW_FEED_VENUE),
        lines=(*raw.lines, *left_out),
        raw=raw,
    )


def _first_double(names: Sequence[str]) -> str:
    return next((name for name in names if names.count(name) > 1), "")


Face = BinanceFace | BybitFace


@attrs.define(slots=True, kw_only=True)
class Twin:
    """A twin ready to be driven: by a server and a runner, or in process."""

    market: Market
    world: TwinWorld
    engines: dict[VenueName, TwinEngine]
    faces: dict[VenueName, Face]
    meters: dict[VenueName, ProtectionMeter]

    def recorded_lines(self) -> list[str]:
        """Say what became of a recording's frames, one sentence a symbol and kind."""
        return [
            f"{name} {symbol}: {line}"
            for name, face in self.faces.items()
            if isinstance(face, BinanceFace)
            for symbol, recorded in face.recorded.items()
            for line in recorded.lines()
        ]

    def export_state(self) -> dict[str, Any]:
        """Return the accounts as JSON-able data."""
        return {
            "market": self.market.market_id,
            "now_ns": self.world.now_ns,
            "engines": {name: engine.export_state() for name, engine in self.engines.items()},
        }

    def restore_state(self, saved: Mapping[str, Any]) -> None:
        """Take over accounts saved by `export_state` for the same market."""
        for name, engine in self.engines.items():
            if name in saved["engines"]:
                engine.restore_state(saved["engines"][name])
        for face in self.faces.values():
            if isinstance(face, BybitFace):
                face.take_over()


def build_twin(
    market: Market,
    shape: TwinShape,
    *,
    start_ns: int,
    wall_ms: Callable[[], int],
    api_key: str,
    api_secret: str,
) -> Twin:
    """Build engines, faces and meters of *market*, standing at *start_ns*."""
    engines: dict[VenueName, TwinEngine] = {}
    faces: dict[VenueName, Face] = {}
    meters: dict[VenueName, ProtectionMeter] = {}
    for venue, tapes in market.tapes.items():
        engine = _engine(venue, tapes, shape, start_ns)
        meters[venue] = _meter(engine)
        face_type = BinanceFace if venue == "binance" else BybitFace
        engines[venue] = engine
        faces[venue] = face_type(
            _as_engine(engine),
            api_key=api_key,
            api_secret=api_secret,
            wall_ms=wall_ms,
            limits_enforced=shape.limits_enforced,
        )
    if market.raw is not None:
        engine = _raw_engine(market.raw, shape, start_ns)
        meters[RAW_FEED_VENUE] = _meter(engine)
        engines[RAW_FEED_VENUE] = engine
        face = BinanceFace(
            _as_engine(engine),
            api_key=api_key,
            api_secret=api_secret,
            wall_ms=wall_ms,
            recorded={market.raw.symbol: RecordedFrames(market.raw, start_ns)},
            limits_enforced=shape.limits_enforced,
        )
        faces[RAW_FEED_VENUE] = face
    # Its recorded frames and its countdowns are due at times the engines do not know.
    players = [face for face in faces.values() if isinstance(face, BinanceFace)]
    return Twin(
        market=market,
        world=TwinWorld(engines, players=players),
        engines=engines,
        faces=faces,
        meters=meters,
    )


def _meter(engine: TwinEngine) -> ProtectionMeter:
    meter = ProtectionMeter()
    engine.add_listener(meter)
    return meter


def _as_engine(engine: TwinEngine) -> Engine:
    # The assignment lets the type checker compare the engine with the port.
    return engine


def _engine(
    venue: VenueName, tapes: Sequence[CandleTape], shape: TwinShape, start_ns: int
) -> TwinEngine:
    prices = {tape.symbol: float(tape.close[0]) for tape in tapes}
    instruments = twin_instruments(venue, [tape.symbol for tape in tapes], prices)
    books = {
        symbol: BookShape(
            seed=shape.seed,
            tick_size=float(instrument.tick_size),
            qty_step=float(instrument.qty_step),
            spread_bps=shape.spread_bps,
            level_notional=shape.depth_usdt,
            bucket_ns=BOOK_BUCKET_NS,
        )
        for symbol, instrument in instruments.items()
    }
    assert all(math.isfinite(price) for price in prices.values()), prices
    return TwinEngine(
        rules=RULES[venue],
        instruments=instruments,
        paths={tape.symbol: PricePath(tape) for tape in tapes},
        start_ns=start_ns,
        seed=shape.seed,
        funding={tape.symbol: tape.funding for tape in tapes if tape.funding is not None},
        books=books,
        options=EngineOptions(
            wallet=shape.wallet,
            quote_interval_ns=shape.quote_interval_ns,
            open_kline_updates=shape.open_klines,
        ),
    )


def _raw_engine(raw: RawFeed, shape: TwinShape, start_ns: int) -> TwinEngine:
    symbol = raw.symbol
    price = raw.path.price_at(raw.start_ns)
    instruments = twin_instruments(RAW_FEED_VENUE, [symbol], {symbol: price})
    book = RecordedBook(
        seed=shape.seed,
        tick_size=float(instruments[symbol].tick_size),
        qty_step=float(instruments[symbol].qty_step),
        level_notional=shape.depth_usdt,
        quotes=raw.quotes,
    )
    return TwinEngine(
        rules=RULES[RAW_FEED_VENUE],
        instruments=instruments,
        paths={symbol: raw.path},
        start_ns=start_ns,
        seed=shape.seed,
        books={symbol: book},
        options=EngineOptions(wallet=shape.wallet, quote_interval_ns=shape.quote_interval_ns),
    )
