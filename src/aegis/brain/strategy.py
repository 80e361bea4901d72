"""
The interface of a strategy: what it is fed (`Bar`), what it may answer (`Verdict`), and its shape.

A strategy is pure: no clock, no randomness, no input but its own bars, in order. The same bars give
the same verdicts, and later bars never change an earlier one (R17). One instance serves one
instrument.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from aegis.model.instrument import InstrumentId
from aegis.model.order import PositionSide

Pairs = tuple[tuple[str, float], ...]


@attrs.frozen(kw_only=True)
class Bar:
    """
    A closed candle: prices in quote units, volume in base units.

    `close_ns` is the exclusive end, `open_ns + timeframe_ns`, both int ns UTC. Raises ValueError on
    a time span that does not fit, a price that is not finite and above 0, a high or low that does
    not enclose open and close, or a volume below 0.
    """

    instrument_id: InstrumentId
    timeframe_ns: int
    open_ns: int
    close_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    def __attrs_post_init__(self) -> None:
        if self.timeframe_ns <= 0 or self.close_ns != self.open_ns + self.timeframe_ns:
            raise ValueError(
                f"bar ran from {self.open_ns} to {self.close_ns} ns, "
                f"time frame {self.timeframe_ns} ns"
            )
        for name in ("open", "high", "low", "close"):
            price: float = getattr(self, name)
            if not (math.isfinite(price) and price > 0):
                raise ValueError(f"{name} was {price}, must be finite and above 0")
        if self.high < max(self.open, self.close) or self.low > min(self.open, self.close):
            raise ValueError(
                f"high {self.high} and low {self.low} "
                f"did not enclose open {self.open} and close {self.close}"
            )
        if not (math.isfinite(self.volume) and self.volume >= 0):
            raise ValueError(f"volume was {self.volume}, must be finite and at least 0")


def _positive(_owner: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{attribute.name} was {value}, must be finite and above 0")


def _unit(_owner: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{attribute.name} was {value}, must be within 0..1")


@attrs.frozen(kw_only=True)
class Idea:
    """
    A wish to enter, before any sizing or gate.

    `confidence` is 0..1 and not a probability. `stop_distance` and `target_distance` are price
    units above 0, to be measured from the entry price. `reasons` are plain words with numbers.
    The idea is void `expires_after_ns` after the close of its bar.
    """

    side: PositionSide
    confidence: float = attrs.field(validator=_unit)
    stop_distance: float = attrs.field(validator=_positive)
    target_distance: float = attrs.field(validator=_positive)
    patterns: tuple[str, ...]
    features: Pairs
    reasons: tuple[str, ...]
    expires_after_ns: int = attrs.field(validator=_positive)


@attrs.frozen(kw_only=True)
class Rejected:
    """No entry on this bar, and why; `detected` tells a filtered set-up from an uneventful bar."""

    reasons: tuple[str, ...]
    detected: bool


@attrs.frozen(kw_only=True)
class Warming:
    """No opinion yet: `missing` names what has seen too few bars."""

    missing: tuple[str, ...]


Verdict = Idea | Rejected | Warming


@attrs.define(kw_only=True)
class Funnel:
    """
    How many bars reached each stage (R20).

    `bars = warming + quiet + detected` and `detected = ideas + sum(filtered_by.values())`, where a
    set-up that fails several filters is counted under the first.
    """

    bars: int = 0
    warming: int = 0
    quiet: int = 0
    detected: int = 0
    ideas: int = 0
    filtered_by: dict[str, int] = attrs.field(factory=dict)


class Strategy(Protocol):
    """What the brain asks of a strategy for one instrument."""

    @property
    def name(self) -> str:
        """Return the name that goes into every signal."""

    @property
    def timeframes_ns(self) -> tuple[int, ...]:
        """Return the time frames it must be fed, in ns."""

    @property
    def warmup_bars(self) -> Mapping[int, int]:
        """Return how many bars of each time frame it needs before its first opinion."""

    @property
    def funnel(self) -> Funnel:
        """Return the running counters of its stages."""

    def on_bar(self, bar: Bar) -> Verdict:
        """
        Take the next closed bar and answer at once.

        Raises ValueError on a bar of another instrument or time frame, or one not after the last.
        """
