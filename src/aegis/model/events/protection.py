"""What exit wants a position protected with, and what the venue is seen to have working."""

import enum
from decimal import Decimal

import attrs

from aegis.core.event import Event
from aegis.model.instrument import InstrumentId
from aegis.model.position import CloseCause


@attrs.frozen(slots=True, kw_only=True)
class ProtectionWanted(Event):
    """
    Exit computed the protection a position must have; trigger prices on the tick grid.

    *rungs*: price and quantity of each part that is still to be taken before the target.
    """

    position_id: str
    instrument_id: InstrumentId
    stop_price: Decimal
    target_price: Decimal
    basis: str
    rungs: tuple[tuple[Decimal, Decimal], ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class ProtectionConfirmed(Event):
    """
    The venue reports stop and target working for the whole position.

    *naked_ns*: from our receipt of the first fill to our receipt of the stop's evidence, loop time.
    *stop_cause*: what a close at that stop is called (R79).
    """

    position_id: str
    instrument_id: InstrumentId
    stop_price: Decimal
    target_price: Decimal | None
    stop_order: str
    target_order: str
    naked_ns: int
    source: str
    stop_cause: CloseCause = CloseCause.SL


@attrs.frozen(slots=True, kw_only=True)
class ProtectionChanged(Event):
    """
    The venue reports the working stop or target at another price than before.

    *stop_cause*: what a close at that stop is called (R79).
    """

    position_id: str
    instrument_id: InstrumentId
    stop_price: Decimal
    target_price: Decimal | None
    reason: str
    stop_cause: CloseCause = CloseCause.SL


@attrs.frozen(slots=True, kw_only=True)
class ProtectionDelayed(Event):
    """The soft deadline passed without evidence of a stop."""

    position_id: str
    instrument_id: InstrumentId
    naked_ns: int


@attrs.frozen(slots=True, kw_only=True)
class ProtectionFailed(Event):
    """No stop could be confirmed: the position is closed reduce-only at market."""

    position_id: str
    instrument_id: InstrumentId
    reason: str


@attrs.frozen(slots=True, kw_only=True)
class ProtectionLost(Event):
    """A working stop vanished or was altered while the position is open."""

    position_id: str
    instrument_id: InstrumentId
    reason: str


class ProtectionMismatchKind(enum.StrEnum):
    """What is wrong with an order of ours that should protect a position (R48, R62)."""

    ORPHAN = "ORPHAN"
    """It rests where no position is open."""
    DUPLICATE_STOP = "DUPLICATE_STOP"
    """A stop beside the one that counts, and none that was on its way to be replaced."""
    STRAY_TARGET = "STRAY_TARGET"
    """A rung that the ladder does not have, or has twice."""


@attrs.frozen(slots=True, kw_only=True)
class ProtectionMismatchFound(Event):
    """An order of ours rests that nothing needs; *action* is what is done about it."""

    kind: ProtectionMismatchKind
    position_id: str
    instrument_id: InstrumentId
    client_order_id: str
    action: str
