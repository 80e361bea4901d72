"""
How numbers, times and ids are written for a person. Pure: no clock, no log.

An unknown is written "not recorded", never 0 (R80).
"""

from decimal import Decimal
from typing import Final

from aegis.core.clock import NS_PER_MS, NS_PER_S
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.money import Rounding, plain, round_to_grid

NOT_RECORDED: Final = "not recorded"

_ID_CHARS_MAX: Final = 14
_PLACES: Final = 8
_MINUTE_NS: Final = 60 * NS_PER_S
_HOUR_NS: Final = 60 * _MINUTE_NS
_DAY_NS: Final = 24 * _HOUR_NS
_EXACT_BELOW_MS: Final = 10


def price_text(price: Decimal | None, tick_size: Decimal | None) -> str:
    """Return *price* on the tick grid where the grid is known; averages lie between ticks."""
    if price is None:
        return NOT_RECORDED
    if tick_size is not None:
        return plain(round_to_grid(price, tick_size, Rounding.NEAREST))
    return plain(round(price, _PLACES))


def signed_price_text(difference: Decimal, tick_size: Decimal | None) -> str:
    """Return a difference of prices with its sign."""
    text = price_text(difference, tick_size)
    return text if text.startswith("-") or text == "0" else f"+{text}"


def usdt(amount: Decimal | None) -> str:
    """Return *amount* in USDT: two decimals, four below one."""
    if amount is None:
        return NOT_RECORDED
    return f"{amount:.{_decimals(amount)}f} USDT"


def signed_usdt(amount: Decimal | None) -> str:
    """Return *amount* in USDT with its sign."""
    if amount is None:
        return NOT_RECORDED
    return f"{amount:+.{_decimals(amount)}f} USDT"


def _decimals(amount: Decimal) -> int:
    return 2 if amount == 0 or abs(amount) >= 1 else 4


def duration(ns: int | None) -> str:
    """Return *ns* in the two units that matter: 8 ms, 1.2 s, 41 min, 3 h 12 min, 2 d 4 h."""
    if ns is None:
        return NOT_RECORDED
    if ns < 0:
        return f"-{duration(-ns)}"
    if ns < NS_PER_S:
        ms = ns / NS_PER_MS
        text = f"{ms:.1f}" if ms < _EXACT_BELOW_MS else f"{ms:.0f}"
        if ns and text == "0.0":
            return "under 0.1 ms"
        return f"{text.removesuffix('.0')} ms"
    if ns < _MINUTE_NS:
        return f"{ns / NS_PER_S:.1f} s"
    if ns < _HOUR_NS:
        return f"{ns // _MINUTE_NS} min"
    if ns < _DAY_NS:
        return f"{ns // _HOUR_NS} h {ns % _HOUR_NS // _MINUTE_NS} min"
    return f"{ns // _DAY_NS} d {ns % _DAY_NS // _HOUR_NS} h"


def short_id(text: str) -> str:
    """Return the end of a long id: its beginning is the same for all orders of an installation."""
    return text if len(text) <= _ID_CHARS_MAX else f"..{text[2 - _ID_CHARS_MAX :]}"


def who(subject: InstrumentId | Venue | None) -> str:
    """Return the two columns every line begins with: venue and symbol."""
    match subject:
        case InstrumentId(symbol=symbol, venue=venue):
            return f"{venue.value:<7} {symbol:<9}"
        case Venue():
            return f"{subject.value:<7} {'':<9}"
        case None:
            return f"{'-':<7} {'':<9}"


def plural(count: int, noun: str) -> str:
    """Return *count* and *noun*, with an s unless it is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
