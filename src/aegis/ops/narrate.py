"""
The narrator's shell: one plain line of the log per event of note.

It listens to everything and decides nothing: what a line says is in tell_trade and tell_system.
"""

from typing import TYPE_CHECKING, Final

from aegis.core.bus import EventBus
from aegis.core.event import Event
from aegis.ops.tell_system import SYSTEM_TELLERS
from aegis.ops.tell_trade import TRADE_TELLERS
from aegis.ops.telling import Memory, Tellers
from aegis.ops.words import who

if TYPE_CHECKING:
    from loguru import Logger

_TELLERS: Final[Tellers] = {**TRADE_TELLERS, **SYSTEM_TELLERS}


class Narrator:
    """Tell what happens, in the order of the bus."""

    def __init__(self, bus: EventBus, log: "Logger", *, label: str = "") -> None:
        """
        Listen on *bus* and write to *log* (core.log.room_logger).

        label: what market is played, "" for a real one; it begins the very first line.
        """
        self._log = log
        self._first = f"[{label}] " if label else ""
        self._memory = Memory()
        bus.listen_all(self.on_event)

    def on_event(self, _seq: int, event: Event) -> None:
        """Write the event's line, if it has one."""
        teller = _TELLERS.get(type(event))
        if teller is None:
            return
        line = teller(event, self._memory)
        if line is None:
            return
        first, self._first = self._first, ""
        self._log.log(line.level, "{}", f"{first}{who(line.subject)}  {line.text}")
