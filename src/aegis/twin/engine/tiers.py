"""Margin tiers: how much a position may be at a leverage, and what it must keep. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.money import ONE, ZERO

ENDLESS: Final = Decimal("Infinity")


@attrs.frozen(slots=True, kw_only=True)
class MarginTier:
    """
    One tier, for notionals up to and including *notional_cap* (quote).

    Maintenance margin is notional * *maint_rate* - *deduction*; the deduction, which Binance calls
    cum and Bybit mmDeduction, makes it continuous from tier to tier (venues.md 6).
    """

    notional_floor: Decimal
    notional_cap: Decimal
    leverage_max: int
    maint_rate: Decimal
    deduction: Decimal

    def maintenance(self, notional: Decimal) -> Decimal:
        """Return the maintenance margin of *notional* (>= 0), quote."""
        return notional * self.maint_rate - self.deduction


def only_tier(leverage_max: int, maint_rate: Decimal) -> MarginTier:
    """Return one tier for every notional."""
    return MarginTier(
        notional_floor=ZERO,
        notional_cap=ENDLESS,
        leverage_max=leverage_max,
        maint_rate=maint_rate,
        deduction=ZERO,
    )


def tiers_of(rows: Sequence[tuple[Decimal, int, Decimal]]) -> tuple[MarginTier, ...]:
    """Return the tiers of (cap, leverage_max, maint_rate), ascending; works the deductions out."""
    made: list[MarginTier] = []
    floor = deduction = last_rate = ZERO
    for cap, leverage_max, rate in rows:
        deduction += floor * (rate - last_rate)
        made.append(
            MarginTier(
                notional_floor=floor,
                notional_cap=cap,
                leverage_max=leverage_max,
                maint_rate=rate,
                deduction=deduction,
            )
        )
        floor, last_rate = cap, rate
    return tuple(made)


def tier_for(tiers: Sequence[MarginTier], notional: Decimal) -> MarginTier:
    """Return the tier that holds *notional* (>= 0), the last one beyond all of them."""
    return next((tier for tier in tiers if notional <= tier.notional_cap), tiers[-1])


def notional_max(tiers: Sequence[MarginTier], leverage: int) -> Decimal:
    """Return how much a position may be at *leverage*, 0 where none allows it."""
    allowing = [tier.notional_cap for tier in tiers if tier.leverage_max >= leverage]
    return allowing[-1] if allowing else ZERO


# Our own, after the look of the venues' tables: notional up to, leverage, for a symbol whose first
# tier is the instrument's own rate. Above it a position keeps half of what its leverage asks for.
_LARGE: Final = (
    (50_000, 125),
    (600_000, 100),
    (3_000_000, 75),
    (12_000_000, 50),
    (60_000_000, 25),
    (90_000_000, 20),
    (200_000_000, 10),
    (400_000_000, 5),
    (800_000_000, 2),
    (1_200_000_000, 1),
)
_OTHER: Final = (
    (20_000, 100),
    (100_000, 75),
    (200_000, 50),
    (800_000, 40),
    (4_000_000, 25),
    (8_000_000, 20),
    (40_000_000, 10),
    (80_000_000, 5),
    (200_000_000, 2),
    (400_000_000, 1),
)
_RATE_GRID: Final = Decimal("0.0001")
LARGE_BASES: Final = frozenset({"BTC", "ETH"})
BYBIT_FIRST_CAP: Final = 2_000_000
"""The first tier of BTC and ETH on Bybit (venues.md 6); of others a tenth of it."""


def product_tiers(
    venue: str, base: str, leverage_max: int, maint_rate: Decimal
) -> tuple[MarginTier, ...]:
    """Return the twin's own tiers of one instrument; the first has the rate and leverage given."""
    large = base in LARGE_BASES
    table = _LARGE if large else _OTHER
    first_cap = max(cap for cap, leverage in table if leverage >= min(leverage_max, table[0][1]))
    if venue == "bybit":
        first_cap = max(first_cap, BYBIT_FIRST_CAP if large else BYBIT_FIRST_CAP // 10)
    rows = [(Decimal(first_cap), leverage_max, maint_rate)]
    for cap, leverage in table:
        rate = (ONE / (2 * leverage)).quantize(_RATE_GRID)
        if cap > first_cap and leverage < leverage_max and rate > rows[-1][2]:
            rows.append((Decimal(cap), leverage, rate))
    return tiers_of(rows)
