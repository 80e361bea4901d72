"""
The bot: every actor on one bus. How each venue is brought up is in venue_start.py.

Order of a start, the same after a crash (R88): connect, snapshot, reconcile, protect, history,
streams, trade. Entries of a venue begin when exit says everything found there is protected.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import attrs

from aegis.app.venue_start import Gate, StartParts, VenueStart
from aegis.brain.actor import BrainActor
from aegis.core.bus import ContractReport, EventBus
from aegis.core.clock import NS_PER_S, Clock, loop_delay_s
from aegis.core.errors import VenueRefused
from aegis.core.event import Event, event_types
from aegis.core.ids import IdSource
from aegis.core.latch import HaltLatch, HaltView
from aegis.core.log import room_logger
from aegis.core.offload import Offload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import HttpExchange, StreamConnector
from aegis.data.actor import DataActor
from aegis.exit.actor import ExitActor
from aegis.journal.store import JournalStore
from aegis.journal.writer import JournalActor
from aegis.model import events as model_events
from aegis.model.events import (
    EntriesHalted,
)
from aegis.model.instrument import Instrument, Venue
from aegis.model.market import MINUTE_NS
from aegis.model.order_id import PositionIds
from aegis.model.ports import VenueGateway
from aegis.model.restored import OpenBook
from aegis.safety.actor import SafetyActor
from aegis.settings import AegisConfig
from aegis.trade.actor import TradeActor
from aegis.venue.around import VenueAround
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.bybit.gateway import BybitGateway

EXIT_FAULT: Final = 1
EXIT_NO_VENUE: Final = 3
BAR_NS: Final = 5 * MINUTE_NS
HISTORY_BARS_EXTRA: Final = 280
"""Bars beyond the strategy's warm-up: the recursive means agree better with a long run (R18)."""

log = room_logger("app")


@attrs.frozen(slots=True, kw_only=True)
class VenuePorts:
    """How one venue is reached. *http* is the twin in this process, None for real connections."""

    venue: Venue
    base_url: str
    ws_url: str
    api_key: str
    api_secret: str
    http: HttpExchange | None
    connector: StreamConnector
    symbols: tuple[str, ...]
    order_ws_url: str = ""
    """The whole address of the order socket; "": orders go by REST alone."""


@attrs.frozen(slots=True, kw_only=True)
class Surroundings:
    """What the bot stands on: clock, loop, threads or none, chance, journal."""

    clock: Clock
    loop: asyncio.AbstractEventLoop
    offload: Offload
    rng: random.Random
    store: JournalStore
    installation: str
    run: int
    run_id: str


def make_gateway(
    ports: VenuePorts,
    config: AegisConfig,
    *,
    clock: Clock,
    offload: Offload,
    supervisor: Supervisor,
    rng: random.Random,
    publish: Callable[[Event], None],
    halt: HaltView | None = None,
) -> VenueGateway:
    """
    Return the adapter of one venue; nothing is opened before it is asked something.

    *halt* is read before an entry is sent again; None where nothing enters.
    """
    around = VenueAround(
        base_url=ports.base_url,
        ws_url=ports.ws_url,
        api_key=ports.api_key,
        api_secret=ports.api_secret,
        http=ports.http,
        connector=ports.connector,
        offload=offload,
        publish=publish,
        clock=clock,
        supervisor=supervisor,
        rng=rng,
        timeframes_ns=config.timeframes_ns,
        recv_window_ms=config.recv_window_ms,
        request_timeout_s=config.request_timeout_s,
        order_timeout_s=config.order_timeout_s,
        order_ws_url=ports.order_ws_url if config.order_entry == "ws" else "",
        depth_streams=config.depth_streams,
        leverage_fresh_s=config.leverage_fresh_s,
        protective_weight_pct=config.protective_weight_pct,
        halt=halt or HaltLatch().view(),
    )
    return BinanceGateway(around) if ports.venue is Venue.BINANCE else BybitGateway(around)


class Bot:
    """All actors of one process, wired; nothing runs before `start`."""

    def __init__(
        self,
        config: AegisConfig,
        around: Surroundings,
        venues: Sequence[VenuePorts],
        *,
        on_fatal: Callable[[str, int], None],
    ) -> None:
        """*on_fatal* ends the run with a reason and an exit code."""
        self._on_fatal = on_fatal
        self.config: Final = config
        self.around: Final = around
        clock = around.clock
        self.bus: Final = EventBus(clock)
        self.latch: Final = HaltLatch()
        self.supervisor: Final = Supervisor(clock, self._on_task_failed, rng=around.rng)
        self._ports = {ports.venue: ports for ports in venues}
        self.gateways: Final[dict[Venue, VenueGateway]] = {
            ports.venue: self._gateway(ports) for ports in venues
        }
        self.connected: Final[dict[Venue, tuple[Instrument, ...]]] = {}
        self.refused: Final[dict[Venue, str]] = {}
        self.gates: Final[dict[Venue, Gate]] = {}
        """What must hold before a venue is traded, where that could not be asked before."""
        self._left = OpenBook()
        intents = IdSource("int")
        self.journal: Final = JournalActor(
            self.bus,
            clock,
            around.store,
            around.offload,
            self.supervisor,
            run=around.run,
            run_id=around.run_id,
            queue_max=config.journal_queue_max,
            on_cap=self._halt,
        )
        self.data: Final = DataActor(self.bus, clock, config, around.loop, self.supervisor)
        self.brain: Final = BrainActor(self.bus, clock, config, IdSource("sig"))
        self.safety: Final = SafetyActor(self.bus, clock, config, self.latch, bar_ns=BAR_NS)
        self.trade: Final = TradeActor(
            self.bus,
            clock,
            config,
            gateways=self.gateways,
            halt=self.latch.view(),
            supervisor=self.supervisor,
            positions=PositionIds(around.installation, around.run),
            intents=intents,
        )
        self.exit: Final = ExitActor(self.bus, clock, config, intents=intents)

    def _gateway(self, ports: VenuePorts) -> VenueGateway:
        around = self.around
        return make_gateway(
            ports,
            self.config,
            clock=around.clock,
            offload=around.offload,
            supervisor=self.supervisor,
            rng=around.rng,
            publish=self.bus.publish,
            halt=self.latch.view(),
        )

    # --- start -----------------------------------------------------------------------------------

    def leave(self, left: OpenBook) -> None:
        """Take what earlier runs left open, before `start`."""
        self._left = left
        self.trade.leave(left, self.around.installation)
        self.exit.leave(left)

    def start(self) -> None:
        """Start every shell and begin to bring the venues up."""
        self.journal.start()
        self.trade.start()
        for venue in self.gateways:
            name = f"start {venue.value.lower()}"
            _ = self.supervisor.start(name, partial(self._bring_up, venue))
        self._arm_day_timer()

    async def _bring_up(self, venue: Venue) -> None:
        around = self.around
        parts = StartParts(
            clock=around.clock,
            rng=around.rng,
            publish=self.bus.publish,
            data=self.data,
            trade=self.trade,
            exit=self.exit,
            history_bars=self._history_bars(),
        )
        symbols = self._ports[venue].symbols
        start = VenueStart(
            self.gateways[venue],
            symbols,
            self._left,
            parts,
            self._on_connected,
            self.gates.get(venue),
        )
        try:
            await start.run()
        except VenueRefused as error:
            # The same request would fail again: a person must mend it.
            self.refused[venue] = str(error)
            if len(self.refused) == len(self.gateways):
                self._on_fatal("no venue could be brought up", EXIT_NO_VENUE)

    def _on_connected(self, venue: Venue, instruments: tuple[Instrument, ...]) -> None:
        self.connected[venue] = instruments

    def _history_bars(self) -> Mapping[int, int]:
        bars = self.config.warmup_bars + HISTORY_BARS_EXTRA
        return dict.fromkeys(self.config.timeframes_ns, bars)

    def _arm_day_timer(self) -> None:
        delay_s = loop_delay_s(self.around.clock, 60 * NS_PER_S)

        def look() -> None:
            self.safety.on_day_timer()
            if not self.supervisor.stopping:
                self._arm_day_timer()

        self.around.loop.call_later(delay_s, look)

    # --- faults ----------------------------------------------------------------------------------

    def _halt(self, reason: str) -> None:
        now = self.around.clock.now_ns()
        self.latch.set(reason, at_ns=now)
        self.bus.publish(EntriesHalted(ts_event=now, ts_recv=now, scope="all", reason=reason))

    def _on_task_failed(self, failed: TaskFailed) -> None:
        self.bus.publish(
            model_events.TaskFailed(
                ts_event=failed.at_ns,
                ts_recv=failed.at_ns,
                task=failed.name,
                error_type=failed.error_type,
                error=failed.error,
                traceback=failed.traceback,
                restarts=failed.restarts,
                fatal=failed.retry_in_s is None,
            )
        )
        if failed.retry_in_s is None and not self.supervisor.stopping:
            self._on_fatal(f"task {failed.name} failed: {failed.error}", EXIT_FAULT)

    # --- the contract ----------------------------------------------------------------------------

    def check_contract(self) -> ContractReport:
        """Return events nobody consumes and subscriptions nobody feeds (R8)."""
        return self.bus.contract_report(produced_events())

    # --- end -------------------------------------------------------------------------------------

    async def settle(self, patience_s: float) -> bool:
        """Wait until nothing is under way at the executors; return whether that was reached."""
        until = self.around.loop.time() + patience_s
        while any(any(e.depths) for e in self.trade.executors.values()):
            if self.around.loop.time() >= until:
                return False
            await asyncio.sleep(0.02)
        return True

    async def close(self) -> None:
        """Close the venues' streams and clients; resting orders stay there."""
        self.data.stop()
        for gateway in self.gateways.values():
            await gateway.close()


def produced_events() -> list[type[Event]]:
    """Return every event type the bot can produce: all that are declared."""
    return event_types("aegis")
