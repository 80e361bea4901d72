"""Which configured symbols a venue lets us trade, and what is told of the others."""

from collections.abc import Collection
from typing import Final

import attrs

from aegis.core.errors import VenueRefused
from aegis.model.instrument import Instrument, Venue

NO_SYMBOL: Final = "SYMBOL"
"""Code of the refusal when no symbol is left."""


@attrs.frozen(slots=True)
class WhyNot:
    """Why a symbol is not traded: the venue's word for its state, and what a person can do."""

    status: str
    fix: str


NOT_LISTED: Final = WhyNot("not listed", "check its spelling, or remove it from the symbols")


def why_not(status: str) -> WhyNot:
    """Return the reason for a symbol that is listed and not traded, or is no perpetual."""
    return WhyNot(status, "remove it from the symbols until it trades again")


@attrs.frozen(slots=True, kw_only=True)
class LeftOut:
    """A configured symbol that is not traded on this venue."""

    symbol: str
    status: str
    fix: str

    def __str__(self) -> str:
        return f"{self.symbol} ({self.status}): {self.fix}"


@attrs.frozen(slots=True, kw_only=True)
class Loaded:
    """What a venue has of the symbols asked for."""

    instruments: tuple[Instrument, ...]
    left_out: tuple[LeftOut, ...]

    def check(self, venue: Venue, held: Collection[str]) -> None:
        """
        Make sure that there is something to do, and that every position can be protected.

        Raises:
            VenueRefused: no symbol is left, or one in *held* is missing.

        """
        lost = [each for each in self.left_out if each.symbol in held]
        if lost:
            told = "; ".join(f"{each.symbol} ({each.status})" for each in lost)
            raise VenueRefused(
                NO_SYMBOL,
                f"there is a position that cannot be protected: {told}: close it on the website",
                venue=venue.value,
                operation="connect",
            )
        if not self.instruments:
            told = "; ".join(str(each) for each in self.left_out) or "none was asked for"
            raise VenueRefused(
                NO_SYMBOL, f"no symbol is left: {told}", venue=venue.value, operation="connect"
            )
