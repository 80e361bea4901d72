"""
Leverage and margin type of each symbol on Binance: set before an entry, read back, kept fresh.

symbolConfig tells both; ACCOUNT_CONFIG_UPDATE and ACCOUNT_UPDATE tell changes (venues.md 2.4, 2.5).
"""

from collections.abc import Collection
from functools import partial

from aegis.core.errors import VenueProtocolError, VenueRefused
from aegis.model.account import PositionReport
from aegis.model.instrument import Venue
from aegis.venue.around import VenueAround
from aegis.venue.binance import wire
from aegis.venue.binance.errors import ALREADY_ISOLATED, refused
from aegis.venue.binance.parse_rest import parse_symbol_configs
from aegis.venue.binance.rest import BinanceRest
from aegis.venue.leverage import LeverageBook, LeverageKeeper


class SymbolLeverage:
    """Set and know isolated margin and leverage, by symbol (R28)."""

    def __init__(self, rest: BinanceRest, around: VenueAround) -> None:
        self._rest = rest
        self._book = LeverageBook(around.clock.mono_ns, around.leverage_fresh_s)
        self._keeper = LeverageKeeper(
            "binance.leverage", around.supervisor, around.leverage_fresh_s
        )

    def keep_fresh(self, symbols: Collection[str]) -> None:
        """Read *symbols* back now and again and again."""
        self._keeper.start(partial(self._learn, frozenset(symbols)))

    def stop(self) -> None:
        """Read no more."""
        self._keeper.stop()

    async def prepare(self, symbol: str, leverage: int) -> int:
        """
        Set isolated margin and *leverage* where they are not yet; return the leverage read back.

        Raises:
            VenueRefused: the margin stayed cross, or the venue turned the change down.

        """
        if self.is_prepared(symbol, leverage):
            return leverage
        config = await self._config(symbol)
        if config.isolated and config.leverage == leverage:
            return leverage
        self._book.forget(symbol)
        if not config.isolated:
            await self._isolate(symbol)
        await self._rest.call(
            "leverage", "futures_change_leverage", {"symbol": symbol, "leverage": leverage}
        )
        config = await self._config(symbol)
        if not config.isolated:
            raise refused(
                "margin type", f"{symbol} stayed on {config.margin_type} margin", "prepare_entry"
            )
        return config.leverage

    def is_prepared(self, symbol: str, leverage: int) -> bool:
        """Say whether isolated margin and *leverage* were read back and still stand."""
        return self._book.known(symbol) == leverage

    def forget_all(self) -> None:
        """Doubt every symbol: nobody knows what a gap would have told."""
        self._book.forget_all()

    def told(self, symbol: str, leverage: int | None) -> None:
        """Hear the venue tell a leverage, None when it says only that it changed."""
        self._book.told(symbol, leverage)

    def compare(self, report: PositionReport) -> None:
        """Hear what a position tells of its margin and leverage."""
        if report.isolated is False:
            self._book.forget(report.instrument_id.symbol)
        elif report.leverage is not None:
            self._book.told(report.instrument_id.symbol, report.leverage)

    async def _isolate(self, symbol: str) -> None:
        try:
            await self._rest.call(
                "margin_type",
                "futures_change_margin_type",
                {"symbol": symbol, "marginType": "ISOLATED"},
            )
        except VenueRefused as refusal:
            if refusal.code != ALREADY_ISOLATED:
                raise

    async def _config(self, symbol: str) -> wire.SymbolConfigRow:
        asked = self._book.asking()
        answer = await self._rest.call("symbol_config", "futures_symbol_config", {"symbol": symbol})
        config = parse_symbol_configs(answer).get(symbol)
        if config is None:
            raise VenueProtocolError(
                answer,
                f"no configuration of {symbol}",
                venue=Venue.BINANCE.value,
                operation="symbol_config",
            )
        self._keep(config, asked)
        return config

    def _keep(self, config: wire.SymbolConfigRow, asked: int) -> None:
        if config.isolated:
            self._book.read_back(config.symbol, config.leverage, asked)
        else:
            self._book.forget(config.symbol)

    async def _learn(self, symbols: Collection[str]) -> None:
        """Read all symbols back with one request, so that no entry has to wait for its own."""
        asked = self._book.asking()
        answer = await self._rest.call("symbol_config", "futures_symbol_config", {})
        for symbol, config in parse_symbol_configs(answer).items():
            if symbol in symbols:
                self._keep(config, asked)
