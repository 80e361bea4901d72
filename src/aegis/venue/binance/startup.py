"""What is checked and read before Binance is traded: clock, account modes, trading rules."""

from collections.abc import Collection, Sequence
from typing import Final

from aegis.core.errors import VenueRefused
from aegis.model.account import PositionMode
from aegis.model.instrument import Instrument, Venue
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
from aegis.venue.symbols import NOT_LISTED, LeftOut, Loaded, WhyNot, why_not

_TRADING: Final = "TRADING"
_PERPETUAL: Final = "PERPETUAL"


async def position_mode(rest: BinanceRest) -> PositionMode:
    """Return the account's position mode (R41); VenueError when it could not be asked."""
    mode = row(
        await rest.call("position_mode", "futures_get_position_mode"),
        wire.PositionModeRow,
        "position_mode",
    )
    return PositionMode.HEDGE if mode.dual_side_position else PositionMode.ONE_WAY


async def check_account(rest: BinanceRest) -> None:
    """
    Make sure of single-asset mode and the permission to trade.

    Raises:
        VenueRefused: with the fix in words.
        VenueError: when the venue could not be asked.

    """
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


async def load_instruments(
    rest: BinanceRest, symbols: Sequence[str], held: Collection[str] = ()
) -> Loaded:
    """
    Return the instruments of *symbols* that can be traded, in that order, and why others cannot.

    Symbols in *held* carry a position: they come whatever their status is.

    Raises:
        VenueRefused: none is left, or one that is held is not listed.
        VenueError: when the venue could not be asked.

    """
    info = await rest.call("exchange_info", "futures_exchange_info")
    rest.learn_limits(info)
    listed = parse_exchange_info(info)
    lowest_tiers = parse_brackets(await rest.call("leverage_bracket", "futures_leverage_bracket"))
    intervals = await _funding_hours(rest)
    instruments: list[Instrument] = []
    left_out: list[LeftOut] = []
    for name in symbols:
        reason = _why_not(listed.get(name), name in lowest_tiers)
        if reason is not None and (reason is NOT_LISTED or name not in held):
            left_out.append(LeftOut(symbol=name, status=reason.status, fix=reason.fix))
            continue
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
    loaded = Loaded(instruments=tuple(instruments), left_out=tuple(left_out))
    loaded.check(Venue.BINANCE, held)
    return loaded


def _why_not(symbol: wire.SymbolRow | None, has_tier: bool) -> WhyNot | None:
    if symbol is None or not has_tier:
        return NOT_LISTED
    if symbol.contract_type != _PERPETUAL:
        return why_not(symbol.contract_type or "no perpetual")
    return None if symbol.status == _TRADING else why_not(symbol.status)


async def _funding_hours(rest: BinanceRest) -> dict[str, int]:
    # Lists only the symbols whose interval is not the usual one (venues.md 6).
    try:
        answer = await rest.call("funding_info", "futures_v1_get_funding_info")
    except VenueRefused:
        return {}
    listed = rows(answer, wire.FundingInfoRow, "funding_info")
    return {info.symbol: info.funding_interval_hours for info in listed}
