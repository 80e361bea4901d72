"""
What must hold before Bybit is traded: keys, account and position mode, listed instruments.

Each check that fails says in its error how to mend it. Sources: venues.md 3.2, 3.6.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from aegis.core.errors import VenueProtocolError, VenueRefused, VenueThrottled
from aegis.model.account import PositionMode
from aegis.model.instrument import Instrument, Venue
from aegis.venue.bybit import wire
from aegis.venue.bybit.encode import CATEGORY, ONE_WAY
from aegis.venue.bybit.errors import MARGIN_MODE_NOT_MODIFIED, VENUE
from aegis.venue.bybit.parse import instrument, price_of, read_rest, told
from aegis.venue.bybit.rest import BybitRest
from aegis.venue.symbols import NOT_LISTED, LeftOut, Loaded, WhyNot, why_not

T = TypeVar("T")

INSTRUMENTS_PER_PAGE: Final = 1000
ISOLATED: Final = "ISOLATED_MARGIN"
_CLASSIC_ACCOUNT: Final = 1
_TRADING: Final = "Trading"
_PERPETUAL: Final = "LinearPerpetual"

_THROTTLED_TRIES: Final = 3
_THROTTLED_WAIT_S: Final = 1.0


async def check_account(rest: BybitRest) -> None:
    """
    Make sure of a unified account in isolated margin, and switch to isolated where possible.

    Raises:
        VenueRefused: with the fix, when it cannot be had.

    """
    info = (await rest.call("get_account_info")).read(wire.AccountInfo)
    if info.unified_margin_status == _CLASSIC_ACCOUNT:
        raise _refused("ACCOUNT", "the account is classic: upgrade it to a unified trading account")
    if info.margin_mode == ISOLATED:
        return
    fix = "close positions and orders, then set the account to isolated margin on the website"
    try:
        await rest.call(
            "set_margin_mode", {"setMarginMode": ISOLATED}, accept={MARGIN_MODE_NOT_MODIFIED}
        )
    except VenueRefused as error:
        raise _refused(
            "MARGIN_MODE", f"it was {info.margin_mode}, {error.message}: {fix}"
        ) from error
    info = (await rest.call("get_account_info")).read(wire.AccountInfo)
    if info.margin_mode != ISOLATED:
        raise _refused("MARGIN_MODE", f"it stayed {info.margin_mode}: {fix}")


async def position_mode(rest: BybitRest, symbol: str) -> PositionMode:
    """
    Return the position mode of *symbol* by the index of its rows: 0, or 1 and 2 (R41).

    Raises:
        VenueProtocolError: no row, or of both modes.
        VenueError: when the venue could not be asked.

    """
    answer = await rest.call(
        "get_positions", {"category": CATEGORY, "symbol": symbol}, protective=True
    )
    # Asked by symbol, the venue returns flat rows too (venues.md 3.6).
    indexes = {
        read_rest(row, wire.PositionRow, lambda r: r.position_idx, answer.operation)
        for row in answer.read(wire.Page).list
    }
    if indexes == {ONE_WAY}:
        return PositionMode.ONE_WAY
    if indexes and indexes <= {1, 2}:
        return PositionMode.HEDGE
    told = f"positionIdx {sorted(indexes)}" if indexes else "no position row"
    raise VenueProtocolError(
        answer.result, f"{told} of {symbol}", venue=VENUE, operation=answer.operation
    )


async def load_instruments(
    rest: BybitRest, symbols: Sequence[str], held: Collection[str] = ()
) -> Loaded:
    """
    Return the rules of *symbols* that can be traded, in that order, and why the others cannot.

    Symbols in *held* carry a position: they come whatever their status is.

    Raises:
        VenueRefused: none is left, or one that is held is not listed.
        VenueError: when the venue could not be asked.

    """
    operation = "get_instruments_info"
    rows = await rest.rows(operation, {"category": CATEGORY}, limit=INSTRUMENTS_PER_PAGE)
    wanted = {str(row.get("symbol")): row for row in rows if row.get("symbol") in symbols}
    instruments: list[Instrument] = []
    left_out: list[LeftOut] = []
    for symbol in symbols:
        reason = _why_not(wanted.get(symbol))
        if reason is not None and (reason is NOT_LISTED or symbol not in held):
            left_out.append(LeftOut(symbol=symbol, status=reason.status, fix=reason.fix))
            continue
        risk = await _patient(partial(_lowest_tier, rest, symbol))
        fee = await _patient(partial(_fee, rest, symbol))
        instruments.append(
            read_rest(
                wanted[symbol],
                wire.InstrumentRow,
                partial(instrument, risk=risk, fee=fee),
                operation,
            )
        )
    loaded = Loaded(instruments=tuple(instruments), left_out=tuple(left_out))
    loaded.check(Venue.BYBIT, held)
    return loaded


def _why_not(row: Mapping[str, object] | None) -> WhyNot | None:
    if row is None:
        return NOT_LISTED
    if row.get("contractType") != _PERPETUAL:
        return why_not(str(row.get("contractType")))
    return None if row.get("status") == _TRADING else why_not(str(row.get("status")))


async def _lowest_tier(rest: BybitRest, symbol: str) -> wire.RiskRow:
    answer = await rest.call("get_risk_limit", {"category": CATEGORY, "symbol": symbol})
    tiers = [
        read_rest(row, wire.RiskRow, lambda r: (told(r.risk_limit_value, "riskLimitValue"), r), "")
        for row in answer.read(wire.Page).list
        if row.get("symbol") == symbol
    ]
    if not tiers:
        raise VenueProtocolError(
            answer.result, f"no risk limit of {symbol}", venue=VENUE, operation=answer.operation
        )
    return min(tiers, key=lambda tier: tier[0])[1]


async def _fee(rest: BybitRest, symbol: str) -> wire.FeeRow:
    answer = await rest.call("get_fee_rates", {"category": CATEGORY, "symbol": symbol})
    for row in answer.read(wire.Page).list:
        if row.get("symbol") == symbol:
            return read_rest(row, wire.FeeRow, lambda r: r, answer.operation)
    raise VenueProtocolError(
        answer.result, f"no fee rate of {symbol}", venue=VENUE, operation=answer.operation
    )


async def leverage_of(rest: BybitRest, symbol: str) -> int:
    """
    Return the leverage *symbol* has on the venue (R28).

    Raises:
        VenueProtocolError: when it is not told, or not a whole number.

    """
    answer = await rest.call("get_positions", {"category": CATEGORY, "symbol": symbol})
    for row in answer.read(wire.Page).list:
        leverage = read_rest(
            row, wire.PositionRow, lambda r: price_of(r.leverage, "leverage"), answer.operation
        )
        if leverage is not None and leverage == leverage.to_integral_value():
            return int(leverage)
    raise VenueProtocolError(
        answer.result, f"no whole leverage of {symbol}", venue=VENUE, operation=answer.operation
    )


async def _patient(call: Callable[[], Awaitable[T]]) -> T:
    """Call, and wait where the venue asks for it: fee rates are limited to 5 a second."""
    for _ in range(_THROTTLED_TRIES - 1):
        try:
            return await call()
        except VenueThrottled as error:
            wait_s = _THROTTLED_WAIT_S if error.retry_after_s is None else error.retry_after_s
            if wait_s > _THROTTLED_WAIT_S * 10:
                raise
            await asyncio.sleep(wait_s)
    return await call()


def _refused(code: str, message: str) -> VenueRefused:
    return VenueRefused(code, message, venue=VENUE, operation="connect")
