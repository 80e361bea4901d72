"""
Dry run: live public prices, orders to a twin in this process; no keys, nothing signed leaves.

The bot and its adapters are those of paper mode and know the twin alone. What goes out is
`PublicRest` and the public streams of `LiveFeed`, which have no key to sign with.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import attrs

from aegis.app.bot import EXIT_FAULT, EXIT_NO_VENUE
from aegis.app.live_feed import FeedParts, LiveFeed
from aegis.app.live_source import BinanceSource, BybitSource, LiveSource, patient, twin_rules
from aegis.app.modes import Mode, VenueTarget, label_of, traded_symbols
from aegis.app.paper import PaperWorld, start_world
from aegis.app.plan import PAPER_API_KEY, PAPER_API_SECRET
from aegis.app.public_rest import PublicRest
from aegis.app.run import set_up_logging
from aegis.app.session import Ending, RunInputs, Session
from aegis.core.clock import NS_PER_MS, Clock, LiveClock
from aegis.core.errors import VenueError, VenueRefused
from aegis.core.log import room_logger
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.twin.binance.face import BinanceFace
from aegis.twin.boot import RULES, Face, Market, Twin, VenueName
from aegis.twin.bybit.face import BybitFace
from aegis.twin.engine.api import TwinInstrument
from aegis.twin.engine.engine import EngineOptions, TwinEngine
from aegis.twin.live_market import LiveBook, LiveMarket, LivePath, LivePrices
from aegis.twin.meter import ProtectionMeter
from aegis.twin.tape.path import FOREVER_NS
from aegis.twin.world import TwinWorld
from aegis.venue.websocket_client import connector_class

NAMES: Final[Mapping[Venue, VenueName]] = {Venue.BINANCE: "binance", Venue.BYBIT: "bybit"}
MARKET_END_NS: Final = FOREVER_NS // 2
"""A live market has no end; the twin wants one."""

log = room_logger("app")


@attrs.define(slots=True, kw_only=True)
class LiveVenue:
    """One venue as the dry run found it: its public side, the rules, and the first prices."""

    target: VenueTarget
    rest: PublicRest
    source: LiveSource
    instruments: dict[str, TwinInstrument]
    paths: dict[str, LivePath]


async def run_dry(inputs: RunInputs, reached: Sequence[VenueTarget]) -> int:
    """Trade on a twin that plays the live prices of *reached*; return the exit code."""
    clock = LiveClock()
    set_up_logging(inputs, clock)
    found = [await open_venue(target, inputs.resolved.config, clock) for target in reached]
    venues = [venue for venue in found if venue is not None]
    if not venues:
        log.critical("no venue told its public prices: nothing to run on")
        return EXIT_NO_VENUE
    ending = Ending(asyncio.Event())
    rng = random.Random(inputs.seed)  # noqa: S311 - jitter, not secrets
    tasks = Supervisor(clock, partial(_failed, ending), rng=rng)
    label = label_of(Mode.DRY_RUN, [venue.target for venue in venues])
    twin = live_twin(venues, inputs.resolved.config, clock, label)
    # The venue was asked for the symbols already; the twin plays those it listed.
    played = attrs.evolve(inputs.resolved.config, symbols=())
    world = await start_world(twin, played, clock, virtual=False, supervisor=tasks, rng=rng)
    feeds = [make_feed(venue, inputs.resolved.config, world, clock, tasks, rng) for venue in venues]
    try:
        for feed in feeds:
            await feed.begin()

        def freeze() -> None:
            for feed in feeds:
                feed.hold()
            world.freeze()

        session = Session(
            inputs,
            clock,
            ending,
            label,
            False,
            twin,
            freeze=freeze,
            same_account=False,
        )
        code = await session.run(world.ports, world.offload, rng)
        log.info("the dry run's account ends here, with every position; nothing is on a venue")
        return code
    finally:
        for feed in feeds:
            await feed.stop()
        await tasks.stop()
        await world.close()
        for venue in venues:
            await venue.rest.close()


def live_twin(venues: Sequence[LiveVenue], config: AegisConfig, clock: Clock, label: str) -> Twin:
    """Return a twin whose accounts are new and whose markets wait for their live prices."""
    start_ns = clock.now_ns()
    engines: dict[VenueName, TwinEngine] = {}
    faces: dict[VenueName, Face] = {}
    meters: dict[VenueName, ProtectionMeter] = {}
    for venue in venues:
        name = NAMES[venue.target.venue]
        engine = _engine(name, venue, config, start_ns)
        meters[name] = ProtectionMeter()
        engine.add_listener(meters[name])
        engines[name] = engine
        face_type = BinanceFace if name == "binance" else BybitFace
        faces[name] = face_type(
            engine,
            api_key=PAPER_API_KEY,
            api_secret=PAPER_API_SECRET,
            wall_ms=lambda: clock.wall_ns() // NS_PER_MS,
        )
    market = Market(
        tapes={},
        start_ns=start_ns,
        end_ns=MARKET_END_NS,
        label=label,
        generated=False,
        market_id="live",
        lines=(),
    )
    # Its countdowns are due at times the engines do not know.
    players = [face for face in faces.values() if isinstance(face, BinanceFace)]
    return Twin(
        market=market,
        world=TwinWorld(engines, players=players),
        engines=engines,
        faces=faces,
        meters=meters,
    )


def _engine(name: VenueName, venue: LiveVenue, config: AegisConfig, start_ns: int) -> TwinEngine:
    books = {
        symbol: LiveBook(
            seed=config.paper_seed,
            tick_size=float(venue.instruments[symbol].tick_size),
            qty_step=float(venue.instruments[symbol].qty_step),
            level_notional=config.paper_depth_usdt,
            path=path,
        )
        for symbol, path in venue.paths.items()
    }
    return TwinEngine(
        rules=RULES[name],
        instruments=venue.instruments,
        paths=venue.paths,
        start_ns=start_ns,
        seed=config.paper_seed,
        books=books,
        # A quote that is repeated by itself would make a dead feed look alive.
        options=EngineOptions(wallet=config.paper_balance, quote_interval_ns=None),
    )


async def open_venue(target: VenueTarget, config: AegisConfig, clock: Clock) -> LiveVenue | None:
    """Ask *target* for rules and prices; None, with one line, when that failed."""
    venue = target.venue.value
    rest = PublicRest(target.venue, target.where.rest, timeout_s=config.request_timeout_s)
    source: LiveSource = BinanceSource(rest) if target.venue is Venue.BINANCE else BybitSource(rest)
    try:
        wanted = traded_symbols(config)
        rules = await patient(lambda: source.rules(wanted))
        instruments: dict[str, TwinInstrument] = {}
        first: dict[str, LivePrices] = {}
        for symbol in wanted:
            if symbol not in rules or not rules[symbol].tradable:
                why = "is not traded there now" if symbol in rules else "is not listed"
                log.warning(f"{venue} {symbol} {why}: left out; take it out of symbols")
                continue
            instruments[symbol] = twin_rules(NAMES[target.venue], rules[symbol])
            first[symbol] = await patient(partial(source.prices, symbol, clock.now_ns()))
        if not instruments:
            raise VenueRefused("SYMBOL", "none is left", venue=venue, operation="symbols")
    except VenueError as error:
        log.critical(f"{venue} NOT TRADED, it told no public prices: {error}")
        await rest.close()
        return None
    paths = {symbol: LivePath(prices) for symbol, prices in first.items()}
    return LiveVenue(target=target, rest=rest, source=source, instruments=instruments, paths=paths)


def make_feed(
    venue: LiveVenue,
    config: AegisConfig,
    world: PaperWorld,
    clock: Clock,
    tasks: Supervisor,
    rng: random.Random,
) -> LiveFeed:
    market = LiveMarket(
        world.twin.engines[NAMES[venue.target.venue]],
        venue.paths,
        now_ns=clock.now_ns,
        advance=world.twin.world.advance,
        poke=world.runner.poke,
    )
    parts = FeedParts(
        venue=venue.target.venue,
        ws_url=venue.target.where.streams,
        connector=connector_class(config.websocket_client)(supervisor=tasks),
        supervisor=tasks,
        clock=clock,
        rng=rng,
        timeframes_ns=config.timeframes_ns,
    )
    return LiveFeed(parts, market, venue.source)


def _failed(ending: Ending, failed: TaskFailed) -> None:
    log.error(f"{failed.name} failed: {failed.error}\n{failed.traceback}")
    if failed.retry_in_s is None:
        ending.end(f"the dry run failed: {failed.error}", EXIT_FAULT)
