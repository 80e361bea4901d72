"""Venues, instruments and the rules a venue sets for them."""

import enum
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Self

import attrs


class Venue(enum.StrEnum):
    """An exchange Aegis trades on."""

    BINANCE = "BINANCE"
    BYBIT = "BYBIT"


@attrs.frozen(slots=True, eq=False, init=False)
class InstrumentId:
    """
    Name one USDT perpetual on one venue, the same way at every boundary (R13).

    *symbol* is the venue's own linear-perpetual symbol (``BTCUSDT`` on both); text form
    ``BTCUSDT-PERP.BINANCE``. There is one object per name: a price is looked up by it in some
    twenty tables on its way to an order, and identity is what costs least to compare and to hash.
    """

    symbol: str
    venue: Venue

    def __new__(cls, symbol: str, venue: Venue) -> Self:
        known: Self | None = _KNOWN.get((symbol, venue))
        if known is None:
            made = object.__new__(cls)
            object.__setattr__(made, "symbol", symbol)
            object.__setattr__(made, "venue", Venue(venue))
            # Another thread may have made the same one meanwhile: the first counts.
            known = _KNOWN.setdefault((symbol, venue), made)
        return known

    def __reduce__(self) -> tuple[type["InstrumentId"], tuple[str, Venue]]:
        return InstrumentId, (self.symbol, self.venue)

    def __str__(self) -> str:
        return f"{self.symbol}-PERP.{self.venue.value}"

    @staticmethod
    def parse(text: str) -> "InstrumentId":
        """
        Read the text form back.

        Raises:
            ValueError: when *text* is not ``SYMBOL-PERP.VENUE`` with a known venue.
        """
        symbol, sep, venue = text.partition("-PERP.")
        if not sep or not symbol:
            raise ValueError(f"instrument id was {text!r}, expected SYMBOL-PERP.VENUE")
        return instrument_id(symbol, Venue(venue))


_KNOWN: Final[dict[tuple[str, Venue], Any]] = {}


@lru_cache(maxsize=4096)
def instrument_id(symbol: str, venue: Venue) -> InstrumentId:
    """Return the one shared InstrumentId of *symbol* on *venue*."""
    return InstrumentId(symbol, venue)


@attrs.frozen(slots=True, kw_only=True)
class Instrument:
    """
    The trading rules of one instrument as its venue states them (R13, R26, R27).

    Prices in quote units (USDT), quantities in base units. None means the venue sets no limit.
    """

    instrument_id: InstrumentId
    tick_size: Decimal
    qty_step: Decimal
    qty_min: Decimal
    qty_max: Decimal | None
    market_qty_max: Decimal | None
    notional_min: Decimal | None
    leverage_max: int
    maint_margin_rate: Decimal
    """Maintenance margin as a fraction of notional, lowest tier; bounds liquidation (R29)."""
    taker_fee_rate: Decimal
    maker_fee_rate: Decimal
    funding_interval_ns: int
    tradable: bool = True

    def __attrs_post_init__(self) -> None:
        for name in ("tick_size", "qty_step"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} of {self.instrument_id} was {value}, must be > 0")
