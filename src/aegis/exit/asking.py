"""
Asking for protection: one request of a kind at a time, each at its pace, and what a no means.

Kinds do not wait for each other: a refused target never holds back a stop.
"""

from collections.abc import Callable, Mapping, Sequence

from aegis.core.clock import NS_PER_MS, NS_PER_S, Clock
from aegis.core.errors import Refusal
from aegis.exit.closer import Closer
from aegis.exit.decide import (
    Action,
    Cancel,
    PlaceRung,
    PlaceStop,
    PlaceTarget,
    Resting,
    SetBoth,
    TakeRung,
    kind_of,
    pace_s,
)
from aegis.exit.guarded import Guarded, purpose_of_stop
from aegis.exit.requests import command_of, reason_of
from aegis.exit.resting import RestingOrders
from aegis.exit.strays import tell_stray
from aegis.exit.voice import ExitVoice
from aegis.exit.watchdogs import Watchdogs
from aegis.model.account import Capabilities, ProtectionRole
from aegis.model.events import IntentCompleted
from aegis.model.instrument import Venue
from aegis.model.order import Purpose
from aegis.model.position import CloseCause

_ASK_ANEW = frozenset({Refusal.EXISTS.value, Refusal.NOT_FOUND.value})
BOTH_ROLES = frozenset({ProtectionRole.STOP, ProtectionRole.TARGET})


class Asker:
    """Turn actions into intents and hear their ends."""

    def __init__(
        self,
        clock: Clock,
        voice: ExitVoice,
        closer: Closer,
        watchdogs: Watchdogs,
        *,
        retry_ms: int,
        capabilities: Mapping[Venue, Capabilities],
        look_again: Callable[[Guarded], None],
        orders: RestingOrders,
    ) -> None:
        """*orders* hears what an answer alone tells of them."""
        self._clock = clock
        self._voice = voice
        self._closer = closer
        self._watchdogs = watchdogs
        self._retry_ms = retry_ms
        self._capabilities = capabilities
        self._look_again = look_again
        self._orders = orders

    def start(self, guarded: Guarded, action: Action, resting: Sequence[Resting]) -> None:
        """Ask for *action* now, or look again when its time has come."""
        if guarded.ended or guarded.is_pending(action):
            return
        kind = kind_of(action)
        timer = f"retry {kind}"
        wait_ns = self._wait_ns(guarded, kind, resting)
        if wait_ns > 0:
            guarded.start_timer(timer, wait_ns / NS_PER_S, self._look_again)
            return
        guarded.stop_timer(timer)
        position = guarded.position
        intent = self._voice.intent(
            position.position_id,
            position.trace_id,
            command_of(guarded, action),
            reason=reason_of(action),
        )
        tell_stray(self._voice, guarded, action, resting)
        if isinstance(action, SetBoth):
            guarded.stop_causes[action.stop_price] = action.cause
        elif isinstance(action, TakeRung):
            # Once: whatever becomes of this order, unless the venue says no.
            guarded.rungs_spent[action.price] = None
        guarded.pending[intent.intent_id] = action
        guarded.asked_ns[kind] = self._clock.mono_ns()
        self._voice.propose(intent)

    def _wait_ns(self, guarded: Guarded, kind: str, resting: Sequence[Resting]) -> int:
        """Return how long a request must wait for its pace, loop ns; <= 0: not at all."""
        now_ns = self._clock.mono_ns()
        asked_ns = guarded.asked_ns.get(kind)
        if asked_ns is not None:
            pace = pace_s(
                naked=guarded.naked_since_ns is not None,
                failures=guarded.failures.get(kind, 0),
                retry_ms=self._retry_ms,
            )
            return asked_ns + round(pace * NS_PER_S) - now_ns
        position = guarded.position
        attached = self._capabilities[position.instrument_id.venue].attached_protection
        roles = {r.role for r in resting if r.position_bound}
        if attached and not position.adopted and not guarded.announced and roles != BOTH_ROLES:
            # Protection travels with the entry: give its first report the retry pace.
            return guarded.opened_mono_ns + self._retry_ms * NS_PER_MS - now_ns
        return 0

    def on_intent_completed(
        self, guarded: Guarded, event: IntentCompleted, *, covered: bool
    ) -> bool:
        """Forget the request and take its answer; return whether it was one of these."""
        action = guarded.pending.pop(event.intent_id, None)
        if action is None:
            return False
        kind = kind_of(action)
        if not event.ok:
            guarded.failures[kind] = guarded.failures.get(kind, 0) + 1
            self._on_failed(guarded, action, event, covered=covered)
            return True
        guarded.failures.pop(kind, None)
        if isinstance(action, Cancel):
            # Without the stream (at start) nothing else tells that it is gone.
            self._orders.on_canceled(guarded.position.instrument_id, action.key)
        if isinstance(action, SetBoth) and not covered:
            # Acknowledged and not seen: without the stream (at start) the venue must be asked.
            self._voice.want_snapshot(event.instrument_id.venue, "stop set, not seen yet")
        return True

    def _on_failed(
        self, guarded: Guarded, action: Action, event: IntentCompleted, *, covered: bool
    ) -> None:
        if isinstance(action, PlaceStop) and action.qty is None:
            self._on_floor_failed(guarded, event)
        if isinstance(action, TakeRung) and event.refusal:
            guarded.rungs_spent.pop(action.price, None)
        if event.refusal in _ASK_ANEW or (
            isinstance(action, TakeRung) and event.refusal == Refusal.NO_POSITION.value
        ):
            self._voice.want_snapshot(event.instrument_id.venue, event.outcome)
        if event.refusal != Refusal.WOULD_TRIGGER.value or guarded.closing is not None:
            return
        # Too late for an order that waits for this price: do now what it would do (R47).
        if isinstance(action, PlaceRung):
            guarded.rungs_due[action.price] = None
            guarded.failures.pop(kind_of(action), None)
        elif isinstance(action, PlaceTarget):
            reason = f"the target price was passed already: {event.outcome}"
            self._closer.begin(guarded, CloseCause.TP, Purpose.TARGET, reason)
        elif not covered:
            reason = f"the stop price was passed already: {event.outcome}"
            self._watchdogs.give_up(guarded, reason)
        elif isinstance(action, PlaceStop):
            reason = f"the tighter stop's price was passed already: {event.outcome}"
            self._closer.begin(guarded, action.cause, purpose_of_stop(action.cause), reason)
        # A refused pair keeps the old one, which covers: it is tried again at its pace (R48).

    def _on_floor_failed(self, guarded: Guarded, event: IntentCompleted) -> None:
        # "Exists" is the venue's own word that a close-position stop of that side rests; it counts
        # for a floor that was seen and that a list left out, since lists lag (scenario 16).
        position = guarded.position
        if event.refusal == Refusal.EXISTS.value and self._orders.believe(
            position.instrument_id, position.side.exit_side
        ):
            guarded.failures.pop("floor", None)
            self._watchdogs.on_kept(guarded)
