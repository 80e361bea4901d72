"""
A made-up order book around a mid price: spread and depth are synthetic, not recorded.

Pure and random-access: what varies is hashed from (seed, symbol, time bucket), so that the same
question always has the same answer and no state is kept.
"""

import math
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import attrs

SYNTHETIC_LABEL = "spread and depth are synthetic (seeded)"

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


# The same bucket is asked for at every vertex in it and by both venues.
@lru_cache(maxsize=16_384)
def hashed_unit(*keys: int) -> float:
    """Hash integers to a float in [0, 1), evenly spread (splitmix64)."""
    state = 0
    for key in keys:
        state = (state ^ (key & _MASK)) + _GOLDEN & _MASK
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return (state >> 11) / (1 << 53)


class Level(NamedTuple):
    """One price of the book: *price* quote per base, *qty* base units."""

    price: float
    qty: float


class SyntheticBook(NamedTuple):
    """The book at one moment; *bids* fall and *asks* rise from the best, which is their first."""

    bid: float
    bid_qty: float
    ask: float
    ask_qty: float
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@attrs.frozen(kw_only=True)
class BookShape:
    """
    How the book of one instrument is made.

    *tick_size*: quote per base; *qty_step*: base units, the least quantity of a level.
    *spread_bps*: before a variation of +-20 % and rounding up to whole ticks. *level_notional*:
    quote, of the best level, before a variation of +-40 %; each further level is *growth* times
    the one before and *level_step_bps* (at least a tick) further away. The variation is redrawn
    every *bucket_ns*.
    """

    seed: int
    tick_size: float = attrs.field(validator=attrs.validators.gt(0))
    qty_step: float = attrs.field(validator=attrs.validators.gt(0))
    spread_bps: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    level_notional: float = attrs.field(default=50_000.0, validator=attrs.validators.gt(0))
    levels: int = attrs.field(default=20, validator=attrs.validators.ge(1))
    growth: float = attrs.field(default=1.15, validator=attrs.validators.ge(1))
    level_step_bps: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    bucket_ns: int = attrs.field(default=1_000_000_000, validator=attrs.validators.ge(1))

    def best_at(self, symbol: str, t_ns: int, mid: float) -> tuple[float, float]:
        """Give (bid, ask) in quote per base: bid <= *mid* < ask, both on ticks."""
        bid_ticks, ask_ticks = self._best_ticks(crc32(symbol.encode()), t_ns, mid)
        return self._price(bid_ticks), self._price(ask_ticks)

    def book_at(self, symbol: str, t_ns: int, mid: float) -> SyntheticBook:
        """Give the whole book at *t_ns* (UTC ns) around *mid*, quote per base, > 0."""
        name = crc32(symbol.encode())
        bid_ticks, ask_ticks = self._best_ticks(name, t_ns, mid)
        step = max(1, round(mid * self.level_step_bps / 1e4 / self.tick_size))
        bids = self._side(name, t_ns, bid_ticks, -step)
        asks = self._side(name, t_ns, ask_ticks, step)
        return SyntheticBook(bids[0].price, bids[0].qty, asks[0].price, asks[0].qty, bids, asks)

    def _best_ticks(self, name: int, t_ns: int, mid: float) -> tuple[int, int]:
        assert mid > 0, mid
        varied = 0.8 + 0.4 * hashed_unit(self.seed, name, t_ns // self.bucket_ns, 0)
        width = max(1, math.ceil(mid * self.spread_bps * varied / 1e4 / self.tick_size - 1e-9))
        mid_ticks = mid / self.tick_size
        # A mid on a tick must not fall under it by the division's last bit.
        if abs(mid_ticks - round(mid_ticks)) < 1e-6:
            mid_ticks = float(round(mid_ticks))
        bid = max(1, math.floor(mid_ticks - width / 2 + 0.5))
        return bid, bid + width

    def _side(self, name: int, t_ns: int, best_ticks: int, step: int) -> tuple[Level, ...]:
        made: list[Level] = []
        bucket = t_ns // self.bucket_ns
        notional = self.level_notional
        for index in range(self.levels):
            ticks = best_ticks + index * step
            if ticks < 1:
                break
            price = self._price(ticks)
            side = 1 if step < 0 else 2
            varied = 0.6 + 0.8 * hashed_unit(self.seed, name, bucket, side, index)
            steps = max(1, round(notional * varied / price / self.qty_step))
            made.append(Level(price, _whole(steps, self.qty_step)))
            notional *= self.growth
        return tuple(made)

    def _price(self, ticks: int) -> float:
        return _whole(ticks, self.tick_size)


@lru_cache(maxsize=256)
def _digits(unit: float) -> int:
    return max(0, 2 - math.floor(math.log10(unit)))


def _whole(count: int, unit: float) -> float:
    """Multiply and cut the float's tail, so that 618002 x 0.1 reads 61800.2."""
    return round(count * unit, _digits(unit))
