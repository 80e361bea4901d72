"""
Positions of earlier runs on a venue that cannot be looked at: protected by the journal's word.

What rests there is unknown, which is neither "a stop" nor "none". So nothing is canceled or moved,
and a stop is asked for that can only reduce, at the tighter of the plan's and the acknowledged
level: the venue's answer is evidence, whether it takes the stop, has one, or knows of no position.
"""

from typing import Final

from aegis.core.errors import Refusal
from aegis.exit.decide import Action, PlaceStop, SetBoth
from aegis.exit.guarded import Guarded
from aegis.exit.resting import RestingOrders
from aegis.exit.voice import ExitVoice
from aegis.exit.watchdogs import Watchdogs
from aegis.model.events import IntentCompleted
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.restored import AcknowledgedStop, OpenBook

AS_ACKNOWLEDGED: Final = "as acknowledged in an earlier run"


class Unseen:
    """Know which venues a start could not look at, and what is believed there until it can."""

    def __init__(self, voice: ExitVoice, resting: RestingOrders, watchdogs: Watchdogs) -> None:
        self._voice = voice
        self._resting = resting
        self._watchdogs = watchdogs
        self._stops: dict[str, AcknowledgedStop] = {}
        self._venues: dict[Venue, None] = {}
        self._listed: dict[Venue, None] = {}
        self._answered: dict[InstrumentId, Refusal | None] = {}
        """What the venue said to a stop: it knows of no position, or (None) that it is set."""

    # --- where -----------------------------------------------------------------------------------

    def leave(self, left: OpenBook) -> None:
        """Keep the stops that earlier runs saw acknowledged."""
        for one in left.positions:
            if one.stop is not None:
                self._stops[one.opening.position_id] = one.stop

    def begin(self, venue: Venue, open_here: int) -> None:
        """The start could not look at *venue*, where *open_here* positions are open by the book."""
        if venue in self._venues or not open_here:
            return
        self._venues[venue] = None
        # The start goes on asking by itself.
        self._voice.hush(venue)
        self._voice.alert(
            "venue_unseen",
            "CRITICAL",
            f"{venue.value} cannot be looked at, and {open_here} positions of an earlier run are "
            "open there by the journal: their stops are asked for by its word alone",
        )

    def on_orders_listed(self, venue: Venue) -> None:
        """Every resting order of *venue* was told: a stop that was not told of is not there."""
        self._listed[venue] = None

    def end(self, venue: Venue) -> None:
        """The venue was looked at."""
        _ = self._listed.pop(venue, None)
        if venue in self._venues:
            del self._venues[venue]
            self._voice.unhush(venue)
        for instrument in [i for i in self._answered if i.venue is venue]:
            del self._answered[instrument]

    def is_unseen(self, venue: Venue) -> bool:
        """Say whether positions of *venue* are protected by the journal's word."""
        return venue in self._venues

    def holds(self, guarded: Guarded) -> bool:
        """Say whether *guarded* is a position of an earlier run that nobody could look at."""
        return guarded.position.restored and self.is_unseen(guarded.position.instrument_id.venue)

    # --- what is believed ------------------------------------------------------------------------

    def take_acknowledged(self, guarded: Guarded) -> None:
        """Aim at the acknowledged stop where it is tighter than the plan's (R51)."""
        position = guarded.position
        stop = self._stops.get(position.position_id)
        if stop is not None and not position.adopted:
            guarded.aim = guarded.aim.tightened(
                position.side, stop.price, stop.cause, AS_ACKNOWLEDGED
            )

    def is_trusted(self, guarded: Guarded) -> bool:
        """
        Say whether *guarded* may wait without a deadline, although no stop of it was seen.

        Its stop was acknowledged and no list lacks it, or the venue has answered since: a close on
        mere silence would end positions that are protected.
        """
        position = guarded.position
        if position.instrument_id in self._answered:
            return True
        known = position.position_id in self._stops
        return known and position.instrument_id.venue not in self._listed

    def wants(self, guarded: Guarded, action: Action, *, covered: bool) -> bool:
        """Say whether *action* may be asked for unseen: the stop that can only reduce, alone."""
        instrument = guarded.position.instrument_id
        is_set = instrument in self._answered and self._answered[instrument] is None
        if covered or is_set:
            return False
        return isinstance(action, SetBoth) or (isinstance(action, PlaceStop) and action.qty is None)

    # --- what the venue says ---------------------------------------------------------------------

    def on_answer(self, guarded: Guarded, action: Action | None, event: IntentCompleted) -> None:
        """Take the answer to a stop that was asked for unseen."""
        position = guarded.position
        if event.ok and isinstance(action, SetBoth):
            self._believe(guarded, None)
        elif not isinstance(action, PlaceStop | SetBoth):
            return
        elif event.refusal == Refusal.NO_POSITION.value:
            # The venue's word that nothing is open; the book ends it when it can be looked at.
            self._believe(guarded, Refusal.NO_POSITION)
        elif event.refusal == Refusal.EXISTS.value:
            stop = self._stops.get(position.position_id)
            key = stop.order if stop is not None and stop.order else f"{position.position_id} floor"
            price = stop.price if stop is not None else None
            side = position.side.exit_side
            self._resting.assume(position.instrument_id, key, side, price)

    def _believe(self, guarded: Guarded, said: Refusal | None) -> None:
        self._answered[guarded.position.instrument_id] = said
        self._watchdogs.on_nothing_open(guarded)

    def hear(self, instrument: InstrumentId) -> None:
        """The venue told of the position there: what it said before is outdated."""
        _ = self._answered.pop(instrument, None)
