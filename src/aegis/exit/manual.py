"""
A person's close: through the same closer as every other exit, and journaled as asked (R63).

*force* skips one thing only: that a close already under way makes the request no news.
"""

from collections.abc import Callable

from aegis.core.bus import EventBus
from aegis.exit.closer import Closer
from aegis.exit.guarded import Guarded
from aegis.model.events import CloseRequested
from aegis.model.instrument import InstrumentId
from aegis.model.order import Purpose
from aegis.model.position import CloseCause


class ManualClose:
    """Hear an operator's request and hand it to the closer."""

    def __init__(
        self, bus: EventBus, closer: Closer, find: Callable[[InstrumentId], Guarded | None]
    ) -> None:
        """*find* returns the guarded position of an instrument, None when nothing is open there."""
        self._closer = closer
        self._find = find
        bus.subscribe(CloseRequested, self.on_close_requested, critical=True)

    def on_close_requested(self, event: CloseRequested) -> None:
        """Begin to close; with *force*, ask the venue again though a close is under way."""
        guarded = self._find(event.instrument_id)
        if guarded is None:
            return
        reason = f"{event.operator}: {event.reason}"
        begun = self._closer.begin(guarded, CloseCause.MANUAL, Purpose.CLOSE_MANUAL, reason)
        if not begun and event.force:
            self._closer.repeat(guarded)
