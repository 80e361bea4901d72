"""Signals: what a strategy saw, and what it proposes."""

from decimal import Decimal

import attrs

from aegis.model.instrument import InstrumentId
from aegis.model.order import PositionSide


@attrs.frozen(slots=True, kw_only=True)
class Signal:
    """
    A strategy's proposal for one instrument (R24).

    *confidence* in 0..1. *reference_px* is the close the strategy looked at; *stop_distance* and
    *target_distance* are quote units per base unit, > 0. *features* are name-value pairs.
    """

    signal_id: str
    instrument_id: InstrumentId
    side: PositionSide
    confidence: float
    strategy: str
    bar_close_ns: int
    expires_ns: int
    reference_px: Decimal
    stop_distance: Decimal
    target_distance: Decimal
    patterns: tuple[str, ...]
    features: tuple[tuple[str, float], ...]
    reasons: tuple[str, ...]
