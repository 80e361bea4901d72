"""From an idea to a decision: signals, the intents they become, and what safety says to them."""

import attrs

from aegis.core.event import Event
from aegis.model.instrument import InstrumentId
from aegis.model.intent import Approved, TradeIntent
from aegis.model.signal import Signal


@attrs.frozen(slots=True, kw_only=True)
class SignalRaised(Event):
    """A strategy proposes a trade."""

    signal: Signal

    @property
    def routing_key(self) -> InstrumentId:
        """Return the instrument."""
        return self.signal.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class SignalDropped(Event):
    """A signal ended before it became an intent: too old, no size, busy instrument, ..."""

    signal_id: str
    instrument_id: InstrumentId
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class IntentProposed(Event):
    """Trade or exit wishes something; safety answers."""

    intent: TradeIntent


@attrs.frozen(slots=True, kw_only=True)
class IntentApproved(Event):
    """Safety let the intent through."""

    approved: Approved


@attrs.frozen(slots=True, kw_only=True)
class IntentDenied(Event):
    """Safety refused an entry; terminal for the intent."""

    intent: TradeIntent
    guard: str
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class GuardChecked(Event):
    """What each guard saw when it decided about an entry: name, verdict, inputs in words."""

    intent_id: str
    instrument_id: InstrumentId
    checks: tuple[tuple[str, bool, str], ...]


@attrs.frozen(slots=True, kw_only=True)
class IntentCompleted(Event):
    """
    An approved intent ended (R74).

    *outcome* in words. *refusal* is the normalized kind (core.errors) when the venue said no.
    """

    intent_id: str
    position_id: str
    instrument_id: InstrumentId
    command: str
    client_order_id: str
    ok: bool
    outcome: str
    refusal: str
