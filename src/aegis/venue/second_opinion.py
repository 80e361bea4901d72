"""
The trading rules as ccxt reads them: a second pair of eyes on our own reading of the venue.

ccxt is imported when it is asked and at no other time: it is slow and large.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

from aegis.model.instrument import Venue
from aegis.venue.history import open_history


@attrs.frozen(slots=True, kw_only=True)
class MarketView:
    """The rules of one symbol as somebody else reads them; None where they are not told."""

    tick_size: Decimal | None
    qty_step: Decimal | None
    qty_min: Decimal | None
    notional_min: Decimal | None


def ask_ccxt(venue: Venue, base_url: str) -> Mapping[str, MarketView]:
    """
    Return what ccxt makes of the USDT perpetuals at *base_url*, by the venue's symbol. Blocks.

    Raises:
        VenueError: no answer, a refusal, or an answer ccxt could not read.

    """
    history = open_history(venue.value.lower(), base_url)
    try:
        markets = history.perpetuals()
    finally:
        history.close()
    return {
        symbol: MarketView(
            tick_size=_figure(market, "precision", "price"),
            qty_step=_figure(market, "precision", "amount"),
            qty_min=_figure(market, "limits", "amount", "min"),
            notional_min=_figure(market, "limits", "cost", "min"),
        )
        for symbol, market in markets.items()
    }


def _figure(market: Any, *path: str) -> Decimal | None:
    told: Any = market
    for name in path:
        told = told.get(name) if isinstance(told, dict) else None
    if told is None:
        return None
    try:
        return Decimal(str(told))
    except InvalidOperation:
        return None
