"""
What the doctor asks beyond the gateway's port, in the words of each venue.

Sources: venues.md 2.4 and 3.6. Every question raises the VenueError tree.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol, runtime_checkable

from aegis.app.doctor.checks import MarginFact
from aegis.core.clock import NS_PER_MS
from aegis.model.account import PositionMode, PositionReport
from aegis.model.money import plain
from aegis.model.ports import VenueGateway
from aegis.venue.binance import startup as binance_startup
from aegis.venue.binance import wire as binance_wire
from aegis.venue.binance.frames import row
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.bybit import startup as bybit_startup
from aegis.venue.bybit import wire as bybit_wire
from aegis.venue.bybit.encode import CATEGORY
from aegis.venue.bybit.gateway import BybitGateway
from aegis.venue.symbols import Loaded


class Questions(Protocol):
    """The questions that differ from venue to venue."""

    async def server_time_ns(self) -> int:
        """Return the venue's clock, ns UTC."""

    async def prepare(self) -> None:
        """Let signed requests carry the venue's time."""

    async def hedged(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """Return what is in hedge mode: symbols, or "the account"; the gateway keeps the mode."""

    def second_legs(self) -> tuple[PositionReport, ...]:
        """Return what the last snapshot held beside the positions the bot sees (hedge mode)."""

    async def margin(self) -> MarginFact:
        """Return how the account keeps margin."""

    async def instruments(self, symbols: Sequence[str]) -> Loaded:
        """Return the trading rules, and what is not traded; VenueRefused: nothing is."""


@runtime_checkable
class AmendsStops(Protocol):
    """A venue where a resting stop moves in place; Binance has no such thing (venues.md 1.1)."""

    async def amend_stop(self, symbol: str, order_id: str, trigger_price: Decimal) -> None:
        """Change the trigger of a resting stop of the doctor's own; the one thing that is set."""


def questions_for(gateway: VenueGateway) -> Questions:
    """Return the questions for the venue of *gateway*."""
    if isinstance(gateway, BinanceGateway):
        return BinanceQuestions(gateway)
    if isinstance(gateway, BybitGateway):
        return BybitQuestions(gateway)
    raise TypeError(f"gateway was {type(gateway).__name__}, the doctor does not know it")


class BinanceQuestions:
    """Questions to Binance USDⓈ-M futures."""

    def __init__(self, gateway: BinanceGateway) -> None:
        self._gateway = gateway
        self._rest = gateway.rest

    async def server_time_ns(self) -> int:
        """Return the venue's clock, ns UTC, to the millisecond."""
        answer = await self._rest.call("time", "futures_time")
        return row(answer, binance_wire.ServerTimeRow, "time").server_time * NS_PER_MS

    async def prepare(self) -> None:
        """Measure the offset of the clock, which signatures then carry."""
        await self._rest.sync_time()

    async def hedged(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """Return "the account", whose mode it is, or nothing."""
        modes = await self._gateway.read_position_modes(symbols)
        return ("the account",) if PositionMode.HEDGE in modes.values() else ()

    def second_legs(self) -> tuple[PositionReport, ...]:
        """Return what is open beside the positions the bot sees."""
        return self._gateway.second_legs

    async def margin(self) -> MarginFact:
        """Return the asset mode; isolated margin is set per symbol before an entry."""
        answer = await self._rest.call("account_config", "futures_account_config")
        config = row(answer, binance_wire.AccountConfigRow, "account_config")
        if config.multi_assets_margin:
            return MarginFact(
                mode="multi-assets mode, which has no isolated margin",
                good=False,
                fix="set Futures > Preferences > Asset Mode to Single-Asset Mode",
            )
        return MarginFact(mode="single-asset mode", good=True)

    async def instruments(self, symbols: Sequence[str]) -> Loaded:
        """Return the trading rules of *symbols*, and why some are not traded."""
        return await binance_startup.load_instruments(self._rest, symbols)


class BybitQuestions:
    """Questions to Bybit V5 linear."""

    def __init__(self, gateway: BybitGateway) -> None:
        self._gateway = gateway
        self._rest = gateway.rest

    async def server_time_ns(self) -> int:
        """Return the venue's clock, ns UTC."""
        answer = await self._rest.call("get_server_time")
        return answer.read(bybit_wire.ServerTime).time_nano

    async def prepare(self) -> None:
        """Measure the offset of the clock, which signatures then carry."""
        await self._rest.sync_time()

    async def hedged(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """Return the symbols in hedge mode, which is kept per symbol here."""
        modes = await self._gateway.read_position_modes(symbols)
        return tuple(symbol for symbol, mode in modes.items() if mode is PositionMode.HEDGE)

    def second_legs(self) -> tuple[PositionReport, ...]:
        """Return what is open beside the positions the bot sees."""
        return self._gateway.second_legs

    async def margin(self) -> MarginFact:
        """Return the margin mode of the unified account."""
        info = (await self._rest.call("get_account_info")).read(bybit_wire.AccountInfo)
        if info.unified_margin_status == 1:
            return MarginFact(
                mode="a classic account", good=False, fix="upgrade it to a unified trading account"
            )
        return MarginFact(
            mode=info.margin_mode,
            good=info.margin_mode == bybit_startup.ISOLATED,
            settable=info.margin_mode == "REGULAR_MARGIN",
            fix="set the account to isolated margin on the venue's site, with nothing open",
        )

    async def instruments(self, symbols: Sequence[str]) -> Loaded:
        """Return the trading rules of *symbols*, and why some are not traded."""
        return await bybit_startup.load_instruments(self._rest, symbols)

    async def amend_stop(self, symbol: str, order_id: str, trigger_price: Decimal) -> None:
        """Change the trigger of a resting stop (venues.md 3.6)."""
        await self._rest.call(
            "amend_order",
            {
                "category": CATEGORY,
                "symbol": symbol,
                "orderLinkId": order_id,
                "triggerPrice": plain(trigger_price),
            },
        )
