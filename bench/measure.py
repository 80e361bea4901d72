"""
How a figure becomes a figure: percentiles, rounds that take turns, ratios of medians.

Sides that are compared take turns round by round, in alternating order, so that whatever else the
machine does hits all of them. Stamps are `time.perf_counter_ns`, which on Linux and macOS is one
clock for all processes of the machine.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

now_ns: Final = time.perf_counter_ns


@attrs.frozen(kw_only=True)
class Spread:
    """Sorted samples in a few numbers, all in the samples' unit."""

    count: int
    p50: float
    p99: float
    max: float

    def as_json(self) -> dict[str, float]:
        """Return the fields by name."""
        return attrs.asdict(self)


def percentile(samples: Sequence[float], percent: float) -> float:
    """
    Return the nearest-rank percentile of *samples*, in any order.

    Raises:
        ValueError: there are no samples, or *percent* is not in 0..100.
    """
    if not samples:
        raise ValueError("samples were none, at least one is needed")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent was {percent}, must be in 0..100")
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def spread_of(samples: Sequence[float]) -> Spread:
    """Return count, median, 99th percentile and maximum of at least one sample."""
    return Spread(
        count=len(samples),
        p50=percentile(samples, 50),
        p99=percentile(samples, 99),
        max=max(samples),
    )


def ratio(this: float, that: float) -> float | None:
    """Return *this* as a multiple of *that*, None where that would say nothing."""
    return this / that if that > 0 else None


def take_turns(rounds: int, sides: Sequence[str]) -> list[str]:
    """Return whose turn it is: every side once a round, the order turned around each round."""
    turns: list[str] = []
    for number in range(rounds):
        turns += sides if number % 2 == 0 else reversed(sides)
    return turns


def side_by_side(rounds: int, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Call every side once per round and return what each returned, round by round."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for name in take_turns(rounds, list(sides)):
        samples[name].append(sides[name]())
    return samples


def ns_per_call(work: Callable[[], None], calls: int) -> float:
    """Return nanoseconds per call of *work*, which makes *calls* of them at once."""
    started = now_ns()
    work()
    return (now_ns() - started) / calls


def unrest(samples: Sequence[float]) -> float:
    """Return how far rounds of the same work lay apart: interquartile range over median."""
    median = percentile(samples, 50)
    return (percentile(samples, 75) - percentile(samples, 25)) / median if median > 0 else 0.0


def machine() -> dict[str, Any]:
    """Return what one should know of the machine: cores, and how busy others keep it."""
    load_1m, load_5m, _ = os.getloadavg()
    return {"cores": os.cpu_count(), "load_1m": round(load_1m, 2), "load_5m": round(load_5m, 2)}
