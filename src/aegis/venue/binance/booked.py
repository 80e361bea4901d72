"""
What Binance booked on the account since a time, whoever listened then: fills and funding (R49).

The income list names the symbols that traded, so that no symbol needs to be known beforehand; the
executions of each are then asked for (venues.md 2.4).
"""

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

from aegis.core.clock import NS_PER_MS
from aegis.model.booked import BookedSince
from aegis.model.events import FundingReported
from aegis.model.fill import Fill
from aegis.model.instrument import Venue, instrument_id
from aegis.venue.binance import wire
from aegis.venue.binance.frames import checked, rows
from aegis.venue.binance.parse import funding_id
from aegis.venue.binance.parse_rest import fill_of
from aegis.venue.binance.rest import BinanceRest

_ROWS_MAX: Final = 1000
_PAGES_MAX: Final = 100
FUNDING: Final = "FUNDING_FEE"


class IncomeRow(Struct, frozen=True, rename="camel"):
    """One booking of /fapi/v1/income; *symbol* "" for transfers."""

    symbol: str
    income_type: str
    income: Decimal
    time: int


async def booked_since(
    rest: BinanceRest,
    trades: Callable[[str, int], Awaitable[Sequence[wire.TradeRow]]],
    client_id: Callable[[wire.TradeRow], Awaitable[str]],
    since_ns: int,
    now_ns: int,
    *,
    followed: Sequence[str] = (),
) -> BookedSince:
    """
    Return every fill and funding payment from *since_ns* on (ns UTC), oldest first.

    *followed*: symbols that are asked even if the income list does not name them yet.

    Raises:
        VenueError: any query failed: part of a list is not a list (R88).
    """
    income = await _income(rest, since_ns)
    traded = {one.symbol for one in income if one.symbol and one.income_type != FUNDING}
    symbols = sorted(traded.union(followed))
    fills: list[Fill] = []
    for symbol in symbols:
        for trade in await trades(symbol, since_ns):
            fills.append(fill_of(trade, await client_id(trade)))  # noqa: PERF401 - awaits inside
    return BookedSince(
        fills=tuple(sorted(fills, key=lambda fill: fill.ts_event)),
        fundings=tuple(_funding(one, now_ns) for one in income if one.income_type == FUNDING),
    )


async def _income(rest: BinanceRest, since_ns: int) -> list[IncomeRow]:
    found: list[IncomeRow] = []
    for page in range(1, _PAGES_MAX + 1):
        answer = await rest.call(
            "income",
            "futures_income_history",
            {"startTime": since_ns // NS_PER_MS, "limit": _ROWS_MAX, "page": page},
        )
        listed = rows(answer, IncomeRow, "income")
        found += listed
        if len(listed) < _ROWS_MAX:
            break
    return found


def _funding(one: IncomeRow, now_ns: int) -> FundingReported:
    return FundingReported(
        ts_event=one.time * NS_PER_MS,
        ts_recv=now_ns,
        venue=Venue.BINANCE,
        instrument_id=instrument_id(one.symbol, Venue.BINANCE) if one.symbol else None,
        amount=checked(one.income, "income", one, "income"),
        funding_id=funding_id(one.symbol, one.time),
    )
