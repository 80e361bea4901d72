"""
What every adapter keeps up beside its orders and streams: request gate, clock, left-out symbols.

Venue-neutral, so that both gateways only say what is theirs.
"""

from collections.abc import Callable, Sequence

from aegis.core.clock import Clock
from aegis.core.event import Event
from aegis.core.supervise import Supervisor
from aegis.model.events import SymbolLeftOut
from aegis.model.instrument import Instrument, Venue
from aegis.venue.calls import CallRunner, Classify
from aegis.venue.clock_watch import ClockedRest, ClockWatch
from aegis.venue.gate import RequestGate
from aegis.venue.symbols import LeftOut, Loaded
from aegis.venue.weights import WeightLedger


def gated_calls(
    *,
    venue: Venue,
    publish: Callable[[Event], None],
    clock: Clock,
    classify: Classify,
    secrets: Sequence[str],
    ledger: WeightLedger,
) -> CallRunner:
    """Return the runner of a venue's requests, with the gate over *ledger* before them."""
    return CallRunner(
        venue=venue,
        publish=publish,
        clock=clock,
        classify=classify,
        secrets=secrets,
        gate=RequestGate(venue=venue, ledger=ledger, clock=clock, publish=publish),
    )


class Upkeep:
    """The clock watch and the voice of one adapter; *calls* with the gate it waits at."""

    def __init__(
        self,
        rest: ClockedRest,
        calls: CallRunner,
        *,
        venue: Venue,
        clock: Clock,
        supervisor: Supervisor,
        publish: Callable[[Event], None],
        recv_window_ms: int,
    ) -> None:
        self._rest = rest
        self._gate = calls.gate
        self._venue = venue
        self._clock = clock
        self._publish = publish
        self._told: dict[LeftOut, None] = {}
        self._watch = ClockWatch(
            rest,
            venue=venue,
            gate=calls.gate,
            clock=clock,
            supervisor=supervisor,
            publish=publish,
            recv_window_ms=recv_window_ms,
        )

    async def check_clock(self) -> None:
        """
        Measure and apply the clock's offset.

        Raises:
            VenueRefused: beyond recvWindow, with the fix.
            VenueError: the venue could not be asked.

        """
        await self._watch.check_at_start()

    async def remeasure(self) -> None:
        """Measure and apply the clock's offset, whatever it is; VenueError when that failed."""
        await self._rest.sync_time()

    def start(self) -> None:
        """Measure the clock now and then from here on."""
        self._watch.start()

    def stop(self) -> None:
        """End all timers."""
        self._watch.stop()
        if self._gate is not None:
            self._gate.stop()

    def told(self, loaded: Loaded) -> tuple[Instrument, ...]:
        """Return the instruments, and tell once of each symbol that is left out."""
        now_ns = self._clock.now_ns()
        for each in loaded.left_out:
            if each in self._told:
                continue
            self._told[each] = None
            self._publish(
                SymbolLeftOut(
                    ts_event=now_ns,
                    ts_recv=now_ns,
                    venue=self._venue,
                    symbol=each.symbol,
                    status=each.status,
                    fix=each.fix,
                )
            )
        return loaded.instruments
