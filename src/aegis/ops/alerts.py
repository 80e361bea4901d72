"""
The shell of the alerts: hears what went wrong, keeps the timers, publishes what the rules say.

How long a position is naked runs on the loop's clock; everything else on market time.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import NS_PER_S, Clock, loop_delay_s
from aegis.core.event import Event, HandlerFailed
from aegis.model.events import (
    AlertRaised,
    ApiCalled,
    IntentProposed,
    PositionClosed,
    ProtectionConfirmed,
    ProtectionDelayed,
    ProtectionFailed,
    RequestsPaused,
    SecondLegFound,
    StreamClosed,
    TaskFailed,
)
from aegis.model.instrument import InstrumentId
from aegis.model.intent import ClosePosition
from aegis.ops.alert_rules import COOL_DOWN_NS, EXIT_DUE_MAX_NS, NAKED_MAX_NS, Alert, AlertRules

_ERROR_CHARS: Final = 200


@attrs.define(slots=True)
class _Watch:
    """A position that is naked (since loop ns) or whose exit is due (since market ns)."""

    instrument_id: InstrumentId
    since_ns: int
    why: str
    timer: asyncio.TimerHandle | None = None


class Alerts:
    """Raise each alert once per cool-down and subject (R71)."""

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        is_covered: Callable[[InstrumentId], bool] | None = None,
    ) -> None:
        """
        Listen on *bus*.

        is_covered: whether the venue reports stops for the whole position there; asked before a
        position is called naked, since a stop that came back at its old price makes no event.
        """
        self._bus = bus
        self._clock = clock
        self._loop = loop
        self._is_covered = is_covered
        self._rules = AlertRules()
        self._naked: dict[str, _Watch] = {}
        self._due: dict[str, _Watch] = {}
        self._heard: Mapping[type[Event], Callable[[Any], None]] = {
            ApiCalled: self._on_api,
            HandlerFailed: self._on_handler_failed,
            TaskFailed: self._on_task_failed,
            StreamClosed: self._on_stream_closed,
            RequestsPaused: self._on_paused,
            SecondLegFound: self._on_second_leg,
            ProtectionDelayed: self._on_delayed,
            ProtectionFailed: self._on_protection_failed,
            ProtectionConfirmed: self._on_confirmed,
            IntentProposed: self._on_intent,
            PositionClosed: self._on_closed,
        }
        bus.listen_all(self.on_event)

    def on_event(self, _seq: int, event: Event) -> None:
        """Take what one of the rules is about."""
        handler = self._heard.get(type(event))
        if handler is not None:
            handler(event)

    def stop(self) -> None:
        """End all timers."""
        for watches in (self._naked, self._due):
            for watch in watches.values():
                _cancel(watch)
            watches.clear()

    # --- errors ----------------------------------------------------------------------------------

    def _on_api(self, event: ApiCalled) -> None:
        if not event.ok:
            code = f" {event.error_code}" if event.error_code else ""
            what = f"{event.venue.value} {event.operation} {event.error_class}{code}"
            self._raise(self._rules.on_error(what, self._clock.now_ns()))

    def _on_handler_failed(self, event: HandlerFailed) -> None:
        what = f"{event.handler} on {event.event_type}: {event.error_type}"
        now_ns = self._clock.now_ns()
        if event.critical:
            told = f"{what}: {event.error}"[:_ERROR_CHARS]
            self._raise(self._rules.on_critical_handler(event.handler, told, now_ns))
        self._raise(self._rules.on_error(what, now_ns))

    def _on_task_failed(self, event: TaskFailed) -> None:
        now_ns = self._clock.now_ns()
        self._raise(self._rules.on_error(f"task {event.task}: {event.error_type}", now_ns))
        self._raise(self._rules.on_break(f"task {event.task}", now_ns))

    def _on_stream_closed(self, event: StreamClosed) -> None:
        what = f"{event.venue.value} stream {event.stream}"
        self._raise(self._rules.on_break(what, self._clock.now_ns()))

    def _on_paused(self, event: RequestsPaused) -> None:
        if event.banned:
            text = f"{event.venue.value} {event.reason}"
            self._raise(self._rules.on_ban(event.venue.value, text, self._clock.now_ns()))

    def _on_second_leg(self, event: SecondLegFound) -> None:
        subject = str(event.instrument_id)
        self._raise(self._rules.on_second_leg(subject, event.text, self._clock.now_ns()))

    # --- naked positions -------------------------------------------------------------------------

    def _on_delayed(self, event: ProtectionDelayed) -> None:
        since_ns = self._clock.mono_ns() - event.naked_ns
        self._watch_naked(event.position_id, event.instrument_id, since_ns)

    def _on_protection_failed(self, event: ProtectionFailed) -> None:
        if event.position_id not in self._naked:
            self._watch_naked(event.position_id, event.instrument_id, self._clock.mono_ns())
        self._watch_due(event.position_id, event.instrument_id, event.reason)

    def _watch_naked(self, position_id: str, instrument: InstrumentId, since_ns: int) -> None:
        self._forget(self._naked, position_id)
        watch = self._naked[position_id] = _Watch(instrument, since_ns, "")
        left_ns = max(0, since_ns + NAKED_MAX_NS - self._clock.mono_ns())
        watch.timer = self._loop.call_later(left_ns / NS_PER_S, self._look_naked, position_id)

    def _look_naked(self, position_id: str) -> None:
        watch = self._naked.get(position_id)
        if watch is None:
            return
        if self._is_covered is not None and self._is_covered(watch.instrument_id):
            del self._naked[position_id]
            return
        again_s = loop_delay_s(self._clock, COOL_DOWN_NS)
        watch.timer = self._loop.call_later(again_s, self._look_naked, position_id)
        naked_ns = max(NAKED_MAX_NS, self._clock.mono_ns() - watch.since_ns)
        subject = str(watch.instrument_id)
        self._raise(self._rules.on_naked(subject, naked_ns, self._clock.now_ns()))

    def _on_confirmed(self, event: ProtectionConfirmed) -> None:
        self._forget(self._naked, event.position_id)

    # --- exits that are due ----------------------------------------------------------------------

    def _on_intent(self, event: IntentProposed) -> None:
        intent = event.intent
        if isinstance(intent.command, ClosePosition):
            self._watch_due(intent.position_id, intent.instrument_id, intent.reason)

    def _watch_due(self, position_id: str, instrument: InstrumentId, why: str) -> None:
        if position_id in self._due:
            return
        watch = self._due[position_id] = _Watch(instrument, self._clock.now_ns(), why)
        self._arm_due(position_id, watch)

    def _arm_due(self, position_id: str, watch: _Watch) -> None:
        delay_s = loop_delay_s(self._clock, EXIT_DUE_MAX_NS)
        watch.timer = self._loop.call_later(delay_s, self._look_due, position_id)

    def _look_due(self, position_id: str) -> None:
        watch = self._due.get(position_id)
        if watch is None:
            return
        self._arm_due(position_id, watch)
        # The timer is the judge: rounding of loop seconds must not make it a nanosecond early.
        now_ns = max(self._clock.now_ns(), watch.since_ns + EXIT_DUE_MAX_NS)
        subject = str(watch.instrument_id)
        self._raise(self._rules.on_exit_due(subject, watch.why, watch.since_ns, now_ns))

    def _on_closed(self, event: PositionClosed) -> None:
        self._forget(self._naked, event.position.position_id)
        self._forget(self._due, event.position.position_id)

    # --- telling ---------------------------------------------------------------------------------

    def _forget(self, watches: dict[str, _Watch], position_id: str) -> None:
        watch = watches.pop(position_id, None)
        if watch is not None:
            _cancel(watch)

    def _raise(self, alerts: list[Alert]) -> None:
        for alert in alerts:
            now_ns = self._clock.now_ns()
            self._bus.publish(
                AlertRaised(
                    ts_event=now_ns,
                    ts_recv=now_ns,
                    rule=alert.rule,
                    level=alert.level,
                    message=alert.message,
                )
            )


def _cancel(watch: _Watch) -> None:
    if watch.timer is not None:
        watch.timer.cancel()
