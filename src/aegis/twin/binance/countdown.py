"""The dead man's switch of countdownCancelAll: a symbol's regular orders end with the countdown."""

from collections.abc import Callable
from contextlib import suppress

from aegis.twin.binance.json import NS_PER_MS
from aegis.twin.engine.api import Engine, EngineOrder, Refused


class Countdowns:
    """
    Countdowns that run, one a symbol, on the market clock.

    Unsure: whether the venue would cancel algo orders too, nobody has published a test
    (venues.md 1.2); here they stay, the worse case for who relies on it.
    """

    def __init__(self, engine: Engine, after: Callable[[], None]) -> None:
        self._engine = engine
        self._after = after
        self._due_ns: dict[str, int] = {}

    def set(self, symbol: str, countdown_ms: int) -> None:
        """Begin *symbol*'s countdown anew, 0 stops it."""
        self._due_ns.pop(symbol, None)
        if countdown_ms > 0:
            self._due_ns[symbol] = self._engine.now_ns + countdown_ms * NS_PER_MS

    def next_event_ns(self) -> int | None:
        """Return when the next countdown ends, None when none runs."""
        return min(self._due_ns.values(), default=None)

    def advance(self, to_ns: int) -> None:
        """Cancel the regular orders whose countdown ends by *to_ns*, each at its moment."""
        for symbol, due_ns in sorted(self._due_ns.items(), key=lambda item: item[1]):
            if due_ns > to_ns:
                return
            del self._due_ns[symbol]
            self._engine.advance(due_ns)
            for order in list(self._engine.open_orders(symbol)):
                if not order.conditional:
                    self._cancel(order)
            self._after()

    def _cancel(self, order: EngineOrder) -> None:
        with suppress(Refused):  # on its way already: past canceling
            self._engine.cancel(order)
