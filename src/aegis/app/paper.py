"""
Paper mode: a twin in this process, over loopback sockets in real time, without any in virtual time.

Also the way to a twin that runs as its own process, whose clock the bot takes over.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from aegis.app.bot import VenuePorts
from aegis.app.endpoints import ORDER_PATHS
from aegis.app.plan import PAPER_API_KEY, PAPER_API_SECRET, RunPlan
from aegis.core.clock import NS_PER_MS, NS_PER_S, Clock, format_ns
from aegis.core.errors import ConfigError, Problem
from aegis.core.offload import InlineOffload, Offload, ThreadOffload
from aegis.core.supervise import Supervisor
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.twin.boot import (
    VENUE_NAMES,
    Market,
    Twin,
    TwinShape,
    VenueName,
    build_twin,
    generated_market,
    recorded_market,
)
from aegis.twin.face_api import Face, StreamSession
from aegis.twin.inproc import InprocTransport
from aegis.twin.report import REPORT_PATH, report_of
from aegis.twin.runner import TwinRunner
from aegis.twin.server import TwinServer
from aegis.venue.sdk_clock import set_sdk_clocks
from aegis.venue.websocket_client import SocketConnector, connector_class

CONTROL_PATH: Final = "/twin/status"
REAL_TIME_BATCH_S: Final = 0.02
QUOTE_EVERY_S: Final = 0.5
QUOTE_EVERY_VIRTUAL_S: Final = 20.0
"""Quotes are repeated at this pace (loop seconds), so that a coarse tape does not look silent."""


def venue_names(config: AegisConfig) -> tuple[VenueName, ...]:
    """Return the configured venues as the twin names them, always in the same order."""
    chosen: list[VenueName] = []
    if "binance" in config.venues:
        chosen.append("binance")
    if "bybit" in config.venues:
        chosen.append("bybit")
    return tuple(chosen)


def open_market(config: AegisConfig, plan: RunPlan, *, begin_ns: int | None = None) -> Market:
    """
    Return the market to play: the named tapes, or a generated one that begins at *begin_ns*.

    Raises:
        TapeError: a tape cannot be played.
    """
    venues = venue_names(config)
    if plan.tapes:
        return recorded_market(
            plan.tapes,
            from_ns=plan.from_ns,
            to_ns=plan.to_ns,
            seed=config.paper_seed,
            venues=venues,
            speed=plan.speed,
        )
    return generated_market(
        config.paper_seed,
        days=config.paper_days,
        venues=venues,
        from_ns=plan.from_ns,
        to_ns=plan.to_ns,
        begin_ns=begin_ns,
    )


def shape_of(config: AegisConfig, speed: float | None) -> TwinShape:
    """Return how the twin is made for these settings."""
    every_s = QUOTE_EVERY_VIRTUAL_S if speed is None else QUOTE_EVERY_S * speed
    return TwinShape(
        seed=config.paper_seed,
        wallet=config.paper_balance,
        spread_bps=config.paper_spread_bps,
        depth_usdt=config.paper_depth_usdt,
        quote_interval_ns=max(1, round(every_s * NS_PER_S)),
        open_klines=speed is not None,
        venues=venue_names(config),
    )


def chosen_symbols(
    config: AegisConfig, here: Sequence[str], anywhere: Sequence[str]
) -> tuple[str, ...]:
    """
    Return which of the symbols a venue plays are traded: those of the settings, or all.

    Raises:
        ConfigError: the settings name one that is played nowhere.
    """
    strangers = [symbol for symbol in config.symbols if symbol not in anywhere]
    if strangers:
        raise ConfigError(
            [
                Problem(
                    name="symbols",
                    value=symbol,
                    allowed=f"what this market plays: {', '.join(anywhere)}",
                    fix="remove it, or play a tape of it",
                )
                for symbol in strangers
            ]
        )
    return tuple(symbol for symbol in here if not config.symbols or symbol in config.symbols)


def _played(twin: Twin) -> tuple[str, ...]:
    names = [symbol for engine in twin.engines.values() for symbol in engine.instruments]
    return tuple(dict.fromkeys(names))


class StatusFace:
    """A face that also tells the twin's clock and books, to others that run as a process."""

    def __init__(
        self,
        face: Face,
        status: Callable[[], dict[str, Any]],
        report: Callable[[], dict[str, Any]],
    ) -> None:
        self._face = face
        self._told = {CONTROL_PATH: status, REPORT_PATH: report}
        self.name = face.name

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer a path of the twin's own, or have the face answer."""
        told = self._told.get(request.path)
        if told is not None:
            headers = {"content-type": "application/json"}
            return HttpResponse(status=200, body=orjson.dumps(told()), headers=headers)
        return self._face.http(request)

    def open_stream(
        self, target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
    ) -> StreamSession | None:
        """Open a stream of the face."""
        return self._face.open_stream(target, send=send, close=close)


@attrs.define(slots=True, kw_only=True)
class PaperWorld:
    """A running twin and how the bot reaches it."""

    twin: Twin
    runner: TwinRunner
    offload: Offload
    ports: tuple[VenuePorts, ...]
    servers: dict[VenueName, TwinServer]
    freeze: Callable[[], None]
    """Stop the twin's time; requests still act at the moment it stands at."""

    async def close(self) -> None:
        """Stop the servers and the worker threads."""
        for server in self.servers.values():
            await server.stop()
        if isinstance(self.offload, ThreadOffload):
            self.offload.close(wait=False)


@attrs.frozen(slots=True, kw_only=True)
class _Reach:
    """The ways to the faces of a twin: called in this process, or served on loopback."""

    twin: Twin
    config: AegisConfig
    before_request: Callable[[], None]
    after_request: Callable[[], None]

    def in_process(
        self, name: VenueName, loop: asyncio.AbstractEventLoop, rng: random.Random
    ) -> VenuePorts:
        """Return how to call a face without a socket, delayed as the settings say."""
        inproc = InprocTransport(
            self.twin.faces[name],
            loop,
            stream_delay_s=self.config.paper_latency_ms / 1000,
            rng=rng,
            before_request=self.before_request,
            after_request=self.after_request,
        )
        venue = Venue(name.upper())
        symbols = self._symbols(name)
        return _paper_ports(venue, "http://twin", "ws://twin", symbols, inproc, inproc)

    def server(
        self, name: VenueName, clock: Clock, *, tcp_port: int, stream_delay_s: float
    ) -> TwinServer:
        """Return a face's server; it is not started."""
        return TwinServer(
            StatusFace(
                self.twin.faces[name],
                lambda: status_of(self.twin, clock),
                lambda: report_of(self.twin),
            ),
            port=tcp_port,
            stream_delay_s=stream_delay_s,
            before_request=self.before_request,
            after_request=self.after_request,
        )

    def by_socket(self, name: VenueName, server: TwinServer, supervisor: Supervisor) -> VenuePorts:
        """Return how to reach a face at its *server*, which is up."""
        connector = connector_class(self.config.websocket_client)(supervisor=supervisor)
        venue = Venue(name.upper())
        return _paper_ports(venue, server.url, server.ws_url, self._symbols(name), None, connector)

    def _symbols(self, name: VenueName) -> tuple[str, ...]:
        here = tuple(self.twin.engines[name].instruments)
        return chosen_symbols(self.config, here, _played(self.twin))


async def start_world(
    twin: Twin,
    config: AegisConfig,
    clock: Clock,
    *,
    virtual: bool,
    supervisor: Supervisor,
    rng: random.Random,
    tcp_ports: tuple[int, int] = (0, 0),
    bybit_stream_delay_s: float = 0.0,
) -> PaperWorld:
    """
    Set the twin going on *clock* and return how to reach it.

    *bybit_stream_delay_s*: how long a frame of Bybit's face waits at least, for clients of others.
    """
    loop = asyncio.get_running_loop()
    batch_s = 0.0 if virtual else REAL_TIME_BATCH_S
    runner = TwinRunner(
        twin.world, now_ns=clock.now_ns, speed=clock.speed, loop=loop, batch_s=batch_s
    )

    frozen = asyncio.Event()

    def catch_up() -> None:
        if not frozen.is_set():
            twin.world.advance(clock.now_ns())

    reach = _Reach(twin=twin, config=config, before_request=catch_up, after_request=runner.poke)
    servers: dict[VenueName, TwinServer] = {}
    ports: list[VenuePorts] = []
    for name in twin.faces:
        if virtual:
            ports.append(reach.in_process(name, loop, rng))
            continue
        servers[name] = server = reach.server(
            name,
            clock,
            tcp_port=tcp_ports[VENUE_NAMES.index(name)],
            stream_delay_s=bybit_stream_delay_s if name == "bybit" else 0.0,
        )
        await server.start()
        ports.append(reach.by_socket(name, server, supervisor))
    latency_s = config.paper_latency_ms / 1000
    set_sdk_clocks(clock.wall_ns)
    driving = supervisor.start("twin", runner.run)

    def freeze() -> None:
        frozen.set()
        driving.cancel()

    return PaperWorld(
        twin=twin,
        runner=runner,
        offload=InlineOffload(latency_s, latency_s) if virtual else ThreadOffload(),
        ports=tuple(ports),
        servers=servers,
        freeze=freeze,
    )


def _paper_ports(
    venue: Venue,
    base_url: str,
    ws_url: str,
    symbols: tuple[str, ...],
    http: InprocTransport | None,
    connector: InprocTransport | SocketConnector,
) -> VenuePorts:
    return VenuePorts(
        venue=venue,
        base_url=base_url,
        ws_url=ws_url,
        api_key=PAPER_API_KEY,
        api_secret=PAPER_API_SECRET,
        http=http,
        connector=connector,
        symbols=symbols,
        order_ws_url=ws_url + ORDER_PATHS[venue],
    )


def new_twin(
    market: Market, config: AegisConfig, clock: Clock, speed: float | None, start_ns: int
) -> Twin:
    """Return a twin of *market* that stands at *start_ns*."""
    return build_twin(
        market,
        shape_of(config, speed),
        start_ns=start_ns,
        wall_ms=lambda: clock.wall_ns() // NS_PER_MS,
        api_key=PAPER_API_KEY,
        api_secret=PAPER_API_SECRET,
    )


def status_of(twin: Twin, clock: Clock) -> dict[str, Any]:
    """Return what another process needs to trade here: clock, speed, symbols, label."""
    return {
        "now_ns": clock.now_ns(),
        "speed": clock.speed,
        "end_ns": twin.market.end_ns,
        "ends": format_ns(twin.market.end_ns),
        "label": twin.market.label,
        "symbols": {name: list(engine.instruments) for name, engine in twin.engines.items()},
    }


@attrs.frozen(slots=True, kw_only=True)
class RemoteTwin:
    """What a twin in another process says of itself."""

    now_ns: int
    speed: float
    end_ns: int
    label: str
    symbols: dict[str, list[str]]


async def ask_remote_twin(name: str, url: str) -> RemoteTwin:
    """
    Return the status of the twin at *url*, the value of flag *name*.

    Raises:
        ConfigError: when no twin answers there.
    """
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=5)) as session,
            session.get(url.rstrip("/") + CONTROL_PATH) as response,
        ):
            response.raise_for_status()
            told = orjson.loads(await response.read())
            return RemoteTwin(
                now_ns=int(told["now_ns"]),
                speed=float(told["speed"]),
                end_ns=int(told["end_ns"]),
                label=str(told["label"]),
                symbols=dict(told["symbols"]),
            )
    except (ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
        raise ConfigError(
            [
                Problem(
                    name=name,
                    value=url,
                    allowed="the URL of a running twin",
                    fix=f"start one with python -m aegis twin ({type(error).__name__}: {error})",
                )
            ]
        ) from None


def remote_ports(
    url: str,
    venue: Venue,
    symbols: tuple[str, ...],
    supervisor: Supervisor,
    client: str = "picows",
) -> VenuePorts:
    """Return how to reach one face of a twin in another process."""
    ws = url.replace("http", "ws", 1)
    return _paper_ports(
        venue,
        url.rstrip("/"),
        ws.rstrip("/"),
        symbols,
        None,
        connector_class(client)(supervisor=supervisor),
    )
