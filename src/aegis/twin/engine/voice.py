"""The engine's voice: what happened, told to every listener in the order they were added."""

from aegis.twin.engine.api import (
    Bar,
    EngineFill,
    EngineListener,
    EngineOrder,
    EnginePosition,
    IncomeRow,
    Quote,
)


class Voice:
    """Repeats each call to all listeners."""

    __slots__ = ("listeners",)

    def __init__(self) -> None:
        self.listeners: list[EngineListener] = []

    def on_order(self, order: EngineOrder) -> None:
        """Tell of an order."""
        for listener in self.listeners:
            listener.on_order(order)

    def on_fill(self, fill: EngineFill) -> None:
        """Tell of a fill."""
        for listener in self.listeners:
            listener.on_fill(fill)

    def on_position(self, position: EnginePosition, cause: str) -> None:
        """Tell of a position."""
        for listener in self.listeners:
            listener.on_position(position, cause)

    def on_balance(self, cause: str) -> None:
        """Tell of the wallet."""
        for listener in self.listeners:
            listener.on_balance(cause)

    def on_income(self, row: IncomeRow) -> None:
        """Tell of a booking."""
        for listener in self.listeners:
            listener.on_income(row)

    def on_quote(self, quote: Quote) -> None:
        """Tell of a quote."""
        for listener in self.listeners:
            listener.on_quote(quote)

    def on_kline(
        self, symbol: str, timeframe_ns: int, open_ns: int, bar: Bar, *, closed: bool
    ) -> None:
        """Tell of a bar."""
        for listener in self.listeners:
            listener.on_kline(symbol, timeframe_ns, open_ns, bar, closed=closed)
