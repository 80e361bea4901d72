"""What a line of the log is made of, and what must be remembered from one event to the next."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import attrs

from aegis.core.event import Event
from aegis.model.instrument import InstrumentId, Venue


@attrs.frozen(slots=True)
class Line:
    """One line: its level by loguru's name, whom it is about, what happened in plain words."""

    level: str
    subject: InstrumentId | Venue | None
    text: str


@attrs.define(slots=True)
class Mute:
    """A repeated failure: when it was last told (market ns) and how often it came since."""

    told_ns: int
    held_back: int = 0


@attrs.define(slots=True)
class Memory:
    """
    What a line needs of earlier events.

    *guards_passed* by the intent that waits for its verdict; *adopted*: open positions that were
    found; *streams*: those that were open once.
    """

    tick_sizes: dict[InstrumentId, Decimal] = attrs.field(factory=dict)
    guards_passed: dict[str, int] = attrs.field(factory=dict)
    muted: dict[tuple[Venue, str], Mute] = attrs.field(factory=dict)
    adopted: dict[str, None] = attrs.field(factory=dict)
    streams: dict[tuple[Venue, str], None] = attrs.field(factory=dict)


# Any: each function takes the one event type it is listed under.
Teller = Callable[[Any, Memory], Line | None]
Tellers = Mapping[type[Event], Teller]
