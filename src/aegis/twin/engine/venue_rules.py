"""How the two venues' engines differ, as values (venues.md 1.2 to 1.4, 2.3, 3.3 to 3.5)."""

from decimal import Decimal
from typing import Final

import attrs

MILLISECOND_NS: Final = 1_000_000


@attrs.frozen(slots=True, kw_only=True)
class VenueRules:
    """
    What differs between the venues' engines.

    attached_protection: entries may carry position-bound stop and target (Bybit).
    one_close_position_per_direction: -4130 (Binance).
    trigger_latency_ns: from trigger to the market order (Binance 17 to 401 ms, venues.md 1.4).
    continues_in_place: a triggered conditional fills under its own id (Bybit); else a child order
    with its own id and the conditional's client id (Binance).
    drop_close_position_when_flat: closePosition orders expire when the position is flat (Binance).
    """

    name: str
    attached_protection: bool
    one_close_position_per_direction: bool
    trigger_latency_ns: tuple[int, int]
    continues_in_place: bool
    drop_close_position_when_flat: bool
    conditional_limit: int
    """Conditional orders: Binance 200 an account, Bybit 10 a symbol."""
    conditional_limit_per_symbol: bool
    market_band: Decimal = Decimal("0.05")
    """How far from the price a MARKET order takes (Binance marketTakeBound)."""
    leftover_expires: bool = True
    """What matching drops ends EXPIRED (Binance), else CANCELED (Bybit)."""
    empty_book_refused: bool = False
    """A MARKET order that would find nothing is refused: NO_LIQUIDITY (Binance -4131)."""
    reduce_only_crowding: bool = False
    """REDUCE_ONLY_CROWDED when resting reduce-only LIMITs cover the position (Binance -4118)."""
    client_ids_once: bool = False
    """A client id is never used twice (Bybit 110072), else only not among open orders (Binance)."""
    client_ids_apart: bool = True
    """Conditional and ordinary orders have client ids of their own (Binance)."""
    leverage_cut_refused: bool = False
    """An isolated position's leverage cannot be lowered: HAS_POSITION (Binance -4161)."""
    trail_moves_told: bool = False
    """A trailing stop is told anew whenever its level moves (Bybit, venues.md 3.5)."""
    partial_limit: int = 20
    """Partial stops and targets of one symbol (Bybit 110061, venues.md 3.3)."""


BINANCE_RULES: Final = VenueRules(
    name="binance",
    attached_protection=False,
    one_close_position_per_direction=True,
    trigger_latency_ns=(17 * MILLISECOND_NS, 401 * MILLISECOND_NS),
    continues_in_place=False,
    drop_close_position_when_flat=True,
    conditional_limit=200,
    conditional_limit_per_symbol=False,
    leftover_expires=True,
    empty_book_refused=True,
    reduce_only_crowding=True,
    client_ids_once=False,
    client_ids_apart=True,
    leverage_cut_refused=True,
)

BYBIT_RULES: Final = VenueRules(
    name="bybit",
    attached_protection=True,
    one_close_position_per_direction=False,
    trigger_latency_ns=(0, 0),
    continues_in_place=True,
    drop_close_position_when_flat=False,
    conditional_limit=10,
    conditional_limit_per_symbol=True,
    leftover_expires=False,
    empty_book_refused=False,
    reduce_only_crowding=False,
    client_ids_once=True,
    client_ids_apart=False,
    leverage_cut_refused=False,
    trail_moves_told=True,
)
