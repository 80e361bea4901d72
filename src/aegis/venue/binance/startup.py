"""What is checked and read before Binance is traded: clock, account modes, trading rules."""

from collections.abc import Sequence
from typing import Final

from aegis.core.errors import VenueRefused
from aegis.model.instrument import Instrument
from aegis.venue.binance import wire
from aegis.venue.binance.errors import refused
from aegis.venue.binance.frames import row, rows
from aegis.venue.binance.parse_rest import (
    FUNDING_INTERVAL_HOURS_DEFAULT,
    parse_brackets,
    parse_exchange_info,
    parse_instrument,
)
from aegis.venue.binance.rest import BinanceRest

_SYMBOL_UNKNOWN: Final = "-1121"


async def check_modes(rest: BinanceRest) -> None:
    """
    Make sure of one-way mode, single-asset mode and the permission to trade (R41).

    Raises:
        VenueRefused: with the fix in words.
        VenueError: when the venue could not be asked.

    """
    mode = row(
        await rest.call("position_mode", "futures_get_position_mode"),
        wire.PositionModeRow,
        "position_mode",
    )
    if mode.dual_side_position:
        raise refused(
            "hedge mode",
            "the account is in hedge mode: close all positions and orders, then set Futures > "
            "Preferences > Position Mode to One-way Mode",
            "connect",
        )
    account = row(
        await rest.call("account_config", "futures_account_config"),
        wire.AccountConfigRow,
        "account_config",
    )
    if account.multi_assets_margin:
        raise refused(
            "multi-assets mode",
            "the account is in multi-assets mode, which has no isolated margin: set Futures > "
            "Preferences > Asset Mode to Single-Asset Mode",
            "connect",
        )
    if not account.can_trade:
        raise refused(
            "no permission",
            "the account may not trade: enable Futures for the account and for its API key",
            "connect",
        )


async def load_instruments(rest: BinanceRest, symbols: Sequence[str]) -> tuple[Instrument, ...]:
    """
    Return the instruments of *symbols*, in that order.

    Raises:
        VenueRefused: naming the symbols that are not listed.
        VenueError: when the venue could not be asked.

    """
    listed = parse_exchange_info(await rest.call("exchange_info", "futures_exchange_info"))
    lowest_tiers = parse_brackets(await rest.call("leverage_bracket", "futures_leverage_bracket"))
    missing = [name for name in symbols if name not in listed or name not in lowest_tiers]
    if missing:
        raise refused(
            _SYMBOL_UNKNOWN,
            f"not listed: {', '.join(missing)}: remove from the configured symbols",
            "connect",
        )
    intervals = await _funding_hours(rest)
    instruments = []
    for name in symbols:
        commission = row(
            await rest.call("commission_rate", "futures_commission_rate", {"symbol": name}),
            wire.CommissionRow,
            "commission_rate",
        )
        instruments.append(
            parse_instrument(
                listed[name],
                lowest_tiers[name],
                commission,
                intervals.get(name, FUNDING_INTERVAL_HOURS_DEFAULT),
            )
        )
    return tuple(instruments)


async def _funding_hours(rest: BinanceRest) -> dict[str, int]:
    # Lists only the symbols whose interval is not the usual one (venues.md 6).
    try:
        answer = await rest.call("funding_info", "futures_v1_get_funding_info")
    except VenueRefused:
        return {}
    listed = rows(answer, wire.FundingInfoRow, "funding_info")
    return {info.symbol: info.funding_interval_hours for info in listed}
