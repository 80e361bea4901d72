"""
What happens at the venues in a scenario of crashes: a market by hand, and deeds by the venues' own
clock, which goes on while no process of the bot lives.
"""

import heapq
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final

from aegis.core.clock import NS_PER_S
from aegis.model.order import OrderSide, OrderType
from aegis.sim.answers import by_hand
from aegis.sim.crash_scenarios import SYMBOL, Act, CrashScenario, Deed
from aegis.twin.binance.face import BinanceFace
from aegis.twin.boot import GENERATED_START_NS, VENUE_NAMES, Market, Twin
from aegis.twin.desk_faults import DeskFaults
from aegis.twin.engine.api import OrderSpec
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.tape.scripted import scripted_tape
from aegis.twin.world import TwinWorld

HISTORY_BARS: Final = 30
TAPE_BARS: Final = 60


def market_of(scenario: CrashScenario) -> Market:
    """Return the market of *scenario*: its prices, minute by minute, on its venues."""
    tape = scripted_tape(
        SYMBOL,
        scenario.prices,
        start_ns=GENERATED_START_NS,
        bars=TAPE_BARS,
        history_bars=HISTORY_BARS,
    )
    return Market(
        tapes={name: (tape,) for name in VENUE_NAMES if name in scenario.venues},
        start_ns=GENERATED_START_NS,
        end_ns=tape.end_ns,
        label=f"GENERATED for crashes: {scenario.name}",
        generated=True,
        market_id=f"crash-{scenario.key}",
        lines=(),
    )


class VenueHands:
    """Deeds by the clock of the venues; a `Player` of their world."""

    def __init__(self, twin: Twin) -> None:
        self._engines: Final = list(twin.engines.values())
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._now_ns = twin.world.now_ns
        faces = [face for face in twin.faces.values() if isinstance(face, BinanceFace)]
        twin.world = TwinWorld(twin.engines, players=[*faces, self])

    def plan(self, acts: tuple[Act, ...], start_ns: int) -> None:
        """Do *acts* at their time after *start_ns*, on every venue."""
        for act in acts:
            if act.deed is not Deed.ASK_CLOSE:
                for engine in self._engines:
                    at_ns = start_ns + round(act.at_s * NS_PER_S)
                    self._at(at_ns, partial(self._do, act, engine))

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: Any) -> None:
        """Call back after *delay_s* of the venues' time, as a loop would."""
        self._at(self._now_ns + round(delay_s * NS_PER_S), partial(callback, *args))

    def next_event_ns(self) -> int | None:
        """Return when the next deed is due."""
        return self._due[0][0] if self._due else None

    def advance(self, to_ns: int) -> None:
        """Do what is due by *to_ns*, each deed at its own time."""
        while self._due and self._due[0][0] <= to_ns:
            at_ns, _, deed = heapq.heappop(self._due)
            self._now_ns = max(self._now_ns, at_ns)
            for engine in self._engines:
                engine.advance(self._now_ns)
            deed()
        self._now_ns = max(self._now_ns, to_ns)

    def _at(self, at_ns: int, deed: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (at_ns, self._number, deed))

    def _do(self, act: Act, engine: TwinEngine) -> None:
        if act.deed is Deed.MATCH_LATE:
            loop: Any = self
            _ = DeskFaults(engine, loop, lambda: None).match_late(act.parts)
        elif act.deed is Deed.OPEN_BY_HAND:
            _ = engine.place(_bought(act.size))
        else:
            held = next((p for p in engine.held() if p.symbol == SYMBOL), None)
            if held is not None:
                _ = engine.place(by_hand(SYMBOL, held.qty, 1))


def _bought(qty: Decimal) -> OrderSpec:
    return OrderSpec(
        symbol=SYMBOL,
        client_id="bought-by-hand",
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        qty=qty,
    )
