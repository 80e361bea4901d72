"""
What must hold before Bybit is traded: clock, keys, account and position mode, listed instruments.

Each check that fails says in its error how to mend it. Sources: venues.md 3.2, 3.6.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.errors import VenueProtocolError, VenueRefused, VenueThrottled
from aegis.model.instrument import Instrument
from aegis.venue.bybit import wire
from aegis.venue.bybit.encode import CATEGORY
from aegis.venue.bybit.errors import MARGIN_MODE_NOT_MODIFIED, VENUE
from aegis.venue.bybit.parse import instrument, price_of, read_rest, told
from aegis.venue.bybit.rest import BybitRest

T = TypeVar("T")

INSTRUMENTS_PER_PAGE: Final = 1000
ISOLATED: Final = "ISOLATED_MARGIN"
_CLASSIC_ACCOUNT: Final = 1
_AHEAD_MS_MAX: Final = 900
"""The venue refuses requests from 1,000 ms in its future (venues.md 3.2)."""

_THROTTLED_TRIES: Final = 3
_THROTTLED_WAIT_S: Final = 1.0


async def check_clock(rest: BybitRest, clock: Clock, recv_window_ms: int) -> int:
    """
    Return how far our wall clock is ahead of the venue's, in ns.

    Raises:
        VenueRefused: when requests would be refused for their time.

    """
    before_ns = clock.wall_ns()
    answer = await rest.call("get_server_time")
    middle_ns = (before_ns + clock.wall_ns()) // 2
    ahead_ns = middle_ns - answer.read(wire.ServerTime).time_nano
    ahead_ms = ahead_ns // NS_PER_MS
    if not -recv_window_ms * 0.8 < ahead_ms < _AHEAD_MS_MAX:
        raise _refused(
            "CLOCK",
            f"the clock was {ahead_ms} ms ahead of the venue, allowed {-recv_window_ms * 0.8:.0f} "
            f"to {_AHEAD_MS_MAX} ms: let NTP set it",
        )
    return ahead_ns


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


async def check_one_way(rest: BybitRest, symbol: str) -> None:
    """
    Make sure *symbol* is in one-way mode: all its position rows have index 0 (R41).

    Raises:
        VenueRefused: with the fix, in hedge mode.

    """
    answer = await rest.call("get_positions", {"category": CATEGORY, "symbol": symbol})
    rows = answer.read(wire.Page).list
    if not rows:
        # Asked by symbol, the venue returns flat rows too.
        raise VenueProtocolError(
            answer.result, f"no position row of {symbol}", venue=VENUE, operation=answer.operation
        )
    for row in rows:
        index = read_rest(row, wire.PositionRow, lambda r: r.position_idx, answer.operation)
        if index != 0:
            raise _refused(
                "HEDGE_MODE",
                f"{symbol} is in hedge mode (positionIdx {index}): switch it to one-way mode",
            )


async def load_instruments(rest: BybitRest, symbols: Sequence[str]) -> tuple[Instrument, ...]:
    """
    Return the trading rules of *symbols*, in that order.

    Raises:
        VenueRefused: when one is not listed or not tradable.

    """
    operation = "get_instruments_info"
    rows = await rest.rows(operation, {"category": CATEGORY}, limit=INSTRUMENTS_PER_PAGE)
    wanted = {str(row.get("symbol")): row for row in rows if row.get("symbol") in symbols}
    found = []
    for symbol in symbols:
        if symbol not in wanted:
            raise _refused("SYMBOL", f"{symbol} is not listed as a linear perpetual: take it out")
        risk = await _patient(partial(_lowest_tier, rest, symbol))
        fee = await _patient(partial(_fee, rest, symbol))
        rules = read_rest(
            wanted[symbol], wire.InstrumentRow, partial(instrument, risk=risk, fee=fee), operation
        )
        if not rules.tradable:
            status = wanted[symbol].get("status")
            raise _refused("SYMBOL", f"{symbol} is not tradable, its status was {status}")
        found.append(rules)
    return tuple(found)


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
