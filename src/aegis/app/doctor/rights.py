"""
What an API key may do, asked from the venue: trade, withdraw, from which addresses.

An answer that is missing leaves None, which is never read as "may not": an unknown is an unknown.
Sources: Binance GET /sapi/v1/account/apiRestrictions (the futures test environment has none),
Bybit GET /v5/user/query-api (venues.md 7).
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

from aegis.core.errors import VenueError, VenueRefused
from aegis.model.ports import VenueGateway
from aegis.venue.binance.gateway import BinanceGateway
from aegis.venue.binance.rest import BinanceRest
from aegis.venue.bybit.gateway import BybitGateway
from aegis.venue.bybit.rest import BybitRest

KEY_REFUSED: Final = frozenset(
    {
        # Binance: no such key, key or address or permission, bad signature, key too long or short
        *("-2014", "-2015", "-1022", "-1002", "401"),
        # Bybit: key, signature, permission, address, expired; NO_KEYS is the adapter's own
        *("10003", "10004", "10005", "10007", "10010", "33004", "NO_KEYS", "HTTP 401"),
    }
)
"""Refusals that are about the key itself (venues.md 2.7, 3.8)."""
TIME_REFUSED: Final = frozenset({"-1021", "-5028", "10002", "CLOCK"})
"""Refusals that are about the request's time, whatever the key."""


@attrs.frozen(slots=True, kw_only=True)
class KeyRights:
    """Rights of one API key; None where it was not told, *why_unknown* then says why."""

    can_trade: bool | None
    can_withdraw: bool | None
    ip_restricted: bool | None
    why_unknown: VenueError | str = ""


async def key_rights(gateway: VenueGateway) -> KeyRights:
    """
    Return what the gateway's key may do; a right the venue did not tell is None.

    Raises:
        VenueRefused: the venue turned the key down, or the time of the request.
        VenueError: it could not be asked.

    """
    if isinstance(gateway, BinanceGateway):
        return await _binance_rights(gateway.rest)
    if isinstance(gateway, BybitGateway):
        return await _bybit_rights(gateway.rest)
    raise TypeError(f"gateway was {type(gateway).__name__}, its key's rights cannot be asked")


async def _binance_rights(rest: BinanceRest) -> KeyRights:
    # Any signed call of the futures API: the key is accepted there, or it is not.
    await rest.call("account_config", "futures_account_config")
    try:
        told = await rest.call("api_restrictions", "get_account_api_permissions")
    except VenueRefused as refusal:
        if refusal.code in TIME_REFUSED:
            raise
        return _untold(refusal)
    except VenueError as error:
        return _untold(error)
    row = told if isinstance(told, dict) else {}
    return _rights(
        _flag(row, "enableFutures"), _flag(row, "enableWithdrawals"), _flag(row, "ipRestrict")
    )


async def _bybit_rights(rest: BybitRest) -> KeyRights:
    row = (await rest.call("get_api_key_information")).result
    grants = row.get("permissions")
    if not isinstance(grants, Mapping):
        return _rights(None, None, None)
    wallet, contract = _names(grants, "Wallet"), _names(grants, "ContractTrade")
    read_only = row.get("readOnly")
    trades: bool | None = None
    if read_only in {0, 1} and contract is not None:
        derivatives = _names(grants, "Derivatives") or ()
        trades = read_only == 0 and ({"Order", "Position"} <= {*contract} or bool(derivatives))
    addresses = row.get("ips")
    return _rights(
        trades,
        None if wallet is None else "Withdraw" in wallet,
        (bool(addresses) and "*" not in addresses) if isinstance(addresses, list) else None,
    )


def _rights(trade: bool | None, withdraw: bool | None, ip: bool | None) -> KeyRights:
    told = None not in {trade, withdraw, ip}
    return KeyRights(
        can_trade=trade,
        can_withdraw=withdraw,
        ip_restricted=ip,
        why_unknown="" if told else "the venue's answer did not tell it",
    )


def _untold(error: VenueError) -> KeyRights:
    return KeyRights(can_trade=None, can_withdraw=None, ip_restricted=None, why_unknown=error)


def _flag(row: Mapping[str, Any], name: str) -> bool | None:
    value = row.get(name)
    return value if isinstance(value, bool) else None


def _names(grants: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    try:
        return msgspec.convert(grants.get(name), tuple[str, ...])
    except msgspec.ValidationError:
        return None
