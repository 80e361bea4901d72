"""
Positions on command: what stands in for the strategy and for the operator, and what it noted.

One position at a time: a signal, the wait for its stop, an operator's close, the wait for flat.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.app.bot import Bot
from aegis.core.clock import NS_PER_S
from aegis.core.event import Event, HandlerFailed
from aegis.core.ids import IdSource
from aegis.model.events import (
    CloseRequested,
    EntryFailed,
    IntentDenied,
    MarketTick,
    PositionClosed,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    ProtectionLost,
    SignalDropped,
    SignalRaised,
    TaskFailed,
    VenueUnavailable,
)
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.order import PositionSide
from aegis.model.signal import Signal
from bench.measure import now_ns

STEP_TIMEOUT_S: Final = 10.0
PACE_S: Final = 0.02
"""Between the steps of a position, so that each begins with nothing else under way."""
THROTTLED_PAUSE_S: Final = 1.0
"""After an entry that found no room in the request limits and did not leave: it is told again."""
_SIGNAL_LIFE_NS: Final = 60 * NS_PER_S
_STOP_PART: Final = Decimal("0.02")
_TARGET_PART: Final = Decimal("0.03")


@attrs.define(kw_only=True)
class Notes:
    """What was stamped on one venue, in nanoseconds, a position each, the warm-up included."""

    socket: list[int] = attrs.field(factory=list)
    rest: list[int] = attrs.field(factory=list)
    naked: list[int] = attrs.field(factory=list)
    to_answer: list[int] = attrs.field(factory=list)
    stop_left_ns: int | None = None
    late: int = 0


class OnCommand:
    """The stand-in for the strategy and for the operator: opens, waits, closes."""

    def __init__(self, bot: Bot, notes: dict[Venue, Notes]) -> None:
        self._bus = bot.bus
        self._clock = bot.around.clock
        self._notes = notes
        self._ids = IdSource("sig")
        self._marks: dict[InstrumentId, float] = {}
        self._quoted: set[InstrumentId] = set()
        self._waiting: asyncio.Future[bool] | None = None
        self._until: type[Event] | None = None
        self._fault = ""
        self._bus.subscribe(MarketTick, self._on_tick)
        self._bus.subscribe(ProtectionConfirmed, self._on_confirmed)
        self._bus.subscribe(PositionClosed, lambda event: self._come(type(event)))
        self._bus.subscribe(ProtectionDelayed, self._on_delayed)
        self._bus.subscribe(EntryFailed, self._on_entry_failed)
        for unwanted in (
            *(HandlerFailed, TaskFailed, SignalDropped, IntentDenied),
            *(ProtectionFailed, ProtectionLost, VenueUnavailable),
        ):
            self._bus.subscribe(unwanted, self._on_unwanted)

    async def quotes_of(self, instruments: Sequence[InstrumentId]) -> None:
        """Wait until every instrument has a quote and a mark."""
        while not all(i in self._marks and i in self._quoted for i in instruments):
            self._check()
            await asyncio.sleep(PACE_S)

    async def open(self, instrument: InstrumentId) -> None:
        """Go long and return when the stop is confirmed."""
        while not await self._opened(instrument):
            await asyncio.sleep(THROTTLED_PAUSE_S)

    async def _opened(self, instrument: InstrumentId) -> bool:
        """Go long; return False when the request limits let no entry leave."""
        self._notes[instrument.venue].stop_left_ns = None
        waiting = self._wait_for(ProtectionConfirmed)
        now = self._clock.now_ns()
        price = Decimal(repr(self._marks[instrument]))
        signal = Signal(
            signal_id=self._ids.next(),
            instrument_id=instrument,
            side=PositionSide.LONG,
            confidence=1.0,
            strategy="on command",
            bar_close_ns=now,
            expires_ns=now + _SIGNAL_LIFE_NS,
            reference_px=price,
            stop_distance=price * _STOP_PART,
            target_distance=price * _TARGET_PART,
            patterns=(),
            features=(),
            reasons=("the bench says so",),
        )
        self._bus.publish(SignalRaised(ts_event=now, ts_recv=now, signal=signal))
        async with asyncio.timeout(STEP_TIMEOUT_S):
            return await waiting

    async def close(self, instrument: InstrumentId) -> None:
        """Close the position and return when the venue says flat."""
        waiting = self._wait_for(PositionClosed)
        now = self._clock.now_ns()
        self._bus.publish(
            CloseRequested(
                ts_event=now,
                ts_recv=now,
                instrument_id=instrument,
                operator="bench",
                reason="measured",
                force=False,
            )
        )
        async with asyncio.timeout(STEP_TIMEOUT_S):
            await waiting

    def _wait_for(self, event: type[Event]) -> "asyncio.Future[bool]":
        self._check()
        self._until = event
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def _check(self) -> None:
        if self._fault:
            raise RuntimeError(f"the bot failed while it was measured: {self._fault}")

    def _come(self, event: type[Event]) -> None:
        if self._waiting is not None and event is self._until and not self._waiting.done():
            self._waiting.set_result(True)

    def _on_tick(self, event: MarketTick) -> None:
        if event.mark is not None:
            self._marks[event.instrument_id] = event.mark
        if event.bid is not None:
            self._quoted.add(event.instrument_id)

    def _on_confirmed(self, event: ProtectionConfirmed) -> None:
        notes = self._notes[event.instrument_id.venue]
        notes.naked.append(event.naked_ns)
        if notes.stop_left_ns is not None:
            notes.to_answer.append(now_ns() - notes.stop_left_ns)
        self._come(ProtectionConfirmed)

    def _on_delayed(self, event: ProtectionDelayed) -> None:
        self._notes[event.instrument_id.venue].late += 1

    def _on_entry_failed(self, event: EntryFailed) -> None:
        if "throttled" not in event.reason:
            self._on_unwanted(event)
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(False)

    def _on_unwanted(self, event: Event) -> None:
        self._fault = self._fault or str(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(RuntimeError(self._fault))
