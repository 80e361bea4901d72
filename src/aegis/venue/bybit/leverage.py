"""
Leverage of each symbol on Bybit: set before an entry for both sides, read back, kept fresh.

Isolated margin is a setting of the account, made sure of at connect (venues.md 3.6).
"""

from collections.abc import Sequence
from functools import partial

from aegis.model.account import PositionReport
from aegis.venue.around import VenueAround
from aegis.venue.bybit import startup
from aegis.venue.bybit.encode import CATEGORY
from aegis.venue.bybit.errors import LEVERAGE_NOT_MODIFIED
from aegis.venue.bybit.rest import BybitRest
from aegis.venue.leverage import LeverageBook, LeverageKeeper


class SymbolLeverage:
    """Set and know the leverage, by symbol (R28)."""

    def __init__(self, rest: BybitRest, around: VenueAround) -> None:
        self._rest = rest
        self._book = LeverageBook(around.clock.mono_ns, around.leverage_fresh_s)
        self._keeper = LeverageKeeper("bybit.leverage", around.supervisor, around.leverage_fresh_s)

    def keep_fresh(self, symbols: Sequence[str]) -> None:
        """Read *symbols* back now and again and again."""
        self._keeper.start(partial(self._learn, tuple(symbols)))

    def stop(self) -> None:
        """Read no more."""
        self._keeper.stop()

    async def prepare(self, symbol: str, leverage: int) -> int:
        """Set *leverage* for both sides and return it as the venue now states it."""
        if self.is_prepared(symbol, leverage):
            return leverage
        self._book.forget(symbol)
        await self._rest.call(
            "set_leverage",
            {
                "category": CATEGORY,
                "symbol": symbol,
                "buyLeverage": str(leverage),
                "sellLeverage": str(leverage),
            },
            accept={LEVERAGE_NOT_MODIFIED},
        )
        return await self._read(symbol)

    def is_prepared(self, symbol: str, leverage: int) -> bool:
        """Say whether *leverage* was read back and still stands."""
        return self._book.known(symbol) == leverage

    def forget_all(self) -> None:
        """Doubt every symbol: nobody knows what a gap would have told."""
        self._book.forget_all()

    def compare(self, report: PositionReport) -> None:
        """Hear what a position tells of its leverage."""
        if report.leverage is not None:
            self._book.told(report.instrument_id.symbol, report.leverage)

    async def _read(self, symbol: str) -> int:
        asked = self._book.asking()
        leverage = await startup.leverage_of(self._rest, symbol)
        self._book.read_back(symbol, leverage, asked)
        return leverage

    async def _learn(self, symbols: Sequence[str]) -> None:
        """Read every symbol back, so that no entry has to wait for its own."""
        for symbol in symbols:
            await self._read(symbol)
