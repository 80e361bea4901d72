"""
Made-up markets: seeded, deterministic, labeled GENERATED, with the habits of real ones.

Regimes of hours, clustered volatility, fat-tailed shocks and jumps, busy and quiet hours; rising
and falling are equally likely. Nothing here claims to be a market that was.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from zlib import crc32

import attrs
import numpy as np

from aegis.twin.tape.model import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    CandleTape,
    FloatColumn,
    FundingSeries,
    MarkSeries,
    NanosColumn,
    TapeReport,
    span_text,
)

START_PRICES: Mapping[str, float] = MappingProxyType(
    {"BTCUSDT": 100_000.0, "ETHUSDT": 3_500.0, "SOLUSDT": 180.0, "XRPUSDT": 2.2}
)
TICK_SIZES: Mapping[str, float] = MappingProxyType(
    {"BTCUSDT": 0.1, "ETHUSDT": 0.01, "SOLUSDT": 0.01, "XRPUSDT": 0.0001}
)

FUNDING_EVERY_NS = 8 * HOUR_NS
_STEPS_PER_BAR = 12
_TURNOVER_PER_MINUTE = 4_000_000.0


@attrs.frozen(kw_only=True)
class MarketHabits:
    """
    How a generated market behaves; volatilities are per square root of a day, as fractions.

    *regime_hours_mean*: length of a trend or a flat stretch. *drift_day_max*: the strongest trend,
    per day. *jumps_per_day* of *jump_min*..*jump_max* size, either sign. *tail_df*: degrees of
    freedom of the shocks (Student t). *basis_bps*: usual size of mark - price.
    """

    volatility_day: float = 0.025
    regime_hours_mean: float = 5.0
    drift_day_max: float = 0.06
    jumps_per_day: float = 3.0
    jump_min: float = 0.006
    jump_max: float = 0.025
    tail_df: float = 4.0
    garch_alpha: float = 0.10
    garch_beta: float = 0.88
    basis_bps: float = 3.0


def _rng(symbol: str, seed: int) -> np.random.Generator:
    sequence = np.random.SeedSequence([seed, crc32(symbol.encode())])
    return np.random.Generator(np.random.PCG64(sequence))


def _drifts(
    rng: np.random.Generator, bars: int, bar_days: float, habits: MarketHabits
) -> FloatColumn:
    """Draw regimes (up, down, flat, a third each) and give the drift of every bar."""
    drifts = np.zeros(bars, dtype=np.float64)
    at = 0
    while at < bars:
        hours = 0.5 + rng.exponential(habits.regime_hours_mean)
        length = max(1, round(hours / 24 / bar_days))
        direction = int(rng.integers(-1, 2))
        strength = float(rng.uniform(0.25, 1.0)) * habits.drift_day_max
        drifts[at : at + length] = direction * strength * bar_days
        at += length
    return drifts


def _volatilities(
    rng: np.random.Generator, bars: int, bar_days: float, hours: FloatColumn, habits: MarketHabits
) -> tuple[FloatColumn, FloatColumn]:
    """Run a GARCH(1,1) over fat-tailed shocks; give (volatility, unit-variance shock) per bar."""
    shocks = rng.standard_t(habits.tail_df, bars) / math.sqrt(habits.tail_df / (habits.tail_df - 2))
    shocks = np.clip(shocks, -8.0, 8.0)
    rest = 1.0 - habits.garch_alpha - habits.garch_beta
    variance = 1.0
    relative = np.empty(bars, dtype=np.float64)
    for at, shock in enumerate(shocks.tolist()):
        relative[at] = variance
        variance = rest + (habits.garch_alpha * shock * shock + habits.garch_beta) * variance
        variance = min(variance, 12.0)
    # Europe's afternoon and America's morning are the busy hours, UTC.
    daily = 1.0 + 0.35 * np.cos((hours - 15.0) / 24.0 * 2.0 * math.pi)
    return np.sqrt(relative) * daily * habits.volatility_day * math.sqrt(bar_days), shocks


def _jumps(
    rng: np.random.Generator, bars: int, bar_days: float, habits: MarketHabits
) -> FloatColumn:
    hit = rng.random(bars) < habits.jumps_per_day * bar_days
    size = habits.jump_min + (habits.jump_max - habits.jump_min) * rng.random(bars) ** 2
    sign = np.where(rng.random(bars) < 0.5, -1.0, 1.0)
    return np.where(hit, size * sign, 0.0)


def _walk(
    rng: np.random.Generator, moves: FloatColumn, volatility: FloatColumn
) -> tuple[FloatColumn, FloatColumn, FloatColumn]:
    """
    Fill each bar with a bridge of 12 steps that ends at its move.

    Gives (close, high, low) per bar as log distances from the tape's start.
    """
    bars = len(moves)
    steps = (
        rng.standard_normal((bars, _STEPS_PER_BAR))
        * (volatility / math.sqrt(_STEPS_PER_BAR))[:, None]
    )
    paths = np.cumsum(steps, axis=1)
    share = np.arange(1, _STEPS_PER_BAR + 1) / _STEPS_PER_BAR
    paths += (moves - paths[:, -1])[:, None] * share[None, :]
    closes = np.cumsum(moves)
    opens = np.append(0.0, closes[:-1])
    highs = opens + np.maximum(paths.max(axis=1), 0.0)
    lows = opens + np.minimum(paths.min(axis=1), 0.0)
    return closes, np.maximum(highs, closes), np.minimum(lows, closes)


def _ticks(prices: FloatColumn, tick_size: float) -> FloatColumn:
    decimals = max(0, 2 - math.floor(math.log10(tick_size)))
    return np.round(np.maximum(np.rint(prices / tick_size), 1.0) * tick_size, decimals)


def _volumes(
    rng: np.random.Generator,
    shocks: FloatColumn,
    jumps: FloatColumn,
    volatility: FloatColumn,
    timeframe_ns: int,
    close: FloatColumn,
) -> FloatColumn:
    """Let more be traded where more happens; *volatility* is relative to the usual one of a day."""
    activity = (0.4 + np.abs(shocks) + 60.0 * np.abs(jumps)) * (
        volatility / math.sqrt(timeframe_ns / DAY_NS)
    )
    turnover = _TURNOVER_PER_MINUTE * timeframe_ns / MINUTE_NS * activity
    return np.round(turnover * rng.lognormal(0.0, 0.4, len(close)) / close, 3)


def _default_tick(start_price: float) -> float:
    return float(10.0 ** (math.floor(math.log10(start_price)) - 5))


def _mark_and_funding(
    rng: np.random.Generator,
    open_ns: NanosColumn,
    close: FloatColumn,
    timeframe_ns: int,
    habits: MarketHabits,
) -> tuple[MarkSeries, FundingSeries]:
    """Draw a basis that wanders around zero by the hour, and the funding that follows from it."""
    first_ns, end_ns = int(open_ns[0]), int(open_ns[-1]) + timeframe_ns
    times = np.arange(first_ns, end_ns + HOUR_NS, HOUR_NS, dtype=np.int64)
    noise = rng.standard_normal(len(times))
    premium = np.empty(len(times), dtype=np.float64)
    value = 0.0
    for at, draw in enumerate(noise.tolist()):
        value = 0.9 * value + math.sqrt(1 - 0.81) * draw
        premium[at] = value * habits.basis_bps / 1e4
    bar = np.clip(np.searchsorted(open_ns, times, side="right") - 1, 0, len(close) - 1)
    basis = np.round(premium * close[bar], 8)
    first_settlement = first_ns + (-first_ns) % FUNDING_EVERY_NS
    settled = np.arange(first_settlement, end_ns + 1, FUNDING_EVERY_NS, dtype=np.int64)
    if len(settled) == 0:
        settled = np.array([first_settlement], dtype=np.int64)
    window = FUNDING_EVERY_NS // HOUR_NS
    at_hour = np.clip((settled - first_ns) // HOUR_NS, 0, len(times) - 1)
    averages = np.array([premium[max(0, int(i) - window + 1) : int(i) + 1].mean() for i in at_hour])
    # The venues' interest part is left out, so that neither side is favored over time.
    rates = np.round(np.clip(averages, -3e-3, 3e-3), 8)
    return (
        MarkSeries(times_ns=times, basis=basis),
        FundingSeries(times_ns=settled, rates=rates),
    )


def generate_tape(
    symbol: str,
    *,
    seed: int,
    start_ns: int,
    days: float,
    start_price: float,
    timeframe_ns: int = MINUTE_NS,
    tick_size: float | None = None,
    history_ns: int = 0,
    habits: MarketHabits | None = None,
) -> CandleTape:
    """
    Make up *days* of candles from *start_ns* (UTC, moved down to the timeframe's grid).

    The same arguments always give the same tape. *start_price* is quote per base, *tick_size*
    defaults to that of the symbol or to six digits. Play begins *history_ns* after the start.
    """
    habits = habits or MarketHabits()
    assert days > 0, days
    assert start_price > 0, start_price
    tick = tick_size or TICK_SIZES.get(symbol) or _default_tick(start_price)
    bar_days = timeframe_ns / DAY_NS
    bars = max(2, round(days / bar_days))
    first_ns = start_ns - start_ns % timeframe_ns
    open_ns = first_ns + np.arange(bars, dtype=np.int64) * timeframe_ns
    hours = (open_ns % DAY_NS) / HOUR_NS
    rng = _rng(symbol, seed)
    drift = _drifts(rng, bars, bar_days, habits)
    volatility, shocks = _volatilities(rng, bars, bar_days, hours, habits)
    jumps = _jumps(rng, bars, bar_days, habits)
    closes, highs, lows = _walk(rng, drift + volatility * shocks + jumps, volatility)
    close = _ticks(start_price * np.exp(closes), tick)
    high = _ticks(start_price * np.exp(highs), tick)
    low = _ticks(start_price * np.exp(lows), tick)
    open_ = np.append(_ticks(np.array([start_price]), tick), close[:-1])
    volume = _volumes(rng, shocks, jumps, volatility / habits.volatility_day, timeframe_ns, close)
    mark, funding = _mark_and_funding(rng, open_ns, close, timeframe_ns, habits)
    label = f"GENERATED seed {seed}"
    return CandleTape(
        symbol=symbol,
        timeframe_ns=timeframe_ns,
        open_ns=open_ns,
        open=open_,
        high=np.maximum(high, np.maximum(open_, close)),
        low=np.minimum(low, np.minimum(open_, close)),
        close=close,
        volume=volume,
        mark=mark,
        funding=funding,
        venue=None,
        label=label,
        generated=True,
        play_from_ns=min(first_ns + history_ns, int(open_ns[-1])),
        report=TapeReport(
            file=f"{symbol} {label}",
            rows_read=bars,
            rows_kept=bars,
            rows_played=bars,
            notes=(
                f"{symbol} {label}: {bars} bars of {span_text(timeframe_ns)}, made up, no market",
            ),
        ),
    )


def default_generated(
    seed: int,
    *,
    start_ns: int,
    history_days: float = 3.0,
    play_days: float = 3.0,
    start_prices: Mapping[str, float] = START_PRICES,
) -> tuple[CandleTape, ...]:
    """Make up one tape per symbol of *start_prices*; play begins at *start_ns*."""
    history_ns = round(history_days * DAY_NS)
    start_ns -= start_ns % MINUTE_NS
    return tuple(
        generate_tape(
            symbol,
            seed=seed,
            start_ns=start_ns - history_ns,
            days=history_days + play_days,
            start_price=price,
            history_ns=history_ns,
        )
        for symbol, price in start_prices.items()
    )
