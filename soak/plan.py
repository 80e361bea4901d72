"""What is broken when: drawn from a seed, so that a run's plan can be drawn again."""

import random
from collections.abc import Sequence
from typing import Final, TypeVar

import attrs

from soak.proxy import Kind, Stream

T = TypeVar("T")

AIMED_SHARE: Final = 0.5
"""Of the strikes; they wait for the next order and hit around it."""
AIM_PATIENCE_SHARE: Final = 0.75
AIM_DELAY_S_MAX: Final = 0.15

# Seconds; the longest lie beyond the bot's time-outs and pings.
DURATIONS_S: Final = {
    Kind.CLOSE: (0.0, 0.0),
    Kind.RESET: (0.0, 0.0),
    Kind.SILENT: (2.0, 40.0),
    Kind.STALL: (0.5, 8.0),
    Kind.REFUSE: (0.5, 8.0),
}


@attrs.frozen(kw_only=True)
class Strike:
    """
    One planned disconnect, *at_s* seconds after the first.

    *stream* is the one to hit where a venue carries it, *draw* (0 to 1) chooses among what there
    is. *aimed*: at the venue of the next order within *patience_s*, *delay_s* after it.
    """

    number: int
    at_s: float
    stream: Stream
    draw: float
    kind: Kind
    duration_s: float
    aimed: bool
    patience_s: float
    delay_s: float


def strikes(seed: int, every_s: float, lasting_s: float) -> tuple[Strike, ...]:
    """Return the strikes of a run of *lasting_s*; kinds and, where not aimed, streams in turns."""
    rng = random.Random(seed)  # noqa: S311 - a plan, not a secret
    count = int(lasting_s / every_s)
    kinds = _in_turns(list(Kind), count, rng)
    streams = _in_turns(list(Stream), count, rng)
    made = []
    for number, (kind, stream) in enumerate(zip(kinds, streams, strict=True)):
        aimed = rng.random() < AIMED_SHARE
        made.append(
            Strike(
                number=number + 1,
                at_s=number * every_s,
                # Market streams have no part in an order.
                stream=Stream.REST if aimed and stream is Stream.MARKET else stream,
                draw=rng.random(),
                kind=kind,
                duration_s=rng.uniform(*DURATIONS_S[kind]),
                aimed=aimed,
                patience_s=every_s * AIM_PATIENCE_SHARE,
                # Most of what matters happens within milliseconds of an order.
                delay_s=AIM_DELAY_S_MAX * rng.random() ** 4,
            )
        )
    return tuple(made)


def _in_turns(each: list[T], count: int, rng: random.Random) -> list[T]:
    drawn: list[T] = []
    while len(drawn) < count:
        rng.shuffle(each)
        drawn += each
    return drawn[:count]


def chosen(
    strike: Strike, carried: Sequence[tuple[str, Stream]], at_venue: str | None
) -> tuple[str, Stream] | None:
    """
    Return the venue and stream to hit, None when nothing is carried.

    *at_venue*: where an order just went, for an aimed strike.
    """
    nearest = [each for each in carried if at_venue in {None, each[0]}] or list(carried)
    fitting = [each for each in nearest if each[1] is strike.stream] or nearest
    return fitting[min(int(strike.draw * len(fitting)), len(fitting) - 1)] if fitting else None
