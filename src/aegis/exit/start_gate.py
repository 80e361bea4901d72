"""The start of a venue: entries wait until every position found there carries its stop (R88)."""

from collections.abc import Callable, Sequence

from aegis.exit.voice import ExitVoice
from aegis.model.instrument import InstrumentId, Venue


class StartGate:
    """Publish VenueProtected once nothing that was found at start is without cover."""

    def __init__(self, voice: ExitVoice) -> None:
        self._voice = voice
        self._waiting: dict[Venue, dict[InstrumentId, None]] = {}

    def on_found(self, venue: Venue, found: dict[InstrumentId, None]) -> None:
        """Wait for the open positions of the start's snapshot."""
        self._waiting[venue] = dict(found)

    def on_ended(self, instrument: InstrumentId) -> None:
        """A position found at start is closed: nothing to wait for."""
        waiting = self._waiting.get(instrument.venue)
        if waiting is not None:
            waiting.pop(instrument, None)

    def is_waiting(self, venue: Venue) -> bool:
        """Say whether entries on *venue* still wait for cover of what was found."""
        return venue in self._waiting

    def check(
        self,
        venue: Venue,
        *,
        guarded: Sequence[InstrumentId],
        safe: Sequence[InstrumentId],
        is_flat: Callable[[InstrumentId], bool],
    ) -> None:
        """
        Tell when nothing is waited for any more.

        *guarded*: open positions by the book, *safe*: those that are covered and told so. One that
        is not guarded was not adopted yet, or is gone when the venue says flat.
        """
        waiting = self._waiting.get(venue)
        if waiting is None:
            return
        for instrument in list(waiting):
            gone = instrument not in guarded and is_flat(instrument)
            if gone or instrument in safe:
                del waiting[instrument]
        # A position that opened meanwhile counts as well.
        if waiting or len(safe) < len(guarded):
            return
        del self._waiting[venue]
        self._voice.venue_protected(venue, len(guarded))
