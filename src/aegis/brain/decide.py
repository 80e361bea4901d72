"""The decisions of brain: whether a bar may raise a signal, and what an idea is as a signal."""

import enum
from decimal import Decimal

from aegis.brain.strategy import Bar, Idea
from aegis.model.market import Candle
from aegis.model.signal import Signal


class HeldBack(enum.StrEnum):
    """Why an idea is no signal (R24)."""

    FROM_HISTORY = "from_history"
    LATE = "late"
    """The bar closed longer ago than its own length."""


def bar_of(candle: Candle) -> Bar:
    """
    Return *candle* as a strategy takes it.

    Raises:
        ValueError: the candle is not a possible bar.
    """
    return Bar(
        instrument_id=candle.instrument_id,
        timeframe_ns=candle.timeframe_ns,
        open_ns=candle.open_ns,
        close_ns=candle.close_ns,
        open=candle.open,
        high=candle.high,
        low=candle.low,
        close=candle.close,
        volume=candle.volume,
    )


def held_back(bar: Bar, *, from_history: bool, now_ns: int) -> HeldBack | None:
    """Return why an idea on *bar* must not be raised at *now_ns*, None when it may."""
    if from_history:
        return HeldBack.FROM_HISTORY
    return HeldBack.LATE if bar.close_ns < now_ns - bar.timeframe_ns else None


def signal_from(idea: Idea, bar: Bar, *, signal_id: str, strategy: str) -> Signal:
    """Return *idea* as a signal; prices keep the shortest decimal text of their floats."""
    return Signal(
        signal_id=signal_id,
        instrument_id=bar.instrument_id,
        side=idea.side,
        confidence=idea.confidence,
        strategy=strategy,
        bar_close_ns=bar.close_ns,
        expires_ns=bar.close_ns + idea.expires_after_ns,
        reference_px=Decimal(repr(bar.close)),
        stop_distance=Decimal(repr(idea.stop_distance)),
        target_distance=Decimal(repr(idea.target_distance)),
        patterns=idea.patterns,
        features=idea.features,
        reasons=idea.reasons,
    )
