"""
What a close at a position's own stop is called, where its child order carries no id of ours (R79).

Bybit's children are unnamed (venues.md 5.2): their trigger price says which of the stops that the
venue acknowledged has fired. Without a word of the trigger the last acknowledged one counts.
"""

from collections.abc import Callable
from decimal import Decimal

import attrs

from aegis.model.account import OrderReport, ProtectionRole
from aegis.model.events import ProtectionChanged, ProtectionConfirmed
from aegis.model.fill import Fill, FillOrigin
from aegis.model.instrument import InstrumentId
from aegis.model.intent import SetPositionProtection
from aegis.model.position import CloseCause


@attrs.define(slots=True)
class _Acknowledged:
    """Stops of one position: trigger to cause, the newest last; child order id to its trigger."""

    causes: dict[Decimal, CloseCause] = attrs.field(factory=dict)
    triggers: dict[str, Decimal] = attrs.field(factory=dict)


class StopCauses:
    """Remember acknowledged stops until their position ends."""

    def __init__(self, is_open: Callable[[InstrumentId], bool]) -> None:
        """*is_open* says whether a position is open there: nothing else is remembered."""
        self._is_open = is_open
        self._of: dict[InstrumentId, _Acknowledged] = {}

    def on_set(self, command: SetPositionProtection) -> None:
        """Take a stop the venue has acknowledged by its answer."""
        self._note(command.instrument_id, command.stop_price, command.stop_cause)

    def on_told(self, event: ProtectionConfirmed | ProtectionChanged) -> None:
        """Take a stop the venue reports as working; after a restart, one of an earlier run."""
        self._note(event.instrument_id, event.stop_price, event.stop_cause)

    def _note(self, instrument: InstrumentId, price: Decimal, cause: CloseCause) -> None:
        if self._is_open(instrument):
            causes = self._of.setdefault(instrument, _Acknowledged()).causes
            causes.pop(price, None)
            causes[price] = cause

    def on_order(self, report: OrderReport) -> None:
        """Keep the trigger of a position's own stop by its order id."""
        own_stop = report.position_bound and report.role is ProtectionRole.STOP
        if own_stop and report.trigger_price is not None and self._is_open(report.instrument_id):
            kept = self._of.setdefault(report.instrument_id, _Acknowledged())
            kept.triggers[report.venue_order_id] = report.trigger_price

    def cause_of(self, fill: Fill) -> CloseCause | None:
        """Return what a fill of a position's own stop is called; None of any other fill."""
        if fill.origin is not FillOrigin.STOP:
            return None
        kept = self._of.get(fill.instrument_id)
        if kept is None or not kept.causes:
            return CloseCause.SL
        trigger = kept.triggers.get(fill.venue_order_id)
        if trigger is not None and trigger in kept.causes:
            return kept.causes[trigger]
        return next(reversed(kept.causes.values()))

    def forget(self, instrument: InstrumentId) -> None:
        """The position ended."""
        self._of.pop(instrument, None)
