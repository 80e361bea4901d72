"""
One-way or hedge mode as the venue said at connect (R41): Binance per account, Bybit per symbol.

In hedge mode a symbol has two positions, its legs. Every order names the leg it is for: an order
that reduces belongs to the leg it closes, any other to the leg it opens.
"""

from aegis.core.errors import VenueRefused
from aegis.model.account import PositionMode
from aegis.model.instrument import Venue
from aegis.model.order import OrderRequest, OrderSide, PositionSide


class PositionModes:
    """Keep what was read, by symbol."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._modes: dict[str, PositionMode] = {}
        self._all: PositionMode | None = None

    def learn_all(self, mode: PositionMode) -> None:
        """Take *mode* for every symbol: it is the account's."""
        self._all = mode

    def learn(self, symbol: str, mode: PositionMode) -> None:
        """Take *mode* for one symbol."""
        self._modes[symbol] = mode

    def known(self, symbol: str) -> PositionMode | None:
        """Return the mode of *symbol*, None when it was not asked for yet."""
        return self._modes.get(symbol, self._all)

    def hedged(self, symbol: str) -> bool:
        """
        Say whether *symbol* is in hedge mode.

        Raises:
            VenueRefused: it was not asked for yet: no order can be written (R41).

        """
        mode = self.known(symbol)
        if mode is None:
            raise VenueRefused(
                "POSITION_MODE",
                f"the position mode of {symbol} was not read yet: connect comes first",
                venue=self._venue.value,
                operation="place",
            )
        return mode is PositionMode.HEDGE

    def leg_of(self, request: OrderRequest) -> PositionSide | None:
        """Return the leg *request* is for; None in one-way mode. Raises as `hedged`."""
        symbol = request.instrument_id.symbol
        if self._modes.get(symbol, self._all) is PositionMode.ONE_WAY:
            return None
        return leg_of(request) if self.hedged(symbol) else None


def leg_of(request: OrderRequest) -> PositionSide:
    """Return the position *request* is for: the one it closes, else the one it opens."""
    closes = request.reduce_only or request.close_position
    return leg_by(request.side, closes=closes)


def leg_by(side: OrderSide, *, closes: bool) -> PositionSide:
    """Return the position that an order of *side* closes, or opens."""
    opened = PositionSide.LONG if side is OrderSide.BUY else PositionSide.SHORT
    return opened.opposite if closes else opened
