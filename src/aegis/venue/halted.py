"""The halt, read again before an entry leaves a second time or by another way (R73)."""

from aegis.core.errors import VenueRefused
from aegis.core.latch import HaltView
from aegis.model.instrument import Venue
from aegis.model.order import OrderRequest

HALTED = "HALTED"
"""The code of the refusal; no venue has it."""


def check_not_halted(halt: HaltView, request: OrderRequest, venue: Venue) -> None:
    """
    Let *request* pass unless it opens exposure and entries are halted.

    Raises:
        VenueRefused: HALTED; the order that left before was refused, so nothing stands.

    """
    if request.reduce_only or request.close_position or not halt.halted:
        return
    raise VenueRefused(
        HALTED,
        f"halted before it could be sent again: {'; '.join(halt.reasons)}",
        venue=venue.value,
        operation="place",
    )
